/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of engine.h share. */
#pragma once

#include "cap/steer/engine.h"

#define WEIR_STEER_VERB "steer"

/* "prog-a": the name of a generation's part. */
const char *weir_steer_pin_name(char buf[16], const char *what, char letter);

/* ---- targets.c: the slots of the rules' sockets */

/* What a command does about sockets. */
struct weir_steer_work {
	struct weir_steer *s;
	struct weir_steer_conf *next;
	const struct weir_steer_change *change;
	struct weir_steer_finder finder;
	struct weir_steer_notes *notes;
	/* Descriptors by slot, put there once the program is loaded; -1 empties it. */
	struct weir_steer_slot {
		uint32_t slot;
		int fd;
	} * slots;
	size_t n, room;
	uint8_t used[WEIR_STEER_SLOTS]; /* by the old or the new rules */
};

struct weir_steer_work *weir_steer_work_new(struct weir_steer *s,
					    const struct weir_steer_change *change,
					    struct weir_steer_notes *notes, struct weir_error *err);
void weir_steer_work_free(struct weir_steer_work *w);
/* Give the rules' sockets their slots, and find those that are to be found. */
int weir_steer_work_place(struct weir_steer_work *w, struct weir_error *err);
/* Find the sockets of one rule anew, for the slots that it has. */
int weir_steer_work_refresh(struct weir_steer_work *w, const struct weir_steer_rule *r,
			    struct weir_error *err);
/* Put what was found into its slots; returns how many sockets are new there. */
int weir_steer_work_put(const struct weir_steer_work *w, int sockets_fd, struct weir_error *err);
/* Empty all slots that the rules in force don't use. */
void weir_steer_sweep(const struct weir_steer *s);
