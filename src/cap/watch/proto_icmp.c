/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP, ICMPv6 with the options of neighbor discovery, IGMP. */
#include <netinet/in.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/proto.h"

#define RECORDS_MAX 16 /* group records listed of a multicast report */

static void add_code(const struct weir_proto *c, const struct weir_names *names)
{
	const struct weir_pkt *h = &c->p->hdr;
	const char *name = weir_names_find(names, WEIR_ICMP_CODE(h->icmp_type, h->icmp_code));

	weir_buf_addu(c->out, h->icmp_code);
	if (name) {
		ADD(c->out, " (");
		weir_buf_adds(c->out, name);
		weir_buf_addc(c->out, ')');
	}
}

static void show_code(const struct weir_proto *c, const uint8_t *b)
{
	(void)b;
	add_code(c, &weir_names_icmp_code);
}

static void show_code6(const struct weir_proto *c, const uint8_t *b)
{
	(void)b;
	add_code(c, &weir_names_icmp6_code);
}

/* What a type has behind type, code and checksum. */
struct message {
	uint8_t type;
	uint8_t n;
	uint8_t len;	/* of the header, where options or data begin */
	bool quotes;	/* the packet that caused it follows */
	bool options;	/* options of neighbor discovery follow */
	bool records;	/* multicast group records follow */
	const struct weir_item *items;
};

#define MESSAGE(t, list, size) .type = t, .n = WEIR_ARRAY_SIZE(list), .items = list, .len = size

static const struct weir_item echo[] = {
	WEIR_NUM("identifier", 4, 2),
	WEIR_NUM("sequence number", 6, 2),
};
static const struct weir_item timestamps[] = {
	WEIR_NUM("identifier", 4, 2),
	WEIR_NUM("sequence number", 6, 2),
	WEIR_NUM("originate", 8, 4),
	WEIR_NUM("receive", 12, 4),
	WEIR_NUM("transmit", 16, 4),
};
static const struct weir_item unreachable[] = {
	WEIR_NUM("next-hop MTU", 6, 2),
};
static const struct weir_item gateway[] = {
	WEIR_ADDR("gateway", 4, 4, IP4),
};
static const struct weir_item pointer[] = {
	WEIR_NUM("pointer", 4, 1),
};
static const struct weir_item routers[] = {
	WEIR_NUM("addresses", 4, 1),
	WEIR_NUM("lifetime", 6, 2),
};
static const struct weir_item none[] = { { 0 } };

static const struct message icmp_messages[] = {
	{ MESSAGE(0, echo, 8) },
	{ MESSAGE(3, unreachable, 8), .quotes = true },
	{ .type = 4, .items = none, .len = 8, .quotes = true },
	{ MESSAGE(5, gateway, 8), .quotes = true },
	{ MESSAGE(8, echo, 8) },
	{ MESSAGE(9, routers, 8) },
	{ .type = 11, .items = none, .len = 8, .quotes = true },
	{ MESSAGE(12, pointer, 8), .quotes = true },
	{ MESSAGE(13, timestamps, 20) },
	{ MESSAGE(14, timestamps, 20) },
};

static const struct weir_item mtu6[] = {
	WEIR_NUM("MTU", 4, 4),
};
static const struct weir_item pointer6[] = {
	WEIR_NUM("pointer", 4, 4),
};
static const struct weir_item listener[] = {
	WEIR_NUM("maximum response delay", 4, 2),
	WEIR_ADDR("group", 8, 16, IP6),
};
static const struct weir_item router_advert[] = {
	WEIR_NUM("hop limit", 4, 1),
	WEIR_BIT("managed addresses", 5, 1, 7),
	WEIR_BIT("other configuration", 5, 1, 6),
	WEIR_BIT("home agent", 5, 1, 5),
	WEIR_BITS("preference", 5, 1, 3, 2),
	{ .name = "router lifetime", .off = 6, .bytes = 2, .unit = "s" },
	{ .name = "reachable time", .off = 8, .bytes = 4, .unit = "ms" },
	{ .name = "retransmit timer", .off = 12, .bytes = 4, .unit = "ms" },
};
static const struct weir_item solicitation[] = {
	WEIR_ADDR("target", 8, 16, IP6),
};
static const struct weir_item advertisement[] = {
	WEIR_BIT("router", 4, 1, 7),
	WEIR_BIT("solicited", 4, 1, 6),
	WEIR_BIT("override", 4, 1, 5),
	WEIR_ADDR("target", 8, 16, IP6),
};
static const struct weir_item redirect[] = {
	WEIR_ADDR("target", 8, 16, IP6),
	WEIR_ADDR("destination", 24, 16, IP6),
};
static const struct weir_item report2[] = {
	WEIR_NUM("group records", 6, 2),
};

