/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/term.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEFAULT_COLS 80
#define DEFAULT_ROWS 24

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

void weir_keys_open(struct weir_keys *k)
{
	struct termios t;

	k->on = false;
	if (tcgetpgrp(STDIN_FILENO) != getpgrp() || tcgetattr(STDIN_FILENO, &k->saved))
		return;
	t = k->saved;
	t.c_lflag &= (tcflag_t) ~(ICANON | ECHO);
	t.c_cc[VMIN] = 0; /* a read never blocks */
	t.c_cc[VTIME] = 0;
	k->on = !tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

void weir_keys_close(struct weir_keys *k)
{
	if (k->on)
		tcsetattr(STDIN_FILENO, TCSANOW, &k->saved);
	k->on = false;
}
