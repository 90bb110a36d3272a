/* SPDX-License-Identifier: GPL-2.0-only */
/* The control socket's server: in the main loop, for a few clients, never waiting for one. */
#include "cap/proxy/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/control_impl.h"

#define CLIENTS_MAX 16
#define BACKLOG 16
#define REQUEST_NS (5 * WEIR_NSEC_PER_SEC)
#define ANSWER_NS (30 * WEIR_NSEC_PER_SEC) /* without a byte's being taken */

struct client {
	struct weir_control *control;
	struct weir_io io; /* fd -1: free */
	struct weir_timer timer;
	char request[WEIR_CONTROL_REQUEST];
	size_t have;
	bool answering;
	struct weir_answer answer;
	size_t sent; /* of answer.out */
};

struct weir_control {
	struct weir_service *service;
	struct weir_io io;
	uid_t owner;
	/* Given up for a client where descriptors have run out, so that a proxy that
	 * has none left still tells so. -1: given up. */
	int spare;
	struct client client[CLIENTS_MAX];
};

#define OWNER_OF(member, pointer, type) ((type *)((char *)(pointer)-offsetof(type, member)))

static void hold_spare(struct weir_control *c)
{
	if (c->spare < 0)
		c->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void drop(struct client *cl)
{
	struct weir_control *c = cl->control;

	weir_timer_del(&cl->timer);
	weir_loop_del(c->service->loop, &cl->io);
	close(cl->io.fd);
	cl->io.fd = -1;
	weir_answer_free(&cl->answer);
	hold_spare(c);
}

static void too_late(struct weir_timer *t)
{
	drop(OWNER_OF(timer, t, struct client));
}

static void wait_for(struct client *cl, uint64_t ns)
{
	weir_timer_set(cl->control->service->loop, &cl->timer, weir_clock_mono() + ns);
}

/* Send as much as the socket takes, printing as it goes. */
static void go_on_answering(struct client *cl)
{
	struct weir_answer *a = &cl->answer;

	for (;;) {
		ssize_t n;

		if (cl->sent == a->out.len) {
			weir_buf_reset(&a->out);
			cl->sent = 0;
			if (!weir_answer_more(a))
				break;
			continue;
		}
		n = send(cl->io.fd, a->out.data + cl->sent, a->out.len - cl->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		cl->sent += (size_t)n;
		wait_for(cl, ANSWER_NS);
	}
	drop(cl);
}

static void begin_answer(struct client *cl)
{
	cl->answering = true;
	weir_answer_begin(cl->control->service, cl->request, &cl->answer);
	wait_for(cl, ANSWER_NS);
	if (weir_loop_mod(cl->control->service->loop, &cl->io, EPOLLOUT)) {
		drop(cl);
		return;
	}
	go_on_answering(cl);
}

static void read_request(struct client *cl)
{
	char *at = cl->request + cl->have, *end;
	ssize_t n = recv(cl->io.fd, at, sizeof(cl->request) - cl->have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	end = n > 0 ? memchr(at, '\n', (size_t)n) : NULL;
	cl->have += n > 0 ? (size_t)n : 0;
	if (end) {
		*end = '\0';
		begin_answer(cl);
	} else if (n <= 0 || cl->have == sizeof(cl->request)) {
		drop(cl);
	}
}

static void on_client(struct weir_io *io, uint32_t events)
{
	struct client *cl = OWNER_OF(io, io, struct client);

	if (cl->answering && events & (EPOLLERR | EPOLLHUP))
		drop(cl);
	else if (cl->answering)
		go_on_answering(cl);
	else
		read_request(cl);
}

/* ---- Accepting */

static bool may_ask(const struct weir_control *c, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == 0 || peer.uid == c->owner);
}

static int accept_one(struct weir_control *c)
{
	int fd = accept4(c->io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || c->spare < 0)
		return fd;
	close(c->spare);
	c->spare = -1;
	return accept4(c->io.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void refuse(struct weir_control *c, int fd, const char *why)
{
	send(fd, why, strlen(why), MSG_DONTWAIT | MSG_NOSIGNAL);
	close(fd);
	hold_spare(c);
}

static void serve(struct weir_control *c, int fd)
{
	struct client *cl = c->client;

	if (!may_ask(c, fd)) {
		refuse(c, fd, "error only root may ask the proxy: run as root\n");
		return;
	}
	while (cl < c->client + CLIENTS_MAX && cl->io.fd >= 0)
		cl++;
	if (cl == c->client + CLIENTS_MAX) {
		refuse(c, fd, "error the proxy answers many others: try again\n");
		return;
	}
	*cl = (struct client){ .control = c, .io = { on_client, fd }, .timer = { .fn = too_late } };
	if (weir_loop_add(c->service->loop, &cl->io, EPOLLIN)) {
		cl->io.fd = -1;
		refuse(c, fd, "error the proxy has no memory left: try again\n");
		return;
	}
	wait_for(cl, REQUEST_NS);
}

static void on_listen(struct weir_io *io, uint32_t events)
{
	struct weir_control *c = OWNER_OF(io, io, struct weir_control);
	int fd = accept_one(c);

	(void)events;
	if (fd >= 0)
		serve(c, fd);
}

/* ---- Beginning and end */

static int open_socket(struct weir_error *err)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un at;
	mode_t old;
	int ret = weir_control_dir(err);

	if (!ret)
		ret = weir_control_address(&at, err);
	if (ret)
		return ret;
	if (fd < 0)
		return weir_fail(err, -errno, "cannot make a socket: %m");
	/* Whoever holds the lock of the account is alone: what lies there is a dead one's. */
	if (unlink(at.sun_path) && errno != ENOENT)
		return weir_fail(err, -errno, "cannot remove %s: %m", at.sun_path);
	old = umask(0177);
	ret = bind(fd, (struct sockaddr *)&at, sizeof(at)) ? -errno : 0;
	umask(old);
	if (!ret && listen(fd, BACKLOG)) {
		ret = -errno;
		unlink(at.sun_path);
	}
	if (ret)
		return weir_fail(err, ret, "cannot listen at %s: %s", at.sun_path, strerror(-ret));
	return WEIR_TAKE_FD(fd);
}

struct weir_control *weir_control_new(struct weir_service *s, struct weir_error *err)
{
	struct weir_control *c = calloc(1, sizeof(*c));
	int ret;

	if (!c) {
		weir_fail(err, -ENOMEM, "out of memory: free some and try again");
		return NULL;
	}
	c->service = s;
	c->owner = geteuid();
	c->io.fn = on_listen;
	c->spare = -1;
	hold_spare(c);
	for (int i = 0; i < CLIENTS_MAX; i++)
		c->client[i].io.fd = -1;
	c->io.fd = open_socket(err);
	ret = c->io.fd < 0 ? c->io.fd : weir_loop_add(s->loop, &c->io, EPOLLIN);
	if (!ret)
		return c;
	if (c->io.fd >= 0)
		weir_fail(err, ret, "cannot watch the control socket: %s", strerror(-ret));
	weir_closep(&c->io.fd);
	weir_closep(&c->spare);
	free(c);
	return NULL;
}

void weir_control_free(struct weir_control *c)
{
	if (!c)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (c->client[i].io.fd >= 0)
			drop(&c->client[i]);
	weir_loop_del(c->service->loop, &c->io);
	close(c->io.fd);
	weir_closep(&c->spare);
	free(c);
}
