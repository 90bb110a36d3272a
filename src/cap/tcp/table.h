/* SPDX-License-Identifier: GPL-2.0-only */
/* The connections of a look, and what they add up to by host or process. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "cap/tcp/engine.h"

enum weir_tcp_by { WEIR_TCP_BY_FLOW, WEIR_TCP_BY_HOST, WEIR_TCP_BY_PROCESS };

enum weir_tcp_sort {
	WEIR_TCP_SORT_RATE,
	WEIR_TCP_SORT_BYTES,
	WEIR_TCP_SORT_RTT,
	WEIR_TCP_SORT_RETRANSMITS,
	WEIR_TCP_SORT_AGE,
};

/* Round trips, added up. */
struct weir_tcp_rtt {
	uint64_t count, sum_us;
	uint32_t max_us;
	uint64_t bucket[WEIR_TCP_BUCKETS];
};

struct weir_tcp_row {
	struct weir_tcp_conn c;
	uint64_t rate; /* bytes a second, both ways, since the look before */
	bool rated;    /* there was one */
	bool gone;     /* it has ended since the look */
};

struct weir_tcp_sum_name {
	struct weir_addr host;
	uint32_t pid; /* 0: not known */
	char comm[WEIR_TCP_COMM];
};

/* What connections of one host or process add up to. */
struct weir_tcp_sum {
	struct weir_tcp_sum_name name;
	uint64_t live, closed, failed; /* failed: closed by anything but FIN */
	uint64_t bytes_in, bytes_out, segments_out, rate;
	uint64_t bypass_in, bypass_out; /* of these bytes */
	uint64_t cause[WEIR_TCP_CAUSES], retrans_before;
	uint64_t out_of_order, zero_window_in, zero_window_out;
	uint32_t min_rtt_us; /* 0 = not known */
	struct weir_tcp_rtt rtt;
};

struct weir_tcp_table {
	enum weir_tcp_by by;
	struct weir_tcp_row *rows; /* by cookie until they are sorted for show */
	size_t n, room;
	struct before { /* of the look before, by cookie */
		uint64_t cookie, bytes;
	} * before;
	size_t n_before;
	uint64_t at, before_at; /* CLOCK_MONOTONIC ns */
	struct weir_tcp_spaces spaces;
	uint64_t closed;
	struct weir_tcp_sum *sums; /* of closed connections */
	size_t n_sums, room_sums;
	bool others;  /* the sum without a name has those too for which there was no room */
	bool unowned; /* some connection of the look has no known process */
};

/* Segments that were sent again while this run watched, which a cause's count adds up to. */
uint64_t weir_tcp_retransmits(const struct weir_tcp_conn *c, uint64_t cause[WEIR_TCP_CAUSES]);
/* Payload, what went by the bypass too. */
uint64_t weir_tcp_bytes_in(const struct weir_tcp_conn *c);
uint64_t weir_tcp_bytes_out(const struct weir_tcp_conn *c);
/* The round trip below which @percent of the samples lie, in us: the middle of its bucket. */
uint64_t weir_tcp_percentile(const struct weir_tcp_rtt *r, double percent);
void weir_tcp_rtt_of(const struct weir_tcp_conn *c, struct weir_tcp_rtt *ret);

void weir_tcp_table_free(struct weir_tcp_table *t);
int weir_tcp_table_look(struct weir_tcp_table *t, struct weir_tcp_engine *e,
			struct weir_error *err);
/* A connection has ended; between looks. */
int weir_tcp_table_closed(struct weir_tcp_table *t, const struct weir_tcp_conn *c);
void weir_tcp_table_sort(struct weir_tcp_table *t, enum weir_tcp_sort key);
/* Is it the sum that has those for which there was no room? */
bool weir_tcp_is_others(const struct weir_tcp_table *t, const struct weir_tcp_sum_name *name);
void weir_tcp_sum_add(struct weir_tcp_sum *to, const struct weir_tcp_sum *s);
/* By host or process, those of closed connections too; to be freed. */
int weir_tcp_table_sums(const struct weir_tcp_table *t, enum weir_tcp_sort key,
			struct weir_tcp_sum **ret, size_t *ret_n);
