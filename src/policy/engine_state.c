/* SPDX-License-Identifier: GPL-2.0-only */
/* What the filter has pinned: the state, texts, lasting maps, and what has to go. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/tc.h"
#include "policy/engine_impl.h"

#include "lasting.skel.h"

#define PINS_MAX 8192 /* names in the directory that are looked at */

/* ---- Names */

const char *weir_pin_generation(char name[WEIR_PIN_NAME_MAX], uint32_t number, const char *what)
{
	snprintf(name, WEIR_PIN_NAME_MAX, "g%u_%s", number, what);
	return name;
}

const char *weir_pin_set(char name[WEIR_PIN_NAME_MAX], uint32_t number)
{
	snprintf(name, WEIR_PIN_NAME_MAX, "s%u", number);
	return name;
}

void weir_filter_unpin(const struct weir_filter *f, const char *name)
{
	char path[sizeof(f->dir.path) + WEIR_PIN_NAME_MAX + 1];

	weir_tc_forget(name);
	snprintf(path, sizeof(path), "%s/%s", f->dir.path, name);
	unlink(path);
}

/* ---- The directory */

struct names {
	char (*v)[WEIR_PIN_NAME_MAX];
	size_t n;
};

static void free_names(struct names *l)
{
	free(l->v);
}

static int list_names(const struct weir_filter *f, struct names *ret)
{
	DIR *d = opendir(f->dir.path);
	struct dirent *e;
	int code = 0;

	*ret = (struct names){ 0 };
	if (!d)
		return -errno;
	while ((e = readdir(d)) && ret->n < PINS_MAX) {
		void *more;

		if (e->d_name[0] == '.' || strlen(e->d_name) >= WEIR_PIN_NAME_MAX)
			continue;
		more = realloc(ret->v, (ret->n + 1) * sizeof(*ret->v));
		if (!more) {
			code = -ENOMEM;
			break;
		}
		ret->v = more;
		memcpy(ret->v[ret->n++], e->d_name, strlen(e->d_name) + 1);
	}
	closedir(d);
	return code;
}

