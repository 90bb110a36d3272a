/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir tcp tune: would this kernel set the options of a rule? An iterator may call the same
 * bpf_setsockopt() as the programs on connections do; it does so on one socket that weir
 * made for it.
 */
#include <stdbool.h>

#include "cap/tcp/tune_set.bpf.h"

struct sock_common;
struct tcp_sock;

/* The kernel's name, and the beginning of its fields. */
struct bpf_iter__tcp {
	void *meta;
	struct sock_common *sk_common;
};

const volatile __u64 weir_tune_cookie = 0; /* of the socket */
const volatile struct weir_tune_rule weir_tune_tried = { 0 };
int weir_tune_errors[WEIR_TUNE_OPTS];
bool weir_tune_found;

SEC("iter/tcp")
int weir_tcp_try(struct bpf_iter__tcp *ctx)
{
	struct sock_common *sk = ctx->sk_common;
	struct weir_tune_rule r = { 0 };
	struct tcp_sock *tp;

	if (!sk || bpf_get_socket_cookie(sk) != weir_tune_cookie)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	weir_tune_found = true;
	/* Word by word, as volatile: the compiler knows it as zeros. */
	r.mask = weir_tune_tried.mask;
	for (int i = 0; i < WEIR_TUNE_OPTS; i++)
		r.value[i] = weir_tune_tried.value[i];
	for (int i = 0; i < WEIR_TUNE_CA_MAX; i++)
		r.congestion[i] = weir_tune_tried.congestion[i];
	for (__u32 opt = 0; opt < WEIR_TUNE_OPTS; opt++)
		if (r.mask & 1U << opt && weir_tune_table[opt].when != WEIR_TUNE_REPLY)
			weir_tune_errors[opt] = weir_tune_set(tp, &r, opt, false);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
