/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Policies by the dice, for the filter's oracle, as text: the rules are of every kind
 * that weir-match(7) has, over the addresses and ports of filter_frames.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/buf.h"
#include "filter_frames.h"
#include "match/match.h"

#define RULES_SETS 5
#define SET_BIG 5000 /* from 4096 IPv4 prefixes on a set has a table */

/* ---- Values */

static inline void say_addr(struct frame_world *w, struct weir_buf *b, bool v6)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_addr a = { { [10] = 0xff, [11] = 0xff } };

	if (v6)
		memcpy(a.b, PICK(&w->dice, frame_addr6), 16);
	else
		memcpy(a.b + 12, PICK(&w->dice, frame_addr4), 4);
	if (v6 && weir_addr_is_v4(&a)) /* in the text this is an IPv4 address */
		a.b[0] = 0xfd;
	weir_buf_adds(b, weir_addr_str(&a, text));
}

/* Around an address that frames have, or anywhere. */
static inline struct weir_prefix any_prefix(struct frame_world *w, bool v6)
{
	struct weir_prefix p = { .is_v4 = !v6 };
	uint32_t r = roll(&w->dice, 100);
	unsigned int least = v6 ? 0 : 96;

	if (v6)
		memcpy(p.addr.b, PICK(&w->dice, frame_addr6), 16);
	else
		memcpy(p.addr.b + 12, PICK(&w->dice, frame_addr4), 4);
	if (r < 40)
		for (int i = (int)(r % 2); i < (v6 ? 16 : 4); i++)
			p.addr.b[(v6 ? 0 : 12) + i] = (uint8_t)roll(&w->dice, 256);
	if (v6 && weir_addr_is_v4(&p.addr))
		p.addr.b[0] = 0xfd;
	if (!v6)
		p.addr.b[10] = p.addr.b[11] = 0xff;
	r = roll(&w->dice, 100);
	if (r < 40)
		p.len = 128;
	else if (r < 75)
		p.len = (uint8_t)(least + (v6 ? 8 * (1 + roll(&w->dice, 15)) :
						8 * (1 + roll(&w->dice, 3))));
	else
		p.len = (uint8_t)(128 - roll(&w->dice, v6 ? 110 : 27));
	if (roll(&w->dice, 400) == 0)
		p.len = (uint8_t)least;
	for (unsigned int bit = p.len; bit < 128; bit++)
		p.addr.b[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
	/* ::ffff:0:0/96 and what lies around it can't be said of IPv6. */
	if (v6 && (weir_addr_is_v4(&p.addr) || p.len == 0))
		p = (struct weir_prefix){ .addr.b = { 0x20 }, .len = 3 };
	return p;
}

static inline void say_prefix(struct frame_world *w, struct weir_buf *b, bool v6)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_prefix p = any_prefix(w, v6);

	weir_buf_adds(b, weir_prefix_str(&p, text));
}

static inline void say_port(struct frame_world *w, struct weir_buf *b)
{
	uint16_t port = PICK(&w->dice, frame_ports);

	if (chance(&w->dice, 20) && port < 65000)
		weir_buf_addf(b, "%u-%u", port, port + roll(&w->dice, 500));
	else
		weir_buf_addf(b, "%u", port);
}

static inline void say_list(struct frame_world *w, struct weir_buf *b, uint32_t n,
			    void (*say)(struct frame_world *w, struct weir_buf *b))
{
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			weir_buf_addc(b, ',');
		say(w, b);
	}
}

static inline void say_net(struct frame_world *w, struct weir_buf *b)
{
	say_prefix(w, b, chance(&w->dice, 45));
}

static inline void say_proto(struct frame_world *w, struct weir_buf *b)
{
	static const char *const words[] = { "tcp", "udp",  "icmp", "icmp6",   "sctp", "gre",
					     "esp", "ah",   "dccp", "udplite", "ip",   "ip6",
					     "arp", "igmp", "ospf", "17",      "6",    "41" };

	weir_buf_adds(b, PICK(&w->dice, words));
}

/* ---- Tests of the expression language */

static inline void say_direction(struct frame_world *w, struct weir_buf *b)
{
	static const char *const words[] = { "src ",	     "dst ", "",    "src or dst ",
					     "src and dst ", "src ", "dst " };

	weir_buf_adds(b, PICK(&w->dice, words));
}

static inline void say_port_test(struct frame_world *w, struct weir_buf *b)
{
	static const char *const words[] = { "tcp ", "udp ", "sctp ", "", "tcp ", "udp " };

	weir_buf_adds(b, PICK(&w->dice, words));
	say_direction(w, b);
	weir_buf_adds(b, "port ");
	say_list(w, b, 1 + (chance(&w->dice, 30) ? roll(&w->dice, 4) : 0), say_port);
}

