/* SPDX-License-Identifier: GPL-2.0-only */
/* The keeper itself: a process that answers one request after the other. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/verb.h"
#include "cap/proxy/account.h"
#include "cap/proxy/allow.h"
#include "cap/proxy/config.h"
#include "cap/proxy/control.h"
#include "cap/proxy/keeper_impl.h"
#include "net/sock.h"

#define METRICS_BACKLOG 16
#define CALM_MS 500  /* without news of interfaces, before they are looked at */
#define RETRIES 3600 /* once a second, while a policy waits to be confirmed */

struct keeper {
	int fd, news_fd; /* the proxy; what happens to interfaces and addresses */
	const struct weir_proxy_flags *flags;
	struct weir_proxy_config *now, *next; /* next: NULL but while it is unsettled */
	bool allowed;			      /* next's allow_sources is enforced */
	bool asked_to_allow;		      /* ...or any one's was, ever */
	uint64_t look_at;		      /* when to look at the interfaces; 0: no need */
};

static void tell(const struct weir_error *err)
{
	weir_verb_fail("proxy", err, 0);
}

static const struct weir_proxy_config *newest(const struct keeper *k)
{
	return k->next ? k->next : k->now;
}

/* ---- Requests. Each returns 0 or -errno, and *ret_fd where something is handed over. */

static int hand_over_text(const struct weir_buf *text, int *ret_fd, struct weir_error *err)
{
	weir_autoclose int fd = memfd_create("weir-proxy", MFD_CLOEXEC);

	if (fd < 0)
		return weir_fail(err, -errno, "cannot hand a text over: %m");
	for (size_t at = 0; at < text->len;) {
		ssize_t n = write(fd, text->data + at, text->len - at);

		if (n < 0 && errno != EINTR)
			return weir_fail(err, -errno, "cannot hand a text over: %m");
		at += n > 0 ? (size_t)n : 0;
	}
	*ret_fd = WEIR_TAKE_FD(fd);
	return 0;
}

static int read_file(const char *path, struct weir_buf *ret, struct weir_error *err)
{
	weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char part[16384];
	ssize_t n;

	if (fd < 0)
		return weir_fail(err, -errno, "cannot read %s: %m", path);
	while ((n = read(fd, part, sizeof(part))) > 0 && ret->len <= WEIR_PROXY_FILE_MAX)
		weir_buf_add(ret, part, (size_t)n);
	if (n < 0)
		return weir_fail(err, -errno, "cannot read %s: %m", path);
	if (ret->len > WEIR_PROXY_FILE_MAX)
		return weir_fail(err, -EFBIG, "%s: larger than %u MB: make it smaller", path,
				 WEIR_PROXY_FILE_MAX >> 20);
	return ret->failed ? weir_fail(err, -ENOMEM, "out of memory: free some and try again") : 0;
}

static int do_read(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_proxy_config *c = NULL;
	const char *path = k->flags->file;
	int ret = path ? read_file(path, &text, err) : 0;

	(void)arg;
	if (!ret)
		ret = weir_proxy_config_parse(path ? (text.data ? text.data : "") : NULL, text.len,
					      path, k->flags, &c, err);
	if (!ret)
		ret = hand_over_text(&text, ret_fd, err);
	if (ret && c)
		weir_proxy_config_unref(c);
	if (ret)
		return ret;
	if (k->next)
		weir_proxy_config_unref(k->next);
	k->next = c;
	return 0;
}

