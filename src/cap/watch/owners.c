/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/owners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/verb.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/session.h"
#include "dataplane/cgroup.h"
#include "dataplane/owners.h"

#define TCP 6
#define UDP 17
#define COARSE_NS 10000000 /* flows have the times of the kernel's ticks */

struct weir_watch_owners {
	struct weir_owners *all;
	uint64_t cgroup; /* of --cgroup; 0: not given */
	char comm[WEIR_OWNER_COMM];
};

bool weir_watch_owners_match(const struct weir_watch_options *o)
{
	return o->pid || o->comm || o->cgroup;
}

bool weir_watch_owners_wanted(const struct weir_watch_options *o)
{
	return o->owners || weir_watch_owners_match(o);
}

/* ---- A run */

static int find_cgroup(const char *path, uint64_t *ret, struct weir_error *err)
{
	weir_autoclose int fd = weir_cgroup_open(path, NULL, err);

	if (fd < 0)
		return fd;
	*ret = weir_cgroup_id(fd);
	return *ret ? 0 : weir_fail(err, -ENOENT, "%s is gone: name another cgroup", path);
}

int weir_watch_owners_open(struct weir_watch *w, struct weir_error *err)
{
	const struct weir_watch_options *o = &w->opt;
	int ret = 0;

	if (!weir_watch_owners_wanted(o))
		return 0;
	w->owners = calloc(1, sizeof(*w->owners));
	if (!w->owners)
		return weir_fail(err, -ENOMEM, "out of memory");
	if (o->cgroup)
		ret = find_cgroup(o->cgroup, &w->owners->cgroup, err);
	if (ret)
		w->status = WEIR_EXIT_USAGE;
	/* The kernel cuts names to this length. */
	if (o->comm)
		snprintf(w->owners->comm, sizeof(w->owners->comm), "%s", o->comm);
	if (!ret)
		ret = weir_owners_open(&w->owners->all, err);
	if (!ret && weir_owners_no_udp(w->owners->all) && o->stats != 1)
		fprintf(stderr, "weir watch: owners of UDP packets are unknown: %s\n",
			weir_owners_no_udp(w->owners->all));
	return ret;
}

void weir_watch_owners_close(struct weir_watch *w)
{
	if (!w->owners)
		return;
	weir_owners_close(w->owners->all);
	free(WEIR_TAKE_PTR(w->owners));
}

int weir_watch_owners_fd(const struct weir_watch *w)
{
	return w->owners ? weir_owners_fd(w->owners->all) : -1;
}

void weir_watch_owners_tick(struct weir_watch *w)
{
	if (w->owners)
		weir_owners_tick(w->owners->all);
}

void weir_watch_owners_account(const struct weir_watch *w)
{
	uint64_t lost = w->owners ? weir_owners_lost(w->owners->all) : 0;
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_json j;

	if (!lost)
		return;
	if (w->opt.stats == 1) {
		weir_json_init(&j, &out);
		weir_json_object(&j, NULL);
		weir_json_uint(&j, "v", 1);
		weir_json_str(&j, "verb", "watch");
		weir_json_str(&j, "event", "owners");
		weir_json_uint(&j, "lost", lost);
		weir_json_end_object(&j);
		weir_buf_addc(&out, '\n');
	} else {
		weir_buf_addf(
			&out,
			"owners: %llu events of sockets lost: some owners are unknown for it\n",
			(unsigned long long)lost);
	}
	weir_buf_flush(&out, STDERR_FILENO);
}

/* ---- One look-up */

static void add_text(const struct weir_watch_owners *v, const struct weir_owner *o,
		     struct weir_owner_text *ret)
{
	ret->pid = o->pid;
	ret->guessed = o->guessed;
	memcpy(ret->comm, o->comm, sizeof(ret->comm));
	ret->comm[sizeof(ret->comm) - 1] = '\0';
	ret->cgroup = weir_owners_group(v->all, o->cgroup);
	ret->netns = o->netns;
	ret->elsewhere = o->netns != weir_owners_here(v->all);
	ret->netns_name = weir_owners_netns(v->all, o->netns);
}

