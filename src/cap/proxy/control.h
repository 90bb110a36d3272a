/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How commands reach the running proxy: a Unix socket, /run/weir/proxy-NETNS.sock
 * (cookie of the namespace, 16 hex digits), for root and who started the proxy only (by
 * the file's mode, and SO_PEERCRED): who it runs as later may be many others, too. A
 * request is one line of words, the answer a line "ok" or "error MESSAGE", then text,
 * until the socket closes.
 *
 *	status [json]   connections [json]   top [json]   kill ID   reload   reopen   drain
 *	explain DST,PORT,SRC[,NAME]
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "cap/proxy/service.h"

struct weir_control;

struct weir_control *weir_control_new(struct weir_service *s, struct weir_error *err);
void weir_control_free(struct weir_control *c);

/* The client: -ENOENT when no proxy runs in this namespace. */
int weir_control_ask(const char *request, struct weir_buf *answer, struct weir_error *err);
/* Where the socket is: 0 or a negative errno. */
#define WEIR_CONTROL_PATH 64 /* longest, with NUL */
int weir_control_path(char *buf, size_t size);
/* Make the directory that it is in. */
int weir_control_dir(struct weir_error *err);

/* metrics.c: Prometheus text over HTTP at cfg->metrics; NULL where it wants none. */
struct weir_metrics;
struct weir_metrics *weir_metrics_new(struct weir_service *s, struct weir_error *err);
void weir_metrics_free(struct weir_metrics *m);
