/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which route a name takes: one hash table of exact names and wildcards, a list of
 * expressions, and "*". Routes of the same kind and match are a chain in the file's
 * order; their conditions choose among them.
 *
 * The hash runs from the end of the name to its beginning, so that those of all its
 * suffixes fall out of one pass, however many labels a client sends. Only names of the
 * operator are in the table: clients' cannot make it slow.
 */
#include "cap/proxy/config_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cap/proxy/expr.h"

#define FNV_START 0xcbf29ce484222325ULL
#define FNV_PRIME 0x100000001b3ULL
#define KIND_MIX 0x9e3779b97f4a7c15ULL /* tells "*.example.org" from "example.org" */
#define LABELS_MAX 128		       /* in 253 characters */
#define SLOTS_MIN 16

static uint64_t step(uint64_t hash, char c)
{
	return (hash ^ (unsigned char)c) * FNV_PRIME;
}

/* The low bits choose the slot: let the high ones in. */
static uint64_t finish(uint64_t hash, enum weir_proxy_match_kind kind)
{
	hash += KIND_MIX * (unsigned int)kind;
	return hash ^ hash >> 32;
}

static uint64_t hash_name(const char *name, enum weir_proxy_match_kind kind)
{
	uint64_t hash = FNV_START;

	for (size_t i = strlen(name); i--;)
		hash = step(hash, name[i]);
	return finish(hash, kind);
}

/* ---- Building */

static struct weir_proxy_slot *find_slot(const struct weir_proxy_config *c, uint64_t hash,
					 enum weir_proxy_match_kind kind, const char *name)
{
	const struct weir_proxy_names_index *ix = c->index;

	for (size_t i = hash & ix->mask;; i = (i + 1) & ix->mask) {
		struct weir_proxy_slot *s = &ix->slots[i];
		const struct weir_proxy_route *r;

		if (s->first == WEIR_PROXY_NO_ROUTE)
			return s;
		if (s->hash != hash)
			continue;
		r = &c->routes[s->first];
		if (r->kind == kind && strcmp(r->match, name) == 0)
			return s;
	}
}

static unsigned int count_labels(const char *name)
{
	unsigned int n = 1;

	for (; *name; name++)
		n += *name == '.';
	return n < LABELS_MAX ? n : LABELS_MAX - 1;
}

static void insert(struct weir_proxy_config *c, uint32_t at)
{
	struct weir_proxy_names_index *ix = c->index;
	const struct weir_proxy_route *r = &c->routes[at];
	uint64_t hash = hash_name(r->match, r->kind);
	struct weir_proxy_slot *s = find_slot(c, hash, r->kind, r->match);

	ix->next[at] = WEIR_PROXY_NO_ROUTE;
	if (s->first != WEIR_PROXY_NO_ROUTE)
		ix->next[s->last] = at;
	else
		s->first = at;
	s->last = at;
	s->hash = hash;
	if (r->kind == WEIR_NAME_WILDCARD)
		ix->wildcards[count_labels(r->match)] = true;
	else if (r->kind == WEIR_NAME_REGEX)
		ix->regexes[ix->n_regexes++] = at;
	else if (r->kind == WEIR_NAME_ANY)
		ix->any = s->first;
}

int weir_proxy_index_build(struct weir_proxy_config *c, struct weir_error *err)
{
	struct weir_proxy_names_index *ix = calloc(1, sizeof(*ix));
	size_t slots = SLOTS_MIN;

	while (slots < 2 * c->n_routes)
		slots *= 2;
	c->index = ix;
	if (ix) {
		ix->slots = calloc(slots, sizeof(*ix->slots));
		ix->next = calloc(c->n_routes + 1, sizeof(*ix->next));
		ix->regexes = calloc(c->n_routes + 1, sizeof(*ix->regexes));
	}
	if (!ix || !ix->slots || !ix->next || !ix->regexes) {
		weir_proxy_index_free(c);
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	}
	ix->mask = slots - 1;
	ix->any = WEIR_PROXY_NO_ROUTE;
	for (size_t i = 0; i < slots; i++)
		ix->slots[i].first = WEIR_PROXY_NO_ROUTE;
	for (uint32_t i = 0; i < c->n_routes; i++)
		insert(c, i);
	return 0;
}

void weir_proxy_index_free(struct weir_proxy_config *c)
{
	if (c->index) {
		free(c->index->slots);
		free(c->index->next);
		free(c->index->regexes);
	}
	free(c->index);
	c->index = NULL;
}

/* ---- Asking */

static bool has_alpn(const struct weir_proxy_route *r, const struct weir_hello *hello)
{
	for (size_t i = 0; hello && i < r->n_alpn; i++)
		if (weir_hello_has_alpn(hello, r->alpn[i]))
			return true;
	return false;
}

static bool has_source(const struct weir_proxy_route *r, const struct weir_addr *source)
{
	for (size_t i = 0; i < r->n_sources; i++)
		if (weir_prefix_contains(&r->sources[i], source))
			return true;
	return false;
}

static bool has_listener(const struct weir_proxy_route *r, const struct weir_proxy_listen *l)
{
	for (size_t i = 0; i < r->n_listeners; i++)
		if (strcmp(r->listeners[i], l->name) == 0)
			return true;
	return false;
}

static bool holds(const struct weir_proxy_route *r, const struct weir_proxy_ask *ask)
{
	return (!r->n_alpn || has_alpn(r, ask->hello)) &&
	       (!r->n_sources || has_source(r, &ask->source)) &&
	       (!r->n_listeners || has_listener(r, ask->listen));
}

/* The first route of a chain whose conditions hold. */
static struct weir_proxy_route *choose(const struct weir_proxy_config *c, uint32_t at,
				       const struct weir_proxy_ask *ask)
{
	for (; at != WEIR_PROXY_NO_ROUTE; at = c->index->next[at])
		if (holds(&c->routes[at], ask))
			return &c->routes[at];
	return NULL;
}

static struct weir_proxy_route *find_regex(const struct weir_proxy_config *c,
					   const struct weir_proxy_ask *ask)
{
	for (size_t i = 0; i < c->index->n_regexes; i++) {
		struct weir_proxy_route *r = &c->routes[c->index->regexes[i]];

		if (holds(r, ask) && weir_expr_match(r->expr, ask->name))
			return r;
	}
	return NULL;
}

struct weir_proxy_route *weir_proxy_route_find(const struct weir_proxy_config *c,
					       const struct weir_proxy_ask *ask)
{
	const struct weir_proxy_names_index *ix = c->index;
	struct { /* suffixes for which there may be a wildcard, the shortest first */
		const char *name;
		uint64_t hash;
	} suffix[LABELS_MAX];
	struct weir_proxy_route *found;
	uint64_t hash = FNV_START;
	size_t n = 0, labels = 0;

	for (size_t i = strlen(ask->name); i--;) {
		if (ask->name[i] == '.' && ++labels < LABELS_MAX && ix->wildcards[labels]) {
			suffix[n].name = ask->name + i + 1;
			suffix[n++].hash = finish(hash, WEIR_NAME_WILDCARD);
		}
		hash = step(hash, ask->name[i]);
	}
	hash = finish(hash, WEIR_NAME_EXACT);
	found = choose(c, find_slot(c, hash, WEIR_NAME_EXACT, ask->name)->first, ask);
	while (!found && n--)
		found = choose(
			c, find_slot(c, suffix[n].hash, WEIR_NAME_WILDCARD, suffix[n].name)->first,
			ask);
	if (!found)
		found = find_regex(c, ask);
	return found ? found : choose(c, ix->any, ask);
}
