/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the full-screen view of --flows shows: which rows, in which order, of what. No
 * terminal: top_screen.c draws it, top.c turns keys into the calls below.
 *
 * Three levels: rows of a grouping, the flows of one of them, the packets of one flow. A
 * picture is a copy of a window of rows, so that it stays as it is while the table goes on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "cap/watch/flows.h"

#define WEIR_TOP_WINDOW 1024 /* rows of a picture */
#define WEIR_TOP_INPUT 256   /* bytes of a filter, with NUL */

struct weir_match;

enum weir_top_level { WEIR_TOP_ROWS, WEIR_TOP_FLOWS, WEIR_TOP_PACKETS, WEIR_TOP_LEVELS };

enum weir_top_sort {
	WEIR_TOP_BYTES,
	WEIR_TOP_RATE,
	WEIR_TOP_PKTS,
	WEIR_TOP_COUNT, /* of flows */
	WEIR_TOP_AGE,
	WEIR_TOP_NAME,
	WEIR_TOP_SORTS,
};
extern const char *const weir_top_sorts[WEIR_TOP_SORTS]; /* "bytes", ... */

struct weir_top_row {
	struct weir_flow_row sums; /* its pointers lead into this struct */
	struct weir_flow flow;
	char text[WEIR_TOP_INPUT];
};

struct weir_top_place {		    /* one level's own */
	struct weir_top_row of;	    /* the row of the level above that was entered */
	size_t cursor, offset;	    /* ranks: the selected row, the first one on the screen */
	bool held;		    /* the cursor stays on its row when that moves */
	char words[WEIR_TOP_INPUT]; /* rows contain this; empty: all */
};

struct weir_top {
	struct weir_watch *w;
	enum weir_by by;
	enum weir_top_sort sort;
	bool reverse, paused;
	enum weir_top_level level;
	struct weir_top_place place[WEIR_TOP_LEVELS];
	char expression[WEIR_TOP_INPUT]; /* and what it means; NULL: all flows */
	struct weir_match *match;
	size_t page;	/* rows on the screen, >= 1 */
	size_t total;	/* rows that there are; of packets: those kept */
	size_t base, n; /* rank of rows[0], and their number */
	struct weir_top_row *rows;
	uint64_t now;		   /* ns since the epoch, of the picture */
	uint64_t period_ns;	   /* that its rates are of */
	struct weir_groups groups; /* room for the next picture */
	struct weir_top_pick *picks;
	size_t picks_cap;
};

/* @w->flows is there. 0 or -ENOMEM. */
int weir_top_init(struct weir_top *t, struct weir_watch *w);
void weir_top_free(struct weir_top *t);

/* Take a picture of the table as it is at @now (ns since the epoch). 0 or -ENOMEM. */
int weir_top_take(struct weir_top *t, uint64_t now);

/* What the rows are now: of packets, flows. */
enum weir_by weir_top_rows_by(const struct weir_top *t);
/* The row under the cursor, or NULL. */
const struct weir_top_row *weir_top_selected(const struct weir_top *t);

/* Each of these: a new picture is needed? */
bool weir_top_move(struct weir_top *t, long by);
bool weir_top_resize(struct weir_top *t, size_t page);
bool weir_top_enter(struct weir_top *t);
bool weir_top_back(struct weir_top *t);
bool weir_top_group(struct weir_top *t, enum weir_by by);
/* What a row of a picture is called: by what is known of its flow now. */
void weir_top_row_name(const struct weir_top *t, enum weir_by by, const struct weir_top_row *r,
		       struct weir_buf *out);
/* The same again reverses the order. */
bool weir_top_order(struct weir_top *t, enum weir_top_sort sort);

/* Among packets the cursor counts from the oldest; at the newest it stays there. @came of
 * the @kept ones are new. */
void weir_top_packets(struct weir_top *t, size_t kept, size_t came);

/* An expression (weir-match(7)), of flows whose source is who began; a single word that is
 * none, or anything in quotes: rows whose name contains it. 0; else nothing has changed. */
int weir_top_filter(struct weir_top *t, const char *text, struct weir_error *err);
/* Both kinds, for the eye. */
void weir_top_filter_text(const struct weir_top *t, struct weir_buf *out);

/* @s in at most @width columns, and in exactly so many with @pad; what the locale cannot
 * print becomes '?', and a cut is marked by '+'. */
void weir_top_clean(const char *s, size_t width, bool pad, struct weir_buf *out);
/* "59s", "12m", "3h05", "4d07": at most five columns. */
void weir_top_age(uint64_t ns, struct weir_buf *out);
