/* SPDX-License-Identifier: GPL-2.0-only */
/* Which function of the kernel an address lies in (/proc/kallsyms; needs CAP_SYSLOG). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define WEIR_DROPS_FUNCTION_MAX 64 /* with NUL; longer names are cut */

struct weir_drops_symbol {
	uint64_t at;
	size_t name; /* where it begins in `names` */
};

struct weir_drops_symbols {
	struct weir_drops_symbol *v; /* functions only, ascending */
	size_t n;
	char *names;
	bool hidden; /* the kernel shows no addresses to this process */
};

/* Read @in, of the form of /proc/kallsyms. 0 or -ENOMEM. */
int weir_drops_symbols_read(struct weir_drops_symbols *s, FILE *in);
/* The running kernel's; without the right to see them, or without memory: none. */
void weir_drops_symbols_load(struct weir_drops_symbols *s);
void weir_drops_symbols_free(struct weir_drops_symbols *s);

/* "tcp_v4_rcv"; an address that lies in no function that is known: "0xffffffff81a8c2d0". */
const char *weir_drops_function(const struct weir_drops_symbols *s, uint64_t address, char *buf,
				size_t size);