static int do_listen(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	const struct weir_proxy_config *c = newest(k);
	int fd;

	if (arg >= c->n_listens)
		return weir_fail(err, -EINVAL, "there is no listener %u", arg);
	fd = weir_sock_listen(&c->listens[arg].address, WEIR_SOCK_REUSEPORT,
			      c->listens[arg].backlog, err);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static int do_metrics(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	const struct weir_proxy_config *c = newest(k);
	int fd;

	(void)arg;
	if (!c->metrics.len)
		return weir_fail(err, -EINVAL, "there are no metrics");
	/* A reload may move them from 127.0.0.1 to 0.0.0.0, or to where a listener was: until
	 * it is settled both sockets are there. */
	fd = weir_sock_listen(&c->metrics, WEIR_SOCK_REUSEPORT, METRICS_BACKLOG, err);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static int do_log(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	const char *path = newest(k)->log;
	int fd;

	(void)arg;
	if (!path || !strcmp(path, "-"))
		return weir_fail(err, -EINVAL, "there is no log file");
	/* A pipe without a reader is an error then, and no reason to wait. Where the proxy's
	 * user may write to the directory, it must not choose what root opens. */
	fd = open(path,
		  O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
		  0640);
	if (fd < 0 && errno == ELOOP)
		return weir_fail(err, -ELOOP,
				 "the log %s is a symbolic link: give the file's own path", path);
	if (fd < 0)
		return weir_fail(err, -errno, "cannot write the log %s: %m", path);
	*ret_fd = fd;
	return 0;
}

static int do_allow(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	weir_autobuf struct weir_buf notes = { 0 };
	int ret;

	(void)arg;
	k->asked_to_allow = true;
	ret = weir_allow_apply(newest(k), &notes, err);
	if (ret)
		return ret;
	k->allowed = k->next;
	return hand_over_text(&notes, ret_fd, err);
}

static int do_settle(struct keeper *k, uint32_t arg, int *ret_fd, struct weir_error *err)
{
	struct weir_proxy_config *old = arg ? k->now : k->next;
	bool undo = k->allowed && !arg;
	weir_autobuf struct weir_buf notes = { 0 };

	(void)ret_fd;
	k->allowed = false;
	if (!k->next)
		return 0;
	if (arg)
		k->now = k->next;
	k->next = NULL;
	weir_proxy_config_unref(old);
	return undo ? weir_allow_apply(k->now, &notes, err) : 0;
}

static int (*const requests[WEIR_KEEPER_OPS])(struct keeper *k, uint32_t arg, int *ret_fd,
					      struct weir_error *err) = {
	[WEIR_KEEPER_READ] = do_read,	    [WEIR_KEEPER_LISTEN] = do_listen,
	[WEIR_KEEPER_METRICS] = do_metrics, [WEIR_KEEPER_LOG] = do_log,
	[WEIR_KEEPER_ALLOW] = do_allow,	    [WEIR_KEEPER_SETTLE] = do_settle,
};

static bool answer(struct keeper *k, const struct weir_keeper_answer *a, int fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { .iov_base = (void *)a, .iov_len = sizeof(*a) };
	struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };

	if (fd >= 0) {
		struct cmsghdr *c;

		m.msg_control = control;
		m.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(k->fd, &m, MSG_NOSIGNAL) == sizeof(*a);
}

/* One request and its answer; false when the proxy is gone. */
static bool serve_one(struct keeper *k)
{
	struct weir_keeper_answer a = { 0 };
	struct weir_keeper_request r;
	struct weir_error err = { 0 };
	weir_autoclose int fd = -1;
	ssize_t n = recv(k->fd, &r, sizeof(r), 0);

	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0)
		return false;
	a.code = n == sizeof(r) && r.op < WEIR_KEEPER_OPS ?
			 requests[r.op](k, r.arg, &fd, &err) :
			 weir_fail(&err, -EINVAL, "not a request");
	a.number = n == sizeof(r) ? r.number : 0;
	snprintf(a.message, sizeof(a.message), "%s", err.msg);
	return answer(k, &a, fd);
}

/* ---- Interfaces and addresses come and go */

static int open_news(void)
{
	const struct sockaddr_nl all = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
	};
	weir_autoclose int fd =
		socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&all, sizeof(all)))
		return -1;
	return WEIR_TAKE_FD(fd);
}

/* What happened does not matter (and may have been lost, ENOBUFS): only that. */
static void drain_news(struct keeper *k)
{
	char any[8192];
	ssize_t n;

	do {
		n = recv(k->news_fd, any, sizeof(any), 0);
	} while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
	k->look_at = weir_clock_mono() + CALM_MS * 1000000ULL;
}

static void look_at_ifaces(struct keeper *k)
{
	weir_autobuf struct weir_buf notes = { 0 };
	struct weir_error err;

	k->look_at = 0;
	if (weir_allow_follow(k->allowed ? k->next : k->now, &notes, &err)) {
		weir_fail_prefix(&err, 0, "allow_sources at XDP, after interfaces changed");
		tell(&err);
	}
}

static int poll_ms(const struct keeper *k)
{
	uint64_t now = weir_clock_mono();

	if (!k->look_at)
		return -1;
	return k->look_at <= now ? 0 : (int)((k->look_at - now) / 1000000) + 1;
}

/* ---- The end */

/* A policy that waits to be confirmed cannot be changed, in either direction; it ends by
 * itself. */
static void remove_allow(void)
{
	const struct timespec pause = { .tv_sec = 1 };
	struct weir_error err;
	int ret;

	for (int i = 0; (ret = weir_allow_remove(&err)) == -EBUSY && i < RETRIES; i++) {
		weir_fail_prefix(&err, ret, "the rules of allow_sources wait to be removed");
		if (!i)
			tell(&err);
		nanosleep(&pause, NULL);
	}
	if (ret) {
		weir_fail_prefix(&err, ret, "cannot remove the rules of allow_sources");
		tell(&err);
	}
}

static void clean_up(const struct keeper *k)
{
	char path[WEIR_CONTROL_PATH];

	if (!weir_control_path(path, sizeof(path)))
		unlink(path);
	if (k->asked_to_allow)
		remove_allow();
	weir_account_unpin();
}

void weir_keeper_serve(int fd, const struct weir_proxy_flags *f, struct weir_proxy_config *cfg)
{
	struct keeper k = { .fd = fd, .flags = f, .now = cfg };

	k.news_fd = open_news();
	for (bool go_on = true; go_on;) {
		struct pollfd p[] = { { .fd = k.fd, .events = POLLIN },
				      { .fd = k.news_fd, .events = POLLIN } };

		if (poll(p, WEIR_ARRAY_SIZE(p), poll_ms(&k)) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			drain_news(&k);
		if (p[0].revents)
			go_on = serve_one(&k);
		else if (!poll_ms(&k))
			look_at_ifaces(&k);
	}
	if (k.news_fd >= 0)
		close(k.news_fd);
	clean_up(&k);
}
