/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host has set that decides how well BPF works on it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct weir_host_fact {
	const char *key;   /* in JSON: "bpf_jit" */
	const char *label; /* in text */
	char value[160];   /* as text */
	bool known;	   /* what is not known is left out of JSON */
	bool is_number;	   /* JSON shows `number` instead of `value` */
	uint64_t number;
	const char *advice; /* it works, but could be better: how; else NULL */
};

#define WEIR_HOST_FACTS 8
/* Fills @facts, returns how many. */
size_t weir_host_facts(struct weir_host_fact facts[WEIR_HOST_FACTS]);

/* One option of the kernel's configuration that concerns BPF. */
struct weir_kconfig {
	const char *name; /* "CONFIG_BPF_SYSCALL" */
	char value[16];	  /* "y", "m", a number, "n"; "" while nothing is known */
};

#define WEIR_KCONFIGS 20
/* Fills @options, returns how many. @source: the file they came from, or ""
 * when none could be read (the values are "" then). */
size_t weir_host_kconfig(struct weir_kconfig options[WEIR_KCONFIGS], char *source, size_t size);
