/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv4 with its options, IPv6 with its extension headers. */
#include <netinet/in.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/proto.h"

#define ROUTING_ADDRS_MAX 127
#define HOME_ADDRESS 0xc9
#define JUMBO_PAYLOAD 0xc2

static void show_tos(const struct weir_proto *c, const uint8_t *b)
{
	/* In IPv6 the eight bits straddle the first two bytes. */
	uint8_t tos = c->p->hdr.flags & WEIR_PKT_IP4 ? b[0] : (uint8_t)(weir_be16(b) >> 4);
	const char *dscp = weir_names_find(&weir_names_dscp, tos >> 2);

	ADD(c->out, "0x");
	weir_buf_addx(c->out, tos, 2);
	ADD(c->out, " (DSCP ");
	if (dscp)
		weir_buf_adds(c->out, dscp);
	else
		weir_buf_addu(c->out, tos >> 2);
	ADD(c->out, ", ");
	weir_buf_adds(c->out, weir_names_find(&weir_names_ecn, tos & 3));
	weir_buf_addc(c->out, ')');
}

static void show_ip_flags(const struct weir_proto *c, const uint8_t *b)
{
	static const char *const words[] = { "more fragments", "don't fragment", "reserved" };
	const char *sep = " (";

	ADD(c->out, "0x");
	weir_buf_addx(c->out, b[0] >> 5, 1);
	for (unsigned int i = WEIR_ARRAY_SIZE(words); i-- > 0;) {
		if (b[0] >> 5 & 1U << i) {
			weir_buf_adds(c->out, sep);
			weir_buf_adds(c->out, words[i]);
			sep = ", ";
		}
	}
	if (b[0] >> 5)
		weir_buf_addc(c->out, ')');
}

static void show_ip_csum(const struct weir_proto *c, const uint8_t *b)
{
	struct weir_csum_result r;

	weir_packet_ip_csum_explain(c->p, &r);
	r.found = weir_be16(b);
	weir_proto_csum(c, &r);
}

/* Addresses of a route; @ptr counts from 1 at the option's first byte and
 * points at the next one to be used. */
static void add_route(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	for (uint32_t i = 3; i + 4 <= n; i += 4) {
		if (i > 3)
			ADD(c->out, ", ");
		if (b[2] == i + 1)
			ADD(c->out, "> ");
		weir_format_ip4(c->out, b + i);
	}
	ADD(c->out, " (pointer ");
	weir_buf_addu(c->out, b[2]);
	weir_buf_addc(c->out, ')');
}

static void add_timestamps(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	bool addrs = (b[3] & 15) == 1 || (b[3] & 15) == 3;
	uint32_t step = addrs ? 8 : 4;

	for (uint32_t i = 4; i + step <= n; i += step) {
		if (i > 4)
			ADD(c->out, ", ");
		if (addrs) {
			weir_format_ip4(c->out, b + i);
			weir_buf_addc(c->out, '@');
		}
		weir_buf_addu(c->out, weir_be32(b + i + step - 4));
	}
	ADD(c->out, " (pointer ");
	weir_buf_addu(c->out, b[2]);
	ADD(c->out, ", overflow ");
	weir_buf_addu(c->out, b[3] >> 4);
	ADD(c->out, ", flag ");
	weir_buf_addu(c->out, b[3] & 15);
	weir_buf_addc(c->out, ')');
}

/* One option of @n >= 2 bytes, kind and length included. */
static void ip_option(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	const char *name = weir_names_find(&weir_names_ip_option, b[0]);

	weir_proto_item(c, name ? name : "unknown option");
	if (!name) {
		weir_buf_addu(c->out, b[0]);
		if (n > 2)
			weir_buf_addc(c->out, ' ');
	}
	if ((b[0] == 7 || b[0] == 131 || b[0] == 137) && n >= 3) {
		add_route(c, b, n);
	} else if (b[0] == 68 && n >= 4) {
		add_timestamps(c, b, n);
	} else if ((b[0] == 148 || b[0] == 136) && n == 4) {
		weir_buf_addu(c->out, weir_be16(b + 2));
	} else if (n > 2) {
		ADD(c->out, "0x");
		weir_proto_bytes(c, b + 2, n - 2);
	}
	weir_proto_end(c);
}

static void option_word(const struct weir_proto *c, const struct weir_names *names,
			uint8_t kind)
{
	weir_proto_item(c, "option");
	weir_buf_adds(c->out, weir_names_find(names, kind));
	weir_proto_end(c);
}

