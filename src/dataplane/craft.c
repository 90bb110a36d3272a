/* SPDX-License-Identifier: GPL-2.0-only */
/* The words of a packet, and its options. */
#include "dataplane/craft.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "bpf/parse.bpf.h"
#include "dataplane/craft_impl.h"
#include "match/words.h"

#define NOT_GIVEN UINT64_MAX
#define DEFAULT_SPORT 40000
#define DEFAULT_DPORT 80
#define DEFAULT_TTL 64
#define ECHO_REQUEST 8
#define ECHO_REQUEST6 128
#define VLAN_MAX 4095
#define FORM "[tcp|udp|icmp|icmp6|sctp|NUMBER] SRC[:PORT] DST[:PORT]"

/* One end as it was written. */
struct end {
	const char *word;
	struct weir_addr addr;
	uint64_t port;
	bool has_port;
};

void weir_craft_opts_init(struct weir_craft_opts *o)
{
	*o = (struct weir_craft_opts){
		.ttl = NOT_GIVEN, .size = NOT_GIVEN, .icmp_type = NOT_GIVEN, .icmp_code = NOT_GIVEN
	};
}

/* Ends */

/* Cut @word into @addr and what stands behind its colon, which may be NULL. */
static int split(const char *word, char addr[WEIR_ADDR_STRLEN], const char **port)
{
	const char *end = word + strlen(word);
	const char *colon = strchr(word, ':');

	*port = NULL;
	if (*word == '[') {
		end = strchr(++word, ']');
		if (!end || !memchr(word, ':', (size_t)(end - word)) || (end[1] && end[1] != ':'))
			return -EINVAL;
		if (end[1])
			*port = end + 2;
	} else if (colon && !strchr(colon + 1, ':')) {
		end = colon;
		*port = colon + 1;
	}
	if (end - word >= WEIR_ADDR_STRLEN)
		return -EINVAL;
	memcpy(addr, word, (size_t)(end - word));
	addr[end - word] = '\0';
	return 0;
}

static int parse_end(const char *word, const char *what, struct end *ret, struct weir_error *err)
{
	char addr[WEIR_ADDR_STRLEN];
	const char *port;

	*ret = (struct end){ .word = word };
	if (split(word, addr, &port) < 0 || weir_addr_parse(addr, &ret->addr) < 0)
		return weir_fail(
			err, -EINVAL,
			"\"%s\": not %s: write it as 192.0.2.1, 192.0.2.1:443, 2001:db8::1 or [2001:db8::1]:443",
			word, what);
	ret->has_port = port;
	if (port && weir_parse_u64(port, 0, UINT16_MAX, &ret->port) < 0)
		return weir_fail(err, -EINVAL, "\"%s\": not a port behind the address: use 0 to %d",
				 word, UINT16_MAX);
	return 0;
}

/* The protocol */

/* 1: @word is none. */
static int parse_proto(const char *word, const struct weir_name **name, uint8_t *ret,
		       struct weir_error *err)
{
	const struct weir_word w = { word, strlen(word), 1 };
	uint64_t n;

	*name = weir_name_find(weir_words_proto, &w);
	if (*name) {
		*ret = (uint8_t)(*name)->number;
		return 0;
	}
	if (!w.n || strspn(word, "0123456789") != w.n)
		return 1;
	if (weir_parse_u64(word, 0, UINT8_MAX, &n) < 0)
		return weir_fail(err, -EINVAL, "\"%s\": not a protocol: use 0 to %d", word,
				 UINT8_MAX);
	*ret = (uint8_t)n;
	return 0;
}

static const char *family(bool v4)
{
	return v4 ? "IPv4" : "IPv6";
}

static int check_proto(const char *word, const struct weir_name *name, uint8_t proto, bool v4,
		       struct weir_error *err)
{
	const uint16_t guard = v4 ? WEIR_PKT_IP4 : WEIR_PKT_IP6;

	if (name && name->guard && !(name->guard & guard))
		return weir_fail(err, -EINVAL, "\"%s\": %s has no such protocol: write %s", word,
				 family(v4),
				 proto == IPPROTO_ICMP	 ? "icmp6" :
				 proto == IPPROTO_ICMPV6 ? "icmp" :
							   "another");
	if (weir_is_ext(proto, !v4))
		return weir_fail(
			err, -EINVAL,
			"\"%s\": an extension header, of which words can't tell enough: give the frame with --hex or --pcap",
			word);
	return 0;
}

