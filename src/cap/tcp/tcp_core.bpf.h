/* SPDX-License-Identifier: GPL-2.0-only */
/* The fields of the kernel's TCP sockets that are read (CO-RE finds where they are). */
#pragma once

#include <linux/types.h>

/* sk_state */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
	TCP_CLOSING,
};

/* icsk_ca_state */
enum {
	TCP_CA_OPEN,
	TCP_CA_DISORDER,
	TCP_CA_CWR,
	TCP_CA_RECOVERY,
	TCP_CA_LOSS,
};

#define ICSK_TIME_LOSS_PROBE 5 /* icsk_pending */

#define SK_DEAD (1U << 0) /* skc_flags: no process holds it any more */
#define SK_DONE (1U << 1) /* the peer's FIN has come */

#define ERR_NETUNREACH 101
#define ERR_CONNABORTED 103
#define ERR_TIMEDOUT 110
#define ERR_CONNREFUSED 111
#define ERR_HOSTUNREACH 113

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
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

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct sock_common {
	volatile unsigned char skc_state;
	unsigned long skc_flags;
};

typedef struct {
	int owned;
} socket_lock_t;

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	int sk_err;
	unsigned long sk_pacing_rate;
	struct sock_cgroup_data sk_cgrp_data;
};

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
};

struct tcp_congestion_ops {
	char name[16];
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
	__u32 icsk_rto;
	const struct tcp_congestion_ops *icsk_ca_ops;
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
	__u8 icsk_backoff;
	struct {
		__u16 rcv_mss;
	} icsk_ack;
};

struct minmax_sample {
	__u32 t, v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_rack {
	__u64 mstamp;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_received, bytes_acked, bytes_sent, bytes_retrans;
	__u32 segs_in, segs_out, data_segs_in, data_segs_out;
	__u32 srtt_us, mdev_us;
	struct minmax rtt_min;
	__u32 snd_cwnd, snd_ssthresh, mss_cache, snd_wnd, rcv_wnd;
	__u32 snd_una, snd_nxt, rcv_nxt, write_seq;
	__u32 packets_out, sacked_out, lost_out, retrans_out;
	__u32 total_retrans, rcv_ooopack, reordering, reord_seen, dsack_dups;
	__u32 delivered, delivered_ce;
	__u32 rate_delivered, rate_interval_us;
	__u8 rate_app_limited : 1;
	__u8 chrono_type : 2;
	__u32 chrono_start;
	__u32 chrono_stat[3];
	struct {
		__u32 rtt_us;
	} rcv_rtt_est;
	struct tcp_rack rack;
};

struct request_sock {
	struct sock_common __req_common;
};

struct sk_buff {
	unsigned int len;
};

struct task_struct {
	int pid, tgid;
	char comm[16];
};

struct file;

struct socket {
	struct sock *sk;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct file *file;
};

#pragma clang attribute pop
