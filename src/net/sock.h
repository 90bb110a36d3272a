/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP and Unix stream sockets, as a proxy wants them. All are non-blocking and close
 * on exec. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "net/endpoint.h"

#define WEIR_SOCK_REUSEPORT (1U << 0)
#define WEIR_SOCK_TRANSPARENT (1U << 1) /* IP_TRANSPARENT; takes CAP_NET_ADMIN */
/* Who connects will speak at once: the last ACK of the handshake goes with its first bytes. */
#define WEIR_SOCK_SPEAKS (1U << 2)

/* Listen; an IPv6 wildcard is dual-stack. Returns the descriptor; -errno with a
 * message that names the address and the remedy (in use: by which process is not known
 * here; a port below 1024: the capability). */
int weir_sock_listen(const struct weir_endpoint *e, unsigned int flags, int backlog,
		     struct weir_error *err);
/* The next connection of a listening socket and who it is from. Descriptor or -errno. */
int weir_sock_accept(int fd, struct weir_endpoint *ret_peer);
/* Begin to connect; @from: bind to it first (its port 0: any), IP_TRANSPARENT with
 * the flag. Returns the descriptor, *@ret_done whether it is connected already;
 * -errno. */
int weir_sock_connect(const struct weir_endpoint *to, const struct weir_endpoint *from,
		      unsigned int flags, bool *ret_done);
/* The number below which descriptors of connections are to stay, so that the rest of the
 * process has some when they are all in use: RLIMIT_NOFILE less 64, or an eighth of it. */
int weir_sock_most(void);
/* SO_ERROR: 0 or a negative errno. */
int weir_sock_error(int fd);
struct weir_keepalive {
	uint64_t idle_ns, interval_ns; /* 0: the system's */
	unsigned int count;	       /* 0: the system's */
};
/* SO_KEEPALIVE and its three times. */
int weir_sock_keepalive(int fd, const struct weir_keepalive *k);
/* Close so that the peer gets RST, not FIN. */
void weir_sock_reset(int fd);
/* Both ends; 0 or -errno. */
int weir_sock_name(int fd, struct weir_endpoint *ret);
int weir_sock_peer(int fd, struct weir_endpoint *ret);
