/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Prometheus text over HTTP. The server (net/http_metrics.h) works in the main loop: the
 * state that is told is that thread's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/prom.h"
#include "cap/proxy/control.h"
#include "net/http_metrics.h"

struct weir_metrics {
	struct weir_service *service;
	struct weir_http_metrics *http;
	struct weir_io io;
	struct weir_timer timer;
};

/* ---- Backends: every one that the configuration in force names, once */

struct backends {
	const struct weir_proxy_backend **v;
	size_t n, room;
};

static void free_backends(struct backends *b)
{
	free(b->v);
}

static void add_targets(struct backends *b, const struct weir_proxy_route *r)
{
	for (size_t i = 0; r && i < r->n_targets && b->n < b->room; i++)
		if (r->targets[i].state)
			b->v[b->n++] = r->targets[i].state;
}

static int by_text(const void *pa, const void *pb)
{
	const struct weir_proxy_backend *const *a = pa, *const *b = pb;

	return strcmp((*a)->text, (*b)->text);
}

static int gather_backends(struct backends *b, const struct weir_proxy_config *c)
{
	const struct weir_proxy_route *const extra[] = { c->no_match.route, c->no_sni.route,
							 c->not_tls.route, c->ech.route };
	size_t kept = 0;

	for (size_t i = 0; i < c->n_routes; i++)
		b->room += c->routes[i].n_targets;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(extra); i++)
		b->room += extra[i] ? extra[i]->n_targets : 0;
	b->v = calloc(b->room + 1, sizeof(*b->v));
	if (!b->v)
		return -ENOMEM;
	for (size_t i = 0; i < c->n_routes; i++)
		add_targets(b, &c->routes[i]);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(extra); i++)
		add_targets(b, extra[i]);
	qsort(b->v, b->n, sizeof(*b->v), by_text);
	for (size_t i = 0; i < b->n; i++)
		if (!kept || b->v[kept - 1] != b->v[i])
			b->v[kept++] = b->v[i];
	b->n = kept;
	return 0;
}

static uint64_t get_up(const struct weir_proxy_backend *b)
{
	return !b->down;
}

static uint64_t get_open(const struct weir_proxy_backend *b)
{
	return b->open;
}

static uint64_t get_connected(const struct weir_proxy_backend *b)
{
	return b->connected;
}

static uint64_t get_failed(const struct weir_proxy_backend *b)
{
	return b->failed;
}

static uint64_t get_in(const struct weir_proxy_backend *b)
{
	return b->bytes_in;
}

static uint64_t get_out(const struct weir_proxy_backend *b)
{
	return b->bytes_out;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*get)(const struct weir_proxy_backend *b);
} of_backend[] = {
	{ "backend_up", "gauge", "Whether its health checks hold it for up; 1 without checks.",
	  get_up },
	{ "backend_connections", "gauge", "Connections open to it.", get_open },
	{ "backend_connections_total", "counter", "Connections made to it.", get_connected },
	{ "backend_connect_failures_total", "counter", "Attempts to connect to it that failed.",
	  get_failed },
	{ "backend_bytes_in_total", "counter", "Bytes from clients to it.", get_in },
	{ "backend_bytes_out_total", "counter", "Bytes from it to clients.", get_out },
};

static int print_backends(const struct weir_proxy_config *c, const struct weir_prom *p)
{
	weir_cleanup(free_backends) struct backends b = { 0 };
	int ret = gather_backends(&b, c);

	for (size_t i = 0; !ret && b.n && i < WEIR_ARRAY_SIZE(of_backend); i++) {
		weir_prom_head(p, of_backend[i].name, of_backend[i].type, of_backend[i].help);
		for (size_t k = 0; k < b.n; k++) {
			const struct weir_prom_label labels[] = { { "backend", b.v[k]->text },
								  { NULL, NULL } };

			weir_prom_value(p, of_backend[i].name, labels, of_backend[i].get(b.v[k]));
		}
	}
	return ret;
}

/* ---- The service */

