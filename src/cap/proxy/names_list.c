/* SPDX-License-Identifier: GPL-2.0-only */
/* The cache of names as an operator sees it, without a proxy. */
#include "cap/proxy/names.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "net/dns.h"
#include "net/resolver.h"

#define BATCH 1024

struct entries {
	struct weir_proxy_name_key *key;
	struct weir_proxy_name *value;
	size_t n, room;
};

static void entries_free(struct entries *e)
{
	free(e->key);
	free(e->value);
}

static int make_room(struct entries *e)
{
	size_t room = 2 * e->room + BATCH;
	void *key, *value;

	if (e->room - e->n >= BATCH)
		return 0;
	key = reallocarray(e->key, room, sizeof(*e->key));
	if (!key)
		return -ENOMEM;
	e->key = key;
	value = reallocarray(e->value, room, sizeof(*e->value));
	if (!value)
		return -ENOMEM;
	e->value = value;
	e->room = room;
	return 0;
}

static int read_all(int map_fd, struct entries *e, struct weir_error *err)
{
	uint32_t token, n;
	bool first = true;
	int ret;

	do {
		if (make_room(e))
			return weir_fail(err, -ENOMEM, "no memory for the names");
		n = BATCH;
		ret = bpf_map_lookup_batch(map_fd, first ? NULL : &token, &token, e->key + e->n,
					   e->value + e->n, &n, NULL);
		if (ret && errno != ENOENT)
			return weir_fail(err, -errno, "cannot read the map of names: %s",
					 strerror(errno));
		e->n += n;
		first = false;
	} while (!ret);
	return 0;
}

/* ---- list */

struct line {
	const struct weir_proxy_name_key *key;
	const struct weir_proxy_name *value;
};

static int by_name(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	return strncmp(x->key->name, y->key->name, sizeof(x->key->name));
}

/* NULL: of no use any more. */
static const char *state_of(const struct weir_proxy_name *e, uint64_t now)
{
	if (e->code >= WEIR_RESOLVE_CODES || e->n > WEIR_PROXY_NAME_ADDRS)
		return NULL;
	if (now < e->expires)
		return e->code == WEIR_RESOLVED ? "fresh" : "negative";
	return e->code == WEIR_RESOLVED && now < e->stale_until ? "stale" : NULL;
}

static void json_line(const struct line *l, uint64_t now, struct weir_json *j)
{
	const struct weir_proxy_name *e = l->value;

	weir_json_object(j, NULL);
	weir_json_strn(j, "name", l->key->name, strnlen(l->key->name, sizeof(l->key->name)));
	weir_json_str(j, "state", state_of(e, now));
	weir_json_str(j, "code", weir_resolve_codes[e->code]);
	if (e->n)
		weir_json_array(j, "addresses");
	for (unsigned int i = 0; i < e->n; i++) {
		char text[WEIR_ADDR_STRLEN];
		struct weir_addr a;

		memcpy(a.b, e->addr[i], sizeof(a.b));
		weir_json_str(j, NULL, weir_addr_str(&a, text));
	}
	if (e->n)
		weir_json_end_array(j);
	if (e->expires > now)
		weir_json_uint(j, "ttl_ns", e->expires - now);
	weir_json_uint(j, "age_ns", now - e->asked);
	weir_json_end_object(j);
}

static void add_duration(struct weir_table *t, struct weir_buf *cell, uint64_t ns)
{
	weir_buf_reset(cell);
	weir_buf_add_duration(cell, ns);
	weir_table_add(t, cell->data);
}

