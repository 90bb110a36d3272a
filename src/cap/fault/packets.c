/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs at tc: made of the rules, and put on the interfaces that these are about. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/fault/engine.h"
#include "dataplane/load.h"
#include "dataplane/tc.h"
#include "fault_tc.skel.h"

#define LOOPBACK_IFINDEX 1

/* ---- Make */

void weir_fault_packets_close(struct weir_fault_programs *p)
{
	weir_closep(&p->in_fd);
	weir_closep(&p->out_fd);
	*p = WEIR_FAULT_NO_PROGRAMS;
}

static bool has_packet_rules(const struct weir_fault_conf *conf)
{
	for (size_t i = 0; i < conf->n; i++)
		if (!weir_fault_is_socket(&conf->v[i]))
			return true;
	return false;
}

static int load(const struct weir_fault *f, struct fault_tc_bpf *skel, const struct bpf_insn *code,
		size_t n, struct weir_error *err)
{
	if (bpf_map__reuse_fd(skel->maps.weir_fault_rules, f->map_fd[WEIR_FAULT_MAP_SWITCH]) ||
	    bpf_map__reuse_fd(skel->maps.weir_fault_run, f->map_fd[WEIR_FAULT_MAP_RUN]) ||
	    bpf_map__reuse_fd(skel->maps.weir_fault_account, f->map_fd[WEIR_FAULT_MAP_ACCOUNT]) ||
	    bpf_map__reuse_fd(skel->maps.weir_fault_dropped, f->map_fd[WEIR_FAULT_MAP_DROPPED]) ||
	    bpf_map__reuse_fd(skel->maps.weir_hits, f->rules.hits_fd))
		return weir_load_explain(err, -errno, "prepare the programs");
	return weir_load_code(skel->obj, code, n, err);
}

int weir_fault_packets_load(const struct weir_fault *f, const struct weir_fault_conf *conf,
			    struct weir_fault_programs *ret, struct weir_error *err)
{
	weir_autofree struct bpf_insn *code = NULL;
	struct fault_tc_bpf *skel;
	size_t n = 0;
	int r;

	*ret = WEIR_FAULT_NO_PROGRAMS;
	if (!has_packet_rules(conf))
		return 0;
	r = weir_fault_compile(conf, &code, &n, err);
	if (r)
		return r;
	weir_load_setup();
	skel = fault_tc_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the programs");
	r = load(f, skel, code, n, err);
	if (!r) {
		ret->in_fd = fcntl(bpf_program__fd(skel->progs.weir_fault_in), F_DUPFD_CLOEXEC, 3);
		ret->out_fd =
			fcntl(bpf_program__fd(skel->progs.weir_fault_out), F_DUPFD_CLOEXEC, 3);
		if (ret->in_fd < 0 || ret->out_fd < 0) {
			r = weir_load_explain(err, -errno, "keep the programs");
			weir_fault_packets_close(ret);
		}
	}
	fault_tc_bpf__destroy(skel);
	return r;
}

/* ---- Places */

/* Is a rule about packets on this interface in this direction? See emit_place(). */
static bool is_wanted(const struct weir_fault_conf *conf, const struct if_nameindex *i, bool out)
{
	for (size_t k = 0; k < conf->n; k++) {
		const struct weir_fault_conf_rule *r = &conf->v[k];

		if (weir_fault_is_socket(r) || (r->iface[0] && strcmp(r->iface, i->if_name) != 0))
			continue;
		if (r->dir == (out ? WEIR_FAULT_OUTWARD : WEIR_FAULT_IN) ||
		    (r->dir == WEIR_FAULT_INOUT && (out || i->if_index != LOOPBACK_IFINDEX)))
			return true;
	}
	return false;
}

static const char *link_name(char buf[32], uint32_t ifindex, bool out)
{
	snprintf(buf, 32, "tc_%u_%s", ifindex, out ? "out" : "in");
	return buf;
}

static bool is_attached(const struct weir_fault *f, uint32_t ifindex, bool out)
{
	char name[32];

	return weir_tc_attached(&f->dir, link_name(name, ifindex, out), ifindex, out,
				WEIR_TC_FAULT);
}

static void detach(const struct weir_fault *f, uint32_t ifindex, bool out)
{
	char name[32];

	weir_tc_detach(&f->dir, link_name(name, ifindex, out), ifindex, out, WEIR_TC_FAULT);
}

