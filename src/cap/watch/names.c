/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/names.h"

#include "base/cleanup.h"

#define TABLE(which) \
	const struct weir_names weir_names_##which = { which, WEIR_ARRAY_SIZE(which) }

static const struct weir_name ethertype[] = {
	{ 0x0800, "IPv4" },
	{ 0x0806, "ARP" },
	{ 0x0842, "Wake-on-LAN" },
	{ 0x22f3, "TRILL" },
	{ 0x6558, "Transparent Ethernet" },
	{ 0x8035, "RARP" },
	{ 0x8100, "802.1Q" },
	{ 0x86dd, "IPv6" },
	{ 0x8808, "MAC control" },
	{ 0x8809, "Slow protocols" },
	{ 0x8847, "MPLS unicast" },
	{ 0x8848, "MPLS multicast" },
	{ 0x8863, "PPPoE discovery" },
	{ 0x8864, "PPPoE session" },
	{ 0x888e, "EAPOL" },
	{ 0x88a8, "802.1ad" },
	{ 0x88cc, "LLDP" },
	{ 0x88e5, "MACsec" },
	{ 0x88e7, "802.1ah" },
	{ 0x88f7, "PTP" },
	{ 0x894f, "NSH" },
	{ 0x9000, "Loopback" },
	{ 0x9100, "802.1QinQ" },
};
TABLE(ethertype);

static const struct weir_name proto[] = {
	{ 0, "hopopt" },    { 1, "icmp" },	 { 2, "igmp" },
	{ 4, "ipip" },	    { 6, "tcp" },	 { 8, "egp" },
	{ 9, "igp" },	    { 12, "pup" },	 { 17, "udp" },
	{ 33, "dccp" },	    { 41, "ipv6" },	 { 43, "ipv6-route" },
	{ 44, "ipv6-frag" }, { 46, "rsvp" },	 { 47, "gre" },
	{ 50, "esp" },	    { 51, "ah" },	 { 58, "icmpv6" },
	{ 59, "ipv6-nonxt" }, { 60, "ipv6-opts" }, { 88, "eigrp" },
	{ 89, "ospf" },	    { 94, "ipip-encap" }, { 97, "etherip" },
	{ 103, "pim" },	    { 108, "ipcomp" },	 { 112, "vrrp" },
	{ 115, "l2tp" },    { 132, "sctp" },	 { 133, "fc" },
	{ 135, "mobility" }, { 136, "udplite" }, { 137, "mpls-in-ip" },
	{ 139, "hip" },	    { 140, "shim6" },	 { 143, "ethernet" },
};
TABLE(proto);

static const struct weir_name arp_op[] = {
	{ 1, "request" },	  { 2, "reply" },
	{ 3, "reverse request" }, { 4, "reverse reply" },
	{ 8, "inverse request" }, { 9, "inverse reply" },
};
TABLE(arp_op);

static const struct weir_name arp_hw[] = {
	{ 1, "Ethernet" }, { 6, "IEEE 802" }, { 15, "Frame Relay" },
	{ 24, "IEEE 1394" }, { 32, "InfiniBand" },
};
TABLE(arp_hw);

static const struct weir_name dscp[] = {
	{ 0, "CS0" },	{ 1, "LE" },	{ 8, "CS1" },	{ 10, "AF11" },
	{ 12, "AF12" }, { 14, "AF13" }, { 16, "CS2" },	{ 18, "AF21" },
	{ 20, "AF22" }, { 22, "AF23" }, { 24, "CS3" },	{ 26, "AF31" },
	{ 28, "AF32" }, { 30, "AF33" }, { 32, "CS4" },	{ 34, "AF41" },
	{ 36, "AF42" }, { 38, "AF43" }, { 40, "CS5" },	{ 44, "VOICE-ADMIT" },
	{ 46, "EF" },	{ 48, "CS6" },	{ 56, "CS7" },
};
TABLE(dscp);

