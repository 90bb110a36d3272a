/* SPDX-License-Identifier: GPL-2.0-only */
/* Rows of the check about the system calls that a program may use on a socket. */
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/bypass/trial.h"

int weir_row_peek(struct weir_trial *t)
{
	struct weir_pair p;
	uint8_t buf[200];

	if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, 60, 0, 1) ||
	    weir_trial_send(t, p.a, 40, 60, 1))
		return -1;
	for (int i = 0; i < 2; i++) {
		ssize_t n = recv(p.b, buf, 50, MSG_PEEK);

		if (n <= 0 || n > 50 || weir_trial_wrong(buf, (size_t)n, 0, 1) >= 0)
			return weir_trial_fail(t, "a look at the next bytes shows others");
	}
	return weir_trial_expect(t, p.b, 100, 0, 1, false);
}

int weir_row_urgent(struct weir_trial *t)
{
	struct weir_pair p;
	char buf[8];
	ssize_t n;

	if (weir_trial_pair(t, &p))
		return -1;
	if (send(p.a, "ab", 2, 0) != 2 || send(p.a, "!", 1, MSG_OOB) != 1 ||
	    send(p.a, "cd", 2, 0) != 2)
		return weir_trial_fail(t, "send fails:");
	if (!weir_trial_poll(p.b, POLLPRI, WEIR_TRIAL_WAIT_MS))
		return weir_trial_fail(t, "the urgent byte is not told of");
	n = recv(p.b, buf, sizeof(buf), 0);
	if (n != 2 || memcmp(buf, "ab", 2) != 0)
		return weir_trial_fail(t, "the urgent byte is in line with the others");
	if (recv(p.b, buf, 1, MSG_OOB) != 1 || buf[0] != '!')
		return weir_trial_fail(t, "the urgent byte is lost:");
	n = recv(p.b, buf, sizeof(buf), 0);
	return n == 2 && !memcmp(buf, "cd", 2) ? 0 : weir_trial_fail(t, "what follows it is lost");
}

static int events(int ep, int ms)
{
	struct epoll_event e;

	return epoll_wait(ep, &e, 1, ms) == 1 ? (int)e.events : 0;
}

static int epoll_as(struct weir_trial *t, uint32_t flags)
{
	weir_autoclose int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN | EPOLLRDHUP | flags };
	struct weir_pair p;

	if (weir_trial_pair(t, &p) || epoll_ctl(ep, EPOLL_CTL_ADD, p.b, &e))
		return -1;
	if (events(ep, WEIR_TRIAL_QUIET_MS))
		return weir_trial_fail(t, "there is an event before there are bytes");
	if (weir_trial_send(t, p.a, 1000, 0, 1))
		return -1;
	if (!(events(ep, WEIR_TRIAL_WAIT_MS) & EPOLLIN))
		return weir_trial_fail(t, "no event tells of bytes");
	if (weir_trial_expect(t, p.b, 500, 0, 1, false))
		return -1;
	if (!(events(ep, WEIR_TRIAL_QUIET_MS) & EPOLLIN) != !!(flags & EPOLLET))
		return weir_trial_fail(t, flags & EPOLLET ? "an edge is told of twice" :
							    "the level is told of once");
	if (weir_trial_send(t, p.a, 1000, 1000, 1))
		return -1;
	if (!(events(ep, WEIR_TRIAL_WAIT_MS) & EPOLLIN))
		return weir_trial_fail(t, "no event tells of more bytes");
	if (weir_trial_expect(t, p.b, 1500, 500, 1, false))
		return -1;
	if (events(ep, WEIR_TRIAL_QUIET_MS))
		return weir_trial_fail(t, "there is an event, and nothing to read");
	if (shutdown(p.a, SHUT_WR) || !(events(ep, WEIR_TRIAL_WAIT_MS) & EPOLLRDHUP))
		return weir_trial_fail(t, "no event tells of the end");
	return weir_trial_expect(t, p.b, 0, 0, 1, true);
}

int weir_row_epoll(struct weir_trial *t)
{
	return epoll_as(t, 0) || epoll_as(t, EPOLLET) ? -1 : 0;
}

