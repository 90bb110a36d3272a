/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/allow.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/proxy/allow_impl.h"
#include "dataplane/gate.h"
#include "dataplane/set.h"
#include "policy/engine.h"
#include "policy/policy.h"

#define OWNER "proxy"
#define NAMES_MAX 9 /* that are tried for a set or a rule before there is none */

/* A change of the policy on its way. */
struct plan {
	struct weir_filter f;
	struct weir_policy *policy;
	struct weir_set sets[WEIR_POLICY_SETS_MAX]; /* made anew, by position in policy */
	bool sets_new[WEIR_POLICY_SETS_MAX];
	bool changed, had; /* had: rules of ours were in force before */
	struct weir_buf *notes;
	struct weir_error *err;
};

static bool is_ours(const char *owner)
{
	return strcmp(owner, OWNER) == 0;
}

static bool has_rules(const struct weir_policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		if (is_ours(p->rules[i].owner))
			return true;
	return false;
}

static int no_memory(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

static int begin(struct plan *x, bool create, struct weir_buf *notes, struct weir_error *err)
{
	int ret;

	memset(x, 0, sizeof(*x));
	x->notes = notes;
	x->err = err;
	for (size_t i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_init(&x->sets[i]);
	ret = weir_filter_open(&x->f, create, err);
	if (ret)
		return ret;
	x->had = has_rules(x->f.policy);
	x->policy = weir_policy_copy(x->f.policy);
	if (x->policy)
		return 0;
	weir_filter_close(&x->f);
	return no_memory(err);
}

/* Only after a begin that succeeded. */
static void end(struct plan *x)
{
	for (size_t i = 0; i < WEIR_POLICY_SETS_MAX; i++)
		weir_set_close(&x->sets[i]);
	weir_policy_free(x->policy);
	weir_filter_close(&x->f);
}

/* ---- Sets */

/* Before any is made: what is made goes by its position. */
static void drop_set(struct plan *x, const char *name)
{
	struct weir_policy *p = x->policy;
	struct weir_policy_set *s = weir_policy_find_set(p, name);

	free(s->file);
	p->n_sets--;
	memmove(s, s + 1, (size_t)(p->sets + p->n_sets - s) * sizeof(*s));
	x->changed = true;
}

/* Ours of that name, one of its own where the user's has it already. */
static struct weir_policy_set *our_set(struct plan *x, const char *name)
{
	for (int i = 1; i <= NAMES_MAX; i++) {
		char text[WEIR_SET_NAME_MAX];
		struct weir_policy_set *s;

		snprintf(text, sizeof(text), i > 1 ? "%s-%d" : "%s", name, i);
		s = weir_policy_find_set(x->policy, text);
		if (s && !is_ours(s->owner))
			continue;
		if (!s && weir_policy_add_set(x->policy, text, &s, x->err))
			return NULL;
		snprintf(s->owner, sizeof(s->owner), OWNER);
		return s;
	}
	weir_fail(x->err, -EEXIST, "the filter has sets named %s already: rename them", name);
	return NULL;
}

static int compare(const void *va, const void *vb)
{
	const struct weir_prefix *a = va, *b = vb;
	int d = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));

	if (!d)
		d = (int)a->len - (int)b->len;
	return d ? d : (int)a->is_v4 - (int)b->is_v4;
}

struct gathered {
	struct weir_prefix *v;
	size_t n, room;
};

static int gather(void *arg, const struct weir_prefix *p)
{
	struct gathered *g = arg;

	if (g->n == g->room)
		return -ENOSPC;
	g->v[g->n++] = *p;
	return 0;
}

/* Does the set in force hold just these, which are sorted, each once? */
static bool holds(struct plan *x, const struct weir_policy_set *s, const struct weir_prefix *v,
		  size_t n)
{
	const struct weir_policy_set *was = weir_policy_find_set(x->f.policy, s->name);
	weir_autofree struct weir_prefix *have = calloc(n + 1, sizeof(*have));
	struct gathered g = { .v = have, .room = n };
	struct weir_set *set;

	if (!was || !is_ours(was->owner) || !have)
		return false;
	set = &x->f.sets[was - x->f.policy->sets];
	if (weir_set_count(set) != n || weir_set_each(set, gather, &g) || g.n != n)
		return false;
	qsort(have, n, sizeof(*have), compare);
	for (size_t i = 0; i < n; i++)
		if (compare(&have[i], &v[i]) != 0)
			return false;
	return true;
}

