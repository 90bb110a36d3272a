/* SPDX-License-Identifier: GPL-2.0-only */
/*
 *	expression := primary { ("and" | "or") primary }
 *	primary    := "not" primary | "(" expression ")" | test
 *	test       := [PROTO] [DIR] [TYPE] value | word of its own
 *
 * "and" and "or" bind alike and from the left, as in pcap-filter. A value
 * without qualifiers has those of the value before it.
 */
#include "match/parse.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "match/lex.h"
#include "match/value.h"

#define TCP_FLAGS_ALL 0x1ffu
#define TCP_BYTE_13 0xffu /* without AE, which is in byte 12 */
#define USE_STRICT "use --strict-pcap"

struct parser {
	const struct weir_tok *t;
	struct weir_quals last; /* what a bare value means */
	bool has_last;
	bool named_sets;
	bool values_only; /* in the parentheses of `port (80 or 443)` */
	unsigned int nesting;
	struct weir_error *err;
};

#define type_bit(type) (1U << (type))
#define TYPES_ADDR (type_bit(WEIR_TYPE_NONE) | type_bit(WEIR_TYPE_HOST) | type_bit(WEIR_TYPE_NET))
#define TYPES_PORT (type_bit(WEIR_TYPE_PORT) | type_bit(WEIR_TYPE_PORTRANGE))

static const struct {
	const char *word;
	enum weir_qual_proto proto;
	unsigned int types; /* it may stand before these */
} proto_words[] = {
	{ "", WEIR_QUAL_NONE, TYPES_ADDR | TYPES_PORT | type_bit(WEIR_TYPE_PROTO) },
	{ "ether", WEIR_QUAL_ETHER,
	  type_bit(WEIR_TYPE_NONE) | type_bit(WEIR_TYPE_HOST) | type_bit(WEIR_TYPE_PROTO) },
	{ "ip", WEIR_QUAL_IP, TYPES_ADDR | type_bit(WEIR_TYPE_PROTO) },
	{ "ip6", WEIR_QUAL_IP6, TYPES_ADDR | type_bit(WEIR_TYPE_PROTO) },
	{ "arp", WEIR_QUAL_ARP, TYPES_ADDR },
	{ "tcp", WEIR_QUAL_TCP, TYPES_PORT },
	{ "udp", WEIR_QUAL_UDP, TYPES_PORT },
	{ "sctp", WEIR_QUAL_SCTP, TYPES_PORT },
	{ "rarp", WEIR_QUAL_NONE, 0 },
};

static const struct {
	const char *word;
	enum weir_qual_type type;
} type_words[] = {
	{ "host", WEIR_TYPE_HOST },   { "net", WEIR_TYPE_NET },
	{ "port", WEIR_TYPE_PORT },   { "portrange", WEIR_TYPE_PORTRANGE },
	{ "proto", WEIR_TYPE_PROTO },
};

static bool is_word(const struct weir_tok *t, const char *s)
{
	return t->kind == WEIR_TOK_WORD && weir_word_is(&t->w, s);
}

static bool is_dir(const struct weir_tok *t)
{
	return is_word(t, "src") || is_word(t, "dst");
}

static size_t find_type(const struct weir_tok *t)
{
	size_t i = 0;

	while (i < WEIR_ARRAY_SIZE(type_words) && !is_word(t, type_words[i].word))
		i++;
	return i;
}

static bool is_type(const struct weir_tok *t)
{
	return find_type(t) < WEIR_ARRAY_SIZE(type_words);
}

/* The index of the protocol qualifier @t; 0: none. A protocol that no
 * direction or type follows stands for itself. */
static size_t find_proto(const struct weir_tok *t)
{
	for (size_t i = 1; i < WEIR_ARRAY_SIZE(proto_words); i++)
		if (is_word(t, proto_words[i].word))
			return is_dir(t + 1) || is_type(t + 1) ? i : 0;
	return 0;
}

static bool is_compare(const struct weir_tok *t)
{
	return t->kind >= WEIR_TOK_EQ && t->kind <= WEIR_TOK_GE;
}

