/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <linux/if_ether.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bpf/flow.bpf.h"
#include "bpf/hash.bpf.h"
#include "bpf/parse.bpf.h"
#include "cap/watch/pcapng.h"
#include "cap/watch/observe.h"
#include "cap/watch/owners.h"
#include "cap/watch/session.h"

#define SINK_FLUSH_BYTES (256u << 10)
#define VLAN_TAG_LEN 4
#define MACS_LEN 12 /* where a VLAN tag goes */

int weir_sink_init(struct weir_sink *s, struct weir_watch *w)
{
	const struct weir_watch_options *o = &w->opt;

	memset(s, 0, sizeof(*s));
	s->w = w;
	s->formatter = (struct weir_formatter){
		.format = (enum weir_format)o->format,
		.time = o->time > WEIR_TIME_FIRST ? WEIR_TIME_FIRST : (enum weir_time)o->time,
		.dump = o->ascii ? WEIR_DUMP_ASCII + (o->ascii > 1) :
			o->hex_ascii ? WEIR_DUMP_HEX_ASCII + (o->hex_ascii > 1) :
			o->hex ? WEIR_DUMP_HEX + (o->hex > 1) : WEIR_DUMP_NONE,
		.numeric = o->numeric,
		.quiet = o->quiet,
		.link = o->link,
		.show_iface = w->n_ifaces > 1 || w->any,
		.colour = o->colour == 1,
	};
	s->frame = malloc(WEIR_WATCH_SNAPLEN + VLAN_TAG_LEN);
	return s->frame ? 0 : -ENOMEM;
}

void weir_sink_free(struct weir_sink *s)
{
	weir_buf_free(&s->out);
	weir_talkers_free(s->talkers);
	weir_l7_seen_free(&s->seen);
	free(s->frame);
}

/* A tag that the device or the stack has stripped goes back into the frame:
 * people, filters and files see what was on the wire. */
static void restore_vlan(struct weir_sink *s, struct weir_packet *p)
{
	const uint8_t tag[VLAN_TAG_LEN] = {
		(uint8_t)(p->ev.vlan_proto >> 8), (uint8_t)p->ev.vlan_proto,
		(uint8_t)(p->ev.vlan_tci >> 8), (uint8_t)p->ev.vlan_tci,
	};

	if (p->ev.caplen < MACS_LEN || p->ev.caplen > WEIR_WATCH_SNAPLEN)
		return;
	memcpy(s->frame, p->data, MACS_LEN);
	memcpy(s->frame + MACS_LEN, tag, sizeof(tag));
	memcpy(s->frame + MACS_LEN + VLAN_TAG_LEN, p->data + MACS_LEN, p->ev.caplen - MACS_LEN);
	p->data = s->frame;
	p->ev.len += VLAN_TAG_LEN;
	p->ev.caplen += VLAN_TAG_LEN;
	p->ev.flags &= (uint8_t)~WEIR_WATCH_VLAN_META;
}

void weir_sink_parse(struct weir_packet *p)
{
	uint32_t n = p->ev.caplen < WEIR_PKT_HDR_MAX ? p->ev.caplen : WEIR_PKT_HDR_MAX;
	bool no_l2 = p->ev.flags & WEIR_WATCH_NO_L2;
	uint32_t meta = p->ev.flags & WEIR_WATCH_VLAN_META ?
			(uint32_t)p->ev.vlan_proto << 16 | p->ev.vlan_tci : 0;

	weir_parse(&p->hdr, p->data, p->data + n, no_l2 ? WEIR_L2_NONE : WEIR_L2_ETHER, meta,
		   p->ev.len);
	if (no_l2 && !p->hdr.eth_type)
		p->hdr.eth_type = p->ev.eth_type;
	p->wire_packets = weir_wire_packets(&p->hdr, p->ev.gso_size);
}

/* Does anything of this run look into the headers? */
static bool reads_header(const struct weir_sink *s)
{
	const struct weir_watch *w = s->w;

	return (w->user_stage && !w->strict) || w->opt.sample > 1 || s->talkers || w->self.known ||
	       w->flows || w->l7 || w->owners || !(w->opt.write_file || w->opt.count_only);
}

/* The part of the road that is in user space with --filter-at user, with
 * --strict-pcap and when reading files. */
static bool user_stage(struct weir_sink *s, const struct weir_packet *p)
{
	struct weir_watch *w = s->w;
	struct weir_sink_counts *c = &s->counts[p->ev.slot];

	if (w->strict ? !weir_strict_match(w->strict, p) : !weir_match_eval(w->match, &p->hdr)) {
		weir_sink_add(&c->unmatched, 1);
		return false;
	}
	if (w->opt.sample > 1 && weir_pkt_hash(&p->hdr, w->seed) % w->opt.sample) {
		weir_sink_add(&c->sampled_out, 1);
		return false;
	}
	return true;
}

