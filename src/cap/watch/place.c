/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the match runs. Usually that is the kernel; libpcap and files are matched in
 * user space, and so is a strict filter that the kernel cannot run.
 */
#include <errno.h>
#include <stdlib.h>

#include "cap/watch/alert.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"
#include "cap/watch/stats.h"
#include "match/cbpf.h"

/* Whose packets they are, the kernel's programs do not know. */
static bool counts_there(const struct weir_watch *w)
{
	return w->opt.count_only && !w->user_stage && !weir_watch_owners_match(&w->opt);
}

/* Sums that are not of flows know no owners there, either; what is exported must not wait
 * for the owner to be known. */
static bool adds_up_there(const struct weir_watch *w)
{
	const struct weir_watch_options *o = &w->opt;
	bool sums = weir_stats_wanted(o) || weir_alerts_wanted(o) || o->ipfix;

	return w->keeps_flows && !w->shows_packets && !w->user_stage &&
	       !(sums && weir_watch_owners_match(o));
}

/* The match must see in user space what it would see in the kernel. */
void weir_place_settle(struct weir_watch *w)
{
	const struct weir_watch_options *o = &w->opt;

	w->snaplen = w->out_snaplen;
	if (w->user_stage && o->strict_pcap)
		w->snaplen = WEIR_WATCH_SNAPLEN;
	else if ((w->user_stage || w->keeps_flows || weir_watch_owners_wanted(o)) &&
		 w->snaplen < WEIR_PKT_HDR_MAX)
		w->snaplen = WEIR_PKT_HDR_MAX;
	/* A library cannot tell which packets are worth more bytes; AF_XDP has them all. */
	if ((weir_hook_is_library(w->hook) || w->hook == WEIR_HOOK_XSK) && o->names)
		w->snaplen = WEIR_WATCH_SNAPLEN;
	else if (o->snaplen && weir_hook_is_library(w->hook) && !o->strict_pcap)
		w->snaplen = o->snaplen > WEIR_PKT_HDR_MAX ? (uint32_t)o->snaplen :
							     WEIR_PKT_HDR_MAX;
	w->mode = w->hook == WEIR_HOOK_MMAP				? WEIR_WATCH_MMAP :
		  weir_hook_is_library(w->hook)				? WEIR_WATCH_RING :
		  w->hook == WEIR_HOOK_XSK				? WEIR_WATCH_XSK :
		  adds_up_there(w)					? WEIR_WATCH_FLOWS :
		  counts_there(w)					? WEIR_WATCH_COUNT :
		  o->transport == 1					? WEIR_WATCH_PERF :
									  WEIR_WATCH_RING;
}

int weir_place_retreat(struct weir_watch *w, const char *why, struct weir_error *err)
{
	free(w->strict_insns);
	w->strict_insns = NULL;
	if (!w->opt.filter_at)
		return weir_fail(err, -EINVAL,
				 "the kernel cannot match this expression (%s): leave --filter-at "
				 "kernel out",
				 why);
	fprintf(stderr,
		"weir watch: the kernel cannot match this expression (%s): it is matched "
		"in user space\n",
		why);
	w->user_stage = true;
	weir_place_settle(w);
	return 0;
}

int weir_place_strict(struct weir_watch *w, struct weir_error *err)
{
	const struct sock_filter *f;
	struct weir_error why = { "" };
	size_t n = weir_strict_code(w->strict, &f);
	int ret = weir_cbpf_translate(f, n, &w->strict_insns, &w->n_strict_insns, &w->strict_head,
				      &why);

	if (ret == -ENOMEM)
		return weir_fail(err, ret, "out of memory");
	return ret ? weir_place_retreat(w, why.msg, err) : 0;
}
