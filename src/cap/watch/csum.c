/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/csum.h"

#include <arpa/inet.h>
#include <endian.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"

#define ROUTING_HDR 8	     /* its fixed part */
#define CRC32C_POLY 0x82f63b78U /* reflected */

enum sum_kind {
	SUM_PLAIN,   /* Internet checksum of the message alone */
	SUM_PSEUDO,  /* with the pseudo header */
	SUM_UDP,     /* the same, its own length, 0 = none */
	SUM_UDPLITE, /* the pseudo header, and part of the message */
	SUM_DCCP,    /* likewise, another way to say which part */
	SUM_CRC32C,
};

static const struct sum_proto {
	uint8_t proto;
	uint8_t off;  /* of the field in the header */
	uint8_t min;  /* smallest header */
	uint8_t kind;
} sum_protos[] = {
	{ IPPROTO_TCP, 16, 20, SUM_PSEUDO },
	{ IPPROTO_UDP, 6, 8, SUM_UDP },
	{ IPPROTO_ICMP, 2, 4, SUM_PLAIN },
	{ IPPROTO_ICMPV6, 2, 4, SUM_PSEUDO },
	{ IPPROTO_IGMP, 2, 8, SUM_PLAIN },
	{ IPPROTO_SCTP, 8, 12, SUM_CRC32C },
	{ IPPROTO_UDPLITE, 6, 8, SUM_UDPLITE },
	{ IPPROTO_DCCP, 6, 12, SUM_DCCP },
};

/* Sum of 16-bit words in memory order, unfolded. Adding the halves of 64-bit
 * words keeps the carries inside: 2^32 additions fit. */
static uint64_t sum_bytes(const uint8_t *p, size_t n)
{
	uint64_t low = 0, high = 0, w;
	uint8_t rest[8] = { 0 };

	for (; n >= 8; n -= 8, p += 8) {
		memcpy(&w, p, 8);
		low += w & 0xffffffff;
		high += w >> 32;
	}
	memcpy(rest, p, n);
	memcpy(&w, rest, 8);
	return low + (w & 0xffffffff) + high + (w >> 32);
}

static uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

static uint32_t crc32c_table[256];

static void crc32c_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c >> 1 ^ (c & 1 ? CRC32C_POLY : 0);
		crc32c_table[i] = c;
	}
}

static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		crc = crc32c_table[(crc ^ p[i]) & 0xff] ^ crc >> 8;
	return crc;
}

/* A Home Address option stands in for the source (RFC 6275, 11.3.1). */
static void home_address(const uint8_t *opts, uint32_t n, uint8_t src[16])
{
	for (uint32_t i = 2; i + 1 < n;) {
		if (!opts[i]) {
			i++;
			continue;
		}
		if (opts[i] == 0xc9 && opts[i + 1] == 16 && i + 18 <= n)
			memcpy(src, opts + i + 2, 16);
		i += 2U + opts[i + 1];
	}
}

/* The pseudo header names the last hop, while the IPv6 header names the next.
 * False where the route is not readable here. */
static bool final_ends6(const struct weir_packet *p, uint8_t src[16], uint8_t dst[16])
{
	struct weir_ext e = { 0 };

	if (!(p->hdr.flags & WEIR_PKT_IP_OPTIONS))
		return true;
	while (weir_packet_next_ext(p, &e)) {
		const uint8_t *b = p->data + e.off;

		if (e.type == IPPROTO_DSTOPTS)
			home_address(b, e.len, src);
		if (e.type != IPPROTO_ROUTING || !b[3])
			continue;
		if (e.len < ROUTING_HDR + 16)
			return false;
		if (b[2] == 4) /* segment routing lists the last hop first */
			memcpy(dst, b + ROUTING_HDR, 16);
		else if (b[2] == 0 || b[2] == 2)
			memcpy(dst, b + (e.len - ROUTING_HDR) / 16 * 16 + ROUTING_HDR - 16, 16);
		else
			return false;
	}
	return true;
}

