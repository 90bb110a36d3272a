/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/reasons.h"

#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"

const char *const weir_drops_stages[WEIR_STAGES] = {
	[WEIR_STAGE_NIC] = "nic",
	[WEIR_STAGE_DRIVER] = "driver",
	[WEIR_STAGE_XDP] = "xdp",
	[WEIR_STAGE_BACKLOG] = "backlog",
	[WEIR_STAGE_TC_IN] = "tc-in",
	[WEIR_STAGE_LINK] = "link",
	[WEIR_STAGE_NETFILTER] = "netfilter",
	[WEIR_STAGE_IP] = "ip",
	[WEIR_STAGE_TCP] = "tcp",
	[WEIR_STAGE_UDP] = "udp",
	[WEIR_STAGE_SOCKET] = "socket",
	[WEIR_STAGE_NEIGHBOUR] = "neighbour",
	[WEIR_STAGE_TC_OUT] = "tc-out",
	[WEIR_STAGE_QDISC] = "qdisc",
	[WEIR_STAGE_TX] = "tx",
	[WEIR_STAGE_STACK] = "stack",
};

#define LOST(name, stage, advice)                        \
	{                                                \
#name, WEIR_STAGE_##stage, false, advice \
	}
#define FREED(name, stage, advice)                      \
	{                                               \
#name, WEIR_STAGE_##stage, true, advice \
	}

