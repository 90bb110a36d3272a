/* SPDX-License-Identifier: GPL-2.0-only */
/* The proxy's control socket: real sockets and maps, workers that are made up. */
#include "cap/proxy/control.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "cap/proxy/control_impl.h"

#include "harness.h"

#define MANY 50000
#define NOBODY 65534

static struct weir_error err;
static struct weir_service service;
static unsigned int connections;
static atomic_uint reloads, reopens, drains;
static atomic_uint_fast64_t killed, held_ns;

/* ---- What the socket's server asks of others */

static void fill(struct weir_conn_facts *f, unsigned int i)
{
	static struct weir_proxy_listen listen = { .name = (char *)"front" };
	static struct weir_proxy_route route = { .name = (char *)"example.com" };
	struct weir_addr a = { .b = { [10] = 0xff, [11] = 0xff, 10, 1 } };

	a.b[14] = (uint8_t)(i >> 8);
	a.b[15] = (uint8_t)i;
	*f = (struct weir_conn_facts){
		.id = i,
		.listen = &listen,
		.route = &route,
		.name = "www.example.com",
		.alpn = "h2",
		.target = "10.0.0.5:443",
		.state = WEIR_CONN_RELAY,
		.engine = "splice",
		.began = weir_clock_mono() - 1000000,
		.bytes_in = i,
		.attempts = 1,
	};
	weir_endpoint_set(&f->client, &a, (uint16_t)(i + 1024));
	weir_endpoint_parse("[2001:db8::1]:443", &f->local);
	weir_endpoint_parse("10.0.0.5:443", &f->backend);
}

int weir_worker_each(struct weir_worker *w, int (*fn)(void *arg, const struct weir_conn_facts *f),
		     void *arg)
{
	static struct weir_conn_facts f;
	uint64_t began, ns = 0;
	int ret = 0;

	(void)w;
	for (unsigned int i = 0; !ret && i < connections; i++) {
		fill(&f, i);
		began = weir_clock_mono();
		ret = fn(arg, &f);
		ns += weir_clock_mono() - began;
	}
	held_ns = ns;
	return ret;
}

uint32_t weir_worker_open(const struct weir_worker *w)
{
	(void)w;
	return connections;
}

void weir_worker_flush_all(struct weir_worker *const *w, unsigned int n)
{
	(void)w;
	(void)n;
}

void weir_worker_stats(const struct weir_worker *w, struct weir_worker_stats *ret)
{
	(void)w;
	*ret = (struct weir_worker_stats){ .connections = connections };
}

bool weir_worker_kill(struct weir_worker *w, uint64_t id)
{
	(void)w;
	killed = id;
	return id < connections;
}

int weir_service_reload(struct weir_service *s, struct weir_error *e)
{
	(void)s;
	reloads++;
	return weir_fail(e, -EINVAL, "proxy.yaml: line 3:\nno good");
}

int weir_service_reopen_log(struct weir_service *s, struct weir_error *e)
{
	(void)s;
	(void)e;
	reopens++;
	return 0;
}

void weir_service_drain(struct weir_service *s)
{
	(void)s;
	drains++;
}

void weir_backends_json(struct weir_backends *b, struct weir_json *j)
{
	(void)b;
	(void)j;
}

void weir_backends_table(struct weir_backends *b, struct weir_buf *out)
{
	(void)b;
	weir_buf_adds(out, "BACKEND  OPEN\n");
}

void weir_names_stats(const struct weir_names *n, struct weir_names_stats *ret)
{
	(void)n;
	*ret = (struct weir_names_stats){ 0 };
}

/* ---- The server, in a thread */

static struct weir_proxy_config config;
static pthread_t server;

static void *run(void *arg)
{
	(void)arg;
	weir_loop_run(service.loop, NULL);
	return NULL;
}

/* The directory of control sockets: this test's own, in its own mount namespace. */
static void own_dir(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	CHECK_OK(weir_control_dir(&err));
	CHECK(!mount("none", WEIR_CONTROL_DIR, "tmpfs", 0, "mode=0755"), "mount: %s",
	      strerror(errno));
}

static void begin(unsigned int n)
{
	own_dir();
	connections = n;
	config.refs = 1;
	CHECK_OK(weir_account_open(&service.maps, 16, &err));
	service.loop = weir_loop_new(&err);
	CHECK(service.loop, "%s", err.msg);
	service.cfg = &config;
	service.n_workers = 1;
	service.began = weir_clock_mono();
	service.control = weir_control_new(&service, &err);
	CHECK(service.control, "%s", err.msg);
	CHECK_EQ(pthread_create(&server, NULL, run, NULL), 0);
}

static void end(void)
{
	char path[WEIR_CONTROL_PATH];

	weir_loop_stop(service.loop);
	pthread_join(server, NULL);
	weir_control_free(service.control);
	weir_loop_free(service.loop);
	CHECK_OK(weir_control_path(path, sizeof(path)));
	unlink(path);
	weir_account_unpin();
	weir_account_close(&service.maps);
}

