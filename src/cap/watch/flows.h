/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table: what the kernel has added up, merged over time. Bounded; what does not
 * fit, or has ended unseen, is summed up under "other", so that the totals stay true.
 *
 *   flows.c       the table
 *   flows_by.c    what a row may be of, its name and JSON: by flow, host, port or protocol
 *   flows_rows.c  the rows of a picture
 *   flows_show.c  plain pictures and JSON lines; top*.c: the full-screen view
 */
#pragma once

#include "bpf/flow.bpf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "cap/watch/packet.h"

struct weir_watch;
struct weir_flow_owners;

struct weir_flow {
	struct weir_flow_key key;
	struct weir_flow_val val; /* times in ns since the epoch */
	uint64_t recent[2];	  /* bytes in period number `period`, and in the one before */
	uint64_t bypassed;	  /* bytes that no packet carried (weir bypass) */
	uint64_t bypass_cookie;	  /* of a socket, while the connection goes on; 0 = none */
	uint32_t bypass_look;
	uint32_t alerted; /* rules of --alert that have counted it, as bits */
	uint32_t period;
	struct weir_flow_names *names; /* l7.h; NULL: none */
	struct weir_ipfix_flow *ipfix; /* not exported yet; NULL: nothing is */
	bool used;
	bool hidden; /* --pid, --comm, --cgroup want others */
	struct weir_flow_owners *owners; /* NULL: not known, or not asked for (owners.h) */
	bool beyond; /* in no table, for there was no room: told of once */
};

struct weir_flows {
	struct weir_flow *slots; /* open addressing; they move when the table grows */
	size_t size, used, limit;
	struct weir_flow_val other; /* what did not fit, or has ended unseen */
	uint64_t other_flows;
	uint64_t packets, bytes; /* all that was ever merged */
	uint32_t period;	 /* a rate is of the last whole one: this is the next */
	uint64_t period_began;	 /* CLOCK_MONOTONIC */
	uint64_t period_ns;	 /* how long the last whole one was */
	size_t swept;		 /* weir_flows_expire() goes on here */
	uint32_t bypass_look;
	size_t bypassing;	      /* flows with a bypass_cookie, at most */
	uint8_t listening[65536 / 8]; /* TCP ports that this host listens on */
};

/* Each flow of the table @f. */
#define WEIR_FLOWS_EACH(f, x)                                                         \
	for (struct weir_flow *x = (f)->slots; x < (f)->slots + (f)->size; x++)       \
		if (x->used)

int weir_flows_new(struct weir_watch *w, struct weir_error *err);
void weir_flows_free(struct weir_flows *f);
/* Merge what the kernel has counted (times already in ns since the epoch), and tell the
 * observers. @sides: NULL unless this run wants them. */
void weir_flows_merge(struct weir_watch *w, const struct weir_flow_key *k,
		      const struct weir_flow_val *v, const struct weir_flow_sides *sides);
/* NULL: it is not there. Good until the table changes. */
struct weir_flow *weir_flows_find(struct weir_flows *f, const struct weir_flow_key *k);
/* One packet seen in user space. */
void weir_flows_packet(struct weir_watch *w, const struct weir_packet *p);
/* Flows without a packet for a while at @now (ns since the epoch) leave the table; the
 * observers and @gone are told of each. Of a large table a part is looked at, so that a
 * tick's work is bounded; the whole comes round in some seconds. */
void weir_flows_expire(struct weir_watch *w, uint64_t now,
		       void (*gone)(void *arg, const struct weir_flow *x), void *arg);
/* Has it ended, having been silent for so long at @now? */
bool weir_flow_is_idle(const struct weir_flow *x, uint64_t now);
/* How many slots are looked at in one tick. */
size_t weir_flows_part(const struct weir_flows *f);
/* Do ended flows stay in the table? In sums by something else than the flow, and in the
 * picture of a file, which are of all that ever was; not on a screen, which may run for
 * days. */
bool weir_flows_keep_ended(const struct weir_watch *w);
/* Bytes of @x in the last whole period. */
static inline uint64_t weir_flow_recent(const struct weir_flows *f, const struct weir_flow *x)
{
	return x->period == f->period	  ? x->recent[1] :
	       x->period + 1 == f->period ? x->recent[0] :
					    0;
}
/* A period ends and the next one begins. */
void weir_flows_period(struct weir_flows *f);
/* Add the counts of @v to @to. */
void weir_flow_val_merge(struct weir_flow_val *to, const struct weir_flow_val *v);
/* Who began? Seen: a SYN, or the first packet of anything else. Guessed: who listens,
 * then the lower port. */
