/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From nodes to structs by tables: each key is a row, with its kind, the place of its
 * value, and what that may be. Every error names file, line and key.
 */
#pragma once

#include "cap/proxy/config_impl.h"

#define WEIR_PROXY_KEYS_MAX 16 /* of a map */
#define WEIR_PROXY_PATH_DEPTH 8

struct weir_proxy_reader {
	struct weir_proxy_config *c;
	const char *source;
	struct weir_error *err;
	const char *path[WEIR_PROXY_PATH_DEPTH]; /* the keys that lead to the present value */
	unsigned int depth;
	size_t more; /* routes of the flags */
	struct weir_proxy_lines *lines;
	const struct weir_proxy_node *match; /* of the present route: one of its names */
};

enum weir_proxy_row_kind {
	WEIR_ROW_U64,
	WEIR_ROW_UINT,
	WEIR_ROW_TIME,	  /* ns */
	WEIR_ROW_SECONDS, /* ns, whole seconds */
	WEIR_ROW_RATE,	  /* "10/s" */
	WEIR_ROW_CHOICE,
	WEIR_ROW_BOOL,
	WEIR_ROW_TEXT, /* from here to ACTION: as config_value.c reads it */
	WEIR_ROW_ENDPOINT,
	WEIR_ROW_METRICS,
	WEIR_ROW_USER,
	WEIR_ROW_LOG,
	WEIR_ROW_FORMAT,
	WEIR_ROW_ACTION,
	WEIR_ROW_MAP,
	WEIR_ROW_SET, /* by a function */
};

struct weir_proxy_row {
	const char *key;
	enum weir_proxy_row_kind kind;
	size_t at;			   /* in the struct that the map fills */
	uint64_t min, max;		   /* of numbers and times */
	const char *const *choices;	   /* of CHOICE */
	const struct weir_proxy_row *rows; /* of MAP */
	int (*set)(struct weir_proxy_reader *r, const struct weir_proxy_row *row,
		   const struct weir_proxy_node *n, void *at);
	size_t count; /* of a list: where its length goes, in the same struct */
	bool required;
};

/* All of them: 0, or a negative errno with a message. */

/* Fill @base by the keys of the map @n; a table ends with a row without key. */
int weir_proxy_read_map(struct weir_proxy_reader *r, const struct weir_proxy_row *rows,
			const struct weir_proxy_node *n, void *base);
/* Fill @at by the one value @n, as @row says. */
int weir_proxy_read_scalar(const struct weir_proxy_reader *r, const struct weir_proxy_row *row,
			   const struct weir_proxy_node *n, void *at);
/* @n is one value: which? */
int weir_proxy_read_text(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 const char **ret);
/* @n is a list of at most @most, or stands in the place of a list of one. */
int weir_proxy_read_list(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 size_t most, const struct weir_proxy_node **items, size_t *ret_n);
/* Is it one word that stands for all of a list or a map: "any", "off"? */
bool weir_proxy_read_is(const struct weir_proxy_node *n, const char *word);

/* -EINVAL with "FILE:LINE: KEY: MESSAGE"; the same put before a message that is there. */
int weir_proxy_read_fail(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			 const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int weir_proxy_read_place(const struct weir_proxy_reader *r, const struct weir_proxy_node *n,
			  int code);
int weir_proxy_read_oom(const struct weir_proxy_reader *r);
