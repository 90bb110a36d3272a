/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IPFIX (RFC 7011): the messages. The information elements are IANA's.
 *
 *   ipfix.c        records into messages; no input or output
 *   ipfix_send.c   messages over UDP or TCP
 *   ipfix_flows.c  the observer: which flow is exported when
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A message fits a datagram on any usual path: 1500 less IPv6 and UDP headers and room for
 * a tunnel or two. */
#define WEIR_IPFIX_MESSAGE_MAX 1392
#define WEIR_IPFIX_RECORD_MAX 96 /* the largest data record */

enum weir_ipfix_template { /* the template IDs on the wire */
	WEIR_IPFIX_FLOW4 = 256,
	WEIR_IPFIX_FLOW6 = 257,
	WEIR_IPFIX_METERING = 258, /* options: what the metering process did not count */
	WEIR_IPFIX_EXPORTING = 259, /* options: what the exporting process did not send */
};

enum weir_ipfix_end { /* flowEndReason (136) */
	WEIR_IPFIX_END_IDLE = 1,
	WEIR_IPFIX_END_ACTIVE = 2,
	WEIR_IPFIX_END_FORCED = 4,
	WEIR_IPFIX_END_RESOURCES = 5,
};

/* One direction of a flow at one side of an interface. */
struct weir_ipfix_record {
	uint8_t src[16], dst[16]; /* IPv4 as mapped */
	uint16_t sport, dport;	  /* host order */
	uint16_t tcp_flags;
	uint8_t proto;
	bool v6, out; /* out: leaves through @ifindex, else comes in */
	uint8_t end;  /* enum weir_ipfix_end */
	uint32_t ifindex;
	uint64_t octets, packets;      /* since the last record of this flow */
	uint64_t first_ms, last_ms;    /* since the epoch */
};

struct weir_ipfix_losses {
	uint64_t dropped;			 /* 135: seen, and discarded by another stage */
	uint64_t ignored_packets, ignored_octets; /* 164, 165: seen, in no flow */
	uint64_t unsent_flows, unsent_packets, unsent_octets; /* 166, 167, 168 */
};

/* The message that is being made. Zero-initialise; @domain and @sequence are the caller's
 * to set, @sequence moves on with each data record. */
struct weir_ipfix_message {
	uint8_t data[WEIR_IPFIX_MESSAGE_MAX];
	size_t len;	  /* 0: nothing yet */
	size_t set;	  /* where the open set begins; 0 = none */
	uint16_t set_id;
	uint32_t domain, sequence;
	uint32_t before;  /* @sequence at its beginning */
	uint32_t records; /* data records of flows in it */
	uint64_t packets, octets; /* of those */
};

/* Is there no room for another record or the templates? Then send it, and reset. */
bool weir_ipfix_full(const struct weir_ipfix_message *m);
void weir_ipfix_reset(struct weir_ipfix_message *m);
/* All templates; at the beginning of a message. */
void weir_ipfix_add_templates(struct weir_ipfix_message *m);
void weir_ipfix_add_flow(struct weir_ipfix_message *m, const struct weir_ipfix_record *r);
void weir_ipfix_add_losses(struct weir_ipfix_message *m, const struct weir_ipfix_losses *l);
/* Lengths, export time (s since the epoch) and header; then data[0..len) can go out. */
void weir_ipfix_finish(struct weir_ipfix_message *m, uint32_t seconds);

/* ipfix_send.c. The address in the form [udp:|tcp:]HOST:PORT. */
struct weir_ipfix_sender;
int weir_ipfix_sender_new(struct weir_ipfix_sender **ret, const char *to, struct weir_error *err);
void weir_ipfix_sender_free(struct weir_ipfix_sender *s);
/* Does the session need (further) templates before @now_ns? UDP: now and then, TCP: each
 * connection once; a connection that was lost is tried again here. */
bool weir_ipfix_sender_wants_templates(struct weir_ipfix_sender *s, uint64_t now_ns,
				       bool *ret_restarted);
/* Send a finished message, or queue it. False: it is not sent, and never will be. */
bool weir_ipfix_send(struct weir_ipfix_sender *s, const struct weir_ipfix_message *m);
/* Messages given up since the last call: what was queued for a connection now lost. */
void weir_ipfix_sender_unsent(struct weir_ipfix_sender *s, struct weir_ipfix_losses *add);
/* Wait for what is queued to go, some seconds at most. */
void weir_ipfix_sender_flush(struct weir_ipfix_sender *s);
