/* SPDX-License-Identifier: GPL-2.0-only */
/* Single values of the configuration, the same in the file and on the command line. */
#include "cap/proxy/config_impl.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/utf8.h"
#include "cap/proxy/conn.h"
#include "cap/proxy/expr.h"
#include "net/dns.h"

#define DNS_PORT 53
#define USER_MAX 32
/* What of a wrong value is shown, so that the remedy has room behind it. */
#define SHOWN "\"%.100s\""

static int oom(struct weir_error *err)
{
	return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
}

const char *weir_proxy_value_nearest(const char *const *words, size_t n, const char *word)
{
	/* The words as an option table: one judgement of what is near. */
	struct weir_opt table[WEIR_PROXY_LISTENS_MAX + 1] = { 0 };

	for (size_t i = 0; i < n && i < WEIR_PROXY_LISTENS_MAX; i++)
		table[i] = (struct weir_opt){ .name = words[i], .help = words[i] };
	return weir_opt_nearest(table, word, strlen(word));
}

static int check_text(const char *text, bool tabs, struct weir_error *err)
{
	size_t left = strlen(text);

	if (!left)
		return weir_fail(err, -EINVAL, "no value: give one");
	if (left > WEIR_PROXY_TEXT_MAX)
		return weir_fail(err, -EINVAL, "longer than %d bytes: make it shorter",
				 WEIR_PROXY_TEXT_MAX);
	for (const unsigned char *s = (const unsigned char *)text; left;) {
		size_t n = weir_utf8_len(s, left);

		if (!n)
			return weir_fail(err, -EINVAL, SHOWN " is not UTF-8: write it so", text);
		/* U+0080 to U+009F are control characters, too. */
		if ((n == 1 && iscntrl(*s) && !(tabs && *s == '\t')) ||
		    (n == 2 && s[0] == 0xc2 && s[1] < 0xa0))
			return weir_fail(err, -EINVAL,
					 SHOWN " has a control character: leave it out", text);
		s += n;
		left -= n;
	}
	return 0;
}

int weir_proxy_value_text(const char *text, bool tabs, char **ret, struct weir_error *err)
{
	int r = check_text(text, tabs, err);
	char *copy;

	if (r)
		return r;
	copy = strdup(text);
	if (!copy)
		return oom(err);
	free(*ret);
	*ret = copy;
	return 0;
}

int weir_proxy_value_choice(const char *text, const char *const *choices, int *ret,
			    struct weir_error *err)
{
	weir_autobuf struct weir_buf words = { 0 };

	for (int i = 0; choices[i]; i++) {
		if (strcmp(choices[i], text) == 0) {
			*ret = i;
			return 0;
		}
		weir_buf_addf(&words, "%s%s", !i ? "" : choices[i + 1] ? ", " : " or ", choices[i]);
	}
	return weir_fail(err, -EINVAL, SHOWN " is not known: give %s", text,
			 words.failed ? "another" : words.data);
}

int weir_proxy_value_prefix(const char *text, struct weir_prefix *ret, struct weir_error *err)
{
	int r = weir_prefix_parse(text, false, ret);

	if (r == -ERANGE)
		return weir_fail(err, -EINVAL,
				 SHOWN ": bits are set behind the prefix length: clear them", text);
	if (r)
		return weir_fail(err, -EINVAL,
				 SHOWN " is no prefix: give one such as 192.0.2.0/24 or "
				       "2001:db8::1, or any",
				 text);
	return 0;
}

int weir_proxy_value_endpoint(const char *text, struct weir_endpoint *ret, struct weir_error *err)
{
	struct weir_endpoint e;

	if (weir_endpoint_parse(text, &e) || e.sa.sa_family == AF_UNIX)
		return weir_fail(err, -EINVAL,
				 SHOWN " is no IP address with a port: give one such as "
				       "192.0.2.1:443 or [::]:443",
				 text);
	*ret = e;
	return 0;
}

int weir_proxy_value_server(const char *text, struct weir_endpoint *ret, struct weir_error *err)
{
	struct weir_addr a;

	if (!weir_addr_parse(text, &a)) {
		weir_endpoint_set(ret, &a, DNS_PORT);
		return 0;
	}
	if (!weir_endpoint_parse(text, ret) && ret->sa.sa_family != AF_UNIX)
		return 0;
	return weir_fail(err, -EINVAL,
			 SHOWN " is no name server: give its IP address, such as 192.0.2.53 or "
			       "[2001:db8::53]:5353",
			 text);
}

int weir_proxy_value_metrics(const char *text, struct weir_endpoint *ret, struct weir_error *err)
{
	if (strcmp(text, "off"))
		return weir_proxy_value_endpoint(text, ret, err);
	*ret = (struct weir_endpoint){ 0 };
	return 0;
}

/* Asked for here, so that `check` and a reload find what a start would. */
int weir_proxy_value_user(const char *text, char **ret, struct weir_error *err)
{
	int r = check_text(text, false, err);

	if (r)
		return r;
	if (strlen(text) > USER_MAX || !getpwnam(text))
		return weir_fail(err, -EINVAL,
				 SHOWN " is no user of this host: give one that `getent passwd` "
				       "lists",
				 text);
	return weir_proxy_value_text(text, false, ret, err);
}

