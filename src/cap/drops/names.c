/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/names.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BTF_DIR "/sys/kernel/btf"
#define NAMES_MAX 4096
#define SUBSYSTEM_MASK 0xffff0000U /* of a value that no packet has */

static const char prefix[] = "SKB_DROP_REASON_";

/* The kernel's own enum, and those of subsystems: mac80211_drop_reason ... */
static bool is_reasons(const char *name)
{
	static const char end[] = "drop_reason";
	size_t n = strlen(name);

	return n >= sizeof(end) - 1 && strcmp(name + n - (sizeof(end) - 1), end) == 0;
}

/* Ends of lists and masks are no reasons. */
static bool is_reason(const char *name, uint32_t value)
{
	size_t n = strlen(name);

	return value != SUBSYSTEM_MASK && (n < 4 || strcmp(name + n - 4, "_MAX") != 0);
}

static int add_name(struct weir_drops_names *n, const char *name, uint32_t value)
{
	size_t at = n->n;
	uint32_t *values = reallocarray(n->value, n->n + 1, sizeof(*n->value));
	char(*names)[WEIR_DROPS_NAME_MAX];

	if (values)
		n->value = values;
	names = reallocarray(n->name, n->n + 1, sizeof(*n->name));
	if (names)
		n->name = names;
	if (!values || !names)
		return -ENOMEM;
	while (at && n->value[at - 1] > value)
		at--;
	if (at && n->value[at - 1] == value)
		return 0; /* a second name for it */
	memmove(&n->value[at + 1], &n->value[at], (n->n - at) * sizeof(*n->value));
	memmove(&n->name[at + 1], &n->name[at], (n->n - at) * sizeof(*n->name));
	if (strncmp(name, prefix, sizeof(prefix) - 1) == 0)
		name += sizeof(prefix) - 1;
	else if (strncmp(name, "SKB_", 4) == 0)
		name += 4;
	n->value[at] = value;
	snprintf(n->name[at], sizeof(n->name[at]), "%s", name);
	n->n++;
	return 0;
}

int weir_drops_names_add(struct weir_drops_names *n, const struct btf *btf, uint32_t from)
{
	int ret = 0;

	for (uint32_t id = from; id < btf__type_cnt(btf) && !ret; id++) {
		const struct btf_type *t = btf__type_by_id(btf, id);
		const struct btf_enum *e;

		if (!t || !btf_is_enum(t) || !is_reasons(btf__name_by_offset(btf, t->name_off)))
			continue;
		e = btf_enum(t);
		for (int i = 0; i < btf_vlen(t) && !ret && n->n < NAMES_MAX; i++) {
			const char *name = btf__name_by_offset(btf, e[i].name_off);

			if (is_reason(name, (uint32_t)e[i].val))
				ret = add_name(n, name, (uint32_t)e[i].val);
		}
	}
	return ret;
}

/* A module that names no reasons, or cannot be read, is as if it were not there. */
static int add_modules(struct weir_drops_names *n, struct btf *base)
{
	DIR *dir = opendir(BTF_DIR);
	const struct dirent *d;
	int ret = 0;

	while (dir && !ret && (d = readdir(dir))) {
		struct btf *btf;

		if (d->d_name[0] == '.' || strcmp(d->d_name, "vmlinux") == 0)
			continue;
		btf = btf__load_module_btf(d->d_name, base);
		if (!btf)
			continue;
		ret = weir_drops_names_add(n, btf, btf__type_cnt(base));
		btf__free(btf);
	}
	if (dir)
		closedir(dir);
	return ret;
}

int weir_drops_names_load(struct weir_drops_names *n, struct weir_error *err)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int ret;

	*n = (struct weir_drops_names){ 0 };
	if (!btf)
		return weir_fail(err, -ENOENT,
				 "this kernel has no BTF: boot one that is built with "
				 "CONFIG_DEBUG_INFO_BTF");
	ret = weir_drops_names_add(n, btf, 1);
	if (!ret)
		ret = add_modules(n, btf);
	btf__free(btf);
	if (!ret)
		return 0;
	weir_drops_names_free(n);
	return weir_fail(err, ret, "out of memory");
}

void weir_drops_names_free(struct weir_drops_names *n)
{
	free(n->value);
	free(n->name);
	*n = (struct weir_drops_names){ 0 };
}

const char *weir_drops_name(const struct weir_drops_names *n, uint32_t value, char *buf,
			    size_t size)
{
	size_t low = 0, high = n->n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (n->value[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < n->n && n->value[low] == value)
		snprintf(buf, size, "%s", n->name[low]);
	else
		snprintf(buf, size, "reason %u", value);
	return buf;
}
