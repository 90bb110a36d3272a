/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Look-ups in the DNS, both families at once, by c-ares on a loop. No cache: what an
 * answer is kept for, and how long, is its asker's business; TTLs are the records'.
 *
 * Belongs to its loop's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "net/loop.h"

#define WEIR_RESOLVED_MAX 8 /* addresses of one name that are kept, of both families */

enum weir_resolve_code {
	WEIR_RESOLVED,	       /* at least one address */
	WEIR_RESOLVE_NXDOMAIN, /* the name does not exist */
	WEIR_RESOLVE_NODATA,   /* it has no address */
	WEIR_RESOLVE_SERVFAIL, /* refused, failed, or nonsense */
	WEIR_RESOLVE_TIMEOUT,
	WEIR_RESOLVE_CODES,
};
extern const char *const weir_resolve_codes[WEIR_RESOLVE_CODES]; /* "ok", "nxdomain", ... */

struct weir_resolved {
	enum weir_resolve_code code;
	/* IPv6 and IPv4 (mapped) in turn, IPv6 first (RFC 8305, section 4). One family's
	 * answer is enough; the other may have failed. */
	struct weir_addr addr[WEIR_RESOLVED_MAX];
	size_t n;
	uint32_t ttl; /* s: the least of the records', CNAMEs included; of NXDOMAIN and
		       * NODATA: by the SOA (RFC 2308), 0 where there is none */
};

struct weir_resolver_opts {
	const char *servers; /* "127.0.0.1,[::1]:5353"; NULL: /etc/resolv.conf */
	uint64_t timeout_ns; /* of one try; 0: 2 s */
	unsigned int tries;  /* 0: 2 */
};

struct weir_resolver;

struct weir_resolver *weir_resolver_new(struct weir_loop *l, const struct weir_resolver_opts *o,
					struct weir_error *err);
/* Open questions are answered first, with TIMEOUT where nothing has come. Not from within
 * an answer. */
void weir_resolver_free(struct weir_resolver *r);
/* Ask for A and AAAA of @name (a host name without trailing dot; not looked up in
 * /etc/hosts, search domains are not tried). @fn is called once, later, from the loop.
 * When one family's addresses are there, the other one's get 50 ms more (RFC 8305).
 * -EINVAL: no host name; -EBUSY: 16384 are under way; -ENOMEM. */
int weir_resolver_ask(struct weir_resolver *r, const char *name,
		      void (*fn)(void *arg, const struct weir_resolved *answer), void *arg);
/* Questions sent, and answers by code, since the beginning: for an account. */
struct weir_resolver_stats {
	uint64_t asked, answered[WEIR_RESOLVE_CODES];
};
void weir_resolver_stats(const struct weir_resolver *r, struct weir_resolver_stats *ret);
