/* SPDX-License-Identifier: GPL-2.0-only */
/* Tries that stand in a file of their own. As in probe.c: each fills detail, or leaves it to
 * the errno, and returns 0 or a negative errno. */
#pragma once

#include "dataplane/probe.h"

/* What `weir fault` needs besides programs (probe_fault.c). */
int weir_probe_fq(struct weir_probe *p);
int weir_probe_sock_destroy(struct weir_probe *p);
int weir_probe_take_socket(struct weir_probe *p);
