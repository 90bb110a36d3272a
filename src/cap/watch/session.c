/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/session.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/verb.h"
#include "dataplane/caps.h"
#include "dataplane/netns.h"
#include "dataplane/rules.h"

#include "cap/watch/observe.h"
#include "cap/watch/owners.h"
#include "cap/watch/self.h"

/* After packets were read, look again this soon: what a batch left unwoken. */
#define LINGER_MS 20
/* Perf buffers and several libpcap sources wake nobody for a few events. */
#define POLLED_MS 20
/* A DPDK port's ring has to last for this long. */
#define SPIN_MS 1
/* A detached engine is read out for at most this long. */
#define DRAIN_NS (5 * WEIR_NSEC_PER_SEC)
#define TICK_NS WEIR_NSEC_PER_SEC
#define TICK_FLOWS_NS (WEIR_NSEC_PER_SEC / 2)

enum {
	EV_SIGNAL,
	EV_TIMER,
	EV_STOP,
	EV_ENGINE,
	EV_OWNERS,
	EV_LINKS,
	EV_OBSERVER, /* + its index */
};

struct loop {
	int epoll, signals, timer;
	sigset_t old_mask;
	uint64_t deadline; /* of --for; 0 = none */
	bool ended; /* the source has no more */
};

void weir_watch_stop(struct weir_watch *w)
{
	uint64_t one = 1;

	if (!atomic_exchange(&w->stop, true) && write(w->stop_fd, &one, sizeof(one)) < 0)
		weir_debug("cannot wake the main loop: %s", strerror(errno));
}

bool weir_watch_interrupted(struct weir_watch *w)
{
	sigset_t pending;

	/* The signals are blocked everywhere: one that asks us to stop waits, or
	 * the main loop has taken it. */
	sigpending(&pending);
	return atomic_load(&w->interrupted) || sigismember(&pending, SIGINT) ||
	       sigismember(&pending, SIGTERM) || sigismember(&pending, SIGHUP);
}

/* The store may have been made, or made anew, while we run. It is that of this place; after
 * the capabilities have gone its owner may still open it. */
static bool look_for_rule(struct weir_watch *w, uint32_t id, struct weir_rule *ret)
{
	uint64_t now = weir_clock_mono();

	if (!w->rules)
		return false;
	if (!weir_rules_get(w->rules, id, ret))
		return true;
	if (w->netns || now < w->rules_next)
		return false;
	w->rules_next = now + WEIR_NSEC_PER_SEC;
	weir_rules_close(w->rules);
	return !weir_rules_open(w->rules, false, NULL) && !weir_rules_get(w->rules, id, ret);
}

void weir_watch_tell(const struct weir_watch *w, const char *event, const char *iface,
		     const char *text)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;

	if (w->opt.stats == 1) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_str(&j, "verb", "watch");
		weir_json_str(&j, "event", event);
		weir_json_str(&j, "iface", iface);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else {
		weir_buf_addf(&out, "weir watch: %s %s\n", iface, text);
	}
	weir_buf_flush(&out, 2);
}

const char *weir_watch_rule_name(struct weir_watch *w, uint32_t id, char *buf, size_t size)
{
	const char *builtin = weir_rules_builtin(id);
	struct weir_rule rule;

	if (builtin)
		snprintf(buf, size, "filter/%s", builtin);
	else if (look_for_rule(w, id, &rule))
		snprintf(buf, size, "%s/%s", rule.verb, rule.name);
	else
		snprintf(buf, size, "rule/%u", id);
	return buf;
}

