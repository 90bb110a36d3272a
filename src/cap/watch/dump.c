/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets as bytes: hexadecimal, ASCII, the payload as text. */
#include "cap/watch/bytes.h"
#include "cap/watch/format_impl.h"

#define ROW 16
#define HEX_COLUMNS (ROW / 2 * 5) /* " 4500" for each pair */
#define ROW_ROOM (1 + 8 + 8 + HEX_COLUMNS + 2 + ROW + 1)

static const struct dump_kind {
	bool l2, hex, ascii;
} kinds[] = {
	[WEIR_DUMP_HEX] = { .hex = true },
	[WEIR_DUMP_HEX_L2] = { .hex = true, .l2 = true },
	[WEIR_DUMP_HEX_ASCII] = { .hex = true, .ascii = true },
	[WEIR_DUMP_HEX_ASCII_L2] = { .hex = true, .ascii = true, .l2 = true },
	[WEIR_DUMP_ASCII] = { .ascii = true },
	[WEIR_DUMP_ASCII_L2] = { .ascii = true, .l2 = true },
};

static bool is_print(uint8_t c)
{
	return c >= 0x20 && c < 0x7f;
}

static char *put_hex(char *d, uint8_t v)
{
	static const char digits[] = "0123456789abcdef";

	*d++ = digits[v >> 4];
	*d++ = digits[v & 15];
	return d;
}

static void hex_row(struct weir_buf *out, uint32_t off, const uint8_t *b, uint32_t n,
		    bool ascii)
{
	char *start, *d;

	ADD(out, "\t0x");
	weir_buf_addx(out, off, 4);
	ADD(out, ": ");
	start = weir_buf_room(out, ROW_ROOM);
	if (!start)
		return;
	d = start;
	for (uint32_t i = 0; i < n; i++) {
		if (!(i & 1))
			*d++ = ' ';
		d = put_hex(d, b[i]);
	}
	if (ascii) {
		while (d < start + HEX_COLUMNS + 2)
			*d++ = ' ';
		for (uint32_t i = 0; i < n; i++)
			*d++ = is_print(b[i]) ? (char)b[i] : '.';
	}
	*d++ = '\n';
	*d = '\0';
	out->len += (size_t)(d - start);
}

/* Each line of text begins with a tab, so that no packet can write a line that
 * looks like another packet's. */
static void text(struct weir_buf *out, const uint8_t *b, uint32_t n)
{
	char *start = weir_buf_room(out, (size_t)n * 2 + 2), *d = start;
	bool line_start = true;

	if (!start || !n)
		return;
	for (uint32_t i = 0; i < n; i++) {
		if (b[i] == '\r' && i + 1 < n && b[i + 1] == '\n')
			continue;
		if (line_start)
			*d++ = '\t';
		line_start = b[i] == '\n';
		if (line_start)
			*d++ = '\n';
		else if (b[i] == '\t')
			*d++ = ' ';
		else
			*d++ = is_print(b[i]) ? (char)b[i] : '.';
	}
	if (!line_start)
		*d++ = '\n';
	*d = '\0';
	out->len += (size_t)(d - start);
}

void weir_format_dump(enum weir_dump kind, const struct weir_packet *p,
		      struct weir_buf *out)
{
	const struct dump_kind *k = &kinds[kind];
	uint32_t from = k->l2 ? 0 : p->hdr.l3_off;
	uint32_t n = weir_packet_left(p, from);
	const uint8_t *b = p->data + from;

	if (!k->hex) {
		text(out, b, n);
		return;
	}
	for (uint32_t i = 0; i < n; i += ROW)
		hex_row(out, i, b + i, n - i < ROW ? n - i : ROW, k->ascii);
}

void weir_format_payload(const struct weir_packet *p, struct weir_buf *out)
{
	uint32_t from = p->hdr.payload_off ? p->hdr.payload_off : p->hdr.l4_off;
	uint32_t end = weir_packet_l3_end(p);
	uint32_t n = from ? weir_packet_left(p, from) : 0;

	if (!n || end <= from)
		return;
	text(out, p->data + from, n < end - from ? n : end - from);
}

void weir_format_safe(struct weir_buf *out, const uint8_t *s, size_t n)
{
	char *d = weir_buf_room(out, n);

	if (!d || !n)
		return;
	for (size_t i = 0; i < n; i++)
		d[i] = is_print(s[i]) ? (char)s[i] : '.';
	d[n] = '\0';
	out->len += n;
}
