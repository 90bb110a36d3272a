/* SPDX-License-Identifier: GPL-2.0-only */
/* The words for what the programs tell as numbers. */
#include "cap/tcp/show.h"

#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>

#include "base/cleanup.h"

const char *const weir_tcp_kinds[] = {
	[WEIR_TCP_CONNECT] = "connect",
	[WEIR_TCP_ACCEPT] = "accept",
	[WEIR_TCP_ESTABLISHED] = "established",
	[WEIR_TCP_RETRANSMIT] = "retransmit",
	[WEIR_TCP_RESET] = "reset",
	[WEIR_TCP_CLOSE] = "close",
};

const char *const weir_tcp_causes[] = {
	[WEIR_TCP_CAUSE_RTO] = "rto",	  [WEIR_TCP_CAUSE_FAST] = "fast",
	[WEIR_TCP_CAUSE_TLP] = "tlp",	  [WEIR_TCP_CAUSE_SYN] = "syn",
	[WEIR_TCP_CAUSE_OTHER] = "other",
};

const char *const weir_tcp_hows[] = {
	[WEIR_TCP_HOW_NONE] = NULL,
	[WEIR_TCP_HOW_FIN] = "fin",
	[WEIR_TCP_HOW_RESET_SENT] = "reset_sent",
	[WEIR_TCP_HOW_RESET_RECEIVED] = "reset_received",
	[WEIR_TCP_HOW_REFUSED] = "refused",
	[WEIR_TCP_HOW_TIMEOUT] = "timeout",
	[WEIR_TCP_HOW_UNREACHABLE] = "unreachable",
	[WEIR_TCP_HOW_ABORTED] = "aborted",
};

const char *const weir_tcp_losts[] = {
	[WEIR_TCP_LOST_RING] = "ring_full",
	[WEIR_TCP_LOST_STORAGE] = "no_storage",
};

const char *weir_tcp_state(unsigned int state)
{
	static const char *const words[] = {
		[TCP_ESTABLISHED] = "established",
		[TCP_SYN_SENT] = "syn-sent",
		[TCP_SYN_RECV] = "syn-recv",
		[TCP_FIN_WAIT1] = "fin-wait-1",
		[TCP_FIN_WAIT2] = "fin-wait-2",
		[TCP_TIME_WAIT] = "time-wait",
		[TCP_CLOSE] = "closed",
		[TCP_CLOSE_WAIT] = "close-wait",
		[TCP_LAST_ACK] = "last-ack",
		[TCP_LISTEN] = "listen",
		[TCP_CLOSING] = "closing",
	};

	return state < WEIR_ARRAY_SIZE(words) ? words[state] : NULL;
}

const char *weir_tcp_who(unsigned int by)
{
	static const char *const words[] = { NULL, "local", "remote", "both" };

	return by < WEIR_ARRAY_SIZE(words) ? words[by] : NULL;
}

void weir_tcp_add_ends(struct weir_buf *b, const struct weir_ends *e)
{
	bool guessed = e->flags & WEIR_ENDS_GUESSED;

	weir_buf_add_end(b, e->local, e->lport);
	if (e->flags & WEIR_ENDS_INITIATED)
		weir_buf_adds(b, guessed ? " ?> " : " > ");
	else
		weir_buf_adds(b, guessed ? " <? " : " < ");
	weir_buf_add_end(b, e->remote, e->rport);
}

/* A process chooses its own name: nothing in it may move the cursor. */
void weir_tcp_add_process(struct weir_buf *b, const char *comm, uint32_t pid)
{
	if (!pid)
		return;
	for (int i = 0; i < WEIR_TCP_COMM && comm[i]; i++)
		weir_buf_addc(b, comm[i] >= 0x20 && comm[i] < 0x7f ? comm[i] : '?');
	weir_buf_addf(b, "/%u", pid);
}

void weir_tcp_add_causes(struct weir_buf *b, const uint64_t cause[WEIR_TCP_CAUSES], uint64_t before)
{
	const char *separator = " (";
	uint64_t all = before;

	for (int i = 0; i < WEIR_TCP_CAUSES; i++)
		all += cause[i];
	weir_buf_addu(b, all);
	for (int i = 0; i < WEIR_TCP_CAUSES; i++) {
		if (!cause[i])
			continue;
		weir_buf_addf(b, "%s%" PRIu64 " %s", separator, cause[i], weir_tcp_causes[i]);
		separator = ", ";
	}
	if (before)
		weir_buf_addf(b, "%s%" PRIu64 " earlier", separator, before);
	if (all)
		weir_buf_addc(b, ')');
}
