/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One classic instruction after the other, with a label before each. A lives in r6
 * and X in r7, 32 bits wide with zeros above; the scratch words are on the stack.
 */
#include "match/cbpf.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/bpf.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "bpf/strict.h"
#include "match/gen.h"

#define A BPF_REG_6
#define X BPF_REG_7
#define VIEW BPF_REG_8
#define OFFSET BPF_REG_2
#define TEMP BPF_REG_3
#define LIMIT BPF_REG_4

/* The stack: what weir_strict_load() wants, above the scratch words. */
#define AT_SLOT (-8)
#define MEM_SLOT(k) ((int16_t)(AT_SLOT + 4 * ((int)(k)-BPF_MEMWORDS)))
_Static_assert(-MEM_SLOT(0) <= WEIR_STRICT_STACK, "the scratch words fit");

#define VIEW_OFFSET(field) ((int16_t)offsetof(struct weir_strict_view, field))

/* No frame is that long: a load from there rejects. */
#define FAR INT32_MAX
/* How far behind its constant an indirect load is expected to look: X is mostly an
 * IPv4 header's length. What lies further is loaded all the same, by a call. */
#define INDIRECT_ROOM 60

#define insn(g, ...) weir_gen_emit(g, (struct bpf_insn){ __VA_ARGS__ })

struct cbpf {
	struct weir_gen g;
	const struct sock_filter *f;
	size_t n;
	size_t pc;
	int first; /* label of instruction i: first + i */
	int accept, reject;
	uint32_t head;
};

static int label_of(const struct cbpf *c, size_t pc)
{
	return c->first + (int)pc;
}

