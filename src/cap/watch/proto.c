/* SPDX-License-Identifier: GPL-2.0-only */
/* Every header field, one a line: what the layers share, the frame and what is
 * below IP. */
#include "cap/watch/proto.h"

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/l7.h"

#define INDENT 2

static void indent(const struct weir_proto *c)
{
	for (unsigned int i = 0; i < c->depth * INDENT; i++)
		weir_buf_addc(c->out, ' ');
}

struct weir_proto weir_proto_layer(const struct weir_proto *c, const char *title)
{
	struct weir_proto deeper = *c;

	indent(c);
	weir_buf_adds(c->out, title);
	weir_buf_addc(c->out, '\n');
	deeper.depth++;
	return deeper;
}

void weir_proto_item(const struct weir_proto *c, const char *name)
{
	indent(c);
	weir_buf_adds(c->out, name);
	ADD(c->out, ": ");
}

void weir_proto_end(const struct weir_proto *c)
{
	weir_buf_addc(c->out, '\n');
}

void weir_proto_note(const struct weir_proto *c, const char *text)
{
	indent(c);
	weir_format_colour(c->f, WEIR_COLOUR_BAD, c->out);
	weir_buf_addc(c->out, '[');
	weir_buf_adds(c->out, text);
	weir_buf_addc(c->out, ']');
	weir_format_colour(c->f, WEIR_COLOUR_NONE, c->out);
	weir_proto_end(c);
}

void weir_proto_named(const struct weir_proto *c, uint64_t v,
		      const struct weir_names *names)
{
	const char *name = weir_names_find(names, (uint32_t)v);

	weir_buf_addu(c->out, v);
	if (name) {
		ADD(c->out, " (");
		weir_buf_adds(c->out, name);
		weir_buf_addc(c->out, ')');
	}
}

void weir_proto_bytes(const struct weir_proto *c, const uint8_t *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		weir_buf_addx(c->out, b[i], 2);
}

static void show_port(const struct weir_proto *c, uint64_t port)
{
	const char *name = NULL;

	weir_buf_addu(c->out, port);
	if (!c->f->numeric)
		name = weir_format_service((uint16_t)port, c->p->hdr.proto);
	if (name) {
		ADD(c->out, " (");
		weir_buf_adds(c->out, name);
		weir_buf_addc(c->out, ')');
	}
}

static void show_field(const struct weir_proto *c, enum weir_packet_field id,
		       const struct weir_value *v, uint8_t bytes)
{
	switch (weir_fields[id].kind) {
	case WEIR_VALUE_UINT:
		if (id == WEIR_PACKET_SRC_PORT || id == WEIR_PACKET_DST_PORT)
			show_port(c, v->num);
		else
			weir_buf_addu(c->out, v->num);
		break;
	case WEIR_VALUE_HEX:
		ADD(c->out, "0x");
		weir_buf_addx(c->out, v->num, bytes * 2U);
		break;
	case WEIR_VALUE_BOOL:
		weir_buf_adds(c->out, v->num ? "yes" : "no");
		break;
	case WEIR_VALUE_IP:
		(v->v6 ? weir_buf_add_addr6 : weir_buf_add_addr)(c->out, v->bytes);
		break;
	case WEIR_VALUE_MAC:
		weir_buf_add_mac(c->out, v->bytes);
		break;
	case WEIR_VALUE_STR:
		weir_format_safe(c->out, (const uint8_t *)v->str, strlen(v->str));
		break;
	}
}

static uint64_t item_number(const struct weir_item *i, const uint8_t *b)
{
	uint64_t v = 0;

	for (unsigned int k = 0; k < i->bytes; k++)
		v = v << 8 | b[k];
	v >>= i->shift;
	if (i->bits)
		v &= (1U << i->bits) - 1;
	return i->scale ? v * i->scale : v;
}

