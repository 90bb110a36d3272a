/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filter policy as data: interfaces, sets, rules in order. It is read from a
 * file or from the words of a command, printed back, compared, and compiled
 * (policy/compile.h). Nothing here touches the kernel.
 *
 * The file (docs: weir-filter(8), POLICY FILE):
 *
 *	interface eth0 [mode auto|native|generic] [default pass|drop]
 *	          [hook xdp|tc|netfilter] [direction in|out]
 *	          [fragments follow|pass|drop] [malformed drop|pass]
 *	set NAME [file PATH]
 *	[NAME:] allow|deny|limit MATCH... [OPTIONS]
 *
 * One statement a line; `#` begins a comment where a word could; a backslash at
 * the end continues the line; "..." and '...' hold blanks together. The words of
 * a rule are those of the command line behind `weir filter`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "bpf/store.h"
#include "dataplane/gate.h"
#include "match/match.h"
#include "policy/abi.h"

#define WEIR_POLICY_RULES_MAX 4096
#define WEIR_POLICY_SETS_MAX 64
#define WEIR_POLICY_NOTE_MAX 128
#define WEIR_POLICY_TEXT_MAX (4U << 20) /* of a policy file, and of one in the kernel */
#define WEIR_SET_NAME_MAX 16 /* with NUL; [A-Za-z0-9_-]+ */

enum weir_policy_hook { WEIR_HOOK_XDP, WEIR_HOOK_TC, WEIR_HOOK_NETFILTER, WEIR_HOOKS };
extern const char *const weir_policy_hook_names[WEIR_HOOKS + 1]; /* NULL-terminated */

struct weir_policy_iface {
	char name[16];
	enum weir_policy_hook hook; /* direction out and no hook given: tc */
	bool out;
	enum weir_xdp_mode mode; /* asked for; XDP only */
	struct weir_filter_row row; /* default, fragments, malformed */
	uint32_t index; /* row number, 0..WEIR_FILTER_ROWS-1; given by the engine */
	/* "" = the user's. Else who put it on for its own rules: no other rules apply
	 * there, until the user puts it on too. */
	char owner[WEIR_RULE_OWNER_MAX];
};

struct weir_policy_set {
	char name[WEIR_SET_NAME_MAX];
	char *file;	 /* where its prefixes come from, or NULL; "-" never */
	uint32_t number; /* of its pinned maps; 0 = not loaded. Given by the engine */
	char owner[WEIR_RULE_OWNER_MAX]; /* "" = the user's; else only its rules may name it */
	unsigned int line; /* in the file; 0 = not from one */
};

enum weir_policy_dir { WEIR_DIRECTION_INOUT, WEIR_DIRECTION_IN, WEIR_DIRECTION_OUT };

struct weir_policy_rule {
	char name[WEIR_RULE_NAME_MAX];	 /* never empty: made from its words where not given */
	char owner[WEIR_RULE_OWNER_MAX]; /* "filter", "proxy" */
	bool named;	/* the user gave the name */
	char action;	/* enum weir_policy_action: ALLOW, DENY, LIMIT */
	struct weir_match *match;
	char iface[16];	/* -i; "" = all of the filter */
	enum weir_policy_dir dir; /* -Q */
	uint64_t rate;	/* limit: per second */
	bool bits;	/* ...bits, not packets */
	uint64_t burst;	/* packets or bits; default: a tenth of a second's worth, at least 1 packet
			 * or 12,144 bits (one frame of 1518 bytes) */
	enum weir_limit_per per;
	uint8_t len4, len6; /* --per source/LEN: of both; 0..32 is for IPv4, and IPv6 gets /64 for
			     * `source`, LEN * 2 for source/LEN up to 32, e.g. /24 -> /48 */
	uint64_t ttl;	  /* ns as written; 0 = none */
	uint64_t expires; /* CLOCK_BOOTTIME ns; 0 = never, or not in force yet */
	char note[WEIR_POLICY_NOTE_MAX];
	uint32_t id;	  /* in the rule store; given by the engine */
	unsigned int line; /* in the file; 0 = not from one */
};

struct weir_policy {
	struct weir_policy_iface ifaces[WEIR_FILTER_ROWS];
	size_t n_ifaces;
	struct weir_policy_set sets[WEIR_POLICY_SETS_MAX];
	size_t n_sets;
	struct weir_policy_rule *rules;
	size_t n_rules;
};

