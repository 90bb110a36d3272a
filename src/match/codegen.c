/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The eBPF back end. eval.c says the same in C: what changes here changes
 * there.
 *
 * A node becomes code that leaves for one label when it is true and for another
 * when it is false; the caller places one of the two right behind (@next), and
 * no jump is written to that one. All jumps go forward. The verifier refuses
 * instructions that nothing reaches, so code behind an unconditional jump is
 * not written until a label that is used comes by.
 */
#include "match/ast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#define LABELS_MAX (2 * WEIR_MATCH_INSNS_MAX)
#define MAPPED_WORD 2 /* of an address: the one that says ::ffff: */
#define V4_WORD 3
#define ADDR_WORDS 4
#define KEY_SIZE 20 /* of an LPM trie: length, address */

/* r2 is what is being compared, r3 a masked copy. */
#define VALUE BPF_REG_2
#define MASKED BPF_REG_3

#define PKT_OFFSET(field) ((int16_t)offsetof(struct weir_pkt, field))

struct label {
	size_t pos;
	bool used;
};

struct out {
	int yes, no;
	int next; /* one of the two */
};

struct gen {
	struct bpf_insn *v;
	int *targets; /* of each instruction, a label or -1 */
	size_t n;
	size_t placed; /* the last place that something jumps to */
	struct label *labels;
	int n_labels;
	uint8_t pkt; /* the register that holds the packet */
	bool dead;   /* nothing reaches this place */
	bool full;
	const int *set_fds;
};

static int new_label(struct gen *g)
{
	if (g->n_labels == LABELS_MAX) {
		g->full = true;
		return 0;
	}
	g->labels[g->n_labels] = (struct label){ 0 };
	return g->n_labels++;
}

static bool is_goto(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_JA);
}

static void place(struct gen *g, int label)
{
	if (!g->labels[label].used)
		return;
	/* A jump to the next instruction is none. */
	if (g->n && g->n != g->placed && is_goto(&g->v[g->n - 1]) && g->targets[g->n - 1] == label)
		g->n--;
	g->labels[label].pos = g->placed = g->n;
	g->dead = false;
}

static void emit(struct gen *g, struct bpf_insn insn, int target)
{
	if (g->dead || g->full)
		return;
	if (g->n == WEIR_MATCH_INSNS_MAX) {
		g->full = true;
		return;
	}
	if (target >= 0)
		g->labels[target].used = true;
	g->targets[g->n] = target;
	g->v[g->n++] = insn;
}

#define emit_insn(g, ...) emit(g, (struct bpf_insn){ __VA_ARGS__ }, -1)

static void load(struct gen *g, unsigned int size, uint8_t reg, size_t offset)
{
	const uint8_t code = size == 1 ? BPF_B : size == 2 ? BPF_H : BPF_W;

	emit_insn(g, .code = BPF_LDX | BPF_MEM | code, .dst_reg = reg, .src_reg = g->pkt,
		  .off = (int16_t)offset);
}

static void mask(struct gen *g, uint8_t reg, uint32_t bits)
{
	emit_insn(g, .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = reg, .imm = (int32_t)bits);
}

/* if (u32)@reg @op @imm goto @label */
static void jump_if(struct gen *g, uint8_t op, uint8_t reg, uint32_t imm, int label)
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

/* Go to @label, where @next comes right behind. */
static void leave(struct gen *g, int label, int next)
{
	struct bpf_insn *last = g->n ? &g->v[g->n - 1] : NULL;

	if (label == next || g->dead || g->full)
		return;
	/* "if A goto next; goto label" is "if not A goto label". */
	if (last && g->n != g->placed && g->targets[g->n - 1] == next &&
	    opposite(BPF_OP(last->code))) {
		last->code = BPF_CLASS(last->code) | opposite(BPF_OP(last->code)) |
			     BPF_SRC(last->code);
		g->targets[g->n - 1] = label;
		g->labels[label].used = true;
		return;
	}
	emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_JA }, label);
	g->dead = true;
}

/* Go to @no unless one of @flags is set. */
static void need_flag(struct gen *g, uint16_t flags, int no)
{
	load(g, sizeof(uint16_t), VALUE, PKT_OFFSET(flags));
	mask(g, VALUE, flags);
	jump_if(g, BPF_JEQ, VALUE, 0, no);
}

