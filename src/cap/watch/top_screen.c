/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/top_screen.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/term.h"
#include "base/units.h"

/* Last, since they define short names. */
#include <curses.h>
#include <term.h>

#define HEAD_LINES 3 /* above the rows */
#define FOOT_LINES 1
#define MIN_COLS 24
#define MIN_LINES 6
#define NAME_MIN 20   /* columns leave before the name gets narrower */
#define WIDE_COLS 132 /* from here on also by direction */
#define ESCAPE_MS 100 /* a key's bytes come within this time */
#define END_NS (WEIR_NSEC_PER_SEC)
#define COPY_MAX (1U << 20) /* of standard error, kept back */

struct weir_screen {
	SCREEN *screen;
	FILE *memory; /* where ncurses writes to */
	int tty;      /* non-blocking, for us alone */
	int epoll, signals;
	int errors[2]; /* standard error: the real one, and what stands in for it */
	struct weir_keys keys;
	struct weir_buf out; /* on its way to the terminal */
	size_t sent;
	bool waits; /* for room in the terminal */
	bool colour;
};

bool weir_screen_possible(void)
{
	return isatty(STDOUT_FILENO) && isatty(STDIN_FILENO) &&
	       tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* It must be able to move its cursor and to clear itself. */
static int check_terminal(struct weir_error *err)
{
	const char *term = getenv("TERM");
	int status;

	if (setupterm(NULL, STDOUT_FILENO, &status) != OK)
		return weir_fail(err, -ENOTSUP, "the terminal %s is not known",
				 term && *term ? term : "(TERM is not set)");
	if (!cursor_address || !clear_screen)
		return weir_fail(err, -ENOTSUP, "the terminal %s cannot move its cursor", term);
	return 0;
}

int weir_screen_new(struct weir_screen **ret, bool colour, struct weir_error *err)
{
	struct weir_screen *s = calloc(1, sizeof(*s));
	int code = check_terminal(err), memory;

	if (!s || code) {
		free(s);
		return code ? code : -ENOMEM;
	}
	s->epoll = s->signals = s->errors[0] = s->errors[1] = -1;
	s->tty = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	memory = memfd_create("weir-screen", MFD_CLOEXEC);
	s->memory = memory >= 0 ? fdopen(memory, "w") : NULL;
	if (s->tty < 0 || !s->memory) {
		weir_fail(err, -ENOTSUP, "cannot open the terminal: %s", strerror(errno));
		weir_screen_free(s);
		return -ENOTSUP;
	}
	s->colour = colour;
	*ret = s;
	return 0;
}

void weir_screen_free(struct weir_screen *s)
{
	int fds[] = { s->tty, s->epoll, s->signals, s->errors[0], s->errors[1] };

	if (s->screen)
		delscreen(s->screen);
	if (s->memory)
		fclose(s->memory);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	weir_buf_free(&s->out);
	free(s);
}

/* --- out --------------------------------------------------------------------- */

static void watch_tty(struct weir_screen *s, bool on)
{
	struct epoll_event ev = { .events = EPOLLOUT, .data.fd = s->tty };

	if (s->waits == on || s->epoll < 0)
		return;
	s->waits = on;
	epoll_ctl(s->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->tty, &ev);
}

/* What the terminal takes now. false: it is gone. */
static bool send_some(struct weir_screen *s)
{
	while (s->sent < s->out.len) {
		ssize_t n = write(s->tty, s->out.data + s->sent, s->out.len - s->sent);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return false;
		if (n <= 0)
			break;
		s->sent += (size_t)n;
	}
	if (s->sent == s->out.len) {
		weir_buf_reset(&s->out);
		s->sent = 0;
	}
	watch_tty(s, s->out.len > 0);
	return true;
}

/* Behind what is still on its way, what ncurses has written. */
static void collect(struct weir_screen *s)
{
	int memory = fileno(s->memory);
	off_t size = lseek(memory, 0, SEEK_END);
	char *to = size > 0 ? weir_buf_room(&s->out, (size_t)size) : NULL;
	ssize_t n = to ? pread(memory, to, (size_t)size, 0) : 0;

	if (n > 0) {
		s->out.len += (size_t)n;
		s->out.data[s->out.len] = '\0';
	}
	if (ftruncate(memory, 0) || lseek(memory, 0, SEEK_SET))
		weir_buf_reset(&s->out);
}

/* As long as the terminal takes something, and not for ever. */
static void send_all(struct weir_screen *s)
{
	uint64_t end = weir_clock_mono() + END_NS;
	struct pollfd p = { .fd = s->tty, .events = POLLOUT };

	while (send_some(s) && s->out.len && weir_clock_mono() < end)
		poll(&p, 1, 100);
	weir_buf_reset(&s->out);
	s->sent = 0;
}

/* --- begin and end ------------------------------------------------------------ */

/* What is printed there would be in the middle of the picture. */
static void hold_errors(struct weir_screen *s)
{
	if (!isatty(STDERR_FILENO))
		return;
	fflush(stderr);
	s->errors[1] = memfd_create("weir-errors", MFD_CLOEXEC);
	s->errors[0] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (s->errors[0] >= 0 && s->errors[1] >= 0)
		dup2(s->errors[1], STDERR_FILENO);
}

static void release_errors(struct weir_screen *s)
{
	weir_autobuf struct weir_buf text = { 0 };
	off_t size;
	char *to;
	ssize_t n;

	if (s->errors[0] < 0 || s->errors[1] < 0)
		return;
	fflush(stderr);
	dup2(s->errors[0], STDERR_FILENO);
	size = lseek(s->errors[1], 0, SEEK_END);
	to = size > 0 && size < COPY_MAX ? weir_buf_room(&text, (size_t)size) : NULL;
	n = to ? pread(s->errors[1], to, (size_t)size, 0) : 0;
	text.len = n > 0 ? (size_t)n : 0;
	weir_buf_flush(&text, STDERR_FILENO);
	close(WEIR_TAKE_FD(s->errors[0]));
	close(WEIR_TAKE_FD(s->errors[1]));
}

static const char *capability(const char *s)
{
	return s ? s : "";
}

/* What a fatal signal writes: delays in a capability ("$<5>") are of terminals that have
 * no such capability. */
static void guard(struct weir_screen *s)
{
	char text[128];

	snprintf(text, sizeof(text), "%s%s%s%s", capability(exit_attribute_mode),
		 capability(keypad_local), capability(cursor_normal), capability(exit_ca_mode));
	weir_term_guard(&s->keys.saved, strstr(text, "$<") ? "" : text);
}

static int begin_waiting(struct weir_screen *s, struct weir_error *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = STDIN_FILENO };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTSTP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->epoll < 0 || s->signals < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev))
		return weir_fail(err, -errno,
				 "cannot wait for keys: %s: leave the terminal out "
				 "with --once",
				 strerror(errno));
	ev.data.fd = s->signals;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->signals, &ev))
		return weir_fail(err, -errno, "cannot wait for signals: %s: report this",
				 strerror(errno));
	return 0;
}

