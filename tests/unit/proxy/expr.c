/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/expr.h"

static struct weir_expr *make(const char *pattern)
{
	struct weir_expr *e = NULL;
	struct weir_error err = { "" };

	if (weir_expr_new(pattern, &e, &err))
		fail_msg("%s: %s", pattern, err.msg);
	return e;
}

static void matches(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool match;
	} cases[] = {
		{ "", "", true },
		{ "", "a", true },
		{ "a", "", false },
		{ "abc", "xabcx", true },
		{ "abc", "ABC", true },
		{ "ABC", "abc", true },
		{ "^abc", "xabc", false },
		{ "abc$", "abcx", false },
		{ "^abc$", "abc", true },
		{ "^$", "", true },
		{ "^$", "a", false },
		{ "$", "a", true },
		{ "a^b", "ab", false },
		{ "(^|x)b", "b", true },
		{ "(^|x)b", "axb", true },
		{ "(^|x)b", "ab", false },
		{ "b($|x)", "ab", true },
		{ "a.c", "abc", true },
		{ "a.c", "ac", false },
		{ "a\\.c", "abc", false },
		{ "a\\.c", "a.c", true },
		{ "ab*c", "ac", true },
		{ "ab*c", "abbbc", true },
		{ "ab+c", "ac", false },
		{ "ab+c", "abbc", true },
		{ "^ab?c$", "abbc", false },
		{ "^ab?c$", "ac", true },
		{ "^a{2}$", "a", false },
		{ "^a{2}$", "aa", true },
		{ "^a{2}$", "aaa", false },
		{ "^a{2,}$", "aaaa", true },
		{ "^a{2,3}$", "aaaa", false },
		{ "^a{2,3}$", "aaa", true },
		{ "^a{,2}$", "", true },
		{ "^a{,2}$", "aaa", false },
		{ "^a{0}b$", "b", true },
		{ "^(ab){2}$", "abab", true },
		{ "^(ab|c){2,3}$", "abcab", true },
		{ "^(a*)*$", "aaa", true },
		{ "^(a*)+b$", "b", true },
		{ "^(a|b|cd)$", "cd", true },
		{ "^(a|b|cd)$", "c", false },
		{ "a|b|", "x", true },
		{ "^()$", "", true },
		{ "x|^y", "ay", false },
		{ "[abc]", "xxc", true },
		{ "[^abc]", "abc", false },
		{ "[^abc]", "ABCd", true },
		{ "^[a-c0-9]+$", "a1B2", true },
		{ "^[]]$", "]", true },
		{ "^[^]]$", "]", false },
		{ "^[a-]$", "-", true },
		{ "^[-a]$", "-", true },
		{ "^[[:digit:]]+$", "0123", true },
		{ "^[[:alpha:][:digit:]]+$", "a1-", false },
		{ "^[[:upper:]]$", "a", true },
		{ "^[.]$", "a", false },
		{ "a{2}{2}", "aaa", false },
		{ "a{2}{2}", "aaaa", true },
		{ "^www[0-9]+\\.example\\.(com|net)$", "www12.example.net", true },
		{ "^www[0-9]+\\.example\\.(com|net)$", "www.example.net", false },
		{ "^(.+\\.)?example\\.org$", "example.org", true },
		{ "^(.+\\.)?example\\.org$", "a.b.example.org", true },
		{ "^(.+\\.)?example\\.org$", "anexample.org", false },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_expr *e = make(cases[i].pattern);

		if (weir_expr_match(e, cases[i].text) != cases[i].match)
			fail_msg("/%s/ on \"%s\"", cases[i].pattern, cases[i].text);
		weir_expr_free(e);
	}
}

