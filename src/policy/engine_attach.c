/* SPDX-License-Identifier: GPL-2.0-only */
/* Gates, learners and slots: where the filter touches interfaces. */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Behind <netinet/in.h>, which it would contradict. */
#include <linux/netfilter.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "dataplane/tc.h"
#include "policy/engine_impl.h"

#include "gates.skel.h"
#include "gates_nf.skel.h"

#define MAPS_MAX 64 /* of one program */

/*
 * The places in netfilter (enum nf_ip_hook_priorities): packets that come in are
 * judged before conntrack puts fragments together (-400) and before every table of
 * iptables and nftables; those that leave, behind source NAT (100), as they go out.
 */
#define NF_PRIORITY_IN (-460)
#define NF_PRIORITY_OUT 310

static const struct slot {
	const char *pin;
	uint32_t key;
} slots[WEIR_HOOKS] = {
	[WEIR_HOOK_XDP] = { "resident0", WEIR_GATE_FILTER },
	[WEIR_HOOK_TC] = { "tc_slot", 0 },
	[WEIR_HOOK_NETFILTER] = { "nf_slot", 0 },
};

/* ---- Ids */

uint32_t weir_prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

uint32_t weir_map_id(int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

static bool link_info(const struct weir_filter *f, const char *name, struct bpf_link_info *ret)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, name);
	uint32_t len = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, ret, &len);
}

static bool uses_map(uint32_t prog_id, uint32_t map_id)
{
	weir_autoclose int fd = bpf_prog_get_fd_by_id(prog_id);
	struct bpf_prog_info info = { 0 };
	uint32_t ids[MAPS_MAX], len = sizeof(info);

	info.map_ids = (uintptr_t)ids;
	info.nr_map_ids = MAPS_MAX;
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	for (uint32_t i = 0; i < info.nr_map_ids && i < MAPS_MAX; i++)
		if (ids[i] == map_id)
			return true;
	return false;
}

uint64_t weir_prog_tag(uint32_t id)
{
	weir_autoclose int fd = id ? bpf_prog_get_fd_by_id(id) : -1;

	return weir_load_tag(fd);
}

bool weir_same_program(uint32_t id, int own_fd)
{
	uint64_t tag = weir_prog_tag(id);

	return tag && tag == weir_load_tag(own_fd);
}

/* ---- Interfaces without a link layer: tun, WireGuard */

bool weir_has_no_l2(uint32_t ifindex)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq req = { 0 };

	if (fd < 0 || !if_indextoname(ifindex, req.ifr_name) || ioctl(fd, SIOCGIFHWADDR, &req))
		return false;
	return req.ifr_hwaddr.sa_family == ARPHRD_NONE || req.ifr_hwaddr.sa_family == ARPHRD_RAWIP;
}

uint32_t weir_no_l2(const uint32_t *ifindex, size_t n, uint32_t *ret)
{
	uint32_t count = 0;

	for (size_t i = 0; i < n; i++)
		if (ifindex[i] && weir_has_no_l2(ifindex[i]))
			ret[count++] = ifindex[i];
	return count;
}

/* ---- Slots */

uint32_t weir_slot_get(const struct weir_filter *f, enum weir_policy_hook hook)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, slots[hook].pin);
	uint32_t id = 0;

	if (fd < 0 || bpf_map_lookup_elem(fd, &slots[hook].key, &id))
		return 0;
	return id;
}

/* The first program at XDP enters by the gate, which also has to be told that its
 * slot is in use; the next ones only take the place of the one before. */
static bool is_first(const struct weir_filter *f, const struct weir_gate *gate)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, slots[WEIR_HOOK_XDP].pin);

	return gate && (!weir_slot_get(f, WEIR_HOOK_XDP) ||
			weir_map_id(fd) != weir_map_id(gate->resident_fd));
}

