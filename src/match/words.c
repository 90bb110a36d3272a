/* SPDX-License-Identifier: GPL-2.0-only */
#include "match/words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/pkt.h"

#define IP4 WEIR_PKT_IP4
#define IP6 WEIR_PKT_IP6

const struct weir_name weir_words_ether[] = {
	{ "ip", 0x0800, IP4 },
	{ "ip6", 0x86dd, IP6 },
	{ "ipv6", 0x86dd, IP6 },
	{ "arp", 0x0806, WEIR_PKT_ARP },
	{ "rarp", 0x8035, WEIR_PKT_ETHER },
	{ "lldp", 0x88cc, 0 },
	{ "eapol", 0x888e, 0 },
	{ "mpls", 0x8847, 0 },
	{ "pppoed", 0x8863, 0 },
	{ "pppoes", 0x8864, 0 },
	{ "loopback", 0x9000, 0 },
	{},
};

const struct weir_name weir_words_proto[] = {
	{ "tcp", 6, IP4 | IP6 },   { "udp", 17, IP4 | IP6 },
	{ "icmp", 1, IP4 },	   { "icmp6", 58, IP6 },
	{ "icmpv6", 58, IP6 },	   { "sctp", 132, IP4 | IP6 },
	{ "igmp", 2, IP4 },	   { "gre", 47, IP4 | IP6 },
	{ "esp", 50, IP4 | IP6 },  { "ah", 51, IP4 | IP6 },
	{ "pim", 103, IP4 | IP6 }, { "vrrp", 112, IP4 | IP6 },
	{ "ospf", 89, IP4 | IP6 }, { "udplite", 136, IP4 | IP6 },
	{ "dccp", 33, IP4 | IP6 }, { "ipip", 4, IP4 | IP6 },
	{ "ipv6-icmp", 58, 0 },	   { "ipv6", 41, 0 },
	{ "l2tp", 115, 0 },	   {},
};

const struct weir_name weir_words_tcp[] = {
	{ "fin", WEIR_TCP_FIN, 0 },  { "syn", WEIR_TCP_SYN, 0 }, { "rst", WEIR_TCP_RST, 0 },
	{ "psh", WEIR_TCP_PSH, 0 },  { "ack", WEIR_TCP_ACK, 0 }, { "urg", WEIR_TCP_URG, 0 },
	{ "ece", WEIR_TCP_ECE, 0 },  { "cwr", WEIR_TCP_CWR, 0 }, { "ae", WEIR_TCP_AE, 0 },
	{ "push", WEIR_TCP_PSH, 0 }, { "none", 0, 0 },		 {},
};

/* Words of pcap-filter that weir leaves to libpcap. Where weir has another way
 * to say it, `instead` is that. */
static const struct {
	const char *words;
	const char *what;
	const char *instead;
} refused[] = {
	{ "inbound outbound", "the direction is an option of weir", "-Q in or -Q out" },
	{ "ifname on", "the interface is an option of weir", "-i IFACE" },
	{ "gateway", "weir does not look up names", "ether host MAC and not host ADDR" },
	{ "protochain", "weir looks behind extension headers by itself", "ip6 proto N" },
	{ "mpls pppoes pppoed", "weir does not look inside",
	  "ether proto NAME for the whole of it" },
	{ "geneve vxlan", "weir does not look inside", "udp port N for the whole of it" },
	{ "llc stp iso netbeui ipx atalk aarp decnet lat moprc mopdl sca clnp esis isis l1 l2 iih "
	  "lsp snp csnp psnp",
	  "weir does not look into 802.2 and older protocols", NULL },
	{ "wlan fddi tr ppp slip link radio type subtype dir ra ta addr1 addr2 addr3 addr4",
	  "weir sees Ethernet and IP only", NULL },
	{ "vpi vci lane oam oamf4 oamf4s oamf4e oamf4sc oamf4ec metac bcc sc ilmic connectmsg "
	  "metaconnect fisu lssu lsu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls",
	  "weir sees no ATM and no SS7", NULL },
	{ "rnr rulenum reason rset ruleset srnr subrulenum action",
	  "Linux has no log of pf to read this from", NULL },
	{ "carp igrp eigrp", "weir has no such word", "proto N" },
};

bool weir_word_is(const struct weir_word *w, const char *s)
{
	return strlen(s) == w->n && !memcmp(s, w->s, w->n);
}

bool weir_word_copy(const struct weir_word *w, char ret[WEIR_WORD_MAX])
{
	if (w->n >= WEIR_WORD_MAX)
		return false;
	memcpy(ret, w->s, w->n);
	ret[w->n] = '\0';
	return true;
}

int weir_word_fail(struct weir_error *err, int code, const struct weir_word *w, const char *fmt,
		   ...)
{
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!w->n)
		return weir_fail(err, code, "at the end: %s", text);
	return weir_fail(err, code, "\"%.*s%s\" at character %zu: %s",
			 (int)(w->n < WEIR_WORD_MAX ? w->n : WEIR_WORD_MAX), w->s,
			 w->n < WEIR_WORD_MAX ? "" : "...", w->at, text);
}

const struct weir_name *weir_name_find(const struct weir_name *table, const struct weir_word *w)
{
	for (; table->name; table++)
		if (weir_word_is(w, table->name))
			return table;
	return NULL;
}

const struct weir_name *weir_name_of(const struct weir_name *table, unsigned int number)
{
	for (; table->name; table++)
		if (table->number == number)
			return table;
	return NULL;
}

/* Is @w one of the words in @list, which are separated by spaces? */
static bool is_among(const struct weir_word *w, const char *list)
{
	for (const char *end; *list; list = *end ? end + 1 : end) {
		end = strchrnul(list, ' ');
		if ((size_t)(end - list) == w->n && !memcmp(list, w->s, w->n))
			return true;
	}
	return false;
}

bool weir_word_refuse(const struct weir_word *w, struct weir_error *err)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(refused); i++) {
		if (!is_among(w, refused[i].words))
			continue;
		if (refused[i].instead)
			weir_word_fail(err, 0, w, "%s: write %s, or use --strict-pcap",
				       refused[i].what, refused[i].instead);
		else
			weir_word_fail(err, 0, w, "%s: use --strict-pcap", refused[i].what);
		return true;
	}
	return false;
}
