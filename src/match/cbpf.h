/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Classic BPF, as libpcap compiles expressions to, as eBPF for the place of
 * bpf/strict.bpf.h. It answers as libpcap's bpf_filter() does: a load outside the
 * frame and a division by zero reject, "return K" with K other than 0 matches.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bpf_insn;
struct sock_filter;

/* *ret_head: bytes that the head of the frame must have, where it is that long.
 * -ENOTSUP: it has a loop (protochain) or an instruction that eBPF has no like of;
 * -EINVAL: no valid program; -E2BIG: more than WEIR_MATCH_INSNS_MAX instructions. */
int weir_cbpf_translate(const struct sock_filter *f, size_t n, struct bpf_insn **ret_insns,
			size_t *ret_n, uint32_t *ret_head, struct weir_error *err);
