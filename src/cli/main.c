/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * weir VERB ...: finds the verb and runs it. What a verb is, does and accepts
 * stands in its own table (src/cap/VERB/cmd.c).
 */
#include "cli/verbs.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/bypass/cmd.h"
#include "cap/doctor/cmd.h"
#include "cap/drops/cmd.h"
#include "cap/explain/cmd.h"
#include "cap/fault/cmd.h"
#include "cap/filter/cmd.h"
#include "cap/path/cmd.h"
#include "cap/proxy/cmd.h"
#include "cap/selftest/cmd.h"
#include "cap/send/cmd.h"
#include "cap/status/cmd.h"
#include "cap/steer/cmd.h"
#include "cap/tcp/cmd.h"
#include "cap/unload/cmd.h"
#include "cap/watch/cmd.h"
#include "cli/help.h"
#include "cli/version.h"

const struct weir_verb *const weir_verbs[] = {
	&weir_watch_verb,
	&weir_tcp_verb,
	&weir_path_verb,
	&weir_drops_verb,
	&weir_filter_verb,
	&weir_fault_verb,
	&weir_send_verb,
	&weir_proxy_verb,
	&weir_steer_verb,
	&weir_bypass_verb,
	&weir_explain_verb,
	&weir_status_verb,
	&weir_doctor_verb,
	&weir_selftest_verb,
	&weir_help_verb,
	&weir_version_verb,
	&weir_unload_verb,
	NULL,
};

/* A file that a verb opens must never become its standard output or error
 * because the caller had closed those. The stand-in is open the wrong way
 * round, so that using it fails and is told, as it would be without it. */
static bool hold_standard_fds(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

/* --help anywhere before "--"; -h too where it is not an option of the verb. */
static bool asks_for_help(const struct weir_verb *verb, int argc, char **argv)
{
	bool has_h = false;

	for (const struct weir_opt *o = verb->options; o && (o->name || o->short_name); o++)
		has_h = has_h || o->short_name == 'h';
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || (!has_h && strcmp(argv[i], "-h") == 0))
			return true;
	return false;
}

/* `weir VERB status` is `weir status VERB`, for verbs that may leave something
 * in the kernel. */
static bool asks_for_status(const struct weir_verb *verb, int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], "status") == 0 && strcmp(verb->group, "Ask") != 0 &&
	       strcmp(verb->group, "Undo") != 0;
}

static int run_verb(int argc, char **argv)
{
	const struct weir_verb *verb;
	int status = weir_verb_check(NULL, argv[0]);

	if (status)
		return status;
	verb = weir_verb_find(argv[0]);
	if (asks_for_help(verb, argc, argv))
		return weir_help_print(verb);
	if (asks_for_status(verb, argc, argv)) {
		argv[1] = argv[0];
		argv[0] = (char *)"status";
		verb = &weir_status_verb;
	}
	return verb->run(argc, argv);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *word, *verb;
	} aliases[] = {
		{ "--help", "help" },
		{ "-h", "help" },
		{ "--version", "version" },
		{ "-V", "version" },
	};
	struct weir_error e;

	if (!hold_standard_fds())
		return WEIR_EXIT_FAILED;
	/* A reader that goes away shows as EPIPE, so that a verb can end as it
	 * should and tell its account. */
	signal(SIGPIPE, SIG_IGN);
	weir_verb_register(weir_verbs);

	if (argc < 2) {
		weir_fail(&e, 0, "no verb given: \"weir help\" lists them");
		return weir_verb_fail(NULL, &e, WEIR_EXIT_USAGE);
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(aliases); i++)
		if (strcmp(argv[1], aliases[i].word) == 0)
			argv[1] = (char *)aliases[i].verb;
	return run_verb(argc - 1, argv + 1);
}
