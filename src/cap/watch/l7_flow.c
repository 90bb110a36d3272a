/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The names of flows. Where the kernel adds flows up, it ships the few packets that may
 * tell names beside them, and those come earlier than the flow itself, which is read twice
 * a second: its names wait for it.
 */
#include "cap/watch/l7.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/watch/session.h"
#include "dataplane/key_hash.h"

/* Flows come within half a second of what they are called. */
#define WAITING_MAX 65536

struct waiting {
	struct weir_lru_node node;
	struct weir_flow_key key;
	struct weir_flow_names *names;
};

static struct waiting *waiting_of(struct weir_lru_node *n)
{
	return (struct waiting *)((char *)n - offsetof(struct waiting, node));
}

void weir_flow_names_free(struct weir_flow_names *n)
{
	if (!n)
		return;
	free(n->sni);
	free(n->alpn);
	free(n->host);
	free(n->end[0]);
	free(n->end[1]);
	free(n);
}

int weir_flow_waiting_init(struct weir_flow_waiting *t, uint64_t seed)
{
	t->seed = seed;
	return weir_lru_init(&t->table, WAITING_MAX);
}

static void forget(struct weir_flow_waiting *t, struct waiting *x)
{
	weir_lru_remove(&t->table, &x->node);
	weir_flow_names_free(x->names);
	free(x);
}

void weir_flow_waiting_free(struct weir_flow_waiting *t)
{
	while (t->table.oldest)
		forget(t, waiting_of(t->table.oldest));
	weir_lru_free(&t->table);
}

static uint64_t hash_key(const struct weir_flow_waiting *t, const struct weir_flow_key *k)
{
	return weir_key_hash(t->seed, k, sizeof(*k));
}

static struct waiting *find(struct weir_flow_waiting *t, const struct weir_flow_key *k)
{
	const uint64_t hash = hash_key(t, k);
	struct weir_lru_node *n = weir_lru_find(&t->table, hash, NULL);

	while (n && memcmp(&waiting_of(n)->key, k, sizeof(*k)) != 0)
		n = weir_lru_find(&t->table, hash, n);
	return n ? waiting_of(n) : NULL;
}

/* Names for a flow that is not there yet. NULL: out of memory. */
static struct weir_flow_names **wait_for(struct weir_flow_waiting *t, const struct weir_flow_key *k)
{
	struct waiting *x = find(t, k);

	if (x)
		return &x->names;
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	if (weir_lru_full(&t->table)) {
		forget(t, waiting_of(t->table.oldest));
		t->lost++;
	}
	x->key = *k;
	weir_lru_add(&t->table, &x->node, hash_key(t, k));
	return &x->names;
}

/* The first one stays: a connection's later requests may be for other hosts. */
static void set(char **name, const char *text)
{
	if (!*name && text[0])
		*name = strdup(text);
}

static void take(struct weir_flow_names *n, const struct weir_l7_seen *s)
{
	weir_autobuf struct weir_buf alpn = { 0 };

	if (s->kind == WEIR_L7_HTTP) {
		set(&n->host, s->host);
		return;
	}
	set(&n->sni, s->hello.name);
	weir_l7_alpn(&s->hello, &alpn);
	if (alpn.len)
		set(&n->alpn, alpn.data);
}

void weir_l7_name_flow(struct weir_watch *w, const struct weir_flow_key *k,
		       const struct weir_l7_seen *s)
{
	struct weir_flow *x = weir_flows_find(w->flows, k);
	struct weir_flow_names **names = NULL;

	if (s->kind != WEIR_L7_TLS && s->kind != WEIR_L7_HTTP)
		return;
	names = x ? &x->names : wait_for(weir_l7_waiting(w->l7), k);
	if (names && !*names)
		*names = calloc(1, sizeof(**names));
	if (names && *names)
		take(*names, s);
}

static void name_end(struct weir_watch *w, struct weir_flow *x, int side, const uint8_t addr[16])
{
	const char *host = weir_l7_host(w->l7, addr, x->val.first);

	if (!host || (x->names && x->names->end[side]))
		return;
	if (!x->names)
		x->names = calloc(1, sizeof(*x->names));
	if (x->names)
		set(&x->names->end[side], host);
}

void weir_l7_flow_begins(struct weir_watch *w, struct weir_flow *x)
{
	struct weir_flow_waiting *t = weir_l7_waiting(w->l7);
	struct waiting *had = t->table.n ? find(t, &x->key) : NULL;

	if (had) {
		x->names = WEIR_TAKE_PTR(had->names);
		forget(t, had);
	}
	name_end(w, x, 0, x->key.addr_a);
	name_end(w, x, 1, x->key.addr_b);
}

const char *weir_flow_end_name(struct weir_watch *w, const struct weir_flow *x, int side)
{
	if (x->names && x->names->end[side])
		return x->names->end[side];
	return weir_l7_addr_name(w, side ? x->key.addr_b : x->key.addr_a, x->val.last);
}

const char *weir_l7_addr_name(struct weir_watch *w, const uint8_t addr[16], uint64_t now)
{
	return w->l7 ? weir_l7_host(w->l7, addr, now) : NULL;
}

void weir_l7_candidate(struct weir_watch *w, const struct weir_watch_event *ev, const uint8_t *data)
{
	struct weir_packet p = { .ev = *ev, .data = data, .iface = w->ifaces[ev->slot].name };
	struct weir_l7_seen *seen = &w->sinks[0].seen;
	struct weir_flow_key k = { 0 };
	const uint32_t isn = ev->rule; /* of these events, see watch.h */

	weir_sink_parse(&p);
	weir_l7_packet(w->l7, &p, ev->flags & WEIR_WATCH_ISN ? &isn : NULL, seen);
	weir_flow_key_of(&p.hdr, weir_watch_one_point(w) ? 0 : ev->ifindex,
			 weir_flow_src_is_a(&p.hdr), &k);
	weir_l7_name_flow(w, &k, seen);
}