static int check_ends(const struct end *src, const struct end *dst, uint8_t proto,
		      struct weir_error *err)
{
	const bool v4 = weir_addr_is_v4(&src->addr);
	const struct end *with = src->has_port ? src : dst;

	if (weir_addr_is_v4(&dst->addr) != v4)
		return weir_fail(err, -EINVAL,
				 "\"%s\": %s, but the source is %s: give two of one family",
				 dst->word, family(!v4), family(v4));
	if (with->has_port && !weir_recipe_has_ports(proto))
		return weir_fail(err, -EINVAL,
				 "\"%s\": protocol %u has no ports: leave the port out", with->word,
				 proto);
	return 0;
}

/* [PROTO] SRC ['->'] DST */
static int parse_words(const struct weir_strv *words, struct weir_recipe *r, struct weir_error *err)
{
	const struct weir_name *name = NULL;
	const char *proto_word = "tcp";
	struct end src, dst;
	unsigned int i = 0;
	int ret;

	if (!words->n)
		return weir_fail(err, -EINVAL, "a packet is missing: write " FORM);
	r->proto = IPPROTO_TCP;
	ret = parse_proto(words->v[0], &name, &r->proto, err);
	if (ret < 0)
		return ret;
	if (!ret)
		proto_word = words->v[i++];
	if (i == words->n)
		return weir_fail(err, -EINVAL, "no addresses behind \"%s\": write " FORM,
				 words->v[i - 1]);
	ret = parse_end(words->v[i], i ? "an address" : "a protocol and not an address", &src, err);
	if (ret < 0)
		return ret;
	if (++i < words->n && !strcmp(words->v[i], "->"))
		i++;
	if (i == words->n)
		return weir_fail(err, -EINVAL, "no destination behind \"%s\": write " FORM,
				 words->v[i - 1]);
	ret = parse_end(words->v[i], "an address", &dst, err);
	if (ret < 0)
		return ret;
	if (++i < words->n)
		return weir_fail(err, -EINVAL, "\"%s\": a word too many: write " FORM, words->v[i]);
	ret = check_ends(&src, &dst, r->proto, err);
	if (ret < 0)
		return ret;
	r->src = src.addr;
	r->dst = dst.addr;
	r->sport = src.has_port ? (uint16_t)src.port : DEFAULT_SPORT;
	r->dport = dst.has_port ? (uint16_t)dst.port : DEFAULT_DPORT;
	return check_proto(proto_word, name, r->proto, weir_addr_is_v4(&r->src), err);
}

/* Options */

static int parse_vlans(const struct weir_strv *tags, struct weir_recipe *r, struct weir_error *err)
{
	uint64_t id;

	if (tags->n > WEIR_PKT_VLANS)
		return weir_fail(err, -EINVAL, "--vlan \"%s\": a tag too many: give %d at most",
				 tags->v[WEIR_PKT_VLANS], WEIR_PKT_VLANS);
	for (r->vlans = 0; r->vlans < tags->n; r->vlans++) {
		if (weir_parse_u64(tags->v[r->vlans], 0, VLAN_MAX, &id) < 0)
			return weir_fail(err, -EINVAL,
					 "--vlan \"%s\": not an identifier: use 0 to %d",
					 tags->v[r->vlans], VLAN_MAX);
		r->vlan[r->vlans] = (uint16_t)id;
	}
	return 0;
}

static int parse_flags(const char *text, struct weir_recipe *r, struct weir_error *err)
{
	static const char letters[] = "FSRP.UEWe"; /* lowest bit first */

	r->tcp_flags = text ? 0 : WEIR_TCP_SYN;
	if (!text)
		return 0;
	if (r->proto != IPPROTO_TCP)
		return weir_fail(err, -EINVAL,
				 "--flags \"%s\": the packet is not TCP: leave it out", text);
	if (!strcmp(text, "none"))
		return 0;
	for (const char *s = text; *s; s++) {
		const char *at = strchr(letters, *s);

		if (!at)
			return weir_fail(
				err, -EINVAL,
				"--flags \"%s\": no flag \"%c\": use %s (. is ACK), or none", text,
				*s, letters);
		r->tcp_flags |= (uint16_t)(1u << (at - letters));
	}
	if (!*text)
		return weir_fail(err, -EINVAL, "--flags is empty: use %s (. is ACK), or none",
				 letters);
	return 0;
}

