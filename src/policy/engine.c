/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/engine.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/if_link.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "policy/engine_impl.h"

#include "jiffies.skel.h"

void (*weir_engine_step)(const char *what);

#define WORD(name, word, text) [WEIR_DROP_##name] = word,
#define TEXT(name, word, text) [WEIR_DROP_##name] = text,
const char *const weir_filter_reasons[WEIR_DROP_REASONS] = { "none", WEIR_DROP_TABLE(WORD) };
const char *const weir_filter_reason_texts[WEIR_DROP_REASONS] = { "", WEIR_DROP_TABLE(TEXT) };
#undef WORD
#undef TEXT

/* ---- Time */

static uint64_t clock_ns(const struct timespec *t)
{
	return (uint64_t)t->tv_sec * WEIR_NSEC_PER_SEC + (uint64_t)t->tv_nsec;
}

int weir_filter_clock(uint64_t *jiffies, uint64_t *boot, uint64_t *tick_ns, struct weir_error *err)
{
	uint8_t frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1);
	struct timespec now = { 0 }, tick = { 0 };
	struct jiffies_bpf *skel;
	uint64_t value = 0;
	uint32_t zero = 0;
	int ret;

	weir_load_setup();
	skel = jiffies_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the clock");
	ret = weir_load(skel->obj, NULL, err);
	if (ret) {
		jiffies_bpf__destroy(skel);
		return ret;
	}
	ret = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.weir_read_jiffies), &opts);
	clock_gettime(CLOCK_BOOTTIME, &now);
	/* A coarse clock advances with the jiffies. */
	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	if (!ret && bpf_map_lookup_elem(bpf_map__fd(skel->maps.bss), &zero, &value))
		ret = -errno;
	if (ret) {
		weir_load_explain(err, ret, "read the clock");
	} else {
		*jiffies = value;
		*boot = clock_ns(&now);
		*tick_ns = clock_ns(&tick);
	}
	jiffies_bpf__destroy(skel);
	return ret;
}

int weir_now_read(struct weir_now *ret, struct weir_error *err)
{
	return weir_filter_clock(&ret->jiffies, &ret->boot, &ret->tick, err);
}

/* ---- Open and close */

static void init(struct weir_filter *f)
{
	memset(f, 0, sizeof(*f));
	f->dir.fd = f->account_fd = f->state_fd = -1;
	f->rules.rules_fd = f->rules.names_fd = f->rules.hits_fd = -1;
	for (int i = 0; i < WEIR_LASTING_MAPS; i++)
		f->lasting_fd[i] = -1;
	for (int i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_init(&f->sets[i]);
}

/* Nothing came of it, or nothing is left. */
static bool is_empty(const struct weir_filter *f)
{
	const struct weir_policy *p = f->policy;

	if (f->dir.fd < 0 || f->state_fd < 0 || f->state.next || f->state.previous)
		return false;
	return !f->state.current || (p && !p->n_ifaces && !p->n_sets && !p->n_rules);
}

void weir_filter_close(struct weir_filter *f)
{
	if (is_empty(f)) {
		/* Whoever waits for the lock finds the directory gone, and makes
		 * it anew. */
		weir_state_wipe(f);
		rmdir(f->dir.path);
	}
	for (int i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_close(&f->sets[i]);
	for (int i = 0; i < WEIR_LASTING_MAPS; i++)
		weir_closep(&f->lasting_fd[i]);
	weir_closep(&f->account_fd);
	weir_closep(&f->state_fd);
	weir_policy_free(f->policy);
	weir_rules_close(&f->rules);
	weir_pin_close(&f->dir);
	init(f);
}

/* The text in force, without the rules whose time is over. */
static int load_policy(struct weir_filter *f, struct weir_error *err)
{
	struct timespec now = { 0 };
	int ret;

	weir_policy_free(f->policy);
	f->policy = NULL;
	f->number = f->state.current;
	f->previous = f->state.previous;
	if (!f->state.current) {
		f->policy = weir_policy_new();
		return f->policy ? 0 : weir_fail(err, -ENOMEM, "out of memory");
	}
	ret = weir_text_get(f, f->state.current, &f->policy, err);
	if (ret)
		return ret;
	clock_gettime(CLOCK_BOOTTIME, &now);
	weir_plan_expire(f, f->policy, clock_ns(&now));
	return 0;
}

static int open_sets(struct weir_filter *f, struct weir_error *err)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < f->policy->n_sets; i++) {
		char name[WEIR_PIN_NAME_MAX];

		if (f->policy->sets[i].number)
			ret = weir_set_open(&f->sets[i], &f->dir,
					    weir_pin_set(name, f->policy->sets[i].number), err);
	}
	return ret;
}

