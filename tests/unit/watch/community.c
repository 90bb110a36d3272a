/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>

#include "cap/watch/community.h"
#include "cap/watch/sha1.h"
#include "samples.h"

static void sha1(void **state)
{
	static const char *const messages[] = { "", "abc",
		"the longest message that fits into one block: 55 bytes!" };
	static const uint8_t hashes[][WEIR_SHA1_LEN] = {
		{ 0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55,
		  0xbf, 0xef, 0x95, 0x60, 0x18, 0x90, 0xaf, 0xd8, 0x07, 0x09 },
		{ 0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
		  0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d },
		{ 0x3f, 0x27, 0xc1, 0x38, 0x7d, 0xf5, 0x11, 0xc3, 0x15, 0x20,
		  0x8d, 0x50, 0xd2, 0x42, 0x5c, 0xe6, 0xb6, 0x0d, 0x87, 0x9d },
	};
	uint8_t hash[WEIR_SHA1_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		weir_sha1((const uint8_t *)messages[i], strlen(messages[i]), hash);
		assert_memory_equal(hash, hashes[i], WEIR_SHA1_LEN);
	}
}

static struct weir_pkt ends4(uint8_t proto, const uint8_t src[4], const uint8_t dst[4])
{
	struct weir_pkt p = { .flags = WEIR_PKT_IP4, .proto = proto };

	p.src[10] = p.src[11] = p.dst[10] = p.dst[11] = 0xff;
	memcpy(p.src + 12, src, 4);
	memcpy(p.dst + 12, dst, 4);
	return p;
}

/* The specification's own examples; sideways, both directions share an id. */
static void known(void **state)
{
	static const uint8_t a[] = { 128, 232, 110, 120 }, b[] = { 66, 35, 250, 204 };
	static const uint8_t c[] = { 192, 168, 1, 52 }, d[] = { 8, 8, 8, 8 };
	static const uint8_t e[] = { 192, 168, 0, 89 }, f[] = { 192, 168, 0, 1 };
	struct weir_pkt p = ends4(IPPROTO_TCP, a, b);
	char id[WEIR_COMMUNITY_LEN];

	(void)state;
	p.flags |= WEIR_PKT_PORTS;
	p.sport = 34855;
	p.dport = 80;
	assert_true(weir_community_id(&p, id));
	assert_string_equal(id, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
	p = ends4(IPPROTO_TCP, b, a);
	p.flags |= WEIR_PKT_PORTS;
	p.sport = 80;
	p.dport = 34855;
	assert_true(weir_community_id(&p, id));
	assert_string_equal(id, "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
	p = ends4(IPPROTO_UDP, c, d);
	p.flags |= WEIR_PKT_PORTS;
	p.sport = 54585;
	p.dport = 53;
	assert_true(weir_community_id(&p, id));
	assert_string_equal(id, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
	p = ends4(IPPROTO_ICMP, e, f);
	p.flags |= WEIR_PKT_ICMP;
	p.icmp_type = 8;
	assert_true(weir_community_id(&p, id));
	assert_string_equal(id, "1:X0snYXpgwiv9TZtqg64sgzUn6Dk=");
}

static void unknown(void **state)
{
	static const char *const names[] = { "arp_request", "esp", "frag_last", "dccp", "lldp" };
	char id[WEIR_COMMUNITY_LEN];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct sample_packet s;

		sample_open(&s, sample_find(names[i]));
		assert_false(weir_community_id(&s.p.hdr, id));
		sample_close(&s);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha1),
		cmocka_unit_test(known),
		cmocka_unit_test(unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
