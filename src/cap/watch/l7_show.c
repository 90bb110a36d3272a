/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/l7.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cap/watch/flows.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/session.h"

#define PATH_SHOWN 200	  /* characters of a request's target in a line */
#define ANSWERS_SHOWN 8	  /* in a line */
#define ANSWERS_LISTED 64 /* in JSON */

static const char *const kinds[WEIR_L7_KINDS] = {
	[WEIR_L7_TLS] = "tls",
	[WEIR_L7_HTTP] = "http",
	[WEIR_L7_DNS] = "dns",
};

static const struct {
	const char *name, *text;
} lost_reasons[WEIR_STREAM_LOST_MAX] = {
#define X(id, name, text) [WEIR_STREAM_LOST_##id] = { #name, text },
	WEIR_STREAM_LOST(X)
#undef X
};

static bool is_grease(const uint8_t *name, size_t n)
{
	return n == 2 && name[0] == name[1] && (name[0] & 15) == 10;
}

/* The next protocol of the list behind @at; NULL: there are no more. */
static const uint8_t *next_alpn(const struct weir_hello *h, size_t *at, size_t *ret_n)
{
	while (*at < h->alpn_len) {
		const uint8_t *name = h->alpn + *at + 1;

		*ret_n = h->alpn[*at];
		*at += 1 + *ret_n;
		if (!is_grease(name, *ret_n))
			return name;
	}
	return NULL;
}

void weir_l7_alpn(const struct weir_hello *h, struct weir_buf *out)
{
	const uint8_t *name;
	size_t at = 0, n;

	for (unsigned int i = 0; (name = next_alpn(h, &at, &n)) != NULL; i++) {
		if (i)
			weir_buf_addc(out, ',');
		weir_format_safe(out, name, n);
	}
}

/* ---- Text */

static void tls_text(const struct weir_hello *h, struct weir_buf *out)
{
	size_t before;

	if (h->name[0]) {
		ADD(out, "TLS SNI ");
		weir_buf_adds(out, h->name);
	} else {
		ADD(out, "TLS no SNI");
	}
	if (h->ech)
		ADD(out, " ECH");
	before = out->len;
	ADD(out, " ALPN ");
	weir_l7_alpn(h, out);
	if (out->data && out->len == before + 6) { /* it offers none */
		out->len = before;
		out->data[before] = '\0';
	}
}

static void http_text(const struct weir_l7_seen *s, struct weir_buf *out)
{
	const struct weir_request *r = &s->request;
	const size_t n = r->target_len < PATH_SHOWN ? r->target_len : PATH_SHOWN;

	ADD(out, "HTTP ");
	weir_format_safe(out, (const uint8_t *)r->method, r->method_len);
	weir_buf_addc(out, ' ');
	weir_format_safe(out, (const uint8_t *)r->target, n);
	if (n < r->target_len)
		ADD(out, "...");
	if (s->host[0]) {
		weir_buf_addc(out, ' ');
		weir_buf_adds(out, s->host);
	}
}

static void add_record_name(struct weir_buf *out, const char *name)
{
	weir_buf_adds(out, name);
	if (strcmp(name, ".") != 0)
		weir_buf_addc(out, '.');
}

static void answer_text(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
			struct weir_buf *out)
{
	char text[WEIR_DNSMSG_NAME], type[WEIR_DNSMSG_TYPE_NAME];
	struct weir_addr addr;

	weir_buf_adds(out, weir_dnsmsg_type_name(r->type, type));
	if (weir_dnsmsg_addr(m, r, &addr)) {
		weir_buf_addc(out, ' ');
		(r->type == WEIR_DNSMSG_A ? weir_buf_add_addr : weir_buf_add_addr6)(out, addr.b);
	} else if (weir_dnsmsg_target(m, r, text)) {
		weir_buf_addc(out, ' ');
		add_record_name(out, text);
	}
}

/* tcpdump's marks: + recursion desired; of an answer * authoritative, - no recursion
 * available, | truncated, $ authentic. */
