/* SPDX-License-Identifier: GPL-2.0-only */
/* The account as JSON, as text and as Prometheus text. */
#include "cap/proxy/account.h"

#include "base/cleanup.h"
#include "base/prom.h"
#include "base/units.h"
#include "cap/proxy/config.h"

/* Counters that stand by themselves; those of ends and engines go by their names. */
static const struct counter {
	enum weir_proxy_total total;
	const char *group; /* the JSON object that it lies in; NULL: the outermost */
	const char *key;
	const char *text;
	const char *metric;
	struct weir_prom_label label;
	const char *help; /* NULL: of the same metric as the line above */
} counters[] = {
	/* clang-format off */
	{ .total = WEIR_TOTAL_BYTES_IN, .key = "bytes_in", .text = "bytes from clients to backends",
	  .metric = "bytes_total", .label = { "direction", "in" },
	  .help = "Bytes delivered, from clients to backends (in) and back (out)." },
	{ .total = WEIR_TOTAL_BYTES_OUT, .key = "bytes_out",
	  .text = "bytes from backends to clients",
	  .metric = "bytes_total", .label = { "direction", "out" } },
	{ .total = WEIR_TOTAL_NAME_HITS, .group = "names", .key = "hits",
	  .text = "names found in the cache",
	  .metric = "name_hits_total",
	  .help = "Look-ups of backends' names that the cache answered." },
	{ .total = WEIR_TOTAL_NAME_STALE, .group = "names", .key = "stale", .text = "of them stale",
	  .metric = "name_stale_total",
	  .help = "Of these, answers used behind their time to live." },
	{ .total = WEIR_TOTAL_NAME_MISSES, .group = "names", .key = "misses",
	  .text = "names that had to be asked for",
	  .metric = "name_misses_total",
	  .help = "Look-ups that had to wait for the resolver." },
	{ .total = WEIR_TOTAL_RETRIES, .key = "retries",
	  .text = "further attempts to connect to a backend",
	  .metric = "retries_total",
	  .help = "Attempts to connect to a backend behind a first one." },
	{ .total = WEIR_TOTAL_DEMOTIONS, .key = "demotions",
	  .text = "connections taken back from sockmap",
	  .metric = "demotions_total",
	  .help = "Connections taken back from sockmap to user space." },
	{ .total = WEIR_TOTAL_LOG_LOST, .key = "log_lost", .text = "lines of the access log lost",
	  .metric = "log_lost_total",
	  .help = "Lines of the access log that could not be written." },
	/* clang-format on */
};

static bool is_drop(unsigned int end)
{
	return end >= WEIR_END_CLIENT_GONE;
}

struct sums {
	uint64_t seen, passed, dropped, open;
};

static struct sums sum(const uint64_t totals[WEIR_TOTALS])
{
	struct sums s = { .seen = totals[WEIR_TOTAL_ACCEPTED] };

	for (unsigned int i = 0; i < WEIR_ENDS; i++)
		*(is_drop(i) ? &s.dropped : &s.passed) += totals[WEIR_TOTAL_ENDED + i];
	s.open = s.seen - s.passed - s.dropped;
	return s;
}

static bool used(const uint64_t totals[WEIR_TOTALS], unsigned int engine)
{
	return totals[WEIR_TOTAL_ENGINE + engine] || totals[WEIR_TOTAL_ENGINE_IN + engine] ||
	       totals[WEIR_TOTAL_ENGINE_OUT + engine];
}

/* ---- JSON */

static void json_ends(const uint64_t totals[WEIR_TOTALS], const char *key, unsigned int from,
		      struct weir_json *j)
{
	weir_json_object(j, key);
	for (unsigned int i = from; i < WEIR_ENDS; i++)
		if (totals[WEIR_TOTAL_ENDED + i])
			weir_json_uint(j, weir_proxy_ends[i].word, totals[WEIR_TOTAL_ENDED + i]);
	weir_json_end_object(j);
}

static void json_engines(const uint64_t totals[WEIR_TOTALS], struct weir_json *j)
{
	weir_json_object(j, "engines");
	for (unsigned int i = 0; i < WEIR_ENGINES; i++) {
		if (!used(totals, i))
			continue;
		weir_json_object(j, weir_proxy_engines[i]);
		weir_json_uint(j, "connections", totals[WEIR_TOTAL_ENGINE + i]);
		weir_json_uint(j, "bytes_in", totals[WEIR_TOTAL_ENGINE_IN + i]);
		weir_json_uint(j, "bytes_out", totals[WEIR_TOTAL_ENGINE_OUT + i]);
		weir_json_end_object(j);
	}
	weir_json_end_object(j);
}

