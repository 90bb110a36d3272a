/* SPDX-License-Identifier: GPL-2.0-only */
/* A control group and a network namespace of our own, for trials. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "dataplane/cgroup.h"

/* A cgroup of this process's own, empty. What a killed command left is removed first. A signal
 * that ends the process (SIGINT, SIGTERM, SIGHUP) removes it. */
struct weir_bypass_place {
	char path[WEIR_CGROUP_PATH_MAX + 32];
	int fd;
};
int weir_bypass_place_make(struct weir_bypass_place *p, struct weir_error *err);
/* Processes that are left in it are killed. */
void weir_bypass_place_remove(struct weir_bypass_place *p);
/* Move the calling process into it. 0 or a negative errno. */
int weir_bypass_place_enter(const struct weir_bypass_place *p);

/* Leave the network namespace for a new one with its loopback up. 0 or a negative errno. */
int weir_bypass_isolate(void);
