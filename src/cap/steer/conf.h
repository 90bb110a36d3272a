/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rules of `weir steer` as data: from words and files, and back into text.
 *
 *	group NAME SOCKET...
 *	[NAME:] MATCH --to SOCKET|group:NAME [--on-miss drop|pass] [--ttl T]
 *
 * The kernel keeps the same text, with ids, ends in time and slots in it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/buf.h"
#include "base/error.h"
#include "bpf/store.h"
#include "cap/steer/steer.h"
#include "match/ast.h"

#define WEIR_STEER_OWNER "steer"
#define WEIR_STEER_TO_MAX 72 /* "listen:[...]:65535", "group:...", with NUL */
#define WEIR_STEER_TEXT_MAX (16U << 20)
#define WEIR_STEER_GROUPS_MAX 256

/* Flags of parsing and printing. */
#define WEIR_STEER_KERNEL (1U << 0)  /* the kernel's text */
#define WEIR_STEER_LASTING (1U << 1) /* for the next boot: pid:N/fd:M as its address */

extern const char *const weir_steer_protos[];	 /* "tcp", "udp" */
extern const char *const weir_steer_on_misses[]; /* "drop", "pass" */

struct weir_steer_rule {
	char name[WEIR_RULE_NAME_MAX]; /* never empty: made of its words where not given */
	bool named;
	uint32_t id;	 /* of the rule store; 0 = none yet */
	uint32_t protos; /* mask of 1 << enum weir_steer_proto */
	struct weir_prefix *dst, *src;
	struct weir_range *ports; /* none: all */
	size_t n_dst, n_src, n_ports;
	char to[WEIR_STEER_TO_MAX];
	int on_miss;	  /* weir_steer_on_misses */
	uint64_t ttl;	  /* ns from now; 0 = forever, or since it began: see expires */
	uint64_t expires; /* CLOCK_BOOTTIME ns; 0 = never */
	unsigned int line;
};

struct weir_steer_group {
	char name[WEIR_RULE_NAME_MAX];
	char (*to)[WEIR_STEER_TO_MAX];
	size_t n;
};

/* Where the sockets of a `to` lie, by protocol. */
struct weir_steer_target {
	char to[WEIR_STEER_TO_MAX];
	enum weir_steer_proto proto;
	uint32_t first, members;
};

/* The address of a socket that was given as pid:N/fd:M: it is found again by that. */
struct weir_steer_was {
	char to[WEIR_STEER_TO_MAX];
	struct weir_addr addr;
	uint16_t port;
};

struct weir_steer_conf {
	struct weir_steer_rule *rules;
	struct weir_steer_group *groups;
	struct weir_steer_target *targets;
	struct weir_steer_was *was;
	size_t n_rules, n_groups, n_targets, n_was;
	size_t room_rules, room_groups, room_targets, room_was;
	/* Rules by name: index + 1, by its hash; 0 = free. None where rules were put in by
	 * hand: then they are looked through. */
	uint32_t *names;
	size_t n_names; /* a power of two, or 0 */
};

/* What a rule is made of. NULL = not given. */
struct weir_steer_words {
	const char *protocol, *src_ip, *dst_ip, *src_port, *dst_port, *iface, *direction;
	const char *to, *on_miss, *ttl, *expires, *id;
	const char *expression;
};

void weir_steer_conf_free(struct weir_steer_conf *c);
#define weir_auto_steer_conf __attribute__((cleanup(weir_steer_conf_free))) struct weir_steer_conf

/* A rule of words; @name may be NULL. -EINVAL names the word. */
int weir_steer_rule_make(const struct weir_steer_words *w, const char *name,
			 struct weir_steer_rule *ret, struct weir_error *err);
void weir_steer_rule_free(struct weir_steer_rule *r);

/* All of them take what they are given and free it on failure. A name that is there
 * is replaced where @replace, else an error. */
int weir_steer_conf_add(struct weir_steer_conf *c, struct weir_steer_rule *r, bool replace,
			struct weir_error *err);
int weir_steer_conf_add_group(struct weir_steer_conf *c, const char *name, const char *const *to,
			      size_t n, bool replace, struct weir_error *err);
/* -ENOENT, and for a group that is used -EBUSY. */
int weir_steer_conf_del(struct weir_steer_conf *c, const char *name, struct weir_error *err);
int weir_steer_conf_set_was(struct weir_steer_conf *c, const char *to, const struct weir_addr *addr,
			    uint16_t port);

/* Take out the rules whose time is over. */
void weir_steer_conf_expire(struct weir_steer_conf *c, uint64_t now);

struct weir_steer_rule *weir_steer_conf_rule(const struct weir_steer_conf *c, const char *name);
const struct weir_steer_group *weir_steer_conf_group(const struct weir_steer_conf *c,
						     const char *name);
const struct weir_steer_target *weir_steer_conf_target(const struct weir_steer_conf *c,
						       const char *to, enum weir_steer_proto p);
const struct weir_steer_was *weir_steer_conf_was(const struct weir_steer_conf *c, const char *to);
/* The sockets of @to: itself, or what its group names. Returns how many; 0: no group. */
size_t weir_steer_conf_members(const struct weir_steer_conf *c, const char *to,
			       const char *(*ret)[WEIR_STEER_GROUP_MAX]);
/* May @r get connections of the family? An IPv4 socket never gets IPv6 ones. */
bool weir_steer_conf_takes(const struct weir_steer_conf *c, const struct weir_steer_rule *r,
			   bool v4);
/* Do all rules lead to something that can exist? @source names the file in messages, or
 * NULL. */
int weir_steer_conf_check(const struct weir_steer_conf *c, const char *source,
			  struct weir_error *err);

/* "listen:ADDR:PORT" and "pid:N/fd:M" taken apart. */
struct weir_steer_socket {
	bool is_pid;
	struct weir_addr addr;
	uint16_t port;
	uint32_t pid, fd;
};
/* 0, -ENOENT for a group, or -EINVAL. */
int weir_steer_socket_parse(const char *to, struct weir_steer_socket *ret);
/* Its one spelling; a group's too where @groups. */
int weir_steer_to_parse(const char *to, bool groups, char ret[WEIR_STEER_TO_MAX],
			struct weir_error *err);

/* @source names the text in messages, "FILE:LINE: ...". *ret is set on success. */
int weir_steer_parse(const char *text, size_t len, const char *source, unsigned int flags,
		     struct weir_steer_conf *ret, struct weir_error *err);
int weir_steer_read(const char *path, struct weir_steer_conf *ret, struct weir_error *err);
/* @now: CLOCK_BOOTTIME, of which a rule's end is counted. */
void weir_steer_print(const struct weir_steer_conf *c, unsigned int flags, uint64_t now,
		      struct weir_buf *out);
/* MATCH alone; and all the words behind the name. */
void weir_steer_print_match(const struct weir_steer_rule *r, struct weir_buf *out);
void weir_steer_print_rule(const struct weir_steer_conf *c, const struct weir_steer_rule *r,
			   unsigned int flags, uint64_t now, struct weir_buf *out);
