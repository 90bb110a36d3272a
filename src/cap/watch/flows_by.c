/* SPDX-License-Identifier: GPL-2.0-only */
/* The ways to add flows up: what a row is of, what it is called, and its JSON. */
#include "cap/watch/flows.h"

#include <net/if.h>
#include <string.h>

#include "base/addr.h"
#include "base/json.h"
#include "base/units.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/l7.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"

static void add_protocol(struct weir_buf *out, uint8_t proto, uint16_t eth_type)
{
	if (proto || eth_type == 0x0800 || eth_type == 0x86dd)
		weir_format_proto_name(out, proto);
	else if (eth_type == 0x0806)
		weir_buf_adds(out, "arp");
	else
		weir_buf_addf(out, "ether-0x%04x", eth_type);
}

static int flow_keys(struct weir_watch *w, const struct weir_flow *x,
		     struct weir_flow_row keys[2])
{
	(void)w;
	memset(keys, 0, sizeof(*keys));
	keys[0].flow = x;
	return 1;
}

/* A packet counts for both of its hosts. */
static int host_keys(struct weir_watch *w, const struct weir_flow *x,
		     struct weir_flow_row keys[2])
{
	(void)w;
	memset(keys, 0, 2 * sizeof(*keys));
	memcpy(keys[0].addr, x->key.addr_a, 16);
	memcpy(keys[1].addr, x->key.addr_b, 16);
	return memcmp(keys[0].addr, keys[1].addr, 16) ? 2 : 1;
}

/* The port that was connected to. */
static int port_keys(struct weir_watch *w, const struct weir_flow *x,
		     struct weir_flow_row keys[2])
{
	bool guessed, b = weir_flow_initiator_is_b(w->flows, x, &guessed);

	memset(keys, 0, sizeof(*keys));
	keys[0].port = b ? x->key.port_a : x->key.port_b;
	keys[0].proto = x->key.proto;
	keys[0].eth_type = x->key.eth_type;
	return 1;
}

static int protocol_keys(struct weir_watch *w, const struct weir_flow *x,
			 struct weir_flow_row keys[2])
{
	(void)w;
	memset(keys, 0, sizeof(*keys));
	keys[0].proto = x->key.proto;
	keys[0].eth_type = x->key.proto ? 0 : x->key.eth_type;
	return 1;
}

/* A flow counts for the processes of both of its ends, where both are known. */
static int process_keys(struct weir_watch *w, const struct weir_flow *x,
			struct weir_flow_row keys[2])
{
	const struct weir_owner *o;
	int n = 0;

	(void)w;
	memset(keys, 0, 2 * sizeof(*keys));
	for (int side = 0; side < 2; side++) {
		o = weir_flow_owner_end(x, side);
		if (!o || (n && keys[0].pid == o->pid))
			continue;
		keys[n].pid = o->pid;
		keys[n++].text = o->comm;
	}
	return n ? n : 1; /* nobody's, if nobody is known */
}

static int cgroup_keys(struct weir_watch *w, const struct weir_flow *x,
		       struct weir_flow_row keys[2])
{
	const struct weir_owner *o;
	const char *path;
	int n = 0;

	memset(keys, 0, 2 * sizeof(*keys));
	for (int side = 0; side < 2; side++) {
		o = weir_flow_owner_end(x, side);
		path = o ? weir_watch_owner_cgroup(w, o) : NULL;
		if (path && !(n && !strcmp(keys[0].text, path)))
			keys[n++].text = path;
	}
	return n ? n : 1;
}

static int sni_keys(struct weir_watch *w, const struct weir_flow *x, struct weir_flow_row keys[2])
{
	(void)w;
	memset(keys, 0, sizeof(*keys));
	keys[0].text = x->names ? x->names->sni : NULL;
	return 1;
}

/* What the initiator asked for; else what DNS called who it asked. */
static int domain_keys(struct weir_watch *w, const struct weir_flow *x,
		       struct weir_flow_row keys[2])
{
	bool guessed, b = weir_flow_initiator_is_b(w->flows, x, &guessed);

	sni_keys(w, x, keys);
	if (!keys[0].text && x->names)
		keys[0].text = x->names->host ? x->names->host : x->names->end[!b];
	return 1;
}

/* The TCP flags seen in either direction. */
static bool flags_of(const struct weir_flow *x, char ret[WEIR_TCP_LETTERS])
{
	if (x->key.proto != 6 || x->key.fragment)
		return false;
	weir_format_tcp_letters(x->val.tcp_flags[0] | x->val.tcp_flags[1], ret);
	return true;
}

static void add_flags(const struct weir_flow *x, struct weir_buf *out)
{
	char letters[WEIR_TCP_LETTERS];

	if (flags_of(x, letters))
		weir_buf_addf(out, " [%s]", letters);
}

