/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The AST of the match language. Inside AND there is no AND, inside OR no OR,
 * and neighbours in an OR that ask the same of different values are one leaf
 * with a list, so that `port 80 or 443` and `--src-port`'s commas end up as one
 * node, and a long address list as one set.
 *
 * Both back ends read a leaf in the same way: one of the flags in `guard` has
 * to be set (0: none has to), then the values are compared.
 */
#pragma once

#include "base/addr.h"
#include "base/cleanup.h"
#include "match/match.h"

#define WEIR_AST_DEPTH_MAX 64
#define WEIR_AST_NODES_MAX 4096

enum weir_ast_kind {
	WEIR_AST_ALL, /* only ever the root */
	WEIR_AST_AND,
	WEIR_AST_OR,
	WEIR_AST_NOT,
	WEIR_AST_NUM,	    /* a number within ranges */
	WEIR_AST_ADDR,	    /* an IP address within prefixes */
	WEIR_AST_SET,	    /* an IP address within a named set */
	WEIR_AST_MAC,	    /* an Ethernet address under a mask */
	WEIR_AST_TCP_FLAGS, /* (tcp_flags & mask) == or != value */
	WEIR_AST_STATE,	    /* (flags & mask) == value */
};

enum weir_ast_dir {
	WEIR_DIR_ANY, /* source or destination */
	WEIR_DIR_SRC,
	WEIR_DIR_DST,
	WEIR_DIR_BOTH, /* source and destination */
};

enum weir_ast_num {
	WEIR_NUM_ETHER_TYPE,
	WEIR_NUM_PROTO, /* and AH, through which the parser looks */
	WEIR_NUM_PORT,	/* with dir and l4 */
	WEIR_NUM_VLAN,	/* the identifier of any tag */
	WEIR_NUM_LEN,
	WEIR_NUM_TTL,
	WEIR_NUM_MAX,
};

struct weir_num_info {
	const char *name; /* of the value, in messages */
	uint32_t min, max;
	uint16_t offset; /* in struct weir_pkt; PORT and VLAN: of the first */
	uint8_t size;
	enum weir_match_field field;
	uint16_t guard; /* unless the leaf says otherwise */
};
extern const struct weir_num_info weir_num_info[WEIR_NUM_MAX];

/* Layer-4 protocols whose ports a leaf looks at: a mask over weir_l4_protos. */
#define WEIR_L4_TCP (1U << 0)
#define WEIR_L4_UDP (1U << 1)
#define WEIR_L4_SCTP (1U << 2)
#define WEIR_L4_ALL (WEIR_L4_TCP | WEIR_L4_UDP | WEIR_L4_SCTP)
struct weir_l4_proto {
	const char *name;
	uint8_t number;
};
extern const struct weir_l4_proto weir_l4_protos[];

/* The parser walks through it; as a protocol it is found by its flag. */
#define WEIR_PROTO_AH 51

struct weir_range {
	uint32_t lo, hi; /* both inclusive */
};

#define WEIR_NO_SET SIZE_MAX

struct weir_ast {
	enum weir_ast_kind kind;
	enum weir_ast_dir dir; /* PORT, ADDR, SET, MAC */
	uint16_t guard;
	unsigned int depth, nodes; /* of the tree from here down */
	union {
		struct {
			struct weir_ast **v; /* NOT has one */
			size_t n, cap;
		} sub;
		struct {
			enum weir_ast_num what;
			unsigned int l4;
			struct weir_range *v;
			size_t n, cap;
		} num;
		struct {
			struct weir_prefix *v; /* IPv4 first */
			size_t n, cap, n_v4;
			size_t set_v4, set_v6; /* index of its set or WEIR_NO_SET */
		} addr;
		struct {
			char name[WEIR_MATCH_NAME_MAX];
			size_t index; /* of weir_match_name() */
		} set;
		struct {
			uint8_t value[6], mask[6];
		} mac;
		struct {
			uint16_t value, mask;
			bool differs; /* != */
		} bits;		      /* TCP_FLAGS, STATE */
	};
};

struct weir_match_list {
	const struct weir_prefix *v;
	size_t n;
};

struct weir_match {
	struct weir_ast *ast;
	uint32_t fields;
	struct weir_match_list *sets;
	size_t n_sets;
	const char **names; /* they lie in the leaves */
	size_t n_names;
};

/* Constructors. NULL = out of memory, also as an argument that is a node; they
 * take over the nodes they are given and free them then. */
struct weir_ast *weir_ast_all(void);
struct weir_ast *weir_ast_num(enum weir_ast_num what, uint32_t lo, uint32_t hi);
struct weir_ast *weir_ast_proto(uint16_t guard, uint32_t lo, uint32_t hi);
struct weir_ast *weir_ast_port(enum weir_ast_dir dir, unsigned int l4, uint32_t lo, uint32_t hi);
struct weir_ast *weir_ast_addr(enum weir_ast_dir dir, uint16_t guard, const struct weir_prefix *p);
struct weir_ast *weir_ast_set(enum weir_ast_dir dir, uint16_t guard, const char *name);
struct weir_ast *weir_ast_mac(enum weir_ast_dir dir, const uint8_t value[6], const uint8_t mask[6]);
struct weir_ast *weir_ast_tcp_flags(uint16_t value, uint16_t mask, bool differs);
struct weir_ast *weir_ast_state(uint16_t value, uint16_t mask);
struct weir_ast *weir_ast_not(struct weir_ast *a);
/* @a AND or OR @b; @a may be NULL: nothing yet. */
struct weir_ast *weir_ast_join(enum weir_ast_kind kind, struct weir_ast *a, struct weir_ast *b);
void weir_ast_free(struct weir_ast *a);
static inline void weir_ast_freep(struct weir_ast **a)
{
	weir_ast_free(*a);
}
#define weir_auto_ast weir_cleanup(weir_ast_freep) struct weir_ast

/* Does the list hold @n? By binary search: the list is sorted. */
bool weir_ranges_hold(const struct weir_range *v, size_t n, uint32_t x);

int weir_ast_oom(struct weir_error *err); /* returns -ENOMEM */
#define WEIR_AST_NO_NAMES "sets exist only in `weir filter`: write the prefixes themselves"
/* -E2BIG if @a is larger than any back end takes. */
int weir_ast_check(const struct weir_ast *a, struct weir_error *err);

/* Sort and merge the lists, gather fields and sets; takes @ast over. */
int weir_ast_finish(struct weir_ast *ast, struct weir_match **ret);
