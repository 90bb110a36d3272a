/* SPDX-License-Identifier: GPL-2.0-only */
/* The full-screen view of --flows: when it is drawn, and what the keys do. */
#include "cap/watch/observe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/watch/session.h"
#include "cap/watch/top_model.h"
#include "cap/watch/top_screen.h"

/* A picture that took long to make is followed by a pause this many times as long: with a
 * million flows, too, all pictures together take some hundredths of one CPU. */
#define REST_FACTOR 24
#define PACKETS_KEPT 1024
#define PACKET_BYTES 328 /* what a line shows, with a VLAN tag put back */

struct packet { /* of the followed flow */
	struct weir_watch_event ev;
	uint8_t data[PACKET_BYTES];
};

struct top {
	struct weir_watch *w;
	struct weir_screen *screen;
	struct weir_top model;
	uint64_t due;	 /* CLOCK_MONOTONIC: not before */
	bool dirty;	 /* there is something to draw */
	bool help, asks; /* what stands on the screen */
	char input[WEIR_TOP_INPUT];
	struct weir_error error; /* of the input */
	uint64_t packets, bytes; /* at the last period, and the rates since */
	double packet_rate, bit_rate;
	bool alarm;
	struct weir_buf title, where, note;
	/* packets of one flow */
	struct weir_flow_key flow;
	bool follows;
	struct packet *kept;	     /* a ring of PACKETS_KEPT */
	size_t n_kept, oldest, came; /* came: since the last look */
	uint64_t shown, missed, missed_before;
	struct weir_formatter formatter;
	struct weir_buf line;
};

static bool wanted(const struct weir_watch_options *o)
{
	return o->flows && !o->once && !o->read_file && !o->json && !o->count_only &&
	       (o->format < 0 || o->format == WEIR_FORMAT_LINE) && weir_screen_possible();
}

static int top_open(struct weir_watch *w, void **ret, struct weir_error *err)
{
	struct top *v = calloc(1, sizeof(*v));
	int code;

	if (!v)
		return weir_fail(err, -ENOMEM, "out of memory");
	*ret = v;
	v->w = w;
	v->formatter =
		(struct weir_formatter){ .format = WEIR_FORMAT_LINE, .numeric = w->opt.numeric };
	v->kept = calloc(PACKETS_KEPT, sizeof(*v->kept));
	if (!v->kept || weir_top_init(&v->model, w))
		return weir_fail(err, -ENOMEM, "out of memory");
	code = weir_screen_new(&v->screen, w->opt.colour == 1, err);
	if (code == -ENOTSUP) {
		fprintf(stderr,
			"weir watch: %s: the table comes at the end, with Ctrl-C or --for\n",
			err->msg);
		return 0;
	}
	w->full_screen = !code;
	return code;
}

static int top_close(void *state, struct weir_error *err)
{
	struct top *v = state;

	(void)err;
	if (v->screen) {
		weir_screen_end(v->screen);
		weir_screen_free(v->screen);
	}
	weir_top_free(&v->model);
	weir_buf_free(&v->title);
	weir_buf_free(&v->where);
	weir_buf_free(&v->note);
	weir_buf_free(&v->line);
	free(v->kept);
	free(v);
	return 0;
}

/* --- packets of one flow -------------------------------------------------------- */

static void keep_packet(void *arg, const struct weir_packet *p)
{
	struct top *v = arg;
	struct weir_flow_key k = { 0 };
	struct packet *to;
	size_t n;

	weir_flow_key_of(&p->hdr, weir_watch_one_point(v->w) ? 0 : p->ev.ifindex,
			 weir_flow_src_is_a(&p->hdr), &k);
	if (!v->follows || memcmp(&k, &v->flow, sizeof(k)))
		return;
	if (v->n_kept == PACKETS_KEPT)
		v->oldest = (v->oldest + 1) % PACKETS_KEPT;
	else
		v->n_kept++;
	to = &v->kept[(v->oldest + v->n_kept - 1) % PACKETS_KEPT];
	n = p->ev.caplen < PACKET_BYTES ? p->ev.caplen : PACKET_BYTES;
	to->ev = p->ev;
	to->ev.caplen = (uint32_t)n;
	memcpy(to->data, p->data, n);
	v->came++;
	v->shown++;
}

