/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/counters.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define COUNTERS_MAX 65536
#define SOFTNET_COLUMNS 11

/*
 * No two of these count the same event, so that what each has beyond the freed packets may
 * be added up. Counters of a whole (UdpInErrors) next to its parts are left out therefore.
 */
static const struct weir_drops_counter_def defs[] = {
	{ "IpInHdrErrors", WEIR_STAGE_IP, WEIR_COUNTER_COUNTS, " IpInHdrErrors Ip6InHdrErrors ",
	  " IP_INHDR IP_CSUM IPV6_BAD_EXTHDR ",
	  " ip_forward ip6_forward ip_rcv_core ip6_rcv_core ip_rcv_finish_core ip6_parse_tlv ", 0,
	  "bad IP headers, or TTLs that ended here", NULL },
	{ "IcmpInCsumErrors", WEIR_STAGE_IP, WEIR_COUNTER_COUNTS,
	  " IcmpInCsumErrors Icmp6InCsumErrors ", " ICMP_CSUM ", " icmp_rcv icmpv6_rcv ", 0,
	  "wrong ICMP checksums: broken hardware or offload on the way", NULL },
	{ "TcpInCsumErrors", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpInCsumErrors ", " TCP_CSUM ",
	  NULL, IPPROTO_TCP, "wrong TCP checksums: broken hardware or offload on the way", NULL },
	{ "ListenOverflows", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpExtListenOverflows ",
	  " TCP_LISTEN_OVERFLOW ", NULL, IPPROTO_TCP,
	  "an accept queue is full (`ss -ltn`): accept faster, or raise listen()'s backlog and "
	  "somaxconn",
	  NULL },
	{ "ListenDrops", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpExtListenDrops ",
	  " TCP_LISTEN_OVERFLOW ", NULL, IPPROTO_TCP,
	  "a listener could not take it: its queue of half-open connections, or memory",
	  " ListenOverflows " },
	{ "TCPBacklogDrop", WEIR_STAGE_SOCKET, WEIR_COUNTER_COUNTS, " TcpExtTCPBacklogDrop ",
	  " SOCKET_BACKLOG ", NULL, IPPROTO_TCP, "the socket was busy and its backlog full", NULL },
	{ "TCPRcvQDrop", WEIR_STAGE_SOCKET, WEIR_COUNTER_COUNTS, " TcpExtTCPRcvQDrop ",
	  " PROTO_MEM SOCKET_RCVBUFF ", " tcp_data_queue ", IPPROTO_TCP,
	  "no memory for received data: see net.ipv4.tcp_mem", NULL },
	{ "TCPOFODrop", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpExtTCPOFODrop ", " TCP_OFO_DROP ",
	  NULL, IPPROTO_TCP, "no memory for out-of-order data", NULL },
	{ "TCPZeroWindowDrop", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpExtTCPZeroWindowDrop ",
	  " TCP_ZEROWINDOW ", NULL, IPPROTO_TCP, "the receiver's window is closed", NULL },
	{ "TCPMinTTLDrop", WEIR_STAGE_TCP, WEIR_COUNTER_COUNTS, " TcpExtTCPMinTTLDrop ",
	  " TCP_MINTTL ", NULL, IPPROTO_TCP, "TTLs below the socket's IP_MINTTL", NULL },
	{ "UdpNoPorts", WEIR_STAGE_SOCKET, WEIR_COUNTER_COUNTS,
	  " UdpNoPorts Udp6NoPorts UdpLiteNoPorts UdpLite6NoPorts ", " NO_SOCKET ", NULL,
	  IPPROTO_UDP, "nothing listens there", NULL },
	{ "UdpInCsumErrors", WEIR_STAGE_UDP, WEIR_COUNTER_COUNTS,
	  " UdpInCsumErrors Udp6InCsumErrors UdpLiteInCsumErrors UdpLite6InCsumErrors ",
	  " UDP_CSUM ", " udp_recvmsg udpv6_recvmsg __first_packet_length ", IPPROTO_UDP,
	  "wrong UDP checksums: broken hardware or offload on the way", NULL },
	{ "UdpRcvbufErrors", WEIR_STAGE_SOCKET, WEIR_COUNTER_COUNTS,
	  " UdpRcvbufErrors Udp6RcvbufErrors UdpLiteRcvbufErrors UdpLite6RcvbufErrors ",
	  " SOCKET_RCVBUFF ", NULL, IPPROTO_UDP, "full socket buffers: read faster, or raise them",
	  NULL },
	{ "UdpMemErrors", WEIR_STAGE_SOCKET, WEIR_COUNTER_COUNTS,
	  " UdpMemErrors Udp6MemErrors UdpLiteMemErrors ", " PROTO_MEM ", NULL, IPPROTO_UDP,
	  "the protocol's memory limit: see net.ipv4.udp_mem", NULL },
	{ "TCPRcvCollapsed", WEIR_STAGE_TCP, WEIR_COUNTER_PRESSURE, " TcpExtTCPRcvCollapsed ", NULL,
	  NULL, 0, "received data was squeezed together for want of memory", NULL },
	{ "PruneCalled", WEIR_STAGE_TCP, WEIR_COUNTER_PRESSURE, " TcpExtPruneCalled ", NULL, NULL,
	  0, "sockets ran out of receive memory", NULL },
};