int weir_slot_set(struct weir_filter *f, enum weir_policy_hook hook, int prog_fd,
		  struct weir_gate *gate, struct weir_error *err)
{
	weir_autoclose int fd = -1;

	if (hook == WEIR_HOOK_XDP && prog_fd >= 0 && is_first(f, gate))
		return weir_gate_enter_resident(gate, WEIR_GATE_FILTER, prog_fd, f->dir.path, err);
	fd = weir_pin_get(&f->dir, slots[hook].pin);
	if (fd == -ENOENT && prog_fd < 0)
		return 0;
	if (fd < 0)
		return weir_load_explain(err, fd, "switch the filter over");
	if (prog_fd < 0 && bpf_map_delete_elem(fd, &slots[hook].key) && errno != ENOENT)
		return weir_load_explain(err, -errno, "empty the filter's slot");
	if (prog_fd >= 0 && bpf_map_update_elem(fd, &slots[hook].key, &prog_fd, BPF_ANY))
		return weir_load_explain(err, -errno, "switch the filter over");
	return 0;
}

void weir_slot_forget(const struct weir_filter *f, enum weir_policy_hook hook)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, slots[hook].pin);

	if (fd < 0)
		return;
	bpf_map_delete_elem(fd, &slots[hook].key);
	weir_filter_unpin(f, slots[hook].pin);
}

/* The pinned slot of a gate's object, or its own, which is pinned now. */
static int share_slot(struct weir_filter *f, enum weir_policy_hook hook, struct bpf_map *map,
		      struct weir_error *err)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, slots[hook].pin);
	int ret = fd < 0 ? 0 : bpf_map__reuse_fd(map, fd);

	return ret ? weir_load_explain(err, ret, "share the filter's slot") : 0;
}

static int pin_slot(struct weir_filter *f, enum weir_policy_hook hook, const struct bpf_map *map,
		    struct weir_error *err)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, slots[hook].pin);

	return fd >= 0 ? 0 : weir_pin_put(&f->dir, slots[hook].pin, bpf_map__fd(map), err);
}

/* Does the link @name lead to the hook's slot? A slot goes when no generation has a
 * program for it, as while the interfaces are gone; a link that lasted leads to the old
 * one then. */
static bool leads_to_slot(const struct weir_filter *f, const char *name, enum weir_policy_hook hook,
			  struct bpf_link_info *info)
{
	weir_autoclose int slot_fd = weir_pin_get(&f->dir, slots[hook].pin);

	return slot_fd >= 0 && link_info(f, name, info) &&
	       uses_map(info->prog_id, weir_map_id(slot_fd));
}

/* ---- Names of attachments */

static void name_gate(const struct weir_filter_place *p, char name[WEIR_PIN_NAME_MAX])
{
	snprintf(name, WEIR_PIN_NAME_MAX, "gate_%u", p->ifindex);
}

static void name_tc(const struct weir_filter_place *p, char name[WEIR_PIN_NAME_MAX])
{
	snprintf(name, WEIR_PIN_NAME_MAX, "tc_%u_%s", p->ifindex,
		 weir_place_is_out(p) ? "out" : "in");
}

static const struct {
	uint32_t pf;
	char digit;
} families[] = { { NFPROTO_IPV4, '4' }, { NFPROTO_IPV6, '6' } };

static void name_netfilter(bool out, char family, char name[WEIR_PIN_NAME_MAX])
{
	snprintf(name, WEIR_PIN_NAME_MAX, "nf_%s%c", out ? "out" : "in", family);
}

/* ---- XDP */

static bool has_gate(const struct weir_filter *f, const struct weir_filter_place *p)
{
	struct bpf_link_info info;
	char name[WEIR_PIN_NAME_MAX];

	name_gate(p, name);
	return link_info(f, name, &info) && info.type == BPF_LINK_TYPE_XDP &&
	       info.xdp.ifindex == p->ifindex;
}

