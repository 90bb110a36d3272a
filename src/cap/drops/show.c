/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "base/units.h"
#include "bpf/parse.bpf.h"
#include "cap/drops/ring.h"
#include "match/words.h"

const char *weir_drops_protocol(uint16_t eth_type, uint8_t proto, char *buf, size_t size)
{
	const struct weir_name *name = NULL;

	buf[0] = '\0';
	if (eth_type != WEIR_ETH_IP4 && eth_type != WEIR_ETH_IP6) {
		name = eth_type ? weir_name_of(weir_words_ether, eth_type) : NULL;
		if (name)
			snprintf(buf, size, "%s", name->name);
		else if (eth_type)
			snprintf(buf, size, "0x%04x", eth_type);
		return buf;
	}
	name = weir_name_of(weir_words_proto, proto);
	if (name)
		snprintf(buf, size, "%s", name->name);
	else
		snprintf(buf, size, "%u", proto);
	return buf;
}

void weir_drops_account(const struct weir_drops_look *now, const struct weir_drops_look *first,
			struct weir_drops_account *ret)
{
	const struct weir_drops_counters *n = &now->account, *f = &first->account;

	*ret = (struct weir_drops_account){
		.seen = n->seen - f->seen,
		.elsewhere = n->elsewhere - f->elsewhere,
		.local = n->local - f->local,
		.unmatched = n->unmatched - f->unmatched,
		.matched = n->matched - f->matched,
		.sent = n->sent - f->sent,
		.lost_rows = n->lost[WEIR_DROPS_LOST_ROWS] - f->lost[WEIR_DROPS_LOST_ROWS],
		.lost_flows = n->lost[WEIR_DROPS_LOST_FLOWS] - f->lost[WEIR_DROPS_LOST_FLOWS],
		.lost_ring = n->lost[WEIR_DROPS_LOST_RING] - f->lost[WEIR_DROPS_LOST_RING],
		.missed = now->missed - first->missed,
	};
}

/* ---- Rows that differ in nothing that is shown become one */

static bool alike(const struct weir_drops_row *a, const struct weir_drops_row *b,
		  enum weir_drops_by by)
{
	if (a->stage != b->stage || a->kind != b->kind || a->harmless != b->harmless ||
	    strcmp(a->reason, b->reason) != 0)
		return false;
	if (by == WEIR_DROPS_BY_REASON)
		return true;
	if (strcmp(a->function, b->function) != 0)
		return false;
	return by == WEIR_DROPS_BY_FUNCTION || strcmp(a->iface, b->iface) == 0;
}

struct merged {
	struct weir_drops_row *v;
	size_t n;
};

static int by_count(const void *a, const void *b)
{
	const struct weir_drops_row *x = a, *y = b;

	return (x->counted < y->counted) - (x->counted > y->counted);
}

/* Those of @l that are losses (@loss) or were only freed, and count. */
static bool merge(const struct weir_drops_ledger *l, enum weir_drops_by by, bool loss,
		  struct merged *ret)
{
	ret->n = 0;
	ret->v = calloc(l->n + 1, sizeof(*ret->v));
	for (size_t i = 0; ret->v && i < l->n; i++) {
		size_t at = 0;

		if (!l->v[i].counted || weir_drops_is_loss(&l->v[i]) != loss)
			continue;
		while (at < ret->n && !alike(&ret->v[at], &l->v[i], by))
			at++;
		if (at == ret->n) {
			ret->v[ret->n++] = l->v[i];
			continue;
		}
		ret->v[at].counted += l->v[i].counted;
		ret->v[at].bytes += l->v[i].bytes;
	}
	/* By place and by reason the rows stay in the road's order. */
	if (ret->n && by == WEIR_DROPS_BY_FUNCTION)
		qsort(ret->v, ret->n, sizeof(*ret->v), by_count);
	return ret->v != NULL;
}

/* ---- Text */

static void add_grouped(struct weir_table *t, uint64_t n)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, n);
	weir_table_add(t, text.data);
}

static double seconds(const struct weir_drops_look *now, const struct weir_drops_look *before)
{
	return before->at && now->at > before->at ?
		       (double)(now->at - before->at) / (double)WEIR_NSEC_PER_SEC :
		       0;
}

static void add_rate(struct weir_table *t, const struct weir_drops_view *v, uint64_t n)
{
	weir_autobuf struct weir_buf text = { 0 };
	double time = seconds(v->now, v->before);

	if (time > 0)
		weir_buf_add_si(&text, (double)n / time);
	weir_table_add(t, text.data);
}

static uint64_t recent_of(const struct weir_drops_view *v, const struct weir_drops_row *row)
{
	uint64_t n = 0;

	for (size_t i = 0; i < v->recent->n; i++)
		if (alike(&v->recent->v[i], row, v->by))
			n += v->recent->v[i].counted;
	return n;
}