static bool is_lasting(const char *name)
{
	static const char *const names[] = {
		"state", "meta", "account", "buckets", "replies", "fragments",
	};

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool is_link(const char *name)
{
	static const char *const prefixes[] = { "gate_", "tc_", "nf_", "learn_" };

	if (strcmp(name, "tc_slot") == 0 || strcmp(name, "nf_slot") == 0)
		return false;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(prefixes); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	return false;
}

bool weir_state_is_bare(const struct weir_filter *f)
{
	weir_cleanup(free_names) struct names l = { 0 };

	if (list_names(f, &l))
		return false;
	for (size_t i = 0; i < l.n; i++)
		if (!is_lasting(l.v[i]))
			return false;
	return true;
}

void weir_state_wipe(const struct weir_filter *f)
{
	weir_cleanup(free_names) struct names l = { 0 };

	if (list_names(f, &l))
		return;
	for (size_t i = 0; i < l.n; i++) {
		if (!is_link(l.v[i]))
			continue;
		weir_tc_forget(l.v[i]);
		weir_filter_unpin(f, l.v[i]);
	}
	for (int h = 0; h < WEIR_HOOKS; h++)
		weir_slot_forget(f, (enum weir_policy_hook)h);
	for (size_t i = 0; i < l.n; i++)
		if (!is_lasting(l.v[i]))
			weir_filter_unpin(f, l.v[i]);
	/* `state` and `meta` are the last to go: they tell how to go on. */
	for (size_t i = 0; i < l.n; i++)
		if (strcmp(l.v[i], "state") != 0 && strcmp(l.v[i], "meta") != 0)
			weir_filter_unpin(f, l.v[i]);
	weir_filter_unpin(f, "state");
	weir_filter_unpin(f, "meta");
}

/* ---- Maps */

/* The map @name of lasting.bpf.c, with @entries elements (0: as written there).
 * Returns its descriptor. */
static int make_map(const char *name, uint32_t entries, struct weir_error *err)
{
	struct lasting_bpf *skel;
	struct bpf_map *map;
	int fd = -ENOENT;

	weir_load_setup();
	skel = lasting_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the filter's maps");
	bpf_object__for_each_map(map, skel->obj) {
		bool wanted = strcmp(bpf_map__name(map), name) == 0;

		bpf_map__set_autocreate(map, wanted);
		if (wanted && entries)
			bpf_map__set_max_entries(map, entries);
	}
	fd = weir_load(skel->obj, NULL, err);
	if (!fd) {
		fd = fcntl(bpf_object__find_map_fd_by_name(skel->obj, name), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			fd = weir_load_explain(err, -errno, "make the filter's maps");
	}
	lasting_bpf__destroy(skel);
	return fd;
}

static const struct {
	const char *map, *pin;
} lasting[WEIR_LASTING_MAPS] = {
	[WEIR_LASTING_ACCOUNT] = { "weir_account", "account" },
	[WEIR_LASTING_BUCKETS] = { "weir_buckets", "buckets" },
	[WEIR_LASTING_REPLIES] = { "weir_replies", "replies" },
	[WEIR_LASTING_FRAGMENTS] = { "weir_fragments", "fragments" },
};

int weir_lasting_need(struct weir_filter *f, enum weir_lasting_map which, struct weir_error *err)
{
	int fd, ret;

	if (f->lasting_fd[which] >= 0)
		return 0;
	fd = make_map(lasting[which].map, 0, err);
	if (fd < 0)
		return fd;
	ret = weir_pin_put(&f->dir, lasting[which].pin, fd, err);
	if (ret) {
		close(fd);
		return ret;
	}
	f->lasting_fd[which] = fd;
	if (which == WEIR_LASTING_ACCOUNT) {
		weir_closep(&f->account_fd);
		f->account_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	}
	return 0;
}

static bool has_value_size(int fd, uint32_t size)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	return !bpf_obj_get_info_by_fd(fd, &info, &len) && info.value_size == size;
}

static void open_lasting(struct weir_filter *f)
{
	for (int i = 0; i < WEIR_LASTING_MAPS && !f->foreign; i++) {
		int fd = weir_pin_get(&f->dir, lasting[i].pin);

		f->lasting_fd[i] = fd < 0 ? -1 : fd;
	}
	f->account_fd = weir_pin_get(&f->dir, lasting[WEIR_LASTING_ACCOUNT].pin);
	/* Of another ABI it may have another form. */
	if (f->account_fd >= 0 &&
	    !has_value_size(f->account_fd, sizeof(struct weir_filter_account))) {
		close(f->account_fd);
		f->account_fd = -1;
	}
}

/* ---- The state */

int weir_state_write(struct weir_filter *f, struct weir_error *err)
{
	uint32_t zero = 0;

	if (bpf_map_update_elem(f->state_fd, &zero, &f->state, BPF_ANY))
		return weir_load_explain(err, -errno, "write the filter's state");
	return 0;
}

static int begin_state(struct weir_filter *f, struct weir_error *err)
{
	f->state_fd = make_map("weir_state", 0, err);
	if (f->state_fd < 0)
		return f->state_fd;
	if (getrandom(f->state.seed, sizeof(f->state.seed), 0) != sizeof(f->state.seed))
		return weir_fail(err, -EIO, "no random numbers: see getrandom(2)");
	return weir_state_write(f, err);
}

/* Whose is it? `meta` is written last, so a first change that was killed has none. */
static int read_meta(struct weir_filter *f, struct weir_error *err)
{
	weir_autoclose int fd = weir_pin_get(&f->dir, "meta");
	struct weir_pin_meta meta;
	uint32_t zero = 0;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0 || !has_value_size(fd, sizeof(meta)) || bpf_map_lookup_elem(fd, &zero, &meta) ||
	    meta.abi != WEIR_PIN_ABI)
		return weir_pin_check_meta(&f->dir, WEIR_FILTER_ABI, err);
	f->foreign = meta.verb_abi != WEIR_FILTER_ABI;
	return 0;
}

