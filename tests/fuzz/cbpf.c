/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The translator of classic BPF against any program that is valid, and any frame: the
 * result keeps the verifier's rules and answers as libpcap's bpf_filter() does. Programs
 * that are not valid are refused with a message.
 *
 * Six bytes an instruction: code, jt, jf, and three of which k is made. The first byte of
 * all is the number of instructions, the second how many bytes of the frame were cut off;
 * what is left is the frame.
 */
#include "../bpf/strict_packets.h"

#include <stdlib.h>

#include "../unit/match/strict_vm.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "match/cbpf.h"
#include "match/match.h"

#define INSNS_MAX 200
#define INSN_BYTES 6

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint16_t codes[] = {
	0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0x80, 0x81, 0xb1, 0x00, 0x01, 0x60, 0x61, 0x02,
	0x03, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d, 0x06, 0x16, 0x07, 0x87,
	0x84, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x44, 0x4c, 0x54, 0x5c, 0x64,
	0x6c, 0x74, 0x7c, 0x94, 0x9c, 0xa4, 0xac, 0x0e, 0xff, 0x71, /* not known */
};

static void need(bool ok)
{
	if (!ok)
		abort();
}

static struct sock_filter instruction(const uint8_t *b)
{
	struct sock_filter f = { .code = codes[b[0] % WEIR_ARRAY_SIZE(codes)],
				 .jt = b[1] % 8,
				 .jf = b[2] % 8,
				 .k = b[3] };

	if (b[4] & 1)
		f.k = f.k << 24 | b[5];
	if (b[4] & 2)
		f.k = -f.k;
	if (b[4] & 4)
		f.k += b[5] << 3;
	if (BPF_CLASS(f.code) <= BPF_STX && BPF_MODE(f.code) == BPF_MEM && b[4] & 0xf0)
		f.k %= BPF_MEMWORDS;
	return f;
}

/* libpcap's scratch words hold what the stack held: here they are zero. */
static size_t program(struct sock_filter *f, const uint8_t *data, size_t n)
{
	size_t at = 0;

	for (uint32_t k = 0; k < BPF_MEMWORDS; k++)
		f[at++] = (struct sock_filter){ .code = BPF_ST, .k = k };
	for (size_t i = 0; i < n; i++)
		f[at++] = instruction(data + i * INSN_BYTES);
	for (uint32_t i = 0; i < 9; i++) /* what the last jumps reach */
		f[at++] = (struct sock_filter){ .code = BPF_RET | BPF_K, .k = i & 1 };
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sock_filter f[BPF_MEMWORDS + INSNS_MAX + 9];
	weir_autofree struct bpf_insn *v = NULL;
	weir_autobuf struct weir_buf listing = { 0 };
	struct weir_error err = { "" };
	static struct strict_vm vm;
	size_t n, len, count;
	uint32_t head, caplen, wire;
	const uint8_t *frame;
	int ret;

	if (size < 2)
		return 0;
	count = data[0] % INSNS_MAX;
	if (count * INSN_BYTES > size - 2)
		count = (size - 2) / INSN_BYTES;
	n = program(f, data + 2, count);
	ret = weir_cbpf_translate(f, n, &v, &len, &head, &err);
	if (ret) {
		need(!v && err.msg[0] && !strchr(err.msg, '\n'));
		return 0;
	}
	need(len <= WEIR_MATCH_INSNS_MAX && !vm_check(v, len));
	need(head >= WEIR_STRICT_HEAD_MIN && head <= WEIR_STRICT_HEAD_MAX);
	weir_match_disasm(v, len, &listing);
	need(!listing.data || !strstr(listing.data, ".insn"));
	frame = data + 2 + count * INSN_BYTES;
	caplen = (uint32_t)(size - 2 - count * INSN_BYTES);
	wire = caplen + data[1];
	need(strict_vm_run(&vm, v, len, frame, wire, caplen, head) ==
	     !!bpf_filter((const void *)f, frame, wire, caplen));
	need(!vm.wrong);
	return 0;
}
