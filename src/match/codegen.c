/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The eBPF back end. eval.c says the same in C: what changes here changes
 * there.
 *
 * A node becomes code that leaves for one label when it is true and for another
 * when it is false; the caller places one of the two right behind (@next), and
 * no jump is written to that one (match/gen.h).
 */
#include "match/ast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "match/gen.h"

#define MAPPED_WORD 2 /* of an address: the one that says ::ffff: */
#define V4_WORD 3
#define ADDR_WORDS 4
#define KEY_SIZE 20 /* of an LPM trie: length, address */

/* r2 is what is being compared, r3 a masked copy. */
#define VALUE BPF_REG_2
#define MASKED BPF_REG_3

#define PKT_OFFSET(field) ((int16_t)offsetof(struct weir_pkt, field))

#define emit_insn(g, ...) weir_gen_emit(g, (struct bpf_insn){ __VA_ARGS__ })

static void load(struct weir_gen *g, unsigned int size, uint8_t reg, size_t offset)
{
	const uint8_t code = size == 1 ? BPF_B : size == 2 ? BPF_H : BPF_W;

	emit_insn(g, .code = BPF_LDX | BPF_MEM | code, .dst_reg = reg, .src_reg = g->pkt,
		  .off = (int16_t)offset);
}

static void mask(struct weir_gen *g, uint8_t reg, uint32_t bits)
{
	emit_insn(g, .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = reg, .imm = (int32_t)bits);
}

/* Go to @no unless one of @flags is set. */
static void need_flag(struct weir_gen *g, uint16_t flags, int no)
{
	load(g, sizeof(uint16_t), VALUE, PKT_OFFSET(flags));
	mask(g, VALUE, flags);
	weir_gen_jump_if(g, BPF_JEQ, VALUE, 0, no);
}

/* Is VALUE, at most @max, in one of the ranges? They are sorted. */
static void test_ranges(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	const uint32_t max = weir_num_info[a->num.what].max;

	for (size_t i = 0; i < a->num.n && !g->full; i++) {
		const struct weir_range *r = &a->num.v[i];

		if (r->lo == r->hi) {
			weir_gen_jump_if(g, BPF_JEQ, VALUE, r->lo, o.yes);
			continue;
		}
		if (r->lo)
			weir_gen_jump_if(g, BPF_JLT, VALUE, r->lo, o.no);
		if (r->hi == max) {
			weir_gen_goto(g, o.yes, o.next);
			return;
		}
		weir_gen_jump_if(g, BPF_JLE, VALUE, r->hi, o.yes);
	}
	weir_gen_goto(g, o.no, o.next);
}

typedef void test_fn(struct weir_gen *g, const struct weir_ast *a, size_t offset,
		     struct weir_gen_out o);

/* @test on source, destination or both, as the node's direction says. */
static void test_dir(struct weir_gen *g, const struct weir_ast *a, test_fn *test, size_t src,
		     size_t dst, struct weir_gen_out o)
{
	int second;

	if (a->dir == WEIR_DIR_SRC || a->dir == WEIR_DIR_DST) {
		test(g, a, a->dir == WEIR_DIR_SRC ? src : dst, o);
		return;
	}
	second = weir_gen_label(g);
	if (a->dir == WEIR_DIR_ANY)
		test(g, a, src, (struct weir_gen_out){ o.yes, second, second });
	else
		test(g, a, src, (struct weir_gen_out){ second, o.no, second });
	weir_gen_place(g, second);
	test(g, a, dst, o);
}

/* Numbers */

static void test_port(struct weir_gen *g, const struct weir_ast *a, size_t offset,
		      struct weir_gen_out o)
{
	load(g, weir_num_info[WEIR_NUM_PORT].size, VALUE, offset);
	test_ranges(g, a, o);
}

