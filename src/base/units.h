/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers with units, as every verb reads and prints them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* All parsers: 0, -EINVAL (not of the form) or -ERANGE; *ret untouched then. */
int weir_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int weir_parse_duration(const char *s, uint64_t *ret_ns); /* 250ms 10s 5m 1h 2d */
int weir_parse_size(const char *s, uint64_t *ret_bytes);  /* 64k 16m 1g, powers of 1024 */
/* "1000/s", "60/m" (packets) or "10mbit", "1gbit", "64kbit" (bits per second). */
int weir_parse_rate(const char *s, uint64_t *ret_per_s, bool *ret_is_bits);
int weir_parse_percent(const char *s, double *ret); /* "10%", 0..100 */

/* 1234567 -> "1.23M" (powers of 1000), for tables and the status bar. */
void weir_buf_add_si(struct weir_buf *b, double v);
/* 1234567 -> "1,234,567", for summaries. */
void weir_buf_add_grouped(struct weir_buf *b, uint64_t v);
/* 1500000 -> "1.50ms". */
void weir_buf_add_duration(struct weir_buf *b, uint64_t ns);
