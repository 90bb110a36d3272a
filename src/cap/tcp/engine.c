/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/tcp/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/bypass_account.h"
#include "dataplane/caps.h"
#include "dataplane/cgroup.h"
#include "dataplane/load.h"
#include "dataplane/netns.h"
#include "dataplane/ring.h"
#include "dataplane/sys.h"

#include "tcp.skel.h"

#define RING_BYTES (1024 * 1024) /* a CPU */
#define READ_CONNS 64		 /* by one system call */
#define LINKS_MAX 8

struct weir_tcp_engine {
	struct tcp_bpf *skel;
	struct bpf_link *links[LINKS_MAX];
	unsigned int n_links;
	struct weir_ring *ring;
	weir_tcp_event_fn fn;
	void *arg;
	const char *netns_path;
	struct weir_bypass_account *bypass;
};

/* ---- Before load */

static int take_cookie(void *arg, uint64_t cookie)
{
	*(uint64_t *)arg = cookie;
	return 0;
}

static int find_netns(const char *path, uint64_t *ret, struct weir_error *err)
{
	int code = weir_netns_in(path, take_cookie, ret);

	return code ? weir_netns_explain(err, code, path) : 0;
}

static int find_cgroup(const char *path, uint64_t *ret, struct weir_error *err)
{
	weir_autoclose int fd = weir_cgroup_open(path, NULL, err);

	if (fd < 0)
		return fd;
	*ret = weir_cgroup_id(fd);
	return *ret ? 0 : weir_fail(err, -ENOENT, "%s is gone: name another cgroup", path);
}

/* The coarse clock moves once a tick. */
static uint32_t tick_us(void)
{
	struct timespec t;

	if (clock_getres(CLOCK_REALTIME_COARSE, &t) || t.tv_sec || !t.tv_nsec)
		return 4000;
	return (uint32_t)(t.tv_nsec / 1000);
}

static int configure(struct tcp_bpf *s, const struct weir_tcp_want *want, struct weir_error *err)
{
	struct weir_tcp_config cfg = {
		.match_kind = weir_load_match_kind(want->match),
		.events = want->events,
		.tick_us = tick_us(),
		.watch = want->watch,
	};
	struct bpf_program *prog;
	uint64_t netns = 0, cgroup = 0;
	int ret = want->netns_path ? find_netns(want->netns_path, &netns, err) : 0;

	if (!ret && want->cgroup)
		ret = find_cgroup(want->cgroup, &cgroup, err);
	if (ret)
		return ret;
	cfg.netns = netns;
	cfg.cgroup = cgroup;
	memcpy((void *)(uintptr_t)&s->rodata->cfg, &cfg, sizeof(cfg));
	bpf_map__set_max_entries(s->maps.weir_rings, (uint32_t)weir_sys_cpus());
	bpf_object__for_each_program(prog, s->obj)
		if (!want->watch && prog != s->progs.weir_tcp_look &&
		    prog != s->progs.weir_tcp_holder)
			bpf_program__set_autoload(prog, false);
	return 0;
}

/* ---- Attach */

static void add_bypass(struct weir_tcp_conn *c, const struct weir_bypass_ended *b)
{
	c->flags |= WEIR_TCP_F_BYPASS;
	c->bypass_in = b->in;
	c->bypass_out = b->out;
}

static int on_record(void *arg, const void *data, size_t size)
{
	struct weir_tcp_engine *e = arg;
	const struct weir_tcp_event *ev = data;
	struct weir_bypass_ended bypass;
	struct weir_tcp_closed closed;

	if (ev->kind == WEIR_TCP_CLOSE && size >= sizeof(closed) &&
	    weir_bypass_account_ended(e->bypass, ev->ends.cookie, &bypass)) {
		memcpy(&closed, data, sizeof(closed));
		add_bypass(&closed.conn, &bypass);
		ev = &closed.event;
	}
	e->fn(e->arg, ev);
	return 0;
}

static int attach(struct weir_tcp_engine *e, struct weir_error *err)
{
	struct tcp_bpf *s = e->skel;
	/* Beginnings and ends last: what they lead to is then seen. */
	struct bpf_program *const progs[] = {
		s->progs.weir_tcp_packet, s->progs.weir_tcp_read,     s->progs.weir_tcp_retransmit,
		s->progs.weir_tcp_synack, s->progs.weir_tcp_reset_in, s->progs.weir_tcp_reset_out,
		s->progs.weir_tcp_state,
	};

	_Static_assert(WEIR_ARRAY_SIZE(progs) <= LINKS_MAX, "room for every link");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(progs); i++) {
		struct bpf_link *link = bpf_program__attach_trace(progs[i]);

		if (!link)
			return weir_load_explain(err, -errno, "attach to TCP's tracepoints");
		e->links[e->n_links++] = link;
	}
	return 0;
}

void weir_tcp_engine_close(struct weir_tcp_engine *e)
{
	if (!e)
		return;
	for (unsigned int i = 0; i < e->n_links; i++)
		bpf_link__destroy(e->links[i]);
	weir_ring_close(e->ring);
	tcp_bpf__destroy(e->skel);
	weir_bypass_account_free(e->bypass);
	free(e);
}

int weir_tcp_engine_fd(const struct weir_tcp_engine *e)
{
	return e->ring ? weir_ring_fd(e->ring) : -1;
}

