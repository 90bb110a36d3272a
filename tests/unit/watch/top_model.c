/* SPDX-License-Identifier: GPL-2.0-only */
/* Rows, order, filter and levels of the full-screen view, without a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cap/watch/session.h"
#include "cap/watch/top_model.h"

#define NOW (1000 * WEIR_NSEC_PER_SEC)

struct fixture {
	struct weir_watch w;
	struct weir_top top;
};

static void addr4(uint8_t a[16], uint32_t v)
{
	memset(a, 0, 10);
	a[10] = a[11] = 0xff;
	for (int i = 0; i < 4; i++)
		a[12 + i] = (uint8_t)(v >> (24 - 8 * i));
}

/* A TCP flow from 10.0.0.@from to 10.0.1.@to:@port that began @age seconds ago. */
static void add(struct fixture *f, unsigned int from, unsigned int to, uint16_t port,
		uint64_t bytes, uint64_t packets, unsigned int age)
{
	struct weir_flow_key k = {
		.proto = 6, .eth_type = 0x0800, .ifindex = 1, .port_a = 40000, .port_b = port
	};
	struct weir_flow_val v = { .first = NOW - age * WEIR_NSEC_PER_SEC,
				   .last = NOW,
				   .packets = { packets, 0 },
				   .bytes = { bytes, 0 },
				   .flags = WEIR_FLOW_SYN_A };

	addr4(k.addr_a, 0x0a000000 + from);
	addr4(k.addr_b, 0x0a000100 + to);
	weir_flows_merge(&f->w, &k, &v, NULL);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct weir_error err;

	f->w.opt.read_file = "none";
	f->w.opt.flows_max = 65536;
	f->w.opt.numeric = true;
	assert_int_equal(weir_flows_new(&f->w, &err), 0);
	assert_int_equal(weir_top_init(&f->top, &f->w), 0);
	weir_top_resize(&f->top, 10);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	weir_top_free(&f->top);
	weir_flows_free(f->w.flows);
	free(f);
	return 0;
}

static void take(struct fixture *f)
{
	assert_int_equal(weir_top_take(&f->top, NOW), 0);
}

/* The names of the rows, one a line. */
static void check(struct fixture *f, const char *want)
{
	struct weir_buf out = { 0 };

	take(f);
	for (size_t i = 0; i < f->top.n; i++) {
		weir_row_name(&f->w, weir_top_rows_by(&f->top), &f->top.rows[i].sums, &out);
		weir_buf_addc(&out, '\n');
	}
	assert_string_equal(out.data ? out.data : "", want);
	weir_buf_free(&out);
}

#define F1 "tcp 10.0.0.1:40000 > 10.0.1.1:80 [none]\n"
#define F2 "tcp 10.0.0.2:40000 > 10.0.1.1:443 [none]\n"
#define F3 "tcp 10.0.0.3:40000 > 10.0.1.2:443 [none]\n"

static void three(struct fixture *f)
{
	add(f, 1, 1, 80, 1000, 30, 5);
	add(f, 2, 1, 443, 3000, 10, 60);
	add(f, 3, 2, 443, 2000, 20, 20);
}

static void orders(void **state)
{
	struct fixture *f = *state;

	three(f);
	check(f, F2 F3 F1);
	weir_top_order(&f->top, WEIR_TOP_PKTS);
	check(f, F1 F3 F2);
	weir_top_order(&f->top, WEIR_TOP_PKTS);
	check(f, F2 F3 F1);
	weir_top_order(&f->top, WEIR_TOP_AGE);
	check(f, F2 F3 F1);
	weir_top_order(&f->top, WEIR_TOP_NAME);
	check(f, F1 F2 F3);
	weir_top_order(&f->top, WEIR_TOP_NAME);
	check(f, F3 F2 F1);
	/* A rate is of the last whole period. */
	weir_flows_period(f->w.flows);
	add(f, 3, 2, 443, 10, 1, 20);
	weir_flows_period(f->w.flows);
	weir_top_order(&f->top, WEIR_TOP_RATE);
	take(f);
	assert_int_equal(f->top.rows[0].sums.recent, 10);
	assert_int_equal(f->top.rows[1].sums.recent, 0);
}

static void groups(void **state)
{
	struct fixture *f = *state;

	three(f);
	weir_top_group(&f->top, WEIR_BY_HOST);
	check(f, "10.0.1.1\n10.0.0.2\n10.0.0.3\n10.0.1.2\n10.0.0.1\n");
	assert_int_equal(f->top.rows[0].sums.flows, 2);
	assert_int_equal(f->top.rows[0].sums.bytes[0], 4000);
	weir_top_order(&f->top, WEIR_TOP_COUNT);
	take(f);
	assert_int_equal(f->top.rows[0].sums.flows, 2);
	weir_top_group(&f->top, WEIR_BY_PORT);
	check(f, "tcp/443\ntcp/80\n");
	weir_top_group(&f->top, WEIR_BY_PROTOCOL);
	check(f, "tcp\n");
	assert_int_equal(f->top.rows[0].sums.packets[0], 60);
}

