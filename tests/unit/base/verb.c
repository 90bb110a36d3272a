/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/verb.h"

static const struct weir_verb watch = { .name = "watch", .group = "See", .summary = "see" };
static const struct weir_verb status = { .name = "status", .group = "Ask", .summary = "ask" };
static const struct weir_verb *const table[] = { &watch, &status, NULL };

/* What was written to @fd since redirect() replaced it, at most @size - 1 bytes. */
struct redirected {
	int fd, saved, file;
};

static struct redirected redirect(int fd)
{
	struct redirected r = { .fd = fd, .saved = dup(fd) };

	r.file = memfd_create("captured", MFD_CLOEXEC);
	assert_true(r.saved >= 0 && r.file >= 0);
	assert_int_equal(dup2(r.file, fd), fd);
	return r;
}

static void restore(struct redirected *r, char *text, size_t size)
{
	ssize_t n = pread(r->file, text, size - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	assert_int_equal(dup2(r->saved, r->fd), r->fd);
	close(r->saved);
	close(r->file);
}

static void finds_registered_verbs(void **state)
{
	(void)state;
	assert_ptr_equal(weir_verb_find("status"), &status);
	assert_null(weir_verb_find("stat"));
}

static void unknown_verb_names_the_nearest(void **state)
{
	struct redirected err;
	char text[256];
	int ret;

	(void)state;
	assert_int_equal(weir_verb_check("unload", NULL), 0);
	assert_int_equal(weir_verb_check("unload", "watch"), 0);
	err = redirect(STDERR_FILENO);
	ret = weir_verb_check("unload", "wacth");
	restore(&err, text, sizeof(text));
	assert_int_equal(ret, WEIR_EXIT_USAGE);
	assert_string_equal(text, "weir unload: unknown verb \"wacth\": did you mean watch?\n");

	err = redirect(STDERR_FILENO);
	ret = weir_verb_check(NULL, "xyzzy");
	restore(&err, text, sizeof(text));
	assert_int_equal(ret, WEIR_EXIT_USAGE);
	assert_string_equal(text, "weir: unknown verb \"xyzzy\": \"weir help\" lists them\n");
}

static void words_are_counted(void **state)
{
	char *argv[] = { (char *)"watch", (char *)"a", (char *)"b", NULL };
	struct weir_strv words = { 0 };
	struct redirected err;
	char text[256];
	int ret;

	(void)state;
	assert_int_equal(weir_verb_parse(&watch, 3, argv, NULL, &words, 2), 0);
	assert_int_equal(words.n, 2);
	words.n = 0;
	err = redirect(STDERR_FILENO);
	ret = weir_verb_parse(&watch, 3, argv, NULL, &words, 1);
	restore(&err, text, sizeof(text));
	assert_int_equal(ret, WEIR_EXIT_USAGE);
	assert_string_equal(text, "weir watch: \"b\" is one argument too many: leave it out\n");
}

static void output_that_cannot_be_written_is_told(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	weir_autoclose int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int saved = dup(STDOUT_FILENO);
	struct redirected err;
	char text[256];
	int ret;

	(void)state;
	assert_true(full >= 0 && saved >= 0);
	weir_buf_adds(&out, "text\n");
	err = redirect(STDERR_FILENO);
	dup2(full, STDOUT_FILENO);
	ret = weir_verb_print("status", &out, WEIR_EXIT_DONE);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	restore(&err, text, sizeof(text));
	assert_int_equal(ret, WEIR_EXIT_FAILED);
	assert_non_null(strstr(text, "weir status: cannot write to standard output"));
}

static void a_reader_that_has_gone_is_no_error(void **state)
{
	weir_autobuf struct weir_buf out = { 0 };
	int saved = dup(STDOUT_FILENO), ends[2], ret;

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	weir_buf_adds(&out, "text\n");
	dup2(ends[1], STDOUT_FILENO);
	ret = weir_verb_print("status", &out, WEIR_EXIT_NO);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	close(ends[1]);
	assert_int_equal(ret, WEIR_EXIT_NO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_registered_verbs),
		cmocka_unit_test(unknown_verb_names_the_nearest),
		cmocka_unit_test(words_are_counted),
		cmocka_unit_test(output_that_cannot_be_written_is_told),
		cmocka_unit_test(a_reader_that_has_gone_is_no_error),
	};

	weir_verb_register(table);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
