/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/trial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define BUFFER (1U << 20)

static int server_netns = -1, client_netns = -1;

int weir_trial_fail(struct weir_trial *t, const char *fmt, ...)
{
	const char *why = strerror(errno);
	size_t n = strlen(fmt);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->detail, sizeof(t->detail), fmt, ap);
	va_end(ap);
	if (n && fmt[n - 1] == ':') {
		n = strlen(t->detail);
		snprintf(t->detail + n, sizeof(t->detail) - n, " %s", why);
	}
	return -1;
}

/* ---- Two connected sockets */

static void address(const struct weir_trial *t, struct sockaddr_storage *at, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)at;

	memset(at, 0, sizeof(*at));
	at->ss_family = (sa_family_t)t->family;
	*len = t->family == AF_INET ? sizeof(*v4) : sizeof(*v6);
	if (t->family == AF_INET6)
		v6->sin6_addr = in6addr_loopback;
	else
		inet_pton(AF_INET, t->veth ? "192.0.2.2" : "127.0.0.1", &v4->sin_addr);
}

/* One thread only: rows of this kind have no others. */
static int enter(struct weir_trial *t, int netns)
{
	if (!t->veth || !setns(netns, CLONE_NEWNET))
		return 0;
	return weir_trial_fail(t, "cannot enter a network namespace:");
}

static int prepare_veth(struct weir_trial *t)
{
	int ret;

	if (!t->veth || server_netns >= 0)
		return 0;
	ret = weir_trial_veth(&server_netns);
	if (ret) {
		errno = -ret;
		return weir_trial_fail(t, "cannot make a pair of veth:");
	}
	client_netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return client_netns < 0 ? weir_trial_fail(t, "cannot open the namespace:") : 0;
}

int weir_trial_listen(struct weir_trial *t, struct sockaddr_storage *at, socklen_t *len)
{
	int fd;

	if (prepare_veth(t) || enter(t, server_netns))
		return -1;
	fd = socket(t->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (enter(t, client_netns))
		return -1;
	address(t, at, len);
	if (fd < 0 || bind(fd, (struct sockaddr *)at, *len) || listen(fd, 8) ||
	    getsockname(fd, (struct sockaddr *)at, len))
		return weir_trial_fail(t, "cannot listen:");
	return fd;
}

int weir_trial_connect(struct weir_trial *t, const struct sockaddr_storage *at, socklen_t len)
{
	int fd = socket(t->family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)at, len))
		return weir_trial_fail(t, "cannot connect:");
	return fd;
}

int weir_trial_pair(struct weir_trial *t, struct weir_pair *p)
{
	struct sockaddr_storage at;
	socklen_t len;
	weir_autoclose int listener = weir_trial_listen(t, &at, &len);

	if (listener < 0)
		return -1;
	p->a = weir_trial_connect(t, &at, len);
	if (p->a < 0)
		return -1;
	p->b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return p->b < 0 ? weir_trial_fail(t, "cannot accept:") : 0;
}

void weir_trial_close(struct weir_pair *p)
{
	close(p->a);
	close(p->b);
}

/* ---- Bytes */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	return x;
}

static uint8_t byte_at(uint64_t at, unsigned int seed)
{
	return (uint8_t)(mix(at / 8 + 1 + ((uint64_t)seed << 40)) >> (at % 8 * 8));
}

void weir_trial_fill(uint8_t *buf, size_t n, uint64_t at, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(at + i, seed);
}

long weir_trial_wrong(const uint8_t *buf, size_t n, uint64_t at, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		if (buf[i] != byte_at(at + i, seed))
			return (long)i;
	return -1;
}

bool weir_trial_poll(int fd, short events, int ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, ms) == 1 && p.revents & events;
}

int weir_trial_send(struct weir_trial *t, int fd, size_t n, uint64_t at, unsigned int seed)
{
	weir_autofree uint8_t *buf = malloc(n + 1);
	size_t done = 0;

	if (!buf)
		return weir_trial_fail(t, "out of memory");
	weir_trial_fill(buf, n, at, seed);
	while (done < n) {
		ssize_t r = send(fd, buf + done, n - done, MSG_NOSIGNAL);

		if (r < 0)
			return weir_trial_fail(t, "send fails:");
		done += (size_t)r;
	}
	t->sent += n;
	return 0;
}

