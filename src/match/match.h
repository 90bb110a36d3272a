/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The match language: one AST for "which packets", spelled as flags
 * (--src-ip ...) or as a tcpdump-like expression, with two back ends that agree
 * packet for packet: eBPF instructions and this module's evaluator. Both read a
 * struct weir_pkt, so VLAN tags and IPv6 extension headers are transparent.
 *
 * The grammar and where it differs from pcap-filter(7): weir-match(7).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "bpf/pkt.h"

struct bpf_insn;
struct weir_match; /* an AST; immutable once built */

/* What a match reads; a hook declares which of these it has. */
enum weir_match_field {
	WEIR_FIELD_ETHER, /* ether host, ether proto, arp */
	WEIR_FIELD_VLAN,
	WEIR_FIELD_IP, /* addresses, family */
	WEIR_FIELD_PROTO,
	WEIR_FIELD_PORTS,
	WEIR_FIELD_TCP_FLAGS,
	WEIR_FIELD_LEN, /* less, greater, len */
	WEIR_FIELD_TTL,
	WEIR_FIELD_FRAG,
	WEIR_FIELD_MAX,
};
#define WEIR_FIELDS_ALL ((1U << WEIR_FIELD_MAX) - 1)
const char *weir_match_field_name(enum weir_match_field f); /* "vlan", "tcp flags", ... */

/* The five MATCH flags shared by every verb; each may hold comma-separated
 * alternatives ("10.0.0.0/8,2001:db8::/32", "80,443,8000-8999", "tcp,udp").
 * NULL = not given. Different flags are and-ed, then and-ed with @expression. */
struct weir_match_spec {
	const char *protocol, *src_ip, *dst_ip, *src_port, *dst_port;
	const char *expression; /* NULL or blank: everything */
	/* `@NAME` may stand where an address can, for a set that the caller has
	 * (weir_match_name()); else it is refused: only `weir filter` has sets. */
	bool named_sets;
};

#define WEIR_MATCH_TEXT_MAX 131072 /* of each of the six; what one argument holds */

/* Parse; *ret is never NULL on success (a match of everything is an AST too).
 * Returns 0 or -EINVAL/-E2BIG/-ENOMEM with the word and the remedy in @err.
 * A word of pcap-filter that weir does not have is refused by name, and the
 * message ends in "use --strict-pcap". */
int weir_match_parse(const struct weir_match_spec *spec, struct weir_match **ret,
		     struct weir_error *err);
void weir_match_free(struct weir_match *m);
static inline void weir_match_freep(struct weir_match **m)
{
	weir_match_free(*m);
}

bool weir_match_is_all(const struct weir_match *m);
uint32_t weir_match_fields(const struct weir_match *m); /* mask of 1 << field */

/* Canonical text: parses back to the same AST. */
void weir_match_print(const struct weir_match *m, struct weir_buf *out);

/* The names behind `@`, each once, in the order of first use. */
#define WEIR_MATCH_NAME_MAX 16 /* with NUL; [A-Za-z0-9_-]+ */
size_t weir_match_names(const struct weir_match *m);
const char *weir_match_name(const struct weir_match *m, size_t i);

/* User-space back end. Named sets: @in says whether the address (mapped: IPv4, or
 * ARP's) is in set @i of weir_match_name(); without it none is. A mapped address
 * in an IPv6 packet is in none. */
bool weir_match_eval(const struct weir_match *m, const struct weir_pkt *p);
typedef bool weir_match_in_fn(void *arg, size_t i, const uint8_t addr[16]);
bool weir_match_eval_sets(const struct weir_match *m, const struct weir_pkt *p,
			  weir_match_in_fn *in, void *arg);

/*
 * eBPF back end: the body of a function `int match(const struct weir_pkt *p)`:
 * r1 = p on entry, r0 = 1 or 0 on exit; r2..r6 and 20 bytes of the function's
 * own stack are used.
 *
 * Address lists of WEIR_MATCH_SET_MIN or more prefixes become sets: the
 * caller creates one LPM trie per set (key: __u32 prefixlen 0..128, then 16
 * bytes; value: __u8), fills it with weir_match_set() and passes the
 * descriptors in @set_fds, in order.
 *
 * *ret_insns is malloc'ed. -E2BIG when over WEIR_MATCH_INSNS_MAX, -EINVAL where
 * the match names sets: match/gen.h is for those.
 */
#define WEIR_MATCH_SET_MIN 16
#define WEIR_MATCH_INSNS_MAX 4000
size_t weir_match_sets(const struct weir_match *m);
struct weir_prefix;
/* The prefixes of set @i; returns their number. */
size_t weir_match_set(const struct weir_match *m, size_t i, const struct weir_prefix **ret);
int weir_match_codegen(const struct weir_match *m, const int *set_fds, struct bpf_insn **ret_insns,
		       size_t *ret_n, struct weir_error *err);
/* The same for several: r0 = 1 + the index of the first of @m that matches, or 0. The sets
 * of each come in @set_fds behind those of the ones before it. */
int weir_match_codegen_first(const struct weir_match *const *m, size_t n, const int *set_fds,
			     struct bpf_insn **ret_insns, size_t *ret_n, struct weir_error *err);
/* The same, but r0 has bit i set where @m[i] matches; @m[i] NULL: never. */
int weir_match_codegen_mask(const struct weir_match *const *m, size_t n, const int *set_fds,
			    struct bpf_insn **ret_insns, size_t *ret_n, struct weir_error *err);
/* One instruction a line, for `weir watch -d`. */
void weir_match_disasm(const struct bpf_insn *insns, size_t n, struct weir_buf *out);