/* The same for IPv4's source routes. */
static void final_dst4(const struct weir_packet *p, uint8_t dst[4])
{
	const uint8_t *b = p->data + p->hdr.l3_off;
	uint32_t n = (b[0] & 15) * 4U;

	if (!weir_packet_at(p, p->hdr.l3_off, n))
		return;
	for (uint32_t i = WEIR_IP4_HLEN; i < n;) {
		if (b[i] == 0)
			return;
		if (b[i] == 1) {
			i++;
			continue;
		}
		if (i + 3 > n || b[i + 1] < 2 || i + b[i + 1] > n)
			return;
		if ((b[i] == 131 || b[i] == 137) && b[i + 1] >= 7 && b[i + 2] < b[i + 1])
			memcpy(dst, b + i + (b[i + 1] - 3) / 4 * 4 + 3 - 4, 4);
		i += b[i + 1];
	}
}

/* Unfolded sum of the pseudo header; false where an end is not known. */
static bool sum_pseudo(const struct weir_packet *p, uint32_t len, uint64_t *ret)
{
	uint8_t ph[40] = { 0 };
	uint32_t len_be = htonl(len);

	if (p->hdr.flags & WEIR_PKT_IP4) {
		memcpy(ph, p->hdr.src + 12, 4);
		memcpy(ph + 16, p->hdr.dst + 12, 4);
		if (p->hdr.flags & WEIR_PKT_IP_OPTIONS)
			final_dst4(p, ph + 16);
	} else {
		memcpy(ph, p->hdr.src, 16);
		memcpy(ph + 16, p->hdr.dst, 16);
		if (!final_ends6(p, ph, ph + 16))
			return false;
	}
	memcpy(ph + 32, &len_be, 4);
	ph[39] = p->hdr.proto;
	*ret = sum_bytes(ph, sizeof(ph));
	return true;
}

static const struct sum_proto *find_proto(uint8_t proto)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(sum_protos); i++)
		if (sum_protos[i].proto == proto)
			return &sum_protos[i];
	return NULL;
}

/* How many bytes from the transport header on the checksum covers; 0 = the
 * header contradicts itself. @b holds s->min bytes. */
static uint32_t covered(const struct sum_proto *s, const uint8_t *b, uint32_t len)
{
	uint32_t n = len;

	if (s->kind == SUM_UDP) {
		n = weir_be16(b + 4);
	} else if (s->kind == SUM_UDPLITE) {
		n = weir_be16(b + 4);
		if (!n)
			n = len;
	} else if (s->kind == SUM_DCCP && (b[5] & 15)) {
		n = b[4] * 4U + ((b[5] & 15) - 1U) * 4;
	}
	return n >= s->min && n <= len ? n : 0;
}

static void check_crc32c(const uint8_t *b, struct weir_csum_result *r)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	static const uint8_t zero[4];
	uint32_t crc;

	pthread_once(&once, crc32c_init);
	crc = crc32c(~0U, b, 8);
	crc = crc32c(crc, zero, 4);
	crc = ~crc32c(crc, b + 12, r->need - 12);
	r->expected = ntohl(htole32(crc));
	if (r->expected == r->found)
		r->verdict = WEIR_CSUM_OK;
	else /* the stack leaves 0 where the device is to fill it in */
		r->verdict = r->found ? WEIR_CSUM_BAD : WEIR_CSUM_UNDONE;
}

static void check_sum(const struct weir_packet *p, const struct sum_proto *s,
		      const uint8_t *b, uint32_t len, struct weir_csum_result *r)
{
	uint64_t pseudo = 0;
	uint16_t field, total;

	if (s->kind != SUM_PLAIN &&
	    !sum_pseudo(p, s->kind == SUM_UDP ? r->need : len, &pseudo))
		return;
	memcpy(&field, b + s->off, 2);
	total = fold(pseudo + sum_bytes(b, r->need));
	r->expected = ntohs((uint16_t)~fold(total + (uint64_t)(uint16_t)~field));
	if (!r->expected && (s->kind == SUM_UDP || s->kind == SUM_UDPLITE))
		r->expected = 0xffff;
	if (total == 0xffff)
		r->verdict = WEIR_CSUM_OK;
	else if (s->kind != SUM_PLAIN && field == fold(pseudo))
		r->verdict = WEIR_CSUM_UNDONE;
	else
		r->verdict = WEIR_CSUM_BAD;
}

