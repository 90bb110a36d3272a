/* SPDX-License-Identifier: GPL-2.0-only */
/* One rule from its words. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/fault/conf.h"
#include "net/endpoint.h"
#include "policy/policy_impl.h"
#include "policy/rule_text.h"

#define DELAY_MAX_NS 4000000000ULL /* with jitter below the horizon of fq, 10 s */

const char *const weir_fault_dirs[] = { "inout", "in", "out", NULL };
const char *const weir_fault_kinds[] = {
	[WEIR_FAULT_OFF] = "off",
	[WEIR_FAULT_DROP] = "drop",
	[WEIR_FAULT_CORRUPT] = "corrupt",
	[WEIR_FAULT_RATE] = "rate",
	[WEIR_FAULT_DELAY] = "delay",
	[WEIR_FAULT_TRUNCATE] = "truncate",
	NULL,
};
_Static_assert(WEIR_ARRAY_SIZE(weir_fault_kinds) == WEIR_FAULT_KINDS + 1, "a word for each");

void weir_fault_rule_free(struct weir_fault_conf_rule *r)
{
	weir_match_free(r->match);
	r->match = NULL;
}

/* ---- Which fault */

static int count_faults(const struct weir_fault_words *w)
{
	return !!w->truncate + !!w->drop + !!w->rate + !!w->delay + w->corrupt;
}

static int set_kind(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		    struct weir_error *err)
{
	int n = count_faults(w);

	if (n > 1)
		return weir_fail(err, -EINVAL,
				 "one rule has one fault: give one of --drop, --corrupt, --rate, "
				 "--delay and --truncate");
	if (!n && !w->nth)
		return weir_fail(err, -EINVAL,
				 "no fault given: give --drop P, --nth K, --corrupt, --rate R, "
				 "--delay T or --truncate N");
	if (w->fix_checksum && !w->corrupt)
		return weir_fail(err, -EINVAL, "--fix-checksum is for --corrupt: give both");
	if (w->jitter && !w->delay)
		return weir_fail(err, -EINVAL, "--jitter is for --delay: give both");
	r->kind = w->truncate ? WEIR_FAULT_TRUNCATE :
		  w->corrupt  ? WEIR_FAULT_CORRUPT :
		  w->rate     ? WEIR_FAULT_RATE :
		  w->delay    ? WEIR_FAULT_DELAY :
				WEIR_FAULT_DROP;
	r->fix_checksum = w->fix_checksum;
	return 0;
}

static int set_percent(const char *option, const char *word, struct weir_fault_conf_rule *r,
		       struct weir_error *err)
{
	if (weir_parse_percent(word, &r->percent))
		return weir_fail(err, -EINVAL, "%s \"%s\": not a part: give one such as 10%%",
				 option, word);
	r->threshold = (uint64_t)(r->percent / 100 * WEIR_FAULT_ALWAYS + 0.5);
	if (!r->threshold)
		return weir_fail(err, -EINVAL, "%s \"%s\": hits no packet: give more", option,
				 word);
	return 0;
}

/* Whose turn it is: a part of the packets, or each nth. */
static int set_when(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		    struct weir_error *err)
{
	uint64_t nth = 0;

	r->percent = 100;
	r->threshold = WEIR_FAULT_ALWAYS;
	if (!!w->drop + !!w->probability + !!w->nth > 1)
		return weir_fail(err, -EINVAL,
				 "%s: two ways to say which packets are hit: leave one out",
				 w->drop && w->nth ? "--drop and --nth" :
				 w->drop	   ? "--drop and --probability" :
						     "--probability and --nth");
	if (w->rate && (w->probability || w->nth || w->seed))
		return weir_fail(err, -EINVAL,
				 "--rate goes by time, not by packets: leave out --%s",
				 w->probability ? "probability" :
				 w->nth		? "nth" :
						  "seed");
	if (w->nth && (weir_parse_u64(w->nth, 1, UINT32_MAX, &nth)))
		return weir_fail(err, -EINVAL, "--nth \"%s\": not a number from 1 on", w->nth);
	r->nth = (uint32_t)nth;
	if (w->drop)
		return set_percent("--drop", w->drop, r, err);
	return w->probability ? set_percent("--probability", w->probability, r, err) : 0;
}

static int set_seed(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		    struct weir_error *err)
{
	uint32_t any = 0;

	if (w->seed) {
		r->has_seed = true;
		if (weir_parse_u64(w->seed, 0, UINT64_MAX, &r->seed))
			return weir_fail(err, -EINVAL, "--seed \"%s\": not a number", w->seed);
		return 0;
	}
	if (getrandom(&any, sizeof(any), 0) != sizeof(any))
		return weir_fail(err, -errno, "cannot choose a seed: give --seed");
	r->seed = any;
	return 0;
}

