/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir selftest`: can this host's figures be trusted? On a private pair of namespaces
 * weir makes traffic of which everything is known, lets its own verbs look at it, and
 * compares what they tell with what was done.
 *
 *	cmd.c      runs the checks and tells
 *	child.c    weir's own commands as children, with what they wrote
 *	traffic.c  sockets that send and count
 *	check_*.c  the checks, a function each
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "dataplane/lab.h"

/* ---- A check */

struct weir_selftest {
	struct weir_lab lab;
	uint16_t port; /* a fresh one for each check */
};

enum weir_check_outcome { WEIR_CHECK_OK, WEIR_CHECK_NOT_OK, WEIR_CHECK_SKIPPED };

struct weir_check_result {
	enum weir_check_outcome outcome;
	char detail[256];
};

struct weir_check {
	const char *name; /* "watch: tc" */
	const char *what; /* what is compared, for the man page and --list */
	void (*run)(struct weir_selftest *t, struct weir_check_result *r);
};

/* All of them, in order; ended by a NULL name. */
extern const struct weir_check weir_checks[];

/* What a check found; the first finding that is not ok stays. */
void weir_check_ok(struct weir_check_result *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void weir_check_fail(struct weir_check_result *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void weir_check_skip(struct weir_check_result *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Is @told what was done? Else a failure, "WHAT: N told, M done". */
bool weir_check_equal(struct weir_check_result *r, const char *what, uint64_t told, uint64_t done);

/* ---- Children */

#define WEIR_CHILD_WORDS 24

struct weir_child {
	pid_t pid;
	int out, err; /* files without a name */
	enum weir_lab_side side;
};

/* Run `weir WORDS...` (NULL-terminated) on a side. */
int weir_child_start(struct weir_child *c, const struct weir_selftest *t, enum weir_lab_side side,
		     const char *const *words);
/* Until its standard error (or output) has @text. False: it has ended, or ten seconds. */
bool weir_child_says(struct weir_child *c, bool on_out, const char *text);
/* End it by @signal (0: it ends by itself) and wait: its exit status, or -1. */
int weir_child_stop(struct weir_child *c, int signal);
/* A failure: the first line that it said on standard error. */
void weir_child_blame(struct weir_child *c, struct weir_check_result *r);
/* What it wrote. */
void weir_child_text(int fd, struct weir_buf *ret);
void weir_child_end(struct weir_child *c);
/* Start, wait for its end, and read its output as JSON (NULL: none). @ret_status: of its
 * exit. What it said on standard error is in @err. */
json_t *weir_child_ask(const struct weir_selftest *t, enum weir_lab_side side,
		       const char *const *words, int *ret_status, struct weir_error *err);
/* A command that does something: true where it exits with 0; else a failure is noted. */
bool weir_child_do(const struct weir_selftest *t, enum weir_lab_side side, const char *const *words,
		   struct weir_check_result *r);
/* The last line of JSON in what it wrote. */
json_t *weir_child_last_json(int fd);
/* A number below keys that are separated by dots; 0 where there is none. */
uint64_t weir_json_number(const json_t *j, const char *path);

/* ---- Traffic */

/* A UDP socket bound to @port on side B, and one connected to it on side A. */
struct weir_udp {
	int from, to;
};
int weir_udp_open(struct weir_udp *u, const struct weir_selftest *t, uint16_t port);
void weir_udp_close(struct weir_udp *u);
/* Send @n datagrams of @size bytes, and count those that come, until none does any more. */
uint64_t weir_udp_send(const struct weir_udp *u, uint64_t n, size_t size);
uint64_t weir_udp_count(const struct weir_udp *u);
/* Send @n, each once the one before has been received; returns how many were. */
uint64_t weir_udp_one_by_one(const struct weir_udp *u, uint64_t n, size_t size);
