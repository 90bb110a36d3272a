/* SPDX-License-Identifier: GPL-2.0-only */
/* The rules as a file: apply, show, save. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "cap/steer/steer_cmd.h"

#define UNIT "weir-steer.service"

int weir_steer_do_apply(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_auto_steer_conf next = { 0 };
	const struct weir_steer_change change = { .next = &next,
						  .missing_ok = true,
						  .fresh_all = true };
	struct weir_steer s;
	size_t n;
	int ret = weir_steer_read(c->words.v[0], &next, err);

	if (ret)
		return ret == -EINVAL || ret == -E2BIG ? weir_steer_cmd_usage(c, ret) : ret;
	n = next.n_rules;
	ret = weir_steer_open(&s, true, err);
	if (ret)
		return ret;
	ret = weir_steer_cmd_commit(&s, &change, err);
	if (!ret) {
		weir_steer_cmd_tell_routes(s.conf.rules, s.conf.n_rules);
		weir_steer_cmd_tell("applied %s: %zu rule%s", weir_file_name(c->words.v[0]), n,
				    n == 1 ? "" : "s");
	}
	if (!s.letter && s.dir.fd >= 0)
		weir_steer_off(&s, NULL);
	weir_steer_close(&s);
	return ret;
}

int weir_steer_do_show(struct weir_steer_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_steer s;
	int ret = weir_steer_open(&s, false, err);

	(void)c;
	if (ret)
		return ret == -ENOENT ? WEIR_EXIT_DONE : ret;
	weir_steer_print(&s.conf, 0, s.clock.boot, &out);
	weir_steer_close(&s);
	return weir_verb_print("steer", &out, WEIR_EXIT_DONE);
}

static void tell_boot(void)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_file_tell_unit(UNIT, &text);
	weir_steer_cmd_tell("%s", text.failed ? UNIT : text.data);
}

int weir_steer_do_save(struct weir_steer_cmd *c, struct weir_error *err)
{
	const char *path = c->words.n ? c->words.v[0] : WEIR_STEER_CONF;
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_steer s;
	size_t n;
	int ret;

	if ((c->boot && c->words.n) || !strcmp(path, "-")) {
		weir_steer_cmd_usage(c, 0);
		return weir_fail(err, -EINVAL,
				 c->boot ? "--boot has its place, " WEIR_STEER_CONF
					   ": leave FILE out" :
					   "\"-\" is no file: `weir steer show` prints the rules");
	}
	ret = weir_steer_open(&s, false, err);
	if (ret)
		return ret;
	weir_buf_adds(&text, "# weir steer, saved ");
	weir_buf_add_rfc3339(&text, weir_clock_real() / WEIR_NSEC_PER_SEC * WEIR_NSEC_PER_SEC);
	weir_buf_adds(&text, "; `weir steer apply` reads it, see weir-steer(8)\n");
	weir_steer_print(&s.conf, WEIR_STEER_LASTING, s.clock.boot, &text);
	n = s.conf.n_rules;
	weir_steer_close(&s);
	if (!c->words.n && mkdir(WEIR_STEER_CONF_DIR, 0755) && errno != EEXIST)
		return weir_fail(err, -errno, "cannot make %s: %s", WEIR_STEER_CONF_DIR,
				 strerror(errno));
	ret = weir_file_replace(path, &text, err);
	if (ret)
		return ret;
	weir_steer_cmd_tell("saved to %s: %zu rule%s", path, n, n == 1 ? "" : "s");
	if (c->boot)
		tell_boot();
	return 0;
}
