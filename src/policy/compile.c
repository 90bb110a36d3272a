/* SPDX-License-Identifier: GPL-2.0-only */
#include "policy/compile.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/gate.h"
#include "bpf/policy_stub.h"
#include "bpf/set.h"
#include "match/gen.h"

/* Registers, by bpf/policy_stub.h. The key of the interface becomes its row as
 * soon as that is known. */
#define SCRATCH BPF_REG_6
#define ROW BPF_REG_7

#define V4_IN_MAPPED 12 /* where the IPv4 address lies in its 16 bytes */
#define ROW_SHIFT 24

_Static_assert(offsetof(struct weir_scratch, pkt) == 0, "the scratch record is the packet");

struct compiler {
	struct weir_gen g;
	const struct weir_policy *policy;
	const struct weir_policy_places *places;
	struct weir_set *const *sets;
	enum weir_policy_hook hook;
	uint64_t jiffies_now, boot_now, tick_ns;
	size_t first_own; /* the current rule's first own set in code->own_sets */
	struct weir_policy_code *code;
	struct weir_error *err;
	int error; /* the first one, of a callback that cannot return it */
};

/* ---- Rows: a mask over the interfaces of this hook that are there */

static bool has_place(const struct compiler *c, size_t i)
{
	return c->policy->ifaces[i].hook == c->hook && c->places->ifindex[i];
}

static uint64_t all_rows(const struct compiler *c)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < c->policy->n_ifaces; i++)
		if (has_place(c, i))
			rows |= 1ULL << c->policy->ifaces[i].index;
	return rows;
}

static uint64_t rows_of_rule(const struct compiler *c, const struct weir_policy_rule *r)
{
	uint64_t rows = 0;

	for (size_t i = 0; i < c->policy->n_ifaces; i++) {
		const struct weir_policy_iface *f = &c->policy->ifaces[i];

		if (!has_place(c, i) || !weir_policy_serves(f->owner, r->owner) ||
		    (r->iface[0] && strcmp(r->iface, f->name) != 0) ||
		    (r->dir == WEIR_DIRECTION_IN && f->out) ||
		    (r->dir == WEIR_DIRECTION_OUT && !f->out))
			continue;
		rows |= 1ULL << f->index;
	}
	return rows;
}

/* Find the interface's row, or leave for a packet that is not the filter's. */
static void emit_rows(struct compiler *c)
{
	struct weir_gen *g = &c->g;
	const uint32_t none = WEIR_POLICY_DECISION(WEIR_POLICY_NO_ROW, WEIR_POLICY_NONE, 0);
	int rules = weir_gen_label(g);

	for (size_t i = 0; i < c->policy->n_ifaces; i++) {
		const struct weir_policy_iface *f = &c->policy->ifaces[i];
		int other;

		if (!has_place(c, i))
			continue;
		other = weir_gen_label(g);
		weir_gen_jump_if(g, BPF_JNE, ROW, WEIR_POLICY_KEY(c->places->ifindex[i], f->out),
				 other);
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K,
						    .dst_reg = ROW,
						    .imm = (int32_t)f->index });
		weir_gen_goto(g, rules, other);
		weir_gen_place(g, other);
	}
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_K,
					    .dst_reg = BPF_REG_0,
					    .imm = (int32_t)none });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
	g->dead = true;
	weir_gen_place(g, rules);
}

/* Go to @other unless the row is one of @rows. */
static void emit_row_test(struct compiler *c, uint64_t rows, int other)
{
	struct weir_gen *g = &c->g;
	int known;

	if (rows == all_rows(c))
		return;
	known = weir_gen_label(g);
	for (unsigned int i = 0; i < WEIR_FILTER_ROWS; i++) {
		if (!(rows & 1ULL << i))
			continue;
		rows &= ~(1ULL << i);
		weir_gen_jump_if(g, rows ? BPF_JEQ : BPF_JNE, ROW, i, rows ? known : other);
	}
	weir_gen_place(g, known);
}

/* ---- Calls */

