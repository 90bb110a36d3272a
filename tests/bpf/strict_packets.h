/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * libpcap as the oracle of --strict-pcap: expressions that between them use every
 * kind of instruction that it writes, and frames that make sense to them. Its headers
 * and libbpf's define the same names, so libpcap's get others here.
 */
#pragma once

#define bpf_insn classic_insn
#define bpf_program classic_program
#include <pcap/pcap.h>
#undef bpf_insn
#undef bpf_program

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define STRICT_SNAPLEN 262144
#define STRICT_FRAME_MAX 1600

_Static_assert(sizeof(struct classic_insn) == sizeof(struct sock_filter), "the same");

static const char *const strict_expressions[] = {
	"",
	"ip",
	"ip6",
	"arp",
	"rarp",
	"tcp",
	"udp",
	"icmp",
	"icmp6",
	"sctp",
	"igmp",
	"pim",
	"vrrp",
	"esp",
	"ah",
	"igrp",
	"atalk",
	"aarp",
	"decnet",
	"iso",
	"stp",
	"ipx",
	"netbeui",
	"lat",
	"moprc",
	"mopdl",
	"esis",
	"isis",
	"clnp",
	"ip proto 47",
	"ip proto \\tcp",
	"ip6 proto 17",
	"ip6 proto \\udp",
	"proto 6",
	"ether proto 0x0800",
	"ether proto 0x88cc",
	"ether proto \\arp",
	"ether proto 100",
	"ether proto \\ip6",
	"host 10.0.0.1",
	"src host 10.0.0.1",
	"dst host 10.0.0.2",
	"src and dst host 10.0.0.1",
	"src or dst host 192.0.2.1",
	"ip host 10.0.0.1",
	"arp host 10.0.0.1",
	"arp src host 10.0.0.1",
	"rarp host 10.0.0.1",
	"host 2001:db8::1",
	"src host 2001:db8::1",
	"dst host fe80::1",
	"ip6 host ::1",
	"net 10",
	"net 10.0.0.0/8",
	"src net 10.0.0.0/9",
	"dst net 192.0.2.0/25",
	"net 0.0.0.0/0",
	"net 10.0.0.0 mask 255.0.0.0",
	"net 10.0.1.0 mask 255.0.255.0",
	"ip6 net 2001:db8::/32",
	"net 2001:db8::/33",
	"src net 2001:db8:0:7f00::/57",
	"ip6 net fe80::/10",
	"not net 10",
	"port 80",
	"src port 80",
	"dst port 53",
	"src and dst port 80",
	"tcp port 80",
	"udp port 53",
	"sctp port 80",
	"tcp src port 443",
	"udp dst port 53",
	"ip and port 80",
	"ip6 and tcp port 80",
	"not port 80",
	"port 80 or port 443",
	"portrange 0-1023",
	"portrange 1024-65535",
	"src portrange 22-80",
	"tcp portrange 8000-9000",
	"udp dst portrange 1-100",
	"portrange 80-80",
	"not portrange 1-65535",
	"tcp or udp portrange 100-200",
	"ether host 02:00:00:00:00:01",
	"ether src 02:00:00:00:00:01",
	"ether dst 02:00:00:00:00:02",
	"ether broadcast",
	"ether multicast",
	"multicast",
	"broadcast and ether broadcast",
	"ip multicast",
	"ip6 multicast",
	"not ether multicast",
	"vlan",
	"vlan 5",
	"vlan 0",
	"vlan 4095",
	"vlan and ip",
	"vlan 5 and tcp port 80",
	"vlan and vlan",
	"vlan 5 and vlan 6",
	"vlan or ip",
	"ip or vlan",
	"not vlan",
	"vlan and ip6",
	"vlan and host 10.0.0.1",
	"vlan 100 and udp portrange 1-100",
	"vlan and arp",
	"mpls",
	"mpls 1000",
	"mpls 1000 and ip",
	"mpls and mpls 1024",
	"pppoed",
	"pppoes",
	"pppoes 0x27",
	"pppoes and ip",
	"pppoes and tcp port 80",
	"pppoes and ip6 and udp",
	"geneve",
	"geneve 0xb",
	"geneve and ip",
	"geneve and vlan",
	"geneve and tcp port 80",
	"vlan and mpls and ip",
	"less 64",
	"greater 100",
	"len <= 60",
	"len > 1000",
	"len == 64",
	"len != 64",
	"len & 1 == 0",
	"len / 2 > 100",
	"len * 3 < 500",
	"len - 14 > 46",
	"len % 7 = 3",
	"len ^ 5 = 65",
	"len << 2 > 400",
	"len >> 3 = 8",
	"not len & 3 == 0",
	"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
	"tcp[tcpflags] == tcp-syn",
	"tcp[13] & 0x12 = 0x12",
	"tcp[tcpflags] & tcp-rst != 0",
	"tcp[tcpflags] & tcp-ack == 0",
	"tcp[0:2] > 1024",
	"tcp[2:2] = 80",
	"tcp[4:4] > 0x80000000",
	"tcp[12] >> 4 > 5",
	"tcp[(tcp[12] >> 4) * 4:4] = 0x47455420",
	"tcp[((tcp[12:1] & 0xf0) >> 2):2] > 100",
	"tcp port 80 and (((ip[2:2] - ((ip[0]&0xf)<<2)) - ((tcp[12]&0xf0)>>2)) != 0)",
	"udp[4:2] > 100",
	"udp[8:2] & 0x8000 = 0",
	"udp[udp[4:2] - 1] = 0",
	"icmp[icmptype] = icmp-echo",
	"icmp[icmptype] != icmp-echo and icmp[icmpcode] = 0",
	"icmp[icmptype] = icmp-unreach or icmp[icmptype] = icmp-timxceed",
	"icmp6[icmp6type] = icmp6-echo",
	"icmp6[icmp6type] == icmp6-neighborsolicit",
	"ip[0] & 0xf > 5",
	"ip[0] & 0xf != 5",
	"ip[6:2] & 0x1fff = 0",
	"ip[6] & 0x20 != 0",
	"ip[8] < 5",
	"ip[2:2] > 576",
	"ip[12:4] = 0x0a000001",
	"ip[16] >= 224",
	"ip[1] & 0xfc = 0",
	"ip[ip[0] & 0xf] = 1",
	"ip[ip[9]:2] > 1000",
	"ip[(ip[0] & 0xf) * 4:2] = 80",
	"ip6[6] = 6",
	"ip6[6] = 44 and ip6[40] = 17",
	"ip6[4:2] > 100",
	"ip6[7] < 64",
	"ip6[0:4] & 0xfffff != 0",
	"ip6[40:2] = 80",
	"ip6[(ip6[6]):4] != 0",
	"ether[0] & 1 = 0",
	"ether[12:2] > 1500",
	"ether[12:2] <= 1500",
	"ether[14] = 0x45",
	"ether[100] = 0",
	"ether[511] = 0",
	"ether[510:2] > 100",
	"ether[509:4] > 0x80000000",
	"ether[512] & 1 = 1",
	"ether[511:2] & 1 = 1",
	"ether[1000:4] & 7 > 3",
	"ether[1596:4] != 0",
	"ether[1599] < 200",
	"ether[65536] = 0",
	"ether[0x7ffffffe:2] = 0",
	"ether[0xfffff000:1] = 0",
	"ether[0xffffffff:1] = 0",
	"ether[0xfffffffc:4] = 0",
	"ether[ether[14]] = 0",
	"ether[ether[16:2]] = ether[16]",
	"ether[ether[16:2] * 4:4] != 0",
	"ether[len - 1] = 0",
	"ether[len - 4:4] != 0",
	"ether[len - 3:4] != 0",
	"ether[len] = 0",
	"ether[0 - 1] = 0",
	"ether[ether[14:4]] = 0",
	"ether[ether[26:4] - 0x0a000000] != 0xff",
	"ether[20:4] / ether[24] > 3",
	"ether[20:4] / ether[24:2] > ether[30]",
	"ether[20:4] % ether[24] = 0",
	"100 / ether[24] < 9",
	"ether[22:2] % (ether[24] & 3) = 1",
	"ether[20:4] << ether[24] > 0x1000",
	"ether[20:4] >> ether[24] & 1 = 1",
	"1 << (ether[24] & 63) & 0xff00ff00 != 0",
	"ether[20:4] * ether[24:4] > 0x1000",
	"ether[20] ^ ether[21] = 5",
	"ether[20] | ether[21] = 0xff",
	"ether[20:4] - ether[24:4] < 99",
	"ether[20:4] & ether[24:4] = 0",
	"-ether[20] > 5",
	"-len < 0xffffff00",
	"ether[20:4] = ether[24:4]",
	"ether[20:4] >= ether[24:4]",
	"ether[20] < ether[21]",
	"ether[20:2] + ether[22:2] > ether[24:2] + ether[26:2]",
	"(ether[20] + ether[21]) * (ether[22] + ether[23]) > (ether[24] | ether[25])",
	"link[0] = 2",
	"tcp and not (src port 80 or dst port 443)",
	"(tcp or udp) and (port 80 or 443 or 53) and not host 10.0.0.1",
	"ip and not (icmp or igmp) and greater 100",
	"not (ip or ip6 or arp)",
	"tcp and net 10 and portrange 1-1024 and less 100",
	"(vlan and tcp) or (ip6 and udp)",
	"arp[6:2] = 1",
	"arp[7] = 2",
	"arp[14:4] = 0x0a000001",
	"host 10.0.0.1 or host 10.0.0.2 or host 192.0.2.1 or host 2001:db8::1 or port 443",
	"wlan host 02:00:00:00:00:01",
	"llc",
	"llc i",
	"llc u",
	"llc s",
	"llc rr",
	"ether proto \\stp",
	"ip6 protochain 6",
	"ip protochain \\tcp",
	"protochain 17",
	"inbound",
};

