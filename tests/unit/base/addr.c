/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"

static void addresses(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused */
	} cases[] = {
		{ "0.0.0.0", "0.0.0.0" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "192.0.2.10", "192.0.2.10" },
		{ "::ffff:1.2.3.4", "1.2.3.4" },
		{ "::ffff:102:304", "1.2.3.4" },
		{ "::", "::" },
		{ "::1", "::1" },
		{ "1::", "1::" },
		{ "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
		{ "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
		{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
		{ "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
		{ "::1234:5678", "::1234:5678" },
		{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },
		{ "", NULL },
		{ "1", NULL },
		{ "1.2.3", NULL },
		{ "1.2.3.", NULL },
		{ "1.2.3.4.", NULL },
		{ "1.2.3.4.5", NULL },
		{ ".1.2.3.4", NULL },
		{ "1..2.3", NULL },
		{ "01.2.3.4", NULL },
		{ "1.2.3.00", NULL },
		{ "1.2.3.256", NULL },
		{ "1.2.3.99999999999999999999", NULL },
		{ "1.2.3.-4", NULL },
		{ "+1.2.3.4", NULL },
		{ " 1.2.3.4", NULL },
		{ "1.2.3.4 ", NULL },
		{ "1.2.3.4x", NULL },
		{ "1.2.3.4/32", NULL },
		{ "0x1.2.3.4", NULL },
		{ ":", NULL },
		{ ":::", NULL },
		{ "1::2::3", NULL },
		{ "12345::", NULL },
		{ "1:2:3:4:5:6:7", NULL },
		{ "1:2:3:4:5:6:7:8:9", NULL },
		{ "fe80::1%eth0", NULL },
		{ "::ffff:01.2.3.4", NULL },
		{ "::1 ", NULL },
	};
	char text[WEIR_ADDR_STRLEN];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_addr a, untouched;
		int r;

		memset(&a, 0x5a, sizeof(a));
		untouched = a;
		r = weir_addr_parse(cases[i].in, &a);
		if (!cases[i].out) {
			assert_int_equal(r, -EINVAL);
			assert_memory_equal(&a, &untouched, sizeof(a));
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(weir_addr_str(&a, text), cases[i].out);
		assert_int_equal(weir_addr_is_v4(&a), !strchr(cases[i].out, ':'));
	}
}

/* Against the C library, which differs only for IPv4-compatible addresses. */
static void random_addresses(void **state)
{
	unsigned int seed = 7;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		weir_autobuf struct weir_buf b = { 0 };
		char want[INET6_ADDRSTRLEN], got[WEIR_ADDR_STRLEN];
		struct weir_addr a = { 0 }, back;
		int zeros = rand_r(&seed);

		a.b[0] = 0x20;
		for (int i = 1; i < 16; i++)
			if (!(zeros >> i / 2 & 1))
				a.b[i] = (uint8_t)(rand_r(&seed) >> 4);
		inet_ntop(AF_INET6, a.b, want, sizeof(want));
		assert_string_equal(weir_addr_str(&a, got), want);
		weir_buf_add_addr(&b, a.b);
		assert_string_equal(b.data, want);
		assert_int_equal(b.len, strlen(want));
		assert_int_equal(weir_addr_parse(got, &back), 0);
		assert_memory_equal(&back, &a, sizeof(a));

		a = (struct weir_addr){ .b = { [10] = 0xff, [11] = 0xff } };
		for (int i = 12; i < 16; i++)
			a.b[i] = (uint8_t)(rand_r(&seed) >> 4);
		inet_ntop(AF_INET, a.b + 12, want, sizeof(want));
		assert_string_equal(weir_addr_str(&a, got), want);
		assert_int_equal(weir_addr_parse(got, &back), 0);
		assert_memory_equal(&back, &a, sizeof(a));
	}
}

static void prefixes(void **state)
{
	static const struct {
		const char *in;
		bool allow_short;
		int r;
		const char *out;
	} cases[] = {
		{ "10.0.0.0/8", false, 0, "10.0.0.0/8" },
		{ "0.0.0.0/0", false, 0, "0.0.0.0/0" },
		{ "192.0.2.1", false, 0, "192.0.2.1" },
		{ "192.0.2.1/32", false, 0, "192.0.2.1" },
		{ "192.0.2.128/25", false, 0, "192.0.2.128/25" },
		{ "2001:db8::/32", false, 0, "2001:db8::/32" },
		{ "2001:db8::1", false, 0, "2001:db8::1" },
		{ "2001:db8::1/128", false, 0, "2001:db8::1" },
		{ "::/0", false, 0, "::/0" },
		{ "8000::/1", false, 0, "8000::/1" },
		{ "::ffff:10.0.0.0/104", false, 0, "10.0.0.0/8" },
		{ "::ffff:0:0/96", false, 0, "0.0.0.0/0" },
		{ "::ffff:1.2.3.4", true, 0, "1.2.3.4" },
		{ "10", true, 0, "10.0.0.0/8" },
		{ "10.1", true, 0, "10.1.0.0/16" },
		{ "10.1.2", true, 0, "10.1.2.0/24" },
		{ "10.1.2.3", true, 0, "10.1.2.3" },
		{ "10/8", true, 0, "10.0.0.0/8" },
		{ "172.16/12", true, 0, "172.16.0.0/12" },
		{ "10.1/8", true, -ERANGE, NULL },
		{ "10.0.0.1/8", false, -ERANGE, NULL },
		{ "10.0.0.1/31", false, -ERANGE, NULL },
		{ "1.2.3.4/0", false, -ERANGE, NULL },
		{ "2001:db8::1/64", false, -ERANGE, NULL },
		{ "2001:db8::/31", false, 0, "2001:db8::/31" },
		{ "2001:db9::/31", false, -ERANGE, NULL },
		{ "::ffff:1.2.3.4/90", false, -ERANGE, NULL },
		{ "10.1", false, -EINVAL, NULL },
		{ "10/8", false, -EINVAL, NULL },
		{ "10.1.", true, -EINVAL, NULL },
		{ "010", true, -EINVAL, NULL },
		{ "", true, -EINVAL, NULL },
		{ "/8", true, -EINVAL, NULL },
		{ "10.0.0.0/", false, -EINVAL, NULL },
		{ "10.0.0.0/33", false, -EINVAL, NULL },
		{ "10.0.0.0/08", false, -EINVAL, NULL },
		{ "10.0.0.0/8 ", false, -EINVAL, NULL },
		{ "10.0.0.0/8/8", false, -EINVAL, NULL },
		{ "10.0.0.0/-8", false, -EINVAL, NULL },
		{ "10.0.0.0/255.0.0.0", false, -EINVAL, NULL },
		{ "::/129", false, -EINVAL, NULL },
		{ "::/99999999999", false, -EINVAL, NULL },
		{ "example.org", false, -EINVAL, NULL },
		{ "0000000000000000000000000000000000000000000000000001::/16", false,
		  -EINVAL, NULL },
	};
	char text[WEIR_ADDR_STRLEN];

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_prefix p = { .len = 77 };
		int r = weir_prefix_parse(cases[i].in, cases[i].allow_short, &p);

		if (r != cases[i].r)
			fail_msg("%s gives %d", cases[i].in, r);
		if (r < 0) {
			assert_int_equal(p.len, 77);
			continue;
		}
		assert_string_equal(weir_prefix_str(&p, text), cases[i].out);
		assert_int_equal(p.is_v4, !strchr(cases[i].out, ':'));
		assert_true(!p.is_v4 || p.len >= 96);
	}
}

static bool contains(const char *prefix, const char *addr)
{
	struct weir_prefix p;
	struct weir_addr a;

	assert_int_equal(weir_prefix_parse(prefix, false, &p), 0);
	assert_int_equal(weir_addr_parse(addr, &a), 0);
	return weir_prefix_contains(&p, &a);
}

static void containment(void **state)
{
	(void)state;
	assert_true(contains("10.0.0.0/8", "10.255.0.1"));
	assert_false(contains("10.0.0.0/8", "11.0.0.0"));
	assert_true(contains("192.0.2.128/25", "192.0.2.255"));
	assert_false(contains("192.0.2.128/25", "192.0.2.127"));
	assert_true(contains("192.0.2.1", "192.0.2.1"));
	assert_false(contains("192.0.2.1", "192.0.2.0"));
	assert_true(contains("0.0.0.0/0", "8.8.8.8"));
	assert_false(contains("0.0.0.0/0", "2001:db8::1"));
	assert_true(contains("::/0", "2001:db8::1"));
	assert_false(contains("::/0", "8.8.8.8"));
	assert_true(contains("2001:db8::/31", "2001:db9::1"));
	assert_false(contains("2001:db8::/31", "2001:dba::1"));
	assert_true(contains("::1", "::1"));
}

static void macs(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "02:00:5e:10:00:ff", "02:00:5e:10:00:ff" },
		{ "02-00-5E-10-00-FF", "02:00:5e:10:00:ff" },
		{ "02.00.5e.10.00.ff", "02:00:5e:10:00:ff" },
		{ "0200.5e10.00ff", "02:00:5e:10:00:ff" },
		{ "0:1:2:a:b:c", "00:01:02:0a:0b:0c" },
		{ "", NULL },
		{ "02:00:5e:10:00", NULL },
		{ "02:00:5e:10:00:", NULL },
		{ "02:00:5e:10:00:ff:", NULL },
		{ "02:00:5e:10:00:ff:01", NULL },
		{ "02:00-5e:10:00:ff", NULL },
		{ "02:00:5e:10:00:fg", NULL },
		{ "02:00:5e:10:00:fff", NULL },
		{ "02::5e:10:00:ff", NULL },
		{ "0200.5e10.0ff", NULL },
		{ "0200.5e10.00ff0", NULL },
		{ "02005e1000ff", NULL },
		{ "02005e1000ff0000", NULL },
		{ " 02:00:5e:10:00:ff", NULL },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_autobuf struct weir_buf b = { 0 };
		uint8_t mac[6];
		int r = weir_mac_parse(cases[i].in, mac);

		assert_int_equal(r, cases[i].out ? 0 : -EINVAL);
		if (r < 0)
			continue;
		weir_buf_add_mac(&b, mac);
		assert_string_equal(b.data, cases[i].out);
		assert_int_equal(b.len, 17);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses), cmocka_unit_test(random_addresses),
		cmocka_unit_test(prefixes),  cmocka_unit_test(containment),
		cmocka_unit_test(macs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
