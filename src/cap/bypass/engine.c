/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/bypass/engine.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "bypass.skel.h"
#include "dataplane/load.h"

#define VERB "bypass"
#define NEXT "next" /* a directory: what is being made, or removed: not in force */

/* What is pinned of a rule. The link comes last. */
static const char *const pins[] = { WEIR_PIN_STOP,     "socks", WEIR_BYPASS_ENDED,
				    WEIR_BYPASS_CONNS, "rule",	"link" };

int weir_bypass_check_name(const char *name, struct weir_error *err)
{
	size_t n = strlen(name);

	if (n && n < WEIR_BYPASS_NAME_MAX &&
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n)
		return 0;
	return weir_fail(err, -EINVAL,
			 "\"%s\" cannot be a name: use up to %d letters, digits, _ and -", name,
			 WEIR_BYPASS_NAME_MAX - 1);
}

/* What a command that was killed left. */
static int sweep_next(const struct weir_pin_dir *d, struct weir_error *err)
{
	struct weir_pin_dir next;
	int ret = weir_pin_below(d, NEXT, &next, err);

	return ret ? ret : weir_pin_remove(&next, err);
}

int weir_bypass_open(struct weir_pin_dir *d, bool create, struct weir_error *err)
{
	weir_autoclose int meta = -1;
	int ret = weir_pin_open(d, VERB, create, err);

	if (ret)
		return ret;
	meta = weir_pin_get(d, "meta");
	if (meta >= 0)
		ret = weir_pin_check_meta(d, WEIR_BYPASS_ABI, err);
	else
		ret = create ? weir_pin_put_meta(d, VERB, WEIR_BYPASS_ABI, "", err) : -ENOENT;
	if (!ret)
		ret = sweep_next(d, err);
	if (ret)
		weir_pin_close(d);
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int weir_bypass_names(const struct weir_pin_dir *d,
		      char names[WEIR_BYPASS_RULES_MAX][WEIR_BYPASS_NAME_MAX],
		      struct weir_error *err)
{
	struct weir_pin_dir rules;
	struct dirent *e;
	int n = 0, ret = weir_pin_below(d, WEIR_BYPASS_RULES, &rules, err);
	DIR *dir = ret ? NULL : opendir(rules.path);

	if (ret)
		return ret;
	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return weir_fail(err, -errno, "cannot read %s: run as root", rules.path);
	while (n < WEIR_BYPASS_RULES_MAX && (e = readdir(dir)))
		if (*e->d_name != '.')
			snprintf(names[n++], WEIR_BYPASS_NAME_MAX, "%.*s", WEIR_BYPASS_NAME_MAX - 1,
				 e->d_name);
	closedir(dir);
	qsort(names, (size_t)n, WEIR_BYPASS_NAME_MAX, by_name);
	return n;
}

/* ---- One rule */

void weir_bypass_view_close(struct weir_bypass_view *v)
{
	weir_closep(&v->link_fd);
	weir_closep(&v->rule_fd);
	weir_closep(&v->conns_fd);
	weir_closep(&v->socks_fd);
	*v = (struct weir_bypass_view){ -1, -1, -1, -1 };
}

static int find_rule(const struct weir_pin_dir *d, const char *name, struct weir_pin_dir *ret,
		     struct weir_error *err)
{
	struct weir_pin_dir rules;
	int code = weir_pin_below(d, WEIR_BYPASS_RULES, &rules, err);

	return code ? code : weir_pin_below(&rules, name, ret, err);
}

int weir_bypass_view_open(const struct weir_pin_dir *d, const char *name,
			  struct weir_bypass_view *v, struct weir_error *err)
{
	struct weir_pin_dir at;
	int ret = find_rule(d, name, &at, err);

	if (ret)
		return ret;
	v->link_fd = weir_pin_get(&at, "link");
	v->rule_fd = weir_pin_get(&at, "rule");
	v->conns_fd = weir_pin_get(&at, WEIR_BYPASS_CONNS);
	v->socks_fd = weir_pin_get(&at, "socks");
	if (v->link_fd >= 0 && v->rule_fd >= 0 && v->conns_fd >= 0 && v->socks_fd >= 0)
		return 0;
	ret = access(at.path, F_OK) ? -ENOENT : -EPROTO;
	weir_bypass_view_close(v);
	if (ret == -ENOENT)
		return weir_fail(err, ret, "no rule is called %s: see `weir bypass list`", name);
	return weir_fail(err, ret,
			 "what is pinned of rule %s is incomplete: "
			 "`weir bypass off %s`",
			 name, name);
}

/* ---- Change */

int weir_bypass_remove(const struct weir_pin_dir *d, const char *name, struct weir_error *err)
{
	struct weir_pin_dir at, next;
	int ret = find_rule(d, name, &at, err);

	if (!ret)
		ret = weir_pin_below(d, NEXT, &next, err);
	if (!ret)
		ret = weir_pin_move(&at, &next, err);
	return ret ? ret : weir_pin_remove(&next, err);
}

static int fill(const struct weir_pin_dir *next, const struct weir_bypass_road *r,
		struct weir_error *err)
{
	const int fds[] = { r->stop_fd,	 r->socks_fd, r->ended_fd,
			    r->conns_fd, r->rule_fd,  r->link_fd };
	int ret = weir_pin_make(next, err);

	_Static_assert(WEIR_ARRAY_SIZE(fds) == WEIR_ARRAY_SIZE(pins), "one each");
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(pins); i++)
		ret = weir_pin_put(next, pins[i], fds[i], err);
	return ret;
}