static unsigned int load_size(uint16_t code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static void move(struct cbpf *c, uint8_t to, uint8_t from)
{
	insn(&c->g, .code = BPF_ALU | BPF_MOV | BPF_X, .dst_reg = to, .src_reg = from);
}

static void set(struct cbpf *c, uint8_t to, uint32_t k)
{
	insn(&c->g, .code = BPF_ALU | BPF_MOV | BPF_K, .dst_reg = to, .imm = (int32_t)k);
}

static void read_view(struct cbpf *c, uint8_t to, int16_t off)
{
	insn(&c->g, .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to, .src_reg = VIEW, .off = off);
}

/* What is in the frame is big-endian. */
static void read_frame(struct cbpf *c, uint8_t to, uint8_t from, uint32_t off, unsigned int size)
{
	insn(&c->g,
	     .code = BPF_LDX | BPF_MEM |
		     (size == 4 ? BPF_W :
		      size == 2 ? BPF_H :
				  BPF_B),
	     .dst_reg = to, .src_reg = from, .off = (int16_t)(VIEW_OFFSET(head) + off));
	if (size > 1)
		insn(&c->g, .code = BPF_ALU | BPF_END | BPF_TO_BE, .dst_reg = to,
		     .imm = (int32_t)size * 8);
}

/* OFFSET says where. */
static void call_load(struct cbpf *c, uint8_t to, unsigned int size)
{
	insn(&c->g, .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1, .src_reg = BPF_REG_10,
	     .off = AT_SLOT);
	insn(&c->g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3,
	     .imm = (int32_t)size);
	insn(&c->g, .code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_CALL);
	weir_gen_jump(&c->g,
		      (struct bpf_insn){ .code = BPF_JMP | BPF_JSLT | BPF_K, .dst_reg = BPF_REG_0 },
		      c->reject);
	move(c, to, BPF_REG_0);
}

static void need_head(struct cbpf *c, uint32_t end)
{
	if (end > WEIR_STRICT_HEAD_MAX)
		end = WEIR_STRICT_HEAD_MAX;
	if (c->head < end)
		c->head = end;
}

/* The head holds what the filter is known to want: where it ends before that, the
 * frame does. */
static void load_absolute(struct cbpf *c, uint8_t to, uint32_t k, unsigned int size)
{
	if (k > FAR - size) {
		weir_gen_goto(&c->g, c->reject, -1);
	} else if (k + size > WEIR_STRICT_HEAD_MAX) {
		set(c, OFFSET, k);
		call_load(c, to, size);
	} else {
		need_head(c, k + size);
		read_view(c, LIMIT, VIEW_OFFSET(head_len));
		weir_gen_jump_if(&c->g, BPF_JLT, LIMIT, k + size, c->reject);
		read_frame(c, to, VIEW, k, size);
	}
}

/* X + k does not wrap: both sides are 64 bits wide. */
static void load_indirect(struct cbpf *c, uint32_t k, unsigned int size)
{
	const int slow = weir_gen_label(&c->g), done = weir_gen_label(&c->g);

	if (k <= WEIR_STRICT_HEAD_MAX)
		need_head(c, k + INDIRECT_ROOM + size);
	/* By way of memory: what the verifier knows of X is forgotten, or it would follow
	 * each of its pasts on its own, without end where there are many such loads. */
	insn(&c->g, .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = VIEW, .src_reg = X,
	     .off = VIEW_OFFSET(scratch));
	read_view(c, OFFSET, VIEW_OFFSET(scratch));
	if (k) {
		set(c, TEMP, k);
		insn(&c->g, .code = BPF_ALU64 | BPF_ADD | BPF_X, .dst_reg = OFFSET,
		     .src_reg = TEMP);
	}
	/* The verifier takes a bound only from a constant. */
	weir_gen_jump(&c->g,
		      (struct bpf_insn){ .code = BPF_JMP | BPF_JGT | BPF_K,
					 .dst_reg = OFFSET,
					 .imm = (int32_t)(WEIR_STRICT_HEAD_MAX - size) },
		      slow);
	read_view(c, LIMIT, VIEW_OFFSET(head_len));
	insn(&c->g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = TEMP, .src_reg = OFFSET);
	insn(&c->g, .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = TEMP, .imm = (int32_t)size);
	weir_gen_jump(&c->g,
		      (struct bpf_insn){ .code = BPF_JMP | BPF_JGT | BPF_X,
					 .dst_reg = TEMP,
					 .src_reg = LIMIT },
		      slow);
	insn(&c->g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = TEMP, .src_reg = VIEW);
	insn(&c->g, .code = BPF_ALU64 | BPF_ADD | BPF_X, .dst_reg = TEMP, .src_reg = OFFSET);
	read_frame(c, A, TEMP, 0, size);
	weir_gen_goto(&c->g, done, -1);
	weir_gen_place(&c->g, slow);
	call_load(c, A, size);
	weir_gen_place(&c->g, done);
}

static void memory(struct cbpf *c, uint8_t class, uint8_t reg, uint32_t k)
{
	if (class == BPF_LDX)
		insn(&c->g, .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = reg,
		     .src_reg = BPF_REG_10, .off = MEM_SLOT(k));
	else
		insn(&c->g, .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = BPF_REG_10,
		     .src_reg = reg, .off = MEM_SLOT(k));
}

static void load(struct cbpf *c, const struct sock_filter *i, uint8_t to)
{
	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
		set(c, to, i->k);
		return;
	case BPF_MEM:
		memory(c, BPF_LDX, to, i->k);
		return;
	case BPF_LEN:
		read_view(c, to, VIEW_OFFSET(len));
		return;
	case BPF_ABS:
		load_absolute(c, to, i->k, load_size(i->code));
		return;
	case BPF_IND:
		load_indirect(c, i->k, load_size(i->code));
		return;
	default: /* BPF_MSH: an IPv4 header's length */
		load_absolute(c, to, i->k, 1);
		insn(&c->g, .code = BPF_ALU | BPF_AND | BPF_K, .dst_reg = to, .imm = 0xf);
		insn(&c->g, .code = BPF_ALU | BPF_LSH | BPF_K, .dst_reg = to, .imm = 2);
	}
}

/* Shifting 32 bits out leaves nothing; the machine's shift takes X modulo 32. */
static void shift(struct cbpf *c, uint8_t op)
{
	const int fits = weir_gen_label(&c->g), done = weir_gen_label(&c->g);

	weir_gen_jump_if(&c->g, BPF_JLT, X, 32, fits);
	set(c, A, 0);
	weir_gen_goto(&c->g, done, -1);
	weir_gen_place(&c->g, fits);
	insn(&c->g, .code = BPF_ALU | op | BPF_X, .dst_reg = A, .src_reg = X);
	weir_gen_place(&c->g, done);
}