static int check_bytes(struct weir_trial *t, const uint8_t *buf, size_t n, uint64_t at,
		       unsigned int seed)
{
	long wrong = weir_trial_wrong(buf, n, at, seed);

	if (wrong < 0)
		return 0;
	return weir_trial_fail(t, "byte %llu is not the one that was sent",
			       (unsigned long long)at + (unsigned long long)wrong);
}

int weir_trial_expect(struct weir_trial *t, int fd, size_t n, uint64_t at, unsigned int seed,
		      bool end)
{
	weir_autofree uint8_t *buf = malloc(BUFFER);
	size_t done = 0;
	ssize_t r = 0;

	while (buf && done < n) {
		size_t want = n - done < BUFFER ? n - done : BUFFER;

		if (!weir_trial_poll(fd, POLLIN, WEIR_TRIAL_WAIT_MS))
			return weir_trial_fail(t, "%zu of %zu bytes arrived, the rest never", done,
					       n);
		r = recv(fd, buf, want, MSG_DONTWAIT);
		if (r < 0)
			return weir_trial_fail(t, "recv fails after %zu of %zu bytes:", done, n);
		if (!r)
			return weir_trial_fail(t, "the end came after %zu of %zu bytes", done, n);
		if (check_bytes(t, buf, (size_t)r, at + done, seed))
			return -1;
		done += (size_t)r;
	}
	if (!buf)
		return weir_trial_fail(t, "out of memory");
	if (!end)
		return 0;
	if (!weir_trial_poll(fd, POLLIN, WEIR_TRIAL_WAIT_MS))
		return weir_trial_fail(t, "the end is not seen behind %zu bytes", n);
	r = recv(fd, buf, BUFFER, MSG_DONTWAIT);
	if (r)
		return weir_trial_fail(t, r > 0 ? "more bytes arrive than were sent" :
						  "instead of the end:");
	return 0;
}

struct pump {
	uint8_t *out, *in;
	size_t sent, got;
};

/* One turn; 1: nothing moved. */
static int pump_once(struct weir_trial *t, struct pump *p, const int fd[2], size_t n,
		     const size_t size[2])
{
	size_t left = n - p->sent < size[0] ? n - p->sent : size[0];
	ssize_t w = -1, r;

	if (left) {
		weir_trial_fill(p->out, left, p->sent, 1);
		w = send(fd[0], p->out, left, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w < 0 && errno != EAGAIN)
			return weir_trial_fail(t, "send fails after %zu bytes:", p->sent);
		p->sent += w > 0 ? (size_t)w : 0;
	}
	r = recv(fd[1], p->in, size[1], MSG_DONTWAIT);
	if (r < 0 && errno != EAGAIN)
		return weir_trial_fail(t, "recv fails after %zu bytes:", p->got);
	if (!r)
		return weir_trial_fail(t, "the end comes after %zu bytes of %zu", p->got, n);
	if (r > 0 && check_bytes(t, p->in, (size_t)r, p->got, 1))
		return -1;
	p->got += r > 0 ? (size_t)r : 0;
	return w <= 0 && r < 0;
}

int weir_trial_pump(struct weir_trial *t, int from, int to, size_t n, size_t write_size,
		    size_t read_size)
{
	weir_autofree uint8_t *out = malloc(write_size), *in = malloc(read_size);
	struct pump p = { out, in, 0, 0 };
	const int fd[2] = { from, to };
	const size_t size[2] = { write_size, read_size };

	if (!out || !in)
		return weir_trial_fail(t, "out of memory");
	while (p.got < n) {
		int ret = pump_once(t, &p, fd, n, size);

		if (ret < 0)
			return ret;
		if (ret && !weir_trial_poll(to, POLLIN, WEIR_TRIAL_WAIT_MS))
			return weir_trial_fail(t, "%zu of %zu sent bytes arrive, the rest never",
					       p.got, p.sent);
	}
	t->sent += p.sent;
	return 0;
}
