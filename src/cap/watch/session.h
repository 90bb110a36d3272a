/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One run of `weir watch`, in user space.
 *
 *   cmd.c       options -> struct weir_watch_options, usage errors
 *   session.c   opens everything, waits, ends, tells the account
 *   engine_*.c  where packets come from (one struct weir_engine each)
 *   sink.c      what happens to a packet: user-space match, format, count
 *   writer.c    where the bytes go: standard output or rotated files
 *   flows*.c    the flow table and its pictures (flows.h)
 *   observe.c   who else is told of what is seen (observe.h)
 *   owners.c    whose packets and flows they are (owners.h)
 *   summary*.c  --summary, an observer
 *   metrics.c   --metrics, an observer
 *   alert*.c    --alert, an observer (alert.h)
 *   strict.c    --strict-pcap: libpcap's side of it
 *   place.c     where the match runs: in the kernel or in user space
 *   ifaces.c    --netns, -i
 *   any.c       -i any: where each packet is looked at
 *   account.c   the law: nothing vanishes silently
 *   bar.c       the status bar and the top talkers
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/opt.h"
#include "cap/watch/alert_rule.h"
#include "cap/watch/flows.h"
#include "cap/watch/format.h"
#include "cap/watch/l7.h"
#include "cap/watch/packet.h"
#include "cap/watch/watch.h"
#include "match/match.h"

enum weir_capture { /* order of the --capture choices */
	WEIR_CAPTURE_AUTO,
	WEIR_CAPTURE_TC,
	WEIR_CAPTURE_XDP,
	WEIR_CAPTURE_AF_PACKET,
	WEIR_CAPTURE_PACKET, /* alias of af_packet */
	WEIR_CAPTURE_PCAP,
	WEIR_CAPTURE_AF_XDP,
	WEIR_CAPTURE_DPDK, /* in builds with -Ddpdk=enabled */
};

#define WEIR_METRICS_TOP_MAX 50

struct weir_watch_options {
	struct weir_strv interfaces;
	const char *netns; /* where the run takes place, NULL = here */
	int points; /* 0 one, 1 all, -1 = not given */
	int direction; /* index of in|out|inout, -1 = not given */
	struct weir_match_spec spec;
	bool strict_pcap;
	int filter_at; /* 0 kernel, 1 user */
	const char *sample_text;
	uint32_t sample;
	int capture; /* enum weir_capture */
	const char *dpdk_args;
	bool take; /* off an interface that this host uses */
	int xdp_mode; /* enum weir_xdp_mode */
	int verdict; /* 0 all, 1 pass, 2 drop */
	uint64_t fanout;
	int fanout_mode; /* hash, cpu, lb */
	int socket; /* 0 raw, 1 dgram */
	const char *read_file;
	bool promisc;
	int transport; /* index of ring|perf|mmap, -1 = not given */
	uint64_t buffer; /* bytes a CPU or socket */
	int format; /* enum weir_format, -1 = not given */
	bool json;
	const char *write_file;
	const char *rotate_size_text;
	uint64_t rotate_size; /* bytes, 0 = never */
	uint64_t rotate_seconds;
	uint64_t rotate_files;
	uint64_t count;
	uint64_t snaplen; /* 0 = what the format needs */
	bool numeric, quiet, link;
	unsigned int hex, hex_ascii, ascii, time;
	const char *filter_file;
	bool dump_code;
	bool count_only;
	bool show_self;
	bool names;
	bool owners;
	uint64_t pid;
	const char *comm, *cgroup; /* of the process */
	bool flows;
	uint64_t flows_max;
	int by; /* enum weir_by */
	const char *ipfix; /* [udp:|tcp:]HOST:PORT */
	uint64_t ipfix_domain;
	uint64_t ipfix_active_ns;
	int stats; /* 0 text, 1 json */
	bool fail_on_loss;
	uint64_t for_ns;
	bool once;
	int colour; /* auto, always, never */
	uint64_t summary_ns; /* 0: none */
	const char *metrics;
	uint64_t metrics_top;
	struct weir_strv alert;
	const char *alert_file, *alert_log, *exec;
};

