/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/alert_hosts.h"

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

void weir_alert_scan_free(struct weir_alert_scan *s)
{
	weir_alert_set_free(&s->ports);
	weir_alert_set_free(&s->hosts);
}

void weir_alert_scan_add(struct weir_alert_scan *s, const uint8_t host[16], uint8_t proto,
			 uint16_t port)
{
	struct weir_alert_key k = { .port = port, .proto = proto };
	struct weir_alert_entry *x;
	bool new;

	memcpy(k.addr, host, 16);
	if (!weir_alert_set_get(&s->ports, &k, &new) || !new)
		return;
	k.port = 0;
	k.proto = 0;
	x = weir_alert_set_get(&s->hosts, &k, &new);
	if (!x || ++x->n <= s->most)
		return;
	s->most = x->n;
	memcpy(s->host, host, 16);
}

uint32_t weir_alert_scan_most(const struct weir_alert_scan *s, uint8_t ret_host[16])
{
	bool before = s->most_before > s->most;

	memcpy(ret_host, before ? s->host_before : s->host, 16);
	return before ? s->most_before : s->most;
}

void weir_alert_scan_next(struct weir_alert_scan *s)
{
	s->most_before = s->most;
	memcpy(s->host_before, s->host, 16);
	s->most = 0;
	weir_alert_set_free(&s->ports);
	weir_alert_set_free(&s->hosts);
}