/* The same numbers in every run. */
struct strict_rng {
	uint64_t state;
};

static inline uint32_t strict_draw(struct strict_rng *r, uint32_t below)
{
	r->state ^= r->state << 13;
	r->state ^= r->state >> 7;
	r->state ^= r->state << 17;
	return (uint32_t)(r->state >> 32) % below;
}

static inline void strict_put(uint8_t **p, const uint8_t *end, const void *from, size_t n)
{
	for (size_t i = 0; i < n && *p < end; i++)
		*(*p)++ = ((const uint8_t *)from)[i];
}

static inline void strict_put16(uint8_t **p, const uint8_t *end, uint16_t v)
{
	const uint8_t b[2] = { (uint8_t)(v >> 8), (uint8_t)v };

	strict_put(p, end, b, sizeof(b));
}

static inline void strict_noise(struct strict_rng *r, uint8_t **p, const uint8_t *end, size_t n)
{
	for (size_t i = 0; i < n && *p < end; i++)
		*(*p)++ = (uint8_t)(strict_draw(r, 4) ? strict_draw(r, 256) : 0);
}

static inline uint16_t strict_port(struct strict_rng *r)
{
	static const uint16_t ports[] = {
		0, 22, 53, 80, 80, 100, 443, 1023, 1024, 6081, 8080, 65535
	};

	return strict_draw(r, 4) ? ports[strict_draw(r, sizeof(ports) / sizeof(*ports))] :
				   (uint16_t)strict_draw(r, 65536);
}