static void emit_call(struct compiler *c, uint32_t call)
{
	c->code->calls |= 1U << call;
	weir_gen_emit(&c->g, (struct bpf_insn){ .code = BPF_JMP | BPF_CALL,
						.src_reg = BPF_PSEUDO_CALL,
						.imm = (int32_t)call });
}

static void emit_map(struct weir_gen *g, int fd)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LD | BPF_DW | BPF_IMM,
					    .dst_reg = BPF_REG_1,
					    .src_reg = BPF_PSEUDO_MAP_FD,
					    .imm = fd });
	weir_gen_emit(g, (struct bpf_insn){ 0 });
}

/* The set behind number @set of a match: one of the rule's own long lists, or one
 * of the policy's by name. *ret_copy is which copy of the look-up it uses. */
static const struct weir_set *find_set(struct compiler *c, const struct weir_match *m, size_t set,
				       uint32_t *ret_copy)
{
	size_t own = weir_match_sets(m);

	if (set < own) {
		*ret_copy = (uint32_t)(c->policy->n_sets + c->first_own + set);
		return &c->code->own_sets[c->first_own + set];
	}
	for (size_t i = 0; i < c->policy->n_sets; i++) {
		if (strcmp(c->policy->sets[i].name, weir_match_name(m, set - own)) != 0)
			continue;
		*ret_copy = (uint32_t)i;
		return c->sets[i];
	}
	return NULL;
}

static void emit_alu(struct weir_gen *g, uint8_t code, uint8_t reg, int32_t imm)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = code | BPF_K, .dst_reg = reg, .imm = imm });
}

/* r2 = the IPv4 address at @offset, in host order. */
static void emit_addr4(struct weir_gen *g, size_t offset)
{
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W,
					    .dst_reg = BPF_REG_2,
					    .src_reg = SCRATCH,
					    .off = (int16_t)(offset + V4_IN_MAPPED) });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_END | BPF_TO_BE,
					    .dst_reg = BPF_REG_2,
					    .imm = 32 });
}

/*
 * The first step of weir_set_find4() in line, since most packets end there, and a call
 * costs more than it: which of none, all or some of the address's /24 is in the set?
 * The key of the look-up lies in the record's reason, which is set only behind the
 * policy. Goes on for some.
 */
static void emit_state(struct compiler *c, int fd, size_t offset, struct weir_gen_out o)
{
	const int16_t key = (int16_t)offsetof(struct weir_scratch, reason);
	struct weir_gen *g = &c->g;

	emit_addr4(g, offset);
	emit_alu(g, BPF_ALU | BPF_RSH, BPF_REG_2, 16);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_STX | BPF_MEM | BPF_W,
					    .dst_reg = SCRATCH,
					    .src_reg = BPF_REG_2,
					    .off = key });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_X,
					    .dst_reg = BPF_REG_2,
					    .src_reg = SCRATCH });
	emit_alu(g, BPF_ALU64 | BPF_ADD, BPF_REG_2, key);
	emit_map(g, fd);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_CALL,
					    .imm = BPF_FUNC_map_lookup_elem });
	weir_gen_jump(g, (struct bpf_insn){ .code = BPF_JMP | BPF_JEQ | BPF_K,
					    .dst_reg = BPF_REG_0 }, o.no);
	/* word[net / 32 & 7] >> net % 32 * 2 & 3, net being the address >> 8 */
	emit_addr4(g, offset);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_X,
					    .dst_reg = BPF_REG_3,
					    .src_reg = BPF_REG_2 });
	emit_alu(g, BPF_ALU | BPF_RSH, BPF_REG_3, 13 - 3);
	emit_alu(g, BPF_ALU | BPF_AND, BPF_REG_3, 7 << 3);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_ADD | BPF_X,
					    .dst_reg = BPF_REG_0,
					    .src_reg = BPF_REG_3 });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_DW,
					    .dst_reg = BPF_REG_0,
					    .src_reg = BPF_REG_0 });
	emit_alu(g, BPF_ALU | BPF_RSH, BPF_REG_2, 8 - 1);
	emit_alu(g, BPF_ALU | BPF_AND, BPF_REG_2, 31 << 1);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_RSH | BPF_X,
					    .dst_reg = BPF_REG_0,
					    .src_reg = BPF_REG_2 });
	emit_alu(g, BPF_ALU | BPF_AND, BPF_REG_0, 3);
	weir_gen_jump_if(g, BPF_JEQ, BPF_REG_0, WEIR_SET_NONE, o.no);
	weir_gen_jump_if(g, BPF_JEQ, BPF_REG_0, WEIR_SET_ALL, o.yes);
}

