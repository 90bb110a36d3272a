/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool weir_log_enabled(void)
{
	enum { UNKNOWN, OFF, ON };
	static atomic_int state = UNKNOWN;
	int now = atomic_load_explicit(&state, memory_order_relaxed);

	if (now == UNKNOWN) {
		const char *v = getenv("WEIR_DEBUG");

		/* Threads that race here come to the same answer. */
		now = v && !strcmp(v, "1") ? ON : OFF;
		atomic_store_explicit(&state, now, memory_order_relaxed);
	}
	return now == ON;
}

void weir_debug(const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (!weir_log_enabled())
		return;
	flockfile(stderr); /* so that the lines of threads do not mix */
	fputs("weir: debug: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	funlockfile(stderr);
	errno = saved;
}
