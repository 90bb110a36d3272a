/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a program costs for packets that are not all the same, in ns a packet.
 *
 * vary feed 4|6 N	print N prefixes, one a line, as feeds of block lists have them
 * vary bare|bare-tc	measure an XDP, or tc, program that only passes
 * vary lpm4|lpm6|hash4 N	one with the kernel's LPM trie (hash table) of that feed
 * vary xdp|in|out DEV	the program at XDP, or the first one at tcx, of DEV
 *
 * All but the first answer with lines of JSON: to begin with how long the map took to
 * fill, and its size; then for each line "PACKET KIND N RUNS" that they read the ns of
 * one run in RUNS of them (PROG_TEST_RUN), and the share of packets that were dropped.
 * KIND "same" repeats one packet; the others (bench/vary.h) give each packet another
 * source, by a program that then calls the one that is measured: take off what "bare"
 * costs for the same packets.
 */
#include <arpa/inet.h>
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

#include "vary.h"
#include "vary.skel.h"

#define TCX_INGRESS 46 /* BPF_TCX_INGRESS, not in libbpf 1.1's headers */
#define TCX_EGRESS 47
#define BATCH 4096
#define SAMPLE 200 /* packets that are looked at one by one */
#define FRAME 80

struct key4 {
	unsigned int len;
	struct in_addr addr;
};

struct key6 {
	unsigned int len;
	unsigned char addr[16];
};

static const struct packet {
	const char *name;
	unsigned int size;
	unsigned char data[FRAME];
} packets[] = {
#define ETH(...) 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, __VA_ARGS__
#define IP4(proto, from, to) \
	ETH(8, 0), 0x45, 0, 0, 50, 0, 0, 0, 0, 64, proto, 0, 0, 198, 18, 0, from, 198, 18, 0, to
#define NET6 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
#define IP6(from, to) ETH(0x86, 0xdd), 0x60, 0, 0, 0, 0, 20, 17, 64, NET6, from, NET6, to
#define UDP(from, to) 4, from, 0, to, 0, 30
	{ "udp", 64, { IP4(17, 1, 2), UDP(0, 9) } },
	{ "other", 64, { IP4(17, 1, 2), UDP(0, 10) } },		  /* another port */
	{ "stranger", 64, { IP4(17, 3, 2), UDP(0, 10) } },	  /* from another address, too */
	{ "answered", 64, { IP4(17, 2, 1), 0, 9, 4, 0, 0, 30 } }, /* what "udp" answers */
	{ "udp6", 74, { IP6(1, 2), UDP(0, 9) } },
};

static const char *const kinds[VARY_KINDS] = { "random", "near", "hit", "first", "flow" };

/* How many of VARY_LENGTHS prefixes have each length; the rest are addresses. */
static const unsigned int per_length4[33] = {
	[16] = 1,   [17] = 2,  [18] = 4,  [19] = 8,  [20] = 16, [21] = 16, [22] = 33, [23] = 41,
	[24] = 655, [25] = 82, [26] = 82, [27] = 82, [28] = 82, [29] = 82, [30] = 82, [31] = 82,
};

static void make_lengths(unsigned char lengths4[VARY_LENGTHS], unsigned char lengths6[VARY_LENGTHS])
{
	unsigned int at = 0;

	for (unsigned int len = 0; len < 33; len++)
		for (unsigned int i = 0; i < per_length4[len]; i++)
			lengths4[at++] = (unsigned char)len;
	memset(lengths4 + at, 32, VARY_LENGTHS - at);
	for (unsigned int i = 0; i < VARY_LENGTHS; i++)
		lengths6[i] = i % 4 ? (unsigned char)(44 + i % 21) : 128;
	lengths6[1] = 32;
	lengths6[2] = 36;
	lengths6[3] = 40;
}

static void get_key4(const unsigned char *lengths, unsigned int i, struct key4 *k)
{
	unsigned int draw, addr = vary_prefix4(i, &draw);

	k->len = lengths[draw];
	k->addr.s_addr = htonl(addr & vary_mask4(k->len));
}

static void get_key6(const unsigned char *lengths, unsigned int i, struct key6 *k)
{
	unsigned int draw;
	struct vary_v6 a = vary_prefix6(i, &draw);

	k->len = lengths[draw];
	for (unsigned int bit = 0; bit < 128; bit++) {
		unsigned long long word = bit < 64 ? a.high : a.low;

		if (!(bit % 8))
			k->addr[bit / 8] = 0;
		if (bit < k->len)
			k->addr[bit / 8] |=
				(unsigned char)((word >> (63 - bit % 64) & 1) << (7 - bit % 8));
	}
}

