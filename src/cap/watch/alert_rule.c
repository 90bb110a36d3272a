/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/alert_rule.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "cap/watch/observe.h"

#define RULE_MAX 16384 /* bytes of one rule */
#define OVER_MAX_NS (3600 * WEIR_NSEC_PER_SEC)
#define TIME_MAX_NS (24 * 3600 * WEIR_NSEC_PER_SEC)
#define OVER_SUMS 2   /* ticks of the window where none is given ... */
#define OVER_PORTS 20 /* ... and of ports per host: scans take their time */
#define TAIL_WORDS 16
#define BLANKS " \t\r\n"
/* The words of the user in messages: as much as there is room for. */
#define SHOWN "\"%.60s\""

const char *const weir_alert_quantities[WEIR_ALERT_QUANTITY_MAX] = {
	[WEIR_ALERT_PACKETS] = "packets",
	[WEIR_ALERT_BYTES] = "bytes",
	[WEIR_ALERT_FLOWS] = "flows",
	[WEIR_ALERT_NEW_HOSTS] = "new_hosts",
	[WEIR_ALERT_PORTS_PER_HOST] = "ports_per_host",
	[WEIR_ALERT_LOST] = "lost",
};

/* "rate" is packets or, with a value in bits, bytes. */
static const struct {
	const char *words;
	enum weir_alert_quantity quantity;
} quantities[] = {
	{ "rate", WEIR_ALERT_PACKETS },	       { "packets", WEIR_ALERT_PACKETS },
	{ "bytes", WEIR_ALERT_BYTES },	       { "flows", WEIR_ALERT_FLOWS },
	{ "new hosts", WEIR_ALERT_NEW_HOSTS }, { "ports per host", WEIR_ALERT_PORTS_PER_HOST },
	{ "lost", WEIR_ALERT_LOST },
};

#define QUANTITIES "rate, packets, bytes, flows, new hosts, ports per host or lost"

/* ---- Values */

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && !strcmp(s + n - m, end);
}

/* A number with /s, /m or /h, or without: a sum of the window. */
static int parse_number(enum weir_alert_quantity q, const char *text, struct weir_alert_rule *ret,
			double *value)
{
	static const struct {
		const char *end;
		double seconds;
	} per[] = { { "/s", 1 }, { "/m", 60 }, { "/h", 3600 } };
	char number[32];
	double seconds = 0;
	size_t n = strlen(text);
	uint64_t v;
	int r;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(per); i++)
		if (ends_with(text, per[i].end)) {
			seconds = per[i].seconds;
			n -= strlen(per[i].end);
		}
	if (n >= sizeof(number))
		return -EINVAL;
	snprintf(number, sizeof(number), "%.*s", (int)n, text);
	r = q == WEIR_ALERT_BYTES ? weir_parse_size(number, &v) :
				    weir_parse_u64(number, 0, UINT64_MAX, &v);
	if (r)
		return r;
	ret->unit = seconds > 0 ? WEIR_ALERT_PER_SECOND : WEIR_ALERT_COUNT;
	*value = seconds > 0 ? (double)v / seconds : (double)v;
	return 0;
}

/* A value in @ret->unit; @rate: of "rate", which wants a unit of time. */
static int parse_value(struct weir_alert_rule *ret, bool rate, const char *text, double *value,
		       struct weir_error *err)
{
	enum weir_alert_quantity q = ret->quantity;
	uint64_t bits;
	bool is_bits;
	int r = -EINVAL;

	if (ends_with(text, "bit") && (rate || q == WEIR_ALERT_BYTES)) {
		r = weir_parse_rate(text, &bits, &is_bits);
		ret->quantity = WEIR_ALERT_BYTES;
		ret->unit = WEIR_ALERT_BITS;
		*value = (double)bits;
	} else if (!ends_with(text, "bit")) {
		r = parse_number(q, text, ret, value);
	}
	if (!r && rate && ret->unit == WEIR_ALERT_COUNT)
		r = -EINVAL;
	if (!r && q == WEIR_ALERT_PORTS_PER_HOST && ret->unit != WEIR_ALERT_COUNT)
		r = -EINVAL;
	if (!r)
		return 0;
	return weir_fail(err, -EINVAL, SHOWN " is no value here: give %s", text,
			 rate				? "one such as 1000/s, 60/m or 10mbit" :
			 q == WEIR_ALERT_BYTES		? "one such as 64k, 1m/s or 10mbit" :
			 q == WEIR_ALERT_PORTS_PER_HOST ? "a number such as 100" :
							  "a number such as 100, or 100/s");
}