int weir_state_open(struct weir_filter *f, struct weir_error *err)
{
	uint32_t zero = 0;
	int ret = read_meta(f, err);

	if (ret)
		return ret;
	f->state_fd = weir_pin_get(&f->dir, "state");
	if (f->state_fd == -ENOENT && weir_state_is_bare(f)) {
		weir_state_wipe(f);
		return begin_state(f, err);
	}
	if (f->state_fd == -ENOENT)
		return weir_fail(err, -EPROTO,
				 "what is pinned in %s is incomplete: `weir unload filter`",
				 f->dir.path);
	if (f->state_fd < 0)
		return weir_load_explain(err, f->state_fd, "read the filter's state");
	if (!has_value_size(f->state_fd, sizeof(f->state)) ||
	    bpf_map_lookup_elem(f->state_fd, &zero, &f->state)) {
		close(f->state_fd);
		f->state_fd = -1;
		return weir_fail(err, -EPROTO,
				 "what is pinned in %s was made by an incompatible weir: "
				 "`weir unload filter`",
				 f->dir.path);
	}
	if (f->state.current && f->state.abi != WEIR_FILTER_ABI)
		f->foreign = true;
	open_lasting(f);
	return 0;
}

int weir_state_pin(struct weir_filter *f, struct weir_error *err)
{
	weir_autoclose int there = weir_pin_get(&f->dir, "state");

	return there >= 0 ? 0 : weir_pin_put(&f->dir, "state", f->state_fd, err);
}

int weir_state_sign(struct weir_filter *f, struct weir_error *err)
{
	if (!weir_pin_check_meta(&f->dir, WEIR_FILTER_ABI, NULL))
		return 0;
	return weir_pin_put_meta(&f->dir, "filter", WEIR_FILTER_ABI, "", err);
}

struct weir_filter_places *weir_state_places(struct weir_filter *f, uint32_t number, bool make)
{
	struct weir_filter_places *unused = NULL;

	for (int i = 0; i < WEIR_STATE_PLACES; i++) {
		if (number && f->state.places[i].number == number)
			return &f->state.places[i];
		if (!f->state.places[i].number)
			unused = &f->state.places[i];
	}
	if (!make || !unused)
		return NULL;
	memset(unused, 0, sizeof(*unused));
	unused->number = number;
	return unused;
}

bool weir_state_keeps(const struct weir_filter *f, uint32_t number)
{
	return number && (number == f->state.current || number == f->state.previous ||
			  number == f->state.next || number == f->state.next_previous);
}

/* ---- Texts */

static int write_text(int fd, const struct weir_buf *text)
{
	struct weir_filter_text line;

	for (size_t at = 0; at < text->len; at += sizeof(line.bytes)) {
		size_t n = text->len - at;
		uint32_t key = (uint32_t)(at / sizeof(line.bytes));

		memset(&line, 0, sizeof(line));
		memcpy(line.bytes, text->data + at,
		       n < sizeof(line.bytes) ? n : sizeof(line.bytes));
		if (bpf_map_update_elem(fd, &key, &line, BPF_ANY))
			return -errno;
	}
	return 0;
}

int weir_text_put(struct weir_filter *f, uint32_t number, const struct weir_policy *p,
		  struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = -1;
	int ret;

	weir_policy_print(p, WEIR_POLICY_KERNEL, 0, &text);
	if (text.failed)
		return weir_fail(err, -ENOMEM, "out of memory: shorten the policy");
	if (text.len > WEIR_POLICY_TEXT_MAX)
		return weir_fail(err, -E2BIG,
				 "the policy is longer than %u bytes: put addresses "
				 "into sets",
				 WEIR_POLICY_TEXT_MAX);
	fd = make_map("weir_text", (uint32_t)(text.len / WEIR_TEXT_LINE + 1), err);
	if (fd < 0)
		return fd;
	ret = write_text(fd, &text);
	if (ret)
		return weir_load_explain(err, ret, "write the policy's text");
	return weir_pin_put(&f->dir, weir_pin_generation(name, number, "text"), fd, err);
}

