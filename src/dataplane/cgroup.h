/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cgroup v2 tree, found where it is mounted (/proc/self/mountinfo) and never assumed:
 * a program that is attached to the wrong directory sees nothing, and nobody tells.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define WEIR_CGROUP_PATH_MAX 256 /* with NUL */

/* Open the cgroup at @path (a directory, or as /proc/PID/cgroup writes it: "/" is the
 * root), or the root of cgroup v2 where it is NULL. Returns a descriptor with its path,
 * without links, in @ret_path (may be NULL), or a negative errno: a @path that is no cgroup
 * v2 is told with the right root. */
int weir_cgroup_open(const char *path, char ret_path[WEIR_CGROUP_PATH_MAX], struct weir_error *err);
/* The kernel's id of an open cgroup, as links and sockets tell it; 0 on failure. */
uint64_t weir_cgroup_id(int fd);
/* Attaching a program of type @attach (BPF_CGROUP_SOCK_OPS ...) to @path was refused by
 * -EPERM: name the program on it, or above it, that admits no other, if there is one.
 * Returns -EPERM. */
int weir_cgroup_explain(const char *path, int attach, const char *what, struct weir_error *err);
