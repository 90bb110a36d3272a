/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is in force, and how it changes.
 *
 * Pinned are the netns link, the sockets and the counters, and of each generation its
 * program, its text and the answer of its test runs, under one of two letters. The
 * link says which letter counts: a change builds the other one whole and then switches
 * the link's program, in one step. What a killed command left of it is written over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "cap/steer/compile.h"
#include "cap/steer/conf.h"
#include "cap/steer/find.h"
#include "cap/steer/steer.h"
#include "dataplane/pin.h"
#include "dataplane/rules.h"

struct weir_steer {
	struct weir_pin_dir dir;
	struct weir_rules rules;
	int link_fd, prog_fd, answer_fd, sockets_fd, lost_fd, account_fd;
	char letter;		     /* of the generation in force; 0 = none */
	struct weir_steer_conf conf; /* what is in force, without what has expired */
	struct weir_steer_clock clock;
};

/* Open what is there, and hold its lock. -ENOENT without @create where nothing is. */
int weir_steer_open(struct weir_steer *s, bool create, struct weir_error *err);
void weir_steer_close(struct weir_steer *s);

/* What a change may leave for people to do: a line each. */
struct weir_steer_notes {
	struct weir_buf text;
};

/*
 * Put @next in force, whole or not at all; it is taken over.
 * @missing_ok: a rule may wait for its socket, which is told in @notes.
 * @fresh_all: all sockets are looked for anew, not only those of rules that are new;
 * @fresh: those of this rule. A member of a group may be missing while another is there.
 */
struct weir_steer_change {
	struct weir_steer_conf *next;
	bool missing_ok, fresh_all;
	const char *fresh;
};
int weir_steer_commit(struct weir_steer *s, const struct weir_steer_change *change,
		      struct weir_steer_notes *notes, struct weir_error *err);
/* Find the sockets of rule @name anew, and give them its connections from now on. */
int weir_steer_register(struct weir_steer *s, const char *name, uint32_t *ret_sockets,
			struct weir_steer_notes *notes, struct weir_error *err);
/* Remove everything. */
int weir_steer_off(struct weir_steer *s, struct weir_error *err);

/* The cookie of the socket in @slot; 0 = none. */
uint64_t weir_steer_cookie(const struct weir_steer *s, uint32_t slot);
int weir_steer_lost_of(const struct weir_steer *s, uint32_t rule, struct weir_steer_lost *ret);
int weir_steer_account_of(const struct weir_steer *s, struct weir_steer_account *ret);

/* Ask the program in force. */
struct weir_steer_question {
	enum weir_steer_proto proto;
	struct weir_addr local, remote;
	uint16_t local_port, remote_port;
};
struct weir_steer_verdict {
	bool dropped;
	uint64_t cookie; /* of the socket; 0 = none was chosen */
	struct weir_steer_answer answer;
};
int weir_steer_ask(const struct weir_steer *s, const struct weir_steer_question *q,
		   struct weir_steer_verdict *ret, struct weir_error *err);

/* generation.c: a program with @conf's rules, from its text on. */
struct weir_steer_shared {
	int hits_fd, sockets_fd, lost_fd, account_fd; /* -1: a new one is made */
	bool count_tests; /* for measuring: test runs are counted like connections */
};
struct weir_steer_generation {
	int prog_fd, text_fd, answer_fd;
	struct weir_steer_shared shared;
};
int weir_steer_generation_make(const struct weir_steer_conf *conf,
			       const struct weir_steer_code *code,
			       const struct weir_steer_shared *shared,
			       struct weir_steer_generation *ret, struct weir_error *err);
void weir_steer_generation_close(struct weir_steer_generation *g);
int weir_steer_text_read(int fd, struct weir_steer_conf *ret, struct weir_error *err);
int weir_steer_prog_ask(int prog_fd, int answer_fd, const struct weir_steer_question *q,
			struct weir_steer_verdict *ret, struct weir_error *err);
