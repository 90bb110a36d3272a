/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/community.h"

#include <netinet/in.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/watch/sha1.h"

#define MESSAGE_MAX (2 + 16 + 16 + 1 + 1 + 2 + 2)
#define CACHE_BITS 8

/* Hashing costs more than the rest of a packet's JSON, and most packets belong
 * to a conversation just seen: its id is remembered. All zero = empty, because
 * no message is. */
static _Thread_local struct cached {
	uint8_t msg[MESSAGE_MAX];
	char id[WEIR_COMMUNITY_LEN];
} cache[1 << CACHE_BITS];

/* ICMP messages that answer each other take the place of the two ports. */
static const struct pair {
	uint8_t proto, ask, answer;
} pairs[] = {
	{ IPPROTO_ICMP, 8, 0 },	      /* echo */
	{ IPPROTO_ICMP, 10, 9 },      /* router solicitation, advertisement */
	{ IPPROTO_ICMP, 13, 14 },     /* timestamp */
	{ IPPROTO_ICMP, 15, 16 },     /* information */
	{ IPPROTO_ICMP, 17, 18 },     /* address mask */
	{ IPPROTO_ICMPV6, 128, 129 }, /* echo */
	{ IPPROTO_ICMPV6, 130, 131 }, /* multicast listener query, report */
	{ IPPROTO_ICMPV6, 133, 134 }, /* router solicitation, advertisement */
	{ IPPROTO_ICMPV6, 135, 136 }, /* neighbor solicitation, advertisement */
	{ IPPROTO_ICMPV6, 139, 140 }, /* node information */
	{ IPPROTO_ICMPV6, 144, 145 }, /* home agent discovery */
};

/* Both "ports"; returns whether the reverse direction exists. */
static bool icmp_ports(const struct weir_pkt *p, uint16_t *ret_src, uint16_t *ret_dst)
{
	*ret_src = p->icmp_type;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(pairs); i++) {
		if (pairs[i].proto != p->proto)
			continue;
		if (pairs[i].ask == p->icmp_type || pairs[i].answer == p->icmp_type) {
			*ret_dst = pairs[i].ask ^ pairs[i].answer ^ p->icmp_type;
			return true;
		}
	}
	*ret_dst = p->icmp_code;
	return false;
}

static void base64_20(const uint8_t in[WEIR_SHA1_LEN], char *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint8_t pad[WEIR_SHA1_LEN + 1] = { 0 };

	memcpy(pad, in, WEIR_SHA1_LEN);
	for (unsigned int i = 0; i < sizeof(pad); i += 3) {
		uint32_t v = (uint32_t)pad[i] << 16 | (uint32_t)pad[i + 1] << 8 | pad[i + 2];

		for (int shift = 18; shift >= 0; shift -= 6)
			*out++ = digits[v >> shift & 63];
	}
	out[-1] = '='; /* 20 bytes leave one digit of padding */
	*out = '\0';
}

/* @n bytes of @msg, zeros behind them. */
static const char *message_id(const uint8_t msg[MESSAGE_MAX], size_t n)
{
	uint64_t mixed = 0, w;
	struct cached *slot;
	uint8_t hash[WEIR_SHA1_LEN];

	_Static_assert(MESSAGE_MAX % sizeof(w) == 0, "the message is read in words");
	for (size_t i = 0; i < MESSAGE_MAX; i += sizeof(w)) {
		memcpy(&w, msg + i, sizeof(w));
		mixed = (mixed ^ w) * 0x9e3779b97f4a7c15ULL;
		mixed ^= mixed >> 32;
	}
	slot = &cache[mixed >> (64 - CACHE_BITS)];
	if (memcmp(slot->msg, msg, MESSAGE_MAX) != 0) {
		memcpy(slot->msg, msg, MESSAGE_MAX);
		weir_sha1(msg, n, hash);
		memcpy(slot->id, "1:", 2);
		base64_20(hash, slot->id + 2);
	}
	return slot->id;
}

bool weir_community_id(const struct weir_pkt *p, char ret[WEIR_COMMUNITY_LEN])
{
	uint8_t msg[MESSAGE_MAX] = { 0 }, *m = msg + 2;
	size_t alen = p->flags & WEIR_PKT_IP4 ? 4 : 16;
	const uint8_t *src = p->src + 16 - alen, *dst = p->dst + 16 - alen, *swap;
	uint16_t sport = p->sport, dport = p->dport, swap_port;
	bool two_way = true;
	int order;

	if (!(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return false;
	if (p->flags & WEIR_PKT_ICMP)
		two_way = icmp_ports(p, &sport, &dport);
	else if (!(p->flags & WEIR_PKT_PORTS) ||
		 (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP &&
		  p->proto != IPPROTO_SCTP))
		return false;
	order = memcmp(src, dst, alen);
	if (two_way && (order > 0 || (order == 0 && sport > dport))) {
		swap = src, src = dst, dst = swap;
		swap_port = sport, sport = dport, dport = swap_port;
	}
	memcpy(m, src, alen);
	memcpy(m + alen, dst, alen);
	m += 2 * alen;
	*m++ = p->proto;
	*m++ = 0;
	*m++ = (uint8_t)(sport >> 8);
	*m++ = (uint8_t)sport;
	*m++ = (uint8_t)(dport >> 8);
	*m++ = (uint8_t)dport;
	memcpy(ret, message_id(msg, (size_t)(m - msg)), WEIR_COMMUNITY_LEN);
	return true;
}
