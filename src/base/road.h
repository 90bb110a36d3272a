/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What becomes of one described packet, step by step along the kernel's road, for
 * `weir explain`: each verb that decides about packets or connections adds the steps that
 * are its own (struct weir_verb, explain).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/buf.h"

/* In the order of a packet that comes in; one that leaves meets them the other way round. */
enum weir_road_stage {
	WEIR_ROAD_XDP,
	WEIR_ROAD_TC,
	WEIR_ROAD_NETFILTER,
	WEIR_ROAD_ROUTE,   /* is it for this host? */
	WEIR_ROAD_LOOKUP,  /* sk_lookup: rules choose a socket */
	WEIR_ROAD_SOCKET,  /* the socket that gets it */
	WEIR_ROAD_SESSION, /* what is set or done once the connection stands */
	WEIR_ROAD_MAX,
};
extern const char *const weir_road_stages[WEIR_ROAD_MAX]; /* "XDP", "tc", ... */

enum weir_step_verdict {
	WEIR_STEP_PASS,
	WEIR_STEP_DROP,
	WEIR_STEP_TAKE,	   /* it goes somewhere else than it would: steered, proxied, tuned */
	WEIR_STEP_UNKNOWN, /* cannot be run or known beforehand; the detail says why */
};
extern const char *const weir_step_verdict_names[]; /* "pass", "drop", "take", "unknown" */

struct weir_step {
	enum weir_road_stage stage;
	enum weir_step_verdict verdict;
	unsigned int order;		    /* as it was added */
	const char *verb;		    /* NULL: the kernel's own */
	char where[48];			    /* "eth0", or "" */
	struct weir_buf detail, rule, text; /* the rule that decided: name and words */
};

struct weir_craft;
struct weir_road {
	/* The question. */
	const struct weir_craft *packet;
	const char *iface; /* by which it comes or leaves */
	bool out;
	const char *sni; /* the name that the client will ask for; NULL: not told */
	bool tcp, udp;	 /* which of them it is; with ends then */
	bool here;	 /* it comes in and is for this host: sockets are looked for */
	struct weir_addr src, dst;
	unsigned short sport, dport;
	/* The answer. */
	struct weir_step *v;
	size_t n, cap;
	bool failed; /* no memory */
};

/* Add a step and return it, to be filled further; its place is found by stage, then in the
 * order of adding. Never NULL: where memory ends, `failed` is set and a spare one returned. */
struct weir_step *weir_road_add(struct weir_road *r, enum weir_road_stage stage,
				enum weir_step_verdict verdict, const char *verb, const char *fmt,
				...) __attribute__((format(printf, 5, 6)));
void weir_road_sort(struct weir_road *r);
void weir_road_free(struct weir_road *r);
