/* SPDX-License-Identifier: GPL-2.0-only */
/* Rings to user space, one a CPU: producers on different CPUs never meet on a lock. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Their number is set to that of the CPUs before load; user space makes the rings
 * (dataplane/ring.h). */
#define WEIR_RINGS(name)                                     \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);    \
		__uint(max_entries, 1);                      \
		__type(key, __u32);                          \
		__array(values, struct {                     \
			__uint(type, BPF_MAP_TYPE_RINGBUF);  \
			__uint(max_entries, 4096);           \
		});                                          \
	} name SEC(".maps")
