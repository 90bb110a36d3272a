/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/ipfix.h"

#include <string.h>

#include "base/cleanup.h"

#define VERSION 10
#define HEADER_LEN 16
#define SET_HEADER_LEN 4
#define SET_TEMPLATES 2
#define SET_OPTIONS 3

struct field {
	uint16_t id, len;
};

/* Information elements, IANA's numbers; the order is that of the records below. */
#define FLOW_FIELDS(src, dst, bytes)                                               \
	{ src, bytes }, { dst, bytes },	   /* source and destination address */    \
	{ 7, 2 }, { 11, 2 },		   /* sourceTransportPort, destination.. */ \
	{ 4, 1 },			   /* protocolIdentifier */                \
	{ 61, 1 },			   /* flowDirection: 0 ingress, 1 egress */ \
	{ 136, 1 },			   /* flowEndReason */                     \
	{ 6, 2 },			   /* tcpControlBits */                    \
	{ 10, 4 }, { 14, 4 },		   /* ingressInterface, egressInterface */ \
	{ 1, 8 }, { 2, 8 },		   /* octetDeltaCount, packetDeltaCount */ \
	{ 152, 8 }, { 153, 8 }		   /* flowStart-, flowEndMilliseconds */

static const struct field flow4[] = {FLOW_FIELDS(8, 12, 4)};
static const struct field flow6[] = {FLOW_FIELDS(27, 28, 16)};
static const struct field metering[] = {
	{149, 4}, /* scope: observationDomainId */
	{135, 8}, /* droppedPacketTotalCount */
	{164, 8}, /* ignoredPacketTotalCount */
	{165, 8}, /* ignoredOctetTotalCount */
};
static const struct field exporting[] = {
	{149, 4}, /* scope: observationDomainId */
	{166, 8}, /* notSentFlowTotalCount */
	{167, 8}, /* notSentPacketTotalCount */
	{168, 8}, /* notSentOctetTotalCount */
};

static const struct template {
	uint16_t id, set;
	const struct field *fields;
	uint16_t n;
} templates[] = {
	{WEIR_IPFIX_FLOW4, SET_TEMPLATES, flow4, WEIR_ARRAY_SIZE(flow4)},
	{WEIR_IPFIX_FLOW6, SET_TEMPLATES, flow6, WEIR_ARRAY_SIZE(flow6)},
	{WEIR_IPFIX_METERING, SET_OPTIONS, metering, WEIR_ARRAY_SIZE(metering)},
	{WEIR_IPFIX_EXPORTING, SET_OPTIONS, exporting, WEIR_ARRAY_SIZE(exporting)},
};

/* All templates take less than this, and so leave room for records. */
#define TEMPLATES_MAX 256

_Static_assert(HEADER_LEN + TEMPLATES_MAX + 2 * (SET_HEADER_LEN + WEIR_IPFIX_RECORD_MAX) <
		       WEIR_IPFIX_MESSAGE_MAX,
	       "templates and losses fit one message");

static void put(struct weir_ipfix_message *m, uint64_t v, size_t bytes)
{
	while (bytes--)
		m->data[m->len++] = (uint8_t)(v >> 8 * bytes);
}

static void put_bytes(struct weir_ipfix_message *m, const uint8_t *b, size_t n)
{
	memcpy(m->data + m->len, b, n);
	m->len += n;
}

static void set_u16(struct weir_ipfix_message *m, size_t at, size_t v)
{
	m->data[at] = (uint8_t)(v >> 8);
	m->data[at + 1] = (uint8_t)v;
}

static void close_set(struct weir_ipfix_message *m)
{
	if (m->set)
		set_u16(m, m->set + 2, m->len - m->set);
	m->set = 0;
}

/* Records of one kind that follow each other share a set. */
static void open_set(struct weir_ipfix_message *m, uint16_t id)
{
	if (!m->len) {
		m->len = HEADER_LEN;
		m->before = m->sequence;
	}
	if (m->set && m->set_id == id)
		return;
	close_set(m);
	m->set = m->len;
	m->set_id = id;
	put(m, id, 2);
	put(m, 0, 2);
}

bool weir_ipfix_full(const struct weir_ipfix_message *m)
{
	return m->len + SET_HEADER_LEN + WEIR_IPFIX_RECORD_MAX > sizeof(m->data);
}

void weir_ipfix_reset(struct weir_ipfix_message *m)
{
	m->len = m->set = 0;
	m->records = 0;
	m->packets = m->octets = 0;
}

void weir_ipfix_add_templates(struct weir_ipfix_message *m)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(templates); i++) {
		const struct template *t = &templates[i];

		open_set(m, t->set);
		put(m, t->id, 2);
		put(m, t->n, 2);
		if (t->set == SET_OPTIONS)
			put(m, 1, 2); /* the first field is the scope */
		for (uint16_t j = 0; j < t->n; j++) {
			put(m, t->fields[j].id, 2);
			put(m, t->fields[j].len, 2);
		}
	}
	close_set(m);
}

void weir_ipfix_add_flow(struct weir_ipfix_message *m, const struct weir_ipfix_record *r)
{
	size_t skip = r->v6 ? 0 : 12; /* of a mapped address */

	open_set(m, r->v6 ? WEIR_IPFIX_FLOW6 : WEIR_IPFIX_FLOW4);
	put_bytes(m, r->src + skip, 16 - skip);
	put_bytes(m, r->dst + skip, 16 - skip);
	put(m, r->sport, 2);
	put(m, r->dport, 2);
	put(m, r->proto, 1);
	put(m, r->out, 1);
	put(m, r->end, 1);
	put(m, r->tcp_flags, 2);
	put(m, r->out ? 0 : r->ifindex, 4);
	put(m, r->out ? r->ifindex : 0, 4);
	put(m, r->octets, 8);
	put(m, r->packets, 8);
	put(m, r->first_ms, 8);
	put(m, r->last_ms, 8);
	m->sequence++;
	m->records++;
	m->packets += r->packets;
	m->octets += r->octets;
}

void weir_ipfix_add_losses(struct weir_ipfix_message *m, const struct weir_ipfix_losses *l)
{
	open_set(m, WEIR_IPFIX_METERING);
	put(m, m->domain, 4);
	put(m, l->dropped, 8);
	put(m, l->ignored_packets, 8);
	put(m, l->ignored_octets, 8);
	open_set(m, WEIR_IPFIX_EXPORTING);
	put(m, m->domain, 4);
	put(m, l->unsent_flows, 8);
	put(m, l->unsent_packets, 8);
	put(m, l->unsent_octets, 8);
	m->sequence += 2;
}

void weir_ipfix_finish(struct weir_ipfix_message *m, uint32_t seconds)
{
	size_t len = m->len;

	close_set(m);
	m->len = 0;
	put(m, VERSION, 2);
	put(m, len, 2);
	put(m, seconds, 4);
	put(m, m->before, 4); /* data records of all messages before this one */
	put(m, m->domain, 4);
	m->len = len;
}
