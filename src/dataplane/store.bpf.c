/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps without a program: what dataplane/pin.c and dataplane/rules.c pin. They
 * are written here, not created by hand, so that each carries its types and
 * bpftool prints its fields by name.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/store.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_pin_meta);
} weir_meta SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_RULES_MAX);
	__type(key, __u32);
	__type(value, struct weir_rule);
} weir_rules SEC(".maps");

/* Two entries more than rules: the cursor, and one on its way. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_RULES_MAX + 2);
	__type(key, struct weir_rule_key);
	__type(value, __u32);
} weir_rule_names SEC(".maps");

/* An array, since every packet that a rule decides looks here; id 0 is unused. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX + 1);
	__type(key, __u32);
	__type(value, struct weir_rule_hits);
} weir_hits SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
