/* SPDX-License-Identifier: GPL-2.0-only */
/* Diagnostics for developers, on standard error, silent unless WEIR_DEBUG=1
 * is in the environment. What a user must know is an error or an output. */
#pragma once

#include <stdbool.h>

bool weir_log_enabled(void);
void weir_debug(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
