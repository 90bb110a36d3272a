/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/bytes.h"

#include <netinet/in.h>

#include "bpf/parse.bpf.h"

static bool first_ext(const struct weir_packet *p, struct weir_ext *e)
{
	bool v4 = p->hdr.flags & WEIR_PKT_IP4;
	uint32_t n = v4 ? WEIR_IP4_HLEN : WEIR_IP6_HLEN;
	const uint8_t *b = weir_packet_at(p, p->hdr.l3_off, n);

	if (!b || !(p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return false;
	e->off = p->hdr.l3_off + (v4 ? (b[0] & 15U) * 4 : n);
	e->next = v4 ? b[9] : b[6];
	e->last = v4 && p->hdr.flags & WEIR_PKT_FRAG_LATER;
	return true;
}

bool weir_packet_next_ext(const struct weir_packet *p, struct weir_ext *e)
{
	const uint8_t *b;

	if (e->off) {
		e->off += e->len;
		e->index++;
	} else if (!first_ext(p, e)) {
		return false;
	}
	e->type = e->next;
	e->len = 0;
	b = weir_packet_at(p, e->off, WEIR_IP6_EXT_MIN);
	if (!b || e->last || e->index >= WEIR_PKT_EXT_MAX ||
	    !weir_is_ext(e->type, p->hdr.flags & WEIR_PKT_IP6))
		return false;
	e->len = (b[1] + 1U) * 8;
	if (e->type == IPPROTO_AH)
		e->len = (b[1] + 2U) * 4;
	if (e->type == IPPROTO_FRAGMENT) {
		e->len = WEIR_IP6_EXT_MIN;
		e->last = weir_be16(b + 2) & WEIR_IP6_FRAG_OFFSET;
	}
	e->next = b[0];
	return weir_packet_at(p, e->off, e->len) != NULL;
}

bool weir_packet_inner(const struct weir_packet *p, uint32_t off,
		       struct weir_packet *ret)
{
	uint32_t end = weir_packet_l3_end(p);
	uint32_t n = weir_packet_left(p, off);

	if (!n || off >= end)
		return false;
	*ret = (struct weir_packet){
		.ev = { .ts = p->ev.ts, .len = end - off, .flags = WEIR_WATCH_NO_L2 },
		.data = p->data + off,
		.iface = p->iface,
		.wire_packets = 1,
	};
	ret->ev.caplen = n < end - off ? n : end - off;
	weir_parse(&ret->hdr, ret->data, ret->data + ret->ev.caplen, WEIR_L2_NONE, 0,
		   ret->ev.len);
	return ret->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6);
}
