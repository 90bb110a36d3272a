/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writing pcapng (draft-ietf-opsawg-pcapng): Section Header, one Interface
 * Description a watched interface, Enhanced Packets with epb_flags (direction),
 * dropcount, queue, verdict and comment, Interface Statistics at the end.
 * Times are in nanoseconds. Blocks are appended to a buffer; the file is the
 * caller's. Reading goes through libpcap.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "cap/watch/packet.h"

struct weir_pcapng_iface {
	const char *name;
	const char *filter; /* the expression, or NULL */
	uint32_t snaplen;
	bool no_l2;	    /* LINKTYPE_RAW instead of ETHERNET */
};

/* Section header (@hardware, @os and "weir VERSION") and the interfaces. */
void weir_pcapng_begin(struct weir_buf *out, const struct weir_pcapng_iface *ifs,
		       unsigned int n);
/* One interface more: behind those that were begun with, and before its packets. */
void weir_pcapng_join(struct weir_buf *out, const struct weir_pcapng_iface *i);
/* @iface indexes ifs; @drops = packets lost since the previous packet of that
 * interface (option absent when 0). */
void weir_pcapng_packet(struct weir_buf *out, const struct weir_packet *p,
			unsigned int iface, uint64_t drops);

struct weir_pcapng_stats {
	uint64_t start, end;  /* ns since the epoch */
	uint64_t received;    /* isb_ifrecv: seen */
	uint64_t accepted;    /* isb_filteraccept: matched */
	uint64_t dropped;     /* isb_osdrop: sum of lost */
	uint64_t delivered;   /* isb_usrdeliv */
};
void weir_pcapng_stats(struct weir_buf *out, unsigned int iface,
		       const struct weir_pcapng_stats *s);
