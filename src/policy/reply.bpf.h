/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What passes a default of drop without a rule: answers to what went the other way,
 * and what a network does not work without.
 *
 * A program defines, before it includes this, how bytes of its packet are read
 * (0, or a negative errno):
 *
 *	static __always_inline long weir_load_bytes(void *ctx, __u32 off, void *to, __u32 n)
 *
 * @off counts from the frame's first byte, as struct weir_pkt's offsets do.
 *
 * An answer is known by addresses, protocol and ports (or the identifier of an echo)
 * and by how long ago the host last sent what it answers. As with conntrack, TCP
 * connections may be silent for days; but no SYN that opens a connection is an
 * answer, only what has ACK or RST set. Later fragments go as their first one
 * (policy/fragment.bpf.h); errors about what was sent are essential below.
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "policy/abi.h"
#include "policy/tick.bpf.h"

/* For so many seconds an answer may come. */
#define WEIR_REPLY_TCP (5 * 24 * 3600)
#define WEIR_REPLY_UDP 180
#define WEIR_REPLY_ECHO 30
#define WEIR_REPLY_OTHER 600
/* Between 0.25 and 2.5 seconds, as long as the kernel's tick is. */
#define WEIR_REPLY_TICKS 250

#define WEIR_ICMP_ECHO_ID 4 /* offset of the identifier */
#define WEIR_ICMP_ECHO_REPLY 0
#define WEIR_ICMP_ECHO 8
#define WEIR_ICMP6_ECHO 128
#define WEIR_ICMP6_ECHO_REPLY 129

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, WEIR_REPLIES);
	__type(key, struct weir_reply_key);
	__type(value, struct weir_reply);
} weir_replies SEC(".maps");

/* ICMP: a request may have an answer, and a reply be one; the identifier is the same. */
static __always_inline bool weir_reply_echo(void *ctx, const struct weir_pkt *p, bool question,
					    struct weir_reply_key *k)
{
	__u32 type = question ? WEIR_ICMP_ECHO : WEIR_ICMP_ECHO_REPLY;
	__u16 id;

	if (p->flags & WEIR_PKT_IP6)
		type = question ? WEIR_ICMP6_ECHO : WEIR_ICMP6_ECHO_REPLY;
	if (p->icmp_type != type ||
	    weir_load_bytes(ctx, p->l4_off + WEIR_ICMP_ECHO_ID, &id, sizeof(id)))
		return false;
	k->sport = k->dport = WEIR_BE16(id);
	return true;
}

/* The key of an answer: of the packet itself, or of what would answer it (@question).
 * Returns false where it is none, or would have none. @out: the answer leaves. */
static __always_inline bool weir_reply_key_of(void *ctx, const struct weir_pkt *p, bool question,
					      bool out, struct weir_reply_key *k)
{
	__u32 flags = p->flags, tcp = p->tcp_flags;

	if (!(flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)) ||
	    flags & (WEIR_PKT_STOP | WEIR_PKT_FRAG_LATER))
		return false;
	__builtin_memcpy(k->src, question ? p->dst : p->src, sizeof(k->src));
	__builtin_memcpy(k->dst, question ? p->src : p->dst, sizeof(k->dst));
	k->sport = question ? p->dport : p->sport;
	k->dport = question ? p->sport : p->dport;
	k->proto = p->proto;
	k->out = out;
	k->pad[0] = k->pad[1] = 0;
	if (flags & WEIR_PKT_ICMP)
		return weir_reply_echo(ctx, p, question, k);
	if (!(flags & WEIR_PKT_TCP))
		return true;
	/* A reset is the last word. A SYN with ACK answers whoever forged a SYN; that
	 * must not take the place of a connection. */
	if (question)
		return !(tcp & WEIR_TCP_RST) &&
		       (tcp & (WEIR_TCP_SYN | WEIR_TCP_ACK)) != (WEIR_TCP_SYN | WEIR_TCP_ACK);
	return tcp & WEIR_TCP_ACK || (tcp & WEIR_TCP_RST && !(tcp & WEIR_TCP_SYN));
}

static __always_inline __u64 weir_reply_seconds(const struct weir_pkt *p)
{
	if (p->flags & WEIR_PKT_TCP)
		return WEIR_REPLY_TCP;
	if (p->flags & WEIR_PKT_ICMP)
		return WEIR_REPLY_ECHO;
	if (p->proto == WEIR_IPPROTO_UDP || p->proto == WEIR_IPPROTO_UDPLITE)
		return WEIR_REPLY_UDP;
	return WEIR_REPLY_OTHER;
}

/* Is the packet of @s, which comes in (@out: leaves), an answer? */
static __always_inline bool weir_reply_known(void *ctx, const struct weir_scratch *s, bool out)
{
	const struct weir_reply *r;
	struct weir_reply_key k;

	if (!weir_reply_key_of(ctx, &s->pkt, false, out, &k))
		return false;
	r = bpf_map_lookup_elem(&weir_replies, &k);
	return r && weir_tick_within(bpf_jiffies64(), r->last, weir_reply_seconds(&s->pkt));
}

/* The packet leaves (@out: comes in): remember what would answer it. An entry is
 * written about once a second, since reading is cheaper than sharing it among CPUs. */
