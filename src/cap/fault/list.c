/* SPDX-License-Identifier: GPL-2.0-only */
/* list, show, and what `weir status` tells of sockets. */
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/fault/fault_cmd.h"
#include "dataplane/pinned.h"
#include "net/endpoint.h"

struct view {
	struct weir_fault_account a;
	struct weir_rule_hits hits;
	uint64_t last, expires; /* ns since the epoch; 0 = never */
};

static struct view view_of(const struct weir_fault *f, const struct weir_fault_conf_rule *r)
{
	struct view v = { 0 };
	uint64_t real = weir_clock_real();

	weir_fault_account_of(f, r->slot, &v.a);
	weir_rules_hits(&f->rules, r->id, &v.hits);
	if (v.hits.last && v.a.hit)
		v.last = real -
			 (f->jiffies > v.hits.last ? (f->jiffies - v.hits.last) * f->tick : 0);
	v.expires = real + (r->expires - f->boot);
	return v;
}

/* ---- Text */

static void add_grouped(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, v);
	weir_table_add(t, text.data);
}

static void text_rule(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
		      struct weir_table *t)
{
	weir_autobuf struct weir_buf match = { 0 }, action = { 0 }, ttl = { 0 };
	struct view v = view_of(f, r);

	weir_fault_print_match(r, &match);
	weir_fault_print_action(r, &action);
	if (weir_fault_is_random(r))
		weir_buf_addf(&action, " --seed %llu", (unsigned long long)r->seed);
	weir_buf_adds(&ttl, "in ");
	weir_buf_add_duration(&ttl, r->expires - f->boot);
	weir_table_add(t, r->name);
	weir_table_add(t, match.data);
	weir_table_add(t, action.data);
	add_grouped(t, v.a.matched);
	add_grouped(t, v.a.hit);
	add_grouped(t, v.a.passed);
	weir_table_add(t, ttl.data);
}

static void render_text(const struct weir_fault *f, struct weir_buf *out)
{
	static const char *const head[] = { "RULE", "MATCH",  "FAULT",	"MATCHED",
					    "HIT",  "PASSED", "EXPIRES" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < f->conf.n; i++)
		text_rule(f, &f->conf.v[i], &t);
	weir_table_render(&t, 0, out);
}

/* ---- JSON */

static void json_rule(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
		      struct weir_json *j)
{
	weir_autobuf struct weir_buf match = { 0 }, action = { 0 };
	struct view v = view_of(f, r);

	weir_fault_print_match(r, &match);
	weir_fault_print_action(r, &action);
	weir_json_object(j, NULL);
	weir_json_str(j, "name", r->name);
	weir_json_str(j, "verb", "fault");
	weir_json_str(j, "owner", WEIR_FAULT_OWNER);
	weir_json_str(j, "match", match.data);
	weir_json_str(j, "action", action.data);
	weir_json_str(j, "kind", weir_fault_kinds[r->kind]);
	if (weir_fault_is_random(r))
		weir_json_uint(j, "seed", r->seed);
	weir_json_uint(j, "matched", v.a.matched);
	weir_json_uint(j, "matched_bytes", v.a.matched_bytes);
	weir_json_uint(j, "hits", v.a.hit);
	weir_json_uint(j, "bytes", v.a.hit_bytes);
	weir_json_uint(j, "passed", v.a.passed);
	if (r->kind == WEIR_FAULT_CORRUPT)
		weir_json_uint(j, "unable", v.a.unable);
	if (r->kind == WEIR_FAULT_TRUNCATE)
		weir_json_uint(j, "again", v.a.again);
	if (v.last)
		weir_json_time(j, "last_hit_ts", v.last);
	weir_json_time(j, "expires_ts", v.expires);
	weir_json_end_object(j);
}

/* seen = unmatched + what the rules matched, of packets; sockets are not among them. */
static void json_account(const struct weir_fault *f, struct weir_json *j)
{
	struct weir_fault_account a = { 0 };

	weir_fault_account_of(f, 0, &a);
	weir_json_object(j, "account");
	weir_json_str(j, "verb", "fault");
	weir_json_uint(j, "unmatched", a.matched);
	weir_json_end_object(j);
}

