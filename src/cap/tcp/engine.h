/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs in the kernel: loaded, attached, asked. They go with their process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/tcp/tcp.h"
#include "match/match.h"

struct weir_tcp_engine;

struct weir_tcp_want {
	const struct weir_match *match; /* NULL: all */
	const char *netns_path;		/* NULL: every namespace that can be entered */
	const char *cgroup;		/* NULL: all */
	uint32_t events;		/* mask of 1 << enum weir_tcp_kind */
	bool watch;			/* false: looks only, nothing in between */
};

/* @ev: with WEIR_TCP_CLOSE a struct weir_tcp_closed. */
typedef void (*weir_tcp_event_fn)(void *arg, const struct weir_tcp_event *ev);
typedef int (*weir_tcp_look_fn)(void *arg, const struct weir_tcp_conn *c);

int weir_tcp_engine_open(struct weir_tcp_engine **ret, const struct weir_tcp_want *want,
			 weir_tcp_event_fn fn, void *arg, struct weir_error *err);
void weir_tcp_engine_close(struct weir_tcp_engine *e);

/* The descriptor that is readable when there are events; -1 without `watch`. */
int weir_tcp_engine_fd(const struct weir_tcp_engine *e);
int weir_tcp_engine_consume(struct weir_tcp_engine *e, struct weir_error *err);

struct weir_tcp_spaces {
	unsigned int n; /* network namespaces looked at */
	bool hidden;	/* there are others, which may not be entered */
};

/* Look at every connection that is wanted. @owners: find out first who holds those that
 * nobody is known to hold. */
int weir_tcp_engine_look(struct weir_tcp_engine *e, bool owners, weir_tcp_look_fn fn, void *arg,
			 struct weir_tcp_spaces *ret, struct weir_error *err);

void weir_tcp_engine_lost(const struct weir_tcp_engine *e, uint64_t ret[WEIR_TCP_LOSTS]);
