/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whose sockets are they? Told as it happens: which ends a socket has, which process opened
 * it or uses it, and when it is closed; and by an iterator, who holds those that are there
 * already. A process is believed only where the kernel works on its behalf: within its own
 * system call, never in a softirq that interrupted it. Everything here only looks.
 */
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/owner.h"
#include "bpf/rings.bpf.h"
#include "bpf/sock.bpf.h"

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define SOCK_DGRAM 2
#define GROUP_DEPTH_MAX 32
#define GROUPS_MAX 16384
#define RECORD_MAX (sizeof(struct weir_owner_group) + BPF_RINGBUF_HDR_SZ)
#define WAKE_STEP 8192 /* bytes between two wake-ups; each has a record that begins behind it */
#define PF_KTHREAD 0x00200000
#define ONE_REF_OLD 1 /* of f_count, a plain number */
#define ONE_REF_NEW 0 /* of f_ref, which counts from 0 */

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE,
	TCP_LISTEN = 10,
	TCP_NEW_SYN_RECV = 12
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	unsigned int flags;
	int pid, tgid;
	struct task_struct *group_leader;
	struct css_set *cgroups;
	char comm[16];
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	volatile unsigned char skc_state;
	unsigned short skc_family;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	__u16 sk_protocol;
	__u16 sk_type;
	__u8 sk_kern_sock : 1;
	struct socket *sk_socket;
};

struct file {
	struct {
		__s64 counter;
	} f_count;
};

struct file_ref___new {
	struct {
		__s64 counter;
	} refcnt;
};

struct file___new {
	struct file_ref___new f_ref;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct sk_buff {
	struct sock *sk;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

#pragma clang attribute pop

/* What is told already, so that it is told once. */
struct told {
	__u64 cookie; /* of the socket: not every hook may ask for it */
	__u64 cgroup;
	__u32 pid;
	__u16 lport, rport; /* of the ends that were told; 0 = none */
	__u8 remote[16];
	char comm[WEIR_OWNER_COMM];
} __attribute__((aligned(8)));

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct told);
} weir_told SEC(".maps");

/* The cgroups whose names were told. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, GROUPS_MAX);
	__type(key, __u64);
	__type(value, __u8);
} weir_groups SEC(".maps");

WEIR_RINGS(weir_rings);

/* Events that found no room: user space reads it, and looks anew. Nothing else is in .bss,
 * so that it is the first there. */
__u64 weir_lost;

const volatile __u64 wake_bytes = 1 << 18; /* so much in a ring wakes its reader */

/* ---- Telling */

static __always_inline void *reserve(__u64 size, __u64 *flags)
{
	__u32 cpu = bpf_get_smp_processor_id();
	void *ring = bpf_map_lookup_elem(&weir_rings, &cpu), *room;
	__u64 waits = ring ? bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) : 0;

	/* Readers come by themselves; they are woken only before there is no more room, and
	 * not by each event from there on: to wake costs more than the event. */
	*flags = BPF_RB_NO_WAKEUP;
	if (waits >= wake_bytes && waits % WAKE_STEP < RECORD_MAX)
		*flags = BPF_RB_FORCE_WAKEUP;
	room = ring ? bpf_ringbuf_reserve(ring, size, 0) : NULL;
	if (!room)
		__sync_fetch_and_add(&weir_lost, 1);
	return room;
}

static __noinline int tell_group(__u64 id, __u64 parent, const char *name)
{
	struct weir_owner_group *g;
	__u64 flags;

	g = reserve(sizeof(*g), &flags);
	if (!g)
		return 0;
	g->ts = bpf_ktime_get_ns();
	g->kind = WEIR_OWNER_GROUP;
	g->pad = 0;
	g->id = id;
	g->parent = parent;
	g->name[0] = '\0';
	bpf_probe_read_kernel_str(g->name, sizeof(g->name), name);
	bpf_ringbuf_submit(g, flags);
	return 1;
}

/* The names of a cgroup and of those above it, each once. Returns its id. */
static __noinline __u64 group_of(const struct task_struct *task)
{
	const struct cgroup *cg, *parent;
	__u64 first = task->cgroups->dfl_cgrp->kn->id, id = first;
	__u8 one = 1;

	if (bpf_map_lookup_elem(&weir_groups, &id))
		return first;
	cg = BPF_CORE_READ(task, cgroups, dfl_cgrp);
	for (int i = 0; cg && i < GROUP_DEPTH_MAX; i++) {
		id = BPF_CORE_READ(cg, kn, id);
		if (bpf_map_lookup_elem(&weir_groups, &id))
			break;
		parent = BPF_CORE_READ(cg, self.parent, cgroup);
		if (!tell_group(id, parent ? BPF_CORE_READ(parent, kn, id) : 0,
				BPF_CORE_READ(cg, kn, name)))
			break;
		bpf_map_update_elem(&weir_groups, &id, &one, BPF_ANY);
		cg = parent;
	}
	return first;
}