static void table_rows(const struct weir_drops_view *v, bool loss, struct weir_buf *out)
{
	static const char *const head[] = { "STAGE", "REASON",	   "FUNCTION", "INTERFACE",
					    "COUNT", "PER SECOND", "ADVICE" };
	weir_autotable struct weir_table t;
	struct merged m;

	if (!merge(v->whole, v->by, loss, &m)) {
		out->failed = true;
		return;
	}
	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < m.n; i++) {
		const struct weir_drops_row *r = &m.v[i];

		weir_table_add(&t, weir_drops_stages[r->stage]);
		weir_table_add(&t, r->reason);
		weir_table_add(&t, v->by == WEIR_DROPS_BY_REASON ? "" : r->function);
		weir_table_add(&t, v->by == WEIR_DROPS_BY_PLACE ? r->iface : "");
		add_grouped(&t, r->counted);
		add_rate(&t, v, recent_of(v, r));
		weir_table_add(&t, r->advice);
	}
	weir_table_render(&t, 0, out);
	free(m.v);
}

static bool is_other_view(const struct weir_drops_row *r)
{
	return r->role != WEIR_COUNTER_PRESSURE && r->counted < r->packets;
}

/* The same packets as other counters have them, and signs of pressure. */
static void table_views(const struct weir_drops_view *v, struct weir_buf *out)
{
	static const char *const head[] = { "ALSO COUNTED BY", "INTERFACE", "COUNT",
					    "OF IT ABOVE",     "MORE",	    "WHAT" };
	const struct weir_drops_ledger *l = v->whole;
	weir_autotable struct weir_table t;
	size_t n = 0;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < l->n; i++) {
		const struct weir_drops_row *r = &l->v[i];
		weir_autobuf struct weir_buf name = { 0 };

		if (!is_other_view(r))
			continue;
		weir_buf_adds(&name, r->reason);
		if (r->function[0])
			weir_buf_addf(&name, " (%s)", r->function);
		weir_table_add(&t, name.data);
		weir_table_add(&t, r->iface);
		add_grouped(&t, r->packets);
		if (r->role == WEIR_COUNTER_SHOWN && !r->def->reasons)
			weir_table_add(&t, "");
		else
			add_grouped(&t, r->also);
		add_grouped(&t, r->counted);
		weir_table_add(&t, r->advice);
		n++;
	}
	for (size_t i = 0; i < v->now->n_rules; i++) {
		const struct weir_drops_own_rule *r = &v->now->rules[i];
		uint64_t hits = weir_drops_rule_since(r, v->first);

		if (!hits)
			continue;
		weir_table_add(&t, r->name);
		weir_table_add(&t, "");
		add_grouped(&t, hits);
		weir_table_add(&t, "");
		weir_table_add(&t, "");
		weir_table_add(&t, weir_drops_rule_advice(r));
		n++;
	}
	if (!n)
		return;
	weir_buf_addc(out, '\n');
	weir_table_render(&t, 0, out);
}

static void text_refused(const struct weir_drops_view *v, struct weir_buf *out)
{
	for (size_t i = 0; i < v->now->n_refused; i++) {
		const struct weir_drops_refusal *r = &v->now->refused[i];
		uint64_t n = weir_drops_refused_since(v->now, v->first, i);

		if (!n)
			continue;
		weir_buf_adds(out, "Refused by weir's proxy: ");
		weir_buf_add_grouped(out, n);
		weir_buf_addf(out, " connection%s, %s (%s)\n", n == 1 ? "" : "s", r->word,
			      r->sentence);
	}
}

static void text_pressure(const struct weir_drops_view *v, struct weir_buf *out)
{
	for (size_t i = 0; i < v->whole->n; i++) {
		const struct weir_drops_row *r = &v->whole->v[i];

		if (r->role != WEIR_COUNTER_PRESSURE)
			continue;
		weir_buf_addf(out, "Pressure: %s ", r->reason);
		weir_buf_add_grouped(out, r->packets);
		weir_buf_addf(out, " (%s)\n", r->advice);
	}
}

static void text_account(const struct weir_drops_view *v, struct weir_buf *out)
{
	struct weir_drops_account a;
	uint64_t lost;

	weir_drops_account(v->now, v->first, &a);
	lost = a.lost_rows + a.lost_flows + a.lost_ring + a.missed;
	weir_buf_addf(out, "Freed by the kernel: ");
	weir_buf_add_grouped(out, a.seen);
	weir_buf_addf(out,
		      "; of other namespaces %llu, messages that are no packets %llu, not "
		      "matched %llu, told here %llu, lost by weir %llu\n",
		      (unsigned long long)a.elsewhere, (unsigned long long)a.local,
		      (unsigned long long)a.unmatched, (unsigned long long)a.matched,
		      (unsigned long long)lost);
}