/*
 * The tries of sets have no mapped addresses of IPv6 packets, and named sets hold none.
 * A list holds all of them or none: with 96 bits or more they would be IPv4.
 */
static void emit_mapped(struct weir_gen *g, const struct weir_match *m, size_t set, size_t offset,
			struct weir_gen_out o)
{
	static const struct weir_addr mapped = { .b = { [10] = 0xff, [11] = 0xff } };
	const struct weir_prefix *list;
	const size_t n = set < weir_match_sets(m) ? weir_match_set(m, set, &list) : 0;
	bool all = false;
	int plain;

	for (size_t i = 0; i < n && !all; i++) {
		struct weir_prefix p = list[i];

		p.is_v4 = true; /* as the address looks */
		all = weir_prefix_contains(&p, &mapped);
	}
	if (!all)
		return;
	plain = weir_gen_label(g);
	for (size_t at = 0; at < V4_IN_MAPPED; at += sizeof(uint32_t)) {
		uint32_t word;

		memcpy(&word, mapped.b + at, sizeof(word));
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W,
						    .dst_reg = BPF_REG_2,
						    .src_reg = SCRATCH,
						    .off = (int16_t)(offset + at) });
		weir_gen_jump_if(g, BPF_JNE, BPF_REG_2, word, plain);
	}
	weir_gen_goto(g, o.yes, plain);
	weir_gen_place(g, plain);
}

static void emit_set(struct weir_gen *g, void *arg, const struct weir_match *m, size_t set,
		     size_t offset, bool v4, struct weir_gen_out o)
{
	struct compiler *c = arg;
	uint32_t copy = 0;
	const struct weir_set *s = find_set(c, m, set, &copy);
	bool table;

	if (!s) {
		if (!c->error)
			c->error = weir_fail(c->err, -ENOENT,
					     "there is no set \"%s\": `weir filter set %s load FILE`",
					     weir_match_name(m, set - weir_match_sets(m)),
					     weir_match_name(m, set - weir_match_sets(m)));
		weir_gen_goto(g, o.no, o.next);
		return;
	}
	table = v4 && s->fd[WEIR_SET_TABLE4] >= 0;
	if (!table && s->fd[WEIR_SET_TRIE] < 0) {
		weir_gen_goto(g, o.no, o.next);
		return;
	}
	copy %= WEIR_POLICY_SET_COPIES;
	if (table) {
		emit_state(c, s->fd[WEIR_SET_TABLE4], offset, o);
		emit_addr4(g, offset);
	} else {
		if (!v4)
			emit_mapped(g, m, set, offset, o);
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_X,
						    .dst_reg = BPF_REG_2,
						    .src_reg = SCRATCH });
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_ADD | BPF_K,
						    .dst_reg = BPF_REG_2,
						    .imm = (int32_t)offset });
	}
	emit_map(g, s->fd[table ? WEIR_SET_TABLE4 : WEIR_SET_TRIE]);
	emit_call(c, (table ? WEIR_POLICY_CALL_SET4 : WEIR_POLICY_CALL_SET6) + copy);
	weir_gen_jump_if(g, BPF_JNE, BPF_REG_0, 0, o.yes);
	weir_gen_goto(g, o.no, o.next);
}

/* ---- Rules */

/* The long address lists of the rule's match as sets of their own. */
static int make_own_sets(struct compiler *c, const struct weir_match *m)
{
	size_t n = weir_match_sets(m);
	struct weir_set *more;

	c->first_own = c->code->n_own_sets;
	if (!n)
		return 0;
	more = reallocarray(c->code->own_sets, c->first_own + n, sizeof(*more));
	if (!more)
		return weir_fail(c->err, -ENOMEM, "out of memory: shorten the policy");
	c->code->own_sets = more;
	for (size_t i = 0; i < n; i++) {
		const struct weir_prefix *list;
		size_t len = weir_match_set(m, i, &list);
		int ret;

		weir_set_init(&more[c->first_own + i]);
		ret = weir_set_create(&more[c->first_own + i], list, len, c->err);
		if (ret)
			return ret;
		c->code->n_own_sets++;
	}
	return 0;
}

