/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/alert_hosts.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/key_hash.h"

#define FIRST_SIZE 256 /* slots; a power of two */

void weir_alert_set_free(struct weir_alert_set *s)
{
	free(s->slots);
	s->slots = NULL;
	s->size = s->used = 0;
}

static size_t hash_key(const struct weir_alert_key *k)
{
	return (size_t)weir_key_hash(weir_key_seed, k, sizeof(*k));
}

static struct weir_alert_entry *find(struct weir_alert_entry *slots, size_t size,
				     const struct weir_alert_key *k)
{
	size_t i = hash_key(k) & (size - 1);

	while (slots[i].used && memcmp(&slots[i].key, k, sizeof(*k)))
		i = (i + 1) & (size - 1);
	return &slots[i];
}

static bool grow(struct weir_alert_set *s)
{
	size_t size = s->size ? s->size * 2 : FIRST_SIZE;
	struct weir_alert_entry *slots;

	if (s->used >= WEIR_ALERT_SET_MAX)
		return false;
	slots = calloc(size, sizeof(*slots));
	if (!slots)
		return false;
	for (size_t i = 0; i < s->size; i++)
		if (s->slots[i].used)
			*find(slots, size, &s->slots[i].key) = s->slots[i];
	free(s->slots);
	s->slots = slots;
	s->size = size;
	return true;
}

struct weir_alert_entry *weir_alert_set_get(struct weir_alert_set *s,
					    const struct weir_alert_key *k, bool *ret_new)
{
	struct weir_alert_entry *x = s->size ? find(s->slots, s->size, k) : NULL;

	*ret_new = false;
	if (x && x->used)
		return x;
	if (s->used * 2 >= s->size) {
		if (!grow(s)) {
			s->beyond++;
			return NULL;
		}
		x = find(s->slots, s->size, k);
	}
	*x = (struct weir_alert_entry){ .key = *k, .used = true };
	s->used++;
	*ret_new = true;
	return x;
}

/* ---- Ports per host */

struct scan_host {
	struct weir_lru_node node;
	uint8_t addr[16];
	uint32_t n; /* ports */
};

struct scan_port {
	struct weir_lru_node node;
	struct weir_alert_key key;
	struct scan_host *host;
	uint32_t tick; /* of the last time */
};

static struct scan_host *host_of(struct weir_lru_node *n)
{
	return (struct scan_host *)((char *)n - offsetof(struct scan_host, node));
}

static struct scan_port *port_of(struct weir_lru_node *n)
{
	return (struct scan_port *)((char *)n - offsetof(struct scan_port, node));
}

int weir_alert_scan_init(struct weir_alert_scan *s, uint32_t over)
{
	*s = (struct weir_alert_scan){ .over = over };
	if (!weir_lru_init(&s->ports, WEIR_ALERT_SET_MAX) &&
	    !weir_lru_init(&s->hosts, WEIR_ALERT_SET_MAX))
		return 0;
	weir_alert_scan_free(s);
	return -ENOMEM;
}

/* @h has @n ports from now on. */
static void count(struct weir_alert_scan *s, struct scan_host *h, uint32_t n)
{
	if (h->n)
		s->with[h->n]--;
	if (n)
		s->with[n]++;
	h->n = n;
	if (n > s->most)
		s->most = n;
	while (s->most && !s->with[s->most])
		s->most--;
}

static void forget_port(struct weir_alert_scan *s, struct scan_port *p)
{
	struct scan_host *h = p->host;

	weir_lru_remove(&s->ports, &p->node);
	free(p);
	count(s, h, h->n - 1);
	if (h->n)
		return;
	weir_lru_remove(&s->hosts, &h->node);
	free(h);
}

void weir_alert_scan_free(struct weir_alert_scan *s)
{
	while (s->ports.oldest)
		forget_port(s, port_of(s->ports.oldest));
	weir_lru_free(&s->ports);
	weir_lru_free(&s->hosts);
	free(s->with);
	s->with = NULL;
}

static struct scan_port *find_port(const struct weir_alert_scan *s, uint64_t hash,
				   const struct weir_alert_key *k)
{
	struct weir_lru_node *n = weir_lru_find(&s->ports, hash, NULL);

	while (n && memcmp(&port_of(n)->key, k, sizeof(*k)) != 0)
		n = weir_lru_find(&s->ports, hash, n);
	return n ? port_of(n) : NULL;
}

/* Made if it is not there. NULL: out of memory. */
static struct scan_host *get_host(struct weir_alert_scan *s, const uint8_t addr[16])
{
	const uint64_t hash = weir_key_hash(weir_key_seed, addr, 16);
	struct weir_lru_node *n = weir_lru_find(&s->hosts, hash, NULL);
	struct scan_host *h;

	while (n && memcmp(host_of(n)->addr, addr, 16) != 0)
		n = weir_lru_find(&s->hosts, hash, n);
	if (n)
		return host_of(n);
	h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	memcpy(h->addr, addr, 16);
	weir_lru_add(&s->hosts, &h->node, hash);
	return h;
}

/* Room to count hosts with up to @n ports. */
static bool has_room(struct weir_alert_scan *s, uint32_t n)
{
	size_t size = s->with_size ? s->with_size : FIRST_SIZE;
	uint32_t *with;

	if (n < s->with_size)
		return true;
	while (size <= n)
		size *= 2;
	with = realloc(s->with, size * sizeof(*with));
	if (!with)
		return false;
	memset(with + s->with_size, 0, (size - s->with_size) * sizeof(*with));
	s->with = with;
	s->with_size = size;
	return true;
}

static bool add_port(struct weir_alert_scan *s, uint64_t hash, const struct weir_alert_key *k)
{
	struct scan_port *p;

	if (weir_lru_full(&s->ports) || !has_room(s, s->most + 1))
		return false;
	p = calloc(1, sizeof(*p));
	if (!p)
		return false;
	p->host = get_host(s, k->addr);
	if (!p->host) {
		free(p);
		return false;
	}
	p->key = *k;
	p->tick = s->tick;
	weir_lru_add(&s->ports, &p->node, hash);
	count(s, p->host, p->host->n + 1);
	return true;
}

void weir_alert_scan_add(struct weir_alert_scan *s, const uint8_t host[16], uint8_t proto,
			 uint16_t port)
{
	struct weir_alert_key k = { .port = port, .proto = proto };
	struct scan_port *p;
	uint64_t hash;

	memcpy(k.addr, host, 16);
	hash = hash_key(&k);
	p = find_port(s, hash, &k);
	if (!p) {
		s->beyond += !add_port(s, hash, &k);
		return;
	}
	p->tick = s->tick;
	weir_lru_touch(&s->ports, &p->node);
}

void weir_alert_scan_who(const struct weir_alert_scan *s, uint8_t ret_host[16])
{
	const struct scan_host *first = NULL;

	for (struct weir_lru_node *n = s->hosts.oldest; n; n = n->newer) {
		const struct scan_host *h = host_of(n);

		if (h->n == s->most && (!first || memcmp(h->addr, first->addr, 16) < 0))
			first = h;
	}
	if (first)
		memcpy(ret_host, first->addr, 16);
}

void weir_alert_scan_next(struct weir_alert_scan *s)
{
	s->tick++;
	while (s->ports.oldest && s->tick - port_of(s->ports.oldest)->tick >= s->over)
		forget_port(s, port_of(s->ports.oldest));
}
