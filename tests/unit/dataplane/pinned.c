/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>

#include <bpf/bpf.h>

#include "in_child.h"

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/pinned.h"

/* A network namespace and a bpffs that nobody else sees, and that go with the
 * process. */
static bool alone(void)
{
	return unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
	       mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL) == 0;
}

static bool pin_map(const char *verb, const char *name)
{
	struct weir_pin_dir d;
	weir_autoclose int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_test", 4, 4, 1, NULL);
	bool ok = map >= 0 && weir_pin_open(&d, verb, true, NULL) == 0;

	if (ok) {
		ok = weir_pin_put(&d, name, map, NULL) == 0;
		weir_pin_close(&d);
	}
	return ok;
}

static bool nothing_is_an_empty_list(void)
{
	weir_autopinned struct weir_pinned p = { 0 };

	return alone() && weir_pinned_get(&p, NULL, NULL) == 0 && p.n == 0 && p.netns != 0;
}

static bool lists_by_verb(void)
{
	weir_autopinned struct weir_pinned all = { 0 }, one = { 0 };

	if (!alone() || !pin_map("filter", "a") || !pin_map("filter", "b") ||
	    !pin_map("fault", "a") || weir_pinned_any("steer"))
		return false;
	return weir_pinned_any("fault") && weir_pinned_get(&all, NULL, NULL) == 0 &&
	       all.n == 3 &&
	       weir_pinned_get(&one, "fault", NULL) == 0 && one.n == 1 &&
	       strcmp(one.v[0].name, "a") == 0 && strcmp(one.v[0].type, "map") == 0 &&
	       one.v[0].id != 0 && weir_pinned_has(&all, &one.v[0]);
}

static bool other_namespaces_are_left_out(void)
{
	weir_autopinned struct weir_pinned p = { 0 };

	return alone() && pin_map("filter", "a") && unshare(CLONE_NEWNET) == 0 &&
	       weir_pinned_get(&p, NULL, NULL) == 0 && p.n == 0;
}

static bool what_unload_took_is_the_difference(void)
{
	weir_autopinned struct weir_pinned before = { 0 }, after = { 0 };

	if (!alone() || !pin_map("filter", "a") || !pin_map("fault", "a"))
		return false;
	if (weir_pinned_get(&before, NULL, NULL) != 0 || weir_pin_unload("filter", NULL) < 0 ||
	    weir_pinned_get(&after, NULL, NULL) != 0)
		return false;
	weir_pinned_subtract(&before, &after);
	return before.n == 1 && strcmp(before.v[0].verb, "filter") == 0 && after.n == 1 &&
	       strcmp(after.v[0].verb, "fault") == 0;
}

static bool shown_as_text_and_json(void)
{
	weir_autobuf struct weir_buf text = { 0 }, json = { 0 };
	weir_autopinned struct weir_pinned p = { 0 };
	struct weir_json j;

	if (!alone() || !pin_map("filter", "rules") || weir_pinned_get(&p, NULL, NULL) != 0)
		return false;
	weir_pinned_table(&p, &text);
	weir_json_init(&j, &json);
	weir_json_object(&j, NULL);
	weir_pinned_json(&p, &j, "pinned");
	weir_json_end_object(&j);
	return strstr(text.data, "  filter  rules   map") &&
	       strstr(json.data, "{\"pinned\":[{\"verb\":\"filter\",\"name\":\"rules\",\"type\":\"map\"");
}

static void pinned(void **state)
{
	(void)state;
	if (geteuid() != 0 || !(weir_caps_effective() & WEIR_CAP_SYS_ADMIN))
		skip();
	assert_true(in_child(nothing_is_an_empty_list));
	assert_true(in_child(lists_by_verb));
	assert_true(in_child(other_namespaces_are_left_out));
	assert_true(in_child(what_unload_took_is_the_difference));
	assert_true(in_child(shown_as_text_and_json));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pinned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
