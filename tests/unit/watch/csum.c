/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>

#include "cap/watch/csum.h"
#include "samples.h"

static enum weir_csum verdict(const char *name)
{
	struct sample_packet s;
	enum weir_csum v;

	sample_open(&s, sample_find(name));
	v = weir_packet_csum(&s.p);
	sample_close(&s);
	return v;
}

static void every_sample(void **state)
{
	static const struct {
		const char *name;
		enum weir_csum verdict;
	} others[] = {
		{ "tcp_bad", WEIR_CSUM_BAD },
		{ "tcp_undone", WEIR_CSUM_UNDONE },
		{ "udp6_undone", WEIR_CSUM_UNDONE },
		{ "sctp_undone", WEIR_CSUM_UNDONE },
		{ "udp_no_sum", WEIR_CSUM_NONE },
		{ "udp_bad_length", WEIR_CSUM_UNKNOWN },
		{ "frag_first", WEIR_CSUM_UNKNOWN },
		{ "frag_last", WEIR_CSUM_UNKNOWN },
		{ "frag6_first", WEIR_CSUM_UNKNOWN },
		{ "frag6_middle", WEIR_CSUM_UNKNOWN },
		{ "arp_request", WEIR_CSUM_NONE },
		{ "arp_reply", WEIR_CSUM_NONE },
		{ "esp", WEIR_CSUM_NONE },
		{ "ipip", WEIR_CSUM_NONE },
		{ "proto_253", WEIR_CSUM_NONE },
		{ "bad_ihl", WEIR_CSUM_NONE },
		{ "lldp", WEIR_CSUM_NONE },
		{ "stp", WEIR_CSUM_NONE },
	};

	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		enum weir_csum expected = WEIR_CSUM_OK;

		for (size_t k = 0; k < sizeof(others) / sizeof(others[0]); k++)
			if (!strcmp(others[k].name, samples[i].name))
				expected = others[k].verdict;
		if (verdict(samples[i].name) != expected)
			fail_msg("%s: %d, not %d", samples[i].name, verdict(samples[i].name),
				 expected);
	}
}

/* Any bit that the checksum covers makes it bad, wherever it is. */
static void every_bit_counts(void **state)
{
	static const char *const names[] = { "tcp_data", "udp6", "icmp_echo", "sctp_data",
					     "ip6_routing", "ah6", "udplite" };

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint8_t bytes[SAMPLE_MAX];
		uint32_t n = sample_bytes(sample_find(names[i]), bytes);
		struct sample_packet s;
		struct weir_csum_result r;

		sample_cut(&s, bytes, n, n, true);
		weir_packet_csum_explain(&s.p, &r);
		for (uint32_t bit = 0; bit < r.need * 8; bit++) {
			uint32_t at = s.p.hdr.l4_off + bit / 8;

			/* The lengths of UDP-Lite and UDP decide what is covered. */
			if (s.p.hdr.proto != IPPROTO_TCP && (bit / 8 == 4 || bit / 8 == 5))
				continue;
			s.data[at] ^= (uint8_t)(1U << bit % 8);
			if (weir_packet_csum(&s.p) != WEIR_CSUM_BAD)
				fail_msg("%s: bit %u", names[i], bit);
			s.data[at] ^= (uint8_t)(1U << bit % 8);
		}
		sample_close(&s);
	}
}

static void explained(void **state)
{
	struct weir_csum_result r;
	uint8_t bytes[SAMPLE_MAX];
	uint32_t n = sample_bytes(sample_find("tcp_data"), bytes);
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("tcp_bad"));
	weir_packet_csum_explain(&s.p, &r);
	assert_int_equal(r.found, 0x1234);
	assert_int_equal(r.off, 50);
	s.data[r.off] = (uint8_t)(r.expected >> 8);
	s.data[r.off + 1] = (uint8_t)r.expected;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_OK);
	sample_close(&s);

	sample_cut(&s, bytes, n, 70, true);
	weir_packet_csum_explain(&s.p, &r);
	assert_int_equal(r.verdict, WEIR_CSUM_UNKNOWN);
	assert_int_equal(r.have, 36);
	assert_int_equal(r.need, 41);
	s.p.ev.flags |= WEIR_WATCH_CSUM_OK;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_OK);
	sample_close(&s);
}

/* What the capture says about the device; a sum made here counts for more. */
static void device(void **state)
{
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("tcp_bad"));
	s.p.ev.flags |= WEIR_WATCH_CSUM_OK;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_BAD);
	s.p.ev.flags = WEIR_WATCH_CSUM_UNDONE;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_UNDONE);
	s.p.ev.flags = 0;
	s.p.ev.gso_size = 100;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_UNDONE);
	sample_close(&s);
}

static void udp6_without_checksum(void **state)
{
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("udp6"));
	s.data[60] = s.data[61] = 0;
	assert_int_equal(weir_packet_csum(&s.p), WEIR_CSUM_BAD);
	sample_close(&s);
}

static void ip_header(void **state)
{
	struct sample_packet s;

	(void)state;
	sample_open(&s, sample_find("bad_ip_sum"));
	assert_int_equal(weir_packet_ip_csum(&s.p), WEIR_CSUM_BAD);
	sample_close(&s);
	sample_open(&s, sample_find("ip_options"));
	assert_int_equal(weir_packet_ip_csum(&s.p), WEIR_CSUM_OK);
	s.p.ev.caplen = 40;
	assert_int_equal(weir_packet_ip_csum(&s.p), WEIR_CSUM_UNKNOWN);
	sample_close(&s);
	sample_open(&s, sample_find("udp6"));
	assert_int_equal(weir_packet_ip_csum(&s.p), WEIR_CSUM_NONE);
	sample_close(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_sample),	cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(explained),	cmocka_unit_test(device),
		cmocka_unit_test(udp6_without_checksum), cmocka_unit_test(ip_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
