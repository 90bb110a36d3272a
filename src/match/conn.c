/* SPDX-License-Identifier: GPL-2.0-only */
#include "match/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/road.h"
#include "bpf/ends.h"

#define HAS ((1U << WEIR_FIELD_IP) | (1U << WEIR_FIELD_PROTO) | (1U << WEIR_FIELD_PORTS))

/* What is relative to this host, and the words that ask for it once it is known which end
 * of the packet this host is. */
static const struct side {
	const char *flag, *as;
	size_t value; /* in struct weir_conn_spec */
	size_t probe; /* in struct weir_match_spec: where the same list is parsed */
	const char *initiated, *accepted;
} sides[] = {
	{ "--local-ip", "--src-ip", offsetof(struct weir_conn_spec, local_ip),
	  offsetof(struct weir_match_spec, src_ip), "src", "dst" },
	{ "--local-port", "--src-port", offsetof(struct weir_conn_spec, local_port),
	  offsetof(struct weir_match_spec, src_port), "src port", "dst port" },
	{ "--remote-ip", "--src-ip", offsetof(struct weir_conn_spec, remote_ip),
	  offsetof(struct weir_match_spec, src_ip), "dst", "src" },
	{ "--remote-port", "--src-port", offsetof(struct weir_conn_spec, remote_port),
	  offsetof(struct weir_match_spec, src_port), "dst port", "src port" },
};

static const char *value_of(const struct weir_conn_spec *spec, const struct side *s)
{
	return *(const char *const *)((const char *)spec + s->value);
}

/* The list is parsed alone first, so that nothing but a list gets into an expression, and
 * an error names the flag that the user wrote. */
static int check_list(const struct side *s, const char *value, struct weir_error *err)
{
	struct weir_match_spec probe = { 0 };
	struct weir_match *m;
	struct weir_error e = { 0 };
	int ret;

	*(const char **)((char *)&probe + s->probe) = value;
	ret = weir_match_parse(&probe, &m, &e);
	if (!ret)
		weir_match_free(m);
	else if (!strncmp(e.msg, s->as, strlen(s->as)))
		weir_fail(err, ret, "%s%s", s->flag, e.msg + strlen(s->as));
	else
		weir_fail(err, ret, "%s: %s", s->flag, e.msg);
	return ret;
}

static int check_fields(const struct weir_match *m, struct weir_error *err)
{
	uint32_t more = weir_match_fields(m) & ~HAS;

	for (int f = 0; f < WEIR_FIELD_MAX; f++)
		if (more & (1U << f))
			return weir_fail(err, -EINVAL,
					 "a connection has no %s: ask for addresses, protocol and "
					 "ports",
					 weir_match_field_name(f));
	return 0;
}

static int add_side(const struct side *s, const char *value, struct weir_buf *text,
		    struct weir_error *err)
{
	int ret = check_list(s, value, err);

	if (!ret)
		weir_buf_addf(text,
			      "%s((tcp[tcpflags] & tcp-syn != 0 and %s %s) or "
			      "(tcp[tcpflags] & tcp-syn == 0 and %s %s))",
			      text->len ? " and " : "", s->initiated, value, s->accepted, value);
	return ret;
}

static bool is_blank(const char *s)
{
	return !s || !s[strspn(s, " \t\n")];
}

int weir_conn_match_parse(const struct weir_conn_spec *spec, struct weir_match **ret,
			  struct weir_error *err)
{
	struct weir_match_spec whole = spec->match;
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_match *m;
	int code = weir_match_parse(&spec->match, &m, err);

	if (code)
		return code;
	code = check_fields(m, err);
	for (size_t i = 0; !code && i < WEIR_ARRAY_SIZE(sides); i++)
		if (value_of(spec, &sides[i]))
			code = add_side(&sides[i], value_of(spec, &sides[i]), &text, err);
	if (code || !text.len) {
		if (code)
			weir_match_free(m);
		else
			*ret = m;
		return code;
	}
	weir_match_free(m);
	if (!is_blank(spec->match.expression))
		weir_buf_addf(&text, " and (%s)", spec->match.expression);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "no memory for the match");
	whole.expression = text.data;
	return weir_match_parse(&whole, ret, err);
}

/* Is there a TCP connection that @protocol names? */
static int check_protocol(const char *protocol, struct weir_error *err)
{
	const struct weir_match_spec alone = { .protocol = protocol };
	struct weir_ends four = { .proto = IPPROTO_TCP,
				  .local = { [10] = 0xff, [11] = 0xff },
				  .remote = { [10] = 0xff, [11] = 0xff } };
	struct weir_ends six = { .proto = IPPROTO_TCP };
	struct weir_match *m;
	struct weir_pkt p4, p6;
	bool any;
	int ret = weir_match_parse(&alone, &m, err);

	if (ret)
		return ret;
	weir_ends_pkt(&four, &p4);
	weir_ends_pkt(&six, &p6);
	any = weir_match_eval(m, &p4) || weir_match_eval(m, &p6);
	weir_match_free(m);
	return any ? 0 :
		     weir_fail(err, -EINVAL,
			       "--protocol %s: no connection can match: this is about TCP",
			       protocol);
}

int weir_conn_match_parse_tcp(const struct weir_conn_spec *spec, struct weir_match **ret,
			      struct weir_error *err)
{
	int code = weir_conn_match_parse(spec, ret, err);

	if (code || !spec->match.protocol)
		return code;
	code = check_protocol(spec->match.protocol, err);
	if (code) {
		weir_match_free(*ret);
		*ret = NULL;
	}
	return code;
}

void weir_conn_pkt_of(const struct weir_road *r, struct weir_pkt *ret)
{
	struct weir_ends e = {
		.lport = r->out ? r->sport : r->dport,
		.rport = r->out ? r->dport : r->sport,
		.proto = r->tcp ? IPPROTO_TCP : IPPROTO_UDP,
		.flags = r->out ? WEIR_ENDS_INITIATED : 0,
	};

	memcpy(e.local, (r->out ? &r->src : &r->dst)->b, sizeof(e.local));
	memcpy(e.remote, (r->out ? &r->dst : &r->src)->b, sizeof(e.remote));
	weir_ends_pkt(&e, ret);
}