static inline void say_addr_test(struct frame_world *w, struct weir_buf *b)
{
	bool v6 = chance(&w->dice, 45);

	if (chance(&w->dice, 15))
		weir_buf_adds(b, v6 ? "ip6 " : chance(&w->dice, 50) ? "ip " : "arp ");
	say_direction(w, b);
	if (chance(&w->dice, 40)) {
		weir_buf_adds(b, "host ");
		say_addr(w, b, v6);
	} else {
		weir_buf_adds(b, "net ");
		say_prefix(w, b, v6);
	}
}

static inline void say_set_test(struct frame_world *w, struct weir_buf *b, size_t n_sets)
{
	static const char *const family[] = { "", "", "", "", "ip ", "ip6 ", "arp " };

	weir_buf_adds(b, PICK(&w->dice, family));
	say_direction(w, b);
	weir_buf_addf(b, "%s @s%u", chance(&w->dice, 50) ? "net" : "host",
		      roll(&w->dice, (uint32_t)n_sets));
}

static inline void say_mac_test(struct frame_world *w, struct weir_buf *b)
{
	const uint8_t *m = PICK(&w->dice, frame_macs);

	weir_buf_addf(b, "ether %s %02x:%02x:%02x:%02x:%02x:%02x",
		      chance(&w->dice, 50) ? "src" : "dst", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static inline void say_number_test(struct frame_world *w, struct weir_buf *b)
{
	static const char *const ops[] = { "<", "<=", ">", ">=", "==", "!=" };
	uint32_t n = roll(&w->dice, 200);

	switch (roll(&w->dice, 9)) {
	case 0:
		weir_buf_addf(b, "less %u", n);
		break;
	case 1:
		weir_buf_addf(b, "greater %u", n);
		break;
	case 2:
		weir_buf_addf(b, "len %s %u", PICK(&w->dice, ops), n);
		break;
	case 3:
		weir_buf_addf(b, "ttl %s %u", PICK(&w->dice, ops), 1 + n % 255);
		break;
	case 4:
		weir_buf_addf(b, "vlan %u", PICK(&w->dice, frame_vlan_ids));
		break;
	case 5:
		weir_buf_addf(b, "proto %u", PICK(&w->dice, frame_protos));
		break;
	case 6:
		weir_buf_addf(b, "ip6 proto %u", PICK(&w->dice, frame_protos));
		break;
	case 7:
		weir_buf_addf(b, "ether proto 0x%x", PICK(&w->dice, frame_types));
		break;
	default:
		weir_buf_addf(b, "len %u-%u", n, n + 60);
	}
}

static inline void say_word_test(struct frame_world *w, struct weir_buf *b)
{
	static const char *const words[] = {
		"tcp",
		"udp",
		"icmp",
		"icmp6",
		"sctp",
		"esp",
		"gre",
		"ah",
		"arp",
		"ip",
		"ip6",
		"igmp",
		"dccp",
		"ip multicast",
		"ip6 multicast",
		"ether broadcast",
		"ether multicast",
		"vlan",
		"frag",
		"frag first",
		"frag later",
		"tcp flags syn",
		"tcp flags syn/syn,ack",
		"tcp flags any fin,rst",
		"tcp flags none",
		"tcp flags != ack",
		"tcp flags none/syn,ack",
		"tcp flags != syn/syn,ack,rst",
		"tcp flags ae",
		"tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
		"tcp[13] & 2 == 2",
	};

	weir_buf_adds(b, PICK(&w->dice, words));
}

static inline void say_test(struct frame_world *w, struct weir_buf *b, size_t n_sets)
{
	uint32_t r = roll(&w->dice, 100);

	if (r < 26)
		say_port_test(w, b);
	else if (r < 44)
		say_addr_test(w, b);
	else if (r < 62 && n_sets)
		say_set_test(w, b, n_sets);
	else if (r < 66)
		say_mac_test(w, b);
	else if (r < 76)
		say_number_test(w, b);
	else
		say_word_test(w, b);
}

static inline void say_expression(struct frame_world *w, struct weir_buf *b, size_t n_sets,
				  int depth)
{
	uint32_t r = roll(&w->dice, 100);

	if (depth == 0 || r < 45) {
		say_test(w, b, n_sets);
	} else if (r < 60) {
		weir_buf_adds(b, "not (");
		say_expression(w, b, n_sets, depth - 1);
		weir_buf_addc(b, ')');
	} else {
		weir_buf_addc(b, '(');
		say_expression(w, b, n_sets, depth - 1);
		weir_buf_adds(b, r < 82 ? ") and (" : ") or (");
		say_expression(w, b, n_sets, depth - 1);
		weir_buf_addc(b, ')');
	}
}

/* ---- Rules */

static inline void say_addr_flag(struct frame_world *w, struct weir_buf *b, size_t n_sets)
{
	uint32_t r = roll(&w->dice, 100);

	if (n_sets && r < 30) {
		weir_buf_addf(b, "@s%u", roll(&w->dice, (uint32_t)n_sets));
		if (r < 10)
			weir_buf_addc(b, ',');
		else
			return;
	}
	/* Long lists become sets of their own. */
	say_list(w, b, r >= 92 ? 20 + roll(&w->dice, 30) : 1 + roll(&w->dice, 3), say_net);
}

static inline void say_flags(struct frame_world *w, struct weir_buf *b, size_t n_sets)
{
	uint32_t some = 1 + roll(&w->dice, 31);

	if (some & 1) {
		weir_buf_adds(b, " --protocol ");
		say_list(w, b, 1 + roll(&w->dice, 2), say_proto);
	}
	if (some & 2 && some != 31) {
		weir_buf_adds(b, " --src-ip ");
		say_addr_flag(w, b, n_sets);
	}
	if (some & 4 && !(some & 2)) {
		weir_buf_adds(b, " --dst-ip ");
		say_addr_flag(w, b, n_sets);
	}
	if (some & 8) {
		weir_buf_adds(b, " --dst-port ");
		say_list(w, b, 1 + roll(&w->dice, 3), say_port);
	}
	if (some & 16 && !(some & 8)) {
		weir_buf_adds(b, " --src-port ");
		say_list(w, b, 1 + roll(&w->dice, 3), say_port);
	}
}

/* Most grant what no test can use up, or nothing more for days: 1 bit a second drains
 * less than a byte in a few seconds. Packets drain within a second, so that only some
 * policies have limits of these (@seconds). */
static inline void say_limit(struct frame_world *w, struct weir_buf *b, bool seconds)
{
	static const char *const per[] = { "",
					   " --per rule",
					   " --per source",
					   " --per source/24",
					   " --per source/8",
					   " --per source/0",
					   " --per source/27" };

	switch (roll(&w->dice, 8)) {
	case 0:
		weir_buf_adds(b, " --rate 1000000000/s --burst 1000000000");
		break;
	case 1:
		weir_buf_adds(b, " --rate 25gbit --burst 100gbit");
		break;
	case 2:
		weir_buf_adds(b, " --rate 1bit");
		break;
	case 3:
	case 4:
		if (seconds) {
			weir_buf_addf(b, " --rate 1/s --burst %u", 1 + roll(&w->dice, 60));
			break;
		}
		/* fall through */
	default:
		weir_buf_addf(b, " --rate 1bit --burst %u", 12144 + 8 * roll(&w->dice, 9000));
	}
	weir_buf_adds(b, PICK(&w->dice, per));
}

/* One rule's line, of which nobody knows yet whether it makes sense. */
static inline void say_rule(struct frame_world *w, struct weir_buf *b, size_t n_sets,
			    const char *name, const char *iface, const char *other, bool seconds)
{
	uint32_t r = roll(&w->dice, 100);

	weir_buf_addf(b, "%s: %s", name, r < 42 ? "allow" : r < 82 ? "deny" : "limit");
	if (chance(&w->dice, 35)) {
		say_flags(w, b, n_sets);
	} else if (r % 50) {
		bool quoted = chance(&w->dice, 20);

		weir_buf_adds(b, quoted ? " \"" : " ");
		say_expression(w, b, n_sets, (int)roll(&w->dice, 4));
		weir_buf_adds(b, quoted ? "\"" : "");
	}
	if (r >= 82)
		say_limit(w, b, seconds);
	if (chance(&w->dice, 15))
		weir_buf_addf(b, " -i %s", chance(&w->dice, 70) || !*other ? iface : other);
	if (chance(&w->dice, 15))
		weir_buf_addf(b, " -Q %s",
			      chance(&w->dice, 33) ? "in" :
			      chance(&w->dice, 50) ? "out" :
						     "inout");
	if (chance(&w->dice, 10))
		weir_buf_addf(b, " --ttl %s", chance(&w->dice, 50) ? "1ms" : "1h");
	weir_buf_addc(b, '\n');
}

/* ---- Sets */

static inline size_t any_set(struct frame_world *w, struct weir_prefix **ret)
{
	static const uint32_t sizes[] = { 0, 4, 30, 30, 300, 2500 };
	uint32_t r = roll(&w->dice, 12), family = roll(&w->dice, 4);
	size_t n = r == 0 ? SET_BIG + roll(&w->dice, SET_BIG) :
			    1 + roll(&w->dice, PICK(&w->dice, sizes) + 1);
	struct weir_prefix *v = calloc(n + 1, sizeof(*v));

	if (r == 1)
		n = 0;
	for (size_t i = 0; v && i < n; i++)
		v[i] = any_prefix(w, r == 0	 ? chance(&w->dice, 8) :
				     family == 0 ? false :
				     family == 1 ? true :
						   chance(&w->dice, 50));
	*ret = v;
	return v ? n : 0;
}
