/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One client's connection, from accept to close:
 *
 *	PROXY header (where the listener expects one) -> hello -> route -> name ->
 *	connect (Happy Eyeballs, then the next target) -> relay -> close, log, account
 *
 * It belongs to its worker. Other threads see what is marked so, under the worker's lock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cap/proxy/backend.h"
#include "cap/proxy/config.h"
#include "net/hello.h"
#include "cap/proxy/names.h"
#include "cap/proxy/relay.h"
#include "net/endpoint.h"
#include "net/loop.h"

enum weir_conn_state {
	WEIR_CONN_HEADER,  /* waits for the PROXY header */
	WEIR_CONN_HELLO,
	WEIR_CONN_RESOLVE,
	WEIR_CONN_CONNECT,
	WEIR_CONN_RELAY,
	WEIR_CONN_GOODBYE, /* refused: an alert is on its way */
	WEIR_CONN_STATES,
};
extern const char *const weir_conn_states[WEIR_CONN_STATES];

struct weir_worker;

/* What is told of a connection: in the access log when it ended, and by `connections`
 * while it is open. Times: weir_clock_mono() ns; 0: did not happen. */
struct weir_conn_facts {
	uint64_t id;
	struct weir_endpoint client, local; /* after a PROXY header: as it said */
	struct weir_endpoint backend;	    /* len 0: none chosen */
	struct weir_endpoint source;	    /* our end towards the backend; len 0: unknown */
	char name[WEIR_HELLO_NAME];	    /* SNI or Host; "" : none */
	char alpn[32];			    /* the first offered; "" : none */
	bool ech;
	const struct weir_proxy_listen *listen;
	const struct weir_proxy_route *route; /* NULL: none */
	const char *target;		      /* the backend's text; NULL: none */
	enum weir_conn_state state;
	const char *engine; /* NULL: not relayed */
	bool demoted;
	enum weir_proxy_end end; /* of a log line */
	int error;		 /* errno behind it, or 0 */
	uint64_t began, hello_at, connected_at, first_byte_at, ended_at, active_at;
	unsigned int attempts; /* to connect */
	uint64_t bytes_in, bytes_out;
};

/* A connection's keys in JSON and in a log's template: one table (conn_facts.h) is the
 * source of `connections --json`, of the JSON access log and of %{key}. JSON goes into
 * the open object. */
void weir_conn_json(const struct weir_conn_facts *f, bool ended, struct weir_json *j);
/* The template's own spelling: "%{ts} %{remote_ip} %{sni} -> %{backend} %{reason}"; "%%"
 * is a percent sign. What is not known is "-"; of what clients sent, blanks, quotes,
 * backslashes and all but printable ASCII are written as \xHH. */
int weir_conn_template_check(const char *format, struct weir_error *err);
void weir_conn_template(const struct weir_conn_facts *f, const char *format, struct weir_buf *out);