void weir_drops_show_text(const struct weir_drops_view *v, struct weir_buf *out)
{
	const struct weir_drops_ledger *l = v->whole;

	bool flows = v->by == WEIR_DROPS_BY_FLOW;
	uint64_t of_flows = 0;

	if (flows)
		of_flows = weir_drops_flows_text(v, true, out);
	else if (l->lost)
		table_rows(v, true, out);
	weir_buf_adds(out, l->lost ? "Lost: " : "Nothing was lost: ");
	weir_buf_add_grouped(out, l->lost);
	weir_buf_adds(out, l->lost == 1 ? " packet" : " packets");
	weir_buf_addf(out, " in %.1f s", seconds(v->now, v->first));
	if (flows && l->lost > of_flows)
		weir_buf_addf(out, "; of %llu no flow is known",
			      (unsigned long long)(l->lost - of_flows));
	weir_buf_addc(out, '\n');
	if (l->freed) {
		weir_buf_adds(out, "\nFreed, but not lost:\n");
		if (flows)
			weir_drops_flows_text(v, false, out);
		else
			table_rows(v, false, out);
	}
	if (!flows)
		table_views(v, out);
	if (v->balance)
		weir_drops_balance_text(v->balance, out);
	weir_buf_addc(out, '\n');
	weir_drops_rings_text(l, out);
	text_refused(v, out);
	text_pressure(v, out);
	text_account(v, out);
	if (v->words->symbols.hidden)
		weir_buf_adds(out, "Functions are shown as addresses: their names need CAP_SYSLOG, "
				   "or kernel.kptr_restrict=0\n");
}

/* ---- Lines: what was lost since the look before */

void weir_drops_show_lines(const struct weir_drops_view *v, struct weir_buf *out)
{
	struct merged m;

	if (!v->before->at)
		return;
	if (!merge(v->recent, v->by, true, &m)) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < m.n; i++) {
		const struct weir_drops_row *r = &m.v[i];

		weir_buf_add_clock(out, weir_clock_real());
		weir_buf_addf(out, " %s %s", weir_drops_stages[r->stage], r->reason);
		if (r->function[0] && v->by != WEIR_DROPS_BY_REASON)
			weir_buf_addf(out, " %s", r->function);
		if (r->iface[0] && v->by == WEIR_DROPS_BY_PLACE)
			weir_buf_addf(out, " on %s", r->iface);
		weir_buf_adds(out, ": ");
		weir_buf_add_grouped(out, r->counted);
		weir_buf_adds(out, r->counted == 1 ? " packet\n" : " packets\n");
	}
	free(m.v);
}

/* ---- One event a packet */

static void event_line(const struct weir_drops_event *e, const struct weir_drops_row *r,
		       const char *protocol, struct weir_buf *out)
{
	weir_buf_addf(out, " %s %s %s", weir_drops_stages[r->stage], r->reason, r->function);
	if (r->iface[0])
		weir_buf_addf(out, " on %s", r->iface);
	weir_buf_addf(out, ": %s", protocol[0] ? protocol : "packet");
	if (weir_drops_has_ends(e->pkt.src, e->pkt.dst)) {
		weir_buf_addc(out, ' ');
		weir_buf_add_end(out, e->pkt.src, e->pkt.sport);
		weir_buf_adds(out, " > ");
		weir_buf_add_end(out, e->pkt.dst, e->pkt.dport);
	}
	weir_buf_addf(out, ", %u bytes", e->pkt.len);
	if (!weir_drops_is_loss(r))
		weir_buf_addf(out, " (not lost: %s)", r->advice);
	weir_buf_addc(out, '\n');
}

static void event_json(const struct weir_drops_event *e, const struct weir_drops_row *r,
		       const char *protocol, uint64_t ts, struct weir_buf *out)
{
	struct weir_json j;
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr a;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_time(&j, "ts", ts);
	weir_json_str(&j, "stage", weir_drops_stages[r->stage]);
	weir_json_str(&j, "reason", r->reason);
	weir_json_str(&j, "function", r->function);
	weir_json_str(&j, "iface", r->iface[0] ? r->iface : NULL);
	weir_json_str(&j, "protocol", protocol[0] ? protocol : NULL);
	if (weir_drops_has_ends(e->pkt.src, e->pkt.dst)) {
		memcpy(a.b, e->pkt.src, sizeof(a.b));
		weir_json_str(&j, "src_ip", weir_addr_str(&a, text));
		if (e->pkt.flags & WEIR_PKT_PORTS)
			weir_json_uint(&j, "src_port", e->pkt.sport);
		memcpy(a.b, e->pkt.dst, sizeof(a.b));
		weir_json_str(&j, "dst_ip", weir_addr_str(&a, text));
		if (e->pkt.flags & WEIR_PKT_PORTS)
			weir_json_uint(&j, "dst_port", e->pkt.dport);
	}
	if (e->pkt.len)
		weir_json_uint(&j, "packet_size", e->pkt.len);
	if (e->key.netns)
		weir_json_uint(&j, "netns", e->key.netns);
	weir_json_bool(&j, "lost", weir_drops_is_loss(r));
	weir_json_str(&j, "advice", r->advice);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

void weir_drops_show_event(const struct weir_drops_event *e, uint64_t ts,
			   const struct weir_drops_scope *scope,
			   const struct weir_drops_words *words, bool json, struct weir_buf *out)
{
	char protocol[16];
	struct weir_drops_row r;

	weir_drops_row_of(&r, &e->key, scope, words);
	weir_drops_protocol(e->key.eth_type, e->key.proto, protocol, sizeof(protocol));
	if (json) {
		event_json(e, &r, protocol, ts, out);
		return;
	}
	weir_buf_add_clock(out, ts);
	event_line(e, &r, protocol, out);
}