static void ip_options(const struct weir_proto *c, uint32_t off, uint32_t n)
{
	const uint8_t *b = weir_packet_at(c->p, off, n);

	if (!b) {
		weir_proto_note(c, "cut: the options were not captured");
		return;
	}
	for (uint32_t i = 0; i < n;) {
		if (b[i] <= 1) {
			option_word(c, &weir_names_ip_option, b[i]);
			if (!b[i++])
				return;
			continue;
		}
		if (i + 2 > n || b[i + 1] < 2 || b[i + 1] > n - i) {
			weir_proto_note(c, "malformed option");
			return;
		}
		ip_option(c, b + i, b[i + 1]);
		i += b[i + 1];
	}
}

static bool ip4(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_BITS("version", 0, 1, 4, 4),
		{ .name = "header length", .bytes = 1, .bits = 4, .scale = 4, .unit = "bytes" },
		WEIR_CALL("type of service", 1, 1, show_tos),
		{ .name = "total length", .off = 2, .bytes = 2, .unit = "bytes" },
		WEIR_FIELD(IP_ID, 4, 2),
		WEIR_CALL("flags", 6, 1, show_ip_flags),
		{ .name = "fragment offset", .off = 6, .bytes = 2, .bits = 13, .scale = 8,
		  .unit = "bytes" },
		WEIR_FIELD(TTL, 8, 1),
		WEIR_NAMED("protocol", 9, 1, proto),
		WEIR_CALL("header checksum", 10, 2, show_ip_csum),
		WEIR_FIELD(SRC_IP, 12, 4),
		WEIR_FIELD(DST_IP, 16, 4),
	};
	struct weir_proto c = weir_proto_layer(top, "IPv4");
	const uint8_t *b = weir_packet_at(c.p, c.p->hdr.l3_off, WEIR_IP4_HLEN);
	uint32_t hlen;

	if (!b || !WEIR_PROTO_ITEMS(&c, c.p->hdr.l3_off, items))
		return false;
	hlen = (b[0] & 15) * 4U;
	if (hlen > WEIR_IP4_HLEN)
		ip_options(&c, c.p->hdr.l3_off + WEIR_IP4_HLEN, hlen - WEIR_IP4_HLEN);
	return true;
}

static bool ip6(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_BITS("version", 0, 1, 4, 4),
		WEIR_CALL("traffic class", 0, 2, show_tos),
		WEIR_FIELD(FLOW_LABEL, 1, 3),
		{ .name = "payload length", .off = 4, .bytes = 2, .unit = "bytes" },
		WEIR_NAMED("next header", 6, 1, proto),
		{ .name = "hop limit", .off = 7, .bytes = 1 },
		WEIR_FIELD(SRC_IP, 8, 16),
		WEIR_FIELD(DST_IP, 24, 16),
	};
	struct weir_proto c = weir_proto_layer(top, "IPv6");

	return WEIR_PROTO_ITEMS(&c, c.p->hdr.l3_off, items);
}

static void ip6_option(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	const char *name = weir_names_find(&weir_names_ip6_option, b[0]);

	weir_proto_item(c, name ? name : "unknown option");
	if (!name) {
		ADD(c->out, "0x");
		weir_buf_addx(c->out, b[0], 2);
		weir_buf_addc(c->out, ' ');
	}
	if (b[0] == HOME_ADDRESS && n == 16) {
		weir_buf_add_addr(c->out, b + 2);
	} else if (b[0] == JUMBO_PAYLOAD && n == 4) {
		weir_buf_addu(c->out, weir_be32(b + 2));
	} else if (b[0] == 5 && n == 2) {
		weir_buf_addu(c->out, weir_be16(b + 2));
	} else if (b[0] == 4 && n == 1) {
		weir_buf_addu(c->out, b[2]);
	} else if (b[0] == 1) {
		weir_buf_addu(c->out, n + 2);
		ADD(c->out, " bytes");
	} else {
		ADD(c->out, "0x");
		weir_proto_bytes(c, b + 2, n);
	}
	weir_proto_end(c);
}

static void ip6_options(const struct weir_proto *c, const struct weir_ext *e)
{
	const uint8_t *b = c->p->data + e->off;

	for (uint32_t i = 2; i < e->len;) {
		if (!b[i]) {
			option_word(c, &weir_names_ip6_option, 0);
			i++;
			continue;
		}
		if (i + 2 > e->len || b[i + 1] > e->len - i - 2) {
			weir_proto_note(c, "malformed option");
			return;
		}
		ip6_option(c, b + i, b[i + 1]);
		i += 2U + b[i + 1];
	}
}

