/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/opt.h"

#define ARGS_MAX 300

struct opts {
	bool quiet, numeric;
	unsigned int time;
	const char *write, *only_long;
	struct weir_strv ifaces;
	uint64_t count, size, wait, free;
	int format;
};

static const char *const formats[] = { "line", "hex", "text", "json", NULL };

#define AT(field) .offset = offsetof(struct opts, field)

static const struct weir_opt table[] = {
	{ "interface", 'i', WEIR_OPT_LIST, AT(ifaces), .arg = "IFACE", .complete = "iface",
	  .help = "capture on IFACE; repeatable", .group = "Where" },
	{ "iface", 0, WEIR_OPT_LIST, AT(ifaces), .arg = "IFACE" },
	{ "count", 'c', WEIR_OPT_U64, AT(count), .min = 1, .max = 64, .group = "What",
	  .help = "stop after N packets, which is a sentence so long that it has to be "
		  "wrapped into the second line of the right column, or even a third" },
	{ "at-least", 0, WEIR_OPT_U64, AT(free), .min = 3, .help = "three or more" },
	{ "snaplen", 's', WEIR_OPT_SIZE, AT(size), .min = 64, .max = 262144,
	  .help = "bytes kept of each packet" },
	{ "for", 0, WEIR_OPT_DURATION, AT(wait), .min = 1000000, .max = 3600000000000ULL,
	  .help = "stop after TIME" },
	{ "format", 0, WEIR_OPT_CHOICE, AT(format), .choices = formats, .group = "How",
	  .help = "print as" },
	{ "write", 'w', WEIR_OPT_STR, AT(write), .arg = "FILE", .complete = "file",
	  .help = "write pcapng to FILE, - is standard output" },
	{ "output", 0, WEIR_OPT_STR, AT(write), .arg = "FILE" },
	{ "a-name-as-long-as-this-one", 0, WEIR_OPT_STR, AT(only_long), .arg = "SOMETHING",
	  .help = "has a line of its own" },
	{ NULL, 'n', WEIR_OPT_FLAG, AT(numeric), .help = "no names", .group = "How" },
	{ "quiet", 'q', WEIR_OPT_FLAG, AT(quiet), .help = "less" },
	{ NULL, 't', WEIR_OPT_COUNT, AT(time), .help = "other times" },
	{ 0 },
};

struct run {
	struct opts o;
	struct weir_strv pos;
	struct weir_error err;
	int r;
};

/* Parse the words of @line behind the verb; "<>" stands for an empty word. */
static void run(struct run *x, const char *line)
{
	static char text[4096];
	char *argv[ARGS_MAX] = { (char *)"watch" };
	int argc = 1;

	memset(x, 0, sizeof(*x));
	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " ")) {
		assert_true(argc < ARGS_MAX);
		argv[argc++] = strcmp(w, "<>") ? w : w + strlen(w);
	}
	x->r = weir_opt_parse(table, argc, argv, &x->o, &x->pos, &x->err);
}

static void forms(void **state)
{
	static const char *const same[] = {
		"--write f -i a --count 5 -n -q -t -t x",
		"--write=f --interface=a --count=5 -nqtt x",
		"-w f -ia -c5 -tnqt x",
		"x -wf -i a -c 5 -nt -qt",
		"-nqttwf -ia -c 5 x",
		"--output f --iface a -c 5 --quiet -n -tt -- x",
	};
	struct run x;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(same); i++) {
		run(&x, same[i]);
		assert_string_equal(x.err.msg, "");
		assert_int_equal(x.r, 0);
		assert_string_equal(x.o.write, "f");
		assert_int_equal(x.o.ifaces.n, 1);
		assert_string_equal(x.o.ifaces.v[0], "a");
		assert_int_equal(x.o.count, 5);
		assert_true(x.o.numeric && x.o.quiet);
		assert_int_equal(x.o.time, 2);
		assert_int_equal(x.pos.n, 1);
		assert_string_equal(x.pos.v[0], "x");
	}
}

