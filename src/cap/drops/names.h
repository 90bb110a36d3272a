/* SPDX-License-Identifier: GPL-2.0-only */
/* What the running kernel calls its reasons for drops, from its own type information. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct btf;

#define WEIR_DROPS_NAME_MAX 64 /* with NUL; longer names are cut */

struct weir_drops_names {
	uint32_t *value; /* ascending */
	char (*name)[WEIR_DROPS_NAME_MAX];
	size_t n;
};

/* The reasons of the kernel and of the modules that are there. */
int weir_drops_names_load(struct weir_drops_names *n, struct weir_error *err);
/* Add every enum of @btf that is a list of reasons; those of its base are @from'th and
 * lower types, and left out. 0 or -ENOMEM. */
int weir_drops_names_add(struct weir_drops_names *n, const struct btf *btf, uint32_t from);
void weir_drops_names_free(struct weir_drops_names *n);

/* "NO_SOCKET"; what the kernel does not name is its number: "reason 131". */
const char *weir_drops_name(const struct weir_drops_names *n, uint32_t value, char *buf,
			    size_t size);
