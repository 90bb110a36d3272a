/* SPDX-License-Identifier: GPL-2.0-only */
/* --by flow: what the kernel freed of each flow, and where. */
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/table.h"
#include "base/units.h"
#include "bpf/parse.bpf.h"
#include "cap/drops/show.h"

struct flow_row {
	const struct weir_drops_flow *key;
	struct weir_drops_row row;
	uint64_t packets;
};

static bool same_flow(const struct weir_drops_flow *a, const struct weir_drops_flow *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static uint64_t packets_before(const struct weir_drops_look *l, const struct weir_drops_flow *key)
{
	for (size_t i = 0; i < l->n_flows; i++)
		if (same_flow(&l->flows[i].key, key))
			return l->flows[i].val.packets;
	return 0;
}

/* All that is shown: two instructions of one function are one row. */
static int by_looks(const void *a, const void *b)
{
	const struct flow_row *x = a, *y = b;
	struct weir_drops_flow one = *x->key, two = *y->key;
	int d;

	one.place = two.place = 0;
	one.bare = two.bare = 0;
	d = memcmp(&one, &two, sizeof(one));
	return d ? d : strcmp(x->row.function, y->row.function);
}

static int by_packets(const void *a, const void *b)
{
	const struct flow_row *x = a, *y = b;

	if (x->packets != y->packets)
		return x->packets < y->packets ? 1 : -1;
	return by_looks(a, b);
}

static size_t fold(struct flow_row *rows, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(rows, n, sizeof(*rows), by_looks);
	for (size_t i = 0; i < n; i++) {
		if (kept && by_looks(&rows[kept - 1], &rows[i]) == 0)
			rows[kept - 1].packets += rows[i].packets;
		else
			rows[kept++] = rows[i];
	}
	if (kept)
		qsort(rows, kept, sizeof(*rows), by_packets);
	return kept;
}

/* Those that were lost, or those only freed; the greatest first. To be freed by the caller. */
static struct flow_row *list_flows(const struct weir_drops_view *v, bool loss, size_t *ret_n)
{
	const struct weir_drops_look *now = v->now;
	struct flow_row *rows = calloc(now->n_flows + 1, sizeof(*rows));
	size_t n = 0;

	for (size_t i = 0; rows && i < now->n_flows; i++) {
		const struct weir_drops_flow *k = &now->flows[i].key;
		const struct weir_drops_key place = {
			.netns = k->netns,
			.place = k->place,
			.reason = k->reason,
			.eth_type = WEIR_ETH_IP4,
			.proto = k->proto,
			.kind = k->kind,
			.bare = k->bare,
		};
		struct flow_row *r = &rows[n];

		r->packets = now->flows[i].val.packets - packets_before(v->first, k);
		if (!r->packets)
			continue;
		r->key = k;
		weir_drops_row_of(&r->row, &place, v->scope, v->words);
		n += weir_drops_is_loss(&r->row) == loss;
	}
	*ret_n = rows ? fold(rows, n) : 0;
	return rows;
}

/* ---- Text */

bool weir_drops_has_ends(const uint8_t src[16], const uint8_t dst[16])
{
	static const uint8_t none[16];

	return memcmp(src, none, 16) != 0 || memcmp(dst, none, 16) != 0;
}

static void add_row(struct weir_table *t, const struct flow_row *r)
{
	weir_autobuf struct weir_buf src = { 0 }, dst = { 0 }, count = { 0 };
	bool ends = weir_drops_has_ends(r->key->src, r->key->dst);
	char name[16];

	if (ends) {
		weir_buf_add_end(&src, r->key->src, r->key->sport);
		weir_buf_add_end(&dst, r->key->dst, r->key->dport);
	}
	weir_buf_add_grouped(&count, r->packets);
	weir_table_add(t, weir_drops_protocol(ends ? WEIR_ETH_IP4 : 0, r->key->proto, name,
					      sizeof(name)));
	weir_table_add(t, src.data);
	weir_table_add(t, dst.data);
	weir_table_add(t, r->row.reason);
	weir_table_add(t, r->row.function);
	weir_table_add(t, count.data);
}

uint64_t weir_drops_flows_text(const struct weir_drops_view *v, bool loss, struct weir_buf *out)
{
	static const char *const head[] = { "PROTOCOL", "SOURCE",   "DESTINATION",
					    "REASON",	"FUNCTION", "COUNT" };
	weir_autotable struct weir_table t;
	uint64_t sum = 0;
	size_t n;
	struct flow_row *rows = list_flows(v, loss, &n);

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < n; i++) {
		sum += rows[i].packets;
		if (i < v->most)
			add_row(&t, &rows[i]);
	}
	if (n)
		weir_table_render(&t, 0, out);
	if (n > v->most)
		weir_buf_addf(out, "(%zu more)\n", n - v->most);
	free(rows);
	return sum;
}

/* ---- JSON */

static void json_flow(struct weir_json *j, const struct flow_row *r)
{
	const struct weir_drops_flow *k = r->key;
	char text[WEIR_ADDR_STRLEN], protocol[16];
	struct weir_addr a;

	weir_json_object(j, NULL);
	weir_drops_protocol(WEIR_ETH_IP4, k->proto, protocol, sizeof(protocol));
	weir_json_str(j, "protocol", protocol);
	memcpy(a.b, k->src, sizeof(a.b));
	weir_json_str(j, "src_ip", weir_addr_str(&a, text));
	weir_json_uint(j, "src_port", k->sport);
	memcpy(a.b, k->dst, sizeof(a.b));
	weir_json_str(j, "dst_ip", weir_addr_str(&a, text));
	weir_json_uint(j, "dst_port", k->dport);
	weir_json_str(j, "reason", r->row.reason);
	weir_json_str(j, "function", r->row.function[0] ? r->row.function : NULL);
	weir_json_uint(j, "count", r->packets);
	weir_json_end_object(j);
}

void weir_drops_flows_json(const struct weir_drops_view *v, bool loss, const char *key,
			   struct weir_json *j)
{
	size_t n;
	struct flow_row *rows = list_flows(v, loss, &n);

	weir_json_array(j, key);
	for (size_t i = 0; i < n; i++)
		json_flow(j, &rows[i]);
	weir_json_end_array(j);
	free(rows);
}
