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
#define LINK "link-"

/* What is pinned of a rule. The link comes last and goes first: with it the rule begins
 * and ends. */
static const char *const kinds[] = { WEIR_PIN_STOP, "socks-", "ended-", "conns-", "rule-", LINK };

#define KINDS WEIR_ARRAY_SIZE(kinds)

static const char *pin_name(char buf[64], const char *kind, const char *name)
{
	snprintf(buf, 64, "%s%.*s", kind, WEIR_BYPASS_NAME_MAX, name);
	return buf;
}

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
	DIR *dir = opendir(d->path);
	struct dirent *e;
	int n = 0;

	if (!dir)
		return weir_fail(err, -errno, "cannot read %s: run as root", d->path);
	while (n < WEIR_BYPASS_RULES_MAX && (e = readdir(dir)))
		if (!strncmp(e->d_name, LINK, sizeof(LINK) - 1))
			snprintf(names[n++], WEIR_BYPASS_NAME_MAX, "%.*s", WEIR_BYPASS_NAME_MAX - 1,
				 e->d_name + sizeof(LINK) - 1);
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

int weir_bypass_view_open(const struct weir_pin_dir *d, const char *name,
			  struct weir_bypass_view *v, struct weir_error *err)
{
	char pin[64];

	v->link_fd = weir_pin_get(d, pin_name(pin, LINK, name));
	v->rule_fd = weir_pin_get(d, pin_name(pin, "rule-", name));
	v->conns_fd = weir_pin_get(d, pin_name(pin, "conns-", name));
	v->socks_fd = weir_pin_get(d, pin_name(pin, "socks-", name));
	if (v->link_fd >= 0 && v->rule_fd >= 0 && v->conns_fd >= 0 && v->socks_fd >= 0)
		return 0;
	if (v->link_fd == -ENOENT) {
		weir_bypass_view_close(v);
		return weir_fail(err, -ENOENT, "no rule is called %s: see `weir bypass list`",
				 name);
	}
	weir_bypass_view_close(v);
	return weir_fail(err, -EPROTO,
			 "what is pinned of rule %s is incomplete: "
			 "`weir bypass off %s`",
			 name, name);
}

static bool is_alive(const struct weir_bypass_view *v, uint64_t id)
{
	struct weir_bypass_end end = { .id = id };
	uint64_t cookie;

	for (; end.side < WEIR_BYPASS_SIDES; end.side++)
		if (!bpf_map_lookup_elem(v->socks_fd, &end, &cookie))
			return true;
	return false;
}

/* Nobody else writes: both sockets have gone. The rule's counters may move meanwhile. */
static void count_gone(const struct weir_bypass_view *v, const struct weir_bypass_conn *c)
{
	struct weir_bypass_rule r;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(v->rule_fd, &zero, &r))
		return;
	r.closed += (c->state & WEIR_BYPASS_BOTH) == WEIR_BYPASS_BOTH;
	r.folds++;
	for (int i = 0; i < WEIR_BYPASS_SIDES; i++) {
		r.sum[i].bytes += c->way[i].bytes;
		r.sum[i].messages += c->way[i].messages;
		r.sum[i].tcp_bytes += c->way[i].tcp_bytes + c->way[i].tcp_pending;
	}
	bpf_map_update_elem(v->rule_fd, &zero, &r, BPF_EXIST);
}

void weir_bypass_view_sweep(const struct weir_bypass_view *v)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	weir_autofree uint64_t *ids = calloc(WEIR_BYPASS_CONNS_MAX, sizeof(*ids));
	uint64_t *at = NULL;
	size_t n = 0;

	/* While the program is attached it counts by itself. */
	if (!ids || bpf_obj_get_info_by_fd(v->link_fd, &info, &len) || info.cgroup.cgroup_id)
		return;
	while (n < WEIR_BYPASS_CONNS_MAX && !bpf_map_get_next_key(v->conns_fd, at, &ids[n]))
		at = &ids[n++];
	for (size_t i = 0; i < n; i++) {
		struct weir_bypass_conn c;

		if (is_alive(v, ids[i]) || bpf_map_lookup_elem(v->conns_fd, &ids[i], &c))
			continue;
		if (!bpf_map_delete_elem(v->conns_fd, &ids[i]))
			count_gone(v, &c);
	}
}

/* ---- Change */

int weir_bypass_remove(const struct weir_pin_dir *d, const char *name, struct weir_error *err)
{
	for (size_t i = KINDS; i-- > 0;) {
		char pin[64], path[sizeof(d->path) + sizeof(pin) + 1];
		weir_autoclose int fd = weir_pin_get(d, pin_name(pin, kinds[i], name));

		if (fd < 0)
			continue;
		weir_pin_stop(pin, fd);
		snprintf(path, sizeof(path), "%s/%s", d->path, pin);
		if (unlink(path) && errno != ENOENT)
			return weir_fail(err, -errno, "cannot remove %s: run as root", path);
	}
	return 0;
}

int weir_bypass_put(const struct weir_pin_dir *d, const char *name, struct weir_bypass_road *r,
		    struct weir_error *err)
{
	const int fds[KINDS] = { r->stop_fd,  r->socks_fd, r->ended_fd,
				 r->conns_fd, r->rule_fd,  r->link_fd };
	int ret = weir_bypass_remove(d, name, err);
	char pin[64];

	for (size_t i = 0; !ret && i < KINDS; i++)
		ret = weir_pin_put(d, pin_name(pin, kinds[i], name), fds[i], err);
	if (ret)
		weir_bypass_remove(d, name, NULL);
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
