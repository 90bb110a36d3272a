/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The proto format's parts. A header is a table of items; an item is a number
 * at a place in the header, a field that JSON knows too (fields.h), or a
 * function for what needs words.
 */
#pragma once

#include "cap/watch/csum.h"
#include "cap/watch/fields.h"
#include "cap/watch/format.h"
#include "cap/watch/names.h"

struct weir_proto {
	const struct weir_formatter *f;
	const struct weir_packet *p;
	struct weir_buf *out;
	unsigned int depth;
	bool inner; /* a packet inside another: no further one is opened */
};

enum weir_show {
	WEIR_SHOW_DEC,
	WEIR_SHOW_HEX,
	WEIR_SHOW_BOOL,
	WEIR_SHOW_BYTES, /* as they are, in hexadecimal */
	WEIR_SHOW_MAC,
	WEIR_SHOW_IP4,
	WEIR_SHOW_IP6,
	WEIR_SHOW_FIELD, /* of weir_fields */
	WEIR_SHOW_CALL,
};

struct weir_item {
	const char *name;
	uint16_t off;	/* in the header */
	uint8_t bytes;	/* 1..4, or the length of an address */
	uint8_t shift, bits; /* of the number; bits 0 = all */
	uint8_t scale;	/* 0 = 1 */
	uint8_t show;	/* enum weir_show */
	uint8_t field;	/* enum weir_packet_field */
	const struct weir_names *names;
	const char *unit;
	/* Adds the value; @b is the item's first byte. */
	void (*call)(const struct weir_proto *c, const uint8_t *b);
};

#define WEIR_NUM(label, at, size) { .name = label, .off = at, .bytes = size }
#define WEIR_HEX(label, at, size) \
	{ .name = label, .off = at, .bytes = size, .show = WEIR_SHOW_HEX }
#define WEIR_NAMED(label, at, size, table) \
	{ .name = label, .off = at, .bytes = size, .names = &weir_names_##table }
#define WEIR_BITS(label, at, size, low, n) \
	{ .name = label, .off = at, .bytes = size, .shift = low, .bits = n }
#define WEIR_BIT(label, at, size, low)                                        \
	{ .name = label, .off = at, .bytes = size, .shift = low, .bits = 1, \
	  .show = WEIR_SHOW_BOOL }
#define WEIR_ADDR(label, at, size, how) \
	{ .name = label, .off = at, .bytes = size, .show = WEIR_SHOW_##how }
#define WEIR_FIELD(id, at, size) \
	{ .off = at, .bytes = size, .show = WEIR_SHOW_FIELD, .field = WEIR_PACKET_##id }
#define WEIR_CALL(label, at, size, fn) \
	{ .name = label, .off = at, .bytes = size, .show = WEIR_SHOW_CALL, .call = fn }

/* A layer's title; its items stand one deeper. */
struct weir_proto weir_proto_layer(const struct weir_proto *c, const char *title);
/* "name: ", the value being the caller's, who ends it with weir_proto_end(). */
void weir_proto_item(const struct weir_proto *c, const char *name);
void weir_proto_end(const struct weir_proto *c);
/* A remark on a line of its own: "[cut]". */
void weir_proto_note(const struct weir_proto *c, const char *text);

/* The items of a header at @off of the packet. Where one is not captured a
 * note says so and false comes back. */
bool weir_proto_items(const struct weir_proto *c, uint32_t off,
		      const struct weir_item *items, size_t n);
#define WEIR_PROTO_ITEMS(c, off, items) \
	weir_proto_items(c, off, items, WEIR_ARRAY_SIZE(items))

/* "17 (udp)" */
void weir_proto_named(const struct weir_proto *c, uint64_t v,
		      const struct weir_names *names);
void weir_proto_bytes(const struct weir_proto *c, const uint8_t *b, uint32_t n);
/* The checksum's value and verdict in words. */
void weir_proto_csum(const struct weir_proto *c, const struct weir_csum_result *r);
/* The same for layer 4, as an item's call. */
void weir_proto_l4_csum(const struct weir_proto *c, const uint8_t *b);

/* The parts, each from its header on to the end of the packet. */
void weir_proto_ip(const struct weir_proto *c);
void weir_proto_l4(const struct weir_proto *c);
void weir_proto_icmp(const struct weir_proto *c);
void weir_proto_icmp6(const struct weir_proto *c);
void weir_proto_igmp(const struct weir_proto *c);
/* The IP packet inside this one at @off, under @title; false if there is none. */
bool weir_proto_inner(const struct weir_proto *c, uint32_t off, const char *title);
/* "Payload", from @off to the end of the network layer. */
void weir_proto_payload(const struct weir_proto *c, uint32_t off);