static void table_line(const struct line *l, uint64_t now, struct weir_table *t)
{
	const struct weir_proxy_name *e = l->value;
	weir_autobuf struct weir_buf cell = { 0 };

	weir_table_addf(t, "%.*s", (int)sizeof(l->key->name), l->key->name);
	for (unsigned int i = 0; i < e->n; i++) {
		weir_buf_adds(&cell, i ? "," : "");
		weir_buf_add_addr(&cell, e->addr[i]);
	}
	weir_table_add(t, cell.data);
	if (e->expires > now)
		add_duration(t, &cell, e->expires - now);
	else
		weir_table_add(t, NULL);
	if (e->code == WEIR_RESOLVED)
		weir_table_add(t, state_of(e, now));
	else
		weir_table_addf(t, "%s (%s)", state_of(e, now), weir_resolve_codes[e->code]);
	add_duration(t, &cell, now - e->asked);
}

static void render(const struct line *lines, size_t n, uint64_t now, bool json,
		   struct weir_buf *out)
{
	static const char *const head[] = { "NAME", "ADDRESSES", "TTL", "STATE", "AGE" };
	weir_autotable struct weir_table t;
	struct weir_json j;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	if (!json) {
		for (size_t i = 0; i < n; i++)
			table_line(&lines[i], now, &t);
		weir_table_render(&t, 0, out);
		return;
	}
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_array(&j, "names");
	for (size_t i = 0; i < n; i++)
		json_line(&lines[i], now, &j);
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

int weir_names_list(int map_fd, bool json, struct weir_buf *out, struct weir_error *err)
{
	weir_cleanup(entries_free) struct entries e = { 0 };
	weir_autofree struct line *lines = NULL;
	uint64_t now;
	size_t n = 0;
	int ret;

	ret = read_all(map_fd, &e, err);
	if (ret)
		return ret;
	/* Of what was read: no answer is younger. */
	now = weir_clock_mono();
	lines = calloc(e.n + 1, sizeof(*lines));
	if (!lines)
		return weir_fail(err, -ENOMEM, "no memory for the names");
	for (size_t i = 0; i < e.n; i++)
		if (state_of(&e.value[i], now))
			lines[n++] = (struct line){ &e.key[i], &e.value[i] };
	qsort(lines, n, sizeof(*lines), by_name);
	render(lines, n, now, json, out);
	return out->failed ? weir_fail(err, -ENOMEM, "no memory for the names") : 0;
}

/* ---- flush */

static int flush_one(int map_fd, const char *name, struct weir_error *err)
{
	struct weir_proxy_name_key key = { 0 };
	size_t len = strlen(name);

	/* Written as people write names; kept in one form. */
	if (len && name[len - 1] == '.')
		len--;
	if (len < sizeof(key.name))
		memcpy(key.name, name, len);
	for (size_t i = 0; i < sizeof(key.name); i++)
		if (key.name[i] >= 'A' && key.name[i] <= 'Z')
			key.name[i] |= 0x20;
	if (!weir_dns_name_ok(key.name))
		return weir_fail(err, -EINVAL, "'%s' is no host name: give one as `list` shows it",
				 name);
	if (!bpf_map_delete_elem(map_fd, &key))
		return 1;
	return errno == ENOENT ?
		       0 :
		       weir_fail(err, -errno, "cannot remove '%s': %s", name, strerror(errno));
}

static int flush_all(int map_fd, struct weir_error *err)
{
	weir_cleanup(entries_free) struct entries e = { 0 };
	uint32_t token, n;
	bool first = true;
	size_t total = 0;
	int ret;

	if (make_room(&e))
		return weir_fail(err, -ENOMEM, "no memory to flush the names");
	do {
		n = BATCH;
		ret = bpf_map_lookup_and_delete_batch(map_fd, first ? NULL : &token, &token, e.key,
						      e.value, &n, NULL);
		if (ret && errno != ENOENT)
			return weir_fail(err, -errno, "cannot flush the map of names: %s",
					 strerror(errno));
		total += n;
		first = false;
	} while (!ret);
	return (int)total;
}

int weir_names_flush(int map_fd, const char *name, struct weir_error *err)
{
	return name ? flush_one(map_fd, name, err) : flush_all(map_fd, err);
}
