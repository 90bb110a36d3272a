/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What this kernel can do, found by trying it, never by its version.
 *
 * A try loads a program of a few instructions, makes a small map, or asks for
 * a link that cannot come to be; it changes nothing on the host and leaves
 * nothing behind. Where the link is asked for on purpose with a bad target, the
 * errno tells a kernel that knows the kind of link from one that does not.
 */
#pragma once

#include <stdbool.h>

enum weir_feature { /* rows of the table in probe.c; one struct weir_probe each */
	WEIR_FEATURE_BPF,	  /* any program loads at all */
	WEIR_FEATURE_BTF,
	WEIR_FEATURE_BPFFS,
	WEIR_FEATURE_RINGBUF,
	WEIR_FEATURE_XDP,	  /* xdp.frags programs load */
	WEIR_FEATURE_XDP_LINK,
	WEIR_FEATURE_AF_XDP,
	WEIR_FEATURE_TCX,
	WEIR_FEATURE_NETFILTER,
	WEIR_FEATURE_SOCKET_FILTER, /* eBPF on AF_PACKET */
	WEIR_FEATURE_TP_BTF,
	WEIR_FEATURE_BY_ID,	  /* objects by id (CAP_SYS_ADMIN) */
	WEIR_FEATURE_FENTRY,
	WEIR_FEATURE_KPROBE,
	WEIR_FEATURE_SK_LOOKUP,
	WEIR_FEATURE_SOCKMAP,
	WEIR_FEATURE_SOCKOPS,
	WEIR_FEATURE_ITER_TCP,
	WEIR_FEATURE_TAKE_SOCKET, /* pidfd_getfd of other processes */
	WEIR_FEATURE_SOCK_DESTROY,
	WEIR_FEATURE_FQ,
	WEIR_FEATURE_MAX,
};

struct weir_probe {
	const char *name;     /* "tcx" */
	const char *needed_by; /* "watch --capture tc", or NULL: nothing in this version */
	const char *fallback; /* "watch uses a socket filter on AF_PACKET", or NULL: none */
	const char *requires; /* capability or kernel: "kernel 6.6" */
	bool optional;	      /* weir works fully without it */
	bool ok;
	int error;	      /* negative errno of the try; 0 where ok, or no errno says it */
	char detail[128];     /* what was found, or what failed; never empty */
};

/* Try (once per process, cached) and tell. */
const struct weir_probe *weir_probe(enum weir_feature f);
static inline bool weir_has(enum weir_feature f)
{
	return weir_probe(f)->ok;
}
