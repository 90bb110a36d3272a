/* SPDX-License-Identifier: GPL-2.0-only */
/* Behind the filter, for its oracle: notes which packets came through, by their mark,
 * and lets none go further. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define SINK_FRAMES 4096
#define TC_DROP 2 /* = TC_ACT_SHOT */

struct weir_sunk {
	__u8 times[SINK_FRAMES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_sunk);
} weir_sunk SEC(".maps");

SEC("tc")
int weir_sink(struct __sk_buff *skb)
{
	__u32 zero = 0, mark = skb->mark;
	struct weir_sunk *s = bpf_map_lookup_elem(&weir_sunk, &zero);

	if (s && mark < SINK_FRAMES)
		s->times[mark]++;
	return TC_DROP;
}

/* At XDP, where in generic mode it changes how tc finds the frame. */
SEC("xdp.frags")
int weir_pass(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