static void tell_gate(const struct weir_gate *g, const struct weir_gate_offloads *before,
		      struct weir_filter_report *report)
{
	struct weir_gate_offloads after;
	char lost[256] = "";

	if (!report)
		return;
	if (g->mode == WEIR_XDP_NATIVE && !weir_gate_offloads(g->ifname, &after))
		weir_gate_offloads_diff(before, &after, lost, sizeof(lost));
	weir_buf_addf(&report->notes, "%s: filtered at XDP, %s mode\n", g->ifname,
		      g->mode == WEIR_XDP_NATIVE ? "native" : "generic");
	if (lost[0])
		weir_buf_addf(&report->notes, "%s: native XDP turned off: %s\n", g->ifname, lost);
}

/* Was this program of this build's gate when it was looked at before? */
static bool knows_gate(const struct weir_filter *f, int prog_fd)
{
	const uint64_t tag = weir_load_tag(prog_fd);

	return tag && f->state.gate.tag[0] == tag && f->state.gate.hash == weir_gate_build();
}

/* A gate of another build: what it got wrong must not outlive the upgrade. It is
 * exchanged before the guard has judged; the gate's ABI, by which both builds go, is
 * the same. */
static int renew_gate(struct weir_filter *f, struct weir_gate *g, struct weir_filter_report *report,
		      struct weir_error *err)
{
	int ret;

	if (knows_gate(f, g->prog_fd))
		return 0;
	ret = weir_gate_renew(g, err);
	weir_step("renewed");
	if (ret < 0)
		return ret;
	f->state.gate.hash = weir_gate_build();
	f->state.gate.tag[0] = weir_load_tag(g->prog_fd);
	if (ret && report)
		weir_buf_addf(&report->notes, "%s: the XDP gate is now this version's\n",
			      g->ifname);
	return 0;
}

/* Open the interface's gate, and pin its link unless it is. One that is ours may be in
 * another mode for now: weir_change_modes(). */
static int attach_gate(struct weir_filter *f, const char *ifname, enum weir_xdp_mode mode,
		       const struct weir_filter_place *p, struct weir_gate *g,
		       struct weir_filter_report *report, struct weir_error *err)
{
	struct weir_gate_offloads before = { 0 };
	bool there = has_gate(f, p);
	char name[WEIR_PIN_NAME_MAX];
	int ret;

	if (!there && weir_gate_offloads(ifname, &before))
		memset(&before, 0, sizeof(before));
	ret = weir_gate_open(g, ifname, there ? WEIR_XDP_AUTO : mode, err);
	if (ret)
		return ret;
	if (g->ifindex != p->ifindex)
		ret = weir_fail(err, -EAGAIN, "%s was replaced meanwhile: try again", ifname);
	if (!ret && mode != WEIR_XDP_AUTO && mode != g->mode)
		ret = weir_gate_check_alone(g, WEIR_GATE_FILTER, err);
	if (!ret)
		ret = renew_gate(f, g, report, err);
	if (!ret && !there) {
		name_gate(p, name);
		ret = weir_pin_put(&f->dir, name, g->link_fd, err);
		tell_gate(g, &before, report);
	}
	if (ret)
		weir_gate_close(g);
	return ret;
}

/* All must share one record, or the one program can't serve them. */
static int keep_gate(struct weir_gate *kept, struct weir_gate *g, struct weir_error *err)
{
	int ret = 0;

	if (kept->link_fd < 0) {
		*kept = *g;
		return 0;
	}
	if (weir_map_id(kept->scratch_fd) != weir_map_id(g->scratch_fd))
		ret = weir_fail(err, -EBUSY,
				"the XDP gates on %s and %s share nothing, since a weir without "
				"CAP_SYS_ADMIN made one of them: stop that one first",
				kept->ifname, g->ifname);
	weir_gate_close(g);
	return ret;
}

