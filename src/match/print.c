/* SPDX-License-Identifier: GPL-2.0-only */
/* Canonical text. "and" and "or" bind alike, so one inside the other always
 * has parentheses. */
#include "match/ast.h"

#include <string.h>

#include "match/words.h"

#define BOTH_FAMILIES (WEIR_PKT_IP4 | WEIR_PKT_IP6)

static const char *const dirs[] = {
	[WEIR_DIR_ANY] = "",
	[WEIR_DIR_SRC] = "src ",
	[WEIR_DIR_DST] = "dst ",
	[WEIR_DIR_BOTH] = "src and dst ",
};

static const struct {
	uint16_t guard;
	const char *word;
} families[] = {
	{ WEIR_PKT_IP4, "ip " },
	{ WEIR_PKT_IP6, "ip6 " },
	{ WEIR_PKT_ARP, "arp " },
	{ 0, "" },
};

static const char *family(uint16_t guard)
{
	size_t i = 0;

	while (families[i].guard && families[i].guard != guard)
		i++;
	return families[i].word;
}

/* Have all numbers of the range names? Then each is told by its own. */
static bool all_named(const struct weir_name *names, const struct weir_range *r)
{
	for (uint32_t n = r->lo; n <= r->hi; n++)
		if (!names || !weir_name_of(names, n))
			return false;
	return true;
}

static void print_range(const struct weir_range *r, const struct weir_name *names,
			struct weir_buf *out)
{
	/* Ethernet types are known by their hexadecimal digits. */
	const bool hex = names == weir_words_ether;

	if (all_named(names, r)) {
		for (uint32_t n = r->lo; n <= r->hi; n++)
			weir_buf_addf(out, "%s%s", n > r->lo ? "," : "",
				      weir_name_of(names, n)->name);
		return;
	}
	weir_buf_addf(out, hex ? "%#x" : "%u", r->lo);
	if (r->lo != r->hi)
		weir_buf_addf(out, hex ? "-%#x" : "-%u", r->hi);
}

static void print_list(const struct weir_ast *a, const struct weir_name *names,
		       struct weir_buf *out)
{
	for (size_t i = 0; i < a->num.n; i++) {
		if (i)
			weir_buf_addc(out, ',');
		print_range(&a->num.v[i], names, out);
	}
}

/* `tcp` where that is the same as `proto tcp` */
static bool print_bare(const struct weir_ast *a, const struct weir_name *names,
		       struct weir_buf *out)
{
	const struct weir_name *name = weir_name_of(names, a->num.v[0].lo);

	if (a->num.n > 1 || a->num.v[0].lo != a->num.v[0].hi || !name || !name->guard)
		return false;
	if (a->num.what == WEIR_NUM_PROTO && name->guard != a->guard)
		return false;
	weir_buf_adds(out, name->name);
	return true;
}

/* `ttl 64`, `len >= 100`, `len 64-128,1500` */
static void print_measure(const struct weir_ast *a, const char *word, struct weir_buf *out)
{
	const struct weir_num_info *info = &weir_num_info[a->num.what];
	const struct weir_range *r = &a->num.v[0];

	weir_buf_adds(out, word);
	if (a->num.n == 1 && r->lo != r->hi && r->hi == info->max) {
		weir_buf_addf(out, " >= %u", r->lo);
	} else if (a->num.n == 1 && r->lo != r->hi && r->lo == info->min) {
		weir_buf_addf(out, " <= %u", r->hi);
	} else {
		weir_buf_addc(out, ' ');
		print_list(a, NULL, out);
	}
}

static void print_port(const struct weir_ast *a, struct weir_buf *out)
{
	const struct weir_range *r = &a->num.v[0];

	if (a->num.l4 != WEIR_L4_ALL) {
		weir_buf_adds(out, weir_l4_protos[__builtin_ctz(a->num.l4)].name);
		weir_buf_addc(out, ' ');
	}
	weir_buf_adds(out, dirs[a->dir]);
	weir_buf_adds(out, a->num.n == 1 && r->lo != r->hi ? "portrange " : "port ");
	print_list(a, NULL, out);
}

static void print_num(const struct weir_ast *a, struct weir_buf *out)
{
	const struct weir_num_info *info = &weir_num_info[a->num.what];

	switch (a->num.what) {
	case WEIR_NUM_ETHER_TYPE:
		if (print_bare(a, weir_words_ether, out))
			return;
		weir_buf_adds(out, "ether proto ");
		print_list(a, weir_words_ether, out);
		return;
	case WEIR_NUM_PROTO:
		if (print_bare(a, weir_words_proto, out))
			return;
		weir_buf_adds(out, family(a->guard));
		weir_buf_adds(out, "proto ");
		print_list(a, weir_words_proto, out);
		return;
	case WEIR_NUM_PORT:
		print_port(a, out);
		return;
	case WEIR_NUM_VLAN:
		weir_buf_adds(out, "vlan");
		if (a->num.v[0].lo == info->min && a->num.v[0].hi == info->max)
			return;
		weir_buf_addc(out, ' ');
		print_list(a, NULL, out);
		return;
	default:
		print_measure(a, a->num.what == WEIR_NUM_LEN ? "len" : "ttl", out);
	}
}