#define fail(p, tok, ...) weir_word_fail((p)->err, -EINVAL, &(tok)->w, __VA_ARGS__)

static int give(struct parser *p, struct weir_ast *a, struct weir_ast **ret)
{
	if (!a)
		return weir_ast_oom(p->err);
	*ret = a;
	return 0;
}

/* A token that fits nowhere. */
static int fail_token(struct parser *p, const struct weir_tok *t)
{
	switch (t->kind) {
	case WEIR_TOK_END:
		return fail(p, t, "the expression is not complete: add what is missing");
	case WEIR_TOK_WORD:
		if (weir_word_refuse(&t->w, p->err))
			return -EINVAL;
		return fail(p, t, "two tests in a row: put and or or between them");
	case WEIR_TOK_CLOSE:
		return fail(p, t, "there is nothing to close: take it out or add what is missing");
	case WEIR_TOK_AND:
	case WEIR_TOK_OR:
	case WEIR_TOK_NOT:
	case WEIR_TOK_OPEN:
		return fail(p, t, "a test is missing here: add it");
	default:
		return fail(p, t, "weir has no arithmetic: " USE_STRICT);
	}
}

static int parse_expr(struct parser *p, struct weir_ast **ret);
static int parse_primary(struct parser *p, struct weir_ast **ret);

/* Values and their qualifiers */

static int parse_value(struct parser *p, const struct weir_quals *q, struct weir_ast **ret)
{
	const struct weir_tok *t = p->t++;

	if (q->type != WEIR_TYPE_NET || !is_word(p->t, "mask"))
		return weir_value_parse(q, &t->w, ret, p->err);
	p->t += 2;
	if (p->t[-1].kind != WEIR_TOK_WORD)
		return fail(p, &p->t[-1], "a netmask is missing: write NET mask 255.0.0.0");
	return weir_value_parse_mask(q, &t->w, &p->t[-1].w, ret, p->err);
}

/* "src", "dst", "src or dst", "src and dst" */
static void parse_dir(struct parser *p, struct weir_quals *q)
{
	bool src = is_word(p->t, "src");
	const struct weir_tok *t = p->t++;

	q->has_dir = true;
	q->dir = src ? WEIR_DIR_SRC : WEIR_DIR_DST;
	if ((t[1].kind != WEIR_TOK_OR && t[1].kind != WEIR_TOK_AND) ||
	    !is_word(t + 2, src ? "dst" : "src"))
		return;
	q->dir = t[1].kind == WEIR_TOK_OR ? WEIR_DIR_ANY : WEIR_DIR_BOTH;
	p->t += 2;
}

static int parse_head(struct parser *p, struct weir_ast **ret)
{
	const struct weir_tok *start = p->t;
	char text[WEIR_QUALS_TEXT_MAX];
	struct weir_quals q = { .named_sets = p->named_sets };
	size_t proto = find_proto(p->t);
	bool outer = p->values_only;
	int r;

	if (!proto_words[proto].types)
		return fail(p, start, "weir reads no addresses in it: " USE_STRICT);
	if (proto)
		p->t++;
	q.proto = proto_words[proto].proto;
	if (is_dir(p->t))
		parse_dir(p, &q);
	if (is_type(p->t))
		q.type = type_words[find_type(p->t++)].type;
	weir_quals_text(&q, text, sizeof(text));
	if (!(proto_words[proto].types & type_bit(q.type)))
		return fail(p, start, "%s does not exist: leave %s out, or join the two by and",
			    text, proto_words[proto].word);
	if (q.type == WEIR_TYPE_PROTO && q.has_dir)
		return fail(p, start,
			    "%s does not exist: a protocol has no direction, leave it out", text);
	p->last = q;
	p->has_last = true;
	if (p->t->kind == WEIR_TOK_WORD)
		return parse_value(p, &q, ret);
	if (p->t->kind != WEIR_TOK_OPEN && p->t->kind != WEIR_TOK_NOT)
		return fail(p, p->t, "%s needs a value: add it", text);
	p->values_only = true;
	r = parse_primary(p, ret);
	p->values_only = outer;
	return r;
}