static int attach_gates(struct weir_filter *f, const struct weir_policy *policy,
			const struct weir_filter_places *places, struct weir_gate *gate,
			struct weir_filter_report *report, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &policy->ifaces[i];
		const struct weir_filter_place *p = &places->row[x->index];
		struct weir_gate g;
		char ifname[IF_NAMESIZE]; /* other than in the policy once it is renamed */

		if (x->hook != WEIR_HOOK_XDP || !weir_place_is_live(p))
			continue;
		if (!if_indextoname(p->ifindex, ifname))
			return weir_fail(err, -EAGAIN, "%s is gone meanwhile: try again", x->name);
		ret = attach_gate(f, ifname, x->mode, p, &g, report, err);
		weir_step("gate");
		if (!ret)
			ret = keep_gate(gate, &g, err);
	}
	return ret;
}

static int change_mode(struct weir_filter *f, enum weir_xdp_mode mode,
		       const struct weir_filter_place *p, struct weir_gate *g,
		       struct weir_filter_report *report, struct weir_error *err)
{
	uint64_t gap;
	int ret, pinned = 0;

	if (mode == WEIR_XDP_AUTO || mode == g->mode)
		return 0;
	ret = weir_gate_change_mode(g, mode, &gap, err);
	weir_step("mode");
	/* If it failed, the gate is there again in the mode before. */
	if (gap && g->link_fd >= 0) {
		char name[WEIR_PIN_NAME_MAX];

		name_gate(p, name);
		pinned = weir_pin_put(&f->dir, name, g->link_fd, ret ? NULL : err);
	}
	if (gap && report)
		weir_buf_addf(&report->notes,
			      "%s: filtered at XDP, %s mode; not filtered for %.1f ms meanwhile\n",
			      g->ifname, g->mode == WEIR_XDP_NATIVE ? "native" : "generic",
			      (double)gap / 1e6);
	return ret ? ret : pinned;
}

int weir_change_modes(struct weir_filter *f, const struct weir_policy *policy,
		      const struct weir_filter_places *places, struct weir_gate *gate,
		      struct weir_filter_report *report, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &policy->ifaces[i];
		const struct weir_filter_place *p = &places->row[x->index];
		struct weir_gate other;
		char ifname[IF_NAMESIZE]; /* as in attach_gates() */

		if (x->hook != WEIR_HOOK_XDP || x->mode == WEIR_XDP_AUTO || !weir_place_is_live(p))
			continue;
		if (gate->link_fd >= 0 && gate->ifindex == p->ifindex) {
			ret = change_mode(f, x->mode, p, gate, report, err);
			continue;
		}
		if (!if_indextoname(p->ifindex, ifname))
			return weir_fail(err, -EAGAIN, "%s is gone meanwhile: try again", x->name);
		ret = weir_gate_open(&other, ifname, WEIR_XDP_AUTO, err);
		if (ret)
			break;
		ret = change_mode(f, x->mode, p, &other, report, err);
		weir_gate_close(&other);
	}
	return ret;
}

/* A gate that is there still, for a generation that only leads back to @places. */
static void open_old_gate(struct weir_filter *f, const struct weir_filter_places *places,
			  struct weir_gate *gate)
{
	for (uint32_t i = 0; places && gate->link_fd < 0 && i < WEIR_FILTER_ROWS; i++) {
		const struct weir_filter_place *p = &places->row[i];
		char ifname[IF_NAMESIZE];

		if (p->hook == WEIR_HOOK_XDP && weir_place_is_live(p) && has_gate(f, p) &&
		    if_indextoname(p->ifindex, ifname))
			weir_gate_open(gate, ifname, WEIR_XDP_AUTO, NULL);
	}
}

/* ---- tc */

struct tc_work {
	struct gates_bpf *gates;
	struct gates_nf_bpf *nf;
};

static void free_work(struct tc_work *w)
{
	gates_bpf__destroy(w->gates);
	gates_nf_bpf__destroy(w->nf);
}