int weir_tcp_engine_consume(struct weir_tcp_engine *e, struct weir_error *err)
{
	int ret = e->ring ? weir_ring_consume(e->ring) : 0;

	return ret < 0 ? weir_fail(err, ret, "cannot read the rings: %s", strerror(-ret)) : 0;
}

/* ---- A look */

struct look {
	struct weir_tcp_engine *e;
	weir_tcp_look_fn fn;
	void *arg;
	struct weir_tcp_spaces spaces;
};

/* Run the iterator once, in this thread's namespace; @fn NULL: for its effect. */
static int iterate(const struct bpf_program *prog, weir_tcp_look_fn fn, void *arg)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	weir_autoclose int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	struct weir_tcp_conn conns[READ_CONNS];
	size_t have = 0;
	int ret = fd < 0 ? -errno : 0;

	while (!ret) {
		ssize_t n = read(fd, (char *)conns + have, sizeof(conns) - have);
		size_t whole, used;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0) {
			ret = n < 0 ? -errno : 0;
			break;
		}
		have += (size_t)n;
		whole = have / sizeof(*conns);
		for (size_t i = 0; !ret && fn && i < whole; i++)
			ret = fn(arg, &conns[i]);
		used = whole * sizeof(*conns);
		memmove(conns, (char *)conns + used, have - used);
		have -= used;
	}
	bpf_link__destroy(link);
	return ret;
}

static int take(void *arg, const struct weir_tcp_conn *c)
{
	const struct look *l = arg;
	struct weir_bypass_ended bypass;
	struct weir_tcp_conn copy;

	if (!weir_bypass_account_live(l->e->bypass, c->ends.cookie, &bypass))
		return l->fn(l->arg, c);
	copy = *c;
	add_bypass(&copy, &bypass);
	return l->fn(l->arg, &copy);
}

static int look_here(void *arg, uint64_t cookie)
{
	struct look *l = arg;

	(void)cookie;
	l->spaces.n++;
	return iterate(l->e->skel->progs.weir_tcp_look, l->fn ? take : NULL, l);
}

int weir_tcp_engine_look(struct weir_tcp_engine *e, bool owners, weir_tcp_look_fn fn, void *arg,
			 struct weir_tcp_spaces *ret, struct weir_error *err)
{
	struct look l = { .e = e, .fn = fn, .arg = arg };
	int code = owners ? iterate(e->skel->progs.weir_tcp_holder, NULL, NULL) : 0;

	if (!code) {
		code = weir_bypass_account_read(e->bypass, err);
		if (code)
			return code;
	}
	if (!code && e->netns_path)
		code = weir_netns_in(e->netns_path, look_here, &l);
	else if (!code)
		code = weir_netns_each(look_here, &l, &l.spaces.hidden);
	if (code == -ENOENT && e->netns_path)
		return weir_fail(err, code, "the network namespace %s is gone: name another",
				 e->netns_path);
	if (code)
		return weir_load_explain(err, code, "look at the connections");
	*ret = l.spaces;
	return 0;
}

void weir_tcp_engine_lost(const struct weir_tcp_engine *e, uint64_t ret[WEIR_TCP_LOSTS])
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree uint64_t *each = calloc(cpus, sizeof(*each));

	for (uint32_t i = 0; i < WEIR_TCP_LOSTS; i++) {
		ret[i] = 0;
		if (!each || bpf_map_lookup_elem(bpf_map__fd(e->skel->maps.weir_lost), &i, each))
			continue;
		for (size_t cpu = 0; cpu < cpus; cpu++)
			ret[i] += each[cpu];
	}
}

/* ---- Open */

/* Every connection gets its record now, so that none that ends later goes untold. */
static int seed(struct weir_tcp_engine *e, struct weir_error *err)
{
	struct weir_tcp_spaces ignored;

	return weir_tcp_engine_look(e, false, NULL, NULL, &ignored, err);
}

int weir_tcp_engine_open(struct weir_tcp_engine **ret, const struct weir_tcp_want *want,
			 weir_tcp_event_fn fn, void *arg, struct weir_error *err)
{
	struct weir_tcp_engine *e;
	int code = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_PERFMON, "look at TCP connections", err);

	if (code)
		return code;
	e = calloc(1, sizeof(*e));
	if (!e)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	e->fn = fn;
	e->arg = arg;
	e->netns_path = want->netns_path;
	e->bypass = weir_bypass_account_new();
	if (!e->bypass) {
		weir_tcp_engine_close(e);
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	}
	weir_load_setup();
	e->skel = tcp_bpf__open();
	code = e->skel ? configure(e->skel, want, err) :
			 weir_load_explain(err, -errno, "open the programs");
	if (!code)
		code = weir_load(e->skel->obj, want->match, err);
	if (!code && want->watch)
		code = weir_ring_open(&e->ring, WEIR_TRANSPORT_RING,
				      bpf_map__fd(e->skel->maps.weir_rings), RING_BYTES, on_record,
				      e, err);
	if (!code && want->watch)
		code = attach(e, err);
	if (!code)
		code = seed(e, err);
	if (code) {
		weir_tcp_engine_close(e);
		return code;
	}
	*ret = e;
	return 0;
}
