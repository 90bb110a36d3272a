/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The access log: one line for each connection that ended, written by its worker in
 * batches, whole lines only; lines that cannot be written are counted (and the file
 * is tried again). Reopening swaps the descriptor under all workers at once.
 */
#pragma once

#include "base/buf.h"
#include "cap/proxy/conn.h"

struct weir_access_log;

struct weir_access_log *weir_access_log_new(void);
void weir_access_log_free(struct weir_access_log *l);
/* Take over @fd (-1: no log) and the template (NULL: JSON lines). Any thread. -ENOMEM:
 * @fd is closed, and the log goes on as it was. */
int weir_access_log_set(struct weir_access_log *l, int fd, const char *format);
/* Append @f's line to the worker's own buffer. */
void weir_access_log_add(struct weir_access_log *l, const struct weir_conn_facts *f,
			 struct weir_buf *pending);
/* Write what is pending; returns the number of lines lost (the buffer is empty after). */
uint64_t weir_access_log_flush(struct weir_access_log *l, struct weir_buf *pending);
/* Lines that were not taken wait for the next flush. */
bool weir_access_log_waits(struct weir_access_log *l);
