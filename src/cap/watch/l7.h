/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --names: what packets tell of names. The ClientHello of TLS and the request of HTTP/1,
 * put together from the first bytes of a connection (stream.h); DNS questions and answers
 * over UDP, a packet each, and over TCP; what addresses are called by those answers
 * (hosts.h); and the names of flows.
 *
 *   l7.c       from packets to what they tell
 *   l7_show.c  the same as text and JSON
 *   l7_flow.c  the names of flows
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/json.h"
#include "cap/watch/hosts.h"
#include "cap/watch/packet.h"
#include "cap/watch/stream.h"
#include "net/host.h"

#define WEIR_L7_MESSAGES 16 /* of DNS over TCP, completed by one packet */

enum weir_l7_kind { WEIR_L7_NONE, WEIR_L7_TLS, WEIR_L7_HTTP, WEIR_L7_DNS, WEIR_L7_KINDS };

/* What one packet told, or completed. */
struct weir_l7_seen {
	enum weir_l7_kind kind;
	struct weir_hello hello;     /* TLS: name, alpn, ech */
	struct weir_request request; /* HTTP */
	char host[WEIR_HELLO_NAME];  /* HTTP; "" = none, or one that is not well-formed */
	struct {
		const uint8_t *data;
		size_t len;
		bool cut; /* its end was not captured */
	} dns[WEIR_L7_MESSAGES];
	unsigned int n_dns;
	/* What DNS calls the packet's ends; "" = not known. */
	char src_name[WEIR_HOST_NAME_MAX], dst_name[WEIR_HOST_NAME_MAX];
	struct weir_buf bytes; /* of a stream that request and dns point into */
};

void weir_l7_seen_free(struct weir_l7_seen *s);

struct weir_l7;
/* @show_hosts: addresses are shown by their names. */
int weir_l7_new(struct weir_l7 **ret, bool show_hosts, uint64_t seed);
void weir_l7_free(struct weir_l7 *l);
/* What does @p tell? Thread-safe; @ret is good as long as the packet is. @isn: the sequence
 * number of its sender's SYN, where that is known without having been seen; else NULL. */
void weir_l7_packet(struct weir_l7 *l, const struct weir_packet *p, const uint32_t *isn,
		    struct weir_l7_seen *ret);

struct weir_l7_account {
	uint64_t told[WEIR_L7_KINDS]; /* messages by kind */
	uint64_t lost[WEIR_STREAM_LOST_MAX];
};
/* @ended: no more packets come, so that what has only begun is lost. */
void weir_l7_account(struct weir_l7 *l, bool ended, struct weir_l7_account *ret);

/* l7_flow.c */
struct weir_flow;
struct weir_flow_key;
struct weir_watch;

/* Strings of their own; NULL: not known. */
struct weir_flow_names {
	char *sni;    /* of the ClientHello */
	char *alpn;   /* "h2,http/1.1" */
	char *host;   /* of the first HTTP request */
	char *end[2]; /* what DNS called side A and side B when the flow began */
};

/* Flows that are named before the table has them: they wait here. */
struct weir_flow_waiting {
	struct weir_lru table;
	uint64_t seed;
	uint64_t lost; /* no such flow came */
};

int weir_flow_waiting_init(struct weir_flow_waiting *t, uint64_t seed);
void weir_flow_waiting_free(struct weir_flow_waiting *t);
/* @s was told by a packet of the flow @k: name it. */
void weir_l7_name_flow(struct weir_watch *w, const struct weir_flow_key *k,
		       const struct weir_l7_seen *s);
/* @x is new in the table: the names that it has already. */
void weir_l7_flow_begins(struct weir_watch *w, struct weir_flow *x);
void weir_flow_names_free(struct weir_flow_names *n);
/* What DNS calls side A (0) or B (1), when it began or now; NULL: not known, or -n. */
const char *weir_flow_end_name(struct weir_watch *w, const struct weir_flow *x, int side);
const char *weir_l7_addr_name(struct weir_watch *w, const uint8_t addr[16], uint64_t now);
/* Flow mode: a packet that the kernel has shipped for its names alone. */
void weir_l7_candidate(struct weir_watch *w, const struct weir_watch_event *ev,
		       const uint8_t *data);

/* For l7_flow.c. Flows are kept by the main thread alone. */
struct weir_flow_waiting *weir_l7_waiting(struct weir_l7 *l);
const char *weir_l7_host(struct weir_l7 *l, const uint8_t addr[16], uint64_t now);

/* l7_show.c */
/* ": TLS SNI example.com ALPN h2" behind a packet's line; nothing if it told nothing. */
void weir_l7_line(const struct weir_l7_seen *s, struct weir_buf *out);
/* The same without the colon; false: nothing. */
bool weir_l7_text(const struct weir_l7_seen *s, struct weir_buf *out);
/* `,"sni":...` and so on, inside a packet's object. */
void weir_l7_json(const struct weir_l7_seen *s, struct weir_buf *out);
/* The protocols of a hello, with commas between; those of GREASE (RFC 8701) are left out. */
void weir_l7_alpn(const struct weir_hello *h, struct weir_buf *out);
/* Inside a flow's object: sni, alpn, http_host. */
void weir_flow_names_json(const struct weir_flow *x, struct weir_json *j);
/* " SNI example.com" behind a flow; nothing that @shown says already. */
void weir_flow_names_text(const struct weir_flow *x, const char *shown, struct weir_buf *out);
/* The end of the account: one line, or one object. */
void weir_l7_account_text(const struct weir_watch *w, struct weir_buf *out);
void weir_l7_account_json(const struct weir_watch *w, struct weir_buf *out);
