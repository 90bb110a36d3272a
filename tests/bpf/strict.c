/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --strict-pcap in the kernel answers as libpcap does: each expression is compiled by
 * libpcap, translated, loaded, and asked about frames; bpf_filter() is asked the same.
 *
 * WEIR_STRICT_FRAMES: frames for each expression and hook (default 300).
 */
#include "match/cbpf.h"

#include "strict_packets.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "base/cleanup.h"
#include "bpf/strict.h"
#include "dataplane/load.h"
#include "harness.h"
#include "strict.skel.h"

#define DEFAULT_FRAMES 300
#define FRAME_MIN 15 /* the shortest that the kernel takes in a test run */
#define REFUSED 1000 /* some kernels take no cut IP headers in a test run at tc */
#define TAG_AT 12
#define TAG_LEN 4
#define LEAST_EXPRESSIONS 200

static struct weir_error err;
static uint64_t answers, matched, refused;

static struct strict_bpf *load(const struct classic_program *p, const char *text)
{
	struct strict_bpf *skel = strict_bpf__open();
	weir_autofree struct bpf_insn *code = NULL;
	uint32_t head;
	size_t n;
	int ret = weir_cbpf_translate((const void *)p->bf_insns, p->bf_len, &code, &n, &head, &err);

	CHECK(skel, "cannot open the object");
	if (ret == -ENOTSUP) {
		CHECK(strstr(text, "protochain"), "%s: %s", text, err.msg);
		strict_bpf__destroy(skel);
		return NULL;
	}
	CHECK(!ret, "%s: %s", text, err.msg);
	CHECK(!strstr(text, "protochain"), "%s: translated", text);
	skel->rodata->want = head;
	CHECK(!weir_load_strict(skel->obj, code, n, NULL, 0, &err), "%s: %s", text, err.msg);
	return skel;
}

static int ask(const struct bpf_program *prog, const uint8_t *frame, uint32_t len, uint32_t mark)
{
	struct __sk_buff skb = { .mark = mark };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .repeat = 1,
		    .ctx_in = mark ? &skb : NULL, .ctx_size_in = mark ? sizeof(skb) : 0);

	if (!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		return (int)opts.retval;
	CHECK(errno == EINVAL, "test run: %s", strerror(errno));
	return REFUSED;
}

static void compare(const char *text, const char *how, const struct classic_program *p, int got,
		    const uint8_t *frame, uint32_t len)
{
	const bool want = strict_oracle(p, frame, len, len);

	if (got == REFUSED) {
		refused++;
		return;
	}
	answers++;
	matched += want;
	if (got == want)
		return;
	fprintf(stderr, "frame of %u bytes:", len);
	for (uint32_t i = 0; i < len && i < 128; i++)
		fprintf(stderr, " %02x", frame[i]);
	test_end(1, "%s: at %s %d, libpcap %d", text, how, got, want);
}

/* The tag beside the frame: libpcap is asked about the frame with it. */
static void ask_tagged(const char *text, const struct classic_program *p,
		       const struct strict_bpf *skel, struct strict_rng *r, const uint8_t *frame,
		       uint32_t len)
{
	const uint32_t tag = (strict_draw(r, 4) ? 0x8100U : 0x88a8U) << 16 |
			     (strict_draw(r, 2) ? 5 : strict_draw(r, 65536));
	uint8_t whole[STRICT_FRAME_MAX + TAG_LEN];

	memcpy(whole, frame, TAG_AT);
	for (int i = 0; i < TAG_LEN; i++)
		whole[TAG_AT + i] = (uint8_t)(tag >> (24 - 8 * i));
	memcpy(whole + TAG_AT + TAG_LEN, frame + TAG_AT, len - TAG_AT);
	compare(text, "tc with a tag", p, ask(skel->progs.ask_tagged, frame, len, tag), whole,
		len + TAG_LEN);
}

static bool agrees(const char *text, struct strict_rng *r, unsigned int frames)
{
	struct classic_program p;
	struct strict_bpf *skel;
	uint8_t frame[STRICT_FRAME_MAX];

	CHECK(strict_compile(text, &p), "%s: libpcap does not know it", text);
	skel = load(&p, text);
	for (unsigned int i = 0; skel && i < frames; i++) {
		uint32_t n = strict_frame(r, frame, FRAME_MIN);

		compare(text, "XDP", &p, ask(skel->progs.ask_xdp, frame, n, 0), frame, n);
		compare(text, "tc", &p, ask(skel->progs.ask_tc, frame, n, 0), frame, n);
		ask_tagged(text, &p, skel, r, frame, n);
	}
	pcap_freecode(&p);
	strict_bpf__destroy(skel);
	return skel != NULL;
}

static void kernel_agrees(void)
{
	const char *wish = getenv("WEIR_STRICT_FRAMES");
	const unsigned int frames = wish ? (unsigned int)atoi(wish) : DEFAULT_FRAMES;
	struct strict_rng r = { .state = 0x9e3779b97f4a7c15 };
	unsigned int translated = 0;

	weir_load_setup();
	if (wish)
		alarm(0);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(strict_expressions); i++)
		translated += agrees(strict_expressions[i], &r, frames);
	printf("# %u expressions, %llu answers, %llu of them matches, %llu frames refused\n",
	       translated, (unsigned long long)answers, (unsigned long long)matched,
	       (unsigned long long)refused);
	CHECK(translated >= LEAST_EXPRESSIONS, "only %u expressions", translated);
	CHECK(refused < answers / 2, "the kernel takes few of the frames");
	CHECK(matched > answers / 50 && matched < answers / 2, "the frames say little");
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "strict.kernel_agrees", kernel_agrees },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