/* Words of their own. Each function starts behind its word, @t. */

static int parse_number_tok(struct parser *p, enum weir_ast_num what, uint32_t *ret)
{
	const struct weir_num_info *info = &weir_num_info[what];
	const struct weir_tok *t = p->t++;

	if (t->kind != WEIR_TOK_WORD || weir_value_number(&t->w, info->max, ret) < 0)
		return fail(p, t, "not a %s: write a number from %u to %u", info->name, info->min,
			    info->max);
	return 0;
}

/* The values that compare to @n as @op says; NULL in *ret: there are none. */
static int compare(enum weir_ast_num what, enum weir_tok_kind op, uint32_t n, struct weir_ast **ret)
{
	const uint32_t min = weir_num_info[what].min, max = weir_num_info[what].max;
	const bool below = op == WEIR_TOK_LT || op == WEIR_TOK_LE || op == WEIR_TOK_NE;
	const bool above = op == WEIR_TOK_GT || op == WEIR_TOK_GE || op == WEIR_TOK_NE;
	const bool equal = op == WEIR_TOK_EQ || op == WEIR_TOK_LE || op == WEIR_TOK_GE;
	weir_auto_ast *all = NULL;

	if (below && n > min) {
		all = weir_ast_num(what, min, n - 1);
		if (!all)
			return -ENOMEM;
	}
	if (equal) {
		all = weir_ast_join(WEIR_AST_OR, WEIR_TAKE_PTR(all), weir_ast_num(what, n, n));
		if (!all)
			return -ENOMEM;
	}
	if (above && n < max) {
		all = weir_ast_join(WEIR_AST_OR, WEIR_TAKE_PTR(all),
				    weir_ast_num(what, n + 1, max));
		if (!all)
			return -ENOMEM;
	}
	*ret = WEIR_TAKE_PTR(all);
	return 0;
}

/* `ttl 64`, `ttl 1-5`, `len > 1000` */
static int parse_measure(struct parser *p, const struct weir_tok *t, enum weir_ast_num what,
			 enum weir_qual_type type, struct weir_ast **ret)
{
	const struct weir_quals q = { .type = type };
	enum weir_tok_kind op = p->t->kind;
	struct weir_ast *a = NULL;
	uint32_t n = 0;
	int r;

	if (op == WEIR_TOK_WORD)
		return weir_value_parse(&q, &p->t++->w, ret, p->err);
	if (op == WEIR_TOK_ARITH || op == WEIR_TOK_BIT_AND || op == WEIR_TOK_BIT_OR)
		return fail_token(p, p->t);
	if (!is_compare(p->t))
		return fail(p, t, "needs a number or a comparison: write %.*s 64 or %.*s > 64",
			    (int)t->w.n, t->w.s, (int)t->w.n, t->w.s);
	p->t++;
	r = parse_number_tok(p, what, &n);
	if (r < 0)
		return r;
	if (compare(what, op, n, &a) < 0)
		return weir_ast_oom(p->err);
	if (!a)
		return fail(p, t, "never true: the %s is %u to %u", weir_num_info[what].name,
			    weir_num_info[what].min, weir_num_info[what].max);
	*ret = a;
	return 0;
}

static int parse_len(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	return parse_measure(p, t, WEIR_NUM_LEN, WEIR_TYPE_LEN, ret);
}

static int parse_ttl(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	return parse_measure(p, t, WEIR_NUM_TTL, WEIR_TYPE_TTL, ret);
}

static int parse_less_greater(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	bool less = is_word(t, "less");
	uint32_t n = 0;
	int r = parse_number_tok(p, WEIR_NUM_LEN, &n);

	if (r < 0)
		return r;
	return give(p, weir_ast_num(WEIR_NUM_LEN, less ? 0 : n, less ? n : UINT32_MAX), ret);
}

