/* SPDX-License-Identifier: GPL-2.0-only */
/* list: rules and their live connections, with the bytes of both roads. */
#include "cap/bypass/list.h"

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
#include "dataplane/bypass_account.h"

/* All of them in the text and in JSON. */
const char *const weir_bypass_whys[WEIR_BYPASS_WHYS] = {
	"", "early", "full", "messages", "gone", "stopped",
};
const char *const weir_bypass_refusals[WEIR_BYPASS_REFUSALS] = {
	"sockmap",
	"ulp",
	"mismatch",
	"no_room",
};

static int take_conn(void *arg, const struct weir_bypass_conn *c)
{
	struct weir_bypass_listed *r = arg;

	if ((c->state & WEIR_BYPASS_BOTH) == WEIR_BYPASS_BOTH)
		r->conns[r->n++] = *c;
	return r->n == WEIR_BYPASS_SHOWN_MAX;
}

static int read_conns(const struct weir_bypass_view *v, struct weir_bypass_listed *r)
{
	r->conns = calloc(WEIR_BYPASS_SHOWN_MAX, sizeof(*r->conns));
	return r->conns ? weir_bypass_conns_each(v->conns_fd, take_conn, r) : -ENOMEM;
}

static int read_rule(const struct weir_pin_dir *d, const char *name, struct weir_bypass_listed *r,
		     struct weir_error *err)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	struct weir_bypass_view v;
	int ret = weir_bypass_view_open(d, name, &v, err);

	*r = (struct weir_bypass_listed){ 0 };
	if (ret)
		return ret;
	weir_bypass_view_sweep(&v);
	ret = weir_bypass_sums(v.rule_fd, v.conns_fd, &r->sums);
	if (!ret)
		ret = read_conns(&v, r);
	if (ret < 0)
		weir_fail(err, ret, "cannot read the rule %s: %s", name, strerror(-ret));
	r->attached = !bpf_obj_get_info_by_fd(v.link_fd, &info, &len) && info.cgroup.cgroup_id;
	weir_bypass_view_close(&v);
	return ret < 0 ? ret : 0;
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

static void text_conns(const struct weir_bypass_listed *r, struct weir_buf *out)
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
		weir_table_addf(&t, "%s%s%s", weir_bypass_whys[c->way[0].why % WEIR_BYPASS_WHYS],
				c->way[0].why && c->way[1].why ? ", " : "",
				weir_bypass_whys[c->way[1].why % WEIR_BYPASS_WHYS]);
	}
	weir_table_render(&t, 2, out);
}

static void text_rule(const struct weir_bypass_listed *r, struct weir_buf *out)
{
	const struct weir_bypass_rule *rule = &r->sums.rule;

	weir_buf_addf(out, "%s: %s, cgroup %s%s%s\n", rule->name,
		      *rule->match ? rule->match : "every connection", rule->cgroup,
		      r->attached ? "" : " (gone)", rule->forced ? ", forced" : "");
	weir_buf_addf(out, "  %llu matched, %llu joined, %llu live, %llu with one end only",
		      (unsigned long long)rule->matched, (unsigned long long)rule->joined,
		      (unsigned long long)r->sums.live, (unsigned long long)rule->unpaired);
	text_counts("; left alone: ", rule->refused, weir_bypass_refusals, WEIR_BYPASS_REFUSALS,
		    out);
	text_counts("; directions gone over to TCP: ", rule->left, weir_bypass_whys,
		    WEIR_BYPASS_WHYS, out);
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
		weir_json_str(j, "tcp_reason_out", weir_bypass_whys[o->why % WEIR_BYPASS_WHYS]);
	if (i->why)
		weir_json_str(j, "tcp_reason_in", weir_bypass_whys[i->why % WEIR_BYPASS_WHYS]);
	weir_json_end_object(j);
}

static void json_rule(const struct weir_bypass_listed *r, struct weir_json *j)
{
	const struct weir_bypass_rule *rule = &r->sums.rule;
	const struct weir_bypass_sum *o = &r->sums.way[0], *i = &r->sums.way[1];
	const uint64_t v[6] = { o->bytes, o->messages, o->tcp_bytes,
				i->bytes, i->messages, i->tcp_bytes };

	weir_json_object(j, NULL);
	weir_json_str(j, "name", rule->name);
	weir_json_str(j, "verb", "bypass");
	weir_json_str(j, "owner", "bypass");
	if (*rule->match)
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
	json_counts("refused", rule->refused, weir_bypass_refusals, WEIR_BYPASS_REFUSALS, j);
	json_counts("left", rule->left, weir_bypass_whys, WEIR_BYPASS_WHYS, j);
	json_ways(v, j);
	weir_json_array(j, "connections");
	for (size_t k = 0; k < r->n; k++)
		json_conn(&r->conns[k], j);
	weir_json_end_array(j);
	weir_json_end_object(j);
}

static void render(const struct weir_bypass_cmd *c, const struct weir_bypass_listed *v, size_t n,
		   struct weir_buf *out)
{
	struct weir_json j;

	if (c->prometheus) {
		weir_bypass_prometheus(v, n, out);
		return;
	}
	if (!c->json) {
		for (size_t i = 0; i < n; i++)
			text_rule(&v[i], out);
		if (!n)
			weir_buf_adds(out, "Nothing is bypassed by rules of this network "
					   "namespace.\n");
		return;
	}
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "rules");
	for (size_t i = 0; i < n; i++)
		json_rule(&v[i], &j);
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_bypass_do_list(struct weir_bypass_cmd *c, struct weir_error *err)
{
	char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX];
	weir_autofree struct weir_bypass_listed *v = calloc(WEIR_BYPASS_RULES_MAX, sizeof(*v));
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_pin_dir d;
	int n = 0, ret = v ? weir_bypass_open(&d, false, err) : -ENOMEM;

	if (!v)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	if (ret && ret != -ENOENT)
		return ret;
	if (!ret) {
		n = weir_bypass_names(&d, names, err);
		ret = n < 0 ? n : 0;
		for (int i = 0; !ret && i < n; i++)
			ret = read_rule(&d, names[i], &v[i], err);
		weir_pin_close(&d);
	} else {
		ret = 0; /* there is none */
	}
	if (!ret)
		render(c, v, (size_t)n, &out);
	for (int i = 0; i < n; i++)
		free(v[i].conns);
	return ret ? ret : weir_verb_print("bypass", &out, WEIR_EXIT_DONE);
}