static int print_feed(bool six, unsigned int n)
{
	unsigned char lengths4[VARY_LENGTHS], lengths6[VARY_LENGTHS];
	char text[INET6_ADDRSTRLEN];
	struct key4 k4;
	struct key6 k6;

	make_lengths(lengths4, lengths6);
	printf("# %u prefixes\n", n);
	for (unsigned int i = 0; i < n; i++) {
		if (six)
			get_key6(lengths6, i, &k6);
		else
			get_key4(lengths4, i, &k4);
		inet_ntop(six ? AF_INET6 : AF_INET, six ? (void *)k6.addr : (void *)&k4.addr, text,
			  sizeof(text));
		printf("%s/%u\n", text, six ? k6.len : k4.len);
	}
	return fflush(stdout) ? 1 : 0;
}

/* ---- What is measured */

struct subject {
	struct vary_bpf *skel;
	const char *dev; /* NULL: one of our own programs */
	int hook;	 /* 0 XDP, else TCX_* */
	int fd;
	double seconds;	 /* to fill the map */
	long long bytes; /* that it takes */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long long memory(int fd)
{
	char path[64], line[128];
	long long bytes = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "memlock: %lld", &bytes);
	if (f)
		fclose(f);
	return bytes;
}

static int fill(const struct bpf_map *map, const struct vary_bpf *s, unsigned int n)
{
	static unsigned char keys[BATCH * sizeof(struct key6)];
	static unsigned int values[BATCH];
	const unsigned char *lengths4 = (const unsigned char *)s->rodata->lengths4;
	const unsigned char *lengths6 = (const unsigned char *)s->rodata->lengths6;
	struct key4 k4;
	int ret;

	for (unsigned int i = 0; i < n; i += BATCH) {
		unsigned int count = n - i < BATCH ? n - i : BATCH;

		for (unsigned int j = 0; j < count; j++) {
			if (map == s->maps.lpm4) {
				get_key4(lengths4, i + j, &((struct key4 *)(void *)keys)[j]);
			} else if (map == s->maps.lpm6) {
				get_key6(lengths6, i + j, &((struct key6 *)(void *)keys)[j]);
			} else {
				get_key4(lengths4, i + j, &k4);
				((struct in_addr *)(void *)keys)[j] = k4.addr;
			}
		}
		ret = bpf_map_update_batch(bpf_map__fd(map), keys, values, &count, NULL);
		if (ret)
			return ret;
	}
	return 0;
}

static int load(struct subject *s, const char *what, unsigned int n)
{
	const char *names[] = { "lpm4", "lpm6", "hash4", "bare", "bare-tc" };
	struct vary_bpf *v = s->skel = vary_bpf__open();
	struct bpf_map *const maps[] = { v->maps.lpm4, v->maps.lpm6, v->maps.hash4 };
	struct bpf_program *const progs[] = { v->progs.drop_lpm4, v->progs.drop_lpm6,
					      v->progs.drop_hash4, v->progs.bare_frags,
					      v->progs.bare_tc };
	int which = -1, ret;

	for (int i = 0; i < 5; i++)
		if (!strcmp(what, names[i]))
			which = i;
	make_lengths((unsigned char *)v->rodata->lengths4, (unsigned char *)v->rodata->lengths6);
	if (which >= 0 && which < 3)
		bpf_map__set_max_entries(maps[which], n);
	/* A tail call joins only programs that say the same about where they are to be
	 * attached. Weir's say nothing; the plain one is for those that libxdp loads. */
	for (int i = 0; i < 5; i++)
		bpf_program__set_expected_attach_type(progs[i], 0);
	bpf_program__set_expected_attach_type(v->progs.vary_frags, 0);
	bpf_program__set_expected_attach_type(v->progs.vary_tc, 0);
	ret = vary_bpf__load(v);
	if (!ret && which >= 0 && which < 3) {
		s->seconds = now();
		ret = fill(maps[which], v, n);
		s->seconds = now() - s->seconds;
		s->bytes = memory(bpf_map__fd(maps[which]));
	}
	if (!ret && which >= 0)
		s->fd = bpf_program__fd(progs[which]);
	v->bss->state.random = 88172645463325252ULL;
	return ret;
}

/* The program on the interface may be another one at each line. */
static int find(struct subject *s)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, xdp);
	int ifindex = (int)if_nametoindex(s->dev);
	__u32 ids[16] = { 0 }, count = 16;

	if (!s->hook && !bpf_xdp_query(ifindex, 0, &xdp))
		ids[0] = xdp.drv_prog_id ? xdp.drv_prog_id : xdp.skb_prog_id;
	else if (s->hook)
		bpf_prog_query(ifindex, (enum bpf_attach_type)s->hook, 0, NULL, ids, &count);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = ids[0] ? bpf_prog_get_fd_by_id(ids[0]) : -1;
	return s->fd >= 0 ? 0 : -ENOENT;
}

