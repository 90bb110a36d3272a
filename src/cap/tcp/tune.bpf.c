/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir tcp tune: the rules of one cgroup, of one generation. Which rule a connection gets
 * is compiled into the place of the match; what the rule sets is in a map.
 *
 * No callback flag is set on any socket: connect, establishment and the question for the
 * first window come without, so that there is nothing to share with other programs.
 */
#include <stdbool.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>

#include "bpf/match_stub.bpf.h"
#include "bpf/store.h"
#include "cap/tcp/tune_maps.bpf.h"
#include "cap/tcp/tune_set.bpf.h"

#define AF_INET 2

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_tune_rule);
} weir_tune_rules SEC(".maps");

/* Of the rule store. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX + 1);
	__type(key, __u32);
	__type(value, struct weir_rule_hits);
} weir_hits SEC(".maps");

/* Rules on several cgroups, one of which may lie in another. */
const volatile bool weir_tune_several = false;

/* A process's own call can be interrupted by a packet for another connection, whose
 * program counts on the same CPU. */
#define COUNT(counter) __sync_fetch_and_add(&(counter), 1)

/* The ends of the context are those of the request where the socket is not one yet. */
static __always_inline void ends_of(struct bpf_sock_ops *ctx, bool initiated, struct weir_ends *e)
{
	__u32 *local = (__u32 *)e->local, *remote = (__u32 *)e->remote;
	__u32 local4 = ctx->local_ip4, remote4 = ctx->remote_ip4;

	__builtin_memset(e, 0, sizeof(*e));
	for (int i = 0; i < 4; i++) {
		local[i] = ctx->local_ip6[i];
		remote[i] = ctx->remote_ip6[i];
	}
	/* All fields are read first: the verifier wants each at its place in the context, and
	 * the compiler would make one read of two at two places. */
	if (ctx->family == AF_INET) {
		local[0] = local[1] = remote[0] = remote[1] = 0;
		local[2] = remote[2] = bpf_htonl(0xffff);
		local[3] = local4;
		remote[3] = remote4;
	}
	e->lport = ctx->local_port;
	e->rport = bpf_ntohl(ctx->remote_port);
	e->proto = IPPROTO_TCP;
	e->flags = initiated ? WEIR_ENDS_INITIATED : 0;
}

static __always_inline bool is_v6(const struct weir_ends *e)
{
	const __u32 *remote = (const __u32 *)e->remote;

	return remote[0] || remote[1] || remote[2] != bpf_htonl(0xffff);
}

static __always_inline struct weir_tune_rule *find(const struct weir_ends *e)
{
	struct weir_pkt pkt;
	__u32 n;

	weir_ends_pkt(e, &pkt);
	n = (__u32)weir_match_call(&pkt);
	if (!n)
		return NULL;
	n--;
	return bpf_map_lookup_elem(&weir_tune_rules, &n);
}

/* Of a cgroup and the ones above it the innermost runs first. It has decided where it
 * left its mark for this very moment. */
static __always_inline bool is_taken(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *mark;

	if (!weir_tune_several || !sk)
		return false;
	mark = bpf_sk_storage_get(&weir_tune_marks, sk, NULL, 0);
	return mark && *mark == ctx->op;
}

