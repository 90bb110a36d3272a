/* SPDX-License-Identifier: GPL-2.0-only */
/* dataplane/owners on the running kernel: this process's own sockets, and others' programs
 * beside its own. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "dataplane/cgroup.h"
#include "dataplane/owners.h"
#include "harness.h"

#include "deny.skel.h"

static struct weir_error err;

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	CHECK(!getsockname(fd, (struct sockaddr *)&a, &len), "getsockname: %s", strerror(errno));
	return a;
}

static uint32_t owner_of(struct weir_owners *o, const struct sockaddr_in *local,
			 const struct sockaddr_in *remote, uint8_t proto)
{
	struct weir_owner_query q = {
		.local = { [10] = 0xff, [11] = 0xff },
		.remote = { [10] = 0xff, [11] = 0xff },
		.lport = ntohs(local->sin_port),
		.rport = ntohs(remote->sin_port),
		.proto = proto,
		.first = weir_clock_mono(),
		.last = weir_clock_mono(),
	};
	struct weir_owner owner;

	memcpy(q.local + 12, &local->sin_addr, 4);
	memcpy(q.remote + 12, &remote->sin_addr, 4);
	return weir_owners_find(o, &q, &owner) ? owner.pid : 0;
}

static int bound(int type, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind: %s", strerror(errno));
	return fd;
}

/* Sockets that were there before, of both protocols. */
static void test_old(void)
{
	int udp = bound(SOCK_DGRAM, 0), listener = bound(SOCK_STREAM, 0), client, server;
	struct sockaddr_in a = name_of(udp), l = name_of(listener), c, peer = { .sin_port = 1 };
	struct weir_owners *o = NULL;

	CHECK(!listen(listener, 1), "listen");
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(client, (struct sockaddr *)&l, sizeof(l)), "connect: %s", strerror(errno));
	server = accept(listener, NULL, NULL);
	c = name_of(client);
	CHECK_OK(weir_owners_open(&o, &err));
	CHECK(!weir_owners_no_udp(o), "%s", weir_owners_no_udp(o));
	CHECK_EQ(owner_of(o, &c, &l, IPPROTO_TCP), getpid());
	CHECK_EQ(owner_of(o, &l, &c, IPPROTO_TCP), getpid());
	CHECK_EQ(owner_of(o, &a, &peer, IPPROTO_UDP), getpid());
	close(udp);
	CHECK_EQ(owner_of(o, &a, &peer, IPPROTO_UDP), 0);
	close(client);
	close(server);
	close(listener);
	CHECK_EQ(weir_owners_lost(o), 0);
	weir_owners_close(o);
}

/* More sockets than the rings hold, and nobody reads: what is lost makes owners unknown
 * until all are looked at anew. */
static void test_flood(void)
{
	struct sockaddr_in peer = { .sin_port = 1 }, a;
	struct weir_owners *o = NULL;
	int kept;

	CHECK_OK(weir_owners_open(&o, &err));
	for (int i = 0; i < 400000 && !weir_owners_lost(o); i++)
		close(bound(SOCK_DGRAM, 0));
	kept = bound(SOCK_DGRAM, 0);
	a = name_of(kept);
	CHECK(weir_owners_lost(o) > 0, "nothing was lost");
	CHECK_EQ(owner_of(o, &a, &peer, IPPROTO_UDP), 0);
	CHECK(EVENTUALLY((weir_owners_tick(o), owner_of(o, &a, &peer, IPPROTO_UDP)) ==
			 (uint32_t)getpid()),
	      "the socket was not found again");
	close(kept);
	weir_owners_close(o);
}

/* Somebody's program denies sockets; ours permits all. The denial stands. */
static void deny(const char *group)
{
	struct deny_bpf *skel = deny_bpf__open_and_load();
	weir_autoclose int fd = weir_cgroup_open(group, NULL, &err);
	struct weir_owners *o = NULL;
	struct bpf_link *link;

	CHECK(skel && fd >= 0, "load: %s", err.msg);
	link = bpf_program__attach_cgroup(skel->progs.deny_udp, fd);
	CHECK(link, "attach: %s", strerror(errno));
	for (int i = 0; i < 3; i++) {
		CHECK(socket(AF_INET, SOCK_DGRAM, 0) < 0 && errno == EPERM, "not denied (%d)", i);
		CHECK(socket(AF_INET, SOCK_STREAM, 0) >= 0, "TCP is denied (%d)", i);
		if (!i)
			CHECK_OK(weir_owners_open(&o, &err));
		else
			weir_owners_close(WEIR_TAKE_PTR(o));
	}
	bpf_link__destroy(link);
	deny_bpf__destroy(skel);
	CHECK(socket(AF_INET, SOCK_DGRAM, 0) >= 0, "still denied");
}

static void test_foreign(void)
{
	char root[WEIR_CGROUP_PATH_MAX], group[WEIR_CGROUP_PATH_MAX + 64];
	int status, fd = weir_cgroup_open(NULL, root, &err);
	pid_t pid;

	if (fd < 0)
		SKIP("no cgroup v2 (%s)", err.msg);
	close(fd);
	snprintf(group, sizeof(group), "%s/weir-owners-%d", root, getpid());
	if (mkdir(group, 0755))
		SKIP("no cgroup can be made: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		test_run("echo %d > %s/cgroup.procs", getpid(), group);
		deny(group);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid, "fork");
	CHECK(EVENTUALLY(!rmdir(group)), "rmdir: %s", strerror(errno));
	CHECK_EQ(status, 0);
}

static const struct test tests[] = {
	{ "old", test_old },
	{ "flood", test_flood },
	{ "foreign", test_foreign },
};

int main(int argc, char **argv)
{
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
