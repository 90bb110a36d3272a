/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/utf8.h"

#define NS_PER_MS 1000000

int weir_live_open(struct weir_live *l, bool screen, uint64_t every_ns, uint64_t for_ns,
		   struct weir_error *err)
{
	uint64_t now = weir_clock_mono();
	sigset_t mask;

	*l = (struct weir_live){ .screen = screen, .every = every_ns, .next = now + every_ns };
	l->end = for_ns ? now + for_ns : 0;
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	l->signals = signalfd(-1, &mask, SFD_CLOEXEC);
	if (l->signals < 0)
		return weir_fail(err, -errno, "cannot wait for signals: %s", strerror(errno));
	if (screen)
		weir_keys_open(&l->keys);
	return 0;
}

void weir_live_close(struct weir_live *l)
{
	weir_keys_close(&l->keys);
	close(l->signals);
}

static bool key_ends(void)
{
	char key;

	return read(STDIN_FILENO, &key, 1) != 1 || key == 'q';
}

enum weir_live_event weir_live_wait(struct weir_live *l, int fd)
{
	for (;;) {
		struct pollfd fds[] = {
			{ .fd = l->signals, .events = POLLIN },
			{ .fd = l->keys.on ? STDIN_FILENO : -1, .events = POLLIN },
			{ .fd = fd, .events = POLLIN },
		};
		uint64_t now = weir_clock_mono();
		uint64_t until = l->end && l->end < l->next ? l->end : l->next;

		if (l->end && now >= l->end)
			return WEIR_LIVE_END;
		if (now >= until) {
			/* A look that took longer than its time does not make the next
			 * ones come in a row. */
			l->next = now + l->every;
			return WEIR_LIVE_LOOK;
		}
		if (poll(fds, WEIR_ARRAY_SIZE(fds), (int)((until - now) / NS_PER_MS) + 1) < 0 ||
		    fds[0].revents || (fds[1].revents && key_ends()))
			return WEIR_LIVE_END;
		if (fds[2].revents)
			return WEIR_LIVE_READY;
	}
}

/* The length of an escape sequence (ECMA-48 CSI) at @s, or 0. */
static size_t escape_len(const char *s, size_t n)
{
	size_t at = 2;

	if (n < 3 || s[0] != '\033' || s[1] != '[')
		return 0;
	while (at < n && !(s[at] >= '@' && s[at] <= '~'))
		at++;
	return at < n ? at + 1 : 0;
}

/* As much of a line as @columns show, each character whole. Escape sequences behind that
 * are kept: they switch colours off. */
static void add_line(const char *line, size_t n, int columns, struct weir_buf *out)
{
	for (size_t at = 0; at < n;) {
		size_t len = escape_len(line + at, n - at);

		if (len) {
			weir_buf_add(out, line + at, len);
		} else {
			len = weir_utf8_len((const unsigned char *)line + at, n - at);
			len = len ? len : 1;
			if (columns > 0)
				weir_buf_add(out, line + at, len);
			columns--;
		}
		at += len;
	}
	weir_buf_addc(out, '\n');
}

static size_t count_lines(const char *s, const char *end)
{
	size_t n = 0;

	for (; s < end; s++)
		n += *s == '\n';
	return n;
}

void weir_live_picture(const struct weir_buf *text, struct weir_buf *out)
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

		add_line(line, (size_t)(newline - line), columns, out);
		line = newline + 1;
	}
	if (left)
		weir_buf_addf(out, "(%zu more)\n", left);
}

int weir_live_show(struct weir_live *l, struct weir_buf *text, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	int ret;

	if (l->screen) {
		weir_live_picture(text, &out);
		ret = weir_buf_flush(&out, STDOUT_FILENO);
		weir_buf_reset(text);
	} else {
		ret = weir_buf_flush(text, STDOUT_FILENO);
	}
	if (ret && ret != -EPIPE)
		weir_fail(err, ret, "cannot write to standard output (%s): send it elsewhere",
			  strerror(-ret));
	return ret;
}
