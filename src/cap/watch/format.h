/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet as text or JSON. Each function appends to @out; none keeps state
 * between packets except the previous time for -ttt/-ttttt.
 *
 * Text is printable ASCII, newlines and tabs, whatever the packet holds; lines
 * of payload begin with a tab, so that none looks like a packet's own.
 *
 * JSON beyond formats.md's list: `tcp_flags` is tcpdump's letters ("S.", "P.",
 * "none"); `vlan` is the outer tag's ID, `vlan_inner` the second's; `fragment`
 * is "first", "middle", "last" or "only"; `ip_id` is also the identification of
 * an IPv6 fragment; `icmp_type` and `icmp_code` follow `urgent`; `checksum_ok`
 * is absent unless the checksum could be verified. src and dst of ARP are the
 * sender and the target.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "cap/watch/packet.h"

enum weir_format { /* order of the --format choices */
	WEIR_FORMAT_LINE,  /* tcpdump-like, one line */
	WEIR_FORMAT_HEX,   /* the line, then offset + hex + ASCII */
	WEIR_FORMAT_TEXT,  /* the line, then the payload as text */
	WEIR_FORMAT_PROTO, /* every header field, one a line, indented by layer */
	WEIR_FORMAT_JSON,  /* one object a line, formats.md */
};

/* -t and its repetitions, as tcpdump has them */
enum weir_time {
	WEIR_TIME_CLOCK,  /* 12:34:56.789012 */
	WEIR_TIME_NONE,	  /* -t */
	WEIR_TIME_EPOCH,  /* -tt */
	WEIR_TIME_DELTA,  /* -ttt: since the previous packet */
	WEIR_TIME_DATE,	  /* -tttt */
	WEIR_TIME_FIRST,  /* -ttttt: since the first packet */
};

enum weir_dump { /* -x, -xx, -X, -XX, -A, -AA on top of any text format */
	WEIR_DUMP_NONE, WEIR_DUMP_HEX, WEIR_DUMP_HEX_L2, WEIR_DUMP_HEX_ASCII,
	WEIR_DUMP_HEX_ASCII_L2, WEIR_DUMP_ASCII, WEIR_DUMP_ASCII_L2,
};

struct weir_formatter {
	enum weir_format format;
	enum weir_time time;
	enum weir_dump dump;
	bool numeric;	  /* -n: no port names */
	bool quiet;	  /* -q: shorter lines */
	bool link;	  /* -e: the link-level header in the line */
	bool show_iface;  /* more than one interface: name it in the line */
	bool colour;
	uint64_t first_ts, prev_ts; /* 0 = none yet */
};

void weir_format_packet(struct weir_formatter *f, const struct weir_packet *p,
			struct weir_buf *out);

/* Shared by the flow tables: "10.0.0.1:443", "[2001:db8::1]:53"; with
 * @proto and !numeric a service name instead of the port ("https"). */
void weir_format_end(struct weir_buf *out, const uint8_t addr[16], uint16_t port,
		     bool has_port, uint8_t proto, bool numeric);
/* The second half of that: ":443", ":https". */
void weir_format_port(struct weir_buf *out, uint16_t port, uint8_t proto, bool numeric);
/* "tcp", "icmpv6", ... or "proto-253". Also what --protocol accepts. */
void weir_format_proto_name(struct weir_buf *out, uint8_t proto);
/* "https", or NULL; cached getservbyport. */
const char *weir_format_service(uint16_t port, uint8_t proto);
