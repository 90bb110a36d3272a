/* SPDX-License-Identifier: GPL-2.0-only */
/* The road, drawn from top to bottom, and the same as JSON. */
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/path/session.h"

/* The picture of a histogram: a mark for each power of two, the same axis in every row, so
 * that what lies further right is slower. */
#define AXIS_LOW 6   /* 64 ns and less */
#define AXIS_HIGH 31 /* 2 s and more */
#define AXIS_TICK 10 /* 64 ns, 64 us, 64 ms: what is written above it */
#define MARKS (AXIS_HIGH - AXIS_LOW + 1)

#define TITLE_WIDTH 26
#define CELL_WIDTH 9

static const struct {
	const char *name, *title, *since;
	bool by_device; /* not every device has it: without a count it is not there */
} stages[] = {
#define DEVICE_IRQ true
#define DEVICE_BACKLOG true
#define DEVICE_RAISE true
#define DEVICE_RUN true
#define DEVICE_POLL true
#define DEVICE_GRO true
#define DEVICE_STACK false
#define DEVICE_TCP false
#define DEVICE_QUEUE false
#define DEVICE_WAKE false
#define DEVICE_COPY false
#define X(id, name, title, since) [WEIR_PATH_##id] = { #name, title, since, DEVICE_##id },
	WEIR_PATH_STAGES(X)
#undef X
};

static const struct {
	const char *name, *text;
} losses[] = {
#define X(id, name, text) [WEIR_PATH_LOST_##id] = { #name, text },
	WEIR_PATH_LOST(X)
#undef X
};

const char *weir_path_stage_name(enum weir_path_stage s)
{
	return stages[s].name;
}

const char *weir_path_stage_title(enum weir_path_stage s)
{
	return stages[s].title;
}

const char *weir_path_lost_name(enum weir_path_lost l)
{
	return losses[l].name;
}

uint64_t weir_path_lost(const struct weir_path_figures *f)
{
	uint64_t sum = 0;

	for (int i = 0; i < WEIR_PATH_LOST_MAX; i++)
		sum += f->account.lost[i];
	return sum;
}

bool weir_path_stage_is_there(const struct weir_path_view *v, const struct weir_path_figures *f,
			      enum weir_path_stage s)
{
	return weir_path_knows(v->path, s) && (f->stage[s].count || !stages[s].by_device);
}

/* A cell, to the right, of @chars that the eye sees. */
static void add_cell(struct weir_buf *out, const char *text, size_t chars)
{
	for (size_t n = chars; n < CELL_WIDTH; n++)
		weir_buf_addc(out, ' ');
	weir_buf_adds(out, text);
}

static void add_none(struct weir_buf *out)
{
	add_cell(out, "–", 1);
}

static void add_time(struct weir_buf *out, const struct weir_path_sum *s, uint64_t ns)
{
	weir_autobuf struct weir_buf text = { 0 };

	if (!s->samples) {
		add_none(out);
		return;
	}
	weir_buf_add_duration(&text, ns);
	if (!text.failed)
		add_cell(out, text.data, text.len);
}

static void add_marks(struct weir_buf *out, const struct weir_path_sum *s)
{
	static const char *const marks[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	uint64_t sums[MARKS] = { 0 }, most = 0;

	for (unsigned int i = 0; i < WEIR_PATH_BUCKETS; i++) {
		uint64_t low = weir_path_bucket_low(i);
		int at = 63 - __builtin_clzll(low | 1) - AXIS_LOW;

		at = at < 0 ? 0 : at >= MARKS ? MARKS - 1 : at;
		sums[at] += s->bucket[i];
		most = sums[at] > most ? sums[at] : most;
	}
	if (!most)
		return;
	weir_buf_adds(out, "  ");
	for (int i = 0; i < MARKS; i++)
		weir_buf_adds(out, sums[i] ? marks[sums[i] * 7 / most] : " ");
}

static void add_title(struct weir_buf *out, const char *mark, const char *title)
{
	weir_buf_addf(out, "%s %-*s", mark, TITLE_WIDTH, title);
}

static void draw_stage(const struct weir_path_view *v, const struct weir_path_figures *f, int s,
		       struct weir_buf *out)
{
	const struct weir_path_sum *sum = &f->stage[s];
	weir_autobuf struct weir_buf count = { 0 };
	const char *mark = s + 1 == WEIR_PATH_STAGES_MAX ? "▼" : "│";

	add_title(out, mark, stages[s].title);
	if (!weir_path_stage_is_there(v, f, (enum weir_path_stage)s)) {
		for (int i = 0; i < 4; i++)
			add_none(out);
		weir_buf_addc(out, '\n');
		return;
	}
	weir_buf_add_grouped(&count, sum->count);
	if (!count.failed)
		add_cell(out, count.data, count.len);
	add_time(out, sum, weir_path_quantile(sum, 0.5));
	add_time(out, sum, weir_path_quantile(sum, 0.99));
	add_time(out, sum, sum->max);
	add_marks(out, sum);
	weir_buf_addc(out, '\n');
}

static void draw_head(const struct weir_path_view *v, struct weir_buf *out)
{
	/* What is of slices of time must not be taken for all there was. */
	const char *const cells[] = { v->rested ? "SAMPLED" : "COUNT", "P50", "P99", "MAX" };
	weir_autobuf struct weir_buf axis = { 0 };

	add_title(out, " ", "STAGE");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cells); i++)
		add_cell(out, cells[i], strlen(cells[i]));
	for (int i = 0; i < MARKS; i += AXIS_TICK) {
		while (axis.len < (size_t)i)
			weir_buf_addc(&axis, ' ');
		weir_buf_add_duration(&axis, 1ULL << (AXIS_LOW + i));
	}
	weir_buf_addf(out, "  %s\n", axis.failed ? "" : axis.data);
}