void weir_packet_csum_explain(const struct weir_packet *p,
			      struct weir_csum_result *ret)
{
	const struct sum_proto *s = NULL;
	uint32_t len = weir_packet_l4_len(p);
	const uint8_t *b;

	*ret = (struct weir_csum_result){ .verdict = WEIR_CSUM_NONE, .width = 2 };
	if (p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6) && p->hdr.l4_off)
		s = find_proto(p->hdr.proto);
	if (!s)
		return;
	ret->verdict = WEIR_CSUM_UNKNOWN;
	ret->need = len;
	ret->have = weir_packet_left(p, p->hdr.l4_off);
	if (ret->have > len)
		ret->have = len;
	if (p->hdr.flags & (WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER))
		return;
	b = weir_packet_at(p, p->hdr.l4_off, s->min);
	if (!b || len < s->min)
		return;
	ret->off = p->hdr.l4_off + s->off;
	ret->width = s->kind == SUM_CRC32C ? 4 : 2;
	ret->found = s->kind == SUM_CRC32C ? weir_be32(b + s->off) : weir_be16(b + s->off);
	if (p->ev.flags & WEIR_WATCH_CSUM_UNDONE || p->ev.gso_size) {
		ret->verdict = WEIR_CSUM_UNDONE;
		return;
	}
	if (s->kind == SUM_UDP && !ret->found && p->hdr.flags & WEIR_PKT_IP4) {
		ret->verdict = WEIR_CSUM_NONE;
		return;
	}
	ret->need = covered(s, b, len);
	if (ret->need && ret->need <= weir_packet_left(p, p->hdr.l4_off)) {
		ret->have = ret->need;
		if (s->kind == SUM_CRC32C)
			check_crc32c(b, ret);
		else
			check_sum(p, s, b, len, ret);
	}
	/* The device's word may be about a header further in: a sum that can be
	 * made here counts for more. */
	if (p->ev.flags & WEIR_WATCH_CSUM_OK && ret->verdict == WEIR_CSUM_UNKNOWN)
		ret->verdict = WEIR_CSUM_OK;
}

void weir_packet_ip_csum_explain(const struct weir_packet *p,
				 struct weir_csum_result *ret)
{
	const uint8_t *b;
	uint16_t field, total;

	*ret = (struct weir_csum_result){ .verdict = WEIR_CSUM_NONE, .width = 2 };
	if (!(p->hdr.flags & WEIR_PKT_IP4))
		return;
	ret->verdict = WEIR_CSUM_UNKNOWN;
	ret->have = weir_packet_left(p, p->hdr.l3_off);
	b = weir_packet_at(p, p->hdr.l3_off, 20);
	if (!b)
		return;
	ret->need = (b[0] & 15) * 4U;
	ret->off = p->hdr.l3_off + 10U;
	ret->found = weir_be16(b + 10);
	if (ret->need < 20 || ret->need > ret->have)
		return;
	ret->have = ret->need;
	memcpy(&field, b + 10, 2);
	total = fold(sum_bytes(b, ret->need));
	ret->expected = ntohs((uint16_t)~fold(total + (uint64_t)(uint16_t)~field));
	ret->verdict = total == 0xffff ? WEIR_CSUM_OK : WEIR_CSUM_BAD;
}

enum weir_csum weir_packet_csum(const struct weir_packet *p)
{
	struct weir_csum_result r;

	weir_packet_csum_explain(p, &r);
	return r.verdict;
}

enum weir_csum weir_packet_ip_csum(const struct weir_packet *p)
{
	struct weir_csum_result r;

	weir_packet_ip_csum_explain(p, &r);
	return r.verdict;
}