static int need_gates(struct weir_filter *f, struct tc_work *w, struct weir_error *err)
{
	int ret;

	if (w->gates)
		return 0;
	weir_load_setup();
	w->gates = gates_bpf__open();
	if (!w->gates)
		return weir_load_explain(err, -errno, "open the tc gate");
	ret = share_slot(f, WEIR_HOOK_TC, w->gates->maps.weir_tc_slot, err);
	if (!ret)
		ret = weir_load(w->gates->obj, NULL, err);
	return ret ? ret : pin_slot(f, WEIR_HOOK_TC, w->gates->maps.weir_tc_slot, err);
}

static int tc_gate_fd(const struct tc_work *w, const struct weir_filter_place *p)
{
	return bpf_program__fd(weir_place_is_out(p) ? w->gates->progs.weir_filter_tco :
						      w->gates->progs.weir_filter_tci);
}

static uint32_t tc_prog(const struct weir_filter *f, const struct weir_filter_place *p)
{
	char name[WEIR_PIN_NAME_MAX];

	name_tc(p, name);
	return weir_tc_prog(&f->dir, name, p->ifindex, weir_place_is_out(p), WEIR_TC_FILTER);
}

static int attach_tc(struct weir_filter *f, const struct weir_policy_iface *x,
		     const struct weir_filter_place *p, struct tc_work *w,
		     struct weir_filter_report *report, struct weir_error *err)
{
	uint32_t there = tc_prog(f, p);
	char name[WEIR_PIN_NAME_MAX];
	int ret = need_gates(f, w, err);

	if (ret)
		return ret;
	if (!f->foreign && weir_same_program(there, tc_gate_fd(w, p)))
		return 0;
	name_tc(p, name);
	ret = weir_tc_attach(&f->dir, name, tc_gate_fd(w, p), p->ifindex, weir_place_is_out(p),
			     WEIR_TC_FILTER, err);
	if (!ret && !there && report)
		weir_buf_addf(&report->notes, "%s: filtered at tc, %s\n", x->name,
			      weir_place_is_out(p) ? "what leaves" : "what comes in");
	return ret;
}

/* ---- netfilter: links are of the namespace, the program knows the interface */

static int need_netfilter(struct weir_filter *f, struct tc_work *w, struct weir_error *err)
{
	int ret;

	if (w->nf)
		return 0;
	weir_load_setup();
	w->nf = gates_nf_bpf__open();
	if (!w->nf)
		return weir_load_explain(err, -errno, "open the netfilter gate");
	ret = share_slot(f, WEIR_HOOK_NETFILTER, w->nf->maps.weir_nf_slot, err);
	if (!ret)
		ret = weir_load(w->nf->obj, NULL, err);
	if (ret)
		return weir_fail_prefix(err, ret, "the hook netfilter takes kernel 6.4");
	return pin_slot(f, WEIR_HOOK_NETFILTER, w->nf->maps.weir_nf_slot, err);
}

static int link_netfilter(struct weir_filter *f, struct tc_work *w, bool out, size_t family,
			  const char *name, struct weir_error *err)
{
	weir_autoclose int fd = -1;
	int ret = need_netfilter(f, w, err);

	if (ret)
		return ret;
	fd = weir_sys_netfilter_link(bpf_program__fd(w->nf->progs.weir_filter_nfg),
				     families[family].pf,
				     out ? NF_INET_POST_ROUTING : NF_INET_PRE_ROUTING,
				     out ? NF_PRIORITY_OUT : NF_PRIORITY_IN);
	if (fd < 0)
		return weir_load_explain(err, fd, "attach to netfilter");
	return weir_pin_put(&f->dir, name, fd, err);
}

/* A link that leads nowhere holds the priority, which two can't have. */
static void detach_netfilter(const struct weir_filter *f, const char *name)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, name);

	if (fd >= 0)
		bpf_link_detach(fd);
}

