/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What bpf/parse.bpf.h should find, written a second time and differently:
 * byte by byte, first a list of the frame's headers and then the fields, with
 * nothing shared but the record. Slow and plain on purpose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bpf/pkt.h"

struct oracle {
	const uint8_t *bytes;
	size_t have;   /* bytes that may be looked at */
	size_t at;     /* where the next header begins */
	uint64_t wire; /* the frame's length without a stripped tag */
	struct weir_pkt *out;
	bool stopped;
};

static inline bool oracle_flag(struct oracle *o, unsigned int flag)
{
	o->out->flags |= flag;
	if (flag &
	    (WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED | WEIR_PKT_MORE_VLANS | WEIR_PKT_MORE_EXT))
		o->stopped = true;
	return false;
}

/* Copies @n bytes from @at or stops with TRUNCATED. */
static inline bool oracle_take(struct oracle *o, void *to, size_t n)
{
	if (o->at > o->have || o->have - o->at < n)
		return oracle_flag(o, WEIR_PKT_TRUNCATED);
	memcpy(to, o->bytes + o->at, n);
	return true;
}

static inline unsigned int oracle_number(const uint8_t *b, int n)
{
	unsigned int value = 0;

	while (n-- > 0)
		value = value * 256 + *b++;
	return value;
}

static inline void oracle_map4(uint8_t to[16], const uint8_t *from)
{
	static const uint8_t prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255 };

	memcpy(to, prefix, 12);
	memcpy(to + 12, from, 4);
}

static inline void oracle_ports(struct oracle *o, size_t fixed)
{
	uint8_t b[4];

	if (!oracle_take(o, b, 4))
		return;
	o->out->sport = oracle_number(b, 2);
	o->out->dport = oracle_number(b + 2, 2);
	oracle_flag(o, WEIR_PKT_PORTS);
	if (o->have - o->at < fixed)
		oracle_flag(o, WEIR_PKT_TRUNCATED);
}

/* A header of @len bytes, @min of which must be; the payload lies behind. */
static inline void oracle_payload(struct oracle *o, size_t len, size_t min)
{
	if (o->stopped)
		return;
	if (len < min)
		oracle_flag(o, WEIR_PKT_MALFORMED);
	else if (o->have - o->at < len)
		oracle_flag(o, WEIR_PKT_TRUNCATED);
	else
		o->out->payload_off = o->at + len;
}

static inline void oracle_tcp(struct oracle *o)
{
	uint8_t b[20];

	oracle_ports(o, sizeof(b));
	if (o->stopped || !oracle_take(o, b, sizeof(b)))
		return;
	oracle_flag(o, WEIR_PKT_TCP);
	o->out->tcp_flags = b[13];
	if (b[12] & 1)
		o->out->tcp_flags |= WEIR_TCP_AE;
	oracle_payload(o, b[12] / 16 * 4, 20);
}

static inline void oracle_dccp(struct oracle *o)
{
	uint8_t b[12];

	oracle_ports(o, sizeof(b));
	if (o->stopped || !oracle_take(o, b, sizeof(b)))
		return;
	oracle_payload(o, b[4] * 4, b[8] % 2 ? 16 : 12);
}

static inline void oracle_icmp(struct oracle *o)
{
	uint8_t b[4];

	if (!oracle_take(o, b, sizeof(b)))
		return;
	oracle_flag(o, WEIR_PKT_ICMP);
	o->out->icmp_type = b[0];
	o->out->icmp_code = b[1];
	oracle_payload(o, 8, 8);
}

static inline void oracle_layer4(struct oracle *o)
{
	o->out->l4_off = o->at;
	switch (o->out->proto) {
	case 6:
		oracle_tcp(o);
		break;
	case 17:
	case 136:
		oracle_ports(o, 8);
		oracle_payload(o, 8, 8);
		break;
	case 132:
		oracle_ports(o, 12);
		oracle_payload(o, 12, 12);
		break;
	case 33:
		oracle_dccp(o);
		break;
	case 1:
		if (o->out->flags & WEIR_PKT_IP4)
			oracle_icmp(o);
		break;
	case 58:
		if (o->out->flags & WEIR_PKT_IP6)
			oracle_icmp(o);
		break;
	}
}

/* @offset in bytes */
static inline void oracle_fragment(struct oracle *o, unsigned int offset, bool more,
				   unsigned int id, size_t header)
{
	o->out->frag_off = offset;
	o->out->frag_id = id;
	o->out->frag_start = o->at + header;
	oracle_flag(o, WEIR_PKT_FRAGMENT);
	if (offset)
		oracle_flag(o, WEIR_PKT_FRAG_LATER);
	if (more)
		oracle_flag(o, WEIR_PKT_FRAG_MORE);
}

static inline bool oracle_walks(const struct weir_pkt *p)
{
	static const uint8_t six[] = { 0, 43, 44, 51, 60, 135, 139, 140 };

	if (p->flags & WEIR_PKT_FRAG_LATER)
		return false;
	if (p->flags & WEIR_PKT_IP4)
		return p->proto == 51;
	return memchr(six, p->proto, sizeof(six)) != NULL;
}

