/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture by AF_XDP in copy mode: a guest stage of the XDP gate, behind those that decide,
 * redirects what matches into a socket for each receive queue. It thereby takes the packets off
 * the interface: nobody else on this host gets them. What does not match goes on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/session.h"
#include "cap/watch/stage.h"
#include "cap/watch/xsk.h"
#include "dataplane/links.h"
#include "dataplane/load.h"

#define BATCH 256		/* frames read from one queue before the next has its turn */
#define PIECES 18		/* of one frame: 64 KiB and its headers */
#define MEMORY_MAX (4ULL << 30) /* of all sockets together */

struct port { /* what one interface holds */
	struct weir_stage stage;
	struct weir_xsk *queue[WEIR_XSK_QUEUES];
	unsigned int n;
};

struct xsk_state {
	struct port *port; /* one for each interface */
	int epoll;
	bool pieces; /* a frame may come in several */
	bool detached;
};

static struct xsk_state *state_of(struct weir_watch *w)
{
	return w->engine_state;
}

/* Receive queues that the device has room for; not all need be in use. */
static unsigned int queues_of(uint32_t ifindex)
{
	weir_autofree struct weir_link *links = NULL;
	uint32_t found = 1;
	size_t n = 0;

	if (weir_links_read(&links, &n))
		return 1;
	for (size_t i = 0; i < n; i++)
		if (links[i].index == ifindex && links[i].queues)
			found = links[i].queues;
	return found < WEIR_XSK_QUEUES ? found : WEIR_XSK_QUEUES;
}

static int open_queues(struct weir_watch *w, unsigned int slot, struct weir_error *err)
{
	const struct weir_watch_iface *x = &w->ifaces[slot];
	struct xsk_state *st = state_of(w);
	struct port *p = &st->port[slot];
	unsigned int n = queues_of(x->ifindex);
	int ret;

	if (w->opt.buffer * n * w->n_ifaces > MEMORY_MAX)
		return weir_fail(err, -E2BIG,
				 "%u receive queues of %llu bytes each are too much: "
				 "ask for a smaller -B",
				 n * w->n_ifaces, (unsigned long long)w->opt.buffer);
	for (unsigned int i = 0; i < n; i++) {
		struct epoll_event ev = { .events = EPOLLIN };

		ret = weir_xsk_open(&p->queue[i], x->name, x->ifindex, i, w->opt.buffer,
				    &st->pieces, err);
		if (ret == -ENOENT) /* the rest is not in use */
			break;
		if (ret)
			return ret;
		p->n++;
		if (epoll_ctl(st->epoll, EPOLL_CTL_ADD, weir_xsk_fd(p->queue[i]), &ev))
			return weir_fail(err, -errno,
					 "cannot wait for AF_XDP: %s: check `ulimit "
					 "-n`",
					 strerror(errno));
	}
	return 0;
}

/* The sockets before the programs, which have to know how long a frame may be. */
static int prepare(struct weir_watch *w, struct weir_error *err)
{
	struct xsk_state *st = state_of(w);
	int ret = 0;

	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = open_queues(w, i, err);
	w->take_max = st->pieces ? PIECES * WEIR_WATCH_XSK_PIECE : WEIR_WATCH_XSK_PIECE;
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = weir_stage_prepare(w, i, i ? st->port[0].stage.programs : NULL,
					 &st->port[i].stage, err);
	return ret;
}

static int enter(struct weir_watch *w, struct weir_error *err)
{
	struct xsk_state *st = state_of(w);
	int ret = 0;

	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++) {
		struct port *p = &st->port[i];
		int map = weir_programs_map(p->stage.programs, WEIR_MAP_XSKS);

		for (uint32_t q = 0; q < p->n; q++) {
			int fd = weir_xsk_fd(p->queue[q]);

			if (bpf_map_update_elem(map, &q, &fd, BPF_ANY))
				return weir_load_explain(err, -errno, "hand on the AF_XDP sockets");
		}
		ret = weir_stage_enter(&p->stage, WEIR_PROGRAM_TAKE, err);
	}
	return ret;
}

static int xsk_engine_open(struct weir_watch *w, struct weir_error *err)
{
	struct xsk_state *st = calloc(1, sizeof(*st));
	int ret;

	if (!st)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->engine_state = st;
	st->pieces = true;
	st->epoll = epoll_create1(EPOLL_CLOEXEC);
	st->port = calloc(w->n_ifaces, sizeof(*st->port));
	if (st->epoll < 0 || !st->port)
		return weir_fail(err, -ENOMEM, "cannot wait for AF_XDP: check `ulimit -n`");
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		weir_stage_init(&st->port[i].stage);
	weir_load_setup();
	ret = prepare(w, err);
	return ret ? ret : enter(w, err);
}

