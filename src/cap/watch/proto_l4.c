/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP with its options, UDP, UDP-Lite, SCTP, DCCP, ESP. */
#include <netinet/in.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/line.h"
#include "cap/watch/proto.h"

static void show_tcp_flags(const struct weir_proto *c, const uint8_t *b)
{
	static const char *const words[] = {
		"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE",
	};
	uint16_t flags = weir_be16(b) & 0x1ff;
	const char *sep = " (";

	ADD(c->out, "0x");
	weir_buf_addx(c->out, flags, 3);
	for (unsigned int i = 0; i < WEIR_ARRAY_SIZE(words); i++) {
		if (flags & 1U << i) {
			weir_buf_adds(c->out, sep);
			weir_buf_adds(c->out, words[i]);
			sep = ", ";
		}
	}
	if (flags)
		weir_buf_addc(c->out, ')');
}

static void add_hex(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	if (!n)
		return;
	ADD(c->out, "0x");
	weir_proto_bytes(c, b, n);
}

static void add_sack(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	for (uint32_t i = 0; i + 8 <= n; i += 8) {
		if (i)
			ADD(c->out, ", ");
		weir_buf_addu(c->out, weir_be32(b + i));
		weir_buf_addc(c->out, '-');
		weir_buf_addu(c->out, weir_be32(b + i + 4));
	}
}

static void add_mptcp(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	weir_proto_named(c, b[0] >> 4, &weir_names_mptcp);
	weir_buf_addc(c->out, ' ');
	add_hex(c, b, n);
}

static void add_ao(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	ADD(c->out, "key ");
	weir_buf_addu(c->out, b[0]);
	ADD(c->out, ", next key ");
	weir_buf_addu(c->out, b[1]);
	ADD(c->out, ", MAC ");
	add_hex(c, b + 2, n - 2);
}

/* One option; @b and @n are its data behind kind and length. */
static void tcp_option(const struct weir_proto *c, uint8_t kind, const uint8_t *b, uint32_t n)
{
	const char *name = weir_names_find(&weir_names_tcp_option, kind);

	weir_proto_item(c, name ? name : "unknown option");
	if (!name) {
		weir_buf_addu(c->out, kind);
		weir_buf_addc(c->out, ' ');
	}
	if (kind == 2 && n == 2) {
		weir_buf_addu(c->out, weir_be16(b));
	} else if (kind == 3 && n == 1) {
		weir_buf_addu(c->out, b[0]);
		if (b[0] <= 14) {
			ADD(c->out, " (times ");
			weir_buf_addu(c->out, 1U << b[0]);
			weir_buf_addc(c->out, ')');
		}
	} else if (kind == 4 && n == 0) {
		ADD(c->out, "yes");
	} else if (kind == 5) {
		add_sack(c, b, n);
	} else if (kind == 8 && n == 8) {
		ADD(c->out, "value ");
		weir_buf_addu(c->out, weir_be32(b));
		ADD(c->out, ", echo reply ");
		weir_buf_addu(c->out, weir_be32(b + 4));
	} else if (kind == 28 && n == 2) {
		weir_buf_addu(c->out, weir_be16(b) & 0x7fff);
		weir_buf_adds(c->out, b[0] & 0x80 ? " minutes" : " seconds");
	} else if (kind == 29 && n >= 2) {
		add_ao(c, b, n);
	} else if (kind == 30 && n) {
		add_mptcp(c, b, n);
	} else if (kind == 34 && !n) {
		ADD(c->out, "cookie request");
	} else {
		add_hex(c, b, n);
	}
	weir_proto_end(c);
}

static void tcp_options(const struct weir_proto *c, uint32_t off, uint32_t n)
{
	const uint8_t *b = weir_packet_at(c->p, off, n);

	if (!b) {
		weir_proto_note(c, "cut: the options were not captured");
		return;
	}
	for (uint32_t i = 0; i < n;) {
		if (b[i] <= 1) {
			weir_proto_item(c, "option");
			weir_buf_adds(c->out, weir_names_find(&weir_names_tcp_option, b[i]));
			weir_proto_end(c);
			if (!b[i++])
				return;
			continue;
		}
		if (i + 2 > n || b[i + 1] < 2 || b[i + 1] > n - i) {
			weir_proto_note(c, "malformed option");
			return;
		}
		tcp_option(c, b[i], b + i + 2, b[i + 1] - 2U);
		i += b[i + 1];
	}
}

