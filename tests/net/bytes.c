/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Both ends of a proxy: clients in one network namespace, their backends in it and in
 * another, and every byte that either end gets is compared with what the other one sent.
 *
 *	bytes CLIENT_NETNS PROXY_NETNS SEED COUNT AT_ONCE OUT CLIENT4 PROXY4 PROXY6 PORT UNIX
 *
 * COUNT connections, AT_ONCE of them at a time, to PROXY4:PORT or [PROXY6]:PORT, each
 * with a ClientHello for cID.KIND.test:
 *
 *	KIND	its backend
 *	far	CLIENT4:PORT+1 in CLIENT_NETNS
 *	near	[PROXY6]:PORT+1 in PROXY_NETNS
 *	unix	the socket UNIX
 *
 * What a connection does follows from SEED and its number alone: how much each end sends
 * and in which pieces, who closes first and how, who stops reading for a while. OUT gets
 * a line for each. The exit status is 0 when there was no difference.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "bytes_plan.h"

#define SHARE (4 * BUFFER) /* bytes an end reads or writes before the others' turn */
#define PATIENCE_MS 30000  /* without any progress */
#define QUIET_MS 300	   /* for backends that the proxy still connects to */
#define COUNT_MAX 1000000u
#define TOLD_MAX 20

static struct conn *conns;
static uint32_t n_conns, n_begun, n_open;
static uint64_t seed, orphans, differences, up_got, down_got;
static struct end *ends;
static int epoll_fd;
static struct end doors[KINDS];
static struct sockaddr_in front4, back4;
static struct sockaddr_in6 front6, back6;
static struct sockaddr_un back_unix;
static bool moved; /* anything, in this round */
static uint8_t buffer[BUFFER], wanted[BUFFER];

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static const struct end *other_of(const struct end *e)
{
	return e->backend ? &e->conn->client : &e->conn->backend;
}

__attribute__((format(printf, 2, 3))) static void differs(const struct end *e, const char *format,
							  ...)
{
	const struct conn *c = e->conn;
	va_list args;

	if (differences++ >= TOLD_MAX)
		return;
	fprintf(stderr, "bytes: seed %llu, ", (unsigned long long)seed);
	if (c)
		fprintf(stderr, "%u (%s, %s, IPv%d), ", c->id, kinds[c->kind], modes[c->mode],
			c->v6 ? 6 : 4);
	if (c && other_of(e)->urgent_at != NEVER)
		fprintf(stderr, "urgent byte at %llu, ",
			(unsigned long long)other_of(e)->urgent_at);
	fprintf(stderr, "%s, sent %llu of %llu, got %llu: ", e->backend ? "backend" : "client",
		(unsigned long long)e->sent, (unsigned long long)e->total,
		(unsigned long long)e->got);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

/* ---- Ends */

static void watch(struct end *e)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
		.data.ptr = e,
	};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, e->fd, &event))
		die("epoll_ctl");
	e->next = ends;
	e->prev = &ends;
	if (ends)
		ends->prev = &e->next;
	ends = e;
}

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		die("setsockopt");
}

static void tune(struct end *e)
{
	if (e->conn->small_buffers) {
		set(e->fd, SOL_SOCKET, SO_RCVBUF, 32768);
		set(e->fd, SOL_SOCKET, SO_SNDBUF, 32768);
	}
	if (!e->tcp)
		return;
	set(e->fd, IPPROTO_TCP, TCP_NODELAY, e->conn->nodelay);
	set(e->fd, SOL_SOCKET, SO_OOBINLINE, 1);
}

