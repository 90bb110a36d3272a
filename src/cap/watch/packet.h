/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One packet in user space, as every capture engine hands it to the output.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bpf/pkt.h"
#include "cap/watch/watch.h"

struct weir_l7_seen;
struct weir_owner_text;

struct weir_packet {
	struct weir_watch_event ev; /* ts: ns since the epoch */
	const uint8_t *data;	    /* ev.caplen bytes; a stripped VLAN tag is
				       back in place, so len/caplen count it */
	struct weir_pkt hdr;	    /* parsed from data */
	const char *iface;	    /* name, never NULL ("?" when unknown) */
	const char *rule;	    /* "filter/NAME" or NULL */
	const char *comment;	    /* of a pcapng packet that was read; or NULL */
	const struct weir_owner_text *owner, *peer; /* NULL: not known, or not asked for */
	uint32_t wire_packets;	    /* 1, or ceil(L4 payload / gso_size) */
	const struct weir_l7_seen *l7; /* what it tells of names; NULL: not asked for */
};

/* Is the layer-4 (and for ICMP, SCTP their) checksum right? */
enum weir_csum {
	WEIR_CSUM_NONE,	   /* the protocol has none, or UDP over IPv4 left it 0 */
	WEIR_CSUM_UNKNOWN, /* not all bytes were captured, or a fragment */
	WEIR_CSUM_OK,
	WEIR_CSUM_BAD,
	WEIR_CSUM_UNDONE,  /* "not computed": left to the device (offload) */
};

enum weir_csum weir_packet_csum(const struct weir_packet *p);
/* The IPv4 header checksum; NONE for other packets. */
enum weir_csum weir_packet_ip_csum(const struct weir_packet *p);
