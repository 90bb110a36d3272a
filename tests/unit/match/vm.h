/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instructions that a match compiles to, run in user space, and the rules
 * that the verifier holds them to, as far as they can be told without it:
 * forward jumps inside the program, nothing unreachable, no register read
 * before it is written. For tests without privileges.
 */
#pragma once

#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "match/gen.h"
#include "match/match.h"

#define VM_STACK 20 /* what match.h allows */

struct vm {
	const struct weir_match *m;
	uint64_t r[11];
	bool written[11];
	_Alignas(8) uint8_t stack[VM_STACK];
	const char *wrong; /* what the program does that it must not */
};

static inline bool vm_is_wide(const struct bpf_insn *i)
{
	return i->code == (BPF_LD | BPF_DW | BPF_IMM);
}

/* Does one of the prefixes of @set hold the address? */
static inline bool vm_holds(const struct weir_match *m, size_t set, const uint8_t addr[16])
{
	const struct weir_prefix *list;
	size_t n = weir_match_set(m, set, &list);

	for (size_t i = 0; i < n; i++) {
		unsigned int bit = 0;

		while (bit < list[i].len &&
		       !((addr[bit / 8] ^ list[i].addr.b[bit / 8]) & 0x80 >> bit % 8))
			bit++;
		if (bit == list[i].len)
			return true;
	}
	return false;
}

/* An LPM trie: r2 points at the key. */
static inline uint64_t vm_lookup(struct vm *vm)
{
	uint32_t len;
	uint8_t addr[16];

	memcpy(&len, vm->stack, sizeof(len));
	memcpy(addr, vm->stack + sizeof(len), sizeof(addr));
	if (len != 128 || vm->r[2] != (uintptr_t)vm->stack)
		vm->wrong = "bad key";
	return vm_holds(vm->m, (size_t)vm->r[1], addr);
}

/* What the sets behind the names hold: about half of all addresses. */
static inline bool vm_in(void *arg, size_t i, const uint8_t addr[16])
{
	(void)arg;
	return addr[15] >> i % 8 & 1;
}

#define VM_CALL_SET 0x7000 /* r1 = set, r2 = address, r3 = v4 */

static inline uint64_t vm_ask(struct vm *vm)
{
	const size_t n = weir_match_sets(vm->m), set = (size_t)vm->r[1];
	struct weir_addr addr;

	memcpy(addr.b, (const void *)(uintptr_t)vm->r[2], sizeof(addr.b));
	if (set < n)
		return vm_holds(vm->m, set, addr.b);
	if (set - n >= weir_match_names(vm->m))
		vm->wrong = "a set that is not there";
	/* Packets that make no sense have half of what says IPv4. */
	if (vm->r[3] ? memcmp(addr.b + 8, "\0\0\xff\xff", 4) : weir_addr_is_v4(&addr))
		vm->wrong = "a set asked for an address of the other family";
	return vm_in(NULL, set - n, addr.b);
}

static inline bool vm_jumps(const struct bpf_insn *i, uint64_t a, uint64_t b)
{
	if (BPF_CLASS(i->code) == BPF_JMP32) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (BPF_OP(i->code)) {
	case BPF_JA:
		return true;
	case BPF_JEQ:
		return a == b;
	case BPF_JNE:
		return a != b;
	case BPF_JLT:
		return a < b;
	case BPF_JLE:
		return a <= b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	case BPF_JSET:
		return a & b;
	default:
		abort();
	}
}

