/* SPDX-License-Identifier: GPL-2.0-only */
/* What the terminal can do. */
#pragma once

#include <stdbool.h>

/* Colour on @fd: a terminal, NO_COLOR unset or empty (no-color.org), TERM not
 * "dumb". */
bool weir_term_colour(int fd);
/* Columns and rows of the terminal on @fd; 80x24 when unknown. */
void weir_term_size(int fd, int *ret_cols, int *ret_rows);
