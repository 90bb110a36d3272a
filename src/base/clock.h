/* SPDX-License-Identifier: GPL-2.0-only */
/* Time. Packets carry CLOCK_MONOTONIC nanoseconds (what bpf_ktime_get_ns
 * gives); people read wall-clock time. */
#pragma once

#include <stdint.h>

#include "base/buf.h"

#define WEIR_NSEC_PER_SEC 1000000000ULL

uint64_t weir_clock_mono(void);
uint64_t weir_clock_real(void);

/* realtime - monotonic at this moment (taken as the tightest of a few tries). */
int64_t weir_clock_offset(void);

/* @ns since the epoch as RFC 3339 UTC: 2026-01-02T03:04:05.123456789Z */
void weir_buf_add_rfc3339(struct weir_buf *b, uint64_t ns);
/* Local time of day, HH:MM:SS.uuuuuu, as tcpdump prints it; caches the offset. */
void weir_buf_add_clock(struct weir_buf *b, uint64_t ns);
