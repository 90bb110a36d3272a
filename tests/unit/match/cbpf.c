/* SPDX-License-Identifier: GPL-2.0-only */
/* Classic filters translated, against libpcap's bpf_filter(); tests/bpf/strict.c shows
 * that the kernel takes them and answers the same. */
#include "../../bpf/strict_packets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/cleanup.h"
#include "match/cbpf.h"
#include "strict_vm.h"

#define FRAMES 150

static void expression_agrees(const char *text, struct strict_rng *r)
{
	weir_autofree struct bpf_insn *v = NULL;
	struct classic_program p;
	struct weir_error err = { "" };
	struct strict_vm vm;
	uint8_t frame[STRICT_FRAME_MAX];
	uint32_t head;
	size_t n;
	int ret;

	assert_true(strict_compile(text, &p));
	ret = weir_cbpf_translate((const void *)p.bf_insns, p.bf_len, &v, &n, &head, &err);
	assert_int_equal(ret, strstr(text, "protochain") ? -ENOTSUP : 0);
	if (!ret)
		assert_null(vm_check(v, n));
	for (int i = 0; !ret && i < FRAMES; i++) {
		uint32_t len = strict_frame(r, frame, 0);
		uint32_t caplen = strict_draw(r, 4) ? len : strict_draw(r, len + 1);
		bool want = strict_oracle(&p, frame, len, caplen);
		bool got = strict_vm_run(&vm, v, n, frame, len, caplen, head);

		if (vm.wrong || got != want)
			fail_msg("%s: %d, libpcap %d: %s", text, got, want,
				 vm.wrong ? vm.wrong : "differs");
	}
	pcap_freecode(&p);
}

static void expressions_agree(void **state)
{
	struct strict_rng r = { .state = 0x2545f4914f6cdd1d };

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(strict_expressions); i++)
		expression_agrees(strict_expressions[i], &r);
}

static int translate(const struct sock_filter *f, size_t n, struct weir_error *err)
{
	struct bpf_insn *v = NULL;
	uint32_t head;
	size_t len;
	int ret = weir_cbpf_translate(f, n, &v, &len, &head, err);

	free(v);
	return ret;
}

static void what_is_refused(void **state)
{
	static const struct {
		int want;
		struct sock_filter f[3];
	} cases[] = {
		{ 0, { { 0x80, 0, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } },
		{ -EINVAL,
		  { { 0x80, 0, 0, 0 }, { 0x80, 0, 0, 0 }, { 0x80, 0, 0, 0 } } }, /* no end */
		{ -EINVAL,
		  { { 0x15, 2, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* jt far */
		{ -EINVAL,
		  { { 0x15, 0, 2, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* jf far */
		{ -EINVAL,
		  { { 0x05, 0, 0, 2 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* ja far */
		{ -ENOTSUP,
		  { { 0x80, 0, 0, 0 }, { 0x05, 0, 0, ~1U }, { 0x06, 0, 0, 0 } } },	  /* back */
		{ -EINVAL, { { 0x34, 0, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* /= 0 */
		{ -EINVAL, { { 0x94, 0, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* %= 0 */
		{ -EINVAL,
		  { { 0x64, 0, 0, 32 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* <<= 32 */
		{ -EINVAL,
		  { { 0x02, 0, 0, 16 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } }, /* M[16] */
		{ -EINVAL, { { 0x60, 0, 0, 16 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } },
		{ -ENOTSUP, { { 0xff, 0, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } },
		{ -ENOTSUP, { { 0x100, 0, 0, 0 }, { 0x06, 0, 0, 1 }, { 0x06, 0, 0, 0 } } },
	};
	struct weir_error err;

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		err.msg[0] = '\0';
		assert_int_equal(translate(cases[i].f, 3, &err), cases[i].want);
		assert_true(!cases[i].want || err.msg[0]);
	}
	assert_int_equal(translate(NULL, 0, &err), -EINVAL);
}

static void too_large(void **state)
{
	struct sock_filter f[4096];
	struct weir_error err = { "" };

	(void)state;
	for (size_t i = 0; i < 4095; i++)
		f[i] = (struct sock_filter){ .code = 0x30, .k = (uint32_t)i };
	f[4095] = (struct sock_filter){ .code = 0x06 };
	assert_int_equal(translate(f, 4096, &err), -E2BIG);
	assert_non_null(strstr(err.msg, "instructions"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expressions_agree),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(too_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