static __always_inline void weir_reply_learn(void *ctx, const struct weir_pkt *p, bool out)
{
	struct weir_reply fresh = { .last = bpf_jiffies64() };
	struct weir_reply_key k;
	struct weir_reply *r;

	if (!weir_reply_key_of(ctx, p, true, out, &k))
		return;
	r = bpf_map_lookup_elem(&weir_replies, &k);
	if (!r)
		bpf_map_update_elem(&weir_replies, &k, &fresh, BPF_ANY);
	else if (fresh.last - r->last >= WEIR_REPLY_TICKS)
		r->last = fresh.last;
}

/* ---- What a network does not work without */

/* RFC 792, RFC 4443: errors, about what was sent. Redirects and source quenches are
 * none that a host needs; path MTU discovery is 3/4 and 2. */
#define WEIR_ICMP_ERRORS (1U << 3 | 1U << 11 | 1U << 12)
#define WEIR_ICMP6_ERRORS (1U << 1 | 1U << 2 | 1U << 3 | 1U << 4)
/* RFC 4861: solicitations, advertisements and redirects, from this link only. */
#define WEIR_ICMP6_ND_FIRST 133
#define WEIR_ICMP6_ND_LAST 137
#define WEIR_ND_HOPS 255
/* RFC 2710, RFC 3810: multicast listener discovery, without which a switch that
 * snoops stops handing neighbour solicitations on (RFC 4890, section 4.4.1). */
#define WEIR_ICMP6_MLD_FIRST 130
#define WEIR_ICMP6_MLD_LAST 132
#define WEIR_ICMP6_MLD2_REPORT 143
#define WEIR_MLD_HOPS 1
#define WEIR_IPPROTO_IGMP 2 /* its twin of IPv4 (RFC 3376) */

#define WEIR_PORT_DHCP_SERVER 67
#define WEIR_PORT_DHCP_CLIENT 68
#define WEIR_PORT_DHCP6_CLIENT 546
#define WEIR_PORT_DHCP6_SERVER 547

#define WEIR_ETH_EAPOL 0x888e

static __always_inline bool weir_is_essential_icmp(const struct weir_pkt *p)
{
	__u32 type = p->icmp_type;

	if (p->flags & WEIR_PKT_IP4)
		return type < 32 && WEIR_ICMP_ERRORS >> type & 1;
	if (type < 32)
		return WEIR_ICMP6_ERRORS >> type & 1;
	if ((type >= WEIR_ICMP6_MLD_FIRST && type <= WEIR_ICMP6_MLD_LAST) ||
	    type == WEIR_ICMP6_MLD2_REPORT)
		return p->ttl == WEIR_MLD_HOPS;
	return type >= WEIR_ICMP6_ND_FIRST && type <= WEIR_ICMP6_ND_LAST &&
	       p->ttl == WEIR_ND_HOPS && !p->icmp_code;
}

static __always_inline bool weir_is_essential_dhcp(const struct weir_pkt *p, bool out)
{
	__u32 server = WEIR_PORT_DHCP_SERVER, client = WEIR_PORT_DHCP_CLIENT;

	if (p->flags & WEIR_PKT_IP6) {
		server = WEIR_PORT_DHCP6_SERVER;
		client = WEIR_PORT_DHCP6_CLIENT;
	}
	return out ? p->sport == client && p->dport == server :
		     p->sport == server && p->dport == client;
}

/*
 * Does a host need this packet, which comes in (@out: leaves), whatever its rules?
 *
 *  - ARP, neighbour discovery and the discovery of multicast listeners (MLD, IGMP),
 *    with the hop limits that only the link can give
 *  - to a DHCP client its server's answers, and its questions
 *  - ICMP errors, packet too big among them (RFC 4890, section 4.3.1)
 *  - what keeps the link itself up, and carries no user's data: 802.1X, and frames to
 *    the group addresses 01:80:c2:00:00:00 to :0f, which no bridge hands on (802.1Q,
 *    8.6.3: spanning tree, LACP, 802.1X, LLDP). A bond whose LACP is dropped goes
 *    down, and a port whose 802.1X is dropped is shut.
 *
 * Any other frame that is neither IP nor ARP (PPPoE, MPLS, ...) could carry
 * packets past the rules, and needs one of its own.
 */
static __always_inline bool weir_is_essential(const struct weir_pkt *p, bool out)
{
	__u32 flags = p->flags;

	if (flags & (WEIR_PKT_STOP | WEIR_PKT_FRAG_LATER))
		return false;
	if (flags & WEIR_PKT_ARP)
		return true;
	if (flags & WEIR_PKT_ICMP)
		return weir_is_essential_icmp(p);
	if (flags & WEIR_PKT_IP4 && p->proto == WEIR_IPPROTO_IGMP)
		return p->ttl == WEIR_MLD_HOPS;
	if (flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6))
		return p->proto == WEIR_IPPROTO_UDP && weir_is_essential_dhcp(p, out);
	return p->eth_type == WEIR_ETH_EAPOL ||
	       (p->eth_dst[0] == 0x01 && p->eth_dst[1] == 0x80 && p->eth_dst[2] == 0xc2 &&
		p->eth_dst[3] == 0 && p->eth_dst[4] == 0 && p->eth_dst[5] < 0x10);
}