static void filters(void **state)
{
	struct fixture *f = *state;
	struct weir_top *t = &f->top;
	struct weir_error err = { "" };
	struct weir_buf text = { 0 };

	three(f);
	assert_int_equal(weir_top_filter(t, " dst port 443 and src host 10.0.0.2 ", &err), 0);
	check(f, F2);
	/* The source is who began, whichever end is side A. */
	assert_int_equal(weir_top_filter(t, "src port 443", &err), 0);
	check(f, "");
	assert_int_equal(weir_top_filter(t, "port 443", &err), 0);
	check(f, F2 F3);
	assert_int_equal(weir_top_filter(t, "10.0.1.2", &err), 0); /* and this */
	check(f, F3);
	weir_top_filter_text(t, &text);
	assert_string_equal(text.data, "port 443 and \"10.0.1.2\"");
	weir_buf_free(&text);
	/* What is wrong changes nothing. */
	assert_int_equal(weir_top_filter(t, "tcp prot 80", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "prot"));
	assert_int_equal(weir_top_filter(t, "vlan and tcp", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "a flow has no"));
	check(f, F3);
	assert_int_equal(weir_top_filter(t, "\"> 10.0.1.1\"", &err), 0);
	assert_int_equal(weir_top_filter(t, "", &err), 0);
	check(f, F2 F3 F1);
	assert_int_equal(weir_top_filter(t, "\"2:40000 > 10.0.1.1\"", &err), 0);
	check(f, F2);
	/* Of groups, only the flows that match are added up. */
	assert_int_equal(weir_top_filter(t, "", &err), 0);
	assert_int_equal(weir_top_filter(t, "port 80", &err), 0);
	weir_top_group(t, WEIR_BY_HOST);
	check(f, "10.0.0.1\n10.0.1.1\n");
	assert_int_equal(t->rows[1].sums.bytes[0], 1000);
}

static void levels(void **state)
{
	struct fixture *f = *state;
	struct weir_top *t = &f->top;
	struct weir_error err;

	three(f);
	weir_top_group(t, WEIR_BY_HOST);
	assert_int_equal(weir_top_filter(t, "10.0.1", &err), 0);
	check(f, "10.0.1.1\n10.0.1.2\n");
	assert_true(weir_top_enter(t));
	check(f, F2 F1);
	weir_top_move(t, 1);
	assert_true(weir_top_enter(t));
	assert_int_equal(t->level, WEIR_TOP_PACKETS);
	assert_int_equal(t->place[WEIR_TOP_PACKETS].of.flow.key.port_b, 80);
	assert_null(weir_top_selected(t));
	assert_false(weir_top_enter(t));
	assert_true(weir_top_back(t));
	check(f, F2 F1);
	assert_int_equal(t->place[t->level].cursor, 1);
	assert_true(weir_top_back(t));
	check(f, "10.0.1.1\n10.0.1.2\n"); /* with its filter */
	assert_false(weir_top_back(t));
	weir_top_group(t, WEIR_BY_FLOW);
	take(f);
	assert_true(weir_top_enter(t));
	assert_int_equal(t->level, WEIR_TOP_PACKETS);
	assert_true(weir_top_back(t));
	assert_int_equal(t->level, WEIR_TOP_ROWS);
}

/* The cursor stays on its row when the order changes, on its rank before it was moved. */
static void cursor_holds(void **state)
{
	struct fixture *f = *state;
	struct weir_top *t = &f->top;

	three(f);
	take(f);
	add(f, 1, 1, 80, 9000, 1, 5);
	check(f, F1 F2 F3);
	assert_int_equal(t->place[0].cursor, 0);
	weir_top_move(t, 1);
	add(f, 2, 1, 443, 9000, 1, 60);
	check(f, F2 F1 F3);
	assert_int_equal(t->place[0].cursor, 0);
	assert_int_equal(weir_top_selected(t)->flow.key.port_b, 443);
}

/* The window of a picture is what sorting all would give, wherever the cursor is. */
static int by_bytes(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x < y) - (x > y);
}

