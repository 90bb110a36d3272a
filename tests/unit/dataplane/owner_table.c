/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "dataplane/owner_table.h"

#define TCP 6
#define UDP 17
#define HERE 1
#define THERE 2

static const uint8_t any4[16] = { [10] = 0xff, [11] = 0xff };

static void address(uint8_t to[16], unsigned int last)
{
	memcpy(to, any4, 16);
	if (last) {
		to[12] = 10;
		to[15] = (uint8_t)last;
	}
}

/* 10.0.0.1:@lport to 10.0.0.2:@rport; @rport 0: bound to the port alone. */
static struct weir_owner_event event(uint32_t kind, uint64_t ts, uint64_t cookie, uint32_t pid,
				     uint8_t proto, uint16_t lport, uint16_t rport)
{
	struct weir_owner_event ev = {
		.ts = ts,
		.kind = kind,
		.pid = pid,
		.cgroup = pid,
		.ends = { .netns = HERE,
			  .cookie = cookie,
			  .lport = lport,
			  .rport = rport,
			  .proto = proto },
	};

	address(ev.ends.local, rport ? 1 : 0);
	address(ev.ends.remote, rport ? 2 : 0);
	snprintf(ev.comm, sizeof(ev.comm), "p%u", pid);
	return ev;
}

static void tell(struct weir_owner_table *t, struct weir_owner_event ev)
{
	weir_owner_table_event(t, &ev);
}

static uint32_t look(struct weir_owner_table *t, uint8_t proto, uint16_t lport, uint16_t rport,
		     uint64_t ts, bool syn)
{
	struct weir_owner_query q = { .netns = HERE,
				      .lport = lport,
				      .rport = rport,
				      .proto = proto,
				      .here = true,
				      .syn = syn,
				      .first = ts,
				      .last = ts };
	struct weir_owner o;

	address(q.local, 1);
	address(q.remote, 2);
	return weir_owner_table_find(t, &q, &o) ? o.pid : 0;
}

static void by_time(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);

	(void)state;
	tell(t, event(WEIR_OWNER_OPEN, 100, 1, 7, TCP, 5000, 80));
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 7);
	assert_int_equal(look(t, TCP, 5001, 80, 150, false), 0);
	tell(t, event(WEIR_OWNER_CLOSE, 200, 1, 0, TCP, 0, 0));
	/* The last segments of a connection that has ended are still its own. */
	assert_int_equal(look(t, TCP, 5000, 80, 190, false), 7);
	assert_int_equal(look(t, TCP, 5000, 80, 250, false), 7);
	/* Not what begins anew on its ends, and not what follows that. */
	assert_int_equal(look(t, TCP, 5000, 80, 300, true), 0);
	assert_int_equal(look(t, TCP, 5000, 80, 301, false), 0);
	tell(t, event(WEIR_OWNER_OPEN, 310, 2, 8, TCP, 5000, 80));
	assert_int_equal(look(t, TCP, 5000, 80, 320, false), 8);
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 7);
	assert_int_equal(look(t, TCP, 5000, 80, 305, false), 0);
	weir_owner_table_expire(t, 200 + WEIR_OWNER_GRACE_NS + 1);
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 0);
	assert_int_equal(look(t, TCP, 5000, 80, 320, false), 8);
	weir_owner_table_free(t);
}

static void udp(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);

	(void)state;
	tell(t, event(WEIR_OWNER_OPEN, 100, 1, 7, UDP, 53, 0));
	assert_int_equal(look(t, UDP, 53, 4000, 150, false), 7);
	/* A socket that is connected to the peer comes first. */
	tell(t, event(WEIR_OWNER_OPEN, 160, 2, 8, UDP, 53, 4000));
	assert_int_equal(look(t, UDP, 53, 4000, 170, false), 8);
	assert_int_equal(look(t, UDP, 53, 4001, 170, false), 7);
	tell(t, event(WEIR_OWNER_CLOSE, 200, 1, 0, UDP, 0, 0));
	assert_int_equal(look(t, UDP, 53, 4001, 210, false), 0);
	/* One that turns to another peer has only that. */
	tell(t, event(WEIR_OWNER_OPEN, 220, 2, 0, UDP, 53, 4002));
	assert_int_equal(look(t, UDP, 53, 4002, 230, false), 8);
	assert_int_equal(look(t, UDP, 53, 4000, 230, false), 0);
	weir_owner_table_free(t);
}

static void shared_by_two(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);

	(void)state;
	tell(t, event(WEIR_OWNER_OPEN, 100, 1, 7, UDP, 53, 0));
	tell(t, event(WEIR_OWNER_OPEN, 101, 2, 8, UDP, 53, 0));
	assert_int_equal(look(t, UDP, 53, 4000, 150, false), 0);
	tell(t, event(WEIR_OWNER_CLOSE, 200, 1, 0, UDP, 0, 0));
	assert_int_equal(look(t, UDP, 53, 4000, 250, false), 8);
	weir_owner_table_free(t);
}

