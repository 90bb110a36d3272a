/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/selftest/selftest.h"

#define PATIENCE (10 * WEIR_NSEC_PER_SEC)
#define LOOK_MS 5

/* Never returns. The child goes when its parent does. */
__attribute__((noreturn)) static void become(const struct weir_child *c,
					     const struct weir_selftest *t,
					     const char *const *words)
{
	const char *argv[WEIR_CHILD_WORDS + 2] = { "weir" };
	sigset_t none;

	for (int i = 0; i < WEIR_CHILD_WORDS && words[i]; i++)
		argv[i + 1] = words[i];
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || weir_lab_enter(&t->lab, c->side) ||
	    dup2(c->out, STDOUT_FILENO) < 0 || dup2(c->err, STDERR_FILENO) < 0)
		_exit(127);
	execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
	_exit(127);
}

int weir_child_start(struct weir_child *c, const struct weir_selftest *t, enum weir_lab_side side,
		     const char *const *words)
{
	*c = (struct weir_child){ .pid = -1, .side = side };
	c->out = memfd_create("weir-out", MFD_CLOEXEC);
	c->err = memfd_create("weir-err", MFD_CLOEXEC);
	if (c->out >= 0 && c->err >= 0)
		c->pid = fork();
	if (c->pid == 0)
		become(c, t, words);
	return c->pid < 0 ? -errno : 0;
}

void weir_child_text(int fd, struct weir_buf *ret)
{
	struct stat s;
	char *to;
	ssize_t n;

	if (fstat(fd, &s) || !s.st_size || !(to = weir_buf_room(ret, (size_t)s.st_size)))
		return;
	n = pread(fd, to, (size_t)s.st_size, 0);
	if (n > 0)
		ret->len += (size_t)n;
	ret->data[ret->len] = '\0';
}

static bool has_ended(struct weir_child *c)
{
	siginfo_t info = { 0 };

	return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

bool weir_child_says(struct weir_child *c, bool on_out, const char *text)
{
	uint64_t end = weir_clock_mono() + PATIENCE;

	for (;;) {
		bool ended = has_ended(c); /* before looking: nothing more is written then */
		weir_autobuf struct weir_buf said = { 0 };

		weir_child_text(on_out ? c->out : c->err, &said);
		if (said.len && strstr(said.data, text))
			return true;
		if (ended || weir_clock_mono() > end)
			return false;
		poll(NULL, 0, LOOK_MS);
	}
}

int weir_child_stop(struct weir_child *c, int signal)
{
	uint64_t end = weir_clock_mono() + PATIENCE;
	int status = 0;

	if (c->pid < 0)
		return -1;
	if (signal)
		kill(c->pid, signal);
	while (!has_ended(c) && weir_clock_mono() < end)
		poll(NULL, 0, LOOK_MS);
	if (!has_ended(c))
		kill(c->pid, SIGKILL);
	waitpid(c->pid, &status, 0);
	c->pid = -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void weir_child_end(struct weir_child *c)
{
	weir_child_stop(c, SIGKILL);
	weir_closep(&c->out);
	weir_closep(&c->err);
}

json_t *weir_child_last_json(int fd)
{
	weir_autobuf struct weir_buf text = { 0 };
	char *line, *rest;
	json_t *last = NULL;

	weir_child_text(fd, &text);
	rest = text.len ? text.data : NULL;
	while ((line = strsep(&rest, "\n"))) {
		json_t *j = *line == '{' ? json_loads(line, 0, NULL) : NULL;

		if (!j)
			continue;
		json_decref(last);
		last = j;
	}
	return last;
}

/* The first line of what it said, as a message. */
static void take_message(int fd, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_child_text(fd, &text);
	if (text.len)
		text.data[strcspn(text.data, "\n")] = '\0';
	weir_fail(err, 0, "%s", text.len ? text.data : "");
}

void weir_child_blame(struct weir_child *c, struct weir_check_result *r)
{
	struct weir_error err;

	take_message(c->err, &err);
	weir_check_fail(r, "%.200s", err.msg[0] ? err.msg : "a command of weir was silent");
}

json_t *weir_child_ask(const struct weir_selftest *t, enum weir_lab_side side,
		       const char *const *words, int *ret_status, struct weir_error *err)
{
	struct weir_child c;
	json_t *j = NULL;

	*ret_status = -1;
	err->msg[0] = '\0';
	if (!weir_child_start(&c, t, side, words)) {
		*ret_status = weir_child_stop(&c, 0);
		j = weir_child_last_json(c.out);
		take_message(c.err, err);
	}
	weir_child_end(&c);
	return j;
}

bool weir_child_do(const struct weir_selftest *t, enum weir_lab_side side, const char *const *words,
		   struct weir_check_result *r)
{
	struct weir_error err;
	int status;

	json_decref(weir_child_ask(t, side, words, &status, &err));
	if (status)
		weir_check_fail(r, "%.200s", err.msg[0] ? err.msg : "a command of weir failed");
	return !status;
}

uint64_t weir_json_number(const json_t *j, const char *path)
{
	char key[64];

	while (j && *path) {
		size_t n = strcspn(path, ".");

		if (n >= sizeof(key))
			return 0;
		memcpy(key, path, n);
		key[n] = '\0';
		j = json_object_get(j, key);
		path += n + (path[n] == '.');
	}
	return json_is_integer(j) ? (uint64_t)json_integer_value(j) : 0;
}