int weir_bypass_put(const struct weir_pin_dir *d, const char *name, struct weir_bypass_road *r,
		    struct weir_error *err)
{
	struct weir_pin_dir rules, at, next;
	int ret = weir_pin_below(d, WEIR_BYPASS_RULES, &rules, err);

	if (!ret)
		ret = weir_pin_below(&rules, name, &at, err);
	if (!ret)
		ret = weir_pin_below(d, NEXT, &next, err);
	if (!ret)
		ret = weir_pin_make(&rules, err);
	if (ret)
		return ret;
	ret = fill(&next, r, err);
	/* One step, before which the old rule is in force, and behind which the new one is. */
	if (!ret)
		ret = weir_pin_move(&next, &at, err);
	/* The old rule, or what was made of the new one. */
	weir_pin_remove(&next, NULL);
	return ret;
}

/* ---- What the check said */

#define CHECKED "checked"

static uint64_t programs_hash(void)
{
	size_t n;
	const void *elf = bypass_bpf__elf_bytes(&n);

	return weir_load_hash(elf, n);
}

int weir_bypass_checked_get(const struct weir_pin_dir *d, struct weir_bypass_checked *ret)
{
	weir_autoclose int fd = weir_pin_get(d, CHECKED);
	uint32_t zero = 0;

	if (fd < 0 || bpf_map_lookup_elem(fd, &zero, ret) || ret->programs != programs_hash())
		return -ENOENT;
	ret->bad[sizeof(ret->bad) - 1] = '\0';
	return 0;
}

int weir_bypass_checked_put(const struct weir_pin_dir *d, struct weir_bypass_checked *c,
			    struct weir_error *err)
{
	char path[sizeof(d->path) + sizeof(CHECKED) + 1];
	weir_autoclose int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_bp_checked",
					       sizeof(uint32_t), sizeof(*c), 1, NULL);
	uint32_t zero = 0;

	c->programs = programs_hash();
	if (fd < 0 || bpf_map_update_elem(fd, &zero, c, BPF_ANY))
		return weir_load_explain(err, -errno, "keep what the check said");
	snprintf(path, sizeof(path), "%s/" CHECKED, d->path);
	unlink(path);
	return weir_pin_put(d, CHECKED, fd, err);
}
