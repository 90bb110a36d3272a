/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture by weir's own programs: tcx links, a guest stage of the XDP gate, or
 * a socket filter on AF_PACKET. What they ship comes through per-CPU rings or
 * the perf event array; with --flows and --count nothing is shipped at all.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "bpf/flow.bpf.h"
#include "cap/watch/session.h"
#include "cap/watch/watch.h"
#include "cap/watch/programs.h"
#include "cap/watch/stage.h"
#include "dataplane/load.h"
#include "dataplane/ring.h"
#include "dataplane/sys.h"

/* Of the packets of a followed flow so many bytes a CPU wait for the next look. */
#define FOLLOW_RING (256U << 10)
/* Flow records read by one system call. */
#define DRAIN_BATCH 4096

struct port { /* what one interface holds */
	struct weir_stage stage; /* its programs: XDP: one each; else only the first's */
	int link[2];
	int sock;
};

struct bpf_state {
	struct port port[WEIR_WATCH_IFACES];
	struct weir_ring *ring;
	int flow_fd[2];
	int flow_active;
	void (*followed)(void *arg, const struct weir_packet *p);
	void *followed_arg;
};

static struct bpf_state *state_of(struct weir_watch *w)
{
	return w->engine_state;
}

/* The header of a record, its time made the clock's; its bytes, NULL: no such record. */
static const uint8_t *read_event(const struct weir_watch *w, const void *data, size_t size,
				 struct weir_watch_event *ev)
{
	if (size < sizeof(*ev))
		return NULL;
	memcpy(ev, data, sizeof(*ev));
	if (ev->caplen > size - sizeof(*ev) || ev->slot >= w->n_ifaces)
		return NULL;
	ev->ts += weir_watch_clock_offset(w);
	return (const uint8_t *)data + sizeof(*ev);
}

static int on_event(void *arg, const void *data, size_t size)
{
	struct weir_watch *w = arg;
	struct weir_watch_event ev;
	const uint8_t *bytes = read_event(w, data, size, &ev);

	return bytes ? weir_sink_packet(&w->sinks[0], &ev, bytes) : 0;
}

/* Beside flows that the kernel counts: packets of the one that is looked at, and those
 * that may tell a name. */
static int on_beside(void *arg, const void *data, size_t size)
{
	struct weir_watch *w = arg;
	struct bpf_state *st = state_of(w);
	struct weir_watch_event ev;
	const uint8_t *bytes = read_event(w, data, size, &ev);
	struct weir_packet p;

	if (!bytes)
		return 0;
	if (!(ev.flags & WEIR_WATCH_FOLLOWED)) {
		weir_l7_candidate(w, &ev, bytes);
	} else if (st->followed) {
		weir_sink_unpack(&w->sinks[0], &ev, bytes, &p);
		st->followed(st->followed_arg, &p);
	}
	return 0;
}

/* The links that interface @slot should have, and no others. */
static int aim_tcx(struct weir_watch *w, unsigned int slot)
{
	const struct weir_watch_iface *x = &w->ifaces[slot];
	const bool wanted[2] = { w->want_in && !x->out_only && !x->gone,
				 w->want_out && !x->in_only && !x->gone };
	struct bpf_state *st = state_of(w);
	int *link = st->port[slot].link;

	for (int out = 0; out < 2; out++) {
		if (!wanted[out] && link[out] >= 0)
			close(WEIR_TAKE_FD(link[out]));
		if (!wanted[out] || link[out] >= 0)
			continue;
		/* First on the way in, last on the way out: next to the wire. */
		link[out] = weir_sys_tcx_link(
			weir_programs_fd(st->port[0].stage.programs,
					 out ? WEIR_PROGRAM_OUT : WEIR_PROGRAM_IN),
			x->ifindex, out, !out);
		if (link[out] < 0)
			return link[out];
	}
	return 0;
}

static int attach_tcx(struct weir_watch *w, struct weir_error *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = aim_tcx(w, i);
	if (ret == -EINVAL)
		return weir_fail(err, -EINVAL, "this kernel has no tcx (6.6 and later have it): "
					       "use --capture auto or af_packet");
	return ret ? weir_load_explain(err, ret, "attach at tc") : 0;
}

/* A packet socket that only runs the filter: it queues nothing. */
static int attach_tap(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	int prog = weir_programs_fd(st->port[0].stage.programs, WEIR_PROGRAM_TAP), ret;

	/* Of -i any one socket sees all; the program knows which are looked at, and where. */
	for (unsigned int i = 0; i < (w->any ? 1 : w->n_ifaces); i++) {
		struct sockaddr_ll addr = {.sll_family = AF_PACKET,
					   .sll_protocol = htons(ETH_P_ALL),
					   .sll_ifindex = w->any ? 0 : (int)w->ifaces[i].ifindex};
		int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return weir_fail(err, -errno, "cannot open a packet socket: %s: see "
						      "`weir doctor`",
					 strerror(errno));
		st->port[i].sock = fd;
		if (!w->any && w->ifaces[i].in_only)
			weir_ignore_outgoing(fd);
		ret = weir_attach_filter(fd, prog, err);
		if (ret)
			return ret;
		if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
			return weir_fail(err, -errno, "cannot capture on %s: %s: check `ip link`",
					 w->any ? "any" : w->ifaces[i].name, strerror(errno));
	}
	return 0;
}

