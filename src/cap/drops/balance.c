/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/balance.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "base/units.h"
#include "bpf/parse.bpf.h"
#include "cap/drops/ledger.h"
#include "cap/drops/qdiscs.h"

#define LOOPBACK_IFINDEX 1

/* ---- The counters */

static const char *const keys[WEIR_TOTALS] = {
	[WEIR_TOTAL_RECEIVED] = NULL, /* of interfaces */
	[WEIR_TOTAL_IP_IN] = " IpInReceives Ip6InReceives ",
	[WEIR_TOTAL_WIRE_IN] = " IpExtInNoECTPkts IpExtInECT1Pkts IpExtInECT0Pkts IpExtInCEPkts "
			       "Ip6InNoECTPkts Ip6InECT1Pkts Ip6InECT0Pkts Ip6InCEPkts ",
	[WEIR_TOTAL_FORWARDED] = " IpForwDatagrams Ip6OutForwDatagrams ",
	[WEIR_TOTAL_FRAGMENTS] = " IpReasmReqds Ip6ReasmReqds ",
	[WEIR_TOTAL_REASSEMBLED] = " IpReasmOKs Ip6ReasmOKs ",
	[WEIR_TOTAL_DELIVERED] = " IpInDelivers Ip6InDelivers ",
	[WEIR_TOTAL_TCP] = " TcpInSegs ",
	[WEIR_TOTAL_UDP_READ] = " UdpInDatagrams Udp6InDatagrams UdpLiteInDatagrams "
				"UdpLite6InDatagrams ",
	[WEIR_TOTAL_UDP_IGNORED] = " UdpIgnoredMulti Udp6IgnoredMulti ",
	[WEIR_TOTAL_ICMP] = " IcmpInMsgs Icmp6InMsgs ",
	[WEIR_TOTAL_UDP_WAITING] = NULL, /* of sockets */
	[WEIR_TOTAL_REQUESTS] = " IpOutRequests Ip6OutRequests ",
	[WEIR_TOTAL_FORWARDED_4] = " IpForwDatagrams ",
	[WEIR_TOTAL_CUT] = " IpFragOKs Ip6FragOKs ",
	[WEIR_TOTAL_PIECES] = " IpFragCreates Ip6FragCreates ",
	[WEIR_TOTAL_QUEUED] = NULL, /* of queueing disciplines */
	[WEIR_TOTAL_SENT] = NULL,   /* of interfaces */
};

static int take_key(void *arg, const char *key, const char *value)
{
	struct weir_drops_totals *t = arg;

	for (int i = 0; i < WEIR_TOTALS; i++)
		if (weir_drops_in(keys[i], key))
			t->v[i] += strtoull(value, NULL, 10);
	t->requests_first = t->requests_first || !strcmp(key, "IpOutTransmits");
	return 0;
}

int weir_drops_totals_read(struct weir_drops_totals *t, struct weir_error *err)
{
	int ret = weir_drops_protocols_each(take_key, t, err);

	if (ret)
		return ret;
	ret = weir_drops_moved(t);
	if (!ret)
		ret = weir_drops_qdiscs_waiting(&t->v[WEIR_TOTAL_QUEUED]);
	return ret ? weir_fail(err, ret,
			       "cannot read the interfaces' counters: %s: check `ip -s link`",
			       strerror(-ret)) :
		     0;
}

void weir_drops_totals_free(struct weir_drops_totals *t)
{
	free(t->late);
	*t = (struct weir_drops_totals){ 0 };
}

/* ---- Where on the road a row stands */

static bool is_late(const struct weir_drops_totals *t, uint32_t ifindex)
{
	for (size_t i = 0; i < t->n_late; i++)
		if (t->late[i] == ifindex)
			return true;
	return false;
}

static bool is_icmp(const struct weir_drops_row *r)
{
	return r->proto == IPPROTO_ICMP || r->proto == IPPROTO_ICMPV6;
}

