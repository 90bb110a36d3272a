/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The place for a compiled policy (bpf/policy_stub.h); weir_load_policy() writes
 * it. Without that, no interface is the filter's.
 *
 * Behind it stand calls that are never reached: they make the compiler and libbpf
 * bring the functions along, and tell the loader where they ended up.
 */
#pragma once

#include "bpf/gate.h"
#include "bpf/policy_stub.h"

#define WEIR_POLICY_STR_(x) #x
#define WEIR_POLICY_STR(x) WEIR_POLICY_STR_(x)

/* The decision on the packet of @s, by the rules for @key (WEIR_POLICY_KEY). */
static __always_inline __u32 weir_policy(struct weir_scratch *s, __u32 key)
{
	__u64 ret;

	asm volatile("r6 = %[s]\n"
		     "r7 = %[key]\n"
		     "r0 = " WEIR_POLICY_STR(WEIR_POLICY_STUB_MAGIC) "\n"
		     "r0 = 0xff000000 ll\n" /* WEIR_POLICY_NO_ROW; two instructions */
		     ".rept " WEIR_POLICY_STR(WEIR_POLICY_STUB_INSNS) " - 4\n"
		     "r0 = r0\n"
		     ".endr\n"
		     "goto +" WEIR_POLICY_STR(WEIR_POLICY_CALLS_TEXT) "\n"
		     "call weir_set4_0\n"
		     "call weir_set4_1\n"
		     "call weir_set4_2\n"
		     "call weir_set4_3\n"
		     "call weir_set6_0\n"
		     "call weir_set6_1\n"
		     "call weir_set6_2\n"
		     "call weir_set6_3\n"
		     "call weir_limit_over\n"
		     "%[ret] = r0\n"
		     : [ret] "=r"(ret)
		     : [s] "r"(s), [key] "r"(key)
		     : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "memory");
	return (__u32)ret;
}
