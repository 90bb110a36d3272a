/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of a set of prefixes, without a program (dataplane/set.c makes them, in
 * the size that the set needs). They are written here so that each carries its types
 * and bpftool prints its fields by name.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/set.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union weir_set_line);
} weir_set_table4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, union weir_set_line);
} weir_set_trie SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} weir_set_list SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