static __always_inline void take(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	__u32 *mark;

	if (!weir_tune_several || !sk)
		return;
	mark = bpf_sk_storage_get(&weir_tune_marks, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (mark)
		*mark = ctx->op;
}

static __always_inline void tell(struct bpf_sock_ops *ctx, const struct weir_tune_rule *r,
				 const struct weir_ends *e, __u32 opt, int error)
{
	__u64 at = bpf_ktime_get_boot_ns(), cookie = bpf_get_socket_cookie(ctx);
	__u64 netns = bpf_get_netns_cookie(ctx), number;
	struct weir_tune_counts *c = bpf_map_lookup_elem(&weir_tune_counts, &r->id);
	struct weir_tune_failure *f;
	__u32 key = 0, id = r->id;
	__u64 *total = bpf_map_lookup_elem(&weir_tune_total, &key);

	if (c) {
		COUNT(c->failed[opt]);
		c->failed_at[opt] = at;
		c->error[opt] = error;
	}
	if (!total)
		return;
	number = COUNT(*total) + 1;
	key = number % WEIR_TUNE_FAILURES;
	f = bpf_map_lookup_elem(&weir_tune_failures, &key);
	if (!f)
		return;
	bpf_spin_lock(&f->lock);
	f->rule = id;
	f->opt = opt;
	f->error = error;
	f->number = number;
	f->at = at;
	__builtin_memcpy(&f->ends, e, sizeof(*e));
	f->ends.netns = netns;
	f->ends.cookie = cookie;
	bpf_spin_unlock(&f->lock);
}

/* The kernel gives less than was asked for and calls it success (net.core.rmem_max and
 * wmem_max); what it gives is doubled for its own book-keeping. */
static __always_inline bool is_limited(struct bpf_sock_ops *ctx, const struct weir_tune_rule *r,
				       __u32 opt)
{
	int got = 0;

	if (opt != WEIR_TUNE_RCVBUF && opt != WEIR_TUNE_SNDBUF)
		return false;
	if (bpf_getsockopt(ctx, WEIR_SOL_SOCKET, weir_tune_table[opt].name, &got, sizeof(got)))
		return false;
	return (__u32)got / 2 < (__u32)r->value[opt];
}

static __always_inline void set(struct bpf_sock_ops *ctx, const struct weir_tune_rule *r,
				const struct weir_ends *e, __u32 opt)
{
	int error = weir_tune_set(ctx, r, opt, is_v6(e));
	struct weir_tune_counts *c;

	if (error) {
		tell(ctx, r, e, opt, error);
		return;
	}
	c = bpf_map_lookup_elem(&weir_tune_counts, &r->id);
	if (!c)
		return;
	COUNT(c->set[opt]);
	if (is_limited(ctx, r, opt))
		COUNT(c->limited[opt]);
}

/* Is this the moment for an option of @when? */
static __always_inline bool is_time(__u32 op, __u32 when)
{
	switch (when) {
	case WEIR_TUNE_EARLY:
		return op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB;
	case WEIR_TUNE_LATE:
		return op != BPF_SOCK_OPS_TCP_CONNECT_CB;
	case WEIR_TUNE_SYN:
		return op == BPF_SOCK_OPS_TCP_CONNECT_CB;
	default:
		return false;
	}
}

static __always_inline void count_hit(const struct weir_tune_rule *r)
{
	struct weir_rule_hits *h = bpf_map_lookup_elem(&weir_hits, &r->id);

	if (!h)
		return;
	COUNT(h->hits);
	h->last = bpf_jiffies64();
}

/* The answer to how many segments the first window has. One that another program gave
 * stands. */
static __always_inline void reply(struct bpf_sock_ops *ctx, const struct weir_tune_rule *r)
{
	struct weir_tune_counts *c;

	if (!(r->mask & 1U << WEIR_TUNE_INITRWND) || ctx->reply)
		return;
	ctx->reply = (__u32)r->value[WEIR_TUNE_INITRWND];
	c = bpf_map_lookup_elem(&weir_tune_counts, &r->id);
	if (c)
		COUNT(c->set[WEIR_TUNE_INITRWND]);
}

SEC("sockops")
int weir_tcp_tune(struct bpf_sock_ops *ctx)
{
	__u32 op = ctx->op;
	/* Of a connection that is accepted there is only a request when the window is chosen. */
	bool initiated = op == BPF_SOCK_OPS_RWND_INIT ? ctx->is_fullsock :
							op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
	struct weir_tune_rule *r;
	struct weir_ends e;

	if (is_taken(ctx))
		return 1;
	ends_of(ctx, initiated, &e);
	r = find(&e);
	if (!r)
		return 1;
	take(ctx);
	if (op == BPF_SOCK_OPS_RWND_INIT) {
		reply(ctx, r);
		return 1;
	}
	if (op != BPF_SOCK_OPS_TCP_CONNECT_CB)
		count_hit(r);
	for (__u32 opt = 0; opt < WEIR_TUNE_OPTS; opt++)
		if (r->mask & 1U << opt && is_time(op, weir_tune_table[opt].when))
			set(ctx, r, &e, opt);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
