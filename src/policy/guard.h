/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lock-out guard: would a policy cut an ssh session that is open now?
 *
 * Sessions are the established TCP connections whose socket a process called sshd
 * or sshd-session holds. For each, on each interface of the policy by which its
 * packets go (the route's, and those below it: ports of a bridge or bond, what a VLAN
 * lies on), the programs that are about to enter force judge an ACK of
 * it and a SYN that would open it again. A limit that such a packet meets counts as
 * a cut when it lets fewer than WEIR_GUARD_RATE packets a second through. Allow
 * rules that expire are judged as expired too.
 */
#pragma once

#include "base/addr.h"
#include "base/error.h"
#include "policy/policy.h"

#define WEIR_GUARD_RATE 50 /* packets a second; in bits: 1500 bytes each */

struct weir_guard_session {
	struct weir_addr remote, local;
	uint16_t remote_port, local_port;
	uint32_t ifindex; /* one by which its packets may come and go */
	uint32_t pid;	  /* of a process that holds it */
};
/* malloc'ed; one for each interface that the session's packets may pass, also below
 * the one that the route names. Where processes can't be looked at (no CAP_SYS_PTRACE): -EPERM. */
int weir_guard_sessions(struct weir_guard_session **ret, size_t *ret_n, struct weir_error *err);