static void dns_head(const struct weir_dnsmsg *m, struct weir_buf *out)
{
	const char *rcode = weir_dnsmsg_rcode_name(m->rcode);

	weir_buf_addu(out, m->id);
	if (!m->response) {
		if (m->recursion_desired)
			weir_buf_addc(out, '+');
	} else {
		if (m->authoritative)
			weir_buf_addc(out, '*');
		if (!m->recursion_available)
			weir_buf_addc(out, '-');
		if (m->truncated)
			weir_buf_addc(out, '|');
		if (m->authentic)
			weir_buf_addc(out, '$');
	}
	if (m->opcode) {
		ADD(out, " op");
		weir_buf_addu(out, m->opcode);
	}
	if (!m->rcode)
		return;
	weir_buf_addc(out, ' ');
	if (rcode)
		weir_buf_adds(out, rcode);
	else
		weir_buf_addf(out, "RCODE%u", m->rcode);
}

static void dns_counts(const struct weir_dnsmsg *m, struct weir_buf *out)
{
	for (int i = WEIR_DNSMSG_ANSWER; i < WEIR_DNSMSG_SECTIONS; i++) {
		weir_buf_addc(out, i == WEIR_DNSMSG_ANSWER ? ' ' : '/');
		weir_buf_addu(out, m->counts[i]);
	}
}

static void dns_text(const uint8_t *data, size_t len, bool cut, struct weir_buf *out)
{
	char type[WEIR_DNSMSG_TYPE_NAME];
	struct weir_dnsmsg_record r;
	unsigned int answers = 0;
	struct weir_dnsmsg m;
	bool counted = false;
	int more;

	weir_dnsmsg_begin(&m, data, len);
	dns_head(&m, out);
	while ((more = weir_dnsmsg_next(&m, &r)) > 0 && r.section <= WEIR_DNSMSG_ANSWER) {
		if (r.section == WEIR_DNSMSG_QUESTION) {
			weir_buf_addc(out, ' ');
			weir_buf_adds(out, weir_dnsmsg_type_name(r.type, type));
			ADD(out, "? ");
			add_record_name(out, r.name);
			continue;
		}
		if (!counted)
			dns_counts(&m, out);
		counted = true;
		if (++answers > ANSWERS_SHOWN)
			continue;
		weir_buf_adds(out, answers > 1 ? ", " : " ");
		answer_text(&m, &r, out);
	}
	if (!counted && m.response)
		dns_counts(&m, out);
	if (answers > ANSWERS_SHOWN)
		ADD(out, ", ...");
	if (more < 0)
		weir_buf_adds(out, cut ? " [cut]" : " [malformed]");
}

bool weir_l7_text(const struct weir_l7_seen *s, struct weir_buf *out)
{
	switch (s->kind) {
	case WEIR_L7_TLS:
		tls_text(&s->hello, out);
		return true;
	case WEIR_L7_HTTP:
		http_text(s, out);
		return true;
	case WEIR_L7_DNS:
		for (unsigned int i = 0; i < s->n_dns; i++) {
			weir_buf_adds(out, i ? "; " : "DNS ");
			dns_text(s->dns[i].data, s->dns[i].len, s->dns[i].cut, out);
		}
		return true;
	default:
		return false;
	}
}

void weir_l7_line(const struct weir_l7_seen *s, struct weir_buf *out)
{
	if (s->kind == WEIR_L7_NONE)
		return;
	ADD(out, ": ");
	weir_l7_text(s, out);
}

/* ---- JSON */

static void tls_json(const struct weir_hello *h, struct weir_json *j)
{
	const uint8_t *name;
	size_t at = 0, n;

	if (h->name[0])
		weir_json_str(j, "sni", h->name);
	name = next_alpn(h, &at, &n);
	if (!name)
		return;
	weir_json_array(j, "alpn");
	for (; name; name = next_alpn(h, &at, &n))
		weir_json_strn(j, NULL, (const char *)name, n);
	weir_json_end_array(j);
}