static void print_addr(const struct weir_ast *a, struct weir_buf *out)
{
	char text[WEIR_ADDR_STRLEN];
	bool hosts = true;

	for (size_t i = 0; i < a->addr.n; i++)
		hosts = hosts && a->addr.v[i].len == 128;
	weir_buf_adds(out, family(a->guard));
	weir_buf_adds(out, dirs[a->dir]);
	weir_buf_adds(out, hosts ? "host " : "net ");
	for (size_t i = 0; i < a->addr.n; i++) {
		if (i)
			weir_buf_addc(out, ',');
		weir_buf_adds(out, weir_prefix_str(&a->addr.v[i], text));
	}
}

static void print_set(const struct weir_ast *a, struct weir_buf *out)
{
	weir_buf_adds(out, family(a->guard));
	weir_buf_adds(out, dirs[a->dir]);
	weir_buf_addf(out, "net @%s", a->set.name);
}

static void print_mac(const struct weir_ast *a, struct weir_buf *out)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	weir_buf_adds(out, "ether ");
	if (memcmp(a->mac.mask, all, sizeof(all))) {
		weir_buf_adds(out, "multicast");
	} else if (a->dir == WEIR_DIR_DST && !memcmp(a->mac.value, all, sizeof(all))) {
		weir_buf_adds(out, "broadcast");
	} else {
		weir_buf_adds(out, dirs[a->dir]);
		weir_buf_adds(out, "host ");
		weir_buf_add_mac(out, a->mac.value);
	}
}

static void print_flags(uint16_t flags, struct weir_buf *out)
{
	const char *comma = "";

	if (!flags)
		weir_buf_adds(out, "none");
	for (unsigned int bit = 1; bit <= flags; bit <<= 1) {
		if (!(flags & bit))
			continue;
		weir_buf_adds(out, comma);
		weir_buf_adds(out, weir_name_of(weir_words_tcp, bit)->name);
		comma = ",";
	}
}

static void print_tcp_flags(const struct weir_ast *a, struct weir_buf *out)
{
	weir_buf_adds(out, "tcp flags ");
	if (a->bits.differs && !a->bits.value) {
		weir_buf_adds(out, "any ");
		print_flags(a->bits.mask, out);
		return;
	}
	if (a->bits.differs)
		weir_buf_adds(out, "!= ");
	print_flags(a->bits.value, out);
	if (a->bits.value == a->bits.mask)
		return;
	weir_buf_addc(out, '/');
	print_flags(a->bits.mask, out);
}

static void print_state(const struct weir_ast *a, struct weir_buf *out)
{
	weir_buf_adds(out, "frag");
	if (a->bits.value == WEIR_PKT_FRAG_LATER)
		weir_buf_adds(out, " later");
	else if (a->bits.mask & WEIR_PKT_FRAG_LATER)
		weir_buf_adds(out, " first");
}

static void print(const struct weir_ast *a, struct weir_buf *out);

/* @a below another AND, OR or NOT. */
static void print_inner(const struct weir_ast *a, struct weir_buf *out)
{
	bool parens = a->kind == WEIR_AST_AND || a->kind == WEIR_AST_OR;

	if (parens)
		weir_buf_addc(out, '(');
	print(a, out);
	if (parens)
		weir_buf_addc(out, ')');
}

static void print(const struct weir_ast *a, struct weir_buf *out)
{
	switch (a->kind) {
	case WEIR_AST_AND:
	case WEIR_AST_OR:
		for (size_t i = 0; i < a->sub.n; i++) {
			if (i)
				weir_buf_adds(out, a->kind == WEIR_AST_AND ? " and " : " or ");
			print_inner(a->sub.v[i], out);
		}
		return;
	case WEIR_AST_NOT:
		weir_buf_adds(out, "not ");
		print_inner(a->sub.v[0], out);
		return;
	case WEIR_AST_NUM:
		print_num(a, out);
		return;
	case WEIR_AST_ADDR:
		print_addr(a, out);
		return;
	case WEIR_AST_SET:
		print_set(a, out);
		return;
	case WEIR_AST_MAC:
		print_mac(a, out);
		return;
	case WEIR_AST_TCP_FLAGS:
		print_tcp_flags(a, out);
		return;
	case WEIR_AST_STATE:
		print_state(a, out);
		return;
	case WEIR_AST_ALL:
		return; /* no text matches everything */
	}
}

void weir_match_print(const struct weir_match *m, struct weir_buf *out)
{
	print(m->ast, out);
}
