/* SPDX-License-Identifier: GPL-2.0-only */
/* Behind the netfilter gate, for its tests: keeps what it makes of the last packet of
 * interest in each direction, and lets all pass. */
#include "policy/nf.bpf.h"

#define PORT 7777

struct weir_nf_seen {
	struct weir_scratch s;
	__u32 ifindex, len;
	__u64 packets;
	__u32 bytes; /* behind the header, by weir_nf_load_bytes() */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct weir_nf_seen);
} weir_nf_seen SEC(".maps");

SEC("netfilter")
int weir_nf_look(struct bpf_nf_ctx *ctx)
{
	__u32 which = weir_nf_is_out(ctx), ifindex, len, bytes = 0;
	struct weir_nf_seen *seen = bpf_map_lookup_elem(&weir_nf_seen, &which);
	struct weir_scratch *s = weir_nf_enter();

	if (!s)
		return WEIR_NF_DROP;
	if (seen && !weir_nf_parse(ctx, s, &ifindex, &len) && s->pkt.dport == PORT) {
		weir_nf_load_bytes(ctx, s->pkt.payload_off, &bytes, sizeof(bytes));
		__sync_fetch_and_add(&seen->packets, 1);
		seen->s = *s;
		seen->ifindex = ifindex;
		seen->len = len;
		seen->bytes = bytes;
	}
	weir_nf_leave(s);
	return WEIR_NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