static void gen_port(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	int known = weir_gen_label(g);

	load(g, 1, VALUE, PKT_OFFSET(proto));
	for (unsigned int i = 0; weir_l4_protos[i].name; i++)
		if (a->num.l4 & 1U << i)
			weir_gen_jump_if(g, BPF_JEQ, VALUE, weir_l4_protos[i].number, known);
	weir_gen_goto(g, o.no, known);
	weir_gen_place(g, known);
	test_dir(g, a, test_port, PKT_OFFSET(sport), PKT_OFFSET(dport), o);
}

static void gen_vlan(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	const struct weir_num_info *info = &weir_num_info[WEIR_NUM_VLAN];

	for (unsigned int i = 0; i < WEIR_PKT_VLANS; i++) {
		bool last = i == WEIR_PKT_VLANS - 1;
		int behind = last ? o.no : weir_gen_label(g);

		load(g, 1, VALUE, PKT_OFFSET(vlans));
		weir_gen_jump_if(g, BPF_JLE, VALUE, i, o.no);
		load(g, info->size, VALUE, info->offset + i * info->size);
		mask(g, VALUE, info->max);
		test_ranges(g, a, (struct weir_gen_out){ o.yes, behind, last ? o.next : behind });
		if (!last)
			weir_gen_place(g, behind);
	}
}