static void fit(void)
{
	int cols, rows;

	weir_term_size(STDOUT_FILENO, &cols, &rows);
	resize_term(rows, cols);
	clearok(curscr, TRUE); /* the terminal has moved what it showed as it saw fit */
}

/* ncurses' own handlers would act where it is not expected: the signals are read from
 * descriptors. */
static void default_signals(void)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGTSTP, SIGWINCH };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_DFL);
}

int weir_screen_begin(struct weir_screen *s, struct weir_error *err)
{
	int ret = begin_waiting(s, err);

	if (ret)
		return ret;
	setlocale(LC_CTYPE, "");
	weir_keys_open(&s->keys);
	s->screen = newterm(NULL, s->memory, stdin);
	default_signals();
	if (!s->keys.on || !s->screen) {
		weir_keys_close(&s->keys);
		return weir_fail(err, -EIO, "cannot take the terminal: use --once");
	}
	hold_errors(s);
	guard(s);
	set_escdelay(ESCAPE_MS);
	fit();
	curs_set(0);
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	if (s->colour && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
	} else {
		s->colour = false;
	}
	return 0;
}

void weir_screen_end(struct weir_screen *s)
{
	sigset_t set;

	if (!s->screen)
		return;
	endwin();
	collect(s);
	send_all(s);
	weir_keys_close(&s->keys);
	release_errors(s);
	delscreen(WEIR_TAKE_PTR(s->screen));
	setlocale(LC_CTYPE, "C");
	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* Ctrl-Z: the shell gets its terminal back, and we go on when it says so. */
static void stop(struct weir_screen *s)
{
	sigset_t set;

	endwin();
	collect(s);
	send_all(s);
	weir_keys_close(&s->keys);
	sigemptyset(&set);
	sigaddset(&set, SIGTSTP);
	do {
		raise(SIGTSTP);
		sigprocmask(SIG_UNBLOCK, &set, NULL); /* here it stops */
		sigprocmask(SIG_BLOCK, &set, NULL);
	} while (tcgetpgrp(STDIN_FILENO) > 0 && tcgetpgrp(STDIN_FILENO) != getpgrp());
	weir_keys_open(&s->keys);
	guard(s);
	fit();
}

/* --- in ------------------------------------------------------------------------ */

int weir_screen_fd(const struct weir_screen *s)
{
	return s->epoll;
}

bool weir_screen_turn(struct weir_screen *s, bool *ret_changed)
{
	struct signalfd_siginfo si;
	struct epoll_event ev[4];
	int n = epoll_wait(s->epoll, ev, WEIR_ARRAY_SIZE(ev), 0);

	*ret_changed = false;
	for (int i = 0; i < n; i++) {
		if (ev[i].data.fd != s->signals && ev[i].events & (EPOLLHUP | EPOLLERR))
			return false;
		if (ev[i].data.fd == s->tty && !send_some(s))
			return false;
	}
	while (read(s->signals, &si, sizeof(si)) == sizeof(si)) {
		*ret_changed = true;
		if (si.ssi_signo == SIGTSTP)
			stop(s);
		else
			fit();
	}
	return true;
}

int weir_screen_key(struct weir_screen *s)
{
	static const struct {
		int from, to;
	} keys[] = {
		{ KEY_UP, WEIR_KEY_UP },	 { KEY_DOWN, WEIR_KEY_DOWN },
		{ KEY_LEFT, WEIR_KEY_LEFT },	 { KEY_RIGHT, WEIR_KEY_RIGHT },
		{ KEY_PPAGE, WEIR_KEY_PAGE_UP }, { KEY_NPAGE, WEIR_KEY_PAGE_DOWN },
		{ KEY_HOME, WEIR_KEY_HOME },	 { KEY_END, WEIR_KEY_END },
		{ KEY_ENTER, WEIR_KEY_ENTER },	 { '\n', WEIR_KEY_ENTER },
		{ '\r', WEIR_KEY_ENTER },	 { KEY_BACKSPACE, WEIR_KEY_BACK },
		{ 127, WEIR_KEY_BACK },		 { '\b', WEIR_KEY_BACK },
		{ 27, WEIR_KEY_ESCAPE },	 { 'U' - '@', WEIR_KEY_CLEAR },
	};
	int c = s->screen ? getch() : ERR;

	if (c == ERR)
		return WEIR_KEY_NONE;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(keys); i++)
		if (keys[i].from == c)
			return keys[i].to;
	return c < 256 ? c : 0;
}

