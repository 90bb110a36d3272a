/* SPDX-License-Identifier: GPL-2.0-only */
/* Instructions as text, in the notation of bpftool and llvm-objdump, with the
 * packet's fields by name. */
#include "match/match.h"

#include <inttypes.h>
#include <linux/bpf.h>

#include "base/cleanup.h"

/* clang-format off */
#define FIELD(name) { #name, offsetof(struct weir_pkt, name), sizeof(((struct weir_pkt *)0)->name) }
/* clang-format on */

static const struct {
	const char *name;
	size_t offset, size;
} fields[] = {
	FIELD(src),	 FIELD(dst),	FIELD(eth_dst), FIELD(eth_src),	    FIELD(eth_type),
	FIELD(flags),	 FIELD(sport),	FIELD(dport),	FIELD(vlan),	    FIELD(tcp_flags),
	FIELD(frag_off), FIELD(l3_off), FIELD(l4_off),	FIELD(payload_off), FIELD(vlans),
	FIELD(proto),	 FIELD(ttl),	FIELD(tos),	FIELD(icmp_type),   FIELD(icmp_code),
	FIELD(len),	 FIELD(l3_len),
};

static const char *const alu_ops[16] = {
	[BPF_ADD >> 4] = "+=", [BPF_SUB >> 4] = "-=", [BPF_AND >> 4] = "&=",
	[BPF_OR >> 4] = "|=",  [BPF_MOV >> 4] = "=",  [BPF_MUL >> 4] = "*=",
	[BPF_DIV >> 4] = "/=", [BPF_MOD >> 4] = "%=", [BPF_XOR >> 4] = "^=",
	[BPF_LSH >> 4] = "<<=", [BPF_RSH >> 4] = ">>=",
};

static const char *const jump_ops[16] = {
	[BPF_JEQ >> 4] = "==", [BPF_JNE >> 4] = "!=", [BPF_JGT >> 4] = ">",  [BPF_JGE >> 4] = ">=",
	[BPF_JLT >> 4] = "<",  [BPF_JLE >> 4] = "<=", [BPF_JSET >> 4] = "&",
	[BPF_JSLT >> 4] = "s<",
};

static const char *size_name(uint8_t code)
{
	switch (BPF_SIZE(code)) {
	case BPF_B:
		return "u8";
	case BPF_H:
		return "u16";
	case BPF_W:
		return "u32";
	default:
		return "u64";
	}
}

/* What a load from the packet, in r1 or r6, reads. */
static void add_field(const struct bpf_insn *i, struct weir_buf *out)
{
	if (i->off < 0 || (i->src_reg != BPF_REG_1 && i->src_reg != BPF_REG_6))
		return;
	for (size_t f = 0; f < WEIR_ARRAY_SIZE(fields); f++) {
		size_t at = (size_t)i->off - fields[f].offset;

		if ((size_t)i->off < fields[f].offset || at >= fields[f].size)
			continue;
		weir_buf_addf(out, " ; %s", fields[f].name);
		if (at)
			weir_buf_addf(out, "+%zu", at);
	}
}

static void add_operand(const struct bpf_insn *i, char reg, struct weir_buf *out)
{
	if (BPF_SRC(i->code) == BPF_X)
		weir_buf_addf(out, "%c%u", reg, i->src_reg);
	else
		weir_buf_addf(out, "0x%x", (unsigned int)i->imm);
}

static bool add_jump(const struct bpf_insn *i, char reg, struct weir_buf *out)
{
	const char *op = jump_ops[BPF_OP(i->code) >> 4];

	switch (BPF_OP(i->code)) {
	case BPF_EXIT:
		weir_buf_adds(out, "exit");
		return true;
	case BPF_CALL:
		if (i->src_reg == BPF_PSEUDO_CALL) /* the only function that a match has */
			weir_buf_adds(out, "call weir_strict_load");
		else
			weir_buf_addf(out, "call %d", i->imm);
		return true;
	case BPF_JA:
		weir_buf_addf(out, "goto %+d", i->off);
		return true;
	}
	if (!op)
		return false;
	weir_buf_addf(out, "if %c%u %s ", reg, i->dst_reg, op);
	add_operand(i, reg, out);
	weir_buf_addf(out, " goto %+d", i->off);
	return true;
}

static bool add_alu(const struct bpf_insn *i, char reg, struct weir_buf *out)
{
	const char *op = alu_ops[BPF_OP(i->code) >> 4];

	if (BPF_OP(i->code) == BPF_END) {
		weir_buf_addf(out, "r%u = be%d r%u", i->dst_reg, i->imm, i->dst_reg);
		return true;
	}
	if (BPF_OP(i->code) == BPF_NEG) {
		weir_buf_addf(out, "%c%u = -%c%u", reg, i->dst_reg, reg, i->dst_reg);
		return true;
	}
	if (!op)
		return false;
	weir_buf_addf(out, "%c%u %s ", reg, i->dst_reg, op);
	add_operand(i, reg, out);
	return true;
}

static bool add_insn(const struct bpf_insn *i, struct weir_buf *out)
{
	switch (BPF_CLASS(i->code)) {
	case BPF_LDX:
		weir_buf_addf(out, "r%u = *(%s *)(r%u %+d)", i->dst_reg, size_name(i->code),
			      i->src_reg, i->off);
		add_field(i, out);
		return true;
	case BPF_STX:
		weir_buf_addf(out, "*(%s *)(r%u %+d) = r%u", size_name(i->code), i->dst_reg, i->off,
			      i->src_reg);
		return true;
	case BPF_ST:
		weir_buf_addf(out, "*(%s *)(r%u %+d) = 0x%x", size_name(i->code), i->dst_reg,
			      i->off, (unsigned int)i->imm);
		return true;
	case BPF_ALU:
	case BPF_ALU64:
		return add_alu(i, BPF_CLASS(i->code) == BPF_ALU ? 'w' : 'r', out);
	case BPF_JMP:
	case BPF_JMP32:
		return add_jump(i, BPF_CLASS(i->code) == BPF_JMP32 ? 'w' : 'r', out);
	default:
		return false;
	}
}

void weir_match_disasm(const struct bpf_insn *insns, size_t n, struct weir_buf *out)
{
	for (size_t i = 0; i < n; i++) {
		const struct bpf_insn *insn = &insns[i];
		bool wide = insn->code == (BPF_LD | BPF_DW | BPF_IMM) && i + 1 < n;

		weir_buf_addf(out, "%4zu: ", i);
		if (wide && insn->src_reg == BPF_PSEUDO_MAP_FD)
			weir_buf_addf(out, "r%u = map[fd:%d]", insn->dst_reg, insn->imm);
		else if (wide)
			weir_buf_addf(out, "r%u = %#" PRIx64 " ll", insn->dst_reg,
				      (uint64_t)(uint32_t)insns[i + 1].imm << 32 |
					      (uint32_t)insn->imm);
		else if (!add_insn(insn, out))
			weir_buf_addf(out, ".insn code %#x", insn->code);
		weir_buf_addc(out, '\n');
		i += wide;
	}
}