/* In the kernel they wait for this look; in user space top_packet() has them. */
static void look_for_packets(struct top *v)
{
	if (v->w->mode == WEIR_WATCH_FLOWS)
		v->missed = weir_bpf_followed(v->w, keep_packet, v) - v->missed_before;
	weir_top_packets(&v->model, v->n_kept, v->came);
	v->came = 0;
}

static void top_packet(void *state, const struct weir_packet *p)
{
	struct top *v = state;

	if (!v->follows)
		return;
	if (v->model.paused)
		v->missed++;
	else
		keep_packet(v, p);
}

static void follow(struct top *v, const struct weir_flow_key *k)
{
	bool kernel = v->w->mode == WEIR_WATCH_FLOWS;

	if (v->follows && kernel)
		weir_bpf_follow(v->w, NULL);
	v->follows = false;
	if (kernel) /* what is left of another one */
		v->missed_before = weir_bpf_followed(v->w, keep_packet, v);
	v->n_kept = v->oldest = v->came = 0;
	v->shown = v->missed = 0;
	if (!k)
		return;
	v->flow = *k;
	v->follows = true;
	if (kernel)
		weir_bpf_follow(v->w, k);
}

/* The level may have changed: packets are asked for only while they are looked at. */
static void settle_follow(struct top *v)
{
	bool looks = v->model.level == WEIR_TOP_PACKETS;

	if (looks != v->follows)
		follow(v, looks ? &v->model.place[WEIR_TOP_PACKETS].of.flow.key : NULL);
}

static const char *packet_line(void *arg, size_t i)
{
	struct top *v = arg;
	struct packet *from = &v->kept[(v->oldest + i) % PACKETS_KEPT];
	struct weir_packet p;

	weir_sink_unpack(&v->w->sinks[0], &from->ev, from->data, &p);
	weir_buf_reset(&v->line);
	weir_format_packet(&v->formatter, &p, &v->line);
	if (!v->line.data || v->line.failed)
		return "";
	v->line.data[strcspn(v->line.data, "\n")] = '\0';
	return v->line.data;
}

/* --- what is drawn ---------------------------------------------------------------- */

static void add_si(struct weir_buf *out, const char *before, double n, const char *after)
{
	weir_buf_adds(out, before);
	weir_buf_add_si(out, n);
	weir_buf_adds(out, after);
}

static void write_title(struct top *v)
{
	const struct weir_watch *w = v->w;
	struct weir_buf *out = &v->title;
	uint64_t lost = weir_account_lost(v->w);

	weir_buf_reset(out);
	for (unsigned int i = 0; !w->any && i < w->n_ifaces; i++)
		weir_buf_addf(out, "%s%s", i ? "," : "", w->ifaces[i].name);
	if (w->any)
		weir_buf_adds(out, "any");
	weir_buf_addf(out, ": %zu flow%s", w->flows->used, w->flows->used == 1 ? "" : "s");
	weir_buf_addf(out, "  lost %llu", (unsigned long long)lost);
	add_si(out, "  ", (double)w->flows->packets, " pkts");
	add_si(out, "  ", (double)w->flows->bytes, "B");
	add_si(out, "  ", v->packet_rate, " pkts/s");
	add_si(out, "  ", v->bit_rate, "bit/s");
	v->alarm = lost;
}

