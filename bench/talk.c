/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * talk serve|transparent ADDR PORT, talk bulk|rr|crr ADDR PORT CONNECTIONS SECONDS: both
 * ends of what `bench/proxy` and `bench/steer` measure; `transparent` is a server to which
 * TPROXY may lead. Each connection begins with a TLS ClientHello that names
 * bench.test, so that whatever stands between can route it; behind it one byte
 * says what follows:
 *
 *	S  the client sends zeros and in the end one byte that is none; the server answers
 *	   with the number of bytes that it got (no FIN: not every proxy keeps a half-close)
 *	P  messages of MESSAGE bytes, each of which comes back
 *	C  one byte comes back, and the server closes
 *
 * The client prints one line of JSON. The server closes first in C, because then no
 * port of the client or of a proxy waits in TIME_WAIT.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 64
#define BUFFER 262144
#define EVENTS 256
#define SAMPLES_MAX (8U << 20)
#define NSEC 1000000000ULL
#define GIVE_UP_SECONDS 20 /* behind the end, for what is under way */

static const char name[] = "bench.test";

struct peer {
	int fd;
	char kind; /* 0: the hello is not over yet */
	uint8_t head[5];
	uint32_t head_len, skip;
	uint64_t bytes, began; /* of a message or connection */
	uint32_t at;	       /* bytes of the message that are there */
	bool started;
};

static struct {
	char kind;
	struct sockaddr_storage to;
	socklen_t to_len;
	uint8_t hello[512];
	size_t hello_len;
	int epoll;
	uint64_t end, done, bytes, failed;
	uint32_t *sample; /* ns */
	size_t n_samples;
	uint8_t *buffer;
} t;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "talk: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* RFC 8446, 4.1.2, as short as it may be, in one record. */
static void make_hello(void)
{
	uint8_t *h = t.hello, *ext;
	size_t n = sizeof(name) - 1, at = 9;

	put16(h + at, 0x0303);
	memset(h + at + 2, 0x5a, 32);
	at += 34;
	h[at++] = 0; /* session */
	put16(h + at, 2);
	put16(h + at + 2, 0x1301);
	at += 4;
	h[at++] = 1; /* compression: null */
	h[at++] = 0;
	ext = h + at;
	at += 2;
	put16(h + at, 0); /* server_name */
	put16(h + at + 2, n + 5);
	put16(h + at + 4, n + 3);
	h[at + 6] = 0;
	put16(h + at + 7, n);
	memcpy(h + at + 9, name, n);
	at += 9 + n;
	put16(ext, (size_t)(h + at - ext) - 2);
	h[0] = 22;
	put16(h + 1, 0x0301);
	put16(h + 3, at - 5);
	h[5] = 1;
	h[6] = 0;
	put16(h + 7, at - 9);
	h[at++] = (uint8_t)t.kind;
	t.hello_len = at;
}

static void watch(struct peer *p, int op, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = p };

	if (epoll_ctl(t.epoll, op, p->fd, &e))
		die("epoll_ctl");
}

static void set_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- The server */

static void hang_up(struct peer *p)
{
	close(p->fd);
	free(p);
}

/* Bytes of the hello at the beginning of the buffer; the rest is the talk's. */
static size_t eat_hello(struct peer *p, const uint8_t *data, size_t n)
{
	size_t at = 0, some;

	while (p->head_len < sizeof(p->head) && at < n)
		p->head[p->head_len++] = data[at++];
	if (p->head_len == sizeof(p->head) && !p->started) {
		p->skip = (uint32_t)p->head[3] << 8 | p->head[4];
		p->started = true;
	}
	some = n - at < p->skip ? n - at : p->skip;
	p->skip -= (uint32_t)some;
	at += some;
	if (p->started && !p->skip && at < n)
		p->kind = (char)data[at++];
	return at;
}

/* What the server has to say is short: it fits into an empty socket buffer. */
static bool say(const struct peer *p, const void *data, size_t n)
{
	return send(p->fd, data, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* @end: of the bytes in the buffer. */
static void serve_bytes(struct peer *p, const uint8_t *end, size_t n)
{
	p->bytes += n;
	if (p->kind == 'S' && n && end[-1])
		say(p, &p->bytes, sizeof(p->bytes));
	if (p->kind == 'P') {
		p->at += (uint32_t)n;
		for (; p->at >= MESSAGE; p->at -= MESSAGE)
			if (!say(p, t.buffer, MESSAGE))
				return;
	}
}

static void serve(struct peer *p)
{
	ssize_t n = recv(p->fd, t.buffer, BUFFER, 0);
	size_t eaten = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(p);
		return;
	}
	if (!p->kind) {
		eaten = eat_hello(p, t.buffer, (size_t)n);
		if (p->kind == 'C') {
			say(p, "C", 1);
			hang_up(p);
			return;
		}
	}
	serve_bytes(p, t.buffer + n, (size_t)n - eaten);
}

static void accept_all(int listener)
{
	struct peer *p;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		p = calloc(1, sizeof(*p));
		if (!p)
			die("memory");
		p->fd = fd;
		set_nodelay(fd);
		watch(p, EPOLL_CTL_ADD, EPOLLIN);
	}
}

static _Noreturn void run_server(int transparent)
{
	int one = 1, fd = socket(t.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event e[EVENTS], listen_event = { .events = EPOLLIN };

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (transparent && setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &transparent, sizeof(int)))
		die("IP_TRANSPARENT");
	if (fd < 0 || bind(fd, (struct sockaddr *)&t.to, t.to_len) || listen(fd, 4096))
		die("listen");
	if (epoll_ctl(t.epoll, EPOLL_CTL_ADD, fd, &listen_event))
		die("epoll_ctl");
	printf("{\"ready\":true}\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(t.epoll, e, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr)
				serve(e[i].data.ptr);
			else
				accept_all(fd);
		}
	}
}