static bool is_self(const struct weir_self *self, const struct weir_pkt *p)
{
	if (!self->known || p->proto != 6)
		return false;
	for (int i = 0; i < 2; i++)
		if (p->sport == self->port[i] && p->dport == self->port[!i] &&
		    !memcmp(p->src, self->addr[i], 16) && !memcmp(p->dst, self->addr[!i], 16))
			return true;
	return false;
}

/* Packets lost since the last one of this interface: pcapng's epb_dropcount. */
static uint64_t new_drops(struct weir_sink *s, unsigned int slot)
{
	struct weir_watch_counters k;
	uint64_t lost = 0, told;

	/* One look a batch, not one a packet. */
	if (s->pending[slot])
		return 0;
	s->w->engine->counters(s->w, slot, &k);
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		lost += k.lost[i];
	/* Several sinks may write for one interface: each loss is told once. */
	told = atomic_exchange(&s->w->drops_told[slot], lost);
	return lost > told ? lost - told : 0;
}

static void put_out(struct weir_sink *s, struct weir_packet *p)
{
	struct weir_watch *w = s->w;

	if (w->l7) { /* which may have been given more bytes than are shown */
		weir_l7_packet(w->l7, p, NULL, &s->seen);
		p->l7 = &s->seen;
	}
	if (p->ev.caplen > w->out_snaplen)
		p->ev.caplen = w->out_snaplen;
	if (w->flows) {
		weir_observers_packet(w, p);
		weir_flows_packet(w, p);
	}
	if (!w->shows_packets)
		;
	else if (w->opt.write_file)
		weir_pcapng_packet(&s->out, p, p->ev.slot, new_drops(s, p->ev.slot));
	else
		weir_format_packet(&s->formatter, p, &s->out);
	s->pending[p->ev.slot]++;
}

void weir_sink_unpack(struct weir_sink *s, const struct weir_watch_event *ev, const uint8_t *data,
		      struct weir_packet *ret)
{
	*ret = (struct weir_packet){ .ev = *ev, .data = data,
				     .iface = s->w->ifaces[ev->slot].name };
	if ((ev->flags & (WEIR_WATCH_VLAN_META | WEIR_WATCH_NO_L2)) == WEIR_WATCH_VLAN_META)
		restore_vlan(s, ret);
	weir_sink_parse(ret);
}

int weir_sink_packet(struct weir_sink *s, const struct weir_watch_event *ev, const uint8_t *data)
{
	struct weir_watch *w = s->w;
	struct weir_sink_counts *c = &s->counts[ev->slot];
	struct weir_packet_owners owners;
	struct weir_packet p = {.ev = *ev, .data = data, .iface = w->ifaces[ev->slot].name};
	char rule[64];
	bool self;

	weir_sink_add(&c->consumed, 1);
	if ((p.ev.flags & (WEIR_WATCH_VLAN_META | WEIR_WATCH_NO_L2)) == WEIR_WATCH_VLAN_META)
		restore_vlan(s, &p);
	if (reads_header(s))
		weir_sink_parse(&p);
	if (w->user_stage && !user_stage(s, &p))
		return 0;
	if (w->owners && !weir_watch_owners_packet(w, &p, &owners)) {
		weir_sink_add(&c->unmatched, 1);
		return 0;
	}
	if (p.ev.rule)
		p.rule = weir_watch_rule_name(w, p.ev.rule, rule, sizeof(rule));
	self = is_self(&w->self, &p.hdr);
	if (!self && w->opt.count && atomic_fetch_sub(&w->left, 1) <= 0) {
		weir_sink_add(&c->consumed, -1ULL); /* it stays where it was: queued */
		weir_watch_stop(w);
		return WEIR_STOP;
	}
	weir_sink_add(&c->delivered, 1);
	weir_sink_add(&c->delivered_bytes, p.ev.len);
	if (s->talkers)
		weir_talkers_add(s->talkers, &p);
	if (self) {
		weir_sink_add(&c->self, 1);
		return 0;
	}
	put_out(s, &p);
	/* An output that fails ends the run, but what is in the rings is still
	 * read, and counted as lost. */
	if (s->out.len >= SINK_FLUSH_BYTES || weir_writer_full(w, s->out.len))
		weir_sink_flush(s);
	if (w->opt.count && atomic_load(&w->left) <= 0) {
		weir_watch_stop(w);
		return WEIR_STOP;
	}
	return 0;
}

/* What could not be written was not delivered: it is lost, and counted so. */
static void take_back(struct weir_sink *s)
{
	for (unsigned int i = 0; i < s->w->n_ifaces; i++) {
		weir_sink_add(&s->counts[i].delivered, -s->pending[i]);
		weir_sink_add(&s->counts[i].lost, s->pending[i]);
	}
}

void weir_sink_flush(struct weir_sink *s)
{
	struct weir_watch *w = s->w;
	int ret = 0;

	if (s->out.failed) {
		ret = -ENOMEM;
		s->out.failed = false;
		weir_buf_reset(&s->out);
	} else if (s->out.len) {
		ret = weir_writer_write(w, &s->out);
	}
	if (ret)
		take_back(s);
	memset(s->pending, 0, sizeof(s->pending));
	if (ret)
		weir_watch_stop(w);
}
