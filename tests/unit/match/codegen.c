/* SPDX-License-Identifier: GPL-2.0-only */
/* The shape of compiled matches; tests/bpf/match.c shows that the kernel takes
 * them and answers as the evaluator does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/match_stub.h"
#include "match/match.h"
#include "vm.h"

#define PACKETS 1000

static struct weir_match *parse(const char *text)
{
	const struct weir_match_spec spec = { .expression = text, .named_sets = true };
	struct weir_error err = { 0 };
	struct weir_match *m = NULL;

	if (weir_match_parse(&spec, &m, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return m;
}

/* Any flags, whether they make sense or not; the rest close to the bounds that
 * the expressions below have. */
static void make_packet(struct weir_pkt *p)
{
	static const uint8_t protos[] = { 6, 17, 132, 1, 58, 51, 33 };
	static const uint8_t mapped[12] = { [10] = 0xff, 0xff };

	for (size_t k = 0; k < sizeof(*p); k++)
		((uint8_t *)p)[k] = (uint8_t)(rand() >> 7);
	p->proto = protos[p->proto % sizeof(protos)];
	p->sport %= 24;
	p->dport %= 24;
	p->ttl %= 12;
	p->len %= 80;
	p->vlans %= 4;
	p->vlan[0] &= 0xf007;
	p->vlan[1] &= 0xf007;
	if (rand() & 1 << 7) {
		memcpy(p->src, mapped, sizeof(mapped));
		p->src[12] = 10;
	}
	if (rand() & 1 << 7)
		memcpy(p->dst, p->src, sizeof(p->dst));
	if (rand() & 1 << 7)
		memcpy(p->eth_src, "\2\0\0\0\0\1", sizeof(p->eth_src));
	if (rand() & 1 << 7)
		memcpy(p->eth_dst, p->eth_src, sizeof(p->eth_dst));
}

/* Compile @text and run it; returns its length. */
static size_t check(const char *text)
{
	weir_cleanup(weir_match_freep) struct weir_match *m = parse(text);
	weir_autofree int *fds = vm_set_fds(m);
	weir_autofree struct bpf_insn *v = NULL;
	struct weir_error err = { 0 };
	const char *wrong;
	struct vm vm;
	size_t n = 0;

	assert_int_equal(weir_match_codegen(m, fds, &v, &n, &err), 0);
	wrong = vm_check(v, n);
	if (wrong)
		fail_msg("%s: %s", text, wrong);
	for (unsigned int i = 0; i < PACKETS; i++) {
		struct weir_pkt p;
		bool got;

		make_packet(&p);
		got = vm_run(&vm, m, v, n, &p);
		if (vm.wrong || got != weir_match_eval(m, &p))
			fail_msg("%s: %s", text, vm.wrong ? vm.wrong : "another answer");
	}
	return n;
}

static const char *const sound[] = {
	"",
	"tcp",
	"not tcp",
	"ip and tcp or udp",
	"host 10.0.0.1 or fe80::1",
	"net 0.0.0.0/0 or ::/0",
	"src and dst net 10.0.0.0/8 or 11.0.0.0/8",
	"portrange 0-65535",
	"src and dst portrange 0-65535 or vlan",
	"ttl >= 0",
	"not ttl >= 0",
	"len >= 0",
	"tcp or len >= 0 or udp",
	"not (tcp or len >= 0)",
	"vlan 5,6,7-4095",
	"ether multicast",
	"ether src and dst 2:0:0:0:0:1",
	"port 5-10,12,15-20",
	"src and dst portrange 5-10",
	"tcp port 5 or 6",
	"ttl 4-6",
	"len > 40",
	"len <= 40",
	"src net 10.0.0.0/9",
	"src and dst net 10.0.0.0/9",
	"net 10.0.0.0/8 and not 10.128.0.0/9",
	"vlan 1-3,6",
	"ether host 2:0:0:0:0:1",
	"tcp flags != syn,ack",
	"frag first",
	"proto 0-255",
	"ah",
	"not (not (tcp and not (port 80 or vlan)) or ether broadcast)",
};

static void is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(sound); i++)
		check(sound[i]);
}

