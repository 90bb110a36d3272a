/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a classic filter was translated to, run in user space on a frame, with the rules
 * of bpf/strict.h: loads inside the view, scratch words inside the stack, no register
 * read before it is written. For tests without privileges.
 */
#pragma once

#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/strict.h"
#include "vm.h"

struct strict_vm {
	uint64_t r[11];
	bool written[11];
	_Alignas(8) uint8_t stack[WEIR_STRICT_STACK];
	bool stored[WEIR_STRICT_STACK];
	struct weir_strict_view view;
	const uint8_t *frame;
	const char *wrong; /* what the program does that it must not */
};

/* The pointer that weir_strict_load() wants first. */
#define STRICT_VM_AT 0x5757575757575757ULL

static inline uint64_t strict_vm_load(struct strict_vm *vm)
{
	const uint64_t off = vm->r[2], size = vm->r[3];
	uint64_t v = 0;

	if (vm->r[1] != STRICT_VM_AT || (size != 1 && size != 2 && size != 4)) {
		vm->wrong = "a bad call";
		return 0;
	}
	if (off + size > vm->view.caplen)
		return UINT64_MAX;
	for (uint64_t i = 0; i < size; i++)
		v = v << 8 | vm->frame[off + i];
	return v;
}

static inline uint64_t strict_vm_alu(struct strict_vm *vm, const struct bpf_insn *i)
{
	const bool narrow = BPF_CLASS(i->code) == BPF_ALU;
	uint64_t a = vm->r[i->dst_reg];
	uint64_t b = BPF_SRC(i->code) == BPF_X ? vm->r[i->src_reg] : (uint64_t)(int64_t)i->imm;

	if (BPF_OP(i->code) == BPF_END)
		return i->imm == 32 ? __builtin_bswap32((uint32_t)a) :
				      __builtin_bswap16((uint16_t)a);
	if (narrow) {
		a = (uint32_t)a;
		b = (uint32_t)b;
	}
	switch (BPF_OP(i->code)) {
	case BPF_MOV:
		a = b;
		break;
	case BPF_ADD:
		a += b;
		break;
	case BPF_SUB:
		a -= b;
		break;
	case BPF_MUL:
		a *= b;
		break;
	case BPF_DIV:
		a = b ? a / b : 0;
		break;
	case BPF_MOD:
		a = b ? a % b : a;
		break;
	case BPF_AND:
		a &= b;
		break;
	case BPF_OR:
		a |= b;
		break;
	case BPF_XOR:
		a ^= b;
		break;
	case BPF_LSH:
		a <<= b & 31;
		break;
	case BPF_RSH:
		a >>= b & 31;
		break;
	case BPF_NEG:
		a = -a;
		break;
	default:
		vm->wrong = "an operation that is not known";
	}
	return narrow ? (uint32_t)a : a;
}

static inline size_t strict_vm_size(uint8_t code)
{
	static const size_t sizes[] = {
		[BPF_W >> 3] = 4, [BPF_H >> 3] = 2, [BPF_B >> 3] = 1, [BPF_DW >> 3] = 8
	};

	return sizes[BPF_SIZE(code) >> 3];
}

/* @at on the stack, as an index, or -1 where it is not there. */
static inline int strict_vm_slot(const struct strict_vm *vm, uint64_t at, size_t size)
{
	const uint64_t low = (uintptr_t)vm->stack;

	return at >= low && at + size <= low + WEIR_STRICT_STACK ? (int)(at - low) : -1;
}

static inline void strict_vm_memory(struct strict_vm *vm, const struct bpf_insn *i)
{
	const bool loads = BPF_CLASS(i->code) == BPF_LDX;
	const uint64_t at = vm->r[loads ? i->src_reg : i->dst_reg] + (uint64_t)(int64_t)i->off;
	const size_t size = strict_vm_size(i->code);
	const uint64_t view = (uintptr_t)&vm->view;
	const int slot = strict_vm_slot(vm, at, size);
	uint64_t v = 0;

	if (slot < 0 && !loads && at == view + offsetof(struct weir_strict_view, scratch) &&
	    size == sizeof(vm->view.scratch)) {
		vm->view.scratch = (uint32_t)vm->r[i->src_reg];
		return;
	}
	if (slot < 0 && !(loads && at >= view && at + size <= view + sizeof(vm->view))) {
		vm->wrong = "memory that is not the program's";
		return;
	}
	if (!loads) {
		memcpy(vm->stack + slot, &vm->r[i->src_reg], size);
		memset(vm->stored + slot, 1, size);
		return;
	}
	if (slot >= 0 && memchr(vm->stored + slot, 0, size))
		vm->wrong = "stack that was not written";
	memcpy(&v, (const void *)(uintptr_t)at, size);
	vm->r[i->dst_reg] = v;
}

static inline void strict_vm_registers(struct strict_vm *vm, const struct bpf_insn *i)
{
	struct bpf_insn what = *i;
	struct vm v = { 0 };

	if (BPF_OP(i->code) == BPF_END) /* its source bit is the byte order */
		what.src_reg = what.dst_reg;
	memcpy(v.written, vm->written, sizeof(v.written));
	vm_registers(&v, &what);
	memcpy(vm->written, v.written, sizeof(v.written));
	vm->wrong = v.wrong;
}

static inline bool strict_vm_jumps(const struct strict_vm *vm, const struct bpf_insn *i)
{
	const uint64_t a = vm->r[i->dst_reg];
	const uint64_t b = BPF_SRC(i->code) == BPF_X ? vm->r[i->src_reg] :
						       (uint64_t)(int64_t)i->imm;

	return BPF_OP(i->code) == BPF_JSLT ? (int64_t)a < (int64_t)b : vm_jumps(i, a, b);
}

/* The answer for the frame, of whose beginning @head bytes are in the view; vm->wrong
 * where the program breaks a rule. */
static inline bool strict_vm_run(struct strict_vm *vm, const struct bpf_insn *v, size_t n,
				 const uint8_t *frame, uint32_t len, uint32_t caplen, uint32_t head)
{
	memset(vm, 0, sizeof(*vm));
	vm->frame = frame;
	vm->view.len = len;
	vm->view.caplen = caplen;
	vm->view.head_len = caplen < head ? caplen : head;
	memcpy(vm->view.head, frame, vm->view.head_len);
	vm->r[1] = (uintptr_t)&vm->view;
	vm->r[2] = STRICT_VM_AT;
	vm->r[10] = (uintptr_t)(vm->stack + WEIR_STRICT_STACK);
	vm->written[1] = vm->written[2] = vm->written[10] = true;
	for (size_t pc = 0; pc < n && !vm->wrong; pc++) {
		const struct bpf_insn *i = &v[pc];
		const unsigned int class = BPF_CLASS(i->code);

		strict_vm_registers(vm, i);
		if (vm->wrong)
			break;
		if (class == BPF_LDX || class == BPF_STX)
			strict_vm_memory(vm, i);
		else if (class == BPF_ALU || class == BPF_ALU64)
			vm->r[i->dst_reg] = strict_vm_alu(vm, i);
		else if (BPF_OP(i->code) == BPF_EXIT)
			return vm->r[0];
		else if (BPF_OP(i->code) == BPF_CALL)
			vm->r[0] = strict_vm_load(vm);
		else if (strict_vm_jumps(vm, i))
			pc += (size_t)i->off;
	}
	if (!vm->wrong)
		vm->wrong = "the program runs over its end";
	return false;
}