/* Bring what is there to rest, and read it. */
static int recover(struct weir_filter *f, struct weir_error *err)
{
	bool unfinished = f->state.next;
	int ret = weir_switch_settle(f, err);

	if (!ret)
		ret = weir_switch_look(f, err);
	if (!ret)
		ret = load_policy(f, err);
	if (ret)
		return ret;
	if (unfinished || f->rolled_back || weir_switch_has_leftovers(f)) {
		ret = weir_state_collect(f, f->policy, err);
		if (!ret && f->rules.rules_fd >= 0)
			ret = weir_plan_sync(f, f->policy, NULL, err);
	}
	return ret;
}

int weir_filter_open(struct weir_filter *f, bool create, struct weir_error *err)
{
	int ret;

	init(f);
	ret = weir_pin_open(&f->dir, "filter", create, err);
	if (ret)
		return ret;
	ret = weir_state_open(f, err);
	if (!ret) {
		ret = weir_rules_open(&f->rules, f->state.current != 0, err);
		/* The first change makes it. */
		if (ret == -ENOENT)
			ret = 0;
	}
	if (!ret)
		ret = recover(f, err);
	if (!ret && !f->state.current && !create)
		ret = weir_fail(err, -ENOENT,
				"nothing of `weir filter` is loaded here: see `weir status`");
	if (!ret)
		ret = open_sets(f, err);
	if (ret)
		weir_filter_close(f);
	return ret;
}

/* ---- How it is */

static const char *xdp_mode(uint32_t ifindex)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	if (bpf_xdp_query((int)ifindex, 0, &opts))
		return "xdp";
	return opts.attach_mode == XDP_ATTACHED_SKB ? "generic" : "native";
}

static const char *tc_mode(const struct weir_filter *f, uint32_t ifindex, bool out)
{
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = -1;
	snprintf(name, sizeof(name), "tc_%u_%s", ifindex, out ? "out" : "in");
	fd = weir_pin_get(&f->dir, name);
	return fd >= 0 ? "tcx" : "clsact";
}

static int sum_account(const struct weir_filter *f, uint32_t row, struct weir_filter_account *ret)
{
	const size_t cpus = (size_t)weir_sys_cpus(), words = sizeof(*ret) / sizeof(uint64_t);
	weir_autofree struct weir_filter_account *v = calloc(cpus, sizeof(*v));
	uint64_t *sum = (uint64_t *)(void *)ret;

	memset(ret, 0, sizeof(*ret));
	if (!v)
		return -ENOMEM;
	if (f->account_fd < 0 || bpf_map_lookup_elem(f->account_fd, &row, v))
		return 0;
	for (size_t i = 0; i < cpus; i++)
		for (size_t k = 0; k < words; k++)
			sum[k] += ((const uint64_t *)(const void *)&v[i])[k];
	return 0;
}

int weir_filter_iface_info(struct weir_filter *f, const struct weir_policy_iface *i,
			   struct weir_filter_iface_info *ret)
{
	const struct weir_filter_places *places = weir_state_places(f, f->state.current, false);

	memset(ret, 0, sizeof(*ret));
	ret->ifindex = weir_plan_ifindex(f, f->policy, places, i->name, ret->called);
	ret->mode = "";
	if (!ret->ifindex)
		ret->state = WEIR_IFACE_GONE;
	else if (!places || places->row[i->index].ifindex != ret->ifindex ||
		 !weir_attached(f, places, i->index))
		ret->state = WEIR_IFACE_DETACHED;
	else if (i->hook == WEIR_HOOK_XDP)
		ret->mode = xdp_mode(ret->ifindex);
	else if (i->hook == WEIR_HOOK_TC)
		ret->mode = tc_mode(f, ret->ifindex, i->out);
	else
		ret->mode = "netfilter";
	if (ret->state == WEIR_IFACE_ON)
		ret->no_replies = !weir_learns(f, &places->row[i->index]);
	return sum_account(f, i->index, &ret->account);
}
