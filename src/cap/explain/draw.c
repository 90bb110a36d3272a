/* SPDX-License-Identifier: GPL-2.0-only */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cap/explain/explain.h"

#define VERDICT_WIDTH 7

/* What no command can run on a packet that it only describes. */
static const char not_run[] =
	"nftables, iptables, routing by mark, TOS or port, programs that are not weir's";

static const char *const colours[] = {
	[WEIR_STEP_PASS] = "\033[32m",
	[WEIR_STEP_DROP] = "\033[31;1m",
	[WEIR_STEP_TAKE] = "\033[36m",
	[WEIR_STEP_UNKNOWN] = "\033[33m",
};

size_t weir_explain_end(const struct weir_road *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->v[i].verdict == WEIR_STEP_DROP)
			return i;
	return r->n;
}

static bool is_open(const struct weir_road *r, size_t end)
{
	for (size_t i = 0; i < end; i++)
		if (r->v[i].verdict == WEIR_STEP_UNKNOWN)
			return true;
	return false;
}

static void add_end(const struct weir_road *r, const struct weir_addr *a, unsigned int port,
		    struct weir_buf *out)
{
	char text[WEIR_ADDR_STRLEN];
	bool ports = r->tcp || r->udp, brackets = ports && !weir_addr_is_v4(a);

	weir_buf_addf(out, "%s%s%s", brackets ? "[" : "", weir_addr_str(a, text),
		      brackets ? "]" : "");
	if (ports)
		weir_buf_addf(out, ":%u", port);
}

static void add_protocol(const struct weir_road *r, const struct weir_pkt *p, struct weir_buf *out)
{
	const struct protoent *known;

	if (r->tcp || r->udp) {
		weir_buf_adds(out, r->tcp ? "tcp " : "udp ");
		return;
	}
	if (!(p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6))) {
		weir_buf_addf(out, "ethertype 0x%04x ", p->eth_type);
		return;
	}
	known = getprotobynumber(p->proto);
	if (known)
		weir_buf_addf(out, "%s ", known->p_name);
	else
		weir_buf_addf(out, "protocol %u ", p->proto);
}

static void add_head(const struct weir_road *r, const struct weir_pkt *p, struct weir_buf *out)
{
	add_protocol(r, p, out);
	if (p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)) {
		add_end(r, &r->src, r->sport, out);
		weir_buf_adds(out, " → ");
		add_end(r, &r->dst, r->dport, out);
	}
	weir_buf_addf(out, ", %u bytes, %s %s\n", p->len, r->out ? "leaving by" : "coming in by",
		      r->iface);
}

static void add_cell(struct weir_buf *out, const char *text, size_t width)
{
	weir_buf_addf(out, "%-*s ", (int)width, text);
}

static size_t widest(const struct weir_road *r, bool verb)
{
	size_t width = verb ? strlen("kernel") : 0;

	for (size_t i = 0; i < r->n; i++) {
		const char *text = verb ? r->v[i].verb : weir_road_stages[r->v[i].stage];

		if (text && strlen(text) > width)
			width = strlen(text);
	}
	return width;
}

static void add_step(const struct weir_road *r, const struct weir_step *s, bool colour,
		     struct weir_buf *out)
{
	static const char *const marks[] = { "├─", "✗ ", "├▶", "├?" };

	weir_buf_addf(out, " %s ", marks[s->verdict]);
	add_cell(out, weir_road_stages[s->stage], widest(r, false));
	add_cell(out, s->verb ? s->verb : "kernel", widest(r, true));
	weir_buf_adds(out, colour ? colours[s->verdict] : "");
	add_cell(out, weir_step_verdict_names[s->verdict], VERDICT_WIDTH);
	weir_buf_adds(out, colour ? "\033[0m" : "");
	weir_buf_addf(out, "%s\n", s->detail.data ? s->detail.data : "");
	if (!s->rule.len)
		return;
	weir_buf_addf(out, " %s ", s->verdict == WEIR_STEP_DROP ? "  " : "│ ");
	add_cell(out, "", widest(r, false));
	add_cell(out, "", widest(r, true));
	add_cell(out, "", VERDICT_WIDTH);
	weir_buf_addf(out, "%s: %s\n", s->rule.data, s->text.len ? s->text.data : "");
}

static void add_verdict(const struct weir_road *r, size_t end, struct weir_buf *out)
{
	if (end == r->n) {
		weir_buf_adds(out, " ▼\n");
		weir_buf_addf(out, "passes%s\n",
			      is_open(r, end) ? ", as far as is known" :
			      r->n	      ? "" :
						": nothing of weir is in force on its way");
		return;
	}
	weir_buf_addf(out, "dropped at %s by %s%s", weir_road_stages[r->v[end].stage],
		      r->v[end].verb ? "weir " : "the kernel",
		      r->v[end].verb ? r->v[end].verb : "");
	for (size_t i = end + 1, told = 0; i < r->n; i++) {
		/* What several verbs do in one stage stands together, with its end maybe. */
		if (r->v[i].stage != r->v[i - 1].stage)
			weir_buf_addf(out, "%s%s", told++ ? ", " : "; not reached: ",
				      weir_road_stages[r->v[i].stage]);
	}
	weir_buf_addc(out, '\n');
}

void weir_explain_text(const struct weir_road *r, const struct weir_pkt *p, bool colour,
		       struct weir_buf *out)
{
	size_t end = weir_explain_end(r);

	add_head(r, p, out);
	weir_buf_adds(out, " │\n");
	for (size_t i = 0; i < r->n && i <= end; i++)
		add_step(r, &r->v[i], colour, out);
	add_verdict(r, end, out);
	weir_buf_addf(out, "not run here: %s\n", not_run);
}

static void add_packet(const struct weir_road *r, const struct weir_pkt *p, struct weir_json *j)
{
	char text[WEIR_ADDR_STRLEN];

	weir_json_object(j, "packet");
	if (r->tcp || r->udp)
		weir_json_str(j, "protocol", r->tcp ? "tcp" : "udp");
	if (p->flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)) {
		weir_json_str(j, "src_ip", weir_addr_str(&r->src, text));
		if (r->tcp || r->udp)
			weir_json_uint(j, "src_port", r->sport);
		weir_json_str(j, "dst_ip", weir_addr_str(&r->dst, text));
		if (r->tcp || r->udp)
			weir_json_uint(j, "dst_port", r->dport);
	}
	weir_json_uint(j, "ethertype", p->eth_type);
	weir_json_uint(j, "packet_size", p->len);
	weir_json_end_object(j);
}

void weir_explain_json(const struct weir_road *r, const struct weir_pkt *p, struct weir_buf *out)
{
	size_t end = weir_explain_end(r);
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	add_packet(r, p, &j);
	weir_json_str(&j, "iface", r->iface);
	weir_json_str(&j, "direction", r->out ? "out" : "in");
	weir_json_str(&j, "verdict", end < r->n ? "drop" : "pass");
	weir_json_array(&j, "steps");
	for (size_t i = 0; i < r->n; i++) {
		const struct weir_step *s = &r->v[i];

		weir_json_object(&j, NULL);
		weir_json_str(&j, "stage", weir_road_stages[s->stage]);
		weir_json_str(&j, "verb", s->verb);
		weir_json_bool(&j, "reached", i <= end);
		weir_json_str(&j, "verdict", weir_step_verdict_names[s->verdict]);
		weir_json_str(&j, "detail", s->detail.data);
		if (s->rule.len) {
			weir_json_str(&j, "rule", s->rule.data);
			weir_json_str(&j, "text", s->text.data);
		}
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_str(&j, "not_run", not_run);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}