/* Several at once, a bit each: what each says by itself. Those at odd places are left out. */
static void answers_with_a_mask(void **state)
{
	struct weir_match *m[WEIR_MATCH_MASK_MAX] = { NULL };
	weir_autofree struct bpf_insn *v = NULL;
	struct weir_error err = { 0 };
	const char *wrong;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < WEIR_MATCH_MASK_MAX; i += 2)
		m[i] = parse(sound[i * 2]);
	assert_int_equal(weir_match_codegen_mask((const struct weir_match *const *)m,
						 WEIR_MATCH_MASK_MAX, NULL, &v, &n, &err),
			 0);
	wrong = vm_check(v, n);
	if (wrong)
		fail_msg("%s", wrong);
	for (unsigned int k = 0; k < PACKETS; k++) {
		uint64_t want = 0;
		struct weir_pkt p;
		struct vm vm;

		make_packet(&p);
		for (size_t i = 0; i < WEIR_MATCH_MASK_MAX; i++)
			want |= (uint64_t)(m[i] && weir_match_eval(m[i], &p)) << i;
		vm_run(&vm, NULL, v, n, &p);
		assert_null(vm.wrong);
		assert_int_equal(vm.r[0], want);
	}
	for (size_t i = 0; i < WEIR_MATCH_MASK_MAX; i++)
		weir_match_free(m[i]);
}

static void looks_up_sets(void **state)
{
	weir_autobuf struct weir_buf text = { 0 };

	(void)state;
	weir_buf_adds(&text, "not net 0.0.0.0/4,128.0.0.0/3");
	for (unsigned int i = 16; i < 64; i += 2)
		weir_buf_addf(&text, ",%u.0.0.0/8,%x00::/8", i, i);
	check(text.data);
}

/* Another code generator's sets, which stay its own: those behind names, and the
 * long lists too. */
static void asks_for_sets(void **state)
{
	static const char *const texts[] = {
		"net @a",
		"src net @a",
		"dst host @a",
		"src and dst net @a",
		"not net @a",
		"ip net @a",
		"ip6 net @a",
		"arp net @a",
		"ip6 src net @a",
		"not ip6 dst net @a",
		"net @a,@b",
		"net @a and not net @b",
		"src and dst net @a,10.0.0.0/8,@b",
		"src net @a or dst net @b or port 5",
		"tcp and src @b and (vlan or dst @a or ttl 4)",
		"net @a or net 10.0.0.0/8,11.0.0.0/8,12.0.0.0/8,13.0.0.0/8,14.0.0.0/8,15.0.0.0/8,"
		"16.0.0.0/8,17.0.0.0/8,18.0.0.0/8,20.0.0.0/8,22.0.0.0/8,24.0.0.0/8,26.0.0.0/8,"
		"28.0.0.0/8,30.0.0.0/8,32.0.0.0/8,34.0.0.0/8 and src @b",
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(texts); i++) {
		weir_cleanup(weir_match_freep) struct weir_match *m = parse(texts[i]);
		weir_autofree struct bpf_insn *v = NULL;
		struct weir_error err = { 0 };
		unsigned int yes = 0;
		size_t n = 0;

		assert_int_equal(vm_gen(m, WEIR_MATCH_INSNS_MAX, &v, &n, &err), 0);
		if (vm_check(v, n))
			fail_msg("%s: %s", texts[i], vm_check(v, n));
		for (unsigned int k = 0; k < PACKETS; k++) {
			struct weir_pkt p;
			struct vm vm;
			bool got;

			make_packet(&p);
			got = vm_run(&vm, m, v, n, &p);
			yes += got;
			if (vm.wrong || got != weir_match_eval_sets(m, &p, vm_in, NULL))
				fail_msg("%s: %s", texts[i],
					 vm.wrong ? vm.wrong : "another answer");
		}
		assert_in_range(yes, 1, PACKETS - 1);
	}
}