static int parse_vlan(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	const struct weir_quals q = { .type = WEIR_TYPE_VLAN };
	const struct weir_num_info *info = &weir_num_info[WEIR_NUM_VLAN];

	(void)t;
	if (p->t->kind == WEIR_TOK_WORD)
		return weir_value_parse(&q, &p->t++->w, ret, p->err);
	return give(p, weir_ast_num(WEIR_NUM_VLAN, info->min, info->max), ret);
}

static int parse_frag(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	uint16_t value = WEIR_PKT_FRAGMENT, mask = WEIR_PKT_FRAGMENT;

	(void)t;
	if (is_word(p->t, "first"))
		mask = WEIR_PKT_FRAGMENT | WEIR_PKT_FRAG_LATER;
	else if (is_word(p->t, "later"))
		value = mask = WEIR_PKT_FRAG_LATER;
	else if (p->t->kind == WEIR_TOK_WORD)
		return fail(p, p->t, "not a kind of fragment: write first or later, or nothing");
	if (p->t->kind == WEIR_TOK_WORD)
		p->t++;
	return give(p, weir_ast_state(value, mask), ret);
}

static int parse_broadcast(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	(void)t;
	return give(p, weir_ast_mac(WEIR_DIR_DST, all, all), ret);
}

static int parse_multicast(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	static const uint8_t group[6] = { 0x01 };

	(void)t;
	return give(p, weir_ast_mac(WEIR_DIR_DST, group, group), ret);
}

/* TCP flags */

/* "syn,ack" */
static int parse_flag_list(struct parser *p, const struct weir_word *w, uint16_t *ret)
{
	uint16_t flags = 0;

	for (size_t i = 0, n; i <= w->n; i += n + 1) {
		const char *comma = memchr(w->s + i, ',', w->n - i);
		struct weir_word one;
		const struct weir_name *name;

		n = comma ? (size_t)(comma - w->s) - i : w->n - i;
		one = (struct weir_word){ w->s + i, n, w->at + i };
		name = weir_name_find(weir_words_tcp, &one);
		if (!name)
			return weir_word_fail(p->err, -EINVAL, n ? &one : w,
					      "not a TCP flag: use fin, syn, rst, psh, ack, urg, "
					      "ece, cwr, ae or none, with commas between");
		flags |= name->number;
	}
	*ret = flags;
	return 0;
}

/* `tcp flags LIST`, `any LIST`, `LIST/MASK`, `!= LIST/MASK` */
static int parse_tcp_flags(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	bool any = is_word(p->t, "any");
	bool differs = any || p->t->kind == WEIR_TOK_NE;
	struct weir_word value, mask;
	uint16_t v = 0, m = TCP_FLAGS_ALL;
	const char *slash;
	int r;

	if (differs)
		p->t++;
	if (p->t->kind != WEIR_TOK_WORD)
		return fail(p, t, "tcp flags needs names: write tcp flags syn,ack");
	value = p->t++->w;
	slash = memchr(value.s, '/', value.n);
	if (slash) {
		size_t n = (size_t)(slash - value.s) + 1;

		mask = (struct weir_word){ value.s + n, value.n - n, value.at + n };
		value.n = n - 1;
		r = parse_flag_list(p, &mask, &m);
		if (r < 0)
			return r;
	}
	r = parse_flag_list(p, &value, &v);
	if (r < 0)
		return r;
	if (any && (slash || !v))
		return weir_word_fail(p->err, -EINVAL, &value,
				      "any needs one list of flags: write tcp flags any syn,fin");
	if (v & ~m || !m)
		return weir_word_fail(p->err, -EINVAL, &value,
				      "can't be compared under this mask: name each of its flags "
				      "behind the / too");
	if (any)
		return give(p, weir_ast_tcp_flags(0, v, true), ret);
	if (!slash && v)
		m = v;
	return give(p, weir_ast_tcp_flags(v, m, differs), ret);
}

