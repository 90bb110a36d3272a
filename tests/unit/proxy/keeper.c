/* SPDX-License-Identifier: GPL-2.0-only */
/* The keeper as a process of its own, in namespaces of its own where this is root's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/proxy/keeper.h"
#include "cap/proxy/keeper_impl.h"
#include "net/sock.h"

static char directory[] = "/tmp/weir-keeper-XXXXXX";
static char file[64], log_path[64];

struct fixture {
	struct weir_proxy_flags flags;
	struct weir_proxy_config *cfg;
	struct weir_keeper keeper;
	struct weir_error err;
};

static void write_config(const char *log, unsigned int listeners)
{
	FILE *f = fopen(file, "we");

	assert_non_null(f);
	fprintf(f, "listen:\n");
	for (unsigned int i = 0; i < listeners; i++)
		fprintf(f, "  - address: 127.0.0.%u:%u\n", i + 1, 20000 + getpid() % 20000);
	if (log)
		fprintf(f, "log: %s\n", log);
	fprintf(f, "routes:\n  - match: example.com\n    backends: [127.0.0.1:1]\n");
	fclose(f);
}

static void begin(struct fixture *x, const char *log)
{
	memset(x, 0, sizeof(*x));
	write_config(log, 1);
	x->flags.file = file;
	if (weir_proxy_config_read(&x->flags, &x->cfg, &x->err) ||
	    weir_keeper_start(&x->keeper, &x->flags, x->cfg, -1, &x->err))
		fail_msg("%s", x->err.msg);
}

static void end(struct fixture *x)
{
	weir_keeper_end(&x->keeper);
	assert_int_equal(x->keeper.fd, -1);
	/* It has ended, and has been waited for. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	weir_proxy_config_unref(x->cfg);
}

static void listens_at(struct fixture *x, size_t i, const char *want)
{
	char text[WEIR_ENDPOINT_STRLEN];
	struct weir_endpoint e;
	socklen_t len = sizeof(int);
	int on = 0, fd = weir_keeper_listen(&x->keeper, i, &x->err);

	if (fd < 0)
		fail_msg("%s", x->err.msg);
	assert_int_equal(weir_sock_name(fd, &e), 0);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len), 0);
	assert_true(on);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	weir_endpoint_str(&e, text);
	assert_memory_equal(text, want, strlen(want));
	close(fd);
}

static void listens(void **state)
{
	struct fixture x;
	int a, b;

	(void)state;
	begin(&x, NULL);
	listens_at(&x, 0, "127.0.0.1:");
	/* A second one beside it, for the next worker. */
	a = weir_keeper_listen(&x.keeper, 0, &x.err);
	b = weir_keeper_listen(&x.keeper, 0, &x.err);
	assert_true(a >= 0 && b >= 0 && a != b);
	close(a);
	close(b);
	assert_int_equal(weir_keeper_listen(&x.keeper, 1, &x.err), -EINVAL);
	assert_string_equal(x.err.msg, "there is no listener 1");
	end(&x);
}

/* Only what the keeper has read itself, and only for as long as it may be wanted. */
static void reads_anew(void **state)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct fixture x;

	(void)state;
	begin(&x, NULL);
	for (int take = 0; take < 2; take++) {
		write_config(NULL, 3);
		weir_buf_reset(&text);
		assert_int_equal(weir_keeper_read_config(&x.keeper, &text, &x.err), 0);
		assert_non_null(strstr(text.data, "127.0.0.3:"));
		listens_at(&x, 2, "127.0.0.3:");
		assert_int_equal(weir_keeper_settle(&x.keeper, take, &x.err), 0);
		if (!take)
			assert_int_equal(weir_keeper_listen(&x.keeper, 2, &x.err), -EINVAL);
		else
			listens_at(&x, 2, "127.0.0.3:");
	}
	assert_int_equal(weir_keeper_settle(&x.keeper, false, &x.err), 0);
	listens_at(&x, 2, "127.0.0.3:");
	end(&x);
}

static void bad_file(void **state)
{
	weir_autobuf struct weir_buf text = { 0 };
	struct fixture x;
	FILE *f;

	(void)state;
	begin(&x, NULL);
	f = fopen(file, "we");
	fprintf(f, "listen:\n  - adress: 127.0.0.2:443\n");
	fclose(f);
	assert_int_equal(weir_keeper_read_config(&x.keeper, &text, &x.err), -EINVAL);
	assert_memory_equal(x.err.msg, file, strlen(file));
	assert_non_null(strstr(x.err.msg, ":2:"));
	unlink(file);
	assert_int_equal(weir_keeper_read_config(&x.keeper, &text, &x.err), -ENOENT);
	assert_int_equal(text.len, 0);
	listens_at(&x, 0, "127.0.0.1:");
	end(&x);
}

static void flags_alone(void **state)
{
	struct weir_proxy_flags f = { .listen = { { "127.0.0.9:20443" }, 1 },
				      .route = { { "example.com=127.0.0.1:1" }, 1 } };
	weir_autobuf struct weir_buf text = { 0 };
	struct fixture x = { .flags = f };

	(void)state;
	if (weir_proxy_config_read(&x.flags, &x.cfg, &x.err) ||
	    weir_keeper_start(&x.keeper, &x.flags, x.cfg, -1, &x.err))
		fail_msg("%s", x.err.msg);
	if (weir_keeper_read_config(&x.keeper, &text, &x.err))
		fail_msg("%s", x.err.msg);
	assert_int_equal(text.len, 0);
	listens_at(&x, 0, "127.0.0.9:20443");
	end(&x);
}

