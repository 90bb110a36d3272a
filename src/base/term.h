/* SPDX-License-Identifier: GPL-2.0-only */
/* What the terminal can do. */
#pragma once

#include <stdbool.h>
#include <termios.h>

/* Colour on @fd: a terminal, NO_COLOR unset or empty (no-color.org), TERM not
 * "dumb". */
bool weir_term_colour(int fd);
/* Columns and rows of the terminal on @fd; 80x24 when unknown. */
void weir_term_size(int fd, int *ret_cols, int *ret_rows);

/* Read single keys from standard input without waiting for Enter and without
 * echo; Ctrl-C still makes its signal. Only in the foreground of a terminal:
 * elsewhere `on` stays false and nothing changes. */
struct weir_keys {
	bool on;
	struct termios saved;
};
void weir_keys_open(struct weir_keys *k);
void weir_keys_close(struct weir_keys *k);

/* While the terminal is not as it was: a signal that kills this process (SIGQUIT, those of
 * a crash) first puts @t back, and writes @text to standard output. Until the next call;
 * NULL: no longer. weir_keys_open() and weir_keys_close() do so with an empty @text. */
void weir_term_guard(const struct termios *t, const char *text);