/* ---- The client */

static void begin(struct peer *p)
{
	p->fd = socket(t.to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		die("socket");
	p->started = false;
	p->at = 0;
	p->began = now();
	set_nodelay(p->fd);
	if (connect(p->fd, (struct sockaddr *)&t.to, t.to_len) && errno != EINPROGRESS)
		die("connect");
	watch(p, EPOLL_CTL_ADD, EPOLLOUT);
}

static void sample(const struct peer *p)
{
	uint64_t ns = now() - p->began;

	if (t.n_samples < SAMPLES_MAX)
		t.sample[t.n_samples++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
	t.done++;
}

static void over(struct peer *p)
{
	close(p->fd);
	p->fd = -1;
}

static void message(struct peer *p)
{
	p->at = 0;
	p->began = now();
	if (send(p->fd, t.buffer, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
		die("send");
}

static void writable(struct peer *p)
{
	if (!p->started) {
		if (send(p->fd, t.hello, t.hello_len, MSG_NOSIGNAL) != (ssize_t)t.hello_len)
			die("the hello");
		p->started = true;
		if (t.kind == 'P')
			message(p);
		if (t.kind != 'S')
			watch(p, EPOLL_CTL_MOD, EPOLLIN);
		return;
	}
	if (now() >= t.end) {
		if (send(p->fd, "E", 1, MSG_NOSIGNAL) == 1)
			watch(p, EPOLL_CTL_MOD, EPOLLIN);
	} else if (send(p->fd, t.buffer, BUFFER, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
		die("send");
	}
}

/* The server's word on what it got. */
static void reply(struct peer *p)
{
	uint64_t bytes;

	if (recv(p->fd, &bytes, sizeof(bytes), 0) == sizeof(bytes))
		t.bytes += bytes;
	else
		t.failed++;
	over(p);
}

static void readable(struct peer *p)
{
	uint8_t in[MESSAGE];
	ssize_t n;

	if (t.kind == 'S') {
		reply(p);
		return;
	}
	n = recv(p->fd, in, sizeof(in), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (t.kind == 'C') {
		p->at += n > 0 ? (uint32_t)n : 0;
		if (n > 0)
			return;
		if (n == 0 && p->at == 1)
			sample(p);
		else
			t.failed++;
		over(p);
		if (now() < t.end)
			begin(p);
		return;
	}
	if (n <= 0) {
		t.failed++;
		over(p);
		return;
	}
	p->at += (uint32_t)n;
	if (p->at < MESSAGE)
		return;
	sample(p);
	if (now() < t.end)
		message(p);
	else
		over(p);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void print_results(uint64_t began)
{
	double seconds = (double)(now() - began) / NSEC;

	qsort(t.sample, t.n_samples, sizeof(*t.sample), by_value);
	printf("{\"seconds\":%.6f,\"bytes\":%llu,\"done\":%llu,\"failed\":%llu", seconds,
	       (unsigned long long)t.bytes, (unsigned long long)t.done,
	       (unsigned long long)t.failed);
	if (t.n_samples)
		printf(",\"p50_ns\":%u,\"p99_ns\":%u", t.sample[t.n_samples / 2],
		       t.sample[t.n_samples * 99 / 100]);
	printf("}\n");
}

static int run_client(size_t n, double seconds)
{
	struct peer *all = calloc(n, sizeof(*all));
	struct epoll_event e[EVENTS];
	uint64_t began = now();
	size_t open = n;

	t.sample = malloc(SAMPLES_MAX * sizeof(*t.sample));
	if (!all || !t.sample)
		die("memory");
	t.end = began + (uint64_t)(seconds * NSEC);
	for (size_t i = 0; i < n; i++)
		begin(&all[i]);
	while (open && now() < t.end + GIVE_UP_SECONDS * NSEC) {
		int got = epoll_wait(t.epoll, e, EVENTS, 1000);

		for (int i = 0; i < got; i++) {
			struct peer *p = e[i].data.ptr;

			if (e[i].events & EPOLLOUT)
				writable(p);
			else
				readable(p);
		}
		open = 0;
		for (size_t i = 0; i < n; i++)
			open += all[i].fd >= 0;
	}
	t.failed += open;
	print_results(began);
	free(all);
	return 0;
}

static bool read_address(const char *addr, const char *port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&t.to;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&t.to;

	if (inet_pton(AF_INET, addr, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(port));
		t.to_len = sizeof(*in);
	} else if (inet_pton(AF_INET6, addr, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)atoi(port));
		t.to_len = sizeof(*in6);
	}
	return t.to_len != 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *word;
		char kind;
	} kinds[] = { { "bulk", 'S' }, { "rr", 'P' }, { "crr", 'C' } };

	t.epoll = epoll_create1(EPOLL_CLOEXEC);
	t.buffer = calloc(1, BUFFER);
	if (argc < 4 || t.epoll < 0 || !t.buffer || !read_address(argv[2], argv[3])) {
		fprintf(stderr,
			"talk serve|transparent|bulk|rr|crr ADDR PORT [CONNECTIONS SECONDS]\n");
		return 2;
	}
	if (!strcmp(argv[1], "serve") || !strcmp(argv[1], "transparent"))
		run_server(argv[1][0] == 't');
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(argv[1], kinds[i].word) == 0)
			t.kind = kinds[i].kind;
	if (!t.kind || argc < 6)
		return 2;
	make_hello();
	return run_client((size_t)atoi(argv[4]), atof(argv[5]));
}