static inline void vm_memory(struct vm *vm, const struct bpf_insn *i)
{
	static const size_t sizes[] = { [BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1 };
	size_t size = sizes[BPF_SIZE(i->code) >> 3];
	uint64_t v = 0;

	if (BPF_CLASS(i->code) == BPF_LDX) {
		if (i->off < 0 || (size_t)i->off + size > sizeof(struct weir_pkt) ||
		    (size_t)i->off % size)
			vm->wrong = "a load outside the packet or not aligned";
		else
			memcpy(&v, (const uint8_t *)(uintptr_t)vm->r[i->src_reg] + i->off, size);
		vm->r[i->dst_reg] = v;
		return;
	}
	v = BPF_CLASS(i->code) == BPF_ST ? (uint32_t)i->imm : vm->r[i->src_reg];
	if (i->dst_reg != BPF_REG_10 || i->off < -VM_STACK || i->off > -4 || size != 4)
		vm->wrong = "a store outside the stack";
	else
		memcpy(vm->stack + VM_STACK + i->off, &v, size);
}

static inline void vm_alu(struct vm *vm, const struct bpf_insn *i)
{
	uint64_t b = BPF_SRC(i->code) == BPF_X ? vm->r[i->src_reg] : (uint64_t)(int64_t)i->imm;
	uint64_t *a = &vm->r[i->dst_reg];

	if (BPF_OP(i->code) == BPF_MOV)
		*a = b;
	else if (BPF_OP(i->code) == BPF_AND)
		*a &= b;
	else if (BPF_OP(i->code) == BPF_ADD)
		*a += b;
	else if (BPF_OP(i->code) == BPF_OR)
		*a |= b;
	else
		abort();
	if (BPF_CLASS(i->code) == BPF_ALU)
		*a = (uint32_t)*a;
}

/* Note what the instruction reads and writes. */
static inline void vm_registers(struct vm *vm, const struct bpf_insn *i)
{
	unsigned int class = BPF_CLASS(i->code), op = BPF_OP(i->code);
	bool alu = class == BPF_ALU || class == BPF_ALU64;
	bool jump = class == BPF_JMP || class == BPF_JMP32;
	bool reads_dst = class == BPF_ST || class == BPF_STX || (alu && op != BPF_MOV) ||
			 (jump && op != BPF_JA && op != BPF_CALL && op != BPF_EXIT);
	bool reads_src = class == BPF_LDX || class == BPF_STX ||
			 ((alu || jump) && BPF_SRC(i->code) == BPF_X);

	if ((reads_dst && !vm->written[i->dst_reg]) || (reads_src && !vm->written[i->src_reg]) ||
	    (jump && op == BPF_EXIT && !vm->written[0]))
		vm->wrong = "a register is read before it is written";
	if (alu || class == BPF_LDX || class == BPF_LD)
		vm->written[i->dst_reg] = true;
	if (jump && op == BPF_CALL) {
		memset(vm->written, 0, 6 * sizeof(vm->written[0]));
		vm->written[0] = true;
	}
}

/* The answer of the program to @p; vm->wrong where it breaks a rule. */
static inline bool vm_run(struct vm *vm, const struct weir_match *m, const struct bpf_insn *v,
			  size_t n, const struct weir_pkt *p)
{
	*vm = (struct vm){ .m = m, .written = { [1] = true, [10] = true } };
	vm->r[1] = (uintptr_t)p;
	vm->r[10] = (uintptr_t)(vm->stack + VM_STACK);
	for (size_t pc = 0; pc < n && !vm->wrong; pc++) {
		const struct bpf_insn *i = &v[pc];
		unsigned int class = BPF_CLASS(i->code);

		vm_registers(vm, i);
		if (vm->wrong)
			break;
		if (vm_is_wide(i)) {
			vm->r[i->dst_reg] = (uint32_t)i->imm;
			pc++;
		} else if (class == BPF_LDX || class == BPF_ST || class == BPF_STX) {
			vm_memory(vm, i);
		} else if (class == BPF_ALU || class == BPF_ALU64) {
			vm_alu(vm, i);
		} else if (BPF_OP(i->code) == BPF_EXIT) {
			return vm->r[0];
		} else if (BPF_OP(i->code) == BPF_CALL) {
			vm->r[0] = i->imm == VM_CALL_SET ? vm_ask(vm) : vm_lookup(vm);
		} else if (vm_jumps(i, vm->r[i->dst_reg], (uint64_t)(int64_t)i->imm)) {
			pc += (size_t)i->off;
		}
	}
	if (!vm->wrong)
		vm->wrong = "the program runs over its end";
	return false;
}

/* What is wrong with the program's shape, or NULL. */
static inline const char *vm_check(const struct bpf_insn *v, size_t n)
{
	bool *reached = calloc(n + 1, sizeof(*reached));
	const char *wrong = NULL;

	if (!reached || !n)
		abort();
	reached[0] = true;
	/* Jumps go forward only, so one pass finds all. */
	for (size_t i = 0; i < n && !wrong; i++) {
		unsigned int class = BPF_CLASS(v[i].code);
		bool jump = class == BPF_JMP || class == BPF_JMP32;
		bool ends = jump && (BPF_OP(v[i].code) == BPF_EXIT || BPF_OP(v[i].code) == BPF_JA);

		if (!reached[i])
			wrong = "unreachable";
		if (jump && BPF_OP(v[i].code) != BPF_EXIT && BPF_OP(v[i].code) != BPF_CALL) {
			if (v[i].off < 0 || i + 1 + (size_t)v[i].off >= n)
				wrong = "a jump backwards or out of the program";
			else
				reached[i + 1 + (size_t)v[i].off] = true;
		}
		if (vm_is_wide(&v[i]))
			reached[++i] = true;
		if (!ends)
			reached[i + 1] = true;
	}
	if (reached[n] && !wrong)
		wrong = "the last instruction is not an exit";
	free(reached);
	return wrong;
}

/* Set i's descriptor is i. */
static inline int *vm_set_fds(const struct weir_match *m)
{
	size_t n = weir_match_sets(m);
	int *fds = calloc(n + 1, sizeof(*fds));

	if (!fds)
		abort();
	for (size_t i = 0; i < n; i++)
		fds[i] = (int)i;
	return fds;
}

static inline void vm_gen_set(struct weir_gen *g, void *arg, const struct weir_match *m, size_t set,
			      size_t offset, bool v4, struct weir_gen_out o)
{
	const struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = (int32_t)set },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = g->pkt },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .imm = (int32_t)offset },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = v4 },
		{ .code = BPF_JMP | BPF_CALL, .imm = VM_CALL_SET },
	};

	(void)arg;
	(void)m;
	for (size_t i = 0; i < sizeof(code) / sizeof(*code); i++)
		weir_gen_emit(g, code[i]);
	weir_gen_jump_if(g, BPF_JNE, 0, 0, o.yes);
	weir_gen_goto(g, o.no, o.next);
}

/* A match as a function, by a caller that has sets of its own. */
static inline int vm_gen(const struct weir_match *m, size_t max, struct bpf_insn **ret,
			 size_t *ret_n, struct weir_error *err)
{
	const struct bpf_insn keep = {
		.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6, .src_reg = BPF_REG_1
	};
	struct weir_gen g;
	struct weir_gen_out o;
	int labels[2], r;

	if (weir_gen_init(&g, max) < 0)
		abort();
	g.pkt = BPF_REG_6;
	g.set = vm_gen_set;
	weir_gen_emit(&g, keep);
	labels[0] = weir_gen_label(&g);
	labels[1] = weir_gen_label(&g);
	o = (struct weir_gen_out){ .yes = labels[1], .no = labels[0], .next = labels[0] };
	weir_gen_match(&g, m, o);
	for (int i = 0; i < 2; i++) {
		weir_gen_place(&g, labels[i]);
		weir_gen_emit(&g, (struct bpf_insn){
					  .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = i });
		weir_gen_emit(&g, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
	}
	r = weir_gen_finish(&g, "the match", err);
	if (!r) {
		*ret = g.v;
		*ret_n = g.n;
		g.v = NULL;
	}
	weir_gen_free(&g);
	return r;
}
