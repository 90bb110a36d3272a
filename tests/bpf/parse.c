/* SPDX-License-Identifier: GPL-2.0-only */
/* The parser in the kernel finds what it finds here, byte for byte. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>

#include "bpf/hash.bpf.h"
#include "bpf/parse.bpf.h"
#include "parse.skel.h"
#include "harness.h"

#include "../unit/bpf/frames.h"

#define SEED 0x5eed
#define GSO_SIZE 3
/* What the verifier may look at to load one of the programs, which hold the
 * parser twice: a budget, so that its growth is noticed. */
#define VERIFIED_MAX 80000

static struct parse_bpf *load(void)
{
	struct parse_bpf *skel = parse_bpf__open();
	int ret;

	CHECK(skel, "open: %s", strerror(errno));
	ret = parse_bpf__load(skel);
	if (ret == -EPERM)
		SKIP("may not load BPF programs");
	CHECK(!ret, "load: %s", strerror(-ret));
	return skel;
}

static void run(const struct bpf_program *prog, const uint8_t *data, size_t n)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = data, .data_size_in = n);

	CHECK(!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "test run: %s",
	      strerror(errno));
	CHECK_EQ(opts.retval, XDP_PASS);
}

static void compare(struct parse_bpf *skel, const struct bpf_program *prog, const struct frame *f,
		    size_t n, size_t number)
{
	uint8_t dummy[ETH_HLEN] = { 0 };
	struct weir_pkt want;

	memset(&skel->bss->found, 0xa5, sizeof(skel->bss->found));
	skel->bss->l2 = f->l2;
	skel->bss->vlan_meta = f->vlan_meta;
	skel->bss->wire_len = f->n;
	skel->bss->seed = SEED;
	skel->bss->gso_size = GSO_SIZE;
	if (prog == skel->progs.parse_copied) {
		memset(skel->bss->head, 0x5a, sizeof(skel->bss->head));
		memcpy(skel->bss->head, f->bytes,
		       n < sizeof(skel->bss->head) ? n : sizeof(skel->bss->head));
		skel->bss->head_len = n;
		run(prog, dummy, sizeof(dummy));
	} else {
		run(prog, f->bytes, n);
	}
	weir_parse(&want, f->bytes, f->bytes + n, f->l2, f->vlan_meta, f->n);
	for (size_t i = 0; i < sizeof(want); i++)
		CHECK(((uint8_t *)&want)[i] == ((uint8_t *)&skel->bss->found)[i],
		      "frame %zu cut at %zu in %s: byte %zu of the record is %#x, not %#x", number,
		      n, bpf_program__name(prog), i, ((uint8_t *)&skel->bss->found)[i],
		      ((uint8_t *)&want)[i]);
	CHECK_EQ(skel->bss->hash, weir_pkt_hash(&want, SEED));
	CHECK_EQ(skel->bss->wire_packets, weir_wire_packets(&want, GSO_SIZE));
}

/* Every combination whole, and cut at as many places as one more than the last:
 * all places have their turn, and all layers are cut everywhere. */
static void compare_all(struct parse_bpf *skel, const struct bpf_program *prog, size_t shortest)
{
	struct frame f;

	for (size_t i = 0; i < FRAMES; i++) {
		frames_make(&f, i);
		compare(skel, prog, &f, f.n, i);
		for (size_t n = shortest + i % 7; n < f.n; n += 7)
			compare(skel, prog, &f, n, i);
	}
}

static void packet(void)
{
	struct parse_bpf *skel = load();

	compare_all(skel, skel->progs.parse_packet, ETH_HLEN);
	parse_bpf__destroy(skel);
}

static void copied(void)
{
	struct parse_bpf *skel = load();

	compare_all(skel, skel->progs.parse_copied, 0);
	parse_bpf__destroy(skel);
}

static void verifier_budget(void)
{
	struct parse_bpf *skel = parse_bpf__open();
	struct bpf_program *prog;
	char log[4096];
	int ret;

	CHECK(skel, "open: %s", strerror(errno));
	bpf_object__for_each_program(prog, skel->obj) {
		bpf_program__set_autoload(prog, false);
	}
	bpf_program__set_autoload(skel->progs.parse_packet, true);
	bpf_program__set_log_level(skel->progs.parse_packet, 4);
	bpf_program__set_log_buf(skel->progs.parse_packet, log, sizeof(log));
	ret = parse_bpf__load(skel);
	if (ret == -EPERM)
		SKIP("may not load BPF programs");
	CHECK(!ret, "load: %s", strerror(-ret));
	CHECK(strstr(log, "processed "), "the verifier does not tell: %s", log);
	ret = atoi(strstr(log, "processed ") + strlen("processed "));
	CHECK(ret <= VERIFIED_MAX, "the verifier looked at %d instructions, more than %d", ret,
	      VERIFIED_MAX);
	parse_bpf__destroy(skel);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "packet", packet },
		{ "copied", copied },
		{ "verifier_budget", verifier_budget },
	};

	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
