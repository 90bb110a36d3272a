/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "cap/proxy/log.h"

#define THREADS 4
#define LINES 20000
#define REOPENS 40

static char dir[] = "/tmp/weir-log-XXXXXX";

static int open_file(const char *name, char path[128])
{
	int fd;

	snprintf(path, 128, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	return fd;
}

static struct weir_buf read_file(const char *path)
{
	struct weir_buf b = { 0 };
	FILE *f = fopen(path, "re");
	char chunk[65536];
	size_t n;

	assert_non_null(f);
	while ((n = fread(chunk, 1, sizeof(chunk), f)))
		weir_buf_add(&b, chunk, n);
	fclose(f);
	return b;
}

static struct weir_conn_facts facts(uint64_t id)
{
	return (struct weir_conn_facts){ .id = id,
					 .name = "example.com",
					 .began = weir_clock_mono(),
					 .ended_at = weir_clock_mono() };
}

static void add(struct weir_access_log *l, uint64_t id, struct weir_buf *pending)
{
	struct weir_conn_facts f = facts(id);

	weir_access_log_add(l, &f, pending);
}

static void json_lines(void **state)
{
	struct weir_access_log *l = weir_access_log_new();
	struct weir_buf pending = { 0 }, text;
	char path[128];
	json_t *j;

	(void)state;
	assert_int_equal(weir_access_log_set(l, open_file("json", path), NULL), 0);
	add(l, 1, &pending);
	add(l, 2, &pending);
	assert_int_equal(weir_access_log_flush(l, &pending), 0);
	assert_int_equal(pending.len, 0);
	text = read_file(path);
	for (const char *s = text.data, *end; *s; s = end + 1) {
		end = strchr(s, '\n');
		assert_non_null(end);
		j = json_loadb(s, (size_t)(end - s), JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(j);
		assert_int_equal(json_integer_value(json_object_get(j, "v")), 1);
		assert_non_null(json_object_get(j, "ts"));
		json_decref(j);
	}
	weir_buf_free(&text);
	weir_buf_free(&pending);
	weir_access_log_free(l);
}

static void template_lines_and_none(void **state)
{
	struct weir_access_log *l = weir_access_log_new();
	struct weir_buf pending = { 0 }, text;
	char path[128];

	(void)state;
	add(l, 1, &pending); /* no log yet */
	assert_int_equal(pending.len, 0);
	assert_int_equal(weir_access_log_flush(l, &pending), 0);
	assert_int_equal(weir_access_log_set(l, open_file("words", path), "%{id} %{sni}"), 0);
	add(l, 5, &pending);
	assert_int_equal(weir_access_log_flush(l, &pending), 0);
	add(l, 6, &pending);
	assert_int_equal(weir_access_log_set(l, -1, NULL), 0);
	assert_int_equal(weir_access_log_flush(l, &pending), 1); /* it had a place no more */
	text = read_file(path);
	assert_string_equal(text.data, "5 example.com\n");
	weir_buf_free(&text);
	weir_buf_free(&pending);
	weir_access_log_free(l);
}

/* ---- Reopening under load */

static struct weir_access_log *shared;
static atomic_int running;
static atomic_uint_fast64_t shared_lost;

static void *write_many(void *arg)
{
	uint64_t first = (uint64_t)(uintptr_t)arg * LINES;
	struct weir_buf pending = { 0 };

	for (uint64_t i = 0; i < LINES; i++) {
		add(shared, first + i, &pending);
		if (i % 5 == 0)
			shared_lost += weir_access_log_flush(shared, &pending);
	}
	shared_lost += weir_access_log_flush(shared, &pending);
	weir_buf_free(&pending);
	running--;
	return NULL;
}

/* The id of the line at *s, which is whole; *s goes behind it. */
static uint64_t take_line(const char **s)
{
	static const char head[] = "id=", tail[] = " example.com.\n";
	uint64_t id;
	char *end;

	assert_memory_equal(*s, head, sizeof(head) - 1);
	id = strtoull(*s + sizeof(head) - 1, &end, 10);
	assert_memory_equal(end, tail, sizeof(tail) - 1);
	*s = end + sizeof(tail) - 1;
	return id;
}

static void count_ids(const char *path, uint8_t *seen)
{
	struct weir_buf text = read_file(path);
	uint64_t id;

	for (const char *s = text.data; s && *s;) {
		id = take_line(&s);
		assert_true(id < (uint64_t)THREADS * LINES);
		seen[id]++;
	}
	weir_buf_free(&text);
}

static void no_line_lost_by_reopening(void **state)
{
	uint8_t *seen = calloc(THREADS, LINES);
	char path[REOPENS][128], name[16];
	pthread_t thread[THREADS];
	int files = 0;

	(void)state;
	shared = weir_access_log_new();
	running = THREADS;
	assert_int_equal(
		weir_access_log_set(shared, open_file("r0", path[files++]), "id=%{id} %{sni}."), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, write_many, (void *)i), 0);
	while (running && files < REOPENS) {
		snprintf(name, sizeof(name), "r%d", files);
		assert_int_equal(weir_access_log_set(shared, open_file(name, path[files++]),
						     "id=%{id} %{sni}."),
				 0);
		usleep(1000);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	weir_access_log_free(shared);
	assert_int_equal(shared_lost, 0);
	assert_true(files > 2);
	for (int i = 0; i < files; i++)
		count_ids(path[i], seen);
	for (size_t i = 0; i < (size_t)THREADS * LINES; i++)
		assert_int_equal(seen[i], 1);
	free(seen);
}

/* ---- A slow reader, no space */

static uint64_t read_lines(int fd, struct weir_buf *all)
{
	char chunk[65536];
	uint64_t lines = 0;
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		weir_buf_add(all, chunk, (size_t)n);
		for (ssize_t i = 0; i < n; i++)
			lines += chunk[i] == '\n';
	}
	return lines;
}

/* Nobody reads: what goes into the pipe and what is kept is bounded, the rest is
 * counted. Then somebody does: what was kept comes, whole lines in order. */
static void slow_reader(int reader, int writer)
{
	struct weir_access_log *l = weir_access_log_new();
	struct weir_buf pending = { 0 }, all = { 0 };
	uint64_t lost = 0, lines = 0, id = 0, more, at, last = 0;

	assert_int_equal(weir_access_log_set(l, writer, "id=%{id} %{sni}."), 0);
	while (lost < 1000 && id < 1000000) {
		for (int i = 0; i < 500; i++)
			add(l, ++id, &pending);
		lost += weir_access_log_flush(l, &pending);
	}
	assert_in_range(lost, 1000, 2000);
	do {
		more = read_lines(reader, &all);
		lines += more;
		lost += weir_access_log_flush(l, &pending);
	} while (more);
	add(l, ++id, &pending);
	lost += weir_access_log_flush(l, &pending);
	lines += read_lines(reader, &all);
	assert_int_equal(lines + lost, id);
	for (const char *s = all.data; *s; last = at) {
		at = take_line(&s);
		assert_true(at > last);
	}
	assert_int_equal(last, id);
	weir_buf_free(&all);
	weir_buf_free(&pending);
	weir_access_log_free(l);
	close(reader);
}

static void slow_pipe(void **state)
{
	int fd[2];

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	slow_reader(fd[0], fd[1]);
}

static void slow_socket(void **state)
{
	int fd[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	slow_reader(fd[0], fd[1]);
}

/* A file that takes no more, in the middle of a line; then it does again. */
static void full_disk(void **state)
{
	struct weir_access_log *l = weir_access_log_new();
	struct weir_buf pending = { 0 }, text;
	struct rlimit old, small;
	char path[128];
	uint64_t lost = 0;

	(void)state;
	assert_int_equal(weir_access_log_set(l, open_file("full", path), "id=%{id} %{sni}."), 0);
	getrlimit(RLIMIT_FSIZE, &old);
	small = (struct rlimit){ 1000, old.rlim_max };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (uint64_t i = 0; i < 100; i++) {
		add(l, i, &pending);
		lost += weir_access_log_flush(l, &pending);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	lost += weir_access_log_flush(l, &pending);
	assert_int_equal(lost, 0);
	text = read_file(path);
	for (unsigned int i = 0, at = 0; i < 100; i++) {
		char want[64];
		size_t n = (size_t)snprintf(want, sizeof(want), "id=%u example.com.\n", i);

		assert_memory_equal(text.data + at, want, n);
		at += (unsigned int)n;
	}
	weir_buf_free(&text);
	weir_buf_free(&pending);
	weir_access_log_free(l);
}

static void reader_gone(void **state)
{
	struct weir_access_log *l = weir_access_log_new();
	struct weir_buf pending = { 0 };
	uint64_t lost = 0, id = 0;
	int fd[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	close(fd[0]);
	assert_int_equal(weir_access_log_set(l, fd[1], NULL), 0);
	while (!lost && id < 100000) {
		add(l, ++id, &pending);
		lost += weir_access_log_flush(l, &pending);
	}
	assert_true(lost);
	/* What was kept for it is lost with it, and told by the next flush. */
	assert_int_equal(weir_access_log_set(l, -1, NULL), 0);
	lost += weir_access_log_flush(l, &pending);
	assert_int_equal(lost, id);
	weir_buf_free(&pending);
	weir_access_log_free(l);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_lines),
		cmocka_unit_test(template_lines_and_none),
		cmocka_unit_test(no_line_lost_by_reopening),
		cmocka_unit_test(slow_pipe),
		cmocka_unit_test(slow_socket),
		cmocka_unit_test(full_disk),
		cmocka_unit_test(reader_gone),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
