/* SPDX-License-Identifier: GPL-2.0-only */
/* What is read from /proc and BTF, and how views of one loss are settled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <cmocka.h>
#include <netinet/in.h>

#include "base/cleanup.h"
#include "cap/drops/ledger.h"

static FILE *text_file(const char *text)
{
	FILE *f = fmemopen((void *)text, strlen(text), "r");

	assert_non_null(f);
	return f;
}

static uint64_t value_of(const struct weir_drops_counters_now *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (strcmp(c->v[i].name, name) == 0)
			return c->v[i].value;
	return 0;
}

/* ---- Counters */

static void test_snmp(void **state)
{
	static const char text[] =
		"Ip: Forwarding InHdrErrors InReceives\nIp: 1 7 99\n"
		"Udp: InDatagrams NoPorts InErrors RcvbufErrors\nUdp: 5 3 11 4\n"
		"UdpLite: InDatagrams NoPorts\nUdpLite: 0 2\n"
		"TcpExt: ListenOverflows ListenDrops TCPRcvCollapsed\nTcpExt: 6 8 1\n";
	struct weir_drops_counters_now c = { 0 };
	weir_autofclose FILE *in = text_file(text);

	(void)state;
	assert_int_equal(weir_drops_read_snmp(&c, in), 0);
	assert_int_equal(value_of(&c, "UdpNoPorts"), 5);
	assert_int_equal(value_of(&c, "UdpRcvbufErrors"), 4);
	assert_int_equal(value_of(&c, "IpInHdrErrors"), 7);
	assert_int_equal(value_of(&c, "ListenOverflows"), 6);
	assert_int_equal(value_of(&c, "ListenDrops"), 8);
	assert_int_equal(c.n, 6);
	weir_drops_counters_free(&c);
}

/* Lines that do not belong together, values that are missing, an end in between. */
static void test_snmp_broken(void **state)
{
	static const char *const texts[] = {
		"Udp: NoPorts\nTcp: 7\n",
		"Udp: InDatagrams NoPorts\nUdp: 7\n",
		"Udp: NoPorts\n",
		"\n\n",
		"Udp\n7\n",
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(texts); i++) {
		struct weir_drops_counters_now c = { 0 };
		weir_autofclose FILE *in = text_file(texts[i]);

		assert_int_equal(weir_drops_read_snmp(&c, in), 0);
		assert_int_equal(c.n, 0);
		weir_drops_counters_free(&c);
	}
}

static void test_snmp6(void **state)
{
	static const char text[] = "Ip6InReceives                   \t9\n"
				   "Udp6NoPorts                     \t12\nUdp6RcvbufErrors\t3\nx\n";
	struct weir_drops_counters_now c = { 0 };
	weir_autofclose FILE *in = text_file(text);

	(void)state;
	assert_int_equal(weir_drops_read_snmp6(&c, in), 0);
	assert_int_equal(value_of(&c, "UdpNoPorts"), 12);
	assert_int_equal(value_of(&c, "UdpRcvbufErrors"), 3);
	weir_drops_counters_free(&c);
}

static void test_softnet(void **state)
{
	static const char text[] = "0000a1b2 0000000a 00000003 00000000 00000000\n"
				   "00000001 00000002 ffffffff 00000000\ngarbage\n";
	struct weir_drops_counters_now c = { 0 };
	weir_autofclose FILE *in = text_file(text);

	(void)state;
	assert_int_equal(weir_drops_read_softnet(&c, in), 0);
	assert_int_equal(value_of(&c, "softnet dropped"), 12);
	assert_true(value_of(&c, "softnet time_squeeze") == 0x100000002ULL);
	weir_drops_counters_free(&c);
}

/* ---- Names */

