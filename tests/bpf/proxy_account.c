/* SPDX-License-Identifier: GPL-2.0-only */
/* The proxy's account: the program that adds up, its maps, and who may use them. */
#include "cap/proxy/account.h"

#include <grp.h>
#include <pthread.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "cap/proxy/control.h"
#include "dataplane/caps.h"

#include "harness.h"

#define NOBODY 65534
#define CACHE 1024
#define THREADS 4
#define ROUNDS 5000
#define SOURCES 97 /* of each thread the same: they meet in the map */

static struct weir_error err;
static struct weir_proxy_maps maps;

/* The directory of the lock: this test's own, in its own mount namespace. */
static void own_dir(void)
{
	CHECK_OK(weir_control_dir(&err));
	CHECK(!mount("none", "/run/weir", "tmpfs", 0, "mode=0755"), "mount: %s", strerror(errno));
}

static void open_account(void)
{
	own_dir();
	CHECK_OK(weir_account_open(&maps, CACHE, &err));
}

static struct weir_addr source(uint32_t n)
{
	struct weir_addr a = { .b = { [10] = 0xff, [11] = 0xff, 10 } };

	a.b[13] = (uint8_t)(n >> 16);
	a.b[14] = (uint8_t)(n >> 8);
	a.b[15] = (uint8_t)n;
	return a;
}

static struct weir_proxy_source look(uint32_t n)
{
	struct weir_addr a = source(n);
	struct weir_proxy_source s;

	CHECK(!bpf_map_lookup_elem(maps.sources_fd, &a, &s), "source %u: %s", n, strerror(errno));
	return s;
}

static void *add_many(void *arg)
{
	struct weir_account a = { .prog_fd = maps.account_fd };
	uint32_t which = (uint32_t)(uintptr_t)arg;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		struct weir_addr s = source((i + which * 31) % SOURCES);

		weir_account_add(&a, WEIR_TOTAL_ACCEPTED, 1);
		weir_account_add(&a, WEIR_TOTAL_BYTES_IN, i);
		weir_account_add(&a, WEIR_TOTAL_BYTES_OUT, (uint64_t)i << 32);
		weir_account_add(&a, WEIR_TOTAL_ENDED + i % WEIR_ENDS, 1);
		weir_account_add(&a, WEIR_TOTALS - 1, 3);
		weir_account_source(&a, &s, 1, i & 1, i, 2 * (uint64_t)i);
		if (i % 7 == 0)
			weir_account_flush(&a, weir_clock_mono());
	}
	weir_account_flush(&a, weir_clock_mono());
	return (void *)(uintptr_t)a.lost;
}

static void add_in_threads(void)
{
	pthread_t thread[THREADS];
	void *lost;

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, add_many, (void *)i), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &lost);
		CHECK_EQ((uintptr_t)lost, 0);
	}
}

static void check_totals(void)
{
	const uint64_t sum = (uint64_t)ROUNDS * (ROUNDS - 1) / 2;
	uint64_t totals[WEIR_TOTALS], ended = 0;

	CHECK_OK(weir_account_totals(maps.totals_fd, totals, &err));
	CHECK_EQ(totals[WEIR_TOTAL_ACCEPTED], THREADS * ROUNDS);
	CHECK_EQ(totals[WEIR_TOTAL_BYTES_IN], THREADS * sum);
	CHECK_EQ(totals[WEIR_TOTAL_BYTES_OUT], (THREADS * sum) << 32);
	CHECK_EQ(totals[WEIR_TOTALS - 1], THREADS * ROUNDS * 3);
	CHECK_EQ(totals[WEIR_TOTAL_RETRIES], 0);
	for (unsigned int i = 0; i < WEIR_ENDS; i++)
		ended += totals[WEIR_TOTAL_ENDED + i];
	CHECK_EQ(ended, THREADS * ROUNDS);
}

