/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Open connections. A worker stands still while its own are looked at, so they are only
 * copied then, as bytes behind each other; there may be a hundred thousand of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/proxy/control_impl.h"

#define PIECE 65536    /* bytes printed at a time */
#define NAME_COLUMN 40 /* longer ones push their row to the right */
#define V4_COLUMN 21
#define V6_COLUMN 47

/* What differs in length lies behind this, in the order of `len`. */
enum part {
	CLIENT,
	LOCAL,
	BACKEND,
	SOURCE,
	NAME,
	ALPN,
	LISTENER,
	ROUTE,
	TARGET,
	PARTS,
};

struct record {
	uint64_t id, began, hello_at, connected_at, first_byte_at, active_at;
	uint64_t bytes_in, bytes_out;
	const char *engine; /* a constant of its engine */
	uint32_t attempts;
	int error;
	uint8_t state;
	bool ech, demoted, http;
	uint16_t len[PARTS]; /* of texts: with NUL; 0: NULL */
};

struct weir_conn_list {
	struct weir_buf records;
	size_t at;
	bool json, begun, v6;
	size_t name_column;
	struct weir_json j;
};

/* ---- Copying */

static void lengths(const struct weir_conn_facts *f, const void *part[PARTS], uint16_t len[PARTS])
{
	const struct weir_endpoint *ends[] = { &f->client, &f->local, &f->backend, &f->source };
	const char *texts[] = { f->name, f->alpn, f->listen ? f->listen->name : NULL,
				f->route ? f->route->name : NULL, f->target };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(ends); i++) {
		part[CLIENT + i] = &ends[i]->sa;
		len[CLIENT + i] = (uint16_t)ends[i]->len;
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(texts); i++) {
		size_t n = texts[i] ? strlen(texts[i]) + 1 : 0;

		part[NAME + i] = texts[i];
		len[NAME + i] = n <= UINT16_MAX ? (uint16_t)n : 0;
	}
}

static int copy(void *arg, const struct weir_conn_facts *f)
{
	struct weir_conn_list *l = arg;
	struct record r = {
		.id = f->id,
		.began = f->began,
		.hello_at = f->hello_at,
		.connected_at = f->connected_at,
		.first_byte_at = f->first_byte_at,
		.active_at = f->active_at,
		.bytes_in = f->bytes_in,
		.bytes_out = f->bytes_out,
		.engine = f->engine,
		.attempts = f->attempts,
		.error = f->error,
		.state = (uint8_t)f->state,
		.ech = f->ech,
		.demoted = f->demoted,
		.http = f->listen && f->listen->protocol == WEIR_PROXY_HTTP,
	};
	const void *part[PARTS];

	lengths(f, part, r.len);
	weir_buf_add(&l->records, &r, sizeof(r));
	for (int i = 0; i < PARTS; i++)
		if (r.len[i])
			weir_buf_add(&l->records, part[i], r.len[i]);
	if (f->client.sa.sa_family == AF_INET6)
		l->v6 = true;
	if (r.len[NAME] > l->name_column)
		l->name_column = r.len[NAME];
	return l->records.failed;
}

struct weir_conn_list *weir_conn_list_new(struct weir_service *s, bool json)
{
	struct weir_conn_list *l = calloc(1, sizeof(*l));
	uint64_t open = 0;

	if (!l)
		return NULL;
	l->json = json;
	l->name_column = sizeof("NAME");
	for (unsigned int w = 0; w < s->n_workers; w++)
		open += weir_worker_open(s->worker[w]);
	/* Once, and not while a worker stands still. */
	weir_buf_room(&l->records, open * 2 * sizeof(struct record));
	for (unsigned int w = 0; w < s->n_workers; w++)
		weir_worker_each(s->worker[w], copy, l);
	if (l->records.failed) {
		weir_conn_list_free(l);
		return NULL;
	}
	if (l->name_column > NAME_COLUMN)
		l->name_column = NAME_COLUMN;
	return l;
}

void weir_conn_list_free(struct weir_conn_list *l)
{
	if (!l)
		return;
	weir_buf_free(&l->records);
	free(l);
}

/* ---- Printing */

static void get_endpoint(struct weir_endpoint *e, const char *from, uint16_t len)
{
	memcpy(&e->sa, from, len);
	e->len = len;
}

/* The next record as it was; *listen and *route hold what is left of theirs. */
static void next(struct weir_conn_list *l, struct weir_conn_facts *f,
		 struct weir_proxy_listen *listen, struct weir_proxy_route *route)
{
	struct record r;
	const char *part[PARTS];