static void test_symbols(void **state)
{
	static const char text[] =
		"ffffffff81002000 T second\nffffffff81001000 t first.isra.0\n"
		"ffffffff81003000 D data\nffffffff81004000 W last\t[mod]\nnone\n";
	weir_autofclose FILE *in = text_file(text);
	struct weir_drops_symbols s;
	char name[WEIR_DROPS_FUNCTION_MAX];

	(void)state;
	assert_int_equal(weir_drops_symbols_read(&s, in), 0);
	assert_false(s.hidden);
	assert_string_equal(weir_drops_function(&s, 0xffffffff81001000, name, sizeof(name)),
			    "first");
	assert_string_equal(weir_drops_function(&s, 0xffffffff81001fff, name, sizeof(name)),
			    "first");
	assert_string_equal(weir_drops_function(&s, 0xffffffff81003abc, name, sizeof(name)),
			    "second");
	assert_string_equal(weir_drops_function(&s, 0xffffffff81004001, name, sizeof(name)),
			    "last");
	assert_string_equal(weir_drops_function(&s, 0x1234, name, sizeof(name)), "0x1234");
	weir_drops_symbols_free(&s);
}

static void test_symbols_hidden(void **state)
{
	weir_autofclose FILE *in = text_file("0000000000000000 T a\n0000000000000000 t b\n");
	struct weir_drops_symbols s;
	char name[WEIR_DROPS_FUNCTION_MAX];

	(void)state;
	assert_int_equal(weir_drops_symbols_read(&s, in), 0);
	assert_true(s.hidden);
	assert_string_equal(weir_drops_function(&s, 0xffffffff81001000, name, sizeof(name)),
			    "0xffffffff81001000");
	weir_drops_symbols_free(&s);
}

static void test_reason_names(void **state)
{
	struct btf *btf = btf__new_empty();
	struct weir_drops_names n = { 0 };
	char name[WEIR_DROPS_NAME_MAX];

	(void)state;
	assert_non_null(btf);
	btf__add_enum(btf, "skb_drop_reason", 4);
	btf__add_enum_value(btf, "SKB_NOT_DROPPED_YET", 0);
	btf__add_enum_value(btf, "SKB_DROP_REASON_NO_SOCKET", 3);
	btf__add_enum_value(btf, "SKB_DROP_REASON_ELSE", 2);
	btf__add_enum_value(btf, "SKB_DROP_REASON_MAX", 4);
	btf__add_enum_value(btf, "SKB_DROP_REASON_SUBSYS_MASK", 0xffff0000);
	btf__add_enum(btf, "ovs_drop_reason", 4);
	btf__add_enum_value(btf, "OVS_DROP_FLOW", 0x20001);
	btf__add_enum(btf, "other", 4);
	btf__add_enum_value(btf, "WRONG", 9);
	assert_int_equal(weir_drops_names_add(&n, btf, 1), 0);
	assert_int_equal(n.n, 4);
	assert_string_equal(weir_drops_name(&n, 0, name, sizeof(name)), "NOT_DROPPED_YET");
	assert_string_equal(weir_drops_name(&n, 2, name, sizeof(name)), "ELSE");
	assert_string_equal(weir_drops_name(&n, 3, name, sizeof(name)), "NO_SOCKET");
	assert_string_equal(weir_drops_name(&n, 0x20001, name, sizeof(name)), "OVS_DROP_FLOW");
	assert_string_equal(weir_drops_name(&n, 9, name, sizeof(name)), "reason 9");
	weir_drops_names_free(&n);
	btf__free(btf);
}

/* ---- Settling */

static const struct weir_drops_counter_def udp_full = {
	.name = "UdpRcvbufErrors",
	.stage = WEIR_STAGE_SOCKET,
	.role = WEIR_COUNTER_COUNTS,
	.reasons = " SOCKET_RCVBUFF ",
	.proto = IPPROTO_UDP,
};

static const struct weir_drops_scope scope = { .netns = 5 };

static struct weir_drops_row freed(const char *reason, const char *function, uint64_t n)
{
	struct weir_drops_row r = { .origin = WEIR_DROPS_FREED,
				    .netns = 5,
				    .ifindex = 2,
				    .proto = IPPROTO_UDP,
				    .packets = n };

	snprintf(r.reason, sizeof(r.reason), "%s", reason);
	snprintf(r.function, sizeof(r.function), "%s", function);
	return r;
}

static struct weir_drops_row counter(const struct weir_drops_counter_def *def, uint64_t n)
{
	struct weir_drops_row r = { .origin = WEIR_DROPS_COUNTER,
				    .netns = 5,
				    .def = def,
				    .role = def->role,
				    .stage = def->stage,
				    .packets = n };

	snprintf(r.reason, sizeof(r.reason), "%s", def->name);
	return r;
}

