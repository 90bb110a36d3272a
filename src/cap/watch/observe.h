/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Observers: consumers of what a run has seen, beside the packets and pictures that it
 * shows. Each is one table row of observe.c and one file of its own, and knows nothing of
 * the others.
 *
 * A run with an observer keeps the flow table. Unless packets are to be written, too (-w,
 * --format), nothing is shipped: the kernel adds flows up, and observers are told each half
 * second what has been added. In user space (files, libpcap, --filter-at user, and beside
 * -w) each packet is told of as it comes, and is such an addition by itself.
 *
 * The clock is that of the packets: the host's in a live run, the file's own with -r, so
 * that a replay gives what the live run would have given. It never goes back. Everything
 * is called on the main thread, open() with all privileges, the rest without.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/watch/flows.h"
#include "cap/watch/packet.h"

struct weir_watch_options;

/* Ticks come this often, and once more at the end. In a file's silence longer than some
 * ticks only the first and the last few are given: compare times, count no ticks. */
#define WEIR_OBSERVE_TICK_NS 500000000ULL

struct weir_observer {
	const char *name;
	bool (*wanted)(const struct weir_watch_options *o);
	/* Check the options whole, take sockets and files. Nothing is captured yet. */
	int (*open)(struct weir_watch *w, void **ret, struct weir_error *err);
	/* All is open, and the privileges are gone: packets come from now on. May be NULL. */
	int (*start)(void *state, struct weir_error *err);
	/* @d, of one flow, has been added to @f (f->val has it); @sides: who sent it, or
	 * NULL unless w->wants_sides. May be NULL. */
	void (*flow)(void *state, struct weir_flow *f, const struct weir_flow_val *d,
		     const struct weir_flow_sides *sides);
	/* A packet that matched, where packets reach user space. May be NULL. */
	void (*packet)(void *state, const struct weir_packet *p);
	/* It is @now, in ns since the epoch; an error ends the run. May be NULL. */
	int (*tick)(void *state, uint64_t now, struct weir_error *err);
	/* @f leaves the table; @last: since the run ends. May be NULL. */
	void (*ended)(void *state, const struct weir_flow *f, bool last);
	/* A descriptor that the main loop waits on, or -1, and what to do then. NULL: none. */
	int (*fd)(void *state);
	void (*ready)(void *state);
	/* After the last tick and all ended(); also after an open() that failed, if it had
	 * set a state. The error, if any, is what the run ends with. */
	int (*close)(void *state, struct weir_error *err);
};

extern const struct weir_observer weir_observer_summary, weir_observer_metrics,
	weir_observer_alerts;

/* Does any observer go with these options? */
bool weir_observers_wanted(const struct weir_watch_options *o);
int weir_observers_open(struct weir_watch *w, struct weir_error *err);
int weir_observers_start(struct weir_watch *w, struct weir_error *err);
/* The descriptor of observer @i: -1 if it has none; -ENOENT behind the last. */
int weir_observers_fd(struct weir_watch *w, unsigned int i);
void weir_observers_ready(struct weir_watch *w, unsigned int i);
void weir_observers_flow(struct weir_watch *w, struct weir_flow *f, const struct weir_flow_val *d,
			 const struct weir_flow_sides *sides);
/* @p moves the clock of a file; an error of a tick that it causes is kept for the next
 * weir_observers_tick() or the close. */
void weir_observers_packet(struct weir_watch *w, const struct weir_packet *p);
void weir_observers_ended(struct weir_watch *w, const struct weir_flow *f, bool last);
/* Live: the timer's tick. */
int weir_observers_tick(struct weir_watch *w, struct weir_error *err);
/* The last tick, the end of each flow, and the close of each observer. */
int weir_observers_close(struct weir_watch *w, struct weir_error *err);

extern const struct weir_observer weir_observer_ipfix;
extern const struct weir_observer weir_observer_top; /* the full-screen view of --flows */
