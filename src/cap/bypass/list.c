/* SPDX-License-Identifier: GPL-2.0-only */
/* list: rules and their live connections, with the bytes of both roads. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/bypass/bypass_cmd.h"
#include "cap/bypass/engine.h"

#define SHOWN_MAX 1000 /* connections of a rule; a table of more is of no use */

/* All of them in the text and in JSON. */
static const char *const whys[WEIR_BYPASS_WHYS] = {
	"", "early", "full", "messages", "gone", "stopped",
};
static const char *const refusals[WEIR_BYPASS_REFUSALS] = {
	"sockmap",
	"ulp",
	"mismatch",
	"no_room",
};

struct rule_view {
	struct weir_bypass_sums sums;
	struct weir_bypass_conn *conns; /* live ones */
	size_t n;
	bool attached; /* its cgroup is still there */
};

static void read_conns(const struct weir_bypass_view *v, struct rule_view *r)
{
	uint64_t id, *at = NULL;

	r->conns = calloc(SHOWN_MAX, sizeof(*r->conns));
	for (uint32_t i = 0; r->conns && r->n < SHOWN_MAX && i < WEIR_BYPASS_CONNS_MAX &&
			     !bpf_map_get_next_key(v->conns_fd, at, &id);
	     i++) {
		at = &id;
		if (!bpf_map_lookup_elem(v->conns_fd, &id, &r->conns[r->n]) &&
		    (r->conns[r->n].state & WEIR_BYPASS_BOTH) == WEIR_BYPASS_BOTH)
			r->n++;
	}
}

static int read_rule(const struct weir_pin_dir *d, const char *name, struct rule_view *r,
		     struct weir_error *err)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	struct weir_bypass_view v;
	int ret = weir_bypass_view_open(d, name, &v, err);

	*r = (struct rule_view){ 0 };
	if (ret)
		return ret;
	weir_bypass_view_sweep(&v);
	ret = weir_bypass_sums(v.rule_fd, v.conns_fd, &r->sums);
	if (ret)
		weir_fail(err, ret, "cannot read the rule %s: %s", name, strerror(-ret));
	r->attached = !bpf_obj_get_info_by_fd(v.link_fd, &info, &len) && info.cgroup.cgroup_id;
	read_conns(&v, r);
	weir_bypass_view_close(&v);
	return ret;
}

/* ---- Text */

static void add_grouped(struct weir_table *t, uint64_t n)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, n);
	weir_table_add(t, text.data);
}

static void add_end(struct weir_table *t, const uint8_t addr[16], uint16_t port)
{
	struct weir_addr a;
	char text[WEIR_ADDR_STRLEN];

	memcpy(a.b, addr, sizeof(a.b));
	weir_addr_str(&a, text);
	weir_table_addf(t, weir_addr_is_v4(&a) ? "%s:%u" : "[%s]:%u", text, port);
}

static void text_counts(const char *what, const __u64 *v, const char *const *names, size_t n,
			struct weir_buf *out)
{
	const char *before = what;

	for (size_t i = 0; i < n; i++) {
		if (!v[i])
			continue;
		weir_buf_addf(out, "%s", before);
		weir_buf_add_grouped(out, v[i]);
		weir_buf_addf(out, " %s", names[i]);
		before = ", ";
	}
}

static void text_conns(const struct rule_view *r, struct weir_buf *out)
{
	static const char *const head[] = { "FROM",    "TO",	 "BYPASS OUT", "BYPASS IN",
					    "TCP OUT", "TCP IN", "BY TCP WHY" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < r->n; i++) {
		const struct weir_bypass_conn *c = &r->conns[i];

		add_end(&t, c->pair.src, c->pair.sport);
		add_end(&t, c->pair.dst, c->pair.dport);
		add_grouped(&t, c->way[0].bytes);
		add_grouped(&t, c->way[1].bytes);
		add_grouped(&t, c->way[0].tcp_bytes + c->way[0].tcp_pending);
		add_grouped(&t, c->way[1].tcp_bytes + c->way[1].tcp_pending);
		weir_table_addf(&t, "%s%s%s", whys[c->way[0].why % WEIR_BYPASS_WHYS],
				c->way[0].why && c->way[1].why ? ", " : "",
				whys[c->way[1].why % WEIR_BYPASS_WHYS]);
	}
	weir_table_render(&t, 2, out);
}

static void text_rule(const struct rule_view *r, struct weir_buf *out)
{
	const struct weir_bypass_rule *rule = &r->sums.rule;

	weir_buf_addf(out, "%s: %s, cgroup %s%s%s\n", rule->name,
		      *rule->match ? rule->match : "every connection", rule->cgroup,
		      r->attached ? "" : " (gone)", rule->forced ? ", forced" : "");
	weir_buf_addf(out, "  %llu matched, %llu joined, %llu live, %llu with one end only",
		      (unsigned long long)rule->matched, (unsigned long long)rule->joined,
		      (unsigned long long)r->sums.live, (unsigned long long)rule->unpaired);
	text_counts("; left alone: ", rule->refused, refusals, WEIR_BYPASS_REFUSALS, out);
	text_counts("; directions gone over to TCP: ", rule->left, whys, WEIR_BYPASS_WHYS, out);
	weir_buf_adds(out, "\n  bytes out ");
	weir_buf_add_grouped(out, r->sums.way[0].bytes);
	weir_buf_adds(out, " by bypass, ");
	weir_buf_add_grouped(out, r->sums.way[0].tcp_bytes);
	weir_buf_adds(out, " by TCP; in ");
	weir_buf_add_grouped(out, r->sums.way[1].bytes);
	weir_buf_adds(out, " by bypass, ");
	weir_buf_add_grouped(out, r->sums.way[1].tcp_bytes);
	weir_buf_adds(out, " by TCP\n");
	if (r->n)
		text_conns(r, out);
}

