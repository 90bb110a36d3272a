/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The place for a compiled match. User space (dataplane/load.c) finds the
 * magic number in the loaded program and overwrites what follows, up to the
 * end of the asm; without that the stub matches everything. On entry to the
 * overwritten part r1 is the packet; it returns by itself with r0.
 */
#pragma once

#include "bpf/match_stub.h"
#include "bpf/pkt.h"

#define WEIR_STR_(x) #x
#define WEIR_STR(x) WEIR_STR_(x)

static __attribute__((noinline)) int weir_match(const struct weir_pkt *p)
{
	int ret;

	asm volatile("r1 = %[p]\n"
		     "r0 = " WEIR_STR(WEIR_MATCH_STUB_MAGIC) "\n"
		     ".rept 4094\n"
		     "r0 = r0\n"
		     ".endr\n"
		     "%[ret] = r0\n"
		     : [ret] "=r"(ret), [p] "+r"(p)
		     :
		     : "r0", "r2", "r3", "r4", "r5");
	return ret;
}