static void accepted(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);
	struct weir_owner_event ev = event(WEIR_OWNER_OPEN, 100, 1, 7, TCP, 80, 0);

	(void)state;
	ev.flags = WEIR_OWNER_F_LISTEN | WEIR_OWNER_F_SOLE;
	tell(t, ev);
	assert_int_equal(look(t, TCP, 80, 4000, 150, true), 7);
	ev = event(WEIR_OWNER_OPEN, 160, 2, 0, TCP, 80, 4000);
	ev.flags = WEIR_OWNER_F_ACCEPTED;
	tell(t, ev);
	assert_int_equal(look(t, TCP, 80, 4000, 170, false), 7);
	tell(t, event(WEIR_OWNER_FORK, 180, 0, 7, 0, 0, 0));
	assert_int_equal(look(t, TCP, 80, 4000, 190, false), 0);
	assert_true(weir_owner_table_wants_scan(t));
	tell(t, event(WEIR_OWNER_USE, 200, 2, 9, TCP, 80, 4000));
	assert_int_equal(look(t, TCP, 80, 4000, 210, false), 9);
	/* What it was before it was handed on. */
	tell(t, event(WEIR_OWNER_USE, 300, 2, 10, TCP, 80, 4000));
	assert_int_equal(look(t, TCP, 80, 4000, 250, false), 9);
	assert_int_equal(look(t, TCP, 80, 4000, 310, false), 10);
	weir_owner_table_free(t);
}

static void scans(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);

	(void)state;
	tell(t, event(WEIR_OWNER_OPEN, 50, 3, 7, UDP, 53, 0));
	weir_owner_table_scan(t);
	tell(t, event(WEIR_OWNER_HELD, 100, 1, 7, TCP, 5000, 80));
	tell(t, event(WEIR_OWNER_HELD, 100, 2, 7, TCP, 5001, 80));
	tell(t, event(WEIR_OWNER_HELD, 101, 2, 8, TCP, 5001, 80));
	weir_owner_table_scanned(t, 90, false);
	assert_int_equal(look(t, TCP, 5000, 80, 60, false), 7);
	/* Two hold it, and none has been seen to use it. */
	assert_int_equal(look(t, TCP, 5001, 80, 60, false), 0);
	tell(t, event(WEIR_OWNER_USE, 110, 2, 8, TCP, 5001, 80));
	assert_int_equal(look(t, TCP, 5001, 80, 120, false), 8);
	/* Nobody holds it any more. */
	assert_int_equal(look(t, UDP, 53, 4000, 120, false), 0);
	/* After a loss only what the scan has found is believed. */
	weir_owner_table_scan(t);
	tell(t, event(WEIR_OWNER_HELD, 200, 2, 8, TCP, 5001, 80));
	weir_owner_table_scanned(t, 190, true);
	assert_int_equal(look(t, TCP, 5000, 80, 120, false), 0);
	assert_int_equal(look(t, TCP, 5001, 80, 210, false), 8);
	weir_owner_table_free(t);
}

static void namespaces(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(100);
	struct weir_owner_event ev = event(WEIR_OWNER_OPEN, 100, 1, 7, TCP, 5000, 80);

	(void)state;
	ev.ends.netns = THERE;
	ev.netns_inode = 4026532000U;
	tell(t, ev);
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 7);
	assert_int_equal(weir_owner_table_inode(t, THERE), 4026532000U);
	/* What is here comes before the same elsewhere; two elsewhere are none. */
	ev = event(WEIR_OWNER_OPEN, 100, 2, 8, TCP, 5000, 80);
	ev.ends.netns = THERE + 1;
	tell(t, ev);
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 0);
	tell(t, event(WEIR_OWNER_OPEN, 100, 3, 9, TCP, 5000, 80));
	assert_int_equal(look(t, TCP, 5000, 80, 150, false), 9);
	/* A port alone means nothing elsewhere. */
	ev = event(WEIR_OWNER_OPEN, 100, 4, 7, UDP, 53, 0);
	ev.ends.netns = THERE;
	tell(t, ev);
	assert_int_equal(look(t, UDP, 53, 4000, 150, false), 0);
	weir_owner_table_free(t);
}

static void full(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(2);

	(void)state;
	tell(t, event(WEIR_OWNER_OPEN, 100, 1, 7, TCP, 5000, 80));
	tell(t, event(WEIR_OWNER_CLOSE, 110, 1, 0, TCP, 0, 0));
	tell(t, event(WEIR_OWNER_OPEN, 120, 2, 8, TCP, 5001, 80));
	/* No room to say whose they are now: then nobody's, not who had them before. */
	tell(t, event(WEIR_OWNER_OPEN, 130, 3, 9, TCP, 5000, 80));
	assert_int_equal(look(t, TCP, 5000, 80, 140, false), 0);
	assert_int_equal(look(t, TCP, 5001, 80, 140, false), 8);
	assert_int_equal(weir_owner_table_refused(t), 1);
	weir_owner_table_free(t);
}

static void cgroups(void **state)
{
	struct weir_owner_table *t = weir_owner_table_new(2);
	struct weir_owner_group root = { .id = 1 }, a = { .id = 2, .parent = 1, .name = "a" },
				b = { .id = 3, .parent = 2, .name = "b.service" };

	(void)state;
	assert_null(weir_owner_table_path(t, 3));
	weir_owner_table_group(t, &b);
	weir_owner_table_group(t, &a);
	assert_null(weir_owner_table_path(t, 3));
	weir_owner_table_group(t, &root);
	assert_string_equal(weir_owner_table_path(t, 3), "/a/b.service");
	assert_string_equal(weir_owner_table_path(t, 1), "/");
	assert_true(weir_owner_table_below(t, 3, 2));
	assert_true(weir_owner_table_below(t, 3, 3));
	assert_false(weir_owner_table_below(t, 2, 3));
	weir_owner_table_free(t);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_time),	 cmocka_unit_test(udp),
		cmocka_unit_test(shared_by_two), cmocka_unit_test(accepted),
		cmocka_unit_test(scans),	 cmocka_unit_test(namespaces),
		cmocka_unit_test(full),		 cmocka_unit_test(cgroups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