/* By its name, where there is one. */
static void add_end(struct weir_watch *w, const struct weir_flow *x, int side, struct weir_buf *out)
{
	const char *host = weir_flow_end_name(w, x, side);
	const uint16_t port = side ? x->key.port_b : x->key.port_a;

	if (!host) {
		weir_format_end(out, side ? x->key.addr_b : x->key.addr_a, port, port,
				x->key.proto, w->opt.numeric);
		return;
	}
	weir_buf_adds(out, host);
	if (port)
		weir_format_port(out, port, x->key.proto, w->opt.numeric);
}

static void add_owners(struct weir_watch *w, const struct weir_flow *x, struct weir_buf *out)
{
	struct weir_packet_owners o;

	if (!weir_flow_owner(w, x, &o))
		return;
	ADD(out, " (");
	weir_owner_add(out, &o.owner);
	if (o.peer.pid) {
		ADD(out, ", peer ");
		weir_owner_add(out, &o.peer);
	}
	ADD(out, ")");
}

static void flow_title(struct weir_watch *w, const struct weir_flow_row *r,
		       struct weir_buf *out)
{
	const struct weir_flow *x = r->flow;
	bool guessed, b = weir_flow_initiator_is_b(w->flows, x, &guessed);

	add_protocol(out, x->key.proto, x->key.eth_type);
	weir_buf_addc(out, ' ');
	add_end(w, x, b, out);
	weir_buf_adds(out, guessed ? " ?> " : " > ");
	add_end(w, x, !b, out);
	if (x->key.fragment)
		weir_buf_adds(out, " fragment");
	add_flags(x, out);
	weir_flow_names_text(x, weir_flow_end_name(w, x, !b), out);
	add_owners(w, x, out);
}

static void host_title(struct weir_watch *w, const struct weir_flow_row *r,
		       struct weir_buf *out)
{
	const char *name = weir_l7_addr_name(w, r->addr, r->last);

	weir_buf_add_addr(out, r->addr);
	if (name)
		weir_buf_addf(out, " %s", name);
}

static void port_title(struct weir_watch *w, const struct weir_flow_row *r,
		       struct weir_buf *out)
{
	const char *service = NULL;

	add_protocol(out, r->proto, r->eth_type);
	if (!r->port)
		return;
	weir_buf_addf(out, "/%u", r->port);
	if (!w->opt.numeric)
		service = weir_format_service(r->port, r->proto);
	if (service)
		weir_buf_addf(out, " %s", service);
}

static void protocol_title(struct weir_watch *w, const struct weir_flow_row *r,
			   struct weir_buf *out)
{
	(void)w;
	add_protocol(out, r->proto, r->eth_type);
}

static void process_title(struct weir_watch *w, const struct weir_flow_row *r,
			  struct weir_buf *out)
{
	(void)w;
	if (!r->pid) {
		ADD(out, "unknown");
		return;
	}
	weir_format_safe(out, (const uint8_t *)r->text, strlen(r->text));
	weir_buf_addf(out, " %u", r->pid);
}

static void text_title(struct weir_watch *w, const struct weir_flow_row *r, struct weir_buf *out)
{
	(void)w;
	if (r->text)
		weir_format_safe(out, (const uint8_t *)r->text, strlen(r->text));
	else
		ADD(out, "unknown");
}

void weir_row_name(struct weir_watch *w, enum weir_by by, const struct weir_flow_row *r,
		   struct weir_buf *out)
{
	weir_groupings[by].title_of(w, r, out);
	if (!r->bypassed)
		return;
	weir_buf_adds(out, " +");
	weir_buf_add_si(out, (double)r->bypassed);
	weir_buf_adds(out, "B by bypass");
}

static void json_protocol(struct weir_json *j, uint8_t proto, uint16_t eth_type)
{
	weir_autobuf struct weir_buf text = { 0 };

	add_protocol(&text, proto, eth_type);
	weir_json_str(j, "protocol", text.data);
}

static void json_ends(struct weir_watch *w, struct weir_json *j, const struct weir_flow *x)
{
	bool guessed, b = weir_flow_initiator_is_b(w->flows, x, &guessed),
		      ip = x->key.proto || x->key.eth_type == 0x0800 || x->key.eth_type == 0x86dd ||
			   x->key.eth_type == 0x0806;
	const uint8_t *ends[2] = { b ? x->key.addr_b : x->key.addr_a,
				   b ? x->key.addr_a : x->key.addr_b };
	uint16_t ports[2] = { b ? x->key.port_b : x->key.port_a,
			      b ? x->key.port_a : x->key.port_b };
	static const char *const names[2][3] = { { "src_ip", "src_port", "src_name" },
						 { "dst_ip", "dst_port", "dst_name" } };
	static const uint8_t none[16];
	char name[IF_NAMESIZE];

	for (int i = 0; i < 2; i++) {
		weir_autobuf struct weir_buf text = { 0 };

		if (x->key.eth_type == 0x86dd)
			weir_buf_add_addr6(&text, ends[i]);
		else
			weir_buf_add_addr(&text, ends[i]);
		if (ip && memcmp(ends[i], none, 16))
			weir_json_str(j, names[i][0], text.data);
		if (ports[i])
			weir_json_uint(j, names[i][1], ports[i]);
		weir_json_str(j, names[i][2], weir_flow_end_name(w, x, b ? !i : i));
	}
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (w->ifaces[i].ifindex == x->key.ifindex) {
			snprintf(name, sizeof(name), "%s", w->ifaces[i].name);
			weir_json_str(j, "iface", name);
			break;
		}
	if (guessed)
		weir_json_bool(j, "initiator_guessed", true);
	if (x->key.fragment)
		weir_json_bool(j, "fragment", true);
}