/* Say what is missing before the kernel says only "not permitted". */
static int check_privileges(const struct weir_watch *w, struct weir_error *err)
{
	static const uint64_t needs[] = {
		[WEIR_HOOK_TCX] = WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_PERFMON,
		[WEIR_HOOK_XDP] = WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_PERFMON,
		[WEIR_HOOK_TAP] = WEIR_CAP_BPF | WEIR_CAP_NET_RAW | WEIR_CAP_PERFMON,
		[WEIR_HOOK_MMAP] = WEIR_CAP_BPF | WEIR_CAP_NET_RAW | WEIR_CAP_PERFMON,
		[WEIR_HOOK_PCAP] = WEIR_CAP_NET_RAW,
		[WEIR_HOOK_DPDK] = 0, /* the port's driver knows */
		[WEIR_HOOK_XSK] = WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_NET_RAW |
				  WEIR_CAP_PERFMON,
	};
	uint64_t caps = needs[w->hook];

	if (w->opt.promisc && w->hook != WEIR_HOOK_DPDK)
		caps |= WEIR_CAP_NET_RAW;

	return w->opt.read_file ? 0 : weir_caps_need(caps, "capture", err);
}

int weir_watch_promisc(const struct weir_watch *w, unsigned int slot)
{
	const struct packet_mreq mreq = { .mr_ifindex = (int)w->ifaces[slot].ifindex,
					  .mr_type = PACKET_MR_PROMISC };

	return w->promisc_fd >= 0 && setsockopt(w->promisc_fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP,
						&mreq, sizeof(mreq)) ?
		       -errno :
		       0;
}

/* Promiscuous mode by a packet socket's memberships: the kernel counts the users
 * and takes the flag back when the descriptor closes, however we end. */
static int open_promisc(struct weir_watch *w, struct weir_error *err)
{
	w->promisc_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (w->promisc_fd < 0)
		return weir_fail(err, -errno, "cannot open a packet socket: %s: leave "
					      "--promisc out", strerror(errno));
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		int ret = weir_watch_promisc(w, i);

		if (ret)
			return weir_fail(err, ret, "cannot make %s promiscuous: %s: leave "
						   "--promisc out",
					 w->ifaces[i].name, strerror(-ret));
	}
	return 0;
}

static int add_fd(struct loop *l, int fd, uint32_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = what};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev);
}

/* Signals are blocked before anything is attached and read from a descriptor:
 * none can come between a test and a wait. */
static int open_loop(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	uint64_t tick = w->flows ? TICK_FLOWS_NS : TICK_NS;
	struct itimerspec every = {
		.it_interval = {.tv_sec = (time_t)(tick / WEIR_NSEC_PER_SEC),
				.tv_nsec = (long)(tick % WEIR_NSEC_PER_SEC)},
	};
	sigset_t set;

	/* A shell starts background jobs with SIGINT ignored, and what is ignored
	 * never reaches a descriptor. SIGHUP stays as nohup(1) wants it. */
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGUSR1, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &l->old_mask);
	signal(SIGPIPE, SIG_IGN);
	every.it_value = every.it_interval;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	w->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->epoll < 0 || l->signals < 0 || l->timer < 0 || w->stop_fd < 0 ||
	    timerfd_settime(l->timer, 0, &every, NULL) || add_fd(l, l->signals, EV_SIGNAL) ||
	    add_fd(l, l->timer, EV_TIMER) || add_fd(l, w->stop_fd, EV_STOP))
		return weir_fail(err, -errno, "cannot set up the event loop: %s: check `ulimit -n`",
				 strerror(errno));
	return 0;
}

static int open_sinks(struct weir_watch *w, struct weir_error *err)
{
	bool threads = w->hook == WEIR_HOOK_MMAP;
	unsigned int per = w->opt.fanout ? (unsigned int)w->opt.fanout : 1;

	w->n_sinks = threads ? per * w->n_ifaces : 1;
	w->sinks = calloc(w->n_sinks, sizeof(*w->sinks));
	if (!w->sinks)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < w->n_sinks; i++)
		if (weir_sink_init(&w->sinks[i], w))
			return weir_fail(err, -ENOMEM, "out of memory");
	return 0;
}

/* What only makes sense for eyes: the bar, the top talkers. */
static void open_screen(struct weir_watch *w)
{
	bool text = !w->opt.write_file && w->opt.format != WEIR_FORMAT_JSON && !w->keeps_flows;

	if (text && !w->opt.read_file && w->n_sinks == 1 && isatty(STDERR_FILENO))
		w->sinks[0].talkers = weir_talkers_new();
	if (text && !w->opt.read_file && w->n_sinks == 1 && isatty(STDOUT_FILENO))
		weir_bar_new(w);
	if (text && !w->opt.read_file && !w->opt.show_self && isatty(STDOUT_FILENO))
		weir_self_find(&w->self);
}