static int attach_netfilter(struct weir_filter *f, const struct weir_policy_iface *x,
			    const struct weir_filter_place *p, struct tc_work *w,
			    struct weir_filter_report *report, struct weir_error *err)
{
	bool fresh = false;
	int ret = 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(families); i++) {
		struct bpf_link_info info;
		char name[WEIR_PIN_NAME_MAX];

		name_netfilter(weir_place_is_out(p), families[i].digit, name);
		/* One of another build stays: the kernel exchanges no program of a
		 * netfilter link, and has no two links of one priority, so that there
		 * would be a gap. All it does is to call the slot. */
		if (leads_to_slot(f, name, WEIR_HOOK_NETFILTER, &info))
			continue;
		detach_netfilter(f, name);
		ret = link_netfilter(f, w, weir_place_is_out(p), i, name, err);
		fresh = true;
	}
	if (!ret && fresh && report)
		weir_buf_addf(&report->notes,
			      weir_place_is_out(p) ?
				      "%s: filtered at netfilter, postrouting, priority %d: "
				      "behind iptables and nftables and their source NAT\n" :
				      "%s: filtered at netfilter, prerouting, priority %d: "
				      "before iptables and nftables, which see what passes\n",
			      x->name, weir_place_is_out(p) ? NF_PRIORITY_OUT : NF_PRIORITY_IN);
	return ret;
}

/* ---- All of them */

int weir_attach(struct weir_filter *f, const struct weir_policy *policy,
		const struct weir_filter_places *places, const struct weir_filter_places *back,
		struct weir_gate *gate, struct weir_filter_report *report, struct weir_error *err)
{
	weir_cleanup(free_work) struct tc_work w = { 0 };
	int ret = attach_gates(f, policy, places, gate, report, err);

	if (!ret)
		open_old_gate(f, back, gate);
	for (size_t i = 0; !ret && i < policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &policy->ifaces[i];
		const struct weir_filter_place *p = &places->row[x->index];

		if (!weir_place_is_live(p)) {
			if (report && !report->only_news)
				weir_buf_addf(&report->notes,
					      "%s: not there now; filtered from when it comes\n",
					      x->name);
			continue;
		}
		if (x->hook == WEIR_HOOK_TC)
			ret = attach_tc(f, x, p, &w, report, err);
		else if (x->hook == WEIR_HOOK_NETFILTER)
			ret = attach_netfilter(f, x, p, &w, report, err);
		weir_step("attached");
	}
	return ret ? ret : weir_learn_attach(f, places, err);
}

/* ---- Off again */

/* Does a generation that stays need the same attachment? */
static bool is_kept(const struct weir_filter *f, const struct weir_filter_place *p, bool learner)
{
	for (int i = 0; i < WEIR_STATE_PLACES; i++) {
		const struct weir_filter_places *other = &f->state.places[i];

		if (!weir_state_keeps(f, other->number))
			continue;
		for (uint32_t row = 0; row < WEIR_FILTER_ROWS; row++) {
			const struct weir_filter_place *q = &other->row[row];

			if (!q->ifindex || weir_place_is_out(q) != weir_place_is_out(p))
				continue;
			if (learner ? q->ifindex == p->ifindex && q->flags & WEIR_PLACE_LEARN :
				      q->hook == p->hook && (q->ifindex == p->ifindex ||
							     q->hook == WEIR_HOOK_NETFILTER))
				return true;
		}
	}
	return false;
}

static void detach_hook(struct weir_filter *f, const struct weir_filter_place *p)
{
	char name[WEIR_PIN_NAME_MAX];

	switch (p->hook) {
	case WEIR_HOOK_XDP:
		name_gate(p, name);
		weir_filter_unpin(f, name);
		break;
	case WEIR_HOOK_TC:
		name_tc(p, name);
		weir_tc_detach(&f->dir, name, p->ifindex, weir_place_is_out(p), WEIR_TC_FILTER);
		break;
	default:
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(families); i++) {
			name_netfilter(weir_place_is_out(p), families[i].digit, name);
			weir_filter_unpin(f, name);
		}
	}
}

