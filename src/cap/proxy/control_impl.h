/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the control socket share. */
#pragma once

#include <stdbool.h>
#include <sys/un.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cap/proxy/service.h"

#define WEIR_CONTROL_DIR "/run/weir"
#define WEIR_CONTROL_REQUEST 512 /* longest request, with its newline */

/* ---- control_ask.c */

int weir_control_address(struct sockaddr_un *ret, struct weir_error *err);
/* A connection to the running proxy: the descriptor, or -ENOENT when there is none. */
int weir_control_connect(struct weir_error *err);

/* ---- control_list.c: open connections, copied first and printed piece by piece */

struct weir_conn_list;

/* Copy what the workers have open now. NULL: no memory. */
struct weir_conn_list *weir_conn_list_new(struct weir_service *s, bool json);
void weir_conn_list_free(struct weir_conn_list *l);
/* The next piece of the document or table into @out; false: that was the last. */
bool weir_conn_list_print(struct weir_conn_list *l, struct weir_buf *out);

/* ---- control_answer.c */

struct weir_answer {
	struct weir_buf out;	     /* what is there of it */
	struct weir_conn_list *list; /* what is still to be printed, or NULL */
};

/* Do what @request asks for, "ok" or "error ..." first. */
void weir_answer_begin(struct weir_service *s, const char *request, struct weir_answer *a);
/* Print more into a->out, which is empty; false: there was no more. */
bool weir_answer_more(struct weir_answer *a);
void weir_answer_free(struct weir_answer *a);

/* ---- control_status.c: the proxy's state; one JSON document, or text */

int weir_service_status(struct weir_service *s, bool json, struct weir_buf *out,
			struct weir_error *err);

/* ---- explain.c: what becomes of a connection; @words as explain.c says */

int weir_answer_explain(const struct weir_proxy_config *c, const char *words, struct weir_buf *out,
			struct weir_error *err);