static const struct weir_drops_reason reasons[] = {
	LOST(XDP, XDP, "an XDP program dropped it: `bpftool net` shows whose it is"),
	LOST(CPU_BACKLOG, BACKLOG,
	     "a CPU's backlog was full: raise net.core.netdev_max_backlog, or spread by RPS"),
	LOST(TC_INGRESS, TC_IN,
	     "a tc program or filter dropped it: `tc filter show dev IF ingress`"),
	LOST(TC_COOKIE_ERROR, TC_IN, "tc could not hand it on: out of memory for tc's cookie"),
	LOST(TC_CHAIN_NOTFOUND, TC_IN, "a tc filter goes to a chain that is not there"),
	LOST(TC_RECLASSIFY_LOOP, TC_IN, "tc filters send it round in circles"),
	LOST(UNHANDLED_PROTO, LINK,
	     "nothing here speaks its protocol: often STP, LLDP or another's IPv6; harmless if so"),
	LOST(INVALID_PROTO, LINK, "its link-layer type is none: look at the sender"),
	LOST(DEV_HDR, LINK, "its link-layer header could not be read or made"),
	LOST(MAC_INVALID_SOURCE, LINK, "its source MAC address is none: look at the sender"),
	LOST(LOCAL_MAC, LINK, "it came from outside with a MAC address of this host: a loop"),
	LOST(MAC_IEEE_MAC_CONTROL, LINK, "flow control frames end at a bridge: no loss of data"),
	LOST(BRIDGE_INGRESS_STP_STATE, LINK, "the bridge port does not forward: `bridge link`"),
	LOST(NO_TX_TARGET, LINK, "the bridge or tunnel has no port to send it to"),
	LOST(ARP_PVLAN_DISABLE, LINK, "ARP for the own interface: see proxy_arp_pvlan"),
	LOST(PKT_TOO_SMALL, IP, "shorter than its own header: look at the sender, or the driver"),
	LOST(HDR_TRUNC, IP, "its headers are cut: look at the sender"),
	LOST(NETFILTER_DROP, NETFILTER, "a firewall rule: `nft list ruleset` or `iptables -nvL`"),
	FREED(OTHERHOST, IP, "it is for another host, and came by promiscuous mode or flooding"),
	LOST(IP_CSUM, IP, "wrong IP checksum: broken hardware or offload on the way"),
	LOST(IP_INHDR, IP,
	     "bad IP header, or its TTL ended here (a routing loop, traceroute): see its flow"),
	LOST(IP_RPFILTER, IP,
	     "its source is routed elsewhere: asymmetric routing, or spoofed; see rp_filter"),
	LOST(UNICAST_IN_L2_MULTICAST, IP, "unicast IP in a multicast frame: see the sender"),
	LOST(XFRM_POLICY, IP, "IPsec policy: `ip xfrm policy`, /proc/net/xfrm_stat"),
	LOST(IP_NOPROTO, IP, "nothing here speaks its IP protocol"),
	LOST(IP_INADDRERRORS, IP, "its address is invalid here: see its flow"),
	LOST(IP_INNOROUTES, IP, "no route to where it goes: `ip route get ADDRESS`"),
	LOST(IP_OUTNOROUTES, IP, "no route to where it goes: `ip route get ADDRESS`"),
	LOST(IP_LOCAL_SOURCE, IP, "it comes from outside with an address of this host"),
	LOST(IP_INVALID_SOURCE, IP, "its source address is invalid (multicast, broadcast, zero)"),
	LOST(IP_LOCALNET, IP, "127/8 from outside: spoofed, or route_localnet is meant"),
	LOST(IP_INVALID_DEST, IP, "its destination address is invalid here"),
	LOST(IP_TUNNEL_ECN, IP, "the tunnel's congestion bits contradict the packet's"),
	LOST(IPV6DISABLED, IP, "IPv6 is off on the interface: see disable_ipv6"),
	LOST(IPV6_BAD_EXTHDR, IP, "bad IPv6 extension header: look at the sender"),
	LOST(IPV6_NDISC_FRAG, IP, "fragmented neighbour discovery is forbidden"),
	LOST(IPV6_NDISC_HOP_LIMIT, IP, "neighbour discovery from beyond the link: forged"),
	LOST(IPV6_NDISC_BAD_CODE, IP, "bad neighbour discovery: look at the sender"),
	LOST(IPV6_NDISC_BAD_OPTIONS, IP, "bad neighbour discovery: look at the sender"),
	FREED(IPV6_NDISC_NS_OTHERHOST, IP, "it asks for another host's address"),
	LOST(PKT_TOO_BIG, IP, "larger than the MTU ahead: see `ip link`, path MTU discovery"),
	FREED(DUP_FRAG, IP, "a fragment that had come already"),
	LOST(FRAG_REASM_TIMEOUT, IP, "the other fragments never came: loss on the way"),
	LOST(FRAG_TOO_FAR, IP, "fragments too far apart: see net.ipv4.ipfrag_max_dist"),
	LOST(ICMP_CSUM, IP, "wrong ICMP checksum: broken hardware or offload on the way"),
	LOST(VXLAN_INVALID_HDR, IP, "bad VXLAN header: look at the sender"),
	LOST(VXLAN_VNI_NOT_FOUND, IP, "no VXLAN of that number here: `ip -d link show type vxlan`"),
	LOST(VXLAN_ENTRY_EXISTS, IP, "the VXLAN's forwarding table says otherwise"),
	LOST(TUNNEL_TXINFO, IP, "a tunnel without what it needs to send"),
	LOST(RECURSION_LIMIT, STACK, "tunnels or interfaces that send into each other"),
	LOST(TCP_CSUM, TCP, "wrong TCP checksum: broken hardware or offload on the way"),
	LOST(TCP_AUTH_HDR, TCP, "bad TCP authentication option: see the peer"),
	LOST(TCP_MD5NOTFOUND, TCP, "no TCP-MD5 signature where one is demanded: see the peer"),
	LOST(TCP_MD5UNEXPECTED, TCP, "a TCP-MD5 signature where none is expected: see the peer"),
	LOST(TCP_MD5FAILURE, TCP, "wrong TCP-MD5 signature: the keys differ"),
	LOST(TCP_AONOTFOUND, TCP, "no TCP-AO option where one is demanded: see the peer"),
	LOST(TCP_AOUNEXPECTED, TCP, "a TCP-AO option where none is expected: see the peer"),
	LOST(TCP_AOKEYNOTFOUND, TCP, "a TCP-AO key that is not known here"),
	LOST(TCP_AOFAILURE, TCP, "wrong TCP-AO signature: the keys differ"),
	LOST(TCP_FLAGS, TCP, "TCP flags that make no sense in this state: a scan, or an old peer"),
	LOST(TCP_ABORT_ON_DATA, TCP, "data for a connection that the program has closed already"),
	LOST(TCP_ZEROWINDOW, TCP,
	     "the receiver's window is closed: the program reads too slowly, or SO_RCVBUF is small"),
	FREED(TCP_OLD_DATA, TCP, "a repetition of data that had arrived: the sender retransmits"),
	LOST(TCP_OVERWINDOW, TCP,
	     "beyond the receive window: the program reads too slowly, or SO_RCVBUF is small"),
	FREED(TCP_OFOMERGE, TCP, "out of order, and its data is there already"),
	FREED(TCP_RFC7323_PAWS, TCP, "an old duplicate by its time stamp"),
	FREED(TCP_RFC7323_PAWS_ACK, TCP, "an old duplicate by its time stamp"),
	LOST(TCP_RFC7323_TW_PAWS, TCP, "a connection's reuse refused by its time stamp"),
	LOST(TCP_RFC7323_TSECR, TCP, "it echoes a time stamp that was never sent"),
	LOST(TCP_LISTEN_OVERFLOW, TCP,
	     "the accept queue is full: accept faster, or raise listen()'s backlog and somaxconn"),
	FREED(TCP_OLD_SEQUENCE, TCP, "old sequence number: a late duplicate"),
	LOST(TCP_INVALID_SEQUENCE, TCP, "sequence number outside the window: see the peer"),
	LOST(TCP_INVALID_END_SEQUENCE, TCP, "it ends outside the window: the peer ignores it"),
	LOST(TCP_INVALID_ACK_SEQUENCE, TCP, "it acknowledges what was not sent"),
	FREED(TCP_RESET, TCP, "a reset that ended its connection: its work was done"),
	LOST(TCP_INVALID_SYN, TCP, "a SYN inside a connection: a reused port, or forged"),
	FREED(TCP_CLOSE, TCP, "it came to a connection that was being closed"),
	LOST(TCP_FASTOPEN, TCP, "TCP Fast Open refused it"),
	FREED(TCP_OLD_ACK, TCP, "an old acknowledgement, overtaken by a newer one"),
	LOST(TCP_TOO_OLD_ACK, TCP, "an acknowledgement too old to be true: stray or forged"),
	LOST(TCP_ACK_UNSENT_DATA, TCP, "it acknowledges what was not sent: stray or forged"),
	LOST(TCP_OFO_QUEUE_PRUNE, TCP, "out-of-order data thrown away for memory: raise tcp_rmem"),
	LOST(TCP_OFO_DROP, TCP, "no memory for out-of-order data: raise tcp_rmem"),
	LOST(TCP_MINTTL, TCP, "its TTL is below the socket's IP_MINTTL"),
	LOST(UDP_CSUM, UDP, "wrong UDP checksum: broken hardware or offload on the way"),
	LOST(PSP_INPUT, SOCKET, "PSP: its encryption is not what the socket demands"),
	LOST(PSP_OUTPUT, TX, "PSP: it would have left unencrypted"),
	LOST(NO_SOCKET, SOCKET,
	     "nothing listens there: start it, correct the port, or see who sends (--by flow)"),
	LOST(SOCKET_CLOSE, SOCKET, "the socket was closed with it unread"),
	LOST(SOCKET_FILTER, SOCKET, "the program's own socket filter refused it"),
	LOST(SOCKET_RCVBUFF, SOCKET,
	     "the socket's buffer is full: read faster, or raise SO_RCVBUF and net.core.rmem_max"),
	LOST(SOCKET_BACKLOG, SOCKET,
	     "the socket was busy and its backlog full: raise SO_RCVBUF and net.core.rmem_max"),
	LOST(PROTO_MEM, SOCKET,
	     "the protocol's memory limit: see net.ipv4.tcp_mem or udp_mem, and `ss -m`"),
	LOST(SKB_CSUM, STACK, "its checksum could not be computed"),
	LOST(SKB_UCOPY_FAULT, SOCKET, "the program's buffer could not be written or read"),
	LOST(SECURITY_HOOK, SOCKET, "a security module refused it: see the audit log"),
	LOST(QUEUE_PURGE, SOCKET, "thrown away with the queue that it waited in"),
	LOST(PACKET_SOCK_ERROR, SOCKET, "a capture's queue was full: the packet itself went on"),
	LOST(PFMEMALLOC, SOCKET, "memory is nearly gone, and this socket may not use the reserve"),
	LOST(NEIGH_CREATEFAIL, NEIGHBOUR,
	     "no room for the neighbour: raise neigh.default.gc_thresh3"),
	LOST(NEIGH_FAILED, NEIGHBOUR, "the next hop does not answer: `ip neigh`, is it there?"),
	LOST(NEIGH_QUEUEFULL, NEIGHBOUR, "too many wait for the next hop's address: `ip neigh`"),
	LOST(NEIGH_DEAD, NEIGHBOUR, "the next hop's entry went away: `ip neigh`"),
	LOST(NEIGH_HH_FILLFAIL, NEIGHBOUR, "no link-layer header for the next hop: `ip neigh`"),
	LOST(BPF_CGROUP_EGRESS, TC_OUT, "a cgroup's BPF program refused it: `bpftool cgroup tree`"),
	LOST(TC_EGRESS, TC_OUT,
	     "a tc program or filter dropped it: `tc filter show dev IF egress`"),
	LOST(QDISC_DROP, QDISC, "the queueing discipline dropped it: `tc -s qdisc`"),
	LOST(QDISC_OVERLIMIT, QDISC, "the queue was full: `tc -s qdisc`, its limit or rate"),
	LOST(QDISC_CONGESTED, QDISC, "the queue's active management dropped it: `tc -s qdisc`"),
	LOST(CAKE_FLOOD, QDISC, "cake's flood protection: `tc -s qdisc`"),
	LOST(FQ_BAND_LIMIT, QDISC, "fq's limit of a band: `tc -s qdisc`"),
	LOST(FQ_HORIZON_LIMIT, QDISC, "its time to leave is too far ahead for fq"),
	LOST(FQ_FLOW_LIMIT, QDISC, "fq's limit of a flow: `tc -s qdisc`"),
	LOST(DUALPI2_STEP_DROP, QDISC, "dualpi2's step limit: `tc -s qdisc`"),
	LOST(SKB_GSO_SEG, TX, "it could not be cut into segments"),
	LOST(DEV_READY, TX, "the interface is down or not ready: `ip link`"),
	LOST(FULL_RING, TX, "the interface's queue is full: its reader is too slow"),
	LOST(NOMEM, STACK, "no memory"),
	LOST(TAP_FILTER, TX, "the tap's own filter refused it"),
	LOST(TAP_TXFILTER, TX, "the tap's own filter refused it"),
	LOST(CAN_RX_INVALID_FRAME, LINK, "bad CAN frame"),
	LOST(CANFD_RX_INVALID_FRAME, LINK, "bad CAN frame"),
	LOST(CANXL_RX_INVALID_FRAME, LINK, "bad CAN frame"),
	LOST(NOT_SPECIFIED, STACK, "the kernel gives no reason: the function says where it was"),
	LOST(NOT_DROPPED_YET, STACK, "freed with no verdict: the function says where it was"),
};

