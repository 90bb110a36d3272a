/* SPDX-License-Identifier: GPL-2.0-only */
/* What the faults of this network namespace have dropped. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bpf/fault_drops.h"

#define WEIR_DROPS_FAULTS_MAX 16

/* The tables that have been seen. They are kept: `weir fault clear` ends the faults, and
 * not what they have done. */
struct weir_drops_faults {
	int fd[WEIR_DROPS_FAULTS_MAX];
	uint32_t id[WEIR_DROPS_FAULTS_MAX];
	size_t n;
};

struct weir_drops_fault_count {
	struct weir_fault_drop_key key;
	struct weir_fault_drop val;
};

/* @ifindex: only there; 0: everywhere. In *@ret, to be freed; the number, or -ENOMEM. No
 * faults, and no right to see them, are none. */
int weir_drops_faults_read(struct weir_drops_faults *f, uint32_t ifindex,
			   struct weir_drops_fault_count **ret);
void weir_drops_faults_close(struct weir_drops_faults *f);
