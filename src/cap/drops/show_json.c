/* SPDX-License-Identifier: GPL-2.0-only */
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "bpf/parse.bpf.h"
#include "cap/drops/ring.h"
#include "cap/drops/show.h"

static const char *const origins[] = {
	[WEIR_DROPS_OWN] = "filter",	  [WEIR_DROPS_FAULT] = "fault",
	[WEIR_DROPS_XDP] = "xdp",	  [WEIR_DROPS_FREED] = "kfree_skb",
	[WEIR_DROPS_COUNTER] = "counter",
};

static const char *const kinds[] = {
	[WEIR_DROPS_PACKET] = "harmless",
	[WEIR_DROPS_COPY] = "copy",
	[WEIR_DROPS_STRAY] = "stray",
};

static void json_row(struct weir_json *j, const struct weir_drops_row *r, bool loss)
{
	char protocol[16];

	weir_json_object(j, NULL);
	weir_json_str(j, "stage", weir_drops_stages[r->stage]);
	weir_json_str(j, "reason", r->reason);
	weir_json_str(j, "function", r->function[0] ? r->function : NULL);
	weir_json_uint(j, "count", r->counted);
	weir_json_str(j, "advice", r->advice);
	weir_json_str(j, "origin", origins[r->origin]);
	if (!loss)
		weir_json_str(j, "why", kinds[r->kind]);
	weir_json_str(j, "iface", r->iface[0] ? r->iface : NULL);
	weir_drops_protocol(r->eth_type, r->proto, protocol, sizeof(protocol));
	weir_json_str(j, "protocol", protocol[0] ? protocol : NULL);
	if (r->origin == WEIR_DROPS_FREED) {
		weir_json_uint(j, "wire_packets", r->wire);
		weir_json_bool(j, "received", r->received);
	}
	if (r->bytes)
		weir_json_uint(j, "bytes", r->bytes);
	if (r->netns)
		weir_json_uint(j, "netns", r->netns);
	weir_json_end_object(j);
}

static void json_rows(struct weir_json *j, const char *key, const struct weir_drops_ledger *l,
		      bool loss)
{
	weir_json_array(j, key);
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].counted && l->v[i].role != WEIR_COUNTER_PRESSURE &&
		    weir_drops_is_loss(&l->v[i]) == loss)
			json_row(j, &l->v[i], loss);
	weir_json_end_array(j);
}

/* What sees the same packets: how many, how many of them are in the rows by another view,
 * and how many only by this one. */
static void json_views(struct weir_json *j, const struct weir_drops_view *v)
{
	weir_json_array(j, "also_counted_by");
	for (size_t i = 0; i < v->whole->n; i++) {
		const struct weir_drops_row *r = &v->whole->v[i];

		if (r->role == WEIR_COUNTER_PRESSURE || r->counted == r->packets)
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "name", r->reason);
		weir_json_str(j, "function", r->function[0] ? r->function : NULL);
		weir_json_str(j, "origin", origins[r->origin]);
		weir_json_str(j, "iface", r->iface[0] ? r->iface : NULL);
		weir_json_uint(j, "count", r->packets);
		if (r->role != WEIR_COUNTER_SHOWN || r->def->reasons)
			weir_json_uint(j, "in_rows", r->also);
		weir_json_uint(j, "more", r->counted);
		weir_json_end_object(j);
	}
	for (size_t i = 0; i < v->now->n_rules; i++) {
		uint64_t n = weir_drops_rule_since(&v->now->rules[i], v->first);

		if (!n)
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "name", v->now->rules[i].name);
		weir_json_str(j, "origin",
			      origins[v->now->rules[i].fault ? WEIR_DROPS_FAULT : WEIR_DROPS_OWN]);
		weir_json_uint(j, "count", n);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

/* Connections, and no packets: in no sum. */
static void json_refused(struct weir_json *j, const struct weir_drops_view *v)
{
	weir_json_array(j, "refused_connections");
	for (size_t i = 0; i < v->now->n_refused; i++) {
		const struct weir_drops_refusal *r = &v->now->refused[i];
		uint64_t n = weir_drops_refused_since(v->now, v->first, i);

		if (!n)
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "verb", "proxy");
		weir_json_str(j, "reason", r->word);
		weir_json_uint(j, "count", n);
		weir_json_str(j, "advice", r->sentence);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_pressure(struct weir_json *j, const struct weir_drops_ledger *l)
{
	weir_json_array(j, "pressure");
	for (size_t i = 0; i < l->n; i++) {
		if (l->v[i].role != WEIR_COUNTER_PRESSURE)
			continue;
		weir_json_object(j, NULL);
		weir_json_str(j, "name", l->v[i].reason);
		weir_json_uint(j, "count", l->v[i].packets);
		weir_json_str(j, "advice", l->v[i].advice);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

void weir_drops_json_account(struct weir_json *j, const struct weir_drops_account *a)
{
	const struct {
		const char *reason;
		uint64_t n;
	} lost[] = {
		{ "rows", a->lost_rows },
		{ "flows", a->lost_flows },
		{ "ring", a->lost_ring },
		{ "missed", a->missed },
	};

	weir_json_object(j, "account");
	weir_json_uint(j, "seen", a->seen);
	weir_json_uint(j, "elsewhere", a->elsewhere);
	weir_json_uint(j, "local", a->local);
	weir_json_uint(j, "unmatched", a->unmatched);
	weir_json_uint(j, "matched", a->matched);
	weir_json_object(j, "lost");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(lost); i++)
		if (lost[i].n)
			weir_json_uint(j, lost[i].reason, lost[i].n);
	weir_json_end_object(j);
	weir_json_end_object(j);
}

void weir_drops_show_json(const struct weir_drops_view *v, struct weir_buf *out)
{
	struct weir_drops_account a;
	struct weir_json j;

	weir_drops_account(v->now, v->first, &a);
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_time(&j, "ts", weir_clock_real());
	weir_json_str(&j, "verb", "drops");
	weir_json_uint(&j, "duration_ns", v->now->at - v->first->at);
	json_rows(&j, "rows", v->whole, true);
	weir_json_uint(&j, "dropped", v->whole->lost);
	json_rows(&j, "freed", v->whole, false);
	json_views(&j, v);
	json_refused(&j, v);
	json_pressure(&j, v->whole);
	weir_drops_rings_json(v->scope, &j);
	if (v->scope->flows) {
		weir_drops_flows_json(v, true, "flows", &j);
		weir_drops_flows_json(v, false, "freed_flows", &j);
	}
	if (v->balance)
		weir_drops_balance_json(v->balance, &j);
	weir_drops_json_account(&j, &a);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}