static const struct weir_name ecn[] = {
	{ 0, "not ECN-capable" }, { 1, "ECT(1)" },
	{ 2, "ECT(0)" },	  { 3, "congestion experienced" },
};
TABLE(ecn);

static const struct weir_name ip_option[] = {
	{ 0, "end of options" },
	{ 1, "no-op" },
	{ 7, "record route" },
	{ 25, "quick start" },
	{ 68, "timestamp" },
	{ 82, "traceroute" },
	{ 130, "security" },
	{ 131, "loose source route" },
	{ 133, "extended security" },
	{ 134, "commercial security" },
	{ 136, "stream identifier" },
	{ 137, "strict source route" },
	{ 148, "router alert" },
};
TABLE(ip_option);

static const struct weir_name ip6_option[] = {
	{ 0x00, "pad1" },
	{ 0x01, "padN" },
	{ 0x04, "tunnel encapsulation limit" },
	{ 0x05, "router alert" },
	{ 0x07, "CALIPSO" },
	{ 0x08, "SMF duplicate detection" },
	{ 0x0f, "performance metrics" },
	{ 0x11, "IOAM" },
	{ 0x1e, "experiment" },
	{ 0x23, "RPL" },
	{ 0x26, "quick start" },
	{ 0x30, "minimum path MTU" },
	{ 0x31, "IOAM" },
	{ 0x63, "RPL" },
	{ 0x6d, "MPL" },
	{ 0x8b, "identifier-locator nonce" },
	{ 0x8c, "line identification" },
	{ 0xc2, "jumbo payload" },
	{ 0xc9, "home address" },
	{ 0xee, "IP DFF" },
};
TABLE(ip6_option);

static const struct weir_name routing[] = {
	{ 0, "source route" },
	{ 2, "mobile IPv6" },
	{ 3, "RPL source route" },
	{ 4, "segment routing" },
	{ 5, "compact routing 16" },
	{ 6, "compact routing 32" },
};
TABLE(routing);

static const struct weir_name mobility[] = {
	{ 0, "binding refresh request" },
	{ 1, "home test init" },
	{ 2, "care-of test init" },
	{ 3, "home test" },
	{ 4, "care-of test" },
	{ 5, "binding update" },
	{ 6, "binding acknowledgement" },
	{ 7, "binding error" },
	{ 8, "fast binding update" },
	{ 9, "fast binding acknowledgement" },
	{ 10, "fast neighbor advertisement" },
	{ 12, "home agent switch" },
	{ 13, "heartbeat" },
	{ 16, "binding revocation" },
};
TABLE(mobility);

static const struct weir_name tcp_option[] = {
	{ 0, "end of options" },
	{ 1, "no-op" },
	{ 2, "maximum segment size" },
	{ 3, "window scale" },
	{ 4, "SACK permitted" },
	{ 5, "SACK" },
	{ 8, "timestamps" },
	{ 14, "alternate checksum request" },
	{ 15, "alternate checksum data" },
	{ 19, "MD5 signature" },
	{ 27, "quick start" },
	{ 28, "user timeout" },
	{ 29, "authentication" },
	{ 30, "multipath TCP" },
	{ 34, "fast open" },
	{ 69, "encryption negotiation" },
	{ 172, "accurate ECN 0" },
	{ 174, "accurate ECN 1" },
	{ 253, "experiment" },
	{ 254, "experiment" },
};
TABLE(tcp_option);

static const struct weir_name mptcp[] = {
	{ 0, "capable" },     { 1, "join" },	 { 2, "dss" },
	{ 3, "add-addr" },    { 4, "rem-addr" }, { 5, "prio" },
	{ 6, "fail" },	      { 7, "fast-close" }, { 8, "reset" },
};
TABLE(mptcp);

