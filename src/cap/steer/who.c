/* SPDX-License-Identifier: GPL-2.0-only */
/* who PORT: the sockets on a port, and the rules that take connections to it. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/steer/steer_cmd.h"

struct who {
	struct weir_steer s;
	bool any; /* something is steered */
	struct weir_steer_finder finder;
	uint16_t port;
	bool json;
	struct weir_table table;
	struct weir_json j;
	struct weir_steer_claim *claims; /* sorted */
	size_t n_claims, n_shown;
};

/* ---- Sockets */

static const char *state_of(const struct weir_socket *s)
{
	static const char *const names[] = {
		[TCP_ESTABLISHED] = "established",
		[TCP_SYN_SENT] = "syn_sent",
		[TCP_SYN_RECV] = "syn_received",
		[TCP_FIN_WAIT1] = "fin_wait1",
		[TCP_FIN_WAIT2] = "fin_wait2",
		[TCP_TIME_WAIT] = "time_wait",
		[TCP_CLOSE] = "closed",
		[TCP_CLOSE_WAIT] = "close_wait",
		[TCP_LAST_ACK] = "last_ack",
		[TCP_LISTEN] = "listen",
		[TCP_CLOSING] = "closing",
	};

	if (s->proto == IPPROTO_UDP)
		return s->state == TCP_CLOSE ? "unconnected" : "connected";
	return s->state < WEIR_ARRAY_SIZE(names) && names[s->state] ? names[s->state] : "other";
}

/* One socket, by @rule or by itself (NULL). */
static void add_socket(struct who *w, enum weir_steer_proto p, const struct weir_socket *s,
		       const struct weir_steer_rule *rule)
{
	char local[WEIR_ADDR_STRLEN], remote[WEIR_ADDR_STRLEN], comm[17];
	uint32_t pid = weir_steer_holder_of(&w->finder, s->inode, comm);

	w->n_shown++;
	weir_addr_str(&s->local, local);
	weir_addr_str(&s->remote, remote);
	if (w->json) {
		weir_json_object(&w->j, NULL);
		weir_json_str(&w->j, "protocol", weir_steer_protos[p]);
		weir_json_str(&w->j, "local_ip", local);
		weir_json_uint(&w->j, "local_port", s->local_port);
		if (s->remote_port) {
			weir_json_str(&w->j, "remote_ip", remote);
			weir_json_uint(&w->j, "remote_port", s->remote_port);
		}
		weir_json_str(&w->j, "state", state_of(s));
		weir_json_uint(&w->j, "cookie", s->cookie);
		if (pid) {
			weir_json_uint(&w->j, "pid", pid);
			weir_json_str(&w->j, "comm", comm);
		}
		if (rule)
			weir_json_str(&w->j, "rule", rule->name);
		weir_json_end_object(&w->j);
		return;
	}
	weir_table_add(&w->table, weir_steer_protos[p]);
	weir_table_addf(&w->table, strchr(local, ':') ? "[%s]:%u" : "%s:%u", local, s->local_port);
	if (s->remote_port)
		weir_table_addf(&w->table, strchr(remote, ':') ? "[%s]:%u" : "%s:%u", remote,
				s->remote_port);
	else
		weir_table_add(&w->table, NULL);
	weir_table_add(&w->table, state_of(s));
	if (pid)
		weir_table_addf(&w->table, "%s (%u)", comm, pid);
	else
		weir_table_add(&w->table, NULL);
	weir_table_add(&w->table, rule ? rule->name : NULL);
}

/* ---- Which rules take connections to the port */

static const struct weir_prefix everything[] = {
	{ .addr.b = { [10] = 0xff, 0xff }, .len = 96, .is_v4 = true },
	{ .is_v4 = false },
};

/* What a rule that always decides claims: behind it nothing of the same prefix comes. */
struct weir_steer_claim {
	struct weir_prefix dst;
	uint32_t proto, width, rule;
};

static size_t prefixes_of(const struct weir_steer_rule *r, const struct weir_prefix **ret)
{
	*ret = r->n_dst ? r->dst : everything;
	return r->n_dst ? r->n_dst : WEIR_ARRAY_SIZE(everything);
}

