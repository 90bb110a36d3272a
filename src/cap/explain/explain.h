/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir explain`: the road of a described packet.
 *
 *	cmd.c     options; asks each verb for its steps
 *	packet.c  is the packet one that the kernel takes: checksums, fragments, tags
 *	kernel.c  the kernel's own steps: is it for this host, which socket gets it
 *	draw.c    the road as a picture and as JSON
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/road.h"
#include "bpf/pkt.h"

/* The interface by which such a packet would come, or leave, as the routes have it; with
 * loopback where both ends are this host's. 0 or a negative errno. */
int weir_explain_iface(const struct weir_road *r, char ret[16], struct weir_error *err);
/* Sets r->here: first of all. */
void weir_explain_route(struct weir_road *r, const struct weir_pkt *p);
void weir_explain_socket(struct weir_road *r, const struct weir_pkt *p);
/* What in the packet itself makes the kernel refuse it or keep it back is added as a step.
 * True: nothing does. */
bool weir_explain_packet(struct weir_road *r, const struct weir_pkt *p);

/* What stops the road: the first drop, or the end (r->n). */
size_t weir_explain_end(const struct weir_road *r);
void weir_explain_text(const struct weir_road *r, const struct weir_pkt *p, bool colour,
		       struct weir_buf *out);
void weir_explain_json(const struct weir_road *r, const struct weir_pkt *p, struct weir_buf *out);
