/* SPDX-License-Identifier: GPL-2.0-only */
/* The network namespaces of this machine. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The cookies of all namespaces that a process, a bind mount or an open file of
 * this machine holds, in *@ret (to be freed). Returns how many, or a negative
 * errno when some could not be looked at: the list is then worth nothing. */
int weir_netns_live(uint64_t **ret);
