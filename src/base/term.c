/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/term.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

#define DEFAULT_COLS 80
#define DEFAULT_ROWS 24
#define GUARD_TEXT 256

bool weir_term_colour(int fd)
{
	const char *no_color = getenv("NO_COLOR");
	const char *term = getenv("TERM");

	if (no_color && *no_color)
		return false;
	if (term && !strcmp(term, "dumb"))
		return false;
	return isatty(fd) == 1;
}

void weir_term_size(int fd, int *ret_cols, int *ret_rows)
{
	struct winsize ws = { 0 };

	/* A serial line answers, but with zeros. */
	if (ioctl(fd, TIOCGWINSZ, &ws) < 0)
		ws = (struct winsize){ 0 };
	*ret_cols = ws.ws_col ? ws.ws_col : DEFAULT_COLS;
	*ret_rows = ws.ws_row ? ws.ws_row : DEFAULT_ROWS;
}

/* What ends a process and is not read from a descriptor where it asks for an end. */
static const int fatal[] = { SIGQUIT, SIGSEGV, SIGBUS,	SIGILL,	   SIGFPE,  SIGABRT,
			     SIGTRAP, SIGSYS,  SIGXCPU, SIGXFSZ,   SIGALRM, SIGVTALRM,
			     SIGPROF, SIGUSR2, SIGPOLL, SIGSTKFLT, SIGPWR };

static struct {
	struct termios termios;
	char text[GUARD_TEXT];
	size_t len;
} guard;

/* Only what signal-safety(7) allows. The signal's default action is back by then, and comes
 * when this returns. */
static void on_fatal(int sig)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &guard.termios);
	if (guard.len && write(STDOUT_FILENO, guard.text, guard.len) < 0)
		_exit(128 + sig);
	raise(sig);
}

/* A handler that someone else has set stays: it knows better. */
static void handle(int sig, bool on)
{
	struct sigaction old, act = { .sa_flags = on ? (int)SA_RESETHAND : 0 };

	sigemptyset(&act.sa_mask);
	act.sa_handler = on ? on_fatal : SIG_DFL;
	if (!sigaction(sig, NULL, &old) && old.sa_handler == (on ? SIG_DFL : on_fatal))
		sigaction(sig, &act, NULL);
}

void weir_term_guard(const struct termios *t, const char *text)
{
	if (t) {
		guard.termios = *t;
		guard.len = strlen(text) < sizeof(guard.text) ? strlen(text) : 0;
		memcpy(guard.text, text, guard.len);
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(fatal); i++)
		handle(fatal[i], t);
}

void weir_keys_open(struct weir_keys *k)
{
	struct termios t;

	k->on = false;
	if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &k->saved))
		return;
	weir_term_guard(&k->saved, "");
	t = k->saved;
	t.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	t.c_cc[VMIN] = 0; /* a read never blocks */
	t.c_cc[VTIME] = 0;
	k->on = !tcsetattr(STDIN_FILENO, TCSANOW, &t);
	if (!k->on)
		weir_term_guard(NULL, "");
}

void weir_keys_close(struct weir_keys *k)
{
	if (k->on) {
		tcsetattr(STDIN_FILENO, TCSANOW, &k->saved);
		weir_term_guard(NULL, "");
	}
	k->on = false;
}