/* --- the picture ------------------------------------------------------------------ */

struct column {
	const char *title;
	int width;   /* with a blank on the left */
	bool wide;   /* only where there is much room */
	bool groups; /* of rows that are no flows */
	enum weir_top_sort sort;
	void (*cell)(const struct weir_top *t, const struct weir_flow_row *r, struct weir_buf *out);
};

static void cell_flows(const struct weir_top *t, const struct weir_flow_row *r,
		       struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)r->flows);
}

static void cell_packets(const struct weir_top *t, const struct weir_flow_row *r,
			 struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)(r->packets[0] + r->packets[1]));
}

static void cell_bytes(const struct weir_top *t, const struct weir_flow_row *r,
		       struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)(r->bytes[0] + r->bytes[1]));
}

static void cell_in(const struct weir_top *t, const struct weir_flow_row *r, struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)r->bytes[0]);
}

static void cell_out(const struct weir_top *t, const struct weir_flow_row *r, struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)r->bytes[1]);
}

static void cell_packets_in(const struct weir_top *t, const struct weir_flow_row *r,
			    struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)r->packets[0]);
}

static void cell_packets_out(const struct weir_top *t, const struct weir_flow_row *r,
			     struct weir_buf *out)
{
	(void)t;
	weir_buf_add_si(out, (double)r->packets[1]);
}