static void alu(struct cbpf *c, const struct sock_filter *i)
{
	const uint8_t op = BPF_OP(i->code);
	const bool by_x = BPF_SRC(i->code) == BPF_X;

	if (op == BPF_NEG) {
		insn(&c->g, .code = BPF_ALU | BPF_NEG, .dst_reg = A);
		return;
	}
	if (by_x && (op == BPF_LSH || op == BPF_RSH)) {
		shift(c, op);
		return;
	}
	if (by_x && (op == BPF_DIV || op == BPF_MOD))
		weir_gen_jump_if(&c->g, BPF_JEQ, X, 0, c->reject);
	insn(&c->g, .code = BPF_ALU | op | BPF_SRC(i->code), .dst_reg = A, .src_reg = by_x ? X : 0,
	     .imm = by_x ? 0 : (int32_t)i->k);
}

static void jump(struct cbpf *c, const struct sock_filter *i)
{
	const int next = label_of(c, c->pc + 1);
	const bool by_x = BPF_SRC(i->code) == BPF_X;

	if (BPF_OP(i->code) == BPF_JA) {
		weir_gen_goto(&c->g, label_of(c, c->pc + 1 + i->k), next);
		return;
	}
	if (i->jt != i->jf)
		weir_gen_jump(&c->g,
			      (struct bpf_insn){ .code = BPF_JMP32 | BPF_OP(i->code) |
							 BPF_SRC(i->code),
						 .dst_reg = A,
						 .src_reg = by_x ? X : 0,
						 .imm = by_x ? 0 : (int32_t)i->k },
			      label_of(c, c->pc + 1 + i->jt));
	weir_gen_goto(&c->g, label_of(c, c->pc + 1 + i->jf), next);
}

static void leave(struct cbpf *c, const struct sock_filter *i)
{
	if (BPF_RVAL(i->code) == BPF_A)
		weir_gen_jump_if(&c->g, BPF_JNE, A, 0, c->accept);
	weir_gen_goto(&c->g, BPF_RVAL(i->code) == BPF_K && i->k ? c->accept : c->reject, -1);
}

static void translate_one(struct cbpf *c, const struct sock_filter *i)
{
	switch (BPF_CLASS(i->code)) {
	case BPF_LD:
		load(c, i, A);
		return;
	case BPF_LDX:
		load(c, i, X);
		return;
	case BPF_ST:
		memory(c, BPF_STX, A, i->k);
		return;
	case BPF_STX:
		memory(c, BPF_STX, X, i->k);
		return;
	case BPF_ALU:
		alu(c, i);
		return;
	case BPF_JMP:
		jump(c, i);
		return;
	case BPF_RET:
		leave(c, i);
		return;
	default: /* BPF_MISC */
		move(c, BPF_MISCOP(i->code) == BPF_TAX ? X : A,
		     BPF_MISCOP(i->code) == BPF_TAX ? A : X);
	}
}

/* What bpf_filter() knows. */
static bool is_known(uint16_t code)
{
	switch (code) {
	case BPF_LD | BPF_W | BPF_ABS:
	case BPF_LD | BPF_H | BPF_ABS:
	case BPF_LD | BPF_B | BPF_ABS:
	case BPF_LD | BPF_W | BPF_IND:
	case BPF_LD | BPF_H | BPF_IND:
	case BPF_LD | BPF_B | BPF_IND:
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_B | BPF_MSH:
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
	case BPF_ST:
	case BPF_STX:
	case BPF_JMP | BPF_JA:
	case BPF_RET | BPF_K:
	case BPF_RET | BPF_A:
	case BPF_MISC | BPF_TAX:
	case BPF_MISC | BPF_TXA:
	case BPF_ALU | BPF_NEG:
		return true;
	}
	if (code & ~(BPF_CLASS(code) | BPF_OP(code) | BPF_SRC(code)))
		return false;
	if (BPF_CLASS(code) == BPF_ALU)
		return BPF_OP(code) <= BPF_XOR && BPF_OP(code) != BPF_NEG;
	return BPF_CLASS(code) == BPF_JMP && BPF_OP(code) > BPF_JA && BPF_OP(code) <= BPF_JSET;
}