static void check_sources(void)
{
	struct weir_proxy_source sum = { 0 };

	for (uint32_t i = 0; i < SOURCES; i++) {
		struct weir_proxy_source s = look(i);

		sum.connections += s.connections;
		sum.refused += s.refused;
		sum.bytes_in += s.bytes_in;
		sum.bytes_out += s.bytes_out;
		CHECK(s.first && s.first <= s.last, "source %u: %llu to %llu", i, s.first, s.last);
	}
	CHECK_EQ(sum.connections, THREADS * ROUNDS);
	CHECK_EQ(sum.refused, THREADS * (ROUNDS / 2));
	CHECK_EQ(sum.bytes_in, THREADS * ((uint64_t)ROUNDS * (ROUNDS - 1) / 2));
	CHECK_EQ(sum.bytes_out, 2 * sum.bytes_in);
}

static void threads_add_exactly(void)
{
	open_account();
	add_in_threads();
	check_totals();
	check_sources();
	weir_account_close(&maps);
	weir_account_unpin();
}

/* Everything that the proxy does with its maps once it is nobody. */
static void nobody_may_use_descriptors(void)
{
	struct weir_proxy_name_key key = { "example.org" };
	struct weir_proxy_name name = { .n = 1, .expires = 7 }, back;
	struct weir_buf top = { 0 };

	open_account();
	weir_account_unpin(); /* nobody could not clean up afterwards */
	CHECK(!setgroups(0, NULL) && !setresgid(NOBODY, NOBODY, NOBODY) &&
		      !setresuid(NOBODY, NOBODY, NOBODY),
	      "setresuid: %s", strerror(errno));
	CHECK_EQ(weir_caps_effective(), 0);
	add_in_threads();
	check_totals();
	check_sources();
	CHECK(!bpf_map_update_elem(maps.names_fd, &key, &name, BPF_ANY), "names: %s",
	      strerror(errno));
	CHECK(!bpf_map_lookup_elem(maps.names_fd, &key, &back), "names: %s", strerror(errno));
	CHECK_EQ(back.expires, 7);
	CHECK(!bpf_map_get_next_key(maps.names_fd, NULL, &key), "names: %s", strerror(errno));
	CHECK(!bpf_map_delete_elem(maps.names_fd, &key), "names: %s", strerror(errno));
	CHECK_OK(weir_account_top(maps.sources_fd, 3, true, &top, &err));
	CHECK(strstr(top.data, "\"bytes_out\""), "top: %s", top.data);
	weir_buf_free(&top);
}

/* More sources than the map holds: the newest are there, the totals are exact. */
static void old_sources_make_room(void)
{
	struct weir_account a = { 0 };
	uint64_t totals[WEIR_TOTALS];
	const uint32_t n = 80000;
	struct weir_buf out = { 0 };
	size_t rows = 0;

	open_account();
	a.prog_fd = maps.account_fd;
	for (uint32_t i = 0; i < n; i++) {
		struct weir_addr s = source(i);

		weir_account_add(&a, WEIR_TOTAL_ACCEPTED, 1);
		weir_account_source(&a, &s, 1, 0, i, 0);
	}
	weir_account_flush(&a, 1);
	CHECK_EQ(a.lost, 0);
	CHECK_OK(weir_account_totals(maps.totals_fd, totals, &err));
	CHECK_EQ(totals[WEIR_TOTAL_ACCEPTED], n);
	CHECK_EQ(look(n - 1).bytes_in, n - 1);
	CHECK_OK(weir_account_top(maps.sources_fd, UINT32_MAX, false, &out, &err));
	for (const char *p = out.data; (p = strchr(p, '\n')); p++)
		rows++;
	CHECK(rows > 30000 && rows <= 65537, "%zu rows", rows);
	CHECK(strstr(out.data, "10.1.56.127"), "not the newest first");
	weir_buf_free(&out);
	weir_account_close(&maps);
	weir_account_unpin();
}