static void print_service(const struct weir_service *s, const struct weir_prom *p)
{
	uint64_t up = weir_clock_mono() - s->began, lost = 0, pipes = 0;
	const struct weir_prom_label version[] = { { "version", WEIR_VERSION }, { NULL, NULL } };
	struct weir_worker_stats stats;
	struct weir_names_stats names;

	for (unsigned int w = 0; w < s->n_workers; w++) {
		weir_worker_stats(s->worker[w], &stats);
		lost += stats.account_lost;
		pipes += stats.pipes;
	}
	weir_names_stats(s->shared.names, &names);
	weir_prom_head(p, "info", "gauge", "Always 1; which version it is.");
	weir_prom_value(p, "info", version, 1);
	weir_prom_one(p, "start_time_seconds", "gauge", "When it was started, since the epoch.",
		      (weir_clock_real() - up) / WEIR_NSEC_PER_SEC);
	weir_prom_one(p, "workers", "gauge", "Worker threads.", s->n_workers);
	weir_prom_one(p, "draining", "gauge", "Whether it drains.", s->draining);
	weir_prom_one(p, "reloads_total", "counter", "Reloads that took effect.", s->reloads);
	weir_prom_one(p, "reloads_failed_total", "counter",
		      "Reloads that did not: the configuration before is in force.",
		      s->reloads_failed);
	weir_prom_one(p, "backends", "gauge",
		      "Backends of which a state is kept, those of configurations before included.",
		      weir_backends_count(s->shared.backends));
	weir_prom_one(p, "pipes", "gauge", "Pipes that splice(2) holds.", pipes);
	weir_prom_one(p, "account_lost_total", "counter",
		      "Times that the account could not be kept in full.", lost);
	weir_prom_one(p, "resolver_questions", "gauge", "Names that are being asked for.",
		      names.open);
	weir_prom_one(p, "resolver_refused_total", "counter",
		      "Names not asked for, because too many were at once.", names.refused);
}

static int print_all(const struct weir_service *s, struct weir_buf *out)
{
	const struct weir_prom p = { out, "proxy" };
	uint64_t totals[WEIR_TOTALS];
	int ret;

	weir_worker_flush_all(s->worker, s->n_workers);
	ret = weir_account_totals(s->maps.totals_fd, totals, NULL);
	if (ret)
		return ret;
	weir_account_prometheus(totals, out);
	print_service(s, &p);
	ret = print_backends(s->cfg, &p);
	return out->failed ? -ENOMEM : ret;
}

static int print_text(void *arg, struct weir_buf *out)
{
	const struct weir_metrics *m = arg;

	return print_all(m->service, out);
}

/* ---- In the loop */

static void serve(struct weir_metrics *m)
{
	uint64_t again = weir_http_metrics_serve(m->http);

	if (again != WEIR_HTTP_METRICS_NEVER)
		weir_timer_set(m->service->loop, &m->timer, weir_clock_mono() + again);
	else
		weir_timer_del(&m->timer);
}

static void on_event(struct weir_io *io, uint32_t events)
{
	(void)events;
	serve((struct weir_metrics *)((char *)io - offsetof(struct weir_metrics, io)));
}

static void on_time(struct weir_timer *t)
{
	serve((struct weir_metrics *)((char *)t - offsetof(struct weir_metrics, timer)));
}

static int start(struct weir_metrics *m, struct weir_error *err)
{
	int ret = weir_keeper_listen_metrics(&m->service->keeper, err);

	if (ret >= 0)
		ret = weir_http_metrics_new(ret, print_text, m, &m->http, err);
	if (ret)
		return ret;
	m->io = (struct weir_io){ on_event, weir_http_metrics_fd(m->http) };
	ret = weir_loop_add(m->service->loop, &m->io, EPOLLIN);
	return ret ? weir_fail(err, ret, "cannot watch the server of the metrics: %s",
			       strerror(-ret)) :
		     0;
}

struct weir_metrics *weir_metrics_new(struct weir_service *s, struct weir_error *err)
{
	struct weir_metrics *m = calloc(1, sizeof(*m));

	if (!m) {
		weir_fail(err, -ENOMEM, "out of memory: free some and try again");
		return NULL;
	}
	m->service = s;
	m->io.fd = -1;
	m->timer.fn = on_time;
	if (!start(m, err))
		return m;
	weir_http_metrics_free(m->http);
	free(m);
	return NULL;
}

void weir_metrics_free(struct weir_metrics *m)
{
	if (!m)
		return;
	weir_timer_del(&m->timer);
	weir_loop_del(m->service->loop, &m->io);
	weir_http_metrics_free(m->http);
	free(m);
}
