/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the command share.
 *
 * An action returns an exit status, or a negative errno with a message; it then exits
 * as `status` says: failed, or wrong usage (weir_proxy_cmd_usage()).
 */
#pragma once

#include <stdbool.h>

#include "base/action.h"
#include "base/opt.h"
#include "base/verb.h"
#include "cap/proxy/config.h"

struct weir_proxy_cmd_action;

struct weir_proxy_cmd {
	struct weir_proxy_flags flags;
	bool json, once;

	/* Made of them: */
	const struct weir_proxy_cmd_action *action;
	struct weir_strv words; /* behind the action */
	int status;		/* of a failure */
};

struct weir_proxy_cmd_action {
	struct weir_action a;
	int (*run)(struct weir_proxy_cmd *c, struct weir_error *err);
};

/* Returns @code. */
int weir_proxy_cmd_usage(struct weir_proxy_cmd *c, int code);

/* cmd_show.c: `connections` and `top`. */
int weir_proxy_cmd_show(struct weir_proxy_cmd *c, struct weir_error *err);
