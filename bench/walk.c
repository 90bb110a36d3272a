/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * walk NETNS ADDRESS udp|lost|rr|stream SECONDS: packets from namespace NETNS to a socket at
 * ADDRESS here, sent and read by one thread, so that all that a packet costs, softirq
 * included, is this process's: the packet rate is its inverse. Prints a line of JSON.
 *
 *	udp	datagrams of 64 bytes, read 32 at once
 *	lost	the same to a port where nobody listens
 *	rr	64 bytes there and back over TCP
 *	stream	64 KB over TCP
 */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT 5201
#define SMALL 64
#define LARGE 65536
#define BATCH 32
#define BUFFER (1 << 20)
#define NS 1000000000LL
/* Before the clock runs: what looks at packets may do so differently at first. */
#define WARM_NS (NS / 4)

static struct sockaddr_in nowhere = { .sin_family = AF_INET };

static int64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static int open_socket(bool stream)
{
	int one = 1, size = BUFFER;
	int fd = socket(AF_INET, stream ? SOCK_STREAM : SOCK_DGRAM, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (stream)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* @ends: who sends, in @netns, and who reads. */
static void connect_ends(const char *netns, const char *address, bool stream, int ends[2])
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int here = open_socket(stream), there = open(netns, O_RDONLY | O_CLOEXEC);

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1)
		errx(1, "%s is no address", address);
	nowhere.sin_addr = a.sin_addr;
	nowhere.sin_port = htons(PORT + 1);
	if (bind(here, (struct sockaddr *)&a, sizeof(a)) || (stream && listen(here, 1)))
		err(1, "%s", address);
	if (there < 0 || setns(there, CLONE_NEWNET))
		err(1, "%s", netns);
	ends[0] = open_socket(stream);
	if (connect(ends[0], (struct sockaddr *)&a, sizeof(a)))
		err(1, "connect");
	ends[1] = stream ? accept(here, NULL, NULL) : here;
	if (ends[1] < 0)
		err(1, "accept");
	close(there);
}

static void pass(int from, int to, size_t n)
{
	static char data[LARGE];

	if (send(from, data, n, 0) != (ssize_t)n)
		err(1, "send");
	if (recv(to, data, n, MSG_WAITALL) != (ssize_t)n)
		err(1, "recv");
}

/* One turn of the load; how many came. */
static int walk_udp(const int ends[2])
{
	char data[SMALL] = { 0 };
	int n = 0;

	for (int i = 0; i < BATCH; i++)
		if (send(ends[0], data, sizeof(data), 0) < 0)
			err(1, "send");
	while (recv(ends[1], data, sizeof(data), MSG_DONTWAIT) > 0)
		n++;
	return n;
}

static int walk_lost(const int ends[2])
{
	/* Not through the connected socket, which would be told that nobody is there. */
	struct sockaddr_in a = nowhere;
	char data[SMALL] = { 0 };

	for (int i = 0; i < BATCH; i++)
		if (sendto(ends[0], data, sizeof(data), 0, (struct sockaddr *)&a, sizeof(a)) < 0)
			err(1, "send");
	return BATCH;
}

static int walk_rr(const int ends[2])
{
	pass(ends[0], ends[1], SMALL);
	pass(ends[1], ends[0], SMALL);
	return 1;
}

static int walk_stream(const int ends[2])
{
	pass(ends[0], ends[1], LARGE);
	return 1;
}

static const struct {
	const char *name;
	bool stream;
	int (*walk)(const int ends[2]);
} loads[] = {
	{ "udp", false, walk_udp },
	{ "lost", false, walk_lost },
	{ "rr", true, walk_rr },
	{ "stream", true, walk_stream },
};

static int64_t walk_for(size_t load, const int ends[2], int64_t ns)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + ns, done = 0;

	while (clock_ns(CLOCK_MONOTONIC) < end)
		done += loads[load].walk(ends);
	return done;
}

int main(int argc, char **argv)
{
	size_t load = 0, n = sizeof(loads) / sizeof(*loads);
	int64_t cpu, begun, done;
	int ends[2];

	while (argc == 5 && load < n && strcmp(loads[load].name, argv[3]) != 0)
		load++;
	if (argc != 5 || load == n)
		errx(2, "usage: walk NETNS ADDRESS udp|lost|rr|stream SECONDS");
	connect_ends(argv[1], argv[2], loads[load].stream, ends);
	walk_for(load, ends, WARM_NS);
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	begun = clock_ns(CLOCK_MONOTONIC);
	done = walk_for(load, ends, (int64_t)(strtod(argv[4], NULL) * NS));
	printf("{\"done\": %lld, \"cpu_ns\": %lld, \"wall_ns\": %lld}\n", (long long)done,
	       (long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu),
	       (long long)(clock_ns(CLOCK_MONOTONIC) - begun));
	return 0;
}
