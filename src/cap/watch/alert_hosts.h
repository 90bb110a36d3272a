/* SPDX-License-Identifier: GPL-2.0-only */
/* Which hosts an alert has seen, and to how many ports each has connected. Bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lru.h"

/* A set of keys of 24 bytes, each with a number. */
struct weir_alert_key {
	uint8_t addr[16];
	uint16_t port;
	uint8_t proto;
	uint8_t pad[5];
};

struct weir_alert_entry {
	struct weir_alert_key key;
	uint32_t n;
	bool used;
};

struct weir_alert_set {
	struct weir_alert_entry *slots;
	size_t size, used;
	uint64_t beyond; /* that there was no room for */
};

#define WEIR_ALERT_SET_MAX (1u << 20)

void weir_alert_set_free(struct weir_alert_set *s);
/* The entry of @k, made if there is none (*@ret_new); NULL: no room. */
struct weir_alert_entry *weir_alert_set_get(struct weir_alert_set *s,
					    const struct weir_alert_key *k, bool *ret_new);

/* Ports per host within the last so many ticks. */
struct weir_alert_scan {
	struct weir_lru ports; /* the one that was connected to longest ago first */
	struct weir_lru hosts; /* that have any */
	uint32_t *with;	       /* [n]: how many hosts have n ports */
	size_t with_size;
	uint32_t most; /* ports of one host */
	uint32_t tick, over;
	uint64_t beyond; /* ports that there was no room for */
};

/* 0 or -ENOMEM. */
int weir_alert_scan_init(struct weir_alert_scan *s, uint32_t over);
void weir_alert_scan_free(struct weir_alert_scan *s);
/* @host has connected to a port. */
void weir_alert_scan_add(struct weir_alert_scan *s, const uint8_t host[16], uint8_t proto,
			 uint16_t port);
/* Who has the most; of several the first by address. */
void weir_alert_scan_who(const struct weir_alert_scan *s, uint8_t ret_host[16]);
/* A tick ends: the window moves on. */
void weir_alert_scan_next(struct weir_alert_scan *s);
