/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/engines.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"

const struct weir_engine_view weir_engines[WEIR_ENGINES] = {
	{
		.name = "tc",
		.directions = "in, out",
		.gro = "after",
		.gso = "not split",
		.sees_xdp_drops = "no",
		.sees_nft_in = "yes",
		.sees_nft_out = "no",
		.loopback_copies = "2",
		.takes = "no",
		.match = "kernel",
		.needs = "BPF, NET_ADMIN, PERFMON",
		.kernel = "6.6 (tcx)",
	},
	{
		.name = "xdp",
		.directions = "in",
		.gro = "before",
		.sees_xdp_drops = "yes",
		.sees_nft_in = "yes",
		.loopback_copies = "1",
		.takes = "no",
		.match = "kernel",
		.needs = "BPF, NET_ADMIN, PERFMON",
		.kernel = "6.1",
	},
	{
		.name = "af_packet",
		.directions = "in, out",
		.gro = "after",
		.gso = "as sent",
		.sees_xdp_drops = "no",
		.sees_nft_in = "yes",
		.sees_nft_out = "no",
		.loopback_copies = "2",
		.takes = "no",
		.match = "kernel",
		.needs = "BPF, NET_RAW, PERFMON",
		.kernel = "6.1",
	},
	{
		.name = "pcap",
		.directions = "in, out",
		.gro = "after",
		.gso = "as sent",
		.sees_xdp_drops = "no",
		.sees_nft_in = "yes",
		.sees_nft_out = "no",
		.loopback_copies = "1",
		.takes = "no",
		.match = "user space",
		.needs = "NET_RAW",
		.kernel = "6.1",
	},
	{
		.name = "af_xdp",
		.directions = "in",
		.gro = "before",
		.sees_xdp_drops = "no",
		.sees_nft_in = "yes",
		.loopback_copies = "1",
		.takes = "yes",
		.match = "kernel",
		.needs = "BPF, NET_ADMIN, NET_RAW, PERFMON",
		.kernel = "6.1",
	},
};

static const struct {
	const char *key, *label;
	size_t offset;
} rows[] = {
#define ROW(field, text) { #field, text, offsetof(struct weir_engine_view, field) }
	ROW(name, "--capture"),
	ROW(directions, "directions"),
	ROW(gro, "in: before or after GRO"),
	ROW(gso, "out: large packets (GSO)"),
	ROW(sees_xdp_drops, "in: sees what a filter at XDP dropped"),
	ROW(sees_nft_in, "in: sees what nft will drop"),
	ROW(sees_nft_out, "out: sees what nft dropped"),
	ROW(loopback_copies, "copies of a packet on lo, -Q inout"),
	ROW(takes, "takes what matches off the interface"),
	ROW(match, "the match is decided in"),
	ROW(needs, "needs CAP_..."),
	ROW(kernel, "needs kernel"),
#undef ROW
};

/* NULL: the engine has no such direction. */
static const char *value(const struct weir_engine_view *e, size_t row)
{
	return *(const char *const *)((const char *)e + rows[row].offset);
}

void weir_engines_table(struct weir_buf *out)
{
	weir_autotable struct weir_table t;

	weir_table_init(&t, 1 + WEIR_ENGINES, NULL);
	for (size_t r = 0; r < WEIR_ARRAY_SIZE(rows); r++) {
		weir_table_add(&t, rows[r].label);
		for (size_t i = 0; i < WEIR_ENGINES; i++)
			weir_table_add(&t, value(&weir_engines[i], r));
	}
	weir_buf_adds(out, "What each capture engine can see:\n");
	weir_table_render(&t, 2, out);
	weir_buf_adds(out,
		"  \"as sent\": split only where the device cannot split it itself. auto = tc,\n"
		"  else af_packet with an eBPF filter; it never attaches native XDP.\n");
}

void weir_engines_json(struct weir_json *j, const char *key)
{
	weir_json_array(j, key);
	for (size_t i = 0; i < WEIR_ENGINES; i++) {
		weir_json_object(j, NULL);
		for (size_t r = 0; r < WEIR_ARRAY_SIZE(rows); r++) {
			const char *v = value(&weir_engines[i], r);

			if (!v)
				continue;
			if (strcmp(v, "yes") == 0 || strcmp(v, "no") == 0)
				weir_json_bool(j, rows[r].key, v[0] == 'y');
			else if (strspn(v, "0123456789") == strlen(v))
				weir_json_uint(j, rows[r].key, strtoull(v, NULL, 10));
			else
				weir_json_str(j, rows[r].key, v);
		}
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}
