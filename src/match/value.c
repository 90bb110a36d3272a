/* SPDX-License-Identifier: GPL-2.0-only */
#include "match/value.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define V4_BASE 96u
#define ADDR_BITS 128u

static const char *const proto_names[WEIR_QUAL_PROTO_MAX] = {
	[WEIR_QUAL_NONE] = "",	  [WEIR_QUAL_ETHER] = "ether ", [WEIR_QUAL_IP] = "ip ",
	[WEIR_QUAL_IP6] = "ip6 ", [WEIR_QUAL_ARP] = "arp ",	[WEIR_QUAL_TCP] = "tcp ",
	[WEIR_QUAL_UDP] = "udp ", [WEIR_QUAL_SCTP] = "sctp ",
};

static const char *const dir_names[] = {
	[WEIR_DIR_ANY] = "src or dst ",
	[WEIR_DIR_SRC] = "src ",
	[WEIR_DIR_DST] = "dst ",
	[WEIR_DIR_BOTH] = "src and dst ",
};

static const char *const type_names[WEIR_TYPE_MAX] = {
	[WEIR_TYPE_NONE] = "",
	[WEIR_TYPE_HOST] = "host",
	[WEIR_TYPE_NET] = "net",
	[WEIR_TYPE_PORT] = "port",
	[WEIR_TYPE_PORTRANGE] = "portrange",
	[WEIR_TYPE_PROTO] = "proto",
	[WEIR_TYPE_ANY_PROTO] = "",
	[WEIR_TYPE_VLAN] = "vlan",
	[WEIR_TYPE_LEN] = "len",
	[WEIR_TYPE_TTL] = "ttl",
};

/* The packets in which an address is looked for; ARP's are IPv4 addresses. */
static const uint16_t addr_guards[WEIR_QUAL_PROTO_MAX] = {
	[WEIR_QUAL_NONE] = WEIR_PKT_IP4 | WEIR_PKT_IP6 | WEIR_PKT_ARP,
	[WEIR_QUAL_IP] = WEIR_PKT_IP4,
	[WEIR_QUAL_IP6] = WEIR_PKT_IP6,
	[WEIR_QUAL_ARP] = WEIR_PKT_ARP,
};

static const unsigned int port_l4[WEIR_QUAL_PROTO_MAX] = {
	[WEIR_QUAL_NONE] = WEIR_L4_ALL,
	[WEIR_QUAL_TCP] = WEIR_L4_TCP,
	[WEIR_QUAL_UDP] = WEIR_L4_UDP,
	[WEIR_QUAL_SCTP] = WEIR_L4_SCTP,
};

/* Numbers that no IPv6 packet shows behind its extension headers, because they
 * are those headers. */
static const uint8_t ext_headers[] = { 0, 43, 44, 60, 135, 139, 140 };

static const uint16_t vlan_types[] = { 0x8100, 0x88a8, 0x9100 };

const char *weir_quals_text(const struct weir_quals *q, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s", proto_names[q->proto], q->has_dir ? dir_names[q->dir] : "",
		 type_names[q->type]);
	size = strlen(buf);
	if (size && buf[size - 1] == ' ')
		buf[size - 1] = '\0';
	return buf;
}

/* @a is what a constructor returned. */
static int give(struct weir_ast *a, struct weir_ast **ret, struct weir_error *err)
{
	if (!a)
		return weir_ast_oom(err);
	*ret = a;
	return 0;
}

