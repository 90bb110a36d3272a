/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A streaming JSON writer over a weir_buf: no tree, no allocation of its own.
 *
 * @key is NULL inside arrays and for the outermost value. Strings are escaped
 * to RFC 8259; bytes that are not UTF-8 become U+FFFD. The caller closes what
 * it opened; nesting is bounded by WEIR_JSON_DEPTH (asserted).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

#define WEIR_JSON_DEPTH 16

struct weir_json {
	struct weir_buf *out;
	uint8_t depth;
	bool comma[WEIR_JSON_DEPTH];
};

void weir_json_init(struct weir_json *j, struct weir_buf *out);
void weir_json_object(struct weir_json *j, const char *key);
void weir_json_end_object(struct weir_json *j);
void weir_json_array(struct weir_json *j, const char *key);
void weir_json_end_array(struct weir_json *j);
/* @val NULL is unknown, hence absent. */
void weir_json_str(struct weir_json *j, const char *key, const char *val);
void weir_json_strn(struct weir_json *j, const char *key, const char *val,
		    size_t n);
void weir_json_uint(struct weir_json *j, const char *key, uint64_t val);
void weir_json_int(struct weir_json *j, const char *key, int64_t val);
void weir_json_bool(struct weir_json *j, const char *key, bool val);
/* @json is one value that another weir wrote, whole. */
void weir_json_raw(struct weir_json *j, const char *key, const char *json, size_t n);
/* What is not finite is absent; null in an array, where it holds a place. */
void weir_json_double(struct weir_json *j, const char *key, double val);
/* @ns since the epoch, as RFC 3339 in UTC with nanoseconds. */
void weir_json_time(struct weir_json *j, const char *key, uint64_t ns);