static void refused_flush_is_told_and_repeated(void)
{
	struct weir_account a = { .prog_fd = -1 };
	uint64_t totals[WEIR_TOTALS];

	open_account();
	weir_account_flush(&a, 1);
	CHECK_EQ(a.lost, 0); /* nothing waited */
	weir_account_add(&a, WEIR_TOTAL_ACCEPTED, 5);
	for (uint32_t i = 0; i < WEIR_PROXY_DELTAS; i++)
		weir_account_source(&a, &(struct weir_addr){ .b = { (uint8_t)i } }, 1, 0, 0, 0);
	CHECK_EQ(a.lost, 0);
	weir_account_source(&a, &(struct weir_addr){ .b = { 0xff } }, 1, 0, 0, 0);
	CHECK_EQ(a.lost, 2); /* the flush, and the source */
	a.prog_fd = maps.account_fd;
	weir_account_source(&a, &(struct weir_addr){ .b = { 0xff } }, 1, 0, 0, 0);
	weir_account_flush(&a, 1);
	CHECK_EQ(a.lost, 2);
	CHECK_OK(weir_account_totals(maps.totals_fd, totals, &err));
	CHECK_EQ(totals[WEIR_TOTAL_ACCEPTED], 5);
	weir_account_close(&maps);
	weir_account_unpin();
}

static void commands_find_the_maps(void)
{
	struct weir_proxy_maps found;
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	uint64_t totals[WEIR_TOTALS];

	CHECK_EQ(weir_account_find(&found, &err), -ENOENT);
	CHECK(strstr(err.msg, "no proxy runs"), "%s", err.msg);
	open_account();
	CHECK_OK(weir_account_find(&found, &err));
	CHECK_EQ(found.account_fd, -1);
	CHECK_EQ(found.lock_fd, -1);
	CHECK_OK(weir_account_totals(found.totals_fd, totals, &err));
	CHECK(!bpf_obj_get_info_by_fd(found.names_fd, &info, &len), "%s", strerror(errno));
	CHECK(info.max_entries >= CACHE, "%u names", info.max_entries);
	CHECK_EQ(info.key_size, sizeof(struct weir_proxy_name_key));
	weir_account_close(&found);
	weir_account_close(&maps);
	weir_account_unpin();
	CHECK_EQ(weir_account_find(&found, &err), -ENOENT);
}

/* A child that has the lock's descriptor, too, as a keeper does. */
static pid_t fork_holder(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0, "fork");
	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

/* The lock lasts as long as the proxy or its child; pins of the dead are replaced. */
static void one_proxy_per_namespace(void)
{
	struct weir_proxy_maps second;
	char lock[WEIR_CONTROL_PATH];
	pid_t pid;

	open_account();
	CHECK_EQ(weir_account_open(&second, CACHE, &err), -EBUSY);
	CHECK(strstr(err.msg, "runs in this network namespace already"), "%s", err.msg);
	pid = fork_holder();
	weir_account_close(&maps); /* as when it is killed: its pins stay */
	CHECK_EQ(weir_account_open(&second, CACHE, &err), -EBUSY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_OK(weir_account_open(&second, 2 * CACHE, &err));
	weir_account_unpin();
	weir_account_close(&second);
	CHECK_OK(weir_control_path(lock, sizeof(lock)));
	memcpy(strrchr(lock, '.'), ".lock", sizeof(".lock"));
	CHECK(access(lock, F_OK) && errno == ENOENT, "%s is left", lock);
}

/* What nobody holds any more is swept; while a child holds the lock, that waits. */
static void sweep_waits_for_the_keeper(void)
{
	struct weir_proxy_maps found;
	uint64_t began;
	pid_t pid;

	open_account();
	began = weir_clock_mono();
	pid = fork();
	CHECK(pid >= 0, "fork");
	if (!pid) {
		test_sleep_ms(300);
		_exit(0);
	}
	weir_account_close(&maps);
	CHECK_OK(weir_account_sweep(&err));
	CHECK(weir_clock_mono() - began > 200000000, "did not wait");
	waitpid(pid, NULL, 0);
	CHECK_EQ(weir_account_find(&found, &err), -ENOENT);
	CHECK_OK(weir_account_sweep(&err)); /* nothing is there */
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "threads_add_exactly", threads_add_exactly },
		{ "nobody_may_use_descriptors", nobody_may_use_descriptors },
		{ "old_sources_make_room", old_sources_make_room },
		{ "refused_flush_is_told_and_repeated", refused_flush_is_told_and_repeated },
		{ "commands_find_the_maps", commands_find_the_maps },
		{ "one_proxy_per_namespace", one_proxy_per_namespace },
		{ "sweep_waits_for_the_keeper", sweep_waits_for_the_keeper },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
