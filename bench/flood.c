/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * flood DEV FLOWS SIZE [MAC]: the generator of `make bench`. Reads lines
 * "PPS SECONDS" (0 pps: as fast as it goes) and answers each with a line of
 * JSON: what it sent, and how long it took.
 *
 * With the receiver's MAC each flow has a source address of its own, from
 * 198.18.0.0 on, and the stack takes the packets for its own; else a port, and
 * each FLOOD_TURN flows have a destination port of their own.
 *
 * BPF_PROG_TEST_RUN in live frames mode sends frames out of DEV, a veth end,
 * without a socket and without an skb. The peer's side of the receive path runs
 * on the same CPU, in the softirq that follows each batch: so the flood is as
 * fast as the receiver can take it, and nothing is dropped in between.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/addr.h"

#include "flood.h"
#include "flood.skel.h"

#define SIZE_MAX_BYTES 1500
#define BATCH 64	  /* frames between two softirqs; the veth's ring holds 256 */
#define CALL_FRAMES 65536 /* of one system call, flat out */
#define PACE_NS 500000	  /* the token bucket is emptied about this often */
#define NSEC 1000000000ULL

#ifndef BPF_F_TEST_XDP_LIVE_FRAMES
#define BPF_F_TEST_XDP_LIVE_FRAMES (1U << 1)
#endif

struct generator {
	int prog_fd;
	unsigned int ifindex;
	size_t size;
	unsigned char mac[6];
	unsigned int sum;
	unsigned char frame[SIZE_MAX_BYTES];
};

static unsigned long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * NSEC + (unsigned long long)t.tv_nsec;
}

/* Of an IPv4 header's words, in host order. */
static unsigned int ip_sum(const unsigned short *words)
{
	unsigned int sum = 0;

	for (int i = 0; i < 10; i++)
		sum += ntohs(words[i]);
	return sum;
}

static unsigned short ip_checksum(unsigned int sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return htons((unsigned short)~(sum + (sum >> 16)));
}

/* Without a MAC address, to one that is not the receiver's: behind all taps its
 * stack has nothing to do but to drop the packet. */
static void make_frame(struct generator *g)
{
	unsigned short head[10];
	struct flood_frame f = {
		.eth_src = { 2, 0, 0, 0, 0, 1 },
		.eth_type_be = htons(ETH_P_IP),
		.version_ihl = 0x45,
		.ip_len_be = htons((unsigned short)(g->size - ETH_HLEN)),
		.ttl = 64,
		.proto = 17,
		.src_be = htonl(FLOOD_NET + 1),
		.dst_be = htonl(FLOOD_NET + 2),
		.dport_be = htons(FLOOD_DPORT),
		.udp_len_be = htons((unsigned short)(g->size - ETH_HLEN - 20)),
		.magic = FLOOD_MAGIC,
	};

	memcpy(f.eth_dst, g->mac, sizeof(f.eth_dst));
	memcpy(head, (const unsigned char *)&f + ETH_HLEN, sizeof(head));
	f.ip_csum = ip_checksum(ip_sum(head));
	/* What does not change with the source. */
	memset(&head[6], 0, 4);
	g->sum = ip_sum(head);
	memcpy(g->frame, &f, sizeof(f));
}

static int send_frames(const struct generator *g, unsigned int n)
{
	struct xdp_md ctx = { .data_end = (unsigned int)g->size, .ingress_ifindex = g->ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = g->frame,
		    .data_size_in = (unsigned int)g->size, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = (int)n,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	return bpf_prog_test_run_opts(g->prog_fd, &opts);
}

/* A token bucket; returns 0 or a negative errno. */
static int flood(const struct generator *g, double pps, double seconds)
{
	unsigned long long start = now_ns(), end = start + (unsigned long long)(seconds * 1e9);
	unsigned long long sent = 0, now;
	int ret;

	while ((now = now_ns()) < end) {
		double due = pps * (double)(now - start) / 1e9 - (double)sent;
		unsigned int n = CALL_FRAMES;

		if (pps > 0) {
			if (due < pps * PACE_NS / 1e9 || due < 1)
				continue;
			n = due < CALL_FRAMES ? (unsigned int)due : CALL_FRAMES;
		}
		ret = send_frames(g, n);
		if (ret)
			return ret;
		sent += n;
	}
	printf("{\"sent\": %llu, \"seconds\": %.6f}\n", sent, (double)(now - start) / 1e9);
	fflush(stdout);
	return 0;
}

static int serve(const struct generator *g)
{
	double pps, seconds;
	char line[128];
	int ret;

	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%lf %lf", &pps, &seconds) != 2 || pps < 0 || seconds <= 0) {
			fprintf(stderr, "flood: give lines \"PPS SECONDS\", not: %s", line);
			return 2;
		}
		ret = flood(g, pps, seconds);
		if (ret) {
			fprintf(stderr,
				"flood: cannot send: %s: the kernel needs live frames in "
				"BPF_PROG_TEST_RUN (5.18)\n",
				strerror(-ret));
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool args = argc == 4 || argc == 5;
	unsigned long flows = args ? strtoul(argv[2], NULL, 10) : 0;
	struct generator g = { .size = args ? strtoul(argv[3], NULL, 10) : 0,
			       .mac = { 2, 0, 0, 0, 0, 9 } };
	struct bpf_link *link;
	struct flood_bpf *s;
	int ret;

	if (flows < 1 || flows > (argc == 5 ? FLOOD_TURN : FLOOD_FLOWS_MAX) ||
	    g.size < sizeof(struct flood_frame) || g.size > SIZE_MAX_BYTES ||
	    (argc == 5 && weir_mac_parse(argv[4], g.mac))) {
		fprintf(stderr, "usage: flood DEV FLOWS SIZE [MAC]\n");
		return 2;
	}
	g.ifindex = if_nametoindex(argv[1]);
	make_frame(&g);
	s = flood_bpf__open();
	if (!s)
		return 1;
	s->rodata->flows = (unsigned int)flows;
	s->rodata->by_source = argc == 5;
	s->rodata->sum = g.sum;
	ret = flood_bpf__load(s);
	/* The kernel makes a trampoline for a program that is attached nowhere at
	 * every test run, which takes longer than the run. */
	link = ret ? NULL : bpf_program__attach_xdp(s->progs.flood, (int)g.ifindex);
	if (!link) {
		fprintf(stderr,
			"flood: cannot load or attach to %s: %s: is it a veth end, and are "
			"you root?\n",
			argv[1], strerror(errno));
		return 1;
	}
	g.prog_fd = bpf_program__fd(s->progs.flood);
	ret = serve(&g);
	bpf_link__destroy(link);
	flood_bpf__destroy(s);
	return ret;
}