/* In ticks, rounded up. */
static int parse_time(const char *word, const char *text, uint64_t min, uint64_t max, uint32_t *ret,
		      struct weir_error *err)
{
	uint64_t ns;

	if (weir_parse_duration(text, &ns) || ns < min || ns > max)
		return weir_fail(err, -EINVAL,
				 "%s " SHOWN ": give a time such as 10s, from %s to %s", word, text,
				 min ? "500ms" : "0s", max == OVER_MAX_NS ? "1h" : "24h");
	*ret = (uint32_t)((ns + WEIR_OBSERVE_TICK_NS - 1) / WEIR_OBSERVE_TICK_NS);
	return 0;
}

/* ---- What comes behind the operator */

static int parse_option(struct weir_alert_rule *ret, bool rate, const char *word, const char *text,
			unsigned int *seen, struct weir_error *err)
{
	static const char *const words[] = { "over", "for", "clear", "cooldown" };
	struct weir_alert_rule of_clear = *ret;
	unsigned int i = 0;
	int r = 0;

	while (i < WEIR_ARRAY_SIZE(words) && strcmp(word, words[i]) != 0)
		i++;
	if (i == WEIR_ARRAY_SIZE(words))
		return weir_fail(err, -EINVAL,
				 SHOWN " is not known here: behind the value may come over T, "
				       "for T, clear V and cooldown T",
				 word);
	if (!text)
		return weir_fail(err, -EINVAL, "%s without a value: give one, such as %s %s", word,
				 word, i == 2 ? "500/s" : "10s");
	if (*seen & 1U << i)
		return weir_fail(err, -EINVAL, "%s is given twice: leave one out", word);
	*seen |= 1U << i;
	switch (i) {
	case 0:
		return parse_time(word, text, WEIR_OBSERVE_TICK_NS, OVER_MAX_NS, &ret->over, err);
	case 1:
		return parse_time(word, text, 0, TIME_MAX_NS, &ret->holds, err);
	case 2:
		r = parse_value(&of_clear, rate, text, &ret->clear, err);
		if (!r && (of_clear.unit != ret->unit || of_clear.quantity != ret->quantity))
			r = weir_fail(err, -EINVAL,
				      "clear " SHOWN " has another unit than the value: give it "
				      "the same",
				      text);
		ret->has_clear = true;
		return r;
	default:
		return parse_time(word, text, 0, TIME_MAX_NS, &ret->cooldown, err);
	}
}

static int check_rule(const struct weir_alert_rule *r, struct weir_error *err)
{
	bool above = weir_alert_is_above(r);

	/* Who connects to nothing has no name. */
	if (r->quantity == WEIR_ALERT_PORTS_PER_HOST && !above)
		return weir_fail(err, -EINVAL,
				 "ports per host is the largest number of any host: compare by > "
				 "or >=");
	if (r->value <= 0 && (r->op == WEIR_ALERT_LT || r->op == WEIR_ALERT_GE))
		return weir_fail(err, -EINVAL, "nothing is below 0: compare with a larger value");
	if (r->has_clear && (above ? r->clear > r->value : r->clear < r->value))
		return weir_fail(err, -EINVAL,
				 "it would be over before it began: let clear be %s the value",
				 above ? "at most" : "at least");
	return 0;
}