/* ---- JSON */

static void json_ways(const uint64_t v[6], struct weir_json *j)
{
	weir_json_uint(j, "bytes_out", v[0] + v[2]);
	weir_json_uint(j, "bytes_in", v[3] + v[5]);
	weir_json_uint(j, "bypass_bytes_out", v[0]);
	weir_json_uint(j, "bypass_bytes_in", v[3]);
	weir_json_uint(j, "bypass_messages_out", v[1]);
	weir_json_uint(j, "bypass_messages_in", v[4]);
	weir_json_uint(j, "tcp_bytes_out", v[2]);
	weir_json_uint(j, "tcp_bytes_in", v[5]);
}

static void json_counts(const char *key, const __u64 *v, const char *const *names, size_t n,
			struct weir_json *j)
{
	weir_json_object(j, key);
	for (size_t i = 0; i < n; i++)
		if (v[i])
			weir_json_uint(j, names[i], v[i]);
	weir_json_end_object(j);
}

static void json_addr(const char *key, const uint8_t addr[16], struct weir_json *j)
{
	struct weir_addr a;
	char text[WEIR_ADDR_STRLEN];

	memcpy(a.b, addr, sizeof(a.b));
	weir_addr_str(&a, text);
	weir_json_str(j, key, text);
}

static void json_conn(const struct weir_bypass_conn *c, struct weir_json *j)
{
	const struct weir_bypass_way *o = &c->way[0], *i = &c->way[1];
	const uint64_t v[6] = { o->bytes, o->messages, o->tcp_bytes + o->tcp_pending,
				i->bytes, i->messages, i->tcp_bytes + i->tcp_pending };

	weir_json_object(j, NULL);
	weir_json_str(j, "protocol", "tcp");
	json_addr("src_ip", c->pair.src, j);
	weir_json_uint(j, "src_port", c->pair.sport);
	json_addr("dst_ip", c->pair.dst, j);
	weir_json_uint(j, "dst_port", c->pair.dport);
	weir_json_uint(j, "src_cookie", c->cookie[0]);
	weir_json_uint(j, "dst_cookie", c->cookie[1]);
	weir_json_uint(j, "src_netns", c->netns[0]);
	weir_json_uint(j, "dst_netns", c->netns[1]);
	json_ways(v, j);
	weir_json_uint(j, "peak_unread_out", o->peak);
	weir_json_uint(j, "peak_unread_in", i->peak);
	if (o->why)
		weir_json_str(j, "tcp_reason_out", whys[o->why % WEIR_BYPASS_WHYS]);
	if (i->why)
		weir_json_str(j, "tcp_reason_in", whys[i->why % WEIR_BYPASS_WHYS]);
	weir_json_end_object(j);
}

static void json_rule(const struct rule_view *r, struct weir_json *j)
{
	const struct weir_bypass_rule *rule = &r->sums.rule;
	const struct weir_bypass_sum *o = &r->sums.way[0], *i = &r->sums.way[1];
	const uint64_t v[6] = { o->bytes, o->messages, o->tcp_bytes,
				i->bytes, i->messages, i->tcp_bytes };

	weir_json_object(j, NULL);
	weir_json_str(j, "name", rule->name);
	weir_json_str(j, "verb", "bypass");
	weir_json_str(j, "match", rule->match);
	weir_json_str(j, "action", "bypass");
	weir_json_str(j, "cgroup", rule->cgroup);
	weir_json_bool(j, "attached", r->attached);
	weir_json_bool(j, "forced", rule->forced);
	weir_json_uint(j, "hits", rule->matched);
	weir_json_uint(j, "joined", rule->joined);
	weir_json_uint(j, "live", r->sums.live);
	weir_json_uint(j, "closed", rule->closed);
	weir_json_uint(j, "unpaired", rule->unpaired);
	json_counts("refused", rule->refused, refusals, WEIR_BYPASS_REFUSALS, j);
	json_counts("left", rule->left, whys, WEIR_BYPASS_WHYS, j);
	json_ways(v, j);
	weir_json_array(j, "connections");
	for (size_t k = 0; k < r->n; k++)
		json_conn(&r->conns[k], j);
	weir_json_end_array(j);
	weir_json_end_object(j);
}

int weir_bypass_do_list(struct weir_bypass_cmd *c, struct weir_error *err)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_pin_dir d;
	struct weir_json j;
	int n = 0, ret = weir_bypass_open(&d, false, err);
	bool any = !ret;

	if (ret && ret != -ENOENT)
		return ret;
	ret = 0;
	if (any)
		n = weir_bypass_names(&d, names, err);
	weir_json_init(&j, &out);
	if (c->json) {
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_array(&j, "rules");
	}
	for (int i = 0; !ret && i < n; i++) {
		struct rule_view r;

		ret = read_rule(&d, names[i], &r, err);
		if (!ret && c->json)
			json_rule(&r, &j);
		else if (!ret)
			text_rule(&r, &out);
		free(r.conns);
	}
	if (any)
		weir_pin_close(&d);
	if (ret || n < 0)
		return ret ? ret : n;
	if (c->json) {
		weir_json_end_array(&j);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else if (!n) {
		weir_buf_adds(&out, "Nothing is bypassed by rules of this network namespace.\n");
	}
	return weir_verb_print("bypass", &out, WEIR_EXIT_DONE);
}