static void gen_num(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
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
		weir_gen_jump_if(g, BPF_JSET, VALUE, WEIR_PKT_AH, o.yes);
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

static void test_set(struct weir_gen *g, size_t set, size_t offset, bool v4, struct weir_gen_out o)
{
	g->set(g, g->set_arg, g->match, set, offset, v4, o);
}

static void test_v4(struct weir_gen *g, const struct weir_ast *a, size_t offset,
		    struct weir_gen_out o)
{
	/* ARP of other families has zeros here. */
	load(g, 4, VALUE, offset + 4 * MAPPED_WORD);
	weir_gen_jump_if(g, BPF_JNE, VALUE, htonl(0xffff), o.no);
	if (a->addr.set_v4 != WEIR_NO_SET) {
		test_set(g, a->addr.set_v4, offset, true, o);
		return;
	}
	load(g, 4, VALUE, offset + 4 * V4_WORD);
	for (size_t i = 0; i < a->addr.n_v4; i++) {
		const struct weir_prefix *p = &a->addr.v[i];
		uint32_t bits = word_mask(p->len, V4_WORD);

		if (!bits) {
			weir_gen_goto(g, o.yes, o.next);
			return;
		}
		if (bits != UINT32_MAX) {
			emit_insn(g, .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = MASKED,
				  .src_reg = VALUE);
			mask(g, MASKED, bits);
		}
		weir_gen_jump_if(g, BPF_JEQ, bits != UINT32_MAX ? MASKED : VALUE,
				 addr_word(p, V4_WORD), o.yes);
	}
	weir_gen_goto(g, o.no, o.next);
}

static void test_v6(struct weir_gen *g, const struct weir_ast *a, size_t offset,
		    struct weir_gen_out o)
{
	if (a->addr.set_v6 != WEIR_NO_SET) {
		test_set(g, a->addr.set_v6, offset, false, o);
		return;
	}
	for (size_t i = a->addr.n_v4; i < a->addr.n; i++) {
		const struct weir_prefix *p = &a->addr.v[i];
		int differs = weir_gen_label(g);

		for (unsigned int w = 0; w < ADDR_WORDS && word_mask(p->len, w); w++) {
			load(g, 4, VALUE, offset + 4 * w);
			if (word_mask(p->len, w) != UINT32_MAX)
				mask(g, VALUE, word_mask(p->len, w));
			weir_gen_jump_if(g, BPF_JNE, VALUE, addr_word(p, w), differs);
		}
		weir_gen_goto(g, o.yes, differs);
		weir_gen_place(g, differs);
	}
	weir_gen_goto(g, o.no, o.next);
}

/* The number of a named set behind those of long lists. */
static size_t named_set(const struct weir_gen *g, const struct weir_ast *a)
{
	return weir_match_sets(g->match) + a->set.index;
}

/* ARP of other families has zeros here, and is in no set. */
static void test_named_v4(struct weir_gen *g, const struct weir_ast *a, size_t offset,
			  struct weir_gen_out o)
{
	load(g, 4, VALUE, offset + 4 * MAPPED_WORD);
	weir_gen_jump_if(g, BPF_JNE, VALUE, htonl(0xffff), o.no);
	test_set(g, named_set(g, a), offset, true, o);
}

/* A mapped address in an IPv6 packet is no IPv4 address, and the sets have no
 * prefixes for it. */
static void test_named_v6(struct weir_gen *g, const struct weir_ast *a, size_t offset,
			  struct weir_gen_out o)
{
	int plain = weir_gen_label(g);

	for (unsigned int w = MAPPED_WORD + 1; w--;) {
		load(g, 4, VALUE, offset + 4 * w);
		weir_gen_jump_if(g, BPF_JNE, VALUE, w == MAPPED_WORD ? htonl(0xffff) : 0, plain);
	}
	weir_gen_goto(g, o.no, plain);
	weir_gen_place(g, plain);
	test_set(g, named_set(g, a), offset, false, o);
}

static void gen_named(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	const uint16_t v4 = a->guard & (WEIR_PKT_IP4 | WEIR_PKT_ARP);
	const uint16_t v6 = a->guard & WEIR_PKT_IP6;
	int other = v6 ? weir_gen_label(g) : o.no;

	if (v4) {
		need_flag(g, v4, other);
		test_dir(g, a, test_named_v4, PKT_OFFSET(src), PKT_OFFSET(dst),
			 (struct weir_gen_out){ o.yes, o.no, v6 ? other : o.next });
	}
	if (!v6)
		return;
	weir_gen_place(g, other);
	need_flag(g, v6, o.no);
	test_dir(g, a, test_named_v6, PKT_OFFSET(src), PKT_OFFSET(dst), o);
}

static void gen_addr(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	const uint16_t v4 = a->guard & (WEIR_PKT_IP4 | WEIR_PKT_ARP);
	const uint16_t v6 = a->guard & WEIR_PKT_IP6;
	const bool has_v6 = a->addr.n_v4 < a->addr.n;
	int other = has_v6 ? weir_gen_label(g) : o.no;

	if (a->addr.n_v4) {
		need_flag(g, v4, other);
		test_dir(g, a, test_v4, PKT_OFFSET(src), PKT_OFFSET(dst),
			 (struct weir_gen_out){ o.yes, o.no, has_v6 ? other : o.next });
	}
	if (!has_v6)
		return;
	weir_gen_place(g, other);
	need_flag(g, v6, o.no);
	test_dir(g, a, test_v6, PKT_OFFSET(src), PKT_OFFSET(dst), o);
}

/* The rest */

/* The widest loads that are aligned: the destination's address begins on a
 * multiple of four, the source's two bytes behind one. */
static void test_mac(struct weir_gen *g, const struct weir_ast *a, size_t offset,
		     struct weir_gen_out o)
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
		weir_gen_jump_if(g, BPF_JNE, VALUE, value, o.no);
	}
	weir_gen_goto(g, o.yes, o.next);
}

/* (VALUE & mask) == or != value */
static void test_bits(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	mask(g, VALUE, a->bits.mask);
	weir_gen_jump_if(g, a->bits.differs ? BPF_JEQ : BPF_JNE, VALUE, a->bits.value, o.no);
	weir_gen_goto(g, o.yes, o.next);
}

static void gen(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o);

static void gen_all_of(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	for (size_t i = 0; i + 1 < a->sub.n; i++) {
		int more = weir_gen_label(g);

		gen(g, a->sub.v[i], (struct weir_gen_out){ more, o.no, more });
		weir_gen_place(g, more);
	}
	gen(g, a->sub.v[a->sub.n - 1], o);
}

