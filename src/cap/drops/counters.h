/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The counters that the kernel keeps by itself: of interfaces and drivers, of the softnet
 * backlog, of protocols. Most of them are a second view of what a freed packet tells too,
 * so each says which reasons and functions it shares its events with.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "cap/drops/reasons.h"

#define WEIR_DROPS_COUNTER_MAX 48

enum weir_drops_role {
	WEIR_COUNTER_COUNTS,   /* what is in no other row is a drop of its own */
	WEIR_COUNTER_SHOWN,    /* a part of another counter, or of a wider scope */
	WEIR_COUNTER_PRESSURE, /* no drop: a sign that some may come */
};

struct weir_drops_counter_def {
	const char *name; /* as shown: "UdpRcvbufErrors" */
	enum weir_drops_stage stage;
	enum weir_drops_role role;
	const char *keys;      /* of SNMP: what adds up to it, blanks around each */
	const char *reasons;   /* the freed packets that it counts too, likewise */
	const char *functions; /* or by the function, where the reason does not tell */
	uint8_t proto;	       /* only those of it; 0: any */
	const char *advice;
	const char *parts; /* counters whose events are among its own */
};

/* A counter as it stands. */
struct weir_drops_counter {
	const struct weir_drops_counter_def *def;
	uint32_t ifindex; /* 0: of no interface */
	char iface[16];
	char driver[32];		   /* of the interface; "" where unknown */
	char name[WEIR_DROPS_COUNTER_MAX]; /* def->name, or the driver's own */
	uint64_t value;
};

struct weir_drops_counters_now {
	struct weir_drops_counter *v;
	size_t n, cap;
};

/* Does the list @words (" A B ") hold @word? NULL holds none. */
bool weir_drops_in(const char *words, const char *word);

/* @ifindex: only that interface's, and none of protocols; 0: all of the namespace. */
int weir_drops_counters_read(struct weir_drops_counters_now *c, uint32_t ifindex,
			     struct weir_error *err);
void weir_drops_counters_free(struct weir_drops_counters_now *c);

/* What @x was in the counters before; 0 where it was not there. */
uint64_t weir_drops_counter_before(const struct weir_drops_counters_now *c,
				   const struct weir_drops_counter *x);

/* Every counter of the protocols; @key: the protocol and the name in it, "UdpNoPorts". Until
 * @fn returns anything but 0, which is -ENOMEM then. */
typedef int weir_drops_key_fn(void *arg, const char *key, const char *value);
int weir_drops_protocols_each(weir_drops_key_fn *fn, void *arg, struct weir_error *err);

/* Parts, for the tests: each adds what @in tells. 0 or -ENOMEM. */
int weir_drops_read_snmp(struct weir_drops_counters_now *c, FILE *in); /* snmp, netstat */
int weir_drops_read_snmp6(struct weir_drops_counters_now *c, FILE *in);
int weir_drops_read_softnet(struct weir_drops_counters_now *c, FILE *in);

/* Of interfaces (device.c). */
int weir_drops_read_devices(struct weir_drops_counters_now *c, uint32_t ifindex,
			    struct weir_error *err);
/* Add a counter, or to one that is there. */
int weir_drops_counter_add(struct weir_drops_counters_now *c, const struct weir_drops_counter *x);
