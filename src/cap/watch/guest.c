/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/guest.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

void weir_guest_init(struct weir_guest *s)
{
	memset(s, 0, sizeof(*s));
	weir_gate_init(&s->gate);
	s->slot = -1;
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

int weir_guest_prepare(struct weir_watch *w, unsigned int i, const struct weir_programs *first,
		       struct weir_guest *s, struct weir_error *err)
{
	struct weir_gate_offloads before;
	bool known = !weir_gate_offloads(w->ifaces[i].name, &before);
	int ret = weir_gate_open(&s->gate, w->ifaces[i].name, (enum weir_xdp_mode)w->opt.xdp_mode,
				 err);

	if (ret)
		return ret;
	if (known && !s->gate.joined && s->gate.mode == WEIR_XDP_NATIVE)
		tell_offloads(w->ifaces[i].name, &before);
	s->slot = weir_gate_claim_guest(&s->gate, err);
	if (s->slot < 0)
		return s->slot;
	return weir_programs_load(w, &s->gate, s->slot, first, &s->programs, err);
}

int weir_guest_enter(struct weir_guest *s, enum weir_program which, struct weir_error *err)
{
	return weir_gate_enter_guest(&s->gate, s->slot, weir_programs_fd(s->programs, which), err);
}

void weir_guest_leave(struct weir_guest *s)
{
	if (s->slot >= 0)
		weir_gate_leave_guest(&s->gate, s->slot);
	s->slot = -1;
	weir_gate_close(&s->gate);
}

void weir_guest_free(struct weir_guest *s)
{
	weir_guest_leave(s);
	weir_programs_free(WEIR_TAKE_PTR(s->programs));
}

void weir_guest_wait(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(20 * 1000);
}