const struct weir_drops_reason *weir_drops_reason(const char *name)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(reasons); i++)
		if (strcmp(reasons[i].name, name) == 0)
			return &reasons[i];
	return NULL;
}

const char *weir_drops_done(const char *reason, const char *function, bool bare)
{
	static const struct {
		const char *reason, *function; /* NULL: any; the function begins so */
		bool bare;
		const char *advice;
	} done[] = {
		{ "NOT_SPECIFIED", "tcp_", true,
		  "a bare acknowledgement, FIN or RST that did its work" },
		{ "NOT_SPECIFIED", "sk_stream_kill_queues", true,
		  "a FIN in the queue of a closed socket" },
		{ "QUEUE_PURGE", "sk_stream_kill_queues", true,
		  "a FIN in the queue of a closed socket" },
		{ "QUEUE_PURGE", "0x", true, "a FIN in the queue of a closed socket" },
		/* Without names of functions the segment alone has to tell. */
		{ "NOT_SPECIFIED", "0x", true, "a bare acknowledgement, FIN or RST" },
		{ NULL, "packet_rcv", false, "only the copy for a capture; the packet went on" },
		{ NULL, "tpacket_rcv", false, "only the copy for a capture; the packet went on" },
		{ "NO_SOCKET", "ping_rcv", false, "a ping's answer; raw sockets had their copy" },
		{ "NOT_SPECIFIED", "ping_rcv", false,
		  "a ping's answer; raw sockets had their copy" },
		/* Where ping_rcv() leaves that to its callers, as in 6.1. */
		{ "NO_SOCKET", "icmp_rcv", false, "a ping's answer; raw sockets had their copy" },
		{ "NO_SOCKET", "icmpv6_rcv", false, "a ping's answer; raw sockets had their copy" },
		{ "NOT_SPECIFIED", "ip6_mc_input", false,
		  "a multicast group that nobody here joined" },
		{ "NOT_SPECIFIED", "bpf_prog_test_run", false, "a test run of a BPF program" },
		{ "NOT_SPECIFIED", "netif_napi_add", false,
		  "the kernel tries its buffers where a receive queue is made: no packet" },
		{ "NOT_SPECIFIED", "napi_get_frags_check", false,
		  "the kernel tries its buffers where a receive queue is made: no packet" },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(done); i++)
		if ((!done[i].reason || strcmp(done[i].reason, reason) == 0) &&
		    (bare || !done[i].bare) &&
		    strncmp(function, done[i].function, strlen(done[i].function)) == 0)
			return done[i].advice;
	return NULL;
}