static void render_json(const struct weir_fault *f, bool any, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "rules");
	for (size_t i = 0; any && i < f->conf.n; i++)
		json_rule(f, &f->conf.v[i], &j);
	weir_json_end_array(&j);
	if (any)
		json_account(f, &j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_fault_do_list(struct weir_fault_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_fault f;
	int ret = weir_fault_open(&f, false, err);

	if (ret && ret != -ENOENT)
		return ret;
	if (c->prometheus)
		weir_fault_prometheus(ret ? NULL : &f, &out);
	else if (c->json)
		render_json(&f, !ret, &out);
	else if (ret || !f.conf.n)
		weir_buf_adds(&out, "No fault is in force in this network namespace.\n");
	else
		render_text(&f, &out);
	if (!ret)
		weir_fault_close(&f);
	return weir_verb_print("fault", &out, WEIR_EXIT_DONE);
}

int weir_fault_do_show(struct weir_fault_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_fault f;
	int ret = weir_fault_open(&f, false, err);

	(void)c;
	if (ret)
		return ret == -ENOENT ? WEIR_EXIT_DONE : ret;
	weir_fault_print(&f.conf, f.boot, &out);
	weir_fault_close(&f);
	return weir_verb_print("fault", &out, WEIR_EXIT_DONE);
}

/* ---- Sockets, for `weir status` */

static const char *state_name(uint32_t state)
{
	static const char *const names[] = {
		[TCP_ESTABLISHED] = "established",
		[TCP_SYN_SENT] = "syn-sent",
		[TCP_SYN_RECV] = "syn-received",
		[TCP_FIN_WAIT1] = "fin-wait-1",
		[TCP_FIN_WAIT2] = "fin-wait-2",
		[TCP_TIME_WAIT] = "time-wait",
		[TCP_CLOSE] = "closed",
		[TCP_CLOSE_WAIT] = "close-wait",
		[TCP_LAST_ACK] = "last-ack",
		[TCP_LISTEN] = "listening",
		[TCP_CLOSING] = "closing",
	};

	return state < WEIR_ARRAY_SIZE(names) && names[state] ? names[state] : "unknown";
}

static const char *end_text(const uint8_t addr[16], uint16_t port, char buf[WEIR_ENDPOINT_STRLEN])
{
	struct weir_endpoint e;
	struct weir_addr a;

	memcpy(a.b, addr, sizeof(a.b));
	weir_endpoint_set(&e, &a, port);
	return weir_endpoint_str(&e, buf);
}

/* The rule in force whose filter it is, or NULL: the filter does nothing any more. */
static const char *rule_of(struct weir_fault *f, bool open, const struct weir_fault_socket *s)
{
	for (size_t i = 0; open && i < f->conf.n; i++) {
		weir_autoclose int fd = -1;
		char name[16];

		if (!weir_fault_is_socket(&f->conf.v[i]))
			continue;
		fd = weir_pin_get(&f->dir, weir_fault_sk_name(name, f->conf.v[i].slot));
		if (fd >= 0 && weir_fault_prog_id(fd) == s->prog_id)
			return f->conf.v[i].name;
	}
	return NULL;
}

static void text_sockets(struct weir_fault *f, bool open, const struct weir_fault_sockets *s,
			 struct weir_buf *out)
{
	static const char *const head[] = { "LOCAL", "REMOTE", "STATE", "RULE" };
	char local[WEIR_ENDPOINT_STRLEN], remote[WEIR_ENDPOINT_STRLEN];
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < s->n; i++) {
		const struct weir_fault_socket *x = &s->v[i];
		const char *rule = rule_of(f, open, x);

		weir_table_add(&t, end_text(x->local, x->lport, local));
		weir_table_add(&t, x->rport ? end_text(x->remote, x->rport, remote) : NULL);
		weir_table_add(&t, state_name(x->state));
		weir_table_add(&t, rule ? rule : "none: inert, goes with its socket");
	}
	weir_buf_adds(out, "Sockets with a filter of weir fault:\n");
	weir_table_render(&t, 2, out);
}

static void json_sockets(struct weir_fault *f, bool open, const struct weir_fault_sockets *s,
			 struct weir_json *j)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr a;

	weir_json_array(j, "fault_sockets");
	for (size_t i = 0; i < s->n; i++) {
		const struct weir_fault_socket *x = &s->v[i];
		const char *rule = rule_of(f, open, x);

		weir_json_object(j, NULL);
		memcpy(a.b, x->local, sizeof(a.b));
		weir_json_str(j, "local_ip", weir_addr_str(&a, text));
		weir_json_uint(j, "local_port", x->lport);
		if (x->rport) {
			memcpy(a.b, x->remote, sizeof(a.b));
			weir_json_str(j, "remote_ip", weir_addr_str(&a, text));
			weir_json_uint(j, "remote_port", x->rport);
		}
		weir_json_str(j, "state", state_name(x->state));
		if (x->cookie)
			weir_json_uint(j, "cookie", x->cookie);
		weir_json_str(j, "rule", rule);
		weir_json_bool(j, "inert", !rule);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

int weir_fault_status(struct weir_buf *out, struct weir_json *j, struct weir_error *err)
{
	weir_cleanup(weir_fault_sockets_free) struct weir_fault_sockets s = { 0 };
	struct weir_error ignored;
	struct weir_fault f;
	bool open;
	int ret = weir_fault_sockets_list(&s, err);

	/* Who may not look sees no more of the rest either, and has been told. */
	if (ret || !s.n)
		return ret == -EPERM ? 0 : ret;
	open = weir_pinned_any("fault") && !weir_fault_open(&f, false, &ignored);
	if (j)
		json_sockets(&f, open, &s, j);
	else
		text_sockets(&f, open, &s, out);
	if (open)
		weir_fault_close(&f);
	return 0;
}
