/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A lasting program at tc: a tcx link (kernel 6.6) that is pinned, and where there
 * is no tcx a clsact filter of a marked handle, which lasts by itself and lets the
 * next filter run. Programs return TCX_NEXT (-1) to pass.
 *
 * Either way weir's come first in line when they are attached: another program that
 * accepts a packet (TC_ACT_OK) ends the line there, and what it accepts must have
 * been judged. Who puts a program before them later does so on purpose.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "dataplane/pin.h"

/* Of weir's clsact filters, and the place behind it: before what tc chooses by itself
 * (from 0xc000 down to 0x8000), or, where others have lower ones, just before those.
 * They are known by their handle, 'W' 'R' and the place. */
#define WEIR_TC_PRIORITY 0x5752

/* The learner finds the filter by its program's name. */
#define WEIR_TC_FILTER_NAME "weir_filter_tc"

/* Their order in line, first to last, in each direction. */
enum weir_tc_place {
	WEIR_TC_FILTER,
	WEIR_TC_LEARN, /* right behind the filter: learns from what passed */
	WEIR_TC_FAULT, /* behind the filter: befalls what passed */
	WEIR_TC_PLACES,
};

/* Attach @prog_fd and pin the link as @name; where one of that name is attached
 * already, its program is replaced without a gap. Of a clsact filter the program is
 * pinned, as tc_clsact_IFINDEX_in_PLACE, so that weir_tc_forget() finds it. */
int weir_tc_attach(const struct weir_pin_dir *d, const char *name, int prog_fd, uint32_t ifindex,
		   bool out, enum weir_tc_place place, struct weir_error *err);
/* Detach and unpin; not attached is no error. */
void weir_tc_detach(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		    enum weir_tc_place place);
/* The id of the program that is attached so; 0 = none. */
uint32_t weir_tc_prog(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		      enum weir_tc_place place);
/* Is it attached to a device that lives? */
bool weir_tc_attached(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		      enum weir_tc_place place);

/* For whoever is about to remove the pin @name: where it stands for a clsact filter,
 * detach that, since nothing else does. Returns whether it did stand for one. */
bool weir_tc_forget(const char *name);
/* "tc ingress on eth0" or "detached: interface gone" for such a pin; false for others. */
bool weir_tc_describe(const char *name, char *buf, size_t size);
