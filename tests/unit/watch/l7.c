/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/l7.h"

#include "../net/hello_maker.h"
#include "l7_frames.h"

#define NAME "www.example.com"
#define TEXT "TLS SNI " NAME " ALPN h2,http/1.1"
#define ISN 4294967000U /* so that the hello runs over the wrap */

#define SYN 0x02
#define SYN_ACK 0x12
#define DATA 0x18
#define RST 0x04

static uint8_t message[HELLO_BYTES], wire[HELLO_BYTES];

struct scene {
	struct weir_l7 *l7;
	struct weir_l7_seen seen;
	struct weir_buf told; /* what the packets told, a line each */
	void *data; /* of the last packet */
};

static int set_up(void **state)
{
	struct scene *s = calloc(1, sizeof(*s));

	*state = s;
	return weir_l7_new(&s->l7, true, 11);
}

static int tear_down(void **state)
{
	struct scene *s = *state;

	weir_l7_free(s->l7);
	weir_l7_seen_free(&s->seen);
	weir_buf_free(&s->told);
	free(s->data);
	free(s);
	return 0;
}

static void packet(struct scene *s, const struct frame *f, bool udp, const void *data, size_t n)
{
	struct weir_packet p;

	frame_make(f, udp, data, (uint32_t)n, &p);
	weir_l7_packet(s->l7, &p, NULL, &s->seen);
	if (weir_l7_text(&s->seen, &s->told))
		weir_buf_addc(&s->told, '\n');
	free(s->data); /* what was told of a packet lasts as long as it does */
	s->data = (void *)p.data;
}

static void segment(struct scene *s, struct frame *f, uint8_t flags, uint32_t off, const void *data,
		    size_t n)
{
	f->tcp_flags = flags;
	f->seq = flags & SYN ? ISN : ISN + 1 + off;
	packet(s, f, false, data, n);
}

static uint64_t lost(struct scene *s, enum weir_stream_lost why)
{
	struct weir_l7_account a;
	uint64_t sum = 0;

	weir_l7_account(s->l7, true, &a);
	for (int i = 0; i < WEIR_STREAM_LOST_MAX; i++)
		sum += a.lost[i];
	return why == WEIR_STREAM_LOST_MAX ? sum : sum == a.lost[why] ? sum : UINT64_MAX;
}

#define NOTHING_LOST(s) assert_int_equal(lost(s, WEIR_STREAM_LOST_MAX), 0)

/* All that was told so far is @want, and it begins anew. */
static void assert_told(struct scene *s, const char *want)
{
	assert_string_equal(s->told.data ? s->told.data : "", want);
	weir_buf_reset(&s->told);
}

/* As browsers send them: GREASE, a key share of X25519MLKEM768. Returns its length in wire. */
static size_t big_hello(bool sni, size_t record)
{
	static const uint8_t alpn[] = "\2\x5a\x5a\2h2\10http/1.1";
	static const uint16_t versions[] = { 0x7a7a, 0x0304, 0x0303 };
	const struct hello_parts p = {
		.sni = sni,
		.name = NAME,
		.name_len = sizeof(NAME) - 1,
		.alpn = alpn,
		.alpn_len = sizeof(alpn) - 1,
		.versions = versions,
		.n_versions = 3,
		.session_id_len = 32,
		.key_share_len = 1216,
		.pad = 400,
		.grease = true,
	};

	return hello_records(message, hello_message(&p, message), 0, record, wire);
}

static void hello_in_two(void **state)
{
	struct scene *s = *state;
	struct frame f = frame_of(1000, 443);
	size_t n = big_hello(true, HELLO_RECORD_MAX);

	assert_true(n > 1460);
	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, wire, 1400);
	assert_told(s, "");
	segment(s, &f, DATA, 1400, wire + 1400, n - 1400);
	assert_told(s, TEXT "\n");
	/* What comes after it, or again, tells nothing. */
	segment(s, &f, DATA, 0, wire, 1400);
	segment(s, &f, DATA, 0, wire, n);
	segment(s, &f, DATA, (uint32_t)n, "\x17\3\3\0\1x", 6);
	assert_told(s, "");
	NOTHING_LOST(s);
}

/* In single bytes, in records of one byte, and cut at each place, also in the name. */
static void cut_anywhere(void **state)
{
	struct scene *s = *state;
	uint16_t port = 2000;
	size_t n;

	for (int record = 0; record < 2; record++) {
		struct frame f = frame_of(port++, 443);

		n = big_hello(true, record ? 1 : HELLO_RECORD_MAX);
		segment(s, &f, SYN, 0, NULL, 0);
		for (size_t i = 0; i < n; i++)
			segment(s, &f, DATA, (uint32_t)i, wire + i, 1);
		assert_told(s, TEXT "\n");
	}
	n = big_hello(true, 600); /* several records */
	for (size_t cut = 1; cut < n; cut++) {
		struct frame f = frame_of(port++, 443);

		segment(s, &f, SYN, 0, NULL, 0);
		segment(s, &f, DATA, 0, wire, cut);
		segment(s, &f, DATA, (uint32_t)cut, wire + cut, n - cut);
		assert_told(s, TEXT "\n");
	}
	NOTHING_LOST(s);
}