static void cell_rate(const struct weir_top *t, const struct weir_flow_row *r, struct weir_buf *out)
{
	double seconds = (double)t->period_ns / (double)WEIR_NSEC_PER_SEC;

	weir_buf_add_si(out, seconds > 0 ? (double)r->recent * 8 / seconds : 0);
}

static void cell_age(const struct weir_top *t, const struct weir_flow_row *r, struct weir_buf *out)
{
	weir_top_age(t->now > r->first ? t->now - r->first : 0, out);
}

static const struct column table[] = {
	/* the first ones leave where it is narrow */
	{ "PKTS IN", 9, true, false, WEIR_TOP_SORTS, cell_packets_in },
	{ "PKTS OUT", 9, true, false, WEIR_TOP_SORTS, cell_packets_out },
	{ "BYTES IN", 9, true, false, WEIR_TOP_SORTS, cell_in },
	{ "BYTES OUT", 10, true, false, WEIR_TOP_SORTS, cell_out },
	{ "AGE", 6, false, false, WEIR_TOP_AGE, cell_age },
	{ "FLOWS", 7, false, true, WEIR_TOP_COUNT, cell_flows },
	{ "PACKETS", 8, false, false, WEIR_TOP_PKTS, cell_packets },
	{ "BYTES", 7, false, false, WEIR_TOP_BYTES, cell_bytes },
	{ "BITS/S", 7, false, false, WEIR_TOP_RATE, cell_rate },
};

/* The columns that have room, as a mask; and what is left for the name. */
static unsigned int choose_columns(const struct weir_top *t, int *ret_name)
{
	bool flows = weir_top_rows_by(t) == WEIR_BY_FLOW;
	unsigned int mask = 0;
	int left = COLS;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(table); i++)
		if (!(table[i].wide && COLS < WIDE_COLS) && !(table[i].groups && flows)) {
			mask |= 1U << i;
			left -= table[i].width;
		}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(table) && left < NAME_MIN; i++)
		if (mask >> i & 1) {
			mask &= ~(1U << i);
			left += table[i].width;
		}
	*ret_name = left;
	return mask;
}

/* The whole of line @y. */
static void put_line(int y, const char *text, attr_t attr)
{
	weir_autobuf struct weir_buf line = { 0 };

	if (y < 0 || y >= LINES)
		return;
	weir_top_clean(text, (size_t)COLS, true, &line);
	if (line.failed || !line.data)
		return;
	attrset((int)attr);
	mvaddstr(y, 0, line.data);
	attrset(A_NORMAL);
}

static void add_right(struct weir_buf *out, const char *cell, int width)
{
	for (int n = (int)strlen(cell); n < width; n++)
		weir_buf_addc(out, ' ');
	weir_buf_adds(out, cell);
}

static void put_heads(const struct weir_top *t, unsigned int mask, int name)
{
	int x = name;

	put_line(HEAD_LINES - 1, weir_groupings[weir_top_rows_by(t)].title, A_REVERSE);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(table); i++) {
		weir_autobuf struct weir_buf text = { 0 };

		if (!(mask >> i & 1))
			continue;
		add_right(&text, table[i].title, table[i].width);
		/* The column of the order stands out by not standing out. */
		attrset(table[i].sort == t->sort ? A_BOLD : A_REVERSE);
		mvaddstr(HEAD_LINES - 1, x, text.data ? text.data : "");
		x += table[i].width;
	}
	attrset(A_NORMAL);
}

static void put_row(const struct weir_top *t, const struct weir_top_row *r, unsigned int mask,
		    int width, int y, bool selected)
{
	weir_autobuf struct weir_buf line = { 0 }, name = { 0 };

	weir_top_row_name(t, weir_top_rows_by(t), r, &name);
	weir_top_clean(name.data ? name.data : "", (size_t)width, true, &line);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(table); i++) {
		weir_autobuf struct weir_buf cell = { 0 };

		if (!(mask >> i & 1))
			continue;
		table[i].cell(t, &r->sums, &cell);
		add_right(&line, cell.data ? cell.data : "", table[i].width);
	}
	put_line(y, line.data ? line.data : "", selected ? A_REVERSE : A_NORMAL);
}