static void gen_one_of(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	for (size_t i = 0; i + 1 < a->sub.n; i++) {
		int more = weir_gen_label(g);

		gen(g, a->sub.v[i], (struct weir_gen_out){ o.yes, more, more });
		weir_gen_place(g, more);
	}
	gen(g, a->sub.v[a->sub.n - 1], o);
}

static void gen(struct weir_gen *g, const struct weir_ast *a, struct weir_gen_out o)
{
	if (g->dead || g->full)
		return;
	switch (a->kind) {
	case WEIR_AST_ALL:
		weir_gen_goto(g, o.yes, o.next);
		return;
	case WEIR_AST_AND:
		gen_all_of(g, a, o);
		return;
	case WEIR_AST_OR:
		gen_one_of(g, a, o);
		return;
	case WEIR_AST_NOT:
		gen(g, a->sub.v[0], (struct weir_gen_out){ o.no, o.yes, o.next });
		return;
	case WEIR_AST_NUM:
		gen_num(g, a, o);
		return;
	case WEIR_AST_ADDR:
		gen_addr(g, a, o);
		return;
	case WEIR_AST_SET:
		gen_named(g, a, o);
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

void weir_gen_match(struct weir_gen *g, const struct weir_match *m, struct weir_gen_out o)
{
	g->match = m;
	gen(g, m->ast, o);
}

/* Look the address up in an LPM trie: its key is built on the stack. */
static void test_trie(struct weir_gen *g, void *arg, const struct weir_match *m, size_t set,
		      size_t offset, bool v4, struct weir_gen_out o)
{
	const int *fds = arg;
	const uint32_t mapped[] = { 0, 0, htonl(0xffff) };

	(void)m;
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
		  .src_reg = BPF_PSEUDO_MAP_FD, .imm = fds[set]);
	emit_insn(g, .code = 0);
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_2,
		  .src_reg = BPF_REG_10);
	emit_insn(g, .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_2, .imm = -KEY_SIZE);
	emit_insn(g, .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_map_lookup_elem);
	/* 64 bits wide, for the verifier has to see a pointer being tested. */
	weir_gen_jump(g,
		      (struct bpf_insn){ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_0 },
		      o.yes);
	weir_gen_goto(g, o.no, o.next);
}

static void answer(struct weir_gen *g, int label, int value)
{
	weir_gen_place(g, label);
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = value);
	emit_insn(g, .code = BPF_JMP | BPF_EXIT);
}

static void gen_function(struct weir_gen *g, const struct weir_match *m)
{
	struct weir_gen_out o = { .yes = weir_gen_label(g), .no = weir_gen_label(g) };

	o.next = o.yes;
	if (m->n_sets) {
		/* The look-up overwrites r1..r5. */
		g->pkt = BPF_REG_6;
		emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6,
			  .src_reg = BPF_REG_1);
	}
	weir_gen_match(g, m, o);
	answer(g, o.yes, 1);
	answer(g, o.no, 0);
}

int weir_match_codegen(const struct weir_match *m, const int *set_fds, struct bpf_insn **ret_insns,
		       size_t *ret_n, struct weir_error *err)
{
	weir_cleanup(weir_gen_free) struct weir_gen g = { 0 };
	int r;

	if (m->n_names)
		return weir_fail(err, -EINVAL, "@%s: " WEIR_AST_NO_NAMES, m->names[0]);
	if (weir_gen_init(&g, WEIR_MATCH_INSNS_MAX) < 0)
		return weir_ast_oom(err);
	g.set = test_trie;
	g.set_arg = (void *)set_fds;
	gen_function(&g, m);
	r = weir_gen_finish(&g, "the match", err);
	if (r == -E2BIG)
		return weir_fail(err, r,
				 "the match needs more than %d instructions: shorten it, or use "
				 "--filter-at user",
				 WEIR_MATCH_INSNS_MAX);
	*ret_insns = WEIR_TAKE_PTR(g.v);
	*ret_n = g.n;
	return r;
}

