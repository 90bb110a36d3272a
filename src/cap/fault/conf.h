/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of `weir fault` as data: from words and files, and back into text.
 *
 *	[NAME:] MATCH [-i IFACE] [-Q DIR] FAULT [WHEN] [--seed S] [--ttl T]
 *	[NAME:] --listen ADDR:PORT | --pid N --fd M --truncate N [WHEN] [--seed S] [--ttl T]
 *
 * FAULT is one of --drop P, --corrupt [--fix-checksum], --rate R, --delay T [--jitter T];
 * WHEN is --probability P or --nth K, which stands alone for dropping each K-th packet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/error.h"
#include "bpf/store.h"
#include "cap/fault/fault.h"
#include "match/match.h"

#define WEIR_FAULT_OWNER "fault"
#define WEIR_FAULT_TEXT_MAX (1U << 20)
#define WEIR_FAULT_TTL_DEFAULT (60 * 1000000000ULL)

/* What a rule is made of. NULL = not given. */
struct weir_fault_words {
	const char *protocol, *src_ip, *dst_ip, *src_port, *dst_port, *expression;
	const char *iface, *direction;
	const char *listen, *pid, *fd;
	const char *truncate, *drop, *rate, *delay, *jitter;
	const char *probability, *nth, *seed, *ttl;
	bool corrupt, fix_checksum;
};

enum weir_fault_dir { WEIR_FAULT_INOUT, WEIR_FAULT_IN, WEIR_FAULT_OUTWARD };
extern const char *const weir_fault_dirs[];  /* "inout", "in", "out"; NULL-terminated */
extern const char *const weir_fault_kinds[]; /* by enum weir_fault_kind */

struct weir_fault_conf_rule {
	char name[WEIR_RULE_NAME_MAX]; /* never empty: made of its words where not given */
	bool named;
	unsigned int line;
	enum weir_fault_kind kind;
	/* At tc */
	struct weir_match *match;
	char iface[16]; /* "": all of them */
	enum weir_fault_dir dir;
	/* Of a socket: by the address on which it listens, or as another's descriptor */
	struct weir_addr addr;
	uint16_t port; /* 0: by descriptor */
	uint32_t pid, fd;
	/* How */
	uint64_t threshold;	/* of WEIR_FAULT_ALWAYS */
	double percent;		/* the same as given */
	uint64_t rate;		/* bits a second */
	uint64_t delay, jitter; /* ns */
	uint32_t nth, keep;
	uint64_t seed;
	bool has_seed, fix_checksum;
	uint64_t ttl; /* ns from when it is put in force */
	/* In force */
	uint32_t slot, id; /* 0: not yet */
	uint64_t stamp, expires;
};

struct weir_fault_conf {
	struct weir_fault_conf_rule *v;
	size_t n;
};

static inline bool weir_fault_is_socket(const struct weir_fault_conf_rule *r)
{
	return r->kind == WEIR_FAULT_TRUNCATE;
}

/* Does the seed make a difference? */
bool weir_fault_is_random(const struct weir_fault_conf_rule *r);

/* @name may be NULL. -EINVAL names the word. */
int weir_fault_rule_make(const struct weir_fault_words *w, const char *name,
			 struct weir_fault_conf_rule *ret, struct weir_error *err);
void weir_fault_rule_free(struct weir_fault_conf_rule *r);

void weir_fault_conf_free(struct weir_fault_conf *c);
#define weir_auto_fault_conf __attribute__((cleanup(weir_fault_conf_free))) struct weir_fault_conf
struct weir_fault_conf_rule *weir_fault_conf_find(const struct weir_fault_conf *c,
						  const char *name);
/* Takes @r, and frees it on failure. A name that is there is replaced where @replace, else
 * an error. */
int weir_fault_conf_add(struct weir_fault_conf *c, struct weir_fault_conf_rule *r, bool replace,
			struct weir_error *err);
int weir_fault_conf_del(struct weir_fault_conf *c, const char *name, struct weir_error *err);

/* @source names the text in messages, "FILE:LINE: ...". *ret is set on success. */
int weir_fault_parse(const char *text, size_t len, const char *source, struct weir_fault_conf *ret,
		     struct weir_error *err);
int weir_fault_read(const char *path, struct weir_fault_conf *ret, struct weir_error *err);
/* The words behind the name, as of the rule store. */
int weir_fault_parse_words(const char *text, const char *name, struct weir_fault_conf_rule *ret,
			   struct weir_error *err);

/* What it is about (the match, or the socket), what it does, and both: all the words behind
 * the name but --ttl. */
void weir_fault_print_match(const struct weir_fault_conf_rule *r, struct weir_buf *out);
void weir_fault_print_action(const struct weir_fault_conf_rule *r, struct weir_buf *out);
void weir_fault_print_words(const struct weir_fault_conf_rule *r, struct weir_buf *out);
/* As a file. @now: CLOCK_BOOTTIME, of which the end of a rule in force is counted. */
void weir_fault_print(const struct weir_fault_conf *c, uint64_t now, struct weir_buf *out);
