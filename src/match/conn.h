/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Matches on connections: src is the initiator and dst the listener, the same seen from
 * both ends; local and remote are relative to this host. The AST reads a packet made by
 * weir_ends_pkt() (bpf/ends.h), in both back ends.
 */
#pragma once

#include "base/opt.h"
#include "match/match.h"

struct weir_conn_spec {
	struct weir_match_spec match; /* no named sets */
	const char *local_ip, *local_port, *remote_ip, *remote_port; /* NULL: not given */
};

/* As weir_match_parse(). What a connection does not have (VLAN tags, TCP flags, sizes ...)
 * is -EINVAL with its name. */
int weir_conn_match_parse(const struct weir_conn_spec *spec, struct weir_match **ret,
			  struct weir_error *err);

/* The same for verbs of TCP alone: a --protocol that no TCP connection has is -EINVAL. */
int weir_conn_match_parse_tcp(const struct weir_conn_spec *spec, struct weir_match **ret,
			      struct weir_error *err);

/* The packet of the connection that the TCP or UDP packet of @r belongs to, as this host's
 * end sees it: one that comes in was begun by the other end. */
struct weir_road;
void weir_conn_pkt_of(const struct weir_road *r, struct weir_pkt *ret);

/* Rows of an option table; @type has a struct weir_conn_spec called @member. The
 * expression is the caller's, from the words. */
#define WEIR_CONN_AT_(type, member, field) offsetof(type, member.field)
#define WEIR_CONN_OPTIONS(type, member)                                                         \
	{ "protocol", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, match.protocol), "LIST",     \
	  .group = "Which connections", .help = "tcp, udp, ip, ip6, or a number" },             \
	{ "src-ip", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, match.src_ip), "LIST",         \
	  .help = "who began it: addresses and prefixes" },                                     \
	{ "dst-ip", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, match.dst_ip), "LIST",         \
	  .help = "who listened, likewise" },                                                   \
	{ "src-port", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, match.src_port), "LIST",     \
	  .help = "port of who began it: numbers and ranges" },                                 \
	{ "dst-port", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, match.dst_port), "LIST",     \
	  .help = "port of who listened, likewise" },                                           \
	{ "local-ip", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, local_ip), "LIST",           \
	  .help = "this host's end" },                                                          \
	{ "local-port", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, local_port), "LIST",       \
	  .help = "this host's end" },                                                          \
	{ "remote-ip", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, remote_ip), "LIST",         \
	  .help = "the other end" },                                                            \
	{ "remote-port", 0, WEIR_OPT_STR, WEIR_CONN_AT_(type, member, remote_port), "LIST",     \
	  .help = "the other end" }
