/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir steer: which socket gets a new connection. One program and its maps are one
 * generation of rules; the netns link is switched from one to the next. Sockets and
 * counters are shared by all generations.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/store.h"
#include "cap/steer/steer.h"

#define AF_INET 2
#define EEXIST 17

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, WEIR_STEER_PROTOS *WEIR_STEER_PORTS / WEIR_STEER_PORTS_A_ROW);
	__type(key, __u32);
	__type(value, struct weir_steer_ports);
} weir_ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_root);
} weir_roots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_node);
} weir_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_lone);
} weir_lones SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_candidate);
} weir_candidates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_answer);
} weir_answer SEC(".maps");

/* ---- Shared by all generations */

/* A socket leaves it by itself when it is closed. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, WEIR_STEER_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} weir_sockets SEC(".maps");

/* Of the rules that lost something, which are few. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, WEIR_RULES_MAX);
	__type(key, __u32);
	__type(value, struct weir_steer_lost);
} weir_lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct weir_steer_account);
} weir_account SEC(".maps");

/* Of the rule store. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WEIR_RULES_MAX + 1);
	__type(key, __u32);
	__type(value, struct weir_rule_hits);
} weir_hits SEC(".maps");

/* For measuring: test runs are counted like connections. */
const volatile bool weir_steer_count_tests = false;

/* Packets are looked up with softirqs off: nothing else on this CPU counts meanwhile, and
 * an atomic addition would cost more than the rest of it. */
#define COUNT(counter) (counter)++

static __always_inline __u32 mask(int bits)
{
	return bits <= 0 ? 0 : bits >= 32 ? ~0U : bpf_htonl(~0U << (32 - bits));
}

static __always_inline bool is_in6(struct bpf_sk_lookup *ctx, const __u32 *want, int len,
				   bool local)
{
	__u32 a = local ? ctx->local_ip6[0] : ctx->remote_ip6[0];
	__u32 b = local ? ctx->local_ip6[1] : ctx->remote_ip6[1];
	__u32 c = local ? ctx->local_ip6[2] : ctx->remote_ip6[2];
	__u32 d = local ? ctx->local_ip6[3] : ctx->remote_ip6[3];

	return !(((a ^ want[0]) & mask(len)) | ((b ^ want[1]) & mask(len - 32)) |
		 ((c ^ want[2]) & mask(len - 64)) | ((d ^ want[3]) & mask(len - 96)));
}

static __always_inline bool is_remote(struct bpf_sk_lookup *ctx,
				      const struct weir_steer_candidate *c)
{
	const __u32 *want = (const __u32 *)c->remote;

	if (ctx->family == AF_INET)
		return !((ctx->remote_ip4 ^ want[0]) & mask(c->remote_len));
	return is_in6(ctx, want, c->remote_len, false);
}

static __always_inline bool is_local(struct bpf_sk_lookup *ctx, const struct weir_steer_lone *l)
{
	const __u32 *want = (const __u32 *)l->addr;

	if (ctx->family == AF_INET)
		return !((ctx->local_ip4 ^ want[0]) & mask((int)l->len));
	return is_in6(ctx, want, (int)l->len, true);
}

/* The index of the candidate at the end of the trie's way. */
static __always_inline __u32 end_of(struct bpf_sk_lookup *ctx, __u32 at)
{
	struct weir_steer_lone *l;
	__u32 key = at & WEIR_STEER_INDEX;

	if (at & WEIR_STEER_END)
		return key;
	if (!(at & WEIR_STEER_LONE))
		return 0;
	l = bpf_map_lookup_elem(&weir_lones, &key);
	if (!l)
		return 0;
	return is_local(ctx, l) ? l->first : l->otherwise;
}

static __always_inline __u32 walk4(__u32 at, __u32 addr)
{
	for (int i = 0; i < 8 && at && at < WEIR_STEER_LONE; i++, addr <<= 4) {
		struct weir_steer_node *n = bpf_map_lookup_elem(&weir_nodes, &at);

		if (!n)
			return 0;
		at = n->child[addr >> 28];
	}
	return at;
}

static __always_inline __u32 walk6(__u32 at, struct bpf_sk_lookup *ctx)
{
	__u32 words[4] = { ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
			   ctx->local_ip6[3] };

	for (int i = 0; i < 4 && at && at < WEIR_STEER_LONE; i++)
		at = walk4(at, bpf_ntohl(words[i]));
	return at;
}

/* The first candidate for the connection, or NULL: no rule names it. */
static __always_inline struct weir_steer_candidate *find_first(struct bpf_sk_lookup *ctx,
							       __u32 proto)
{
	__u32 port = ctx->local_port;
	__u32 row = proto * (WEIR_STEER_PORTS / WEIR_STEER_PORTS_A_ROW) +
		    (port & 0xffff) / WEIR_STEER_PORTS_A_ROW;
	struct weir_steer_ports *p = bpf_map_lookup_elem(&weir_ports, &row);
	struct weir_steer_root *root;
	__u32 at, class_id;

	if (!p)
		return NULL;
	class_id = p->class_id[port & (WEIR_STEER_PORTS_A_ROW - 1)];
	if (!class_id)
		return NULL;
	root = bpf_map_lookup_elem(&weir_roots, &class_id);
	if (!root)
		return NULL;
	if (ctx->family == AF_INET)
		at = walk4(root->at[0], bpf_ntohl(ctx->local_ip4));
	else
		at = walk6(root->at[1], ctx);
	at = end_of(ctx, at);
	return at ? bpf_map_lookup_elem(&weir_candidates, &at) : NULL;
}

