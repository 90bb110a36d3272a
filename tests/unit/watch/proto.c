/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "cap/watch/format.h"
#include "cap/watch/pcapng.h"
#include "samples.h"

#include "capture.h"

#define VALUE_MAX 256

static void format(const struct weir_packet *p, struct weir_buf *out)
{
	struct weir_formatter f = {
		.format = WEIR_FORMAT_PROTO, .numeric = true, .time = WEIR_TIME_NONE,
	};

	weir_format_packet(&f, p, out);
	assert_false(out->failed);
}

static void has(const char *name, const char *const *lines)
{
	struct weir_buf out = { 0 };
	struct sample_packet s;

	sample_open(&s, sample_find(name));
	format(&s.p, &out);
	for (; *lines; lines++) {
		char line[VALUE_MAX];

		snprintf(line, sizeof(line), "\n%s\n", *lines);
		if (!strstr(out.data, line))
			fail_msg("%s: no line \"%s\" in:\n%s", name, *lines, out.data);
	}
	sample_close(&s);
	weir_buf_free(&out);
}

#define HAS(name, ...) has(name, (const char *const[]){ __VA_ARGS__, NULL })

static void headers(void **state)
{
	(void)state;
	HAS("tcp_data", "  length: 75 bytes, 75 captured", "Ethernet", "  type: 0x0800 (IPv4)",
	    "  header length: 20 bytes", "  type of service: 0x00 (DSCP CS0, not ECN-capable)",
	    "  flags: 0x018 (PSH, ACK)", "  checksum: 0x38bc, correct", "Payload: 9 bytes");
	HAS("tcp_bad", "  checksum: 0x1234, bad (should be 0xb1fb)");
	HAS("tcp_undone", "  checksum: 0x1432, not computed (left to the device)");
	HAS("udp_no_sum", "  checksum: 0x0000, none");
	HAS("frag_first", "  flags: 0x1 (more fragments)",
	    "  checksum: 0xb842, unknown (a fragment)");
	HAS("frag_last", "  fragment offset: 24 bytes", "Fragment: udp, bytes from 24 on");
	HAS("qinq", "802.1ad", "  id: 100", "  type: 0x8100 (802.1Q)", "802.1Q",
	    "  drop eligible: set", "  id: 20", "  type: 0x86dd (IPv6)");
	HAS("bad_ihl", "[malformed: a header contradicts itself]");
	HAS("stp", "  length: 9", "LLC", "  dsap: 0x42", "Payload: 6 bytes");
}

static void options(void **state)
{
	(void)state;
	HAS("tcp_syn", "  maximum segment size: 1460", "  SACK permitted: yes",
	    "  timestamps: value 1, echo reply 0", "  option: no-op",
	    "  window scale: 7 (times 128)");
	HAS("tcp_sack", "  SACK: 10-20, 30-40");
	HAS("tcp_md5", "  MD5 signature: 0x000102030405060708090a0b0c0d0e0f");
	HAS("tcp_rare", "  fast open: 0x0102030405060708", "  multipath TCP: 1 (join) 0x1000",
	    "  authentication: key 1, next key 2, MAC 0xaabb", "  unknown option: 77 0x09",
	    "  user timeout: 5 minutes");
	HAS("tcp_bad_option", "  [malformed option]");
	HAS("ip_options", "  record route: > 1.2.3.4 (pointer 4)", "  router alert: 0");
	HAS("ip_lsrr", "  loose source route: > 1.2.3.4, 5.6.7.8 (pointer 4)");
	HAS("ip_timestamp", "  timestamp: 1.2.3.4@99 (pointer 9, overflow 0, flag 1)");
	HAS("ip6_routing", "IPv6 destination options", "  home address: 2001:db8::77",
	    "IPv6 routing", "  type: 0 (source route)", "  segments left: 1",
	    "  address: 2001:db8::4");
	HAS("ip6_srv6", "  type: 4 (segment routing)", "  last entry: 1");
	HAS("mld2", "IPv6 hop-by-hop options", "  router alert: 0",
	    "  record: ff02::fb, type 4, sources 0");
	HAS("ah6", "Authentication header", "  SPI: 0x00000007",
	    "  integrity check value: 010101010101010101010101");
}