/* Refused by ICMP itself, to which IP had delivered it? */
static bool is_of_icmp(const struct weir_drops_row *r)
{
	return !strncmp(r->reason, "ICMP_", 5) || !strncmp(r->reason, "IcmpIn", 6) ||
	       !strncmp(r->reason, "IPV6_NDISC_", 11) || !strncmp(r->function, "icmp", 4) ||
	       !strncmp(r->function, "ndisc_", 6);
}

static bool is_no_ip(const struct weir_drops_row *r)
{
	return r->eth_type && r->eth_type != WEIR_ETH_IP4 && r->eth_type != WEIR_ETH_IP6;
}

static bool is_fragment(const struct weir_drops_row *r)
{
	return strstr(r->reason, "FRAG") && !is_of_icmp(r);
}

/* Had the interface received it, and had it neither left again nor been forwarded? */
static bool is_on_road(const struct weir_drops_row *r, const struct weir_drops_totals *t)
{
	switch (r->stage) {
	case WEIR_STAGE_XDP:
	case WEIR_STAGE_TC_IN:
		return true;
	case WEIR_STAGE_BACKLOG:
		return !is_late(t, r->ifindex);
	case WEIR_STAGE_NIC:
	case WEIR_STAGE_DRIVER: /* before they count as received */
	case WEIR_STAGE_NEIGHBOUR:
	case WEIR_STAGE_TC_OUT:
	case WEIR_STAGE_QDISC:
	case WEIR_STAGE_TX: /* behind what IP has forwarded */
		return false;
	default:
		return r->received || r->origin == WEIR_DROPS_COUNTER;
	}
}

/* Was it on its way out, of this host's own packets or of those that it forwards? What
 * neither left nor came by an interface was given to IP here. */
static bool is_on_way_out(const struct weir_drops_row *r)
{
	if (is_no_ip(r))
		return false;
	switch (r->stage) {
	case WEIR_STAGE_NEIGHBOUR:
	case WEIR_STAGE_TC_OUT:
	case WEIR_STAGE_QDISC:
	case WEIR_STAGE_TX:
		return true;
	case WEIR_STAGE_BACKLOG: /* loopback has sent what its backlog took */
		return r->ifindex == LOOPBACK_IFINDEX;
	case WEIR_STAGE_LINK:
	case WEIR_STAGE_NETFILTER:
	case WEIR_STAGE_IP:
		return r->origin == WEIR_DROPS_FREED && !r->received;
	default:
		return false;
	}
}

static enum weir_drops_step step_of(const struct weir_drops_row *r)
{
	if (r->stage < WEIR_STAGE_NETFILTER || !strcmp(r->reason, "OTHERHOST") ||
	    is_no_ip(r))
		return WEIR_STEP_INTERFACES;
	if (r->stage == WEIR_STAGE_TCP || r->stage == WEIR_STAGE_UDP ||
	    r->stage == WEIR_STAGE_SOCKET || is_of_icmp(r))
		return WEIR_STEP_PROTOCOLS;
	return WEIR_STEP_IP;
}

static void take_row(struct weir_drops_balance *b, const struct weir_drops_row *r)
{
	enum weir_drops_step step = step_of(r);
	int64_t n = (int64_t)r->counted;
	bool loss = r->origin == WEIR_DROPS_COUNTER || weir_drops_is_loss(r);

	/* TCP and ICMP count what comes to them, also what they lose then. */
	if (step == WEIR_STEP_PROTOCOLS && r->proto == IPPROTO_TCP) {
		b->v[WEIR_TOTAL_TCP] -= loss ? n : 0;
		n = loss ? n : 0;
	} else if (step == WEIR_STEP_PROTOCOLS && (is_icmp(r) || is_of_icmp(r))) {
		b->v[WEIR_TOTAL_ICMP] -= loss ? n : 0;
		n = loss ? n : 0;
	} else if (step == WEIR_STEP_IP && is_fragment(r)) {
		b->fragments -= n;
	}
	if (loss)
		b->lost[step] += n;
	else
		b->freed[step] += n;
}

