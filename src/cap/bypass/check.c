/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/check.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/bypass/place.h"
#include "cap/bypass/road.h"
#include "cap/bypass/trial.h"

#define ROW_TIME_MS 30000 /* far more than a slow machine takes */

const struct weir_trial_row weir_trial_rows[] = {
	{ "exact", "12 sizes from 1 byte to 1 MB, byte for byte, in both directions",
	  "bytes are lost, repeated or change places: nothing may use it", .run = weir_row_exact,
	  .counted = true },
	{ "ipv6", "the same over IPv6", "the same, over IPv6", .run = weir_row_exact,
	  .family = AF_INET6, .counted = true },
	{ "namespaces", "the same between two namespaces joined by veth",
	  "the same, between namespaces", .run = weir_row_exact, .veth = true, .counted = true },
	{ "first", "both ends send at once, before accept() too",
	  "the first bytes of a connection are lost or change places", .run = weir_row_first,
	  .counted = true },
	{ "close", "what was sent before close() arrives, then the end",
	  "the last bytes of a connection are lost", .run = weir_row_close, .counted = true },
	{ "killed", "the same when the sender is killed", "the last bytes are lost",
	  .run = weir_row_killed },
	{ "half-close", "shutdown(SHUT_WR) of either end; the other one goes on",
	  "programs that end a request so (HTTP/1.0, rsh, nc -N) lose the answer",
	  .run = weir_row_half_close },
	{ "stopped", "a reader that stops holds its writer back within 16 MiB",
	  "one reader that hangs takes the host's TCP memory: ENOMEM for everybody",
	  .run = weir_row_stopped },
	{ "small", "the same with messages of 64 bytes",
	  "one reader that hangs takes kernel memory without a limit", .run = weir_row_small },
	{ "writers", "four writers at once against readers that stop for a moment",
	  "send() fails with ENOMEM under load", .run = weir_row_writers },
	{ "blocking", "a recv() that waits, while another thread's send() is held back",
	  "programs that read and write in two threads see recv() fail with EAGAIN",
	  .run = weir_row_blocking },
	{ "timeout", "SO_RCVTIMEO", "recv() gives up early", .run = weir_row_timeout },
	{ "epoll", "level and edge, bytes and end",
	  "event loops (nginx, Redis, Node.js, Go) hang or spin", .run = weir_row_epoll },
	{ "peek", "MSG_PEEK", "programs that look ahead (sniffers of protocols) read nonsense",
	  .run = weir_row_peek },
	{ "fionread", "FIONREAD", "programs that ask how much is there read too little or wait",
	  .run = weir_row_fionread },
	{ "lowat", "SO_RCVLOWAT", "programs that set it are woken early, for less than they want",
	  .run = weir_row_lowat },
	{ "waitall", "MSG_WAITALL",
	  "programs that read records of fixed size so (many in C) get a part of one",
	  .run = weir_row_waitall },
	{ "urgent", "MSG_OOB and POLLPRI", "urgent data (telnet, rlogin, FTP's ABOR) is lost",
	  .run = weir_row_urgent },
	{ "splice", "splice() from the socket",
	  "programs that splice (HAProxy, weir proxy, Go's io.Copy) wait for ever or spin",
	  .run = weir_row_splice },
	{ "sendfile", "sendfile() to the socket", "web servers send nonsense or nothing",
	  .run = weir_row_sendfile, .counted = true },
	{ "shutdown", "a reader that closes while bytes come",
	  "send() hangs, or fails with an error that no program expects",
	  .run = weir_row_shutdown },
	{ "unread", "close() with bytes unread resets the connection",
	  "a writer is not told that what it sent was never read", .run = weir_row_unread },
	{ "abort", "a reset (SO_LINGER 0) reaches the other end, behind what was sent",
	  "a connection that was aborted looks like one that ended", .run = weir_row_abort },
	{ "tcp-info", "TCP_INFO counts the bytes",
	  "ss -i and what else asks TCP sees the handshake only: use `weir bypass list`",
	  .run = weir_row_tcp_info },
	{ 0 },
};

/* ---- One trial in a process of its own */

struct answer {
	int ok;
	uint64_t sent;
	char detail[160];
};

static void trial(const struct weir_trial_row *row, const struct weir_bypass_place *place, int fd)
{
	struct weir_trial t = {
		.family = row->family ? row->family : AF_INET,
		.bypass = place,
		.veth = row->veth,
	};
	struct answer a = { 0 };
	int ret = place ? weir_bypass_place_enter(place) : 0;

	signal(SIGPIPE, SIG_IGN);
	if (!ret)
		ret = weir_bypass_isolate();
	errno = -ret;
	ret = ret ? weir_trial_fail(&t, "cannot make a place to try it:") : row->run(&t);
	if (ret && !*t.detail)
		weir_trial_fail(&t, "it cannot be tried:");
	a.ok = !ret;
	a.sent = t.sent;
	snprintf(a.detail, sizeof(a.detail), "%s", t.detail);
	_exit(write(fd, &a, sizeof(a)) != sizeof(a));
}

