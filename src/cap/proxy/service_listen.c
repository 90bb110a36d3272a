/* SPDX-License-Identifier: GPL-2.0-only */
/* Listening sockets: those that a service manager hands over, and those that the keeper
 * binds. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/proxy/service_impl.h"
#include "net/sock.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

/* ---- Socket activation */

static const struct weir_proxy_listen *find_listen(const struct weir_proxy_config *c,
						   const struct weir_endpoint *address)
{
	for (size_t i = 0; i < c->n_listens; i++)
		if (weir_endpoint_equal(&c->listens[i].address, address))
			return &c->listens[i];
	return NULL;
}

struct weir_activated *weir_service_activated(struct weir_service *s,
					      const struct weir_endpoint *address)
{
	for (size_t i = 0; i < s->n_activated; i++)
		if (weir_endpoint_equal(&s->activated[i].address, address))
			return &s->activated[i];
	return NULL;
}

static bool is_listening(int fd)
{
	int type = 0, on = 0;
	socklen_t len = sizeof(type);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM)
		return false;
	len = sizeof(on);
	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) && on;
}

static int take_fd(struct weir_service *s, int fd, struct weir_error *err)
{
	struct weir_activated *a = &s->activated[s->n_activated];
	char text[WEIR_ENDPOINT_STRLEN];

	if (!is_listening(fd) || weir_sock_name(fd, &a->address))
		return weir_fail(err, -EINVAL,
				 "descriptor %d of the service manager is no listening TCP socket: "
				 "use ListenStream=",
				 fd);
	if (!find_listen(s->cfg, &a->address))
		return weir_fail(err, -EINVAL,
				 "no listener has the address %s, on which the service manager "
				 "listens: add it, or take the ListenStream= away",
				 weir_endpoint_str(&a->address, text));
	if (weir_service_activated(s, &a->address))
		return weir_fail(err, -EINVAL, "the service manager listens twice on %s",
				 weir_endpoint_str(&a->address, text));
	/* Workers accept until there is none. */
	if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK))
		return weir_fail(err, -errno, "cannot use descriptor %d: %m", fd);
	a->fd = fd;
	s->n_activated++;
	return 0;
}

int weir_service_activate(struct weir_service *s, struct weir_error *err)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
	uint64_t number = 0, n = 0;
	int ret = 0;

	if (!pid || !fds || weir_parse_u64(pid, 1, INT32_MAX, &number) ||
	    number != (uint64_t)getpid())
		return 0;
	if (weir_parse_u64(fds, 0, WEIR_ACTIVATED_MAX, &n))
		return weir_fail(
			err, -EINVAL,
			"LISTEN_FDS=%s: the service manager may hand over up to %d sockets", fds,
			WEIR_ACTIVATED_MAX);
	for (uint64_t i = 0; !ret && i < n; i++)
		ret = take_fd(s, FIRST_FD + (int)i, err);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ret;
}

/* ---- For the workers */

void weir_service_unlisten(const struct weir_service *s, struct weir_worker_listens *l)
{
	for (unsigned int w = 0; w < s->n_workers; w++) {
		for (size_t i = 0; l[w].fd && i < l[w].n; i++)
			weir_closep(&l[w].fd[i]);
		free(l[w].fd);
		l[w] = (struct weir_worker_listens){ 0 };
	}
}

static int listen_one(struct weir_service *s, const struct weir_proxy_config *c, size_t i,
		      struct weir_error *err)
{
	const struct weir_activated *a = weir_service_activated(s, &c->listens[i].address);
	int fd;

	if (!a)
		return weir_keeper_listen(&s->keeper, i, err);
	/* All workers share it: the kernel knows one queue. */
	fd = fcntl(a->fd, F_DUPFD_CLOEXEC, FIRST_FD);
	return fd < 0 ? weir_fail(err, -errno, "cannot share a listening socket: %m") : fd;
}

static int listen_worker(struct weir_service *s, const struct weir_proxy_config *c,
			 const struct weir_proxy_config *old, struct weir_worker_listens *l,
			 struct weir_error *err)
{
	l->fd = calloc(c->n_listens + 1, sizeof(*l->fd));
	if (!l->fd)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	for (size_t i = 0; i < c->n_listens; i++) {
		int fd = -1;

		if (!old || !find_listen(old, &c->listens[i].address)) {
			fd = listen_one(s, c, i, err);
			if (fd < 0)
				return fd;
		}
		l->fd[l->n++] = fd;
	}
	return 0;
}

int weir_service_listen(struct weir_service *s, const struct weir_proxy_config *c,
			const struct weir_proxy_config *old, struct weir_worker_listens *l,
			struct weir_error *err)
{
	int ret = 0;

	memset(l, 0, s->n_workers * sizeof(*l));
	for (unsigned int w = 0; !ret && w < s->n_workers; w++)
		ret = listen_worker(s, c, old, &l[w], err);
	if (ret)
		weir_service_unlisten(s, l);
	return ret;
}