/* With --stats json standard error holds JSON lines only. */
static void announce_json(const struct weir_watch *w, const char *event, const char *capture,
			  const char *direction, struct weir_buf *out)
{
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verb", "watch");
	weir_json_str(&j, "event", event);
	weir_json_str(&j, "capture", capture);
	weir_json_str(&j, "direction", direction);
	if (w->any)
		weir_json_bool(&j, "joins", weir_any_joins(w));
	weir_json_uint(&j, "snaplen", w->out_snaplen);
	weir_json_str(&j, "match_at", w->user_stage ? "user" : "kernel");
	if (w->netns)
		weir_json_uint(&j, "netns", w->netns);
	weir_json_end_object(&j);
}

static void announce(const struct weir_watch *w)
{
	static const char *const hooks[] = {
		[WEIR_HOOK_TCX] = "tc (tcx link)",
		[WEIR_HOOK_XDP] = "xdp (guest of the gate)",
		[WEIR_HOOK_TAP] = "af_packet (socket filter)",
		[WEIR_HOOK_MMAP] = "af_packet (TPACKET_V3)",
		[WEIR_HOOK_PCAP] = "pcap",
		[WEIR_HOOK_DPDK] = "dpdk",
		[WEIR_HOOK_XSK] = "af_xdp (copy mode: what matches is taken off the interface)",
	};

	const char *direction = w->want_in && w->want_out ? "inout" : w->want_in ? "in" : "out";
	weir_autobuf struct weir_buf where = {0}, out = {0};

	if (w->opt.read_file)
		return;
	weir_buf_adds(&where, "listening on ");
	if (w->any)
		weir_buf_addf(&where, "any (%u interfaces, each packet at %s, %s)", w->n_ifaces,
			      weir_watch_one_point(w) ? "one point" : "all points",
			      weir_any_joins(w) ? "new ones join" : "new ones do not join");
	for (unsigned int i = 0; !w->any && i < w->n_ifaces; i++)
		weir_buf_addf(&where, "%s%s", i ? ", " : "", w->ifaces[i].name);
	if (w->netns && w->opt.stats != 1)
		weir_buf_addf(&where, " of network namespace %s", w->opt.netns);
	if (w->opt.stats == 1)
		announce_json(w, where.data, hooks[w->hook], direction, &out);
	else
		weir_buf_addf(&out, "weir watch: %s, capture %s, direction %s%s", where.data,
			      hooks[w->hook], direction,
			      !w->opt.strict_pcap ? "" :
			      w->user_stage	  ? ", strict match in user space" :
						    ", strict match in the kernel");
	if (w->opt.stats == 1)
		weir_buf_addc(&out, '\n');
	else if (w->mode == WEIR_WATCH_FLOWS || w->mode == WEIR_WATCH_COUNT)
		weir_buf_addf(&out, ", counting %sin the kernel\n",
			      w->mode == WEIR_WATCH_FLOWS ? "flows " : "");
	else
		weir_buf_addf(&out, ", snaplen %u\n", w->out_snaplen);
	weir_buf_flush(&out, STDERR_FILENO);
}

static void drop_privileges(const struct weir_watch *w)
{
	weir_caps_drop(weir_writer_needs_override(w) ? WEIR_CAP_DAC_OVERRIDE : 0);
}

static void on_signals(struct weir_watch *w, struct loop *l)
{
	struct signalfd_siginfo si;

	while (read(l->signals, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGUSR1) {
			weir_account_print(w);
			continue;
		}
		atomic_store(&w->interrupted, true);
		weir_watch_stop(w);
	}
}

