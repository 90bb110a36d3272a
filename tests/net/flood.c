/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bounded flood: UDP datagrams of so many flows through a packet socket.
 *
 *	flood DEV DST_MAC COUNT RATE FLOWS SIZE
 *
 * COUNT frames of SIZE bytes at RATE a second (0: as fast as it goes), from
 * 10.x.y.z, of which every FLOWS begin anew. Flow n has the source address
 * 10.0.0.0 + n / 50000 and the source port 1024 + n % 50000. Tells how many
 * frames the kernel took.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define FRAME_MAX 9000
#define HEADERS 42
#define PORTS 50000u
#define COUNT_MAX 20000000u

static uint8_t frames[BATCH][FRAME_MAX];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

static uint16_t checksum(const uint8_t *p, int n)
{
	uint32_t sum = 0;

	for (int i = 0; i < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void make(uint8_t *f, const uint8_t *dst, const uint8_t *src, unsigned int size)
{
	static const uint8_t ip[20] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0,
				       10, 77, 0, 2};

	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	put16(f + 12, ETH_P_IP);
	memcpy(f + 14, ip, sizeof(ip));
	put16(f + 16, size - 14);
	put16(f + 36, 9);
	put16(f + 38, size - 34);
}

static void aim(uint8_t *f, uint32_t flow)
{
	uint32_t host = flow / PORTS;

	f[27] = (uint8_t)(host >> 16);
	f[28] = (uint8_t)(host >> 8);
	f[29] = (uint8_t)host;
	put16(f + 34, 1024 + flow % PORTS);
	put16(f + 24, 0);
	put16(f + 24, checksum(f + 14, 20));
}

static int open_device(const char *name, uint8_t *mac)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(name)};
	int fd = socket(AF_PACKET, SOCK_RAW, 0), one = 1;
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &ifr) ||
	    bind(fd, (struct sockaddr *)&to, sizeof(to)))
		return -1;
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one));
	return fd;
}

static uint32_t send_all(int fd, uint32_t count, double rate, uint32_t flows)
{
	uint32_t sent = 0, tried = 0;
	double start = now();

	while (tried < count) {
		uint32_t n = count - tried < BATCH ? count - tried : BATCH;
		int done;

		for (uint32_t i = 0; i < n; i++)
			aim(frames[i], (tried + i) % flows);
		done = sendmmsg(fd, messages, n, 0);
		/* A full queue of the device refuses a frame: it was not sent. */
		sent += done > 0 ? (uint32_t)done : 0;
		tried += done > 0 ? (uint32_t)done : 1;
		while (rate > 0 && (double)tried / rate > now() - start)
			usleep(500);
	}
	return sent;
}

int main(int argc, char **argv)
{
	unsigned int size = argc == 7 ? (unsigned int)atoi(argv[6]) : 0;
	uint32_t count, flows;
	uint8_t dst[6], src[6];
	int fd;

	if (argc != 7 || size < HEADERS || size > FRAME_MAX ||
	    sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", dst, dst + 1, dst + 2, dst + 3,
		   dst + 4, dst + 5) != 6) {
		fprintf(stderr, "usage: flood DEV DST_MAC COUNT RATE FLOWS SIZE\n");
		return 2;
	}
	count = (uint32_t)strtoul(argv[3], NULL, 10);
	flows = (uint32_t)strtoul(argv[5], NULL, 10);
	fd = open_device(argv[1], src);
	if (fd < 0 || !flows || count > COUNT_MAX) {
		fprintf(stderr, "flood: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		make(frames[i], dst, src, size);
		vectors[i] = (struct iovec){frames[i], size};
		messages[i].msg_hdr.msg_iov = &vectors[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	printf("%u\n", send_all(fd, count, atof(argv[4]), flows));
	return 0;
}
