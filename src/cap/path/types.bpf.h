/* SPDX-License-Identifier: GPL-2.0-only */
/* The fields of the kernel's structures that weir path reads (CO-RE finds them). */
#pragma once

#include <linux/types.h>

#include "bpf/sock.bpf.h"

#define WEIR_NET_RX 3 /* the softirq's number */
#define WEIR_TCP_LISTEN 10

struct sock; /* as the helpers know it */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct device___weir {
	void *parent;
};

struct net_device___weir {
	int ifindex;
	struct weir_possible_net___weir nd_net;
	struct device___weir dev;
};

struct sk_buff___weir {
	struct net_device___weir *dev;
	char cb[48];
	unsigned int len, data_len;
	__u16 mac_header;
	__be16 vlan_proto;
	__u16 vlan_tci;
	unsigned int end;
	unsigned char *head, *data;
};

/* Until 6.2 a bit says whether there is a tag; then the two fields do by not being 0. */
struct sk_buff___bit {
	__u8 vlan_present : 1;
};

struct skb_shared_info___weir {
	unsigned short gso_segs;
};

struct tcp_skb_cb___weir {
	__u32 seq, end_seq;
	__u8 tcp_flags; /* two bytes on later kernels, the lower one first */
};

struct sk_buff_head___weir {
	struct sk_buff___weir *prev;
	__u32 qlen;
};

struct sock___weir {
	struct sock_common___weir __sk_common;
	struct sk_buff_head___weir sk_receive_queue;
	__u16 sk_protocol;
};

struct tcp_sock___weir {
	__u32 copied_seq, rcv_nxt;
};

struct udp_sock___weir {
	struct sk_buff_head___weir reader_queue;
};

struct task_struct___weir {
	int pid;
};

#pragma clang attribute pop
