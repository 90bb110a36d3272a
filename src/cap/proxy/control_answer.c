/* SPDX-License-Identifier: GPL-2.0-only */
/* What the control socket can be asked for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/proxy/control_impl.h"

#define TOP_ROWS 100
#define WORDS_MAX 2

/* Each appends its text to a->out, or leaves it as it is and returns -errno. @word is
 * the second one, or NULL. */
struct ask {
	struct weir_service *service;
	const char *word;
	struct weir_answer *a;
	struct weir_error err;
};

static bool wants_json(const struct ask *k)
{
	return k->word != NULL;
}

static int do_status(struct ask *k)
{
	return weir_service_status(k->service, wants_json(k), &k->a->out, &k->err);
}

static int do_connections(struct ask *k)
{
	k->a->list = weir_conn_list_new(k->service, wants_json(k));
	return k->a->list ? 0 : weir_fail(&k->err, -ENOMEM, "the proxy is out of memory");
}

static int do_top(struct ask *k)
{
	weir_worker_flush_all(k->service->worker, k->service->n_workers);
	return weir_account_top(k->service->maps.sources_fd, TOP_ROWS, wants_json(k), &k->a->out,
				&k->err);
}

static int do_kill(struct ask *k)
{
	struct weir_service *s = k->service;
	uint64_t id;

	if (!k->word || weir_parse_u64(k->word, 0, UINT64_MAX, &id))
		return weir_fail(&k->err, -EINVAL, "kill wants a connection's ID");
	for (unsigned int w = 0; w < s->n_workers; w++)
		if (weir_worker_kill(s->worker[w], id))
			return 0;
	return weir_fail(
		&k->err, -ENOENT,
		"no connection %s is open: \"weir proxy connections\" lists those that are",
		k->word);
}

static int do_reload(struct ask *k)
{
	return weir_service_reload(k->service, &k->err);
}

static int do_reopen(struct ask *k)
{
	return weir_service_reopen_log(k->service, &k->err);
}

static int do_drain(struct ask *k)
{
	weir_service_drain(k->service);
	return 0;
}

static int do_explain(struct ask *k)
{
	return weir_answer_explain(k->service->cfg, k->word, &k->a->out, &k->err);
}

static const struct {
	const char *word;
	bool json, id; /* what may stand behind it */
	int (*run)(struct ask *k);
} commands[] = {
	{ "status", true, false, do_status },  { "connections", true, false, do_connections },
	{ "top", true, false, do_top },	       { "kill", false, true, do_kill },
	{ "reload", false, false, do_reload }, { "reopen", false, false, do_reopen },
	{ "drain", false, false, do_drain },   { "explain", false, true, do_explain },
};

static int run(struct ask *k, const char *request)
{
	char line[WEIR_CONTROL_REQUEST], *rest = line, *word = line, *second;

	snprintf(line, sizeof(line), "%s", request);
	strsep(&rest, " ");
	second = rest;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].word, word) != 0)
			continue;
		if (second && !commands[i].id && !(commands[i].json && !strcmp(second, "json")))
			break;
		k->word = second;
		return commands[i].run(k);
	}
	return weir_fail(&k->err, -EINVAL,
			 "the proxy does not know \"%s\": is it of another version?", request);
}

void weir_answer_begin(struct weir_service *s, const char *request, struct weir_answer *a)
{
	struct ask k = { .service = s, .a = a };
	int ret;

	weir_buf_adds(&a->out, "ok\n");
	ret = run(&k, request);
	if (!ret && !a->out.failed)
		return;
	a->out.failed = false;
	weir_buf_reset(&a->out);
	weir_buf_addf(&a->out, "error %s\n", ret ? k.err.msg : "the proxy is out of memory");
}

bool weir_answer_more(struct weir_answer *a)
{
	if (a->list && !weir_conn_list_print(a->list, &a->out)) {
		weir_conn_list_free(a->list);
		a->list = NULL;
	}
	return a->out.len && !a->out.failed;
}

void weir_answer_free(struct weir_answer *a)
{
	weir_conn_list_free(a->list);
	a->list = NULL;
	weir_buf_free(&a->out);
}
