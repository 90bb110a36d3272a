/* SPDX-License-Identifier: GPL-2.0-only */
/* The ledger as text, as lines and as JSON. */
#pragma once

#include "base/buf.h"
#include "base/json.h"
#include "cap/drops/ledger.h"

enum weir_drops_by {
	WEIR_DROPS_BY_PLACE,
	WEIR_DROPS_BY_REASON,
	WEIR_DROPS_BY_FUNCTION,
	WEIR_DROPS_BY_FLOW
};

struct weir_drops_view {
	const struct weir_drops_scope *scope;
	const struct weir_drops_words *words;
	const struct weir_drops_look *first, *before, *now;
	const struct weir_drops_ledger *whole;	  /* since the first look */
	const struct weir_drops_ledger *recent;	  /* since the one before; lines, rates */
	const struct weir_drops_balance *balance; /* or NULL */
	enum weir_drops_by by;
	size_t most; /* rows of flows */
};

void weir_drops_show_text(const struct weir_drops_view *v, struct weir_buf *out);
void weir_drops_show_lines(const struct weir_drops_view *v, struct weir_buf *out);
void weir_drops_show_json(const struct weir_drops_view *v, struct weir_buf *out);
void weir_drops_show_prometheus(const struct weir_drops_view *v, struct weir_buf *out);
/* An event as a line or as an object; @ts: ns since the epoch. */
void weir_drops_show_event(const struct weir_drops_event *e, uint64_t ts,
			   const struct weir_drops_scope *scope,
			   const struct weir_drops_words *words, bool json, struct weir_buf *out);

/* Flows of which packets were lost (@loss), or freed but not lost: as a table, which returns
 * their sum (what a counter tells has no flow), and as an array named @key (flows.c). */
uint64_t weir_drops_flows_text(const struct weir_drops_view *v, bool loss, struct weir_buf *out);
void weir_drops_flows_json(const struct weir_drops_view *v, bool loss, const char *key,
			   struct weir_json *j);
/* Has it addresses at all? */
bool weir_drops_has_ends(const uint8_t src[16], const uint8_t dst[16]);

/* What weir itself did not see or could not keep, since the first look (show_json.c). */
struct weir_drops_account {
	uint64_t seen, elsewhere, local, unmatched, matched, sent, queued;
	uint64_t lost_rows, lost_flows, lost_ring, missed;
};
void weir_drops_account(const struct weir_drops_look *now, const struct weir_drops_look *first,
			struct weir_drops_account *ret);
void weir_drops_json_account(struct weir_json *j, const struct weir_drops_account *a);

/* "tcp", "arp"; "" where nothing tells. */
const char *weir_drops_protocol(uint16_t eth_type, uint8_t proto, char *buf, size_t size);
