/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proxy's part of `weir explain`: what the running proxy would do with a connection
 * from an address to an address, whose client asks for a name. The command asks the proxy
 * by its control socket, "explain DST,PORT,SRC[,NAME]"; the answer is a verdict's name, a
 * tab, and a sentence, or nothing where no listener is there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/proxy/cmd.h"
#include "cap/proxy/control.h"
#include "cap/proxy/control_impl.h"

struct question {
	struct weir_addr dst, src;
	uint16_t port;
	const char *name; /* "" = not told */
};

/* ---- In the proxy */

static int parse(char *words, struct question *q)
{
	char *dst = strsep(&words, ","), *port = strsep(&words, ","), *src = strsep(&words, ",");
	uint64_t n;

	if (!src || weir_addr_parse(dst, &q->dst) || weir_addr_parse(src, &q->src) ||
	    weir_parse_u64(port, 1, UINT16_MAX, &n))
		return -EINVAL;
	q->port = (uint16_t)n;
	q->name = words ? words : "";
	return 0;
}

/* A listener for every address is asked after those for this one. */
static const struct weir_proxy_listen *find_listener(const struct weir_proxy_config *c,
						     const struct question *q)
{
	static const struct weir_addr any6, any4 = { .b = { [10] = 0xff, 0xff } };
	const struct weir_proxy_listen *any = NULL;

	for (size_t i = 0; i < c->n_listens; i++) {
		const struct weir_proxy_listen *l = &c->listens[i];
		struct weir_addr a = weir_endpoint_addr(&l->address);

		if (weir_endpoint_port(&l->address) != q->port)
			continue;
		if (!memcmp(&a, &q->dst, sizeof(a)))
			return l;
		if (!memcmp(&a, &any6, sizeof(a)) ||
		    (!memcmp(&a, &any4, sizeof(a)) && weir_addr_is_v4(&q->dst)))
			any = l;
	}
	return any;
}

static bool may_come(const struct weir_proxy_config *c, const struct weir_addr *src)
{
	for (size_t i = 0; i < c->n_allow; i++)
		if (weir_prefix_contains(&c->allow[i], src))
			return true;
	return !c->n_allow;
}

static void add_targets(const struct weir_proxy_route *r, struct weir_buf *out)
{
	for (size_t i = 0; i < r->n_targets; i++)
		weir_buf_addf(out, "%s%s", i ? ", " : " to ", r->targets[i].text);
}

static void add_action(const char *why, const struct weir_proxy_action *a, struct weir_buf *out)
{
	static const char *const done[] = {
		[WEIR_DO_DROP] = "it is closed",
		[WEIR_DO_RESET] = "it is reset",
		[WEIR_DO_ALERT] = "it gets an alert and is closed",
		[WEIR_DO_ROUTE] = "it is routed by its outer name",
		[WEIR_DO_BACKEND] = "it goes on",
	};

	if (a->what == WEIR_DO_BACKEND) {
		weir_buf_addf(out, "take\t%s: %s", why, done[a->what]);
		add_targets(a->route, out);
	} else {
		weir_buf_addf(out, "drop\t%s: %s", why, done[a->what]);
	}
}

int weir_answer_explain(const struct weir_proxy_config *c, const char *words, struct weir_buf *out,
			struct weir_error *err)
{
	weir_autofree char *copy = words ? strdup(words) : NULL;
	const struct weir_proxy_listen *l;
	struct weir_proxy_route *route;
	struct question q;

	if (!copy || parse(copy, &q))
		return weir_fail(err, -EINVAL, "explain wants DST,PORT,SRC[,NAME]");
	l = find_listener(c, &q);
	if (!l)
		return 0;
	if (!may_come(c, &q.src)) {
		weir_buf_adds(out, "drop\tallow_sources does not have its address");
		return 0;
	}
	if (!q.name[0]) {
		weir_buf_addf(out,
			      "unknown\tlistener %s: the route depends on the name that the "
			      "client asks for: give it with --sni",
			      l->name);
		return 0;
	}
	route = weir_proxy_route_find(c, &(struct weir_proxy_ask){
						 .listen = l,
						 .name = q.name,
						 .source = q.src,
					 });
	if (!route) {
		add_action("no route has the name", &c->no_match, out);
		return 0;
	}
	weir_buf_addf(out, "take\tlistener %s, route %s", l->name, route->name);
	add_targets(route, out);
	return 0;
}

/* ---- In the command */

static bool is_name(const char *s)
{
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-_*")] == '\0' && strlen(s) < 254;
}

static enum weir_step_verdict verdict_of(const char *word, size_t n)
{
	for (int v = 0; v < WEIR_STEP_UNKNOWN; v++)
		if (strlen(weir_step_verdict_names[v]) == n &&
		    !strncmp(weir_step_verdict_names[v], word, n))
			return (enum weir_step_verdict)v;
	return WEIR_STEP_UNKNOWN;
}

int weir_proxy_explain(struct weir_road *road, struct weir_error *err)
{
	char src[WEIR_ADDR_STRLEN], dst[WEIR_ADDR_STRLEN], request[WEIR_CONTROL_REQUEST];
	weir_autobuf struct weir_buf answer = { 0 };
	weir_autofree char *name = strdup(road->sni ? road->sni : "");
	const char *tab;
	int ret;

	if (!road->here || !road->tcp)
		return 0;
	for (char *c = name; c && *c; c++)
		*c |= *c >= 'A' && *c <= 'Z' ? 0x20 : 0;
	if (!name || !is_name(name))
		return weir_fail(err, -EINVAL, "--sni \"%s\": not a name that TLS has", road->sni);
	snprintf(request, sizeof(request), "explain %s,%u,%s%s%s", weir_addr_str(&road->dst, dst),
		 road->dport, weir_addr_str(&road->src, src), *name ? "," : "", name);
	ret = weir_control_ask(request, &answer, err);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	tab = answer.len ? strchr(answer.data, '\t') : NULL;
	if (tab)
		weir_road_add(road, WEIR_ROAD_SESSION,
			      verdict_of(answer.data, (size_t)(tab - answer.data)), "proxy", "%s",
			      tab + 1);
	return 0;
}
