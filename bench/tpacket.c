/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * tpacket DEV BYTES: the plainest reader of packets that AF_PACKET allows, as a
 * peer: a TPACKET_V3 ring, every packet's header looked at and nothing kept.
 * SIGUSR1 and the end print what it read and what the kernel dropped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK (1u << 20)
#define FRAME 2048
#define RETIRE_MS 10

struct reader {
	int fd;
	uint8_t *ring;
	unsigned int blocks, next;
	unsigned long long packets, bytes, dropped;
};

static bool open_ring(struct reader *r, const char *dev, size_t bytes)
{
	struct tpacket_req3 req = {.tp_block_size = BLOCK, .tp_frame_size = FRAME,
				   .tp_retire_blk_tov = RETIRE_MS};
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)if_nametoindex(dev)};
	int version = TPACKET_V3;

	r->blocks = req.tp_block_nr = (unsigned int)(bytes / BLOCK);
	req.tp_frame_nr = req.tp_block_nr * (BLOCK / FRAME);
	r->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (r->fd < 0 || setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)))
		return false;
	r->ring = mmap(NULL, (size_t)r->blocks * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED,
		       r->fd, 0);
	return r->ring != MAP_FAILED && !bind(r->fd, (struct sockaddr *)&addr, sizeof(addr));
}

static void read_blocks(struct reader *r)
{
	for (unsigned int n = 0; n < r->blocks; n++) {
		struct tpacket_block_desc *b = (void *)(r->ring + (size_t)r->next * BLOCK);
		const uint8_t *p = (const uint8_t *)b + b->hdr.bh1.offset_to_first_pkt;

		if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			return;
		for (uint32_t i = 0; i < b->hdr.bh1.num_pkts; i++) {
			const struct tpacket3_hdr *h = (const void *)p;

			r->packets++;
			r->bytes += h->tp_len;
			p += h->tp_next_offset;
		}
		__atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		r->next = (r->next + 1) % r->blocks;
	}
}

static void report(struct reader *r)
{
	struct tpacket_stats_v3 stats = {0};
	socklen_t len = sizeof(stats);

	/* The kernel resets its counters when they are read. */
	if (!getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		r->dropped += stats.tp_drops;
	fprintf(stderr, "{\"packets\": %llu, \"bytes\": %llu, \"dropped\": %llu}\n", r->packets,
		r->bytes, r->dropped);
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	struct signalfd_siginfo si;
	struct reader r = {.fd = -1};
	struct pollfd fds[2];
	sigset_t set;

	if (bytes < BLOCK) {
		fprintf(stderr, "usage: tpacket DEV BYTES (of the ring, a million or more)\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (!open_ring(&r, argv[1], bytes)) {
		fprintf(stderr, "tpacket: cannot capture on %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	fds[0] = (struct pollfd){.fd = r.fd, .events = POLLIN};
	fds[1] = (struct pollfd){.fd = signalfd(-1, &set, 0), .events = POLLIN};
	fprintf(stderr, "ready\n");
	for (;;) {
		poll(fds, 2, -1);
		read_blocks(&r);
		if (!fds[1].revents)
			continue;
		if (read(fds[1].fd, &si, sizeof(si)) != sizeof(si))
			return 1;
		report(&r);
		if (si.ssi_signo != SIGUSR1)
			return 0;
	}
}
