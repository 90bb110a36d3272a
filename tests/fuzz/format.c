/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet through the parser into every output: whatever the bytes, text is
 * printable ASCII that ends in a newline, and pcapng blocks are whole. Input:
 * the switches below, then the packet's bytes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/csum.h"
#include "cap/watch/format.h"
#include "cap/watch/pcapng.h"

struct switches {
	uint8_t format, time, dump;
	uint8_t options; /* see fill_formatter() */
	uint8_t flags;	 /* WEIR_WATCH_* */
	uint8_t dir, verdict;
	uint8_t cut; /* bytes of the frame that were not captured */
	uint16_t gso_size;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

static void fill_formatter(struct weir_formatter *f, const struct switches *s)
{
	*f = (struct weir_formatter){
		.format = s->format % (WEIR_FORMAT_JSON + 1),
		.time = s->time % (WEIR_TIME_FIRST + 1),
		.dump = s->dump % (WEIR_DUMP_ASCII_L2 + 1),
		.numeric = s->options & 1,
		.quiet = s->options & 2,
		.link = s->options & 4,
		.show_iface = s->options & 8,
	};
}

static void check_text(const struct weir_packet *p, const struct switches *s)
{
	struct weir_formatter f;
	struct weir_buf out = { 0 };

	fill_formatter(&f, s);
	weir_format_packet(&f, p, &out);
	require(!out.failed && out.len && out.data[out.len - 1] == '\n', "a whole line");
	for (size_t i = 0; i < out.len; i++) {
		char c = out.data[i];

		require(c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7f), "printable");
		require(f.format != WEIR_FORMAT_JSON || c != '\n' || i == out.len - 1,
			"JSON on one line");
	}
	weir_buf_free(&out);
}

static void check_csum(const struct weir_packet *p)
{
	struct weir_csum_result r;

	weir_packet_csum_explain(p, &r);
	require(r.verdict != WEIR_CSUM_OK && r.verdict != WEIR_CSUM_BAD ? 1 :
		p->ev.flags & WEIR_WATCH_CSUM_OK || r.have >= r.need,
		"a verdict only over what is there");
	require(!r.off || r.off + r.width <= p->ev.caplen, "the field is inside");
	weir_packet_ip_csum_explain(p, &r);
	require(!r.off || r.off + r.width <= p->ev.caplen, "the field is inside");
}

static void check_pcapng(const struct weir_packet *p)
{
	struct weir_buf out = { 0 };
	uint32_t len;

	weir_pcapng_packet(&out, p, 0, p->ev.gso_size);
	require(!out.failed && out.len % 4 == 0, "an aligned block");
	memcpy(&len, out.data + out.len - 4, 4);
	require(len == out.len, "the length at the end");
	memcpy(&len, out.data + 4, 4);
	require(len == out.len, "the length at the beginning");
	weir_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_packet p = { .iface = "eth0", .rule = "filter/r", .wire_packets = 1 };
	struct switches s;
	uint8_t *bytes;

	if (size < sizeof(s))
		return 0;
	memcpy(&s, data, sizeof(s));
	size -= sizeof(s);
	p.ev.len = (uint32_t)size;
	p.ev.caplen = (uint32_t)(size - (s.cut < size ? s.cut : size));
	p.ev.flags = s.flags & 0x1e;
	p.ev.dir = s.dir;
	p.ev.verdict = s.verdict;
	p.ev.gso_size = s.gso_size;
	p.ev.ts = 1767323045123456789ULL;
	/* To its very length, so that reading behind it is found. */
	bytes = malloc(p.ev.caplen ? p.ev.caplen : 1);
	memcpy(bytes, data + sizeof(s), p.ev.caplen);
	p.data = bytes;
	weir_parse(&p.hdr, bytes, bytes + p.ev.caplen,
		   p.ev.flags & WEIR_WATCH_NO_L2 ? WEIR_L2_NONE : WEIR_L2_ETHER, 0, p.ev.len);
	check_csum(&p);
	check_text(&p, &s);
	check_pcapng(&p);
	free(bytes);
	return 0;
}
