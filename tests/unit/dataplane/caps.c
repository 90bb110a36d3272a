/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "in_child.h"

#include "base/cleanup.h"
#include "dataplane/caps.h"

#define NOBODY 65534

static uint64_t status_mask(const char *key)
{
	weir_autofclose FILE *f = fopen("/proc/self/status", "re");
	unsigned long long mask = ~0ULL;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), " %llx", &mask);
	return mask;
}

static void effective_is_what_the_kernel_says(void **state)
{
	(void)state;
	assert_true(weir_caps_effective() == status_mask("CapEff:"));
}

static bool drops_to_one(void)
{
	uint64_t keep = WEIR_CAP_NET_ADMIN;

	return weir_caps_drop(keep) == 0 && status_mask("CapEff:") == keep &&
	       status_mask("CapPrm:") == keep && status_mask("CapInh:") == 0 &&
	       status_mask("CapAmb:") == 0 && status_mask("CapBnd:") == keep &&
	       prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}

static bool drops_to_nothing(void)
{
	return weir_caps_drop(0) == 0 && weir_caps_effective() == 0 &&
	       status_mask("CapBnd:") == 0;
}

/* Twice, the second time without the right to touch the bounding set. */
static bool drops_twice(void)
{
	uint64_t first = WEIR_CAP_NET_ADMIN | WEIR_CAP_NET_RAW;

	return weir_caps_drop(first) == 0 && weir_caps_drop(WEIR_CAP_NET_RAW) == 0 &&
	       weir_caps_effective() == WEIR_CAP_NET_RAW;
}

static bool cannot_gain(void)
{
	return weir_caps_drop(0) == 0 && weir_caps_drop(WEIR_CAP_BPF) == 0 &&
	       weir_caps_effective() == 0;
}

static void drop(void **state)
{
	(void)state;
	if (!(weir_caps_effective() & WEIR_CAP_NET_ADMIN))
		skip();
	assert_true(in_child(drops_to_one));
	assert_true(in_child(drops_to_nothing));
	assert_true(in_child(drops_twice));
	assert_true(in_child(cannot_gain));
}

static bool user_is_told_the_setcap_line(void)
{
	struct weir_error e = { 0 };
	char path[256], want[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return false;
	if (geteuid() == 0 && setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return false;
	path[n] = '\0';
	if (weir_caps_drop(0) < 0)
		return false;
	snprintf(want, sizeof(want),
		 "needs CAP_BPF, CAP_NET_ADMIN to attach: run as root, or `setcap cap_bpf,cap_net_admin+ep %s`",
		 path);
	return weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN, "attach", &e) == -EPERM &&
	       strcmp(e.msg, want) == 0;
}

static bool bare_root_is_told_otherwise(void)
{
	struct weir_error e = { 0 };

	return weir_caps_drop(WEIR_CAP_NET_ADMIN) == 0 &&
	       weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN, "attach", &e) == -EPERM &&
	       strstr(e.msg, "needs CAP_BPF to attach: this root") && !strstr(e.msg, "setcap");
}

static bool sys_admin_stands_for_bpf(void)
{
	struct weir_error e = { 0 };

	return weir_caps_drop(WEIR_CAP_SYS_ADMIN) == 0 &&
	       weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_PERFMON, "trace", &e) == 0 &&
	       weir_caps_need(WEIR_CAP_NET_ADMIN, "attach", &e) == -EPERM;
}

static void need(void **state)
{
	(void)state;
	assert_int_equal(weir_caps_need(0, "do nothing", NULL), 0);
	assert_true(in_child(user_is_told_the_setcap_line));
	if (geteuid() != 0)
		skip();
	assert_true(in_child(bare_root_is_told_otherwise));
	assert_true(in_child(sys_admin_stands_for_bpf));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(effective_is_what_the_kernel_says),
		cmocka_unit_test(drop),
		cmocka_unit_test(need),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