static inline void strict_l4(struct strict_rng *r, uint8_t **p, const uint8_t *end, uint8_t proto)
{
	static const uint8_t flags[] = { 2, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 0 };
	static const uint8_t types[] = { 0, 3, 8, 11, 128, 129, 135, 136 };

	if (proto == 6 || proto == 17 || proto == 132) {
		strict_put16(p, end, strict_port(r));
		strict_put16(p, end, strict_port(r));
		strict_noise(r, p, end, proto == 6 ? 8 : 4);
	}
	if (proto == 6) {
		const uint8_t words[] = { (uint8_t)(strict_draw(r, 3) ? 0x50 : strict_draw(r, 256)),
					  flags[strict_draw(r, sizeof(flags))] };

		strict_put(p, end, words, sizeof(words));
	} else if (proto == 1 || proto == 58) {
		const uint8_t words[] = { types[strict_draw(r, sizeof(types))],
					  (uint8_t)strict_draw(r, 2) };

		strict_put(p, end, words, sizeof(words));
	}
}

static inline uint8_t strict_proto(struct strict_rng *r)
{
	static const uint8_t protos[] = { 6,  6,  6,  17,  17,	132, 1, 58, 2,
					  47, 50, 51, 103, 112, 44,  0, 9 };

	return protos[strict_draw(r, sizeof(protos))];
}

static inline void strict_ip4(struct strict_rng *r, uint8_t **p, const uint8_t *end)
{
	static const uint8_t addrs[][4] = { { 10, 0, 0, 1 },	    { 10, 0, 0, 2 },
					    { 10, 200, 1, 1 },	    { 192, 0, 2, 1 },
					    { 192, 0, 2, 200 },	    { 224, 0, 0, 5 },
					    { 255, 255, 255, 255 }, { 0, 0, 0, 0 } };
	static const uint16_t frags[] = { 0, 0, 0, 0x4000, 0x2000, 0x0001, 0x20b9, 0x1fff };
	const uint8_t words = (uint8_t)(strict_draw(r, 4) ? 5 : strict_draw(r, 16));
	const uint8_t proto = strict_proto(r), first[] = { (uint8_t)(0x40 | words), 0 };
	const uint8_t ttl[] = { (uint8_t)(strict_draw(r, 2) ? 64 : strict_draw(r, 256)), proto };

	strict_put(p, end, first, sizeof(first));
	strict_put16(p, end, (uint16_t)strict_draw(r, 1600));
	strict_noise(r, p, end, 2);
	strict_put16(p, end, frags[strict_draw(r, 8)]);
	strict_put(p, end, ttl, sizeof(ttl));
	strict_noise(r, p, end, 2);
	for (int i = 0; i < 2; i++)
		strict_put(p, end, addrs[strict_draw(r, 8)], 4);
	strict_noise(r, p, end, words > 5 ? 4U * (words - 5U) : 0);
	strict_l4(r, p, end, proto);
}