/* A flag in the way of pcap-filter: "tcp-syn" or a number. */
static int parse_pcap_flag(struct parser *p, uint16_t *flags)
{
	const struct weir_tok *t = p->t++;
	const struct weir_name *name = NULL;
	struct weir_word w = t->w;
	uint32_t n;

	if (t->kind == WEIR_TOK_WORD && w.n > 4 && !memcmp(w.s, "tcp-", 4)) {
		w = (struct weir_word){ w.s + 4, w.n - 4, w.at + 4 };
		name = weir_name_find(weir_words_tcp, &w);
	}
	if (name && name->number && name->number <= TCP_BYTE_13)
		*flags |= name->number;
	else if (t->kind == WEIR_TOK_WORD && !weir_value_number(&t->w, TCP_BYTE_13, &n))
		*flags |= (uint16_t)n;
	else
		return fail(p, t,
			    "not a flag of TCP's byte 13: write tcp-syn, tcp-ack, ..., a "
			    "number up to 255, or " USE_STRICT);
	return 0;
}

/* Flags joined by |; without parentheses only where @open. */
static int parse_pcap_flags(struct parser *p, bool open, uint16_t *ret)
{
	bool parens = p->t->kind == WEIR_TOK_OPEN;
	uint16_t flags = 0;
	int r;

	if (parens)
		p->t++;
	r = parse_pcap_flag(p, &flags);
	while (!r && p->t->kind == WEIR_TOK_BIT_OR && (open || parens)) {
		p->t++;
		r = parse_pcap_flag(p, &flags);
	}
	if (r < 0)
		return r;
	if (p->t->kind == WEIR_TOK_BIT_OR)
		return fail(p, p->t, "& binds first here: put the flags in parentheses");
	if (parens && p->t++->kind != WEIR_TOK_CLOSE)
		return fail(p, &p->t[-1], "a ) is missing before it: add it, or " USE_STRICT);
	*ret = flags;
	return 0;
}

/* `tcp[tcpflags] & MASK`; the mask may be missing. */
static int parse_tcp_byte(struct parser *p, uint16_t *ret)
{
	const struct weir_tok *t = p->t;
	int r;

	if (t[2].kind != WEIR_TOK_WORD || t[3].kind != WEIR_TOK_INDEX_END ||
	    !(is_word(t + 2, "tcpflags") || is_word(t + 2, "13") || is_word(t + 2, "13:1")))
		return fail(p, t, "of TCP's bytes weir knows tcp[tcpflags] only: " USE_STRICT);
	p->t += 4;
	*ret = TCP_BYTE_13;
	if (p->t->kind != WEIR_TOK_BIT_AND)
		return 0;
	t = p->t++;
	r = parse_pcap_flags(p, false, ret);
	if (!r && !*ret)
		return fail(p, t, "a mask of 0 hides every flag: name some, or " USE_STRICT);
	return r;
}

/* == or != and a value, behind tcp[tcpflags] & @mask */
static int parse_tcp_compare(struct parser *p, uint16_t mask, struct weir_ast **ret)
{
	const struct weir_tok *op = p->t, *value = p->t + 1;
	uint16_t v;
	int r;

	if (op->kind != WEIR_TOK_EQ && op->kind != WEIR_TOK_NE)
		return fail(
			p, op,
			"tcp[tcpflags] needs a comparison: write != 0 or == VALUE, or " USE_STRICT);
	p->t++;
	r = parse_pcap_flags(p, true, &v);
	if (r < 0)
		return r;
	if (v & ~mask)
		return fail(p, value, "the mask hides some of these flags: add them to the mask");
	return give(p, weir_ast_tcp_flags(v, mask, op->kind == WEIR_TOK_NE), ret);
}

/* `(tcp[tcpflags] & MASK) == VALUE`: parentheses around a number, not around
 * a test. Returns 1 if it is not that. */
