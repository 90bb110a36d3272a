/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From kernel to user space: one BPF ring buffer a CPU in an array of maps, or
 * a perf event array. Each record begins with a __u64 time; rings are read
 * together, the oldest record at hand first. Perf delivers in order per CPU only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct weir_ring;

enum weir_transport { WEIR_TRANSPORT_RING, WEIR_TRANSPORT_PERF };

/* Called for each record; return 0, or negative to stop reading. */
typedef int (*weir_ring_fn)(void *arg, const void *data, size_t size);

/* RING: @map_fd is an array of ring buffers with one slot a possible CPU; each
 * gets a ring of @bytes (rounded up to a power of two pages).
 * PERF: @map_fd is a perf event array; @bytes a CPU likewise. */
int weir_ring_open(struct weir_ring **ret, enum weir_transport transport,
		   int map_fd, size_t bytes, weir_ring_fn fn, void *arg,
		   struct weir_error *err);
void weir_ring_close(struct weir_ring *r);

/* The descriptor to wait for (epoll). */
int weir_ring_fd(const struct weir_ring *r);
/* Read what is there; returns the number of records or a negative errno, or
 * what the callback returned when it stopped the reading. */
int weir_ring_consume(struct weir_ring *r);
