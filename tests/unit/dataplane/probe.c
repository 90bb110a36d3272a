/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "in_child.h"

#include "base/cleanup.h"
#include "dataplane/caps.h"
#include "dataplane/probe.h"
#include "dataplane/progs.h"

#define TRACING_CAPS (WEIR_CAP_BPF | WEIR_CAP_PERFMON)

static bool may_bpf(void)
{
	uint64_t need = WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_SYS_ADMIN;

	return (weir_caps_effective() & need) == need;
}

static void every_row_is_filled(void **state)
{
	(void)state;
	for (int f = 0; f < WEIR_FEATURE_MAX; f++) {
		const struct weir_probe *p = weir_probe((enum weir_feature)f);

		assert_non_null(p->name);
		assert_non_null(p->requires);
		assert_true(p->detail[0]);
		assert_true(p->ok == (p->error == 0));
		assert_true(p->error <= 0);
		/* What nothing uses cannot be what weir needs. */
		assert_true(p->optional || p->needed_by);
		/* Cached: the same answer, from the same place. */
		assert_ptr_equal(p, weir_probe((enum weir_feature)f));
	}
}

/* What the lowest supported kernel has, the development kernel too. */
static void root_has_the_floor(void **state)
{
	static const enum weir_feature floor[] = {
		WEIR_FEATURE_BPF, WEIR_FEATURE_BTF,	 WEIR_FEATURE_RINGBUF,
		WEIR_FEATURE_XDP, WEIR_FEATURE_XDP_LINK, WEIR_FEATURE_SOCKET_FILTER,
		WEIR_FEATURE_BPFFS, WEIR_FEATURE_BY_ID,
	};

	(void)state;
	if (geteuid() != 0 || !may_bpf())
		skip();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(floor); i++)
		if (!weir_has(floor[i]))
			fail_msg("%s: %s", weir_probe(floor[i])->name,
				 weir_probe(floor[i])->detail);
}

static bool nothing_without_capabilities(void)
{
	static const enum weir_feature refused[] = {
		WEIR_FEATURE_RINGBUF, WEIR_FEATURE_XDP,	     WEIR_FEATURE_XDP_LINK,
		WEIR_FEATURE_TCX,     WEIR_FEATURE_BY_ID,    WEIR_FEATURE_SOCKET_FILTER,
		WEIR_FEATURE_SOCKMAP, WEIR_FEATURE_SK_LOOKUP,
	};

	if (weir_caps_drop(0) < 0)
		return false;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(refused); i++)
		if (weir_has(refused[i]))
			return false;
	return weir_probe(WEIR_FEATURE_TCX)->error == -EPERM &&
	       weir_probe(WEIR_FEATURE_SOCKET_FILTER)->error == -EPERM;
}

static bool tracing_alone_gives_no_xdp(void)
{
	return weir_caps_drop(TRACING_CAPS) == 0 && weir_has(WEIR_FEATURE_RINGBUF) &&
	       weir_has(WEIR_FEATURE_TP_BTF) && !weir_has(WEIR_FEATURE_XDP) &&
	       !weir_has(WEIR_FEATURE_BY_ID);
}

static void capabilities_decide(void **state)
{
	(void)state;
	assert_true(in_child(nothing_without_capabilities));
	if (!may_bpf())
		skip();
	assert_true(in_child(tracing_alone_gives_no_xdp));
}

static size_t count_progs(const char *name)
{
	weir_autofree struct weir_prog *v = NULL;
	struct weir_error e;
	size_t n = 0, found = 0;

	assert_int_equal(weir_progs_list(&v, &n, &e), 0);
	for (size_t i = 0; i < n; i++)
		found += strcmp(v[i].name, name) == 0 && v[i].n_owners &&
			 v[i].owners[0].pid == (uint32_t)getpid();
	return found;
}

static bool try_all(void)
{
	for (int f = 0; f < WEIR_FEATURE_MAX; f++)
		weir_probe((enum weir_feature)f);
	return count_progs("weir_probe") == 0;
}

static void leaves_nothing(void **state)
{
	(void)state;
	if (!may_bpf())
		skip();
	assert_true(in_child(try_all));
}

static void programs_are_found_with_their_owner(void **state)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	weir_autoclose int fd = -1;

	(void)state;
	if (!may_bpf())
		skip();
	fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "weir_unit_test", "GPL", insns,
			   WEIR_ARRAY_SIZE(insns), NULL);
	assert_true(fd >= 0);
	assert_int_equal(count_progs("weir_unit_test"), 1);
	close(WEIR_TAKE_FD(fd));
	assert_int_equal(count_progs("weir_unit_test"), 0);
}

static bool list_is_refused(void)
{
	struct weir_prog *v = NULL;
	struct weir_error e;
	size_t n = 0;

	return weir_caps_drop(WEIR_CAP_BPF) == 0 && weir_progs_list(&v, &n, &e) == -EPERM &&
	       strstr(e.msg, "CAP_SYS_ADMIN") && !v;
}

static void listing_programs_needs_sys_admin(void **state)
{
	(void)state;
	assert_true(in_child(list_is_refused));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* Before anything is cached in this process: children inherit it. */
		cmocka_unit_test(capabilities_decide),
		cmocka_unit_test(leaves_nothing),
		cmocka_unit_test(every_row_is_filled),
		cmocka_unit_test(root_has_the_floor),
		cmocka_unit_test(programs_are_found_with_their_owner),
		cmocka_unit_test(listing_programs_needs_sys_admin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
