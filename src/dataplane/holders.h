/* SPDX-License-Identifier: GPL-2.0-only */
/* Which processes hold a socket (/proc/PID/fd), and taking it from one of them
 * (pidfd_getfd(2), CAP_SYS_PTRACE). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct weir_holder {
	uint32_t inode, pid, fd;
};

/* What /proc shows, asked once for a command. Zero-initialise. */
struct weir_holders {
	struct weir_holder *v; /* by inode, process, descriptor */
	size_t n, room;
	bool scanned, denied; /* denied: some processes can't be looked at */
};

/* Look, unless that was done already. */
int weir_holders_scan(struct weir_holders *h, struct weir_error *err);
void weir_holders_free(struct weir_holders *h);
/* The first holder of the socket of @inode, or NULL; the others stand behind it. */
const struct weir_holder *weir_holders_first(const struct weir_holders *h, uint32_t inode);
/* A descriptor of that socket, from one of those that hold it; its cookie says that it
 * still is the same. Else a negative errno: -ENOENT where nobody is seen to hold it. */
int weir_holders_take(const struct weir_holders *h, uint32_t inode, uint64_t cookie);
/* The descriptor @fd of the process @pid, whatever it is: a descriptor or a negative errno. */
int weir_holders_take_fd(uint32_t pid, uint32_t fd);
