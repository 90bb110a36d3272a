/* SPDX-License-Identifier: GPL-2.0-only */
/* Community ID version 1, seed 0: a name for a conversation that other tools
 * (Zeek, Suricata, Wireshark) give it too. */
#pragma once

#include <stdbool.h>

#include "bpf/pkt.h"

#define WEIR_COMMUNITY_LEN 31 /* "1:", 28 digits, NUL */

/* False where there is none: not TCP, UDP, SCTP, ICMP or ICMPv6, or the ports
 * are not known. */
bool weir_community_id(const struct weir_pkt *p, char ret[WEIR_COMMUNITY_LEN]);
