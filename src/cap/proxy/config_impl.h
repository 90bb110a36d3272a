/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the configuration share. From text to a struct:
 *
 *	config_tree.c	YAML -> nodes with lines
 *	config_read.c	nodes -> struct, by tables of keys (config_read.h)
 *	config_yaml.c	the tables
 *	config_value.c	single values, the same in the file and in flags
 *	config_check.c	what concerns more than one value
 *	config_print.c	struct -> YAML
 */
#pragma once

#include "cap/proxy/config.h"

#define WEIR_PROXY_LISTENS_MAX 64
#define WEIR_PROXY_ROUTES_MAX 65536
#define WEIR_PROXY_TARGETS_MAX 64 /* of a route: bits of weir_backend_choose()'s mask */
#define WEIR_PROXY_ALLOW_MAX 65536
#define WEIR_PROXY_PREFIXES_MAX 1024 /* of source, accept_proxy: tried one after the other */
#define WEIR_PROXY_WORDS_MAX 64	     /* of alpn, listener, servers */
#define WEIR_PROXY_TEXT_MAX 4096     /* any other value */

/* Word tables, ended by NULL, by the value of their enum. */
extern const char *const weir_proxy_protocols[];
extern const char *const weir_proxy_balances[];
extern const char *const weir_proxy_versions[]; /* of send_proxy */

/* ---- config_tree.c */

enum weir_proxy_node_kind { WEIR_NODE_SCALAR, WEIR_NODE_LIST, WEIR_NODE_MAP };

struct weir_proxy_node {
	enum weir_proxy_node_kind kind;
	bool quoted;		       /* a scalar: in quotes, or as a block */
	unsigned int line;	       /* from 1 */
	char *text;		       /* a scalar's; no NUL inside */
	struct weir_proxy_node *items; /* a list's; a map's keys and values in turn */
	size_t n;
};

/* One document, whose root is a map (of nothing where the document is empty). */
int weir_proxy_tree_read(const char *text, size_t len, const char *source,
			 struct weir_proxy_node *ret, struct weir_error *err);
void weir_proxy_tree_free(struct weir_proxy_node *n);

/* ---- config_value.c. Messages lack the place: the caller puts it in front. */

/* Replaces *ret. UTF-8 without control characters, @tabs: but for tabs. */
int weir_proxy_value_text(const char *text, bool tabs, char **ret, struct weir_error *err);
/* The one of @words that @word most likely means, or NULL. */
const char *weir_proxy_value_nearest(const char *const *words, size_t n, const char *word);
int weir_proxy_value_choice(const char *text, const char *const *choices, int *ret,
			    struct weir_error *err);
int weir_proxy_value_prefix(const char *text, struct weir_prefix *ret, struct weir_error *err);
/* An IP address and a port. */
int weir_proxy_value_endpoint(const char *text, struct weir_endpoint *ret, struct weir_error *err);
/* A name server: its port may be left out. */
int weir_proxy_value_server(const char *text, struct weir_endpoint *ret, struct weir_error *err);
/* "off": none. */
int weir_proxy_value_metrics(const char *text, struct weir_endpoint *ret, struct weir_error *err);
int weir_proxy_value_user(const char *text, char **ret, struct weir_error *err);
/* "off": NULL; "-" and "stdout"; else an absolute path. */
int weir_proxy_value_log(const char *text, char **ret, struct weir_error *err);
/* "json": NULL. */
int weir_proxy_value_format(const char *text, char **ret, struct weir_error *err);
/* Fills kind, match and expr. */
int weir_proxy_value_match(const char *text, struct weir_proxy_route *r, struct weir_error *err);
int weir_proxy_value_target(const char *text, struct weir_proxy_target *ret,
			    struct weir_error *err);
/* Replaces *ret. @key names the action in logs. */
int weir_proxy_value_action(const char *text, const char *key, struct weir_proxy_action *ret,
			    struct weir_error *err);

/* ---- config.c */

/* Room for all routes: they do not move afterwards. */
int weir_proxy_config_room(struct weir_proxy_config *c, size_t routes, struct weir_error *err);
/* One more route, with a route's defaults. */
struct weir_proxy_route *weir_proxy_config_route(struct weir_proxy_config *c);
/* One more listener, with a listener's defaults. -EINVAL: too many. */
int weir_proxy_config_listen(struct weir_proxy_config *c, struct weir_proxy_listen **ret,
			     struct weir_error *err);
/* What they hold, not themselves. */
void weir_proxy_route_free(struct weir_proxy_route *r);
void weir_proxy_action_free(struct weir_proxy_action *a);

/* ---- config_yaml.c, config_check.c */

/* Where the file has what is checked later and does not know its line; 0: nowhere. */
struct weir_proxy_lines {
	unsigned int listen, metrics, routes;
};
/* @more: routes that come behind the file's. */
int weir_proxy_config_yaml(struct weir_proxy_config *c, const char *text, size_t len,
			   const char *source, size_t more, struct weir_proxy_lines *lines,
			   struct weir_error *err);
/* Of the whole; the index is there. @source NULL: no file. */
int weir_proxy_config_check(struct weir_proxy_config *c, const char *source,
			    const struct weir_proxy_lines *lines, struct weir_error *err);

/* ---- config_print.c */

/* In the largest unit that divides it: reads back to the same. */
void weir_proxy_add_time(struct weir_buf *out, uint64_t ns);

/* ---- route.c: the index */

#define WEIR_PROXY_NO_ROUTE UINT32_MAX

struct weir_proxy_slot {
	uint64_t hash;
	uint32_t first, last; /* routes of the same kind and match; first NO_ROUTE: free */
};

struct weir_proxy_names_index {
	struct weir_proxy_slot *slots;
	size_t mask;	   /* slots - 1; at most half of them are used */
	uint32_t *next;	   /* by route: the next one of its chain */
	uint32_t *regexes; /* in the file's order */
	size_t n_regexes;
	uint32_t any;	     /* first of the chain of "*" */
	bool wildcards[128]; /* is there one of so many labels? */
};
