/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules as eBPF: which is the first that this packet is about, and not over? */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/match_stub.h"
#include "cap/fault/engine.h"
#include "match/gen.h"

#define PACKET BPF_REG_1
#define LOOPBACK_IFINDEX 1 /* in every namespace */
#define ADDR_WORDS 4
#define MAPPED_WORDS 3 /* of an IPv4 address, before it */

_Static_assert(offsetof(struct weir_fault_packet, pkt) == 0, "the packet comes first");

static void emit_load(struct weir_gen *g, uint8_t size, uint8_t reg, size_t offset)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | size,
					    .dst_reg = reg,
					    .src_reg = PACKET,
					    .off = (int16_t)offset });
}

static void emit_alu(struct weir_gen *g, uint8_t op, uint8_t reg, uint32_t imm)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | op | BPF_K,
					    .dst_reg = reg,
					    .imm = (int32_t)imm });
}

static void emit_u64(struct weir_gen *g, uint8_t reg, uint64_t v)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LD | BPF_DW | BPF_IMM,
					    .dst_reg = reg,
					    .imm = (int32_t)(uint32_t)v });
	weir_gen_emit(g, (struct bpf_insn){ .imm = (int32_t)(uint32_t)(v >> 32) });
}

/* A long list of addresses, one after the other: faults are no place for millions. */
static void emit_set(struct weir_gen *g, void *arg, const struct weir_match *m, size_t set,
		     size_t offset, bool v4, struct weir_gen_out o)
{
	const struct weir_prefix *list;
	size_t n = weir_match_set(m, set, &list);

	(void)arg;
	for (size_t i = 0; i < n; i++) {
		int other = weir_gen_label(g);

		for (unsigned int w = v4 ? MAPPED_WORDS : 0; w < ADDR_WORDS; w++) {
			uint32_t value, mask = 0;
			uint8_t bytes[4] = { 0 };

			for (unsigned int b = 0; b < 32; b++)
				if (32 * w + b < list[i].len)
					bytes[b / 8] |= (uint8_t)(0x80 >> b % 8);
			memcpy(&mask, bytes, sizeof(mask));
			memcpy(&value, list[i].addr.b + 4 * w, sizeof(value));
			if (!mask)
				continue;
			emit_load(g, BPF_W, BPF_REG_0, offset + 4 * w);
			if (mask != UINT32_MAX)
				emit_alu(g, BPF_AND, BPF_REG_0, mask);
			weir_gen_jump_if(g, BPF_JNE, BPF_REG_0, value, other);
		}
		weir_gen_goto(g, o.yes, other);
		weir_gen_place(g, other);
	}
	weir_gen_goto(g, o.no, o.next);
}

/* Go to @other where the packet is not on @r's interface in its direction. On loopback
 * each packet leaves and comes in: unless told, only the first counts. */
static void emit_place(struct weir_gen *g, const struct weir_fault_conf_rule *r, int other)
{
	uint32_t ifindex = r->iface[0] ? if_nametoindex(r->iface) : 0;
	bool lo = ifindex == LOOPBACK_IFINDEX, out = r->dir == WEIR_FAULT_OUTWARD;

	emit_load(g, BPF_W, BPF_REG_0, offsetof(struct weir_fault_packet, key));
	if (r->iface[0] && (r->dir || lo)) {
		weir_gen_jump_if(g, BPF_JNE, BPF_REG_0, WEIR_FAULT_KEY(ifindex, out || !r->dir),
				 other);
	} else if (r->iface[0]) {
		emit_alu(g, BPF_AND, BPF_REG_0, ~WEIR_FAULT_OUT);
		weir_gen_jump_if(g, BPF_JNE, BPF_REG_0, ifindex, other);
	} else if (r->dir) {
		emit_alu(g, BPF_RSH, BPF_REG_0, 31);
		weir_gen_jump_if(g, BPF_JEQ, BPF_REG_0, !out, other);
	} else {
		weir_gen_jump_if(g, BPF_JEQ, BPF_REG_0, WEIR_FAULT_KEY(LOOPBACK_IFINDEX, false),
				 other);
	}
}

static void emit_rule(struct weir_gen *g, const struct weir_fault_conf_rule *r)
{
	int other = weir_gen_label(g), yes = weir_gen_label(g);

	emit_place(g, r, other);
	emit_load(g, BPF_DW, BPF_REG_0, offsetof(struct weir_fault_packet, now));
	emit_u64(g, BPF_REG_2, r->expires);
	weir_gen_jump(g,
		      (struct bpf_insn){ .code = BPF_JMP | BPF_JGE | BPF_X,
					 .dst_reg = BPF_REG_0,
					 .src_reg = BPF_REG_2 },
		      other);
	weir_gen_match(g, r->match, (struct weir_gen_out){ yes, other, yes });
	weir_gen_place(g, yes);
	emit_alu(g, BPF_MOV, BPF_REG_0, WEIR_FAULT_ANSWER(r->slot, r->stamp));
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
	weir_gen_place(g, other);
}

int weir_fault_compile(const struct weir_fault_conf *conf, struct bpf_insn **ret, size_t *ret_n,
		       struct weir_error *err)
{
	weir_cleanup(weir_gen_free) struct weir_gen g = { 0 };
	int code = weir_gen_init(&g, WEIR_MATCH_INSNS_MAX);

	if (code)
		return weir_fail(err, code, "out of memory");
	g.pkt = PACKET;
	g.set = emit_set;
	for (size_t i = 0; i < conf->n; i++)
		if (!weir_fault_is_socket(&conf->v[i]))
			emit_rule(&g, &conf->v[i]);
	emit_alu(&g, BPF_MOV, BPF_REG_0, 0);
	weir_gen_emit(&g, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
	code = weir_gen_finish(&g, "the rules", err);
	if (code)
		return code;
	*ret_n = g.n;
	*ret = WEIR_TAKE_PTR(g.v);
	return 0;
}
