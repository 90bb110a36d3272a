/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir watch`: from the words of the command line to a run.
 */
#include "cap/watch/cmd.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/engines.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/watch/alert.h"
#include "cap/watch/observe.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"
#include "cap/watch/stats.h"
#include "dataplane/gate.h"
#include "dataplane/load.h"
#include "dataplane/probe.h"

#define EXPRESSION_FILE_MAX (1 << 20)
#define DEFAULT_BUFFER (8ULL << 20)
#define DEFAULT_FLOWS 65536
#define LINE_SNAPLEN 320 /* headers with room to spare */
#define TCPDUMP_MB 1000000ULL /* the unit of -C without a suffix */

static const char *const directions[] = {"in", "out", "inout", NULL};
static const char *const points[] = {"one", "all", NULL};
static const char *const places[] = {"kernel", "user", NULL};
static const char *const captures[] = {"auto", "tc", "xdp", "af_packet", "packet", "pcap",
				       "af_xdp",
#ifdef WEIR_DPDK
				       "dpdk",
#endif
				       NULL};
static const char *const xdp_modes[] = {"auto", "native", "generic", NULL};
static const char *const verdicts[] = {"all", "pass", "drop", NULL};
static const char *const fanouts[] = {"hash", "cpu", "lb", NULL};
static const char *const sockets[] = {"raw", "dgram", NULL};
static const char *const transports[] = {"ring", "perf", "mmap", NULL};
static const char *const formats[] = {"line", "hex", "text", "proto", "json", NULL};
static const char *const stats[] = {"text", "json", NULL};
static const char *const colours[] = {"auto", "always", "never", NULL};

#define AT(field) offsetof(struct weir_watch_options, field)

static const struct weir_opt options[] = {
	{ "interface", 'i', WEIR_OPT_LIST, AT(interfaces), "IFACE", .group = "Where",
	  .help = "capture here; repeatable; any: all (default: the default route's interface)",
	  .complete = "iface" },
	{ "points", 0, WEIR_OPT_CHOICE, AT(points), "WHICH", points,
	  .help = "with -i any: look at each packet in one place, or in all (default: one)" },
	{ "netns", 0, WEIR_OPT_STR, AT(netns), "NAME|PATH|PID",
	  .help = "in this network namespace: a name of `ip netns`, a path, or a process" },
	{ "direction", 'Q', WEIR_OPT_CHOICE, AT(direction), "DIR", directions,
	  .help = "packets coming in, going out, or both (default: inout; in on lo)" },
	{ "promisc", 0, WEIR_OPT_FLAG, AT(promisc),
	  .help = "put the interface into promiscuous mode for the time of the run" },
	{ "read-file", 'r', WEIR_OPT_STR, AT(read_file), "FILE",
	  .help = "read a pcap or pcapng file instead", .complete = "file" },

	{ "protocol", 0, WEIR_OPT_STR, AT(spec.protocol), "LIST", .group = "What",
	  .help = "tcp, udp, icmp, icmpv6, arp, sctp, ip, ip6, ..., a number, or all" },
	{ "src-ip", 0, WEIR_OPT_STR, AT(spec.src_ip), "LIST",
	  .help = "source address or prefix; commas separate alternatives" },
	{ "dst-ip", 0, WEIR_OPT_STR, AT(spec.dst_ip), "LIST", .help = "destination likewise" },
	{ "src-port", 0, WEIR_OPT_STR, AT(spec.src_port), "LIST",
	  .help = "source port, range (8000-8999) or service name" },
	{ "dst-port", 0, WEIR_OPT_STR, AT(spec.dst_port), "LIST", .help = "destination likewise" },
	{ NULL, 'F', WEIR_OPT_STR, AT(filter_file), "FILE",
	  .help = "read the expression from a file", .complete = "file" },
	{ "strict-pcap", 0, WEIR_OPT_FLAG, AT(strict_pcap),
	  .help = "give the expression libpcap's own meaning" },
	{ "filter-at", 0, WEIR_OPT_CHOICE, AT(filter_at), "PLACE", places,
	  .help = "where the match runs (default: kernel)" },
	{ "sample", 0, WEIR_OPT_STR, AT(sample_text), "1/N",
	  .help = "keep one flow in N, whole flows" },
	{ "verdict", 0, WEIR_OPT_CHOICE, AT(verdict), "WHICH", verdicts,
	  .help = "at XDP: only packets that pass, or that a filter drops (default: all)" },

	{ "owners", 0, WEIR_OPT_FLAG, AT(owners), .group = "Whose",
	  .help = "tell the process, cgroup and network namespace of local sockets" },
	{ "pid", 0, WEIR_OPT_U64, AT(pid), "N", .min = 1, .max = INT32_MAX,
	  .help = "only what this process sends or gets" },
	{ "comm", 0, WEIR_OPT_STR, AT(comm), "NAME", .help = "only of processes of this name" },
	{ "cgroup", 0, WEIR_OPT_STR, AT(cgroup), "PATH",
	  .help = "only of processes in this cgroup and below", .complete = "file" },

	{ "capture", 0, WEIR_OPT_CHOICE, AT(capture), "ENGINE", captures, .group = "How",
	  .help = "see the table below (default: auto = tc, else a socket filter)" },
	{ "take", 0, WEIR_OPT_FLAG, AT(take),
	  .help = "af_xdp: take packets off an interface that this host itself uses" },
#ifdef WEIR_DPDK
	{ "dpdk-args", 0, WEIR_OPT_STR, AT(dpdk_args), "WORDS",
	  .help = "--capture dpdk: words for DPDK's EAL (\"--no-huge -m 64\"); -i is a port" },
#endif
	{ "xdp-mode", 0, WEIR_OPT_CHOICE, AT(xdp_mode), "MODE", xdp_modes,
	  .help = "how to attach at XDP (default: auto)" },
	{ "transport", 0, WEIR_OPT_CHOICE, AT(transport), "HOW", transports,
	  .help = "how packets reach user space (default: ring; with af_packet mmap)" },
	{ "fanout", 0, WEIR_OPT_U64, AT(fanout), "N", .min = 1, .max = 64,
	  .help = "af_packet: share the packets among N threads" },
	{ "fanout-mode", 0, WEIR_OPT_CHOICE, AT(fanout_mode), "MODE", fanouts,
	  .help = "by flow hash, by CPU, or in turn (default: hash)" },
	{ "socket", 0, WEIR_OPT_CHOICE, AT(socket), "TYPE", sockets,
	  .help = "af_packet: with or without the link-level header (default: raw)" },
	{ "buffer-size", 'B', WEIR_OPT_SIZE, AT(buffer), "SIZE", .min = 4096, .max = 1ULL << 30,
	  .help = "buffer for each CPU or socket (default: 8m)" },
	{ "snapshot-length", 's', WEIR_OPT_U64, AT(snaplen), "BYTES", .max = WEIR_WATCH_SNAPLEN,
	  .help = "capture at most so many bytes of a packet (default: what the format shows)" },

	{ "format", 0, WEIR_OPT_CHOICE, AT(format), "FORMAT", formats, .group = "What it shows",
	  .help = "one line, + hex, + payload text, every field, JSON (default: line)" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "the same as --format json --stats json" },
	{ NULL, 'n', WEIR_OPT_FLAG, AT(numeric), .help = "no names for ports and addresses" },
	{ "names", 0, WEIR_OPT_FLAG, AT(names),
	  .help = "show what packets tell of names: TLS, HTTP, DNS; flows and addresses by them" },
	{ NULL, 'q', WEIR_OPT_FLAG, AT(quiet), .help = "shorter lines" },
	{ NULL, 'e', WEIR_OPT_FLAG, AT(link), .help = "show the link-level header" },
	{ NULL, 'x', WEIR_OPT_COUNT, AT(hex),
	  .help = "hex dump (-xx: with the link-level header)" },
	{ NULL, 'X', WEIR_OPT_COUNT, AT(hex_ascii), .help = "hex and ASCII dump (-XX likewise)" },
	{ NULL, 'A', WEIR_OPT_COUNT, AT(ascii), .help = "ASCII dump (-AA likewise)" },
	{ NULL, 't', WEIR_OPT_COUNT, AT(time),
	  .help = "time: -t none, -tt epoch, -ttt delta, -tttt date, -ttttt since the first" },
	{ "self", 0, WEIR_OPT_FLAG, AT(show_self),
	  .help = "also show this terminal's own SSH connection" },
	{ "color", 0, WEIR_OPT_CHOICE, AT(colour), "WHEN", colours,
	  .help = "colour (default: auto: on a terminal, unless NO_COLOR is set)" },

	{ NULL, 'w', WEIR_OPT_STR, AT(write_file), "FILE", .group = "Files",
	  .help = "write pcapng instead; - is standard output", .complete = "file" },
	{ NULL, 'C', WEIR_OPT_STR, AT(rotate_size_text), "SIZE",
	  .help = "begin a new file after so many million bytes (or 64k, 16m, 1g)" },
	{ NULL, 'G', WEIR_OPT_U64, AT(rotate_seconds), "SECONDS", .min = 1, .max = 31536000,
	  .help = "begin a new file after so long; the name may hold strftime(3) formats" },
	{ NULL, 'W', WEIR_OPT_U64, AT(rotate_files), "N", .min = 1, .max = 1000000,
	  .help = "with -C: a ring of N files; with -G: stop after N files" },

	{ "flows", 0, WEIR_OPT_FLAG, AT(flows), .group = "Sums",
	  .help = "add up flows in the kernel instead of showing packets" },
	{ "flows-max", 0, WEIR_OPT_U64, AT(flows_max), "N", .min = 16, .max = 1 << 24,
	  .help = "entries of the kernel's table; a flow takes one on each CPU (default: 65536)" },
	{ "by", 0, WEIR_OPT_CHOICE, AT(by), "WHAT", weir_by_names,
	  .help = "with --flows: add up by (default: flow)" },
	{ "summary", 0, WEIR_OPT_DURATION, AT(summary_ns), "TIME", .min = 500000000,
	  .help = "each TIME, totals, sizes, flags, top hosts and ports (10s; at least 500ms)" },
	{ "metrics", 0, WEIR_OPT_STR, AT(metrics), "ADDRESS",
	  .help = "Prometheus text by HTTP at ADDRESS:PORT, or PORT (of 127.0.0.1)" },
	{ "metrics-top", 0, WEIR_OPT_U64, AT(metrics_top), "K", .min = 1,
	  .max = WEIR_METRICS_TOP_MAX,
	  .help = "with --metrics: the K largest hosts and ports, too (default: none)" },
	{ "ipfix", 0, WEIR_OPT_STR, AT(ipfix), "[PROTO:]HOST:PORT",
	  .help = "export flows as IPFIX over udp (default) or tcp" },
	{ "ipfix-domain", 0, WEIR_OPT_U64, AT(ipfix_domain), "N", .max = UINT32_MAX,
	  .help = "observation domain ID: tells several of one host apart (default: 0)" },
	{ "ipfix-active", 0, WEIR_OPT_DURATION, AT(ipfix_active_ns), "TIME",
	  .min = WEIR_NSEC_PER_SEC,
	  .help = "export what a long flow has had this often (default: 60s)" },
	{ "count", 0, WEIR_OPT_FLAG, AT(count_only),
	  .help = "only count; print the number at the end" },
	{ "stats", 0, WEIR_OPT_CHOICE, AT(stats), "FORM", stats,
	  .help = "form of the account on standard error (default: text)" },
	{ "fail-on-loss", 0, WEIR_OPT_FLAG, AT(fail_on_loss),
	  .help = "exit with status 3 if a packet was lost" },

	{ "alert", 0, WEIR_OPT_LIST, AT(alert), "RULE", .group = "Alerts",
	  .help = "NAME: [EXPRESSION] QUANTITY > VALUE [over T] [for T] [clear V] [cooldown T]; "
		  "repeatable" },
	{ "alert-file", 0, WEIR_OPT_STR, AT(alert_file), "FILE", .help = "such rules, one a line",
	  .complete = "file" },
	{ "alert-log", 0, WEIR_OPT_STR, AT(alert_log), "FILE",
	  .help = "tell events there as JSON (syslog: the system log), not on standard output",
	  .complete = "file" },
	{ "exec", 0, WEIR_OPT_STR, AT(exec), "COMMAND",
	  .help = "run this for each event: no shell; its facts are in WEIR_ALERT_*, and its input" },

	{ NULL, 'c', WEIR_OPT_U64, AT(count), "N", .min = 1, .group = "End",
	  .help = "stop after N packets" },
	{ "for", 0, WEIR_OPT_DURATION, AT(for_ns), "TIME", .min = 1,
	  .help = "stop after so long (10s, 5m)" },
	{ "once", 0, WEIR_OPT_FLAG, AT(once),
	  .help = "with --flows: one picture, after --for or 1 s" },
	{ NULL, 'd', WEIR_OPT_FLAG, AT(dump_code),
	  .help = "print the match as eBPF instructions and stop" },
	{ 0 },
};

static int bad(struct weir_error *err, const char *what)
{
	return weir_fail(err, -EINVAL, "%s", what);
}

static int parse_sample(struct weir_watch_options *o, struct weir_error *err)
{
	uint64_t n;

	if (!o->sample_text)
		return 0;
	if (strncmp(o->sample_text, "1/", 2) ||
	    weir_parse_u64(o->sample_text + 2, 1, UINT32_MAX, &n))
		return weir_fail(err, -EINVAL, "--sample %s: write 1/N, for example 1/100",
				 o->sample_text);
	o->sample = (uint32_t)n;
	return 0;
}

static int parse_rotation(struct weir_watch_options *o, struct weir_error *err)
{
	const char *s = o->rotate_size_text;
	uint64_t v;

	if ((s || o->rotate_seconds || o->rotate_files) && !o->write_file)
		return bad(err, "-C, -G and -W need -w FILE: say where to write");
	if ((s || o->rotate_seconds) && !strcmp(o->write_file, "-"))
		return bad(err, "standard output cannot be rotated: give -w a file name");
	if (o->rotate_files && !s && !o->rotate_seconds)
		return bad(err, "-W needs -C or -G: say when to begin a new file");
	if (!s)
		return 0;
	if (!weir_parse_u64(s, 1, UINT64_MAX / TCPDUMP_MB, &v))
		o->rotate_size = v * TCPDUMP_MB;
	else if (!weir_parse_size(s, &v) && v)
		o->rotate_size = v;
	else
		return weir_fail(err, -EINVAL,
				 "-C %s: give millions of bytes, or a size such as 64k, "
				 "16m, 1g",
				 s);
	return 0;
}

/* The expression is what is left of the command line, or a file's text. */
static int read_expression(struct weir_watch_options *o, const struct weir_strv *words,
			   struct weir_buf *text, struct weir_error *err)
{
	weir_autofclose FILE *f = NULL;
	char line[4096];

	for (unsigned int i = 0; i < words->n; i++) {
		if (i)
			weir_buf_addc(text, ' ');
		weir_buf_adds(text, words->v[i]);
	}
	if (o->filter_file && words->n)
		return bad(err, "an expression and -F: give one of them");
	if (o->filter_file) {
		f = fopen(o->filter_file, "re");
		if (!f)
			return weir_fail(err, -EINVAL, "cannot read %s: %s: give a file with an "
						       "expression",
					 o->filter_file, strerror(errno));
		while (fgets(line, sizeof(line), f) && text->len < EXPRESSION_FILE_MAX) {
			line[strcspn(line, "#")] = '\0'; /* a comment, as in rule files */
			weir_buf_adds(text, line);
			weir_buf_addc(text, ' ');
		}
		if (ferror(f))
			return weir_fail(err, -EINVAL, "cannot read %s: %s", o->filter_file,
					 strerror(errno));
	}
	if (text->failed)
		return weir_fail(err, -ENOMEM, "out of memory");
	o->spec.expression = text->len ? text->data : NULL;
	return 0;
}

/* Where the try itself was not permitted, the missing capability is the news. */
static bool has_tcx(void)
{
	const struct weir_probe *p = weir_probe(WEIR_FEATURE_TCX);

	return p->ok || p->error == -EPERM;
}

/* What the run is for. An observer needs no packets; those that -w or --format asks for
 * are given beside it. */
static void choose_output(struct weir_watch *w)
{
	struct weir_watch_options *o = &w->opt;
	bool observed = weir_observers_wanted(o);

	o->owners |= weir_by_needs_owners((enum weir_by)o->by);
	o->names |= weir_by_needs_names((enum weir_by)o->by);
	w->keeps_flows = o->flows || observed;
	w->wants_sides = o->ipfix;
	w->shows_packets = !o->flows && !o->count_only &&
			   (!observed || o->write_file || o->format >= 0);
}

static const struct weir_engine *const engines[] = {
	[WEIR_HOOK_TCX] = &weir_engine_bpf,   [WEIR_HOOK_XDP] = &weir_engine_bpf,
	[WEIR_HOOK_TAP] = &weir_engine_bpf,   [WEIR_HOOK_MMAP] = &weir_engine_mmap,
	[WEIR_HOOK_PCAP] = &weir_engine_pcap, [WEIR_HOOK_XSK] = &weir_engine_xsk,
#ifdef WEIR_DPDK
	[WEIR_HOOK_DPDK] = &weir_engine_dpdk,
#endif
};

static int choose_hook(struct weir_watch *w, struct weir_error *err)
{
	struct weir_watch_options *o = &w->opt;
	/* Of all interfaces, each gets a ring and a thread only if that is asked for. */
	bool rings = weir_ifaces_any(o) ? o->fanout != 0 : o->transport == -1;
	bool mmap = (rings || o->transport == 2) && w->shows_packets &&
		    !w->keeps_flows; /* its threads share no table */

	if (o->read_file) {
		if (o->capture != WEIR_CAPTURE_AUTO && o->capture != WEIR_CAPTURE_PCAP)
			return bad(err, "-r goes with --capture pcap: leave --capture out");
		o->capture = WEIR_CAPTURE_PCAP;
	}
	switch ((enum weir_capture)o->capture) {
	case WEIR_CAPTURE_AUTO:
		w->hook = has_tcx() ? WEIR_HOOK_TCX : WEIR_HOOK_TAP;
		break;
	case WEIR_CAPTURE_TC:
		if (!has_tcx())
			return bad(err, "this kernel has no tcx (6.6 and later have it): use "
					"--capture auto or af_packet");
		w->hook = WEIR_HOOK_TCX;
		break;
	case WEIR_CAPTURE_XDP:
		w->hook = WEIR_HOOK_XDP;
		break;
	case WEIR_CAPTURE_AF_PACKET:
	case WEIR_CAPTURE_PACKET:
		w->hook = mmap ? WEIR_HOOK_MMAP : WEIR_HOOK_TAP;
		break;
	case WEIR_CAPTURE_PCAP:
		w->hook = WEIR_HOOK_PCAP;
		break;
	case WEIR_CAPTURE_AF_XDP:
		w->hook = WEIR_HOOK_XSK;
		break;
	case WEIR_CAPTURE_DPDK:
		w->hook = WEIR_HOOK_DPDK;
		break;
	}
	w->engine = engines[w->hook];
	w->user_stage = o->filter_at == 1 || weir_hook_is_library(w->hook);
	return 0;
}

/* Options that the chosen engine cannot honour are refused, never ignored. */
static int check_engine_options(const struct weir_watch *w, struct weir_error *err)
{
	const struct weir_watch_options *o = &w->opt;
	const struct {
		bool wrong;
		const char *message;
	} checks[] = {
		{ weir_watch_at_xdp(w) && o->direction > 0,
		  "XDP sees only packets coming in: use -Q in, or --capture tc" },
		{ weir_ifaces_any(o) && o->interfaces.n > 1,
		  "-i any is all interfaces: leave the other -i out" },
		{ weir_ifaces_any(o) && weir_watch_at_xdp(w),
		  "-i any does not go with --capture xdp and af_xdp: name the interfaces, or use "
		  "--capture tc" },
		{ !weir_ifaces_any(o) && o->points >= 0,
		  "--points without -i any: add it, or leave --points out" },
		{ w->hook != WEIR_HOOK_XDP && o->verdict,
		  "--verdict without --capture xdp: only there is a verdict known, add it" },
		{ !weir_watch_at_xdp(w) && o->xdp_mode,
		  "--xdp-mode without --capture xdp: add it, or leave --xdp-mode out" },
		{ w->hook != WEIR_HOOK_XSK && o->take,
		  "--take without --capture af_xdp: nothing else takes packets, leave it out" },
		{ w->hook == WEIR_HOOK_XSK && (w->user_stage || o->strict_pcap),
		  "AF_XDP takes what matches, so that is decided in the kernel: leave --filter-at "
		  "user and --strict-pcap out" },
		{ w->hook == WEIR_HOOK_XSK && o->transport >= 0,
		  "AF_XDP has its own rings: leave --transport out" },
		{ w->hook != WEIR_HOOK_MMAP && (o->fanout || o->fanout_mode || o->socket),
		  "--fanout, --fanout-mode and --socket belong to af_packet's own ring: use --capture "
		  "af_packet, without --transport, --flows and --count" },
		{ o->fanout_mode && !o->fanout,
		  "--fanout-mode without --fanout: say how many threads with --fanout N" },
		{ o->transport == 2 && w->hook != WEIR_HOOK_MMAP,
		  "--transport mmap is af_packet's own ring: use --capture af_packet, without --flows and "
		  "--count" },
		{ w->hook == WEIR_HOOK_PCAP && o->transport >= 0,
		  "libpcap has its own transport: leave --transport out" },
		{ !w->shows_packets && !w->user_stage && o->transport >= 0,
		  "sums are made in the kernel and ship no packets: leave --transport out" },
		{ w->user_stage && !o->filter_at,
		  "--capture pcap and -r match in user space: leave --filter-at out" },
#ifdef WEIR_DPDK
		{ w->hook == WEIR_HOOK_DPDK && o->direction > 0,
		  "DPDK tells no directions: leave -Q out" },
		{ w->hook == WEIR_HOOK_DPDK && o->transport >= 0,
		  "DPDK has its own transport: leave --transport out" },
		{ w->hook != WEIR_HOOK_DPDK && o->dpdk_args,
		  "--dpdk-args without --capture dpdk: add it, or leave --dpdk-args out" },
#endif
		{ o->read_file && o->direction >= 0, "a file has no direction: leave -Q out" },
		{ o->read_file && o->promisc,
		  "a file cannot be made promiscuous: leave --promisc out" },
		{ o->flows && o->write_file, "--flows writes no packets: leave -w out" },
		{ o->count_only && (o->write_file || o->flows),
		  "--count shows only a number: leave -w and --flows out" },
		{ o->write_file && o->socket,
		  "-w writes the link-level header: leave --socket dgram out" },
		{ o->write_file && o->format >= 0, "-w writes pcapng: leave --format out" },
		{ !w->shows_packets && o->snaplen, "sums show no bytes: leave -s out" },
		{ (o->write_file || !w->shows_packets || o->json ||
		   o->format == WEIR_FORMAT_JSON) &&
			  (o->quiet || o->link || o->hex || o->hex_ascii || o->ascii || o->time),
		  "-q, -e, -x, -X, -A and -t shape lines of text: leave them out" },
		{ o->flows_max && !w->keeps_flows, "--flows-max without --flows: add --flows" },
		{ (o->ipfix_domain || o->ipfix_active_ns) && !o->ipfix,
		  "--ipfix-domain and --ipfix-active without --ipfix: say where to with --ipfix" },
		{ o->ipfix && o->sample_text,
		  "a collector takes what it is sent for the whole: leave --sample out with --ipfix" },
		{ o->ipfix && o->count_only, "--count shows only a number: leave --ipfix out" },
		{ o->by && !o->flows, "--by without --flows: add --flows" },
		{ o->once && !o->flows, "--once without --flows: add --flows, or use -c or --for" },
		{ o->write_file && o->json && !weir_observers_wanted(o),
		  "-w writes pcapng: leave --json out" },
		{ o->flows && o->format >= 0 && o->format != WEIR_FORMAT_JSON &&
			  o->format != WEIR_FORMAT_LINE,
		  "--flows shows a table or JSON: use --format line or json" },
		{ !w->shows_packets && !(o->count_only && w->hook == WEIR_HOOK_PCAP) && o->count,
		  "-c counts packets that are shown: use --for with sums" },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(checks); i++)
		if (checks[i].wrong)
			return bad(err, checks[i].message);
	return 0;
}

/* Whose and of which name: of what is shown. */
static int check_names_and_owners(const struct weir_watch *w, struct weir_error *err)
{
	const struct weir_watch_options *o = &w->opt;
	const bool shown = o->flows || w->shows_packets;
	const struct {
		bool wrong;
		const char *message;
	} checks[] = {
		{ o->read_file && weir_watch_owners_wanted(o),
		  "a file's packets have no processes here: leave --owners, --pid, --comm and "
		  "--cgroup out" },
		{ o->owners && o->count_only && !weir_watch_owners_match(o),
		  "--count shows no owners: leave --owners out, or say whose with --pid, --comm or "
		  "--cgroup" },
		{ o->count_only && o->names, "--count shows only a number: leave --names out" },
		{ o->names && !shown,
		  "--names is of packets and flows, and nothing shows them: add --flows, --format "
		  "or -w, or leave --names out" },
		{ o->owners && !shown && !weir_watch_owners_match(o),
		  "--owners is of packets and flows, and nothing shows them: add --flows, --format "
		  "or -w, or say whose with --pid, --comm or --cgroup" },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(checks); i++)
		if (checks[i].wrong)
			return bad(err, checks[i].message);
	return 0;
}

static void choose_direction(struct weir_watch *w)
{
	bool only_lo = !w->any && w->n_ifaces == 1 && w->ifaces[0].loopback;
	int d = w->opt.direction;

	if (d < 0) /* on lo each packet goes out and comes in: show it once */
		d = weir_watch_at_xdp(w) || w->hook == WEIR_HOOK_DPDK || only_lo ? 0 : 2;
	for (unsigned int i = 0; !w->any && i < w->n_ifaces; i++)
		w->ifaces[i].in_only = w->opt.direction < 0 && w->ifaces[i].loopback;
	w->want_in = d != 1;
	w->want_out = d != 0;
}

/* The defaults that depend on other options. */
static void settle(struct weir_watch *w)
{
	struct weir_watch_options *o = &w->opt;
	bool tty = isatty(STDOUT_FILENO), whole;

	if (o->json) {
		o->format = WEIR_FORMAT_JSON;
		o->stats = 1;
	}
	if (!o->flows_max)
		o->flows_max = DEFAULT_FLOWS;
	if (o->format < 0)
		o->format = o->flows && !tty ? WEIR_FORMAT_JSON : WEIR_FORMAT_LINE;
	o->colour = o->colour == 1 || (o->colour == 0 && weir_term_colour(STDOUT_FILENO));
	if (o->once && !o->for_ns && !o->read_file)
		o->for_ns = WEIR_NSEC_PER_SEC;
	whole = o->write_file || o->format != WEIR_FORMAT_LINE || o->hex || o->hex_ascii ||
		o->ascii;
	w->out_snaplen = o->snaplen ? (uint32_t)o->snaplen :
			 whole	    ? WEIR_WATCH_SNAPLEN :
				      LINE_SNAPLEN;
	weir_place_settle(w);
}

/* A match on a field that this hook lacks is a usage error. */
static int check_fields(const struct weir_watch *w, struct weir_error *err)
{
	bool no_l2 = w->hook == WEIR_HOOK_MMAP && w->opt.socket;
	uint32_t used = weir_match_fields(w->match);
	const char *name = "";

	for (unsigned int i = 0; i < w->n_ifaces && !no_l2; i++) {
		no_l2 = w->ifaces[i].no_l2;
		name = w->ifaces[i].name;
	}
	if (no_l2 && used & 1U << WEIR_FIELD_ETHER)
		return weir_fail(err, -EINVAL,
				 "the match reads the %s header, which %s does not have "
				 "here: leave that part out",
				 weir_match_field_name(WEIR_FIELD_ETHER),
				 w->opt.socket ? "a datagram socket" : name);
	return 0;
}

static int parse_match(struct weir_watch *w, struct weir_error *err)
{
	struct weir_match_spec all = {0};
	int ret;

	if (!w->opt.strict_pcap) {
		ret = weir_match_parse(&w->opt.spec, &w->match, err);
		if (!ret && !weir_match_is_all(w->match))
			weir_match_print(w->match, &w->match_text);
		return ret ? ret : check_fields(w, err);
	}
	if (w->opt.spec.protocol || w->opt.spec.src_ip || w->opt.spec.dst_ip ||
	    w->opt.spec.src_port || w->opt.spec.dst_port)
		return bad(err, "--strict-pcap takes an expression only: write the flags as one");
	for (unsigned int i = 1; i < w->n_ifaces; i++)
		if (w->ifaces[i].no_l2 != w->ifaces[0].no_l2)
			return bad(err, "--strict-pcap takes one link type: watch Ethernet and raw "
					"IP interfaces in two runs");
	ret = weir_match_parse(&all, &w->match, err);
	if (w->opt.spec.expression)
		weir_buf_adds(&w->match_text, w->opt.spec.expression);
	/* libpcap needs the link type, which a file tells only once it is open. */
	if (ret || w->hook == WEIR_HOOK_PCAP)
		return ret;
	ret = weir_strict_new(&w->strict, w->opt.spec.expression,
			      w->ifaces[0].no_l2 || w->opt.socket, err);
	return ret || w->user_stage ? ret : weir_place_strict(w, err);
}

static int dump_code(struct weir_watch *w, struct weir_error *err)
{
	weir_autofree struct bpf_insn *code = NULL;
	weir_autobuf struct weir_buf out = {0};
	size_t n, sets = weir_match_sets(w->match);
	weir_autofree int *fds = calloc(sets + 1, sizeof(*fds));
	int ret;

	if (w->opt.strict_pcap && !w->strict_insns)
		return bad(err, "-d shows what the kernel runs, which is nothing here: use tcpdump "
				"-d");
	if (w->strict_insns) {
		weir_match_disasm(w->strict_insns, w->n_strict_insns, &out);
		return weir_buf_flush(&out, STDOUT_FILENO);
	}
	if (!fds)
		return weir_fail(err, -ENOMEM, "out of memory");
	ret = weir_match_codegen(w->match, fds, &code, &n, err);
	if (ret)
		return ret;
	weir_match_disasm(code, n, &out);
	return weir_buf_flush(&out, STDOUT_FILENO);
}

static int prepare(struct weir_watch *w, const struct weir_strv *words, struct weir_buf *text,
		   struct weir_error *err)
{
	int ret = read_expression(&w->opt, words, text, err);

	choose_output(w);
	if (!ret)
		ret = parse_sample(&w->opt, err);
	if (!ret)
		ret = parse_rotation(&w->opt, err);
	if (!ret)
		ret = weir_stats_check(&w->opt, err);
	if (!ret)
		ret = weir_alerts_parse(w, err);
	if (!ret)
		ret = weir_ifaces_enter(w, err);
	if (!ret)
		ret = choose_hook(w, err);
	if (!ret)
		ret = check_engine_options(w, err);
	if (!ret)
		ret = check_names_and_owners(w, err);
	if (ret)
		return ret;
	settle(w);
	ret = weir_ifaces_find(w, err);
	if (!ret && w->hook == WEIR_HOOK_XSK && !w->opt.take)
		ret = weir_take_check(w, err);
	choose_direction(w);
	return ret ? ret : parse_match(w, err);
}

static int run(int argc, char **argv)
{
	struct weir_watch w = {.home_fd = -1, .netns_fd = -1,
			       .opt = {.points = -1, .direction = -1, .filter_at = -1,
				       .transport = -1, .format = -1, .buffer = DEFAULT_BUFFER}};
	weir_autobuf struct weir_buf text = {0};
	struct weir_strv words = {0};
	struct weir_error err = {""};
	int ret;

	ret = weir_verb_parse(&weir_watch_verb, argc, argv, &w.opt, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	weir_load_setup();
	ret = prepare(&w, &words, &text, &err);
	if (ret) {
		weir_alert_rules_free(&w.alerts);
		weir_strict_free(w.strict);
		free(w.strict_insns);
		weir_any_free(w.any);
		weir_match_free(w.match);
		weir_buf_free(&w.match_text);
		return weir_verb_fail("watch", &err,
				      ret == -ENOMEM || ret == -EPERM ? WEIR_EXIT_FAILED :
									WEIR_EXIT_USAGE);
	}
	ret = w.opt.dump_code ? dump_code(&w, &err) : weir_watch_run(&w, &err);
	weir_strict_free(w.strict);
	weir_alert_rules_free(&w.alerts);
	free(w.strict_insns);
	weir_any_free(w.any);
	weir_match_free(w.match);
	weir_buf_free(&w.match_text);
	if (ret)
		return weir_verb_fail("watch", &err, w.status ? w.status : WEIR_EXIT_FAILED);
	return w.status;
}

const struct weir_verb weir_watch_verb = {
	.name = "watch",
	.group = "See",
	.summary = "show, write and add up the packets of this host",
	.synopsis = "[OPTIONS] [EXPRESSION]",
	.options = options,
	.details =
		"EXPRESSION is tcpdump-like: host, net, port, portrange, tcp, udp, icmp, vlan, ...\n"
		"see weir-match(7). Without one every packet is shown.",
	.run = run,
	.help_more = weir_engines_table,
};
