/* SPDX-License-Identifier: GPL-2.0-only */
/* The check of the bypass: it passes what must hold of weir's own programs, and finds out
 * others that are known to be wrong. */
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "cap/bypass/check.h"
#include "dataplane/load.h"
#include "naive.skel.h"
#include "harness.h"

enum { NAIVE, OVERTAKES, DROPS };

struct naive {
	unsigned int kind;
	struct naive_bpf *skel;
	int link_fd;
};

static int naive_open(void *arg, int cgroup_fd, struct weir_error *err)
{
	struct naive *n = arg;
	int ret;

	n->skel = naive_bpf__open();
	if (!n->skel)
		return weir_fail(err, -errno, "open");
	n->skel->rodata->kind = n->kind;
	ret = weir_load(n->skel->obj, NULL, err);
	if (ret)
		return ret;
	ret = bpf_prog_attach(bpf_program__fd(n->skel->progs.weir_naive_msg),
			      bpf_map__fd(n->skel->maps.weir_naive_map), BPF_SK_MSG_VERDICT, 0);
	if (ret)
		return weir_fail(err, ret, "attach");
	n->link_fd = bpf_link_create(bpf_program__fd(n->skel->progs.weir_naive_ops), cgroup_fd,
				     BPF_CGROUP_SOCK_OPS, NULL);
	return n->link_fd < 0 ? weir_fail(err, n->link_fd, "link") : 0;
}

static void naive_close(void *arg)
{
	struct naive *n = arg;

	close(n->link_fd);
	naive_bpf__destroy(n->skel);
}

static enum weir_bypass_verdict ask(const struct weir_bypass_subject *s, const char *name,
				    char detail[160])
{
	struct weir_bypass_row rows[WEIR_BYPASS_ROWS_MAX];
	struct weir_error err = { "" };
	size_t n;

	weir_load_setup();
	CHECK_OK(weir_bypass_check(s, name, rows, &n, &err));
	CHECK_EQ(n, 1);
	memcpy(detail, rows[0].detail, sizeof(rows[0].detail));
	return rows[0].verdict;
}

static void expect_own(const char *name)
{
	const struct weir_bypass_subject own = weir_bypass_own_subject();
	char detail[160];

	CHECK(ask(&own, name, detail) == WEIR_BYPASS_OK, "%s: %s", name, detail);
}

static void expect_broken(unsigned int kind, const char *name)
{
	struct naive n = { .kind = kind };
	const struct weir_bypass_subject s = { &n, naive_open, naive_close, NULL };
	char detail[160];

	CHECK(ask(&s, name, detail) == WEIR_BYPASS_BROKEN, "%s: not found out", name);
	CHECK(*detail, "%s: nothing is told", name);
}

/* What must hold on every kernel on which a rule can be switched on. */
static void own(void)
{
	static const char *const rows[] = { "exact",	"ipv6",	   "namespaces", "first",
					    "close",	"killed",  "half-close", "stopped",
					    "small",	"writers", "epoll",	 "peek",
					    "sendfile", "shutdown" };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(rows); i++)
		expect_own(rows[i]);
}

static void unbounded(void)
{
	expect_broken(NAIVE, "stopped");
	expect_broken(NAIVE, "small");
}

/* The stream is put together wrongly. */
static void overtaking(void)
{
	expect_broken(OVERTAKES, "exact");
	expect_broken(OVERTAKES, "half-close");
}

static void dropping(void)
{
	expect_broken(DROPS, "exact");
	expect_broken(DROPS, "shutdown");
}

/* Nothing goes by a bypass that is for IPv4 only: a row must not pass by TCP. */
static int none(void *arg, uint64_t *ret_bypass, uint64_t *ret_all)
{
	(void)arg;
	*ret_bypass = *ret_all = 0;
	return 0;
}

static void unused(void)
{
	struct naive n = { .kind = NAIVE };
	const struct weir_bypass_subject s = { &n, naive_open, naive_close, none };
	char detail[160];

	CHECK(ask(&s, "ipv6", detail) == WEIR_BYPASS_UNSURE, "TCP was taken for the bypass");
	CHECK(strstr(detail, "nothing went by the bypass"), "told: %s", detail);
}

/* Of a miscount. */
static int half(void *arg, uint64_t *ret_bypass, uint64_t *ret_all)
{
	const struct naive *n = arg;
	uint32_t zero = 0;
	uint64_t messages;

	if (bpf_map_lookup_elem(bpf_map__fd(n->skel->maps.bss), &zero, &messages))
		return -errno;
	*ret_bypass = *ret_all = messages;
	return 0;
}

static void miscounting(void)
{
	struct naive n = { .kind = NAIVE };
	const struct weir_bypass_subject s = { &n, naive_open, naive_close, half };
	char detail[160];

	CHECK(ask(&s, "close", detail) == WEIR_BYPASS_BROKEN, "messages were taken for bytes: %s",
	      detail);
	CHECK(strstr(detail, "were counted"), "told: %s", detail);
}

static const struct test tests[] = {
	{ "own", own },		  { "unbounded", unbounded }, { "overtaking", overtaking },
	{ "dropping", dropping }, { "unused", unused },	      { "miscounting", miscounting },
};

int main(int argc, char **argv)
{
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
