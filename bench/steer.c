/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * steer
 * What a look-up of weir steer costs, as one line of JSON for each number of rules:
 * ns a PROG_TEST_RUN, least and median of ROUNDS destinations, beside a program with two
 * look-ups in an LPM trie (steer_two.bpf.c) over the same rules, in turn. "hit": a port of
 * a rule; "any": the rule is for all ports, which the other program finds at its second
 * look-up. Runs in a namespace of its own.
 *
 * steer hold N ADDR PORT SOCKET
 * The other program with N entries, attached to this namespace until standard input ends;
 * connections to ADDR and PORT go to SOCKET (listen:...).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/steer/engine.h"
#include "dataplane/load.h"
#include "steer_two.skel.h"

#define ROUNDS 101
#define REPEAT 10000
#define PORT 443

struct two_key {
	uint32_t len;
	uint8_t protocol, pad;
	uint16_t port;
	uint32_t addr_be;
};

static struct weir_error err;

static void need(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "steer: %s: %s\n", what, err.msg[0] ? err.msg : strerror(-ret));
	exit(1);
}

static uint32_t address(uint32_t i)
{
	return i * 2654435761U;
}

static int make_listener(void)
{
	const struct sockaddr_in any = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) || listen(fd, 1))
		need(-errno, "make a listener");
	return fd;
}

static void put_socket(int map_fd, int listener)
{
	uint32_t zero = 0;
	uint64_t fd = (uint64_t)listener;

	need(bpf_map_update_elem(map_fd, &zero, &fd, BPF_ANY) ? -errno : 0, "put the socket");
}

static struct weir_steer_generation make_weir(uint32_t n, bool any_port, int listener)
{
	const struct weir_steer_shared none = { -1, -1, -1, -1, true };
	const struct weir_steer_clock clock = { .jiffies = 1, .boot = 1, .tick = 4000000 };
	struct weir_steer_target target = { .to = "listen:0.0.0.0:1", .members = 1 };
	struct weir_steer_conf c = { .n_rules = n, .n_targets = 1, .targets = &target };
	struct weir_range port = { PORT, PORT };
	struct weir_steer_generation g;
	struct weir_steer_code code;
	struct weir_prefix *dst = calloc(n, sizeof(*dst));

	c.rules = calloc(n, sizeof(*c.rules));
	if (!dst || !c.rules)
		need(-ENOMEM, "make the rules");
	for (uint32_t i = 0; i < n; i++) {
		struct weir_steer_rule *r = &c.rules[i];
		uint32_t be = htonl(address(i));

		dst[i] = (struct weir_prefix){ .len = 128, .is_v4 = true };
		dst[i].addr.b[10] = dst[i].addr.b[11] = 0xff;
		memcpy(dst[i].addr.b + 12, &be, 4);
		snprintf(r->name, sizeof(r->name), "r%u", i);
		snprintf(r->to, sizeof(r->to), "%s", target.to);
		r->id = i % WEIR_RULES_MAX + 1;
		r->protos = 1U << WEIR_STEER_TCP;
		r->dst = &dst[i];
		r->n_dst = 1;
		r->ports = &port;
		r->n_ports = !any_port;
	}
	need(weir_steer_compile(&c, &clock, &code, &err), "compile");
	need(weir_steer_generation_make(&c, &code, &none, &g, &err), "load");
	put_socket(g.shared.sockets_fd, listener);
	weir_steer_code_free(&code);
	free(c.rules);
	free(dst);
	return g;
}

static void bind_two(struct steer_two_bpf *skel, uint32_t addr_be, uint16_t port)
{
	const struct two_key key = {
		.len = 64, .protocol = IPPROTO_TCP, .port = port, .addr_be = addr_be
	};
	uint32_t zero = 0;

	need(bpf_map_update_elem(bpf_map__fd(skel->maps.bindings), &key, &zero, BPF_ANY) ? -errno :
											   0,
	     "fill the other program");
}

static struct steer_two_bpf *make_two(uint32_t n, bool any_port, int listener)
{
	struct steer_two_bpf *skel = steer_two_bpf__open_and_load();

	if (!skel)
		need(-errno, "load the other program");
	for (uint32_t i = 0; i < n; i++)
		bind_two(skel, htonl(address(i)), any_port ? 0 : PORT);
	put_socket(bpf_map__fd(skel->maps.two_sockets), listener);
	return skel;
}

static uint32_t run(int prog_fd, uint32_t addr)
{
	struct bpf_sk_lookup ctx = {
		.family = AF_INET,
		.protocol = IPPROTO_TCP,
		.remote_port = htons(40000),
		.local_ip4 = htonl(addr),
		.local_port = PORT,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .repeat = REPEAT);

	need(bpf_prog_test_run_opts(prog_fd, &opts) ? -errno : 0, "test run");
	return opts.duration;
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void measure(uint32_t n, bool any_port)
{
	weir_autoclose int listener = make_listener();
	struct weir_steer_generation g = make_weir(n, any_port, listener);
	struct steer_two_bpf *two = make_two(n, any_port, listener);
	uint32_t ours[ROUNDS], theirs[ROUNDS];

	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t addr = address(i * 7919U % n);

		ours[i] = run(g.prog_fd, addr);
		theirs[i] = run(bpf_program__fd(two->progs.bench_steer_two), addr);
	}
	qsort(ours, ROUNDS, sizeof(*ours), compare);
	qsort(theirs, ROUNDS, sizeof(*theirs), compare);
	printf("{\"rules\":%u,\"port\":\"%s\",\"weir_ns\":{\"least\":%u,\"median\":%u},"
	       "\"two_lookups_ns\":{\"least\":%u,\"median\":%u}}\n",
	       n, any_port ? "any" : "hit", ours[0], ours[ROUNDS / 2], theirs[0],
	       theirs[ROUNDS / 2]);
	weir_steer_generation_close(&g);
	steer_two_bpf__destroy(two);
}

static void hold(uint32_t n, const char *addr, uint16_t port, const char *to)
{
	weir_autoclose int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct weir_steer_found found[WEIR_STEER_SPARE];
	struct weir_steer_finder finder = { 0 };
	struct steer_two_bpf *skel;
	struct in_addr in;
	int link;

	need(weir_steer_find(&finder, to, WEIR_STEER_TCP, found, &err), "find the socket");
	need(inet_pton(AF_INET, addr, &in) == 1 ? 0 : -EINVAL, addr);
	skel = make_two(n, false, found[0].fd);
	bind_two(skel, in.s_addr, port);
	link = bpf_link_create(bpf_program__fd(skel->progs.bench_steer_two), netns, BPF_SK_LOOKUP,
			       NULL);
	need(link < 0 ? -errno : 0, "attach the other program");
	printf("{\"ready\":true}\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	close(link);
	steer_two_bpf__destroy(skel);
}

int main(int argc, char **argv)
{
	static const uint32_t sizes[] = { 1, 1000, 50000 };

	if (argc == 6 && !strcmp(argv[1], "hold")) {
		weir_load_setup();
		hold((uint32_t)atoi(argv[2]), argv[3], (uint16_t)atoi(argv[4]), argv[5]);
		return 0;
	}
	if (unshare(CLONE_NEWNET))
		need(-errno, "make a namespace");
	weir_load_setup();
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(sizes); i++)
		for (int any = 0; any < 2; any++)
			measure(sizes[i], any);
	return 0;
}