/* A counter counts what it has beyond the packets freed for its reason, and no less than
 * nothing. */
static void test_counter_and_freed(void **state)
{
	static const uint64_t cases[][3] = { { 10, 10, 0 }, { 10, 13, 3 }, { 10, 7, 0 } };

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_drops_row v[] = { freed("SOCKET_RCVBUFF", "f", cases[i][0]),
					      freed("NO_SOCKET", "f", 100),
					      counter(&udp_full, cases[i][1]) };
		struct weir_drops_ledger l = { .v = v, .n = WEIR_ARRAY_SIZE(v) };

		v[1].proto = IPPROTO_UDP;
		weir_drops_settle(&l, &scope);
		assert_int_equal(v[0].counted, 10);
		assert_int_equal(v[1].counted, 100);
		assert_int_equal(v[2].counted, cases[i][2]);
		assert_int_equal(v[2].also, v[2].packets - v[2].counted);
	}
}

/* Another protocol's, and another namespace's, are other events. */
static void test_counter_of_others(void **state)
{
	struct weir_drops_row v[] = { freed("SOCKET_RCVBUFF", "f", 4),
				      freed("SOCKET_RCVBUFF", "f", 4), counter(&udp_full, 10) };
	struct weir_drops_ledger l = { .v = v, .n = WEIR_ARRAY_SIZE(v) };

	(void)state;
	v[0].proto = IPPROTO_TCP;
	v[1].netns = 6;
	weir_drops_settle(&l, &scope);
	assert_int_equal(v[2].counted, 10);
}

/* The filter's count stands; what is freed at its hook counts beyond it only. */
static void test_own_and_freed(void **state)
{
	struct weir_drops_row v[] = {
		{ .origin = WEIR_DROPS_OWN,
		  .stage = WEIR_STAGE_TC_IN,
		  .netns = 5,
		  .ifindex = 2,
		  .packets = 30 },
		{ .origin = WEIR_DROPS_OWN,
		  .stage = WEIR_STAGE_TC_IN,
		  .netns = 5,
		  .ifindex = 2,
		  .packets = 12 },
		freed("TC_INGRESS", "f", 25),
		freed("TC_INGRESS", "g", 20),
		freed("TC_INGRESS", "g", 9),
	};
	struct weir_drops_ledger l = { .v = v, .n = WEIR_ARRAY_SIZE(v) };
	uint64_t sum = 0;

	(void)state;
	v[4].ifindex = 3; /* another interface's */
	weir_drops_settle(&l, &scope);
	for (size_t i = 0; i < l.n; i++)
		sum += v[i].counted;
	assert_int_equal(v[0].counted + v[1].counted, 42);
	assert_int_equal(v[2].counted + v[3].counted, 3);
	assert_int_equal(v[4].counted, 9);
	assert_int_equal(sum, 54);
}

static void test_words(void **state)
{
	(void)state;
	assert_true(weir_drops_in(" A BC ", "A"));
	assert_true(weir_drops_in(" A BC ", "BC"));
	assert_false(weir_drops_in(" A BC ", "B"));
	assert_false(weir_drops_in(" A BC ", "C"));
	assert_false(weir_drops_in(NULL, "C"));
}

/* Bare segments of TCP's own functions have done their work; what else has no reason is a
 * loss. */
static void test_done(void **state)
{
	(void)state;
	assert_non_null(weir_drops_done("NOT_SPECIFIED", "tcp_rcv_state_process", true));
	assert_null(weir_drops_done("NOT_SPECIFIED", "tcp_rcv_state_process", false));
	assert_null(weir_drops_done("NOT_SPECIFIED", "veth_xmit", true));
	assert_null(weir_drops_done("NETFILTER_DROP", "tcp_v4_rcv", true));
	assert_non_null(weir_drops_done("SOCKET_RCVBUFF", "packet_rcv", false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_snmp),
		cmocka_unit_test(test_snmp_broken),
		cmocka_unit_test(test_snmp6),
		cmocka_unit_test(test_softnet),
		cmocka_unit_test(test_symbols),
		cmocka_unit_test(test_symbols_hidden),
		cmocka_unit_test(test_reason_names),
		cmocka_unit_test(test_counter_and_freed),
		cmocka_unit_test(test_counter_of_others),
		cmocka_unit_test(test_own_and_freed),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
