/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cap/watch/format.h"
#include "cap/watch/pcapng.h"
#include "samples.h"

#define FORMATS (WEIR_FORMAT_JSON + 1)
#define DUMPS (WEIR_DUMP_ASCII_L2 + 1)

/* Text for a terminal: nothing but printable ASCII, tabs and newlines. */
static void all_printable(const struct weir_buf *b, const char *name)
{
	for (size_t i = 0; i < b->len; i++) {
		char c = b->data[i];

		if (c != '\n' && c != '\t' && (c < 0x20 || c > 0x7e))
			fail_msg("%s: byte 0x%02x", name, (unsigned int)(uint8_t)c);
	}
}

static void in_every_format(const struct weir_packet *p, const char *name)
{
	for (unsigned int format = 0; format < FORMATS; format++) {
		for (unsigned int dump = 0; dump < DUMPS; dump++) {
			struct weir_formatter f = {
				.format = format, .dump = dump, .link = dump & 1,
				.quiet = dump & 2, .numeric = true,
			};
			struct weir_buf out = { 0 };

			weir_format_packet(&f, p, &out);
			assert_false(out.failed);
			assert_true(out.len && out.data[out.len - 1] == '\n');
			all_printable(&out, name);
			weir_buf_free(&out);
		}
	}
}

/* Every sample cut at every byte; AddressSanitizer watches the rest. */
static void at_every_byte(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t bytes[SAMPLE_MAX];
		uint32_t n = sample_bytes(&samples[i], bytes);

		for (uint32_t cut = 0; cut <= n; cut++) {
			struct weir_buf block = { 0 };
			struct sample_packet s;

			sample_cut(&s, bytes, n, cut, sample_has_l2(&samples[i]));
			in_every_format(&s.p, samples[i].name);
			weir_pcapng_packet(&block, &s.p, 0, 0);
			assert_int_equal(block.len % 4, 0);
			weir_buf_free(&block);
			sample_close(&s);
		}
	}
}

/* The same where the frame ends, not only what was captured of it. */
static void short_frames(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		uint8_t bytes[SAMPLE_MAX];
		uint32_t n = sample_bytes(&samples[i], bytes);

		for (uint32_t cut = 0; cut < n; cut++) {
			struct weir_formatter f = { .format = WEIR_FORMAT_PROTO };
			struct weir_buf out = { 0 };
			struct sample_packet s;

			sample_cut(&s, bytes, cut, cut, sample_has_l2(&samples[i]));
			weir_format_packet(&f, &s.p, &out);
			all_printable(&out, samples[i].name);
			weir_buf_free(&out);
			sample_close(&s);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_every_byte),
		cmocka_unit_test(short_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