static void positionals(void **state)
{
	struct run x;

	(void)state;
	run(&x, "tcp -n and - port -- -q -- --nonsense");
	assert_int_equal(x.r, 0);
	assert_false(x.o.quiet);
	assert_int_equal(x.pos.n, 7);
	assert_string_equal(x.pos.v[2], "-");
	assert_string_equal(x.pos.v[4], "-q");
	assert_string_equal(x.pos.v[5], "--");
	assert_string_equal(x.pos.v[6], "--nonsense");
	run(&x, "<> -w <> --output");
	assert_int_equal(x.r, -EINVAL);
	assert_string_equal(x.pos.v[0], "");
	run(&x, "-w -");
	assert_string_equal(x.o.write, "-");
	run(&x, "--write=--count -w");
	assert_string_equal(x.o.write, "--count");
}

static void values(void **state)
{
	struct run x;

	(void)state;
	run(&x, "-s 64k --for 1.5s --format json -ia -i b --iface c --at-least 99");
	assert_int_equal(x.r, 0);
	assert_int_equal(x.o.size, 65536);
	assert_int_equal(x.o.wait, 1500000000);
	assert_int_equal(x.o.format, 3);
	assert_int_equal(x.o.ifaces.n, 3);
	assert_int_equal(x.o.free, 99);
	run(&x, "-c 3 -c 4"); /* the last one counts, as everywhere */
	assert_int_equal(x.o.count, 4);
}

static void messages(void **state)
{
	static const struct {
		const char *line, *msg;
	} cases[] = {
		{ "--cuont 5", "unknown option --cuont: did you mean --count?" },
		{ "--inter", "unknown option --inter: did you mean --interface?" },
		{ "--formt=json", "unknown option --formt: did you mean --format?" },
		{ "-format json", "unknown option -format: did you mean --format?" },
		{ "--zzzzzz", "unknown option --zzzzzz: \"weir help watch\" lists the options" },
		{ "--", "" },
		{ "--=x", "unknown option --: \"weir help watch\" lists the options" },
		{ "-z", "unknown option -z: \"weir help watch\" lists the options" },
		{ "-nz", "unknown option -z in -nz: \"weir help watch\" lists the options" },
		{ "-n\xc3\xa9",
		  "unknown option -n\xc3\xa9: \"weir help watch\" lists the options" },
		{ "--write", "--write needs a value: give --write FILE" },
		{ "-nw", "-w needs a value: give -w FILE" },
		{ "-c", "-c needs a value: give -c N" },
		{ "-i --count 5", "-i needs a value before --count: give -i IFACE" },
		{ "--write --count=5",
		  "--write needs a value before --count=5: give --write FILE" },
		{ "--quiet=yes", "--quiet takes no value: leave out \"=yes\"" },
		{ "--count x", "--count \"x\" is not a whole number: give one from 1 to 64" },
		{ "-c5x", "-c \"5x\" is not a whole number: give one from 1 to 64" },
		{ "--count=", "--count \"\" is not a whole number: give one from 1 to 64" },
		{ "-c 0", "-c \"0\" is out of range: give one from 1 to 64" },
		{ "-c 65", "-c \"65\" is out of range: give one from 1 to 64" },
		{ "-c -1", "-c \"-1\" is not a whole number: give one from 1 to 64" },
		{ "--at-least 2", "--at-least \"2\" is out of range: give one of at least 3" },
		{ "-s 63", "-s \"63\" is out of range: give one from 64 to 256k" },
		{ "-s 64kb",
		  "-s \"64kb\" is not a size: give one such as 512, 64k, 16m or 1g" },
		{ "--for 10", "--for \"10\" is not a duration: "
			      "give one such as 250ms, 10s, 5m or 1h" },
		{ "--for 2h", "--for \"2h\" is out of range: give one from 1ms to 1h" },
		{ "--format xml",
		  "--format \"xml\" is not known: give line, hex, text or json" },
		{ "-w a --output b", "--output \"b\" after \"a\": give it only once" },
		{ "--a\x1b[1m", "unknown option --a?[1m: \"weir help watch\" lists the options" },
	};
	struct run x;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		run(&x, cases[i].line);
		assert_string_equal(x.err.msg, cases[i].msg);
		assert_int_equal(x.r, *cases[i].msg ? -EINVAL : 0);
	}
}