static __always_inline void fill(struct weir_owner_event *ev, __u32 kind, const struct told *t,
				 __u32 flags)
{
	ev->ts = bpf_ktime_get_ns();
	ev->kind = kind;
	ev->pid = t->pid;
	ev->cgroup = t->cgroup;
	ev->flags = flags;
	__builtin_memcpy(ev->comm, t->comm, sizeof(ev->comm));
}

static __always_inline void note_ends(struct told *t, const struct weir_ends *e)
{
	t->lport = e->lport;
	t->rport = e->rport;
	__builtin_memcpy(t->remote, e->remote, sizeof(t->remote));
}

/* A process is at work on the socket, so that the current one is it: the protocol's own
 * work in a softirq waits for the lock. */
static __always_inline bool is_owned(const struct sock *sk)
{
	return sk->sk_lock.owned;
}

/* Threads have names of their own; the process has that of its first. False: it is a
 * thread of the kernel. */
static __always_inline bool learn(struct told *t, const struct task_struct *task)
{
	if (task->flags & PF_KTHREAD)
		return false;
	t->pid = task->tgid;
	__builtin_memcpy(t->comm, task->group_leader->comm, sizeof(t->comm));
	t->cgroup = group_of(task);
	return true;
}

static __always_inline bool is_kernels(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(sk, sk_kern_sock);
}

static __always_inline void read_addr(__u8 to[16], int family, __u32 v4, const void *v6)
{
	const __u32 *from = v6;
	__u32 *words = (__u32 *)to;

	for (int i = 0; i < 4; i++)
		words[i] = family == WEIR_AF_INET6 ? from[i] : 0;
	if (family == WEIR_AF_INET6)
		return;
	words[2] = __builtin_bswap32(0xffff);
	words[3] = v4;
}

/* As weir_sock_ends() has them, which needs a call for each member: from a pointer whose type
 * the verifier knows. */
static __always_inline void ends_of(const struct sock *sk, __u8 proto, struct weir_ends *e)
{
	const struct sock_common___weir *c = (const void *)sk;
	int family = c->skc_family;

	__builtin_memset(e, 0, sizeof(*e));
	e->netns = c->skc_net.net->net_cookie;
	read_addr(e->local, family, c->skc_rcv_saddr, &c->skc_v6_rcv_saddr);
	read_addr(e->remote, family, c->skc_daddr, &c->skc_v6_daddr);
	e->lport = c->skc_num;
	e->rport = bpf_ntohs(c->skc_dport);
	e->proto = proto;
}

/* The ends of @sk as they are now. */
static __always_inline void read_ends(const struct sock *sk, struct weir_owner_event *ev,
				      __u64 cookie)
{
	ends_of(sk, (__u8)sk->sk_protocol, &ev->ends);
	ev->ends.cookie = cookie;
	ev->netns_inode = sk->__sk_common.skc_net.net->ns.inum;
}

static __always_inline __u32 v6only(const struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD(sk, __sk_common.skc_ipv6only) ? WEIR_OWNER_F_V6ONLY : 0;
}

static __noinline int tell(const struct sock *sk, struct told *t, __u32 kind, __u32 flags)
{
	struct weir_owner_event *ev;
	__u64 wake;

	ev = reserve(sizeof(*ev), &wake);
	if (!ev)
		return 0;
	fill(ev, kind, t, flags | v6only(sk));
	read_ends(sk, ev, t->cookie);
	note_ends(t, &ev->ends);
	bpf_ringbuf_submit(ev, wake);
	return 0;
}

static __always_inline void tell_close(__u64 cookie, __u8 proto)
{
	struct weir_owner_event *ev;
	__u64 wake;

	ev = reserve(sizeof(*ev), &wake);
	if (!ev)
		return;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->ts = bpf_ktime_get_ns();
	ev->kind = WEIR_OWNER_CLOSE;
	ev->ends.cookie = cookie;
	ev->ends.proto = proto;
	bpf_ringbuf_submit(ev, wake);
}

static __always_inline struct told *told_of(struct sock *sk, bool create)
{
	return bpf_sk_storage_get(&weir_told, sk, 0, create ? BPF_SK_STORAGE_GET_F_CREATE : 0);
}

/* ---- Use */

/* The current process uses @sk. */
static __always_inline void use(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct told *t = told_of(sk, true);

	if (!t || t->pid == (__u32)task->tgid || is_kernels(sk))
		return;
	t->cookie = bpf_get_socket_cookie(sk);
	if (learn(t, task))
		tell(sk, t, WEIR_OWNER_USE, 0);
}

