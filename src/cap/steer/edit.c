/* SPDX-License-Identifier: GPL-2.0-only */
/* One rule or group after the other: add, del, group, register, off. */
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/steer/steer_cmd.h"
#include "dataplane/sockets.h"

#define LOOPBACK_IFINDEX 1 /* in every namespace */
#define ROUTES_ASKED 1024  /* prefixes that the kernel is asked for */
#define ROUTES_TOLD 4

int weir_steer_cmd_copy(const struct weir_steer_conf *c, struct weir_steer_conf *ret,
			struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_adds(&text, "");
	weir_steer_print(c, WEIR_STEER_KERNEL, 0, &text);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	return weir_steer_parse(text.data, text.len, "the rules in force", WEIR_STEER_KERNEL, ret,
				err);
}

static void tell_notes(const struct weir_steer_notes *notes)
{
	const char *at = notes->text.data;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		weir_steer_cmd_tell("%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

int weir_steer_cmd_commit(struct weir_steer *s, const struct weir_steer_change *change,
			  struct weir_error *err)
{
	struct weir_steer_notes notes = { { 0 } };
	int ret = weir_steer_commit(s, change, &notes, err);

	if (!ret)
		tell_notes(&notes);
	weir_buf_free(&notes.text);
	return ret;
}

/* Is it a prefix, and one that is not this host's? */
static bool is_foreign(const struct weir_prefix *p)
{
	return p->len > (p->is_v4 ? 96 : 0) && weir_route_to(&p->addr, NULL) != LOOPBACK_IFINDEX;
}

void weir_steer_cmd_tell_routes(const struct weir_steer_rule *r, size_t n)
{
	unsigned int told = 0, asked = 0;
	char text[WEIR_ADDR_STRLEN];

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < r[i].n_dst; k++) {
			const struct weir_prefix *p = &r[i].dst[k];

			if (++asked > ROUTES_ASKED || !is_foreign(p))
				continue;
			if (++told > ROUTES_TOLD)
				continue;
			weir_prefix_str(p, text);
			weir_steer_cmd_tell("%s is not local: its packets reach no socket before "
					    "`ip %sroute add local %s dev lo`",
					    text, p->is_v4 ? "" : "-6 ", text);
		}
	}
	if (told > ROUTES_TOLD)
		weir_steer_cmd_tell("%s%u more prefixes are not local",
				    asked > ROUTES_ASKED ? "at least " : "", told - ROUTES_TOLD);
}

/* Open what is there or make it, with a copy to change. */
static int begin(struct weir_steer *s, bool create, struct weir_steer_conf *next,
		 struct weir_error *err)
{
	int ret = weir_steer_open(s, create, err);

	if (ret)
		return ret;
	ret = weir_steer_cmd_copy(&s->conf, next, err);
	if (ret)
		weir_steer_close(s);
	return ret;
}

/* Nothing is left behind in the kernel where a first change failed. */
static void end(struct weir_steer *s)
{
	if (!s->letter && s->dir.fd >= 0)
		weir_steer_off(s, NULL);
	weir_steer_close(s);
}

/* What was understood. */
static void tell_rule(const struct weir_steer *s, const struct weir_steer_rule *r)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_steer_print_rule(&s->conf, r, 0, s->clock.boot, &text);
	weir_steer_cmd_tell("rule %s: %s", r->name, text.failed ? "" : text.data);
	weir_steer_cmd_tell_routes(r, 1);
}

int weir_steer_do_add(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf expression = { 0 };
	weir_auto_steer_conf next = { 0 };
	const struct weir_steer_change change = { .next = &next, .fresh = c->words.v[0] };
	struct weir_steer_rule r;
	struct weir_steer s;
	int ret;

	for (unsigned int i = 1; i < c->words.n; i++)
		weir_buf_addf(&expression, "%s%s", i > 1 ? " " : "", c->words.v[i]);
	if (expression.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	c->rule.expression = expression.data;
	ret = weir_steer_rule_make(&c->rule, c->words.v[0], &r, err);
	if (ret)
		return weir_steer_cmd_usage(c, ret);
	ret = begin(&s, true, &next, err);
	if (ret) {
		weir_steer_rule_free(&r);
		return ret;
	}
	ret = weir_steer_conf_add(&next, &r, true, err);
	if (!ret)
		ret = weir_steer_cmd_commit(&s, &change, err);
	if (!ret)
		tell_rule(&s, weir_steer_conf_rule(&s.conf, c->words.v[0]));
	end(&s);
	return ret;
}

int weir_steer_do_del(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_auto_steer_conf next = { 0 };
	const struct weir_steer_change change = { .next = &next };
	struct weir_steer s;
	int ret = begin(&s, false, &next, err);

	if (ret)
		return ret;
	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = weir_steer_conf_del(&next, c->words.v[i], err);
	if (!ret && !next.n_rules && !next.n_groups)
		ret = weir_steer_off(&s, err);
	else if (!ret)
		ret = weir_steer_cmd_commit(&s, &change, err);
	weir_steer_close(&s);
	return ret;
}

int weir_steer_do_group(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_auto_steer_conf next = { 0 };
	const struct weir_steer_change change = { .next = &next };
	struct weir_steer s;
	int ret = begin(&s, true, &next, err);

	if (ret)
		return ret;
	ret = weir_steer_conf_add_group(&next, c->words.v[0], c->words.v + 1, c->words.n - 1, true,
					err);
	if (ret)
		weir_steer_cmd_usage(c, ret);
	else
		ret = weir_steer_cmd_commit(&s, &change, err);
	end(&s);
	return ret;
}

static int do_register(struct weir_steer *s, const char *name, struct weir_error *err)
{
	struct weir_steer_notes notes = { { 0 } };
	uint32_t n;
	int ret = weir_steer_register(s, name, &n, &notes, err);

	if (!ret && n)
		weir_steer_cmd_tell("%s: %u new socket%s", name, n, n == 1 ? "" : "s");
	else if (!ret)
		weir_steer_cmd_tell("%s: its sockets are those that it had", name);
	if (!ret)
		tell_notes(&notes);
	weir_buf_free(&notes.text);
	return ret;
}

int weir_steer_do_register(struct weir_steer_cmd *c, struct weir_error *err)
{
	struct weir_steer s;
	int ret = weir_steer_open(&s, false, err);

	if (ret)
		return ret;
	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = do_register(&s, c->words.v[i], err);
	weir_steer_close(&s);
	return ret;
}

/* Also what a first command that was killed left, which is not in force. */
int weir_steer_do_off(struct weir_steer_cmd *c, struct weir_error *err)
{
	struct weir_steer s;
	int ret = weir_steer_open(&s, false, err);

	(void)c;
	if (ret && ret != -ENOENT)
		return ret;
	ret = weir_steer_off(&s, err);
	weir_steer_close(&s);
	return ret;
}
