/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets of this namespace as descriptors of this process: by the address on which
 * they listen, or by a process's descriptor (pidfd_getfd(2)).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/steer/conf.h"
#include "dataplane/holders.h"
#include "dataplane/sockets.h"

/* What the kernel and /proc know, asked once for a command. Zero-initialise. */
struct weir_steer_finder {
	struct weir_socket *sockets[WEIR_STEER_PROTOS];
	size_t n[WEIR_STEER_PROTOS];
	bool listed[WEIR_STEER_PROTOS];
	struct weir_holders holders;
};

void weir_steer_finder_free(struct weir_steer_finder *f);

struct weir_steer_found {
	int fd;
	uint64_t cookie;
	struct weir_addr addr;
	uint16_t port;
};

/* The sockets of @to, at most WEIR_STEER_SPARE; the caller closes them. Returns how many;
 * -ENOENT: there is none, and @err says what to do. */
int weir_steer_find(struct weir_steer_finder *f, const char *to, enum weir_steer_proto proto,
		    struct weir_steer_found ret[WEIR_STEER_SPARE], struct weir_error *err);
/* The sockets of a protocol that new connections may reach, and any other one; sorted
 * by cookie, in @f. */
int weir_steer_finder_list(struct weir_steer_finder *f, enum weir_steer_proto proto,
			   struct weir_error *err);
const struct weir_socket *weir_steer_finder_cookie(const struct weir_steer_finder *f,
						   enum weir_steer_proto proto, uint64_t cookie);
/* May it get new connections (TCP) or anybody's packets (UDP)? */
bool weir_steer_is_open(const struct weir_socket *s);
/* A process that holds the socket of @inode: its id and its name, or 0. */
uint32_t weir_steer_holder_of(struct weir_steer_finder *f, uint32_t inode, char comm[17]);
