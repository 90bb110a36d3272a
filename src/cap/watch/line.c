/* SPDX-License-Identifier: GPL-2.0-only */
/* One packet, one line, as a reader of tcpdump expects it. Sequence numbers are
 * absolute (tcpdump -S), because nothing is remembered between packets. */
#include "cap/watch/line.h"

#include <netinet/in.h>

#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"
#include "cap/watch/csum.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/l7.h"
#include "cap/watch/names.h"

static void add_end(const struct weir_line *l, const uint8_t addr[16], const char *host,
		    uint16_t port)
{
	const char *name = NULL;

	if (host && host[0] && !l->f->numeric)
		weir_buf_adds(l->out, host);
	else if (l->p->hdr.flags & WEIR_PKT_IP6)
		weir_buf_add_addr6(l->out, addr);
	else
		weir_buf_add_addr(l->out, addr);
	if (!(l->p->hdr.flags & WEIR_PKT_PORTS))
		return;
	weir_buf_addc(l->out, '.');
	if (!l->f->numeric)
		name = weir_format_service(port, l->p->hdr.proto);
	if (name)
		weir_buf_adds(l->out, name);
	else
		weir_buf_addu(l->out, port);
}

void weir_line_length(const struct weir_line *l, uint32_t len)
{
	ADD(l->out, ", length ");
	weir_buf_addu(l->out, len);
}

static void add_sack(const struct weir_line *l, const uint8_t *b, uint32_t n)
{
	ADD(l->out, "sack ");
	weir_buf_addu(l->out, n / 8);
	ADD(l->out, " {");
	for (uint32_t i = 0; i + 8 <= n; i += 8) {
		if (i)
			ADD(l->out, "}{");
		weir_buf_addu(l->out, weir_be32(b + i));
		weir_buf_addc(l->out, ':');
		weir_buf_addu(l->out, weir_be32(b + i + 4));
	}
	weir_buf_addc(l->out, '}');
}

static void add_hex(struct weir_buf *out, const uint8_t *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		weir_buf_addx(out, b[i], 2);
}

static void add_mptcp(const struct weir_line *l, const uint8_t *b, uint32_t n)
{
	const char *name = n ? weir_names_find(&weir_names_mptcp, b[0] >> 4) : NULL;

	ADD(l->out, "mptcp ");
	weir_buf_addu(l->out, n + 2);
	if (name) {
		weir_buf_addc(l->out, ' ');
		weir_buf_adds(l->out, name);
	}
}

/* One option; @b and @n are its data behind kind and length. */
static void add_tcp_option(const struct weir_line *l, uint8_t kind, const uint8_t *b,
			   uint32_t n)
{
	if (kind == 2 && n == 2) {
		ADD(l->out, "mss ");
		weir_buf_addu(l->out, weir_be16(b));
	} else if (kind == 3 && n == 1) {
		ADD(l->out, "wscale ");
		weir_buf_addu(l->out, b[0]);
	} else if (kind == 4 && n == 0) {
		ADD(l->out, "sackOK");
	} else if (kind == 5 && n % 8 == 0) {
		add_sack(l, b, n);
	} else if (kind == 8 && n == 8) {
		ADD(l->out, "TS val ");
		weir_buf_addu(l->out, weir_be32(b));
		ADD(l->out, " ecr ");
		weir_buf_addu(l->out, weir_be32(b + 4));
	} else if (kind == 19 && n == 16) {
		ADD(l->out, "md5");
	} else if (kind == 29 && n >= 2) {
		ADD(l->out, "tcp-ao keyid ");
		weir_buf_addu(l->out, b[0]);
	} else if (kind == 30) {
		add_mptcp(l, b, n);
	} else if (kind == 34) {
		ADD(l->out, "tfo ");
		if (n)
			add_hex(l->out, b, n);
		else
			ADD(l->out, "cookiereq");
	} else {
		ADD(l->out, "unknown-");
		weir_buf_addu(l->out, kind);
		if (n) {
			ADD(l->out, " 0x");
			add_hex(l->out, b, n);
		}
	}
}