void weir_account_json(const uint64_t totals[WEIR_TOTALS], struct weir_json *j)
{
	struct sums s = sum(totals);
	const char *group = NULL;

	weir_json_str(j, "verb", "proxy");
	weir_json_uint(j, "seen", s.seen);
	weir_json_uint(j, "passed", s.passed);
	json_ends(totals, "dropped", WEIR_END_CLIENT_GONE, j);
	weir_json_uint(j, "open", s.open);
	json_ends(totals, "ended", 0, j);
	json_engines(totals, j);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(counters); i++) {
		const struct counter *c = &counters[i];

		if (group && group != c->group)
			weir_json_end_object(j);
		if (c->group && group != c->group)
			weir_json_object(j, c->group);
		group = c->group;
		weir_json_uint(j, c->key, totals[c->total]);
	}
}

/* ---- Text */

static void add_count(struct weir_buf *out, const char *before, uint64_t v, const char *after)
{
	weir_buf_adds(out, before);
	weir_buf_add_grouped(out, v);
	weir_buf_adds(out, after);
}

static void text_engine(const uint64_t totals[WEIR_TOTALS], unsigned int i, struct weir_buf *out)
{
	const uint64_t n = totals[WEIR_TOTAL_ENGINE + i];

	weir_buf_addf(out, "  engine %s: ", weir_proxy_engines[i]);
	add_count(out, "", n, n == 1 ? " connection, " : " connections, ");
	add_count(out, "", totals[WEIR_TOTAL_ENGINE_IN + i], " bytes in, ");
	add_count(out, "", totals[WEIR_TOTAL_ENGINE_OUT + i], " bytes out\n");
}

void weir_account_text(const uint64_t totals[WEIR_TOTALS], struct weir_buf *out)
{
	struct sums s = sum(totals);

	add_count(out, "", s.seen, s.seen == 1 ? " connection seen" : " connections seen");
	add_count(out, " = ", s.passed, " passed");
	add_count(out, " + ", s.dropped, " dropped");
	add_count(out, " + ", s.open, " open\n");
	for (unsigned int i = 0; i < WEIR_ENDS; i++) {
		if (!totals[WEIR_TOTAL_ENDED + i])
			continue;
		add_count(out, is_drop(i) ? "  dropped " : "  passed ",
			  totals[WEIR_TOTAL_ENDED + i], "");
		weir_buf_addf(out, ": %s: %s\n", weir_proxy_ends[i].word,
			      weir_proxy_ends[i].sentence);
	}
	for (unsigned int i = 0; i < WEIR_ENGINES; i++)
		if (used(totals, i))
			text_engine(totals, i, out);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(counters); i++) {
		if (!totals[counters[i].total])
			continue;
		add_count(out, "  ", totals[counters[i].total], " ");
		weir_buf_addf(out, "%s\n", counters[i].text);
	}
}

/* ---- Prometheus */

static void metric_engines(const uint64_t totals[WEIR_TOTALS], const struct weir_prom *p)
{
	weir_prom_head(p, "engine_connections_total", "counter", "Connections relayed, by engine.");
	for (unsigned int i = WEIR_ENGINE_AUTO + 1; i < WEIR_ENGINES; i++)
		weir_prom_value(p, "engine_connections_total",
				(struct weir_prom_label[]){ { "engine", weir_proxy_engines[i] },
							    { NULL, NULL } },
				totals[WEIR_TOTAL_ENGINE + i]);
	weir_prom_head(p, "engine_bytes_total", "counter",
		       "Bytes delivered, by engine and direction.");
	for (unsigned int i = WEIR_ENGINE_AUTO + 1; i < WEIR_ENGINES; i++) {
		struct weir_prom_label labels[] = { { "engine", weir_proxy_engines[i] },
						    { "direction", "in" },
						    { NULL, NULL } };

		weir_prom_value(p, "engine_bytes_total", labels, totals[WEIR_TOTAL_ENGINE_IN + i]);
		labels[1].val = "out";
		weir_prom_value(p, "engine_bytes_total", labels, totals[WEIR_TOTAL_ENGINE_OUT + i]);
	}
}

/* Every series from the beginning, the zeros too: a rate() needs the first step. */
void weir_account_prometheus(const uint64_t totals[WEIR_TOTALS], struct weir_buf *out)
{
	const struct weir_prom p = { out, "proxy" };
	struct sums s = sum(totals);

	weir_prom_one(&p, "connections_total", "counter", "Connections accepted.", s.seen);
	weir_prom_one(&p, "open_connections", "gauge", "Connections accepted and not ended.",
		      s.open);
	weir_prom_head(&p, "ended_total", "counter", "Connections ended, by reason.");
	for (unsigned int i = 0; i < WEIR_ENDS; i++)
		weir_prom_value(&p, "ended_total",
				(struct weir_prom_label[]){ { "reason", weir_proxy_ends[i].word },
							    { NULL, NULL } },
				totals[WEIR_TOTAL_ENDED + i]);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(counters); i++) {
		const struct counter *c = &counters[i];
		const struct weir_prom_label labels[] = { c->label, { NULL, NULL } };

		if (c->help)
			weir_prom_head(&p, c->metric, "counter", c->help);
		weir_prom_value(&p, c->metric, labels, totals[c->total]);
	}
	metric_engines(totals, &p);
}