static void answer_json(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
			struct weir_json *j)
{
	weir_autobuf struct weir_buf data = { 0 };
	char text[WEIR_DNSMSG_NAME], type[WEIR_DNSMSG_TYPE_NAME];
	struct weir_addr addr;

	weir_json_object(j, NULL);
	weir_json_str(j, "name", r->name);
	weir_json_str(j, "type", weir_dnsmsg_type_name(r->type, type));
	weir_json_uint(j, "ttl", r->ttl);
	if (weir_dnsmsg_addr(m, r, &addr)) {
		(r->type == WEIR_DNSMSG_A ? weir_buf_add_addr : weir_buf_add_addr6)(&data, addr.b);
		weir_json_str(j, "data", data.data);
	} else if (weir_dnsmsg_target(m, r, text)) {
		weir_json_str(j, "data", text);
	}
	weir_json_end_object(j);
}

static void dns_head_json(const struct weir_dnsmsg *m, struct weir_json *j)
{
	const char *rcode = weir_dnsmsg_rcode_name(m->rcode);
	char number[16];

	weir_json_uint(j, "id", m->id);
	weir_json_bool(j, "response", m->response);
	if (m->opcode)
		weir_json_uint(j, "opcode", m->opcode);
	if (m->truncated)
		weir_json_bool(j, "truncated", true);
	if (!m->response)
		return;
	snprintf(number, sizeof(number), "RCODE%u", m->rcode);
	weir_json_str(j, "rcode", rcode ? rcode : number);
}

static void dns_json(const uint8_t *data, size_t len, bool cut, const char *key,
		     struct weir_json *j)
{
	char type[WEIR_DNSMSG_TYPE_NAME];
	struct weir_dnsmsg_record r;
	unsigned int answers = 0;
	struct weir_dnsmsg m;
	int more;

	weir_dnsmsg_begin(&m, data, len);
	weir_json_object(j, key);
	dns_head_json(&m, j);
	more = weir_dnsmsg_next(&m, &r);
	if (more > 0 && r.section == WEIR_DNSMSG_QUESTION) {
		weir_json_str(j, "question", r.name);
		weir_json_str(j, "type", weir_dnsmsg_type_name(r.type, type));
	}
	if (m.counts[WEIR_DNSMSG_QUESTION] > 1)
		weir_json_uint(j, "questions", m.counts[WEIR_DNSMSG_QUESTION]);
	while (more > 0 && r.section == WEIR_DNSMSG_QUESTION)
		more = weir_dnsmsg_next(&m, &r);
	for (; more > 0 && r.section == WEIR_DNSMSG_ANSWER; more = weir_dnsmsg_next(&m, &r)) {
		if (answers++ == 0)
			weir_json_array(j, "answers");
		if (answers <= ANSWERS_LISTED)
			answer_json(&m, &r, j);
	}
	if (answers)
		weir_json_end_array(j);
	if (answers > ANSWERS_LISTED)
		weir_json_uint(j, "answers_more", answers - ANSWERS_LISTED);
	if (more < 0)
		weir_json_bool(j, cut ? "cut" : "malformed", true);
	weir_json_end_object(j);
}

static void http_json(const struct weir_l7_seen *s, struct weir_json *j)
{
	weir_json_object(j, "http");
	weir_json_strn(j, "method", s->request.method, s->request.method_len);
	weir_json_strn(j, "path", s->request.target, s->request.target_len);
	if (s->host[0])
		weir_json_str(j, "host", s->host);
	weir_json_end_object(j);
}

void weir_l7_json(const struct weir_l7_seen *s, struct weir_buf *out)
{
	struct weir_json j;

	/* The object is the caller's, and open. */
	weir_json_init(&j, out);
	j.depth = 1;
	j.comma[0] = true;
	if (s->src_name[0])
		weir_json_str(&j, "src_name", s->src_name);
	if (s->dst_name[0])
		weir_json_str(&j, "dst_name", s->dst_name);
	if (s->kind == WEIR_L7_TLS)
		tls_json(&s->hello, &j);
	else if (s->kind == WEIR_L7_HTTP)
		http_json(s, &j);
	else if (s->kind == WEIR_L7_DNS)
		dns_json(s->dns[0].data, s->dns[0].len, s->dns[0].cut, "dns", &j);
	if (s->kind != WEIR_L7_DNS || s->n_dns < 2)
		return;
	weir_json_array(&j, "dns_more");
	for (unsigned int i = 1; i < s->n_dns; i++)
		dns_json(s->dns[i].data, s->dns[i].len, s->dns[i].cut, NULL, &j);
	weir_json_end_array(&j);
}

