/* SPDX-License-Identifier: GPL-2.0-only */
/* Control groups: where a rule lies, and one of our own for trials. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define WEIR_BYPASS_PATH_MAX 512

/* Open a cgroup v2 directory. @path NULL: the root; else as it stands, or below the root
 * of cgroup v2 (from /proc/self/mountinfo). *@ret_path is malloc'ed. A descriptor, or a
 * negative errno with a message. */
int weir_bypass_cgroup_open(const char *path, char **ret_path, struct weir_error *err);
/* The number by which the kernel names it; 0 where that cannot be found out. */
uint64_t weir_bypass_cgroup_id(const char *path);

/* A cgroup of this process's own, empty. What a killed command left is removed first. */
struct weir_bypass_place {
	char path[WEIR_BYPASS_PATH_MAX];
	int fd;
};
int weir_bypass_place_make(struct weir_bypass_place *p, struct weir_error *err);
/* Its processes must have ended. */
void weir_bypass_place_remove(struct weir_bypass_place *p);
/* Move the calling process into it. 0 or a negative errno. */
int weir_bypass_place_enter(const struct weir_bypass_place *p);

/* Leave the network namespace for a new one with its loopback up. 0 or a negative errno. */
int weir_bypass_isolate(void);
