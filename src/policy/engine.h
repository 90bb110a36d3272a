/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter of this network namespace: what is in force, and how it changes.
 *
 * The kernel is the database. Pinned in <bpffs>/weir/<netns>/filter:
 *
 *	meta, account, buckets, replies, fragments    last across policies
 *	state        one element: which generation is in force, and which is next (policy/state.h)
 *	gN_text      the policy of generation N as text (policy.h, WEIR_POLICY_KERNEL)
 *	gN_xdp, gN_tc, gN_nf, gN_back_*, gN_generation   its programs and maps
 *	sM_4, sM_6, sM_list   set number M, shared by the generations that use it
 *	resident0, gate_IFINDEX    the XDP gate's slot and links
 *	tc_slot, nf_slot, tc_IFINDEX_in ...   the fixed gates of the other hooks
 *	learn_IFINDEX_out ...      what learns replies
 *
 * A change builds generation N+1 beside N: programs, maps, pins; the guard runs
 * its programs over the packets of the ssh sessions; then one slot per hook is
 * switched over, and `state` says so. A process killed anywhere leaves either N or
 * N+1 in force, and the next command finds out which (from the slots), finishes or
 * throws away. All of this happens under the lock of the directory.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dataplane/pin.h"
#include "dataplane/rules.h"
#include "dataplane/set.h"
#include "policy/policy.h"
#include "policy/state.h"

struct weir_craft;

enum weir_lasting_map { /* policy/lasting.bpf.c */
			WEIR_LASTING_ACCOUNT,
			WEIR_LASTING_BUCKETS,
			WEIR_LASTING_REPLIES,
			WEIR_LASTING_FRAGMENTS,
			WEIR_LASTING_MAPS,
};

struct weir_filter {
	struct weir_pin_dir dir;
	struct weir_rules rules;
	struct weir_policy *policy;		    /* in force; never NULL after open */
	struct weir_set sets[WEIR_POLICY_SETS_MAX]; /* of policy->sets, by position */
	uint32_t number;			    /* of the generation; 0 = none yet */
	uint32_t previous; /* to which it goes back unless confirmed; 0 = none */
	uint64_t deadline; /* CLOCK_BOOTTIME ns; 0 = none */
	int account_fd;
	bool rolled_back; /* open found that the deadline had passed */

	/* The engine's own (policy/engine_impl.h). */
	struct weir_filter_state state; /* as it is in the kernel */
	int state_fd;
	int lasting_fd[WEIR_LASTING_MAPS]; /* those of the current ABI; -1: not made yet */
	bool foreign; /* left by another ABI: the next change builds all anew */
};

/* Open what is there and take its lock; @create: with nothing there, begin with an
 * empty policy. -ENOENT without. Finishes what a killed command left; goes back for
 * good where a deadline has passed; drops rules that have expired from the text. A
 * directory of another ABI is read by its text and built anew at the next change
 * (WEIR_FILTER_ABI), behind the same links. */
int weir_filter_open(struct weir_filter *f, bool create, struct weir_error *err);
void weir_filter_close(struct weir_filter *f);

struct weir_filter_change {
	const struct weir_policy *policy; /* the new one; not taken over */
	/* Sets of it that were loaded anew, by position; else the ones in force are
	 * kept, by name. NULL: none. Moved from on success. */
	struct weir_set *sets;
	const bool *sets_new;
	uint64_t confirm_ns; /* 0: in force for good */
	bool force;	     /* the guard warns instead of refusing */
};
struct weir_filter_report {    /* what the command tells its user */
	struct weir_buf notes; /* lines: modes obtained, offloads lost, hooks' places ... */
	bool only_news;	       /* asked for: nothing of interfaces that are not there */
};

/* Put the policy in force, whole or not at all. -EPERM from the guard names the rule
 * and the session. With a deadline pending: -EBUSY, confirm or wait first. */
int weir_filter_change(struct weir_filter *f, const struct weir_filter_change *change,
		       struct weir_filter_report *report, struct weir_error *err);
/* -ENOENT when nothing waits; -ETIME when it went back already. */
int weir_filter_confirm(struct weir_filter *f, struct weir_error *err);
/* The same policy once more for the interfaces that are there now: puts it on those
 * that came back. Nothing happens where it is on all of them. A deadline stays. */
int weir_filter_reattach(struct weir_filter *f, struct weir_filter_report *report,
			 struct weir_error *err);

/* Sets in place, under the guard: an add is refused like a rule. -ENOSPC: build anew.
 * With a deadline pending: -EBUSY. */
int weir_filter_set_change(struct weir_filter *f, const char *name, bool add,
			   const struct weir_prefix *v, size_t n, bool force,
			   struct weir_error *err);

/* How an interface of the policy is filtered right now. */
enum weir_filter_iface_state {
	WEIR_IFACE_ON,
	WEIR_IFACE_GONE,     /* "detached: interface gone" */
	WEIR_IFACE_DETACHED, /* the interface is there, the filter is not on it */
};
struct weir_filter_iface_info {
	enum weir_filter_iface_state state;
	/* On, but what learns replies is gone from it: weir_filter_reattach(). */
	bool no_replies;
	uint32_t ifindex;
	char called[16];  /* its name now, where it was renamed while filtered; else "" */
	const char *mode; /* "native", "generic", "tcx", "clsact", "netfilter" */
	struct weir_filter_account account;
};
int weir_filter_iface_info(struct weir_filter *f, const struct weir_policy_iface *i,
			   struct weir_filter_iface_info *ret);

/* The verdict of the programs in force on a packet that comes in (leaves) by @i. */
struct weir_filter_verdict {
	bool dropped;
	enum weir_filter_reason reason;
	uint32_t rule;	/* id; 0 = none */
	uint32_t flags; /* WEIR_TEST_* */
	const char *unseen; /* why the hook never sees such a packet; NULL: it does */
};
int weir_filter_test(struct weir_filter *f, const struct weir_policy_iface *i,
		     const struct weir_craft *packet, struct weir_filter_verdict *ret,
		     struct weir_error *err);

extern const char *const weir_filter_reasons[WEIR_DROP_REASONS];      /* "rule", "limit", ... */
extern const char *const weir_filter_reason_texts[WEIR_DROP_REASONS]; /* a sentence each */

/* jiffies64 now, CLOCK_BOOTTIME ns now, and ns per jiffy. */
int weir_filter_clock(uint64_t *jiffies, uint64_t *boot, uint64_t *tick_ns, struct weir_error *err);
