/* SPDX-License-Identifier: GPL-2.0-only */
/* clsact filters: what tc.c does where the kernel has no tcx. */
#pragma once

#include "dataplane/tc.h"

/* Attach, or replace what is attached in that place. Makes the clsact qdisc where
 * there is none. */
int weir_clsact_attach(int prog_fd, uint32_t ifindex, bool out, enum weir_tc_place place,
		       struct weir_error *err);
/* Removes the qdisc too, if weir made it and nothing else is there. */
void weir_clsact_detach(uint32_t ifindex, bool out, enum weir_tc_place place);
/* The id of the program; 0 = none. */
uint32_t weir_clsact_prog(uint32_t ifindex, bool out, enum weir_tc_place place);
bool weir_clsact_attached(uint32_t ifindex, bool out, enum weir_tc_place place);
