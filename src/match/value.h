/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Values under qualifiers: what `src net`, `tcp port` or `--dst-ip` is followed
 * by. A value is a list: its parts, between commas, are joined by "or".
 */
#pragma once

#include "match/ast.h"
#include "match/words.h"

enum weir_qual_proto {
	WEIR_QUAL_NONE,
	WEIR_QUAL_ETHER,
	WEIR_QUAL_IP,
	WEIR_QUAL_IP6,
	WEIR_QUAL_ARP,
	WEIR_QUAL_TCP,
	WEIR_QUAL_UDP,
	WEIR_QUAL_SCTP,
	WEIR_QUAL_PROTO_MAX,
};

enum weir_qual_type {
	WEIR_TYPE_NONE, /* an address or a prefix */
	WEIR_TYPE_HOST,
	WEIR_TYPE_NET,
	WEIR_TYPE_PORT,
	WEIR_TYPE_PORTRANGE,
	WEIR_TYPE_PROTO,
	WEIR_TYPE_ANY_PROTO, /* --protocol: names of every layer */
	WEIR_TYPE_VLAN,
	WEIR_TYPE_LEN,
	WEIR_TYPE_TTL,
	WEIR_TYPE_MAX,
};

struct weir_quals {
	enum weir_qual_proto proto;
	enum weir_ast_dir dir;
	bool has_dir;
	enum weir_qual_type type;
	bool named_sets; /* of struct weir_match_spec */
};

/* The qualifiers as a user writes them, "tcp src port". */
const char *weir_quals_text(const struct weir_quals *q, char *buf, size_t size);
#define WEIR_QUALS_TEXT_MAX 48

/* The list @w; *ret is set on success only. */
int weir_value_parse(const struct weir_quals *q, const struct weir_word *w, struct weir_ast **ret,
		     struct weir_error *err);
/* `net @w mask @mask` */
int weir_value_parse_mask(const struct weir_quals *q, const struct weir_word *w,
			  const struct weir_word *mask, struct weir_ast **ret,
			  struct weir_error *err);
/* Decimal or 0x-hexadecimal. 0, -EINVAL or -ERANGE. */
int weir_value_number(const struct weir_word *w, uint32_t max, uint32_t *ret);

/* A protocol's name standing for itself: `tcp`, `arp`. NULL in *ret: it is
 * none. Returns 0 or -ENOMEM. */
int weir_value_bare(const struct weir_word *w, struct weir_ast **ret);