static void write_where(struct top *v)
{
	const struct weir_top *t = &v->model;
	struct weir_buf *out = &v->where;
	weir_autobuf struct weir_buf filter = { 0 };

	weir_buf_reset(out);
	if (t->level == WEIR_TOP_ROWS)
		weir_buf_addf(out, "by %s", weir_groupings[t->by].name);
	else
		weir_top_row_name(t, t->level == WEIR_TOP_FLOWS ? t->by : WEIR_BY_FLOW,
				  &t->place[t->level].of, out);
	if (t->level == WEIR_TOP_PACKETS) {
		weir_buf_addf(out, ": %llu packets", (unsigned long long)v->shown);
		if (v->missed)
			weir_buf_addf(out, ", and %llu that came too fast to be shown",
				      (unsigned long long)v->missed);
		return;
	}
	weir_buf_addf(out, "%s, order: %s%s", t->level == WEIR_TOP_FLOWS ? ": its flows" : "",
		      weir_top_sorts[t->sort], t->reverse ? ", reversed" : "");
	weir_top_filter_text(t, &filter);
	if (filter.len)
		weir_buf_addf(out, ", filter: %s", filter.data);
}

static void write_note(struct top *v)
{
	const struct weir_top *t = &v->model;
	struct weir_buf *out = &v->note;

	weir_buf_reset(out);
	if (v->help) {
		weir_buf_adds(out, "any key: back");
		return;
	}
	weir_buf_addf(out, "%s%zu/%zu  ", t->paused ? "PAUSED  " : "",
		      t->total ? t->place[t->level].cursor + 1 : 0, t->total);
	weir_buf_adds(out, "q quit  ? help  space pause");
	if (t->level != WEIR_TOP_PACKETS)
		weir_buf_adds(out, "  / filter  b by  s order  Enter open");
	if (t->level != WEIR_TOP_ROWS)
		weir_buf_adds(out, "  Esc back");
}

static const char *const help[] = {
	"  Up Down PgUp PgDn Home End   move (also k j g G)",
	"  Enter Right                  a row's flows; a flow's packets",
	"  Esc Left Backspace           back",
	"  b                            the next grouping; or at once:",
	"  1 2 3 4                      by flow, host, port, protocol",
	"  5 6                          by process, cgroup (with --owners)",
	"  7 8                          by sni, domain (with --names)",
	"  s                            the next order; or at once:",
	"  B R P F A N                  bytes, rate, packets, flows, age, name",
	"  r                            the other way round",
	"  /                            filter; empty: none",
	"      src net 10.0.0.0/8 and tcp   an expression, of flows (src: who began)",
	"      example or \"two words\"       text in the row",
	"  space                        pause: the rows stay, counting goes on",
	"  ? h                          this page",
	"  q Ctrl-C                     quit",
	NULL,
};

static void draw(struct top *v)
{
	struct weir_view view = {
		.top = &v->model,
		.help = v->help ? help : NULL,
		.prompt = v->asks ? v->input : NULL,
		.error = v->error.msg[0] ? v->error.msg : NULL,
		.packet = packet_line,
		.arg = v,
	};

	v->dirty = true;
	if (!weir_screen_ready(v->screen))
		return;
	write_title(v);
	write_where(v);
	write_note(v);
	view.title = v->title.data;
	view.alarm = v->alarm;
	view.where = v->where.data;
	view.note = v->note.data;
	weir_screen_draw(v->screen, &view);
	v->dirty = false;
}

/* The rows anew; a picture that could not be made leaves the one before. */
static void take(struct top *v)
{
	settle_follow(v);
	if (v->model.level == WEIR_TOP_PACKETS)
		look_for_packets(v);
	else if (weir_top_take(&v->model, weir_clock_real()))
		weir_watch_stop(v->w);
}

static void end_period(struct top *v)
{
	struct weir_flows *f = v->w->flows;
	double seconds;

	weir_flows_period(f);
	seconds = (double)f->period_ns / (double)WEIR_NSEC_PER_SEC;
	v->packet_rate = seconds > 0 ? (double)(f->packets - v->packets) / seconds : 0;
	v->bit_rate = seconds > 0 ? (double)(f->bytes - v->bytes) * 8 / seconds : 0;
	v->packets = f->packets;
	v->bytes = f->bytes;
}

