/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of the service share. */
#pragma once

#include <stdarg.h>

#include "cap/proxy/service.h"

/* ---- service.c */

/* One line on standard error, behind "weir proxy: ". */
void weir_service_tell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Each line of a text likewise. */
void weir_service_tell_lines(const struct weir_buf *text);
/* As the configuration asks, else one per CPU that may be used. */
unsigned int weir_service_workers(const struct weir_proxy_config *c);
bool weir_service_wants_sockmap(const struct weir_proxy_config *c);
bool weir_service_wants_net_admin(const struct weir_proxy_config *c);
/* As many descriptors as may be had; tells where that is too few for @c. */
void weir_service_raise_files(const struct weir_proxy_config *c);
/* The access log of @c, which is the keeper's next configuration or the one in force;
 * *ret_fd is -1 where it wants none. */
int weir_service_open_log(struct weir_service *s, const struct weir_proxy_config *c, int *ret_fd,
			  struct weir_error *err);

/* ---- service_listen.c */

/* The sockets of the service manager (sd_listen_fds(3)), into s->activated. Those that
 * no listener of s->cfg wants are an error. */
int weir_service_activate(struct weir_service *s, struct weir_error *err);
/* Whose is @address? NULL: nobody handed it over. */
struct weir_activated *weir_service_activated(struct weir_service *s,
					      const struct weir_endpoint *address);

/* Sockets for every worker: @l has one for each. Those of addresses that @old (NULL: none)
 * listens on already are -1. */
int weir_service_listen(struct weir_service *s, const struct weir_proxy_config *c,
			const struct weir_proxy_config *old, struct weir_worker_listens *l,
			struct weir_error *err);
/* Close what was not taken over, and free the lists. */
void weir_service_unlisten(const struct weir_service *s, struct weir_worker_listens *l);

/* ---- service_notify.c */

/* sd_notify(3): lines "READY=1", ...; nothing happens without a service manager. */
void weir_service_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