static int parse_tail(struct weir_alert_rule *ret, bool rate, char *tail, struct weir_error *err)
{
	char *words[TAIL_WORDS], *save, *w;
	unsigned int seen = 0;
	size_t n = 0;
	int r;

	for (w = strtok_r(tail, BLANKS, &save); w && n < TAIL_WORDS;
	     w = strtok_r(NULL, BLANKS, &save))
		words[n++] = w;
	if (!n)
		return weir_fail(err, -EINVAL, "there is no value: give one, such as > 1000/s");
	r = parse_value(ret, rate, words[0], &ret->value, err);
	for (size_t i = 1; !r && i < n; i += 2)
		r = parse_option(ret, rate, words[i], i + 1 < n ? words[i + 1] : NULL, &seen, err);
	return r ? r : check_rule(ret, err);
}

/* ---- The whole rule */

/* The quantity at the end of @head; what comes before stays there. */
static int take_quantity(struct weir_alert_rule *ret, char *head, bool *ret_rate,
			 struct weir_error *err)
{
	size_t n = strlen(head);
	const char *last;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(quantities); i++) {
		size_t m = strlen(quantities[i].words);

		if (n < m || strcmp(head + n - m, quantities[i].words) != 0 ||
		    (n > m && head[n - m - 1] != ' '))
			continue;
		ret->quantity = quantities[i].quantity;
		*ret_rate = i == 0;
		head[n > m ? n - m - 1 : 0] = '\0';
		return 0;
	}
	last = strrchr(head, ' ');
	return weir_fail(err, -EINVAL, SHOWN " is no quantity: give " QUANTITIES,
			 last ? last + 1 : head);
}

static int parse_expression(struct weir_alert_rule *ret, const char *head, struct weir_error *err)
{
	const struct weir_match_spec spec = { .expression = head };

	if (ret->quantity != WEIR_ALERT_LOST)
		return weir_match_parse(&spec, &ret->match, err);
	return *head ? weir_fail(
			       err, -EINVAL,
			       "what is lost is not looked at: leave the expression of lost out") :
		       0;
}

/* The operator is the last of its kind: expressions may hold some, too. */
static char *find_op(char *text, struct weir_alert_rule *ret, char **ret_tail)
{
	char *at = NULL;

	for (char *p = text; *p; p++)
		if (*p == '<' || *p == '>')
			at = p;
	if (!at)
		return NULL;
	ret->op = *at == '>' ? WEIR_ALERT_GT : WEIR_ALERT_LT;
	*ret_tail = at + 1;
	if (at[1] == '=') {
		ret->op = *at == '>' ? WEIR_ALERT_GE : WEIR_ALERT_LE;
		*ret_tail = at + 2;
	}
	return at;
}

/* Single blanks between words, none around them. */
static char *squeeze(const char *text)
{
	char *out = strdup(text), *to = out;

	for (const char *p = text; out && *p; p++) {
		if (!strchr(BLANKS, *p))
			*to++ = *p;
		else if (to > out && to[-1] != ' ')
			*to++ = ' ';
	}
	if (out) {
		to -= to > out && to[-1] == ' ';
		*to = '\0';
	}
	return out;
}

static int take_name(struct weir_alert_rule *ret, char *text, char **ret_rest,
		     struct weir_error *err)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	if (!n || text[n] != ':' || n >= sizeof(ret->name))
		return weir_fail(err, -EINVAL,
				 "an alert begins with its name: write NAME: and then the rule, "
				 "NAME of at most %d letters, digits, _ and -",
				 WEIR_ALERT_NAME_MAX - 1);
	memcpy(ret->name, text, n);
	*ret_rest = text + n + 1 + (text[n + 1] == ' ');
	return 0;
}

static void free_rule(struct weir_alert_rule *r)
{
	free(r->text);
	weir_match_free(r->match);
}

