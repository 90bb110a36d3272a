/* SPDX-License-Identifier: GPL-2.0-only */
/* The road of one run as metrics. What counts is a gauge: each run counts from its own start. */
#include <stdio.h>

#include "base/clock.h"
#include "base/prom.h"
#include "cap/path/session.h"

#define LABELS 3 /* cpu, stage, and the end */
#define CPU_WORD_MAX 12

/* Bounds are powers of two, at each of which one of our buckets begins. */
#define BOUND_LOW 6   /* 64 ns */
#define BOUND_HIGH 33 /* 8.6 s */

struct row {
	const struct weir_path_figures *figures;
	char cpu[CPU_WORD_MAX]; /* "": of all */
};

static void label(const struct row *r, enum weir_path_stage s, struct weir_prom_label *ret)
{
	size_t n = 0;

	if (r->cpu[0])
		ret[n++] = (struct weir_prom_label){ "cpu", r->cpu };
	ret[n++] = (struct weir_prom_label){ "stage", weir_path_stage_name(s) };
	ret[n] = (struct weir_prom_label){ NULL, NULL };
}

typedef void print_fn(const struct weir_prom *p, const char *name,
		      const struct weir_prom_label *labels, const struct weir_path_sum *s);

static void print_count(const struct weir_prom *p, const char *name,
			const struct weir_prom_label *labels, const struct weir_path_sum *s)
{
	weir_prom_value(p, name, labels, s->count);
}

static void print_max(const struct weir_prom *p, const char *name,
		      const struct weir_prom_label *labels, const struct weir_path_sum *s)
{
	weir_prom_value(p, name, labels, s->max);
}

static void print_times(const struct weir_prom *p, const char *name,
			const struct weir_prom_label *labels, const struct weir_path_sum *s)
{
	uint64_t below = 0;
	unsigned int i = 0;

	for (int bound = BOUND_LOW; bound <= BOUND_HIGH; bound++) {
		while (i < WEIR_PATH_BUCKETS && weir_path_bucket_low(i) < 1ULL << bound)
			below += s->bucket[i++];
		weir_prom_bucket_of(p, name, labels, (double)(1ULL << bound) / WEIR_NSEC_PER_SEC,
				    below);
	}
	while (i < WEIR_PATH_BUCKETS)
		below += s->bucket[i++];
	/* The buckets are read while they grow: they, not `samples`, are what is summed. */
	weir_prom_histogram_end_of(p, name, labels, (double)s->total / WEIR_NSEC_PER_SEC, below);
}

static const struct {
	const char *name, *type, *help;
	bool timed; /* only stages whose time is known */
	print_fn *print;
} metrics[] = {
	{ "stage_events", "gauge", "What came to the stage while packets were followed.", false,
	  print_count },
	{ "stage_seconds", "histogram", "Time since the stage before.", true, print_times },
	{ "stage_max_nanoseconds", "gauge", "The longest of these times.", true, print_max },
};

/* Of all rows, the stages that are there. With @p NULL only counts them. */
static size_t print_metric(const struct weir_path_view *v, size_t m, const struct weir_prom *p,
			   const struct row *r)
{
	size_t n = 0;

	for (int i = 0; i < WEIR_PATH_STAGES_MAX; i++) {
		enum weir_path_stage s = (enum weir_path_stage)i;
		struct weir_prom_label labels[LABELS];

		if (!weir_path_stage_is_there(v, r->figures, s) ||
		    (metrics[m].timed && !r->figures->stage[s].samples))
			continue;
		n++;
		label(r, s, labels);
		if (p)
			metrics[m].print(p, metrics[m].name, labels, &r->figures->stage[s]);
	}
	return n;
}

static void print_stages(const struct weir_path_view *v, const struct weir_prom *p,
			 const struct weir_path_figures *figures, unsigned int n, bool by_cpu)
{
	for (size_t m = 0; m < sizeof(metrics) / sizeof(*metrics); m++) {
		bool headed = false;

		for (unsigned int i = 0; i < n; i++) {
			struct row r = { .figures = &figures[i] };

			/* A CPU that no packet came to has no row, as in the picture. */
			if (by_cpu && !weir_path_has_figures(&figures[i]))
				continue;
			if (by_cpu)
				snprintf(r.cpu, sizeof(r.cpu), "%u", i);
			if (!print_metric(v, m, NULL, &r))
				continue;
			if (!headed)
				weir_prom_head(p, metrics[m].name, metrics[m].type,
					       metrics[m].help);
			headed = true;
			print_metric(v, m, p, &r);
		}
	}
}

static void print_lost(const struct weir_prom *p, const struct weir_path_account *a)
{
	weir_prom_head(p, "lost", "gauge", "What could not be followed, by reason.");
	for (int i = 0; i < WEIR_PATH_LOST_MAX; i++)
		weir_prom_value(p, "lost",
				(struct weir_prom_label[]){
					{ "reason", weir_path_lost_name((enum weir_path_lost)i) },
					{ NULL, NULL } },
				a->lost[i]);
}

static void print_rings(const struct weir_path_view *v, const struct weir_prom *p)
{
	bool headed = false;

	if (v->n_nics)
		weir_prom_head(p, "ring_descriptors", "gauge",
			       "Size of the interface's receive ring.");
	for (size_t i = 0; i < v->n_nics; i++)
		weir_prom_value(p, "ring_descriptors",
				(struct weir_prom_label[]){ { "iface", v->nics[i].name },
							    { NULL, NULL } },
				v->nics[i].rx);
	for (size_t i = 0; i < v->n_nics; i++) {
		if (!v->nics[i].knows_fill)
			continue;
		if (!headed)
			weir_prom_head(p, "ring_filled", "gauge",
				       "Of these, those that the card cannot fill at the moment.");
		headed = true;
		weir_prom_value(p, "ring_filled",
				(struct weir_prom_label[]){ { "iface", v->nics[i].name },
							    { NULL, NULL } },
				v->nics[i].filled);
	}
}

void weir_path_prometheus(const struct weir_path_view *v, const struct weir_path_figures *sum,
			  const struct weir_path_figures *cpus, unsigned int n,
			  struct weir_buf *out)
{
	const struct weir_path_account *a = &sum->account;
	const struct weir_prom p = { out, "path" };

	weir_prom_one(&p, "run_nanoseconds", "gauge", "How long the run took.", v->ns);
	weir_prom_one(&p, "followed_nanoseconds", "gauge",
		      "Of this, how long packets were followed: what the stages are of.",
		      v->rested ? weir_path_slice_ns(v->path) : v->ns);
	weir_prom_one(&p, "seen", "gauge", "Packets that came to the stack in the run.", a->seen);
	weir_prom_one(&p, "unmatched", "gauge", "Of them, those that do not match.", a->unmatched);
	weir_prom_one(&p, "sampled_out", "gauge", "Of them, those that were not looked at.",
		      a->sampled_out);
	weir_prom_one(&p, "matched", "gauge", "Of them, those that were followed.", a->matched);
	weir_prom_one(&p, "polled_packets", "gauge", "What the stage poll's polls brought.",
		      a->poll_packets);
	print_lost(&p, a);
	print_stages(v, &p, cpus ? cpus : sum, cpus ? n : 1, cpus != NULL);
	print_rings(v, &p);
}
