/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests on the running kernel share. Every test runs in a process with
 * a network and a mount namespace of its own, and a bpffs of its own: whatever
 * it leaves goes with it.
 */
#pragma once

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

#define SKIPPED 77
#define TEST_SECONDS 120
#define PATIENCE_MS 20000

struct test {
	const char *name;
	void (*fn)(void);
};

static const char *test_name;

__attribute__((format(printf, 2, 3), noreturn))
static inline void test_end(int status, const char *fmt, ...)
{
	va_list ap;

	printf("%s %s: ", status == SKIPPED ? "skip" : "not ok", test_name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(status);
}

#define SKIP(...) test_end(SKIPPED, __VA_ARGS__)
#define CHECK(cond, ...)                         \
	do {                                     \
		if (!(cond))                     \
			test_end(1, __VA_ARGS__); \
	} while (0)
#define CHECK_EQ(a, b)                                                                      \
	do {                                                                                \
		long long a_ = (long long)(a), b_ = (long long)(b);                         \
		if (a_ != b_)                                                               \
			test_end(1, "line %d: %s is %lld, not %s (%lld)", __LINE__, #a, a_, #b, \
				 b_);                                                       \
	} while (0)
/* 0 or a negative errno with a message in err. */
#define CHECK_OK(call)                                                                         \
	do {                                                                                   \
		int ret_ = (call);                                                             \
		if (ret_ < 0)                                                                  \
			test_end(1, "line %d: %s: %s (%s)", __LINE__, #call, strerror(-ret_), \
				 err.msg);                                                     \
	} while (0)

static inline void test_sleep_ms(unsigned int ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&t, NULL);
}

/* Wait for something that the kernel, or another process, does in its own time. */
#define EVENTUALLY(cond)                                                 \
	({                                                               \
		bool done_ = (cond);                                     \
		for (int i_ = 0; !done_ && i_ < PATIENCE_MS; i_ += 10) { \
			test_sleep_ms(10);                               \
			done_ = (cond);                                  \
		}                                                        \
		done_;                                                   \
	})

__attribute__((format(printf, 1, 2)))
static inline void test_run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	CHECK(system(command) == 0, "`%s` failed", command);
}

/* A pair of veth ends, up, whose names carry the process id. */
struct veth {
	char a[IF_NAMESIZE], b[IF_NAMESIZE];
};

static inline struct veth test_veth(void)
{
	static unsigned int n;
	struct veth v;
	unsigned int pid = (unsigned int)getpid() % 10000000;

	snprintf(v.a, sizeof(v.a), "wa%u_%u", pid, n);
	snprintf(v.b, sizeof(v.b), "wb%u_%u", pid, n++);
	test_run("ip link add %s type veth peer name %s && ip link set %s up && ip link set %s up",
		 v.a, v.b, v.a, v.b);
	return v;
}

static inline void test_isolate(void)
{
	if (geteuid() != 0)
		SKIP("needs root");
	if (unshare(CLONE_NEWNET | CLONE_NEWNS))
		SKIP("cannot make namespaces: %s", strerror(errno));
	CHECK(!mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount: %s", strerror(errno));
	if (mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700"))
		SKIP("cannot mount bpffs: %s", strerror(errno));
	test_run("ip link set lo up");
}

static inline int test_one(const struct test *t)
{
	pid_t pid;
	int status;

	test_name = t->name;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		alarm(TEST_SECONDS);
		test_isolate();
		t->fn();
		printf("ok %s\n", t->name);
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("not ok %s: killed by signal %d\n", t->name, WTERMSIG(status));
	return 1;
}

/* Run the tests, or those named on the command line. 77 when all were skipped. */
static inline int test_main(const struct test *tests, size_t n, int argc, char **argv)
{
	unsigned int failed = 0, skipped = 0, run = 0;

	for (size_t i = 0; i < n; i++) {
		bool wanted = argc < 2;
		int status;

		for (int k = 1; k < argc; k++)
			wanted |= !strcmp(argv[k], tests[i].name);
		if (!wanted)
			continue;
		status = test_one(&tests[i]);
		run++;
		skipped += status == SKIPPED;
		failed += status != 0 && status != SKIPPED;
	}
	if (failed || !run)
		return 1;
	return skipped == run ? SKIPPED : 0;
}
