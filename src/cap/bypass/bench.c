/* SPDX-License-Identifier: GPL-2.0-only */
/* bench: TCP over loopback, the bypass and AF_UNIX, in turns, so that what else the host
 * does meets all three. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "cap/bypass/bypass_cmd.h"
#include "cap/bypass/check.h"
#include "cap/bypass/place.h"
#include "cap/bypass/trial.h"

#define ROUNDS 6
#define TRIPS 4000 /* a round */
#define WARM_UP 200
#define ROUND_SECONDS 60       /* of one round that hangs */
#define STREAM_NS 150000000ULL /* a round */
#define MESSAGE 64
#define LARGE 65536

enum road { TCP, BYPASS, UNIX, ROADS };
enum stream { SMALL_WRITES, LARGE_WRITES, STREAMS };

static const char *const road_names[ROADS] = { "tcp", "bypass", "unix" };
static const size_t write_sizes[STREAMS] = { 1024, LARGE };

/* Shared with the processes that measure. */
struct results {
	uint32_t trips[ROADS][ROUNDS * TRIPS]; /* ns */
	double bytes_s[ROADS][STREAMS][ROUNDS];
	uint64_t stream_bypass[STREAMS], stream_all[STREAMS]; /* of BYPASS */
	char failed[64];
};

static int make_pair(enum road road, struct weir_pair *p)
{
	struct weir_trial t = { .family = AF_INET };
	int one = 1, fd[2];

	if (road == UNIX) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
			return -1;
		*p = (struct weir_pair){ fd[0], fd[1] };
		return 0;
	}
	if (weir_trial_pair(&t, p))
		return -1;
	setsockopt(p->a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(p->b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

/* A read that waits may return for nothing (row "blocking" of the check). */
static ssize_t read_some(int fd, char *buf, size_t n)
{
	ssize_t r;

	do
		r = read(fd, buf, n);
	while (r < 0 && errno == EAGAIN);
	return r;
}

static int read_all(int fd, char *buf, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = read_some(fd, buf + got, n - got);

		if (r <= 0)
			return -1;
		got += (size_t)r;
	}
	return 0;
}

static void echo(int fd)
{
	char buf[MESSAGE];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!read_all(fd, buf, sizeof(buf)) && write(fd, buf, sizeof(buf)) == sizeof(buf))
		;
	_exit(0);
}

static int measure_trips(int fd, uint32_t *trips)
{
	char buf[MESSAGE] = { 0 };

	for (int i = -WARM_UP; i < TRIPS; i++) {
		uint64_t began = weir_clock_mono(), took;

		if (write(fd, buf, sizeof(buf)) != sizeof(buf) || read_all(fd, buf, sizeof(buf)))
			return -1;
		took = weir_clock_mono() - began;
		if (i >= 0)
			trips[i] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
	}
	return 0;
}

/* Read to the end and say when all of it was there: what a writer got rid of may still
 * lie in a queue. */
static void sink(int fd, int tell)
{
	weir_autofree char *buf = malloc(LARGE);
	uint64_t total = 0;
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (buf && (n = read_some(fd, buf, LARGE)) > 0)
		total += (uint64_t)n;
	_exit(write(tell, &total, sizeof(total)) != sizeof(total));
}

static int write_for(int fd, size_t size, uint64_t *ret_bytes)
{
	weir_autofree char *buf = calloc(1, size);
	uint64_t end = weir_clock_mono() + STREAM_NS;

	*ret_bytes = 0;
	while (buf && weir_clock_mono() < end) {
		ssize_t n = write(fd, buf, size);

		if (n <= 0)
			return -1;
		*ret_bytes += (uint64_t)n;
	}
	return buf ? 0 : -1;
}

static int run_trips(enum road road, uint32_t *trips)
{
	struct weir_pair p;
	pid_t pid;
	int ret;

	if (make_pair(road, &p))
		return -1;
	pid = fork();
	if (!pid) {
		close(p.a);
		echo(p.b);
	}
	close(p.b);
	ret = pid < 0 ? -1 : measure_trips(p.a, trips);
	close(p.a);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return ret;
}

static int run_stream(enum road road, size_t size, double *ret)
{
	uint64_t began, sent, got = 0;
	struct weir_pair p;
	int tell[2], r;
	pid_t pid;

	if (make_pair(road, &p) || pipe(tell))
		return -1;
	pid = fork();
	if (!pid) {
		close(p.a);
		sink(p.b, tell[1]);
	}
	close(p.b);
	close(tell[1]);
	began = weir_clock_mono();
	r = pid < 0 ? -1 : write_for(p.a, size, &sent);
	close(p.a);
	if (!r && (read(tell[0], &got, sizeof(got)) != sizeof(got) || got != sent))
		r = -1;
	*ret = (double)got * 1e9 / (double)(weir_clock_mono() - began);
	close(tell[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return r;
}

/* One round of one road in a process of its own, which is in the cgroup or not. */
static int run_round(const struct weir_bypass_place *place, enum road road, int round,
		     enum stream stream, struct results *res)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(ROUND_SECONDS);
		if ((road == BYPASS && weir_bypass_place_enter(place)) || weir_bypass_isolate())
			_exit(1);
		if (stream == STREAMS)
			_exit(run_trips(road, &res->trips[road][round * TRIPS]) != 0);
		_exit(run_stream(road, write_sizes[stream], &res->bytes_s[road][stream][round]) !=
		      0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -EAGAIN;
	if (!status)
		return 0;
	snprintf(res->failed, sizeof(res->failed), "%s, %s: %s", road_names[road],
		 stream == STREAMS ? "round trips" : "stream",
		 WIFSIGNALED(status) ? "it hangs" : "an error");
	return -EIO;
}

static int run_rounds(const struct weir_bypass_subject *s, const struct weir_bypass_place *place,
		      struct results *res)
{
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i <= STREAMS; i++) {
			for (int road = 0; road < ROADS; road++) {
				uint64_t before[2] = { 0 }, after[2] = { 0 };
				int ret;

				s->count(s->arg, &before[0], &before[1]);
				ret = run_round(place, (enum road)road, round, (enum stream)i, res);
				if (ret)
					return ret;
				s->count(s->arg, &after[0], &after[1]);
				if (i == STREAMS)
					continue;
				res->stream_bypass[i] += after[0] - before[0];
				res->stream_all[i] += after[1] - before[1];
			}
		}
	}
	return 0;
}

