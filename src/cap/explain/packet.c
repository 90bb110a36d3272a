/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel looks at before it asks where a packet goes. */
#include <netinet/in.h>

#include "base/inet_sum.h"
#include "cap/explain/explain.h"
#include "dataplane/craft.h"

static bool is_header_sound(const struct weir_road *r, const struct weir_pkt *p)
{
	const uint8_t *ip = r->packet->frame + p->l3_off;
	size_t n = (ip[0] & 0xfU) * 4;

	return !(p->flags & WEIR_PKT_IP4) || p->l3_off + n > r->packet->len ||
	       !weir_inet_fold(weir_inet_sum(0, ip, n));
}

static size_t udp_length(const uint8_t *udp)
{
	return (size_t)udp[4] << 8 | udp[5];
}

/* What says that there are more bytes than there are, or NULL. */
static const char *what_is_short(const struct weir_road *r, const struct weir_pkt *p)
{
	size_t end = p->l3_off + (size_t)p->l3_len, len;

	if (p->l3_len && end > r->packet->len)
		return "IP";
	if (!r->udp || !p->l4_off || end < p->l4_off + 8U)
		return NULL;
	len = udp_length(r->packet->frame + p->l4_off);
	/* Nothing: a jumbogram of IPv6. */
	return len > end - p->l4_off || (len && len < 8) ? "UDP" : NULL;
}

/* True also where it cannot be known: not all of the datagram is there. */
static bool is_payload_sound(const struct weir_road *r, const struct weir_pkt *p)
{
	bool v4 = p->flags & WEIR_PKT_IP4;
	size_t end = p->l3_off + (size_t)p->l3_len, skip = v4 ? 12 : 0, len;
	const uint8_t *data = r->packet->frame + p->l4_off;
	uint64_t sum;

	/* An IPv6 header on the way may name another destination than the checksum's. */
	if (!(r->tcp || r->udp) || (!v4 && p->flags & WEIR_PKT_IP_OPTIONS) || !p->l4_off ||
	    end > r->packet->len || end < p->l4_off + 8U)
		return true;
	/* UDP without a checksum. */
	if (r->udp && v4 && !data[6] && !data[7])
		return true;
	len = end - p->l4_off;
	if (r->udp && udp_length(data) != len)
		return true;
	sum = p->proto + len;
	sum = weir_inet_sum(sum, r->src.b + skip, 16 - skip);
	sum = weir_inet_sum(sum, r->dst.b + skip, 16 - skip);
	return !weir_inet_fold(weir_inet_sum(sum, data, len));
}

/* What needs more than this packet, or another interface, before it goes on. */
static const char *what_is_open(const struct weir_pkt *p)
{
	if (p->flags & WEIR_PKT_MORE_VLANS || (p->vlans && (p->vlan[0] & 0xfff)))
		return "it is tagged: a VLAN interface on top gets it, if there is one for its tag";
	if (p->flags & (WEIR_PKT_TRUNCATED | WEIR_PKT_MALFORMED))
		return "its headers are cut off, or contradict themselves";
	if (p->flags & WEIR_PKT_FRAGMENT)
		return "a fragment: what is for this host waits until all of its datagram are there";
	return NULL;
}

bool weir_explain_packet(struct weir_road *r, const struct weir_pkt *p)
{
	const char *why = what_is_open(p);

	if (!is_header_sound(r, p)) {
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "the checksum of its IPv4 header is wrong");
		return false;
	}
	if (why) {
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_UNKNOWN, NULL, "%s", why);
		return false;
	}
	why = what_is_short(r, p);
	if (why) {
		weir_road_add(r, WEIR_ROAD_ROUTE, WEIR_STEP_DROP, NULL,
			      "its %s header tells of bytes that are not there", why);
		return false;
	}
	if (!is_payload_sound(r, p))
		weir_road_add(
			r, WEIR_ROAD_ROUTE, WEIR_STEP_UNKNOWN, NULL,
			"its %s checksum is wrong: this host drops it, unless the card vouches "
			"for it",
			r->tcp ? "TCP" : "UDP");
	return true;
}