struct weir_watch_iface {
	char name[64]; /* of a file's interface it may be longer than IFNAMSIZ */
	uint32_t ifindex;
	bool no_l2;
	bool loopback;
	bool gone; /* deleted while we watched; its account stays */
	bool in_only, out_only; /* what is left out is seen elsewhere: lo, -i any */
};

struct weir_watch;

/* A capture engine. All functions run on the main thread; those with threads
 * of their own join them in detach(). */
struct weir_engine {
	const char *name;
	/* Begin to capture. Everything that needs privileges happens here. */
	int (*open)(struct weir_watch *w, struct weir_error *err);
	/* After the privileges were dropped: start threads. May be NULL. */
	int (*start)(struct weir_watch *w, struct weir_error *err);
	/* A descriptor to wait on, or -1. NULL, like poll: threads read. */
	int (*fd)(struct weir_watch *w);
	/* Read what is there. >= 0: packets read; -ENODATA: the source has ended;
	 * WEIR_STOP: the sink wants no more; else an errno with a message. */
	int (*poll)(struct weir_watch *w, struct weir_error *err);
	/* No new packets after this; what is queued can still be polled. */
	void (*detach)(struct weir_watch *w);
	/* Look at interface @slot where w->ifaces says, or no more if it is gone. NULL: what
	 * open() has found is all. 0 or a negative errno. */
	int (*aim)(struct weir_watch *w, unsigned int slot);
	/* The source's own counters, summed over CPUs, for interface @slot. */
	void (*counters)(struct weir_watch *w, unsigned int slot, struct weir_watch_counters *ret);
	void (*close)(struct weir_watch *w);
};

#define WEIR_STOP (-125) /* -ECANCELED: -c is reached */

extern const struct weir_engine weir_engine_bpf;
extern const struct weir_engine weir_engine_mmap;
extern const struct weir_engine weir_engine_pcap;
extern const struct weir_engine weir_engine_dpdk; /* in builds with -Ddpdk=enabled */
extern const struct weir_engine weir_engine_xsk;

/* How this run's capture was chosen, for the summary and the usage errors. */
enum weir_hook {
	WEIR_HOOK_TCX,
	WEIR_HOOK_XDP,
	WEIR_HOOK_TAP,
	WEIR_HOOK_MMAP,
	WEIR_HOOK_PCAP,
	WEIR_HOOK_XSK, /* AF_XDP */
	WEIR_HOOK_DPDK,
};

/* A library reads the packets: nothing of ours is in the kernel. */
static inline bool weir_hook_is_library(enum weir_hook hook)
{
	return hook == WEIR_HOOK_PCAP || hook == WEIR_HOOK_DPDK;
}

/* What user space did with the packets of one interface. One thread adds up, by weir_sink_add();
 * the main thread reads meanwhile, by weir_sink_get(). */
struct weir_sink_counts {
	uint64_t consumed;    /* taken from the engine */
	uint64_t unmatched;   /* by the match in user space */
	uint64_t sampled_out;
	uint64_t delivered;
	uint64_t delivered_bytes;
	uint64_t self;	      /* of delivered: this terminal's own, not shown */
	uint64_t lost;	      /* the output could not take it */
};

static inline void weir_sink_add(uint64_t *count, uint64_t n)
{
	__atomic_store_n(count, *count + n, __ATOMIC_RELAXED);
}

static inline uint64_t weir_sink_get(const uint64_t *count)
{
	return __atomic_load_n(count, __ATOMIC_RELAXED);
}

struct weir_talkers;

/* One per reading thread: formatting needs no lock, writing does. */
struct weir_sink {
	struct weir_watch *w;
	struct weir_formatter formatter;
	struct weir_buf out;
	uint64_t pending[WEIR_WATCH_IFACES]; /* packets in `out`, by interface */
	struct weir_sink_counts counts[WEIR_WATCH_IFACES];
	struct weir_talkers *talkers; /* NULL: not asked for */
	uint8_t *frame; /* a packet with its VLAN tag put back */
	struct weir_l7_seen seen; /* of the packet at hand, with --names */
};