static int attach(const struct weir_fault *f, const struct if_nameindex *i, bool out,
		  const struct weir_fault_programs *p, struct weir_error *err)
{
	char name[32];
	int ret = weir_tc_attach(&f->dir, link_name(name, i->if_index, out),
				 out ? p->out_fd : p->in_fd, i->if_index, out, WEIR_TC_FAULT, err);

	return ret ? weir_fail_prefix(err, ret, "%s", i->if_name) : 0;
}

/* Off interfaces that are there no more, and off those that @conf does not want. */
static void sweep(const struct weir_fault *f, const struct weir_fault_conf *conf,
		  const struct if_nameindex *all)
{
	DIR *d = opendir(f->dir.path);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		unsigned int ifindex;
		char way[4], name[32];
		bool wanted = false, out;

		if (sscanf(e->d_name, "tc_%u_%3s", &ifindex, way) != 2 &&
		    sscanf(e->d_name, "tc_clsact_%u_%3[a-z]", &ifindex, way) != 2)
			continue;
		out = strcmp(way, "in") != 0;
		for (const struct if_nameindex *i = all; i->if_index && !wanted; i++)
			wanted = i->if_index == ifindex && is_wanted(conf, i, out);
		if (!wanted)
			weir_tc_detach(&f->dir, link_name(name, ifindex, out), ifindex, out,
				       WEIR_TC_FAULT);
	}
	if (d)
		closedir(d);
}

/* What has been in force until now, to go back to. */
static struct weir_fault_programs pinned(const struct weir_fault *f)
{
	return (struct weir_fault_programs){
		.in_fd = weir_pin_get(&f->dir, "packets_in"),
		.out_fd = weir_pin_get(&f->dir, "packets_out"),
	};
}

struct place {
	const struct if_nameindex *iface;
	bool out, was;
};

static void undo(const struct weir_fault *f, const struct place *done, size_t n)
{
	struct weir_fault_programs old = pinned(f);

	while (n--) {
		if (done[n].was && old.in_fd >= 0 && old.out_fd >= 0)
			attach(f, done[n].iface, done[n].out, &old, NULL);
		else
			detach(f, done[n].iface->if_index, done[n].out);
	}
	weir_fault_packets_close(&old);
}

static int keep(const struct weir_fault *f, const struct weir_fault_programs *p,
		struct weir_error *err)
{
	int ret = weir_pin_put(&f->dir, "packets_in", p->in_fd, err);

	return ret ? ret : weir_pin_put(&f->dir, "packets_out", p->out_fd, err);
}

static void unpin(const struct weir_fault *f)
{
	char path[sizeof(f->dir.path) + 16];

	snprintf(path, sizeof(path), "%s/packets_in", f->dir.path);
	unlink(path);
	snprintf(path, sizeof(path), "%s/packets_out", f->dir.path);
	unlink(path);
}

static void free_names(struct if_nameindex **all)
{
	if (*all)
		if_freenameindex(*all);
}

int weir_fault_packets_attach(const struct weir_fault *f, const struct weir_fault_conf *conf,
			      const struct weir_fault_programs *p, struct weir_error *err)
{
	weir_cleanup(free_names) struct if_nameindex *all = if_nameindex();
	weir_autofree struct place *done = NULL;
	size_t n = 0, count = 0;
	int ret = 0;

	while (all && all[count].if_index)
		count++;
	done = all ? calloc(2 * count + 1, sizeof(*done)) : NULL;
	if (!done)
		return weir_fail(err, -errno, "cannot list the interfaces: %m");
	for (size_t i = 0; !ret && p->in_fd >= 0 && i < 2 * count; i++) {
		struct place at = { .iface = &all[i / 2], .out = i % 2 };

		if (!is_wanted(conf, at.iface, at.out))
			continue;
		at.was = is_attached(f, at.iface->if_index, at.out);
		ret = attach(f, at.iface, at.out, p, err);
		if (!ret)
			done[n++] = at;
	}
	if (!ret && p->in_fd >= 0)
		ret = keep(f, p, err);
	if (ret) {
		undo(f, done, n);
		return ret;
	}
	sweep(f, conf, all);
	if (p->in_fd < 0)
		unpin(f);
	return 0;
}