/* ---- Figures */

static int by_time(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int by_rate(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static const struct {
	const char *head, *key;
	double at;
} percentiles[] = { { "P50", "p50_ns", 0.5 },
		    { "P99", "p99_ns", 0.99 },
		    { "P99.9", "p999_ns", 0.999 } };

static uint32_t percentile(const struct results *res, int road, size_t i)
{
	return res->trips[road][(size_t)(percentiles[i].at * (ROUNDS * TRIPS - 1))];
}

static double share(const struct results *res, int stream)
{
	return res->stream_all[stream] ? 100.0 * (double)res->stream_bypass[stream] /
						 (double)res->stream_all[stream] :
					 0;
}

static void render_text(const struct results *res, struct weir_buf *out)
{
	static const char *const head[] = { "ROAD",  "64 B: P50",   "P99",
					    "P99.9", "1 KB WRITES", "64 KB WRITES" };
	weir_autotable struct weir_table t;

	weir_table_init(&t, WEIR_ARRAY_SIZE(head), head);
	for (int road = 0; road < ROADS; road++) {
		weir_table_add(&t, road_names[road]);
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(percentiles); i++)
			weir_table_addf(&t, "%.1f us", percentile(res, road, i) / 1e3);
		for (int i = 0; i < STREAMS; i++)
			weir_table_addf(&t, "%.2f Gbit/s",
					res->bytes_s[road][i][ROUNDS / 2] * 8 / 1e9);
	}
	weir_table_render(&t, 0, out);
	weir_buf_addf(
		out,
		"\nRound trips of 64 bytes, %d of each in %d turns; streams: the median of %d "
		"turns.\n"
		"Of the bypass's streams %.2f %% (1 KB) and %.2f %% (64 KB) went by the bypass, "
		"the rest by\nTCP: a writer that is faster than its reader is handed to TCP, "
		"which can hold it back.\n",
		ROUNDS * TRIPS, ROUNDS, ROUNDS, share(res, SMALL_WRITES), share(res, LARGE_WRITES));
}

static void render_json(const struct results *res, struct weir_buf *out)
{
	static const char *const keys[STREAMS] = { "bytes_per_s_1k", "bytes_per_s_64k" };
	static const char *const shares[STREAMS] = { "bypassed_percent_1k",
						     "bypassed_percent_64k" };
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_uint(&j, "round_trips", ROUNDS * TRIPS);
	weir_json_array(&j, "roads");
	for (int road = 0; road < ROADS; road++) {
		weir_json_object(&j, NULL);
		weir_json_str(&j, "name", road_names[road]);
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(percentiles); i++)
			weir_json_uint(&j, percentiles[i].key, percentile(res, road, i));
		for (int i = 0; i < STREAMS; i++)
			weir_json_double(&j, keys[i], res->bytes_s[road][i][ROUNDS / 2]);
		for (int i = 0; i < STREAMS && road == BYPASS; i++)
			weir_json_double(&j, shares[i], share(res, i));
		weir_json_end_object(&j);
	}
	weir_json_end_array(&j);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static int measure(struct results *res, struct weir_error *err)
{
	const struct weir_bypass_subject s = weir_bypass_own_subject();
	struct weir_bypass_place place;
	int ret = weir_bypass_place_make(&place, err);

	if (ret)
		return ret;
	ret = s.open(s.arg, place.fd, err);
	if (!ret) {
		ret = run_rounds(&s, &place, res);
		if (ret)
			weir_fail(err, ret, "a measurement failed (%s): see `weir bypass check`",
				  res->failed);
		s.close(s.arg);
	}
	weir_bypass_place_remove(&place);
	return ret;
}

int weir_bypass_do_bench(struct weir_bypass_cmd *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf out = { 0 };
	struct results *res =
		mmap(NULL, sizeof(*res), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ret;

	if (res == MAP_FAILED)
		return weir_fail(err, -ENOMEM, "out of memory");
	ret = measure(res, err);
	if (!ret) {
		for (int road = 0; road < ROADS; road++) {
			qsort(res->trips[road], ROUNDS * TRIPS, sizeof(uint32_t), by_time);
			for (int i = 0; i < STREAMS; i++)
				qsort(res->bytes_s[road][i], ROUNDS, sizeof(double), by_rate);
		}
		if (c->json)
			render_json(res, &out);
		else
			render_text(res, &out);
	}
	munmap(res, sizeof(*res));
	return ret ? ret : weir_verb_print("bypass", &out, WEIR_EXIT_DONE);
}
