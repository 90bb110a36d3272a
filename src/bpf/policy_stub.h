/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How user space recognises the place for a compiled policy
 * (bpf/policy_stub.bpf.h) and the functions that it may call.
 *
 * On entry r6 is the scratch record (struct weir_scratch *, whose first member is the
 * packet) and r7 the hook's key of the interface (WEIR_POLICY_KEY). The code may use
 * r0..r7 and no stack, and leaves behind its end with the decision in r0.
 */
#pragma once

#define WEIR_POLICY_STUB_MAGIC 0x57454954
#define WEIR_POLICY_STUB_INSNS 24576 /* from the magic on, without the calls behind it */
/* Two instructions around it, as for a match, and one to leave. */
#define WEIR_POLICY_INSNS_MAX (WEIR_POLICY_STUB_INSNS - 4)

/* The interface, and whether the packet leaves by it. */
#define WEIR_POLICY_OUT 0x80000000U
#define WEIR_POLICY_KEY(ifindex, out) ((ifindex) | ((out) ? WEIR_POLICY_OUT : 0))

/*
 * Functions that the policy may call, in the order of the calls behind the stub.
 * The compiler emits BPF_CALL with src_reg BPF_PSEUDO_CALL and one of these as
 * the immediate; weir_load_policy() puts the distance there.
 *
 * SET4_n: r1 = map, r2 = address, host order        -> r0 = 1 in, 0 not
 * SET6_n: r1 = map, r2 = pointer to the 16 bytes    -> r0 = 1 in, 0 not
 *	(set i uses copy i % WEIR_POLICY_SET_COPIES: where one copy sees one
 *	map only, the kernel looks it up in line)
 * LIMIT:  r1 = scratch record, r2 = index into weir_limits
 *						     -> r0 = 1 over the limit, 0 within
 */
#define WEIR_POLICY_SET_COPIES 4
enum weir_policy_call {
	WEIR_POLICY_CALL_SET4 = 0,
	WEIR_POLICY_CALL_SET6 = WEIR_POLICY_SET_COPIES,
	WEIR_POLICY_CALL_LIMIT = 2 * WEIR_POLICY_SET_COPIES,
	WEIR_POLICY_CALLS,
};
#define WEIR_POLICY_CALLS_TEXT 9 /* the same, for the assembler */
_Static_assert(WEIR_POLICY_CALLS_TEXT == WEIR_POLICY_CALLS, "calls behind the stub");

/* The decision in r0. */
enum weir_policy_action {
	WEIR_POLICY_NONE,  /* no rule decided: the interface's default does */
	WEIR_POLICY_ALLOW,
	WEIR_POLICY_DENY,
	WEIR_POLICY_LIMIT, /* over a limit */
};
#define WEIR_POLICY_RULE(d) ((d) & 0xffffU)	  /* id of the rule, 0 = none */
#define WEIR_POLICY_ACTION(d) (((d) >> 16) & 0xffU) /* enum weir_policy_action */
#define WEIR_POLICY_ROW(d) ((d) >> 24)		  /* the interface's row */
#define WEIR_POLICY_NO_ROW 0xffU		  /* not an interface of the filter */
#define WEIR_POLICY_DECISION(row, action, rule) \
	((__u32)(row) << 24 | (__u32)(action) << 16 | (rule))