int weir_value_number(const struct weir_word *w, uint32_t max, uint32_t *ret)
{
	bool hex = w->n > 2 && w->s[0] == '0' && (w->s[1] == 'x' || w->s[1] == 'X');
	uint64_t v = 0;

	if (!w->n || (w->n > 1 && w->s[0] == '0' && !hex))
		return -EINVAL; /* octal elsewhere, so better not guessed at */
	for (size_t i = hex ? 2 : 0; i < w->n; i++) {
		unsigned char c = (unsigned char)w->s[i];
		unsigned int digit = c - '0';

		if (hex && digit > 9)
			digit = (c | 0x20u) - 'a' < 6 ? (c | 0x20u) - 'a' + 10 : UINT32_MAX;
		if (digit > (hex ? 15u : 9u))
			return -EINVAL;
		if (v <= max)
			v = v * (hex ? 16 : 10) + digit;
	}
	if (v > max)
		return -ERANGE;
	*ret = (uint32_t)v;
	return 0;
}

/* @w cut at the dash at @i. */
static void cut(const struct weir_word *w, size_t i, struct weir_word *left,
		struct weir_word *right)
{
	*left = (struct weir_word){ w->s, i, w->at };
	*right = (struct weir_word){ w->s + i + 1, w->n - i - 1, w->at + i + 1 };
}

/* "N" or "LO-HI" within [@min, @max]; -ENOENT: not of that form. */
static int parse_range(const struct weir_word *w, uint32_t min, uint32_t max,
		       struct weir_range *ret, struct weir_error *err)
{
	const char *dash = memchr(w->s, '-', w->n);
	struct weir_word left = *w, right = *w;
	int a, b;

	if (dash)
		cut(w, (size_t)(dash - w->s), &left, &right);
	a = weir_value_number(&left, max, &ret->lo);
	b = weir_value_number(&right, max, &ret->hi);
	if (a == -EINVAL || b == -EINVAL)
		return -ENOENT;
	if (a < 0 || b < 0 || ret->lo < min || ret->hi < min)
		return weir_word_fail(err, -EINVAL, w, "out of range: use %u to %u", min, max);
	if (ret->lo > ret->hi)
		return weir_word_fail(err, -EINVAL, w, "the range runs backwards: write %u-%u",
				      ret->hi, ret->lo);
	return 0;
}

/* Addresses */

/* What the user meant by a prefix with host bits. */
static int fail_host_bits(const struct weir_word *w, const char *text, struct weir_error *err)
{
	const char *slash = strchr(text, '/');
	char addr[WEIR_WORD_MAX], fixed[WEIR_ADDR_STRLEN];
	struct weir_prefix p;
	uint32_t len;

	snprintf(addr, sizeof(addr), "%.*s", (int)(slash - text), text);
	if (weir_prefix_parse(addr, true, &p) < 0 ||
	    weir_value_number(&(struct weir_word){ slash + 1, strlen(slash + 1), 0 }, ADDR_BITS,
			      &len) < 0)
		return weir_word_fail(err, -EINVAL, w, "not a network: write ADDRESS/LENGTH");
	if (!strchr(text, ':'))
		len += V4_BASE;
	for (unsigned int i = len; i < ADDR_BITS; i++)
		p.addr.b[i / 8] &= (uint8_t) ~(0x80u >> i % 8);
	p.len = (uint8_t)len;
	p.is_v4 = len >= V4_BASE && weir_addr_is_v4(&p.addr);
	return weir_word_fail(err, -EINVAL, w, "bits are set behind the prefix: write %s",
			      weir_prefix_str(&p, fixed));
}

static int fail_addr(const struct weir_quals *q, const struct weir_word *w, struct weir_error *err)
{
	char text[WEIR_WORD_MAX];
	uint8_t mac[6];
	uint32_t n;

	if (weir_word_copy(w, text) && weir_mac_parse(text, mac) == 0)
		return weir_word_fail(err, -EINVAL, w, "a MAC address: write ether host %s", text);
	if (q->type == WEIR_TYPE_NONE && weir_value_number(w, UINT16_MAX, &n) == 0)
		return weir_word_fail(err, -EINVAL, w,
				      "not an address: write %sport %u, or the whole address",
				      q->has_dir ? dir_names[q->dir] : "", n);
	if (memchr(w->s, '/', w->n))
		return weir_word_fail(err, -EINVAL, w,
				      "not a network: write it as 192.0.2.0/24 or 2001:db8::/32");
	if (strchr("0123456789", *w->s) || memchr(w->s, ':', w->n))
		return weir_word_fail(err, -EINVAL, w,
				      "not an address: write it whole, as 192.0.2.1 or fe80::1");
	return weir_word_fail(err, -EINVAL, w, "not an address: weir does not look up names");
}