static void routing(const struct weir_proto *c, const struct weir_ext *e)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 2, 1, routing),
		WEIR_NUM("segments left", 3, 1),
	};
	static const struct weir_item segments[] = {
		WEIR_NUM("last entry", 4, 1),
		WEIR_HEX("flags", 5, 1),
		WEIR_HEX("tag", 6, 2),
	};
	uint8_t type = c->p->data[e->off + 2];
	uint32_t n = (e->len - 8) / 16;

	WEIR_PROTO_ITEMS(c, e->off, items);
	if (type == 4) {
		WEIR_PROTO_ITEMS(c, e->off, segments);
		if (n > c->p->data[e->off + 4] + 1U)
			n = c->p->data[e->off + 4] + 1U;
	} else if (type != 0 && type != 2) {
		weir_proto_item(c, "data");
		weir_proto_bytes(c, c->p->data + e->off + 4, e->len - 4);
		weir_proto_end(c);
		return;
	}
	for (uint32_t i = 0; i < n && i < ROUTING_ADDRS_MAX; i++) {
		weir_proto_item(c, "address");
		weir_buf_add_addr(c->out, c->p->data + e->off + 8 + 16 * i);
		weir_proto_end(c);
	}
}

static void auth(const struct weir_proto *c, const struct weir_ext *e)
{
	static const struct weir_item items[] = {
		WEIR_HEX("SPI", 4, 4),
		WEIR_NUM("sequence number", 8, 4),
	};

	if (WEIR_PROTO_ITEMS(c, e->off, items) && e->len > 12) {
		weir_proto_item(c, "integrity check value");
		weir_proto_bytes(c, c->p->data + e->off + 12, e->len - 12);
		weir_proto_end(c);
	}
}

static void fragment(const struct weir_proto *c, const struct weir_ext *e)
{
	static const struct weir_item items[] = {
		{ .name = "fragment offset", .off = 2, .bytes = 2, .shift = 3, .bits = 13,
		  .scale = 8, .unit = "bytes" },
		WEIR_BIT("more fragments", 3, 1, 0),
		WEIR_NUM("identification", 4, 4),
	};

	WEIR_PROTO_ITEMS(c, e->off, items);
}

static void mobility(const struct weir_proto *c, const struct weir_ext *e)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 2, 1, mobility),
		WEIR_HEX("checksum", 4, 2),
	};

	WEIR_PROTO_ITEMS(c, e->off, items);
}

static const struct ext_kind {
	uint8_t type;
	const char *title;
	void (*show)(const struct weir_proto *c, const struct weir_ext *e);
} ext_kinds[] = {
	{ IPPROTO_HOPOPTS, "IPv6 hop-by-hop options", ip6_options },
	{ IPPROTO_DSTOPTS, "IPv6 destination options", ip6_options },
	{ IPPROTO_ROUTING, "IPv6 routing", routing },
	{ IPPROTO_FRAGMENT, "IPv6 fragment", fragment },
	{ IPPROTO_AH, "Authentication header", auth },
	{ IPPROTO_MH, "IPv6 mobility", mobility },
	{ WEIR_IPPROTO_HIP, "Host identity", NULL },
	{ WEIR_IPPROTO_SHIM6, "Shim6", NULL },
};

static void exts(const struct weir_proto *top)
{
	struct weir_ext e = { 0 };

	while (weir_packet_next_ext(top->p, &e)) {
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(ext_kinds); i++) {
			const struct ext_kind *k = &ext_kinds[i];
			struct weir_proto c;

			if (k->type != e.type)
				continue;
			c = weir_proto_layer(top, k->title);
			weir_proto_item(&c, "next header");
			weir_proto_named(&c, e.next, &weir_names_proto);
			weir_proto_end(&c);
			weir_proto_item(&c, "header length");
			weir_buf_addu(c.out, e.len);
			ADD(c.out, " bytes");
			weir_proto_end(&c);
			if (k->show)
				k->show(&c, &e);
		}
	}
	if (top->p->hdr.flags & WEIR_PKT_MORE_EXT)
		weir_proto_note(top, "too many extension headers: the rest is not read");
}

void weir_proto_ip(const struct weir_proto *c)
{
	const struct weir_pkt *h = &c->p->hdr;

	if (!(h->flags & WEIR_PKT_IP4 ? ip4(c) : ip6(c)))
		return;
	exts(c);
	if (h->flags & WEIR_PKT_FRAG_LATER) {
		weir_proto_item(c, "Fragment");
		weir_format_proto_name(c->out, h->proto);
		ADD(c->out, ", bytes from ");
		weir_buf_addu(c->out, h->frag_off);
		ADD(c->out, " on");
		weir_proto_end(c);
		weir_proto_payload(c, h->l4_off);
	} else if (h->l4_off) {
		weir_proto_l4(c);
	}
}