static int raw(void)
{
	int fd = weir_control_connect(&err);

	CHECK(fd >= 0, "connect: %s", err.msg);
	return fd;
}

/* What comes until the end, or until nothing came for @ms. */
static size_t receive(int fd, char *buf, size_t size, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0;
	ssize_t n = 1;

	while (n > 0 && have + 1 < size && poll(&p, 1, ms) == 1) {
		n = read(fd, buf + have, size - 1 - have);
		have += n > 0 ? (size_t)n : 0;
	}
	buf[have] = '\0';
	return have;
}

static int ask(const char *request, struct weir_buf *answer)
{
	return weir_control_ask(request, answer, &err);
}

static size_t count(const struct weir_buf *text, const char *what)
{
	const char *s = text->data, *end = text->data + text->len;
	size_t n = 0;

	while ((s = memmem(s, (size_t)(end - s), what, strlen(what)))) {
		s++;
		n++;
	}
	return n;
}

/* ---- Tests */

static void commands(void)
{
	struct weir_buf a = { 0 };

	own_dir();
	CHECK_EQ(ask("status", &a), -ENOENT);
	CHECK(strstr(err.msg, "no proxy runs"), "%s", err.msg);
	begin(3);
	CHECK_OK(ask("status", &a));
	CHECK(strstr(a.data, "3 connections open\n") && strstr(a.data, "  BACKEND  OPEN\n"), "%s",
	      a.data);
	CHECK_OK(ask("status json", &a));
	CHECK(!strncmp(a.data, "{\"v\":1,\"pid\":", 13) && !strcmp(a.data + a.len - 2, "}\n"), "%s",
	      a.data);
	CHECK_OK(ask("connections", &a));
	CHECK(strstr(a.data, "10.1.0.2:1026          www.example.com "), "%s", a.data);
	CHECK_OK(ask("top json", &a));
	CHECK(!strcmp(a.data, "{\"v\":1,\"sources\":[]}\n"), "%s", a.data);
	CHECK_OK(ask("kill 2", &a));
	CHECK_EQ(killed, 2);
	CHECK_EQ(a.len, 0);
	CHECK_EQ(ask("kill 3", &a), -EREMOTEIO);
	CHECK(strstr(err.msg, "no connection 3 is open"), "%s", err.msg);
	CHECK_EQ(ask("kill", &a), -EREMOTEIO);
	CHECK_EQ(ask("kill x", &a), -EREMOTEIO);
	CHECK_EQ(ask("reload", &a), -EREMOTEIO);
	CHECK(strstr(err.msg, "no good"), "%s", err.msg);
	CHECK_EQ(reloads, 1);
	CHECK_OK(ask("reopen", &a));
	CHECK_EQ(reopens, 1);
	CHECK_OK(ask("drain", &a));
	CHECK_EQ(drains, 1);
	CHECK_EQ(ask("statu", &a), -EREMOTEIO);
	CHECK_EQ(ask("status xml", &a), -EREMOTEIO);
	CHECK_EQ(ask("drain json", &a), -EREMOTEIO);
	CHECK_EQ(ask("", &a), -EREMOTEIO);
	CHECK_EQ(drains, 1);
	weir_buf_free(&a);
	end();
	CHECK_EQ(ask("status", &a), -ENOENT);
}

static void many_connections(void)
{
	struct weir_buf a = { 0 };
	uint64_t began = weir_clock_mono(), ns;

	begin(MANY);
	CHECK_OK(ask("connections json", &a));
	ns = weir_clock_mono() - began;
	CHECK_EQ(count(&a, "\"id\":"), MANY);
	CHECK(!strcmp(a.data + a.len - 4, "}]}\n"), "%s", a.data + a.len - 20);
	printf("# %u connections: %zu bytes of JSON in %llu ms, a worker held for %llu ns each\n",
	       MANY, a.len, (unsigned long long)(ns / 1000000),
	       (unsigned long long)(held_ns / MANY));
	CHECK_OK(ask("connections", &a));
	CHECK_EQ(count(&a, "\n"), MANY + 1);
	weir_buf_free(&a);
	end();
}

/* Who reads nothing keeps nobody waiting. */
static void stalled_reader(void)
{
	struct weir_buf a = { 0 };
	int fd;

	begin(MANY);
	fd = raw();
	CHECK(write(fd, "connections json\n", 17) == 17, "write");
	for (int i = 0; i < 20; i++) {
		uint64_t began = weir_clock_mono();

		CHECK_OK(ask("status", &a));
		CHECK(i == 0 || weir_clock_mono() - began < 4000000000, "status waited");
	}
	close(fd);
	weir_buf_free(&a);
	end();
}

