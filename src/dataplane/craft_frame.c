/* SPDX-License-Identifier: GPL-2.0-only */
/* A frame from its parts: zeros of the right length, fields, then checksums. */
#include "dataplane/craft_impl.h"

#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/inet_sum.h"

#define VLAN_LEN 4
#define IP4_LEN 20
#define IP6_LEN 40
#define IP4_DONT_FRAGMENT 0x4000
#define WINDOW 0xffff
#define CRC32C_POLYNOMIAL 0x82f63b78u /* RFC 9260 appendix A, lowest bit first */

enum sum {
	SUM_NONE,
	SUM_PLAIN,  /* of the layer itself: ICMP */
	SUM_PSEUDO, /* with the addresses: all other Internet checksums */
	SUM_CRC32C,
};

static void put16(uint8_t *b, unsigned int v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static void put32(uint8_t *b, uint32_t v)
{
	put16(b, v >> 16);
	put16(b + 2, v & 0xffff);
}

/* Layer 4: each is given its header of zeros, but for the ports, and the length of
 * header and payload. */

static void fill_tcp(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	(void)len;
	put32(h + 4, 1); /* sequence number */
	if (r->tcp_flags & WEIR_TCP_ACK)
		put32(h + 8, 1);
	put16(h + 12, 5u << 12 | r->tcp_flags);
	put16(h + 14, WINDOW);
}

static void fill_udp(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	(void)r;
	put16(h + 4, (unsigned int)len);
}

static void fill_icmp(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	(void)len;
	h[0] = r->icmp_type;
	h[1] = r->icmp_code;
}

/* An INIT, which asks for an association as SYN does for a connection. */
static void fill_sctp(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	(void)r;
	h[12] = 1;
	put16(h + 14, (unsigned int)len - 12);
	put32(h + 16, 1); /* initiate tag */
	put32(h + 20, WINDOW);
	put16(h + 24, 1); /* streams out, in */
	put16(h + 26, 1);
	put32(h + 28, 1); /* transmission sequence number */
}

/* A Request with the long sequence number, as it must have. */
static void fill_dccp(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	(void)r;
	(void)len;
	h[4] = 5; /* words of header */
	h[8] = 1;
	h[15] = 1;
}

static const struct layer4 {
	uint8_t proto;
	bool ports;
	uint8_t len; /* of the header that is filled */
	uint8_t sum_at;
	enum sum sum;
	void (*fill)(uint8_t *h, const struct weir_recipe *r, size_t len);
} layers4[] = {
	{ IPPROTO_TCP, true, 20, 16, SUM_PSEUDO, fill_tcp },
	{ IPPROTO_UDP, true, 8, 6, SUM_PSEUDO, fill_udp },
	{ IPPROTO_ICMP, false, 8, 2, SUM_PLAIN, fill_icmp },
	{ IPPROTO_ICMPV6, false, 8, 2, SUM_PSEUDO, fill_icmp },
	{ IPPROTO_SCTP, true, 32, 8, SUM_CRC32C, fill_sctp },
	/* Its length field is how much the checksum covers: zero is all. */
	{ IPPROTO_UDPLITE, true, 8, 6, SUM_PSEUDO, NULL },
	{ IPPROTO_DCCP, true, 20, 6, SUM_PSEUDO, fill_dccp },
};

/* Nothing is known of any other: its packet is IP's header and the payload. */
static const struct layer4 *find_layer4(uint8_t proto)
{
	static const struct layer4 other;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(layers4); i++)
		if (layers4[i].proto == proto)
			return &layers4[i];
	return &other;
}

bool weir_recipe_has_ports(uint8_t proto)
{
	return find_layer4(proto)->ports;
}

/* Checksums */

static uint32_t crc32c(const uint8_t *b, size_t n)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < n; i++) {
		crc ^= b[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
	}
	return ~crc;
}