static const struct weir_name icmp[] = {
	{ 0, "echo reply" },
	{ 3, "destination unreachable" },
	{ 4, "source quench" },
	{ 5, "redirect" },
	{ 8, "echo request" },
	{ 9, "router advertisement" },
	{ 10, "router solicitation" },
	{ 11, "time exceeded" },
	{ 12, "parameter problem" },
	{ 13, "timestamp request" },
	{ 14, "timestamp reply" },
	{ 15, "information request" },
	{ 16, "information reply" },
	{ 17, "address mask request" },
	{ 18, "address mask reply" },
	{ 42, "extended echo request" },
	{ 43, "extended echo reply" },
};
TABLE(icmp);

static const struct weir_name icmp_code[] = {
	{ WEIR_ICMP_CODE(3, 0), "net unreachable" },
	{ WEIR_ICMP_CODE(3, 1), "host unreachable" },
	{ WEIR_ICMP_CODE(3, 2), "protocol unreachable" },
	{ WEIR_ICMP_CODE(3, 3), "port unreachable" },
	{ WEIR_ICMP_CODE(3, 4), "need to frag" },
	{ WEIR_ICMP_CODE(3, 5), "source route failed" },
	{ WEIR_ICMP_CODE(3, 6), "net unknown" },
	{ WEIR_ICMP_CODE(3, 7), "host unknown" },
	{ WEIR_ICMP_CODE(3, 8), "source host isolated" },
	{ WEIR_ICMP_CODE(3, 9), "net prohibited" },
	{ WEIR_ICMP_CODE(3, 10), "host prohibited" },
	{ WEIR_ICMP_CODE(3, 11), "net unreachable for this service" },
	{ WEIR_ICMP_CODE(3, 12), "host unreachable for this service" },
	{ WEIR_ICMP_CODE(3, 13), "admin prohibited" },
	{ WEIR_ICMP_CODE(3, 14), "host precedence violation" },
	{ WEIR_ICMP_CODE(3, 15), "precedence cutoff" },
	{ WEIR_ICMP_CODE(5, 0), "redirect for net" },
	{ WEIR_ICMP_CODE(5, 1), "redirect for host" },
	{ WEIR_ICMP_CODE(5, 2), "redirect for service and net" },
	{ WEIR_ICMP_CODE(5, 3), "redirect for service and host" },
	{ WEIR_ICMP_CODE(9, 16), "does not route common traffic" },
	{ WEIR_ICMP_CODE(11, 0), "in-transit" },
	{ WEIR_ICMP_CODE(11, 1), "reassembly" },
	{ WEIR_ICMP_CODE(12, 0), "pointer indicates the error" },
	{ WEIR_ICMP_CODE(12, 1), "missing option" },
	{ WEIR_ICMP_CODE(12, 2), "bad length" },
};
TABLE(icmp_code);

static const struct weir_name icmp6[] = {
	{ 1, "destination unreachable" },
	{ 2, "packet too big" },
	{ 3, "time exceeded" },
	{ 4, "parameter problem" },
	{ 128, "echo request" },
	{ 129, "echo reply" },
	{ 130, "multicast listener query" },
	{ 131, "multicast listener report" },
	{ 132, "multicast listener done" },
	{ 133, "router solicitation" },
	{ 134, "router advertisement" },
	{ 135, "neighbor solicitation" },
	{ 136, "neighbor advertisement" },
	{ 137, "redirect" },
	{ 138, "router renumbering" },
	{ 139, "node information query" },
	{ 140, "node information reply" },
	{ 141, "inverse neighbor solicitation" },
	{ 142, "inverse neighbor advertisement" },
	{ 143, "multicast listener report v2" },
	{ 144, "home agent discovery request" },
	{ 145, "home agent discovery reply" },
	{ 146, "mobile prefix solicitation" },
	{ 147, "mobile prefix advertisement" },
	{ 148, "certification path solicitation" },
	{ 149, "certification path advertisement" },
	{ 151, "multicast router advertisement" },
	{ 152, "multicast router solicitation" },
	{ 153, "multicast router termination" },
	{ 155, "RPL control" },
	{ 157, "duplicate address request" },
	{ 158, "duplicate address confirmation" },
	{ 160, "extended echo request" },
	{ 161, "extended echo reply" },
};
TABLE(icmp6);

