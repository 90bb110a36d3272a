/* SPDX-License-Identifier: GPL-2.0-only */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/selftest/selftest.h"

#define DATAGRAM_MAX 1400
#define ROOM (8 << 20) /* for what waits to be counted */
#define QUIET_MS 200   /* nothing for so long: nothing comes any more */
#define BURST 32       /* then a short rest: the receiver's softirq is on the same CPU */

static int open_side(const struct weir_selftest *t, enum weir_lab_side side, int *ret)
{
	int code = weir_lab_enter(&t->lab, side), back;

	if (code)
		return code;
	*ret = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	code = *ret < 0 ? -errno : 0;
	back = weir_lab_leave(&t->lab);
	return code ? code : back;
}

int weir_udp_open(struct weir_udp *u, const struct weir_selftest *t, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int room = ROOM;
	int ret;

	u->from = u->to = -1;
	inet_pton(AF_INET, weir_lab_addr[WEIR_LAB_B], &to.sin_addr);
	ret = open_side(t, WEIR_LAB_B, &u->to);
	if (!ret)
		ret = open_side(t, WEIR_LAB_A, &u->from);
	if (ret)
		return ret;
	if (setsockopt(u->to, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    bind(u->to, (const struct sockaddr *)&to, sizeof(to)) ||
	    connect(u->from, (const struct sockaddr *)&to, sizeof(to)))
		return -errno;
	return 0;
}

void weir_udp_close(struct weir_udp *u)
{
	weir_closep(&u->from);
	weir_closep(&u->to);
}

uint64_t weir_udp_send(const struct weir_udp *u, uint64_t n, size_t size)
{
	static const unsigned char bytes[DATAGRAM_MAX];
	uint64_t sent = 0;

	for (uint64_t i = 0; i < n; i++) {
		/* An error is an earlier datagram's (ICMP): this one was not sent. */
		if (send(u->from, bytes, size, 0) < 0 && send(u->from, bytes, size, 0) < 0)
			continue;
		sent++;
		if (sent % BURST == 0)
			poll(NULL, 0, 1);
	}
	return sent;
}

uint64_t weir_udp_count(const struct weir_udp *u)
{
	struct pollfd p = { .fd = u->to, .events = POLLIN };
	unsigned char bytes[DATAGRAM_MAX];
	uint64_t n = 0;

	while (poll(&p, 1, QUIET_MS) > 0)
		while (recv(u->to, bytes, sizeof(bytes), 0) >= 0)
			n++;
	return n;
}

uint64_t weir_udp_one_by_one(const struct weir_udp *u, uint64_t n, size_t size)
{
	struct pollfd p = { .fd = u->to, .events = POLLIN };
	unsigned char bytes[DATAGRAM_MAX];
	uint64_t got = 0;

	for (uint64_t i = 0; i < n; i++)
		if (weir_udp_send(u, 1, size) && poll(&p, 1, QUIET_MS) > 0 &&
		    recv(u->to, bytes, sizeof(bytes), 0) >= 0)
			got++;
	return got;
}