static void add_tcp_options(const struct weir_line *l, const uint8_t *b, uint32_t n)
{
	ADD(l->out, ", options [");
	for (uint32_t i = 0; i < n;) {
		uint32_t len;

		if (i)
			weir_buf_addc(l->out, ',');
		if (b[i] <= 1) {
			weir_buf_adds(l->out, b[i] ? "nop" : "eol");
			if (!b[i++])
				break;
			continue;
		}
		len = i + 1 < n ? b[i + 1] : 0;
		if (len < 2 || len > n - i) {
			ADD(l->out, "bad opt");
			break;
		}
		add_tcp_option(l, b[i], b + i + 2, len - 2);
		i += len;
	}
	weir_buf_addc(l->out, ']');
}

static void line_tcp(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;
	const uint8_t *b = weir_packet_at(l->p, h->l4_off, WEIR_TCP_HLEN);
	uint32_t total = weir_packet_l4_len(l->p), hlen, len, seq;
	char letters[WEIR_TCP_LETTERS];

	if (!b || !(h->flags & WEIR_PKT_TCP)) {
		ADD(l->out, " [|tcp]");
		return;
	}
	hlen = (b[12] >> 4) * 4U;
	len = total > hlen ? total - hlen : 0;
	if (l->f->quiet) {
		ADD(l->out, " tcp ");
		weir_buf_addu(l->out, len);
		return;
	}
	weir_format_tcp_letters(h->tcp_flags, letters);
	ADD(l->out, " Flags [");
	weir_buf_adds(l->out, letters);
	weir_buf_addc(l->out, ']');
	seq = weir_be32(b + 4);
	if (len || h->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST)) {
		ADD(l->out, ", seq ");
		weir_buf_addu(l->out, seq);
	}
	if (len) {
		weir_buf_addc(l->out, ':');
		weir_buf_addu(l->out, seq + len);
	}
	if (h->tcp_flags & WEIR_TCP_ACK) {
		ADD(l->out, ", ack ");
		weir_buf_addu(l->out, weir_be32(b + 8));
	}
	ADD(l->out, ", win ");
	weir_buf_addu(l->out, weir_be16(b + 14));
	if (h->tcp_flags & WEIR_TCP_URG) {
		ADD(l->out, ", urg ");
		weir_buf_addu(l->out, weir_be16(b + 18));
	}
	if (h->payload_off > h->l4_off + WEIR_TCP_HLEN)
		add_tcp_options(l, b + WEIR_TCP_HLEN, h->payload_off - h->l4_off - WEIR_TCP_HLEN);
	else if (hlen > WEIR_TCP_HLEN)
		ADD(l->out, ", options [|tcp]");
	weir_line_length(l, len);
}

static void line_udp(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, WEIR_UDP_HLEN);
	uint32_t total = weir_packet_l4_len(l->p), len;
	bool lite = l->p->hdr.proto == IPPROTO_UDPLITE;

	if (!b) {
		weir_buf_adds(l->out, lite ? " [|udplite]" : " [|udp]");
		return;
	}
	/* UDP-Lite has its coverage where UDP has the length. */
	len = lite ? total : weir_be16(b + 4);
	weir_buf_adds(l->out, lite ? " UDP-Lite" : " UDP");
	if (!lite && !len && l->p->ev.gso_size)
		len = total; /* a segmented datagram over 64 KiB */
	if (len < WEIR_UDP_HLEN || (len > total && !(l->p->hdr.flags & WEIR_PKT_FRAGMENT))) {
		ADD(l->out, ", bad length ");
		weir_buf_addu(l->out, len);
		ADD(l->out, " of ");
		weir_buf_addu(l->out, total);
		return;
	}
	weir_line_length(l, len - WEIR_UDP_HLEN);
}