/* See to it that the set is @v, and put its name into @ret. Sorts @v. */
static int make_set(struct plan *x, const char *name, struct weir_prefix *v, size_t n,
		    char ret[WEIR_SET_NAME_MAX])
{
	struct weir_policy_set *s = our_set(x, name);
	size_t kept = 0, at;
	int code;

	if (!s)
		return -EEXIST;
	memcpy(ret, s->name, sizeof(s->name));
	qsort(v, n, sizeof(*v), compare);
	for (size_t i = 0; i < n; i++)
		if (!kept || compare(&v[kept - 1], &v[i]) != 0)
			v[kept++] = v[i];
	if (holds(x, s, v, kept))
		return 0;
	at = (size_t)(s - x->policy->sets);
	weir_set_close(&x->sets[at]);
	weir_set_init(&x->sets[at]);
	code = weir_set_create(&x->sets[at], v, kept, x->err);
	x->sets_new[at] = x->changed = true;
	return code;
}

/* ---- Rules */

static bool is_wildcard(const struct weir_endpoint *e)
{
	return e->sa.sa_family == AF_INET6 ? IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr) :
					     e->in.sin_addr.s_addr == INADDR_ANY;
}

/* Is it for a rule? */
static bool is_meant(const struct weir_proxy_listen *l)
{
	return l->address.sa.sa_family != AF_UNIX && !l->n_proxies;
}

static void add_match(const struct weir_proxy_listen *l, const char *allow, const char *local,
		      struct weir_buf *out)
{
	struct weir_addr a = weir_endpoint_addr(&l->address);
	char text[WEIR_ADDR_STRLEN];

	weir_buf_addf(out, "tcp and dst port %u and ", weir_endpoint_port(&l->address));
	if (!is_wildcard(&l->address))
		weir_buf_addf(out, "dst host %s", weir_addr_str(&a, text));
	else if (l->address.sa.sa_family == AF_INET6)
		weir_buf_addf(out, "dst net @%s", local);
	else
		weir_buf_addf(out, "ip dst net @%s", local);
	weir_buf_addf(out, " and not src net @%s", allow);
}

static void name_rule(const struct weir_policy *p, unsigned int port, char ret[WEIR_RULE_NAME_MAX])
{
	snprintf(ret, WEIR_RULE_NAME_MAX, "allow_sources:%u", port);
	for (unsigned int i = 2; weir_policy_find_rule(p, OWNER, ret); i++)
		snprintf(ret, WEIR_RULE_NAME_MAX, "allow_sources:%u-%u", port, i);
}

static int add_rule(struct plan *x, const struct weir_proxy_listen *l, const char *allow,
		    const char *local)
{
	weir_autobuf struct weir_buf match = { 0 };
	char name[WEIR_RULE_NAME_MAX], note[WEIR_POLICY_NOTE_MAX];
	const char *words[] = { "deny", "-Q", "in", NULL, "--name", name, "--note", note };
	struct weir_policy_rule r;
	int ret;

	name_rule(x->policy, weir_endpoint_port(&l->address), name);
	snprintf(note, sizeof(note), "listener %s", l->name);
	add_match(l, allow, local, &match);
	if (match.failed)
		return no_memory(x->err);
	words[3] = match.data;
	ret = weir_policy_parse_rule(WEIR_ARRAY_SIZE(words), words, &r, x->err);
	if (ret)
		return ret;
	snprintf(r.owner, sizeof(r.owner), OWNER);
	ret = weir_policy_add_rule(x->policy, &r, NULL, x->err);
	weir_policy_rule_free(&r);
	return ret;
}

static void remove_rules(struct weir_policy *p)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n_rules; i++) {
		if (is_ours(p->rules[i].owner))
			weir_policy_rule_free(&p->rules[i]);
		else
			p->rules[kept++] = p->rules[i];
	}
	p->n_rules = kept;
}

/* Our rules as text. */
static void print_rules(const struct weir_policy *p, struct weir_buf *out)
{
	weir_buf_adds(out, "");
	for (size_t i = 0; i < p->n_rules; i++) {
		if (!is_ours(p->rules[i].owner))
			continue;
		weir_buf_addf(out, "%s: ", p->rules[i].name);
		weir_policy_print_rule(&p->rules[i], 0, out);
		weir_buf_addc(out, '\n');
	}
}

static int make_rules(struct plan *x, const struct weir_proxy_config *c, const char *allow,
		      const char *local)
{
	weir_autobuf struct weir_buf before = { 0 }, after = { 0 };
	int ret = 0;

	print_rules(x->policy, &before);
	remove_rules(x->policy);
	for (size_t i = 0; !ret && i < c->n_listens; i++)
		if (is_meant(&c->listens[i]))
			ret = add_rule(x, &c->listens[i], allow, local);
	print_rules(x->policy, &after);
	if (!ret && (before.failed || after.failed))
		ret = no_memory(x->err);
	x->changed = x->changed || (!ret && strcmp(before.data, after.data) != 0);
	return ret;
}