/* ---- Flows */

void weir_flow_names_json(const struct weir_flow *x, struct weir_json *j)
{
	const struct weir_flow_names *n = x->names;

	if (!n)
		return;
	weir_json_str(j, "sni", n->sni);
	if (n->alpn) {
		weir_json_array(j, "alpn");
		for (const char *at = n->alpn; at; at = strchr(at, ',')) {
			at += *at == ',';
			weir_json_strn(j, NULL, at, strcspn(at, ","));
		}
		weir_json_end_array(j);
	}
	weir_json_str(j, "http_host", n->host);
}

void weir_flow_names_text(const struct weir_flow *x, const char *shown, struct weir_buf *out)
{
	const struct weir_flow_names *n = x->names;

	if (n && n->sni && (!shown || strcmp(shown, n->sni) != 0))
		weir_buf_addf(out, " SNI %s", n->sni);
	if (n && n->host && (!shown || strcmp(shown, n->host) != 0))
		weir_buf_addf(out, " host %s", n->host);
}

/* ---- The account */

/* What the kernel shipped for names beside the flows that it counted. */
static void shipped(const struct weir_watch *w, uint64_t *sent, uint64_t *lost)
{
	struct weir_watch_counters k;

	*sent = *lost = 0;
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		w->engine->counters((struct weir_watch *)w, i, &k);
		*sent += k.names_sent;
		*lost += k.names_lost;
	}
}

void weir_l7_account_text(const struct weir_watch *w, struct weir_buf *out)
{
	struct weir_l7_account a;
	uint64_t sent, lost;

	weir_l7_account(w->l7, w->detached, &a);
	shipped(w, &sent, &lost);
	ADD(out, "names:");
	for (int i = WEIR_L7_TLS; i < WEIR_L7_KINDS; i++) {
		weir_buf_adds(out, i == WEIR_L7_TLS ? " " : ", ");
		weir_buf_add_grouped(out, a.told[i]);
		weir_buf_addc(out, ' ');
		weir_buf_adds(out, kinds[i]);
	}
	if (sent || lost) {
		ADD(out, "; packets shipped for them: ");
		weir_buf_add_grouped(out, sent);
		ADD(out, ", lost ");
		weir_buf_add_grouped(out, lost);
	}
	weir_buf_addc(out, '\n');
	for (int i = 0; i < WEIR_STREAM_LOST_MAX; i++) {
		if (!a.lost[i])
			continue;
		ADD(out, "  given up ");
		weir_buf_add_grouped(out, a.lost[i]);
		weir_buf_addf(out, ": %s: %s\n", lost_reasons[i].name, lost_reasons[i].text);
	}
}

void weir_l7_account_json(const struct weir_watch *w, struct weir_buf *out)
{
	struct weir_l7_account a;
	uint64_t sent, lost;
	struct weir_json j;

	weir_l7_account(w->l7, w->detached, &a);
	shipped(w, &sent, &lost);
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verb", "watch");
	weir_json_object(&j, "names");
	for (int i = WEIR_L7_TLS; i < WEIR_L7_KINDS; i++)
		weir_json_uint(&j, kinds[i], a.told[i]);
	weir_json_uint(&j, "shipped", sent);
	weir_json_uint(&j, "lost", lost);
	weir_json_object(&j, "given_up");
	for (int i = 0; i < WEIR_STREAM_LOST_MAX; i++)
		if (a.lost[i])
			weir_json_uint(&j, lost_reasons[i].name, a.lost[i]);
	weir_json_end_object(&j);
	weir_json_end_object(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}