SEC("tp_btf/tcp_rcv_space_adjust")
int weir_owner_read(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];

	if (is_owned(sk))
		use(sk);
	return 0;
}

static __always_inline void on_length(struct sock *sk)
{
	__u16 proto = sk->sk_protocol;

	if (proto == IPPROTO_TCP || (proto == IPPROTO_UDP && sk->sk_type == SOCK_DGRAM))
		use(sk);
}

SEC("tp_btf/sock_send_length")
int weir_owner_send(unsigned long long *ctx)
{
	on_length((struct sock *)ctx[0]);
	return 0;
}

SEC("tp_btf/sock_recv_length")
int weir_owner_recv(unsigned long long *ctx)
{
	on_length((struct sock *)ctx[0]);
	return 0;
}

/* ---- TCP's beginnings and ends */

/* Nobody but the process that is at it has a descriptor: one of the table of files that its
 * threads share. */
static __always_inline bool is_sole(const struct sock *sk)
{
	const struct file *file = BPF_CORE_READ(sk, sk_socket, file);
	const struct file___new *new = (const void *)file;

	if (!file)
		return false;
	if (bpf_core_field_exists(new->f_ref))
		return BPF_CORE_READ(new, f_ref.refcnt.counter) == ONE_REF_NEW;
	return BPF_CORE_READ(file, f_count.counter) == ONE_REF_OLD;
}

/* It connects or listens, perhaps not for the first time. */
static __always_inline struct told *begin(struct sock *sk)
{
	struct told *t = told_of(sk, true);

	if (!t)
		return NULL;
	__builtin_memset(t, 0, sizeof(*t));
	t->cookie = bpf_get_socket_cookie(sk);
	if (is_owned(sk) && !is_kernels(sk))
		learn(t, bpf_get_current_task_btf());
	return t;
}

SEC("tp_btf/inet_sock_set_state")
int weir_owner_state(unsigned long long *ctx)
{
	struct sock *sk = (void *)ctx[0];
	int old = (int)ctx[1], new = (int)ctx[2];
	struct told *t;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (new == TCP_CLOSE) {
		tell_close(bpf_get_socket_cookie(sk), IPPROTO_TCP);
	} else if (new == TCP_SYN_SENT) {
		begin(sk); /* its port, hence its ends, may not be chosen yet */
	} else if (new == TCP_LISTEN) {
		t = begin(sk);
		if (t)
			tell(sk, t, WEIR_OWNER_OPEN,
			     WEIR_OWNER_F_LISTEN | (t->pid && is_sole(sk) ? WEIR_OWNER_F_SOLE : 0));
	} else if (new == TCP_ESTABLISHED) {
		t = told_of(sk, true);
		if (!t || t->lport)
			return 0;
		t->cookie = bpf_get_socket_cookie(sk);
		tell(sk, t, WEIR_OWNER_OPEN, old == TCP_SYN_RECV ? WEIR_OWNER_F_ACCEPTED : 0);
	}
	return 0;
}

/* ---- The first packet */

static __always_inline bool same_ends(const struct told *t, const struct weir_ends *e)
{
	const __u32 *a = (const __u32 *)t->remote, *b = (const __u32 *)e->remote;

	return t->lport == e->lport && t->rport == e->rport && a[0] == b[0] && a[1] == b[1] &&
	       a[2] == b[2] && a[3] == b[3];
}

/* A UDP socket's port may be chosen by the kernel, and it may turn to another peer. */
static __always_inline void first_datagram(struct sock *sk)
{
	struct told *t = told_of(sk, false);
	struct weir_ends e;

	if (!t)
		return;
	ends_of(sk, IPPROTO_UDP, &e);
	if (!same_ends(t, &e))
		tell(sk, t, WEIR_OWNER_OPEN, 0);
}

SEC("tp_btf/net_dev_queue")
int weir_owner_packet(unsigned long long *ctx)
{
	const struct sk_buff *skb = (void *)ctx[0];
	struct sock *sk = skb->sk;
	struct told *t;
	__u8 state;

	if (!sk)
		return 0;
	state = sk->__sk_common.skc_state;
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		return 0;
	if (sk->sk_protocol == IPPROTO_UDP && sk->sk_type == SOCK_DGRAM) {
		first_datagram(sk);
	} else if (state == TCP_SYN_SENT && sk->sk_protocol == IPPROTO_TCP) {
		t = told_of(sk, false);
		if (t && !t->lport)
			tell(sk, t, WEIR_OWNER_OPEN, 0);
	}
	return 0;
}