static int make_sets_and_rules(struct plan *x, const struct weir_proxy_config *c)
{
	char allow[WEIR_SET_NAME_MAX], local[WEIR_SET_NAME_MAX] = "";
	weir_autofree struct weir_prefix *v = calloc(c->n_allow + 1, sizeof(*v));
	weir_autofree struct weir_prefix *own = NULL;
	bool wildcard = false;
	size_t n = 0;
	int ret;

	if (!v)
		return no_memory(x->err);
	memcpy(v, c->allow, c->n_allow * sizeof(*v));
	for (size_t i = 0; i < c->n_listens; i++)
		wildcard |= is_meant(&c->listens[i]) && is_wildcard(&c->listens[i].address);
	for (size_t i = x->policy->n_sets; !wildcard && i-- > 0;)
		if (is_ours(x->policy->sets[i].owner) &&
		    strncmp(x->policy->sets[i].name, WEIR_ALLOW_LOCAL, strlen(WEIR_ALLOW_LOCAL)) ==
			    0)
			drop_set(x, x->policy->sets[i].name);
	ret = make_set(x, WEIR_ALLOW_SET, v, c->n_allow, allow);
	if (!ret && wildcard)
		ret = weir_allow_local(&own, &n, x->err);
	if (!ret && wildcard)
		ret = make_set(x, WEIR_ALLOW_LOCAL, own, n, local);
	return ret ? ret : make_rules(x, c, allow, local);
}

/* ---- Interfaces */

/* Is what comes in by @name filtered already, also where it had another name then? */
static bool is_filtered(struct plan *x, const char *name)
{
	for (size_t i = 0; i < x->policy->n_ifaces; i++) {
		const struct weir_policy_iface *f = &x->policy->ifaces[i];
		struct weir_filter_iface_info info;

		if (f->out)
			continue;
		if (strcmp(f->name, name) == 0)
			return true;
		if (weir_policy_find_iface(x->f.policy, f->name, f->hook, f->out) &&
		    !weir_filter_iface_info(&x->f, f, &info) && strcmp(info.called, name) == 0)
			return true;
	}
	return false;
}

/* Those of ours whose interface is no more. */
static void drop_gone(struct plan *x)
{
	struct weir_policy *p = x->policy;
	size_t kept = 0;

	for (size_t i = 0; i < p->n_ifaces; i++) {
		struct weir_filter_iface_info info = { .state = WEIR_IFACE_ON };

		if (is_ours(p->ifaces[i].owner) &&
		    !weir_filter_iface_info(&x->f, &p->ifaces[i], &info) &&
		    info.state == WEIR_IFACE_GONE)
			x->changed = true;
		else
			p->ifaces[kept++] = p->ifaces[i];
	}
	p->n_ifaces = kept;
}

static void note_accept(struct plan *x, const char *what, const char *why)
{
	weir_buf_addf(x->notes, "allow_sources: %s: checked at accept only: %s\n", what, why);
}

static int make_ifaces(struct plan *x)
{
	struct ifaddrs *all, *a;

	drop_gone(x);
	if (getifaddrs(&all))
		return weir_fail(x->err, -errno, "cannot look at the interfaces: %m");
	for (a = all; a; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_PACKET ||
		    !(a->ifa_flags & IFF_UP) || a->ifa_flags & IFF_LOOPBACK ||
		    is_filtered(x, a->ifa_name))
			continue;
		if (x->policy->n_ifaces == WEIR_FILTER_ROWS) {
			note_accept(x, a->ifa_name, "the filter has no room for more interfaces");
			continue;
		}
		x->policy->ifaces[x->policy->n_ifaces++] =
			weir_policy_iface_for(a->ifa_name, WEIR_HOOK_XDP, OWNER);
		x->changed = true;
	}
	freeifaddrs(all);
	return 0;
}

/* Which of the interfaces that are new can't have XDP? They are taken out: how many. */
static size_t drop_impossible(struct plan *x)
{
	struct weir_policy *p = x->policy;
	const size_t n = p->n_ifaces;
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		const struct weir_policy_iface *f = &p->ifaces[i];
		struct weir_error why = { 0 };
		struct weir_gate g;

		if (is_ours(f->owner) &&
		    !weir_policy_find_iface(x->f.policy, f->name, f->hook, f->out)) {
			weir_gate_init(&g);
			if (weir_gate_open(&g, f->name, f->mode, &why)) {
				note_accept(x, f->name, why.msg);
				continue;
			}
			weir_gate_close(&g);
		}
		p->ifaces[kept++] = *f;
	}
	p->n_ifaces = kept;
	return n - kept;
}

/* ---- Putting it in force */