static void finish(struct end *e, bool reset)
{
	struct linger now = { .l_onoff = 1 };

	if (reset)
		setsockopt(e->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(e->fd);
	e->fd = -1;
	e->done = true;
	*e->prev = e->next;
	if (e->next)
		e->next->prev = e->prev;
	moved = true;
	if (!e->conn) {
		free(e);
		return;
	}
	*(e->backend ? &up_got : &down_got) += e->got;
	if (--e->conn->open == 0) {
		n_open--;
		free(e->conn->hello);
		e->conn->hello = NULL;
	}
}

/* Is it right that @e saw the other one's end so? */
static void judge(struct end *e, int error)
{
	const struct end *other = other_of(e);
	bool resets = other->reset_at != NEVER;

	if (e->saw == FIN && resets && e->tcp)
		differs(e, "a FIN where the other end sent a reset");
	if (e->saw == FIN && !resets && e->got != other->total && (e->tcp || !other->abandons))
		differs(e, "a FIN %llu bytes too early",
			(unsigned long long)(other->total - e->got));
	if (e->saw == RESET && !resets && !other->abandons)
		differs(e, "%s, but the other end did not reset", strerror(error));
}

static void saw(struct end *e, enum saw what, int error)
{
	moved = true;
	e->readable = false;
	e->saw = what;
	judge(e, error);
}

/* The backend's first bytes tell whose it is. Its @e is replaced by the one planned. */
static struct end *identify(struct end *e)
{
	uint32_t id = (uint32_t)e->head[ID_AT + 4] << 24 | (uint32_t)e->head[ID_AT + 5] << 16 |
		      (uint32_t)e->head[ID_AT + 6] << 8 | e->head[ID_AT + 7];
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
	};
	struct end *b;

	if (id >= n_begun || conns[id].backend.fd >= 0 || conns[id].backend.done) {
		differs(e, "a backend for %u, which is none or has one", id);
		finish(e, true);
		return NULL;
	}
	b = &conns[id].backend;
	b->fd = e->fd;
	b->got = e->got;
	/* The client may be through, and its hello forgotten, when a backend comes. */
	if (conns[id].open++ == 0) {
		struct conn again = { 0 };

		plan(&again, seed, id);
		conns[id].hello = again.hello;
		n_open++;
	}
	expected(b->conn, true, 0, wanted, ID_KNOWN);
	if (memcmp(wanted, e->head, ID_KNOWN) != 0)
		differs(b, "another hello than was sent");
	tune(b);
	event.data.ptr = b;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, b->fd, &event))
		die("epoll_ctl");
	b->readable = b->writable = true;
	b->next = e->next;
	b->prev = e->prev;
	*b->prev = b;
	if (b->next)
		b->next->prev = &b->next;
	free(e);
	return b;
}

/* A backend that does not know its id. */
static struct end *read_head(struct end *e)
{
	ssize_t n = recv(e->fd, e->head + e->got, ID_KNOWN - e->got, 0);

	if (n > 0) {
		moved = true;
		e->got += (uint64_t)n;
		return e->got == ID_KNOWN ? identify(e) : e;
	}
	if (n < 0 && errno == EAGAIN) {
		e->readable = false;
		return e;
	}
	/* Its client was gone before it was there. */
	orphans++;
	if (n == 0 && e->got)
		differs(e, "a FIN within the hello");
	finish(e, false);
	return NULL;
}

static bool stalls(struct end *e)
{
	if (e->got < e->stall_at)
		return false;
	if (!e->resume_at)
		e->resume_at = now_ms() + e->stall_ms;
	if (now_ms() < e->resume_at)
		return true;
	e->stall_at = NEVER;
	return false;
}

static void read_some(struct end *e)
{
	const struct conn *c = e->conn;
	uint64_t total = other_of(e)->total;

	for (uint64_t share = e->got + SHARE; e->readable && e->got < share && !stalls(e);) {
		ssize_t n = recv(e->fd, buffer, e->read_most, 0);

		if (n < 0 && errno == EAGAIN) {
			e->readable = false;
		} else if (n <= 0) {
			saw(e, n == 0 ? FIN : RESET, errno);
		} else {
			size_t bytes = (size_t)n;

			moved = true;
			if (e->got + bytes > total) {
				differs(e, "%zu bytes more than were sent",
					(size_t)(e->got + bytes - total));
				bytes = e->got < total ? (size_t)(total - e->got) : 0;
			}
			expected(c, e->backend, e->got, wanted, bytes);
			for (size_t i = 0; i < bytes; i++) {
				if (buffer[i] == wanted[i])
					continue;
				differs(e, "byte %llu is %02x, sent was %02x",
					(unsigned long long)(e->got + i), buffer[i], wanted[i]);
				break;
			}
			e->got += (uint64_t)n;
		}
	}
}

