/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What takes privileges, in a process of its own: the proxy gives up root after its
 * start, and everything that meets clients' bytes runs without any capability but
 * CAP_NET_ADMIN where a route is `transparent`. The keeper stays root, knows a handful
 * of requests, and ends when the proxy does, by whatever death: then it removes what
 * must not survive (the allowlist at XDP, the pins, the control socket).
 *
 * A request names nothing: the keeper binds, opens and enforces only what stands in a
 * configuration that it has read itself, from the file that the proxy was started with.
 * A configuration that it has read anew is the `next` one until it is settled.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/error.h"
#include "cap/proxy/config.h"

struct weir_keeper {
	int fd; /* to the keeper; -1: none */
	pid_t pid;
	uint32_t asked; /* requests so far: an answer that comes too late is known by it */
	uint64_t until; /* weir_clock_mono() when to give up waiting; 0: a minute each time */
};

/* Fork it, before any thread exists. @cfg is the configuration in force, of @f. It
 * holds a lock beside @lock_fd (weir_account_open()) until it has cleaned up. */
int weir_keeper_start(struct weir_keeper *k, const struct weir_proxy_flags *f,
		      struct weir_proxy_config *cfg, int lock_fd, struct weir_error *err);
/* While clients are served nobody waits long: requests from now on have so much time, all
 * together. One that is given up fails with -ETIMEDOUT; the keeper does it late all the
 * same, and what is asked of it then (weir_keeper_settle()) behind it. */
#define WEIR_KEEPER_SERVING_MS 10000
void weir_keeper_hurry(struct weir_keeper *k);
/* Have it clean up, and wait for its end, for some seconds. */
void weir_keeper_end(struct weir_keeper *k);

/* Read the configuration file again as root: its text (nothing where the proxy was
 * started by flags alone). What it says is the next configuration. */
int weir_keeper_read_config(struct weir_keeper *k, struct weir_buf *ret, struct weir_error *err);
/* Of the next configuration, else of the one in force: a socket that listens where
 * listens[i] says (WEIR_SOCK_REUSEPORT), one for the metrics, and the access log, opened
 * for appending and created with 0640. Descriptor or -errno. */
int weir_keeper_listen(struct weir_keeper *k, size_t i, struct weir_error *err);
int weir_keeper_listen_metrics(struct weir_keeper *k, struct weir_error *err);
int weir_keeper_open_log(struct weir_keeper *k, struct weir_error *err);
/* Likewise: enforce its allow_sources at XDP (allow.h). @notes gets lines for the
 * operator: where it is enforced, and where not and why. */
int weir_keeper_allow(struct weir_keeper *k, struct weir_buf *notes, struct weir_error *err);
/* The next configuration is in force now; or (@take false) it never was: then the
 * allowlist is again that of the one in force. */
int weir_keeper_settle(struct weir_keeper *k, bool take, struct weir_error *err);

/* Become @user (NULL: the default; "root": stay), for good, in all that this process does:
 * called before the first thread. Keeps no capability but CAP_NET_ADMIN when
 * @keep_net_admin. */
int weir_keeper_drop(const char *user, bool keep_net_admin, struct weir_error *err);