static void close_loop(struct weir_watch *w, struct loop *l)
{
	int fds[] = {l->epoll, l->signals, l->timer, w->stop_fd, w->look_fd, w->promisc_fd};
	struct signalfd_siginfo late;

	/* A signal that came after the end would kill the process as soon as it is
	 * let through. */
	while (l->signals >= 0 && read(l->signals, &late, sizeof(late)) == sizeof(late))
		;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	sigprocmask(SIG_SETMASK, &l->old_mask, NULL);
}

/* The programs leave with their interface and sockets only fall silent: without
 * a look, an interface that was deleted would be watched for ever. */
static int check_interfaces(struct weir_watch *w, struct weir_error *err)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		struct weir_watch_iface *x = &w->ifaces[i];
		struct ifreq ifr = {.ifr_ifindex = (int)x->ifindex};

		if (!x->gone && ioctl(w->look_fd, SIOCGIFNAME, &ifr) && errno == ENODEV) {
			x->gone = true;
			if (w->n_ifaces > 1)
				weir_watch_tell(w, "gone", x->name, "is gone");
		}
		left += !x->gone;
	}
	if (left)
		return 0;
	return weir_fail(err, -ENODEV, "%s: watching ends: what came before was shown",
			 w->n_ifaces > 1 ? "all interfaces are gone" : "the interface is gone");
}

static int on_timer(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	uint64_t times;
	int ret = 0;

	if (read(l->timer, &times, sizeof(times)) != sizeof(times))
		return 0;
	atomic_store(&w->clock_offset, weir_clock_offset());
	if (l->deadline && weir_clock_mono() >= l->deadline)
		weir_watch_stop(w);
	if (!w->opt.read_file && w->hook != WEIR_HOOK_DPDK && !weir_any_joins(w))
		ret = check_interfaces(w, err);
	weir_watch_owners_tick(w);
	if (!ret && w->any)
		weir_any_tick(w);
	if (!ret && w->mode == WEIR_WATCH_FLOWS)
		ret = weir_bpf_drain_flows(w, err);
	if (!ret && w->opt.flows && weir_flows_show(w, false))
		weir_watch_stop(w);
	else if (!ret && w->flows && !w->opt.flows && !w->opt.read_file)
		weir_flows_expire(w, weir_clock_real(), NULL, NULL);
	if (!ret && !w->opt.read_file)
		ret = weir_observers_tick(w, err);
	if (w->opt.write_file)
		weir_writer_tick(w);
	if (w->bar)
		weir_bar_tick(w);
	return ret;
}

static int poll_engine(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	int n;

	if (!w->engine->poll) /* its threads read, and write what they read */
		return 0;
	n = w->engine->poll(w, err);
	if (n == -ENODATA) {
		l->ended = true;
		weir_watch_stop(w);
		n = 0;
	}
	if (w->sinks[0].out.len)
		weir_sink_flush(&w->sinks[0]);
	return n == WEIR_STOP ? 0 : n;
}

/* How long may the next wait be, in ms? */
static int patience(struct weir_watch *w, const struct loop *l, int read_last)
{
	int ms = read_last > 0 ? LINGER_MS : -1;
	uint64_t now;

	/* What was read ahead shows on no descriptor. */
	if (w->opt.read_file)
		return read_last > 0 || w->engine->fd(w) < 0 ? 0 : POLLED_MS;
	if (w->mode == WEIR_WATCH_PERF || (w->hook == WEIR_HOOK_PCAP && w->n_ifaces > 1))
		ms = POLLED_MS;
	if (w->hook == WEIR_HOOK_DPDK)
		return read_last > 0 ? 0 : SPIN_MS;
	if (l->deadline) {
		now = weir_clock_mono();
		int left = now >= l->deadline ? 0 : (int)((l->deadline - now) / 1000000) + 1;

		if (ms < 0 || left < ms)
			ms = left;
	}
	return ms;
}

