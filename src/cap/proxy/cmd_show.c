/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connections, top: what the running proxy answers, once, or on a terminal as a
 * picture that refreshes. Nothing is held between two looks.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/term.h"
#include "base/utf8.h"
#include "cap/proxy/cmd_impl.h"
#include "cap/proxy/control.h"

#define EVERY_NS WEIR_NSEC_PER_SEC

struct screen {
	int signals;
	struct weir_keys keys;
};

static int screen_open(struct screen *s, struct weir_error *err)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	s->signals = signalfd(-1, &mask, SFD_CLOEXEC);
	if (s->signals < 0)
		return weir_fail(err, -errno, "cannot wait for signals: %s", strerror(errno));
	weir_keys_open(&s->keys);
	return 0;
}

static void screen_close(struct screen *s)
{
	weir_keys_close(&s->keys);
	close(s->signals);
}

/* Until the next look; false: it is over. */
static bool screen_wait(struct screen *s)
{
	uint64_t next = weir_clock_mono() + EVERY_NS, now;

	while ((now = weir_clock_mono()) < next) {
		struct pollfd fds[] = {
			{ .fd = s->signals, .events = POLLIN },
			{ .fd = s->keys.on ? STDIN_FILENO : -1, .events = POLLIN },
		};
		char key;

		if (poll(fds, WEIR_ARRAY_SIZE(fds), (int)((next - now) / 1000000) + 1) < 0)
			return false;
		if (fds[0].revents)
			return false;
		if (fds[1].revents && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q'))
			return false;
	}
	return true;
}

/* At most @columns characters of a line, each whole. */
static size_t cut_line(const char *line, size_t n, int columns)
{
	size_t at = 0;

	for (; at < n && columns; columns--) {
		size_t len = weir_utf8_len((const unsigned char *)line + at, n - at);

		at += len ? len : 1;
	}
	return at;
}

static size_t count_lines(const char *s, const char *end)
{
	size_t n = 0;

	for (; s < end; s++)
		n += *s == '\n';
	return n;
}

static void add_picture(const struct weir_buf *text, struct weir_buf *out)
{
	const char *line = text->data ? text->data : "", *end = line + text->len;
	size_t left = count_lines(line, end), room;
	int rows, columns;

	weir_term_size(STDOUT_FILENO, &columns, &rows);
	weir_buf_adds(out, "\033[H\033[2J");
	/* The last row stays free, as a newline there would scroll, and the one above it
	 * tells what has no room. */
	room = rows > 2 ? (size_t)rows - 2 : 1;
	for (; left && room; left--, room--) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));

		weir_buf_add(out, line, cut_line(line, (size_t)(newline - line), columns));
		weir_buf_addc(out, '\n');
		line = newline + 1;
	}
	if (left)
		weir_buf_addf(out, "(%zu more)\n", left);
}

static int show(const char *request, bool live, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 }, out = { 0 };
	int ret = weir_control_ask(request, &answer, err);

	if (ret)
		return ret;
	if (live)
		add_picture(&answer, &out);
	ret = weir_buf_flush(live ? &out : &answer, STDOUT_FILENO);
	if (ret && ret != -EPIPE)
		weir_fail(err, ret, "cannot write to standard output (%s): send it elsewhere",
			  strerror(-ret));
	return ret;
}

int weir_proxy_cmd_show(struct weir_proxy_cmd *c, struct weir_error *err)
{
	bool live = !c->json && !c->once && isatty(STDOUT_FILENO);
	struct screen s;
	char request[32];
	int ret;

	snprintf(request, sizeof(request), "%s%s", c->action->name, c->json ? " json" : "");
	if (!live) {
		ret = show(request, false, err);
		return ret == -EPIPE && !err->msg[0] ? WEIR_EXIT_DONE : ret;
	}
	ret = screen_open(&s, err);
	if (ret)
		return ret;
	do
		ret = show(request, true, err);
	while (!ret && screen_wait(&s));
	screen_close(&s);
	return ret == -EPIPE && !err->msg[0] ? WEIR_EXIT_DONE : ret;
}