/* @first: IPv4 counts requests before netfilter sees them, and apart from what it forwards. */
static void take_sending(struct weir_drops_balance *b, const struct weir_drops_row *r, bool first)
{
	int64_t n = (int64_t)r->counted;

	if (r->origin == WEIR_DROPS_COUNTER || weir_drops_is_loss(r))
		b->lost[WEIR_STEP_SENDING] += n;
	else
		b->freed[WEIR_STEP_SENDING] += n;
	if (!first && r->stage == WEIR_STAGE_NETFILTER && r->eth_type == WEIR_ETH_IP4)
		b->v[WEIR_TOTAL_REQUESTS] += n;
}

static void settle_sending(struct weir_drops_balance *b, bool first)
{
	int64_t *v = b->v;

	if (!first)
		v[WEIR_TOTAL_REQUESTS] -= v[WEIR_TOTAL_FORWARDED_4];
	b->made = v[WEIR_TOTAL_PIECES] - v[WEIR_TOTAL_CUT];
	b->residue[WEIR_STEP_SENDING] = v[WEIR_TOTAL_REQUESTS] + v[WEIR_TOTAL_FORWARDED] + b->made -
					v[WEIR_TOTAL_QUEUED] - v[WEIR_TOTAL_SENT];
}

void weir_drops_balance_make(struct weir_drops_balance *b, const struct weir_drops_ledger *l,
			     const struct weir_drops_totals *now,
			     const struct weir_drops_totals *first)
{
	int64_t *v = b->v;

	*b = (struct weir_drops_balance){ 0 };
	for (int i = 0; i < WEIR_TOTALS; i++)
		v[i] = (int64_t)(now->v[i] - first->v[i]);
	b->fragments = v[WEIR_TOTAL_FRAGMENTS] - v[WEIR_TOTAL_REASSEMBLED];
	b->merged = v[WEIR_TOTAL_WIRE_IN] - v[WEIR_TOTAL_IP_IN];
	for (size_t i = 0; i < l->n; i++) {
		const struct weir_drops_row *r = &l->v[i];

		if (r->kind != WEIR_DROPS_PACKET || r->role == WEIR_COUNTER_PRESSURE)
			continue;
		if (is_on_road(r, now))
			take_row(b, r);
		if (is_on_way_out(r))
			take_sending(b, r, now->requests_first);
	}
	b->freed[WEIR_STEP_PROTOCOLS] += v[WEIR_TOTAL_UDP_IGNORED];
	b->residue[WEIR_STEP_INTERFACES] = v[WEIR_TOTAL_RECEIVED] - v[WEIR_TOTAL_IP_IN];
	b->residue[WEIR_STEP_IP] = v[WEIR_TOTAL_IP_IN] - v[WEIR_TOTAL_FORWARDED] - b->fragments -
				   v[WEIR_TOTAL_DELIVERED];
	b->residue[WEIR_STEP_PROTOCOLS] = v[WEIR_TOTAL_DELIVERED] - v[WEIR_TOTAL_TCP] -
					  v[WEIR_TOTAL_UDP_READ] - v[WEIR_TOTAL_UDP_WAITING] -
					  v[WEIR_TOTAL_ICMP];
	settle_sending(b, now->requests_first);
	for (int i = 0; i < WEIR_STEPS; i++) {
		b->residue[i] -= b->lost[i] + b->freed[i];
		b->residues += b->residue[i];
	}
}

/* ---- Shown */

#define AT(field) offsetof(struct weir_drops_balance, field)