static int run_loop(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	struct epoll_event ev[4];
	int n, read_last = 0, ret = 0;

	while (!ret && !atomic_load(&w->stop)) {
		n = epoll_wait(l->epoll, ev, 4, patience(w, l, read_last));
		if (n < 0 && errno != EINTR)
			return weir_fail(err, -errno, "cannot wait: %s: report this",
					 strerror(errno));
		for (int i = 0; i < n && !ret; i++) {
			if (ev[i].data.u32 == EV_SIGNAL)
				on_signals(w, l);
			else if (ev[i].data.u32 == EV_TIMER)
				ret = on_timer(w, l, err);
			else if (ev[i].data.u32 == EV_OWNERS)
				weir_watch_owners_tick(w);
			else if (ev[i].data.u32 == EV_LINKS)
				weir_any_changed(w);
			else if (ev[i].data.u32 >= EV_OBSERVER)
				weir_observers_ready(w, ev[i].data.u32 - EV_OBSERVER);
		}
		if (l->deadline && weir_clock_mono() >= l->deadline)
			weir_watch_stop(w);
		if (ret || atomic_load(&w->stop))
			break;
		read_last = poll_engine(w, l, err);
		if (read_last < 0)
			ret = read_last;
	}
	return ret;
}

/* Nothing new comes now; what is in the rings is still delivered. After -c and
 * -W the rest stays where it is and is called queued; that of a file stays
 * there. */
static int drain(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	uint64_t deadline = weir_clock_mono() + DRAIN_NS;
	bool enough = w->opt.read_file || weir_writer_done(w) ||
		      (w->opt.count && atomic_load(&w->left) <= 0);
	int ret = 0, n;

	on_signals(w, l);
	w->engine->detach(w);
	w->detached = true;
	if (w->mode == WEIR_WATCH_FLOWS)
		ret = weir_bpf_drain_flows(w, err);
	while (!ret && !enough && !l->ended && weir_clock_mono() < deadline) {
		n = poll_engine(w, l, err);
		if (n < 0)
			ret = n;
		if (n <= 0)
			break;
	}
	for (unsigned int i = 0; i < w->n_sinks; i++)
		if (w->sinks[i].out.len)
			weir_sink_flush(&w->sinks[i]);
	return ret;
}

static void tell_count(struct weir_watch *w)
{
	weir_autobuf struct weir_buf out = {0};
	struct weir_watch_account a;
	uint64_t n = 0;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		n += a.delivered;
	}
	if (w->opt.format == WEIR_FORMAT_JSON)
		weir_buf_addf(&out, "{\"v\":1,\"packets\":%llu}\n", (unsigned long long)n);
	else
		weir_buf_addf(&out, "%llu packets\n", (unsigned long long)n);
	weir_writer_write(w, &out);
}

/* The end of the output: the last picture, the account, the exit status. */
static void conclude(struct weir_watch *w)
{
	weir_bar_free(WEIR_TAKE_PTR(w->bar));
	weir_watch_owners_last(w);
	if (w->opt.flows)
		weir_flows_show(w, true);
	if (w->opt.count_only)
		tell_count(w);
	weir_account_print(w);
	weir_watch_owners_account(w);
	if (atomic_load(&w->interrupted))
		weir_talkers_print(w);
	if (!w->status && w->opt.fail_on_loss && weir_account_lost(w))
		w->status = WEIR_EXIT_LOSS;
}

static int wait_for_observers(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	int fd = weir_watch_owners_fd(w), links = w->any ? weir_any_fd(w) : -1;

	if ((fd >= 0 && add_fd(l, fd, EV_OWNERS)) || (links >= 0 && add_fd(l, links, EV_LINKS)))
		return weir_fail(err, -errno, "cannot wait for a descriptor: %s: report this",
				 strerror(errno));
	for (unsigned int i = 0; (fd = weir_observers_fd(w, i)) != -ENOENT; i++)
		if (fd >= 0 && add_fd(l, fd, EV_OBSERVER + i))
			return weir_fail(err, -errno, "cannot wait for a descriptor: %s: report this",
					 strerror(errno));
	return 0;
}