static int parse_mac(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		     struct weir_error *err)
{
	static const uint8_t exact[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	char text[WEIR_WORD_MAX];
	uint8_t mac[6];

	if (!weir_word_copy(w, text) || weir_mac_parse(text, mac) < 0)
		return weir_word_fail(err, -EINVAL, w,
				      "not a MAC address: write it as 02:00:5e:10:00:01");
	return give(weir_ast_mac(q->dir, mac, exact), ret, err);
}

static int addr_leaf(const struct weir_quals *q, const struct weir_word *w,
		     const struct weir_prefix *p, struct weir_ast **ret, struct weir_error *err)
{
	uint16_t guard = addr_guards[q->proto];
	uint16_t family = p->is_v4 ? WEIR_PKT_IP4 | WEIR_PKT_ARP : WEIR_PKT_IP6;

	if (!(guard & family))
		return weir_word_fail(err, -EINVAL, w, "%shas no %s addresses: leave the word out",
				      proto_names[q->proto], p->is_v4 ? "IPv4" : "IPv6");
	return give(weir_ast_addr(q->dir, guard, p), ret, err);
}

#define NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

/* `@NAME`: a set has addresses of both families, so that every one of the
 * qualifiers' goes. */
static int parse_set(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		     struct weir_error *err)
{
	char text[WEIR_WORD_MAX];

	if (!q->named_sets)
		return weir_word_fail(err, -EINVAL, w, WEIR_AST_NO_NAMES);
	if (!weir_word_copy(w, text) || w->n < 2 || w->n > WEIR_MATCH_NAME_MAX ||
	    strspn(text + 1, NAME_CHARS) != w->n - 1)
		return weir_word_fail(err, -EINVAL, w,
				      "not a set: write @ and a name of 1 to %d letters, digits, "
				      "- or _",
				      WEIR_MATCH_NAME_MAX - 1);
	return give(weir_ast_set(q->dir, addr_guards[q->proto], text + 1), ret, err);
}

static int parse_addr(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		      struct weir_error *err)
{
	char text[WEIR_WORD_MAX];
	struct weir_prefix p;
	int r;

	if (q->proto == WEIR_QUAL_ETHER)
		return parse_mac(q, w, ret, err);
	if (*w->s == '@')
		return parse_set(q, w, ret, err);
	if (!weir_word_copy(w, text))
		return fail_addr(q, w, err);
	if (q->type == WEIR_TYPE_HOST && strchr(text, '/'))
		return weir_word_fail(err, -EINVAL, w, "a network: write net instead of host");
	r = weir_prefix_parse(text, q->type == WEIR_TYPE_NET, &p);
	if (r == -ERANGE)
		return fail_host_bits(w, text, err);
	if (r < 0)
		return fail_addr(q, w, err);
	return addr_leaf(q, w, &p, ret, err);
}

int weir_value_parse_mask(const struct weir_quals *q, const struct weir_word *w,
			  const struct weir_word *mask, struct weir_ast **ret,
			  struct weir_error *err)
{
	char net[WEIR_WORD_MAX], bits[WEIR_WORD_MAX], text[2 * WEIR_WORD_MAX];
	struct in_addr m;
	struct weir_prefix p;
	uint32_t host;
	int r;

	if (!weir_word_copy(mask, bits) || inet_pton(AF_INET, bits, &m) != 1)
		return weir_word_fail(
			err, -EINVAL, mask,
			"not an IPv4 netmask: write NET/LENGTH, or NET mask 255.0.0.0");
	host = ~ntohl(m.s_addr);
	if (host & (host + 1))
		return weir_word_fail(err, -EINVAL, mask,
				      "the netmask has holes: use --strict-pcap");
	if (!weir_word_copy(w, net) || strpbrk(net, "/:@"))
		return weir_word_fail(err, -EINVAL, w,
				      "not an IPv4 network before mask: write NET/LENGTH");
	/* A shortened network is filled up with zeros: the mask says its length. */
	r = weir_prefix_parse(net, true, &p);
	if (r < 0)
		return fail_addr(q, w, err);
	snprintf(text, sizeof(text), "%s/%d", weir_addr_str(&p.addr, net),
		 32 - __builtin_popcount(host));
	r = weir_prefix_parse(text, false, &p);
	if (r < 0)
		return fail_host_bits(w, text, err);
	return addr_leaf(q, w, &p, ret, err);
}

/* Ports */

struct port {
	uint32_t number;
	unsigned int l4;
};

static bool service(const char *name, unsigned int bit, uint32_t *ret)
{
	const char *proto = weir_l4_protos[__builtin_ctz(bit)].name;
	const struct servent *s = getservbyname(name, proto);

	if (s)
		*ret = ntohs((uint16_t)s->s_port);
	return s;
}

/* Every service's name has a letter (RFC 6335): a range of numbers needs no look into
 * /etc/services, which takes longer than all the rest of a rule. */
static bool may_be_service(const struct weir_word *w)
{
	for (size_t i = 0; i < w->n; i++)
		if ((w->s[i] | 0x20) >= 'a' && (w->s[i] | 0x20) <= 'z')
			return true;
	return false;
}

/* A number or a service's name. A name that belongs to one of TCP and UDP asks
 * for that protocol too, as in pcap-filter. -ENOENT: neither. */
static int parse_port(const struct weir_word *w, unsigned int l4, struct port *ret,
		      struct weir_error *err)
{
	char name[WEIR_WORD_MAX];
	uint32_t tcp, udp;
	bool has_tcp, has_udp;
	int r = weir_value_number(w, UINT16_MAX, &ret->number);

	ret->l4 = l4;
	if (!r)
		return 0;
	if (r == -ERANGE)
		return weir_word_fail(err, -EINVAL, w, "not a port: use 0 to %u", UINT16_MAX);
	if (!may_be_service(w) || !weir_word_copy(w, name))
		return -ENOENT;
	has_tcp = (l4 & WEIR_L4_TCP) && service(name, WEIR_L4_TCP, &tcp);
	has_udp = (l4 & WEIR_L4_UDP) && service(name, WEIR_L4_UDP, &udp);
	if (has_tcp && has_udp && tcp != udp)
		return weir_word_fail(err, -EINVAL, w,
				      "port %u of TCP but %u of UDP: write the number", tcp, udp);
	if (has_tcp || has_udp) {
		ret->number = has_tcp ? tcp : udp;
		if (!has_udp)
			ret->l4 = WEIR_L4_TCP;
		else if (!has_tcp)
			ret->l4 = WEIR_L4_UDP;
		return 0;
	}
	if (!(l4 & WEIR_L4_SCTP) || !service(name, WEIR_L4_SCTP, &ret->number))
		return -ENOENT;
	ret->l4 = WEIR_L4_SCTP;
	return 0;
}

/* Names have dashes too: a range is where both sides are ports. */
static int parse_port_range(const struct weir_word *w, unsigned int l4, struct port *lo,
			    struct port *hi, struct weir_error *err)
{
	struct weir_word left, right;
	int r = -ENOENT;

	for (size_t i = 0; i < w->n && i < WEIR_WORD_MAX && r == -ENOENT; i++) {
		if (w->s[i] != '-')
			continue;
		cut(w, i, &left, &right);
		r = parse_port(&left, l4, lo, err);
		if (!r)
			r = parse_port(&right, l4, hi, err);
	}
	return r;
}

static int parse_ports(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		       struct weir_error *err)
{
	unsigned int l4 = port_l4[q->proto];
	struct port lo, hi;
	int r = parse_port(w, l4, &lo, err);

	if (!r)
		hi = lo;
	else if (r == -ENOENT)
		r = parse_port_range(w, l4, &lo, &hi, err);
	if (r == -ENOENT)
		return weir_word_fail(err, -EINVAL, w,
				      "not a %sport: write a number up to 65535, "
				      "LOW-HIGH, or a name from /etc/services",
				      proto_names[q->proto]);
	if (r < 0)
		return r;
	if (lo.number > hi.number)
		return weir_word_fail(err, -EINVAL, w, "the range runs backwards: write %u-%u",
				      hi.number, lo.number);
	if (lo.l4 == hi.l4)
		l4 = lo.l4;
	return give(weir_ast_port(q->dir, l4, lo.number, hi.number), ret, err);
}

/* Protocols */

static int parse_ether_type(const struct weir_word *w, struct weir_ast **ret,
			    struct weir_error *err)
{
	const struct weir_num_info *info = &weir_num_info[WEIR_NUM_ETHER_TYPE];
	const struct weir_name *name = weir_name_find(weir_words_ether, w);
	struct weir_range v;
	int r;

	if (name)
		return give(weir_ast_num(WEIR_NUM_ETHER_TYPE, name->number, name->number), ret,
			    err);
	r = parse_range(w, 0, info->max, &v, err);
	if (r == -ENOENT) {
		if (weir_word_refuse(w, err))
			return -EINVAL;
		return weir_word_fail(err, -EINVAL, w,
				      "not an Ethernet type: write a number, or ip, ip6, arp");
	}
	if (r < 0)
		return r;
	if (v.lo < info->min)
		return weir_word_fail(err, -EINVAL, w,
				      "below 0x600 it is a length, and what then "
				      "follows is 802.2: use --strict-pcap");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(vlan_types); i++)
		if (v.lo == vlan_types[i] && v.lo == v.hi)
			return weir_word_fail(err, -EINVAL, w,
					      "weir looks behind VLAN tags: write vlan, or use "
					      "--strict-pcap");
	return give(weir_ast_num(WEIR_NUM_ETHER_TYPE, v.lo, v.hi), ret, err);
}

