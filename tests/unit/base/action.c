/* SPDX-License-Identifier: GPL-2.0-only */
/* An action is found by its name, takes its own options, and says who takes the others. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/action.h"
#include "base/cleanup.h"

struct opts {
	const char *name;
	int choice;
	struct weir_strv list;
};

static const char *const choices[] = { "a", "b", NULL };
static const struct weir_opt options[] = {
	{ "name", 0, WEIR_OPT_STR, offsetof(struct opts, name), "N", .help = "a name" },
	{ "choice", 0, WEIR_OPT_CHOICE, offsetof(struct opts, choice), "C", .choices = choices,
	  .help = "a choice" },
	{ "list", 0, WEIR_OPT_LIST, offsetof(struct opts, list), "L", .help = "a list" },
	{ 0 },
};
static const struct weir_verb verb = { .name = "thing", .options = options };

struct action {
	struct weir_action a;
	int number;
};
static const struct action rows[] = {
	{ { "add", "NAME", " name choice ", 1, 1 }, 1 },
	{ { "del", "[NAME]", " name ", 0, 1 }, 2 },
	{ { "list", "", " name list ", 0, 0 }, 3 },
};
static const struct action rows_or_run[] = {
	{ { "", "", " choice ", 0, 0 }, 4 },
	{ { "stop", "", " ", 0, 0 }, 5 },
};
static const struct opts fresh = { .choice = -1 };

static int choose(const struct opts *o, const char *const *words, unsigned int n, bool or_run,
		  struct weir_error *err)
{
	const struct weir_actions t = {
		.verb = &verb,
		.rows = or_run ? rows_or_run : rows,
		.n = or_run ? WEIR_ARRAY_SIZE(rows_or_run) : WEIR_ARRAY_SIZE(rows),
		.stride = sizeof(rows[0]),
	};
	struct weir_strv given = { .n = n }, rest;
	int ret;

	if (n)
		memcpy(given.v, words, n * sizeof(words[0]));
	ret = weir_action_choose(&t, &given, o, &fresh, &rest, err);
	if (ret >= 0 && n)
		assert_int_equal(rest.n, n - 1);
	return ret;
}

static void the_row_is_found(void **state)
{
	const char *add[] = { "add", "x" }, *stop[] = { "stop" };
	struct weir_error err;

	(void)state;
	assert_int_equal(choose(&fresh, add, 2, false, &err), 0);
	assert_int_equal(choose(&fresh, stop, 1, true, &err), 1);
	assert_int_equal(choose(&fresh, NULL, 0, true, &err), 0);
}

static void check(const struct opts *o, const char *const *words, unsigned int n, bool or_run,
		  const char *says)
{
	struct weir_error err = { "" };

	assert_int_equal(choose(o, words, n, or_run, &err), -EINVAL);
	assert_string_equal(err.msg, says);
}

static void wrong_uses_are_told(void **state)
{
	const char *none[] = { "" }, *near[] = { "lst" }, *far[] = { "frobnicate" };
	const char *add[] = { "add", "x", "y" }, *list[] = { "list" }, *stop[] = { "stop" };
	struct opts named = fresh, chosen = fresh, listed = fresh;

	(void)state;
	named.name = "x";
	chosen.choice = 0;
	listed.list.v[0] = "x";
	listed.list.n = 1;
	check(&fresh, none, 0, false, "no action given: \"weir help thing\" lists them");
	check(&fresh, near, 1, false, "unknown action \"lst\": did you mean list?");
	check(&fresh, far, 1, false,
	      "unknown action \"frobnicate\": \"weir help thing\" lists them");
	check(&fresh, add, 1, false, "add needs more words: weir thing add NAME");
	check(&fresh, add, 3, false, "\"y\" is one argument too many: leave it out");
	check(&chosen, list, 1, false, "--choice does not go with list: it is for add");
	check(&listed, add, 2, false, "--list does not go with add: it is for list");
	check(&named, stop, 1, true, "--name does not go with stop: it is for others");
	check(&chosen, stop, 1, true, "--choice does not go with stop: it is for running it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_row_is_found),
		cmocka_unit_test(wrong_uses_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