/* How many ports the range of @r has in which @port is; 0: it does not name it. */
static uint32_t width_at(const struct weir_steer_rule *r, uint16_t port)
{
	for (size_t i = 0; i < r->n_ports; i++)
		if (port >= r->ports[i].lo && port <= r->ports[i].hi)
			return r->ports[i].hi - r->ports[i].lo + 1;
	return r->n_ports ? 0 : UINT16_MAX + 1;
}

static int compare_places(const struct weir_steer_claim *x, const struct weir_steer_claim *y)
{
	int d = (x->proto > y->proto) - (x->proto < y->proto);

	if (!d)
		d = (int)x->dst.is_v4 - (int)y->dst.is_v4;
	if (!d)
		d = (int)x->dst.len - (int)y->dst.len;
	return d ? d : memcmp(x->dst.addr.b, y->dst.addr.b, sizeof(x->dst.addr.b));
}

static int compare_claims(const void *a, const void *b)
{
	const struct weir_steer_claim *x = a, *y = b;
	int d = compare_places(x, y);

	if (!d)
		d = (x->width > y->width) - (x->width < y->width);
	return d ? d : (x->rule > y->rule) - (x->rule < y->rule);
}

static int add_claims(struct who *w, size_t rule)
{
	const struct weir_steer_rule *r = &w->s.conf.rules[rule];
	const struct weir_prefix *dst;
	size_t n = prefixes_of(r, &dst);
	uint32_t width = width_at(r, w->port);
	void *v;

	if (!width || r->n_src || r->expires)
		return 0;
	v = reallocarray(w->claims, w->n_claims + n * WEIR_STEER_PROTOS, sizeof(*w->claims));
	if (!v)
		return -ENOMEM;
	w->claims = v;
	for (uint32_t p = 0; p < WEIR_STEER_PROTOS; p++)
		for (size_t i = 0; r->protos & 1U << p && i < n; i++)
			w->claims[w->n_claims++] = (struct weir_steer_claim){
				.dst = dst[i], .proto = p, .width = width, .rule = (uint32_t)rule
			};
	return 0;
}

static int read_claims(struct who *w, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && w->any && i < w->s.conf.n_rules; i++)
		ret = add_claims(w, i);
	if (ret)
		return weir_fail(err, ret, "out of memory: free some and try again");
	if (w->n_claims)
		qsort(w->claims, w->n_claims, sizeof(*w->claims), compare_claims);
	return 0;
}

