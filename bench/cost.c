/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs on an interface cost, in ns a packet, as JSON.
 *
 * cost run DEV N     N runs of its XDP program on one packet (PROG_TEST_RUN)
 * cost stats DEV S   for S seconds, the kernel's own statistics of its XDP and
 *                    tcx programs under the traffic of that time
 */
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define PROGS_MAX 16
#define TCX_INGRESS 46 /* BPF_TCX_INGRESS, not in libbpf 1.1's headers */

struct prog {
	int fd;
	struct bpf_prog_info info;
};

static int get_info(struct prog *p)
{
	__u32 len = sizeof(p->info);

	memset(&p->info, 0, sizeof(p->info));
	return bpf_obj_get_info_by_fd(p->fd, &p->info, &len);
}

static int add_prog(struct prog *progs, int n, __u32 id)
{
	progs[n].fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	return progs[n].fd >= 0 && !get_info(&progs[n]) ? n + 1 : n;
}

static int find_progs(const char *dev, struct prog progs[PROGS_MAX], bool tc)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, xdp);
	__u32 ids[PROGS_MAX - 1], count = PROGS_MAX - 1;
	int n = 0, ifindex = (int)if_nametoindex(dev);

	if (!bpf_xdp_query(ifindex, 0, &xdp))
		n = add_prog(progs, n, xdp.drv_prog_id ? xdp.drv_prog_id : xdp.skb_prog_id);
	if (tc && !bpf_prog_query(ifindex, TCX_INGRESS, 0, NULL, ids, &count))
		for (__u32 i = 0; i < count; i++)
			n = add_prog(progs, n, ids[i]);
	return n;
}

/* A UDP packet of 64 bytes over IPv4. */
static const unsigned char packet[64] = {
	2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0,
	0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0x91, 0xa1, 198, 18, 0, 1, 198, 18, 0, 2,
	4, 0, 0, 9, 0, 30,
};

static int run(const char *dev, int repeat)
{
	struct xdp_md ctx = {.data_end = sizeof(packet), .ingress_ifindex = if_nametoindex(dev)};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = repeat);
	struct prog progs[PROGS_MAX];

	if (!find_progs(dev, progs, false)) {
		fprintf(stderr, "cost: no XDP program on %s\n", dev);
		return 1;
	}
	if (bpf_prog_test_run_opts(progs[0].fd, &opts)) {
		fprintf(stderr, "cost: cannot run '%s': %s\n", progs[0].info.name, strerror(errno));
		return 1;
	}
	printf("{\"prog\": \"%s\", \"ns\": %u}\n", progs[0].info.name, opts.duration);
	return 0;
}

static int stats(const char *dev, double seconds)
{
	struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
	struct prog progs[PROGS_MAX], before;
	int n = find_progs(dev, progs, true), fd = bpf_enable_stats(BPF_STATS_RUN_TIME);

	if (fd < 0) {
		fprintf(stderr, "cost: cannot enable statistics: %s\n", strerror(errno));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	nanosleep(&t, NULL);
	printf("{\"progs\": [");
	for (int i = 0; i < n; i++) {
		before = progs[i];
		if (get_info(&progs[i]))
			return 1;
		printf("%s{\"prog\": \"%s\", \"ns\": %llu, \"runs\": %llu}", i ? ", " : "",
		       progs[i].info.name,
		       progs[i].info.run_time_ns - before.info.run_time_ns,
		       progs[i].info.run_cnt - before.info.run_cnt);
	}
	printf("]}\n");
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	double arg = argc == 4 ? strtod(argv[3], NULL) : 0;

	if (arg > 0 && !strcmp(argv[1], "run"))
		return run(argv[2], (int)arg);
	if (arg > 0 && !strcmp(argv[1], "stats"))
		return stats(argv[2], arg);
	fprintf(stderr, "usage: cost run DEV N | cost stats DEV SECONDS\n");
	return 2;
}
