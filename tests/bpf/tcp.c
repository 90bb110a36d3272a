/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of `weir tcp` on the running kernel: the round trips that they recover from
 * TCP's mean, against those that the kernel tells a sockops program.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cap/tcp/engine.h"
#include "dataplane/cgroup.h"
#include "dataplane/load.h"
#include "harness.h"

#include "rtt_oracle.skel.h"

#define ROUNDS 400

static struct weir_error err;
static char group[512];
static struct weir_tcp_conn ended;
static bool has_ended;
static uint16_t own_port;

static void on_event(void *arg, const struct weir_tcp_event *ev)
{
	(void)arg;
	if (ev->kind == WEIR_TCP_CLOSE && ev->ends.lport == own_port) {
		ended = ((const struct weir_tcp_closed *)ev)->conn;
		has_ended = true;
	}
}

/* A cgroup of our own for this process: the oracle's program sees nothing else. Its parent,
 * which outlives it, removes that. */
static bool name_group(pid_t owner)
{
	char root[WEIR_CGROUP_PATH_MAX];
	weir_autoclose int fd = weir_cgroup_open(NULL, root, &err);

	snprintf(group, sizeof(group), "%s/weir-rtt-%d", root, owner);
	return fd >= 0;
}

static void enter_group(void)
{
	char procs[600];

	if (!name_group(getppid()))
		SKIP("no cgroup v2 (%s)", err.msg);
	if (mkdir(group, 0755))
		SKIP("no cgroup can be made: %s", strerror(errno));
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", group);
	test_run("echo %d > %s", getpid(), procs);
}

static void pair(int *client, int *server)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(to);
	weir_autoclose int listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;

	CHECK(!bind(listener, (void *)&to, sizeof(to)) && !listen(listener, 1) &&
		      !getsockname(listener, (void *)&to, &len),
	      "listen: %s", strerror(errno));
	*client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(*client, (void *)&to, sizeof(to)), "connect: %s", strerror(errno));
	*server = accept(listener, NULL, NULL);
	CHECK(*server >= 0 && !getsockname(*client, (void *)&to, &len), "accept");
	own_port = ntohs(to.sin_port);
	setsockopt(*client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(*server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* One segment each way at a time, so that each round has one sample. */
static void talk(int client, int server)
{
	char c = 0;

	for (int i = 0; i < ROUNDS; i++) {
		CHECK_EQ(write(client, &c, 1), 1);
		CHECK_EQ(read(server, &c, 1), 1);
		if (i % 16 == 0)
			test_sleep_ms(1);
		CHECK_EQ(write(server, &c, 1), 1);
		CHECK_EQ(read(client, &c, 1), 1);
	}
}

static void compare(struct rtt_oracle_bpf *oracle)
{
	uint32_t n = oracle->bss->rounds, expected[WEIR_TCP_BUCKETS] = { 0 };
	uint64_t sum = 0;
	unsigned int missed = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t us;

		CHECK(!bpf_map_lookup_elem(bpf_map__fd(oracle->maps.rtt_rounds), &i, &us), "rtt");
		expected[weir_tcp_bucket(us)]++;
		sum += us;
	}
	for (int i = 0; i < WEIR_TCP_BUCKETS; i++)
		if (ended.rtt[i] < expected[i])
			missed += expected[i] - ended.rtt[i];
	printf("# oracle %u samples, sum %llu us; weir %u, sum %llu us; %u not found\n", n,
	       (unsigned long long)sum, ended.rtt_count, (unsigned long long)ended.rtt_sum, missed);
	CHECK(n >= ROUNDS, "the oracle saw %u rounds", n);
	CHECK_EQ(missed, 0);
	/* The first is that of the handshake, before the oracle asked to be told. */
	CHECK(ended.rtt_count >= n && ended.rtt_count <= n + 2, "%u samples", ended.rtt_count);
}

static void test_round_trips(void)
{
	const struct weir_tcp_want want = { .netns_path = "/proc/self/ns/net",
					    .events = 1U << WEIR_TCP_CLOSE,
					    .watch = true };
	struct weir_tcp_engine *engine;
	struct rtt_oracle_bpf *oracle;
	struct bpf_link *link;
	int client, server, cgroup;
	uint32_t told;

	test_run("ip link set lo up");
	enter_group();
	weir_load_setup();
	oracle = rtt_oracle_bpf__open_and_load();
	cgroup = open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	link = oracle ? bpf_program__attach_cgroup(oracle->progs.rtt_oracle, cgroup) : NULL;
	CHECK(link, "the oracle: %s", strerror(errno));
	CHECK_OK(weir_tcp_engine_open(&engine, &want, on_event, NULL, &err));
	pair(&client, &server);
	oracle->bss->port = own_port;
	talk(client, server);
	/* The reset has no acknowledgement that brings one more sample to one of them. */
	CHECK(!setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
			  sizeof(struct linger)),
	      "linger");
	close(client);
	close(server);
	CHECK(EVENTUALLY(weir_tcp_engine_consume(engine, &err) == 0 && has_ended), "no end");
	told = oracle->bss->told;
	if (!told)
		SKIP("this kernel does not tell round trips to sockops");
	compare(oracle);
	bpf_link__destroy(link);
	rtt_oracle_bpf__destroy(oracle);
	close(cgroup);
	weir_tcp_engine_close(engine);
}

static const struct test tests[] = {
	{ "round_trips", test_round_trips },
};

int main(int argc, char **argv)
{
	int ret = test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);

	if (name_group(getpid()))
		rmdir(group);
	return ret;
}
