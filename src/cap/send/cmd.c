/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/send/cmd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/send/send.h"

#define AT(field) offsetof(struct weir_send_options, field)

#define BEHIND_MAX WEIR_NSEC_PER_SEC /* more than this late is never made up for */
#define TELL_EVERY (WEIR_NSEC_PER_SEC / 2)

static const char *const sockets[] = { "raw", "dgram", NULL };

static const struct weir_opt options[] = {
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE", .group = "What and where",
	  .help = "the interface that the packets leave by", .complete = "iface" },
	{ "read", 'r', WEIR_OPT_STR, AT(read_file), "FILE",
	  .help = "the packets of a capture, in place of PACKET; - is standard input",
	  .complete = "file" },
	{ "count", 'c', WEIR_OPT_U64, AT(count), "N", .min = 1, .max = UINT64_MAX,
	  .help = "packets to send; with -r default all of the file, once" },
	{ "rate", 0, WEIR_OPT_STR, AT(rate), "R",
	  .help = "1000/s or 10mbit (default: the capture's times; PACKET: at once)" },
	{ "socket", 0, WEIR_OPT_CHOICE, AT(socket), "KIND", .choices = sockets,
	  .help = "raw: with the packet's Ethernet header; dgram: the kernel writes it" },
	{ "eth-dst", 0, WEIR_OPT_STR, AT(eth_dst), "MAC",
	  .help = "to whom (default: the next hop's; of a capture: its own)" },
	{ "eth-src", 0, WEIR_OPT_STR, AT(eth_src), "MAC",
	  .help = "from whom (default: the interface's; of a capture: its own)" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "the report as JSON" },

	WEIR_CRAFT_OPTIONS(AT(craft)),
	WEIR_CRAFT_OPTION_TTL(AT(craft)),
	{ 0 },
};

static volatile int stopped;

static void on_signal(int signal)
{
	(void)signal;
	stopped = 1;
}

/* Without SA_RESTART: a wait ends. */
static void catch_signals(void)
{
	const struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGHUP, &act, NULL);
}

/* ---- The run */

struct run {
	struct weir_feed feed;
	struct weir_send_link link;
	struct weir_send_account account;
	uint64_t asked; /* 0: all of the file */
	uint64_t start, end, told;
	uint64_t base; /* the clock at which due is 0; moves where it fell behind */
	bool screen;
};

