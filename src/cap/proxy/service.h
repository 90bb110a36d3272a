/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proxy as a service: start (configuration, maps, keeper, listeners, allowlist,
 * privileges, workers), signals (HUP reload, TERM and INT drain, USR1 log), the
 * control socket, sd_notify(3), socket activation, end.
 */
#pragma once

#include "base/error.h"
#include "cap/proxy/backend.h"
#include "cap/proxy/config.h"
#include "cap/proxy/keeper.h"
#include "cap/proxy/worker.h"
#include "net/loop.h"

/* A listening socket that the service manager handed over. It stays ours, so that
 * a reload may take its listener out and in again. */
struct weir_activated {
	int fd;
	struct weir_endpoint address;
};
#define WEIR_ACTIVATED_MAX 64

struct weir_control;
struct weir_metrics;

struct weir_service {
	struct weir_loop *loop;
	struct weir_proxy_flags flags; /* what it was started with */
	struct weir_proxy_config *cfg; /* in force */
	struct weir_proxy_maps maps;
	struct weir_keeper keeper;
	struct weir_proxy_shared shared;
	struct weir_worker *worker[WEIR_WORKERS_MAX];
	unsigned int n_workers;
	uint64_t began, reloads, reloads_failed; /* began: weir_clock_mono() */
	bool draining;
	struct weir_buf allow_notes; /* how allow_sources is enforced */

	/* Its own. */
	struct weir_control *control;
	struct weir_metrics *metrics;
	struct weir_io signals, keeper_watch;
	struct weir_drained {
		struct weir_post post; /* by its worker */
		struct weir_service *service;
	} drained[WEIR_WORKERS_MAX];
	unsigned int n_drained;
	struct weir_activated activated[WEIR_ACTIVATED_MAX];
	size_t n_activated;
	bool net_admin; /* CAP_NET_ADMIN was kept, for transparent routes */
};

/* Runs the proxy until it has drained; the process's exit status. Only one runs per
 * network namespace: weir_account_open(). */
int weir_service_run(const struct weir_proxy_flags *f);
/* From the control socket and from SIGHUP. The running configuration stays when the
 * new one cannot be had, and @err (and standard error) says why. */
int weir_service_reload(struct weir_service *s, struct weir_error *err);
void weir_service_drain(struct weir_service *s); /* TERM; a second time: at once */
/* USR1. With the message on standard error, too. */
int weir_service_reopen_log(struct weir_service *s, struct weir_error *err);
