/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the proxy has counted, for itself and for the ledger of losses: the map `totals`
 * that is pinned with it (verb "proxy"), a per-CPU array of __u64 by enum weir_proxy_total.
 */
#pragma once

#define WEIR_PROXY_ABI 1 /* of everything that is pinned with it */
#define WEIR_PROXY_TOTALS "totals"

/* Connections: accepted = ended + those that are open; ended = Σ by
 * reason. Bytes: what was read from one end and given to the other. */

enum weir_proxy_end { /* why a connection ended; names and sentences: account.h */
		      WEIR_END_DONE,	/* both ends closed, all was delivered */
		      WEIR_END_CLIENT_RESET,
		      WEIR_END_BACKEND_RESET,
		      WEIR_END_IDLE,	/* idle_timeout */
		      WEIR_END_KILLED,	/* weir proxy kill */
		      WEIR_END_DRAINED, /* still open when the drain's time was over */
		      /* From here on no backend got a byte. */
		      WEIR_END_CLIENT_GONE, /* before its hello was complete */
		      WEIR_END_HELLO_TIMEOUT,
		      WEIR_END_HELLO_TOO_LONG,
		      WEIR_END_MALFORMED, /* begins as TLS (HTTP), and is none */
		      WEIR_END_BAD_PROXY_HEADER,
		      WEIR_END_NOT_TLS,
		      WEIR_END_NO_SNI,
		      WEIR_END_NO_MATCH,
		      WEIR_END_ECH,
		      WEIR_END_SOURCE, /* not in allow_sources */
		      WEIR_END_LIMIT_CONNECTIONS,
		      WEIR_END_LIMIT_PER_SOURCE,
		      WEIR_END_LIMIT_RATE,
		      WEIR_END_NO_DESCRIPTORS, /* EMFILE, ENFILE */
		      WEIR_END_NO_MEMORY,
		      WEIR_END_RESOLVE, /* the backend's name has no address */
		      WEIR_END_LOOP,	/* the backend would be the proxy itself */
		      WEIR_END_CONNECT, /* refused, unreachable: every backend */
		      WEIR_END_CONNECT_TIMEOUT,
		      WEIR_END_NO_BACKEND, /* all are down by their health checks */
		      WEIR_ENDS,
};

enum weir_proxy_engine {
	WEIR_ENGINE_AUTO, /* only asked for, never used */
	WEIR_ENGINE_SPLICE,
	WEIR_ENGINE_COPY,
	WEIR_ENGINE_SOCKMAP,
	WEIR_ENGINES,
};

enum weir_proxy_total {
	WEIR_TOTAL_ACCEPTED,
	WEIR_TOTAL_BYTES_IN,  /* from clients to backends */
	WEIR_TOTAL_BYTES_OUT, /* from backends to clients */
	WEIR_TOTAL_NAME_HITS,
	WEIR_TOTAL_NAME_STALE, /* of the hits */
	WEIR_TOTAL_NAME_MISSES,
	WEIR_TOTAL_RETRIES,    /* connection attempts behind the first one */
	WEIR_TOTAL_DEMOTIONS,  /* from sockmap to user space */
	WEIR_TOTAL_LOG_LOST,   /* lines of the access log that could not be written */
	WEIR_TOTAL_ENDED,      /* + enum weir_proxy_end */
	WEIR_TOTAL_ENGINE = WEIR_TOTAL_ENDED + WEIR_ENDS, /* + engine: connections */
	WEIR_TOTAL_ENGINE_IN = WEIR_TOTAL_ENGINE + WEIR_ENGINES,
	WEIR_TOTAL_ENGINE_OUT = WEIR_TOTAL_ENGINE_IN + WEIR_ENGINES,
	WEIR_TOTALS = WEIR_TOTAL_ENGINE_OUT + WEIR_ENGINES,
};