static void errors(void **state)
{
	static const struct {
		const char *pattern, *want;
	} cases[] = {
		{ "(a", "Unmatched ( or \\(" },
		{ "a)", "Unmatched ) or \\)" },
		{ "[a", "Unmatched [, [^, [:, [., or [=" },
		{ "[]", "Unmatched [, [^, [:, [., or [=" },
		{ "[[:digit]", "Unmatched [, [^, [:, [., or [=" },
		{ "[[:foo:]]", "Invalid character class name" },
		{ "[[.a.]]", "Invalid collation character" },
		{ "[z-a]", "Invalid range end" },
		{ "[a-[:digit:]]", "Invalid range end" },
		{ "*a", "Invalid preceding regular expression" },
		{ "a|+", "Invalid preceding regular expression" },
		{ "(?a)", "Invalid preceding regular expression" },
		{ "^*", "Invalid preceding regular expression" },
		{ "{2}", "Invalid preceding regular expression" },
		{ "a{2", "Unmatched \\{" },
		{ "a{x}", "Invalid content of \\{\\}" },
		{ "a{,}", "Invalid content of \\{\\}" },
		{ "a{3,2}", "Invalid content of \\{\\}" },
		{ "a{256}", "a repetition of more than 255 times" },
		{ "a{2,65535}", "a repetition of more than 255 times" },
		{ "a{99999999999999999999}", "a repetition of more than 255 times" },
		{ "a\\", "Trailing backslash" },
		{ "(a)\\1", "back references are not offered" },
		{ "\\d+", "\\d is not of extended regular expressions" },
		{ "\\bwww", "\\b is not of extended regular expressions" },
		{ "[\\w.]", "a backslash escapes nothing between brackets" },
		{ "(((a{200}){200}){200}){200}", "its repetitions make it too large" },
		{ "(.{255}){255}", "its repetitions make it too large" },
		{ "((((((((((((((((((((((((((((((((((a", "its parentheses are nested too deep" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		struct weir_expr *e = NULL;
		struct weir_error err = { "" };

		if (weir_expr_new(cases[i].pattern, &e, &err) != -EINVAL || e ||
		    strcmp(err.msg, cases[i].want) != 0)
			fail_msg("%s: \"%s\" instead of \"%s\"", cases[i].pattern, err.msg,
				 cases[i].want);
	}
}

/* Names and expressions for which backtracking, or states that are made as they come,
 * would never end. */
static void hostile(void **state)
{
	static const char *const patterns[] = {
		"^(a+)+$",
		"(x+x+)+y",
		".*x[a-z]{30}y",
		"^(a|a|aa)*b$",
		"(.*)(.*)(.*)(.*)(.*)b",
		"((a{0,30}){0,30})b",
		"(a?){200}a{200}b",
		"([a-z]*x){20}[a-z]{200}y$",
	};
	char name[254];
	uint64_t seed = 1;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(patterns); i++) {
		struct weir_expr *e = make(patterns[i]);
		uint64_t began = weir_clock_mono();

		for (int round = 0; round < 10; round++) {
			for (size_t j = 0; j < sizeof(name) - 1; j++) {
				seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
				name[j] = round < 5 ? 'a' : "ax"[seed >> 63];
			}
			name[sizeof(name) - 1] = '\0';
			weir_expr_match(e, name);
		}
		/* Some milliseconds each where they are slowest; a sanitizer takes its time. */
		assert_true(weir_clock_mono() - began < 5 * WEIR_NSEC_PER_SEC);
		weir_expr_free(e);
	}
}

/* ---- Against the C library, where that says the same by its own rules */

static uint64_t seed = 1;

static unsigned int pick(unsigned int n)
{
	seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)(seed >> 33) % n;
}

/* At most one repetition in a row, and two in all, as the library takes its time with
 * more; none of anchors, which it mistakes. */
static void make_pattern(char *out)
{
	static const char *const atoms[] = {
		"a",	  "b",	"A",	 "-", ".",	     "\\.",    "(ab|c)", "(a|b)",
		"[ab]",	  "^",	"[^a]",	 "$", "[[:digit:]]", "[^]b-]", "|",	 "1",
		"[a-c.]", "()", "(a|)c", "x", "[[:upper:]]", "(",      ")",
	};
	static const char *const repeats[] = {
		"*", "+", "?", "{2}", "{1,2}", "{,2}", "{2,}", "{0}"
	};
	unsigned int n = 1 + pick(7), left = 2;

	*out = '\0';
	while (n--) {
		strcat(out, atoms[pick(WEIR_ARRAY_SIZE(atoms))]);
		if (left && !pick(3)) {
			strcat(out, repeats[pick(WEIR_ARRAY_SIZE(repeats))]);
			left--;
		}
	}
}

static void compare(const char *pattern, const regex_t *theirs, const struct weir_expr *ours)
{
	for (int i = 0; i < 10; i++) {
		char text[16];
		unsigned int n = pick(9);

		for (unsigned int j = 0; j < n; j++)
			text[j] = "ab-.1xc]"[pick(8)];
		text[n] = '\0';
		if (weir_expr_match(ours, text) != !regexec(theirs, text, 0, NULL, 0))
			fail_msg("/%s/ on \"%s\"", pattern, text);
	}
}

static void library(void **state)
{
	unsigned int compared = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct weir_expr *ours = NULL;
		struct weir_error err;
		regex_t theirs;
		char pattern[128];
		int code, ret;

		make_pattern(pattern);
		code = regcomp(&theirs, pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB);
		ret = weir_expr_new(pattern, &ours, &err);
		/* What the library refuses is refused; a lone ")" it takes. */
		if (code && !ret)
			fail_msg("/%s/ is taken", pattern);
		if (!code && !ret) {
			compare(pattern, &theirs, ours);
			compared++;
		}
		if (!code)
			regfree(&theirs);
		weir_expr_free(ours);
	}
	assert_true(compared > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(matches),
		cmocka_unit_test(errors),
		cmocka_unit_test(hostile),
		cmocka_unit_test(library),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
