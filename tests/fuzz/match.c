/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The match language against any text. What parses must print as a text that
 * parses and prints the same, must compile or be too large, and the compiled
 * program must keep the verifier's rules and answer as the evaluator does.
 *
 * The first byte says whose text the rest is: the expression's or a flag's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/match/vm.h"
#include "base/cleanup.h"
#include "match/match.h"

#define PACKETS 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const size_t texts[] = {
	offsetof(struct weir_match_spec, expression), offsetof(struct weir_match_spec, protocol),
	offsetof(struct weir_match_spec, src_ip),     offsetof(struct weir_match_spec, dst_ip),
	offsetof(struct weir_match_spec, src_port),   offsetof(struct weir_match_spec, dst_port),
};

static void need(bool ok)
{
	if (!ok)
		abort();
}

static struct weir_match *parse(size_t text_offset, const char *text, struct weir_error *err)
{
	struct weir_match_spec spec = { .named_sets = true };
	struct weir_match *m = NULL;
	int r;

	*(const char **)((char *)&spec + text_offset) = text;
	r = weir_match_parse(&spec, &m, err);
	need(r == 0 ? m != NULL : !m && (r == -EINVAL || r == -E2BIG) && *err->msg);
	need(!strchr(err->msg, '\n'));
	return m;
}

static void print(const struct weir_match *m, struct weir_buf *out)
{
	weir_buf_adds(out, "");
	weir_match_print(m, out);
	need(!out->failed);
}

/* Packets that hit: with the addresses of the sets' kind, few bits set. */
static void make_packet(struct weir_pkt *p, uint64_t *state)
{
	for (size_t i = 0; i < sizeof(*p); i++) {
		*state = *state * 6364136223846793005 + 1442695040888963407;
		((uint8_t *)p)[i] = (uint8_t)(*state >> 56);
	}
	if (*state & 1 << 20)
		memcpy(p->src, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01", sizeof(p->src));
	if (*state & 1 << 21)
		memcpy(p->dst + 8, "\0\0\xff\xff", 4);
	if (*state & 1 << 22)
		p->proto = 6;
	if (*state & 1 << 23)
		p->sport = p->dport = 80;
}

static void compare(const struct weir_match *m, uint64_t seed)
{
	weir_autofree int *fds = vm_set_fds(m);
	weir_autofree struct bpf_insn *v = NULL;
	struct weir_error err = { 0 };
	struct weir_buf listing = { 0 };
	size_t n = 0;
	int r = weir_match_codegen(m, fds, &v, &n, &err);

	if (weir_match_names(m)) {
		need(r == -EINVAL && *err.msg);
		r = vm_gen(m, WEIR_MATCH_INSNS_MAX, &v, &n, &err);
	}
	need(r == 0 || (r == -E2BIG && *err.msg));
	need(r || !vm_check(v, n));
	if (!r)
		weir_match_disasm(v, n, &listing);
	weir_buf_free(&listing);
	for (unsigned int i = 0; i < PACKETS; i++) {
		struct weir_pkt p;
		struct vm vm;
		bool want;

		make_packet(&p, &seed);
		want = weir_match_eval_sets(m, &p, vm_in, NULL);
		if (r)
			continue;
		need(vm_run(&vm, m, v, n, &p) == want);
		need(!vm.wrong);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct weir_error err = { 0 };
	struct weir_buf first = { 0 }, second = { 0 };
	struct weir_match *m, *again;
	char *text;

	if (!size)
		return 0;
	text = strndup((const char *)data + 1, size - 1);
	need(text != NULL);
	m = parse(texts[data[0] % WEIR_ARRAY_SIZE(texts)], text, &err);
	free(text);
	if (!m)
		return 0;
	print(m, &first);
	again = parse(offsetof(struct weir_match_spec, expression), first.data, &err);
	/* The canonical text may be longer than what may be typed. */
	need(again || strlen(first.data) > WEIR_MATCH_TEXT_MAX);
	if (again) {
		print(again, &second);
		need(!strcmp(first.data, second.data));
		need(weir_match_fields(m) == weir_match_fields(again));
		need(weir_match_sets(m) == weir_match_sets(again));
		need(weir_match_names(m) == weir_match_names(again));
	}
	compare(m, size + data[size / 2]);
	weir_match_free(again);
	weir_match_free(m);
	weir_buf_free(&first);
	weir_buf_free(&second);
	return 0;
}
