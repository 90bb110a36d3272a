/* SPDX-License-Identifier: GPL-2.0-only */
/* What changes something: add, del, clear, apply. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/units.h"
#include "cap/fault/fault_cmd.h"
#include "cap/fault/reset.h"
#include "match/conn.h"
#include "policy/policy_impl.h"

/* Open what is there or make it, with a copy to change. */
static int begin(struct weir_fault *f, bool create, struct weir_fault_conf *next,
		 struct weir_error *err)
{
	int ret = weir_fault_open(f, create, err);

	if (ret)
		return ret;
	ret = weir_fault_copy(f, next, err);
	if (ret)
		weir_fault_close(f);
	return ret;
}

/* Nothing is left behind in the kernel where a first change failed, or the last rule went. */
static int end(struct weir_fault *f, int ret, struct weir_error *err)
{
	if (f->fresh || (!ret && !f->conf.n)) {
		int off = weir_fault_off(f, ret ? NULL : err);

		ret = ret ? ret : off;
	}
	weir_fault_close(f);
	return ret;
}

/* ---- reset */

static int check_reset(const struct weir_fault_cmd *c, struct weir_error *err)
{
	const struct weir_fault_words *w = &c->rule;
	const struct {
		const char *option;
		bool given;
	} others[] = {
		{ "-i", w->iface },
		{ "-Q", w->direction },
		{ "--listen", w->listen },
		{ "--pid", w->pid },
		{ "--fd", w->fd },
		{ "--truncate", w->truncate },
		{ "--drop", w->drop },
		{ "--rate", w->rate },
		{ "--delay", w->delay },
		{ "--jitter", w->jitter },
		{ "--corrupt", w->corrupt },
		{ "--fix-checksum", w->fix_checksum },
		{ "--probability", w->probability },
		{ "--nth", w->nth },
		{ "--seed", w->seed },
		{ "--ttl", w->ttl },
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(others); i++)
		if (others[i].given)
			return weir_fail(err, -EINVAL,
					 "--reset ends the connections that match, once: leave %s "
					 "out",
					 others[i].option);
	if (!weir_policy_is_rule_name(c->words.v[0]))
		return weir_fail(err, -EINVAL,
				 "\"%s\": cannot be a name: use up to %d letters, digits and _.:-",
				 c->words.v[0], WEIR_RULE_NAME_MAX - 1);
	return 0;
}

static int reset(struct weir_fault_cmd *c, struct weir_error *err)
{
	const struct weir_conn_spec spec = {
		.match = { .protocol = c->rule.protocol,
			   .src_ip = c->rule.src_ip,
			   .dst_ip = c->rule.dst_ip,
			   .src_port = c->rule.src_port,
			   .dst_port = c->rule.dst_port,
			   .expression = c->rule.expression },
		.local_ip = c->local_ip,
		.local_port = c->local_port,
		.remote_ip = c->remote_ip,
		.remote_port = c->remote_port,
	};
	struct weir_match *m = NULL;
	size_t n = 0;
	int ret = check_reset(c, err);

	if (!ret)
		ret = weir_conn_match_parse_tcp(&spec, &m, err);
	if (!ret && weir_match_is_all(m))
		ret = weir_fail(err, -EINVAL,
				"it would end every connection of this host: say which "
				"(--dst-port 443)");
	if (ret) {
		weir_match_free(m);
		return weir_fault_cmd_usage(c, ret);
	}
	ret = weir_fault_reset(c->words.v[0], m, c->force, &n, err);
	weir_match_free(m);
	if (!ret || n)
		weir_fault_cmd_tell("%s: reset %zu connection%s", c->words.v[0], n,
				    n == 1 ? "" : "s");
	return ret;
}

/* ---- Rules */

/* When it ends is what an operator must know of a fault. */
static void tell_added(const struct weir_fault *f, const char *name)
{
	for (size_t i = 0; i < f->conf.n; i++) {
		const struct weir_fault_conf_rule *r = &f->conf.v[i];
		weir_autobuf struct weir_buf text = { 0 };

		if (strcmp(r->name, name) != 0)
			continue;
		weir_fault_print_action(r, &text);
		weir_buf_adds(&text, ", ends in ");
		weir_buf_add_duration(&text, r->expires - f->boot);
		weir_fault_cmd_tell("%s:%s%s", name, text.len && *text.data == ' ' ? "" : " ",
				    text.failed ? "in force" : text.data);
	}
}

static int add(struct weir_fault_cmd *c, struct weir_error *err)
{
	weir_auto_fault_conf next = { 0 };
	struct weir_fault_conf_rule r;
	struct weir_fault f;
	int ret;

	if (c->local_ip || c->local_port || c->remote_ip || c->remote_port) {
		weir_fault_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL,
				 "--local-* and --remote-* are for --reset: packets have --src-ip, "
				 "--dst-ip, --src-port, --dst-port and -Q");
	}
	ret = weir_fault_rule_make(&c->rule, c->words.v[0], &r, err);
	if (ret)
		return weir_fault_cmd_usage(c, ret);
	ret = begin(&f, true, &next, err);
	if (ret) {
		weir_fault_rule_free(&r);
		return ret;
	}
	ret = weir_fault_conf_add(&next, &r, true, err);
	if (!ret)
		ret = weir_fault_commit(&f, &next, c->force, err);
	if (!ret)
		tell_added(&f, c->words.v[0]);
	return end(&f, ret, err);
}

int weir_fault_do_add(struct weir_fault_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf expression = { 0 };

	for (unsigned int i = 1; i < c->words.n; i++)
		weir_buf_addf(&expression, "%s%s", i > 1 ? " " : "", c->words.v[i]);
	if (expression.failed)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	c->rule.expression = expression.data;
	return c->reset ? reset(c, err) : add(c, err);
}

int weir_fault_do_del(struct weir_fault_cmd *c, struct weir_error *err)
{
	weir_auto_fault_conf next = { 0 };
	struct weir_fault f;
	int ret = begin(&f, false, &next, err);

	if (ret)
		return ret;
	for (unsigned int i = 0; !ret && i < c->words.n; i++)
		ret = weir_fault_conf_del(&next, c->words.v[i], err);
	if (!ret)
		ret = weir_fault_commit(&f, &next, false, err);
	return end(&f, ret, err);
}

int weir_fault_do_clear(struct weir_fault_cmd *c, struct weir_error *err)
{
	struct weir_fault f;
	int ret = weir_fault_open(&f, false, err);

	(void)c;
	if (ret)
		return ret == -ENOENT ? WEIR_EXIT_DONE : ret;
	ret = weir_fault_off(&f, err);
	weir_fault_close(&f);
	return ret;
}

int weir_fault_do_apply(struct weir_fault_cmd *c, struct weir_error *err)
{
	const char *path = c->words.v[0];
	weir_auto_fault_conf next = { 0 };
	struct weir_fault f;
	size_t n;
	int ret = weir_fault_read(path, &next, err);

	if (ret)
		return ret == -EINVAL || ret == -E2BIG ? weir_fault_cmd_usage(c, ret) : ret;
	n = next.n;
	ret = weir_fault_open(&f, true, err);
	if (ret)
		return ret;
	ret = weir_fault_commit(&f, &next, c->force, err);
	ret = end(&f, ret, err);
	if (!ret)
		weir_fault_cmd_tell("applied %s: %zu rule%s", weir_file_name(path), n,
				    n == 1 ? "" : "s");
	return ret;
}
