/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ledger: every lost packet once.
 *
 * A loss often shows in several places: a full UDP socket frees the packet for the reason
 * SOCKET_RCVBUFF and adds to UdpRcvbufErrors; what weir's filter drops at tc is freed as
 * TC_INGRESS. Such views of the same events are settled: the finest of them counts, and a
 * coarser one counts only what it has beyond those (weir_drops_settle). Every view keeps
 * what it says itself, so that differences can be seen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/drops/balance.h"
#include "cap/drops/counters.h"
#include "cap/drops/faults.h"
#include "cap/drops/kernel.h"
#include "cap/drops/names.h"
#include "cap/drops/proxied.h"
#include "cap/drops/reasons.h"
#include "cap/drops/symbols.h"

/* A counter of weir's own filter. */
struct weir_drops_own {
	uint32_t ifindex;
	char iface[16];
	uint8_t hook;	/* enum weir_policy_hook */
	uint8_t reason; /* enum weir_filter_reason */
	bool out;
	uint64_t packets, bytes;
};
struct weir_drops_own_rule {
	uint32_t id;
	bool fault;
	char name[48]; /* "filter/NAME", "fault/NAME" */
	uint64_t packets;
};

/* All that counts, at one moment. */
struct weir_drops_look {
	uint64_t at; /* CLOCK_MONOTONIC ns; 0 = none yet */
	struct weir_drops_row_count *rows;
	size_t n_rows;
	struct weir_drops_flow_count *flows;
	size_t n_flows;
	struct weir_drops_xdp_count *xdp;
	size_t n_xdp;
	struct weir_drops_own *own;
	size_t n_own;
	struct weir_drops_own_rule *rules;
	size_t n_rules;
	struct weir_drops_fault_count *faults;
	size_t n_faults;
	struct weir_drops_refusal refused[WEIR_DROPS_REFUSALS_MAX];
	size_t n_refused;
	struct weir_drops_counters_now counters;
	struct weir_drops_totals totals; /* where they are asked for */
	struct weir_drops_counters account;
	uint64_t missed;
};

struct weir_drops_scope {
	uint64_t netns;	  /* this namespace's cookie */
	bool all;	  /* freed packets of all namespaces */
	uint32_t ifindex; /* 0: any */
	char iface[16];
	bool matched; /* there is a match, which counters know nothing of */
	bool flows;
};

/* @first: the one that later ones are compared to. What is counted while it is taken must
 * not be new in a coarse view and old in a finer one, so the order is the other way round. */
struct weir_drops_sources {
	struct weir_drops_kernel *kernel;
	struct weir_drops_waiting *waiting; /* NULL: no totals are asked for */
	struct weir_drops_faults faults;
	struct weir_drops_proxies proxies;
};
int weir_drops_look(struct weir_drops_sources *s, const struct weir_drops_scope *scope, bool first,
		    struct weir_drops_look *ret, struct weir_error *err);
void weir_drops_look_free(struct weir_drops_look *l);

enum weir_drops_origin {
	WEIR_DROPS_OWN,	    /* weir's filter says so */
	WEIR_DROPS_FAULT,   /* weir's fault says so */
	WEIR_DROPS_XDP,	    /* the kernel says what befell an XDP packet */
	WEIR_DROPS_FREED,   /* the kernel freed a packet */
	WEIR_DROPS_COUNTER, /* a counter of the kernel or a driver */
};

struct weir_drops_row {
	enum weir_drops_origin origin;
	enum weir_drops_stage stage;
	enum weir_drops_role role;
	char reason[WEIR_DROPS_NAME_MAX];
	char function[WEIR_DROPS_FUNCTION_MAX]; /* "" where there is none */
	char iface[16];				/* "" where it is not known */
	char driver[32];
	uint32_t ifindex;
	uint64_t netns;
	uint16_t eth_type;
	uint8_t proto;
	uint8_t kind; /* enum weir_drops_kind */
	bool received;
	bool harmless;				  /* freed, not lost */
	const char *advice;			  /* or NULL */
	const struct weir_drops_counter_def *def; /* of a counter */
	uint64_t packets, wire, bytes;		  /* as this view has it */
	uint64_t counted;			  /* its share of the ledger */
	uint64_t also;				  /* events of it that finer views have, too */
};

struct weir_drops_ledger {
	struct weir_drops_row *v; /* in the road's order, the greatest first in each stage */
	size_t n, cap;
	uint64_t lost;	/* the sum of what counts */
	uint64_t freed; /* harmless ones, copies and strays */
};

struct weir_drops_words {
	struct weir_drops_names names;
	struct weir_drops_symbols symbols;
};

/* What has happened between two looks. @before may be all zero: nothing was. */
int weir_drops_ledger_make(struct weir_drops_ledger *l, const struct weir_drops_look *now,
			   const struct weir_drops_look *before,
			   const struct weir_drops_scope *scope,
			   const struct weir_drops_words *words);
/* A freed packet's row, without its numbers. */
void weir_drops_row_of(struct weir_drops_row *r, const struct weir_drops_key *key,
		       const struct weir_drops_scope *scope, const struct weir_drops_words *words);
/* Hits of a rule since a look; and what it is one of, in words. */
uint64_t weir_drops_rule_since(const struct weir_drops_own_rule *rule,
			       const struct weir_drops_look *before);
const char *weir_drops_rule_advice(const struct weir_drops_own_rule *rule);
/* Connections refused since a look, for the @i-th reason. */
uint64_t weir_drops_refused_since(const struct weir_drops_look *now,
				  const struct weir_drops_look *before, size_t i);
void weir_drops_ledger_free(struct weir_drops_ledger *l);

/* Does this row belong to what was lost, rather than to what was only freed? */
static inline bool weir_drops_is_loss(const struct weir_drops_row *r)
{
	return r->kind == WEIR_DROPS_PACKET && !r->harmless;
}

/* Give each event to one row (settle.c). */
void weir_drops_settle(struct weir_drops_ledger *l, const struct weir_drops_scope *scope);
