/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * test PACKET: what the programs in force would do with it. A packet meets the
 * hooks in the order of the kernel's road, and the first that drops it decides.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "cap/filter/filter_cmd.h"

struct answer {
	const struct weir_policy_iface *iface;
	struct weir_filter_verdict verdict;
	const struct weir_policy_rule *rule; /* that decided, or NULL */
};

const struct weir_policy_rule *weir_filter_rule_of(const struct weir_policy *p, uint32_t id)
{
	for (size_t i = 0; id && i < p->n_rules; i++)
		if (p->rules[i].id == id)
			return &p->rules[i];
	return NULL;
}

/* Without -i: the only one there is. */
static int choose_iface(struct weir_filter_cmd *c, const struct weir_policy *p, bool out,
			const char **ret, struct weir_error *err)
{
	*ret = c->iface;
	for (size_t i = 0; !c->iface && i < p->n_ifaces; i++) {
		if (p->ifaces[i].out != out)
			continue;
		if (*ret && strcmp(*ret, p->ifaces[i].name) != 0) {
			weir_filter_cmd_usage(c, 0);
			return weir_fail(err, -EINVAL,
					 "several interfaces are filtered (%s, %s): "
					 "say by which the packet %s with -i",
					 *ret, p->ifaces[i].name, out ? "leaves" : "comes");
		}
		*ret = p->ifaces[i].name;
	}
	for (size_t i = 0; *ret && i < p->n_ifaces; i++)
		if (p->ifaces[i].out == out && strcmp(*ret, p->ifaces[i].name) == 0)
			return 0;
	return weir_fail(err, -ENOENT,
			 "%s is not filtered for packets %s: `weir filter list` "
			 "tells what is",
			 *ret ? *ret : "no interface", out ? "going out" : "coming in");
}

/* An allow of one hook says nothing about the next. Told is what dropped it, else
 * the rule that let it pass, else the last hook that sees it. */
static int ask(struct weir_filter *f, const char *iface, bool out, const struct weir_craft *packet,
	       struct answer *ret, struct weir_error *err)
{
	for (unsigned int hook = 0; hook < WEIR_HOOKS; hook++) {
		struct answer a = { 0 };
		int r;

		a.iface =
			weir_policy_find_iface(f->policy, iface, (enum weir_policy_hook)hook, out);
		if (!a.iface)
			continue;
		r = weir_filter_test(f, a.iface, packet, &a.verdict, err);
		if (r)
			return r;
		a.rule = weir_filter_rule_of(f->policy, a.verdict.rule);
		if (a.verdict.dropped || !ret->iface || (!ret->rule && !a.verdict.unseen))
			*ret = a;
		if (a.verdict.dropped)
			break;
	}
	return 0;
}

const char *weir_filter_verdict_why(const struct weir_filter_verdict *v, bool has_rule)
{
	if (v->dropped)
		return weir_filter_reason_texts[v->reason];
	if (v->unseen)
		return v->unseen;
	if (v->flags & WEIR_TEST_REPLY)
		return "it is a reply to what this host sent";
	if (v->flags & WEIR_TEST_ESSENTIAL)
		return "the network needs it: ARP, neighbour discovery, DHCP or an ICMP error";
	return has_rule ? "an allow rule matched" : "no rule decided, and the default is to pass";
}

static const char *why(const struct answer *a)
{
	return weir_filter_verdict_why(&a->verdict, a->rule);
}

static void render_text(const struct answer *a, struct weir_buf *out)
{
	weir_buf_addf(out, "%s at %s %s, %s: %s%s\n", a->verdict.dropped ? "DROP" : "PASS",
		      a->iface->name, weir_policy_hook_names[a->iface->hook],
		      weir_filter_directions[a->iface->out ? 1 : 0],
		      a->verdict.unseen ? "not seen there: " : "", why(a));
	if (!a->rule)
		return;
	weir_buf_addf(out, "%s: ", a->rule->name);
	weir_policy_print_rule(a->rule, 0, out);
	weir_buf_addc(out, '\n');
}

static void render_json(const struct answer *a, struct weir_buf *out)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_str(&j, "verdict", a->verdict.dropped ? "drop" : "pass");
	weir_json_str(&j, "iface", a->iface->name);
	weir_json_str(&j, "hook", weir_policy_hook_names[a->iface->hook]);
	weir_json_str(&j, "direction", weir_filter_directions[a->iface->out ? 1 : 0]);
	if (a->verdict.dropped)
		weir_json_str(&j, "reason", weir_filter_reasons[a->verdict.reason]);
	if (a->verdict.unseen)
		weir_json_bool(&j, "seen", false);
	weir_json_str(&j, "detail", why(a));
	if (a->rule) {
		weir_policy_print_rule(a->rule, 0, &text);
		weir_json_str(&j, "rule", a->rule->name);
		weir_json_str(&j, "owner", a->rule->owner);
		weir_json_str(&j, "text", text.data);
	}
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int answer(struct weir_filter_cmd *c, struct weir_filter *f, const struct weir_craft *packet,
		  struct weir_buf *out, struct weir_error *err)
{
	bool leaves = c->direction == 1;
	struct answer a = { 0 };
	const char *iface;
	int ret = choose_iface(c, f->policy, leaves, &iface, err);

	if (!ret)
		ret = ask(f, iface, leaves, packet, &a, err);
	if (ret)
		return ret;
	if (c->json)
		render_json(&a, out);
	else
		render_text(&a, out);
	return a.verdict.dropped ? WEIR_EXIT_NO : WEIR_EXIT_DONE;
}

static int make_packet(struct weir_filter_cmd *c, struct weir_craft *ret, struct weir_error *err)
{
	int r = 0;

	if (c->direction > 1)
		r = weir_fail(err, -EINVAL, "a packet comes in or goes out: give -Q in or -Q out");
	else if (c->ttl && weir_parse_u64(c->ttl, 0, WEIR_CRAFT_TTL_MAX, &c->craft.ttl))
		r = weir_fail(err, -EINVAL, "--ttl \"%s\": a packet's is a number from 0 to %d",
			      c->ttl, WEIR_CRAFT_TTL_MAX);
	if (!r)
		r = weir_craft(&c->craft, &c->words, ret, err);
	return r ? weir_filter_cmd_usage(c, r) : 0;
}

int weir_filter_do_test(struct weir_filter_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct weir_craft packet;
	struct weir_filter f;
	int ret = make_packet(c, &packet, err);

	if (!ret)
		ret = weir_filter_cmd_open(&f, false, err);
	if (ret > 0)
		return weir_fail(err, -ENOENT,
				 "nothing is filtered in this network namespace: "
				 "begin with `weir filter on IFACE`");
	if (ret)
		return ret;
	ret = answer(c, &f, &packet, &out, err);
	weir_filter_close(&f);
	return ret < 0 ? ret : weir_verb_print("filter", &out, ret);
}