static void show_item(const struct weir_proto *c, const struct weir_item *i,
		      const uint8_t *b)
{
	switch ((enum weir_show)i->show) {
	case WEIR_SHOW_DEC:
		if (i->names)
			weir_proto_named(c, item_number(i, b), i->names);
		else
			weir_buf_addu(c->out, item_number(i, b));
		break;
	case WEIR_SHOW_HEX:
		ADD(c->out, "0x");
		weir_buf_addx(c->out, item_number(i, b), i->bytes * 2U);
		if (i->names && weir_names_find(i->names, (uint32_t)item_number(i, b))) {
			ADD(c->out, " (");
			weir_buf_adds(c->out, weir_names_find(i->names,
							      (uint32_t)item_number(i, b)));
			weir_buf_addc(c->out, ')');
		}
		break;
	case WEIR_SHOW_BOOL:
		weir_buf_adds(c->out, item_number(i, b) ? "set" : "not set");
		break;
	case WEIR_SHOW_BYTES:
		weir_proto_bytes(c, b, i->bytes);
		break;
	case WEIR_SHOW_MAC:
		weir_buf_add_mac(c->out, b);
		break;
	case WEIR_SHOW_IP4:
		weir_format_ip4(c->out, b);
		break;
	case WEIR_SHOW_IP6:
		weir_buf_add_addr(c->out, b);
		break;
	case WEIR_SHOW_CALL:
		i->call(c, b);
		break;
	case WEIR_SHOW_FIELD:
		break;
	}
	if (i->unit) {
		weir_buf_addc(c->out, ' ');
		weir_buf_adds(c->out, i->unit);
	}
}

bool weir_proto_items(const struct weir_proto *c, uint32_t off,
		      const struct weir_item *items, size_t n)
{
	struct weir_value v;

	for (size_t k = 0; k < n; k++) {
		const struct weir_item *i = &items[k];
		const uint8_t *b = weir_packet_at(c->p, off + i->off, i->bytes);

		if (!b) {
			weir_proto_note(c, "cut: the rest of this header was not captured");
			return false;
		}
		if (i->show != WEIR_SHOW_FIELD) {
			weir_proto_item(c, i->name);
			show_item(c, i, b);
			weir_proto_end(c);
		} else if (weir_field_get(c->p, i->field, &v)) {
			weir_proto_item(c, weir_fields[i->field].label);
			show_field(c, i->field, &v, i->bytes);
			weir_proto_end(c);
		}
	}
	return true;
}

void weir_proto_csum(const struct weir_proto *c, const struct weir_csum_result *r)
{
	ADD(c->out, "0x");
	weir_buf_addx(c->out, r->found, r->width * 2U);
	switch (r->verdict) {
	case WEIR_CSUM_NONE:
		ADD(c->out, ", none");
		break;
	case WEIR_CSUM_OK:
		ADD(c->out, ", correct");
		break;
	case WEIR_CSUM_BAD:
		ADD(c->out, ", ");
		weir_format_colour(c->f, WEIR_COLOUR_BAD, c->out);
		ADD(c->out, "bad (should be 0x");
		weir_buf_addx(c->out, r->expected, r->width * 2U);
		weir_buf_addc(c->out, ')');
		weir_format_colour(c->f, WEIR_COLOUR_NONE, c->out);
		break;
	case WEIR_CSUM_UNDONE:
		ADD(c->out, ", not computed (left to the device)");
		break;
	case WEIR_CSUM_UNKNOWN:
		if (c->p->hdr.flags & WEIR_PKT_FRAGMENT) {
			ADD(c->out, ", unknown (a fragment)");
		} else if (r->have < r->need) {
			ADD(c->out, ", unknown (");
			weir_buf_addu(c->out, r->have);
			ADD(c->out, " of ");
			weir_buf_addu(c->out, r->need);
			ADD(c->out, " bytes captured)");
		} else {
			ADD(c->out, ", unknown (the headers do not tell what it covers)");
		}
		break;
	}
}

void weir_proto_l4_csum(const struct weir_proto *c, const uint8_t *b)
{
	struct weir_csum_result r;

	weir_packet_csum_explain(c->p, &r);
	if (!r.off) /* the verdict was clear before the field was read */
		r.found = r.width == 4 ? weir_be32(b) : weir_be16(b);
	weir_proto_csum(c, &r);
}

bool weir_proto_inner(const struct weir_proto *c, uint32_t off, const char *title)
{
	struct weir_packet inner;
	struct weir_proto deeper;

	if (c->inner || !weir_packet_inner(c->p, off, &inner))
		return false;
	deeper = weir_proto_layer(c, title);
	deeper.p = &inner;
	deeper.inner = true;
	weir_proto_ip(&deeper);
	return true;
}