static void messages(void **state)
{
	(void)state;
	HAS("icmp_frag", "  code: 4 (need to frag)", "  next-hop MTU: 1400", "  Quoted packet",
	    "    IPv4", "      destination: 10.0.0.9", "    TCP", "      destination port: 53");
	HAS("icmp6_port", "  code: 4 (unreachable port)", "    UDP");
	HAS("nd_ra", "  hop limit: 64", "  router lifetime: 1800 s", "  prefix information",
	    "    prefix length: 64", "    prefix: 2001:db8::", "  MTU: 1500",
	    "  recursive DNS server: 2001:db8::53 for 60 s");
	HAS("nd_na", "  router: set", "  target: fe80::2",
	    "  target link-layer address: 02:00:00:00:00:01");
	HAS("arp_reply", "  operation: 2 (reply)", "  sender MAC: 02:00:00:00:00:02",
	    "  target IP: 10.0.0.1");
	HAS("sctp_init", "  Chunk", "    type: 1 (INIT)", "    initial TSN: 3");
	HAS("ipip", "Tunnelled packet", "    source: 192.168.0.1", "    source port: 7");
	HAS("igmp", "  group: 224.0.0.251");
}

static void frame(void **state)
{
	uint8_t bytes[SAMPLE_MAX];
	uint32_t n = sample_bytes(sample_find("tcp_data"), bytes);
	struct weir_buf out = { 0 };
	struct sample_packet s;

	(void)state;
	sample_cut(&s, bytes, n, 70, true);
	s.p.ev.dir = WEIR_WATCH_OUT;
	s.p.ev.queue = 2;
	s.p.ev.flags = WEIR_WATCH_QUEUE;
	s.p.ev.verdict = WEIR_WATCH_DROP;
	s.p.rule = "filter/bad";
	s.p.comment = "by\033[2J";
	format(&s.p, &out);
	assert_non_null(strstr(out.data, "Frame\n"
					 "  interface: eth0\n"
					 "  direction: out\n"
					 "  length: 75 bytes, 70 captured\n"
					 "  queue: 2\n"
					 "  verdict: drop\n"
					 "  rule: filter/bad\n"
					 "  community id: 1:ee6oL5+dTPKMmgXQDCHFO1paWC4=\n"
					 "  comment: by.[2J\n"
					 "Ethernet\n"));
	assert_non_null(strstr(out.data, ", unknown (36 of 41 bytes captured)\n"));
	assert_non_null(strstr(out.data, "Payload: 9 bytes, 4 captured\n"));
	weir_buf_reset(&out);
	s.p.ev.gso_size = 3;
	s.p.wire_packets = 3;
	format(&s.p, &out);
	assert_non_null(strstr(out.data, "  segments: 3 of up to 3 bytes of payload\n"));
	sample_close(&s);
	weir_buf_free(&out);
}