/* ---- UDP's beginnings and ends: only cgroups have a hook there. It always permits. */

static __always_inline bool is_udp(const struct bpf_sock *ctx)
{
	return ctx->type == SOCK_DGRAM && ctx->protocol == IPPROTO_UDP;
}

SEC("cgroup/sock_create")
int weir_owner_create(struct bpf_sock *ctx)
{
	struct told *t;

	if (!is_udp(ctx))
		return 1;
	t = bpf_sk_storage_get(&weir_told, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!t)
		return 1;
	t->cookie = bpf_get_socket_cookie(ctx);
	learn(t, bpf_get_current_task_btf());
	return 1;
}

SEC("cgroup/sock_release")
int weir_owner_release(struct bpf_sock *ctx)
{
	if (is_udp(ctx))
		tell_close(bpf_get_socket_cookie(ctx), IPPROTO_UDP);
	return 1;
}

static __always_inline int bound(struct bpf_sock *ctx, bool v6)
{
	struct told none = { 0 }, *t;
	struct weir_owner_event *ev;
	__u64 wake;
	__u32 *a;

	if (!is_udp(ctx))
		return 1;
	t = bpf_sk_storage_get(&weir_told, ctx, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (t)
		t->cookie = bpf_get_socket_cookie(ctx);
	ev = reserve(sizeof(*ev), &wake);
	if (!ev)
		return 1;
	fill(ev, WEIR_OWNER_OPEN, t ? t : &none, 0);
	ev->netns_inode = 0;
	__builtin_memset(&ev->ends, 0, sizeof(ev->ends));
	ev->ends.netns = bpf_get_netns_cookie(ctx);
	ev->ends.cookie = bpf_get_socket_cookie(ctx);
	ev->ends.proto = IPPROTO_UDP;
	ev->ends.lport = (__u16)ctx->src_port;
	a = (__u32 *)ev->ends.local;
	if (v6) {
		a[0] = ctx->src_ip6[0];
		a[1] = ctx->src_ip6[1];
		a[2] = ctx->src_ip6[2];
		a[3] = ctx->src_ip6[3];
	} else {
		a[2] = a[6] = __builtin_bswap32(0xffff); /* and nobody as the remote end */
		a[3] = ctx->src_ip4;
	}
	if (t)
		note_ends(t, &ev->ends);
	bpf_ringbuf_submit(ev, wake);
	return 1;
}

SEC("cgroup/post_bind4")
int weir_owner_bind4(struct bpf_sock *ctx)
{
	return bound(ctx, false);
}

SEC("cgroup/post_bind6")
int weir_owner_bind6(struct bpf_sock *ctx)
{
	return bound(ctx, true);
}

/* ---- Who holds what */

SEC("tp_btf/sched_process_fork")
int weir_owner_fork(unsigned long long *ctx)
{
	const struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct weir_owner_event *ev;
	__u64 wake;

	if (child->tgid == parent->tgid)
		return 0;
	ev = reserve(sizeof(*ev), &wake);
	if (!ev)
		return 0;
	__builtin_memset(ev, 0, sizeof(*ev));
	ev->ts = bpf_ktime_get_ns();
	ev->kind = WEIR_OWNER_FORK;
	ev->pid = parent->tgid;
	bpf_ringbuf_submit(ev, wake);
	return 0;
}

SEC("iter/task_file")
int weir_owner_scan(struct bpf_iter__task_file *ctx)
{
	struct weir_owner_event ev = { .kind = WEIR_OWNER_HELD };
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct told t = { 0 };
	struct sock *sk;
	__u16 family;
	__u8 state;

	if (!task || !file)
		return 0;
	socket = bpf_sock_from_file(file);
	sk = socket ? socket->sk : NULL;
	if (!sk)
		return 0;
	family = sk->__sk_common.skc_family;
	state = sk->__sk_common.skc_state;
	if (family != WEIR_AF_INET && family != WEIR_AF_INET6)
		return 0;
	if (sk->sk_protocol != IPPROTO_TCP &&
	    (sk->sk_protocol != IPPROTO_UDP || sk->sk_type != SOCK_DGRAM))
		return 0;
	if (sk->sk_protocol == IPPROTO_TCP && state == TCP_CLOSE)
		return 0;
	if (!learn(&t, task))
		return 0;
	fill(&ev, WEIR_OWNER_HELD, &t, v6only(sk));
	read_ends(sk, &ev, bpf_get_socket_cookie(sk));
	if (sk->sk_protocol == IPPROTO_TCP && state == TCP_LISTEN)
		ev.flags |= WEIR_OWNER_F_LISTEN;
	if (ev.ends.lport)
		bpf_seq_write(ctx->meta->seq, &ev, sizeof(ev));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
