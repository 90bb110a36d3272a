/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * YAML as nodes that know their line. What would make a file mean something else than
 * what it looks like (anchors, tags, several documents) is refused.
 */
#include "cap/proxy/config_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"

#define DEPTH_MAX 8 /* of lists and maps; the deepest key stands at 5 */
#define NODES_MAX (1U << 20)

struct tree {
	yaml_parser_t yaml;
	const char *text, *source;
	size_t len;
	unsigned int nodes;
	struct weir_error *err;
};

static int fail_at(const struct tree *t, unsigned int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail_at(const struct tree *t, unsigned int line, const char *fmt, ...)
{
	char text[WEIR_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return weir_fail(t->err, -EINVAL, "%s:%u: %s", t->source, line, text);
}

static int oom(const struct tree *t)
{
	return weir_fail(t->err, -ENOMEM, "out of memory: free some and try again");
}

void weir_proxy_tree_free(struct weir_proxy_node *n)
{
	for (size_t i = 0; i < n->n; i++)
		weir_proxy_tree_free(&n->items[i]);
	free(n->items);
	free(n->text);
	*n = (struct weir_proxy_node){ 0 };
}

/* ---- What libyaml could not read */

/* Is there a tab in the indentation of line @line, from 0? */
static bool has_tab(const struct tree *t, size_t line)
{
	const char *s = t->text, *end = t->text + t->len;

	for (; line && s < end; line--) {
		s = memchr(s, '\n', (size_t)(end - s));
		if (!s)
			return false;
		s++;
	}
	for (; s < end && (*s == ' ' || *s == '\t'); s++)
		if (*s == '\t')
			return true;
	return false;
}

static const char *hint(const struct tree *t)
{
	static const struct {
		const char *problem, *hint;
	} hints[] = {
		{ "alphabetic or numeric character",
		  "put a word that begins with * or & in quotes, such as \"*.example.org\"" },
		{ "block sequence entries",
		  "begin a line with the \"- \" of a list, and put a lone - in quotes" },
		{ "expected node content",
		  "put a word that begins with : or , in quotes, such as \"::1\"" },
		{ "mapping values",
		  "check the indentation, and put a word with \": \" in it in quotes" },
		{ "cannot start any token", "put the word in quotes" },
		{ "unexpected end of stream", "close the quotes" },
		{ "',' or ']'", "close the bracket, or put a word with [ ] { } in quotes" },
		{ "',' or '}'", "close the brace, or put a word with [ ] { } in quotes" },
		{ "hexdecimal", "write \\\\ for a backslash in double quotes, or use single ones" },
		{ "escape character",
		  "write \\\\ for a backslash in double quotes, or use single ones" },
	};

	if (has_tab(t, t->yaml.problem_mark.line))
		return "indent with blanks, not with tabs";
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(hints); i++)
		if (strstr(t->yaml.problem, hints[i].problem))
			return hints[i].hint;
	return "check the indentation of this line and of the one before it";
}

static int fail_yaml(const struct tree *t)
{
	const yaml_parser_t *y = &t->yaml;
	unsigned int line = 1;

	if (y->error == YAML_MEMORY_ERROR || !y->problem)
		return oom(t);
	if (y->error != YAML_READER_ERROR)
		return fail_at(t, (unsigned int)y->problem_mark.line + 1, "not YAML, %s: %s",
			       y->problem, hint(t));
	/* It reads ahead, and knows the place by its offset alone. */
	for (size_t i = 0; i < t->len && i < y->problem_offset; i++)
		line += t->text[i] == '\n';
	return fail_at(t, line, "not text, %s: write it in UTF-8", y->problem);
}

/* ---- Nodes */

static int next(struct tree *t, yaml_event_t *ev)
{
	return yaml_parser_parse(&t->yaml, ev) ? 0 : fail_yaml(t);
}

static unsigned int line_of(const yaml_event_t *ev)
{
	return (unsigned int)ev->start_mark.line + 1;
}

static int check_plain(const struct tree *t, const yaml_event_t *ev, const yaml_char_t *anchor,
		       const yaml_char_t *tag)
{
	if (anchor)
		return fail_at(t, line_of(ev),
			       "&%s: anchors are not read here: write it out, or "
			       "put it in quotes",
			       anchor);
	if (tag)
		return fail_at(t, line_of(ev),
			       "%s: tags are not read here: leave it out, or put "
			       "it in quotes",
			       tag);
	return 0;
}

static int read_scalar(const struct tree *t, const yaml_event_t *ev, struct weir_proxy_node *ret)
{
	int r = check_plain(t, ev, ev->data.scalar.anchor, ev->data.scalar.tag);
	size_t len = ev->data.scalar.length;

	if (r)
		return r;
	if (memchr(ev->data.scalar.value, '\0', len))
		return fail_at(t, line_of(ev), "a NUL character: leave it out");
	ret->kind = WEIR_NODE_SCALAR;
	ret->quoted = ev->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	ret->text = strndup((const char *)ev->data.scalar.value, len);
	return ret->text ? 0 : oom(t);
}

static int read_node(struct tree *t, const yaml_event_t *ev, unsigned int depth,
		     struct weir_proxy_node *ret);

static int add_item(const struct tree *t, struct weir_proxy_node *list,
		    const struct weir_proxy_node *item)
{
	/* Room doubles whenever the number is a power of two. */
	if (!(list->n & (list->n - 1))) {
		size_t room = list->n ? 2 * list->n : 1;
		void *items = reallocarray(list->items, room, sizeof(*list->items));

		if (!items)
			return oom(t);
		list->items = items;
	}
	list->items[list->n++] = *item;
	return 0;
}

/* Up to the event that ends the list or the map. */
static int read_items(struct tree *t, yaml_event_type_t end, unsigned int depth,
		      struct weir_proxy_node *ret)
{
	for (;;) {
		struct weir_proxy_node item = { 0 };
		yaml_event_t ev;
		bool over;
		int r = next(t, &ev);

		if (r)
			return r;
		over = ev.type == end;
		if (!over)
			r = read_node(t, &ev, depth, &item);
		yaml_event_delete(&ev);
		if (over)
			return 0;
		if (!r)
			r = add_item(t, ret, &item);
		if (r) {
			weir_proxy_tree_free(&item);
			return r;
		}
	}
}

static int read_node(struct tree *t, const yaml_event_t *ev, unsigned int depth,
		     struct weir_proxy_node *ret)
{
	int r;

	ret->line = line_of(ev);
	if (depth == DEPTH_MAX)
		return fail_at(t, ret->line, "nested too deep: check the indentation");
	if (t->nodes++ == NODES_MAX)
		return fail_at(t, ret->line, "more than %u values: make the file smaller",
			       NODES_MAX);
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return read_scalar(t, ev, ret);
	case YAML_SEQUENCE_START_EVENT:
		ret->kind = WEIR_NODE_LIST;
		r = check_plain(t, ev, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
		return r ? r : read_items(t, YAML_SEQUENCE_END_EVENT, depth + 1, ret);
	case YAML_MAPPING_START_EVENT:
		ret->kind = WEIR_NODE_MAP;
		r = check_plain(t, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
		return r ? r : read_items(t, YAML_MAPPING_END_EVENT, depth + 1, ret);
	default:
		break;
	}
	return fail_at(t, ret->line,
		       "*%s: aliases are not read here: write it out, or put it in "
		       "quotes",
		       ev->type == YAML_ALIAS_EVENT ? (const char *)ev->data.alias.anchor : "");
}

static int read_root(struct tree *t, const yaml_event_t *ev, struct weir_proxy_node *ret)
{
	int r = read_node(t, ev, 0, ret);

	if (r || ret->kind == WEIR_NODE_MAP)
		return r;
	/* "---" alone is an empty document, too. */
	if (ret->kind == WEIR_NODE_SCALAR && !ret->quoted && !*ret->text) {
		weir_proxy_tree_free(ret);
		return 0;
	}
	return fail_at(t, ret->line, "no KEY: VALUE: write one in each line");
}

static int read_stream(struct tree *t, struct weir_proxy_node *ret)
{
	bool seen = false;

	for (;;) {
		yaml_event_t ev;
		bool over;
		int r = next(t, &ev);

		if (r)
			return r;
		over = ev.type == YAML_STREAM_END_EVENT;
		if (ev.type == YAML_DOCUMENT_START_EVENT && seen)
			r = fail_at(t, line_of(&ev),
				    "a second document: leave out what begins "
				    "with ---");
		else if (ev.type == YAML_DOCUMENT_START_EVENT)
			seen = true;
		else if (!over && ev.type != YAML_STREAM_START_EVENT &&
			 ev.type != YAML_DOCUMENT_END_EVENT)
			r = read_root(t, &ev, ret);
		yaml_event_delete(&ev);
		if (r || over)
			return r;
	}
}

int weir_proxy_tree_read(const char *text, size_t len, const char *source,
			 struct weir_proxy_node *ret, struct weir_error *err)
{
	struct tree t = { .text = text, .source = source, .len = len, .err = err };
	struct weir_proxy_node root = { 0 };
	int r;

	if (!yaml_parser_initialize(&t.yaml))
		return oom(&t);
	yaml_parser_set_encoding(&t.yaml, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&t.yaml, (const unsigned char *)text, len);
	r = read_stream(&t, &root);
	yaml_parser_delete(&t.yaml);
	if (r) {
		weir_proxy_tree_free(&root);
		return r;
	}
	root.kind = WEIR_NODE_MAP;
	*ret = root;
	return 0;
}
