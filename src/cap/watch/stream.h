/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first bytes of one direction of TCP connections, put together from segments that may
 * come out of order, twice, or overlapping. Of a byte that came twice the first one counts.
 *
 * All of it is bounded: the connections, the bytes of each and of all, the holes between
 * what came early. What is given up is counted by reason, where it had begun.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/lru.h"

#define WEIR_STREAM_MAX 65537U /* bytes that are kept of one stream: a DNS message and its length */
#define WEIR_STREAM_HOLES 16   /* pieces behind a hole */

#define WEIR_STREAM_LOST(X)                                          \
	X(GAP, gap, "a part of it never came")                       \
	X(TOO_LONG, too_long, "longer than what is read of one")     \
	X(MALFORMED, malformed, "it contradicts itself")             \
	X(CUT, cut, "its bytes were not captured: raise -s")         \
	X(IDLE, idle, "it stopped half way")                         \
	X(CLOSED, closed, "the connection was reset half way")       \
	X(EVICTED, evicted, "too many at once: match more narrowly") \
	X(MEMORY, memory, "out of memory")                           \
	X(NO_FLOW, no_flow, "the flow table had no room for its flow: raise --flows-max")

enum weir_stream_lost {
#define X(id, name, text) WEIR_STREAM_LOST_##id,
	WEIR_STREAM_LOST(X)
#undef X
		WEIR_STREAM_LOST_MAX
};

struct weir_stream_key {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	uint32_t slot; /* the place of observation */
};

struct weir_stream {
	struct weir_lru_node node;
	struct weir_stream_key key;
	uint64_t last; /* ns */
	uint32_t base; /* sequence number of buf[0] */
	uint32_t have; /* bytes from buf[0] on without a hole */
	uint32_t cap;
	uint8_t *buf;
	struct {
		uint32_t from, to;
	} early[WEIR_STREAM_HOLES]; /* behind holes, in order, not touching */
	uint8_t n_early;
	/* The reader's. */
	uint8_t what;
	uint32_t fed;
	void *reader;
};

struct weir_streams {
	struct weir_lru table;
	uint64_t seed;
	size_t bytes, bytes_max; /* of all buffers */
	uint64_t lost[WEIR_STREAM_LOST_MAX];
	void (*free_reader)(struct weir_stream *s);
};

int weir_streams_init(struct weir_streams *t, size_t max, size_t bytes_max, uint64_t seed);
void weir_streams_free(struct weir_streams *t);

/* NULL: it is not there. */
struct weir_stream *weir_streams_find(struct weir_streams *t, const struct weir_stream_key *k,
				      uint64_t now);
/* One that is not there yet. @base: of its first byte. NULL: out of memory, counted. */
struct weir_stream *weir_streams_add(struct weir_streams *t, const struct weir_stream_key *k,
				     uint32_t base, uint64_t now);
/* Forget it. @why: counted where it had bytes; WEIR_STREAM_LOST_MAX: nothing is lost. */
void weir_streams_drop(struct weir_streams *t, struct weir_stream *s, enum weir_stream_lost why);

/* Put a segment into it. True, or false: it was given up, counted and forgotten. */
bool weir_stream_put(struct weir_streams *t, struct weir_stream *s, uint32_t seq,
		     const uint8_t *data, uint32_t n);
/* The first @n bytes were read: what follows moves to the beginning. */
void weir_stream_consume(struct weir_stream *s, uint32_t n);
/* Its bytes are of no use any more, but what comes again is still told from what is new:
 * it now begins at @base. */
void weir_stream_rest(struct weir_streams *t, struct weir_stream *s, uint32_t base);
/* How many have bytes that nobody could make use of yet? */
size_t weir_streams_begun(const struct weir_streams *t);