	memcpy(&r, l->records.data + l->at, sizeof(r));
	l->at += sizeof(r);
	for (int i = 0; i < PARTS; i++) {
		part[i] = l->records.data + l->at;
		l->at += r.len[i];
	}
	*f = (struct weir_conn_facts){
		.id = r.id,
		.ech = r.ech,
		.state = r.state,
		.engine = r.engine,
		.demoted = r.demoted,
		.error = r.error,
		.began = r.began,
		.hello_at = r.hello_at,
		.connected_at = r.connected_at,
		.first_byte_at = r.first_byte_at,
		.active_at = r.active_at,
		.attempts = r.attempts,
		.bytes_in = r.bytes_in,
		.bytes_out = r.bytes_out,
	};
	get_endpoint(&f->client, part[CLIENT], r.len[CLIENT]);
	get_endpoint(&f->local, part[LOCAL], r.len[LOCAL]);
	get_endpoint(&f->backend, part[BACKEND], r.len[BACKEND]);
	get_endpoint(&f->source, part[SOURCE], r.len[SOURCE]);
	memcpy(f->name, part[NAME], r.len[NAME]);
	memcpy(f->alpn, part[ALPN], r.len[ALPN]);
	listen->name = (char *)part[LISTENER];
	listen->protocol = r.http ? WEIR_PROXY_HTTP : WEIR_PROXY_TLS;
	route->name = (char *)part[ROUTE];
	f->listen = r.len[LISTENER] ? listen : NULL;
	f->route = r.len[ROUTE] ? route : NULL;
	f->target = r.len[TARGET] ? part[TARGET] : NULL;
}

static void print_head(struct weir_conn_list *l, struct weir_buf *out)
{
	if (l->json) {
		weir_json_init(&l->j, out);
		weir_json_object(&l->j, NULL);
		weir_json_uint(&l->j, "v", 1);
		weir_json_array(&l->j, "connections");
	} else {
		weir_buf_addf(out, "%-8s  %-7s  %-*s  %-*s  %8s  %8s  %8s  %-7s  %s\n", "ID",
			      "STATE", l->v6 ? V6_COLUMN : V4_COLUMN, "CLIENT", (int)l->name_column,
			      "NAME", "IN", "OUT", "AGE", "ENGINE", "BACKEND");
	}
}

static void print_end(struct weir_conn_list *l)
{
	if (l->json) {
		weir_json_end_array(&l->j);
		weir_json_end_object(&l->j);
		weir_buf_addc(l->j.out, '\n');
	}
}

static const char *or_dash(const char *s)
{
	return s && s[0] ? s : "-";
}

/* The path of a client's Unix socket is as a PROXY header told it. */
static void plain(char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			*s = '?';
}

static void print_row(const struct weir_conn_list *l, const struct weir_conn_facts *f,
		      struct weir_buf *out)
{
	weir_autobuf struct weir_buf in = { 0 }, back = { 0 }, age = { 0 };
	char client[WEIR_ENDPOINT_STRLEN], backend[WEIR_ENDPOINT_STRLEN];

	weir_buf_add_si(&in, (double)f->bytes_in);
	weir_buf_add_si(&back, (double)f->bytes_out);
	weir_buf_add_duration(&age, weir_clock_mono() - f->began);
	weir_endpoint_str(&f->client, client);
	plain(client);
	if (f->backend.len)
		weir_endpoint_str(&f->backend, backend);
	weir_buf_addf(out, "%-8llu  %-7s  %-*s  %-*s  %8s  %8s  %8s  %-7s  %s\n",
		      (unsigned long long)f->id, weir_conn_states[f->state],
		      l->v6 ? V6_COLUMN : V4_COLUMN, client, (int)l->name_column, or_dash(f->name),
		      in.data, back.data, age.data, or_dash(f->engine),
		      f->backend.len ? backend : or_dash(f->target));
}

bool weir_conn_list_print(struct weir_conn_list *l, struct weir_buf *out)
{
	struct weir_proxy_listen listen = { 0 };
	struct weir_proxy_route route = { 0 };
	struct weir_conn_facts f;

	if (!l->begun)
		print_head(l, out);
	l->begun = true;
	l->j.out = out;
	while (l->at < l->records.len && out->len < PIECE) {
		next(l, &f, &listen, &route);
		if (l->json) {
			weir_json_object(&l->j, NULL);
			weir_conn_json(&f, false, &l->j);
			weir_json_end_object(&l->j);
		} else {
			print_row(l, &f, out);
		}
	}
	if (l->at < l->records.len)
		return true;
	print_end(l);
	return false;
}