/* Is VALUE, at most @max, in one of the ranges? They are sorted. */
static void test_ranges(struct gen *g, const struct weir_ast *a, struct out o)
{
	const uint32_t max = weir_num_info[a->num.what].max;

	for (size_t i = 0; i < a->num.n && !g->full; i++) {
		const struct weir_range *r = &a->num.v[i];

		if (r->lo == r->hi) {
			jump_if(g, BPF_JEQ, VALUE, r->lo, o.yes);
			continue;
		}
		if (r->lo)
			jump_if(g, BPF_JLT, VALUE, r->lo, o.no);
		if (r->hi == max) {
			leave(g, o.yes, o.next);
			return;
		}
		jump_if(g, BPF_JLE, VALUE, r->hi, o.yes);
	}
	leave(g, o.no, o.next);
}

typedef void test_fn(struct gen *g, const struct weir_ast *a, size_t offset, struct out o);

/* @test on source, destination or both, as the node's direction says. */
static void test_dir(struct gen *g, const struct weir_ast *a, test_fn *test, size_t src, size_t dst,
		     struct out o)
{
	int second;

	if (a->dir == WEIR_DIR_SRC || a->dir == WEIR_DIR_DST) {
		test(g, a, a->dir == WEIR_DIR_SRC ? src : dst, o);
		return;
	}
	second = new_label(g);
	if (a->dir == WEIR_DIR_ANY)
		test(g, a, src, (struct out){ o.yes, second, second });
	else
		test(g, a, src, (struct out){ second, o.no, second });
	place(g, second);
	test(g, a, dst, o);
}

/* Numbers */

static void test_port(struct gen *g, const struct weir_ast *a, size_t offset, struct out o)
{
	load(g, weir_num_info[WEIR_NUM_PORT].size, VALUE, offset);
	test_ranges(g, a, o);
}

static void gen_port(struct gen *g, const struct weir_ast *a, struct out o)
{
	int known = new_label(g);

	load(g, 1, VALUE, PKT_OFFSET(proto));
	for (unsigned int i = 0; weir_l4_protos[i].name; i++)
		if (a->num.l4 & 1U << i)
			jump_if(g, BPF_JEQ, VALUE, weir_l4_protos[i].number, known);
	leave(g, o.no, known);
	place(g, known);
	test_dir(g, a, test_port, PKT_OFFSET(sport), PKT_OFFSET(dport), o);
}

static void gen_vlan(struct gen *g, const struct weir_ast *a, struct out o)
{
	const struct weir_num_info *info = &weir_num_info[WEIR_NUM_VLAN];

	for (unsigned int i = 0; i < WEIR_PKT_VLANS; i++) {
		bool last = i == WEIR_PKT_VLANS - 1;
		int behind = last ? o.no : new_label(g);

		load(g, 1, VALUE, PKT_OFFSET(vlans));
		jump_if(g, BPF_JLE, VALUE, i, o.no);
		load(g, info->size, VALUE, info->offset + i * info->size);
		mask(g, VALUE, info->max);
		test_ranges(g, a, (struct out){ o.yes, behind, last ? o.next : behind });
		if (!last)
			place(g, behind);
	}
}

static void gen_num(struct gen *g, const struct weir_ast *a, struct out o)
{
	const struct weir_num_info *info = &weir_num_info[a->num.what];

	if (a->guard)
		need_flag(g, a->guard, o.no);
	if (a->num.what == WEIR_NUM_PORT) {
		gen_port(g, a, o);
		return;
	}
	if (a->num.what == WEIR_NUM_VLAN) {
		gen_vlan(g, a, o);
		return;
	}
	if (a->num.what == WEIR_NUM_PROTO && weir_ranges_hold(a->num.v, a->num.n, WEIR_PROTO_AH)) {
		load(g, sizeof(uint16_t), VALUE, PKT_OFFSET(flags));
		jump_if(g, BPF_JSET, VALUE, WEIR_PKT_AH, o.yes);
	}
	load(g, info->size, VALUE, info->offset);
	test_ranges(g, a, o);
}

/* Addresses */

static uint32_t addr_word(const struct weir_prefix *p, unsigned int i)
{
	uint32_t v;

	memcpy(&v, p->addr.b + i * sizeof(v), sizeof(v));
	return v;
}

/* The part of word @i that a prefix of @len covers, as it lies in memory. */
static uint32_t word_mask(unsigned int len, unsigned int i)
{
	if (len >= (i + 1) * 32)
		return UINT32_MAX;
	return len <= i * 32 ? 0 : htonl(UINT32_MAX << ((i + 1) * 32 - len));
}