static void draw_ring(const struct weir_path_nic *nic, struct weir_buf *out)
{
	weir_buf_addf(out, "receive ring of %s: %u of at most %u descriptors, ", nic->name, nic->rx,
		      nic->rx_max);
	if (nic->knows_fill)
		weir_buf_addf(out, "%u hold packets or wait to be refilled\n", nic->filled);
	else
		weir_buf_adds(out, "fill –\n");
}

/* What the counts above are of. */
static void draw_share(const struct weir_path_view *v, struct weir_buf *out)
{
	if (v->rested) {
		weir_buf_adds(out, "the stages are of ");
		weir_buf_add_duration(out, weir_path_slice_ns(v->path));
		weir_buf_adds(out, " of ");
		weir_buf_add_duration(out, v->ns);
		weir_buf_adds(out, " only, taken in slices; --sample 1/1 follows every packet\n");
	} else if (!v->slices && v->sample > 1) {
		weir_buf_addf(out, "times are of one packet in %u\n", v->sample);
	}
}

static void draw_notes(const struct weir_path_view *v, const struct weir_path_figures *f,
		       struct weir_buf *out)
{
	const struct weir_path_account *a = &f->account;
	const struct weir_path_sum *poll = &f->stage[WEIR_PATH_POLL];

	if (poll->count)
		weir_buf_addf(out, "packets per poll: %.1f\n",
			      (double)a->poll_packets / (double)poll->count);
	for (size_t i = 0; i < v->n_nics; i++)
		draw_ring(&v->nics[i], out);
	weir_buf_adds(out, "seen ");
	weir_buf_add_grouped(out, a->seen);
	weir_buf_adds(out, " = matched ");
	weir_buf_add_grouped(out, a->matched);
	weir_buf_adds(out, " + unmatched ");
	weir_buf_add_grouped(out, a->unmatched);
	weir_buf_adds(out, " + sampled out ");
	weir_buf_add_grouped(out, a->sampled_out);
	weir_buf_addc(out, '\n');
	draw_share(v, out);
	for (int i = 0; i < WEIR_PATH_LOST_MAX; i++)
		if (a->lost[i])
			weir_buf_addf(out, "lost %llu: %s\n", (unsigned long long)a->lost[i],
				      losses[i].text);
}

void weir_path_draw(const struct weir_path_view *v, const struct weir_path_figures *f, int cpu,
		    struct weir_buf *out)
{
	if (cpu >= 0)
		weir_buf_addf(out, "cpu %d\n", cpu);
	draw_head(v, out);
	for (int s = 0; s < WEIR_PATH_STAGES_MAX; s++)
		draw_stage(v, f, s, out);
	draw_notes(v, f, out);
}

static void json_stage(const struct weir_path_figures *f, int s, struct weir_json *j)
{
	const struct weir_path_sum *sum = &f->stage[s];

	weir_json_object(j, NULL);
	weir_json_str(j, "name", stages[s].name);
	weir_json_str(j, "since", stages[s].since[0] ? stages[s].since : NULL);
	weir_json_uint(j, "count", sum->count);
	if (sum->samples) {
		weir_json_uint(j, "samples", sum->samples);
		weir_json_uint(j, "p50_ns", weir_path_quantile(sum, 0.5));
		weir_json_uint(j, "p99_ns", weir_path_quantile(sum, 0.99));
		weir_json_uint(j, "max_ns", sum->max);
		weir_json_uint(j, "total_ns", sum->total);
	}
	weir_json_end_object(j);
}

void weir_path_json(const struct weir_path_view *v, const struct weir_path_figures *f,
		    struct weir_json *j)
{
	const struct weir_path_account *a = &f->account;
	const struct weir_path_sum *poll = &f->stage[WEIR_PATH_POLL];

	weir_json_array(j, "stages");
	for (int s = 0; s < WEIR_PATH_STAGES_MAX; s++)
		if (weir_path_stage_is_there(v, f, (enum weir_path_stage)s))
			json_stage(f, s, j);
	weir_json_end_array(j);
	if (poll->count)
		weir_json_double(j, "packets_per_poll",
				 (double)a->poll_packets / (double)poll->count);
	weir_json_uint(j, "seen", a->seen);
	weir_json_uint(j, "unmatched", a->unmatched);
	weir_json_uint(j, "sampled_out", a->sampled_out);
	weir_json_uint(j, "matched", a->matched);
	weir_json_uint(j, "journeys", a->journeys);
	weir_json_object(j, "lost");
	for (int i = 0; i < WEIR_PATH_LOST_MAX; i++)
		if (a->lost[i])
			weir_json_uint(j, losses[i].name, a->lost[i]);
	weir_json_end_object(j);
}
