/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All jumps go forward. The verifier refuses instructions that nothing reaches,
 * so code behind an unconditional jump or an exit is not written until a label
 * that is used comes by.
 */
#include "match/gen.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

#define LABELS_PER_INSN 2
/* Instead of a position: nothing jumps there; something does, it is not placed yet. */
#define UNUSED SIZE_MAX
#define NOT_PLACED (SIZE_MAX - 1)
#define NO_LABEL (-1)

int weir_gen_init(struct weir_gen *g, size_t max)
{
	*g = (struct weir_gen){
		.v = calloc(max, sizeof(*g->v)),
		.targets = calloc(max, sizeof(*g->targets)),
		.max = max,
		.labels = calloc(LABELS_PER_INSN * max, sizeof(*g->labels)),
		.max_labels = LABELS_PER_INSN * max,
		.pkt = BPF_REG_1,
	};
	if (g->v && g->targets && g->labels)
		return 0;
	weir_gen_free(g);
	return -ENOMEM;
}

void weir_gen_free(struct weir_gen *g)
{
	free(g->v);
	free(g->targets);
	free(g->labels);
	*g = (struct weir_gen){ 0 };
}

int weir_gen_label(struct weir_gen *g)
{
	if (g->n_labels == g->max_labels) {
		g->full = true;
		return 0;
	}
	g->labels[g->n_labels] = UNUSED;
	return (int)g->n_labels++;
}

static bool is_goto(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_JA);
}

/* Whatever is behind it is reached by jumps only. */
static bool leaves(const struct bpf_insn *insn)
{
	return is_goto(insn) || insn->code == (BPF_JMP | BPF_EXIT);
}

void weir_gen_place(struct weir_gen *g, int label)
{
	if (g->full || g->labels[label] == UNUSED)
		return;
	/* A jump to the next instruction is none. */
	if (g->n && g->n != g->placed && is_goto(&g->v[g->n - 1]) && g->targets[g->n - 1] == label)
		g->n--;
	g->labels[label] = g->placed = g->n;
	g->dead = false;
}

static void emit(struct weir_gen *g, struct bpf_insn insn, int target)
{
	if (g->dead || g->full)
		return;
	if (g->n == g->max) {
		g->full = true;
		return;
	}
	if (target != NO_LABEL)
		g->labels[target] = NOT_PLACED;
	g->targets[g->n] = target;
	g->v[g->n++] = insn;
	g->dead = leaves(&insn);
}

void weir_gen_emit(struct weir_gen *g, struct bpf_insn insn)
{
	emit(g, insn, NO_LABEL);
}

void weir_gen_jump(struct weir_gen *g, struct bpf_insn insn, int label)
{
	emit(g, insn, label);
}

void weir_gen_jump_if(struct weir_gen *g, uint8_t op, uint8_t reg, uint32_t imm, int label)
{
	emit(g,
	     (struct bpf_insn){
		     .code = BPF_JMP32 | op | BPF_K, .dst_reg = reg, .imm = (int32_t)imm },
	     label);
}

/* The opposite of a conditional jump's operator; 0: there is none. */
static uint8_t opposite(uint8_t op)
{
	static const uint8_t opposites[16] = {
		[BPF_JEQ >> 4] = BPF_JNE,
		[BPF_JNE >> 4] = BPF_JEQ,
		[BPF_JLT >> 4] = BPF_JGE,
		[BPF_JLE >> 4] = BPF_JGT,
	};

	return opposites[op >> 4];
}

void weir_gen_goto(struct weir_gen *g, int label, int next)
{
	struct bpf_insn *last = g->n ? &g->v[g->n - 1] : NULL;

	if (label == next || g->dead || g->full)
		return;
	/* "if A goto next; goto label" is "if not A goto label". */
	if (last && next != NO_LABEL && g->n != g->placed && g->targets[g->n - 1] == next &&
	    opposite(BPF_OP(last->code))) {
		last->code = BPF_CLASS(last->code) | opposite(BPF_OP(last->code)) |
			     BPF_SRC(last->code);
		g->targets[g->n - 1] = label;
		g->labels[label] = NOT_PLACED;
		return;
	}
	emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_JA }, label);
}

int weir_gen_finish(struct weir_gen *g, const char *what, struct weir_error *err)
{
	if (g->full)
		return weir_fail(err, -E2BIG, "%s needs more than %zu instructions: shorten it",
				 what, g->max);
	for (size_t i = 0; i < g->n; i++)
		if (g->targets[i] != NO_LABEL)
			g->v[i].off = (int16_t)(g->labels[g->targets[i]] - i - 1);
	return 0;
}