/* The columns of /proc/net/softnet_stat, of all namespaces together. */
static const struct weir_drops_counter_def softnet_defs[] = {
	{ "softnet dropped", WEIR_STAGE_BACKLOG, WEIR_COUNTER_SHOWN, NULL, " CPU_BACKLOG ", NULL, 0,
	  "of the whole host: raise net.core.netdev_max_backlog, or spread by RPS", NULL },
	{ "softnet time_squeeze", WEIR_STAGE_BACKLOG, WEIR_COUNTER_PRESSURE, NULL, NULL, NULL, 0,
	  "of the whole host: the receive softirq ran out of its time with work left", NULL },
};

bool weir_drops_in(const char *words, const char *word)
{
	size_t n = strlen(word);
	const char *at = words;

	while (at && (at = strstr(at, word))) {
		if (at > words && at[-1] == ' ' && at[n] == ' ')
			return true;
		at += n;
	}
	return false;
}

void weir_drops_counters_free(struct weir_drops_counters_now *c)
{
	free(c->v);
	*c = (struct weir_drops_counters_now){ 0 };
}

static bool same(const struct weir_drops_counter *a, const struct weir_drops_counter *b)
{
	return a->def == b->def && a->ifindex == b->ifindex && strcmp(a->name, b->name) == 0;
}

int weir_drops_counter_add(struct weir_drops_counters_now *c, const struct weir_drops_counter *x)
{
	/* What has never counted is as if it were not there. */
	if (!x->value)
		return 0;
	/* Those of one interface come one behind the other. */
	for (size_t i = c->n; i && c->v[i - 1].ifindex == x->ifindex; i--) {
		if (same(&c->v[i - 1], x)) {
			c->v[i - 1].value += x->value;
			return 0;
		}
	}
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 64;
		void *grown = cap <= COUNTERS_MAX ? reallocarray(c->v, cap, sizeof(*x)) : NULL;

		if (!grown)
			return -ENOMEM;
		c->v = grown;
		c->cap = cap;
	}
	c->v[c->n++] = *x;
	return 0;
}

uint64_t weir_drops_counter_before(const struct weir_drops_counters_now *c,
				   const struct weir_drops_counter *x)
{
	for (size_t i = 0; i < c->n; i++)
		if (same(&c->v[i], x))
			return c->v[i].value;
	return 0;
}

static int add_def(struct weir_drops_counters_now *c, const struct weir_drops_counter_def *def,
		   uint64_t value)
{
	struct weir_drops_counter x = { .def = def, .value = value };

	snprintf(x.name, sizeof(x.name), "%s", def->name);
	return weir_drops_counter_add(c, &x);
}

static int take_key(void *arg, const char *key, const char *value)
{
	struct weir_drops_counters_now *c = arg;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(defs); i++)
		if (weir_drops_in(defs[i].keys, key))
			return add_def(c, &defs[i], strtoull(value, NULL, 10));
	return 0;
}