int weir_row_fionread(struct weir_trial *t)
{
	struct weir_pair p;
	int n = -1;

	if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, 600, 0, 1) ||
	    weir_trial_send(t, p.a, 400, 600, 1))
		return -1;
	if (!weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_WAIT_MS) || ioctl(p.b, FIONREAD, &n) ||
	    n != 1000)
		return weir_trial_fail(t, "of 1000 unread bytes FIONREAD says %d", n);
	if (weir_trial_expect(t, p.b, 300, 0, 1, false))
		return -1;
	if (ioctl(p.b, FIONREAD, &n) || n != 700)
		return weir_trial_fail(t, "of 700 unread bytes FIONREAD says %d", n);
	return 0;
}

int weir_row_lowat(struct weir_trial *t)
{
	struct weir_pair p;
	int n = 100;

	if (weir_trial_pair(t, &p) || setsockopt(p.b, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n)) ||
	    weir_trial_send(t, p.a, 50, 0, 1))
		return -1;
	if (weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_QUIET_MS))
		return weir_trial_fail(t, "50 bytes wake a reader who waits for 100");
	if (weir_trial_send(t, p.a, 50, 50, 1))
		return -1;
	return weir_trial_expect(t, p.b, 100, 0, 1, false);
}

struct later {
	struct weir_trial t;
	int fd;
};

static void *send_later(void *arg)
{
	struct later *l = arg;

	poll(NULL, 0, WEIR_TRIAL_QUIET_MS);
	weir_trial_send(&l->t, l->fd, 500, 500, 1);
	return NULL;
}

int weir_row_waitall(struct weir_trial *t)
{
	struct weir_pair p;
	struct later l = { .t = *t };
	uint8_t buf[1000];
	pthread_t thread;
	ssize_t n;

	if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, 500, 0, 1))
		return -1;
	l.fd = p.a;
	pthread_create(&thread, NULL, send_later, &l);
	n = recv(p.b, buf, sizeof(buf), MSG_WAITALL);
	pthread_join(thread, NULL);
	if (n != sizeof(buf))
		return weir_trial_fail(t, "recv with MSG_WAITALL for 1000 bytes returns %zd", n);
	return weir_trial_wrong(buf, sizeof(buf), 0, 1) < 0 ? 0 : weir_trial_fail(t, "wrong bytes");
}

int weir_row_timeout(struct weir_trial *t)
{
	struct timeval tv = { .tv_usec = 2000 * WEIR_TRIAL_QUIET_MS };
	struct weir_pair p;
	uint64_t began;
	char c;

	if (weir_trial_pair(t, &p) || setsockopt(p.b, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		return -1;
	began = weir_clock_mono();
	if (recv(p.b, &c, 1, 0) != -1 || errno != EAGAIN)
		return weir_trial_fail(t, "recv without bytes does not time out:");
	if (weir_clock_mono() - began < 1900000ULL * WEIR_TRIAL_QUIET_MS)
		return weir_trial_fail(t, "recv gives up before its time");
	if (weir_trial_send(t, p.a, 1, 0, 1))
		return -1;
	return weir_trial_expect(t, p.b, 1, 0, 1, false);
}

int weir_row_splice(struct weir_trial *t)
{
	struct weir_pair p;
	uint8_t buf[4000];
	size_t got = 0;
	int pipes[2];

	/* Not blocking: this way it is known at once. */
	if (weir_trial_pair(t, &p) || pipe(pipes) || fcntl(p.b, F_SETFL, O_NONBLOCK) ||
	    weir_trial_send(t, p.a, sizeof(buf), 0, 1))
		return -1;
	while (got < sizeof(buf)) {
		ssize_t n;

		if (!weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_WAIT_MS))
			return weir_trial_fail(t, "there is nothing to splice");
		n = splice(p.b, NULL, pipes[1], NULL, sizeof(buf) - got, SPLICE_F_NONBLOCK);
		if (n <= 0)
			return weir_trial_fail(t, "there are bytes, but splice finds none:");
		if (read(pipes[0], buf + got, (size_t)n) != n)
			return weir_trial_fail(t, "the pipe gives less");
		got += (size_t)n;
	}
	return weir_trial_wrong(buf, sizeof(buf), 0, 1) < 0 ? 0 : weir_trial_fail(t, "wrong bytes");
}

int weir_row_sendfile(struct weir_trial *t)
{
	enum { SIZE = 1 << 20 };
	weir_autofree uint8_t *buf = malloc(SIZE);
	weir_autoclose int file = memfd_create("weir", MFD_CLOEXEC);
	struct weir_pair p;
	off_t at = 0;
	size_t got = 0;

	if (!buf || file < 0 || weir_trial_pair(t, &p))
		return -1;
	weir_trial_fill(buf, SIZE, 0, 1);
	if (write(file, buf, SIZE) != SIZE || fcntl(p.a, F_SETFL, O_NONBLOCK))
		return weir_trial_fail(t, "cannot write the file:");
	while (got < SIZE) {
		ssize_t n = at < SIZE ? sendfile(p.a, file, &at, (size_t)(SIZE - at)) : 0;

		if (n < 0 && errno != EAGAIN)
			return weir_trial_fail(t, "sendfile fails:");
		if (!weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_WAIT_MS))
			return weir_trial_fail(t, "%zu of %zd bytes arrive", got, (ssize_t)at);
		n = recv(p.b, buf, SIZE, MSG_DONTWAIT);
		if (n <= 0 || weir_trial_wrong(buf, (size_t)n, got, 1) >= 0)
			return weir_trial_fail(t, "not what was in the file");
		got += (size_t)n;
	}
	t->sent += SIZE;
	return 0;
}