struct weir_self { /* this terminal's SSH connection */
	bool known;
	uint8_t addr[2][16];
	uint16_t port[2];
};

struct weir_writer;
struct weir_bar;
struct weir_rules;

struct weir_watch {
	struct weir_watch_options opt;
	struct weir_watch_iface ifaces[WEIR_WATCH_IFACES];
	unsigned int n_ifaces;
	struct weir_any *any; /* NULL: the interfaces were named */
	enum weir_hook hook;
	uint32_t mode; /* enum weir_watch_mode */
	uint64_t netns; /* cookie of --netns; 0 = not given */
	int promisc_fd; /* a packet socket that makes the interfaces promiscuous; -1 = none */
	int look_fd; /* a socket of the namespace of the interfaces, to ask for them */
	int home_fd, netns_fd; /* with --netns: where the command was given, and that; else -1 */
	bool want_in, want_out;
	bool keeps_flows;   /* --flows, or an observer */
	bool full_screen;   /* the view of top.c is on */
	bool wants_sides;   /* flow records tell who sent what */
	bool shows_packets; /* each packet that matches is shown or written */
	uint32_t snaplen; /* of the events */
	uint32_t take_max; /* the longest frame that AF_XDP takes */
	uint32_t out_snaplen; /* of what is written, <= snaplen */
	uint32_t seed;
	struct weir_match *match;
	struct weir_alert_rules alerts;
	struct weir_buf match_text; /* flags and expression as one, for pcapng */
	struct weir_strict *strict; /* --strict-pcap; NULL: weir's own match */
	struct bpf_insn *strict_insns; /* for the kernel; NULL: not there */
	size_t n_strict_insns;
	uint32_t strict_head; /* bytes of the frame's head that they read */
	bool user_stage; /* match and sample in user space */
	const struct weir_engine *engine;
	void *engine_state;
	struct weir_sink *sinks;
	unsigned int n_sinks;
	struct weir_writer *writer;
	struct weir_flows *flows; /* NULL: none are kept */
	struct weir_observers *observers; /* NULL: none */
	struct weir_l7 *l7;	  /* --names; NULL: not asked for */
	struct weir_watch_owners *owners; /* NULL: not asked for */
	struct weir_watch_bypass *bypass; /* NULL: not looked at */
	struct weir_bar *bar;
	struct weir_self self;
	atomic_uint_fast64_t drops_told[WEIR_WATCH_IFACES]; /* lost, as far as pcapng has it */
	atomic_int_fast64_t left; /* of -c; negative: enough */
	atomic_bool stop;
	atomic_bool interrupted; /* by a signal */
	int stop_fd; /* eventfd: readable once stop is set */
	atomic_int_fast64_t clock_offset; /* set each second; threads read it */
	uint64_t started; /* ns since the epoch */
	bool running; /* the output has begun, so the end of it is due */
	bool detached; /* nothing comes any more: the counters are final */
	struct weir_rules *rules; /* to name a rule; NULL: none can be met */
	uint64_t rules_next;	  /* when the store may be looked for again */
	int status; /* exit status so far */
};

/* From CLOCK_MONOTONIC to ns since the epoch. */
static inline uint64_t weir_watch_clock_offset(const struct weir_watch *w)
{
	return (uint64_t)atomic_load_explicit(&w->clock_offset, memory_order_relaxed);
}

/* Does it sit in the XDP gate? */
static inline bool weir_watch_at_xdp(const struct weir_watch *w)
{
	return w->hook == WEIR_HOOK_XDP || w->hook == WEIR_HOOK_XSK;
}

