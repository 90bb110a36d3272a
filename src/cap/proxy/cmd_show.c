/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connections, top: what the running proxy answers, once, or on a terminal as a
 * picture that refreshes. Nothing is held between two looks.
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/live.h"
#include "cap/proxy/cmd_impl.h"
#include "cap/proxy/control.h"

static int show(struct weir_live *l, const char *request, struct weir_error *err)
{
	weir_autobuf struct weir_buf answer = { 0 };
	int ret = weir_control_ask(request, &answer, err);

	return ret ? ret : weir_live_show(l, &answer, err);
}

int weir_proxy_cmd_show(struct weir_proxy_cmd *c, struct weir_error *err)
{
	bool screen = !c->json && !c->once && isatty(STDOUT_FILENO);
	struct weir_live l;
	char request[32];
	int ret;

	snprintf(request, sizeof(request), "%s%s", c->action->a.name, c->json ? " json" : "");
	ret = weir_live_open(&l, screen, WEIR_NSEC_PER_SEC, 0, err);
	if (ret)
		return ret;
	do
		ret = show(&l, request, err);
	while (!ret && screen && weir_live_wait(&l, -1) == WEIR_LIVE_LOOK);
	weir_live_close(&l);
	return ret == -EPIPE && !err->msg[0] ? WEIR_EXIT_DONE : ret;
}
