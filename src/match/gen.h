/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Emitting eBPF with labels: what the match language's back end and the policy
 * compiler (policy/compile.c) share.
 *
 * Labels are numbers from weir_gen_label(); a jump names one, weir_gen_place()
 * puts it where the code goes on, weir_gen_finish() fills the offsets in. An
 * overflow is remembered (`full`) and told by finish, so that a run of calls is
 * checked once. Behind an unconditional jump or an exit nothing is emitted until
 * a label that is used is placed (`dead`).
 */
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "match/match.h"

/* Where a test leads: to @yes, to @no; @next is the label that stands right
 * behind (-1: none of these), to which no jump is needed. */
struct weir_gen_out {
	int yes, no, next;
};

struct weir_gen;

/*
 * Emit the test "is the address at byte @offset of the packet in the set?" for
 * set @set of @m: those of weir_match_set() first, then the named ones, so that
 * set weir_match_sets(m) + i is weir_match_name(m, i). @v4: it is known to be
 * an IPv4 address (mapped), else it is one of an IPv6 packet, and for named sets
 * known not to be mapped. r0..r5 may be used; the packet's register must be kept.
 */
typedef void weir_gen_set_fn(struct weir_gen *g, void *arg, const struct weir_match *m, size_t set,
			     size_t offset, bool v4, struct weir_gen_out o);

struct weir_gen {
	struct bpf_insn *v;
	int *targets; /* label of v[i]'s jump, -1: none */
	size_t n, max;
	size_t placed;	/* the last place that something jumps to */
	size_t *labels; /* position */
	size_t n_labels, max_labels;
	bool dead, full;
	uint8_t pkt; /* register that holds struct weir_pkt *; r2..r5 and r0 are scratch */
	weir_gen_set_fn *set;
	void *set_arg;
	const struct weir_match *match; /* the one that weir_gen_match() is at */
};

/* @max: instructions at most, up to WEIR_GEN_MAX. 0 or -ENOMEM. pkt is r1 then. */
#define WEIR_GEN_MAX INT16_MAX /* what a jump reaches */
int weir_gen_init(struct weir_gen *g, size_t max);
void weir_gen_free(struct weir_gen *g);
int weir_gen_label(struct weir_gen *g);
/* Behind every jump to it: jumps go forward only. A label that nothing jumps to
 * changes nothing. */
void weir_gen_place(struct weir_gen *g, int label);
void weir_gen_emit(struct weir_gen *g, struct bpf_insn insn);
/* A conditional or unconditional jump to @label. */
void weir_gen_jump(struct weir_gen *g, struct bpf_insn insn, int label);
/* Go to @label, unless it is @next, which stands right behind. */
void weir_gen_goto(struct weir_gen *g, int label, int next);
/* `if (reg OP imm) goto label`, 32 bits wide; @op: BPF_JEQ ... */
void weir_gen_jump_if(struct weir_gen *g, uint8_t op, uint8_t reg, uint32_t imm, int label);
/* The test of a whole match. g->set is asked for only where it has sets or names. */
void weir_gen_match(struct weir_gen *g, const struct weir_match *m, struct weir_gen_out o);
/* Fill in the jumps. 0, or -E2BIG: @what ("the policy") needs too many instructions. */
int weir_gen_finish(struct weir_gen *g, const char *what, struct weir_error *err);