static const struct message icmp6_messages[] = {
	{ .type = 1, .items = none, .len = 8, .quotes = true },
	{ MESSAGE(2, mtu6, 8), .quotes = true },
	{ .type = 3, .items = none, .len = 8, .quotes = true },
	{ MESSAGE(4, pointer6, 8), .quotes = true },
	{ MESSAGE(128, echo, 8) },
	{ MESSAGE(129, echo, 8) },
	{ MESSAGE(130, listener, 24) },
	{ MESSAGE(131, listener, 24) },
	{ MESSAGE(132, listener, 24) },
	{ .type = 133, .items = none, .len = 8, .options = true },
	{ MESSAGE(134, router_advert, 16), .options = true },
	{ MESSAGE(135, solicitation, 24), .options = true },
	{ MESSAGE(136, advertisement, 24), .options = true },
	{ MESSAGE(137, redirect, 40), .options = true },
	{ MESSAGE(143, report2, 8), .records = true },
};

static const struct weir_item nd_prefix[] = {
	WEIR_NUM("prefix length", 2, 1),
	WEIR_BIT("on-link", 3, 1, 7),
	WEIR_BIT("autonomous", 3, 1, 6),
	{ .name = "valid lifetime", .off = 4, .bytes = 4, .unit = "s" },
	{ .name = "preferred lifetime", .off = 8, .bytes = 4, .unit = "s" },
	WEIR_ADDR("prefix", 16, 16, IP6),
};

static void nd_option_rdnss(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	for (uint32_t i = 8; i + 16 <= n; i += 16) {
		if (i > 8)
			ADD(c->out, ", ");
		weir_buf_add_addr(c->out, b + i);
	}
	ADD(c->out, " for ");
	weir_buf_addu(c->out, weir_be32(b + 4));
	ADD(c->out, " s");
}

/* One option of @n >= 8 bytes, captured. */
static void nd_option(const struct weir_proto *c, uint32_t off, uint32_t n)
{
	const uint8_t *b = c->p->data + off;
	const char *name = weir_names_find(&weir_names_nd_option, b[0]);

	if (b[0] == 3 && n == 32) {
		struct weir_proto deeper = weir_proto_layer(c, "prefix information");

		WEIR_PROTO_ITEMS(&deeper, off, nd_prefix);
		return;
	}
	weir_proto_item(c, name ? name : "unknown option");
	if ((b[0] == 1 || b[0] == 2) && n == 8) {
		weir_buf_add_mac(c->out, b + 2);
	} else if (b[0] == 5 && n == 8) {
		weir_buf_addu(c->out, weir_be32(b + 4));
	} else if (b[0] == 25 && n >= 24) {
		nd_option_rdnss(c, b, n);
	} else if (b[0] == 4) {
		weir_buf_addu(c->out, n - 8);
		ADD(c->out, " bytes");
	} else {
		if (!name) {
			weir_buf_addu(c->out, b[0]);
			weir_buf_addc(c->out, ' ');
		}
		ADD(c->out, "0x");
		weir_proto_bytes(c, b + 2, n - 2);
	}
	weir_proto_end(c);
}