static void clients_are_bounded(void)
{
	struct weir_buf a = { 0 };
	bool ended = false;
	char text[256];
	int fd[16];

	begin(1);
	for (int i = 0; i < 16; i++) {
		fd[i] = raw();
		CHECK(write(fd[i], "stat", 4) == 4, "write");
	}
	CHECK_EQ(ask("status", &a), -EREMOTEIO);
	CHECK(strstr(err.msg, "many others"), "%s", err.msg);
	/* The whole request has 5 s, however often a byte of it comes. */
	for (int i = 0; !ended && i < 150; i++) {
		struct pollfd p = { .fd = fd[0] };

		ended = receive(fd[0], text, sizeof(text), 100) || poll(&p, 1, 0) ||
			send(fd[0], "x", 1, MSG_NOSIGNAL) != 1;
	}
	CHECK(ended, "still there");
	CHECK(EVENTUALLY(ask("status", &a) == 0), "%s", err.msg);
	for (int i = 0; i < 16; i++)
		close(fd[i]);
	weir_buf_free(&a);
	end();
}

static void requests_are_bounded(void)
{
	char request[700], text[256];
	struct weir_buf a = { 0 };
	int fd;

	begin(1);
	memset(request, 'x', sizeof(request));
	fd = raw();
	CHECK(send(fd, request, sizeof(request), MSG_NOSIGNAL) == sizeof(request), "send");
	CHECK_EQ(receive(fd, text, sizeof(text), 2000), 0);
	close(fd);
	request[sizeof(request) - 1] = '\0';
	CHECK_EQ(ask(request, &a), -E2BIG);
	/* One that comes in pieces is one. */
	fd = raw();
	for (const char *s = "status\n"; *s; s++) {
		CHECK(write(fd, s, 1) == 1, "write");
		test_sleep_ms(5);
	}
	CHECK(receive(fd, text, sizeof(text), PATIENCE_MS) > 3 && !strncmp(text, "ok\n", 3), "%s",
	      text);
	close(fd);
	CHECK_OK(ask("status", &a));
	weir_buf_free(&a);
	end();
}

static void only_root(void)
{
	char path[WEIR_CONTROL_PATH];
	struct weir_buf a = { 0 };
	struct stat st;
	int status;
	pid_t pid;

	begin(1);
	CHECK_OK(weir_control_path(path, sizeof(path)));
	CHECK(!stat(path, &st), "%s", path);
	CHECK_EQ(st.st_mode & 07777, 0600);
	for (int open_to_all = 0; open_to_all < 2; open_to_all++) {
		if (open_to_all)
			CHECK(!chmod(path, 0666), "chmod");
		pid = fork();
		if (!pid) {
			if (setresuid(NOBODY, NOBODY, NOBODY))
				_exit(9);
			_exit(ask("drain", &a) == (open_to_all ? -EREMOTEIO : -EACCES) ? 0 : 1);
		}
		CHECK(waitpid(pid, &status, 0) == pid && !status, "nobody: %d, %d", open_to_all,
		      status);
	}
	CHECK_EQ(drains, 0);
	end();
}

/* With no descriptor left, one who asks is still answered, one after the other. */
static void no_descriptors(void)
{
	struct weir_buf a = { 0 };
	struct rlimit old, none;
	int fd[3], status;
	pid_t pid;

	begin(1);
	CHECK_OK(ask("status", &a));
	pid = fork(); /* who asks has some */
	if (!pid) {
		test_sleep_ms(300);
		for (int i = 0; i < 5; i++)
			if (ask("status", &a))
				_exit(1);
		_exit(0);
	}
	fd[0] = open("/dev/null", O_RDONLY);
	close(fd[0]);
	getrlimit(RLIMIT_NOFILE, &old);
	none = (struct rlimit){ (rlim_t)fd[0], old.rlim_max };
	CHECK(!setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
	CHECK(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE, "descriptors are left");
	CHECK(waitpid(pid, &status, 0) == pid && !status, "not answered: %d", status);
	setrlimit(RLIMIT_NOFILE, &old);
	weir_buf_free(&a);
	end();
}

/* What a killed one left is in nobody's way. */
static void stale_socket(void)
{
	struct sockaddr_un at;
	struct weir_buf a = { 0 };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	own_dir();
	CHECK_OK(weir_control_address(&at, &err));
	CHECK(!bind(fd, (struct sockaddr *)&at, sizeof(at)), "bind");
	close(fd);
	CHECK_EQ(ask("status", &a), -ENOENT);
	begin(1);
	CHECK_OK(ask("status", &a));
	weir_buf_free(&a);
	end();
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "commands", commands },
		{ "many_connections", many_connections },
		{ "stalled_reader", stalled_reader },
		{ "clients_are_bounded", clients_are_bounded },
		{ "requests_are_bounded", requests_are_bounded },
		{ "only_root", only_root },
		{ "no_descriptors", no_descriptors },
		{ "stale_socket", stale_socket },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