static int top_tick(void *state, uint64_t now, struct weir_error *err)
{
	struct top *v = state;
	uint64_t began = weir_clock_mono();

	(void)now;
	(void)err;
	if (!v->screen || began < v->due || !weir_screen_ready(v->screen))
		return 0;
	end_period(v);
	if (!v->model.paused)
		take(v);
	draw(v);
	v->due = began + (weir_clock_mono() - began) * REST_FACTOR;
	return 0;
}

static int top_start(void *state, struct weir_error *err)
{
	struct top *v = state;
	int ret;

	if (!v->screen)
		return 0;
	ret = weir_screen_begin(v->screen, err);
	if (ret)
		return ret;
	weir_top_resize(&v->model, weir_screen_page(v->screen));
	take(v);
	draw(v);
	return 0;
}

/* --- keys ------------------------------------------------------------------------- */

/* Each returns whether the rows must be taken anew. */

static bool do_quit(struct top *v, long arg)
{
	(void)arg;
	weir_watch_stop(v->w);
	return false;
}

static bool do_help(struct top *v, long arg)
{
	(void)arg;
	v->help = true;
	return false;
}

static bool do_pause(struct top *v, long arg)
{
	(void)arg;
	v->model.paused = !v->model.paused;
	return !v->model.paused;
}

static bool do_move(struct top *v, long by)
{
	return weir_top_move(&v->model, by);
}

static bool do_page(struct top *v, long by)
{
	return weir_top_move(&v->model, by * (long)v->model.page);
}

static bool do_enter(struct top *v, long arg)
{
	(void)arg;
	return weir_top_enter(&v->model);
}

static bool do_back(struct top *v, long arg)
{
	(void)arg;
	return weir_top_back(&v->model);
}

static bool do_next_group(struct top *v, long arg)
{
	enum weir_by by = v->model.by;

	(void)arg;
	do
		by = (enum weir_by)((by + 1) % WEIR_BY_MAX);
	while (!weir_by_possible(v->w, by));
	return weir_top_group(&v->model, by);
}

static bool do_group(struct top *v, long by)
{
	return weir_by_possible(v->w, (enum weir_by)by) &&
	       weir_top_group(&v->model, (enum weir_by)by);
}

static bool do_next_order(struct top *v, long arg)
{
	(void)arg;
	v->model.reverse = false;
	return weir_top_order(&v->model,
			      (enum weir_top_sort)((v->model.sort + 1) % WEIR_TOP_SORTS));
}

static bool do_order(struct top *v, long sort)
{
	return weir_top_order(&v->model, (enum weir_top_sort)sort);
}

static bool do_reverse(struct top *v, long arg)
{
	(void)arg;
	v->model.reverse = !v->model.reverse;
	return true;
}

static bool do_ask(struct top *v, long arg)
{
	(void)arg;
	if (v->model.level == WEIR_TOP_PACKETS)
		return false;
	v->asks = true;
	v->error.msg[0] = '\0';
	snprintf(v->input, sizeof(v->input), "%s", v->model.expression);
	return false;
}

#define ALL_ROWS (1L << 40)

