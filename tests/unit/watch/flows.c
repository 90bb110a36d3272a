/* SPDX-License-Identifier: GPL-2.0-only */
/* The flow table against a naive one: what is merged and what ends, with many collisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/watch/session.h"

#define FLOWS 3000
#define IDLE (60 * WEIR_NSEC_PER_SEC)
#define ROUNDS 60

struct oracle {
	uint64_t packets, last;
	bool there;
};

static struct oracle oracle[FLOWS];
static size_t gone_wrong, gone_n;

static struct weir_flow_key key_of(unsigned int i)
{
	struct weir_flow_key k = {
		.port_a = (uint16_t)i, .port_b = 80, .proto = 17, .eth_type = 0x0800, .ifindex = 1
	};

	return k;
}

static void new_watch(struct weir_watch *w)
{
	struct weir_error err;

	memset(w, 0, sizeof(*w));
	w->opt.read_file = "none";
	w->opt.flows_max = FLOWS;
	assert_int_equal(weir_flows_new(w, &err), 0);
}

static void merge(struct weir_watch *w, unsigned int i, uint64_t now)
{
	struct weir_flow_key k = key_of(i);
	struct weir_flow_val v = { .first = now,
				   .last = now,
				   .packets = { 1, 0 },
				   .wire = { 1, 0 },
				   .bytes = { 100, 0 } };

	weir_flows_merge(w, &k, &v, NULL);
	oracle[i].packets = oracle[i].there ? oracle[i].packets + 1 : 1;
	oracle[i].there = true;
	oracle[i].last = now;
}

static void on_gone(void *arg, const struct weir_flow *x)
{
	struct oracle *o = &oracle[x->key.port_a];

	gone_wrong += !o->there || o->last + IDLE > *(uint64_t *)arg ||
		      o->packets != x->val.packets[0];
	o->there = false;
	gone_n++;
}

/* Both tables hold the same, and each flow is found where it stands. */
static void compare(struct weir_watch *w)
{
	struct weir_flows *f = w->flows;
	size_t there = 0, seen = 0;

	for (unsigned int i = 0; i < FLOWS; i++)
		there += oracle[i].there;
	WEIR_FLOWS_EACH(f, x)
	{
		assert_true(oracle[x->key.port_a].there);
		assert_int_equal(x->val.packets[0], oracle[x->key.port_a].packets);
		seen++;
	}
	assert_int_equal(seen, there);
	assert_int_equal(f->used, there);
	assert_int_equal(gone_wrong, 0);
}

static void expires_as_the_naive_one(void **state)
{
	struct weir_watch w;
	uint64_t now = 1000 * WEIR_NSEC_PER_SEC;

	(void)state;
	new_watch(&w);
	memset(oracle, 0, sizeof(oracle));
	gone_wrong = gone_n = 0;
	srandom(1);
	for (int round = 0; round < ROUNDS; round++) {
		now += 7 * WEIR_NSEC_PER_SEC;
		for (int i = 0; i < 400; i++)
			merge(&w, (unsigned int)random() % FLOWS, now);
		weir_flows_expire(&w, now, on_gone, &now);
		compare(&w);
		/* A table this small is looked through whole at once. */
		for (unsigned int i = 0; i < FLOWS; i++)
			assert_true(!oracle[i].there || oracle[i].last + IDLE > now);
	}
	assert_true(gone_n > FLOWS / 2);
	assert_true(w.flows->used > 1000);
	now += IDLE;
	weir_flows_expire(&w, now, on_gone, &now);
	assert_int_equal(w.flows->used, 0);
	assert_int_equal(w.flows->packets, ROUNDS * 400);
	assert_int_equal(w.flows->bytes, ROUNDS * 400 * 100);
	weir_flows_free(w.flows);
}

/* A large table is looked through in parts: after enough of them nothing idle is left. */
static void parts_come_round(void **state)
{
	struct weir_watch w;
	struct weir_flow_val v = { .first = 1, .last = 1, .packets = { 1, 0 } };
	struct weir_flow_key k;
	size_t before;
	int times = 0;

	(void)state;
	new_watch(&w);
	w.flows->limit = 1 << 20;
	for (unsigned int i = 0; i < 200000; i++) {
		k = key_of(i & 0xffff);
		k.ifindex = 1 + (i >> 16);
		weir_flows_merge(&w, &k, &v, NULL);
	}
	before = w.flows->used;
	assert_int_equal(before, 200000);
	weir_flows_expire(&w, 2 * IDLE, NULL, NULL);
	assert_true(w.flows->used < before && w.flows->used > before / 2);
	for (; w.flows->used && times < 32; times++)
		weir_flows_expire(&w, 2 * IDLE, NULL, NULL);
	assert_int_equal(w.flows->used, 0);
	weir_flows_free(w.flows);
}

/* The rate of the last whole period, whether the flow was seen in this one or not. */
static void rates_are_of_the_last_period(void **state)
{
	static const struct {
		unsigned int bytes;  /* merged in this period */
		unsigned int recent; /* of the one before, afterwards */
	} periods[] = { { 100, 0 }, { 0, 100 }, { 0, 0 }, { 70, 0 }, { 30, 70 }, { 0, 30 } };
	struct weir_flow_key k = key_of(1);
	struct weir_watch w;

	(void)state;
	new_watch(&w);
	for (size_t i = 0; i < sizeof(periods) / sizeof(*periods); i++) {
		struct weir_flow_val v = { .first = 1,
					   .last = 1,
					   .bytes = { periods[i].bytes, 0 } };

		if (i)
			weir_flows_period(w.flows);
		if (v.bytes[0])
			weir_flows_merge(&w, &k, &v, NULL);
		WEIR_FLOWS_EACH(w.flows, x)
		assert_int_equal(weir_flow_recent(w.flows, x), periods[i].recent);
	}
	weir_flows_free(w.flows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expires_as_the_naive_one),
		cmocka_unit_test(parts_come_round),
		cmocka_unit_test(rates_are_of_the_last_period),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