static int read_text(int fd, struct weir_buf *ret)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	struct weir_filter_text line;

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	if (info.value_size != sizeof(line))
		return -EPROTO;
	for (uint32_t i = 0; i < info.max_entries; i++) {
		size_t n;

		if (bpf_map_lookup_elem(fd, &i, &line))
			return -errno;
		n = strnlen(line.bytes, sizeof(line.bytes));
		weir_buf_add(ret, line.bytes, n);
		if (n < sizeof(line.bytes))
			break;
	}
	return ret->failed ? -ENOMEM : 0;
}

int weir_text_get(struct weir_filter *f, uint32_t number, struct weir_policy **ret,
		  struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = weir_pin_get(&f->dir, weir_pin_generation(name, number, "text"));
	int code = fd < 0 ? fd : read_text(fd, &text);

	if (code)
		return weir_fail(err, code,
				 "cannot read the policy in force (%s: %s): `weir unload filter`",
				 name, strerror(-code));
	code = weir_policy_parse(text.data ? text.data : "", text.len, name, WEIR_POLICY_KERNEL,
				 ret, err);
	if (!code)
		weir_plan_find_ids(f, *ret);
	return code;
}

/* ---- What has to go */

/* Is the set one of the policy's? */
static bool has_set(const struct weir_policy *p, uint32_t number)
{
	for (size_t i = 0; p && i < p->n_sets; i++)
		if (p->sets[i].number == number)
			return true;
	return false;
}

static bool is_stale(const struct weir_filter *f, const char *name,
		     const struct weir_policy *policy, const struct weir_policy *previous)
{
	size_t len = strlen(name);
	unsigned int number;
	char kind, under;

	/* Of a pin that was on its way to its name. */
	if (len > 4 && strcmp(name + len - 4, "-new") == 0)
		return true;
	if (sscanf(name, "%c%u%c", &kind, &number, &under) != 3 || under != '_')
		return false;
	if (kind == 's')
		return !has_set(policy, number) && !has_set(previous, number);
	return kind == 'g' && !weir_state_keeps(f, number);
}

/* A hook at which no generation that stays has a program. */
static bool hook_is_unused(const struct weir_filter *f, int hook)
{
	const uint32_t kept[] = { f->state.current, f->state.previous };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(kept); i++) {
		char name[WEIR_PIN_NAME_MAX];
		weir_autoclose int fd = -1;

		if (!kept[i])
			continue;
		fd = weir_pin_get(&f->dir,
				  weir_pin_generation(name, kept[i], weir_hook_pins[hook]));
		if (fd >= 0)
			return false;
	}
	return true;
}

int weir_state_collect(struct weir_filter *f, const struct weir_policy *policy,
		       struct weir_error *err)
{
	weir_cleanup(free_names) struct names l = { 0 };
	weir_auto_policy *previous = NULL;
	int ret = 0;

	for (int i = 0; i < WEIR_STATE_PLACES; i++)
		if (f->state.places[i].number && !weir_state_keeps(f, f->state.places[i].number))
			weir_detach(f, &f->state.places[i]);
	weir_step("detached");
	if (f->state.previous)
		ret = weir_text_get(f, f->state.previous, &previous, err);
	if (!ret && list_names(f, &l))
		ret = weir_fail(err, -errno, "cannot read %s: %m", f->dir.path);
	if (ret)
		return ret;
	for (int h = 0; h < WEIR_HOOKS; h++)
		if (hook_is_unused(f, h))
			weir_slot_forget(f, (enum weir_policy_hook)h);
	for (size_t i = 0; i < l.n; i++)
		if (is_stale(f, l.v[i], policy, previous))
			weir_filter_unpin(f, l.v[i]);
	weir_step("unpinned");
	/* Their places go last: as long as they are there, the rest may be. */
	for (int i = 0; i < WEIR_STATE_PLACES; i++)
		if (!weir_state_keeps(f, f->state.places[i].number))
			memset(&f->state.places[i], 0, sizeof(f->state.places[i]));
	return weir_state_write(f, err);
}
