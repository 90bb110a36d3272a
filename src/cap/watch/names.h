/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers of the protocols and what they are called: one table a number
 * space, shared by the line and the proto format. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct weir_name {
	uint32_t value;
	const char *text;
};

struct weir_names {
	const struct weir_name *v;
	size_t n;
};

/* NULL where the number has no name. */
const char *weir_names_find(const struct weir_names *names, uint32_t value);

/* In ICMP's code tables a value is type << 8 | code. */
#define WEIR_ICMP_CODE(type, code) ((uint32_t)(type) << 8 | (code))

extern const struct weir_names weir_names_ethertype;
extern const struct weir_names weir_names_proto; /* "tcp": as --protocol takes them */
extern const struct weir_names weir_names_arp_op;
extern const struct weir_names weir_names_arp_hw;
extern const struct weir_names weir_names_dscp;
extern const struct weir_names weir_names_ecn;
extern const struct weir_names weir_names_ip_option;
extern const struct weir_names weir_names_ip6_option;
extern const struct weir_names weir_names_routing;
extern const struct weir_names weir_names_mobility;
extern const struct weir_names weir_names_tcp_option;
extern const struct weir_names weir_names_mptcp;
extern const struct weir_names weir_names_icmp;
extern const struct weir_names weir_names_icmp_code;
extern const struct weir_names weir_names_icmp6;
extern const struct weir_names weir_names_icmp6_code;
extern const struct weir_names weir_names_nd_option;
extern const struct weir_names weir_names_igmp;
extern const struct weir_names weir_names_sctp_chunk;
extern const struct weir_names weir_names_dccp;