static int parse_ip_proto(const struct weir_quals *q, const struct weir_word *w,
			  struct weir_ast **ret, struct weir_error *err)
{
	const struct weir_name *name = weir_name_find(weir_words_proto, w);
	uint16_t guard = WEIR_PKT_IP4 | WEIR_PKT_IP6;
	char text[WEIR_WORD_MAX];
	struct weir_range v;
	int r = -ENOENT;

	if (q->proto != WEIR_QUAL_NONE)
		guard = addr_guards[q->proto];
	if (name) {
		v = (struct weir_range){ name->number, name->number };
		r = 0;
	}
	if (r == -ENOENT)
		r = parse_range(w, 0, weir_num_info[WEIR_NUM_PROTO].max, &v, err);
	if (r == -ENOENT && weir_word_copy(w, text)) {
		const struct protoent *p = getprotobyname(text);

		if (p && p->p_proto >= 0 && p->p_proto <= UINT8_MAX) {
			v.lo = v.hi = (uint32_t)p->p_proto;
			r = 0;
		}
	}
	if (r == -ENOENT)
		return weir_word_fail(err, -EINVAL, w,
				      "not a protocol: write a number up to 255, "
				      "or a name as tcp, esp, gre");
	if (r < 0)
		return r;
	for (size_t i = 0; i < sizeof(ext_headers) && (guard & WEIR_PKT_IP6); i++)
		if (v.lo == v.hi && v.lo == ext_headers[i])
			return weir_word_fail(
				err, -EINVAL, w,
				"weir looks behind IPv6 extension headers: write frag "
				"for fragments, else use --strict-pcap");
	return give(weir_ast_proto(guard, v.lo, v.hi), ret, err);
}