/* Instruction @pc keeps the rules that classic BPF has always had. */
static bool is_valid(const struct sock_filter *i, size_t pc, size_t n)
{
	const size_t left = n - pc - 1; /* instructions behind this one */
	const uint8_t class = BPF_CLASS(i->code), op = BPF_OP(i->code);
	const bool constant = BPF_SRC(i->code) == BPF_K;

	if (class == BPF_ST || class == BPF_STX ||
	    (class <= BPF_LDX && BPF_MODE(i->code) == BPF_MEM))
		return left && i->k < BPF_MEMWORDS;
	if (class == BPF_JMP)
		return op == BPF_JA ? i->k < left : i->jt < left && i->jf < left;
	if (class == BPF_ALU && constant && (op == BPF_DIV || op == BPF_MOD))
		return left && i->k;
	if (class == BPF_ALU && constant && (op == BPF_LSH || op == BPF_RSH))
		return left && i->k < 32;
	return left || class == BPF_RET;
}

static int check(const struct sock_filter *f, size_t n, struct weir_error *err)
{
	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &f[pc];

		if (!is_known(i->code))
			return weir_fail(err, -ENOTSUP,
					 "its instruction %zu (%#x) is not known here", pc,
					 i->code);
		if (i->code == (BPF_JMP | BPF_JA) && i->k > INT32_MAX)
			return weir_fail(err, -ENOTSUP, "it has a loop, as protochain makes one");
		if (!is_valid(i, pc, n))
			return weir_fail(err, -EINVAL, "its instruction %zu is not valid", pc);
	}
	return n ? 0 : weir_fail(err, -EINVAL, "it has no instructions");
}

/* The verifier refuses to read what was not written. */
static void begin(struct cbpf *c)
{
	insn(&c->g, .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = VIEW, .src_reg = BPF_REG_1);
	insn(&c->g, .code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_10, .src_reg = BPF_REG_2,
	     .off = AT_SLOT);
	set(c, A, 0);
	set(c, X, 0);
	for (uint32_t k = 0; k < BPF_MEMWORDS; k++)
		for (size_t i = 0; i < c->n; i++)
			if (BPF_CLASS(c->f[i].code) <= BPF_LDX &&
			    BPF_MODE(c->f[i].code) == BPF_MEM && c->f[i].k == k) {
				memory(c, BPF_STX, A, k);
				break;
			}
}

static void answer(struct cbpf *c, int label, int value)
{
	weir_gen_place(&c->g, label);
	insn(&c->g, .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = value);
	insn(&c->g, .code = BPF_JMP | BPF_EXIT);
}

static void translate(struct cbpf *c)
{
	c->first = weir_gen_label(&c->g);
	for (size_t i = 1; i < c->n; i++)
		weir_gen_label(&c->g);
	c->accept = weir_gen_label(&c->g);
	c->reject = weir_gen_label(&c->g);
	begin(c);
	for (c->pc = 0; c->pc < c->n && !c->g.full; c->pc++) {
		if (c->pc)
			weir_gen_place(&c->g, label_of(c, c->pc));
		if (!c->g.dead)
			translate_one(c, &c->f[c->pc]);
	}
	answer(c, c->accept, 1);
	answer(c, c->reject, 0);
}

int weir_cbpf_translate(const struct sock_filter *f, size_t n, struct bpf_insn **ret_insns,
			size_t *ret_n, uint32_t *ret_head, struct weir_error *err)
{
	struct cbpf c = { .f = f, .n = n, .head = WEIR_STRICT_HEAD_MIN };
	int r = check(f, n, err);

	if (r)
		return r;
	if (weir_gen_init(&c.g, WEIR_MATCH_INSNS_MAX) < 0)
		return weir_fail(err, -ENOMEM, "out of memory");
	translate(&c);
	r = weir_gen_finish(&c.g, "it", err);
	if (!r) {
		*ret_insns = WEIR_TAKE_PTR(c.g.v);
		*ret_n = c.g.n;
		*ret_head = c.head;
	}
	weir_gen_free(&c.g);
	return r;
}