void weir_detach(struct weir_filter *f, const struct weir_filter_places *places)
{
	for (uint32_t i = 0; i < WEIR_FILTER_ROWS; i++) {
		const struct weir_filter_place *p = &places->row[i];

		if (!p->ifindex)
			continue;
		if (!is_kept(f, p, false))
			detach_hook(f, p);
		if (p->flags & WEIR_PLACE_LEARN && !is_kept(f, p, true))
			weir_learn_detach(f, p);
	}
}

/* ---- How it is */

/* Does the interface's gate lead to the slot that is ours? */
static bool gate_leads_here(const struct weir_filter *f, const struct weir_filter_place *p)
{
	struct bpf_link_info info;
	char name[WEIR_PIN_NAME_MAX];

	name_gate(p, name);
	return leads_to_slot(f, name, WEIR_HOOK_XDP, &info) && info.xdp.ifindex == p->ifindex;
}

static bool netfilter_linked(const struct weir_filter *f, bool out)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(families); i++) {
		struct bpf_link_info info;
		char name[WEIR_PIN_NAME_MAX];

		name_netfilter(out, families[i].digit, name);
		if (!leads_to_slot(f, name, WEIR_HOOK_NETFILTER, &info))
			return false;
	}
	return true;
}

bool weir_attached(struct weir_filter *f, const struct weir_filter_places *places, uint32_t row)
{
	const struct weir_filter_place *p = &places->row[row];
	char name[WEIR_PIN_NAME_MAX];

	if (!weir_place_is_live(p) || !weir_slot_get(f, (enum weir_policy_hook)p->hook))
		return false;
	switch (p->hook) {
	case WEIR_HOOK_XDP:
		return gate_leads_here(f, p);
	case WEIR_HOOK_TC:
		name_tc(p, name);
		return weir_tc_attached(&f->dir, name, p->ifindex, weir_place_is_out(p),
					WEIR_TC_FILTER);
	default:
		return netfilter_linked(f, weir_place_is_out(p));
	}
}

/* Is the gate at XDP this build's, in the mode that is asked for? */
static bool gate_is_current(const struct weir_filter *f, const struct weir_filter_place *p,
			    enum weir_xdp_mode mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);
	weir_autoclose int prog_fd = -1;
	struct bpf_link_info info;
	char name[WEIR_PIN_NAME_MAX];

	name_gate(p, name);
	if (!link_info(f, name, &info) || bpf_xdp_query((int)p->ifindex, 0, &opts))
		return false;
	if (mode != WEIR_XDP_AUTO &&
	    (mode == WEIR_XDP_GENERIC) != (opts.attach_mode == XDP_ATTACHED_SKB))
		return false;
	prog_fd = bpf_prog_get_fd_by_id(info.prog_id);
	return prog_fd >= 0 && (knows_gate(f, prog_fd) || weir_gate_is_current(prog_fd));
}

bool weir_attached_is_current(struct weir_filter *f, const struct weir_filter_places *places)
{
	weir_cleanup(free_work) struct tc_work w = { 0 };

	for (size_t i = 0; i < f->policy->n_ifaces; i++) {
		const struct weir_policy_iface *x = &f->policy->ifaces[i];
		const struct weir_filter_place *p = &places->row[x->index];
		char called[IF_NAMESIZE];

		if (!weir_place_is_live(p) ||
		    p->ifindex != weir_plan_ifindex(f, f->policy, places, x->name, called))
			continue;
		if (x->hook == WEIR_HOOK_XDP && !gate_is_current(f, p, x->mode))
			return false;
		if (x->hook == WEIR_HOOK_TC &&
		    (need_gates(f, &w, NULL) ||
		     !weir_same_program(tc_prog(f, p), tc_gate_fd(&w, p))))
			return false;
	}
	return weir_learn_is_current(f, places);
}