static void line_sctp(const struct weir_line *l)
{
	uint32_t end = weir_packet_l3_end(l->p), off = l->p->hdr.payload_off;
	const char *name;
	const uint8_t *b;

	if (!off) {
		ADD(l->out, " [|sctp]");
		return;
	}
	ADD(l->out, " sctp");
	for (unsigned int i = 0; i < WEIR_SCTP_CHUNKS_MAX && off + 4 <= end; i++) {
		b = weir_packet_at(l->p, off, 4);
		if (!b) {
			ADD(l->out, " [|sctp]");
			break;
		}
		name = weir_names_find(&weir_names_sctp_chunk, b[0]);
		ADD(l->out, " [");
		if (name)
			weir_buf_adds(l->out, name);
		else
			weir_buf_addu(l->out, b[0]);
		weir_buf_addc(l->out, ']');
		if (weir_be16(b + 2) < 4)
			break;
		off += (weir_be16(b + 2) + 3U) & ~3U;
	}
	weir_line_length(l, weir_packet_l4_len(l->p));
}

static void line_dccp(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, WEIR_DCCP_HLEN);
	const char *name;

	if (!b) {
		ADD(l->out, " [|dccp]");
		return;
	}
	name = weir_names_find(&weir_names_dccp, b[8] >> 1 & 15);
	ADD(l->out, " dccp ");
	weir_buf_adds(l->out, name ? name : "unknown type");
	weir_line_length(l, weir_packet_l4_len(l->p));
}

static void line_igmp(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, 8);
	const char *name;

	if (!b) {
		ADD(l->out, " [|igmp]");
		return;
	}
	name = weir_names_find(&weir_names_igmp, b[0]);
	ADD(l->out, " igmp ");
	if (name) {
		weir_buf_adds(l->out, name);
	} else {
		ADD(l->out, "type ");
		weir_buf_addu(l->out, b[0]);
	}
	if (b[0] != 0x22 && (b[4] | b[5] | b[6] | b[7])) {
		weir_buf_addc(l->out, ' ');
		weir_format_ip4(l->out, b + 4);
	}
	weir_line_length(l, weir_packet_l4_len(l->p));
}

static void line_ip(const struct weir_line *l);

static void line_other(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l4_off, 8);
	struct weir_packet inner;

	if (!l->inner && (l->p->hdr.proto == IPPROTO_IPIP || l->p->hdr.proto == IPPROTO_IPV6) &&
	    weir_packet_inner(l->p, l->p->hdr.l4_off, &inner)) {
		weir_buf_addc(l->out, ' ');
		line_ip(&(struct weir_line){ .f = l->f, .p = &inner, .out = l->out,
					     .inner = true });
		return;
	}
	weir_buf_addc(l->out, ' ');
	weir_format_proto_name(l->out, l->p->hdr.proto);
	if (l->p->hdr.proto == IPPROTO_ESP && b) {
		ADD(l->out, " spi 0x");
		weir_buf_addx(l->out, weir_be32(b), 8);
		ADD(l->out, ", seq ");
		weir_buf_addu(l->out, weir_be32(b + 4));
	}
	weir_line_length(l, weir_packet_l4_len(l->p));
}

static void line_l4(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;

	if (h->flags & WEIR_PKT_FRAG_LATER) {
		weir_buf_addc(l->out, ' ');
		weir_format_proto_name(l->out, h->proto);
		weir_line_length(l, weir_packet_l4_len(l->p));
	} else if (h->proto == IPPROTO_TCP) {
		line_tcp(l);
	} else if (h->proto == IPPROTO_UDP || h->proto == IPPROTO_UDPLITE) {
		line_udp(l);
	} else if (h->proto == IPPROTO_ICMP && h->flags & WEIR_PKT_IP4) {
		weir_line_icmp(l);
	} else if (h->proto == IPPROTO_ICMPV6 && h->flags & WEIR_PKT_IP6) {
		weir_line_icmp6(l);
	} else if (h->proto == IPPROTO_SCTP) {
		line_sctp(l);
	} else if (h->proto == IPPROTO_DCCP) {
		line_dccp(l);
	} else if (h->proto == IPPROTO_IGMP) {
		line_igmp(l);
	} else {
		line_other(l);
	}
}

