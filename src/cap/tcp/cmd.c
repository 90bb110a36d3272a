/* SPDX-License-Identifier: GPL-2.0-only */
/* `weir tcp`: its actions. */
#include "cap/tcp/cmd.h"

#include <errno.h>
#include <string.h>

#include "cap/tcp/tune.h"

static int run(int argc, char **argv)
{
	struct weir_error err;

	if (argc > 1 && !strcmp(argv[1], "tune"))
		return weir_tcp_tune_run(argc - 1, argv + 1);
	weir_fail(&err, -EINVAL, "no action given: weir tcp tune");
	return weir_verb_fail("tcp", &err, WEIR_EXIT_USAGE);
}

const struct weir_verb weir_tcp_verb = {
	.name = "tcp",
	.group = "See",
	.summary = "give TCP connections the options that a rule says",
	.synopsis = "tune ACTION [WORDS] [OPTIONS]",
	.options = weir_tcp_tune_options,
	.details = "See weir-tcp-tune(8).",
	.complete = "words:tune status",
	.run = run,
};