static int parse_tcp_in_parens(struct parser *p, struct weir_ast **ret)
{
	const struct weir_tok *start = p->t;
	uint16_t mask;

	if (!is_word(start + 1, "tcp") || start[2].kind != WEIR_TOK_INDEX)
		return 1;
	p->t++;
	if (parse_tcp_byte(p, &mask) < 0 || p->t->kind != WEIR_TOK_CLOSE) {
		p->t = start;
		return 1;
	}
	p->t++;
	return parse_tcp_compare(p, mask, ret);
}

static int parse_bytes(struct parser *p, struct weir_ast **ret)
{
	uint16_t mask;
	int r;

	if (!is_word(p->t, "tcp"))
		return fail(p, p->t, "weir compares no bytes at an offset: " USE_STRICT);
	r = parse_tcp_byte(p, &mask);
	return r < 0 ? r : parse_tcp_compare(p, mask, ret);
}

/* Two words that go together */

static int parse_ip_multicast(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	const struct weir_quals q = {
		.proto = is_word(t, "ip") ? WEIR_QUAL_IP : WEIR_QUAL_IP6,
		.dir = WEIR_DIR_DST,
		.type = WEIR_TYPE_NET,
	};
	const char *net = q.proto == WEIR_QUAL_IP ? "224.0.0.0/4" : "ff00::/8";
	const struct weir_word w = { net, strlen(net), t->w.at };

	return weir_value_parse(&q, &w, ret, p->err);
}

static int refuse_broadcast(struct parser *p, const struct weir_tok *t, struct weir_ast **ret)
{
	(void)ret;
	if (is_word(t, "ip6"))
		return fail(p, t, "IPv6 has no broadcast: write ip6 multicast");
	return fail(p, t,
		    "weir knows no netmask to tell a broadcast by: write dst host ADDRESS, "
		    "or " USE_STRICT);
}

static const struct {
	const char *first, *second; /* NULL: one word only */
	int (*parse)(struct parser *p, const struct weir_tok *t, struct weir_ast **ret);
} tests[] = {
	{ "vlan", NULL, parse_vlan },
	{ "less", NULL, parse_less_greater },
	{ "greater", NULL, parse_less_greater },
	{ "len", NULL, parse_len },
	{ "ttl", NULL, parse_ttl },
	{ "frag", NULL, parse_frag },
	{ "broadcast", NULL, parse_broadcast },
	{ "multicast", NULL, parse_multicast },
	{ "ether", "broadcast", parse_broadcast },
	{ "ether", "multicast", parse_multicast },
	{ "ip", "multicast", parse_ip_multicast },
	{ "ip6", "multicast", parse_ip_multicast },
	{ "ip", "broadcast", refuse_broadcast },
	{ "ip6", "broadcast", refuse_broadcast },
	{ "tcp", "flags", parse_tcp_flags },
};

/* A word that is no keyword, and no qualifiers to read it by. */
static int fail_word(struct parser *p, const struct weir_tok *t)
{
	struct weir_prefix prefix;
	char text[WEIR_WORD_MAX];

	if (is_compare(t + 1) || t[1].kind == WEIR_TOK_ARITH || t[1].kind == WEIR_TOK_BIT_AND)
		return fail(p, t,
			    "weir compares len and ttl only, and has them first: write as "
			    "len > 100, or " USE_STRICT);
	if (weir_word_copy(&t->w, text) && weir_prefix_parse(text, false, &prefix) == 0)
		return fail(p, t, "an address by itself: write %s before it",
			    strchr(text, '/') ? "net" : "host");
	if (*t->w.s == '@')
		return fail(p, t, "a set by itself: write src net or dst net before it");
	return fail(p, t, "not a word of the match language: see weir-match(7)");
}

