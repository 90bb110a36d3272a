/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * splicer ADDR PORT BACKEND PORT: the least that a proxy in user space can do, one
 * thread, one pipe of 64 KiB a direction, splice(2) in, splice(2) out: the
 * physical limit beside which `bench/proxy` puts what proxies reach. It reads no name,
 * counts nothing and has no time-outs.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIPE 65536
#define EVENTS 256

struct pair;
struct end {
	struct pair *pair;
	int fd, pipe[2]; /* of the direction that begins here */
	size_t piped;
	bool ended, shut;
};
struct pair {
	struct end end[2];
	struct pair *next; /* to be freed at the end of the round */
	bool dead;
};

static int epoll_fd;
static struct sockaddr_in backend;
static struct pair *dead;

static bool address(const char *addr, const char *port, struct sockaddr_in *ret)
{
	*ret = (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons((uint16_t)atoi(port)) };
	return inet_pton(AF_INET, addr, &ret->sin_addr) == 1;
}

static void end_pair(struct pair *p)
{
	if (p->dead)
		return;
	for (int i = 0; i < 2; i++) {
		close(p->end[i].fd);
		close(p->end[i].pipe[0]);
		close(p->end[i].pipe[1]);
	}
	p->dead = true;
	p->next = dead;
	dead = p;
}

/* False: the pair has ended. */
static bool move(struct end *from, struct end *to)
{
	for (;;) {
		ssize_t in = 0, out = 0;

		if (!from->ended && from->piped < PIPE) {
			in = splice(from->fd, NULL, from->pipe[1], NULL, PIPE - from->piped,
				    SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (in == 0)
				from->ended = true;
			else if (in > 0)
				from->piped += (size_t)in;
			else if (errno != EAGAIN)
				return false;
		}
		if (from->piped) {
			out = splice(from->pipe[0], NULL, to->fd, NULL, from->piped,
				     SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
			if (out > 0)
				from->piped -= (size_t)out;
			else if (errno != EAGAIN)
				return false;
		}
		if (from->ended && !from->piped && !to->shut) {
			shutdown(to->fd, SHUT_WR);
			to->shut = true;
		}
		if (in <= 0 && out <= 0)
			return true;
	}
}

static void serve(struct end *e)
{
	struct end *other = &e->pair->end[e == e->pair->end];

	if (e->pair->dead)
		return;
	if (!move(e, other) || !move(other, e) || (e->shut && other->shut))
		end_pair(e->pair);
}

static void set_nodelay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void add_pair(int fd)
{
	struct pair *p = calloc(1, sizeof(*p));
	int to = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (!p || to < 0 ||
	    (connect(to, (struct sockaddr *)&backend, sizeof(backend)) && errno != EINPROGRESS)) {
		perror("splicer");
		exit(1);
	}
	for (int i = 0; i < 2; i++) {
		struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET,
					 .data.ptr = &p->end[i] };

		p->end[i].pair = p;
		p->end[i].fd = i ? to : fd;
		set_nodelay(p->end[i].fd);
		if (pipe2(p->end[i].pipe, O_NONBLOCK | O_CLOEXEC) ||
		    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, p->end[i].fd, &e)) {
			perror("splicer");
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event e[EVENTS], accepting = { .events = EPOLLIN };
	struct sockaddr_in here;

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (argc != 5 || !address(argv[1], argv[2], &here) ||
	    !address(argv[3], argv[4], &backend)) {
		fprintf(stderr, "splicer ADDR PORT BACKEND PORT\n");
		return 2;
	}
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 4096) ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting)) {
		perror("splicer");
		return 1;
	}
	for (;;) {
		int n = epoll_wait(epoll_fd, e, EVENTS, -1), fd;

		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr) {
				serve(e[i].data.ptr);
				continue;
			}
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
			       0)
				add_pair(fd);
		}
		while (dead) {
			struct pair *p = dead;

			dead = p->next;
			free(p);
		}
	}
}