static void window_is_of_the_sorted(void **state)
{
	enum { N = 5000 };
	static uint64_t want[N];
	struct fixture *f = *state;
	struct weir_top *t = &f->top;
	static const long moves[] = { 0, 700, 1500, 1L << 40, -3000, -(1L << 40) };

	srandom(7);
	for (unsigned int i = 0; i < N; i++) {
		want[i] = 1 + (uint64_t)random() % 2000; /* with equals */
		add(f, i, i % 9, 80, want[i], 1, 1);
	}
	qsort(want, N, sizeof(*want), by_bytes);
	for (size_t m = 0; m < sizeof(moves) / sizeof(*moves); m++) {
		weir_top_move(t, moves[m]);
		take(f);
		assert_int_equal(t->total, N);
		for (size_t i = 0; i < t->n; i++)
			assert_int_equal(t->rows[i].sums.bytes[0], want[t->base + i]);
		assert_non_null(weir_top_selected(t));
		assert_true(t->place[0].offset >= t->base);
		assert_true(t->place[0].offset + t->page <= t->base + t->n);
	}
	/* What was far down is gone: the cursor is on what is left. */
	weir_top_move(t, 1L << 40);
	take(f);
	weir_flows_expire(&f->w, NOW + 61 * WEIR_NSEC_PER_SEC, NULL, NULL);
	take(f);
	assert_int_equal(t->total, 0);
	assert_int_equal(t->place[0].cursor, 0);
	assert_null(weir_top_selected(t));
}

static void pause_keeps_the_picture(void **state)
{
	struct fixture *f = *state;
	struct weir_top *t = &f->top;

	three(f);
	take(f);
	t->paused = true;
	weir_flows_expire(&f->w, NOW + 61 * WEIR_NSEC_PER_SEC, NULL, NULL);
	assert_int_equal(f->w.flows->used, 0);
	assert_false(weir_top_move(t, 1L << 40));
	assert_int_equal(t->place[0].cursor, 2);
	assert_int_equal(weir_top_selected(t)->flow.key.port_b, 80); /* a copy */
}

static void packets_stay_at_the_newest(void **state)
{
	struct fixture *f = *state;
	struct weir_top *t = &f->top;
	struct weir_top_place *p = &t->place[WEIR_TOP_PACKETS];

	three(f);
	take(f);
	weir_top_enter(t);
	weir_top_packets(t, 5, 5);
	assert_int_equal(p->cursor, 4);
	weir_top_packets(t, 25, 20);
	assert_int_equal(p->cursor, 24);
	assert_int_equal(p->offset, 15);
	weir_top_move(t, -20); /* one looks at an older one: it stays */
	assert_int_equal(p->cursor, 4);
	weir_top_packets(t, 30, 5);
	assert_int_equal(p->cursor, 4);
	weir_top_packets(t, 30, 3); /* three fell out at the old end */
	assert_int_equal(p->cursor, 1);
	weir_top_packets(t, 30, 30);
	assert_int_equal(p->cursor, 0);
}

static void check_clean(const char *s, size_t width, bool pad, const char *want)
{
	struct weir_buf out = { 0 };

	weir_top_clean(s, width, pad, &out);
	assert_string_equal(out.data ? out.data : "", want);
	weir_buf_free(&out);
}

static void text_is_clean(void **state)
{
	(void)state;
	setlocale(LC_CTYPE, "C.UTF-8");
	check_clean("abc", 5, true, "abc  ");
	check_clean("abc", 3, true, "abc");
	check_clean("abcd", 3, true, "ab+");
	check_clean("abcd", 0, true, "");
	check_clean("a\033[2Jb\nc", 20, false, "a?[2Jb?c");
	check_clean("\xff\xfe"
		    "a",
		    20, false, "??a");
	check_clean("w\xc3\xb6rt", 4, true, "w\xc3\xb6rt");
	check_clean("\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 5, true, "\xe4\xb8\xad\xe4\xb8\xad+");
	check_clean("\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 4, true, "\xe4\xb8\xad+ ");
	check_clean("a\xe2\x80\xae"
		    "b",
		    9, false, "a?b"); /* turns the line round */
	setlocale(LC_CTYPE, "C");
	check_clean("w\xc3\xb6rt", 9, false, "w??rt");
}

static void ages(void **state)
{
	static const struct {
		unsigned int seconds;
		const char *text;
	} cases[] = { { 0, "0s" },	{ 59, "59s" },	    { 60, "1m" },     { 3599, "59m" },
		      { 3600, "1h00" }, { 86399, "23h59" }, { 86400, "1d00" } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct weir_buf out = { 0 };

		weir_top_age(cases[i].seconds * WEIR_NSEC_PER_SEC, &out);
		assert_string_equal(out.data, cases[i].text);
		weir_buf_free(&out);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(orders),
		TEST(groups),
		TEST(filters),
		TEST(levels),
		TEST(cursor_holds),
		TEST(window_is_of_the_sorted),
		TEST(pause_keeps_the_picture),
		TEST(packets_stay_at_the_newest),
		TEST(text_is_clean),
		TEST(ages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