/* Saturates: 2^64 ns are centuries. */
static uint64_t scaled(uint64_t units, uint64_t factor, uint64_t rate)
{
	__uint128_t v = (__uint128_t)units * factor / rate;

	return v > UINT64_MAX ? UINT64_MAX : (uint64_t)v;
}

static int add_limit(struct compiler *c, const struct weir_policy_rule *r, uint32_t *ret)
{
	const uint64_t second = 1000000000ULL;
	struct weir_limit *more;

	if (c->code->n_limits == WEIR_LIMITS_MAX)
		return weir_fail(c->err, -E2BIG, "more than %d limits: remove some",
				 WEIR_LIMITS_MAX);
	more = reallocarray(c->code->limits, c->code->n_limits + 1, sizeof(*more));
	if (!more)
		return weir_fail(c->err, -ENOMEM, "out of memory: shorten the policy");
	c->code->limits = more;
	*ret = (uint32_t)c->code->n_limits++;
	more[*ret] = (struct weir_limit){
		.rule = r->id,
		.per = r->per,
		.cost = scaled(second, 1U << WEIR_LIMIT_COST_SHIFT, r->rate),
		.depth = scaled(r->burst, second, r->rate),
		.bits = r->bits,
		.len4 = r->len4,
		.len6 = r->len6,
	};
	return 0;
}

/* Go to @next once the rule has expired. */
static void emit_expiry(struct compiler *c, const struct weir_policy_rule *r, int next)
{
	struct weir_gen *g = &c->g;
	uint64_t left = r->expires - c->boot_now;
	uint64_t at = c->jiffies_now + (left + c->tick_ns - 1) / c->tick_ns;

	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_CALL,
					    .imm = BPF_FUNC_jiffies64 });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_LD | BPF_DW | BPF_IMM,
					    .dst_reg = BPF_REG_1,
					    .imm = (int32_t)at });
	weir_gen_emit(g, (struct bpf_insn){ .imm = (int32_t)(at >> 32) });
	weir_gen_jump(g, (struct bpf_insn){ .code = BPF_JMP | BPF_JGE | BPF_X,
					    .dst_reg = BPF_REG_0,
					    .src_reg = BPF_REG_1 }, next);
}

static void emit_decision(struct compiler *c, uint32_t decision, int leave)
{
	weir_gen_emit(&c->g, (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_K,
						.dst_reg = BPF_REG_0,
						.imm = (int32_t)decision });
	weir_gen_goto(&c->g, leave, -1);
}

/* @r's code. *ret_final: every packet that comes here is decided by it, so that
 * nothing may follow. */
static int emit_rule(struct compiler *c, const struct weir_policy_rule *r, int leave,
		     bool *ret_final)
{
	struct weir_gen *g = &c->g;
	uint64_t rows = rows_of_rule(c, r);
	bool limit = r->action == WEIR_POLICY_LIMIT;
	int next, act, ret;

	*ret_final = false;
	if (!rows || (r->expires && r->expires <= c->boot_now))
		return 0;
	ret = make_own_sets(c, r->match);
	if (ret)
		return ret;
	*ret_final = rows == all_rows(c) && weir_match_is_all(r->match) && !r->expires && !limit;
	next = weir_gen_label(g);
	act = weir_gen_label(g);
	emit_row_test(c, rows, next);
	if (!weir_match_is_all(r->match))
		weir_gen_match(g, r->match, (struct weir_gen_out){ act, next, act });
	weir_gen_place(g, act);
	if (r->expires)
		emit_expiry(c, r, next);
	if (limit) {
		uint32_t index;

		ret = add_limit(c, r, &index);
		if (ret)
			return ret;
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_X,
						    .dst_reg = BPF_REG_1,
						    .src_reg = SCRATCH });
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU64 | BPF_MOV | BPF_K,
						    .dst_reg = BPF_REG_2,
						    .imm = (int32_t)index });
		emit_call(c, WEIR_POLICY_CALL_LIMIT);
		weir_gen_jump_if(g, BPF_JEQ, BPF_REG_0, 0, next);
	}
	emit_decision(c, WEIR_POLICY_DECISION(0, (uint32_t)r->action, r->id), leave);
	if (!*ret_final)
		weir_gen_place(g, next);
	return c->error;
}

