/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A new configuration, whole or not at all. What can fail comes first, each with its
 * undoing; the workers take over last, which cannot fail.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/control.h"
#include "cap/proxy/keeper.h"
#include "cap/proxy/service_impl.h"
#include "cap/proxy/sockmap.h"

/* One on its way. */
struct reload {
	struct weir_service *s;
	struct weir_proxy_config *cfg;
	struct weir_worker_listens listens[WEIR_WORKERS_MAX];
	struct weir_metrics *metrics; /* new_metrics: the new one, or NULL for none */
	bool new_metrics;
	int log_fd;
	struct weir_buf notes;
	struct weir_error *err;
};

/* ---- What takes a restart */

static const char *user_of(const struct weir_proxy_config *c)
{
	return c->user ? c->user : weir_proxy_default_user();
}

static int check(struct reload *r)
{
	const struct weir_service *s = r->s;
	const struct weir_proxy_config *c = r->cfg, *old = s->cfg;

	if (weir_service_wants_net_admin(c) && !s->net_admin)
		return weir_fail(
			r->err, -EPERM,
			"`transparent` takes CAP_NET_ADMIN, which the proxy gave up at its "
			"start: restart it");
	if (weir_service_workers(c) != s->n_workers)
		weir_service_tell("reload: `workers` takes a restart: it stays %u", s->n_workers);
	if (strcmp(user_of(c), user_of(old)) != 0)
		weir_service_tell("reload: `user` takes a restart: it stays %s", user_of(old));
	if (c->cache != old->cache)
		weir_service_tell("reload: the resolver's `cache` takes a restart: it stays %llu",
				  (unsigned long long)old->cache);
	if (weir_service_wants_sockmap(c) && weir_sockmap_why_not())
		weir_service_tell("reload: engine sockmap is not open, splice is used: %s",
				  weir_sockmap_why_not());
	return 0;
}

/* ---- One step each, with its undoing */

static int read_config(struct reload *r)
{
	struct weir_service *s = r->s;
	weir_autobuf struct weir_buf text = { 0 };
	int ret = weir_keeper_read_config(&s->keeper, &text, r->err);

	if (ret)
		return ret;
	return weir_proxy_config_parse(s->flags.file ? (text.data ? text.data : "") : NULL,
				       text.len, s->flags.file, &s->flags, &r->cfg, r->err);
}

static void forget_config(struct reload *r)
{
	struct weir_error why;

	/* Without a keeper there is nothing to undo. */
	if (weir_keeper_settle(&r->s->keeper, false, &why) && r->s->keeper.fd >= 0)
		weir_service_tell("reload: %s", why.msg);
	if (r->cfg)
		weir_proxy_config_unref(r->cfg);
}

static int listen_anew(struct reload *r)
{
	return weir_service_listen(r->s, r->cfg, r->s->cfg, r->listens, r->err);
}

static void unlisten(struct reload *r)
{
	weir_service_unlisten(r->s, r->listens);
}

static int open_log(struct reload *r)
{
	return weir_service_open_log(r->s, r->cfg, &r->log_fd, r->err);
}

static void close_log(struct reload *r)
{
	weir_closep(&r->log_fd);
}

static bool same_metrics(const struct weir_proxy_config *a, const struct weir_proxy_config *b)
{
	if (!a->metrics.len || !b->metrics.len)
		return a->metrics.len == b->metrics.len;
	return weir_endpoint_equal(&a->metrics, &b->metrics);
}

static int move_metrics(struct reload *r)
{
	struct weir_service *s = r->s;
	int ret = 0;

	r->new_metrics = !same_metrics(s->cfg, r->cfg);
	if (!r->new_metrics || !r->cfg->metrics.len)
		return 0;
	r->metrics = weir_metrics_new(s, r->err);
	if (!r->metrics)
		ret = -EADDRNOTAVAIL;
	return ret;
}