/* ---- Ends that are no ends */

/* Who is sent a reset learns that what he sent was not read. */
int weir_row_unread(struct weir_trial *t)
{
	struct weir_pair p;
	char c;

	if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, 1000, 0, 1) ||
	    !weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_WAIT_MS))
		return -1;
	close(p.b);
	if (!weir_trial_poll(p.a, POLLIN, WEIR_TRIAL_WAIT_MS))
		return weir_trial_fail(t, "nothing tells that the reader has gone");
	if (recv(p.a, &c, 1, 0) != -1 || errno != ECONNRESET)
		return weir_trial_fail(t, "closed with bytes unread, the writer sees an orderly "
					  "end, not a reset");
	return 0;
}

/* What was sent before a reset is still there. */
int weir_row_abort(struct weir_trial *t)
{
	struct linger now = { .l_onoff = 1 };
	struct weir_pair p;
	char c;

	if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, 1000, 0, 1) ||
	    !weir_trial_poll(p.b, POLLIN, WEIR_TRIAL_WAIT_MS) ||
	    setsockopt(p.a, SOL_SOCKET, SO_LINGER, &now, sizeof(now)))
		return -1;
	close(p.a);
	if (!weir_trial_poll(p.b, POLLERR, WEIR_TRIAL_WAIT_MS))
		return weir_trial_fail(t, "nothing tells of the reset");
	for (int i = 0; i < 1001; i++)
		if (recv(p.b, &c, 1, MSG_DONTWAIT) < 0)
			return errno == ECONNRESET ? 0 : weir_trial_fail(t, "not a reset:");
	return weir_trial_fail(t, "an orderly end instead of a reset");
}

struct closer {
	int fd;
};

static void *close_soon(void *arg)
{
	const struct closer *c = arg;
	struct timespec wait = { .tv_nsec = 1000000 };

	nanosleep(&wait, NULL);
	close(c->fd);
	return NULL;
}

/* A reader that goes while bytes come: the writer gets the errors that it knows. */
int weir_row_shutdown(struct weir_trial *t)
{
	char buf[20000] = { 0 };

	for (int i = 0; i < 30; i++) {
		struct weir_pair p;
		struct closer c;
		pthread_t thread;
		ssize_t n = 0;

		if (weir_trial_pair(t, &p))
			return -1;
		c.fd = p.b;
		pthread_create(&thread, NULL, close_soon, &c);
		for (size_t sent = 0; n >= 0 && sent < WEIR_TRIAL_BYTES_MAX;) {
			n = send(p.a, buf, sizeof(buf), MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		pthread_join(thread, NULL);
		if (n >= 0)
			return weir_trial_fail(t, "a writer never learns that the reader has gone");
		if (errno != EPIPE && errno != ECONNRESET)
			return weir_trial_fail(t, "where the reader has gone, send fails with:");
		close(p.a);
	}
	return 0;
}

int weir_row_tcp_info(struct weir_trial *t)
{
	struct weir_pair p;
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (weir_trial_pair(t, &p) || weir_trial_pump(t, p.a, p.b, 1000, 100, 100))
		return -1;
	if (getsockopt(p.b, IPPROTO_TCP, TCP_INFO, &info, &len))
		return weir_trial_fail(t, "cannot ask for TCP_INFO:");
	if (info.tcpi_bytes_received != 1000)
		return weir_trial_fail(t, "of 1000 bytes TCP_INFO counts %llu",
				       (unsigned long long)info.tcpi_bytes_received);
	return 0;
}