/* The first claim of the place of @key, or NULL. */
static const struct weir_steer_claim *first_claim(const struct who *w,
						  const struct weir_steer_claim *key)
{
	size_t lo = 0, hi = w->n_claims;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (compare_places(&w->claims[mid], key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < w->n_claims && !compare_places(&w->claims[lo], key) ? &w->claims[lo] : NULL;
}

/* May @r decide for connections of @proto to the port, or do others always come first? */
static bool takes(const struct who *w, const struct weir_steer_rule *r, uint32_t proto)
{
	struct weir_steer_claim key = { .proto = proto,
					.width = width_at(r, w->port),
					.rule = (uint32_t)(r - w->s.conf.rules) };
	const struct weir_prefix *dst;
	size_t n = prefixes_of(r, &dst);
	bool any = false;

	for (size_t i = 0; key.width && r->protos & 1U << proto && !any && i < n; i++) {
		const struct weir_steer_claim *c;

		key.dst = dst[i];
		c = first_claim(w, &key);
		any = !c || c->width > key.width ||
		      (c->width == key.width && (r->n_src || c->rule >= key.rule));
	}
	return any;
}

static bool takes_any(const struct who *w, const struct weir_steer_rule *r)
{
	bool any = false;

	for (uint32_t p = 0; p < WEIR_STEER_PROTOS; p++)
		any |= takes(w, r, p);
	return any;
}

/* ---- What is shown */

static void add_rule(struct who *w, const struct weir_steer_rule *r)
{
	for (int p = 0; p < WEIR_STEER_PROTOS; p++) {
		const struct weir_steer_target *t =
			weir_steer_conf_target(&w->s.conf, r->to, (enum weir_steer_proto)p);

		if (!t || !takes(w, r, (uint32_t)p))
			continue;
		for (uint32_t i = 0; i < t->members * WEIR_STEER_SPARE; i++) {
			uint64_t cookie = weir_steer_cookie(&w->s, t->first + i);
			const struct weir_socket *s =
				cookie ?
					weir_steer_finder_cookie(&w->finder,
								 (enum weir_steer_proto)p, cookie) :
					NULL;

			if (s)
				add_socket(w, (enum weir_steer_proto)p, s, r);
		}
	}
}

static void add_rules(struct who *w)
{
	for (size_t i = 0; w->any && i < w->s.conf.n_rules; i++)
		add_rule(w, &w->s.conf.rules[i]);
}

static void add_sockets(struct who *w)
{
	for (int p = 0; p < WEIR_STEER_PROTOS; p++)
		for (size_t i = 0; i < w->finder.n[p]; i++)
			if (w->finder.sockets[p][i].local_port == w->port)
				add_socket(w, (enum weir_steer_proto)p, &w->finder.sockets[p][i],
					   NULL);
}

static void text_rules(const struct who *w, struct weir_buf *out)
{
	bool any = false;

	for (size_t i = 0; w->any && i < w->s.conf.n_rules; i++) {
		const struct weir_steer_rule *r = &w->s.conf.rules[i];

		if (!takes_any(w, r))
			continue;
		weir_buf_addf(out, "%s%s: ", any ? "" : "\n", r->name);
		weir_steer_print_rule(&w->s.conf, r, 0, w->s.clock.boot, out);
		weir_buf_addc(out, '\n');
		any = true;
	}
}

static void render(struct who *w, struct weir_buf *out)
{
	static const char *const head[] = { "PROTOCOL", "LOCAL",   "REMOTE",
					    "STATE",	"PROCESS", "BY RULE" };

	if (w->json) {
		weir_json_init(&w->j, out);
		weir_json_object(&w->j, NULL);
		weir_json_uint(&w->j, "v", 1);
		weir_json_uint(&w->j, "port", w->port);
		weir_json_array(&w->j, "sockets");
	} else {
		weir_table_init(&w->table, WEIR_ARRAY_SIZE(head), head);
	}
	add_rules(w);
	add_sockets(w);
	if (w->json) {
		weir_json_end_array(&w->j);
		weir_json_array(&w->j, "rules");
		for (size_t i = 0; w->any && i < w->s.conf.n_rules; i++)
			if (takes_any(w, &w->s.conf.rules[i]))
				weir_json_str(&w->j, NULL, w->s.conf.rules[i].name);
		weir_json_end_array(&w->j);
		weir_json_end_object(&w->j);
		weir_buf_addc(out, '\n');
		return;
	}
	if (w->n_shown)
		weir_table_render(&w->table, 0, out);
	else
		weir_buf_addf(
			out,
			"No socket is on port %u, and no rule leads from it to one that is there.\n",
			w->port);
	text_rules(w, out);
	weir_table_free(&w->table);
}

int weir_steer_do_who(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct who w = { .json = c->json };
	uint64_t port;
	int ret;

	if (weir_parse_u64(c->words.v[0], 1, UINT16_MAX, &port)) {
		weir_steer_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL, "\"%s\": not a port: give a number from 1 to 65535",
				 c->words.v[0]);
	}
	w.port = (uint16_t)port;
	ret = weir_steer_open(&w.s, false, err);
	if (ret && ret != -ENOENT)
		return ret;
	w.any = !ret;
	ret = weir_steer_finder_list(&w.finder, WEIR_STEER_TCP, err);
	if (!ret)
		ret = weir_steer_finder_list(&w.finder, WEIR_STEER_UDP, err);
	if (!ret)
		ret = read_claims(&w, err);
	if (!ret)
		render(&w, &out);
	free(w.claims);
	weir_steer_finder_free(&w.finder);
	if (w.any)
		weir_steer_close(&w.s);
	return ret ? ret : weir_verb_print("steer", &out, WEIR_EXIT_DONE);
}