const char *weir_watch_owner_cgroup(const struct weir_watch *w, const struct weir_owner *o)
{
	return weir_owners_group(w->owners->all, o->cgroup);
}

/* The end @first is the one that is here, unless only the other one is. */
static void add_texts(const struct weir_watch_owners *v, const struct weir_owner end[2], int first,
		      struct weir_packet_owners *ret)
{
	uint64_t here = weir_owners_here(v->all);
	bool other = end[!first].pid &&
		     (!end[first].pid || (end[first].netns != here && end[!first].netns == here));

	memset(ret, 0, sizeof(*ret));
	first ^= other;
	if (end[first].pid)
		add_text(v, &end[first], &ret->owner);
	if (end[!first].pid)
		add_text(v, &end[!first], &ret->peer);
}

static bool is_wanted(const struct weir_watch *w, const struct weir_owner *o)
{
	const struct weir_watch_owners *v = w->owners;

	return o->pid && (!w->opt.pid || o->pid == w->opt.pid) &&
	       (!w->opt.comm || !strncmp(o->comm, v->comm, sizeof(v->comm))) &&
	       (!v->cgroup || weir_owners_below(v->all, o->cgroup, v->cgroup));
}

static bool wanted(const struct weir_watch *w, const struct weir_owner end[2])
{
	return !weir_watch_owners_match(&w->opt) || is_wanted(w, &end[0]) || is_wanted(w, &end[1]);
}

bool weir_watch_owners_packet(struct weir_watch *w, struct weir_packet *p,
			      struct weir_packet_owners *room)
{
	const struct weir_pkt *h = &p->hdr;
	const uint64_t ts = p->ev.ts - weir_watch_clock_offset(w);
	struct weir_owner end[2] = { 0 };
	struct weir_owner_query q = {
		.proto = h->proto,
		.syn = (h->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN,
		.first = ts,
		.last = ts,
	};

