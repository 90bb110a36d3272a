/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --exec: a command for each event of an alert. There is no shell: the words go to
 * execvp(3). The facts are in its environment and, as JSON, on its standard input, a file
 * in memory, so that a command that does not read holds nothing up. It has none of weir's
 * privileges and ends with weir.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/alert.h"
#include "dataplane/caps.h"

#define WORDS_MAX 32
#define RUNNING_MAX 4
#define WAITING_MAX 64
#define TIMEOUT_NS (10 * WEIR_NSEC_PER_SEC)
#define NO_EXEC 127 /* what a child that could not become the command exits with */

struct child {
	pid_t pid; /* 0: none */
	int fd;	   /* pidfd */
	uint64_t deadline;
};

struct weir_alert_exec {
	char *words; /* what argv points into */
	char *argv[WORDS_MAX + 1];
	int epoll;
	struct child running[RUNNING_MAX];
	struct weir_alert_fact waiting[WAITING_MAX]; /* a ring */
	size_t first, n_waiting;
	uint64_t failed, timed_out, left_out;
	int status; /* of the last one that failed */
};

/* ---- Open */

static bool is_program(const char *path)
{
	return !access(path, X_OK);
}

/* What execvp(3) will find, asked for early. */
static bool find_program(const char *name)
{
	const char *path = getenv("PATH");
	char buf[4096];

	if (strchr(name, '/'))
		return is_program(name);
	for (path = path ? path : "/bin:/usr/bin"; *path;) {
		size_t n = strcspn(path, ":");

		snprintf(buf, sizeof(buf), "%.*s/%s", (int)n, path, name);
		if (is_program(buf))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

int weir_alert_exec_open(const char *command, struct weir_alert_exec **ret, struct weir_error *err)
{
	struct weir_alert_exec *x = calloc(1, sizeof(*x));
	size_t n = 0;
	char *save, *word;

	if (!x)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	*ret = x;
	x->epoll = -1;
	x->words = strdup(command);
	if (!x->words)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	for (word = strtok_r(x->words, " \t\n", &save); word;
	     word = strtok_r(NULL, " \t\n", &save)) {
		if (n == WORDS_MAX)
			return weir_fail(err, -EINVAL,
					 "--exec has more than %d words: put them "
					 "into a script",
					 WORDS_MAX);
		x->argv[n++] = word;
	}
	if (!n || !find_program(x->argv[0]))
		return weir_fail(err, -EINVAL,
				 "--exec: there is no program \"%.100s\": give one and "
				 "its words; no shell reads them",
				 n ? x->argv[0] : "");
	x->epoll = epoll_create1(EPOLL_CLOEXEC);
	return x->epoll < 0 ? weir_fail(err, -errno,
					"cannot wait for commands: %s: check "
					"`ulimit -n`",
					strerror(errno)) :
			      0;
}

int weir_alert_exec_fd(const struct weir_alert_exec *x)
{
	return x->epoll;
}

/* ---- Run */

static void set_number(const char *name, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.15g", value);
	setenv(name, text, 1);
}

static void set_environment(const struct weir_alert_fact *f)
{
	weir_autobuf struct weir_buf ts = { 0 }, host = { 0 };
	char unit[32];

	weir_buf_add_rfc3339(&ts, f->ts);
	setenv("WEIR_ALERT_NAME", f->rule->name, 1);
	setenv("WEIR_ALERT_EVENT", f->raised ? "raised" : "cleared", 1);
	setenv("WEIR_ALERT_RULE", f->rule->text, 1);
	setenv("WEIR_ALERT_QUANTITY", weir_alert_quantities[f->rule->quantity], 1);
	setenv("WEIR_ALERT_UNIT", weir_alert_unit_name(f->rule, unit), 1);
	setenv("WEIR_ALERT_TIME", ts.data ? ts.data : "", 1);
	set_number("WEIR_ALERT_VALUE", f->value);
	set_number("WEIR_ALERT_THRESHOLD", f->rule->value);
	if (!f->has_host)
		return;
	weir_buf_add_addr(&host, f->host);
	setenv("WEIR_ALERT_HOST", host.data ? host.data : "", 1);
}

/* In the child: nothing of weir's is left but standard error, where its output goes too. */
static void become(const struct weir_alert_exec *x, const struct weir_alert_fact *f, int input)
{
	sigset_t none;

	sigemptyset(&none);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Without standard input of our own it may stand in that place already. */
	if ((input == STDIN_FILENO ? fcntl(input, F_SETFD, 0) : dup2(input, STDIN_FILENO)) < 0 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || weir_caps_drop(0))
		_exit(NO_EXEC);
	/* Libraries open some without close-on-exec: libpcap's socket would give packets. */
	if (close_range(STDERR_FILENO + 1, ~0U, 0))
		_exit(NO_EXEC);
	set_environment(f);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(x->argv[0], x->argv);
	_exit(NO_EXEC);
}

static int make_input(const struct weir_alert_fact *f)
{
	weir_autobuf struct weir_buf json = { 0 };
	weir_autoclose int fd = memfd_create("weir-alert", MFD_CLOEXEC);

	weir_alert_json(f, &json);
	if (fd < 0 || json.failed || write(fd, json.data, json.len) != (ssize_t)json.len ||
	    lseek(fd, 0, SEEK_SET))
		return -1;
	return WEIR_TAKE_FD(fd);
}

static bool start(struct weir_alert_exec *x, struct child *c, const struct weir_alert_fact *f)
{
	struct epoll_event ev = { .events = EPOLLIN };
	weir_autoclose int input = make_input(f);
	pid_t pid = input < 0 ? -1 : fork();

	if (pid < 0)
		return false;
	if (!pid)
		become(x, f, input);
	setpgid(pid, pid);
	*c = (struct child){ .pid = pid,
			     .fd = (int)syscall(SYS_pidfd_open, pid, 0),
			     .deadline = weir_clock_mono() + TIMEOUT_NS };
	/* Without the descriptor, a tick finds that it has ended. */
	if (c->fd >= 0)
		epoll_ctl(x->epoll, EPOLL_CTL_ADD, c->fd, &ev);
	return true;
}

static void start_waiting(struct weir_alert_exec *x)
{
	for (size_t i = 0; x->n_waiting && i < RUNNING_MAX; i++) {
		if (x->running[i].pid)
			continue;
		x->failed += !start(x, &x->running[i], &x->waiting[x->first]);
		x->first = (x->first + 1) % WAITING_MAX;
		x->n_waiting--;
	}
}

/* Take @c if it has ended; one that takes too long is ended with all that it began. */
static void look_at(struct weir_alert_exec *x, struct child *c, uint64_t now)
{
	int status;
	pid_t done;

	if (now >= c->deadline && c->deadline) {
		kill(-c->pid, SIGKILL);
		kill(c->pid, SIGKILL);
		c->deadline = 0;
		x->timed_out++;
	}
	done = waitpid(c->pid, &status, WNOHANG);
	if (!done || (done < 0 && errno == EINTR))
		return;
	if (done > 0 && status && c->deadline) {
		x->failed++;
		x->status = status;
	}
	if (c->fd >= 0)
		close(c->fd);
	c->pid = 0;
}

void weir_alert_exec_look(struct weir_alert_exec *x)
{
	uint64_t now = weir_clock_mono();

	for (size_t i = 0; i < RUNNING_MAX; i++)
		if (x->running[i].pid)
			look_at(x, &x->running[i], now);
	start_waiting(x);
}

void weir_alert_exec_run(struct weir_alert_exec *x, const struct weir_alert_fact *f)
{
	if (x->n_waiting == WAITING_MAX) {
		x->left_out++;
		return;
	}
	x->waiting[(x->first + x->n_waiting++) % WAITING_MAX] = *f;
	start_waiting(x);
}

/* ---- Close */

static bool any_running(const struct weir_alert_exec *x)
{
	for (size_t i = 0; i < RUNNING_MAX; i++)
		if (x->running[i].pid)
			return true;
	return false;
}

static void tell_failures(const struct weir_alert_exec *x)
{
	if (x->failed)
		fprintf(stderr,
			"weir watch: --exec failed %llu times, the last one with %s %d: try it by "
			"hand\n",
			(unsigned long long)x->failed, WIFSIGNALED(x->status) ? "signal" : "status",
			WIFSIGNALED(x->status) ? WTERMSIG(x->status) : WEXITSTATUS(x->status));
	if (x->timed_out)
		fprintf(stderr,
			"weir watch: --exec took longer than %llu s %llu times, and was ended: let "
			"it go on in the background\n",
			(unsigned long long)(TIMEOUT_NS / WEIR_NSEC_PER_SEC),
			(unsigned long long)x->timed_out);
	if (x->left_out)
		fprintf(stderr,
			"weir watch: --exec was not run for %llu events, since %d were waiting: make "
			"it faster, or raise cooldown\n",
			(unsigned long long)x->left_out, WAITING_MAX);
}

void weir_alert_exec_close(struct weir_alert_exec *x, bool hurry)
{
	struct epoll_event ev;

	if (!x)
		return;
	if (hurry) {
		x->left_out += x->n_waiting;
		x->n_waiting = 0;
	}
	/* Each has a deadline, so this ends. */
	while (x->epoll >= 0 && (any_running(x) || x->n_waiting)) {
		weir_alert_exec_look(x);
		if (any_running(x))
			epoll_wait(x->epoll, &ev, 1, 100);
	}
	tell_failures(x);
	if (x->epoll >= 0)
		close(x->epoll);
	free(x->words);
	free(x);
}