int weir_proxy_value_log(const char *text, char **ret, struct weir_error *err)
{
	if (strcmp(text, "off") == 0) {
		free(*ret);
		*ret = NULL;
		return 0;
	}
	if (strcmp(text, "stdout") == 0)
		text = "-";
	if (text[0] != '/' && strcmp(text, "-"))
		return weir_fail(err, -EINVAL,
				 SHOWN " is no path from /: give one, or stdout, or off", text);
	return weir_proxy_value_text(text, false, ret, err);
}

int weir_proxy_value_format(const char *text, char **ret, struct weir_error *err)
{
	int r;

	if (strcmp(text, "json") == 0) {
		free(*ret);
		*ret = NULL;
		return 0;
	}
	r = check_text(text, true, err);
	if (!r)
		r = weir_conn_template_check(text, err);
	return r ? r : weir_proxy_value_text(text, true, ret, err);
}

/* ---- Names */

/* In lower case, without a trailing dot. */
static void fold(char *name)
{
	size_t n = strlen(name);

	for (char *s = name; *s; s++)
		*s = (char)tolower((unsigned char)*s);
	if (n > 1 && name[n - 1] == '.')
		name[n - 1] = '\0';
}

/* A host name, or an IP address, which some clients send in its place. */
static int check_name(const char *given, const char *name, struct weir_error *err)
{
	struct weir_addr a;

	for (const char *s = name; *s; s++)
		if ((unsigned char)*s >= 0x80)
			return weir_fail(err, -EINVAL,
					 SHOWN
					 " is not ASCII: give the name as clients send it, as "
					 "an A-label (xn--...; `idn2` makes them)",
					 given);
	if (weir_dns_name_ok(name) || !weir_addr_parse(name, &a))
		return 0;
	if (strchr(name, '*'))
		return weir_fail(err, -EINVAL,
				 SHOWN ": * stands in front only, for whole labels: write "
				       "\"*.example.org\", or an expression \"/.../\"",
				 given);
	return weir_fail(err, -EINVAL,
			 SHOWN
			 " is no host name: write letters, digits, - and _ between dots, 63 in "
			 "a row and 253 in all at most, or an expression \"/.../\"",
			 given);
}

static int match_name(const char *text, enum weir_proxy_match_kind kind, struct weir_proxy_route *r,
		      struct weir_error *err)
{
	char *name = strdup(kind == WEIR_NAME_WILDCARD ? text + strlen("*.") : text);
	int ret;

	if (!name)
		return oom(err);
	fold(name);
	ret = check_name(text, name, err);
	if (ret) {
		free(name);
		return ret;
	}
	free(r->match);
	r->match = name;
	r->kind = kind;
	return 0;
}

static int match_regex(const char *text, struct weir_proxy_route *r, struct weir_error *err)
{
	size_t n = strlen(text);
	struct weir_error why;
	char *match;
	int code;

	if (strcmp(text, "//") == 0)
		return weir_fail(err, -EINVAL, "an empty expression: write \"*\" for any name");
	if (n < 3 || text[n - 1] != '/')
		return weir_fail(err, -EINVAL,
				 SHOWN ": an expression ends with /, too: write "
				       "\"/^www[0-9]+\\.example\\.org$/\"",
				 text);
	match = strndup(text + 1, n - 2);
	if (!match)
		return oom(err);
	code = weir_expr_new(match, &r->expr, &why);
	if (code) {
		free(match);
		return weir_fail(err, code,
				 SHOWN ", %s: write an extended regular expression, see regex(7)",
				 text, why.msg);
	}
	free(r->match);
	r->match = match;
	r->kind = WEIR_NAME_REGEX;
	return 0;
}

int weir_proxy_value_match(const char *text, struct weir_proxy_route *r, struct weir_error *err)
{
	int ret = check_text(text, false, err);

	if (ret)
		return ret;
	if (text[0] == '/')
		return match_regex(text, r, err);
	if (strncmp(text, "*.", 2) == 0)
		return match_name(text, WEIR_NAME_WILDCARD, r, err);
	if (strcmp(text, "*"))
		return match_name(text, WEIR_NAME_EXACT, r, err);
	r->kind = WEIR_NAME_ANY;
	return weir_proxy_value_text(text, false, &r->match, err);
}

/* ---- Backends */

static int target_address(struct weir_proxy_target *t, struct weir_error *err)
{
	char text[WEIR_ENDPOINT_STRLEN];

	t->kind = t->addr.sa.sa_family == AF_UNIX ? WEIR_TARGET_UNIX : WEIR_TARGET_ADDRESS;
	t->text = strdup(weir_endpoint_str(&t->addr, text));
	return t->text ? 0 : oom(err);
}

