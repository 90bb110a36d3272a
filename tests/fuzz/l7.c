/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --names, from packets to what is shown. By the first byte the rest is
 *
 *	segments and datagrams: a few bytes of heading each, over few connections, so that
 *	they meet; whatever they are, text is printable and JSON one line;
 *	the first bytes of one connection: in order, and in random segments out of order,
 *	twice and overlapping, they must tell the same.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cap/watch/l7.h"

#include "../unit/watch/l7_frames.h"

#define STREAM_MOST 3000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

static const uint16_t ports[] = { 53, 80, 443, 5353 };

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t draw(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->at++;
}

static uint32_t next(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

/* What it tells, as text, goes to @told. */
static void packet(struct weir_l7 *l, const struct frame *f, bool udp, const void *data, size_t n,
		   struct weir_l7_seen *seen, struct weir_buf *told)
{
	struct weir_buf json = { 0 };
	struct weir_packet p;
	size_t from;

	frame_make(f, udp, data, (uint32_t)n, &p);
	weir_l7_packet(l, &p, NULL, seen);
	weir_l7_json(seen, &json);
	for (size_t i = 0; i < json.len; i++)
		NEED((uint8_t)json.data[i] >= 0x20 && json.data[i] != 0x7f);
	NEED(seen->kind == WEIR_L7_NONE || json.len || seen->kind == WEIR_L7_TLS);
	from = told->len;
	if (weir_l7_text(seen, told))
		weir_buf_addc(told, '\n');
	for (size_t i = from; i < told->len; i++)
		NEED((told->data[i] >= 0x20 && told->data[i] < 0x7f) ||
		     (told->data[i] == '\n' && i + 1 == told->len));
	weir_buf_free(&json);
	free((void *)p.data);
}

static struct weir_l7 *begin(void)
{
	struct weir_l7 *l;

	NEED(!weir_l7_new(&l, true, 3));
	return l;
}

static void packets(struct input *in)
{
	struct weir_l7_seen seen = { 0 };
	struct weir_buf told = { 0 };
	struct weir_l7 *l = begin();
	struct weir_l7_account a;
	uint64_t now = 0;

	while (in->left) {
		const uint8_t kind = draw(in), flags = draw(in), off = draw(in);
		const uint32_t n = draw(in) % (in->left + 1);
		struct frame f = frame_of(1000 + (kind >> 6), ports[kind & 3]);

		f.answers = kind & 4;
		f.tcp_flags = flags & 0x1f;
		f.seq = 100 + off * (kind & 32 ? 40 : 1);
		now += (uint64_t)flags << (flags >> 5) * 5;
		f.later = now;
		if (flags & 0x40)
			f.caplen = off;
		packet(l, &f, kind & 8, in->at, n, &seen, &told);
		in->at += n;
		in->left -= n;
	}
	weir_l7_account(l, true, &a);
	weir_l7_free(l);
	weir_l7_seen_free(&seen);
	weir_buf_free(&told);
}

static void segment(struct weir_l7 *l, const struct input *in, uint16_t port, size_t from, size_t n,
		    struct weir_l7_seen *seen, struct weir_buf *told)
{
	struct frame f = frame_of(1000, port);

	f.seq = 0xffffff00U + 1 + (uint32_t)from;
	packet(l, &f, false, in->at + from, n, seen, told);
}

static void open_connection(struct weir_l7 *l, uint16_t port, struct weir_l7_seen *seen,
			    struct weir_buf *told)
{
	struct frame f = frame_of(1000, port);

	f.tcp_flags = 2;
	f.seq = 0xffffff00U;
	packet(l, &f, false, NULL, 0, seen, told);
}

/* Only the first message of a connection must be the same: what follows may be told by
 * where segments begin. */
static void same_in_any_order(struct input *in)
{
	const uint16_t port = draw(in) & 1 ? 80 : 443;
	uint32_t seed = draw(in);
	struct weir_l7_seen seen = { 0 };
	struct weir_buf whole = { 0 }, parts = { 0 };
	struct weir_l7 *l = begin();
	size_t left, at;

	if (in->left > STREAM_MOST)
		in->left = STREAM_MOST;
	open_connection(l, port, &seen, &whole);
	for (at = 0; at < in->left && !whole.len; at++)
		segment(l, in, port, at, 1, &seen, &whole);
	in->left = at; /* as far as it was looked at */
	weir_l7_free(l);
	l = begin();
	open_connection(l, port, &seen, &parts);
	/* From the end to the beginning, in overlapping pieces, the last one alone leaving
	 * no hole; at most as many holes as there is room for. */
	for (left = in->left; left;) {
		const size_t n = 1 + next(&seed) % 400, from = left > n ? left - n : 0;
		const size_t more = next(&seed) % 50;

		segment(l, in, port, from,
			(left - from + more < in->left - from ? left - from + more :
								in->left - from),
			&seen, &parts);
		left = from;
	}
	NEED(whole.len == parts.len);
	NEED(!whole.len || !memcmp(whole.data, parts.data, whole.len));
	weir_l7_free(l);
	weir_l7_seen_free(&seen);
	weir_buf_free(&whole);
	weir_buf_free(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (draw(&in) & 1)
		packets(&in);
	else
		same_in_any_order(&in);
	return 0;
}