static void out_of_order(void **state)
{
	struct scene *s = *state;
	const size_t n = big_hello(true, HELLO_RECORD_MAX);
	uint16_t port = 3000;

	for (size_t cut = 1; cut < n; cut += 7) {
		struct frame f = frame_of(port++, 443);

		/* The second first, the first twice, overlapping it. */
		segment(s, &f, SYN, 0, NULL, 0);
		segment(s, &f, SYN, 0, NULL, 0);
		segment(s, &f, DATA, (uint32_t)cut, wire + cut, n - cut);
		segment(s, &f, DATA, (uint32_t)cut, wire + cut, n - cut);
		assert_told(s, "");
		segment(s, &f, DATA, 0, wire, cut + (n - cut) / 2);
		assert_told(s, TEXT "\n");
		segment(s, &f, DATA, 0, wire, n);
		assert_told(s, "");
	}
	NOTHING_LOST(s);
}

static void without_its_beginning(void **state)
{
	struct scene *s = *state;
	struct frame f = frame_of(1000, 443);
	const size_t n = big_hello(true, HELLO_RECORD_MAX);

	segment(s, &f, DATA, 0, wire, 1000);
	segment(s, &f, DATA, 1000, wire + 1000, n - 1000);
	assert_told(s, TEXT "\n");
	/* The middle of something is taken for nothing. */
	f.client_port++;
	segment(s, &f, DATA, 500, wire + 500, n - 500);
	segment(s, &f, DATA, 0, "\x16\3\1\0\x05\2abcd", 10); /* a ServerHello */
	assert_told(s, "");
	NOTHING_LOST(s);
}

static void names_or_none(void **state)
{
	struct scene *s = *state;
	struct frame f = frame_of(1000, 8443);
	const size_t n = big_hello(false, HELLO_RECORD_MAX);

	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, wire, n);
	assert_told(s, "TLS no SNI ALPN h2,http/1.1\n");
	/* The answering side's first bytes are not looked at. */
	f.client_port++;
	f.answers = true;
	segment(s, &f, SYN_ACK, 0, NULL, 0);
	segment(s, &f, DATA, 0, "\x16\3\3\0\x7a\2", 6);
	assert_told(s, "");
	/* Nor is what is neither TLS nor HTTP. */
	f.client_port++;
	f.answers = false;
	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, "SSH-2.0-OpenSSH_9.2\r\n", 21);
	segment(s, &f, DATA, 21, "\0\0\6\0", 4);
	assert_told(s, "");
	NOTHING_LOST(s);
}

static void given_up(void **state)
{
	static const struct {
		uint8_t bytes[12];
		size_t n;
	} bad[] = {
		{ "\x16\3\1\0\4\1\0\0\0", 9 }, /* a hello without a body */
		{ "\x16\3\1\0\0", 5 },	       /* an empty record */
		{ "\x16\3\1\xff\xff", 5 },     /* one that is too long */
	};
	struct scene *s = *state;
	struct frame f = frame_of(1000, 443);
	size_t n;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bad); i++, f.client_port++) {
		segment(s, &f, SYN, 0, NULL, 0);
		segment(s, &f, DATA, 0, bad[i].bytes, bad[i].n);
		assert_int_equal(lost(s, WEIR_STREAM_LOST_MALFORMED), i + 1);
	}
	assert_told(s, "");
	tear_down(state);
	assert_int_equal(set_up(state), 0);
	s = *state;
	n = big_hello(true, HELLO_RECORD_MAX);
	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, wire, 1000);
	segment(s, &f, RST, 1000, NULL, 0);
	assert_int_equal(lost(s, WEIR_STREAM_LOST_CLOSED), 1);
	segment(s, &f, DATA, 1000, wire + 1000, n - 1000);
	assert_told(s, "");
	tear_down(state);
	assert_int_equal(set_up(state), 0);
	s = *state;
	f.client_port++;
	f.caplen = 100; /* a capture of short packets */
	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, wire, 1400);
	assert_int_equal(lost(s, WEIR_STREAM_LOST_CUT), 1);
	tear_down(state);
	assert_int_equal(set_up(state), 0);
	s = *state;
	f.caplen = UINT32_MAX;
	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, wire, 1400); /* and no more */
	assert_int_equal(lost(s, WEIR_STREAM_LOST_IDLE), 1);
}

