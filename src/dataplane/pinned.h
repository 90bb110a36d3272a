/* SPDX-License-Identifier: GPL-2.0-only */
/* The pinned objects of this network namespace as a list that can be kept,
 * compared and shown: for `weir status` and `weir unload`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "dataplane/pin.h"

struct weir_pinned {
	uint64_t netns; /* the cookie; 0 = unknown */
	struct weir_pin_entry *v;
	size_t n;
};

/* Those of @verb, or of every verb when it is NULL. Nothing pinned, and no bpffs
 * to pin in, is an empty list. */
int weir_pinned_get(struct weir_pinned *ret, const char *verb, struct weir_error *err);
void weir_pinned_free(struct weir_pinned *p);

/* Is anything pinned under @verb, which need not be a verb of this version? */
bool weir_pinned_any(const char *verb);

bool weir_pinned_has(const struct weir_pinned *p, const struct weir_pin_entry *e);
/* Take out of @p what @other has too. */
void weir_pinned_subtract(struct weir_pinned *p, const struct weir_pinned *other);

void weir_pinned_table(const struct weir_pinned *p, struct weir_buf *out);
void weir_pinned_json(const struct weir_pinned *p, struct weir_json *j, const char *key);

#define weir_autopinned __attribute__((cleanup(weir_pinned_free)))