static const struct line {
	const char *text, *key;
	size_t at;
	const char *what;
} lines[] = {
	{ "Received by interfaces", "received", AT(v[WEIR_TOTAL_RECEIVED]), "" },
	{ "  lost before IP", "lost_before_ip", AT(lost[WEIR_STEP_INTERFACES]), "see above" },
	{ "  freed, but not lost", "freed_before_ip", AT(freed[WEIR_STEP_INTERFACES]),
	  "see above" },
	{ "  residue", "residue_before_ip", AT(residue[WEIR_STEP_INTERFACES]),
	  "no IP (ARP), made one by offload, bridged, redirected, or on its way" },
	{ "Taken in by IP", "ip", AT(v[WEIR_TOTAL_IP_IN]), "" },
	{ "  lost in IP and netfilter", "lost_in_ip", AT(lost[WEIR_STEP_IP]), "see above" },
	{ "  freed, but not lost", "freed_in_ip", AT(freed[WEIR_STEP_IP]), "see above" },
	{ "  fragments", "fragments", AT(fragments), "put together, or waiting for others" },
	{ "  forwarded", "forwarded", AT(v[WEIR_TOTAL_FORWARDED]), "" },
	{ "  residue", "residue_in_ip", AT(residue[WEIR_STEP_IP]),
	  "multicast for nobody, IPsec, taken by netfilter" },
	{ "Delivered to protocols", "delivered", AT(v[WEIR_TOTAL_DELIVERED]), "" },
	{ "  lost there and at sockets", "lost_in_protocols", AT(lost[WEIR_STEP_PROTOCOLS]),
	  "see above" },
	{ "  freed, but not lost", "freed_in_protocols", AT(freed[WEIR_STEP_PROTOCOLS]),
	  "see above" },
	{ "  TCP", "tcp", AT(v[WEIR_TOTAL_TCP]), "segments, less those lost" },
	{ "  ICMP", "icmp", AT(v[WEIR_TOTAL_ICMP]), "messages, less those lost" },
	{ "  UDP, read", "udp_read", AT(v[WEIR_TOTAL_UDP_READ]), "by programs" },
	{ "  UDP, waiting", "udp_waiting", AT(v[WEIR_TOTAL_UDP_WAITING]),
	  "in sockets: more than at the start" },
	{ "  residue", "residue_in_protocols", AT(residue[WEIR_STEP_PROTOCOLS]),
	  "other protocols, tunnels, multicast, UDP sockets closed with unread data" },
	{ "Given to IP to send", "requests", AT(v[WEIR_TOTAL_REQUESTS]), "by this host itself" },
	{ "  forwarded", NULL, AT(v[WEIR_TOTAL_FORWARDED]), "the same as above" },
	{ "  fragments made", "fragments_made", AT(made), "more than there were datagrams" },
	{ "  lost on sending", "lost_on_sending", AT(lost[WEIR_STEP_SENDING]), "see above" },
	{ "  freed, but not lost", "freed_on_sending", AT(freed[WEIR_STEP_SENDING]), "see above" },
	{ "  queued", "queued", AT(v[WEIR_TOTAL_QUEUED]),
	  "in queueing disciplines: more than at the start" },
	{ "  residue", "residue_on_sending", AT(residue[WEIR_STEP_SENDING]),
	  "waits for a neighbour; less what went past IP (ARP) or was cut by offload" },
	{ "Sent by interfaces", "sent", AT(v[WEIR_TOTAL_SENT]), "" },
	{ "Residue", "residue", AT(residues), "of all four" },
};

static int64_t value_of(const struct weir_drops_balance *b, const struct line *l)
{
	int64_t v;

	memcpy(&v, (const char *)b + l->at, sizeof(v));
	return v;
}

void weir_drops_balance_text(const struct weir_drops_balance *b, struct weir_buf *out)
{
	static const char *const head[] = { "ACCOUNT", "COUNT", "WHAT" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(lines); i++) {
		weir_autobuf struct weir_buf n = { 0 };
		int64_t v = value_of(b, &lines[i]);

		if (v < 0)
			weir_buf_addc(&n, '-');
		weir_buf_add_grouped(&n, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
		weir_table_add(&t, lines[i].text);
		weir_table_add(&t, n.data);
		weir_table_add(&t, lines[i].what);
	}
	weir_buf_addc(out, '\n');
	weir_table_render(&t, 0, out);
	if (b->merged)
		weir_buf_addf(out,
			      "Of what IP took in, %lld frames had been made one with others\n",
			      (long long)b->merged);
}

void weir_drops_balance_json(const struct weir_drops_balance *b, struct weir_json *j)
{
	weir_json_object(j, "balance");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(lines); i++)
		if (lines[i].key)
			weir_json_int(j, lines[i].key, value_of(b, &lines[i]));
	weir_json_int(j, "merged", b->merged);
	weir_json_end_object(j);
}
