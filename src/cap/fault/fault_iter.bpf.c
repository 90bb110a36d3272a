/* SPDX-License-Identifier: GPL-2.0-only */
/* The TCP sockets of a network namespace that have a filter of weir's, also those that
 * no process holds. */
#include <linux/bpf.h>
#include <stdbool.h>

#include "bpf/sock.bpf.h"
#include "cap/fault/fault.h"

#define STATE_TIME_WAIT 6 /* these two are no whole sockets */
#define STATE_NEW_SYN_RECV 12

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_prog_aux___weir {
	__u32 id;
	char name[16];
};

struct bpf_prog___weir {
	struct bpf_prog_aux___weir *aux;
};

struct sk_filter___weir {
	struct bpf_prog___weir *prog;
};

struct sock___weir {
	struct sk_filter___weir *sk_filter;
};

struct atomic64___weir {
	__s64 counter;
};

struct sock_common___cookie {
	struct atomic64___weir skc_cookie;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common___weir *sk_common;
};

#pragma clang attribute pop

static __always_inline bool is_ours(const struct bpf_prog_aux___weir *aux)
{
	static const char ours[] = WEIR_FAULT_SK_NAME;
	char name[16];

	if (bpf_core_read(name, sizeof(name), &aux->name))
		return false;
	for (unsigned int i = 0; i < sizeof(ours); i++)
		if (name[i] != ours[i])
			return false;
	return true;
}

SEC("iter/tcp")
int weir_fault_iter(struct bpf_iter__tcp *ctx)
{
	struct sock_common___weir *c = ctx->sk_common;
	const struct bpf_prog_aux___weir *aux;
	struct weir_fault_socket s = { 0 };
	struct weir_ends e;

	if (!c)
		return 0;
	s.state = BPF_CORE_READ(c, skc_state);
	if (s.state == STATE_TIME_WAIT || s.state == STATE_NEW_SYN_RECV)
		return 0;
	aux = BPF_CORE_READ((const struct sock___weir *)(const void *)c, sk_filter, prog, aux);
	if (!aux || !is_ours(aux))
		return 0;
	weir_sock_ends(c, 6, &e);
	__builtin_memcpy(s.local, e.local, sizeof(s.local));
	__builtin_memcpy(s.remote, e.remote, sizeof(s.remote));
	s.lport = e.lport;
	s.rport = e.rport;
	s.prog_id = BPF_CORE_READ(aux, id);
	s.cookie = BPF_CORE_READ((const struct sock_common___cookie *)(const void *)c,
				 skc_cookie.counter);
	bpf_seq_write(ctx->meta->seq, &s, sizeof(s));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
