/* SPDX-License-Identifier: GPL-2.0-only */
/* The sources with most bytes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/proxy/account.h"
#include "dataplane/load.h"

#define BATCH 4096 /* sources read by one system call; more than a bucket ever holds */
#define SOURCE_STRLEN (WEIR_ADDR_STRLEN + 4)

struct source {
	struct weir_addr addr;
	struct weir_proxy_source s;
};

struct list {
	struct source *v;
	size_t n, room;
};

static void free_list(struct list *l)
{
	free(l->v);
}

static int append(struct list *l, const struct weir_addr *addr, const struct weir_proxy_source *s,
		  size_t n)
{
	struct source *more;

	if (l->n + n > l->room) {
		size_t room = 2 * l->room + n;

		more = realloc(l->v, room * sizeof(*more));
		if (!more)
			return -ENOMEM;
		l->v = more;
		l->room = room;
	}
	for (size_t i = 0; i < n; i++)
		l->v[l->n++] = (struct source){ addr[i], s[i] };
	return 0;
}

static int read_sources(int fd, struct list *l)
{
	weir_autofree struct weir_addr *addr = calloc(BATCH, sizeof(*addr));
	weir_autofree struct weir_proxy_source *s = calloc(BATCH, sizeof(*s));
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t at = 0;
	bool first = true;
	int ret = 0;

	if (!addr || !s)
		return -ENOMEM;
	while (!ret) {
		uint32_t n = BATCH;

		ret = bpf_map_lookup_batch(fd, first ? NULL : &at, &at, addr, s, &n, &opts);
		if (ret)
			ret = -errno;
		if (!ret || ret == -ENOENT) {
			int err = append(l, addr, s, n);

			ret = err ? err : ret;
		}
		first = false;
	}
	return ret == -ENOENT ? 0 : ret;
}

static int by_bytes(const void *pa, const void *pb)
{
	const struct source *a = pa, *b = pb;
	uint64_t x = a->s.bytes_in + a->s.bytes_out, y = b->s.bytes_in + b->s.bytes_out;

	if (x != y)
		return x < y ? 1 : -1;
	if (a->s.connections != b->s.connections)
		return a->s.connections < b->s.connections ? 1 : -1;
	return memcmp(&a->addr, &b->addr, sizeof(a->addr));
}

/* IPv6 is counted by /64. */
static const char *source_str(const struct weir_addr *a, char buf[SOURCE_STRLEN])
{
	weir_addr_str(a, buf);
	if (!weir_addr_is_v4(a))
		strcat(buf, "/64");
	return buf;
}

static void print_json(const struct list *l, struct weir_buf *out)
{
	int64_t offset = weir_clock_offset();
	char text[SOURCE_STRLEN];
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "sources");
	for (size_t i = 0; i < l->n; i++) {
		const struct weir_proxy_source *s = &l->v[i].s;

		weir_json_object(&j, NULL);
		weir_json_str(&j, "source", source_str(&l->v[i].addr, text));
		weir_json_uint(&j, "connections", s->connections);
		weir_json_uint(&j, "refused", s->refused);
		weir_json_uint(&j, "bytes_in", s->bytes_in);
		weir_json_uint(&j, "bytes_out", s->bytes_out);
		weir_json_time(&j, "first_ts", s->first + (uint64_t)offset);
		weir_json_time(&j, "last_ts", s->last + (uint64_t)offset);
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void add_number(struct weir_table *t, uint64_t v)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_grouped(&text, v);
	weir_table_add(t, text.data);
}

static void print_table(const struct list *l, struct weir_buf *out)
{
	static const char *const head[] = { "SOURCE",	"CONNECTIONS", "REFUSED",
					    "BYTES IN", "BYTES OUT",   "LAST" };
	weir_autotable struct weir_table t;
	uint64_t now = weir_clock_mono();
	char text[SOURCE_STRLEN];

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < l->n; i++) {
		const struct weir_proxy_source *s = &l->v[i].s;
		weir_autobuf struct weir_buf ago = { 0 };

		weir_table_add(&t, source_str(&l->v[i].addr, text));
		add_number(&t, s->connections);
		add_number(&t, s->refused);
		add_number(&t, s->bytes_in);
		add_number(&t, s->bytes_out);
		weir_buf_add_duration(&ago, now > s->last ? now - s->last : 0);
		weir_table_addf(&t, "%s ago", ago.data ? ago.data : "");
	}
	weir_table_render(&t, 0, out);
}

int weir_account_top(int sources_fd, unsigned int n, bool json, struct weir_buf *out,
		     struct weir_error *err)
{
	weir_cleanup(free_list) struct list l = { 0 };
	int ret = read_sources(sources_fd, &l);

	if (ret)
		return weir_load_explain(err, ret, "read the proxy's sources");
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), by_bytes);
	if (l.n > n)
		l.n = n;
	if (json)
		print_json(&l, out);
	else
		print_table(&l, out);
	return 0;
}