/* A line of names and one of values that belong together, each behind "Udp:". */
static int take_pair(weir_drops_key_fn *fn, void *arg, char *names, char *values)
{
	char *name_at = NULL, *value_at = NULL;
	const char *proto = strtok_r(names, " \n", &name_at);
	const char *again = strtok_r(values, " \n", &value_at);
	int ret = 0;

	if (!proto || !again || strcmp(proto, again) != 0)
		return 0;
	while (!ret) {
		const char *name = strtok_r(NULL, " \n", &name_at);
		const char *value = strtok_r(NULL, " \n", &value_at);
		char key[96];

		if (!name || !value)
			break;
		snprintf(key, sizeof(key), "%.*s%s", (int)strcspn(proto, ":"), proto, name);
		ret = fn(arg, key, value);
	}
	return ret;
}

static int each_snmp(FILE *in, weir_drops_key_fn *fn, void *arg)
{
	weir_autofree char *names = NULL, *values = NULL;
	size_t names_cap = 0, values_cap = 0;
	int ret = 0;

	while (!ret && getline(&names, &names_cap, in) > 0 && getline(&values, &values_cap, in) > 0)
		ret = take_pair(fn, arg, names, values);
	return ret;
}

static int each_snmp6(FILE *in, weir_drops_key_fn *fn, void *arg)
{
	weir_autofree char *line = NULL;
	size_t cap = 0;
	int ret = 0;

	while (!ret && getline(&line, &cap, in) > 0) {
		char *at = NULL;
		const char *key = strtok_r(line, " \t\n", &at);
		const char *value = strtok_r(NULL, " \t\n", &at);

		if (key && value)
			ret = fn(arg, key, value);
	}
	return ret;
}

int weir_drops_read_snmp(struct weir_drops_counters_now *c, FILE *in)
{
	return each_snmp(in, take_key, c);
}

int weir_drops_read_snmp6(struct weir_drops_counters_now *c, FILE *in)
{
	return each_snmp6(in, take_key, c);
}

int weir_drops_protocols_each(weir_drops_key_fn *fn, void *arg, struct weir_error *err)
{
	static const struct {
		const char *path;
		int (*each)(FILE *in, weir_drops_key_fn *fn, void *arg);
	} files[] = {
		{ "/proc/thread-self/net/snmp", each_snmp },
		{ "/proc/thread-self/net/netstat", each_snmp },
		{ "/proc/thread-self/net/snmp6", each_snmp6 },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(files); i++) {
		weir_autofclose FILE *in = fopen(files[i].path, "re");

		/* There is no snmp6 without IPv6. */
		if (!in && errno != ENOENT)
			return weir_fail(err, -errno, "cannot read %s: %s: mount /proc",
					 files[i].path, strerror(errno));
		if (in && files[i].each(in, fn, arg))
			return weir_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

int weir_drops_read_softnet(struct weir_drops_counters_now *c, FILE *in)
{
	weir_autofree char *line = NULL;
	size_t cap = 0;
	int ret = 0;

	/* One line a CPU, in hexadecimal: processed, dropped, time_squeeze, ... */
	while (!ret && getline(&line, &cap, in) > 0) {
		uint32_t dropped, squeezed;

		if (sscanf(line, "%*x %" SCNx32 " %" SCNx32, &dropped, &squeezed) != 2)
			continue;
		ret = add_def(c, &softnet_defs[0], dropped);
		if (!ret)
			ret = add_def(c, &softnet_defs[1], squeezed);
	}
	return ret;
}

int weir_drops_counters_read(struct weir_drops_counters_now *c, uint32_t ifindex,
			     struct weir_error *err)
{
	static const char softnet[] = "/proc/thread-self/net/softnet_stat";
	weir_autofclose FILE *in = fopen(softnet, "re");
	int ret = 0;

	*c = (struct weir_drops_counters_now){ 0 };
	if (!in)
		return weir_fail(err, -errno, "cannot read %s: %s: mount /proc", softnet,
				 strerror(errno));
	if (weir_drops_read_softnet(c, in))
		return weir_fail(err, -ENOMEM, "out of memory");
	if (!ifindex)
		ret = weir_drops_protocols_each(take_key, c, err);
	return ret ? ret : weir_drops_read_devices(c, ifindex, err);
}