static int parse_word(struct parser *p, struct weir_ast **ret)
{
	const struct weir_tok *t = p->t;
	struct weir_ast *bare;

	if (p->values_only || (t->literal && p->has_last))
		return parse_value(p, &p->last, ret);
	if (t[1].kind == WEIR_TOK_INDEX) {
		p->has_last = false;
		return parse_bytes(p, ret);
	}
	if (find_proto(t) || is_dir(t) || is_type(t))
		return parse_head(p, ret);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(tests); i++) {
		if (!is_word(t, tests[i].first) ||
		    (tests[i].second && !is_word(t + 1, tests[i].second)))
			continue;
		p->t += tests[i].second ? 2 : 1;
		p->has_last = false;
		return tests[i].parse(p, t, ret);
	}
	if (weir_value_bare(&t->w, &bare) < 0)
		return weir_ast_oom(p->err);
	if (bare) {
		p->t++;
		p->has_last = false;
		*ret = bare;
		return 0;
	}
	if (weir_word_refuse(&t->w, p->err))
		return -EINVAL;
	return p->has_last ? parse_value(p, &p->last, ret) : fail_word(p, t);
}

static int parse_not(struct parser *p, struct weir_ast **ret)
{
	struct weir_ast *a;
	int r;

	p->t++;
	r = parse_primary(p, &a);
	return r < 0 ? r : give(p, weir_ast_not(a), ret);
}

static int parse_group(struct parser *p, struct weir_ast **ret)
{
	weir_auto_ast *a = NULL;
	int r = p->values_only ? 1 : parse_tcp_in_parens(p, ret);

	if (r <= 0)
		return r;
	p->t++;
	r = parse_expr(p, &a);
	if (r < 0)
		return r;
	if (p->t->kind == WEIR_TOK_END)
		return fail(p, p->t, "a ( is still open: add )");
	if (p->t->kind != WEIR_TOK_CLOSE)
		return fail_token(p, p->t);
	p->t++;
	*ret = WEIR_TAKE_PTR(a);
	return 0;
}

static int parse_primary(struct parser *p, struct weir_ast **ret)
{
	const struct weir_tok *t = p->t;
	int r;

	if (++p->nesting > WEIR_AST_DEPTH_MAX)
		return weir_word_fail(p->err, -E2BIG, &t->w, "deeper than %d levels: simplify",
				      WEIR_AST_DEPTH_MAX);
	if (t->kind == WEIR_TOK_WORD)
		r = parse_word(p, ret);
	else if (t->kind == WEIR_TOK_NOT)
		r = parse_not(p, ret);
	else if (t->kind == WEIR_TOK_OPEN)
		r = parse_group(p, ret);
	else if (t->kind == WEIR_TOK_CLOSE)
		r = fail(p, t, "a test is missing before it: add it");
	else
		r = fail_token(p, t);
	p->nesting--;
	return r;
}

static int parse_expr(struct parser *p, struct weir_ast **ret)
{
	weir_auto_ast *left = NULL;
	struct weir_ast *right;
	int r = parse_primary(p, &left);

	while (!r && (p->t->kind == WEIR_TOK_AND || p->t->kind == WEIR_TOK_OR)) {
		enum weir_ast_kind kind = p->t->kind == WEIR_TOK_AND ? WEIR_AST_AND : WEIR_AST_OR;

		p->t++;
		r = parse_primary(p, &right);
		if (r < 0)
			return r;
		left = weir_ast_join(kind, WEIR_TAKE_PTR(left), right);
		if (!left)
			return weir_ast_oom(p->err);
		r = weir_ast_check(left, p->err);
	}
	if (r < 0)
		return r;
	*ret = WEIR_TAKE_PTR(left);
	return 0;
}

int weir_expr_parse(const char *text, bool named_sets, struct weir_ast **ret,
		    struct weir_error *err)
{
	weir_autofree struct weir_tok *list = NULL;
	struct parser p = { .named_sets = named_sets, .err = err };
	weir_auto_ast *a = NULL;
	int r = weir_lex(text, &list, err);

	if (r < 0)
		return r;
	p.t = list;
	if (list->kind != WEIR_TOK_END) {
		r = parse_expr(&p, &a);
		if (r < 0)
			return r;
		if (p.t->kind != WEIR_TOK_END)
			return fail_token(&p, p.t);
	}
	*ret = WEIR_TAKE_PTR(a);
	return 0;
}
