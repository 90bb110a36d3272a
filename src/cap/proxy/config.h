/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proxy's configuration: read from a YAML file, from flags, or both (flags add
 * listeners and routes and outweigh the rest), checked whole, and never changed
 * afterwards. Connections hold a reference to the one they began with.
 *
 * weir-proxy(8) describes the file. An unknown key, a value out of range, a route that no
 * connection can reach because an equal one stands before it: an error that names
 * file, line and key.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/opt.h"
#include "net/hello.h"
#include "cap/proxy/proxy.h"
#include "net/endpoint.h"
#include "net/sock.h"

#define WEIR_PROXY_FILE_MAX (10U << 20) /* bytes of a configuration file */

enum weir_proxy_protocol { WEIR_PROXY_TLS, WEIR_PROXY_HTTP };

struct weir_proxy_listen {
	char *name; /* as given, else the address: what routes and logs call it */
	struct weir_endpoint address;
	enum weir_proxy_protocol protocol;
	/* accept_proxy: a PROXY header comes first, from these sources and from no
	 * others; a source that is not among them may not connect. 0: none expected */
	struct weir_prefix *proxies;
	size_t n_proxies;
	int backlog;
	unsigned int line; /* in the file; 0: from a flag */
};

enum weir_proxy_do { /* with a connection that has no route */
		     WEIR_DO_DROP,  /* close */
		     WEIR_DO_RESET, /* RST */
		     WEIR_DO_ALERT, /* a fatal TLS alert, then close; HTTP: 421, 400 */
		     WEIR_DO_ROUTE, /* ech only: by the outer name */
		     WEIR_DO_BACKEND, /* to @route */
};
struct weir_proxy_route;
struct weir_proxy_action {
	enum weir_proxy_do what;
	struct weir_proxy_route *route; /* with BACKEND: one that has no match */
};

enum weir_proxy_target_kind {
	WEIR_TARGET_ADDRESS, /* an address and a port */
	WEIR_TARGET_UNIX,
	WEIR_TARGET_NAME, /* a host name and a port */
	WEIR_TARGET_DNS,  /* the name that the client asked for, the port that it came to */
};
struct weir_proxy_backend; /* backend.h: its state, which outlives a reload */
struct weir_proxy_target {
	enum weir_proxy_target_kind kind;
	char *text;		   /* as given: "10.0.0.5:443", "unix:/run/x", "app:8443", "dns" */
	struct weir_endpoint addr; /* ADDRESS, UNIX */
	char *host;		   /* NAME */
	uint16_t port;		   /* NAME; 0 = the port that the client came to */
	struct weir_proxy_backend *state; /* set by weir_backends_take(), else NULL */
};

enum weir_proxy_balance { WEIR_ROUND_ROBIN, WEIR_LEAST_CONNECTIONS };

struct weir_proxy_health { /* a TCP connect each interval; interval 0: no checks */
	uint64_t interval_ns, timeout_ns;
	unsigned int rise, fall;
};

enum weir_proxy_match_kind { WEIR_NAME_EXACT, WEIR_NAME_WILDCARD, WEIR_NAME_REGEX, WEIR_NAME_ANY };

struct weir_proxy_route {
	char *name;  /* as given, else the match: what logs call it */
	char *match; /* lower case; of "*.example.org": "example.org" */
	enum weir_proxy_match_kind kind;
	struct weir_expr *expr; /* with REGEX */
	/* Further conditions, each only where given. */
	char **alpn;
	size_t n_alpn;
	struct weir_prefix *sources;
	size_t n_sources;
	char **listeners; /* names */
	size_t n_listeners;

	struct weir_proxy_target *targets;
	size_t n_targets;
	enum weir_proxy_balance balance;
	struct weir_proxy_health health;
	unsigned int send_proxy; /* 0, 1, 2: version of the PROXY header sent */
	bool transparent;	 /* the backend sees the client's address as the source */
	enum weir_proxy_engine engine; /* AUTO: the configuration's */
	uint64_t connect_timeout_ns, idle_timeout_ns; /* 0: the configuration's */
	unsigned int line;	 /* in the file; 0: from a flag */
	_Atomic uint32_t turn;	 /* round-robin: the only thing that changes */
};