/* Two maps, so that one can be read while the other counts. */
static int create_flow_maps(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	const struct weir_programs *p = st->port[0].stage.programs;
	uint32_t zero = 0;

	for (int i = 0; i < 2; i++) {
		st->flow_fd[i] = weir_programs_flow_table(p, (uint32_t)w->opt.flows_max);
		if (st->flow_fd[i] < 0)
			return weir_load_explain(err, st->flow_fd[i], "create the flow table");
	}
	if (bpf_map_update_elem(weir_programs_map(p, WEIR_MAP_FLOWS), &zero, &st->flow_fd[0],
				BPF_ANY))
		return weir_load_explain(err, -errno, "install the flow table");
	return 0;
}

/* Rings and flow tables are there before anything is attached, so that the
 * first packet finds them. */
static int open_transport(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	const struct weir_programs *p = st->port[0].stage.programs;
	bool flows = w->mode == WEIR_WATCH_FLOWS;
	int ret = flows ? create_flow_maps(w, err) : 0;

	if (!ret && flows && (w->l7 || w->full_screen))
		return weir_ring_open(&st->ring, WEIR_TRANSPORT_RING,
				      weir_programs_map(p, WEIR_MAP_RINGS),
				      w->l7 ? w->opt.buffer : FOLLOW_RING, on_beside, w, err);
	if (w->mode == WEIR_WATCH_RING)
		return weir_ring_open(&st->ring, WEIR_TRANSPORT_RING,
				      weir_programs_map(p, WEIR_MAP_RINGS), w->opt.buffer, on_event,
				      w, err);
	if (w->mode == WEIR_WATCH_PERF)
		return weir_ring_open(&st->ring, WEIR_TRANSPORT_PERF,
				      weir_programs_map(p, WEIR_MAP_PERF), w->opt.buffer, on_event,
				      w, err);
	return ret;
}

static int attach_xdp(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	int ret = 0;

	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = weir_stage_enter(&st->port[i].stage, WEIR_PROGRAM_XDP, err);
	return ret;
}

static int prepare(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	int ret = 0;

	if (w->hook != WEIR_HOOK_XDP)
		return weir_programs_load(w, NULL, 0, NULL, &st->port[0].stage.programs, err);
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = weir_stage_prepare(w, i, i ? st->port[0].stage.programs : NULL,
					 &st->port[i].stage, err);
	return ret;
}

static int attach(struct weir_watch *w, struct weir_error *err)
{
	if (w->hook == WEIR_HOOK_XDP)
		return attach_xdp(w, err);
	return w->hook == WEIR_HOOK_TCX ? attach_tcx(w, err) : attach_tap(w, err);
}

static int bpf_engine_open(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = calloc(1, sizeof(*st));
	int ret;

	if (!st)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->engine_state = st;
	st->flow_fd[0] = st->flow_fd[1] = -1;
	for (unsigned int i = 0; i < WEIR_WATCH_IFACES; i++) {
		st->port[i].sock = st->port[i].link[0] = st->port[i].link[1] = -1;
		weir_stage_init(&st->port[i].stage);
	}
	weir_load_setup();
	ret = prepare(w, err);
	if (!ret)
		ret = open_transport(w, err);
	return ret ? ret : attach(w, err);
}

static int bpf_engine_fd(struct weir_watch *w)
{
	struct bpf_state *st = state_of(w);

	return st->ring ? weir_ring_fd(st->ring) : -1;
}

static int bpf_engine_poll(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	int ret = st->ring ? weir_ring_consume(st->ring) : 0;

	if (ret < 0 && ret != WEIR_STOP)
		weir_fail(err, ret, "cannot read the rings: %s: report this", strerror(-ret));
	return ret;
}

static void bpf_engine_detach(struct weir_watch *w)
{
	struct bpf_state *st = state_of(w);

	if (!st)
		return;
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		struct port *p = &st->port[i];

		for (int out = 0; out < 2; out++)
			if (p->link[out] >= 0)
				close(WEIR_TAKE_FD(p->link[out]));
		if (p->sock >= 0)
			close(WEIR_TAKE_FD(p->sock));
		weir_stage_leave(&p->stage);
	}
	weir_stage_wait();
}

