/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir path`: from the words of the command line to a run. */
#include "cap/path/cmd.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/live.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/path/session.h"

#define EVERY_NS (500 * 1000 * 1000ULL)
#define ONCE_NS WEIR_NSEC_PER_SEC /* what one picture is made of, if nothing else is said */
/* One slice in so many as packets' times are taken. */
#define SLICE_NS (25 * 1000 * 1000ULL)
#define QUIET_PPS 10000LL
#define SLICE_PACKETS (QUIET_PPS * (int64_t)SLICE_NS / (int64_t)WEIR_NSEC_PER_SEC)
#define BURST (QUIET_PPS / 4) /* packets at once on a quiet host, which are followed all the same */
#define REST_MAX_NS (10 * WEIR_NSEC_PER_SEC)
/* Packets on their way are followed a little further, so that slow readers show too. */
#define LINGER_NS (5 * 1000 * 1000ULL)
#define LINGER_MAX_NS (200 * 1000 * 1000ULL)
#define NICS_MAX 8
#define SAMPLE_DEFAULT 32
#define SAMPLE_MAX (1 << 20)

struct options {
	struct weir_match_spec spec;
	const char *iface, *sample;
	uint64_t for_ns, journeys, slower_than;
	bool cpu, once, json, prometheus, fail_on_loss;
};

#define AT(field) offsetof(struct options, field)

static const struct weir_opt options[] = {
	{ "protocol", 0, WEIR_OPT_STR, AT(spec.protocol), "LIST", .group = "Which packets",
	  .help = "tcp, udp, ip, ip6, ..., a number, or all" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(spec.src_ip), "LIST",
	  .help = "source address or prefix; commas separate alternatives" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(spec.dst_ip), "LIST", .help = "destination likewise" },
	{ "src-port", 0, WEIR_OPT_STR, AT(spec.src_port), "LIST",
	  .help = "source port, range (8000-8999) or service name" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(spec.dst_port), "LIST", .help = "destination likewise" },
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE",
	  .help = "that come in here (default: all of this network namespace)",
	  .complete = "iface" },
	{ "sample", 0, WEIR_OPT_STR, AT(sample), "1/N",
	  .help = "busy hosts: follow packets for one slice of time in N (default: "
		  "1/32; with journeys all)" },

	{ "for", 0, WEIR_OPT_DURATION, AT(for_ns), "TIME", .group = "What it shows",
	  .min = 1, .help = "end after this time (10s, 5m)" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once), .help = "one picture at the end, of --for or 1s" },
	{ "cpu", 0, WEIR_OPT_FLAG, AT(cpu), .help = "a road for each CPU" },
	{ "journeys", 0, WEIR_OPT_U64, AT(journeys), "N", .min = 1, .max = 1000000,
	  .help = "print N single packets with the time of each stage, then end" },
	{ "slower-than", 0, WEIR_OPT_DURATION, AT(slower_than), "TIME",
	  .min = 1,
	  .help = "print single packets, only those whose whole way took longer" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },
	{ "prometheus", 0, WEIR_OPT_FLAG, AT(prometheus),
	  .help = "metrics at the end, of --for or 1s" },
	{ "fail-on-loss", 0, WEIR_OPT_FLAG, AT(fail_on_loss),
	  .help = "exit status 3 where something could not be followed" },
	{ 0 },
};

struct run {
	const struct options *opt;
	struct weir_path *path;
	struct weir_path_view view;
	uint32_t ifindex;
	struct weir_path_nic nics[NICS_MAX];
	struct weir_path_figures *cpus, sum;
	struct weir_live live;
	struct weir_buf out;
	uint64_t begun, printed;
	int64_t offset;
	enum weir_path_phase phase;
	uint64_t lingered; /* ns */
	uint64_t seen;	   /* packets, at the last slice's end */
	int64_t credit;	   /* packets that may come in a burst */
	uint64_t shown;	   /* when */
};

static bool prints_journeys(const struct options *o)
{
	return o->journeys || o->slower_than;
}

/* "1/16", or "16". */
static int parse_sample(const struct options *o, uint32_t *ret, struct weir_error *err)
{
	const char *text = o->sample;
	uint64_t n;

	*ret = prints_journeys(o) ? 1 : SAMPLE_DEFAULT;
	if (!text)
		return 0;
	if (!strncmp(text, "1/", 2))
		text += 2;
	if (weir_parse_u64(text, 1, SAMPLE_MAX, &n))
		return weir_fail(err, -EINVAL,
				 "--sample \"%s\" is not a share: write 1/16 for one packet in 16",
				 o->sample);
	*ret = (uint32_t)n;
	return 0;
}

static int check_options(const struct options *o, struct weir_error *err)
{
	if (o->prometheus && (o->json || prints_journeys(o)))
		return weir_fail(err, -EINVAL, "--prometheus does not go with %s: leave one out",
				 o->json     ? "--json" :
				 o->journeys ? "--journeys" :
					       "--slower-than");
	return 0;
}

static int read_match(struct options *o, const struct weir_strv *words, struct weir_buf *text,
		      struct weir_match **ret, struct weir_error *err)
{
	for (unsigned int i = 0; i < words->n; i++)
		weir_buf_addf(text, "%s%s", i ? " " : "", words->v[i]);
	if (text->failed)
		return weir_fail(err, -ENOMEM, "out of memory");
	o->spec.expression = text->data;
	return weir_match_parse(&o->spec, ret, err);
}

static int find_interface(const struct options *o, uint32_t *ret, struct weir_error *err)
{
	*ret = o->iface ? if_nametoindex(o->iface) : 0;
	if (o->iface && !*ret)
		return weir_fail(err, -ENODEV, "no interface %s: `ip link` lists them", o->iface);
	return 0;
}

static int on_journey(void *arg, const struct weir_path_journey *j)
{
	struct run *r = arg;

	if (r->opt->journeys && r->printed == r->opt->journeys)
		return -ECANCELED;
	if (r->opt->json)
		weir_path_journey_json(j, r->offset, &r->out);
	else
		weir_path_journey_text(j, r->offset, &r->out);
	r->printed++;
	return 0;
}

static int read_figures(struct run *r, struct weir_error *err)
{
	int ret = weir_path_read(r->path, r->cpus, err);

	if (ret)
		return ret;
	memset(&r->sum, 0, sizeof(r->sum));
	for (unsigned int i = 0; i < weir_path_cpus(r->path); i++)
		weir_path_add(&r->sum, &r->cpus[i]);
	r->sum.account.lost[WEIR_PATH_LOST_MISSED] = weir_path_missed(r->path);
	r->view.ns = weir_clock_mono() - r->begun;
	return 0;
}

static void add_text(struct run *r)
{
	/* Where no CPU saw anything, that is what is shown. */
	if (!r->opt->cpu || !weir_path_has_figures(&r->sum)) {
		weir_path_draw(&r->view, &r->sum, -1, &r->out);
		return;
	}
	for (unsigned int i = 0; i < weir_path_cpus(r->path); i++)
		if (weir_path_has_figures(&r->cpus[i]))
			weir_path_draw(&r->view, &r->cpus[i], (int)i, &r->out);
}

static void json_cpus(struct run *r, struct weir_json *j)
{
	weir_json_array(j, "cpus");
	for (unsigned int i = 0; i < weir_path_cpus(r->path); i++) {
		if (!weir_path_has_figures(&r->cpus[i]))
			continue;
		weir_json_object(j, NULL);
		weir_json_uint(j, "cpu", i);
		weir_path_json(&r->view, &r->cpus[i], j);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_rings(struct run *r, struct weir_json *j)
{
	weir_json_array(j, "rings");
	for (size_t i = 0; i < r->view.n_nics; i++) {
		weir_json_object(j, NULL);
		weir_json_str(j, "iface", r->nics[i].name);
		weir_json_uint(j, "rx", r->nics[i].rx);
		weir_json_uint(j, "rx_max", r->nics[i].rx_max);
		if (r->nics[i].knows_fill)
			weir_json_uint(j, "filled", r->nics[i].filled);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void add_json(struct run *r)
{
	struct weir_json j;

	weir_json_init(&j, &r->out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verb", "path");
	weir_json_str(&j, "iface", r->opt->iface);
	weir_json_uint(&j, "duration_ns", r->view.ns);
	weir_json_uint(&j, "sample", r->view.sample);
	if (r->view.slices)
		weir_json_uint(&j, "slices_ns", weir_path_slice_ns(r->path));
	weir_path_json(&r->view, &r->sum, &j);
	if (r->view.n_nics)
		json_rings(r, &j);
	if (r->opt->cpu)
		json_cpus(r, &j);
	weir_json_end_object(&j);
	weir_buf_addc(&r->out, '\n');
}

/* The road as it is now. */
static int show(struct run *r, struct weir_error *err)
{
	int ret = read_figures(r, err);

	if (ret)
		return ret;
	r->view.n_nics = weir_path_nics(r->ifindex, r->nics, NICS_MAX);
	if (r->opt->json)
		add_json(r);
	else if (r->opt->prometheus)
		weir_path_prometheus(&r->view, &r->sum, r->opt->cpu ? r->cpus : NULL,
				     weir_path_cpus(r->path), &r->out);
	else
		add_text(r);
	return weir_live_show(&r->live, &r->out, err);
}

static int enter(struct run *r, enum weir_path_phase phase, uint64_t ns, struct weir_error *err)
{
	r->phase = phase;
	r->live.every = ns;
	r->live.next = weir_clock_mono() + ns;
	return weir_path_slice(r->path, phase, err);
}

/* Packets since the last look. */
static int64_t count_new(struct run *r)
{
	uint64_t before = r->seen;

	if (!read_figures(r, NULL))
		r->seen = r->sum.account.seen;
	return (int64_t)(r->seen - before);
}

/* So few packets in the slice that is over, or in a burst after quiet ones, that to follow
 * all of them costs next to nothing? */
static bool is_quiet(struct run *r)
{
	bool quiet;

	r->credit += SLICE_PACKETS - count_new(r);
	quiet = r->credit >= 0;
	r->credit = r->credit < 0 ? 0 : r->credit > BURST ? BURST : r->credit;
	return quiet;
}

/* The next phase. */
static int turn(struct run *r, struct weir_error *err)
{
	uint64_t rest = SLICE_NS * (r->view.sample - 1);

	if (!r->view.slices)
		return 0;
	if (r->phase == WEIR_PATH_REST) {
		count_new(r);
		return enter(r, WEIR_PATH_FOLLOW, SLICE_NS, err);
	}
	if (r->phase == WEIR_PATH_FOLLOW) {
		r->lingered = 0;
		if (is_quiet(r)) {
			r->live.next = weir_clock_mono() + SLICE_NS;
			return 0;
		}
		r->view.rested = true;
		return enter(r, WEIR_PATH_LINGER, LINGER_NS, err);
	}
	r->lingered += LINGER_NS;
	if (weir_path_outstanding(r->path) && r->lingered < LINGER_MAX_NS) {
		r->live.next = weir_clock_mono() + LINGER_NS;
		return 0;
	}
	return enter(r, WEIR_PATH_REST, rest < REST_MAX_NS ? rest : REST_MAX_NS, err);
}

/* Until the end; the last picture is the caller's. */
static int follow(struct run *r, struct weir_error *err)
{
	enum weir_live_event ev;
	int ret = 0;

	while (!ret && (ev = weir_live_wait(&r->live, weir_path_fd(r->path))) != WEIR_LIVE_END) {
		if (ev == WEIR_LIVE_LOOK)
			ret = turn(r, err);
		if (ret)
			break;
		if (prints_journeys(r->opt)) {
			ret = weir_path_consume(r->path, err);
			ret = ret > 0 ? 0 : ret;
			if (r->out.len && (!ret || ret == -ECANCELED)) {
				int shown = weir_live_show(&r->live, &r->out, err);

				ret = shown ? shown : ret;
			}
			if (r->opt->journeys && r->printed == r->opt->journeys)
				break;
		} else if (r->live.screen && weir_clock_mono() - r->shown >= EVERY_NS) {
			ret = show(r, err);
			r->shown = weir_clock_mono();
		}
	}
	return ret == -ECANCELED ? 0 : ret;
}

static int run_with(struct run *r, const struct weir_path_options *o, struct weir_error *err)
{
	const struct options *opt = r->opt;
	bool once = opt->once || opt->prometheus;
	bool screen = isatty(STDOUT_FILENO) && !opt->json && !once && !prints_journeys(opt);
	uint64_t for_ns = opt->for_ns ? opt->for_ns : once ? ONCE_NS : 0;
	int ret = weir_path_open(&r->path, o, on_journey, r, err);

	if (ret)
		return ret;
	r->begun = weir_clock_mono();
	r->cpus = calloc(weir_path_cpus(r->path), sizeof(*r->cpus));
	if (!r->cpus)
		return weir_fail(err, -ENOMEM, "out of memory");
	r->view.path = r->path;
	r->view.nics = r->nics;
	r->ifindex = o->ifindex;
	r->view.sample = o->sample;
	r->view.slices = o->slices;
	r->offset = weir_clock_offset();
	ret = weir_live_open(&r->live, screen, EVERY_NS, for_ns, err);
	if (ret)
		return ret;
	ret = turn(r, err);
	if (!ret && !screen)
		fprintf(stderr, "weir path: following packets; Ctrl-C ends it\n");
	if (!ret)
		ret = follow(r, err);
	if (r->view.slices)
		weir_path_slice(r->path, WEIR_PATH_REST, NULL);
	weir_path_detach(r->path);
	if (!ret && prints_journeys(opt))
		ret = weir_path_consume(r->path, err);
	ret = ret > 0 || ret == -ECANCELED ? 0 : ret;
	if (!ret)
		ret = show(r, err);
	weir_live_close(&r->live);
	return ret == -EPIPE ? 0 : ret;
}

static int run(int argc, char **argv)
{
	weir_cleanup(weir_match_freep) struct weir_match *match = NULL;
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_path_options o = { 0 };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	struct options opt = { 0 };
	struct run r = { .opt = &opt, .phase = WEIR_PATH_REST, .credit = BURST };
	int ret = weir_verb_parse(&weir_path_verb, argc, argv, &opt, &words, WEIR_STRV_MAX);

	if (ret)
		return ret;
	ret = check_options(&opt, &err);
	if (!ret)
		ret = parse_sample(&opt, &o.sample, &err);
	if (!ret)
		ret = read_match(&opt, &words, &text, &match, &err);
	if (!ret)
		ret = find_interface(&opt, &o.ifindex, &err);
	if (ret)
		return weir_verb_fail("path", &err, WEIR_EXIT_USAGE);
	o.match = match;
	o.journeys = prints_journeys(&opt);
	o.slices = o.sample > 1 && !o.journeys;
	o.slower_than = opt.slower_than;
	ret = run_with(&r, &o, &err);
	weir_path_close(r.path);
	free(r.cpus);
	weir_buf_free(&r.out);
	if (ret)
		return weir_verb_fail("path", &err, WEIR_EXIT_FAILED);
	return opt.fail_on_loss && weir_path_lost(&r.sum) ? WEIR_EXIT_LOSS : WEIR_EXIT_DONE;
}

static const char details[] =
	"A stage's time is what has passed since the stage before; - where this kernel or device\n"
	"has no such stage. EXPRESSION is tcpdump-like, see weir-match(7).";

const struct weir_verb weir_path_verb = {
	.name = "path",
	.group = "See",
	.summary = "where packets spend their time on the way to their reader",
	.synopsis = "[OPTIONS] [EXPRESSION]",
	.options = options,
	.details = details,
	.run = run,
};