static int set_numbers(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		       struct weir_error *err)
{
	uint64_t keep = 0;
	bool bits = true;

	if (w->truncate && weir_parse_u64(w->truncate, 1, UINT16_MAX, &keep))
		return weir_fail(err, -EINVAL,
				 "--truncate \"%s\": give the bytes that are let through, 1 to %u",
				 w->truncate, UINT16_MAX);
	r->keep = (uint32_t)keep;
	if (w->rate && (weir_parse_rate(w->rate, &r->rate, &bits) || !bits || !r->rate))
		return weir_fail(err, -EINVAL, "--rate \"%s\": give bits a second, such as 1mbit",
				 w->rate);
	if (w->delay &&
	    (weir_parse_duration(w->delay, &r->delay) || !r->delay || r->delay > DELAY_MAX_NS))
		return weir_fail(err, -EINVAL, "--delay \"%s\": give a time such as 50ms, up to 4s",
				 w->delay);
	if (w->jitter && (weir_parse_duration(w->jitter, &r->jitter) || r->jitter > r->delay))
		return weir_fail(
			err, -EINVAL,
			"--jitter \"%s\": give a time such as 10ms, no longer than the delay",
			w->jitter);
	r->ttl = WEIR_FAULT_TTL_DEFAULT;
	if (w->ttl && (weir_parse_duration(w->ttl, &r->ttl) || !r->ttl))
		return weir_fail(err, -EINVAL,
				 "--ttl \"%s\": not a time: give one such as 60s; a fault always "
				 "ends",
				 w->ttl);
	return 0;
}

/* ---- What it is about */

static int set_socket(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		      struct weir_error *err)
{
	struct weir_endpoint e;
	uint64_t pid, fd;

	if (!w->truncate)
		return weir_fail(err, -EINVAL,
				 "--listen, --pid and --fd are for --truncate: say by MATCH which "
				 "packets");
	if (w->listen) {
		if (w->pid || w->fd)
			return weir_fail(err, -EINVAL,
					 "--listen and --pid: two sockets: leave one out");
		if (weir_endpoint_parse(w->listen, &e) || !weir_endpoint_port(&e))
			return weir_fail(err, -EINVAL,
					 "--listen \"%s\": give the address and port on which it "
					 "listens: ADDR:PORT or [ADDR]:PORT",
					 w->listen);
		r->addr = weir_endpoint_addr(&e);
		r->port = weir_endpoint_port(&e);
		return 0;
	}
	if (!w->pid || !w->fd)
		return weir_fail(err, -EINVAL, "--pid N and --fd M go together: give both");
	if (weir_parse_u64(w->pid, 1, INT32_MAX, &pid))
		return weir_fail(err, -EINVAL, "--pid \"%s\": not the number of a process", w->pid);
	if (weir_parse_u64(w->fd, 0, INT32_MAX, &fd))
		return weir_fail(err, -EINVAL, "--fd \"%s\": not the number of a descriptor",
				 w->fd);
	r->pid = (uint32_t)pid;
	r->fd = (uint32_t)fd;
	return 0;
}

static bool has_match(const struct weir_fault_words *w)
{
	return w->protocol || w->src_ip || w->dst_ip || w->src_port || w->dst_port ||
	       (w->expression && w->expression[strspn(w->expression, " \t")]);
}

/* What comes in is delivered at once: there is nothing that would hold it. */
static int set_delayed(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		       struct weir_error *err)
{
	if (!w->iface)
		return weir_fail(err, -EINVAL,
				 "--delay: say on which interface, with -i: its qdisc holds the "
				 "packets");
	if (w->direction && r->dir != WEIR_FAULT_OUTWARD)
		return weir_fail(err, -EINVAL,
				 "--delay: only packets that leave can be held: give -Q out");
	r->dir = WEIR_FAULT_OUTWARD;
	return 0;
}

