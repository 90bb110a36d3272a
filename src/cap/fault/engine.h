/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The faults of this network namespace: what is in force, and how that changes. Nothing
 * runs for them but programs in the kernel.
 *
 * The map `switch` says what is in force (fault.h). A change builds all that is new beside
 * it, then writes the new rules, puts the programs in, and takes the old rules out: what a
 * killed command leaves of that does nothing, and the next one tidies it up. Whatever
 * becomes of the commands, a rule ends at its time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/fault/conf.h"
#include "dataplane/pin.h"
#include "dataplane/rules.h"

enum weir_fault_map {
	WEIR_FAULT_MAP_SWITCH,
	WEIR_FAULT_MAP_RUN,
	WEIR_FAULT_MAP_ACCOUNT,
	WEIR_FAULT_MAP_DROPPED,
	WEIR_FAULT_MAPS,
};

struct weir_fault {
	struct weir_pin_dir dir;
	struct weir_rules rules;
	int map_fd[WEIR_FAULT_MAPS];
	bool fresh;		      /* made by this command: nothing is in force yet */
	struct weir_fault_conf conf;  /* what is in force, without what has expired */
	uint64_t boot, jiffies, tick; /* now: CLOCK_BOOTTIME ns, jiffies; ns of one */
};

/* Open what is there, and hold its lock. -ENOENT without @create where nothing is. */
int weir_fault_open(struct weir_fault *f, bool create, struct weir_error *err);
void weir_fault_close(struct weir_fault *f);

/* Put @next in force, whole or not at all; it is taken over. Rules of it that have a slot
 * are those in force, and go on as they are. @force: in spite of the guard. */
int weir_fault_commit(struct weir_fault *f, struct weir_fault_conf *next, bool force,
		      struct weir_error *err);
/* A copy of what is in force, to be changed. */
int weir_fault_copy(const struct weir_fault *f, struct weir_fault_conf *ret,
		    struct weir_error *err);
/* Remove everything. */
int weir_fault_off(struct weir_fault *f, struct weir_error *err);

/* Summed over all CPUs; slot 0: the packets that no rule was about. */
int weir_fault_account_of(const struct weir_fault *f, uint32_t slot,
			  struct weir_fault_account *ret);

/* ---- sockets.c: filters of sockets */

struct weir_fault_sockets {
	struct weir_fault_socket *v;
	size_t n;
};
/* All sockets of this namespace that have a filter of weir's. */
int weir_fault_sockets_list(struct weir_fault_sockets *ret, struct weir_error *err);
void weir_fault_sockets_free(struct weir_fault_sockets *s);

/* The sockets of one rule as descriptors. */
#define WEIR_FAULT_SOCKETS_MAX 64 /* with SO_REUSEPORT a port has several listeners */
struct weir_fault_targets {
	int fd[WEIR_FAULT_SOCKETS_MAX];
	size_t n;
};
/* Find @r's sockets and see whether they can be given a filter. One of weir's may be replaced
 * unless it is of a rule in force that @next keeps. */
int weir_fault_targets_find(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
			    const struct weir_fault_conf *next, bool force,
			    struct weir_fault_targets *ret, struct weir_error *err);
void weir_fault_targets_close(struct weir_fault_targets *t);
/* The program of @r, a rule that has slot and stamp. Its descriptor or a negative errno. */
int weir_fault_sk_load(const struct weir_fault *f, const struct weir_fault_conf_rule *r,
		       struct weir_error *err);
/* Give the sockets the filter @prog_fd, all or none. */
int weir_fault_sk_attach(const struct weir_fault_targets *t, int prog_fd, struct weir_error *err);
/* Take the filter @prog_id off the sockets that a process holds. */
void weir_fault_sk_detach(uint32_t prog_id);
uint32_t weir_fault_prog_id(int prog_fd);
const char *weir_fault_sk_name(char buf[16], uint32_t slot); /* of the pin */

/* ---- packets.c: the programs at tc */

struct weir_fault_programs {
	int in_fd, out_fd; /* -1: none, off everywhere */
};
#define WEIR_FAULT_NO_PROGRAMS ((struct weir_fault_programs){ -1, -1 })
/* Those for @conf's rules that are not of sockets; none where there are no such rules. */
int weir_fault_packets_load(const struct weir_fault *f, const struct weir_fault_conf *conf,
			    struct weir_fault_programs *ret, struct weir_error *err);
void weir_fault_packets_close(struct weir_fault_programs *p);
/* Put @p on all interfaces that @conf's rules are about, and off all others. On failure
 * what was there before is back. */
int weir_fault_packets_attach(const struct weir_fault *f, const struct weir_fault_conf *conf,
			      const struct weir_fault_programs *p, struct weir_error *err);
/* The rules as code for the place in bpf/match_stub.bpf.h; *ret is malloc'ed. */
struct bpf_insn;
int weir_fault_compile(const struct weir_fault_conf *conf, struct bpf_insn **ret, size_t *ret_n,
		       struct weir_error *err);

/* ---- qdisc.c */

/* -EOPNOTSUPP: the interface has no qdisc that can hold packets. */
int weir_fault_check_qdisc(const char *iface, struct weir_error *err);

/* ---- guard.c */

/* -EPERM: a new rule of @next would hit an ssh session that is open now. */
int weir_fault_guard(const struct weir_fault_conf *next, struct weir_error *err);
/* Likewise of a socket by its ends. */
int weir_fault_guard_socket(const char *rule, const struct weir_addr *local, uint16_t port,
			    struct weir_error *err);
