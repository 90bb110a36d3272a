/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proxy's maps, and the program that adds up what a worker hands over: one
 * system call (a test run of it) for many connections. It needs no capability once it is
 * loaded, so workers add to the pinned maps after root has been given up.
 *
 * Additions are atomic, those to a CPU's own totals too: a program of this type may be
 * preempted, and another worker's run on the same CPU then.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cap/proxy/proxy.h"

#define SOURCES_MAX 65536

/* As many as the configuration's resolver cache: set before load. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct weir_proxy_name_key);
	__type(value, struct weir_proxy_name);
} weir_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_TOTALS);
	__type(key, __u32);
	__type(value, __u64);
} weir_totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOURCES_MAX);
	__type(key, __u8[16]);
	__type(value, struct weir_proxy_source);
} weir_sources SEC(".maps");

static __noinline int add_total(__u32 which, __u64 n)
{
	__u64 *sum = bpf_map_lookup_elem(&weir_totals, &which);

	if (sum)
		__sync_fetch_and_add(sum, n);
	return 0;
}

/* Returns how many could not be added: 0 or 1. */
static __noinline int add_source(const struct weir_proxy_source_delta *d, __u64 now)
{
	struct weir_proxy_source *s = bpf_map_lookup_elem(&weir_sources, &d->addr);

	if (!s) {
		struct weir_proxy_source fresh = { .first = now };

		/* Another worker may have been quicker; either way it is there. */
		bpf_map_update_elem(&weir_sources, &d->addr, &fresh, BPF_NOEXIST);
		s = bpf_map_lookup_elem(&weir_sources, &d->addr);
		if (!s)
			return 1;
	}
	__sync_fetch_and_add(&s->connections, d->connections);
	__sync_fetch_and_add(&s->refused, d->refused);
	__sync_fetch_and_add(&s->bytes_in, d->bytes_in);
	__sync_fetch_and_add(&s->bytes_out, d->bytes_out);
	s->last = now;
	return 0;
}

/*
 * Returns how many sources could not be added. Readers take the totals from the last to
 * the first, so that of an accepted connection and its end they never see the end alone.
 * Both loops are unrolled: the verifier wants constant offsets into this type's context.
 */
SEC("syscall")
int weir_proxy_add(struct weir_proxy_deltas *ctx)
{
	const __u64 now = ctx->now;
	const __u32 n = ctx->n;
	int lost = 0;

#pragma clang loop unroll(full)
	for (__u32 i = 0; i < WEIR_TOTALS; i++)
		if (ctx->totals[i])
			add_total(i, ctx->totals[i]);
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < WEIR_PROXY_DELTAS; i++) {
		struct weir_proxy_source_delta d;

		if (i >= n)
			break;
		d = ctx->source[i];
		lost += add_source(&d, now);
	}
	return lost;
}

char LICENSE[] SEC("license") = "GPL";
