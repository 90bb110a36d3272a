/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/heavy.h"

#include <stdlib.h>
#include <string.h>

#include "cap/watch/session.h"
#include "dataplane/key_hash.h"

#define SLOTS 32768 /* a power of two */
#define PROBES 16   /* a neighbourhood */

struct weir_heavy {
	bool any;
	struct weir_heavy_entry slots[SLOTS]; /* packets 0: free */
};

struct weir_heavy *weir_heavy_new(void)
{
	return calloc(1, sizeof(struct weir_heavy));
}

void weir_heavy_free(struct weir_heavy *t)
{
	free(t);
}

void weir_heavy_clear(struct weir_heavy *t)
{
	if (t->any)
		memset(t, 0, sizeof(*t));
}

static size_t hash_key(const struct weir_heavy_key *k)
{
	return (size_t)weir_key_hash(weir_key_seed, k, sizeof(*k));
}

void weir_heavy_add(struct weir_heavy *t, const struct weir_heavy_key *k, uint64_t packets,
		    uint64_t bytes)
{
	struct weir_heavy_entry *least = NULL;
	size_t base = hash_key(k);

	t->any = true;
	for (size_t i = 0; i < PROBES; i++) {
		struct weir_heavy_entry *x = &t->slots[(base + i) & (SLOTS - 1)];

		if (x->packets && memcmp(&x->key, k, sizeof(*k))) {
			if (!least || x->bytes < least->bytes)
				least = x;
			continue;
		}
		x->key = *k;
		x->packets += packets;
		x->bytes += bytes;
		return;
	}
	least->left = least->packets;
	least->key = *k;
	least->packets += packets;
	least->bytes += bytes;
}

/* By bytes, then packets, then the key, so that equals have an order too. */
static bool larger(const struct weir_heavy_entry *a, const struct weir_heavy_entry *b)
{
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes;
	if (a->packets != b->packets)
		return a->packets > b->packets;
	return memcmp(&a->key, &b->key, sizeof(a->key)) < 0;
}

size_t weir_heavy_largest(const struct weir_heavy *t, struct weir_heavy_entry *ret, size_t n)
{
	size_t have = 0, at;

	for (size_t i = 0; t->any && n && i < SLOTS; i++) {
		const struct weir_heavy_entry *x = &t->slots[i];

		if (!x->packets || (have == n && !larger(x, &ret[n - 1])))
			continue;
		if (have < n)
			have++;
		for (at = have - 1; at && larger(x, &ret[at - 1]); at--)
			ret[at] = ret[at - 1];
		ret[at] = *x;
	}
	return have;
}

void weir_heavy_add_flow(const struct weir_watch *w, struct weir_heavy *hosts,
			 struct weir_heavy *ports, const struct weir_flow *f,
			 const struct weir_flow_val *d)
{
	uint64_t packets = d->packets[0] + d->packets[1], bytes = d->bytes[0] + d->bytes[1];
	struct weir_heavy_key host[2] = { 0 }, port = { 0 };
	static const uint8_t none[16];
	bool guessed;

	memcpy(host[0].addr, f->key.addr_a, 16);
	memcpy(host[1].addr, f->key.addr_b, 16);
	for (int i = 0; i < 2; i++)
		if (memcmp(host[i].addr, none, 16) && (!i || memcmp(&host[0], &host[1], 16)))
			weir_heavy_add(hosts, &host[i], packets, bytes);
	port.proto = f->key.proto;
	port.port = weir_flow_initiator_is_b(w->flows, f, &guessed) ? f->key.port_a : f->key.port_b;
	if (port.port)
		weir_heavy_add(ports, &port, packets, bytes);
}
