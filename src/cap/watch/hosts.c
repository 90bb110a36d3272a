/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/hosts.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "dataplane/key_hash.h"

/* A connection outlives the answer that it was made by: a name is shown for as long as its
 * TTL says, but not less than this, and not for ever. */
#define SHOWN_MIN_S 600
#define SHOWN_MAX_S 86400
#define RECORDS_MAX 256 /* of a message */
#define LINKS_MAX 16	/* CNAMEs in a row */

struct host {
	struct weir_lru_node node;
	uint8_t addr[16];
	uint64_t until; /* ns */
	char name[];
};

static struct host *host_of(struct weir_lru_node *n)
{
	return (struct host *)((char *)n - offsetof(struct host, node));
}

int weir_hosts_init(struct weir_hosts *h, size_t max, uint64_t seed)
{
	h->seed = seed;
	return weir_lru_init(&h->table, max);
}

static void forget(struct weir_hosts *h, struct weir_lru_node *n)
{
	weir_lru_remove(&h->table, n);
	free(host_of(n));
}

void weir_hosts_free(struct weir_hosts *h)
{
	while (h->table.oldest)
		forget(h, h->table.oldest);
	weir_lru_free(&h->table);
}

static struct weir_lru_node *find(struct weir_hosts *h, uint64_t hash, const uint8_t addr[16])
{
	struct weir_lru_node *n = weir_lru_find(&h->table, hash, NULL);

	while (n && memcmp(host_of(n)->addr, addr, 16) != 0)
		n = weir_lru_find(&h->table, hash, n);
	return n;
}

const char *weir_hosts_find(struct weir_hosts *h, const uint8_t addr[16], uint64_t now)
{
	struct weir_lru_node *n = find(h, weir_key_hash(h->seed, addr, 16), addr);

	if (!n)
		return NULL;
	if (host_of(n)->until < now) {
		forget(h, n);
		return NULL;
	}
	weir_lru_touch(&h->table, n);
	return host_of(n)->name;
}

static void remember(struct weir_hosts *h, const uint8_t addr[16], const char *name, uint32_t ttl,
		     uint64_t now)
{
	const uint64_t hash = weir_key_hash(h->seed, addr, 16);
	struct weir_lru_node *old = find(h, hash, addr);
	const size_t n = strlen(name);
	struct host *x;

	if (n >= WEIR_HOST_NAME_MAX)
		return;
	x = malloc(sizeof(*x) + n + 1);
	if (!x) /* it stays a number */
		return;
	if (old)
		forget(h, old);
	else if (weir_lru_full(&h->table))
		forget(h, h->table.oldest);
	memcpy(x->addr, addr, sizeof(x->addr));
	for (size_t i = 0; i <= n; i++)
		x->name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	ttl = ttl < SHOWN_MIN_S ? SHOWN_MIN_S : ttl > SHOWN_MAX_S ? SHOWN_MAX_S : ttl;
	x->until = now + ttl * WEIR_NSEC_PER_SEC;
	weir_lru_add(&h->table, &x->node, hash);
}

/* One walk over the answers with the name that the last one ended at: 1: a CNAME led on to
 * another name; 0: it ends here. */
static int follow(struct weir_hosts *h, const struct weir_dnsmsg *m, const char *asked,
		  char at[WEIR_DNSMSG_NAME], uint64_t now)
{
	struct weir_dnsmsg walk = *m;
	struct weir_dnsmsg_record r;
	char next[WEIR_DNSMSG_NAME];
	struct weir_addr addr;
	int led = 0;

	for (int i = 0; i < RECORDS_MAX && weir_dnsmsg_next(&walk, &r) > 0; i++) {
		if (r.section > WEIR_DNSMSG_ANSWER)
			break;
		if (r.section != WEIR_DNSMSG_ANSWER || strcasecmp(r.name, at) != 0 ||
		    (r.class & WEIR_DNSMSG_CLASS_BITS) != WEIR_DNSMSG_CLASS_IN)
			continue;
		if (weir_dnsmsg_addr(m, &r, &addr))
			remember(h, addr.b, asked, r.ttl, now);
		else if (r.type == WEIR_DNSMSG_CNAME && !led && weir_dnsmsg_target(m, &r, next))
			led = 1;
	}
	if (led)
		memcpy(at, next, sizeof(next));
	return led;
}

/* mDNS: every record speaks for itself. */
static void learn_unasked(struct weir_hosts *h, const struct weir_dnsmsg *m, uint64_t now)
{
	struct weir_dnsmsg walk = *m;
	struct weir_dnsmsg_record r;
	struct weir_addr addr;

	for (int i = 0; i < RECORDS_MAX && weir_dnsmsg_next(&walk, &r) > 0; i++)
		if ((r.class & WEIR_DNSMSG_CLASS_BITS) == WEIR_DNSMSG_CLASS_IN &&
		    weir_dnsmsg_addr(m, &r, &addr))
			remember(h, addr.b, r.name, r.ttl, now);
}

void weir_hosts_learn(struct weir_hosts *h, const struct weir_dnsmsg *m, uint64_t now)
{
	struct weir_dnsmsg walk = *m;
	struct weir_dnsmsg_record asked;
	char at[WEIR_DNSMSG_NAME];

	if (!m->response || m->opcode || m->rcode)
		return;
	if (!m->counts[WEIR_DNSMSG_QUESTION]) {
		learn_unasked(h, m, now);
		return;
	}
	if (m->counts[WEIR_DNSMSG_QUESTION] != 1 || weir_dnsmsg_next(&walk, &asked) <= 0)
		return;
	memcpy(at, asked.name, sizeof(at));
	for (int links = 0; links < LINKS_MAX && follow(h, m, asked.name, at, now); links++)
		;
}