static int bpf_engine_aim(struct weir_watch *w, unsigned int slot)
{
	int ret = weir_programs_place(state_of(w)->port[0].stage.programs, w, slot);

	/* The links of one that is gone are closed, whatever the map says. */
	if (ret && !w->ifaces[slot].gone)
		return ret;
	return w->hook == WEIR_HOOK_TCX ? aim_tcx(w, slot) : 0;
}

static void bpf_engine_counters(struct weir_watch *w, unsigned int slot,
				struct weir_watch_counters *ret)
{
	struct bpf_state *st = state_of(w);

	memset(ret, 0, sizeof(*ret));
	if (st && st->port[0].stage.programs)
		weir_programs_counters(st->port[0].stage.programs, slot, ret);
}

static void bpf_engine_close(struct weir_watch *w)
{
	struct bpf_state *st = WEIR_TAKE_PTR(w->engine_state);

	if (!st)
		return;
	weir_ring_close(st->ring);
	for (int i = 0; i < 2; i++)
		if (st->flow_fd[i] >= 0)
			close(st->flow_fd[i]);
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		weir_stage_free(&st->port[i].stage);
	free(st);
}

int weir_bpf_drain_flows(struct weir_watch *w, struct weir_error *err)
{
	struct bpf_state *st = state_of(w);
	int flows = weir_programs_map(st->port[0].stage.programs, WEIR_MAP_FLOWS);
	int old = st->flow_fd[st->flow_active];
	weir_autofree struct weir_flow_part *parts = calloc(DRAIN_BATCH, sizeof(*parts));
	size_t size = w->wants_sides ? sizeof(struct weir_flow_full) : sizeof(struct weir_flow_val);
	weir_autofree uint8_t *vals = calloc(DRAIN_BATCH, size);
	uint32_t zero = 0, token = 0, n;
	bool first = true;
	int ret;

	if (!parts || !vals)
		return weir_fail(err, -ENOMEM, "out of memory");
	if (st->ring) /* what flows are called is there before them */
		weir_ring_consume(st->ring);
	st->flow_active ^= 1;
	/* For a map in a map the kernel itself waits here until no program can
	 * still be using the old one. */
	if (bpf_map_update_elem(flows, &zero, &st->flow_fd[st->flow_active], BPF_ANY))
		return weir_load_explain(err, -errno, "swap the flow table");
	do {
		n = DRAIN_BATCH;
		ret = bpf_map_lookup_and_delete_batch(old, first ? NULL : &token, &token, parts,
						      vals, &n, NULL);
		if (ret && errno != ENOENT)
			return weir_load_explain(err, -errno, "read the flow table");
		for (uint32_t i = 0; i < n; i++) {
			struct weir_flow_val *v = (struct weir_flow_val *)(vals + i * size);

			if (!v->first)
				continue;
			v->first += weir_watch_clock_offset(w);
			v->last += weir_watch_clock_offset(w);
			weir_flows_merge(w, &parts[i].key, v,
					 w->wants_sides ? (struct weir_flow_sides *)(v + 1) : NULL);
		}
		first = false;
	} while (!ret);
	return 0;
}

void weir_bpf_stats(struct weir_watch *w, struct weir_watch_stats *sum)
{
	struct bpf_state *st = state_of(w);

	if (st && st->port[0].stage.programs)
		weir_programs_stats(st->port[0].stage.programs, sum);
}

void weir_bpf_alerts(struct weir_watch *w, struct weir_watch_alerts *ret)
{
	weir_programs_alerts(state_of(w)->port[0].stage.programs, ret);
}

int weir_bpf_follow(struct weir_watch *w, const struct weir_flow_key *k)
{
	struct weir_watch_followed f = { .on = !!k };
	const struct bpf_state *st = state_of(w);
	uint32_t zero = 0;

	if (k)
		f.key = *k;
	return bpf_map_update_elem(weir_programs_map(st->port[0].stage.programs, WEIR_MAP_FOLLOWED),
				   &zero, &f, BPF_ANY) ?
		       -errno :
		       0;
}

uint64_t weir_bpf_followed(struct weir_watch *w,
			   void (*fn)(void *arg, const struct weir_packet *p), void *arg)
{
	struct bpf_state *st = state_of(w);
	struct weir_watch_counters c;

	st->followed = fn;
	st->followed_arg = arg;
	if (st->ring)
		weir_ring_consume(st->ring);
	weir_programs_follow_counters(st->port[0].stage.programs, &c);
	return c.lost[WEIR_WATCH_LOST_RING_FULL] + c.lost[WEIR_WATCH_LOST_COPY] +
	       c.lost[WEIR_WATCH_LOST_TOO_BIG];
}

const struct weir_engine weir_engine_bpf = {
	.name = "bpf",
	.open = bpf_engine_open,
	.fd = bpf_engine_fd,
	.poll = bpf_engine_poll,
	.detach = bpf_engine_detach,
	.aim = bpf_engine_aim,
	.counters = bpf_engine_counters,
	.close = bpf_engine_close,
};
