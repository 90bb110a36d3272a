/* SPDX-License-Identifier: GPL-2.0-only */
/* Setting one option of a socket by bpf_setsockopt(): on connections, and to try it. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "cap/tcp/tune_abi.h"

static const struct {
	__u16 level, name;
	__u32 when;
} weir_tune_table[] = {
#define ROW(opt, text, kind, level, number, when, ...) { level, number, WEIR_TUNE_##when },
	WEIR_TUNE_LIST(ROW)
#undef ROW
};

/* @sk: what bpf_setsockopt() takes in this type of program. @v6: its packets are IPv6: the
 * class of service has an option for each IP version, and a socket of IPv6 with an IPv4 peer
 * sends by the one for IPv4. */
static __always_inline int weir_tune_set(void *sk, const struct weir_tune_rule *r, __u32 opt,
					 bool v6)
{
	int level = weir_tune_table[opt].level, name = weir_tune_table[opt].name;
	int value = r->value[opt];

	if (opt == WEIR_TUNE_CONGESTION)
		return (int)bpf_setsockopt(sk, level, name, (void *)r->congestion,
					   sizeof(r->congestion));
	if (opt == WEIR_TUNE_TOS && v6) {
		level = WEIR_SOL_IPV6;
		name = WEIR_IPV6_TCLASS;
	}
	return (int)bpf_setsockopt(sk, level, name, &value, sizeof(value));
}
