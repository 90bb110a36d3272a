/* SPDX-License-Identifier: GPL-2.0-only */
/* How user space recognises the stub of bpf/match_stub.bpf.h. */
#pragma once

#define WEIR_MATCH_STUB_MAGIC 0x57454952 /* immediate of its first instruction, `r0 = ...` */
#define WEIR_MATCH_STUB_INSNS 4096	 /* its length, with the move that ends it */
