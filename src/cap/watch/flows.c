/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/flows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/watch/l7.h"
#include "cap/watch/observe.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"
#include "dataplane/key_hash.h"

/* The table in user space may hold this many times --flows-max. */
#define FLOWS_USER_FACTOR 4
#define FLOWS_FIRST_SIZE 1024 /* slots; a power of two */
/* A flow this long without a packet has ended. */
#define IDLE_NS (60 * WEIR_NSEC_PER_SEC)
/* A tick looks at so many slots, or a part of a larger table: at two ticks a second that
 * comes round in eight seconds. */
#define SWEEP_SLOTS 65536
#define SWEEP_PARTS 16

static size_t hash_key(const struct weir_flow_key *k)
{
	return (size_t)weir_key_hash(weir_key_seed, k, sizeof(*k));
}

static struct weir_flow *find_slot(struct weir_flow *slots, size_t size,
				   const struct weir_flow_key *k)
{
	size_t i = hash_key(k) & (size - 1);

	while (slots[i].used && memcmp(&slots[i].key, k, sizeof(*k)))
		i = (i + 1) & (size - 1);
	return &slots[i];
}

static int resize(struct weir_flows *f, size_t size)
{
	struct weir_flow *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < f->size; i++)
		if (f->slots[i].used)
			*find_slot(slots, size, &f->slots[i].key) = f->slots[i];
	free(f->slots);
	f->slots = slots;
	f->size = size;
	return 0;
}

/* Which ports does this host listen on? Only a hint for connections whose
 * beginning was not seen. */
static void read_listening(struct weir_flows *f)
{
	static const char *const files[] = { "/proc/net/tcp", "/proc/net/tcp6" };
	char line[512];

	for (size_t i = 0; i < 2; i++) {
		FILE *in = fopen(files[i], "re");
		unsigned int port, st;

		while (in && fgets(line, sizeof(line), in))
			if (sscanf(line, "%*s %*[0-9A-F]:%x %*s %x", &port, &st) == 2 &&
			    st == 0x0a && port < 65536)
				f->listening[port / 8] |= (uint8_t)(1 << port % 8);
		if (in)
			fclose(in);
	}
}

int weir_flows_new(struct weir_watch *w, struct weir_error *err)
{
	struct weir_flows *f = calloc(1, sizeof(*f));

	if (!f || resize(f, FLOWS_FIRST_SIZE)) {
		free(f);
		return weir_fail(err, -ENOMEM, "out of memory: lower --flows-max");
	}
	f->limit = w->opt.flows_max * FLOWS_USER_FACTOR;
	f->period_began = weir_clock_mono();
	w->flows = f;
	if (w->opt.read_file) /* may come from another host */
		return 0;
	read_listening(f);
	return weir_watch_bypass_new(w) ?
		       weir_fail(err, -ENOMEM, "out of memory: lower --flows-max") :
		       0;
}

void weir_flows_free(struct weir_flows *f)
{
	if (!f)
		return;
	WEIR_FLOWS_EACH(f, x)
	{
		weir_flow_names_free(x->names);
		free(x->owners);
	}
	free(f->slots);
	free(f);
}

void weir_flow_val_merge(struct weir_flow_val *to, const struct weir_flow_val *v)
{
	if (!to->first || v->first < to->first) {
		to->first = v->first;
		to->flags = (to->flags & ~WEIR_FLOW_FIRST_B) | (v->flags & WEIR_FLOW_FIRST_B);
	}
	to->flags |= v->flags & ~WEIR_FLOW_FIRST_B;
	if (v->last > to->last)
		to->last = v->last;
	for (int i = 0; i < 2; i++) {
		to->packets[i] += v->packets[i];
		to->wire[i] += v->wire[i];
		to->bytes[i] += v->bytes[i];
		to->tcp_flags[i] |= v->tcp_flags[i];
	}
}

/* What no table has room for still is one of these, once. */
static void merge_beyond(struct weir_watch *w, const struct weir_flow_key *k,
			 const struct weir_flow_val *v, const struct weir_flow_sides *sides)
{
	struct weir_flow x = { .key = *k, .val = *v, .beyond = true };

	weir_flow_val_merge(&w->flows->other, v);
	w->flows->other_flows++;
	weir_observers_flow(w, &x, v, sides);
}

void weir_flows_merge(struct weir_watch *w, const struct weir_flow_key *k,
		      const struct weir_flow_val *v, const struct weir_flow_sides *sides)
{
	struct weir_flows *f = w->flows;
	struct weir_flow *slot = find_slot(f->slots, f->size, k);
	uint64_t bytes = v->bytes[0] + v->bytes[1];

	f->packets += v->packets[0] + v->packets[1];
	f->bytes += bytes;
	if (!slot->used && f->used * 2 >= f->size) {
		if (f->used >= f->limit || resize(f, f->size * 2)) {
			merge_beyond(w, k, v, sides);
			return;
		}
		slot = find_slot(f->slots, f->size, k);
	}
	if (!slot->used) {
		memset(slot, 0, sizeof(*slot));
		slot->used = true;
		slot->key = *k;
		slot->val = *v;
		f->used++;
		if (w->l7)
			weir_l7_flow_begins(w, slot);
	} else {
		weir_flow_val_merge(&slot->val, v);
	}
	weir_watch_owners_flow(w, slot, v);
	if (slot->period != f->period) {
		slot->recent[1] = weir_flow_recent(f, slot);
		slot->recent[0] = 0;
		slot->period = f->period;
	}
	slot->recent[0] += bytes;
	weir_observers_flow(w, slot, v, sides);
}