/* session.c */
/* Make interface @slot promiscuous, until w->promisc_fd is closed. 0 or a negative errno. */
int weir_watch_promisc(const struct weir_watch *w, unsigned int slot);
int weir_watch_run(struct weir_watch *w, struct weir_error *err);
void weir_watch_stop(struct weir_watch *w);
/* What happens to an interface while it runs, to standard error; JSON with --stats json. */
void weir_watch_tell(const struct weir_watch *w, const char *event, const char *iface,
		     const char *text);
/* Has a signal asked to stop? Used where the output blocks. */
bool weir_watch_interrupted(struct weir_watch *w);

/* "filter/NAME" of rule @id in @buf, "rule/ID" when it is not in the store. */
const char *weir_watch_rule_name(struct weir_watch *w, uint32_t id, char *buf, size_t size);

/* sink.c */
int weir_sink_init(struct weir_sink *s, struct weir_watch *w);
void weir_sink_free(struct weir_sink *s);
/* One packet. @ev->ts is in ns since the epoch. 0, or WEIR_STOP when -c is reached. */
int weir_sink_packet(struct weir_sink *s, const struct weir_watch_event *ev, const uint8_t *data);
/* The packet of @ev in @ret, its VLAN tag back in place; valid until the next one. */
void weir_sink_unpack(struct weir_sink *s, const struct weir_watch_event *ev, const uint8_t *data,
		      struct weir_packet *ret);
/* Fill @p->hdr from its bytes. */
void weir_sink_parse(struct weir_packet *p);
/* Write what is pending; what cannot be written is lost, and the run ends. */
void weir_sink_flush(struct weir_sink *s);

/* ifaces.c */
/* Into the namespace of --netns, before anything is opened or looked for. Files and directories
 * stay those of the caller. */
int weir_ifaces_enter(struct weir_watch *w, struct weir_error *err);
/* Is one of the words of -i that for all interfaces? */
bool weir_ifaces_any(const struct weir_watch_options *o);
/* The interfaces of -i, or that of the default route, into w->ifaces. */
int weir_ifaces_find(struct weir_watch *w, struct weir_error *err);

/* any.c */
struct weir_any;
/* All interfaces that are up, with the points at which they are looked at, into w->ifaces.
 * w->hook and the options are settled. */
int weir_any_find(struct weir_watch *w, struct weir_error *err);
/* Do interfaces that come up later join? Packet rings are made with the rights of the start;
 * a tcx link, in the namespace that the process has left by then. */
static inline bool weir_any_joins(const struct weir_watch *w)
{
	return w->any && (w->hook == WEIR_HOOK_TAP || (w->hook == WEIR_HOOK_TCX && !w->opt.netns));
}
/* Readable when interfaces have changed; -1 where none join. */
int weir_any_fd(const struct weir_watch *w);
/* They have changed: join, leave, look elsewhere. */
void weir_any_changed(struct weir_watch *w);
/* Called each second. Where none join, say which have come up. */
void weir_any_tick(struct weir_watch *w);
void weir_any_free(struct weir_any *a);
/* Is each packet looked at in one place only, so that flows are not of an interface? */
static inline bool weir_watch_one_point(const struct weir_watch *w)
{
	return w->any && w->opt.points != 1;
}

/* take.c: packets are not taken off an interface by which this host reaches others or is
 * reached, unless --take says so. */
int weir_take_check(const struct weir_watch *w, struct weir_error *err);

/* strict.c: libpcap's own semantics, kept apart since its headers and libbpf's
 * define the same names. @no_l2: for raw IP instead of Ethernet. */
struct weir_strict;
int weir_strict_new(struct weir_strict **ret, const char *expression, bool no_l2,
		    struct weir_error *err);
bool weir_strict_match(const struct weir_strict *s, const struct weir_packet *p);
/* The filter as classic instructions; returns their number. */
struct sock_filter;
size_t weir_strict_code(const struct weir_strict *s, const struct sock_filter **ret);
void weir_strict_free(struct weir_strict *s);

