/* SPDX-License-Identifier: GPL-2.0-only */
/* Prometheus text (version 0.0.4): the lines of metrics named weir_VERB_NAME. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct weir_prom {
	struct weir_buf *out;
	const char *verb;
};

struct weir_prom_label {
	const char *key; /* NULL ends a list */
	const char *val; /* any text: it is escaped */
};

/* @type: "counter", "gauge" or "histogram"; @help: one line, without backslashes. */
void weir_prom_head(const struct weir_prom *p, const char *name, const char *type,
		    const char *help);
/* One series; @labels may be NULL. */
void weir_prom_value(const struct weir_prom *p, const char *name,
		     const struct weir_prom_label *labels, uint64_t value);
/* A metric of one series without labels. */
void weir_prom_one(const struct weir_prom *p, const char *name, const char *type, const char *help,
		   uint64_t value);

/*
 * A histogram, behind its head: buckets from the smallest to the largest, each with all
 * values up to its bound, then what they are together. @labels may be NULL; one histogram
 * for each set of them.
 */
void weir_prom_bucket_of(const struct weir_prom *p, const char *name,
			 const struct weir_prom_label *labels, double bound, uint64_t below);
void weir_prom_histogram_end_of(const struct weir_prom *p, const char *name,
				const struct weir_prom_label *labels, double sum, uint64_t count);
/* The same without labels. */
void weir_prom_bucket(const struct weir_prom *p, const char *name, double bound, uint64_t below);
void weir_prom_histogram_end(const struct weir_prom *p, const char *name, double sum,
			     uint64_t count);