static int set_packets(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		       struct weir_error *err)
{
	const struct weir_match_spec spec = {
		.protocol = w->protocol,
		.src_ip = w->src_ip,
		.dst_ip = w->dst_ip,
		.src_port = w->src_port,
		.dst_port = w->dst_port,
		.expression = w->expression,
	};
	int code;

	if (w->iface && !weir_policy_is_iface_name(w->iface))
		return weir_fail(err, -EINVAL, "-i \"%s\": not the name of an interface", w->iface);
	snprintf(r->iface, sizeof(r->iface), "%s", w->iface ? w->iface : "");
	if (w->direction) {
		int d = 0;

		while (weir_fault_dirs[d] && strcmp(weir_fault_dirs[d], w->direction) != 0)
			d++;
		if (!weir_fault_dirs[d])
			return weir_fail(err, -EINVAL, "-Q \"%s\": give in, out or inout",
					 w->direction);
		r->dir = (enum weir_fault_dir)d;
	}
	code = w->delay ? set_delayed(w, r, err) : 0;
	if (!code)
		code = weir_match_parse(&spec, &r->match, err);
	if (!code && weir_match_is_all(r->match) && !w->iface)
		return weir_fail(err, -EINVAL,
				 "it would hit every packet of this host: say which (--dst-port "
				 "443), or on which interface (-i)");
	return code;
}

static int set_about(const struct weir_fault_words *w, struct weir_fault_conf_rule *r,
		     struct weir_error *err)
{
	if (w->listen || w->pid || w->fd)
		return has_match(w) || w->iface || w->direction ?
			       weir_fail(err, -EINVAL,
					 "--truncate is about a socket, not packets: leave MATCH, "
					 "-i and -Q out") :
			       set_socket(w, r, err);
	if (w->truncate)
		return weir_fail(err, -EINVAL,
				 "--truncate: say on which socket, with --listen ADDR:PORT or "
				 "--pid N --fd M");
	return set_packets(w, r, err);
}

/* ---- The name */

static int set_name(const char *name, struct weir_fault_conf_rule *r, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	r->named = name;
	weir_fault_print_words(r, &text);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	/* Room for a seed that was not given. */
	if (text.len + 32 >= WEIR_RULE_TEXT_MAX)
		return weir_fail(err, -E2BIG, "the rule has more than %d characters: shorten it",
				 WEIR_RULE_TEXT_MAX - 32);
	return weir_rule_text_set_name(name, "fault", &text, r->name, err);
}

int weir_fault_rule_make(const struct weir_fault_words *w, const char *name,
			 struct weir_fault_conf_rule *ret, struct weir_error *err)
{
	struct weir_fault_conf_rule r = { 0 };
	int code = set_kind(w, &r, err);

	if (!code)
		code = set_when(w, &r, err);
	if (!code)
		code = set_numbers(w, &r, err);
	if (!code)
		code = set_about(w, &r, err);
	if (!code && w->seed)
		code = set_seed(w, &r, err);
	/* Before a seed is chosen: the same words are the same rule. */
	if (!code)
		code = set_name(name, &r, err);
	if (!code && !w->seed && r.kind != WEIR_FAULT_RATE)
		code = set_seed(w, &r, err);
	if (code)
		weir_fault_rule_free(&r);
	else
		*ret = r;
	return code;
}

/* ---- Several */

void weir_fault_conf_free(struct weir_fault_conf *c)
{
	for (size_t i = 0; i < c->n; i++)
		weir_fault_rule_free(&c->v[i]);
	free(c->v);
	*c = (struct weir_fault_conf){ 0 };
}

struct weir_fault_conf_rule *weir_fault_conf_find(const struct weir_fault_conf *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++)
		if (!strcmp(c->v[i].name, name))
			return &c->v[i];
	return NULL;
}

int weir_fault_conf_add(struct weir_fault_conf *c, struct weir_fault_conf_rule *r, bool replace,
			struct weir_error *err)
{
	struct weir_fault_conf_rule *old = weir_fault_conf_find(c, r->name);
	int ret = 0;
	void *v;

	if (old && !replace)
		ret = weir_fail(err, -EINVAL, "there are two rules \"%s\": give one another name",
				r->name);
	else if (!old && c->n == WEIR_FAULT_RULES_MAX)
		ret = weir_fail(err, -E2BIG, "more than %d rules: delete some",
				WEIR_FAULT_RULES_MAX);
	if (!ret && !old) {
		v = reallocarray(c->v, c->n + 1, sizeof(*c->v));
		if (v)
			c->v = v;
		else
			ret = weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	}
	if (ret) {
		weir_fault_rule_free(r);
		return ret;
	}
	if (old) {
		weir_fault_rule_free(old);
		*old = *r;
	} else {
		c->v[c->n++] = *r;
	}
	return 0;
}

int weir_fault_conf_del(struct weir_fault_conf *c, const char *name, struct weir_error *err)
{
	struct weir_fault_conf_rule *r = weir_fault_conf_find(c, name);

	if (!r)
		return weir_fail(err, -ENOENT, "there is no rule '%s': see `weir fault list`",
				 name);
	weir_fault_rule_free(r);
	memmove(r, r + 1, (size_t)(&c->v[--c->n] - r) * sizeof(*r));
	return 0;
}
