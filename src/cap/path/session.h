/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A run of weir path: programs loaded and attached for as long as it lasts, and what they
 * counted.
 *
 *	session.c  load, attach, read the figures
 *	ring.c     NIC rings, as the driver tells
 *	road.c     the road as a drawing and as JSON
 *	prom.c     the same for Prometheus
 *	journey.c  single packets
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cap/path/path.h"
#include "match/match.h"

struct weir_path_options {
	const struct weir_match *match; /* NULL: everything */
	uint32_t ifindex;		/* 0: every interface */
	uint32_t sample;		/* take the time of one packet in so many */
	bool slices;			/* see weir_path_slice() */
	bool journeys;
	uint64_t slower_than;
};

/* Called for each journey that has ended; return 0, or negative to stop reading. */
typedef int weir_path_journey_fn(void *arg, const struct weir_path_journey *j);

struct weir_path;

/* Everything ends with the process, however it ends. */
int weir_path_open(struct weir_path **ret, const struct weir_path_options *o,
		   weir_path_journey_fn *fn, void *arg, struct weir_error *err);
void weir_path_close(struct weir_path *p);

/* Take the programs away; what they counted stays. */
void weir_path_detach(struct weir_path *p);
/* With slices, in this order again and again; before the first nothing is followed. */
enum weir_path_phase {
	WEIR_PATH_FOLLOW, /* every packet */
	WEIR_PATH_LINGER, /* only those that are on their way */
	WEIR_PATH_REST,	  /* none */
};
int weir_path_slice(struct weir_path *p, enum weir_path_phase phase, struct weir_error *err);
/* Are there packets on their way? */
bool weir_path_outstanding(const struct weir_path *p);
uint64_t weir_path_slice_ns(const struct weir_path *p); /* of all slices so far */
/* Does this kernel have what tells of the stage? */
bool weir_path_knows(const struct weir_path *p, enum weir_path_stage s);
/* Readable when journeys have ended; -1 where none are followed. */
int weir_path_fd(const struct weir_path *p);
int weir_path_consume(struct weir_path *p, struct weir_error *err);

unsigned int weir_path_cpus(const struct weir_path *p);
/* The figures of each CPU that is possible: weir_path_cpus() of them into @ret. */
int weir_path_read(struct weir_path *p, struct weir_path_figures *ret, struct weir_error *err);
/* Events that a program missed, of all CPUs: it was interrupted by its own event. */
uint64_t weir_path_missed(const struct weir_path *p);

/* ---- figures.c */
void weir_path_add(struct weir_path_figures *to, const struct weir_path_figures *from);
/* Did anything come by there? */
bool weir_path_has_figures(const struct weir_path_figures *f);
/* The latency in ns that @share (0..1) of the samples do not exceed; 0 without samples. */
uint64_t weir_path_quantile(const struct weir_path_sum *s, double share);
uint64_t weir_path_bucket_low(unsigned int bucket);

/* ---- ring.c */
struct weir_path_nic {
	char name[16];
	uint32_t rx, rx_max; /* descriptors */
	uint32_t filled;     /* that hold packets or wait to be refilled, of the fullest queue */
	bool knows_fill;
};
/* The interfaces of this namespace (@ifindex 0) or one, those whose driver tells of a ring;
 * at most @max. Returns how many. */
size_t weir_path_nics(uint32_t ifindex, struct weir_path_nic *ret, size_t max);
/* Out of a card's registers, or a driver's statistics (names of ETH_GSTRING_LEN bytes):
 * false where these say nothing of a ring of @size descriptors. */
bool weir_path_ring_registers(const uint32_t *regs, size_t n, uint32_t size, uint32_t *filled);
bool weir_path_ring_statistics(const char *names, const uint64_t *values, size_t n, uint32_t size,
			       uint32_t *filled);

/* ---- road.c */
struct weir_path_view {
	const struct weir_path *path;
	const struct weir_path_nic *nics;
	size_t n_nics;
	uint32_t sample;
	bool slices;
	bool rested; /* some packets were not followed */
	uint64_t ns; /* how long it has been running */
};
/* The drawing; @cpu -1: of all. */
void weir_path_draw(const struct weir_path_view *v, const struct weir_path_figures *f, int cpu,
		    struct weir_buf *out);
/* The members "stages" and "account" into @j's open object. */
void weir_path_json(const struct weir_path_view *v, const struct weir_path_figures *f,
		    struct weir_json *j);
/* Does this kernel, and some device, have the stage? */
bool weir_path_stage_is_there(const struct weir_path_view *v, const struct weir_path_figures *f,
			      enum weir_path_stage s);
const char *weir_path_stage_name(enum weir_path_stage s);
const char *weir_path_stage_title(enum weir_path_stage s);
const char *weir_path_lost_name(enum weir_path_lost l);
uint64_t weir_path_lost(const struct weir_path_figures *f);

/* ---- prom.c */
/* @cpus: the same figures by CPU, of @n of them, or NULL. */
void weir_path_prometheus(const struct weir_path_view *v, const struct weir_path_figures *sum,
			  const struct weir_path_figures *cpus, unsigned int n,
			  struct weir_buf *out);

/* ---- journey.c */
/* @offset: of the wall clock to CLOCK_MONOTONIC. */
void weir_path_journey_text(const struct weir_path_journey *j, int64_t offset,
			    struct weir_buf *out);
void weir_path_journey_json(const struct weir_path_journey *j, int64_t offset,
			    struct weir_buf *out);