static inline void strict_ip6(struct strict_rng *r, uint8_t **p, const uint8_t *end)
{
	static const uint8_t addrs[][16] = {
		{ [15] = 1 },
		{ 0x20, 1, 0xd, 0xb8, [15] = 1 },
		{ 0x20, 1, 0xd, 0xb8, [6] = 0x7f, [15] = 2 },
		{ 0xfe, 0x80, [15] = 1 },
		{ 0xff, 2, [15] = 1 },
	};
	static const uint8_t first[] = { 0x60, 0, 0, 0 };
	const uint8_t proto = strict_proto(r), hops[] = { proto, (uint8_t)strict_draw(r, 256) };

	strict_put(p, end, first, sizeof(first));
	strict_put16(p, end, (uint16_t)strict_draw(r, 1600));
	strict_put(p, end, hops, sizeof(hops));
	for (int i = 0; i < 2; i++)
		strict_put(p, end, addrs[strict_draw(r, 5)], 16);
	if (proto == 0 || proto == 44) {
		const uint8_t ext[] = { 17, 0, 0, 0 };

		strict_put(p, end, ext, sizeof(ext));
		strict_noise(r, p, end, 4);
	}
	strict_l4(r, p, end, proto);
}

/* What comes behind a type field, tags included. */
static inline void strict_l3(struct strict_rng *r, uint8_t **p, const uint8_t *end, int depth)
{
	static const uint16_t types[] = { 0x0800, 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806,
					  0x8100, 0x8100, 0x88a8, 0x9100, 0x8847, 0x8863, 0x8864,
					  0x8035, 0x88cc, 0x0040, 0x05dc, 0x05dd, 0xffff };
	static const uint16_t tags[] = { 0, 5, 6, 100, 4095 };
	const uint16_t type = types[strict_draw(r, depth < 3 ? 20 : 4)];

	strict_put16(p, end, type);
	switch (type) {
	case 0x0800:
		strict_ip4(r, p, end);
		return;
	case 0x86dd:
		strict_ip6(r, p, end);
		return;
	case 0x8100:
	case 0x88a8:
	case 0x9100:
		strict_put16(p, end,
			     (uint16_t)(tags[strict_draw(r, 5)] | strict_draw(r, 16) << 12));
		strict_l3(r, p, end, depth + 1);
		return;
	case 0x8847:
		strict_put16(p, end, strict_draw(r, 2) ? 0x003e : 0x0040);
		strict_put16(p, end, strict_draw(r, 2) ? 0x8140 : 0x0040);
		strict_ip4(r, p, end);
		return;
	case 0x8864:
		strict_put16(p, end, 0x1100);
		strict_put16(p, end, strict_draw(r, 2) ? 0x27 : 1);
		strict_noise(r, p, end, 2);
		strict_put16(p, end, strict_draw(r, 2) ? 0x21 : 0x57);
		strict_ip4(r, p, end);
		return;
	case 0x0806:
		strict_put16(p, end, 1);
		strict_put16(p, end, 0x0800);
		strict_put16(p, end, 0x0604);
		strict_put16(p, end, (uint16_t)(1 + strict_draw(r, 2)));
		return;
	}
}

/* A frame of at least @min bytes in @frame, which has room for STRICT_FRAME_MAX. */
static inline uint32_t strict_frame(struct strict_rng *r, uint8_t *frame, uint32_t min)
{
	static const uint8_t macs[][6] = { { 2, 0, 0, 0, 0, 1 },
					   { 2, 0, 0, 0, 0, 2 },
					   { 1, 0, 0x5e, 0, 0, 5 },
					   { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };
	const uint32_t max = strict_draw(r, 8) ? 64 + strict_draw(r, 96) : STRICT_FRAME_MAX;
	const uint32_t n = min + strict_draw(r, max - min);
	const uint8_t *end = frame + n;
	uint8_t *p = frame;

	if (strict_draw(r, 16)) {
		strict_put(&p, end, macs[strict_draw(r, 4)], 6);
		strict_put(&p, end, macs[strict_draw(r, 4)], 6);
		strict_l3(r, &p, end, 0);
	}
	strict_noise(r, &p, end, n);
	return n;
}

/* The expression as libpcap compiles it; false where it does not know it. */
static inline bool strict_compile(const char *text, struct classic_program *ret)
{
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, STRICT_SNAPLEN);
	bool ok = !pcap_compile(dead, ret, text, 1, PCAP_NETMASK_UNKNOWN);

	pcap_close(dead);
	return ok;
}

static inline bool strict_oracle(const struct classic_program *p, const uint8_t *frame,
				 uint32_t len, uint32_t caplen)
{
	const struct pcap_pkthdr h = { .caplen = caplen, .len = len };

	return pcap_offline_filter(p, &h, frame);
}