static void put_rows(const struct weir_top *t)
{
	const struct weir_top_place *p = &t->place[t->level];
	int name;
	unsigned int mask = choose_columns(t, &name);

	put_heads(t, mask, name);
	for (size_t i = 0; i < t->page; i++) {
		size_t rank = p->offset + i;
		int y = HEAD_LINES + (int)i;

		if (rank < t->base || rank >= t->base + t->n)
			put_line(y, "", A_NORMAL);
		else
			put_row(t, &t->rows[rank - t->base], mask, name, y, rank == p->cursor);
	}
	if (!t->n)
		put_line(HEAD_LINES,
			 t->match || p->words[0] ? "  nothing matches the filter" :
						   "  no packets yet",
			 A_DIM);
}

static void put_packets(const struct weir_view *v)
{
	const struct weir_top *t = v->top;
	const struct weir_top_place *p = &t->place[t->level];

	put_line(HEAD_LINES - 1, "PACKETS", A_REVERSE);
	for (size_t i = 0; i < t->page; i++) {
		size_t rank = p->offset + i;
		bool there = rank < t->total;

		put_line(HEAD_LINES + (int)i, there ? v->packet(v->arg, rank) : "",
			 there && rank == p->cursor ? A_REVERSE : A_NORMAL);
	}
	if (!t->total)
		put_line(HEAD_LINES, "  no packets of this flow yet", A_DIM);
}

static void put_help(const struct weir_view *v)
{
	bool more = true;

	put_line(HEAD_LINES - 1, "KEYS", A_REVERSE);
	for (int y = HEAD_LINES; y < LINES - FOOT_LINES; y++) {
		more = more && v->help[y - HEAD_LINES];
		put_line(y, more ? v->help[y - HEAD_LINES] : "", A_NORMAL);
	}
}

static void put_foot(const struct weir_screen *s, const struct weir_view *v)
{
	weir_autobuf struct weir_buf line = { 0 };
	int attr = s->colour ? COLOR_PAIR(1) | A_BOLD : A_BOLD;

	if (!v->prompt) {
		put_line(LINES - 1, v->note ? v->note : "", A_BOLD);
		return;
	}
	if (v->error)
		put_line(LINES - 2, v->error, (attr_t)attr);
	weir_buf_adds(&line, "filter: ");
	/* The end of what is typed is always to be seen. */
	if (COLS > 12 && strlen(v->prompt) > (size_t)COLS - 10)
		weir_buf_adds(&line, v->prompt + strlen(v->prompt) - ((size_t)COLS - 10));
	else
		weir_buf_adds(&line, v->prompt);
	put_line(LINES - 1, line.data ? line.data : "", A_NORMAL);
	if ((int)line.len < COLS)
		move(LINES - 1, (int)line.len);
}

size_t weir_screen_page(const struct weir_screen *s)
{
	(void)s;
	return LINES > HEAD_LINES + FOOT_LINES ? (size_t)(LINES - HEAD_LINES - FOOT_LINES) : 1;
}

bool weir_screen_ready(const struct weir_screen *s)
{
	return !s->out.len;
}

void weir_screen_draw(struct weir_screen *s, const struct weir_view *v)
{
	if (!s->screen || s->out.len)
		return;
	erase();
	if (COLS < MIN_COLS || LINES < MIN_LINES) {
		put_line(0, "too small", A_NORMAL);
	} else {
		put_line(0, v->title, A_BOLD | (v->alarm && s->colour ? COLOR_PAIR(1) : 0));
		put_line(1, v->where, A_NORMAL);
		if (v->help)
			put_help(v);
		else if (v->top->level == WEIR_TOP_PACKETS)
			put_packets(v);
		else
			put_rows(v->top);
		put_foot(s, v);
	}
	curs_set(v->prompt ? 1 : 0);
	wnoutrefresh(stdscr);
	doupdate();
	collect(s);
	send_some(s);
}