/* Positions in policy->rules in the order in which they are tried: the filter's own
 * as they are, then the other owners' by name, each in its order. */
static void order_rules(const struct weir_policy *p, size_t *order)
{
	const char *owner = "filter";
	size_t n = 0;

	while (owner) {
		const char *behind = NULL;

		for (size_t i = 0; i < p->n_rules; i++) {
			const char *other = p->rules[i].owner;

			if (strcmp(other, owner) == 0)
				order[n++] = i;
			else if (strcmp(other, "filter") != 0 &&
				 (strcmp(owner, "filter") == 0 || strcmp(other, owner) > 0) &&
				 (!behind || strcmp(other, behind) < 0))
				behind = other;
		}
		owner = behind;
	}
}

static int emit_policy(struct compiler *c)
{
	const struct weir_policy *p = c->policy;
	struct weir_gen *g = &c->g;
	weir_autofree size_t *order = calloc(p->n_rules + 1, sizeof(*order));
	bool final = false;
	int leave, ret = 0;

	if (!order)
		return weir_fail(c->err, -ENOMEM, "out of memory: shorten the policy");
	order_rules(p, order);
	emit_rows(c);
	leave = weir_gen_label(g);
	for (size_t i = 0; !ret && !final && i < p->n_rules; i++)
		ret = emit_rule(c, &p->rules[order[i]], leave, &final);
	if (ret)
		return ret;
	if (!final)
		weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_K,
						    .dst_reg = BPF_REG_0 });
	weir_gen_place(g, leave);
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_LSH | BPF_K,
					    .dst_reg = ROW,
					    .imm = ROW_SHIFT });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_ALU | BPF_OR | BPF_X,
					    .dst_reg = BPF_REG_0,
					    .src_reg = ROW });
	weir_gen_emit(g, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
	return weir_gen_finish(g, "the policy", c->err);
}

/* No interface of this hook: no row, whatever the packet. */
static int emit_nothing(struct compiler *c)
{
	emit_rows(c);
	return weir_gen_finish(&c->g, "the policy", c->err);
}

int weir_policy_compile(const struct weir_policy *policy, enum weir_policy_hook hook,
			const struct weir_policy_places *places, struct weir_set *const *sets,
			uint64_t jiffies_now, uint64_t boot_now, uint64_t tick_ns,
			struct weir_policy_code *ret, struct weir_error *err)
{
	struct compiler c = {
		.policy = policy,
		.places = places,
		.sets = sets,
		.hook = hook,
		.jiffies_now = jiffies_now,
		.boot_now = boot_now,
		.tick_ns = tick_ns,
		.code = ret,
		.err = err,
	};
	int code;

	memset(ret, 0, sizeof(*ret));
	code = weir_gen_init(&c.g, WEIR_POLICY_INSNS_MAX);
	if (code)
		return weir_fail(err, code, "out of memory: shorten the policy");
	c.g.pkt = SCRATCH;
	c.g.set = emit_set;
	c.g.set_arg = &c;
	code = all_rows(&c) ? emit_policy(&c) : emit_nothing(&c);
	if (!code) {
		ret->insns = WEIR_TAKE_PTR(c.g.v);
		ret->n = c.g.n;
	} else {
		weir_policy_code_free(ret);
	}
	weir_gen_free(&c.g);
	return code;
}

void weir_policy_code_free(struct weir_policy_code *c)
{
	for (size_t i = 0; i < c->n_own_sets; i++)
		weir_set_close(&c->own_sets[i]);
	free(c->own_sets);
	free(c->limits);
	free(c->insns);
	memset(c, 0, sizeof(*c));
}