static void log_file(void **state)
{
	struct fixture x;
	struct stat st;
	int fd;

	(void)state;
	begin(&x, NULL);
	assert_int_equal(weir_keeper_open_log(&x.keeper, &x.err), -EINVAL);
	end(&x);

	begin(&x, log_path);
	for (int i = 0; i < 2; i++) {
		fd = weir_keeper_open_log(&x.keeper, &x.err);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "line\n", 5), 5);
		close(fd);
	}
	assert_int_equal(stat(log_path, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(st.st_mode & 0777, 0640);
	/* A pipe that nobody reads holds nobody up. */
	unlink(log_path);
	assert_int_equal(mkfifo(log_path, 0600), 0);
	assert_int_equal(weir_keeper_open_log(&x.keeper, &x.err), -ENXIO);
	unlink(log_path);
	end(&x);
}

/* What is no request is answered as such, and nothing else happens. */
static void nonsense(void **state)
{
	const struct weir_keeper_request far = { .number = 1, .op = WEIR_KEEPER_OPS };
	struct weir_keeper_answer a;
	struct fixture x;

	(void)state;
	begin(&x, NULL);
	assert_int_equal(send(x.keeper.fd, "x", 1, 0), 1);
	assert_int_equal(recv(x.keeper.fd, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(a.code, -EINVAL);
	assert_int_equal(send(x.keeper.fd, &far, sizeof(far), 0), sizeof(far));
	assert_int_equal(recv(x.keeper.fd, &a, sizeof(a), 0), sizeof(a));
	assert_int_equal(a.code, -EINVAL);
	/* An answer that nobody waits for any more is not taken for the next one. */
	assert_int_equal(send(x.keeper.fd, &far, sizeof(far), 0), sizeof(far));
	x.keeper.asked = 7;
	listens_at(&x, 0, "127.0.0.1:");
	end(&x);
}

static void outlives_signals(void **state)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };
	struct fixture x;

	(void)state;
	begin(&x, NULL);
	listens_at(&x, 0, "127.0.0.1:"); /* it runs */
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(signals); i++)
		assert_int_equal(kill(x.keeper.pid, signals[i]), 0);
	listens_at(&x, 0, "127.0.0.1:");
	kill(x.keeper.pid, SIGKILL);
	assert_int_equal(weir_keeper_listen(&x.keeper, 0, &x.err), -EPIPE);
	assert_non_null(strstr(x.err.msg, "the keeper, which has the privileges, has ended"));
	end(&x);
}

static void status_has(const char *want)
{
	char line[256];
	FILE *f = fopen("/proc/self/status", "re");
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found = found || !strncmp(line, want, strlen(want));
	if (f)
		fclose(f);
	if (!found) {
		fprintf(stderr, "no \"%s\" in /proc/self/status\n", want);
		_exit(1);
	}
}

static void in_child(const char *user, bool keep, void (*check)(void))
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct weir_error err = { 0 };

		if (weir_keeper_drop(user, keep, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			_exit(1);
		}
		check();
		_exit(setuid(0) == 0 && user == NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void is_nobody(void)
{
	status_has("Uid:\t65534\t65534\t65534\t65534");
	status_has("Gid:\t65534\t65534\t65534\t65534");
	status_has("CapInh:\t0000000000000000");
	status_has("CapPrm:\t0000000000000000");
	status_has("CapEff:\t0000000000000000");
	status_has("CapAmb:\t0000000000000000");
	status_has("NoNewPrivs:\t1");
}

static void is_transparent(void)
{
	status_has("Uid:\t65534");
	status_has("CapPrm:\t0000000000001000");
	status_has("CapEff:\t0000000000001000");
}

static void is_bare_root(void)
{
	status_has("Uid:\t0\t0\t0\t0");
	status_has("CapPrm:\t0000000000000000");
	status_has("CapEff:\t0000000000000000");
}

static void drops(void **state)
{
	struct weir_error err;

	(void)state;
	if (geteuid() != 0)
		skip();
	in_child(NULL, false, is_nobody);
	in_child("nobody", true, is_transparent);
	in_child("root", false, is_bare_root);
	assert_int_equal(weir_keeper_drop("no-such-user", false, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "there is no user no-such-user"));
}

/* What it removes at its end must be nothing of this host's. */
static int isolate(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	snprintf(file, sizeof(file), "%s/proxy.yaml", directory);
	snprintf(log_path, sizeof(log_path), "%s/access.log", directory);
	if (geteuid() != 0)
		return 0;
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -1;
	return mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0700") ||
	       mount("none", "/run", "tmpfs", 0, NULL) || system("ip link set lo up");
}

static int clean_up(void **state)
{
	(void)state;
	unlink(file);
	unlink(log_path);
	rmdir(directory);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listens),	    cmocka_unit_test(reads_anew),
		cmocka_unit_test(bad_file),	    cmocka_unit_test(flags_alone),
		cmocka_unit_test(log_file),	    cmocka_unit_test(nonsense),
		cmocka_unit_test(outlives_signals), cmocka_unit_test(drops),
	};

	return cmocka_run_group_tests(tests, isolate, clean_up);
}