/* How much may be sent now, of what lies together. */
static size_t piece(const struct end *e)
{
	uint64_t n = e->total - e->sent, most = e->sent ? e->write_most : e->first;

	if (e->saw != FIN && e->hold_at != NEVER && n > e->hold_at - e->sent)
		n = e->hold_at - e->sent;
	if (e->reset_at != NEVER && n > e->reset_at - e->sent)
		n = e->reset_at - e->sent;
	if (e->sent == e->urgent_at)
		return n ? 1 : 0;
	if (e->urgent_at > e->sent && n > e->urgent_at - e->sent)
		n = e->urgent_at - e->sent;
	if (!most)
		most = e->write_most;
	return n < most ? n : most;
}

static void write_some(struct end *e)
{
	uint64_t share = e->sent + SHARE;
	size_t n;

	while (e->writable && e->saw != RESET && e->sent < share && (n = piece(e))) {
		int flags = MSG_NOSIGNAL | (e->sent == e->urgent_at ? MSG_OOB : 0);
		ssize_t took;

		if (n > BUFFER)
			n = BUFFER;
		expected(e->conn, !e->backend, e->sent, buffer, n);
		took = send(e->fd, buffer, n, flags);
		if (took < 0 && errno == EAGAIN) {
			e->writable = false;
		} else if (took < 0) {
			saw(e, RESET, errno);
		} else {
			moved = true;
			e->sent += (uint64_t)took;
		}
	}
}

/* False: it is over. */
static bool close_some(struct end *e)
{
	if (e->sent == e->reset_at && !(e->reset_after_got && !e->got && e->saw == OPEN)) {
		finish(e, true);
		return false;
	}
	if (e->saw == RESET) {
		finish(e, false);
		return false;
	}
	if (e->sent < e->total || e->reset_at != NEVER)
		return true;
	if (e->abandons) {
		finish(e, false);
		return false;
	}
	if (!e->shut && (e->hold_at == NEVER || e->saw == FIN)) {
		e->shut = true;
		moved = true;
		if (shutdown(e->fd, SHUT_WR) && errno != ENOTCONN)
			differs(e, "shutdown: %s", strerror(errno));
	}
	if (!e->shut || e->saw != FIN)
		return true;
	finish(e, false);
	return false;
}

static void serve(struct end *e)
{
	while (!e->conn && e->readable) {
		e = read_head(e);
		if (!e)
			return;
	}
	if (!e->conn)
		return;
	if (e->writable)
		write_some(e);
	read_some(e);
	if (e->writable && e->saw == FIN)
		write_some(e);
	close_some(e);
}

/* ---- Beginnings */

static void begin(void)
{
	struct conn *c = &conns[n_begun];
	struct sockaddr *to;
	socklen_t len;
	union {
		struct sockaddr_in6 in6;
		struct sockaddr_in in;
	} own = { 0 };
	socklen_t own_len = sizeof(own);

	plan(c, seed, n_begun++);
	to = c->v6 ? (struct sockaddr *)&front6 : (struct sockaddr *)&front4;
	len = c->v6 ? sizeof(front6) : sizeof(front4);
	c->client.fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->client.fd < 0)
		die("socket");
	tune(&c->client);
	if (connect(c->client.fd, to, len) && errno != EINPROGRESS)
		die("connect");
	getsockname(c->client.fd, (struct sockaddr *)&own, &own_len);
	c->port = ntohs(own.in.sin_port);
	c->open++;
	n_open++;
	watch(&c->client);
}