struct weir_policy *weir_policy_new(void); /* empty; NULL: out of memory */
void weir_policy_free(struct weir_policy *p);
static inline void weir_policy_freep(struct weir_policy **p)
{
	weir_policy_free(*p);
}
#define weir_auto_policy __attribute__((cleanup(weir_policy_freep))) struct weir_policy
struct weir_policy *weir_policy_copy(const struct weir_policy *p);

/*
 * The text of a policy. @source names it in messages ("/etc/weir/filter.conf:3: \"80x\": ...").
 * WEIR_POLICY_KERNEL: the text that the engine keeps, where rules also have
 * `--owner`, `--until NS` (expires), sets and interfaces their numbers and an owner
 * who is not the user; a user's file has none of these words. A user's rules belong
 * to "filter".
 *
 * -EINVAL with source, line and word: an unknown word, a bad value, two rules of
 * one name, two lines of one interface, hook and direction, a rule of an
 * interface or set that no line declares, a set used but not declared.
 */
#define WEIR_POLICY_KERNEL (1U << 0)
int weir_policy_parse(const char *text, size_t len, const char *source, unsigned int flags,
		      struct weir_policy **ret, struct weir_error *err);
/* The same from a file, or from standard input, which is "-". Paths of sets are relative
 * to the directory of the file and come out absolute. */
int weir_policy_read(const char *path, struct weir_policy **ret, struct weir_error *err);

/* The words of one rule, from `allow`, `deny` or `limit` on, as of the command
 * line; --before is the caller's, who looks for it first. Its sets and interfaces
 * are not looked up. */
int weir_policy_parse_rule(int argc, const char *const *argv, struct weir_policy_rule *ret,
			   struct weir_error *err);
void weir_policy_rule_free(struct weir_policy_rule *r); /* what it points at */

/* Put @r, which it takes over on success, before the rule @before, else at the end
 * of its owner's. -EEXIST: there is one of that owner and name; -ENOENT: no @before. */
int weir_policy_add_rule(struct weir_policy *p, struct weir_policy_rule *r, const char *before,
			 struct weir_error *err);
/* -ENOENT with the nearest name. */
int weir_policy_del_rule(struct weir_policy *p, const char *owner, const char *name,
			 struct weir_error *err);
struct weir_policy_rule *weir_policy_find_rule(const struct weir_policy *p, const char *owner,
					       const char *name);
struct weir_policy_iface *weir_policy_find_iface(const struct weir_policy *p, const char *name,
						 enum weir_policy_hook hook, bool out);
struct weir_policy_set *weir_policy_find_set(const struct weir_policy *p, const char *name);
/* -EINVAL for a bad name, -E2BIG for one too many; existing: that one. */
int weir_policy_add_set(struct weir_policy *p, const char *name, struct weir_policy_set **ret,
			struct weir_error *err);
/* Is an interface or a set of the owner @owner ("" = the user's) there for the rules of
 * @rules_owner? */
bool weir_policy_serves(const char *owner, const char *rules_owner);
/* An interface that @owner puts on for its own rules. */
struct weir_policy_iface weir_policy_iface_for(const char *name, enum weir_policy_hook hook,
					       const char *owner);
/* The user changed @from into @to: what belongs to others stays. Their interfaces, sets
 * and rules of @from are put into @to unless they are there, and an interface that was
 * the user's stays on, as theirs, where their rules need it. -EEXIST: the user's set
 * has the name of one of theirs. */
int weir_policy_keep_others(const struct weir_policy *from, struct weir_policy *to,
			    struct weir_error *err);
/* Do the names that the rules use exist? As weir_policy_parse() checks. */
int weir_policy_check(const struct weir_policy *p, const char *source, struct weir_error *err);

/* The words of a rule behind its name: "deny src net @bad --ttl 1h", which
 * weir_policy_parse_rule() reads. A --ttl is what is left of it, by @now
 * (CLOCK_BOOTTIME ns; 0: as written). */
void weir_policy_print_rule(const struct weir_policy_rule *r, uint64_t now, struct weir_buf *out);
/* The MATCH alone, -i and -Q included; "" for everything. */
void weir_policy_print_match(const struct weir_policy_rule *r, struct weir_buf *out);
/* The whole file form, of what is the user's; with WEIR_POLICY_KERNEL of all, with
 * the engine's words. Parses back to the same policy. */
void weir_policy_print(const struct weir_policy *p, unsigned int flags, uint64_t now,
		       struct weir_buf *out);
/* Lines "- ..." of @from and "+ ..." of @to where they differ, in the file form,
 * in order; a rule that only moved is both. Returns whether they differ. */
bool weir_policy_diff(const struct weir_policy *from, const struct weir_policy *to,
		      struct weir_buf *out);