static void limits(void **state)
{
	weir_autobuf struct weir_buf line = { 0 };
	struct run x;

	(void)state;
	for (int i = 0; i <= WEIR_STRV_MAX; i++)
		weir_buf_adds(&line, "p ");
	run(&x, line.data);
	assert_string_equal(x.err.msg,
			    "\"p\" is one argument too many: give at most 256");
	weir_buf_reset(&line);
	for (int i = 0; i <= WEIR_STRV_MAX; i++)
		weir_buf_adds(&line, "-ie ");
	run(&x, line.data);
	assert_string_equal(x.err.msg,
			    "-i \"e\" is one too many: give it at most 256 times");
}

static void help_without_verb(void **state)
{
	char *argv[] = { (char *)"/usr/sbin/weir", (char *)"-z" };
	struct weir_strv pos = { 0 };
	struct weir_error err = { 0 };
	struct opts o = { 0 };

	(void)state;
	assert_int_equal(weir_opt_parse(table, 2, argv, &o, &pos, &err), -EINVAL);
	assert_string_equal(err.msg, "unknown option -z: \"weir help\" lists the options");
	assert_int_equal(weir_opt_parse(table, 0, argv, &o, &pos, &err), 0);
}

static void usage(void **state)
{
	static const char want[] =
		"Where:\n"
		"  -i, --interface IFACE  capture on IFACE; repeatable\n"
		"\n"
		"What:\n"
		"  -c, --count N          stop after N packets, which is a sentence so long that\n"
		"                         it has to be wrapped into the second line of the right\n"
		"                         column, or even a third\n"
		"      --at-least N       three or more\n"
		"  -s, --snaplen SIZE     bytes kept of each packet\n"
		"      --for TIME         stop after TIME\n"
		"\n"
		"How:\n"
		"      --format WORD      print as: line, hex, text or json\n"
		"  -w, --write FILE       write pcapng to FILE, - is standard output\n"
		"      --a-name-as-long-as-this-one SOMETHING\n"
		"                         has a line of its own\n"
		"  -n                     no names\n"
		"  -q, --quiet            less\n"
		"  -t                     other times\n";
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	weir_opt_usage(table, &b);
	assert_string_equal(b.data, want);
	for (const char *p = b.data; *p; p += strcspn(p, "\n") + 1)
		assert_true(strcspn(p, "\n") <= 80);
}

static void completion(void **state)
{
	static const char want[] = "--interface\t-i\tIFACE\tiface\n"
				   "--count\t-c\tN\t-\n"
				   "--at-least\t-\tN\t-\n"
				   "--snaplen\t-s\tSIZE\t-\n"
				   "--for\t-\tTIME\t-\n"
				   "--format\t-\tWORD\twords:line hex text json\n"
				   "--write\t-w\tFILE\tfile\n"
				   "--a-name-as-long-as-this-one\t-\tSOMETHING\t-\n"
				   "-\t-n\t-\t-\n"
				   "--quiet\t-q\t-\t-\n"
				   "-\t-t\t-\t-\n";
	weir_autobuf struct weir_buf b = { 0 };

	(void)state;
	weir_opt_complete(table, &b);
	assert_string_equal(b.data, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),	     cmocka_unit_test(positionals),
		cmocka_unit_test(values),	     cmocka_unit_test(messages),
		cmocka_unit_test(limits),	     cmocka_unit_test(help_without_verb),
		cmocka_unit_test(usage),	     cmocka_unit_test(completion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