static void tcp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_FIELD(SRC_PORT, 0, 2),
		WEIR_FIELD(DST_PORT, 2, 2),
		WEIR_FIELD(SEQ, 4, 4),
		WEIR_NUM("acknowledgment number", 8, 4),
		{ .name = "header length", .off = 12, .bytes = 1, .shift = 4, .bits = 4,
		  .scale = 4, .unit = "bytes" },
		WEIR_BITS("reserved", 12, 1, 1, 3),
		WEIR_CALL("flags", 12, 2, show_tcp_flags),
		WEIR_FIELD(WINDOW, 14, 2),
		WEIR_CALL("checksum", 16, 2, weir_proto_l4_csum),
		WEIR_NUM("urgent pointer", 18, 2),
	};
	struct weir_proto c = weir_proto_layer(top, "TCP");
	uint32_t off = c.p->hdr.l4_off, hlen;
	const uint8_t *b = weir_packet_at(c.p, off, WEIR_TCP_HLEN);

	if (!WEIR_PROTO_ITEMS(&c, off, items))
		return;
	hlen = (b[12] >> 4) * 4U;
	if (hlen > WEIR_TCP_HLEN && c.p->hdr.payload_off)
		tcp_options(&c, off + WEIR_TCP_HLEN, hlen - WEIR_TCP_HLEN);
	weir_proto_payload(top, c.p->hdr.payload_off);
}

static void udp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_FIELD(SRC_PORT, 0, 2),
		WEIR_FIELD(DST_PORT, 2, 2),
		{ .name = "length", .off = 4, .bytes = 2, .unit = "bytes" },
		WEIR_CALL("checksum", 6, 2, weir_proto_l4_csum),
	};
	struct weir_proto c = weir_proto_layer(top, "UDP");

	if (WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		weir_proto_payload(top, c.p->hdr.payload_off);
}

static void udplite(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_FIELD(SRC_PORT, 0, 2),
		WEIR_FIELD(DST_PORT, 2, 2),
		{ .name = "checksum coverage", .off = 4, .bytes = 2, .unit = "bytes" },
		WEIR_CALL("checksum", 6, 2, weir_proto_l4_csum),
	};
	struct weir_proto c = weir_proto_layer(top, "UDP-Lite");

	if (WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		weir_proto_payload(top, c.p->hdr.payload_off);
}

static void dccp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_FIELD(SRC_PORT, 0, 2),
		WEIR_FIELD(DST_PORT, 2, 2),
		{ .name = "header length", .off = 4, .bytes = 1, .scale = 4, .unit = "bytes" },
		WEIR_BITS("CCVal", 5, 1, 4, 4),
		WEIR_BITS("checksum coverage", 5, 1, 0, 4),
		WEIR_CALL("checksum", 6, 2, weir_proto_l4_csum),
		{ .name = "type", .off = 8, .bytes = 1, .shift = 1, .bits = 4,
		  .names = &weir_names_dccp },
		WEIR_BIT("long sequence number", 8, 1, 0),
	};
	struct weir_proto c = weir_proto_layer(top, "DCCP");

	if (WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		weir_proto_payload(top, c.p->hdr.payload_off);
}

static void esp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_HEX("SPI", 0, 4),
		WEIR_NUM("sequence number", 4, 4),
	};
	struct weir_proto c = weir_proto_layer(top, "ESP");

	if (WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		weir_proto_payload(top, c.p->hdr.l4_off + 8U);
}

/* What the commonest chunks begin with, behind type, flags and length. */
static const struct weir_item sctp_data[] = {
	WEIR_NUM("TSN", 4, 4),
	WEIR_NUM("stream", 8, 2),
	WEIR_NUM("stream sequence number", 10, 2),
	WEIR_NUM("payload protocol", 12, 4),
};
static const struct weir_item sctp_init[] = {
	WEIR_HEX("initiate tag", 4, 4),
	WEIR_NUM("receiver window", 8, 4),
	WEIR_NUM("outbound streams", 12, 2),
	WEIR_NUM("inbound streams", 14, 2),
	WEIR_NUM("initial TSN", 16, 4),
};
static const struct weir_item sctp_sack[] = {
	WEIR_NUM("cumulative TSN", 4, 4),
	WEIR_NUM("receiver window", 8, 4),
	WEIR_NUM("gap blocks", 12, 2),
	WEIR_NUM("duplicate TSNs", 14, 2),
};
static const struct weir_item sctp_shutdown[] = {
	WEIR_NUM("cumulative TSN", 4, 4),
};
static const struct chunk_kind {
	uint8_t type, n, len;
	const struct weir_item *items;
} chunk_kinds[] = {
	{ 0, WEIR_ARRAY_SIZE(sctp_data), 16, sctp_data },
	{ 1, WEIR_ARRAY_SIZE(sctp_init), 20, sctp_init },
	{ 2, WEIR_ARRAY_SIZE(sctp_init), 20, sctp_init },
	{ 3, WEIR_ARRAY_SIZE(sctp_sack), 16, sctp_sack },
	{ 7, WEIR_ARRAY_SIZE(sctp_shutdown), 8, sctp_shutdown },
};

