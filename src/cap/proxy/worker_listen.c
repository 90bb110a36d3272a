/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Accepting. Listening sockets are level-triggered: so a worker need not accept until
 * there is none, and accept4(2) of an empty queue is dear, for the kernel makes a socket
 * before it looks.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cap/proxy/conn_impl.h"
#include "net/sock.h"

#define SHARE_MAX 64	  /* connections accepted in a round */
#define PATIENCE_MAX 31	  /* events in which only one is */
#define FAST_NS 500000ULL /* more come within this: take more at once */
#define PAUSE_NS 100000000ULL
#define LAST_MAX 4096 /* accepted at most before a socket is closed */

/* What sockets that are accepted inherit costs no system call for each. */
void weir_listener_tune(struct weir_listener *l, const struct weir_proxy_listen *how)
{
	const struct weir_keepalive *k = &l->worker->cfg->keepalive;
	int one = 1, zero = 0, on = k->idle_ns != 0;

	l->listen = how;
	l->address = how->address;
	listen(l->io.fd, how->backlog); /* a reload may have changed it */
	if (how->address.sa.sa_family == AF_UNIX)
		return;
	setsockopt(l->io.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* A hello is answered, and its ACK can go with that. */
	setsockopt(l->io.fd, IPPROTO_TCP, TCP_QUICKACK, &zero, sizeof(zero));
	/* An urgent byte is a byte of the stream. */
	setsockopt(l->io.fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	if (on)
		weir_sock_keepalive(l->io.fd, k);
	else
		setsockopt(l->io.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* ---- No descriptors */

/* One that cannot be served is closed, not left to spin on or to time out: with the
 * descriptor that is kept for this. */
static int refuse_one(struct weir_listener *l)
{
	struct weir_worker *w = l->worker;
	struct weir_endpoint peer;
	int fd;

	if (w->reserve < 0)
		return -EMFILE;
	close(w->reserve);
	fd = weir_sock_accept(l->io.fd, &peer);
	if (fd >= 0) {
		weir_conn_refuse(w, l->listen, fd, &peer, WEIR_END_NO_DESCRIPTORS, EMFILE);
		fd = 0;
	}
	w->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd;
}

static void pause_accepting(struct weir_worker *w)
{
	for (size_t i = 0; i < w->n_listeners; i++)
		if (w->listener[i])
			weir_loop_del(w->loop, &w->listener[i]->io);
	weir_timer_set(w->loop, &w->again, weir_loop_now(w->loop) + PAUSE_NS);
}

static int watch(struct weir_listener *l)
{
	/* A socket that a service manager handed over is shared by all workers: one of
	 * them is woken for a connection. */
	return weir_loop_add(l->worker->loop, &l->io, EPOLLIN | EPOLLEXCLUSIVE);
}

void weir_worker_resume(struct weir_timer *t)
{
	struct weir_worker *w =
		(struct weir_worker *)((char *)t - offsetof(struct weir_worker, again));

	if (w->reserve < 0)
		w->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < w->n_listeners; i++)
		if (w->listener[i])
			watch(w->listener[i]);
}

/* ---- Accepting */

/* Accept one. 0, or -errno. */
static int accept_one(struct weir_listener *l)
{
	struct weir_worker *w = l->worker;
	struct weir_endpoint peer;
	int fd = weir_sock_accept(l->io.fd, &peer);

	if ((fd == -EMFILE || fd == -ENFILE) && weir_relay_pool_trim(w->pool))
		fd = weir_sock_accept(l->io.fd, &peer);
	if (fd == -EMFILE || fd == -ENFILE)
		return refuse_one(l);
	if (fd < 0)
		return fd;
	if (fd >= w->most_fd) {
		weir_conn_refuse(w, l->listen, fd, &peer, WEIR_END_NO_DESCRIPTORS, EMFILE);
		return 0;
	}
	weir_conn_begin(w, l->listen, fd, &peer);
	return 0;
}

/* Some failures are those of one connection that was given up by its client; others last. */
static bool is_lasting(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -ENOMEM || code == -ENOBUFS;
}

static void take_more(struct weir_listener *l)
{
	for (unsigned int i = 0; i < SHARE_MAX; i++) {
		int code = accept_one(l);

		if (is_lasting(code)) {
			pause_accepting(l->worker);
			return;
		}
		if (code == -EAGAIN) {
			l->patience = l->patience < PATIENCE_MAX ? 2 * l->patience + 1 :
								   l->patience;
			l->skip = l->patience;
			return;
		}
		l->patience = 0;
	}
}

/* One is there, so take it. Whether there are more is looked at the less often the less
 * often it was so; whatever waits comes with the next round at the latest. */
static void listener_event(struct weir_io *io, uint32_t events)
{
	struct weir_listener *l = (struct weir_listener *)io;
	int code = accept_one(l);

	(void)events;
	if (is_lasting(code))
		pause_accepting(l->worker);
	else if (!code && l->skip)
		l->skip--;
	else if (!code)
		take_more(l);
}

struct weir_listener *weir_listener_new(struct weir_worker *w, int fd, struct weir_error *err)
{
	struct weir_listener *l = calloc(1, sizeof(*l));
	int code = l ? 0 : -ENOMEM;

	if (l) {
		l->worker = w;
		l->io = (struct weir_io){ .fn = listener_event, .fd = fd };
		code = watch(l);
	}
	if (code) {
		weir_fail(err, code, "cannot watch a listening socket: %s", strerror(-code));
		free(l);
		return NULL;
	}
	return l;
}

void weir_listener_free(struct weir_listener *l)
{
	/* Clients that the kernel has shaken hands with would be reset. */
	for (unsigned int i = 0; i < LAST_MAX && !accept_one(l); i++)
		;
	weir_loop_del(l->worker->loop, &l->io);
	close(l->io.fd);
	free(l);
}