static int capture(struct weir_watch *w, struct loop *l, struct weir_error *err)
{
	int ret, fd;

	ret = weir_writer_open(w, err);
	if (ret)
		return ret;
	w->running = true;
	drop_privileges(w);
	announce(w);
	if (w->opt.for_ns)
		l->deadline = weir_clock_mono() + w->opt.for_ns;
	ret = w->engine->start ? w->engine->start(w, err) : 0;
	if (ret)
		return ret;
	fd = w->engine->fd ? w->engine->fd(w) : -1;
	if (fd >= 0 && add_fd(l, fd, EV_ENGINE))
		return weir_fail(err, -errno, "cannot wait for packets: %s: report this",
				 strerror(errno));
	ret = weir_observers_start(w, err);
	if (!ret)
		ret = wait_for_observers(w, l, err);
	return ret ? ret : run_loop(w, l, err);
}

static void open_rules(struct weir_watch *w, struct weir_rules *store)
{
	if (w->hook != WEIR_HOOK_XDP)
		return;
	weir_rules_open(store, false, NULL);
	w->rules = store;
}

/* With --netns: to where the command was given, or back. The sockets that observers open, also
 * later on, are of that place, and so is what they start; packets are looked at in the other. */
static int move(const struct weir_watch *w, int fd, struct weir_error *err)
{
	return fd < 0 || !setns(fd, CLONE_NEWNET) ?
		       0 :
		       weir_netns_explain(err, -errno, fd == w->home_fd ? "/proc/self/ns/net" :
									  w->opt.netns);
}

/* Their options are words of the command line as all others. */
static int open_observers(struct weir_watch *w, struct weir_error *err)
{
	int ret = move(w, w->home_fd, err);

	if (!ret)
		ret = weir_observers_open(w, err);
	if (ret == -EINVAL)
		w->status = WEIR_EXIT_USAGE;
	return ret ? ret : move(w, w->netns_fd, err);
}

int weir_watch_run(struct weir_watch *w, struct weir_error *err)
{
	struct loop l = {.epoll = -1, .signals = -1, .timer = -1};
	struct weir_rules store = {.rules_fd = -1};
	struct weir_error later;
	int ret;

	w->stop_fd = w->promisc_fd = -1;
	w->look_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	atomic_store(&w->clock_offset, weir_clock_offset());
	w->started = weir_clock_real();
	atomic_store(&w->left, (int_fast64_t)w->opt.count);
	if (getrandom(&w->seed, sizeof(w->seed), 0) != sizeof(w->seed))
		w->seed = (uint32_t)w->started;
	ret = check_privileges(w, err);
	if (!ret && w->keeps_flows)
		ret = weir_flows_new(w, err);
	if (!ret && w->opt.names && weir_l7_new(&w->l7, !w->opt.numeric, w->seed))
		ret = weir_fail(err, -ENOMEM, "out of memory: leave --names out");
	if (!ret)
		ret = open_observers(w, err);
	if (!ret)
		ret = weir_watch_owners_open(w, err);
	if (!ret)
		ret = weir_writer_new(w, err);
	if (!ret)
		ret = open_loop(w, &l, err);
	if (!ret)
		ret = open_sinks(w, err);
	if (!ret && w->opt.promisc && !weir_hook_is_library(w->hook))
		ret = open_promisc(w, err);
	if (!ret) {
		open_rules(w, &store);
		open_screen(w);
		ret = w->engine->open(w, err);
	}
	if (!ret)
		ret = move(w, w->home_fd, err);
	if (!ret)
		ret = capture(w, &l, err);
	if (w->running) {
		int drained = drain(w, &l, ret ? &later : err);

		ret = ret ? ret : drained;
		drained = weir_observers_close(w, ret ? &later : err);
		ret = ret ? ret : drained;
		conclude(w);
	} else {
		w->engine->detach(w);
		weir_observers_close(w, &later);
	}
	if (weir_writer_close(w) && !w->status)
		w->status = WEIR_EXIT_FAILED;
	w->engine->close(w);
	for (unsigned int i = 0; i < w->n_sinks; i++)
		weir_sink_free(&w->sinks[i]);
	free(w->sinks);
	weir_flows_free(w->flows);
	weir_l7_free(w->l7);
	weir_watch_bypass_free(w->bypass);
	weir_watch_owners_close(w);
	if (w->rules)
		weir_rules_close(w->rules);
	close_loop(w, &l);
	return ret;
}
