/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The network namespaces that anything holds, as their cookies, one after the
 * other: those of the threads, and those behind open files. /proc shows less,
 * since it hides processes that are more privileged than the reader.
 */
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define NSFS_MAGIC 0x6e736673
#define CLONE_NEWNET 0x40000000

/* The fields of the kernel's structures that are read here. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct proc_ns_operations {
	int type;
};

struct ns_common {
	__u32 ns_type; /* since 6.18; before that ops->type */
	const struct proc_ns_operations *ops;
};

struct net {
	struct ns_common ns;
	__u64 net_cookie;
};

struct nsproxy {
	struct net *net_ns;
};

struct task_struct {
	struct nsproxy *nsproxy;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
	void *i_private;
};

struct file {
	struct inode *f_inode;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	struct sock *sk;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct file *file;
};

#pragma clang attribute pop

static __always_inline void tell(struct seq_file *seq, __u64 cookie)
{
	if (cookie)
		bpf_seq_write(seq, &cookie, sizeof(cookie));
}

SEC("iter/task")
int weir_netns_task(struct bpf_iter__task *ctx)
{
	const struct task_struct *task = ctx->task;

	if (task)
		tell(ctx->meta->seq, BPF_CORE_READ(task, nsproxy, net_ns, net_cookie));
	return 0;
}

static __always_inline int is_net(const struct ns_common *ns)
{
	if (bpf_core_field_exists(ns->ns_type))
		return BPF_CORE_READ(ns, ns_type) == CLONE_NEWNET;
	return BPF_CORE_READ(ns, ops, type) == CLONE_NEWNET;
}

/* A file below /proc/PID/ns or a mount of one. */
static __always_inline __u64 cookie_of_file(const struct file *file)
{
	const struct inode *inode = BPF_CORE_READ(file, f_inode);
	const struct ns_common *ns;
	const struct net *net;

	if (BPF_CORE_READ(inode, i_sb, s_magic) != NSFS_MAGIC)
		return 0;
	ns = BPF_CORE_READ(inode, i_private);
	if (!is_net(ns))
		return 0;
	net = (const void *)ns - bpf_core_field_offset(struct net, ns);
	return BPF_CORE_READ(net, net_cookie);
}

SEC("iter/task_file")
int weir_netns_file(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	const struct socket *socket;

	if (!file)
		return 0;
	socket = bpf_sock_from_file(file);
	if (socket)
		tell(ctx->meta->seq, BPF_CORE_READ(socket, sk, __sk_common.skc_net.net,
						   net_cookie));
	else
		tell(ctx->meta->seq, cookie_of_file(file));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