static int parse_icmp(const struct weir_craft_opts *o, struct weir_recipe *r,
		      struct weir_error *err)
{
	const bool icmp = r->proto == IPPROTO_ICMP || r->proto == IPPROTO_ICMPV6;
	const bool type = o->icmp_type != NOT_GIVEN;

	r->icmp_type = r->proto == IPPROTO_ICMPV6 ? ECHO_REQUEST6 : ECHO_REQUEST;
	r->icmp_code = 0;
	if ((type || o->icmp_code != NOT_GIVEN) && !icmp)
		return weir_fail(
			err, -EINVAL,
			"--icmp-%s: the packet is not ICMP: write icmp or icmp6 before the addresses",
			type ? "type" : "code");
	if (type)
		r->icmp_type = (uint8_t)o->icmp_type;
	if (o->icmp_code != NOT_GIVEN)
		r->icmp_code = (uint8_t)o->icmp_code;
	return 0;
}

static int from_words(const struct weir_craft_opts *o, const struct weir_strv *words,
		      struct weir_craft *ret, struct weir_error *err)
{
	struct weir_recipe r = { .ttl = DEFAULT_TTL };
	int code = parse_words(words, &r, err);

	if (!code)
		code = parse_vlans(&o->vlan, &r, err);
	if (!code)
		code = parse_flags(o->flags, &r, err);
	if (!code)
		code = parse_icmp(o, &r, err);
	if (code < 0)
		return code;
	if (o->ttl != NOT_GIVEN)
		r.ttl = (uint8_t)o->ttl;
	if (o->size <= WEIR_CRAFT_MAX)
		r.size = (size_t)o->size;
	weir_recipe_build(ret, &r);
	if (o->size != NOT_GIVEN && o->size != ret->len)
		return weir_fail(err, -EINVAL,
				 "--size %llu: such a packet has from %zu to %d bytes",
				 (unsigned long long)o->size, ret->len, WEIR_CRAFT_MAX);
	return 0;
}

/* An option that says what a file says already; NULL: none. */
static const char *find_extra(const struct weir_craft_opts *o)
{
	const struct {
		const char *name;
		bool given;
	} list[] = {
		{ "--flags", o->flags },
		{ "--vlan", o->vlan.n },
		{ "--ttl", o->ttl != NOT_GIVEN },
		{ "--size", o->size != NOT_GIVEN },
		{ "--icmp-type", o->icmp_type != NOT_GIVEN },
		{ "--icmp-code", o->icmp_code != NOT_GIVEN },
		{ "--hex", o->pcap && o->hex },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(list); i++)
		if (list[i].given)
			return list[i].name;
	return NULL;
}

int weir_craft(const struct weir_craft_opts *o, const struct weir_strv *words,
	       struct weir_craft *ret, struct weir_error *err)
{
	const char *file = o->pcap ? "--pcap" : "--hex";
	const char *extra;

	if (!o->pcap && !o->hex)
		return from_words(o, words, ret, err);
	extra = find_extra(o);
	if (extra)
		return weir_fail(err, -EINVAL, "%s has the whole packet: leave %s out", file,
				 extra);
	if (words->n)
		return weir_fail(err, -EINVAL, "%s has the whole packet: leave \"%s\" out", file,
				 words->v[0]);
	return o->pcap ? weir_craft_read_pcap(o->pcap, ret, err) :
			 weir_craft_read_hex(o->hex, ret, err);
}

void weir_craft_tcp(struct weir_craft *ret, const struct weir_addr *src, uint16_t sport,
		    const struct weir_addr *dst, uint16_t dport, uint16_t tcp_flags)
{
	const struct weir_recipe r = {
		.src = *src,
		.dst = *dst,
		.proto = IPPROTO_TCP,
		.sport = sport,
		.dport = dport,
		.ttl = DEFAULT_TTL,
		.tcp_flags = tcp_flags,
	};

	weir_recipe_build(ret, &r);
}