static int parse_rule(struct weir_alert_rule *ret, const char *rest, struct weir_error *err)
{
	weir_autofree char *text = strdup(rest);
	char *tail = NULL, *at;
	bool rate = false;
	size_t n;
	int r;

	if (!text)
		return weir_fail(err, -ENOMEM, "out of memory");
	at = find_op(text, ret, &tail);
	if (!at)
		return weir_fail(err, -EINVAL,
				 "there is nothing to compare: give " QUANTITIES
				 ", then >, >=, < or <= and a value");
	*at = '\0';
	n = strlen(text);
	if (n && text[n - 1] == ' ')
		text[n - 1] = '\0';
	r = take_quantity(ret, text, &rate, err);
	if (!r) {
		ret->over = ret->quantity == WEIR_ALERT_PORTS_PER_HOST ? OVER_PORTS : OVER_SUMS;
		r = parse_tail(ret, rate, tail, err);
	}
	return r ? r : parse_expression(ret, text, err);
}

int weir_alert_add(struct weir_alert_rules *r, const char *text, struct weir_error *err)
{
	weir_autofree char *clean = squeeze(text);
	struct weir_alert_rule rule = { 0 };
	char *rest;
	int ret;

	if (!clean)
		return weir_fail(err, -ENOMEM, "out of memory");
	if (strlen(clean) > RULE_MAX)
		return weir_fail(err, -E2BIG, "the rule is longer than %d bytes: shorten it",
				 RULE_MAX);
	ret = take_name(&rule, clean, &rest, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < r->n; i++)
		if (!strcmp(r->v[i].name, rule.name))
			return weir_fail(err, -EINVAL,
					 "alert %s is there twice: give each a name of its own",
					 rule.name);
	if (r->n == WEIR_WATCH_ALERTS)
		return weir_fail(err, -E2BIG, "more than %d alerts: leave some out",
				 WEIR_WATCH_ALERTS);
	rule.text = strdup(rest);
	ret = rule.text ? parse_rule(&rule, rest, err) : weir_fail(err, -ENOMEM, "out of memory");
	if (ret) {
		free_rule(&rule);
		return weir_fail_prefix(err, ret, "alert %s", rule.name);
	}
	r->v[r->n++] = rule;
	return 0;
}

int weir_alert_add_file(struct weir_alert_rules *r, const char *name, const char *text, size_t n,
			struct weir_error *err)
{
	weir_autofree char *line = malloc(n + 1);
	const char *end = text + n;
	unsigned int number = 0, first;
	int ret = 0;

	if (!line)
		return weir_fail(err, -ENOMEM, "out of memory");
	if (memchr(text, '\0', n))
		return weir_fail(err, -EINVAL, "%s: there is a NUL in it: give a file of text",
				 name);
	while (!ret && text < end) {
		bool more = true;
		size_t len = 0;

		first = number + 1;
		while (more && text < end) {
			const char *eol = memchr(text, '\n', (size_t)(end - text));
			size_t part = (size_t)((eol ? eol : end) - text);

			number++;
			more = part && text[part - 1] == '\\';
			memcpy(line + len, text, part);
			if (more)
				line[len + part - 1] = ' ';
			len += part;
			text += part + (eol != NULL);
		}
		line[len] = '\0';
		line[strcspn(line, "#")] = '\0';
		if (line[strspn(line, BLANKS)])
			ret = weir_alert_add(r, line, err);
	}
	return ret ? weir_fail_prefix(err, ret, "%s:%u", name, first) : 0;
}

void weir_alert_rules_free(struct weir_alert_rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		free_rule(&r->v[i]);
	r->n = 0;
}

const char *weir_alert_unit_name(const struct weir_alert_rule *r, char buf[32])
{
	static const char *const nouns[WEIR_ALERT_QUANTITY_MAX] = {
		[WEIR_ALERT_PACKETS] = "packets",      [WEIR_ALERT_BYTES] = "bytes",
		[WEIR_ALERT_FLOWS] = "flows",	       [WEIR_ALERT_NEW_HOSTS] = "hosts",
		[WEIR_ALERT_PORTS_PER_HOST] = "ports", [WEIR_ALERT_LOST] = "packets",
	};

	snprintf(buf, 32, "%s%s", r->unit == WEIR_ALERT_BITS ? "bits" : nouns[r->quantity],
		 r->unit == WEIR_ALERT_COUNT ? "" : "/s");
	return buf;
}