static inline void oracle_between(struct oracle *o)
{
	uint8_t b[8];
	int seen = 0;

	while (oracle_walks(o->out)) {
		if (o->out->flags & WEIR_PKT_IP6)
			oracle_flag(o, WEIR_PKT_IP_OPTIONS);
		if (++seen == 7)
			oracle_flag(o, WEIR_PKT_MORE_EXT);
		if (o->stopped || !oracle_take(o, b, sizeof(b)))
			return;
		switch (o->out->proto) {
		case 44:
			oracle_fragment(o, oracle_number(b + 2, 2) / 8 * 8, b[3] & 1,
					oracle_number(b + 4, 4), 8);
			o->at += 8;
			break;
		case 51:
			oracle_flag(o, WEIR_PKT_AH);
			o->at += (b[1] + 2) * 4;
			break;
		default:
			o->at += 8 + b[1] * 8;
		}
		o->out->proto = b[0];
	}
	if (o->at > o->have)
		oracle_flag(o, WEIR_PKT_TRUNCATED);
	if (o->stopped)
		return;
	if (o->out->flags & WEIR_PKT_FRAG_LATER)
		o->out->l4_off = o->at;
	else
		oracle_layer4(o);
}

/* The IP packet of @len bytes begins at @at; @header of them are its own. */
static inline void oracle_bound(struct oracle *o, uint64_t len, size_t header)
{
	if (len == 0)
		len = o->wire >= o->at ? o->wire - o->at : 0;
	o->out->l3_off = o->at;
	o->out->l3_len = len;
	if (len < header)
		oracle_flag(o, WEIR_PKT_MALFORMED);
	else if (o->at + len < o->have)
		o->have = o->at + len;
	o->at += header;
}

static inline void oracle_ip4(struct oracle *o)
{
	uint8_t b[20];
	unsigned int frag;

	if (!oracle_take(o, b, sizeof(b)))
		return;
	if (b[0] < 0x45 || b[0] > 0x4f) {
		oracle_flag(o, WEIR_PKT_MALFORMED);
		return;
	}
	oracle_flag(o, WEIR_PKT_IP4);
	if (b[0] != 0x45)
		oracle_flag(o, WEIR_PKT_IP_OPTIONS);
	o->out->tos = b[1];
	o->out->ttl = b[8];
	o->out->proto = b[9];
	oracle_map4(o->out->src, b + 12);
	oracle_map4(o->out->dst, b + 16);
	frag = oracle_number(b + 6, 2);
	if (frag & 0x3fff)
		oracle_fragment(o, frag % 0x2000 * 8, frag & 0x2000, oracle_number(b + 4, 2),
				b[0] % 16 * 4);
	oracle_bound(o, oracle_number(b + 2, 2), b[0] % 16 * 4);
	if (!o->stopped)
		oracle_between(o);
}

static inline void oracle_ip6(struct oracle *o)
{
	uint8_t b[40];
	unsigned int len;

	if (!oracle_take(o, b, sizeof(b)))
		return;
	if (b[0] / 16 != 6) {
		oracle_flag(o, WEIR_PKT_MALFORMED);
		return;
	}
	oracle_flag(o, WEIR_PKT_IP6);
	o->out->tos = b[0] % 16 * 16 + b[1] / 16;
	o->out->proto = b[6];
	o->out->ttl = b[7];
	memcpy(o->out->src, b + 8, 16);
	memcpy(o->out->dst, b + 24, 16);
	len = oracle_number(b + 4, 2);
	oracle_bound(o, len ? len + 40 : 0, 40);
	if (!o->stopped)
		oracle_between(o);
}

static inline void oracle_arp(struct oracle *o)
{
	static const uint8_t ip4_over_ether[] = { 0, 1, 8, 0, 6, 4 };
	uint8_t b[28];

	if (!oracle_take(o, b, 8))
		return;
	oracle_flag(o, WEIR_PKT_ARP);
	o->out->l3_off = o->at;
	if (memcmp(b, ip4_over_ether, sizeof(ip4_over_ether)) || !oracle_take(o, b, 28))
		return;
	oracle_map4(o->out->src, b + 14);
	oracle_map4(o->out->dst, b + 24);
}

static inline bool oracle_is_tag(unsigned int type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100;
}

static inline void oracle_ether(struct oracle *o)
{
	uint8_t b[14];

	if (!oracle_take(o, b, sizeof(b)))
		return;
	oracle_flag(o, WEIR_PKT_ETHER);
	memcpy(o->out->eth_dst, b, 6);
	memcpy(o->out->eth_src, b + 6, 6);
	o->out->eth_type = oracle_number(b + 12, 2);
	o->at = 14;
	while (oracle_is_tag(o->out->eth_type)) {
		if (o->out->vlans == 2) {
			oracle_flag(o, WEIR_PKT_MORE_VLANS);
			return;
		}
		if (!oracle_take(o, b, 4))
			return;
		o->out->vlan[o->out->vlans++] = oracle_number(b, 2);
		o->out->eth_type = oracle_number(b + 2, 2);
		o->at += 4;
	}
}

static inline void oracle_parse(struct weir_pkt *out, const uint8_t *bytes, size_t n, bool ether,
				uint32_t vlan_meta, uint32_t wire_len)
{
	struct oracle o = {
		.bytes = bytes,
		.have = n > 512 ? 512 : n,
		.wire = wire_len,
		.out = out,
	};
	uint8_t first;

	memset(out, 0, sizeof(*out));
	out->len = wire_len;
	if (vlan_meta) {
		out->len += 4;
		out->vlan[out->vlans++] = vlan_meta % 65536;
	}
	if (ether) {
		oracle_ether(&o);
	} else if (oracle_take(&o, &first, 1)) {
		if (first / 16 == 4)
			out->eth_type = 0x0800;
		else if (first / 16 == 6)
			out->eth_type = 0x86dd;
		else
			oracle_flag(&o, WEIR_PKT_MALFORMED);
	}
	if (o.stopped)
		return;
	if (out->eth_type == 0x0800)
		oracle_ip4(&o);
	else if (out->eth_type == 0x86dd)
		oracle_ip6(&o);
	else if (out->eth_type == 0x0806)
		oracle_arp(&o);
}