static int xsk_engine_fd(struct weir_watch *w)
{
	return state_of(w)->epoll;
}

static int read_queue(struct weir_watch *w, unsigned int slot, unsigned int queue)
{
	const struct weir_watch_iface *x = &w->ifaces[slot];
	struct weir_xsk *xsk = state_of(w)->port[slot].queue[queue];
	const uint64_t *consumed = &w->sinks[0].counts[slot].consumed;
	struct weir_xsk_frame f;
	int n = 0, ret = 0;

	for (; !ret && n < BATCH && weir_xsk_peek(xsk, &f); n++) {
		struct weir_watch_event ev = {
			.ts = (f.ts ? f.ts : weir_clock_mono()) + weir_watch_clock_offset(w),
			.len = f.len,
			.caplen = f.caplen < w->snaplen ? f.caplen : w->snaplen,
			.ifindex = x->ifindex,
			.queue = (uint16_t)queue,
			.dir = WEIR_WATCH_IN,
			.flags = (uint8_t)(WEIR_WATCH_QUEUE | (x->no_l2 ? WEIR_WATCH_NO_L2 : 0)),
			.slot = (uint8_t)slot,
		};
		uint64_t before = *consumed;

		ret = weir_sink_packet(&w->sinks[0], &ev, f.data);
		/* What the sink did not want any more stays where it is: queued. */
		if (*consumed != before)
			weir_xsk_release(xsk);
	}
	weir_xsk_tell(xsk);
	return ret ? ret : n;
}

static int xsk_engine_poll(struct weir_watch *w, struct weir_error *err)
{
	struct xsk_state *st = state_of(w);
	int total = 0, n;

	(void)err;
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		for (unsigned int q = 0; q < st->port[i].n; q++) {
			n = read_queue(w, i, q);
			if (n < 0)
				return n;
			total += n;
		}
	return total;
}

static void xsk_engine_detach(struct weir_watch *w)
{
	struct xsk_state *st = state_of(w);

	if (!st || !st->port)
		return;
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		weir_stage_leave(&st->port[i].stage);
	/* A redirected frame is in its ring before the softirq ends that began it. */
	weir_stage_wait();
	st->detached = true;
}

static void xsk_engine_counters(struct weir_watch *w, unsigned int slot,
				struct weir_watch_counters *ret)
{
	struct xsk_state *st = state_of(w);
	struct weir_xsk_drops drops = { 0 };
	uint64_t waiting = 0, arrived;
	struct port *p;

	memset(ret, 0, sizeof(*ret));
	if (!st || !st->port || !st->port[0].stage.programs)
		return;
	p = &st->port[slot];
	for (unsigned int q = 0; q < p->n; q++) {
		weir_xsk_drops(p->queue[q], &drops);
		if (st->detached)
			waiting += weir_xsk_waiting(p->queue[q]);
	}
	weir_programs_counters(st->port[0].stage.programs, slot, ret);
	/* The program has sent them on; the socket had no room. */
	ret->lost[WEIR_WATCH_LOST_NO_FRAME] += drops.no_frame;
	ret->lost[WEIR_WATCH_LOST_RING_FULL] += drops.ring_full;
	ret->sent -= drops.no_frame + drops.ring_full;
	/* Once nothing moves any more, what is in no place has not come through. */
	arrived = w->sinks[0].counts[slot].consumed + waiting;
	if (st->detached && ret->sent > arrived) {
		ret->lost[WEIR_WATCH_LOST_REDIRECT] += ret->sent - arrived;
		ret->sent = arrived;
	}
}

static void xsk_engine_close(struct weir_watch *w)
{
	struct xsk_state *st = WEIR_TAKE_PTR(w->engine_state);

	if (!st)
		return;
	for (unsigned int i = 0; st->port && i < w->n_ifaces; i++) {
		for (unsigned int q = 0; q < st->port[i].n; q++)
			weir_xsk_close(st->port[i].queue[q]);
		weir_stage_free(&st->port[i].stage);
	}
	if (st->epoll >= 0)
		close(st->epoll);
	free(st->port);
	free(st);
}

const struct weir_engine weir_engine_xsk = {
	.name = "af_xdp",
	.open = xsk_engine_open,
	.fd = xsk_engine_fd,
	.poll = xsk_engine_poll,
	.detach = xsk_engine_detach,
	.counters = xsk_engine_counters,
	.close = xsk_engine_close,
};