/* One rule behind the other: who matches leaves with its number. */
static void gen_first(struct weir_gen *g, const struct weir_match *const *m, size_t n,
		      const int *set_fds)
{
	g->pkt = BPF_REG_6;
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6,
		  .src_reg = BPF_REG_1);
	for (size_t i = 0; i < n; i++) {
		int yes = weir_gen_label(g), no = weir_gen_label(g);

		g->set_arg = (void *)set_fds;
		if (!weir_match_is_all(m[i]))
			weir_gen_match(g, m[i], (struct weir_gen_out){ yes, no, yes });
		answer(g, yes, (int)i + 1);
		g->dead = true;
		weir_gen_place(g, no);
		set_fds += m[i]->n_sets;
	}
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0);
	emit_insn(g, .code = BPF_JMP | BPF_EXIT);
}

/* One match behind the other: who matches sets its bit. */
static void gen_mask(struct weir_gen *g, const struct weir_match *const *m, size_t n,
		     const int *set_fds)
{
	g->pkt = BPF_REG_6;
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6,
		  .src_reg = BPF_REG_1);
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_7);
	for (size_t i = 0; i < n; i++) {
		int yes = weir_gen_label(g), no = weir_gen_label(g);

		if (!m[i])
			continue;
		g->set_arg = (void *)set_fds;
		if (!weir_match_is_all(m[i]))
			weir_gen_match(g, m[i], (struct weir_gen_out){ yes, no, yes });
		weir_gen_place(g, yes);
		emit_insn(g, .code = BPF_ALU64 | BPF_OR | BPF_K, .dst_reg = BPF_REG_7,
			  .imm = (int32_t)(1U << i));
		weir_gen_place(g, no);
		set_fds += m[i]->n_sets;
	}
	emit_insn(g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_0,
		  .src_reg = BPF_REG_7);
	emit_insn(g, .code = BPF_JMP | BPF_EXIT);
}

/* The code of several, put together by @put. */
static int codegen_several(void (*put)(struct weir_gen *g, const struct weir_match *const *m,
				       size_t n, const int *set_fds),
			   const struct weir_match *const *m, size_t n, const int *set_fds,
			   struct bpf_insn **ret_insns, size_t *ret_n, struct weir_error *err)
{
	weir_cleanup(weir_gen_free) struct weir_gen g = { 0 };
	int r;

	for (size_t i = 0; i < n; i++)
		if (m[i] && m[i]->n_names)
			return weir_fail(err, -EINVAL, "@%s: " WEIR_AST_NO_NAMES, m[i]->names[0]);
	if (weir_gen_init(&g, WEIR_MATCH_INSNS_MAX) < 0)
		return weir_ast_oom(err);
	g.set = test_trie;
	put(&g, m, n, set_fds);
	r = weir_gen_finish(&g, "the rules", err);
	if (r == -E2BIG)
		return weir_fail(err, r,
				 "the rules need more than %d instructions: use fewer, or put "
				 "addresses and ports into lists",
				 WEIR_MATCH_INSNS_MAX);
	*ret_insns = WEIR_TAKE_PTR(g.v);
	*ret_n = g.n;
	return r;
}

int weir_match_codegen_first(const struct weir_match *const *m, size_t n, const int *set_fds,
			     struct bpf_insn **ret_insns, size_t *ret_n, struct weir_error *err)
{
	return codegen_several(gen_first, m, n, set_fds, ret_insns, ret_n, err);
}

int weir_match_codegen_mask(const struct weir_match *const *m, size_t n, const int *set_fds,
			    struct bpf_insn **ret_insns, size_t *ret_n, struct weir_error *err)
{
	return codegen_several(gen_mask, m, n, set_fds, ret_insns, ret_n, err);
}