static void accept_all(int fd)
{
	int got;

	while ((got = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct end *e = calloc(1, sizeof(*e));

		if (!e)
			die("memory");
		e->fd = got;
		e->backend = true;
		watch(e);
		moved = true;
	}
}

static void round_of(int timeout)
{
	struct epoll_event event[256];
	int n = epoll_wait(epoll_fd, event, 256, timeout);
	struct end *next;

	for (int i = 0; i < n; i++) {
		struct end *e = event[i].data.ptr;

		if (e->listens) {
			accept_all(e->fd);
			continue;
		}
		if (event[i].events & ~EPOLLOUT)
			e->readable = e->saw == OPEN;
		if (event[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
			e->writable = true;
	}
	for (struct end *e = ends; e; e = next) {
		next = e->next;
		serve(e);
	}
}

static void stuck(void)
{
	for (struct end *e = ends; e; e = e->next)
		differs(e, "no end within %d s; saw %s", PATIENCE_MS / 1000, saws[e->saw]);
}

static void run(uint32_t at_once)
{
	int64_t last = now_ms();

	while (n_begun < n_conns || n_open || ends || now_ms() - last < QUIET_MS) {
		bool busy = moved;

		while (n_begun < n_conns && n_open < at_once)
			begin();
		moved = false;
		round_of(busy ? 0 : 5);
		if (moved)
			last = now_ms();
		else if (now_ms() - last > PATIENCE_MS) {
			stuck();
			return;
		}
	}
}

/* ---- Setting up */

static void listen_at(enum kind kind, const void *at, socklen_t len)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = &doors[kind] };
	int fd = socket(((const struct sockaddr *)at)->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket");
	if (kind != UNIX)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, at, len) || listen(fd, 4096) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("listen");
	doors[kind].fd = fd;
	doors[kind].listens = true;
}

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(netns);
	close(fd);
}

static void set_up(char **argv)
{
	uint16_t port = (uint16_t)atoi(argv[10]);

	front4.sin_family = back4.sin_family = AF_INET;
	front6.sin6_family = back6.sin6_family = AF_INET6;
	front4.sin_port = front6.sin6_port = htons(port);
	back4.sin_port = back6.sin6_port = htons(port + 1);
	if (inet_pton(AF_INET, argv[7], &back4.sin_addr) != 1 ||
	    inet_pton(AF_INET, argv[8], &front4.sin_addr) != 1 ||
	    inet_pton(AF_INET6, argv[9], &front6.sin6_addr) != 1)
		die("an address");
	back6.sin6_addr = front6.sin6_addr;
	back_unix.sun_family = AF_UNIX;
	snprintf(back_unix.sun_path, sizeof(back_unix.sun_path), "%s", argv[11]);
	epoll_fd = epoll_create1(0);
	enter(argv[2]);
	listen_at(NEAR, &back6, sizeof(back6));
	listen_at(UNIX, &back_unix, sizeof(back_unix));
	if (chmod(back_unix.sun_path, 0777))
		die("chmod");
	enter(argv[1]);
	listen_at(FAR, &back4, sizeof(back4));
}

static void tell(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		die(path);
	for (uint32_t i = 0; i < n_conns; i++) {
		struct conn *c = &conns[i];
		struct end *a = &c->client, *b = &c->backend;

		if (!b->done && c->mode != RESET_CLIENT)
			differs(b, "it was never connected to");
		fprintf(f, "%u %s %s %u %llu %llu %llu %llu %llu %llu %s %s\n", i, kinds[c->kind],
			modes[c->mode], c->port, (unsigned long long)a->total,
			(unsigned long long)a->sent, (unsigned long long)b->got,
			(unsigned long long)b->total, (unsigned long long)b->sent,
			(unsigned long long)a->got, saws[a->saw], saws[b->saw]);
	}
	if (fclose(f))
		die(path);
}

int main(int argc, char **argv)
{
	uint32_t at_once;

	if (argc != 12) {
		fprintf(stderr, "usage: bytes CLIENT_NETNS PROXY_NETNS SEED COUNT AT_ONCE OUT "
				"CLIENT4 PROXY4 PROXY6 PORT UNIX\n");
		return 2;
	}
	seed = strtoull(argv[3], NULL, 10);
	n_conns = (uint32_t)strtoul(argv[4], NULL, 10);
	at_once = (uint32_t)strtoul(argv[5], NULL, 10);
	if (n_conns > COUNT_MAX || !at_once)
		return 2;
	conns = calloc(n_conns, sizeof(*conns));
	if (!conns)
		die("memory");
	set_up(argv);
	run(at_once);
	tell(argv[6]);
	printf("{\"connections\": %u, \"differences\": %llu, \"orphans\": %llu, "
	       "\"up\": %llu, \"down\": %llu}\n",
	       n_begun, (unsigned long long)differences, (unsigned long long)orphans,
	       (unsigned long long)up_got, (unsigned long long)down_got);
	return differences != 0;
}
