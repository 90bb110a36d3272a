/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities of this process: least privilege, and messages that name what
 * is missing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* From linux/capability.h; only those that weir ever asks for. */
#define WEIR_CAP_DAC_OVERRIDE (1ULL << 1)
#define WEIR_CAP_NET_ADMIN (1ULL << 12)
#define WEIR_CAP_NET_RAW (1ULL << 13)
#define WEIR_CAP_SYS_PTRACE (1ULL << 19)
#define WEIR_CAP_SYS_ADMIN (1ULL << 21)
#define WEIR_CAP_SYSLOG (1ULL << 34)
#define WEIR_CAP_PERFMON (1ULL << 38)
#define WEIR_CAP_BPF (1ULL << 39)

struct weir_cap_info {
	uint64_t bit;
	const char *name; /* "CAP_BPF" */
	const char *use;  /* what weir does with it */
};

/* All of the above, ended by bit 0; the order is the order of importance. */
extern const struct weir_cap_info weir_caps[];

uint64_t weir_caps_effective(void);
/* 0, or -EPERM with "needs CAP_X, CAP_Y to WHAT: run as root, or `setcap
 * cap_x,cap_y+ep PATH`". CAP_SYS_ADMIN stands for BPF and PERFMON, as it does
 * in the kernel. */
int weir_caps_need(uint64_t caps, const char *what, struct weir_error *err);
/* Give up everything but @keep, for good: permitted, effective, inheritable,
 * ambient, and (as far as allowed) bounding sets; sets no_new_privs. Works on
 * the calling thread: call it before starting others. */
int weir_caps_drop(uint64_t keep);