/* Look the address up in the LPM trie @set: its key is built on the stack. */
static void test_set(struct gen *g, size_t set, size_t offset, bool v4, struct out o)
{
	const uint32_t mapped[] = { 0, 0, htonl(0xffff) };

	emit_insn(g, .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10, .off = -KEY_SIZE,
		  .imm = 128);
	for (unsigned int i = 0; i < ADDR_WORDS; i++) {
		int16_t at = (int16_t)(4 * (i + 1)) - KEY_SIZE;

		if (v4 && i < V4_WORD) {
			emit_insn(g, .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10,
				  .off = at, .imm = (int32_t)mapped[i]);
			continue;
		}
		load(g, 4, VALUE, offset + 4 * i);
		emit_insn(g, .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10,
			  .src_reg = VALUE, .off = at);
	}
	emit_insn(g, .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = g->set_fds[set]);
	emit_insn(g, .code = 0);
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2,
		  .src_reg = BPF_REG_10);
	emit_insn(g, .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -KEY_SIZE);
	emit_insn(g, .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem);
	/* 64 bits wide, for the verifier has to see a pointer being tested. */
	emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_0 },
	     o.yes);
	leave(g, o.no, o.next);
}

static void test_v4(struct gen *g, const struct weir_ast *a, size_t offset, struct out o)
{
	/* ARP of other families has zeros here. */
	load(g, 4, VALUE, offset + 4 * MAPPED_WORD);
	jump_if(g, BPF_JNE, VALUE, htonl(0xffff), o.no);
	if (a->addr.set_v4 != WEIR_NO_SET) {
		test_set(g, a->addr.set_v4, offset, true, o);
		return;
	}
	load(g, 4, VALUE, offset + 4 * V4_WORD);
	for (size_t i = 0; i < a->addr.n_v4; i++) {
		const struct weir_prefix *p = &a->addr.v[i];
		uint32_t bits = word_mask(p->len, V4_WORD);

		if (!bits) {
			leave(g, o.yes, o.next);
			return;
		}
		if (bits != UINT32_MAX) {
			emit_insn(g, .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = MASKED,
				  .src_reg = VALUE);
			mask(g, MASKED, bits);
		}
		jump_if(g, BPF_JEQ, bits != UINT32_MAX ? MASKED : VALUE, addr_word(p, V4_WORD),
			o.yes);
	}
	leave(g, o.no, o.next);
}

static void test_v6(struct gen *g, const struct weir_ast *a, size_t offset, struct out o)
{
	if (a->addr.set_v6 != WEIR_NO_SET) {
		test_set(g, a->addr.set_v6, offset, false, o);
		return;
	}
	for (size_t i = a->addr.n_v4; i < a->addr.n; i++) {
		const struct weir_prefix *p = &a->addr.v[i];
		int differs = new_label(g);

		for (unsigned int w = 0; w < ADDR_WORDS && word_mask(p->len, w); w++) {
			load(g, 4, VALUE, offset + 4 * w);
			if (word_mask(p->len, w) != UINT32_MAX)
				mask(g, VALUE, word_mask(p->len, w));
			jump_if(g, BPF_JNE, VALUE, addr_word(p, w), differs);
		}
		leave(g, o.yes, differs);
		place(g, differs);
	}
	leave(g, o.no, o.next);
}

static void gen_addr(struct gen *g, const struct weir_ast *a, struct out o)
{
	const uint16_t v4 = a->guard & (WEIR_PKT_IP4 | WEIR_PKT_ARP);
	const uint16_t v6 = a->guard & WEIR_PKT_IP6;
	const bool has_v6 = a->addr.n_v4 < a->addr.n;
	int other = has_v6 ? new_label(g) : o.no;

	if (a->addr.n_v4) {
		need_flag(g, v4, other);
		test_dir(g, a, test_v4, PKT_OFFSET(src), PKT_OFFSET(dst),
			 (struct out){ o.yes, o.no, has_v6 ? other : o.next });
	}
	if (!has_v6)
		return;
	place(g, other);
	need_flag(g, v6, o.no);
	test_dir(g, a, test_v6, PKT_OFFSET(src), PKT_OFFSET(dst), o);
}

/* The rest */

/* The widest loads that are aligned: the destination's address begins on a
 * multiple of four, the source's two bytes behind one. */
static void test_mac(struct gen *g, const struct weir_ast *a, size_t offset, struct out o)
{
	const size_t size = sizeof(a->mac.value);

	for (size_t i = 0, n; i < size; i += n) {
		uint32_t value = 0, bits = 0;

		n = (offset + i) % 4 == 0 && size - i >= 4 ? 4 : 2;
		memcpy(&value, a->mac.value + i, n);
		memcpy(&bits, a->mac.mask + i, n);
		if (!bits)
			continue;
		load(g, (unsigned int)n, VALUE, offset + i);
		mask(g, VALUE, bits);
		jump_if(g, BPF_JNE, VALUE, value, o.no);
	}
	leave(g, o.yes, o.next);
}

