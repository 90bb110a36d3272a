/* SPDX-License-Identifier: GPL-2.0-only */
/* Which hosts an alert has seen, and to how many ports each has connected. Bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* Ports per host, in windows one behind the other. */
struct weir_alert_scan {
	struct weir_alert_set ports, hosts;
	uint32_t most, most_before; /* of this window and of the one before */
	uint8_t host[16], host_before[16];
};

void weir_alert_scan_free(struct weir_alert_scan *s);
/* @host has connected to a port. */
void weir_alert_scan_add(struct weir_alert_scan *s, const uint8_t host[16], uint8_t proto,
			 uint16_t port);
/* The larger of the two windows, and whose it is. */
uint32_t weir_alert_scan_most(const struct weir_alert_scan *s, uint8_t ret_host[16]);
/* The window ends. */
void weir_alert_scan_next(struct weir_alert_scan *s);
