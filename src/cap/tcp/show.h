/* SPDX-License-Identifier: GPL-2.0-only */
/* Connections as people and programs read them. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/table.h"
#include "cap/tcp/table.h"

extern const char *const weir_tcp_kinds[WEIR_TCP_KINDS];
extern const char *const weir_tcp_causes[WEIR_TCP_CAUSES];
extern const char *const weir_tcp_hows[WEIR_TCP_HOWS];
extern const char *const weir_tcp_losts[WEIR_TCP_LOSTS];

/* "established"; NULL for what is no state. */
const char *weir_tcp_state(unsigned int state);
/* "local", "remote", "both"; NULL: not known. */
const char *weir_tcp_who(unsigned int by);
/* "LOCAL > REMOTE", or "<" where the peer began it, "?>" and "<?" where that is a guess. */
void weir_tcp_add_ends(struct weir_buf *b, const struct weir_ends *e);
/* "curl/1234"; nothing where it is not known. */
void weir_tcp_add_process(struct weir_buf *b, const char *comm, uint32_t pid);
/* "3 (2 fast, 1 earlier)"; @before: those of before this run. */
void weir_tcp_add_causes(struct weir_buf *b, const uint64_t cause[WEIR_TCP_CAUSES],
			 uint64_t before);

struct weir_tcp_view {
	enum weir_tcp_by by;
	enum weir_tcp_sort sort;
	bool histogram;
	const uint64_t *lost; /* WEIR_TCP_LOSTS of them */
};

/* Tables, with the pictures of round trips behind them if those are wanted. 0 or -ENOMEM. */
int weir_tcp_show(struct weir_tcp_table *t, const struct weir_tcp_view *v, struct weir_buf *out);
/* One document of all, or one object a line for each. 0 or -ENOMEM. */
int weir_tcp_show_json(struct weir_tcp_table *t, const struct weir_tcp_view *v, bool document,
		       struct weir_buf *out);
/* The text format of Prometheus; series do not grow with the number of peers. */
void weir_tcp_show_prometheus(struct weir_tcp_table *t, const struct weir_tcp_view *v,
			      struct weir_buf *out);

/* A connection's members, into an open object. @offset: of CLOCK_REALTIME. */
void weir_tcp_json_conn(struct weir_json *j, const struct weir_tcp_conn *c, int64_t offset);
void weir_tcp_json_ends(struct weir_json *j, const struct weir_ends *e);
void weir_tcp_json_process(struct weir_json *j, const char *comm, uint32_t pid);
void weir_tcp_json_lost(struct weir_json *j, const uint64_t lost[WEIR_TCP_LOSTS]);

/* One line for an event. */
void weir_tcp_event_text(const struct weir_tcp_event *ev, int64_t offset, struct weir_buf *out);
void weir_tcp_event_json(const struct weir_tcp_event *ev, int64_t offset, struct weir_buf *out);