/* The program that changes the packets, in front of the one that is measured. */
static int put_in_front(const struct subject *s)
{
	const struct vary_bpf *v = s->skel;
	const __u32 zero = 0;

	if (s->hook)
		return bpf_map_update_elem(bpf_map__fd(v->maps.next_tc), &zero, &s->fd, 0) ?
			       -errno :
			       bpf_program__fd(v->progs.vary_tc);
	if (!bpf_map_update_elem(bpf_map__fd(v->maps.next_frags), &zero, &s->fd, 0))
		return bpf_program__fd(v->progs.vary_frags);
	if (!bpf_map_update_elem(bpf_map__fd(v->maps.next_plain), &zero, &s->fd, 0))
		return bpf_program__fd(v->progs.vary_plain);
	return -errno;
}

static int run_n(const struct subject *s, int fd, const struct packet *p, int n,
		 struct bpf_test_run_opts *opts)
{
	static unsigned char out[FRAME + 64];
	struct xdp_md xdp = { .data_end = p->size };
	struct __sk_buff skb = { 0 };

	memset(opts, 0, sizeof(*opts));
	opts->sz = sizeof(*opts);
	opts->data_in = p->data;
	opts->data_size_in = p->size;
	opts->data_out = out;
	opts->data_size_out = sizeof(out);
	opts->repeat = n;
	if (s->hook) {
		skb.ifindex = s->dev ? if_nametoindex(s->dev) : 1;
		opts->ctx_in = &skb;
		opts->ctx_size_in = sizeof(skb);
	} else {
		xdp.ingress_ifindex = s->dev ? if_nametoindex(s->dev) : 0;
		opts->ctx_in = &xdp;
		opts->ctx_size_in = sizeof(xdp);
	}
	return bpf_prog_test_run_opts(fd, opts) ? -errno : 0;
}

static int measure(struct subject *s, const struct packet *p, int kind, unsigned int n, int runs)
{
	const unsigned int drop = s->hook ? 2 : 1; /* TC_ACT_SHOT, XDP_DROP */
	struct bpf_test_run_opts opts;
	int ret = s->dev ? find(s) : 0, fd = s->fd, dropped = 0;
	unsigned int ns;

	if (!ret && kind >= 0) {
		s->skel->bss->state.kind = (unsigned int)kind;
		s->skel->bss->state.n = n;
		fd = put_in_front(s);
		ret = fd < 0 ? fd : 0;
	}
	if (!ret)
		ret = run_n(s, fd, p, runs, &opts);
	ns = opts.duration;
	for (int i = 0; !ret && i < SAMPLE; i++) {
		ret = run_n(s, fd, p, 1, &opts);
		dropped += opts.retval == drop;
	}
	if (!ret)
		printf("{\"ns\": %u, \"dropped\": %.3f}\n", ns, (double)dropped / SAMPLE);
	fflush(stdout);
	return ret;
}

static int serve(struct subject *s)
{
	const struct packet *p;
	char line[128], packet[16], kind[16];
	unsigned int n;
	int runs, which, ret;

	while (fgets(line, sizeof(line), stdin)) {
		p = NULL;
		which = -2;
		if (sscanf(line, "%15s %15s %u %d", packet, kind, &n, &runs) == 4) {
			for (size_t i = 0; i < sizeof(packets) / sizeof(*packets); i++)
				if (!strcmp(packet, packets[i].name))
					p = &packets[i];
			which = strcmp(kind, "same") ? -2 : -1;
			for (int i = 0; i < VARY_KINDS; i++)
				if (!strcmp(kind, kinds[i]))
					which = i;
		}
		if (!p || which == -2 || runs < 1) {
			fprintf(stderr, "vary: give lines \"PACKET KIND N RUNS\", not: %s", line);
			return 2;
		}
		ret = measure(s, p, which, n, runs);
		if (ret) {
			fprintf(stderr, "vary: cannot run the program: %s\n", strerror(-ret));
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";
	unsigned int n = (unsigned int)strtoul(argc > 3 ? argv[3] : arg, NULL, 10);
	struct subject s = { .fd = -1 };
	int ret;

	if (argc == 4 && !strcmp(what, "feed") && n)
		return print_feed(*arg == '6', n);
	if (argc == 3 && (!strcmp(what, "xdp") || !strcmp(what, "in") || !strcmp(what, "out")))
		s.dev = arg;
	else if (!(argc == 3 && n) && strncmp(what, "bare", 4)) {
		fprintf(stderr, "usage: vary feed 4|6 N | bare | bare-tc | lpm4|lpm6|hash4 N | "
				"xdp|in|out DEV\n");
		return 2;
	}
	if (!strcmp(what, "in") || !strcmp(what, "out") || !strcmp(what, "bare-tc"))
		s.hook = *what == 'i' ? TCX_INGRESS : TCX_EGRESS;
	ret = load(&s, what, n);
	if (ret) {
		fprintf(stderr, "vary: cannot load the programs: %s\n", strerror(-ret));
		return 1;
	}
	printf("{\"seconds\": %.3f, \"bytes\": %lld}\n", s.seconds, s.bytes);
	fflush(stdout);
	ret = serve(&s);
	vary_bpf__destroy(s.skel);
	return ret;
}