static void put_sum(uint8_t *h, size_t len, const struct weir_recipe *r, const struct layer4 *l)
{
	bool v4 = weir_addr_is_v4(&r->src);
	uint64_t sum = 0;
	uint16_t folded;
	uint32_t crc;

	if (l->sum == SUM_NONE)
		return;
	if (l->sum == SUM_CRC32C) {
		crc = __builtin_bswap32(crc32c(h, len)); /* sent from its lowest byte on */
		put32(h + l->sum_at, crc);
		return;
	}
	if (l->sum == SUM_PSEUDO) {
		sum = weir_inet_sum(len + r->proto, r->src.b + (v4 ? 12 : 0), v4 ? 4 : 16);
		sum = weir_inet_sum(sum, r->dst.b + (v4 ? 12 : 0), v4 ? 4 : 16);
	}
	folded = weir_inet_fold(weir_inet_sum(sum, h, len));
	/* Zero means "none" in UDP, and all ones are the same number. */
	put16(h + l->sum_at, folded ? folded : 0xffff);
}

/* Layers 2 and 3 */

void weir_craft_ether(uint8_t *frame, uint16_t type)
{
	static const uint8_t addrs[2 * ETH_ALEN] = {
		0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01,
	};

	memcpy(frame, addrs, sizeof(addrs));
	put16(frame + sizeof(addrs), type);
}

/* The Ethernet address that a group's is sent to. */
static void set_group(uint8_t *mac, const struct weir_addr *dst)
{
	const uint8_t *b = dst->b;

	if (!weir_addr_is_v4(dst)) {
		if (b[0] != 0xff)
			return;
		mac[0] = mac[1] = 0x33;
		memcpy(mac + 2, b + 12, 4);
	} else if (b[12] >> 4 == 0xe) {
		memcpy(mac, (const uint8_t[]){ 0x01, 0x00, 0x5e, b[13] & 0x7f, b[14], b[15] }, 6);
	} else if ((b[12] & b[13] & b[14] & b[15]) == 0xff) {
		memset(mac, 0xff, ETH_ALEN);
	}
}

static void put_layer2(uint8_t *frame, const struct weir_recipe *r)
{
	static const uint16_t tpids[WEIR_PKT_VLANS] = { ETH_P_8021AD, ETH_P_8021Q };
	uint16_t type = weir_addr_is_v4(&r->src) ? ETH_P_IP : ETH_P_IPV6;
	uint8_t *h = frame + ETH_HLEN - 2;

	weir_craft_ether(frame, type);
	set_group(frame, &r->dst);
	/* A single tag is the inner one. */
	for (unsigned int i = 0; i < r->vlans; i++, h += VLAN_LEN) {
		put16(h, tpids[WEIR_PKT_VLANS - r->vlans + i]);
		put16(h + 2, r->vlan[i]);
	}
	put16(h, type);
}

static void put_ip4(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	h[0] = 0x45;
	put16(h + 2, (unsigned int)len);
	put16(h + 6, IP4_DONT_FRAGMENT);
	h[8] = r->ttl;
	h[9] = r->proto;
	memcpy(h + 12, r->src.b + 12, 4);
	memcpy(h + 16, r->dst.b + 12, 4);
	put16(h + 10, weir_inet_fold(weir_inet_sum(0, h, IP4_LEN)));
}

static void put_ip6(uint8_t *h, const struct weir_recipe *r, size_t len)
{
	h[0] = 0x60;
	put16(h + 4, (unsigned int)(len - IP6_LEN));
	h[6] = r->proto;
	h[7] = r->ttl;
	memcpy(h + 8, r->src.b, sizeof(r->src.b));
	memcpy(h + 24, r->dst.b, sizeof(r->dst.b));
}

void weir_recipe_build(struct weir_craft *ret, const struct weir_recipe *r)
{
	const struct layer4 *l = find_layer4(r->proto);
	const bool v4 = weir_addr_is_v4(&r->src);
	const size_t l3 = ETH_HLEN + VLAN_LEN * r->vlans;
	const size_t l4 = l3 + (v4 ? IP4_LEN : IP6_LEN);
	uint8_t *h = ret->frame + l4;

	ret->len = r->size > l4 + l->len ? r->size : l4 + l->len;
	memset(ret->frame, 0, ret->len);
	put_layer2(ret->frame, r);
	if (v4)
		put_ip4(ret->frame + l3, r, ret->len - l3);
	else
		put_ip6(ret->frame + l3, r, ret->len - l3);
	if (l->ports) {
		put16(h, r->sport);
		put16(h + 2, r->dport);
	}
	if (l->fill)
		l->fill(h, r, ret->len - l4);
	put_sum(h, ret->len - l4, r, l);
}
