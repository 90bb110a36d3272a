/* SPDX-License-Identifier: GPL-2.0-only */
/* Scope-bound release of resources (GCC and clang's cleanup attribute). */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define weir_cleanup(fn) __attribute__((cleanup(fn)))

static inline void weir_freep(void *p)
{
	free(*(void **)p);
}

static inline void weir_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void weir_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define weir_autofree weir_cleanup(weir_freep)
#define weir_autoclose weir_cleanup(weir_closep)
#define weir_autofclose weir_cleanup(weir_fclosep)

/* Hand a resource over: yields the value, leaves nothing to clean up. */
#define WEIR_TAKE_PTR(p)                  \
	({                                \
		typeof(p) taken_ = (p);   \
		(p) = NULL;               \
		taken_;                   \
	})
#define WEIR_TAKE_FD(fd)                  \
	({                                \
		int taken_ = (fd);        \
		(fd) = -1;                \
		taken_;                   \
	})

#define WEIR_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