static int change(struct plan *x, bool force, struct weir_buf *told)
{
	const struct weir_filter_change c = {
		.policy = x->policy,
		.sets = x->sets,
		.sets_new = x->sets_new,
		.force = force,
	};
	struct weir_filter_report report = { 0 };
	int ret = weir_policy_check(x->policy, NULL, x->err);

	if (!ret)
		ret = weir_filter_change(&x->f, &c, &report, x->err);
	if (!ret && told && report.notes.len)
		weir_buf_add(told, report.notes.data, report.notes.len);
	weir_buf_free(&report.notes);
	return ret;
}

/* Where the rules apply now. */
static void note_places(struct plan *x)
{
	bool any = false;

	for (size_t i = 0; i < x->f.policy->n_ifaces; i++) {
		const struct weir_policy_iface *f = &x->f.policy->ifaces[i];
		struct weir_filter_iface_info info;

		if (f->out || weir_filter_iface_info(&x->f, f, &info) ||
		    info.state != WEIR_IFACE_ON)
			continue;
		weir_buf_addf(x->notes, "%s%s (%s)", any ? ", " : "allow_sources: enforced on ",
			      info.called[0] ? info.called : f->name, info.mode);
		any = true;
	}
	weir_buf_adds(x->notes,
		      any ? "\n" : "allow_sources: no interface is up: checked at accept only\n");
}

static void note_proxies(struct plan *x, const struct weir_proxy_config *c)
{
	for (size_t i = 0; i < c->n_listens; i++)
		if (c->listens[i].n_proxies)
			note_accept(x, c->listens[i].name, "its clients are in PROXY headers");
}

/* What the engine told besides where it filters: offloads that native XDP takes. */
static void note_rest(struct plan *x, struct weir_buf *told)
{
	char *rest = told->len ? told->data : NULL, *line;

	while ((line = strsep(&rest, "\n")))
		if (*line && !strstr(line, ": filtered at XDP, "))
			weir_buf_addf(x->notes, "allow_sources: %s\n", line);
}

static int put_in_force(struct plan *x)
{
	weir_autobuf struct weir_buf told = { 0 };
	int ret;

	if (!x->changed)
		return weir_filter_reattach(&x->f, NULL, x->err);
	ret = change(x, false, &told);
	if (ret && drop_impossible(x))
		ret = change(x, false, &told);
	if (ret)
		return ret;
	note_places(x);
	note_rest(x, &told);
	return 0;
}

static int apply(struct plan *x, const struct weir_proxy_config *c)
{
	int ret = make_sets_and_rules(x, c);

	if (!ret)
		ret = make_ifaces(x);
	if (!ret)
		ret = put_in_force(x);
	if (!ret && !x->changed)
		note_places(x);
	/* Without rules nobody is refused by mistake; with old ones somebody might be. */
	if (ret && !x->had) {
		note_accept(x, "all interfaces", x->err->msg);
		ret = 0;
	}
	note_proxies(x, c);
	return ret;
}

static bool is_wanted(const struct weir_proxy_config *c)
{
	for (size_t i = 0; c->n_allow && i < c->n_listens; i++)
		if (is_meant(&c->listens[i]))
			return true;
	return false;
}

int weir_allow_apply(const struct weir_proxy_config *c, struct weir_buf *notes,
		     struct weir_error *err)
{
	struct weir_error why;
	struct plan x;
	int ret;

	if (!is_wanted(c))
		return weir_allow_remove(err);
	ret = begin(&x, true, notes, &why);
	if (!ret) {
		ret = apply(&x, c);
		end(&x);
	}
	return ret ? weir_fail(err, ret, "allow_sources: %s", why.msg) : 0;
}

int weir_allow_follow(const struct weir_proxy_config *c, struct weir_buf *notes,
		      struct weir_error *err)
{
	struct plan x;
	int ret;

	if (!is_wanted(c))
		return 0;
	ret = begin(&x, false, notes, err);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	/* A policy that waits can't be changed: its end brings no news, the next one does. */
	if (x.had && !x.f.previous)
		ret = apply(&x, c);
	end(&x);
	return ret;
}

int weir_allow_remove(struct weir_error *err)
{
	struct plan x;
	size_t kept = 0;
	int ret = begin(&x, false, NULL, err);

	if (ret)
		return ret == -ENOENT ? 0 : ret;
	if (x.had) {
		remove_rules(x.policy);
		x.changed = true;
	}
	for (size_t i = x.policy->n_sets; i-- > 0;)
		if (is_ours(x.policy->sets[i].owner))
			drop_set(&x, x.policy->sets[i].name);
	for (size_t i = 0; i < x.policy->n_ifaces; i++) {
		if (is_ours(x.policy->ifaces[i].owner))
			x.changed = true;
		else
			x.policy->ifaces[kept++] = x.policy->ifaces[i];
	}
	x.policy->n_ifaces = kept;
	/* It cuts nobody off. */
	if (x.changed)
		ret = change(&x, true, NULL);
	end(&x);
	return ret;
}