bool weir_flow_initiator_is_b(const struct weir_flows *f, const struct weir_flow *x,
			      bool *ret_guessed);

/* One look at what goes by the bypass: begin, each connection (a flow that the table does
 * not have is left out), end: those that were not told of have ended, with the bytes that
 * @fn knows. */
void weir_flows_bypass_begin(struct weir_flows *f);
void weir_flows_bypassed(struct weir_flows *f, const struct weir_flow_key *k, uint64_t cookie,
			 uint64_t bytes);
void weir_flows_bypass_end(struct weir_flows *f,
			   bool (*fn)(void *arg, uint64_t cookie, uint64_t *ret), void *arg);

/* flows_bypass.c */
struct weir_watch_bypass;
int weir_watch_bypass_new(struct weir_watch *w);
void weir_watch_bypass_free(struct weir_watch_bypass *b);
void weir_watch_bypass_look(struct weir_watch *w);

/* flows_by.c */
enum weir_by {
	WEIR_BY_FLOW,
	WEIR_BY_HOST,
	WEIR_BY_PORT,
	WEIR_BY_PROTOCOL,
	WEIR_BY_PROCESS, /* needs owners */
	WEIR_BY_CGROUP,	 /* likewise */
	WEIR_BY_SNI,	 /* needs names */
	WEIR_BY_DOMAIN,	 /* likewise: what its responder is called, by SNI, HTTP or DNS */
	WEIR_BY_MAX
};
extern const char *const weir_by_names[]; /* of --by, and NULL */

struct weir_flow_row { /* a line of a picture; what it is of: by enum weir_by */
	const struct weir_flow *flow; /* WEIR_BY_FLOW */
	const char *text;	      /* a grouping by text; NULL: unknown */
	uint8_t addr[16];	      /* WEIR_BY_HOST */
	uint32_t pid;		      /* WEIR_BY_PROCESS; 0: unknown */
	uint16_t port;		      /* WEIR_BY_PORT */
	uint8_t proto;		      /* WEIR_BY_PORT, WEIR_BY_PROTOCOL */
	uint16_t eth_type;
	uint64_t packets[2], wire, bytes[2], bypassed, recent, first, last, flows;
};

struct weir_json;

/* A way to add flows up. */
struct weir_grouping {
	const char *name;  /* of --by */
	const char *title; /* of the column */
	/* The one or two rows that a flow belongs to, as rows without sums. The text of a
	 * row lasts until the flow table is changed. */
	int (*keys)(struct weir_watch *w, const struct weir_flow *x,
		    struct weir_flow_row keys[2]);
	/* What the row is called, without what weir_row_name() adds. */
	void (*title_of)(struct weir_watch *w, const struct weir_flow_row *r,
			 struct weir_buf *out);
	void (*json)(struct weir_watch *w, const struct weir_flow_row *r,
		     struct weir_json *j);
};
extern const struct weir_grouping weir_groupings[WEIR_BY_MAX];

/* Does this run know what such rows are of? */
bool weir_by_possible(const struct weir_watch *w, enum weir_by by);
/* Do rows of @by need that? */
bool weir_by_needs_owners(enum weir_by by);
bool weir_by_needs_names(enum weir_by by);

/* In text, from hostile packets too: to be cleaned where a terminal shows it. */
void weir_row_name(struct weir_watch *w, enum weir_by by, const struct weir_flow_row *r,
		   struct weir_buf *out);

/* flows_rows.c */
/* An order of rows by what they are of; 0: the same row. */
int weir_row_compare(const struct weir_flow_row *a, const struct weir_flow_row *b);
struct weir_flow_row weir_flow_row_of(const struct weir_flows *f, const struct weir_flow *x);
struct weir_flow_row weir_flow_row_other(const struct weir_flows *f);

/* Rows added up by what they have in common; the room is used again the next time. */
struct weir_groups {
	struct weir_flow_row *rows;
	size_t n, cap;
	uint32_t *slots; /* open addressing: 1 + an index of rows */
	size_t size;
};
typedef bool weir_flow_fn(void *arg, const struct weir_flow *x);
/* All of @f that @keep (NULL: all) takes. 0 or -ENOMEM. */
int weir_groups_fill(struct weir_groups *g, struct weir_watch *w, enum weir_by by,
		     weir_flow_fn *keep, void *arg);
void weir_groups_free(struct weir_groups *g);

/* flows_show.c: a table, or JSON lines. @last: the final one; before that, flows that have
 * ended leave the table. */
int weir_flows_show(struct weir_watch *w, bool last);