static int fail_target(const char *text, struct weir_error *err)
{
	struct weir_addr a;

	if (strncmp(text, "unix:", 5) == 0)
		return weir_fail(err, -EINVAL,
				 SHOWN ": no path from / of at most 107 bytes: give one such as "
				       "unix:/run/app.sock",
				 text);
	if (strncasecmp(text, "dns:", 4) == 0)
		return weir_fail(err, -EINVAL,
				 SHOWN ": dns keeps the port that the client came to: "
				       "write dns alone",
				 text);
	if (!weir_addr_parse(text, &a))
		return weir_fail(err, -EINVAL, SHOWN " has no port: write %s", text,
				 weir_addr_is_v4(&a) ? "ADDRESS:PORT" : "[ADDRESS]:PORT");
	return weir_fail(err, -EINVAL,
			 SHOWN " is no backend: give ADDRESS:PORT, HOST:PORT, HOST, unix:/PATH, or "
			       "dns",
			 text);
}

/* A host, or "dns", which no host can be called. */
static int target_name(const char *text, struct weir_proxy_target *t, struct weir_error *err)
{
	weir_autofree char *host = strdup(text);
	char *colon = host ? strchr(host, ':') : NULL;
	uint64_t port = 0;

	if (!host)
		return oom(err);
	if (colon) {
		*colon = '\0';
		if (weir_parse_u64(colon + 1, 1, UINT16_MAX, &port))
			return fail_target(text, err);
	}
	fold(host);
	if (!colon && strcmp(host, "dns") == 0) {
		t->kind = WEIR_TARGET_DNS;
		t->text = WEIR_TAKE_PTR(host);
		return 0;
	}
	if (!weir_dns_name_ok(host) || strcmp(host, "dns") == 0)
		return fail_target(text, err);
	if (asprintf(&t->text, port ? "%s:%u" : "%s", host, (unsigned int)port) < 0) {
		t->text = NULL;
		return oom(err);
	}
	t->kind = WEIR_TARGET_NAME;
	t->host = WEIR_TAKE_PTR(host);
	t->port = (uint16_t)port;
	return 0;
}

int weir_proxy_value_target(const char *text, struct weir_proxy_target *ret, struct weir_error *err)
{
	struct weir_proxy_target t = { 0 };
	int r = check_text(text, false, err);

	if (r)
		return r;
	if (!weir_endpoint_parse(text, &t.addr))
		r = target_address(&t, err);
	else
		r = target_name(text, &t, err);
	if (!r)
		*ret = t;
	return r;
}

/* ---- What becomes of a connection without a route */

static const struct {
	const char *word;
	enum weir_proxy_do what;
} doings[] = {
	{ "drop", WEIR_DO_DROP },
	{ "reset", WEIR_DO_RESET },
	{ "alert", WEIR_DO_ALERT },
	{ "route", WEIR_DO_ROUTE },
};

static int fail_action(const char *text, struct weir_error *err)
{
	static const char *const words[] = { "drop", "reset", "alert" };
	const char *near = weir_proxy_value_nearest(words, WEIR_ARRAY_SIZE(words), text);

	if (near)
		return weir_fail(err, -EINVAL, SHOWN " is no action: did you mean %s?", text, near);
	return weir_fail(err, -EINVAL,
			 SHOWN " is no action: give drop, reset, alert, ADDRESS:PORT, HOST:PORT or "
			       "unix:/PATH",
			 text);
}

static int action_backend(const char *text, const char *key, struct weir_proxy_action *ret,
			  struct weir_error *err)
{
	struct weir_proxy_route *r = calloc(1, sizeof(*r));
	int code = -ENOMEM;

	if (!r)
		return oom(err);
	r->kind = WEIR_NAME_ANY;
	r->name = strdup(key);
	r->targets = calloc(1, sizeof(*r->targets));
	if (!r->name || !r->targets)
		oom(err);
	else if (!strchr(text, ':')) /* rather a mistyped action than a host */
		code = fail_action(text, err);
	else
		code = weir_proxy_value_target(text, r->targets, err);
	if (code) {
		weir_proxy_route_free(r);
		free(r);
		return code;
	}
	r->n_targets = 1;
	weir_proxy_action_free(ret);
	*ret = (struct weir_proxy_action){ .what = WEIR_DO_BACKEND, .route = r };
	return 0;
}

int weir_proxy_value_action(const char *text, const char *key, struct weir_proxy_action *ret,
			    struct weir_error *err)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(doings); i++) {
		if (strcmp(doings[i].word, text))
			continue;
		if (doings[i].what == WEIR_DO_ROUTE && strcmp(key, "ech"))
			return weir_fail(err, -EINVAL,
					 "\"route\" is for ech alone: give drop, reset, alert or "
					 "ADDRESS:PORT");
		weir_proxy_action_free(ret);
		ret->what = doings[i].what;
		return 0;
	}
	if (strcmp(text, "dns") == 0)
		return weir_fail(err, -EINVAL,
				 "\"dns\" is for routes: write one with match: \"*\" "
				 "and backends: [dns]");
	return action_backend(text, key, ret, err);
}