/* The candidate that decides. */
static __always_inline struct weir_steer_candidate *find(struct bpf_sk_lookup *ctx, __u32 proto)
{
	struct weir_steer_candidate *c = find_first(ctx, proto);

	for (int i = 0; c && i < WEIR_STEER_CHAIN_MAX; i++) {
		__u32 next = c->next;

		if ((!c->remote_len || is_remote(ctx, c)) &&
		    (!c->expires || c->expires > bpf_jiffies64()))
			return c;
		c = next ? bpf_map_lookup_elem(&weir_candidates, &next) : NULL;
	}
	return NULL;
}

static __always_inline __u32 fold6(__u32 a, __u32 b, __u32 c, __u32 d)
{
	return a ^ b * 5 ^ c * 9 ^ d;
}

/* Packets of one UDP flow have to come to the same member of a group. */
static __always_inline __u32 hash(struct bpf_sk_lookup *ctx)
{
	__u32 h = ctx->remote_port * 0x9e3779b1U ^ ctx->local_port, local, remote;

	if (ctx->family == AF_INET) {
		local = ctx->local_ip4;
		remote = ctx->remote_ip4;
	} else {
		local = fold6(ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2],
			      ctx->local_ip6[3]);
		remote = fold6(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2],
			       ctx->remote_ip6[3]);
	}
	/* Unlike: or two addresses the other way round would be the same. */
	h ^= remote ^ local * 0xc2b2ae3dU;
	h = (h ^ h >> 16) * 0x85ebca6bU;
	h = (h ^ h >> 13) * 0xc2b2ae35U;
	return h ^ h >> 16;
}

struct choice {
	__u32 outcome, slot;
	int error;
};

/* Give the connection to the member that its hash names; where that is gone, to the
 * next that is there. */
static __always_inline void choose(struct bpf_sk_lookup *ctx, struct weir_steer_candidate *c,
				   bool test, struct choice *ret)
{
	__u32 slots = (__u32)c->members * WEIR_STEER_SPARE, start = 0, first = c->first;
	/* A test run can't follow SO_REUSEPORT; which of a group of those gets the
	 * connection is the kernel's choice, by their program or by its hash. */
	__u64 flags = test ? BPF_SK_LOOKUP_F_NO_REUSEPORT : 0;

	ret->outcome = WEIR_STEER_MISSED;
	if (!slots)
		return;
	if (c->members > 1)
		start = hash(ctx) % c->members * WEIR_STEER_SPARE;
	for (__u32 i = 0; i < WEIR_STEER_GROUP_MAX * WEIR_STEER_SPARE; i++) {
		__u32 slot = first + (i ? (start + i) % slots : start);
		struct bpf_sock *sk;

		if (i >= slots)
			break;
		sk = bpf_map_lookup_elem(&weir_sockets, &slot);
		if (!sk)
			continue;
		ret->slot = slot;
		ret->error = (int)bpf_sk_assign(ctx, sk, flags);
		bpf_sk_release(sk);
		ret->outcome = ret->error ? WEIR_STEER_REFUSED : WEIR_STEER_STEERED;
		break;
	}
}

static __always_inline void count_rule(__u32 rule, __u32 outcome)
{
	const struct weir_steer_lost none = { 0 };
	struct weir_rule_hits *h;
	struct weir_steer_lost *l;

	if (outcome == WEIR_STEER_STEERED) {
		h = bpf_map_lookup_elem(&weir_hits, &rule);
		if (h) {
			COUNT(h->hits);
			h->last = bpf_jiffies64();
		}
		return;
	}
	l = bpf_map_lookup_elem(&weir_lost, &rule);
	if (!l) {
		bpf_map_update_elem(&weir_lost, &rule, &none, BPF_NOEXIST);
		l = bpf_map_lookup_elem(&weir_lost, &rule);
	}
	if (l && outcome == WEIR_STEER_MISSED)
		COUNT(l->misses);
	else if (l)
		COUNT(l->errors);
}

static __always_inline void count(__u32 outcome, bool pass)
{
	__u32 zero = 0;
	struct weir_steer_account *a = bpf_map_lookup_elem(&weir_account, &zero);

	if (!a)
		return;
	COUNT(a->seen);
	if (outcome == WEIR_STEER_STEERED)
		COUNT(a->steered);
	else if (pass)
		COUNT(a->passed);
	else if (outcome == WEIR_STEER_MISSED)
		COUNT(a->dropped_miss);
	else
		COUNT(a->dropped_error);
}

static __always_inline void tell(__u32 rule, const struct choice *choice)
{
	__u32 zero = 0;
	struct weir_steer_answer *a = bpf_map_lookup_elem(&weir_answer, &zero);

	if (!a)
		return;
	a->outcome = choice->outcome;
	a->rule = rule;
	a->error = choice->error;
	a->slot = choice->slot;
}

SEC("sk_lookup")
int weir_steer(struct bpf_sk_lookup *ctx)
{
	bool test = ctx->ingress_ifindex == WEIR_STEER_TEST && !weir_steer_count_tests;
	bool pass = true;
	struct choice choice = { .outcome = WEIR_STEER_UNMATCHED };
	__u32 proto = ctx->protocol == IPPROTO_UDP ? WEIR_STEER_UDP : WEIR_STEER_TCP;
	struct weir_steer_candidate *c = find(ctx, proto);
	__u32 rule = 0;

	if (c) {
		rule = c->rule;
		choose(ctx, c, test, &choice);
		/* Another program in this namespace was first, and its choice stands. */
		pass = choice.outcome == WEIR_STEER_STEERED || choice.error == -EEXIST ||
		       c->flags & WEIR_STEER_ON_MISS_PASS;
	}
	if (test) {
		tell(rule, &choice);
		return pass ? SK_PASS : SK_DROP;
	}
	if (c)
		count_rule(rule, choice.outcome);
	count(choice.outcome, pass);
	return pass ? SK_PASS : SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