static void add_fragment(const struct weir_line *l)
{
	struct weir_value id;

	ADD(l->out, " frag (");
	if (weir_field_get(l->p, WEIR_PACKET_IP_ID, &id)) {
		ADD(l->out, "id ");
		weir_buf_addu(l->out, id.num);
		ADD(l->out, ", ");
	}
	ADD(l->out, "offset ");
	weir_buf_addu(l->out, l->p->hdr.frag_off);
	if (l->p->hdr.flags & WEIR_PKT_FRAG_MORE)
		ADD(l->out, ", more");
	weir_buf_addc(l->out, ')');
}

/* What lies between IP and the transport, in a word each. */
static void add_exts(const struct weir_line *l)
{
	static const struct weir_name words[] = {
		{ IPPROTO_HOPOPTS, " HBH" },  { IPPROTO_DSTOPTS, " DSTOPT" },
		{ IPPROTO_AH, " AH" },	      { IPPROTO_MH, " MOBILITY" },
		{ WEIR_IPPROTO_HIP, " HIP" }, { WEIR_IPPROTO_SHIM6, " SHIM6" },
	};
	static const struct weir_names table = { words, WEIR_ARRAY_SIZE(words) };
	struct weir_ext e = { 0 };

	while (weir_packet_next_ext(l->p, &e)) {
		const uint8_t *b = l->p->data + e.off;

		if (e.type == IPPROTO_ROUTING) {
			ADD(l->out, " RT (type ");
			weir_buf_addu(l->out, b[2]);
			ADD(l->out, ", segleft ");
			weir_buf_addu(l->out, b[3]);
			weir_buf_addc(l->out, ')');
		} else if (e.type != IPPROTO_FRAGMENT) {
			weir_buf_adds(l->out, weir_names_find(&table, e.type));
		}
	}
}

static void add_bad_csum(const struct weir_line *l, const char *what,
			 const struct weir_csum_result *r)
{
	if (r->verdict != WEIR_CSUM_BAD)
		return;
	weir_buf_addc(l->out, ' ');
	weir_format_colour(l->f, WEIR_COLOUR_BAD, l->out);
	ADD(l->out, "[bad ");
	if (what)
		weir_buf_adds(l->out, what);
	else
		weir_format_proto_name(l->out, l->p->hdr.proto);
	ADD(l->out, " cksum 0x");
	weir_buf_addx(l->out, r->found, r->width * 2U);
	weir_buf_addc(l->out, ']');
	weir_format_colour(l->f, WEIR_COLOUR_NONE, l->out);
}

static void line_ip(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;
	const struct weir_l7_seen *l7 = l->p->l7;
	struct weir_csum_result csum;
	bool v4 = h->flags & WEIR_PKT_IP4;

	if (!l->f->link || l->inner)
		weir_buf_add(l->out, v4 ? "IP " : "IP6 ", v4 ? 3 : 4);
	add_end(l, h->src, l7 ? l7->src_name : NULL, h->sport);
	ADD(l->out, " > ");
	add_end(l, h->dst, l7 ? l7->dst_name : NULL, h->dport);
	weir_buf_addc(l->out, ':');
	if (!v4 || h->proto == IPPROTO_AH || h->l4_off > h->l3_off + WEIR_IP4_HLEN)
		add_exts(l);
	if (h->flags & WEIR_PKT_FRAGMENT)
		add_fragment(l);
	if (h->flags & WEIR_PKT_MORE_EXT)
		ADD(l->out, " [too many extension headers]");
	else if (h->l4_off)
		line_l4(l);
	else if (h->flags & WEIR_PKT_TRUNCATED)
		weir_buf_adds(l->out, v4 ? " [|ip]" : " [|ip6]");
	if (l7)
		weir_l7_line(l7, l->out);
	weir_packet_csum_explain(l->p, &csum);
	add_bad_csum(l, NULL, &csum);
	if (v4) {
		weir_packet_ip_csum_explain(l->p, &csum);
		add_bad_csum(l, "ip", &csum);
	}
}

