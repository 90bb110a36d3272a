/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A policy as eBPF instructions for the place in bpf/policy_stub.h: find the
 * interface's row, then the rules in order, until one decides.
 *
 * Rules of the owner "filter" come first, then the other owners' by name, so that
 * one owner's change moves nothing of another's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "dataplane/set.h"
#include "policy/abi.h"
#include "policy/policy.h"

struct bpf_insn;

/* An interface of @policy as the kernel knows it now; 0 = it is not there. */
struct weir_policy_places {
	uint32_t ifindex[WEIR_FILTER_ROWS]; /* by position in policy->ifaces */
};

struct weir_policy_code {
	struct bpf_insn *insns;
	size_t n;
	struct weir_limit *limits; /* by index, as the code numbers them */
	size_t n_limits;
	/* Sets made for long address lists of rules, in the order of set_fds
	 * behind those of policy->sets. */
	struct weir_set *own_sets;
	size_t n_own_sets;
	uint32_t calls; /* mask of enum weir_policy_call that are in use */
};

/* For one hook; an interface whose place is 0 gets no code. @sets: by position in
 * policy->sets. @jiffies_now, @boot_now and @tick_ns turn expiry times into
 * jiffies. -E2BIG when too long. A rule that has expired already is left out. */
int weir_policy_compile(const struct weir_policy *policy, enum weir_policy_hook hook,
			const struct weir_policy_places *places, struct weir_set *const *sets,
			uint64_t jiffies_now, uint64_t boot_now, uint64_t tick_ns,
			struct weir_policy_code *ret, struct weir_error *err);
void weir_policy_code_free(struct weir_policy_code *c);
