/* SPDX-License-Identifier: GPL-2.0-only */
/* What `weir status proxy` tells: how the proxy was set up, and what it has done. */
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/proxy/control_impl.h"

static const char *const protocols[] = {
	[WEIR_PROXY_TLS] = "tls",
	[WEIR_PROXY_HTTP] = "http",
};

struct view {
	struct weir_service *s;
	uint64_t totals[WEIR_TOTALS];
	struct weir_worker_stats each[WEIR_WORKERS_MAX], all;
	struct weir_names_stats names;
};

static int look(struct view *v, struct weir_service *s, struct weir_error *err)
{
	*v = (struct view){ .s = s };
	weir_worker_flush_all(s->worker, s->n_workers);
	for (unsigned int w = 0; w < s->n_workers; w++) {
		struct weir_worker_stats *e = &v->each[w];

		weir_worker_stats(s->worker[w], e);
		v->all.connections += e->connections;
		v->all.pipes += e->pipes;
		v->all.relays += e->relays;
		v->all.account_lost += e->account_lost;
	}
	weir_names_stats(s->shared.names, &v->names);
	return weir_account_totals(s->maps.totals_fd, v->totals, err);
}

/* ---- JSON */

static void json_listeners(const struct weir_proxy_config *c, struct weir_json *j)
{
	char text[WEIR_ENDPOINT_STRLEN];

	weir_json_array(j, "listeners");
	for (size_t i = 0; i < c->n_listens; i++) {
		const struct weir_proxy_listen *l = &c->listens[i];

		weir_json_object(j, NULL);
		weir_json_str(j, "name", l->name);
		weir_json_str(j, "address", weir_endpoint_str(&l->address, text));
		weir_json_str(j, "protocol", protocols[l->protocol]);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void json_allow(const struct weir_service *s, struct weir_json *j)
{
	const char *at = s->allow_notes.data;
	char text[WEIR_ADDR_STRLEN];

	if (s->cfg->n_allow) {
		weir_json_array(j, "allow_sources");
		for (size_t i = 0; i < s->cfg->n_allow; i++)
			weir_json_str(j, NULL, weir_prefix_str(&s->cfg->allow[i], text));
		weir_json_end_array(j);
	}
	if (!at || !*at)
		return;
	weir_json_array(j, "allow_notes");
	while (*at) {
		size_t n = strcspn(at, "\n");

		if (n)
			weir_json_strn(j, NULL, at, n);
		at += n + (at[n] == '\n');
	}
	weir_json_end_array(j);
}

static void json_pools(const struct view *v, struct weir_json *j)
{
	weir_json_array(j, "pools");
	for (unsigned int w = 0; w < v->s->n_workers; w++) {
		weir_json_object(j, NULL);
		weir_json_uint(j, "worker", w);
		weir_json_uint(j, "connections", v->each[w].connections);
		weir_json_uint(j, "relays", v->each[w].relays);
		weir_json_uint(j, "pipes", v->each[w].pipes);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}

static void print_json(const struct view *v, struct weir_buf *out)
{
	const struct weir_service *s = v->s;
	uint64_t up = weir_clock_mono() - s->began;
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_uint(&j, "pid", (uint64_t)getpid());
	weir_json_str(&j, "version", WEIR_VERSION);
	weir_json_time(&j, "began_ts", weir_clock_real() - up);
	weir_json_uint(&j, "uptime_ns", up);
	weir_json_bool(&j, "draining", s->draining);
	weir_json_uint(&j, "workers", s->n_workers);
	weir_json_str(&j, "engine", weir_proxy_engines[s->cfg->engine]);
	weir_json_uint(&j, "connections", v->all.connections);
	weir_json_uint(&j, "reloads", s->reloads);
	weir_json_uint(&j, "reloads_failed", s->reloads_failed);
	json_listeners(s->cfg, &j);
	json_allow(s, &j);
	weir_json_object(&j, "account");
	weir_account_json(v->totals, &j);
	weir_json_end_object(&j);
	weir_json_uint(&j, "account_lost", v->all.account_lost);
	weir_json_object(&j, "resolver");
	weir_json_uint(&j, "open", v->names.open);
	weir_json_uint(&j, "refused", v->names.refused);
	weir_json_end_object(&j);
	weir_json_array(&j, "backends");
	weir_backends_json(s->shared.backends, &j);
	weir_json_end_array(&j);
	json_pools(v, &j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

/* ---- Text */

static void text_head(const struct view *v, struct weir_buf *out)
{
	const struct weir_service *s = v->s;

	weir_buf_addf(out, "Proxy: pid %d, up ", (int)getpid());
	weir_buf_add_duration(out, weir_clock_mono() - s->began);
	weir_buf_addf(out, ", %u worker%s, engine %s, ", s->n_workers, s->n_workers == 1 ? "" : "s",
		      weir_proxy_engines[s->cfg->engine]);
	weir_buf_add_grouped(out, v->all.connections);
	weir_buf_addf(out, " connection%s open%s\n", v->all.connections == 1 ? "" : "s",
		      s->draining ? ", draining" : "");
	if (s->reloads || s->reloads_failed)
		weir_buf_addf(out, "Reloads: %llu, and %llu that failed\n",
			      (unsigned long long)s->reloads,
			      (unsigned long long)s->reloads_failed);
}

static void text_listeners(const struct weir_proxy_config *c, struct weir_buf *out)
{
	static const char *const head[] = { "LISTENER", "ADDRESS", "PROTOCOL" };
	weir_autotable struct weir_table t;
	char text[WEIR_ENDPOINT_STRLEN];

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < c->n_listens; i++) {
		weir_table_add(&t, c->listens[i].name);
		weir_table_add(&t, weir_endpoint_str(&c->listens[i].address, text));
		weir_table_add(&t, protocols[c->listens[i].protocol]);
	}
	weir_table_render(&t, 2, out);
}

/* Each line of @text, behind two blanks. */
static void indented(const struct weir_buf *text, struct weir_buf *out)
{
	const char *at = text->data;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		weir_buf_addf(out, "  %.*s\n", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

static void text_pools(const struct view *v, struct weir_buf *out)
{
	static const char *const head[] = { "WORKER", "CONNECTIONS", "RELAYS", "PIPES" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (unsigned int w = 0; w < v->s->n_workers; w++) {
		weir_table_addf(&t, "%u", w);
		weir_table_addf(&t, "%llu", (unsigned long long)v->each[w].connections);
		weir_table_addf(&t, "%llu", (unsigned long long)v->each[w].relays);
		weir_table_addf(&t, "%llu", (unsigned long long)v->each[w].pipes);
	}
	weir_table_render(&t, 2, out);
}

static void text_lost(const struct view *v, struct weir_buf *out)
{
	if (v->all.account_lost)
		weir_buf_addf(out,
			      "  %llu times the account could not be kept in full: see `weir "
			      "doctor`\n",
			      (unsigned long long)v->all.account_lost);
	if (v->names.refused)
		weir_buf_addf(out, "  %llu names were not asked for: too many were at once\n",
			      (unsigned long long)v->names.refused);
}

static void print_text(const struct view *v, struct weir_buf *out)
{
	const struct weir_service *s = v->s;
	weir_autobuf struct weir_buf backends = { 0 };

	text_head(v, out);
	weir_buf_adds(out, "Listeners:\n");
	text_listeners(s->cfg, out);
	if (s->allow_notes.len) {
		weir_buf_adds(out, "Allowed sources:\n");
		indented(&s->allow_notes, out);
	}
	weir_account_text(v->totals, out);
	text_lost(v, out);
	weir_buf_adds(out, "Backends:\n");
	weir_backends_table(s->shared.backends, &backends);
	indented(&backends, out);
	weir_buf_adds(out, "Workers:\n");
	text_pools(v, out);
}

int weir_service_status(struct weir_service *s, bool json, struct weir_buf *out,
			struct weir_error *err)
{
	struct view v;
	int ret = look(&v, s, err);

	if (ret)
		return ret;
	if (json)
		print_json(&v, out);
	else
		print_text(&v, out);
	return 0;
}
