/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * watch's place at XDP: a guest stage of the gate of one interface.
 */
#pragma once

#include "cap/watch/programs.h"
#include "cap/watch/session.h"
#include "dataplane/gate.h"

struct weir_stage {
	struct weir_gate gate;
	int guest; /* the slot that it has; -1 = none */
	struct weir_programs *programs;
};

/* Safe to leave and to free. */
void weir_stage_init(struct weir_stage *s);
/* The gate of interface @i, a slot, and the programs, loaded; it sees packets only once it
 * has entered. @first: share that one's maps, or NULL. */
int weir_stage_prepare(struct weir_watch *w, unsigned int i, const struct weir_programs *first,
		       struct weir_stage *s, struct weir_error *err);
int weir_stage_enter(struct weir_stage *s, enum weir_program which, struct weir_error *err);
/* Out of the gate, which goes if nobody else is in it. The programs stay, for their counters. */
void weir_stage_leave(struct weir_stage *s);
void weir_stage_free(struct weir_stage *s);

/* Wait until no CPU can still be inside a program that was just detached. */
void weir_stage_wait(void);
