/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/fields.h"

#include <stddef.h>
#include <string.h>

#include "cap/watch/bytes.h"
#include "cap/watch/community.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/names.h"
#include "cap/watch/owners.h"

#define IP (WEIR_PKT_IP4 | WEIR_PKT_IP6)

const struct weir_field weir_fields[WEIR_PACKET_FIELD_MAX] = {
#define JSON_KEY(key) ",\"" key "\":"
#define X(id, key, label, kind) \
	{ JSON_KEY(key), sizeof(JSON_KEY(key)) - 1, label, WEIR_VALUE_##kind },
	WEIR_PACKET_FIELDS(X)
#undef X
};

static bool get_protocol(const struct weir_packet *p, struct weir_value *ret)
{
	char *end;

	ret->str = ret->text;
	if (p->hdr.flags & IP) {
		ret->str = weir_names_find(&weir_names_proto, p->hdr.proto);
		if (ret->str)
			return true;
		end = stpcpy(ret->text, "proto-");
		if (p->hdr.proto >= 100)
			*end++ = (char)('0' + p->hdr.proto / 100);
		if (p->hdr.proto >= 10)
			*end++ = (char)('0' + p->hdr.proto / 10 % 10);
		*end++ = (char)('0' + p->hdr.proto % 10);
		*end = '\0';
		ret->str = ret->text;
		return true;
	}
	ret->str = "arp";
	return p->hdr.flags & WEIR_PKT_ARP;
}

/* ARP over anything but Ethernet and IPv4 tells no addresses. */
static bool has_ends(const struct weir_packet *p)
{
	return p->hdr.flags & IP || (p->hdr.flags & WEIR_PKT_ARP && p->hdr.src[11] == 0xff);
}

static bool get_src_ip(const struct weir_packet *p, struct weir_value *ret)
{
	ret->bytes = p->hdr.src;
	ret->v6 = p->hdr.flags & WEIR_PKT_IP6;
	return has_ends(p);
}

static bool get_dst_ip(const struct weir_packet *p, struct weir_value *ret)
{
	ret->bytes = p->hdr.dst;
	ret->v6 = p->hdr.flags & WEIR_PKT_IP6;
	return has_ends(p);
}

static bool get_iface(const struct weir_packet *p, struct weir_value *ret)
{
	ret->str = p->iface;
	return p->iface && strcmp(p->iface, "?") != 0;
}

static bool get_direction(const struct weir_packet *p, struct weir_value *ret)
{
	ret->str = p->ev.dir == WEIR_WATCH_IN ? "in" : "out";
	return p->ev.dir == WEIR_WATCH_IN || p->ev.dir == WEIR_WATCH_OUT;
}

static bool get_tcp_flags(const struct weir_packet *p, struct weir_value *ret)
{
	weir_format_tcp_letters(p->hdr.tcp_flags, ret->text);
	ret->str = ret->text;
	return p->hdr.flags & WEIR_PKT_TCP;
}

static bool get_vlan(const struct weir_packet *p, struct weir_value *ret)
{
	ret->num = p->hdr.vlan[0] & 0xfff;
	return p->hdr.vlans > 0;
}

static bool get_vlan_inner(const struct weir_packet *p, struct weir_value *ret)
{
	ret->num = p->hdr.vlan[1] & 0xfff;
	return p->hdr.vlans > 1;
}

static bool get_fragment(const struct weir_packet *p, struct weir_value *ret)
{
	if (!(p->hdr.flags & WEIR_PKT_FRAG_LATER))
		ret->str = p->hdr.flags & WEIR_PKT_FRAG_MORE ? "first" : "only";
	else
		ret->str = p->hdr.flags & WEIR_PKT_FRAG_MORE ? "middle" : "last";
	return p->hdr.flags & WEIR_PKT_FRAGMENT;
}

static bool get_ethertype(const struct weir_packet *p, struct weir_value *ret)
{
	ret->num = p->hdr.eth_type;
	return p->hdr.flags & WEIR_PKT_ETHER && p->hdr.eth_type >= WEIR_ETHERTYPE_MIN;
}

static bool get_ip_id(const struct weir_packet *p, struct weir_value *ret)
{
	struct weir_ext e = { 0 };
	const uint8_t *b;

	if (p->hdr.flags & WEIR_PKT_IP4) {
		b = weir_packet_at(p, p->hdr.l3_off, 20);
		if (b)
			ret->num = weir_be16(b + 4);
		return b != NULL;
	}
	if (!(p->hdr.flags & WEIR_PKT_FRAGMENT))
		return false;
	while (weir_packet_next_ext(p, &e)) {
		if (e.type == 44) {
			ret->num = weir_be32(p->data + e.off + 4);
			return true;
		}
	}
	return false;
}

static bool get_flow_label(const struct weir_packet *p, struct weir_value *ret)
{
	const uint8_t *b = weir_packet_at(p, p->hdr.l3_off, 4);

	if (!b || !(p->hdr.flags & WEIR_PKT_IP6))
		return false;
	ret->num = weir_be32(b) & 0xfffff;
	return true;
}

static bool get_checksum_ok(const struct weir_packet *p, struct weir_value *ret)
{
	enum weir_csum c = weir_packet_csum(p);

	ret->num = c == WEIR_CSUM_OK;
	return c == WEIR_CSUM_OK || c == WEIR_CSUM_BAD;
}

static bool get_community_id(const struct weir_packet *p, struct weir_value *ret)
{
	ret->str = ret->text;
	return weir_community_id(&p->hdr, ret->text);
}

/* One of an owner's, by its place there; peers have the same. */
static bool get_owned(const struct weir_owner_text *o, enum weir_packet_field field,
		      struct weir_value *ret)
{
	if (!o)
		return false;
	switch ((int)field) {
	case WEIR_PACKET_PID:
		ret->num = o->pid;
		return true;
	case WEIR_PACKET_COMM:
		ret->str = o->comm;
		return true;
	case WEIR_PACKET_CGROUP:
		ret->str = o->cgroup;
		return o->cgroup;
	case WEIR_PACKET_NETNS:
		ret->num = o->netns;
		return true;
	case WEIR_PACKET_NETNS_NAME:
		ret->str = o->netns_name;
		return o->netns_name;
	}
	ret->num = true;
	return o->guessed;
}

static bool get_verdict(const struct weir_packet *p, struct weir_value *ret)
{
	static const char *const words[] = {
		[WEIR_WATCH_PASS] = "pass",
		[WEIR_WATCH_DROP] = "drop",
		[WEIR_WATCH_TX] = "tx",
		[WEIR_WATCH_TAKEN] = "taken",
	};

	if (p->ev.verdict >= WEIR_ARRAY_SIZE(words))
		return false;
	ret->str = words[p->ev.verdict];
	return ret->str != NULL;
}

static bool get_rule(const struct weir_packet *p, struct weir_value *ret)
{
	ret->str = p->rule;
	return p->rule != NULL;
}

/* Where a field comes from: a function, a member of the packet, or a number of
 * the TCP header. */
static const struct source {
	bool (*get)(const struct weir_packet *p, struct weir_value *ret);
	uint16_t needs;	    /* one of these WEIR_PKT_* flags */
	uint16_t tcp_needs; /* one of these TCP flags */
	uint16_t at;	    /* offset in struct weir_packet, or in the TCP header */
	uint8_t width;	    /* of the member, 0: an array */
	uint8_t tcp_width;  /* of the number in the TCP header */
} sources[WEIR_PACKET_FIELD_MAX] = {
#define MEMBER(m) \
	.at = offsetof(struct weir_packet, m), .width = sizeof(((struct weir_packet *)0)->m)
#define ARRAY(m) .at = offsetof(struct weir_packet, m)
	[WEIR_PACKET_PROTOCOL] = { .get = get_protocol },
	[WEIR_PACKET_SRC_IP] = { .get = get_src_ip },
	[WEIR_PACKET_SRC_PORT] = { .needs = WEIR_PKT_PORTS, MEMBER(hdr.sport) },
	[WEIR_PACKET_DST_IP] = { .get = get_dst_ip },
	[WEIR_PACKET_DST_PORT] = { .needs = WEIR_PKT_PORTS, MEMBER(hdr.dport) },
	[WEIR_PACKET_IFACE] = { .get = get_iface },
	[WEIR_PACKET_DIRECTION] = { .get = get_direction },
	[WEIR_PACKET_SIZE] = { MEMBER(ev.len) },
	[WEIR_PACKET_TCP_FLAGS] = { .get = get_tcp_flags },
	[WEIR_PACKET_VLAN] = { .get = get_vlan },
	[WEIR_PACKET_VLAN_INNER] = { .get = get_vlan_inner },
	[WEIR_PACKET_FRAGMENT] = { .get = get_fragment },
	[WEIR_PACKET_ETH_SRC] = { .needs = WEIR_PKT_ETHER, ARRAY(hdr.eth_src) },
	[WEIR_PACKET_ETH_DST] = { .needs = WEIR_PKT_ETHER, ARRAY(hdr.eth_dst) },
	[WEIR_PACKET_ETHERTYPE] = { .get = get_ethertype },
	[WEIR_PACKET_IP_ID] = { .get = get_ip_id },
	[WEIR_PACKET_TOS] = { .needs = IP, MEMBER(hdr.tos) },
	[WEIR_PACKET_TTL] = { .needs = IP, MEMBER(hdr.ttl) },
	[WEIR_PACKET_FLOW_LABEL] = { .get = get_flow_label },
	[WEIR_PACKET_FRAG_OFFSET] = { .needs = WEIR_PKT_FRAGMENT, MEMBER(hdr.frag_off) },
	[WEIR_PACKET_SEQ] = { .needs = WEIR_PKT_TCP, .at = 4, .tcp_width = 4 },
	[WEIR_PACKET_ACK] = { .needs = WEIR_PKT_TCP, .at = 8, .tcp_width = 4,
			      .tcp_needs = WEIR_TCP_ACK },
	[WEIR_PACKET_WINDOW] = { .needs = WEIR_PKT_TCP, .at = 14, .tcp_width = 2 },
	[WEIR_PACKET_URGENT] = { .needs = WEIR_PKT_TCP, .at = 18, .tcp_width = 2,
				 .tcp_needs = WEIR_TCP_URG },
	[WEIR_PACKET_ICMP_TYPE] = { .needs = WEIR_PKT_ICMP, MEMBER(hdr.icmp_type) },
	[WEIR_PACKET_ICMP_CODE] = { .needs = WEIR_PKT_ICMP, MEMBER(hdr.icmp_code) },
	[WEIR_PACKET_CHECKSUM_OK] = { .get = get_checksum_ok },
	[WEIR_PACKET_COMMUNITY_ID] = { .get = get_community_id },
	[WEIR_PACKET_VERDICT] = { .get = get_verdict },
	[WEIR_PACKET_RULE] = { .get = get_rule },
#undef MEMBER
#undef ARRAY
};

bool weir_field_get(const struct weir_packet *p, enum weir_packet_field id,
		    struct weir_value *ret)
{
	const struct source *s = &sources[id];
	const uint8_t *b = (const uint8_t *)p + s->at;

	if (s->get)
		return s->get(p, ret);
	if (id >= WEIR_PACKET_PID && id <= WEIR_PACKET_OWNER_GUESSED)
		return get_owned(p->owner, id, ret);
	if (id >= WEIR_PACKET_PEER_PID && id <= WEIR_PACKET_PEER_GUESSED)
		return get_owned(p->peer, WEIR_PACKET_PID + (id - WEIR_PACKET_PEER_PID), ret);
	if (s->needs && !(p->hdr.flags & s->needs))
		return false;
	if (s->tcp_needs && !(p->hdr.tcp_flags & s->tcp_needs))
		return false;
	if (s->tcp_width) {
		b = weir_packet_at(p, p->hdr.l4_off + s->at, s->tcp_width);
		if (!b)
			return false;
		ret->num = s->tcp_width == 4 ? weir_be32(b) : weir_be16(b);
		return true;
	}
	switch (s->width) {
	case 0:
		ret->bytes = b;
		break;
	case 1:
		ret->num = *b;
		break;
	case 2:
		ret->num = *(const uint16_t *)(const void *)b;
		break;
	default:
		ret->num = *(const uint32_t *)(const void *)b;
	}
	return true;
}