static void sctp_chunk(const struct weir_proto *top, uint32_t off, const uint8_t *b)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 0, 1, sctp_chunk),
		WEIR_HEX("flags", 1, 1),
		{ .name = "length", .off = 2, .bytes = 2, .unit = "bytes" },
	};
	struct weir_proto c = weir_proto_layer(top, "Chunk");

	WEIR_PROTO_ITEMS(&c, off, items);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(chunk_kinds); i++)
		if (chunk_kinds[i].type == b[0] && chunk_kinds[i].len <= weir_be16(b + 2))
			weir_proto_items(&c, off, chunk_kinds[i].items, chunk_kinds[i].n);
}

static void sctp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_FIELD(SRC_PORT, 0, 2),
		WEIR_FIELD(DST_PORT, 2, 2),
		WEIR_HEX("verification tag", 4, 4),
		WEIR_CALL("checksum", 8, 4, weir_proto_l4_csum),
	};
	struct weir_proto c = weir_proto_layer(top, "SCTP");
	uint32_t off = c.p->hdr.payload_off, end = weir_packet_l3_end(c.p);

	if (!WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items) || !off)
		return;
	for (unsigned int i = 0; i < WEIR_SCTP_CHUNKS_MAX && off + 4 <= end; i++) {
		const uint8_t *b = weir_packet_at(c.p, off, 4);

		if (!b) {
			weir_proto_note(&c, "cut: the rest of the chunks was not captured");
			return;
		}
		sctp_chunk(&c, off, b);
		if (weir_be16(b + 2) < 4) {
			weir_proto_note(&c, "malformed chunk");
			return;
		}
		off += (weir_be16(b + 2) + 3U) & ~3U;
	}
}

static void other(const struct weir_proto *c)
{
	const struct weir_pkt *h = &c->p->hdr;

	if ((h->proto == IPPROTO_IPIP || h->proto == IPPROTO_IPV6) &&
	    weir_proto_inner(c, h->l4_off, "Tunnelled packet"))
		return;
	weir_proto_payload(c, h->l4_off);
}

void weir_proto_l4(const struct weir_proto *c)
{
	static const struct {
		uint8_t proto;
		uint16_t needs; /* one of these WEIR_PKT_* flags */
		void (*show)(const struct weir_proto *c);
	} kinds[] = {
		{ IPPROTO_TCP, WEIR_PKT_IP4 | WEIR_PKT_IP6, tcp },
		{ IPPROTO_UDP, WEIR_PKT_IP4 | WEIR_PKT_IP6, udp },
		{ IPPROTO_UDPLITE, WEIR_PKT_IP4 | WEIR_PKT_IP6, udplite },
		{ IPPROTO_ICMP, WEIR_PKT_IP4, weir_proto_icmp },
		{ IPPROTO_ICMPV6, WEIR_PKT_IP6, weir_proto_icmp6 },
		{ IPPROTO_IGMP, WEIR_PKT_IP4, weir_proto_igmp },
		{ IPPROTO_SCTP, WEIR_PKT_IP4 | WEIR_PKT_IP6, sctp },
		{ IPPROTO_DCCP, WEIR_PKT_IP4 | WEIR_PKT_IP6, dccp },
		{ IPPROTO_ESP, WEIR_PKT_IP4 | WEIR_PKT_IP6, esp },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(kinds); i++) {
		if (kinds[i].proto == c->p->hdr.proto && c->p->hdr.flags & kinds[i].needs) {
			kinds[i].show(c);
			return;
		}
	}
	other(c);
}
