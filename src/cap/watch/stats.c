/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/stats.h"

#include <errno.h>
#include <string.h>

const char *const weir_stats_protocols[WEIR_WATCH_PROTOCOL_MAX] = {
#define X(id, name) [WEIR_WATCH_PROTOCOL_##id] = #name,
	WEIR_WATCH_PROTOCOLS(X)
#undef X
};

const char *const weir_stats_flags[WEIR_WATCH_TCP_FLAGS] = {
	"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ae",
};

const uint32_t weir_stats_sizes[WEIR_WATCH_SIZE_MAX - 1] = {
#define X(most) [WEIR_WATCH_SIZE_##most] = most,
	WEIR_WATCH_SIZES(X)
#undef X
};

int weir_stats_check(const struct weir_watch_options *o, struct weir_error *err)
{
	bool packets = o->write_file && !strcmp(o->write_file, "-");

	if (o->summary_ns && (o->flows || o->count_only || o->format >= 0 || packets))
		return weir_fail(err, -EINVAL,
				 "--summary has standard output for itself: leave "
				 "--flows, --count, --format and -w - out");
	if (o->metrics && o->read_file)
		return weir_fail(err, -EINVAL,
				 "--metrics tells of a live run: leave -r out, or use "
				 "--summary");
	if (o->metrics && o->count_only)
		return weir_fail(err, -EINVAL, "--count shows only a number: leave --metrics out");
	if (o->metrics_top && !o->metrics)
		return weir_fail(err, -EINVAL,
				 "--metrics-top without --metrics: say where with "
				 "--metrics");
	return 0;
}

bool weir_stats_wanted(const struct weir_watch_options *o)
{
	return o->summary_ns || o->metrics;
}

bool weir_stats_in_kernel(const struct weir_watch *w)
{
	return w->mode == WEIR_WATCH_FLOWS && weir_stats_wanted(&w->opt);
}

void weir_stats_get(struct weir_watch *w, const struct weir_watch_stats *own,
		    struct weir_watch_stats *ret)
{
	*ret = *own;
	if (weir_stats_in_kernel(w))
		weir_bpf_stats(w, ret);
}

void weir_stats_minus(const struct weir_watch_stats *a, const struct weir_watch_stats *b,
		      struct weir_watch_stats *ret)
{
	const uint64_t *x = (const uint64_t *)a, *y = (const uint64_t *)b;

	for (size_t i = 0; i < sizeof(*ret) / sizeof(*x); i++)
		((uint64_t *)ret)[i] = x[i] - y[i];
}

struct weir_watch_sum weir_stats_total(const struct weir_watch_stats *s)
{
	struct weir_watch_sum sum = { 0 };

	for (int i = 0; i < WEIR_WATCH_PROTOCOL_MAX; i++) {
		sum.packets += s->protocol[i].packets;
		sum.wire_packets += s->protocol[i].wire_packets;
		sum.bytes += s->protocol[i].bytes;
	}
	return sum;
}

void weir_stats_account(struct weir_watch *w, struct weir_stats_account *ret)
{
	struct weir_watch_account a;

	memset(ret, 0, sizeof(*ret));
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		ret->seen += a.k.seen;
		ret->unmatched += a.unmatched;
		ret->sampled_out += a.sampled_out;
		ret->matched += a.matched;
		ret->delivered += a.delivered;
		ret->queued += a.queued;
		for (int k = 0; k < WEIR_WATCH_LOST_MAX; k++)
			ret->lost[k] += a.lost_by[k];
	}
}
