/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/session.h"

#include <errno.h>
#include <linux/filter.h>
#include <pcap/pcap.h>
#include <stdlib.h>

struct weir_strict {
	struct bpf_program program;
};

int weir_strict_new(struct weir_strict **ret, const char *expression, bool no_l2,
		    struct weir_error *err)
{
	pcap_t *dead = pcap_open_dead(no_l2 ? DLT_RAW : DLT_EN10MB, WEIR_WATCH_SNAPLEN);
	struct weir_strict *s = calloc(1, sizeof(*s));
	int code = 0;

	if (!dead || !s)
		code = weir_fail(err, -ENOMEM, "out of memory");
	else if (pcap_compile(dead, &s->program, expression ? expression : "", 1,
			      PCAP_NETMASK_UNKNOWN))
		code = weir_fail(err, -EINVAL,
				 "libpcap refuses the expression (%s): see pcap-filter(7)",
				 pcap_geterr(dead));
	if (dead)
		pcap_close(dead);
	if (code)
		free(s);
	else
		*ret = s;
	return code;
}

bool weir_strict_match(const struct weir_strict *s, const struct weir_packet *p)
{
	struct pcap_pkthdr h = {.caplen = p->ev.caplen, .len = p->ev.len};

	return pcap_offline_filter(&s->program, &h, p->data);
}

_Static_assert(sizeof(struct bpf_insn) == sizeof(struct sock_filter), "one layout");

size_t weir_strict_code(const struct weir_strict *s, const struct sock_filter **ret)
{
	*ret = (const void *)s->program.bf_insns;
	return s->program.bf_len;
}

void weir_strict_free(struct weir_strict *s)
{
	if (!s)
		return;
	pcap_freecode(&s->program);
	free(s);
}