static void stay_metrics(struct reload *r)
{
	if (r->metrics)
		weir_metrics_free(r->metrics);
}

static int take_backends(struct reload *r)
{
	return weir_backends_take(r->s->shared.backends, r->cfg, r->err);
}

static void back_to_backends(struct reload *r)
{
	struct weir_error ignored;

	weir_backends_take(r->s->shared.backends, r->s->cfg, &ignored);
}

static int take_names(struct reload *r)
{
	return weir_names_reload(r->s->shared.names, r->cfg, r->err);
}

static void back_to_names(struct reload *r)
{
	struct weir_error ignored;

	weir_names_reload(r->s->shared.names, r->s->cfg, &ignored);
}

static int allow(struct reload *r)
{
	return weir_keeper_allow(&r->s->keeper, &r->notes, r->err);
}

static void nothing(struct reload *r)
{
	(void)r;
}

/* The keeper undoes its allowlist with the configuration. */
static const struct {
	int (*take)(struct reload *r);
	void (*undo)(struct reload *r);
} steps[] = {
	{ read_config, forget_config }, { check, nothing },
	{ listen_anew, unlisten },	{ open_log, close_log },
	{ move_metrics, stay_metrics }, { take_backends, back_to_backends },
	{ take_names, back_to_names },	{ allow, nothing },
};

/* ---- From here on nothing fails */

static void commit(struct reload *r)
{
	struct weir_service *s = r->s;
	struct weir_proxy_config *old = s->cfg;
	struct weir_error why;

	for (unsigned int w = 0; w < s->n_workers; w++)
		weir_worker_reload(s->worker[w], r->cfg, &r->listens[w]);
	for (unsigned int w = 0; w < s->n_workers; w++)
		free(r->listens[w].fd);
	if (weir_access_log_set(s->shared.log, r->log_fd, r->cfg->log_format))
		weir_service_tell("reload: out of memory: the log goes on as it was");
	s->cfg = r->cfg;
	if (r->new_metrics) {
		if (s->metrics)
			weir_metrics_free(s->metrics);
		s->metrics = r->metrics;
	}
	weir_buf_free(&s->allow_notes);
	s->allow_notes = r->notes;
	if (weir_keeper_settle(&s->keeper, true, &why))
		weir_service_tell("reload: %s", why.msg);
	if (s->cfg->limits.connections != old->limits.connections)
		weir_service_raise_files(s->cfg);
	weir_proxy_config_unref(old);
}

static int reload(struct reload *r)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(steps); i++) {
		int ret = steps[i].take(r);

		if (!ret)
			continue;
		/* The first step has begun something even where it failed. */
		while (i-- > 1)
			steps[i].undo(r);
		steps[0].undo(r);
		weir_buf_free(&r->notes);
		return ret;
	}
	commit(r);
	return 0;
}

int weir_service_reload(struct weir_service *s, struct weir_error *err)
{
	struct reload r = { .s = s, .log_fd = -1, .err = err };
	int ret;

	if (s->draining)
		return weir_fail(err, -ESHUTDOWN,
				 "the proxy ends: start it anew with the new configuration");
	weir_keeper_hurry(&s->keeper);
	weir_service_notify("RELOADING=1\nMONOTONIC_USEC=%llu",
			    (unsigned long long)(weir_clock_mono() / 1000));
	ret = reload(&r);
	if (ret) {
		s->reloads_failed++;
		weir_service_tell("reload: %s: the configuration before it stays in force",
				  err->msg);
	} else {
		s->reloads++;
		weir_service_tell("reloaded: %zu listener%s, %zu route%s", s->cfg->n_listens,
				  s->cfg->n_listens == 1 ? "" : "s", s->cfg->n_routes,
				  s->cfg->n_routes == 1 ? "" : "s");
		weir_service_tell_lines(&s->allow_notes);
	}
	weir_service_notify("READY=1");
	return ret;
}