/* What tshark calls a field, and where the proto format has it. */
static const struct oracle {
	const char *field, *layer, *item, *or_layer;
} oracles[] = {
	{ "eth.dst", "Ethernet", "destination", NULL },
	{ "eth.src", "Ethernet", "source", NULL },
	{ "eth.type", "Ethernet", "type", NULL },
	{ "ip.version", "IPv4", "version", NULL },
	{ "ip.hdr_len", "IPv4", "header length", NULL },
	{ "ip.dsfield", "IPv4", "type of service", NULL },
	{ "ip.len", "IPv4", "total length", NULL },
	{ "ip.id", "IPv4", "identification", NULL },
	{ "ip.ttl", "IPv4", "time to live", NULL },
	{ "ip.proto", "IPv4", "protocol", NULL },
	{ "ip.checksum", "IPv4", "header checksum", NULL },
	{ "ip.checksum.status", "IPv4", "header checksum", NULL },
	{ "ip.src", "IPv4", "source", NULL },
	{ "ip.dst", "IPv4", "destination", NULL },
	{ "ipv6.tclass", "IPv6", "traffic class", NULL },
	{ "ipv6.flow", "IPv6", "flow label", NULL },
	{ "ipv6.plen", "IPv6", "payload length", NULL },
	{ "ipv6.nxt", "IPv6", "next header", NULL },
	{ "ipv6.hlim", "IPv6", "hop limit", NULL },
	{ "ipv6.src", "IPv6", "source", NULL },
	{ "ipv6.dst", "IPv6", "destination", NULL },
	{ "ipv6.fraghdr.ident", "IPv6 fragment", "identification", NULL },
	{ "ipv6.routing.type", "IPv6 routing", "type", NULL },
	{ "ipv6.routing.segleft", "IPv6 routing", "segments left", NULL },
	{ "ah.spi", "Authentication header", "SPI", NULL },
	{ "tcp.srcport", "TCP", "source port", NULL },
	{ "tcp.dstport", "TCP", "destination port", NULL },
	{ "tcp.seq_raw", "TCP", "sequence number", NULL },
	{ "tcp.ack_raw", "TCP", "acknowledgment number", NULL },
	{ "tcp.hdr_len", "TCP", "header length", NULL },
	{ "tcp.flags", "TCP", "flags", NULL },
	{ "tcp.window_size_value", "TCP", "window", NULL },
	{ "tcp.checksum", "TCP", "checksum", NULL },
	{ "tcp.checksum.status", "TCP", "checksum", NULL },
	{ "tcp.urgent_pointer", "TCP", "urgent pointer", NULL },
	{ "tcp.options.mss_val", "TCP", "maximum segment size", NULL },
	{ "tcp.options.wscale.shift", "TCP", "window scale", NULL },
	{ "udp.srcport", "UDP", "source port", NULL },
	{ "udp.dstport", "UDP", "destination port", NULL },
	{ "udp.length", "UDP", "length", NULL },
	{ "udp.checksum", "UDP", "checksum", NULL },
	{ "udp.checksum.status", "UDP", "checksum", "UDP-Lite" },
	{ "icmp.type", "ICMP", "type", NULL },
	{ "icmp.code", "ICMP", "code", NULL },
	{ "icmp.checksum", "ICMP", "checksum", NULL },
	{ "icmp.checksum.status", "ICMP", "checksum", NULL },
	{ "icmp.ident", "ICMP", "identifier", NULL },
	{ "icmp.seq", "ICMP", "sequence number", NULL },
	{ "icmp.redir_gw", "ICMP", "gateway", NULL },
	{ "icmpv6.type", "ICMPv6", "type", NULL },
	{ "icmpv6.code", "ICMPv6", "code", NULL },
	{ "icmpv6.checksum.status", "ICMPv6", "checksum", NULL },
	{ "icmpv6.echo.identifier", "ICMPv6", "identifier", NULL },
	{ "icmpv6.nd.ra.cur_hop_limit", "ICMPv6", "hop limit", NULL },
	{ "icmpv6.nd.ra.router_lifetime", "ICMPv6", "router lifetime", NULL },
	{ "icmpv6.nd.ns.target_address", "ICMPv6", "target", NULL },
	{ "arp.opcode", "ARP", "operation", NULL },
	{ "arp.src.hw_mac", "ARP", "sender MAC", NULL },
	{ "arp.dst.proto_ipv4", "ARP", "target IP", NULL },
	{ "vlan.id", "802.1Q", "id", NULL },
	{ "vlan.priority", "802.1Q", "priority", NULL },
	{ "sctp.verification_tag", "SCTP", "verification tag", NULL },
	{ "sctp.checksum", "SCTP", "checksum", NULL },
	{ "sctp.checksum.status", "SCTP", "checksum", NULL },
	{ "dccp.checksum.status", "DCCP", "checksum", NULL },
	{ "igmp.checksum.status", "IGMP", "checksum", NULL },
	{ "igmp.maddr", "IGMP", "group", NULL },
	{ "communityid", "Frame", "community id", NULL },
};

#define ORACLES (sizeof(oracles) / sizeof(oracles[0]))

static bool is_title(const char *line, const char *title)
{
	return title && !strncmp(line, title, strlen(title)) && line[strlen(title)] == '\n';
}

/* The item's value; false where there is none. */
static bool find_item(const char *text, const struct oracle *o, char ret[VALUE_MAX])
{
	char key[VALUE_MAX], *line;
	bool inside = false;

	snprintf(key, sizeof(key), "  %s: ", o->item);
	for (const char *end; (end = strchr(text, '\n')); text = end + 1) {
		if (text[0] != ' ')
			inside = is_title(text, o->layer) || is_title(text, o->or_layer);
		if (!inside || strncmp(text, key, strlen(key)) != 0)
			continue;
		line = strndup(text + strlen(key), (size_t)(end - text) - strlen(key));
		snprintf(ret, VALUE_MAX, "%s", line);
		free(line);
		return true;
	}
	return false;
}