void weir_proto_payload(const struct weir_proto *c, uint32_t off)
{
	uint32_t end = weir_packet_l3_end(c->p);
	uint32_t have = weir_packet_left(c->p, off);

	if (!off || off >= end)
		return;
	weir_proto_item(c, "Payload");
	weir_buf_addu(c->out, end - off);
	ADD(c->out, " bytes");
	if (have < end - off) {
		ADD(c->out, ", ");
		weir_buf_addu(c->out, have);
		ADD(c->out, " captured");
	}
	weir_proto_end(c);
}

static void text_item(const struct weir_proto *c, const char *name, const char *text)
{
	weir_proto_item(c, name);
	weir_format_safe(c->out, (const uint8_t *)text, strlen(text));
	weir_proto_end(c);
}

static void field_item(const struct weir_proto *c, enum weir_packet_field id)
{
	struct weir_value v;

	if (!weir_field_get(c->p, id, &v))
		return;
	weir_proto_item(c, weir_fields[id].label);
	show_field(c, id, &v, 0);
	weir_proto_end(c);
}

static void frame(const struct weir_proto *top)
{
	const struct weir_packet *p = top->p;
	struct weir_proto deeper = weir_proto_layer(top, "Frame"), *c = &deeper;

	if (c->f->time != WEIR_TIME_NONE) {
		weir_proto_item(c, "time");
		weir_format_time(c->f, p->ev.ts, c->out);
		weir_proto_end(c);
	}
	field_item(c, WEIR_PACKET_IFACE);
	field_item(c, WEIR_PACKET_DIRECTION);
	weir_proto_item(c, weir_fields[WEIR_PACKET_SIZE].label);
	weir_buf_addu(c->out, p->ev.len);
	ADD(c->out, " bytes, ");
	weir_buf_addu(c->out, p->ev.caplen);
	ADD(c->out, " captured");
	weir_proto_end(c);
	if (p->ev.gso_size) {
		weir_proto_item(c, "segments");
		weir_buf_addu(c->out, p->wire_packets);
		ADD(c->out, " of up to ");
		weir_buf_addu(c->out, p->ev.gso_size);
		ADD(c->out, " bytes of payload");
		weir_proto_end(c);
	}
	if (p->ev.flags & WEIR_WATCH_QUEUE) {
		weir_proto_item(c, "queue");
		weir_buf_addu(c->out, p->ev.queue);
		weir_proto_end(c);
	}
	field_item(c, WEIR_PACKET_VERDICT);
	field_item(c, WEIR_PACKET_RULE);
	field_item(c, WEIR_PACKET_COMMUNITY_ID);
	if (p->comment)
		text_item(c, "comment", p->comment);
}

static void ethernet(const struct weir_proto *top)
{
	static const struct weir_item addrs[] = {
		WEIR_FIELD(ETH_DST, 0, 6),
		WEIR_FIELD(ETH_SRC, 6, 6),
	};
	static const struct weir_item type[] = {
		{ .name = "type", .off = 12, .bytes = 2, .show = WEIR_SHOW_HEX,
		  .names = &weir_names_ethertype },
	};
	static const struct weir_item length[] = { WEIR_NUM("length", 12, 2) };
	struct weir_proto c = weir_proto_layer(top, "Ethernet");
	const uint8_t *b = weir_packet_at(c.p, 0, WEIR_ETH_HLEN);

	if (!WEIR_PROTO_ITEMS(&c, 0, addrs))
		return;
	if (weir_be16(b + 12) < WEIR_ETHERTYPE_MIN)
		WEIR_PROTO_ITEMS(&c, 0, length);
	else
		WEIR_PROTO_ITEMS(&c, 0, type);
}

static void vlans(const struct weir_proto *top)
{
	static const struct weir_item items[] = {
		WEIR_BITS("priority", 0, 2, 13, 3),
		WEIR_BIT("drop eligible", 0, 2, 12),
		WEIR_BITS("id", 0, 2, 0, 12),
		{ .name = "type", .off = 2, .bytes = 2, .show = WEIR_SHOW_HEX,
		  .names = &weir_names_ethertype },
	};

	for (uint32_t i = 0; i < top->p->hdr.vlans; i++) {
		uint32_t off = WEIR_ETH_HLEN + i * WEIR_VLAN_HLEN;
		const uint8_t *b = weir_packet_at(top->p, off - 2, 2);
		const char *title = b ? weir_names_find(&weir_names_ethertype, weir_be16(b)) : NULL;
		struct weir_proto c = weir_proto_layer(top, title ? title : "VLAN");

		WEIR_PROTO_ITEMS(&c, off, items);
	}
	if (top->p->hdr.flags & WEIR_PKT_MORE_VLANS)
		weir_proto_note(top, "more tags: nothing behind the second is read");
}