static const struct {
	int key;
	bool (*act)(struct top *v, long arg);
	long arg;
} actions[] = {
	{ 'q', do_quit, 0 },
	{ '?', do_help, 0 },
	{ 'h', do_help, 0 },
	{ ' ', do_pause, 0 },
	{ '/', do_ask, 0 },
	{ WEIR_KEY_UP, do_move, -1 },
	{ 'k', do_move, -1 },
	{ WEIR_KEY_DOWN, do_move, 1 },
	{ 'j', do_move, 1 },
	{ WEIR_KEY_PAGE_UP, do_page, -1 },
	{ WEIR_KEY_PAGE_DOWN, do_page, 1 },
	{ WEIR_KEY_HOME, do_move, -ALL_ROWS },
	{ 'g', do_move, -ALL_ROWS },
	{ WEIR_KEY_END, do_move, ALL_ROWS },
	{ 'G', do_move, ALL_ROWS },
	{ WEIR_KEY_ENTER, do_enter, 0 },
	{ WEIR_KEY_RIGHT, do_enter, 0 },
	{ WEIR_KEY_ESCAPE, do_back, 0 },
	{ WEIR_KEY_LEFT, do_back, 0 },
	{ WEIR_KEY_BACK, do_back, 0 },
	{ 'b', do_next_group, 0 },
	{ '1', do_group, WEIR_BY_FLOW },
	{ '2', do_group, WEIR_BY_HOST },
	{ '3', do_group, WEIR_BY_PORT },
	{ '4', do_group, WEIR_BY_PROTOCOL },
	{ '5', do_group, WEIR_BY_PROCESS },
	{ '6', do_group, WEIR_BY_CGROUP },
	{ '7', do_group, WEIR_BY_SNI },
	{ '8', do_group, WEIR_BY_DOMAIN },
	{ 's', do_next_order, 0 },
	{ 'B', do_order, WEIR_TOP_BYTES },
	{ 'R', do_order, WEIR_TOP_RATE },
	{ 'P', do_order, WEIR_TOP_PKTS },
	{ 'F', do_order, WEIR_TOP_COUNT },
	{ 'A', do_order, WEIR_TOP_AGE },
	{ 'N', do_order, WEIR_TOP_NAME },
	{ 'r', do_reverse, 0 },
};

/* A key of the line that asks for a filter. */
static bool on_input(struct top *v, int key)
{
	size_t n = strlen(v->input);

	v->error.msg[0] = '\0';
	switch (key) {
	case WEIR_KEY_ENTER:
		if (weir_top_filter(&v->model, v->input, &v->error))
			return false;
		v->asks = false;
		return true;
	case WEIR_KEY_ESCAPE:
		v->asks = false;
		return false;
	case WEIR_KEY_CLEAR:
		v->input[0] = '\0';
		return false;
	case WEIR_KEY_BACK:
		/* A character of several bytes goes whole. */
		while (n && (v->input[n - 1] & 0xc0) == 0x80)
			n--;
		v->input[n ? n - 1 : 0] = '\0';
		return false;
	default:
		if (key >= ' ' && key < 256 && n + 1 < sizeof(v->input)) {
			v->input[n] = (char)key;
			v->input[n + 1] = '\0';
		}
		return false;
	}
}

static bool on_key(struct top *v, int key)
{
	if (v->help) {
		v->help = false;
		return false;
	}
	if (v->asks)
		return on_input(v, key);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(actions); i++)
		if (actions[i].key == key)
			return actions[i].act(v, actions[i].arg);
	return false;
}

static int top_fd(void *state)
{
	const struct top *v = state;

	return v->screen ? weir_screen_fd(v->screen) : -1;
}

static void top_ready(void *state)
{
	struct top *v = state;
	bool changed, anew = false;
	int key;

	if (!weir_screen_turn(v->screen, &changed)) {
		weir_watch_stop(v->w);
		return;
	}
	if (changed)
		anew = weir_top_resize(&v->model, weir_screen_page(v->screen));
	if (anew)
		take(v);
	while ((key = weir_screen_key(v->screen)) != WEIR_KEY_NONE) {
		changed = true;
		if (on_key(v, key)) /* the next key is of what this one brings */
			take(v);
	}
	if (changed || v->dirty)
		draw(v);
}

const struct weir_observer weir_observer_top = {
	.name = "top",
	.wanted = wanted,
	.open = top_open,
	.start = top_start,
	.packet = top_packet,
	.tick = top_tick,
	.fd = top_fd,
	.ready = top_ready,
	.close = top_close,
};