static const struct weir_name icmp6_code[] = {
	{ WEIR_ICMP_CODE(1, 0), "unreachable route" },
	{ WEIR_ICMP_CODE(1, 1), "unreachable prohibited" },
	{ WEIR_ICMP_CODE(1, 2), "beyond scope of source address" },
	{ WEIR_ICMP_CODE(1, 3), "unreachable address" },
	{ WEIR_ICMP_CODE(1, 4), "unreachable port" },
	{ WEIR_ICMP_CODE(1, 5), "source address failed policy" },
	{ WEIR_ICMP_CODE(1, 6), "reject route" },
	{ WEIR_ICMP_CODE(1, 7), "error in source route" },
	{ WEIR_ICMP_CODE(1, 8), "headers too long" },
	{ WEIR_ICMP_CODE(3, 0), "in-transit" },
	{ WEIR_ICMP_CODE(3, 1), "reassembly" },
	{ WEIR_ICMP_CODE(4, 0), "erroneous header field" },
	{ WEIR_ICMP_CODE(4, 1), "unknown next header" },
	{ WEIR_ICMP_CODE(4, 2), "unknown option" },
	{ WEIR_ICMP_CODE(4, 3), "incomplete header chain" },
};
TABLE(icmp6_code);

static const struct weir_name nd_option[] = {
	{ 1, "source link-layer address" },
	{ 2, "target link-layer address" },
	{ 3, "prefix information" },
	{ 4, "redirected header" },
	{ 5, "MTU" },
	{ 7, "advertisement interval" },
	{ 8, "home agent information" },
	{ 11, "CGA" },
	{ 12, "RSA signature" },
	{ 13, "timestamp" },
	{ 14, "nonce" },
	{ 24, "route information" },
	{ 25, "recursive DNS server" },
	{ 26, "flags extension" },
	{ 31, "DNS search list" },
	{ 33, "address registration" },
	{ 37, "captive portal" },
	{ 38, "PREF64" },
};
TABLE(nd_option);

static const struct weir_name igmp[] = {
	{ 0x11, "membership query" },
	{ 0x12, "v1 membership report" },
	{ 0x13, "DVMRP" },
	{ 0x14, "PIM v1" },
	{ 0x16, "v2 membership report" },
	{ 0x17, "leave group" },
	{ 0x22, "v3 membership report" },
	{ 0x30, "multicast router advertisement" },
	{ 0x31, "multicast router solicitation" },
	{ 0x32, "multicast router termination" },
};
TABLE(igmp);

static const struct weir_name sctp_chunk[] = {
	{ 0, "DATA" },		 { 1, "INIT" },
	{ 2, "INIT ACK" },	 { 3, "SACK" },
	{ 4, "HEARTBEAT" },	 { 5, "HEARTBEAT ACK" },
	{ 6, "ABORT" },		 { 7, "SHUTDOWN" },
	{ 8, "SHUTDOWN ACK" },	 { 9, "ERROR" },
	{ 10, "COOKIE ECHO" },	 { 11, "COOKIE ACK" },
	{ 12, "ECNE" },		 { 13, "CWR" },
	{ 14, "SHUTDOWN COMPLETE" }, { 15, "AUTH" },
	{ 64, "I-DATA" },	 { 128, "ASCONF ACK" },
	{ 130, "RE-CONFIG" },	 { 132, "PAD" },
	{ 192, "FORWARD TSN" },	 { 193, "ASCONF" },
	{ 194, "I-FORWARD TSN" },
};
TABLE(sctp_chunk);

static const struct weir_name dccp[] = {
	{ 0, "request" }, { 1, "response" },  { 2, "data" }, { 3, "ack" },
	{ 4, "dataack" }, { 5, "closereq" },  { 6, "close" }, { 7, "reset" },
	{ 8, "sync" },	  { 9, "syncack" },
};
TABLE(dccp);

const char *weir_names_find(const struct weir_names *names, uint32_t value)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->v[i].value == value)
			return names->v[i].text;
	return NULL;
}
