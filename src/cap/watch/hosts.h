/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the addresses are called by the DNS answers that were seen. Bounded: what was used
 * least recently is forgotten first. Nothing is ever asked for.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/lru.h"
#include "net/dnsmsg.h"

#define WEIR_HOST_NAME_MAX 254 /* with NUL; longer ones are not taken */

struct weir_hosts {
	struct weir_lru table;
	uint64_t seed;
};

int weir_hosts_init(struct weir_hosts *h, size_t max, uint64_t seed);
void weir_hosts_free(struct weir_hosts *h);
/* Learn from a message (rewound: as weir_dnsmsg_begin() left it) seen at @now, in ns: each
 * address by the name that was asked for, at which CNAMEs may have led to it; in mDNS,
 * which answers without a question, by its record's own. */
void weir_hosts_learn(struct weir_hosts *h, const struct weir_dnsmsg *m, uint64_t now);
/* NULL: not known at @now. Good until the next weir_hosts_learn(). */
const char *weir_hosts_find(struct weir_hosts *h, const uint8_t addr[16], uint64_t now);