static void line_arp(const struct weir_line *l)
{
	const uint8_t *b = weir_packet_at(l->p, l->p->hdr.l3_off, WEIR_ARP_IP4_HLEN);
	uint16_t op;

	if (!l->f->link)
		ADD(l->out, "ARP, ");
	if (!b) {
		ADD(l->out, "[|arp]");
		return;
	}
	op = weir_be16(b + 6);
	if (l->p->hdr.src[11] != 0xff) {
		ADD(l->out, "hardware ");
		weir_buf_addu(l->out, weir_be16(b));
		ADD(l->out, ", protocol 0x");
		weir_buf_addx(l->out, weir_be16(b + 2), 4);
		ADD(l->out, ", operation ");
		weir_buf_addu(l->out, op);
	} else if (op == 1) {
		ADD(l->out, "Request who-has ");
		weir_format_ip4(l->out, b + 24);
		ADD(l->out, " tell ");
		weir_format_ip4(l->out, b + 14);
	} else if (op == 2) {
		ADD(l->out, "Reply ");
		weir_format_ip4(l->out, b + 14);
		ADD(l->out, " is-at ");
		weir_buf_add_mac(l->out, b + 8);
	} else {
		const char *name = weir_names_find(&weir_names_arp_op, op);

		weir_buf_adds(l->out, name ? name : "operation ");
		if (!name)
			weir_buf_addu(l->out, op);
		weir_buf_addc(l->out, ' ');
		weir_buf_add_mac(l->out, b + 18);
		ADD(l->out, " tell ");
		weir_buf_add_mac(l->out, b + 8);
	}
	weir_line_length(l, l->p->ev.len - l->p->hdr.l3_off);
}

static void add_ethertype(struct weir_buf *out, uint16_t type, bool quiet)
{
	const char *name = weir_names_find(&weir_names_ethertype, type);

	if (quiet && name) {
		weir_buf_adds(out, name);
		return;
	}
	if (type < WEIR_ETHERTYPE_MIN) {
		ADD(out, "802.3");
		return;
	}
	ADD(out, "ethertype ");
	weir_buf_adds(out, name ? name : "Unknown");
	ADD(out, " (0x");
	weir_buf_addx(out, type, 4);
	weir_buf_addc(out, ')');
}

/* What the tags, the type and the length before line_ip() and line_arp() are. */
static void add_link(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;
	const uint8_t *b = weir_packet_at(l->p, 0, WEIR_ETH_HLEN);

	if (b && h->flags & WEIR_PKT_ETHER) {
		weir_buf_add_mac(l->out, h->eth_src);
		ADD(l->out, " > ");
		weir_buf_add_mac(l->out, h->eth_dst);
		ADD(l->out, ", ");
		add_ethertype(l->out, weir_be16(b + 12), l->f->quiet);
	} else {
		add_ethertype(l->out, h->eth_type, l->f->quiet);
	}
	weir_line_length(l, l->p->ev.len);
	ADD(l->out, ": ");
}

static void add_vlans(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;

	for (unsigned int i = 0; i < h->vlans && i < WEIR_PKT_VLANS; i++) {
		ADD(l->out, "vlan ");
		weir_buf_addu(l->out, h->vlan[i] & 0xfff);
		ADD(l->out, ", p ");
		weir_buf_addu(l->out, h->vlan[i] >> 13);
		if (h->vlan[i] & 0x1000)
			ADD(l->out, ", DEI");
		ADD(l->out, ", ");
	}
	if (l->f->link && h->vlans) {
		add_ethertype(l->out, h->eth_type, l->f->quiet);
		ADD(l->out, ", ");
	}
}

