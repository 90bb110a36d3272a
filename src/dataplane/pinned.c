/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/pinned.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "dataplane/sys.h"

struct filter {
	struct weir_pinned *to;
	const char *verb;
};

static int take(void *arg, const struct weir_pin_entry *e)
{
	const struct filter *f = arg;
	struct weir_pinned *p = f->to;
	struct weir_pin_entry *v;

	if ((p->netns && e->netns != p->netns) || (f->verb && strcmp(e->verb, f->verb) != 0))
		return 0;
	v = realloc(p->v, (p->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	p->v = v;
	p->v[p->n++] = *e;
	return 0;
}

int weir_pinned_get(struct weir_pinned *ret, const char *verb, struct weir_error *err)
{
	weir_autopinned struct weir_pinned list = { 0 };
	struct filter f = { .to = &list, .verb = verb };
	struct weir_error e = { 0 };
	int r;

	/* Without a cookie all namespaces look like one. */
	if (weir_sys_netns_cookie(&list.netns) < 0)
		list.netns = 0;
	r = weir_pin_list(take, &f, &e);
	if (r < 0 && e.msg[0])
		return weir_fail(err, r, "%s", e.msg);
	if (r < 0)
		return weir_fail(err, r, "cannot list what is pinned (%s): run as root",
				 strerror(-r));
	*ret = list;
	list.v = NULL;
	return 0;
}

void weir_pinned_free(struct weir_pinned *p)
{
	free(p->v);
	*p = (struct weir_pinned){ 0 };
}

bool weir_pinned_any(const char *verb)
{
	weir_autopinned struct weir_pinned list = { 0 };

	return weir_pinned_get(&list, verb, NULL) == 0 && list.n > 0;
}

bool weir_pinned_has(const struct weir_pinned *p, const struct weir_pin_entry *e)
{
	for (size_t i = 0; i < p->n; i++)
		if (strcmp(p->v[i].verb, e->verb) == 0 && strcmp(p->v[i].name, e->name) == 0 &&
		    p->v[i].id == e->id)
			return true;
	return false;
}

void weir_pinned_subtract(struct weir_pinned *p, const struct weir_pinned *other)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n; i++)
		if (!weir_pinned_has(other, &p->v[i]))
			p->v[kept++] = p->v[i];
	p->n = kept;
}

void weir_pinned_table(const struct weir_pinned *p, struct weir_buf *out)
{
	static const char *const head[] = { "VERB", "OBJECT", "TYPE", "ID", "DETAIL" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (size_t i = 0; i < p->n; i++) {
		weir_table_add(&t, p->v[i].verb);
		weir_table_add(&t, p->v[i].name);
		weir_table_add(&t, p->v[i].type);
		weir_table_addf(&t, "%u", p->v[i].id);
		weir_table_add(&t, p->v[i].detail);
	}
	weir_table_render(&t, 2, out);
}

void weir_pinned_json(const struct weir_pinned *p, struct weir_json *j, const char *key)
{
	weir_json_array(j, key);
	for (size_t i = 0; i < p->n; i++) {
		weir_json_object(j, NULL);
		weir_json_str(j, "verb", p->v[i].verb);
		weir_json_str(j, "name", p->v[i].name);
		weir_json_str(j, "type", p->v[i].type);
		weir_json_uint(j, "id", p->v[i].id);
		if (p->v[i].detail[0])
			weir_json_str(j, "detail", p->v[i].detail);
		weir_json_end_object(j);
	}
	weir_json_end_array(j);
}
