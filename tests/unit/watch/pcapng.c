/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cap/watch/pcapng.h"
#include "samples.h"

#include "capture.h"

static const struct weir_pcapng_iface ifaces[] = {
	{ .name = "eth0", .filter = "tcp port 443", .snaplen = 262144 },
	{ .name = "tun0", .snaplen = 96, .no_l2 = true },
};

/* Two interfaces; three packets with every option, one with none. */
static void build(struct weir_buf *b)
{
	static const struct weir_pcapng_stats stats = {
		.start = SAMPLE_TS, .end = SAMPLE_TS + 2000000000ULL,
		.received = 100, .accepted = 10, .dropped = 3, .delivered = 7,
	};
	struct sample_packet s;

	weir_pcapng_begin(b, ifaces, 2);
	sample_open(&s, sample_find("tcp_data"));
	s.p.ev.dir = WEIR_WATCH_IN;
	s.p.ev.verdict = WEIR_WATCH_DROP;
	s.p.ev.queue = 3;
	s.p.ev.flags |= WEIR_WATCH_QUEUE;
	s.p.rule = "filter/bad";
	s.p.comment = "a remark";
	weir_pcapng_packet(b, &s.p, 0, 5);
	s.p = (struct weir_packet){ .ev = s.p.ev, .data = s.p.data, .hdr = s.p.hdr, .iface = "e" };
	s.p.ev.dir = WEIR_WATCH_OUT;
	s.p.ev.verdict = WEIR_WATCH_TX;
	s.p.ev.gso_size = 1448;
	s.p.ev.flags = WEIR_WATCH_CSUM_UNDONE;
	s.p.ev.ts += 1;
	weir_pcapng_packet(b, &s.p, 0, 0);
	s.p.ev = (struct weir_watch_event){ .ts = SAMPLE_TS + 2, .len = 75, .caplen = 61 };
	weir_pcapng_packet(b, &s.p, 0, 0);
	sample_close(&s);
	sample_open(&s, sample_find("tun_udp"));
	weir_pcapng_packet(b, &s.p, 1, 1);
	sample_close(&s);
	weir_pcapng_stats(b, 0, &stats);
	weir_pcapng_stats(b, 1, &stats);
	assert_false(b->failed);
}

/* Block lengths at both ends agree, everything is aligned, options end. */
static void blocks_are_whole(void **state)
{
	struct weir_buf b = { 0 };
	unsigned int blocks = 0;

	(void)state;
	build(&b);
	for (size_t at = 0; at < b.len; blocks++) {
		uint32_t len, again, end;

		assert_int_equal(at % 4, 0);
		memcpy(&len, b.data + at + 4, 4);
		assert_true(len % 4 == 0 && len <= b.len - at);
		memcpy(&again, b.data + at + len - 4, 4);
		assert_int_equal(len, again);
		memcpy(&end, b.data + at + len - 8, 4);
		assert_int_equal(end, 0);
		at += len;
	}
	assert_int_equal(blocks, 1 + 2 + 4 + 2);
	weir_buf_free(&b);
}

static void long_texts_are_cut(void **state)
{
	struct weir_buf b = { 0 }, text = { 0 };
	struct sample_packet s;
	uint16_t code, len;
	size_t at;

	(void)state;
	while (text.len < 70000)
		weir_buf_adds(&text, "\xe2\x82\xac");
	sample_open(&s, sample_find("tun_udp"));
	s.p.comment = text.data;
	weir_pcapng_packet(&b, &s.p, 0, 0);
	at = 28 + (31 + 3) / 4 * 4;
	memcpy(&code, b.data + at, 2);
	memcpy(&len, b.data + at + 2, 2);
	assert_int_equal(code, 1);
	assert_int_equal(len % 3, 0);
	assert_true(len > 65500);
	sample_close(&s);
	weir_buf_free(&b);
	weir_buf_free(&text);
}

static void tshark_reads_it(void **state)
{
	struct weir_buf b = { 0 }, said = { 0 };
	char path[CAPTURE_PATH], command[1024];

	(void)state;
	if (!capture_has("tshark"))
		skip();
	build(&b);
	capture_write(&b, path);
	snprintf(command, sizeof(command),
		 "tshark -n -r %s -T fields -E separator=, -E aggregator=+ -E quote=n "
		 "-e frame.time_epoch -e frame.interface_name -e frame.packet_flags "
		 "-e frame.drop_count -e frame.interface_queue -e frame.verdict.ebpf_xdp "
		 "-e frame.cap_len -e frame.len -e frame.comment -e ip.src",
		 path);
	capture_ask(command, &said);
	unlink(path);
	assert_string_equal(said.data,
			    "1767323045.123456789,eth0,0x00000001,5,3,1,75,75,"
			    "a remark+rule filter/bad,10.0.0.1\n"
			    "1767323045.123456790,eth0,0x00000a02,,,3,75,75,,10.0.0.1\n"
			    "1767323045.123456791,eth0,,,,,61,75,,10.0.0.1\n"
			    "1767323045.123456789,tun0,,1,,,31,31,,10.0.0.1\n");
	weir_buf_free(&b);
	weir_buf_free(&said);
}

static void capinfos_reads_it(void **state)
{
	static const char *const expected[] = {
		"Number of packets:   4",
		"File encapsulation:  per-packet",
		"Capture application: weir " WEIR_VERSION,
		"Name = eth0",
		"Encapsulation = Ethernet",
		"Capture length = 262144",
		"Time precision = nanoseconds (9)",
		"Number of stat entries = 1",
		"Filter string = tcp port 443",
		"Name = tun0",
		"Encapsulation = Raw IP",
		"Capture length = 96",
	};
	struct weir_buf b = { 0 }, said = { 0 };
	char path[CAPTURE_PATH], command[256];

	(void)state;
	if (!capture_has("capinfos"))
		skip();
	build(&b);
	capture_write(&b, path);
	snprintf(command, sizeof(command), "capinfos -M %s", path);
	capture_ask(command, &said);
	unlink(path);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (!strstr(said.data, expected[i]))
			fail_msg("capinfos does not say \"%s\":\n%s", expected[i], said.data);
	weir_buf_free(&b);
	weir_buf_free(&said);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_whole),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(tshark_reads_it),
		cmocka_unit_test(capinfos_reads_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