	for (int dst = 0; h->flags & WEIR_PKT_PORTS && dst < 2; dst++) {
		memcpy(q.local, dst ? h->dst : h->src, sizeof(q.local));
		memcpy(q.remote, dst ? h->src : h->dst, sizeof(q.remote));
		q.lport = dst ? h->dport : h->sport;
		q.rport = dst ? h->sport : h->dport;
		/* On its way in a packet comes behind what its socket has told. */
		q.out = !dst && p->ev.dir == WEIR_WATCH_OUT;
		weir_owners_find(w->owners->all, &q, &end[dst]);
	}
	if (!wanted(w, end))
		return false;
	add_texts(w->owners, end, p->ev.dir != WEIR_WATCH_OUT, room);
	p->owner = room->owner.pid ? &room->owner : NULL;
	p->peer = room->peer.pid ? &room->peer : NULL;
	return true;
}

/* ---- Flows */

/* What is known of an end, and what its next packets tell. */
static void merge(struct weir_flow_owners *to, int i, const struct weir_owner *o)
{
	struct weir_owner *known = &to->end[i];

	if (to->mixed[i])
		return;
	if (o->pid && (!known->pid || known->cookie == o->cookie || known->pid == o->pid ||
		       known->guessed)) {
		*known = *o;
		return;
	}
	if (o->guessed)
		return;
	/* The same ends, another socket of another process: the flow is of both. */
	to->mixed[i] = true;
	memset(known, 0, sizeof(*known));
}

static void look_up(struct weir_watch *w, struct weir_flow *x, uint64_t first, uint64_t last)
{
	const struct weir_flow_key *k = &x->key;
	struct weir_owner_query q = {
		.proto = k->proto,
		.first = first - weir_watch_clock_offset(w),
		.last = last - weir_watch_clock_offset(w),
		.slack = COARSE_NS,
	};
	struct weir_owner o;

	for (int b = 0; b < 2; b++) {
		memcpy(q.local, b ? k->addr_b : k->addr_a, sizeof(q.local));
		memcpy(q.remote, b ? k->addr_a : k->addr_b, sizeof(q.remote));
		q.lport = b ? k->port_b : k->port_a;
		q.rport = b ? k->port_a : k->port_b;
		if (!weir_owners_find(w->owners->all, &q, &o) && !o.several)
			continue;
		if (!x->owners)
			x->owners = calloc(1, sizeof(*x->owners));
		if (x->owners)
			merge(x->owners, b, &o);
	}
	x->hidden = weir_watch_owners_match(&w->opt) && !(x->owners && wanted(w, x->owners->end));
}

static bool has_owners(const struct weir_flow *x)
{
	return (x->key.proto == TCP || x->key.proto == UDP) && !x->key.fragment;
}

void weir_watch_owners_flow(struct weir_watch *w, struct weir_flow *x,
			    const struct weir_flow_val *d)
{
	if (!w->owners)
		return;
	if (has_owners(x))
		look_up(w, x, d->first, d->last);
	else
		x->hidden = weir_watch_owners_match(&w->opt);
}

void weir_watch_owners_last(struct weir_watch *w)
{
	if (!w->owners || !w->flows)
		return;
	WEIR_FLOWS_EACH(w->flows, x)
	if (has_owners(x) && (!x->owners || !x->owners->end[0].pid || !x->owners->end[1].pid))
		look_up(w, x, x->val.last, x->val.last);
}

const struct weir_owner *weir_flow_owner_end(const struct weir_flow *x, int side)
{
	return x->owners && x->owners->end[side].pid ? &x->owners->end[side] : NULL;
}

bool weir_flow_owner(const struct weir_watch *w, const struct weir_flow *x,
		     struct weir_packet_owners *ret)
{
	bool guessed;

	memset(ret, 0, sizeof(*ret));
	if (!w->owners || !x->owners)
		return false;
	add_texts(w->owners, x->owners->end, weir_flow_initiator_is_b(w->flows, x, &guessed), ret);
	return ret->owner.pid;
}

/* ---- In words */

void weir_owner_add(struct weir_buf *out, const struct weir_owner_text *o)
{
	weir_format_safe(out, (const uint8_t *)o->comm, strlen(o->comm));
	ADD(out, " ");
	weir_buf_addu(out, o->pid);
	if (o->guessed)
		ADD(out, "?");
	if (o->cgroup) {
		ADD(out, " ");
		weir_format_safe(out, (const uint8_t *)o->cgroup, strlen(o->cgroup));
	}
	if (!o->elsewhere)
		return;
	ADD(out, " netns ");
	if (o->netns_name)
		weir_format_safe(out, (const uint8_t *)o->netns_name, strlen(o->netns_name));
	else
		weir_buf_addu(out, o->netns);
}

void weir_owner_json(struct weir_json *j, const struct weir_packet_owners *o)
{
	static const char *const keys[2][6] = {
		{ "pid", "comm", "cgroup", "netns", "netns_name", "owner_guessed" },
		{ "peer_pid", "peer_comm", "peer_cgroup", "peer_netns", "peer_netns_name",
		  "peer_guessed" },
	};

	for (int i = 0; i < 2; i++) {
		const struct weir_owner_text *t = i ? &o->peer : &o->owner;

		if (!t->pid)
			continue;
		weir_json_uint(j, keys[i][0], t->pid);
		weir_json_str(j, keys[i][1], t->comm);
		weir_json_str(j, keys[i][2], t->cgroup);
		weir_json_uint(j, keys[i][3], t->netns);
		weir_json_str(j, keys[i][4], t->netns_name);
		if (t->guessed)
			weir_json_bool(j, keys[i][5], true);
	}
}
