/* SPDX-License-Identifier: GPL-2.0-only */
/* The checks, for the table in cmd.c. */
#pragma once

#include "cap/selftest/selftest.h"

/* check_see.c */
void weir_check_send(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_watch_tc(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_watch_xdp(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_watch_af_packet(struct weir_selftest *t, struct weir_check_result *r);
/* check_filter.c */
void weir_check_filter_xdp(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_filter_tc(struct weir_selftest *t, struct weir_check_result *r);
/* check_drops.c */
void weir_check_drops_closed(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_drops_full(struct weir_selftest *t, struct weir_check_result *r);
/* Losses for @reason in a ledger of drops, of all rows. */
uint64_t weir_check_lost_for(const json_t *ledger, const char *reason);
/* check_lossy.c */
void weir_check_watch_fault(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_path_fault(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_drops_fault(struct weir_selftest *t, struct weir_check_result *r);
/* check_fault.c, check_tcp.c, check_path.c */
void weir_check_fault_nth(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_tcp(struct weir_selftest *t, struct weir_check_result *r);
void weir_check_path(struct weir_selftest *t, struct weir_check_result *r);