static void requests(void **state)
{
#define HEAD "GET /a?b HTTP/1.1\r\nHost: Example.com\r\n\r\n"
	static const char post[] = "POST /form HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\nbody";
	static const char two_hosts[] = "GET /\x7f HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
	static const char twice[] = "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
	struct scene *s = *state;
	struct frame f = frame_of(1000, 80);
	uint32_t at = 0;

	segment(s, &f, SYN, 0, NULL, 0);
	for (; at < sizeof(HEAD) - 1; at++)
		segment(s, &f, DATA, at, &HEAD[at], 1);
	assert_told(s, "HTTP GET /a?b example.com\n");
	/* The next one on the same connection; what was sent again is not one. */
	segment(s, &f, DATA, 0, HEAD, sizeof(HEAD) - 1);
	segment(s, &f, DATA, at, post, sizeof(post) - 1);
	assert_told(s, "HTTP POST /form 2001:db8::1\n");
	at += sizeof(post) - 1;
	segment(s, &f, DATA, at, "more of the body", 16);
	assert_told(s, "");
	NOTHING_LOST(s);
	/* The line is told, the host is not believed. */
	f.client_port++;
	segment(s, &f, DATA, 0, twice, sizeof(twice) - 1);
	assert_told(s, "HTTP GET /x\n");
	assert_int_equal(lost(s, WEIR_STREAM_LOST_MALFORMED), 1);
	f.client_port++;
	segment(s, &f, DATA, 0, two_hosts, sizeof(two_hosts) - 1);
	assert_told(s, "");
	assert_int_equal(lost(s, WEIR_STREAM_LOST_MALFORMED), 2);
#undef HEAD
}

/* ---- DNS */

#define QUERY(id) id "\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"
#define ANSWER(id)                                                                    \
	id "\x81\x80\0\1\0\2\0\0\0\0\7example\3com\0\0\1\0\1\xc0\x0c\0\5\0\1\0\0\0\5" \
	   "\0\6\3www\xc0\x0c\3www\xc0\x0c\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1"
#define QUERY_LEN 29
#define ANSWER_LEN (29 + 18 + 20)

static const char *host_of(struct scene *s, uint8_t last, uint64_t later)
{
	struct frame f = frame_of(5, 6);

	memcpy(f.server, "\xc0\0\2", 3);
	f.server[3] = last;
	f.later = later;
	packet(s, &f, true, "x", 1);
	return s->seen.dst_name;
}

static void dns_over_udp(void **state)
{
	struct scene *s = *state;
	struct frame f = frame_of(1000, 53);

	packet(s, &f, true, QUERY("\0\7"), QUERY_LEN);
	assert_told(s, "DNS 7+ A? example.com.\n");
	assert_string_equal(host_of(s, 1, 0), "");
	f.answers = true;
	packet(s, &f, true, ANSWER("\0\7"), ANSWER_LEN);
	assert_told(s, "DNS 7 A? example.com. 2/0/0 CNAME www.example.com., A 192.0.2.1\n");
	/* By what was asked for, beyond its five seconds, but not for ever. */
	assert_string_equal(host_of(s, 1, 0), "example.com");
	assert_string_equal(host_of(s, 1, 599 * WEIR_NSEC_PER_SEC), "example.com");
	assert_string_equal(host_of(s, 1, 601 * WEIR_NSEC_PER_SEC), "");
	assert_string_equal(host_of(s, 2, 0), "");
	NOTHING_LOST(s);
	/* Cut by the capture: what is there. */
	f.caplen = 47;
	packet(s, &f, true, ANSWER("\0\7"), ANSWER_LEN);
	assert_told(s, "DNS 7 A? example.com. 2/0/0 CNAME www.example.com. [cut]\n");
	assert_int_equal(lost(s, WEIR_STREAM_LOST_CUT), 1);
	f.caplen = UINT32_MAX;
	packet(s, &f, true, ANSWER("\0\7"), ANSWER_LEN - 1);
	assert_told(s, "DNS 7 A? example.com. 2/0/0 CNAME www.example.com. [malformed]\n");
	packet(s, &f, true, "\0\7\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", 18); /* round in circles */
	packet(s, &f, true, "x", 1);
	assert_told(s, "");
}