/* place.c: where the match runs, and what follows from that. */
/* Work out the snap length and the mode: the options and user_stage are set. */
void weir_place_settle(struct weir_watch *w);
/* --strict-pcap wants the kernel: translate the filter, or go to user space and say so. */
int weir_place_strict(struct weir_watch *w, struct weir_error *err);
/* The kernel does not take it, for @why: to user space, unless the kernel was asked for. */
int weir_place_retreat(struct weir_watch *w, const char *why, struct weir_error *err);

/* writer.c */
/* Before anything is attached: the directory of -w is there and can be written. */
int weir_writer_new(struct weir_watch *w, struct weir_error *err);
/* Once all else has succeeded: begin the output; this truncates a file. */
int weir_writer_open(struct weir_watch *w, struct weir_error *err);
/* Thread-safe. Writes @b whole and resets it. 0 or a negative errno. */
int weir_writer_write(struct weir_watch *w, struct weir_buf *b);
/* Interface @slot is new: files have to know of it before its packets come. */
void weir_writer_join(struct weir_watch *w, unsigned int slot);
/* The same as write to standard output, also where packets go to a file of -w. */
int weir_writer_tell(struct weir_watch *w, struct weir_buf *b);
/* Would @n more bytes reach the size limit of the present file? */
bool weir_writer_full(const struct weir_watch *w, size_t n);
/* The status bar's new text: under the same lock as the lines above it. */
void weir_writer_bar(struct weir_watch *w, const char *text);
/* Is the last file of -W complete? */
bool weir_writer_done(const struct weir_watch *w);
/* --rotate-seconds; called each second. */
void weir_writer_tick(struct weir_watch *w);
/* Interface statistics, then close. */
int weir_writer_close(struct weir_watch *w);
/* Some directory of -w that only DAC_OVERRIDE lets us write to later on. */
bool weir_writer_needs_override(const struct weir_watch *w);

/* engine_bpf.c: swap and read the kernel's flow map. */
int weir_bpf_drain_flows(struct weir_watch *w, struct weir_error *err);
/* Add the kernel's statistics (stats.h) to @sum. */
void weir_bpf_stats(struct weir_watch *w, struct weir_watch_stats *sum);
/* What the kernel has counted for the rules of --alert. */
void weir_bpf_alerts(struct weir_watch *w, struct weir_watch_alerts *ret);

/* Ship the packets of the flow @k beside its sums, from now on; NULL: of none. */
int weir_bpf_follow(struct weir_watch *w, const struct weir_flow_key *k);
/* Those that have come since, to @fn, with times and headers as everywhere. Returns how
 * many there was no room for in all. */
uint64_t weir_bpf_followed(struct weir_watch *w,
			   void (*fn)(void *arg, const struct weir_packet *p), void *arg);

/* account.c */
struct weir_watch_account {
	struct weir_watch_counters k; /* the source's */
	struct weir_sink_counts u;
	uint64_t unmatched, sampled_out, matched, delivered, queued, lost;
	uint64_t lost_by[WEIR_WATCH_LOST_MAX];
	int64_t imbalance; /* 0, or weir has a bug */
};
void weir_account_get(struct weir_watch *w, unsigned int slot, struct weir_watch_account *ret);
/* To standard error, in the form of --stats. */
void weir_account_print(struct weir_watch *w);
uint64_t weir_account_lost(struct weir_watch *w);
/* What JSON and Prometheus call a reason, enum weir_watch_lost. */
const char *weir_account_reason(int why);

/* bar.c */
int weir_bar_new(struct weir_watch *w);
void weir_bar_free(struct weir_bar *b);
void weir_bar_tick(struct weir_watch *w);
void weir_bar_set(struct weir_bar *b, const char *text);
/* Escape sequences that make room for other output, and bring the bar back. */
void weir_bar_hide(struct weir_bar *b, struct weir_buf *out);
void weir_bar_show(struct weir_bar *b, struct weir_buf *out);
struct weir_talkers *weir_talkers_new(void);
void weir_talkers_free(struct weir_talkers *t);
void weir_talkers_add(struct weir_talkers *t, const struct weir_packet *p);
void weir_talkers_print(struct weir_watch *w);
