/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps of the filter that outlive its programs. They are written here, not
 * created by hand, so that each carries its types and bpftool prints its fields by
 * name.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "policy/abi.h"
#include "policy/state.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_filter_state);
} weir_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* as long as the text is */
	__type(key, __u32);
	__type(value, struct weir_filter_text);
} weir_text SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_FILTER_ROWS);
	__type(key, __u32);
	__type(value, struct weir_filter_account);
} weir_account SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, WEIR_BUCKET_LINES);
	__type(key, __u32);
	__type(value, struct weir_bucket_line);
} weir_buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_REPLIES);
	__type(key, struct weir_reply_key);
	__type(value, struct weir_reply);
} weir_replies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_FRAGMENTS);
	__type(key, struct weir_fragment_key);
	__type(value, struct weir_fragment);
} weir_fragments SEC(".maps");

char LICENSE[] SEC("license") = "GPL";