static void arp(const struct weir_proto *top)
{
	static const struct weir_item fixed[] = {
		WEIR_NAMED("hardware type", 0, 2, arp_hw),
		{ .name = "protocol type", .off = 2, .bytes = 2, .show = WEIR_SHOW_HEX,
		  .names = &weir_names_ethertype },
		WEIR_NUM("hardware size", 4, 1),
		WEIR_NUM("protocol size", 5, 1),
		WEIR_NAMED("operation", 6, 2, arp_op),
	};
	static const struct weir_item ip4[] = {
		WEIR_ADDR("sender MAC", 8, 6, MAC),
		WEIR_ADDR("sender IP", 14, 4, IP4),
		WEIR_ADDR("target MAC", 18, 6, MAC),
		WEIR_ADDR("target IP", 24, 4, IP4),
	};
	struct weir_proto c = weir_proto_layer(top, "ARP");
	uint32_t off = c.p->hdr.l3_off;
	const uint8_t *b = weir_packet_at(c.p, off, WEIR_ARP_FIXED);

	if (!WEIR_PROTO_ITEMS(&c, off, fixed))
		return;
	if (weir_be16(b + 2) == WEIR_ETH_IP4 && b[4] == 6 && b[5] == 4)
		WEIR_PROTO_ITEMS(&c, off, ip4);
}

/* Frames that carry neither IP nor ARP. */
static void other(const struct weir_proto *top)
{
	static const struct weir_item llc[] = {
		WEIR_HEX("dsap", 0, 1),
		WEIR_HEX("ssap", 1, 1),
		WEIR_HEX("control", 2, 1),
	};
	const struct weir_pkt *h = &top->p->hdr;
	uint32_t off = WEIR_ETH_HLEN + h->vlans * (uint32_t)WEIR_VLAN_HLEN;

	if (h->flags & (WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED) || !(h->flags & WEIR_PKT_ETHER))
		return;
	if (h->eth_type < WEIR_ETHERTYPE_MIN) {
		struct weir_proto c = weir_proto_layer(top, "LLC");

		WEIR_PROTO_ITEMS(&c, off, llc);
		off += 3;
	}
	weir_proto_payload(top, off);
}

static void names(const struct weir_proto *top)
{
	weir_autobuf struct weir_buf text = { 0 };
	const struct weir_l7_seen *s = top->p->l7;
	const bool hosts = !top->f->numeric && (s->src_name[0] || s->dst_name[0]);
	struct weir_proto c;

	weir_l7_text(s, &text);
	if (!hosts && !text.len)
		return;
	c = weir_proto_layer(top, "Names");
	if (hosts && s->src_name[0])
		text_item(&c, "source", s->src_name);
	if (hosts && s->dst_name[0])
		text_item(&c, "destination", s->dst_name);
	if (text.len)
		text_item(&c, "tells", text.data);
}

void weir_format_proto(const struct weir_formatter *f, const struct weir_packet *p,
		       struct weir_buf *out)
{
	const struct weir_proto c = { .f = f, .p = p, .out = out };
	weir_autobuf struct weir_buf owners = { 0 };

	frame(&c);
	if (p->hdr.flags & WEIR_PKT_ETHER) {
		ethernet(&c);
		vlans(&c);
	}
	if (p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6))
		weir_proto_ip(&c);
	else if (p->hdr.flags & WEIR_PKT_ARP)
		arp(&c);
	else
		other(&c);
	if (p->l7)
		names(&c);
	if (p->hdr.flags & WEIR_PKT_TRUNCATED)
		weir_proto_note(&c, "truncated: a header runs past the bytes at hand");
	if (p->hdr.flags & WEIR_PKT_MALFORMED)
		weir_proto_note(&c, "malformed: a header contradicts itself");
	weir_format_owners(f, p, &owners);
	if (owners.len)
		weir_proto_note(&c, owners.data);
	weir_buf_addc(out, '\n');
}
