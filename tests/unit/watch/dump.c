/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cap/watch/format.h"
#include "samples.h"

static void format(enum weir_format format, enum weir_dump dump, const char *name,
		   const char *expected)
{
	struct weir_formatter f = {
		.format = format, .dump = dump, .numeric = true, .time = WEIR_TIME_NONE,
	};
	struct weir_buf out = { 0 };
	struct sample_packet s;

	sample_open(&s, sample_find(name));
	weir_format_packet(&f, &s.p, &out);
	assert_string_equal(out.data, expected);
	sample_close(&s);
	weir_buf_free(&out);
}

#define STP_LINE "LLC, dsap 0x42, ssap 0x42, control 0x03, length 9\n"
#define UDP_LINE "IP 10.0.0.1.5353 > 10.0.0.2.53: UDP, length 5\n"

static void hex(void **state)
{
	(void)state;
	format(WEIR_FORMAT_HEX, WEIR_DUMP_NONE, "stp",
	       STP_LINE "\t0x0000:  0180 c200 0000 0200 0000 0001 0009 4242  ..............BB\n"
			"\t0x0010:  0373 7470 7374 70                        .stpstp\n");
	format(WEIR_FORMAT_LINE, WEIR_DUMP_HEX_L2, "stp",
	       STP_LINE "\t0x0000:  0180 c200 0000 0200 0000 0001 0009 4242\n"
			"\t0x0010:  0373 7470 7374 70\n");
	format(WEIR_FORMAT_LINE, WEIR_DUMP_HEX, "udp",
	       UDP_LINE "\t0x0000:  4500 0021 0001 0000 4011 66c9 0a00 0001\n"
			"\t0x0010:  0a00 0002 14e9 0035 000d 92e1 6865 6c6c\n"
			"\t0x0020:  6f\n");
	format(WEIR_FORMAT_HEX, WEIR_DUMP_HEX_ASCII, "udp",
	       UDP_LINE "\t0x0000:  4500 0021 0001 0000 4011 66c9 0a00 0001  E..!....@.f.....\n"
			"\t0x0010:  0a00 0002 14e9 0035 000d 92e1 6865 6c6c  .......5....hell\n"
			"\t0x0020:  6f                                       o\n");
}

/* A packet can neither move the cursor nor imitate another packet's line. */
static void text(void **state)
{
	(void)state;
	format(WEIR_FORMAT_TEXT, WEIR_DUMP_NONE, "escapes",
	       "IP 10.0.0.1.80 > 10.0.0.2.1234: Flags [P.], seq 1:34, ack 1, win 8192, "
	       "length 33\n"
	       "\tHTTP/1.1 200 OK\n"
	       "\tX: .[31mred.\n"
	       "\t\n");
	format(WEIR_FORMAT_TEXT, WEIR_DUMP_NONE, "udp_padded",
	       "IP 10.0.0.1.1 > 10.0.0.2.2: UDP, length 1\n"
	       "\tx\n");
	format(WEIR_FORMAT_TEXT, WEIR_DUMP_NONE, "tcp_null",
	       "IP 10.0.0.1.51234 > 10.0.0.2.443: Flags [none], win 8192, length 0\n");
	format(WEIR_FORMAT_LINE, WEIR_DUMP_ASCII, "udp",
	       UDP_LINE "\tE..!....@.f.\n\t...\n\t......5....hello\n");
	format(WEIR_FORMAT_LINE, WEIR_DUMP_ASCII_L2, "stp",
	       STP_LINE "\t............. BB.stpstp\n");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(hex),
		cmocka_unit_test(text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
