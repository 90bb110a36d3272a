/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/stage.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

void weir_stage_init(struct weir_stage *s)
{
	memset(s, 0, sizeof(*s));
	weir_gate_init(&s->gate);
	s->guest = -1;
}

static void tell_offloads(const char *ifname, const struct weir_gate_offloads *before)
{
	struct weir_gate_offloads after;
	char text[256];

	if (weir_gate_offloads(ifname, &after))
		return;
	weir_gate_offloads_diff(before, &after, text, sizeof(text));
	if (text[0])
		fprintf(stderr, "weir watch: native XDP on %s turned off: %s (back when it ends)\n",
			ifname, text);
}

int weir_stage_prepare(struct weir_watch *w, unsigned int i, const struct weir_programs *first,
		       struct weir_stage *s, struct weir_error *err)
{
	struct weir_gate_offloads before;
	bool known = !weir_gate_offloads(w->ifaces[i].name, &before);
	int ret = weir_gate_open(&s->gate, w->ifaces[i].name, (enum weir_xdp_mode)w->opt.xdp_mode,
				 err);

	if (ret)
		return ret;
	if (known && !s->gate.joined && s->gate.mode == WEIR_XDP_NATIVE)
		tell_offloads(w->ifaces[i].name, &before);
	s->guest = weir_gate_claim_guest(&s->gate, err);
	if (s->guest < 0)
		return s->guest;
	return weir_programs_load(w, &s->gate, s->guest, first, &s->programs, err);
}

int weir_stage_enter(struct weir_stage *s, enum weir_program which, struct weir_error *err)
{
	return weir_gate_enter_guest(&s->gate, s->guest, weir_programs_fd(s->programs, which), err);
}

void weir_stage_leave(struct weir_stage *s)
{
	if (s->guest >= 0)
		weir_gate_leave_guest(&s->gate, s->guest);
	s->guest = -1;
	weir_gate_close(&s->gate);
}

void weir_stage_free(struct weir_stage *s)
{
	weir_stage_leave(s);
	weir_programs_free(WEIR_TAKE_PTR(s->programs));
}

void weir_stage_wait(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(20 * 1000);
}
