/* SPDX-License-Identifier: GPL-2.0-only */
/* The network namespaces of this machine. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The cookies of all namespaces that a thread, an open file, a socket or a mount
 * holds, in *@ret (to be freed). Returns how many, or a negative errno when not
 * all could be looked at (it takes CAP_PERFMON and CAP_SYS_ADMIN). */
int weir_netns_live(uint64_t **ret);