/* A process that does not answer in time is one that hangs. */
static int try_row(const struct weir_trial_row *row, const struct weir_bypass_place *place,
		   struct answer *a)
{
	struct pollfd p = { .events = POLLIN };
	int fds[2], ret = 0;
	pid_t pid;

	memset(a, 0, sizeof(*a));
	if (pipe(fds))
		return -errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[0]);
		trial(row, place, fds[1]);
	}
	close(fds[1]);
	p.fd = fds[0];
	if (pid < 0)
		ret = -errno;
	else if (poll(&p, 1, ROW_TIME_MS) != 1)
		snprintf(a->detail, sizeof(a->detail), "it hangs");
	else if (read(fds[0], a, sizeof(*a)) != sizeof(*a))
		snprintf(a->detail, sizeof(a->detail), "the process of the trial died");
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(fds[0]);
	return ret;
}

/* ---- All of them */

/* What the trial sent must have been counted, and have gone (in part) by the bypass. */
static void compare(const struct weir_bypass_subject *s, const struct weir_trial_row *row,
		    const struct answer *a, const uint64_t before[2], struct weir_bypass_row *r)
{
	uint64_t after[2] = { 0 };

	if (!s->count || s->count(s->arg, &after[0], &after[1]))
		return;
	if (after[0] == before[0] && a->ok && strcmp(row->name, "sendfile") != 0) {
		r->verdict = WEIR_BYPASS_UNSURE;
		snprintf(r->detail, sizeof(r->detail), "nothing went by the bypass");
	} else if (row->counted && a->ok && after[1] - before[1] != a->sent) {
		r->verdict = WEIR_BYPASS_BROKEN;
		snprintf(r->detail, sizeof(r->detail), "of %llu bytes sent %llu were counted",
			 (unsigned long long)a->sent, (unsigned long long)(after[1] - before[1]));
	}
}

static int check_row(const struct weir_bypass_subject *s, const struct weir_trial_row *row,
		     const struct weir_bypass_place *place, struct weir_bypass_row *r)
{
	uint64_t before[2] = { 0 };
	struct answer a;
	int ret = try_row(row, NULL, &a);

	*r = (struct weir_bypass_row){ .name = row->name, .about = row->about, .harm = row->harm };
	if (ret)
		return ret;
	if (!a.ok) {
		r->verdict = WEIR_BYPASS_UNSURE;
		snprintf(r->detail, sizeof(r->detail), "by TCP too: %.120s", a.detail);
		return 0;
	}
	if (s->count)
		s->count(s->arg, &before[0], &before[1]);
	ret = try_row(row, place, &a);
	if (ret)
		return ret;
	r->verdict = a.ok ? WEIR_BYPASS_OK : WEIR_BYPASS_BROKEN;
	memcpy(r->detail, a.detail, sizeof(r->detail));
	compare(s, row, &a, before, r);
	return 0;
}

int weir_bypass_check(const struct weir_bypass_subject *s, const char *only,
		      struct weir_bypass_row rows[WEIR_BYPASS_ROWS_MAX], size_t *ret_n,
		      struct weir_error *err)
{
	struct weir_bypass_place place;
	size_t n = 0;
	int bad = 0, ret = weir_bypass_place_make(&place, err);

	if (ret)
		return ret;
	ret = s->open(s->arg, place.fd, err);
	if (ret) {
		weir_bypass_place_remove(&place);
		return ret;
	}
	for (const struct weir_trial_row *row = weir_trial_rows; row->name && !ret; row++) {
		if (n == WEIR_BYPASS_ROWS_MAX || (only && strcmp(only, row->name) != 0))
			continue;
		ret = check_row(s, row, &place, &rows[n]);
		bad += rows[n++].verdict != WEIR_BYPASS_OK;
	}
	s->close(s->arg);
	weir_bypass_place_remove(&place);
	*ret_n = n;
	return ret ? weir_fail(err, ret, "cannot start a process: %s", strerror(-ret)) : bad;
}

const char *weir_bypass_harm(const char *name, size_t n)
{
	for (const struct weir_trial_row *row = weir_trial_rows; row->name; row++)
		if (strlen(row->name) == n && !memcmp(row->name, name, n))
			return row->harm;
	return NULL;
}

/* ---- weir's own */

static struct weir_bypass_road own;

static int own_open(void *arg, int cgroup_fd, struct weir_error *err)
{
	const struct weir_bypass_rule rule = { .name = "check" };

	return weir_bypass_road_open(arg, NULL, cgroup_fd, &rule, err);
}

static void own_close(void *arg)
{
	weir_bypass_road_close(arg);
}

static int own_count(void *arg, uint64_t *ret_bypass, uint64_t *ret_all)
{
	const struct weir_bypass_road *r = arg;
	struct weir_bypass_sums sums;
	int ret = weir_bypass_sums(r->rule_fd, r->conns_fd, &sums);

	if (ret)
		return ret;
	*ret_bypass = sums.way[0].bytes + sums.way[1].bytes;
	*ret_all = *ret_bypass + sums.way[0].tcp_bytes + sums.way[1].tcp_bytes;
	return 0;
}

struct weir_bypass_subject weir_bypass_own_subject(void)
{
	return (struct weir_bypass_subject){ &own, own_open, own_close, own_count };
}