int weir_value_bare(const struct weir_word *w, struct weir_ast **ret)
{
	const struct weir_name *name = weir_name_find(weir_words_ether, w);

	*ret = NULL;
	if (name && name->guard) {
		*ret = weir_ast_num(WEIR_NUM_ETHER_TYPE, name->number, name->number);
		return *ret ? 0 : -ENOMEM;
	}
	name = weir_name_find(weir_words_proto, w);
	if (name && name->guard) {
		*ret = weir_ast_proto(name->guard, name->number, name->number);
		return *ret ? 0 : -ENOMEM;
	}
	return 0;
}

static int parse_any_proto(const struct weir_quals *q, const struct weir_word *w,
			   struct weir_ast **ret, struct weir_error *err)
{
	struct weir_ast *a;

	if (weir_word_is(w, "all"))
		return give(weir_ast_all(), ret, err);
	if (weir_value_bare(w, &a) < 0)
		return weir_ast_oom(err);
	if (!a)
		return parse_ip_proto(q, w, ret, err);
	*ret = a;
	return 0;
}

/* Lists */

static int parse_number(enum weir_ast_num what, const struct weir_word *w, struct weir_ast **ret,
			struct weir_error *err)
{
	const struct weir_num_info *info = &weir_num_info[what];
	struct weir_range v;
	int r = parse_range(w, info->min, info->max, &v, err);