/* (VALUE & mask) == or != value */
static void test_bits(struct gen *g, const struct weir_ast *a, struct out o)
{
	mask(g, VALUE, a->bits.mask);
	jump_if(g, a->bits.differs ? BPF_JEQ : BPF_JNE, VALUE, a->bits.value, o.no);
	leave(g, o.yes, o.next);
}

static void gen(struct gen *g, const struct weir_ast *a, struct out o);

static void gen_all_of(struct gen *g, const struct weir_ast *a, struct out o)
{
	for (size_t i = 0; i + 1 < a->sub.n; i++) {
		int more = new_label(g);

		gen(g, a->sub.v[i], (struct out){ more, o.no, more });
		place(g, more);
	}
	gen(g, a->sub.v[a->sub.n - 1], o);
}

static void gen_one_of(struct gen *g, const struct weir_ast *a, struct out o)
{
	for (size_t i = 0; i + 1 < a->sub.n; i++) {
		int more = new_label(g);

		gen(g, a->sub.v[i], (struct out){ o.yes, more, more });
		place(g, more);
	}
	gen(g, a->sub.v[a->sub.n - 1], o);
}

static void gen(struct gen *g, const struct weir_ast *a, struct out o)
{
	if (g->dead || g->full)
		return;
	switch (a->kind) {
	case WEIR_AST_ALL:
		leave(g, o.yes, o.next);
		return;
	case WEIR_AST_AND:
		gen_all_of(g, a, o);
		return;
	case WEIR_AST_OR:
		gen_one_of(g, a, o);
		return;
	case WEIR_AST_NOT:
		gen(g, a->sub.v[0], (struct out){ o.no, o.yes, o.next });
		return;
	case WEIR_AST_NUM:
		gen_num(g, a, o);
		return;
	case WEIR_AST_ADDR:
		gen_addr(g, a, o);
		return;
	case WEIR_AST_MAC:
		need_flag(g, a->guard, o.no);
		test_dir(g, a, test_mac, PKT_OFFSET(eth_src), PKT_OFFSET(eth_dst), o);
		return;
	case WEIR_AST_TCP_FLAGS:
		need_flag(g, a->guard, o.no);
		load(g, sizeof(uint16_t), VALUE, PKT_OFFSET(tcp_flags));
		test_bits(g, a, o);
		return;
	case WEIR_AST_STATE:
		load(g, sizeof(uint16_t), VALUE, PKT_OFFSET(flags));
		test_bits(g, a, o);
		return;
	}
}

static void answer(struct gen *g, int label, int value)
{
	place(g, label);
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = value);
	emit_insn(g, .code = BPF_JMP | BPF_EXIT);
	g->dead = true;
}

static void gen_match(struct gen *g, const struct weir_match *m)
{
	struct out o = { .yes = new_label(g), .no = new_label(g) };

	o.next = o.yes;
	g->pkt = BPF_REG_1;
	if (m->n_sets) {
		/* The look-up overwrites r1..r5. */
		g->pkt = BPF_REG_6;
		emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6,
			  .src_reg = BPF_REG_1);
	}
	gen(g, m->ast, o);
	answer(g, o.yes, 1);
	answer(g, o.no, 0);
	for (size_t i = 0; i < g->n; i++)
		if (g->targets[i] >= 0)
			g->v[i].off = (int16_t)(g->labels[g->targets[i]].pos - i - 1);
}

int weir_match_codegen(const struct weir_match *m, const int *set_fds, struct bpf_insn **ret_insns,
		       size_t *ret_n, struct weir_error *err)
{
	weir_autofree struct bpf_insn *v = calloc(WEIR_MATCH_INSNS_MAX, sizeof(*v));
	weir_autofree int *targets = calloc(WEIR_MATCH_INSNS_MAX, sizeof(*targets));
	weir_autofree struct label *labels = calloc(LABELS_MAX, sizeof(*labels));
	struct gen g = { .v = v, .targets = targets, .labels = labels, .set_fds = set_fds };

	if (!v || !targets || !labels)
		return weir_ast_oom(err);
	gen_match(&g, m);
	if (g.full)
		return weir_fail(err, -E2BIG,
				 "the match needs more than %d instructions: shorten it, or use "
				 "--filter-at user",
				 WEIR_MATCH_INSNS_MAX);
	*ret_insns = WEIR_TAKE_PTR(v);
	*ret_n = g.n;
	return 0;
}
