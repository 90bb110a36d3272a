/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The account of a run: what the interfaces of this network namespace received is what
 * was delivered or forwarded, what the ledger has, and a residue; and what IP was given to
 * send is what the interfaces sent, what the ledger has, and a residue.
 *
 *	interfaces   received  = lost + freed + taken in by IP + residue
 *	ip	     taken in  = lost + freed + forwarded + fragments + delivered + residue
 *	protocols    delivered = lost + freed + TCP + UDP read + UDP waiting + ICMP + residue
 *	sending      requests + forwarded + fragments made = lost + freed + queued + sent + residue
 *
 * The kernel's counters know no flows, so that this is of the whole namespace.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

enum weir_drops_total {
	WEIR_TOTAL_RECEIVED, /* by interfaces that lie on no other */
	WEIR_TOTAL_IP_IN,
	WEIR_TOTAL_WIRE_IN, /* the same as frames, before several were made one */
	WEIR_TOTAL_FORWARDED,
	WEIR_TOTAL_FRAGMENTS,
	WEIR_TOTAL_REASSEMBLED,
	WEIR_TOTAL_DELIVERED,
	WEIR_TOTAL_TCP,
	WEIR_TOTAL_UDP_READ,
	WEIR_TOTAL_UDP_IGNORED, /* multicast that nobody listens to */
	WEIR_TOTAL_ICMP,
	WEIR_TOTAL_UDP_WAITING,
	WEIR_TOTAL_REQUESTS,	/* what this host itself gave IP to send */
	WEIR_TOTAL_FORWARDED_4, /* of the forwarded, IPv4 */
	WEIR_TOTAL_CUT,		/* datagrams that were made fragments ... */
	WEIR_TOTAL_PIECES,	/* ...and those */
	WEIR_TOTAL_QUEUED,	/* in the queueing disciplines */
	WEIR_TOTAL_SENT,	/* by interfaces that lie on no other */
	WEIR_TOTALS,
};

/* As they stand. */
struct weir_drops_totals {
	uint64_t v[WEIR_TOTALS];
	/* IPv4 counts what is to be sent before netfilter sees it, and what it forwards apart
	 * (6.7); before that, behind it and together. */
	bool requests_first;
	/* Interfaces that count what they received behind the backlog. */
	uint32_t *late;
	size_t n_late;
};

/* All but those that wait in sockets (waiting.c). */
int weir_drops_totals_read(struct weir_drops_totals *t, struct weir_error *err);
void weir_drops_totals_free(struct weir_drops_totals *t);
/* What interfaces received and sent (device.c). */
int weir_drops_moved(struct weir_drops_totals *t);

/* Datagrams that wait in UDP sockets. */
struct weir_drops_waiting;
int weir_drops_waiting_open(struct weir_drops_waiting **ret, struct weir_error *err);
int weir_drops_waiting_count(struct weir_drops_waiting *w, uint64_t *ret, struct weir_error *err);
void weir_drops_waiting_close(struct weir_drops_waiting *w);

enum weir_drops_step {
	WEIR_STEP_INTERFACES,
	WEIR_STEP_IP,
	WEIR_STEP_PROTOCOLS,
	WEIR_STEP_SENDING,
	WEIR_STEPS
};

struct weir_drops_balance {
	int64_t v[WEIR_TOTALS]; /* since the first look; TCP and ICMP less their losses */
	int64_t fragments;	/* waiting, or become one with others */
	int64_t merged;		/* frames that were made one with others before IP */
	int64_t made;		/* fragments, more than what they were made of */
	int64_t lost[WEIR_STEPS], freed[WEIR_STEPS], residue[WEIR_STEPS];
	int64_t residues;
};

struct weir_drops_ledger;
void weir_drops_balance_make(struct weir_drops_balance *b, const struct weir_drops_ledger *l,
			     const struct weir_drops_totals *now,
			     const struct weir_drops_totals *first);
void weir_drops_balance_text(const struct weir_drops_balance *b, struct weir_buf *out);
void weir_drops_balance_json(const struct weir_drops_balance *b, struct weir_json *j);
