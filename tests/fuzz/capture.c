/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Any bytes as a capture file, through libpcap, the engine for files and the
 * sink, as `weir watch -r FILE` reads them: no crash, a balanced account, and
 * every packet that libpcap hands over is either matched or not. Input: one
 * byte of switches, then the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cap/watch/session.h"
#include "dataplane/gate.h"

#define ROUNDS_MAX 1000 /* of 4096 packets each: more than any input holds */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct weir_match *match_of(uint8_t which)
{
	static const char *const texts[] = {NULL, "tcp or udp", "vlan and frag",
					    "not ip host 10.0.0.1"};
	struct weir_match_spec spec = {.expression = texts[which % 4]};
	struct weir_match *m = NULL;

	if (weir_match_parse(&spec, &m, NULL))
		abort();
	return m;
}

static void check_account(struct weir_watch *w, struct weir_sink *sink)
{
	struct weir_watch_account a;

	w->detached = true;
	weir_account_get(w, 0, &a);
	if (a.imbalance || a.queued || a.lost || a.k.sent != sink->counts[0].consumed) {
		fprintf(stderr, "the account does not balance\n");
		abort();
	}
}

static void read_file(struct weir_watch *w, struct weir_sink *sink)
{
	struct weir_error err;

	if (!w->engine->open(w, &err)) {
		for (int i = 0; i < ROUNDS_MAX && w->engine->poll(w, &err) > 0; i++)
			;
		check_account(w, sink);
	}
	w->engine->close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_watch *w = calloc(1, sizeof(*w));
	struct weir_sink sink;
	char path[32];
	int fd;

	if (!w || size < 1)
		goto out;
	fd = memfd_create("capture", 0);
	if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	w->opt.read_file = path;
	w->opt.count_only = true;
	w->opt.flows_max = 16;
	w->opt.sample = data[0] & 8 ? 2 : 0;
	w->opt.flows = data[0] & 4;
	w->hook = WEIR_HOOK_PCAP;
	w->engine = &weir_engine_pcap;
	w->n_ifaces = w->n_sinks = 1;
	w->user_stage = true;
	w->snaplen = w->out_snaplen = WEIR_WATCH_SNAPLEN;
	w->stop_fd = -1;
	w->match = match_of(data[0]);
	w->sinks = &sink;
	if (weir_sink_init(&sink, w) || (w->opt.flows && weir_flows_new(w, NULL)))
		abort();
	read_file(w, &sink);
	weir_sink_free(&sink);
	weir_flows_free(w->flows);
	weir_match_free(w->match);
	close(fd);
out:
	free(w);
	return 0;
}