enum weir_drops_stage weir_drops_stage_of(const char *function)
{
	static const struct {
		const char *prefix;
		enum weir_drops_stage stage;
	} places[] = {
		{ "veth_xdp_rcv", WEIR_STAGE_XDP },
		{ "do_xdp_generic", WEIR_STAGE_XDP },
		{ "enqueue_to_backlog", WEIR_STAGE_BACKLOG },
		{ "nf_hook_slow", WEIR_STAGE_NETFILTER },
		{ "__netif_receive_skb", WEIR_STAGE_LINK },
		{ "netif_receive_skb", WEIR_STAGE_LINK },
		{ "br_", WEIR_STAGE_LINK },
		{ "arp_", WEIR_STAGE_LINK },
		{ "tcp_", WEIR_STAGE_TCP },
		{ "__tcp_", WEIR_STAGE_TCP },
		{ "udp", WEIR_STAGE_UDP },
		{ "__udp", WEIR_STAGE_UDP },
		{ "ip_", WEIR_STAGE_IP },
		{ "__ip_", WEIR_STAGE_IP },
		{ "ip6_", WEIR_STAGE_IP },
		{ "ipv6_", WEIR_STAGE_IP },
		{ "icmp", WEIR_STAGE_IP },
		{ "ndisc_", WEIR_STAGE_IP },
		{ "inet_frag", WEIR_STAGE_IP },
		{ "raw", WEIR_STAGE_SOCKET },
		{ "sock_", WEIR_STAGE_SOCKET },
		{ "sk_", WEIR_STAGE_SOCKET },
		{ "packet_rcv", WEIR_STAGE_SOCKET },
		{ "neigh_", WEIR_STAGE_NEIGHBOUR },
		{ "arp_error_report", WEIR_STAGE_NEIGHBOUR },
		{ "qdisc_", WEIR_STAGE_QDISC },
		{ "__dev_queue_xmit", WEIR_STAGE_TX },
		{ "dev_hard_start_xmit", WEIR_STAGE_TX },
		{ "veth_", WEIR_STAGE_TX },
		{ "tun_", WEIR_STAGE_TX },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(places); i++)
		if (strncmp(function, places[i].prefix, strlen(places[i].prefix)) == 0)
			return places[i].stage;
	return WEIR_STAGE_STACK;
}