struct weir_proxy_limits {
	uint64_t connections;  /* open at a time */
	uint64_t per_source;   /* ...of one address (IPv6: /64); 0 = no limit */
	uint64_t source_rate;  /* new ones a second of one address; 0 = no limit */
	uint64_t source_burst; /* at once; default: the rate, at least 1 */
	uint64_t hello_timeout_ns, connect_timeout_ns, idle_timeout_ns;
};

struct weir_proxy_config {
	_Atomic uint32_t refs;
	struct weir_proxy_listen *listens;
	size_t n_listens;
	enum weir_proxy_engine engine;
	struct weir_proxy_action no_match, no_sni, not_tls, ech;
	char *servers;		/* of names; NULL: /etc/resolv.conf */
	uint64_t cache;		/* names; a change takes effect at the next start */
	uint64_t resolve_timeout_ns, negative_ttl_ns, stale_ns, ttl_min_ns, ttl_max_ns;
	bool local; /* targets of DNS may be loopback, link-local and this host's addresses */
	struct weir_proxy_limits limits;
	struct weir_prefix *allow; /* allow_sources, sorted, none in another; n 0: any */
	size_t n_allow;
	struct weir_proxy_route *routes;
	size_t n_routes;
	struct weir_keepalive keepalive; /* of both ends; idle 0: off */
	char *log;		/* file of the access log, "-": standard output; NULL: none */
	char *log_format;	/* NULL: JSON lines */
	struct weir_endpoint metrics; /* len 0: none */
	char *user;		/* after start; NULL: the default; "root": stays */
	unsigned int workers;	/* 0: one per CPU that may be used */
	uint64_t drain_ns;
	struct weir_proxy_names_index *index; /* route.c's */
};

/* What the command line gives; NULL and 0: not given. Its table of options is cmd.c's. */
struct weir_proxy_flags {
	const char *file;
	struct weir_strv listen, route, allow;
	const char *preset;   /* --default */
	const char *engine, *log, *log_format, *metrics, *user, *servers;
	uint64_t workers, drain_ns;
};

/* -EINVAL with a message; 0 with one reference. Expressions are compiled, the
 * index of names is built, backends have no state yet. */
int weir_proxy_config_read(const struct weir_proxy_flags *f, struct weir_proxy_config **ret,
			   struct weir_error *err);
/* The same from the file's text, which @source names in messages; @text NULL: flags
 * alone, whatever f->file says. */
int weir_proxy_config_parse(const char *text, size_t len, const char *source,
			    const struct weir_proxy_flags *f, struct weir_proxy_config **ret,
			    struct weir_error *err);
struct weir_proxy_config *weir_proxy_config_ref(struct weir_proxy_config *c);
void weir_proxy_config_unref(struct weir_proxy_config *c); /* frees with the last one */
/* As understood, in the file's form, defaults included: reads back to the same. */
void weir_proxy_config_print(const struct weir_proxy_config *c, struct weir_buf *out);

/* Is @source in allow_sources (or is any)? By bisection. */
bool weir_proxy_config_allows(const struct weir_proxy_config *c, const struct weir_addr *source);

/* The route of a connection, or NULL. Exact names before wildcards, the longest
 * wildcard first, then expressions in the file's order, then "*"; among equal names the
 * first one whose conditions hold. ≤ 1 µs with 10,000 routes. */
struct weir_proxy_ask {
	const struct weir_proxy_listen *listen;
	const char *name; /* lower case */
	const struct weir_hello *hello; /* ALPN; NULL for HTTP */
	struct weir_addr source;
};
struct weir_proxy_route *weir_proxy_route_find(const struct weir_proxy_config *c,
					       const struct weir_proxy_ask *ask);

/* route.c: the index, built by weir_proxy_config_read(). */
int weir_proxy_index_build(struct weir_proxy_config *c, struct weir_error *err);
void weir_proxy_index_free(struct weir_proxy_config *c);

/* Who the proxy is where no `user` is given: weir-proxy where this host has it, as
 * packaging/sysusers.d makes it, else nobody, whom other services share. */
const char *weir_proxy_default_user(void);

extern const char *const weir_proxy_engines[WEIR_ENGINES + 1]; /* "auto", "splice", ... NULL */
