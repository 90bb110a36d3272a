/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One AF_XDP socket that receives, in copy mode: memory of a page for each buffer, the fill
 * ring by which the kernel gets free ones, and the receive ring by which frames come.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/watch/watch.h"

#define WEIR_XSK_QUEUES 256 /* receive queues of one interface */

struct weir_xsk;

/* A socket for @queue of @ifindex with @bytes of memory. *@pieces: may a frame come in several
 * buffers? Taken back where the kernel has none of that (before 6.6). -ENOENT, without a
 * message: there is no such queue. */
int weir_xsk_open(struct weir_xsk **ret, const char *ifname, uint32_t ifindex, uint32_t queue,
		  size_t bytes, bool *pieces, struct weir_error *err);
void weir_xsk_close(struct weir_xsk *x);
int weir_xsk_fd(const struct weir_xsk *x);

struct weir_xsk_frame {
	const uint8_t *data;
	uint32_t len;	 /* of the frame */
	uint32_t caplen; /* of @data */
	uint64_t ts;	 /* CLOCK_MONOTONIC; 0 = the driver has no room for a note */
};

/* The next frame; it stays until it is released. False: there is none. */
bool weir_xsk_peek(struct weir_xsk *x, struct weir_xsk_frame *ret);
/* Its buffers are the kernel's again, as soon as that is told. */
void weir_xsk_release(struct weir_xsk *x);
/* Tell the kernel what was released: when nothing more is read for now. */
void weir_xsk_tell(struct weir_xsk *x);
/* Frames that wait to be read. */
uint64_t weir_xsk_waiting(const struct weir_xsk *x);

struct weir_xsk_drops {
	uint64_t no_frame;  /* no free buffer was left */
	uint64_t ring_full; /* no room in the receive ring */
};
/* What the kernel has dropped since the beginning, added to *@ret. */
void weir_xsk_drops(const struct weir_xsk *x, struct weir_xsk_drops *ret);
