/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A view that is taken again and again: in place on a terminal, as lines elsewhere,
 * until q, Ctrl-C, SIGTERM, SIGHUP or the end of --for.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/term.h"

struct weir_live {
	bool screen;	/* a picture in place */
	uint64_t every; /* ns between two looks */
	uint64_t next;	/* CLOCK_MONOTONIC ns of the next look */
	uint64_t end;	/* CLOCK_MONOTONIC ns; 0: none */
	int signals;
	struct weir_keys keys;
};

enum weir_live_event {
	WEIR_LIVE_LOOK,	 /* time for the next look */
	WEIR_LIVE_READY, /* the caller's descriptor is readable */
	WEIR_LIVE_END,	 /* q, a signal, or the time is over */
};

/* @screen: standard output is a terminal and a picture is wanted; then keys are read.
 * @for_ns 0: no end. Blocks SIGINT, SIGTERM and SIGHUP, which end the view. */
int weir_live_open(struct weir_live *l, bool screen, uint64_t every_ns, uint64_t for_ns,
		   struct weir_error *err);
void weir_live_close(struct weir_live *l);

/* Wait for whichever comes first; @fd may be -1. */
enum weir_live_event weir_live_wait(struct weir_live *l, int fd);

/* @text, whole lines, as a picture on the terminal of standard output: in place of what is
 * there, cut to its rows and columns. */
void weir_live_picture(const struct weir_buf *text, struct weir_buf *out);

/* Show @text: on a screen in place, cut to its rows and columns (escape sequences take
 * none), with the number of rows that have no room; elsewhere as it is. Resets @text. 0,
 * -EPIPE when the reader has gone (no message), or a negative errno with one. */
int weir_live_show(struct weir_live *l, struct weir_buf *text, struct weir_error *err);
