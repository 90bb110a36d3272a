/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sockets of this network namespace (sock_diag(7)) and who owns them
 * (/proc/PID/fd; needs CAP_SYS_PTRACE for others' processes), and routes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"

struct weir_socket {
	uint8_t proto; /* IPPROTO_TCP, IPPROTO_UDP */
	uint8_t state; /* TCP_ESTABLISHED, ... ; UDP: TCP_ESTABLISHED when connected */
	struct weir_addr local, remote;
	uint16_t local_port, remote_port;
	uint32_t inode, ifindex; /* ifindex: bound to; 0 = none */
	bool v6only; /* takes no IPv4; of those that listen or are not connected */
	uint64_t cookie;
	uint32_t pid; /* weir_sockets_of(): a process that holds it; else 0 */
};

/* TCP and UDP sockets in the states @states (mask of 1 << TCP_*; 0: all). */
int weir_sockets_list(uint8_t proto, uint32_t states, struct weir_socket **ret, size_t *ret_n,
		      struct weir_error *err);

/* TCP connections of processes called one of @comms: those established whose socket
 * such a process, of any namespace of processes that /proc shows, holds. A socket that
 * a listener's child serves is found through the child. -EPERM: such a process may not
 * be looked at. */
int weir_sockets_of(const char *const *comms, size_t n_comms, struct weir_socket **ret,
		    size_t *ret_n, struct weir_error *err);

/* The interface by which packets to @dst (from @src, or NULL) leave: index, or a negative
 * errno. To an address of this host: loopback. */
int weir_route_to(const struct weir_addr *dst, const struct weir_addr *src);

struct weir_route {
	uint8_t type;	  /* RTN_LOCAL, RTN_UNICAST, ... of linux/rtnetlink.h */
	uint32_t ifindex; /* where it goes; loopback where it is for this host */
};

/* How the kernel routes what comes in by interface @iif, with all that it checks there of
 * IPv4: rp_filter, whether it forwards, groups that were joined. 0, or the negative errno
 * with which it refuses. */
int weir_route_in(uint32_t iif, const struct weir_addr *src, const struct weir_addr *dst,
		  struct weir_route *ret);