struct weir_flow *weir_flows_find(struct weir_flows *f, const struct weir_flow_key *k)
{
	struct weir_flow *x = find_slot(f->slots, f->size, k);

	return x->used ? x : NULL;
}

void weir_flows_packet(struct weir_watch *w, const struct weir_packet *p)
{
	int src_a = weir_flow_src_is_a(&p->hdr);
	struct weir_flow_key k = { 0 };
	struct weir_flow_val v = { 0 };
	struct weir_flow_sides sides = { 0 };

	weir_flow_key_of(&p->hdr, weir_watch_one_point(w) ? 0 : p->ev.ifindex, src_a, &k);
	weir_flow_add(&v, &p->hdr, src_a, p->ev.dir == WEIR_WATCH_OUT, p->ev.len, p->ev.gso_size,
		      p->ev.ts);
	if (w->wants_sides)
		weir_flow_add_sides(&sides, &p->hdr, src_a, p->ev.dir == WEIR_WATCH_OUT,
				    p->ev.gso_size);
	weir_flows_merge(w, &k, &v, w->wants_sides ? &sides : NULL);
	if (p->l7)
		weir_l7_name_flow(w, &k, p->l7);
}

bool weir_flow_initiator_is_b(const struct weir_flows *f, const struct weir_flow *x,
			      bool *ret_guessed)
{
	const struct weir_flow_key *k = &x->key;
	bool a_listens, b_listens;

	*ret_guessed = false;
	if (k->proto != 6 || k->fragment)
		return x->val.flags & WEIR_FLOW_FIRST_B;
	if (x->val.flags & (WEIR_FLOW_SYN_A | WEIR_FLOW_SYN_B))
		return !(x->val.flags & WEIR_FLOW_SYN_A);
	*ret_guessed = true;
	a_listens = f->listening[k->port_a / 8] >> k->port_a % 8 & 1;
	b_listens = f->listening[k->port_b / 8] >> k->port_b % 8 & 1;
	if (a_listens != b_listens)
		return a_listens;
	return k->port_a < k->port_b;
}

void weir_flows_bypass_begin(struct weir_flows *f)
{
	f->bypass_look++;
}

void weir_flows_bypassed(struct weir_flows *f, const struct weir_flow_key *k, uint64_t cookie,
			 uint64_t bytes)
{
	struct weir_flow *x = find_slot(f->slots, f->size, k);

	if (!x->used)
		return;
	f->bypassing += !x->bypass_cookie;
	x->bypass_cookie = cookie;
	x->bypass_look = f->bypass_look;
	x->bypassed = bytes;
}

void weir_flows_bypass_end(struct weir_flows *f,
			   bool (*fn)(void *arg, uint64_t cookie, uint64_t *ret), void *arg)
{
	for (size_t i = 0; f->bypassing && i < f->size; i++) {
		struct weir_flow *x = &f->slots[i];

		if (!x->used || !x->bypass_cookie || x->bypass_look == f->bypass_look)
			continue;
		fn(arg, x->bypass_cookie, &x->bypassed);
		x->bypass_cookie = 0;
		f->bypassing--;
	}
}

/* Take out the flow at @i: what stands behind it only because it stood here moves up, so
 * that no probe sequence has a hole. */
static void remove_slot(struct weir_flows *f, size_t i)
{
	size_t mask = f->size - 1;

	weir_flow_names_free(f->slots[i].names);
	free(f->slots[i].owners);
	f->slots[i].used = false;
	f->used--;
	for (size_t j = (i + 1) & mask; f->slots[j].used; j = (j + 1) & mask) {
		size_t home = hash_key(&f->slots[j].key) & mask;

		if (((j - home) & mask) < ((j - i) & mask))
			continue;
		f->slots[i] = f->slots[j];
		f->slots[j].used = false;
		i = j;
	}
}

bool weir_flow_is_idle(const struct weir_flow *x, uint64_t now)
{
	return !x->bypass_cookie && x->val.last + IDLE_NS <= now;
}

size_t weir_flows_part(const struct weir_flows *f)
{
	size_t n = f->size / SWEEP_PARTS;

	return n > SWEEP_SLOTS ? n : f->size < SWEEP_SLOTS ? f->size : SWEEP_SLOTS;
}

bool weir_flows_keep_ended(const struct weir_watch *w)
{
	return w->opt.flows &&
	       (w->opt.read_file || (w->opt.by != WEIR_BY_FLOW && !w->full_screen));
}

void weir_flows_expire(struct weir_watch *w, uint64_t now,
		       void (*gone)(void *arg, const struct weir_flow *x), void *arg)
{
	struct weir_flows *f = w->flows;

	for (size_t end = f->swept + weir_flows_part(f); f->swept < end; f->swept++) {
		size_t i = f->swept & (f->size - 1);
		struct weir_flow *x = &f->slots[i];

		while (x->used && weir_flow_is_idle(x, now)) {
			weir_observers_ended(w, x, false);
			if (gone)
				gone(arg, x);
			remove_slot(f, i); /* another one may have moved here */
		}
	}
	f->swept &= f->size - 1;
}

void weir_flows_period(struct weir_flows *f)
{
	uint64_t now = weir_clock_mono();

	f->period++;
	f->period_ns = now - f->period_began;
	f->period_began = now;
}
