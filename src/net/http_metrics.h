/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small HTTP server for Prometheus: GET /metrics and nothing else. It has no thread: the
 * caller waits on its descriptor and lets it work, so that the state that is told is that
 * thread's. Clients are few, their requests small and their time short, whatever they send.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

#define WEIR_HTTP_METRICS_NEVER UINT64_MAX

/* Append the whole text to @out. 0, or a negative errno: then 500 is the answer. */
typedef int weir_http_metrics_fn(void *arg, struct weir_buf *out);

struct weir_http_metrics;
/* @fd: a listening socket; it is the server's, also on failure. */
int weir_http_metrics_new(int fd, weir_http_metrics_fn *print, void *arg,
			  struct weir_http_metrics **ret, struct weir_error *err);
void weir_http_metrics_free(struct weir_http_metrics *h);
/* Readable when there is something to do. */
int weir_http_metrics_fd(const struct weir_http_metrics *h);
/* Do it. The ns until this is due again though nothing is readable (0: at once), or
 * WEIR_HTTP_METRICS_NEVER. */
uint64_t weir_http_metrics_serve(struct weir_http_metrics *h);
