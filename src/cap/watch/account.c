/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The account of one run, from the source's own counters and the sink's:
 *   seen    = unmatched + sampled_out + matched
 *   matched = delivered + queued + sum of lost
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/units.h"
#include "cap/watch/session.h"

static const struct {
	const char *name, *text;
} lost_reasons[WEIR_WATCH_LOST_MAX] = {
#define X(id, name, text) [WEIR_WATCH_LOST_##id] = {#name, text},
	WEIR_WATCH_LOST(X)
#undef X
};

static void add_sinks(const struct weir_watch *w, unsigned int slot, struct weir_sink_counts *u)
{
	for (unsigned int i = 0; i < w->n_sinks; i++) {
		const struct weir_sink_counts *c = &w->sinks[i].counts[slot];

		u->consumed += weir_sink_get(&c->consumed);
		u->unmatched += weir_sink_get(&c->unmatched);
		u->sampled_out += weir_sink_get(&c->sampled_out);
		u->delivered += weir_sink_get(&c->delivered);
		u->delivered_bytes += weir_sink_get(&c->delivered_bytes);
		u->self += weir_sink_get(&c->self);
		u->lost += weir_sink_get(&c->lost);
	}
}

void weir_account_get(struct weir_watch *w, unsigned int slot, struct weir_watch_account *a)
{
	uint64_t kernel_lost = 0;

	memset(a, 0, sizeof(*a));
	add_sinks(w, slot, &a->u);
	w->engine->counters(w, slot, &a->k);
	/* Flow records and bare counts are delivered where they are counted. */
	if (w->mode == WEIR_WATCH_FLOWS || w->mode == WEIR_WATCH_COUNT) {
		a->u.consumed = a->u.delivered = a->k.sent;
		a->u.delivered_bytes = a->k.matched_bytes;
		for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
			a->u.delivered_bytes -= a->k.lost_bytes[i];
	}
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++) {
		a->lost_by[i] = a->k.lost[i];
		kernel_lost += a->k.lost[i];
	}
	a->lost_by[WEIR_WATCH_LOST_WRITER] += a->u.lost;
	a->lost = kernel_lost + a->u.lost;
	a->unmatched = a->k.unmatched + a->u.unmatched;
	a->sampled_out = a->k.sampled_out + a->u.sampled_out;
	a->matched = a->k.matched - a->u.unmatched - a->u.sampled_out;
	a->delivered = a->u.delivered;
	a->queued = a->k.sent - a->u.consumed;
	/* While packets flow the counters are read one after the other and may
	 * differ by what arrived in between. */
	if (!w->detached)
		return;
	a->imbalance = (int64_t)(a->k.seen - a->unmatched - a->sampled_out - a->matched);
	if (!a->imbalance)
		a->imbalance = (int64_t)(a->matched - a->delivered - a->queued - a->lost);
}

uint64_t weir_account_lost(struct weir_watch *w)
{
	struct weir_watch_account a;
	uint64_t lost = 0;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		lost += a.lost;
	}
	return lost;
}

const char *weir_account_reason(int why)
{
	return lost_reasons[why].name;
}

static void print_json(const struct weir_watch *w, unsigned int slot,
		       const struct weir_watch_account *a, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verb", "watch");
	weir_json_str(&j, "iface", w->ifaces[slot].name);
	if (w->netns)
		weir_json_uint(&j, "netns", w->netns);
	weir_json_uint(&j, "seen", a->k.seen);
	weir_json_uint(&j, "seen_bytes", a->k.seen_bytes);
	weir_json_uint(&j, "unmatched", a->unmatched);
	weir_json_uint(&j, "sampled_out", a->sampled_out);
	weir_json_uint(&j, "matched", a->matched);
	weir_json_uint(&j, "delivered", a->delivered);
	weir_json_uint(&j, "delivered_bytes", a->u.delivered_bytes);
	weir_json_uint(&j, "queued", a->queued);
	if (a->u.self)
		weir_json_uint(&j, "self", a->u.self);
	weir_json_object(&j, "lost");
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		if (a->lost_by[i])
			weir_json_uint(&j, lost_reasons[i].name, a->lost_by[i]);
	weir_json_end_object(&j);
	weir_json_object(&j, "lost_bytes");
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		if (a->k.lost_bytes[i])
			weir_json_uint(&j, lost_reasons[i].name, a->k.lost_bytes[i]);
	weir_json_end_object(&j);
	weir_json_int(&j, "imbalance", a->imbalance);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void add_count(struct weir_buf *out, const char *before, uint64_t v, const char *after)
{
	weir_buf_adds(out, before);
	weir_buf_add_grouped(out, v);
	weir_buf_adds(out, after);
}

static void print_text(const struct weir_watch *w, unsigned int slot,
		       const struct weir_watch_account *a, struct weir_buf *out)
{
	weir_buf_addf(out, "%s: ", w->ifaces[slot].name);
	add_count(out, "", a->k.seen, " packets seen");
	add_count(out, " = ", a->unmatched, " unmatched");
	if (a->sampled_out)
		add_count(out, " + ", a->sampled_out, " sampled out");
	add_count(out, " + ", a->matched, " matched\n");
	weir_buf_addf(out, "%s: ", w->ifaces[slot].name);
	add_count(out, "", a->matched, " matched");
	add_count(out, " = ", a->delivered, " delivered");
	if (a->queued)
		add_count(out, " + ", a->queued, " queued");
	add_count(out, " + ", a->lost, " lost\n");
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		if (a->lost_by[i]) {
			add_count(out, "  lost ", a->lost_by[i], "");
			weir_buf_addf(out, ": %s: %s\n", lost_reasons[i].name,
				      lost_reasons[i].text);
		}
	if (a->u.self)
		add_count(out, "  of the delivered, ", a->u.self,
			  " were this terminal's own SSH connection: not shown (--self shows "
			  "them)\n");
	if (a->imbalance)
		weir_buf_addf(out, "  imbalance %lld: the counters contradict each other, please "
				   "report this\n",
			      (long long)a->imbalance);
}

void weir_account_print(struct weir_watch *w)
{
	weir_autobuf struct weir_buf out = {0};
	struct weir_watch_account a;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		if (w->opt.stats == 1)
			print_json(w, i, &a, &out);
		else if (a.k.seen || !w->any) /* of all interfaces most are silent */
			print_text(w, i, &a, &out);
	}
	if (w->l7 && w->opt.stats == 1)
		weir_l7_account_json(w, &out);
	else if (w->l7)
		weir_l7_account_text(w, &out);
	weir_buf_flush(&out, 2);
}
