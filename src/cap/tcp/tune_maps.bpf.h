/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps that outlive a change of rules (tune_abi.h). */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cap/tcp/tune_abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} weir_tune_current SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, WEIR_TUNE_PROGRAMS);
	__type(key, __u32);
	__type(value, __u32);
} weir_tune_programs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	/* A change adds those of its new rules before those of the old ones go. */
	__uint(max_entries, 2 * WEIR_TUNE_RULES_MAX);
	__type(key, __u32);
	__type(value, struct weir_tune_counts);
} weir_tune_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_TUNE_FAILURES);
	__type(key, __u32);
	__type(value, struct weir_tune_failure);
} weir_tune_failures SEC(".maps");

/* How many failures there have been. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_tune_total SEC(".maps");

/* With rules on several cgroups: for which moment a socket has had its rule. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} weir_tune_marks SEC(".maps");