/* tshark's checksum status for our words. */
static const char *csum_status(const char *value)
{
	static const struct {
		const char *word, *status;
	} words[] = {
		{ ", correct", "1" },
		{ ", bad", "0" },
		{ ", none", "3" },
		{ ", unknown", "2" },
		{ ", not computed", "0" }, /* which tshark cannot tell from bad */
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(value, words[i].word))
			return words[i].status;
	return "?";
}

static bool same(const char *ours, const char *theirs)
{
	char *ours_end, *theirs_end;
	unsigned long long a = strtoull(ours, &ours_end, 0);
	unsigned long long b = strtoull(theirs, &theirs_end, 0);

	if (!*ours_end && !*theirs_end)
		return a == b;
	return !strcmp(ours, theirs);
}

/* Returns how many values could be compared. */
static unsigned int compare(const char *name, const char *text, char *row)
{
	unsigned int n = 0;

	for (size_t i = 0; i < ORACLES; i++) {
		char *theirs = strsep(&row, ","), ours[VALUE_MAX];
		bool is_status = strstr(oracles[i].field, ".status");

		assert_non_null(theirs);
		if (!find_item(text, &oracles[i], ours))
			continue;
		/* tshark has a name of its own in each message for the same item. */
		if (!*theirs && !strncmp(oracles[i].field, "icmpv6.nd.", 10))
			continue;
		/* It calls the last hop of a source route the destination. */
		if (!strcmp(name, "ip_lsrr") && (!strcmp(oracles[i].field, "ip.dst") ||
						 !strcmp(oracles[i].field, "communityid")))
			continue;
		if (is_status)
			snprintf(ours, sizeof(ours), "%s", csum_status(ours));
		else
			ours[strcspn(ours, " ,")] = '\0';
		if (!same(ours, theirs))
			fail_msg("%s, %s: \"%s\", tshark says \"%s\"", name, oracles[i].field,
				 ours, theirs);
		n++;
	}
	return n;
}

static bool comparable(const struct sample *s)
{
	/* tshark gives up on this one without naming its fields. */
	return strcmp(s->name, "bad_ihl") != 0;
}

static void tshark_agrees(void **state)
{
	static const struct weir_pcapng_iface ifaces[] = {
		{ .name = "eth0", .snaplen = 65535 },
		{ .name = "tun0", .snaplen = 65535, .no_l2 = true },
	};
	struct weir_buf file = { 0 }, command = { 0 }, said = { 0 };
	char path[CAPTURE_PATH], *rows, *row;
	unsigned int compared = 0;

	(void)state;
	if (!capture_has("tshark"))
		skip();
	weir_pcapng_begin(&file, ifaces, 2);
	for (size_t i = 0; i < SAMPLES; i++) {
		struct sample_packet s;

		sample_open(&s, &samples[i]);
		weir_pcapng_packet(&file, &s.p, sample_has_l2(&samples[i]) ? 0 : 1, 0);
		sample_close(&s);
	}
	capture_write(&file, path);
	weir_buf_addf(&command, "tshark -n -r %s --enable-protocol communityid "
		      "-o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE "
		      "-o udp.check_checksum:TRUE -o udplite.check_checksum:TRUE "
		      "-o sctp.checksum:CRC-32c "
		      "-o ip.defragment:FALSE -o ipv6.defragment:FALSE "
		      "-T fields -E separator=, -E occurrence=f", path);
	for (size_t i = 0; i < ORACLES; i++)
		weir_buf_addf(&command, " -e %s", oracles[i].field);
	capture_ask(command.data, &said);
	unlink(path);
	rows = said.data;
	for (size_t i = 0; i < SAMPLES; i++) {
		struct weir_buf out = { 0 };
		struct sample_packet s;

		row = strsep(&rows, "\n");
		assert_non_null(row);
		sample_open(&s, &samples[i]);
		format(&s.p, &out);
		if (comparable(&samples[i]))
			compared += compare(samples[i].name, out.data, row);
		sample_close(&s);
		weir_buf_free(&out);
	}
	assert_true(compared > 900);
	weir_buf_free(&file);
	weir_buf_free(&command);
	weir_buf_free(&said);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers),  cmocka_unit_test(options),
		cmocka_unit_test(messages), cmocka_unit_test(frame),
		cmocka_unit_test(tshark_agrees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