static uint32_t l2_len(const struct weir_packet *p)
{
	return WEIR_ETH_HLEN + p->hdr.vlans * (uint32_t)WEIR_VLAN_HLEN;
}

/* Neither IP nor ARP. */
static void line_l2(const struct weir_line *l)
{
	const struct weir_pkt *h = &l->p->hdr;
	uint32_t hlen = l2_len(l->p);
	const uint8_t *b = weir_packet_at(l->p, hlen, 3);

	if (h->flags & WEIR_PKT_TRUNCATED) {
		const char *name = weir_names_find(&weir_names_ethertype, h->eth_type);

		if (!l->f->link && h->eth_type && name) {
			weir_buf_adds(l->out, name);
			weir_buf_addc(l->out, ' ');
		}
		weir_buf_adds(l->out, !(h->flags & WEIR_PKT_ETHER)    ? "[|ether]" :
				      h->eth_type == WEIR_ETH_IP4 ? "[|ip]" :
				      h->eth_type == WEIR_ETH_IP6 ? "[|ip6]" :
				      h->eth_type == WEIR_ETH_ARP ? "[|arp]" :
								    "[|vlan]");
		return;
	}
	if (!(h->flags & WEIR_PKT_ETHER)) {
		ADD(l->out, "unknown");
	} else if (h->flags & WEIR_PKT_MORE_VLANS) {
		ADD(l->out, "more tags");
	} else if (h->eth_type < WEIR_ETHERTYPE_MIN && b) {
		ADD(l->out, "LLC, dsap 0x");
		weir_buf_addx(l->out, b[0], 2);
		ADD(l->out, ", ssap 0x");
		weir_buf_addx(l->out, b[1], 2);
		ADD(l->out, ", control 0x");
		weir_buf_addx(l->out, b[2], 2);
	} else if (!l->f->link || h->flags & WEIR_PKT_MALFORMED) {
		add_ethertype(l->out, h->eth_type, l->f->quiet);
	} else {
		ADD(l->out, "data");
	}
	weir_line_length(l, l->p->ev.len > hlen ? l->p->ev.len - hlen : l->p->ev.len);
}

static void add_head(const struct weir_line *l)
{
	const struct weir_packet *p = l->p;

	if (l->f->time != WEIR_TIME_NONE) {
		weir_format_colour(l->f, WEIR_COLOUR_DIM, l->out);
		weir_format_time(l->f, p->ev.ts, l->out);
		weir_format_colour(l->f, WEIR_COLOUR_NONE, l->out);
		weir_buf_addc(l->out, ' ');
	}
	if (l->f->show_iface) {
		weir_format_safe(l->out, (const uint8_t *)p->iface, strlen(p->iface));
		weir_buf_addc(l->out, ' ');
	}
	if (p->ev.dir == WEIR_WATCH_IN)
		ADD(l->out, "In  ");
	else if (p->ev.dir == WEIR_WATCH_OUT)
		ADD(l->out, "Out ");
}

void weir_format_line(const struct weir_formatter *f, const struct weir_packet *p,
		      struct weir_buf *out)
{
	const struct weir_line l = { .f = f, .p = p, .out = out };

	add_head(&l);
	if (f->link)
		add_link(&l);
	add_vlans(&l);
	if (p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6))
		line_ip(&l);
	else if (p->hdr.flags & WEIR_PKT_ARP)
		line_arp(&l);
	else
		line_l2(&l);
	if (p->hdr.flags & WEIR_PKT_MALFORMED) {
		weir_buf_addc(out, ' ');
		weir_format_colour(f, WEIR_COLOUR_BAD, out);
		ADD(out, "[malformed]");
		weir_format_colour(f, WEIR_COLOUR_NONE, out);
	}
	if (p->ev.verdict >= WEIR_WATCH_DROP) {
		ADD(out, "  ");
		weir_format_verdict(f, p, out);
	}
	if (p->owner)
		ADD(out, "  ");
	weir_format_owners(f, p, out);
	weir_buf_addc(out, '\n');
}