static void nd_options(const struct weir_proto *c, uint32_t off)
{
	uint32_t end = weir_packet_l3_end(c->p);

	while (off + 8 <= end) {
		const uint8_t *b = weir_packet_at(c->p, off, 2);
		uint32_t n = b ? b[1] * 8U : 0;

		if (b && (!n || n > end - off)) {
			weir_proto_note(c, "malformed option");
			return;
		}
		if (!b || !weir_packet_at(c->p, off, n)) {
			weir_proto_note(c, "cut: the rest of the options was not captured");
			return;
		}
		nd_option(c, off, n);
		off += n;
	}
}

static void report2_records(const struct weir_proto *c)
{
	uint32_t off = c->p->hdr.l4_off + 8U;
	const uint8_t *b = weir_packet_at(c->p, c->p->hdr.l4_off, 8);
	uint32_t n = b ? weir_be16(b + 6) : 0;

	for (uint32_t i = 0; i < n && i < RECORDS_MAX; i++) {
		b = weir_packet_at(c->p, off, 20);
		if (!b) {
			weir_proto_note(c, "cut: the rest of the records was not captured");
			return;
		}
		weir_proto_item(c, "record");
		weir_buf_add_addr(c->out, b + 4);
		ADD(c->out, ", type ");
		weir_buf_addu(c->out, b[0]);
		ADD(c->out, ", sources ");
		weir_buf_addu(c->out, weir_be16(b + 2));
		weir_proto_end(c);
		off += 20 + weir_be16(b + 2) * 16U + b[1] * 4U;
	}
}

static const struct message *find_message(const struct message *list, size_t n, uint8_t type)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].type == type)
			return &list[i];
	return NULL;
}

/* What follows the common part. */
static void message_body(const struct weir_proto *top, const struct weir_proto *c,
			 const struct message *m)
{
	uint32_t off = c->p->hdr.l4_off;

	if (!m) {
		weir_proto_payload(top, c->p->hdr.payload_off);
		return;
	}
	if (!weir_proto_items(c, off, m->items, m->n))
		return;
	if (m->options)
		nd_options(c, off + m->len);
	else if (m->records)
		report2_records(c);
	else if (!m->quotes || !weir_proto_inner(c, off + m->len, "Quoted packet"))
		weir_proto_payload(top, off + m->len);
}

void weir_proto_icmp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 0, 1, icmp),
		WEIR_CALL("code", 1, 1, show_code),
		WEIR_CALL("checksum", 2, 2, weir_proto_l4_csum),
	};
	struct weir_proto c = weir_proto_layer(top, "ICMP");

	if (WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		message_body(top, &c, find_message(icmp_messages, WEIR_ARRAY_SIZE(icmp_messages),
						   c.p->hdr.icmp_type));
}

void weir_proto_icmp6(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 0, 1, icmp6),
		WEIR_CALL("code", 1, 1, show_code6),
		WEIR_CALL("checksum", 2, 2, weir_proto_l4_csum),
	};
	struct weir_proto c = weir_proto_layer(top, "ICMPv6");

	if (!WEIR_PROTO_ITEMS(&c, c.p->hdr.l4_off, items))
		return;
	message_body(top, &c, find_message(icmp6_messages, WEIR_ARRAY_SIZE(icmp6_messages),
					   c.p->hdr.icmp_type));
}

void weir_proto_igmp(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_NAMED("type", 0, 1, igmp),
		WEIR_NUM("maximum response time", 1, 1),
		WEIR_CALL("checksum", 2, 2, weir_proto_l4_csum),
	};
	static const struct weir_item group[] = { WEIR_ADDR("group", 4, 4, IP4) };
	static const struct weir_item records[] = { WEIR_NUM("group records", 6, 2) };
	struct weir_proto c = weir_proto_layer(top, "IGMP");
	uint32_t off = c.p->hdr.l4_off;
	const uint8_t *b = weir_packet_at(c.p, off, 1);

	if (!WEIR_PROTO_ITEMS(&c, off, items))
		return;
	if (*b == 0x22)
		WEIR_PROTO_ITEMS(&c, off, records);
	else
		WEIR_PROTO_ITEMS(&c, off, group);
	weir_proto_payload(top, off + 8);
}