static void flow_json(struct weir_watch *w, const struct weir_flow_row *r,
		      struct weir_json *j)
{
	struct weir_packet_owners owners;
	char letters[WEIR_TCP_LETTERS];

	json_protocol(j, r->flow->key.proto, r->flow->key.eth_type);
	json_ends(w, j, r->flow);
	if (flags_of(r->flow, letters))
		weir_json_str(j, "tcp_flags", letters);
	weir_flow_names_json(r->flow, j);
	if (weir_flow_owner(w, r->flow, &owners))
		weir_owner_json(j, &owners);
}

static void host_json(struct weir_watch *w, const struct weir_flow_row *r,
		      struct weir_json *j)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_add_addr(&text, r->addr);
	weir_json_str(j, "host", text.data);
	weir_json_str(j, "name", weir_l7_addr_name(w, r->addr, r->last));
}

static void port_json(struct weir_watch *w, const struct weir_flow_row *r,
		      struct weir_json *j)
{
	(void)w;
	json_protocol(j, r->proto, r->eth_type);
	if (r->port)
		weir_json_uint(j, "port", r->port);
}

static void protocol_json(struct weir_watch *w, const struct weir_flow_row *r,
			  struct weir_json *j)
{
	(void)w;
	json_protocol(j, r->proto, r->eth_type);
}

static void process_json(struct weir_watch *w, const struct weir_flow_row *r, struct weir_json *j)
{
	(void)w;
	if (!r->pid)
		return;
	weir_json_uint(j, "pid", r->pid);
	weir_json_str(j, "comm", r->text);
}

static void cgroup_json(struct weir_watch *w, const struct weir_flow_row *r, struct weir_json *j)
{
	(void)w;
	weir_json_str(j, "cgroup", r->text);
}

static void sni_json(struct weir_watch *w, const struct weir_flow_row *r, struct weir_json *j)
{
	(void)w;
	weir_json_str(j, "sni", r->text);
}

static void domain_json(struct weir_watch *w, const struct weir_flow_row *r, struct weir_json *j)
{
	(void)w;
	weir_json_str(j, "domain", r->text);
}

const struct weir_grouping weir_groupings[WEIR_BY_MAX] = {
	[WEIR_BY_FLOW] = { "flow", "FLOW", flow_keys, flow_title, flow_json },
	[WEIR_BY_HOST] = { "host", "HOST", host_keys, host_title, host_json },
	[WEIR_BY_PORT] = { "port", "PORT", port_keys, port_title, port_json },
	[WEIR_BY_PROTOCOL] = { "protocol", "PROTOCOL", protocol_keys, protocol_title,
			       protocol_json },
	[WEIR_BY_PROCESS] = { "process", "PROCESS", process_keys, process_title, process_json },
	[WEIR_BY_CGROUP] = { "cgroup", "CGROUP", cgroup_keys, text_title, cgroup_json },
	[WEIR_BY_SNI] = { "sni", "SNI", sni_keys, text_title, sni_json },
	[WEIR_BY_DOMAIN] = { "domain", "DOMAIN", domain_keys, text_title, domain_json },
};

/* In the order of enum weir_by. */
const char *const weir_by_names[] = { "flow",    "host",   "port", "protocol",
				     "process", "cgroup", "sni",  "domain",
				     NULL };
_Static_assert(sizeof(weir_by_names) / sizeof(*weir_by_names) == WEIR_BY_MAX + 1,
	       "a name for each grouping");

bool weir_by_needs_owners(enum weir_by by)
{
	return by == WEIR_BY_PROCESS || by == WEIR_BY_CGROUP;
}

bool weir_by_needs_names(enum weir_by by)
{
	return by == WEIR_BY_SNI || by == WEIR_BY_DOMAIN;
}

bool weir_by_possible(const struct weir_watch *w, enum weir_by by)
{
	return (w->owners || !weir_by_needs_owners(by)) && (w->l7 || !weir_by_needs_names(by));
}