	if (r == -ENOENT)
		return weir_word_fail(err, -EINVAL, w, "not a %s: write a number or LOW-HIGH",
				      info->name);
	return r < 0 ? r : give(weir_ast_num(what, v.lo, v.hi), ret, err);
}

static int parse_part(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		      struct weir_error *err)
{
	switch (q->type) {
	case WEIR_TYPE_PORT:
	case WEIR_TYPE_PORTRANGE:
		return parse_ports(q, w, ret, err);
	case WEIR_TYPE_PROTO:
		if (q->proto == WEIR_QUAL_ETHER)
			return parse_ether_type(w, ret, err);
		return parse_ip_proto(q, w, ret, err);
	case WEIR_TYPE_ANY_PROTO:
		return parse_any_proto(q, w, ret, err);
	case WEIR_TYPE_VLAN:
		return parse_number(WEIR_NUM_VLAN, w, ret, err);
	case WEIR_TYPE_LEN:
		return parse_number(WEIR_NUM_LEN, w, ret, err);
	case WEIR_TYPE_TTL:
		return parse_number(WEIR_NUM_TTL, w, ret, err);
	default:
		return parse_addr(q, w, ret, err);
	}
}

int weir_value_parse(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		     struct weir_error *err)
{
	struct weir_ast *all = NULL, *one;
	struct weir_word part;
	int r;

	for (size_t i = 0, n; i <= w->n; i += n + 1) {
		const char *s = w->s + i;
		const char *comma = memchr(s, ',', w->n - i);

		n = comma ? (size_t)(comma - s) : w->n - i;
		part = (struct weir_word){ s, n, w->at + i };
		if (part.n && *part.s == '\\') /* pcap-filter's escape of a keyword */
			part = (struct weir_word){ s + 1, part.n - 1, part.at + 1 };
		if (!part.n)
			r = weir_word_fail(err, -EINVAL, w,
					   "an entry of the list is empty: take out the comma");
		else
			r = parse_part(q, &part, &one, err);
		if (r < 0) {
			weir_ast_free(all);
			return r;
		}
		all = weir_ast_join(WEIR_AST_OR, all, one);
		if (!all)
			return weir_ast_oom(err);
	}
	*ret = all;
	return 0;
}
