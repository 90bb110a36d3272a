/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/explain/cmd.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/term.h"
#include "bpf/parse.bpf.h"
#include "cap/explain/explain.h"
#include "dataplane/craft.h"
#include "dataplane/load.h"

struct opts {
	const char *iface, *sni;
	int direction; /* index of in|out */
	bool json;
	struct weir_craft_opts craft;
};

#define AT(field) offsetof(struct opts, field)

static const char *const directions[] = { "in", "out", NULL };

static const struct weir_opt options[] = {
	{ "interface", 'i', WEIR_OPT_STR, AT(iface), "IFACE", .group = "The packet's road",
	  .help = "by which it comes or leaves (default: as the routes have it)",
	  .complete = "iface" },
	{ "direction", 'Q', WEIR_OPT_CHOICE, AT(direction), "DIR", .choices = directions,
	  .help = "whether it comes in or goes out (default: in)" },
	{ "sni", 0, WEIR_OPT_STR, AT(sni), "NAME",
	  .help = "the name that the client will ask for, for the proxy's routes" },
	{ "json", 0, WEIR_OPT_FLAG, AT(json), .help = "JSON" },

	WEIR_CRAFT_OPTIONS(AT(craft)),
	WEIR_CRAFT_OPTION_TTL(AT(craft)),
	{ 0 },
};

static void look_at_packet(struct weir_road *r, struct weir_pkt *p)
{
	size_t n = r->packet->len < WEIR_PKT_HDR_MAX ? r->packet->len : WEIR_PKT_HDR_MAX;
	bool ports;

	weir_parse(p, r->packet->frame, r->packet->frame + n, WEIR_L2_ETHER, 0,
		   (uint32_t)r->packet->len);
	memcpy(r->src.b, p->src, sizeof(r->src.b));
	memcpy(r->dst.b, p->dst, sizeof(r->dst.b));
	r->sport = p->sport;
	r->dport = p->dport;
	ports = p->flags & WEIR_PKT_PORTS;
	r->tcp = ports && p->proto == IPPROTO_TCP;
	r->udp = ports && p->proto == IPPROTO_UDP;
}

static int choose_iface(struct weir_road *r, const char *given, char name[IF_NAMESIZE],
			struct weir_error *err)
{
	r->iface = given ? given : name;
	if (!given)
		return weir_explain_iface(r, name, err);
	return if_nametoindex(given) ?
		       0 :
		       weir_fail(err, -ENODEV, "no interface %s: `ip link` lists them", given);
}

/* A verb that cannot say is no reason to keep back what the others say. True: there is one. */
static bool ask_verbs(struct weir_road *r)
{
	const struct weir_verb *v;
	bool failed = false;

	for (size_t i = 0; (v = weir_verb_at(i)); i++) {
		struct weir_error err = { "" };
		size_t before = r->n;

		if (!v->explain || !v->explain(r, &err))
			continue;
		failed = true;
		if (r->n == before)
			weir_road_add(r, v->explain_from, WEIR_STEP_UNKNOWN, v->name, "%s",
				      err.msg);
	}
	return failed;
}

static int answer(struct weir_road *r, const struct opts *o, const struct weir_pkt *p)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_error err;
	bool failed;

	weir_explain_route(r, p);
	failed = ask_verbs(r);
	weir_explain_socket(r, p);
	if (r->failed) {
		weir_fail(&err, -ENOMEM, "out of memory");
		return weir_verb_fail("explain", &err, WEIR_EXIT_FAILED);
	}
	weir_road_sort(r);
	if (o->json)
		weir_explain_json(r, p, &out);
	else
		weir_explain_text(r, p, weir_term_colour(STDOUT_FILENO), &out);
	return weir_verb_print("explain", &out,
			       weir_explain_end(r) < r->n ? WEIR_EXIT_NO :
			       failed			  ? WEIR_EXIT_FAILED :
							    WEIR_EXIT_DONE);
}

static int run(int argc, char **argv)
{
	struct weir_strv words = { 0 };
	char name[IF_NAMESIZE] = "";
	struct weir_error err = { "" };
	struct weir_craft packet;
	struct weir_road road = { .packet = &packet };
	struct opts o = { 0 };
	struct weir_pkt p;
	int ret;

	weir_craft_opts_init(&o.craft);
	ret = weir_verb_parse(&weir_explain_verb, argc, argv, &o, &words, WEIR_STRV_MAX);
	if (ret)
		return ret;
	if (weir_craft(&o.craft, &words, &packet, &err))
		return weir_verb_fail("explain", &err, WEIR_EXIT_USAGE);
	weir_load_setup();
	road.out = o.direction == 1;
	road.sni = o.sni;
	look_at_packet(&road, &p);
	if (choose_iface(&road, o.iface, name, &err))
		return weir_verb_fail("explain", &err,
				      o.iface ? WEIR_EXIT_USAGE : WEIR_EXIT_FAILED);
	ret = answer(&road, &o, &p);
	weir_road_free(&road);
	return ret;
}

static const char details[] =
	"PACKET is [tcp|udp|icmp|icmp6|NUMBER] SRC[:PORT] ['->'] DST[:PORT], or --pcap, or --hex: the\n"
	"same words as for \"weir filter test\". The programs in force are run on it, marked so that\n"
	"nothing is counted. Exit status 4: it is dropped.";

const struct weir_verb weir_explain_verb = {
	.name = "explain",
	.group = "Ask",
	.summary = "what would become of a packet, step by step",
	.synopsis = "PACKET [OPTIONS]",
	.options = options,
	.details = details,
	.run = run,
};