static void wait_until(uint64_t at)
{
	struct timespec t = {
		.tv_sec = (time_t)(at / WEIR_NSEC_PER_SEC),
		.tv_nsec = (long)(at % WEIR_NSEC_PER_SEC),
	};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void tell_progress(struct run *r, uint64_t now)
{
	weir_autobuf struct weir_buf line = { 0 };

	if (!r->screen || now - r->told < TELL_EVERY)
		return;
	r->told = now;
	weir_buf_adds(&line, "\r\033[K");
	weir_buf_add_grouped(&line, r->account.sent);
	if (r->asked) {
		weir_buf_adds(&line, " of ");
		weir_buf_add_grouped(&line, r->asked);
	}
	weir_buf_adds(&line, " packets sent");
	weir_buf_flush(&line, STDERR_FILENO);
}

/* Send what waits, then wait until @due. Falling behind for longer than BEHIND_MAX is not
 * made up for: a pause of the machine would else end in a flood. */
static int pause_for(struct run *r, uint64_t due, struct weir_error *err)
{
	uint64_t now = weir_clock_mono(), at = r->base + due;
	int ret = 0;

	if (at > now || r->link.n == WEIR_SEND_BATCH) {
		ret = weir_send_link_flush(&r->link, &stopped, &r->account, err);
		now = weir_clock_mono();
		tell_progress(r, now);
	}
	while (!ret && !stopped && at > now) {
		uint64_t until = r->screen && at - now > TELL_EVERY ? now + TELL_EVERY : at;

		wait_until(until);
		now = weir_clock_mono();
		tell_progress(r, now);
	}
	if (at + BEHIND_MAX < now)
		r->base = now - due;
	return ret;
}

static int send_all(struct run *r, struct weir_error *err)
{
	uint64_t due;
	int ret = 0;

	r->start = r->base = r->told = weir_clock_mono();
	while (!stopped && (ret = weir_feed_next(&r->feed, &due, err)) > 0) {
		ret = pause_for(r, due, err);
		if (ret)
			break;
		weir_send_link_add(&r->link, &r->feed.packet);
	}
	/* Also behind a broken file: what was read before has been asked for. */
	if (!stopped && r->link.n) {
		int last = weir_send_link_flush(&r->link, &stopped, &r->account, ret ? NULL : err);

		ret = ret ? ret : last;
	}
	r->end = weir_clock_mono();
	return ret;
}

/* ---- The report */

static void report_json(const struct run *r, struct weir_buf *out)
{
	const struct weir_send_account *a = &r->account;
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verb", "send");
	weir_json_str(&j, "iface", r->link.name);
	if (r->asked)
		weir_json_uint(&j, "asked", r->asked);
	weir_json_uint(&j, "sent", a->sent);
	weir_json_uint(&j, "bytes", a->bytes);
	weir_json_object(&j, "failed");
	if (a->too_long)
		weir_json_uint(&j, "too_long", a->too_long);
	weir_json_end_object(&j);
	weir_json_uint(&j, "waited", a->waited);
	weir_json_uint(&j, "duration_ns", r->end - r->start);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void report_text(const struct run *r, struct weir_buf *out)
{
	const struct weir_send_account *a = &r->account;
	double seconds = (double)(r->end - r->start) / (double)WEIR_NSEC_PER_SEC;

	if (r->screen)
		weir_buf_adds(out, "\r\033[K");
	weir_buf_add_grouped(out, a->sent);
	if (r->asked && r->asked != a->sent) {
		weir_buf_adds(out, " of ");
		weir_buf_add_grouped(out, r->asked);
	}
	weir_buf_adds(out, (r->asked ? r->asked : a->sent) == 1 ? " packet, " : " packets, ");
	weir_buf_add_grouped(out, a->bytes);
	weir_buf_addf(out, " bytes sent by %s in ", r->link.name);
	weir_buf_add_duration(out, r->end - r->start);
	if (seconds > 0 && a->sent > 1) {
		weir_buf_adds(out, " (");
		weir_buf_add_si(out, (double)a->sent / seconds);
		weir_buf_adds(out, " packets/s)");
	}
	weir_buf_addc(out, '\n');
	if (a->too_long)
		weir_buf_addf(out, "not sent: %llu longer than the interface takes (MTU %u)\n",
			      (unsigned long long)a->too_long, r->link.mtu);
	if (a->waited)
		weir_buf_addf(out, "waited %llu times for room in the interface's queue\n",
			      (unsigned long long)a->waited);
}

/* A capture's report goes where results go when it is JSON; the text is a summary. */
static int report(const struct run *r, bool json, int status)
{
	weir_autobuf struct weir_buf out = { 0 };

	if (r->account.too_long || (r->asked && r->account.sent != r->asked))
		status = WEIR_EXIT_FAILED;
	if (json) {
		report_json(r, &out);
		return weir_verb_print("send", &out, status);
	}
	report_text(r, &out);
	weir_buf_flush(&out, STDERR_FILENO);
	return status;
}

/* ---- The command */

static int check(const struct weir_send_options *o, const struct weir_strv *words,
		 struct weir_error *err)
{
	bool packet = words->n || o->craft.pcap || o->craft.hex;

	if (!o->iface)
		return weir_fail(err, -EINVAL, "no interface given: say by which with -i IFACE");
	if (!o->read_file && !packet)
		return weir_fail(err, -EINVAL,
				 "nothing to send: describe a PACKET, or give a capture with -r");
	if (o->read_file && packet)
		return weir_fail(err, -EINVAL, "both a PACKET and -r: leave one of them out");
	if (!o->read_file && !o->count)
		return weir_fail(err, -EINVAL, "how many? Give -c N: weir never sends without end");
	if (o->read_file && (o->craft.flags || o->craft.vlan.n || o->craft.ttl != UINT64_MAX ||
			     o->craft.size != UINT64_MAX || o->craft.icmp_type != UINT64_MAX ||
			     o->craft.icmp_code != UINT64_MAX))
		return weir_fail(err, -EINVAL,
				 "the packets of a capture are sent as they are: leave --flags, "
				 "--vlan, --ttl, --size and --icmp-* out");
	if (o->socket == 1 && o->eth_src)
		return weir_fail(err, -EINVAL,
				 "--eth-src does not go with --socket dgram, where the kernel "
				 "writes the Ethernet header: leave one of them out");
	return 0;
}

static int open_run(struct run *r, const struct weir_send_options *o, const struct weir_strv *words,
		    int *status, struct weir_error *err)
{
	int ret = weir_send_link_init(&r->link, o, err);

	*status = WEIR_EXIT_USAGE;
	if (!ret)
		ret = weir_feed_open(&r->feed, o, words, err);
	if (ret != -EINVAL)
		*status = WEIR_EXIT_FAILED;
	if (ret)
		return ret;
	r->asked = o->count;
	r->screen = isatty(STDERR_FILENO);
	ret = weir_send_link_open(&r->link, err);
	if (ret == -ENODEV)
		*status = WEIR_EXIT_USAGE;
	/* A frame of a file or in hexadecimal has its addresses. */
	if (!ret && !o->read_file && !o->craft.hex && !o->craft.pcap)
		ret = weir_send_link_resolve(&r->link, &r->feed.packet, err);
	return ret;
}

static int run(int argc, char **argv)
{
	struct weir_send_options o = { 0 };
	struct weir_strv words = { 0 };
	struct weir_error err = { "" };
	static struct run r; /* a whole packet: too large for some stacks */
	int status, ret;

	weir_craft_opts_init(&o.craft);
	status = weir_verb_parse(&weir_send_verb, argc, argv, &o, &words, WEIR_STRV_MAX);
	if (status)
		return status;
	if (check(&o, &words, &err))
		return weir_verb_fail("send", &err, WEIR_EXIT_USAGE);
	ret = open_run(&r, &o, &words, &status, &err);
	if (!ret) {
		catch_signals();
		ret = send_all(&r, &err);
		status = report(&r, o.json, ret < 0 ? WEIR_EXIT_FAILED : WEIR_EXIT_DONE);
	}
	weir_send_link_close(&r.link);
	weir_feed_close(&r.feed);
	return ret < 0 ? weir_verb_fail("send", &err, status) : status;
}

static const char details[] =
	"PACKET is [tcp|udp|icmp|icmp6|NUMBER] SRC[:PORT] ['->'] DST[:PORT], or --pcap, or --hex:\n"
	"the same words as for \"weir filter test\". Its checksums are right, and without --eth-dst\n"
	"it goes to the next hop that the kernel knows.";

const struct weir_verb weir_send_verb = {
	.name = "send",
	.group = "Control",
	.summary = "send a described packet, or those of a capture",
	.synopsis = "PACKET|-r FILE -i IFACE -c N [OPTIONS]",
	.options = options,
	.details = details,
	.run = run,
};
