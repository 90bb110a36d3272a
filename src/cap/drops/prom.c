/* SPDX-License-Identifier: GPL-2.0-only */
/* The ledger of one run as metrics. They are gauges: each run counts from its own start. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/prom.h"
#include "cap/drops/show.h"

/* Stages and reasons are as many as the kernel has, and weir rules; nothing that a peer
 * chooses is a label. Of what is beyond this, the least, there is one sum. */
#define SERIES_MAX 100

struct series {
	const char *stage, *reason;
	uint64_t packets;
};

static int by_packets(const void *a, const void *b)
{
	const struct series *x = a, *y = b;

	return (x->packets < y->packets) - (x->packets > y->packets);
}

/* Rows of the same stage and reason as one, the greatest first; how many there are. */
static size_t sum_up(const struct weir_drops_ledger *l, struct series *v)
{
	size_t n = 0;

	for (size_t i = 0; i < l->n; i++) {
		const struct weir_drops_row *r = &l->v[i];
		const char *stage = weir_drops_stages[r->stage];
		size_t at = 0;

		if (!r->counted || !weir_drops_is_loss(r) || r->role == WEIR_COUNTER_PRESSURE)
			continue;
		while (at < n && (v[at].stage != stage || strcmp(v[at].reason, r->reason) != 0))
			at++;
		if (at == n)
			v[n++] = (struct series){ stage, r->reason, 0 };
		v[at].packets += r->counted;
	}
	if (n)
		qsort(v, n, sizeof(*v), by_packets);
	return n;
}

static void print_rows(const struct weir_prom *p, const struct weir_drops_ledger *l)
{
	weir_autofree struct series *v = calloc(l->n + 1, sizeof(*v));
	size_t n = v ? sum_up(l, v) : 0;

	if (!v)
		p->out->failed = true; /* told when it is to be written */
	if (!n)
		return;
	for (size_t i = SERIES_MAX; i < n; i++)
		v[SERIES_MAX - 1].packets += v[i].packets;
	if (n > SERIES_MAX) {
		n = SERIES_MAX;
		v[n - 1].stage = v[n - 1].reason = "other";
	}
	weir_prom_head(p, "packets", "gauge", "Packets lost in the run, by stage and reason.");
	for (size_t i = 0; i < n; i++)
		weir_prom_value(p, "packets",
				(struct weir_prom_label[]){ { "stage", v[i].stage },
							    { "reason", v[i].reason },
							    { NULL, NULL } },
				v[i].packets);
}

void weir_drops_show_prometheus(const struct weir_drops_view *view, struct weir_buf *out)
{
	const struct weir_prom p = { out, "drops" };
	struct weir_drops_account a;

	weir_drops_account(view->now, view->first, &a);
	weir_prom_one(&p, "run_nanoseconds", "gauge", "How long the run took.",
		      view->now->at - view->first->at);
	weir_prom_one(&p, "lost", "gauge", "Packets lost in the run, of all stages and reasons.",
		      view->whole->lost);
	weir_prom_one(&p, "freed", "gauge", "Packets freed in the run that were not lost.",
		      view->whole->freed);
	weir_prom_one(&p, "untold", "gauge", "Drops of the run that weir itself could not keep.",
		      a.lost_rows + a.lost_flows + a.lost_ring + a.missed);
	print_rows(&p, view->whole);
}