/* What leads nowhere names nothing: another name's address, a circle, an error. */
static void false_answers(void **state)
{
	static const char other[] = "\0\7\x81\x80\0\1\0\1\0\0\0\0\1a\0\0\1\0\1"
				    "\1b\0\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1";
	static const char circle[] = "\0\7\x81\x80\0\1\0\2\0\0\0\0\1a\0\0\1\0\1"
				     "\1a\0\0\5\0\1\0\0\0\5\0\3\1b\0"
				     "\1b\0\0\5\0\1\0\0\0\5\0\3\1a\0";
	static const char failed[] = "\0\7\x81\x83\0\1\0\1\0\0\0\0\1a\0\0\1\0\1"
				     "\1a\0\0\1\0\1\0\0\0\5\0\4\xc0\0\2\1";
	static const char mdns[] = "\0\0\x84\0\0\0\0\1\0\0\0\0\3hAl\5local\0\0\1\x80\1\0\0\0\5"
				   "\0\4\xc0\0\2\1";
	struct scene *s = *state;
	struct frame f = frame_of(1000, 53);

	f.answers = true;
	packet(s, &f, true, other, sizeof(other) - 1);
	packet(s, &f, true, circle, sizeof(circle) - 1);
	packet(s, &f, true, failed, sizeof(failed) - 1);
	assert_string_equal(host_of(s, 1, 0), "");
	f.client_port = f.server_port = 5353;
	packet(s, &f, true, mdns, sizeof(mdns) - 1);
	assert_string_equal(host_of(s, 1, 0), "hal.local");
}

static void dns_over_tcp(void **state)
{
	static const char two[] = "\0\x1d" QUERY("\0\1") "\0\x1d" QUERY("\0\2");
	struct scene *s = *state;
	struct frame f = frame_of(1000, 53);
	const size_t n = sizeof(two) - 1;

	segment(s, &f, SYN, 0, NULL, 0);
	segment(s, &f, DATA, 0, two, n);
	assert_told(s, "DNS 1+ A? example.com.; 2+ A? example.com.\n");
	for (size_t i = 0; i < n; i++)
		segment(s, &f, DATA, (uint32_t)(n + i), two + i, 1);
	assert_told(s, "DNS 1+ A? example.com.\nDNS 2+ A? example.com.\n");
	f.answers = true;
	segment(s, &f, SYN_ACK, 0, NULL, 0);
	segment(s, &f, DATA, 2, ANSWER("\0\1"), ANSWER_LEN);
	segment(s, &f, DATA, 0, "\0\x43", 2);
	assert_told(s, "DNS 1 A? example.com. 2/0/0 CNAME www.example.com., A 192.0.2.1\n");
	assert_string_equal(host_of(s, 1, 0), "example.com");
	/* Without its beginning: where a segment is a message. */
	f.client_port++;
	segment(s, &f, DATA, 99, "\0\x43" ANSWER("\0\1"), 2 + ANSWER_LEN);
	assert_told(s, "DNS 1 A? example.com. 2/0/0 CNAME www.example.com., A 192.0.2.1\n");
	NOTHING_LOST(s);
	f.client_port++;
	segment(s, &f, SYN_ACK, 0, NULL, 0);
	segment(s, &f, DATA, 0, "\0\3abc", 5);
	assert_told(s, "");
	assert_int_equal(lost(s, WEIR_STREAM_LOST_MALFORMED), 1);
}

static void as_json(void **state)
{
	struct scene *s = *state;
	struct frame f = frame_of(1000, 53);
	weir_autobuf struct weir_buf out = { 0 };
	size_t n;

	f.answers = true;
	packet(s, &f, true, ANSWER("\0\7"), ANSWER_LEN);
	weir_l7_json(&s->seen, &out);
	assert_string_equal(
		out.data,
		",\"dns\":{\"id\":7,\"response\":true,\"rcode\":\"NOERROR\",\"question\":\"example.com\","
		"\"type\":\"A\",\"answers\":[{\"name\":\"example.com\",\"type\":\"CNAME\",\"ttl\":5,"
		"\"data\":\"www.example.com\"},{\"name\":\"www.example.com\",\"type\":\"A\",\"ttl\":5,"
		"\"data\":\"192.0.2.1\"}]}");
	weir_buf_reset(&out);
	f = frame_of(1001, 443);
	memcpy(f.server, "\xc0\0\2\1", 4);
	n = big_hello(true, HELLO_RECORD_MAX);
	segment(s, &f, DATA, 0, wire, n);
	weir_l7_json(&s->seen, &out);
	assert_string_equal(out.data, ",\"dst_name\":\"example.com\",\"sni\":\"" NAME
				      "\",\"alpn\":[\"h2\",\"http/1.1\"]");
	weir_buf_reset(&out);
	f = frame_of(1002, 80);
	segment(s, &f, DATA, 0, "GET /\xff HTTP/1.0\r\n\r\n", 20);
	weir_l7_json(&s->seen, &out);
	assert_string_equal(out.data, ",\"http\":{\"method\":\"GET\",\"path\":\"/\xef\xbf\xbd\"}");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(hello_in_two),  TEST(cut_anywhere),
		TEST(out_of_order),  TEST(without_its_beginning),
		TEST(names_or_none), TEST(given_up),
		TEST(requests),	     TEST(dns_over_udp),
		TEST(false_answers), TEST(dns_over_tcp),
		TEST(as_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