static void says_what_does_not_fit(void **state)
{
	weir_cleanup(weir_match_freep) struct weir_match *m = parse("port 1,3,5,7 or net @a");
	struct bpf_insn *v = NULL;
	struct weir_error err = { 0 };
	size_t n = 0, need;

	(void)state;
	assert_int_equal(vm_gen(m, WEIR_MATCH_INSNS_MAX, &v, &need, &err), 0);
	free(v);
	v = NULL;
	for (size_t max = 1; max < need; max++) {
		err.msg[0] = '\0';
		assert_int_equal(vm_gen(m, max, &v, &n, &err), -E2BIG);
		assert_non_null(strstr(err.msg, "the match needs more than"));
		assert_null(v);
	}
	assert_int_equal(vm_gen(m, need, &v, &n, &err), 0);
	assert_int_equal(n, need);
	free(v);
	v = NULL;
	/* For a program without sets. */
	assert_int_equal(weir_match_codegen(m, NULL, &v, &n, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "@a: sets exist only in `weir filter`"));
	assert_null(v);
}

/* No instruction more than a person would write. */
static void is_short(void **state)
{
	static const struct {
		const char *text;
		size_t insns;
	} bounds[] = {
		{ "", 2 },
		{ "ip", 6 },
		{ "tcp", 9 },
		{ "vlan", 8 },
		{ "tcp flags syn", 10 },
		{ "src host 10.0.0.1", 11 },
		{ "len > 9", 6 },
		{ "frag", 7 },
		{ "tcp dst port 80", 13 },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(bounds); i++)
		assert_in_range(check(bounds[i].text), 1, bounds[i].insns);
}

static void disassembles(void **state)
{
	static const struct {
		const char *text, *listing;
	} cases[] = {
		{ "", "   0: r0 = 0x1\n"
		      "   1: exit\n" },
		{ "tcp dst port 80", "   0: r2 = *(u16 *)(r1 +46) ; flags\n"
				     "   1: w2 &= 0x80\n"
				     "   2: if w2 == 0x0 goto +6\n"
				     "   3: r2 = *(u8 *)(r1 +67) ; proto\n"
				     "   4: if w2 != 0x6 goto +4\n"
				     "   5: r2 = *(u16 *)(r1 +50) ; dport\n"
				     "   6: if w2 != 0x50 goto +2\n"
				     "   7: r0 = 0x1\n"
				     "   8: exit\n"
				     "   9: r0 = 0x0\n"
				     "  10: exit\n" },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		weir_cleanup(weir_match_freep) struct weir_match *m = parse(cases[i].text);
		weir_autofree struct bpf_insn *v = NULL;
		weir_autobuf struct weir_buf out = { 0 };
		struct weir_error err = { 0 };
		size_t n;

		assert_int_equal(weir_match_codegen(m, NULL, &v, &n, &err), 0);
		weir_match_disasm(v, n, &out);
		assert_string_equal(out.data, cases[i].listing);
	}
}

/* Each form of instruction, and what is none. */
static void disassembles_sets(void **state)
{
	static const struct bpf_insn v[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .off = -20, .imm = 128 },
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 6, .off = 28 },
		{ .code = BPF_STX | BPF_MEM | BPF_W, .dst_reg = 10, .src_reg = 2, .off = -4 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM,
		  .dst_reg = 1,
		  .src_reg = BPF_PSEUDO_MAP_FD,
		  .imm = 5 },
		{ .code = 0 },
		{ .code = BPF_JMP | BPF_CALL, .imm = 1 },
		{ .code = BPF_JMP | BPF_JA, .off = 3 },
		{ .code = 0xff },
	};
	weir_autobuf struct weir_buf out = { 0 };

	(void)state;
	weir_match_disasm(v, WEIR_ARRAY_SIZE(v), &out);
	assert_string_equal(out.data, "   0: r6 = r1\n"
				      "   1: *(u32 *)(r10 -20) = 0x80\n"
				      "   2: r2 = *(u32 *)(r6 +28) ; dst+12\n"
				      "   3: *(u32 *)(r10 -4) = r2\n"
				      "   4: r1 = map[fd:5]\n"
				      "   6: call 1\n"
				      "   7: goto +3\n"
				      "   8: .insn code 0xff\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_sound),
		cmocka_unit_test(answers_with_a_mask),
		cmocka_unit_test(looks_up_sets),
		cmocka_unit_test(is_short),
		cmocka_unit_test(disassembles),
		cmocka_unit_test(disassembles_sets),
		cmocka_unit_test(asks_for_sets),
		cmocka_unit_test(says_what_does_not_fit),
	};

	return cmocka_run_group_tests_name("match.codegen", tests, NULL, NULL);
}
