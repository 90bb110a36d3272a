/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a set of prefixes lies in its maps (dataplane/set.h says what they are for).
 *
 * The two maps of tables are arrays of 64-byte lines, one cache line each, so that
 * a look-up costs as many cache misses as it reads lines: for IPv4 one, for the /24s
 * that are in the set in part two; for IPv6 about one for four bits in which the
 * set's prefixes differ, and one to compare the whole prefix.
 *
 * User space changes them under the eyes of the programs. What the programs read is
 * an aligned word, written by one store, and what a word leads to is whole before the
 * word is written and never used for anything else afterwards. Places that are free
 * again stay unused until the set is made anew: a reader may still be there.
 */
#pragma once

#include <linux/types.h>

#define WEIR_SET_MAGIC 0x31746573U /* "set1": the version of this layout */

/* ---- TABLE4
 *
 * Line A >> 16 has two bits for each /24 of a /16: none, all, or where the /24's
 * entry is. Then one line of head, bucket lines, and lines of bitmaps. An entry may
 * be in either of two bucket lines, whichever had more room; the state says which,
 * so that only one is read. */
enum weir_set_state {
	WEIR_SET_NONE,
	WEIR_SET_ALL,
	WEIR_SET_FIRST,	 /* the entry is in the line of the first hash */
	WEIR_SET_SECOND, /* of the second hash */
};
#define WEIR_SET_STATE_LINES 65536U
#define WEIR_SET_STATES_WORD 32 /* states in 8 bytes */

struct weir_set_table_head {
	__u32 magic;
	__u32 buckets;	   /* bucket lines; they begin at WEIR_SET_BUCKETS */
	__u64 seed;	   /* of the hash: a list that was made to collide should not */
	__u32 bitmap_next; /* the first bitmap that was not given out yet */
	__u32 bitmap_end;
	__u32 pad[10];
};
#define WEIR_SET_TABLE_HEAD WEIR_SET_STATE_LINES
#define WEIR_SET_BUCKETS (WEIR_SET_TABLE_HEAD + 1)

/* An entry: the /24 in the upper 24 bits, then 8 bits of kind, then 32 bits that say
 * which of its 256 addresses are in. 0 = the place is free. */
#define WEIR_SET_WAYS 8
#define WEIR_SET_TAG_SHIFT 40
#define WEIR_SET_KIND_SHIFT 32
enum weir_set_kind {
	WEIR_SET_HOSTS = 1, /* four last bytes, the same one again where there are fewer */
	WEIR_SET_RANGES,    /* two ranges: first, last, first, last (lowest byte first) */
	WEIR_SET_BITMAP,    /* number of a bitmap: two to a line, in lines of this map */
};

/* ---- TRIE
 *
 * A Patricia trie over half bytes. A slot leads to a node, whose 16 slots are chosen
 * by the half byte at the node's depth, or to a leaf, or nowhere. What lies between
 * two nodes is not compared on the way down: a leaf has the whole prefix. IPv4
 * has a root of its own, so that ::/0 does not cover it. */
#define WEIR_SET_LEAF 0x80000000U
#define WEIR_SET_DEPTH_SHIFT 26
#define WEIR_SET_DEPTH(slot) ((slot) >> WEIR_SET_DEPTH_SHIFT & 31U)
#define WEIR_SET_DEPTH_MAX 32
#define WEIR_SET_PLACE(slot) ((slot) & 0x3ffffffU) /* in halves of a line */
#define WEIR_SET_TRIE_LINES_MAX (1U << 25)

struct weir_set_trie_head {
	__u32 magic;
	__u32 root4, root6; /* slots */
	__u32 next;	    /* the first line that was not given out yet */
	__u32 half;	    /* the free half of a line of leaves, 0 = none */
	__u32 pad[11];
};
#define WEIR_SET_TRIE_HEAD 0

struct weir_set_leaf {
	__u64 value[2], mask[2]; /* as the bytes lie in the packet */
};

/* ---- LIST: words of 8 bytes
 *
 * The prefixes as they were given, the truth from which the tables are made. Head,
 * then entries of one to three words; one that was deleted stays, marked. */
enum weir_set_work { /* what was going on, should the writer have been killed */
	WEIR_SET_IDLE,
	WEIR_SET_MARKING, /* entries get their mark: it does not count yet */
	WEIR_SET_DELETING, /* the marked ones are gone from the list, not all from the tables */
};
enum weir_set_list_word {
	WEIR_SET_LIST_MAGIC,
	WEIR_SET_LIST_USED,    /* words that count, this head included */
	WEIR_SET_LIST_APPLIED, /* up to here they are in the tables */
	WEIR_SET_LIST_WORK,    /* enum weir_set_work */
	WEIR_SET_LIST_HEAD = 8,
};

/* An entry's first word. IPv4: the address in the lower half; IPv6: the upper 64 bits
 * of the address in the next word, the lower ones behind it where there are any. */
#define WEIR_SET_ENTRY_KIND(w) ((unsigned int)((w) >> 62)) /* = its words */
enum weir_set_entry_kind { WEIR_SET_ENTRY_V4 = 1, WEIR_SET_ENTRY_V6_SHORT, WEIR_SET_ENTRY_V6 };
#define WEIR_SET_ENTRY_DEAD (1ULL << 61)
#define WEIR_SET_ENTRY_MARK (1ULL << 60)
#define WEIR_SET_ENTRY_LEN(w) ((unsigned int)((w) >> 32) & 0xffU)

union weir_set_line {
	__u64 word[8];
	__u32 slot[16];
	struct weir_set_leaf leaf[2];
	struct weir_set_table_head table;
	struct weir_set_trie_head trie;
};

_Static_assert(sizeof(union weir_set_line) == 64, "ABI: union weir_set_line");
