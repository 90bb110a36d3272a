/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --alert: rules over what is seen.
 *
 *   alert_rule.c   the rules' language
 *   alert_state.c  windows, hysteresis, cool-down
 *   alert_hosts.c  hosts seen, ports per host
 *   alert.c        the observer: feeds the states, ends the ticks
 *   alert_tell.c   an event as a line or JSON: standard output, file, syslog
 *   alert_exec.c   an event as a command that is run
 */
#pragma once

#include "base/buf.h"
#include "cap/watch/alert_rule.h"

struct weir_watch;
struct weir_watch_options;

bool weir_alerts_wanted(const struct weir_watch_options *o);
/* Are packets matched with the rules by the kernel's programs? */
bool weir_alerts_in_kernel(const struct weir_watch *w);
/* The rules of the options into w->alerts. */
int weir_alerts_parse(struct weir_watch *w, struct weir_error *err);

struct weir_alert_fact { /* an event */
	const struct weir_alert_rule *rule;
	bool raised;		/* else cleared */
	uint64_t ts, raised_ts; /* ns since the epoch */
	double value, peak;
	uint64_t suppressed;
	bool has_host;
	uint8_t host[16];
};

void weir_alert_json(const struct weir_alert_fact *f, struct weir_buf *out);
void weir_alert_line(const struct weir_alert_fact *f, struct weir_buf *out);

/* Where events are told. Opened with all privileges. */
struct weir_alert_log;
int weir_alert_log_open(struct weir_watch *w, struct weir_alert_log **ret, struct weir_error *err);
void weir_alert_log_tell(struct weir_alert_log *l, const struct weir_alert_fact *f);
/* Tells what could not be told. */
void weir_alert_log_close(struct weir_alert_log *l);

/* The command of --exec, run for each event, a few at a time. */
struct weir_alert_exec;
int weir_alert_exec_open(const char *command, struct weir_alert_exec **ret, struct weir_error *err);
void weir_alert_exec_run(struct weir_alert_exec *x, const struct weir_alert_fact *f);
/* Readable when a command has ended. */
int weir_alert_exec_fd(const struct weir_alert_exec *x);
/* Take those that have ended, end those that take too long, start those that wait. */
void weir_alert_exec_look(struct weir_alert_exec *x);
/* Wait for what runs, and, unless @hurry, for what waits; tell what failed. */
void weir_alert_exec_close(struct weir_alert_exec *x, bool hurry);
