/* SPDX-License-Identifier: GPL-2.0-only */
/* Rate limits on the running kernel: bursts, rates, and who passes in a flood. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_ether.h>
#include <pthread.h>

#include "bpf/gate.h"
#include "bpf/parse.bpf.h"
#include "limit.skel.h"
#include "harness.h"
#include "policy/abi.h"

#define SECOND 1000000000ULL
/* What the verifier may look at for a program with one call or many. */
#define VERIFIED_MAX 40000
#define OFFERED 50 /* packets at a time, so that the machine is seen to look elsewhere */

static struct limit_bpf *skel;

static void load(void)
{
	int ret;

	skel = limit_bpf__open();
	CHECK(skel, "open: %s", strerror(errno));
	skel->rodata->weir_bucket_seed[0] = 0x0123456789abcdefULL;
	skel->rodata->weir_bucket_seed[1] = 0xfedcba9876543210ULL;
	ret = limit_bpf__load(skel);
	if (ret == -EPERM)
		SKIP("may not load BPF programs");
	CHECK(!ret, "load: %s", strerror(-ret));
}

static void run(const struct bpf_program *prog)
{
	uint8_t frame[ETH_HLEN] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	CHECK(!bpf_prog_test_run_opts(bpf_program__fd(prog), &opts), "test run: %s",
	      strerror(errno));
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static struct weir_limit packets(uint32_t rule, enum weir_limit_per per, uint64_t rate,
				 uint64_t burst)
{
	return (struct weir_limit){
		.rule = rule,
		.per = per,
		.cost = (SECOND << WEIR_LIMIT_COST_SHIFT) / rate,
		.depth = burst * SECOND / rate,
		.len4 = 32,
		.len6 = 64,
	};
}

/* Nothing drains while the test looks around. */
static struct weir_limit hourly(uint32_t rule, enum weir_limit_per per, uint64_t burst)
{
	struct weir_limit l = packets(rule, per, 1, burst);

	l.cost *= 3600;
	l.depth *= 3600;
	return l;
}

static struct weir_limit bits(uint32_t rule, enum weir_limit_per per, uint64_t rate, uint64_t burst)
{
	struct weir_limit l = packets(rule, per, rate, burst);

	l.bits = 1;
	return l;
}

static void put(uint32_t index, struct weir_limit l)
{
	CHECK(!bpf_map_update_elem(bpf_map__fd(skel->maps.weir_limits), &index, &l, BPF_ANY),
	      "limit: %s", strerror(errno));
}

static struct weir_scratch from(const char *address, uint32_t len)
{
	struct weir_scratch s = { .pkt = { .len = len }, .packets = 1 };

	if (inet_pton(AF_INET6, address, s.pkt.src) == 1) {
		s.pkt.flags = WEIR_PKT_IP6;
		return s;
	}
	s.pkt.src[10] = s.pkt.src[11] = 0xff;
	s.pkt.flags = WEIR_PKT_IP4;
	CHECK(inet_pton(AF_INET, address, s.pkt.src + 12) == 1, "%s", address);
	return s;
}

/* How many of @n packets pass the limits from @index on. */
static uint64_t offer(uint32_t index, uint32_t limits, struct weir_scratch s, uint32_t n)
{
	skel->bss->crowd = s;
	skel->bss->first = index;
	skel->bss->limits = limits;
	skel->bss->count = n;
	skel->bss->crowd_sent = skel->bss->crowd_passed = 0;
	run(skel->progs.send_crowd);
	CHECK_EQ(skel->bss->crowd_sent, n);
	return skel->bss->crowd_passed;
}

/* ---- Bursts: rates so slow that nothing drains meanwhile */

static void burst_rule(void)
{
	load();
	put(0, hourly(1, WEIR_PER_RULE, 200));
	CHECK_EQ(offer(0, 1, from("192.0.2.1", 100), 150), 150);
	CHECK_EQ(offer(0, 1, from("2001:db8::1", 100), 150), 50); /* all share the bucket */
	CHECK_EQ(offer(0, 1, from("192.0.2.1", 100), 1000), 0);
	put(1, hourly(2, WEIR_PER_RULE, 1));
	CHECK_EQ(offer(1, 1, from("192.0.2.1", 100), 10), 1);
}

static void burst_source(void)
{
	struct weir_scratch arp = from("192.0.2.3", 60);

	load();
	put(0, hourly(1, WEIR_PER_SOURCE, 200));
	CHECK_EQ(offer(0, 1, from("192.0.2.1", 100), 1000), 200);
	CHECK_EQ(offer(0, 1, from("192.0.2.2", 100), 1000), 200);
	CHECK_EQ(offer(0, 1, from("2001:db8::1", 100), 150), 150);
	CHECK_EQ(offer(0, 1, from("2001:db8::2", 100), 150), 50); /* the same /64 */
	CHECK_EQ(offer(0, 1, from("2001:db8:0:1::1", 100), 1000), 200);
	CHECK_EQ(offer(0, 1, (struct weir_scratch){ .pkt.len = 60, .packets = 1 }, 1000), 200);
	CHECK_EQ(offer(0, 1, (struct weir_scratch){ .pkt.len = 60, .packets = 1 }, 1000), 0);
	arp.pkt.flags = WEIR_PKT_ARP;
	CHECK_EQ(offer(0, 1, arp, 1000), 200);
	put(1, hourly(2, WEIR_PER_SOURCE, 10)); /* rules share nothing */
	CHECK_EQ(offer(1, 1, from("192.0.2.1", 100), 1000), 10);
}

static void burst_prefix(void)
{
	static const struct {
		uint8_t len4, len6;
		const char *a, *same, *other;
	} cases[] = {
		{ 24, 48, "192.0.2.1", "192.0.2.255", "192.0.3.1" },
		{ 1, 48, "1.0.0.0", "127.255.255.255", "128.0.0.0" },
		{ 31, 48, "192.0.2.2", "192.0.2.3", "192.0.2.4" },
		{ 24, 48, "2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1" },
		{ 24, 64, "2001:db8:1::1", "2001:db8:1::ffff", "2001:db8:1:1::1" },
		{ 24, 65, "2001:db8::1", "2001:db8::1:0:0:0", "2001:db8::8000:0:0:0" },
		{ 24, 127, "2001:db8::2", "2001:db8::3", "2001:db8::4" },
		{ 24, 128, "2001:db8::2", "2001:db8::2", "2001:db8::3" },
		{ 24, 1, "7fff::", "::", "8000::" },
	};

	struct weir_limit all = hourly(100, WEIR_PER_SOURCE, 100);

	load();
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct weir_limit l = hourly(i + 1, WEIR_PER_SOURCE, 100);

		l.len4 = cases[i].len4;
		l.len6 = cases[i].len6;
		put(i, l);
		CHECK_EQ(offer(i, 1, from(cases[i].a, 100), 60), 60);
		CHECK_EQ(offer(i, 1, from(cases[i].same, 100), 60), 40);
		CHECK_EQ(offer(i, 1, from(cases[i].other, 100), 1000), 100);
	}
	all.len4 = all.len6 = 0;
	put(100, all);
	CHECK_EQ(offer(100, 1, from("1.2.3.4", 100), 60), 60);
	CHECK_EQ(offer(100, 1, from("240.2.3.4", 100), 60), 40);
	CHECK_EQ(offer(100, 1, from("::1", 100), 60), 60);
	CHECK_EQ(offer(100, 1, from("ffff::1", 100), 60), 40);
}

static void burst_bits(void)
{
	load();
	put(0, bits(1, WEIR_PER_RULE, 1000, 80000));
	CHECK_EQ(offer(0, 1, from("192.0.2.1", 1000), 100), 10);
	put(1, bits(2, WEIR_PER_SOURCE, 1000, 80000));
	CHECK_EQ(offer(1, 1, from("192.0.2.1", 100), 50), 50);
	CHECK_EQ(offer(1, 1, from("192.0.2.1", 1000), 50), 5);
	/* Larger than the burst: one, when the bucket is full. */
	put(2, bits(3, WEIR_PER_SOURCE, 1000, 12144));
	CHECK_EQ(offer(2, 1, from("192.0.2.1", 65536), 50), 1);
	CHECK_EQ(offer(2, 1, from("192.0.2.1", 60), 50), 0);
}

/* ---- Rates */

/*
 * Send as fast as it goes, and see what is granted beyond the burst. Never more than the
 * rate. Nor much less, where so much was sent at all (an emulated machine is slow), and but
 * for the times when the machine looked elsewhere for longer than the burst lasts.
 */
static void check_rate(struct weir_limit l, struct weir_scratch s, double rate, double burst,
		       double least)
{
	static uint32_t rule = 1000;
	const uint64_t lasts = (uint64_t)(burst / rate * (double)SECOND);
	double got, sent = 0, granted = 0, seconds, heard, unit = l.bits ? s.pkt.len * 8 : 1;
	uint64_t start, last, now, away = 0;

	l.rule = rule++;
	put(0, l);
	start = last = now_ns();
	do {
		granted += unit * (double)offer(0, 1, s, OFFERED);
		sent += unit * OFFERED;
		now = now_ns();
		if (now - last > lasts)
			away += now - last - lasts;
		last = now;
	} while (now - start < 1500000000ULL);
	seconds = (double)(now - start) / (double)SECOND;
	heard = seconds - (double)away / (double)SECOND;
	got = (granted - burst) / seconds;
	printf("# %.0f/s: %.0f/s, %+.2f %%; sent %.3g/s, away for %.0f ms\n", rate, got,
	       100 * (got / rate - 1), sent / seconds, (seconds - heard) * 1000);
	CHECK(got < 1.02 * rate, "%.0f a second, not %.0f", got, rate);
	if (sent < burst + rate * heard)
		CHECK(granted > least * sent, "%.0f of %.0f, which is too little to be limited",
		      granted, sent);
	else
		CHECK(granted - burst > least * rate * heard, "%.0f a second, not %.0f", got, rate);
}

/* Bursts of a second. */
static void rates(void)
{
	struct weir_scratch s = from("192.0.2.1", 1500), s6 = from("2001:db8::1", 1500);
	struct weir_limit wide = packets(0, WEIR_PER_SOURCE, 10000, 10000);

	wide.len4 = 24;
	load();
	check_rate(packets(0, WEIR_PER_RULE, 1000, 1000), s, 1e3, 1e3, 0.95);
	check_rate(packets(0, WEIR_PER_SOURCE, 1000, 1000), s6, 1e3, 1e3, 0.95);
	check_rate(wide, s, 1e4, 1e4, 0.95);
	check_rate(packets(0, WEIR_PER_RULE, 100000, 100000), s, 1e5, 1e5, 0.95);
	check_rate(bits(0, WEIR_PER_RULE, 10000000, 10000000), s, 1e7, 1e7, 0.95);
	check_rate(bits(0, WEIR_PER_SOURCE, 1000000000, 1000000000), s, 1e9, 1e9, 0.95);
}

/* So short that the exact clock is asked; and packets larger than the whole burst. */
static void rates_short(void)
{
	struct weir_scratch s = from("192.0.2.1", 1500);

	load();
	check_rate(packets(0, WEIR_PER_RULE, 1000, 50), s, 1e3, 50, 0.5);
	check_rate(packets(0, WEIR_PER_SOURCE, 50000, 2000), s, 5e4, 2000, 0.5);
	check_rate(packets(0, WEIR_PER_RULE, 300000, 20000), s, 3e5, 2e4, 0.5);
	check_rate(bits(0, WEIR_PER_SOURCE, 1000000000, 50000000), s, 1e9, 5e7, 0.5);
	check_rate(bits(0, WEIR_PER_SOURCE, 10000000, 500000), from("192.0.2.1", 65536), 1e7, 5e5,
		   0.5);
}

static volatile bool stop;

static void *run_crowd(void *arg)
{
	(void)arg;
	while (!stop)
		run(skel->progs.send_crowd);
	return NULL;
}

/* Two CPUs at one bucket grant no more than one. */
static void rate_of_two(void)
{
	const double rate = 500000, burst = 40000;
	pthread_t threads[2];
	double got, sent, seconds;
	uint64_t start;

	load();
	put(0, packets(1, WEIR_PER_RULE, (uint64_t)rate, (uint64_t)burst));
	skel->bss->crowd = from("192.0.2.1", 100);
	skel->bss->limits = 1;
	skel->bss->count = 500;
	start = now_ns();
	for (int i = 0; i < 2; i++)
		CHECK(!pthread_create(&threads[i], NULL, run_crowd, NULL), "no thread");
	test_sleep_ms(1500);
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	seconds = (double)(now_ns() - start) / (double)SECOND;
	got = ((double)skel->bss->crowd_passed - burst) / seconds;
	sent = (double)skel->bss->crowd_sent / seconds;
	printf("# two CPUs: %.0f of %.0f a second, sent %.0f\n", got, rate, sent);
	CHECK(got < 1.02 * rate, "%.0f a second, not %.0f", got, rate);
	/* An emulated machine is slower than the limit. */
	if (sent > 2 * rate)
		CHECK(got > 0.5 * rate, "%.0f a second, not %.0f", got, rate);
}

/* ---- Floods */

/* @seconds of flood from @pool beside a client of 200 packets a second. */
static void flood(uint32_t limits, uint32_t pool, double seconds)
{
	uint64_t start = now_ns(), end = start + (uint64_t)(seconds * (double)SECOND);
	uint64_t sent = 0, passed = 0;

	skel->bss->pool = pool;
	skel->bss->polite = from("198.51.100.7", 100);
	skel->bss->polite_period = SECOND / 200;
	skel->bss->polite_sent = skel->bss->polite_passed = 0;
	while (now_ns() < end) {
		passed += offer(0, limits, from("0.0.0.0", 100), 2000);
		sent += 2000;
	}
	printf("# flood: %.2f M/s sent, %.0f/s passed; client: %llu of %llu\n",
	       (double)sent / seconds / 1e6, (double)passed / seconds,
	       (unsigned long long)skel->bss->polite_passed,
	       (unsigned long long)skel->bss->polite_sent);
}

static double polite_share(void)
{
	CHECK(skel->bss->polite_sent > 100, "the client sent only %llu",
	      (unsigned long long)skel->bss->polite_sent);
	return (double)skel->bss->polite_passed / (double)skel->bss->polite_sent;
}

static void put_three(uint64_t all_rate, uint64_t all_burst)
{
	struct weir_limit wide = packets(2, WEIR_PER_SOURCE, 5000, 500);

	wide.len4 = 24;
	put(0, packets(1, WEIR_PER_SOURCE, 1000, 200));
	put(1, wide);
	put(2, packets(3, WEIR_PER_RULE, all_rate, all_burst));
}

static void flood_below_global(void)
{
	load();
	put_three(100000000, 10000000);
	flood(3, 0xfffff, 4);
	CHECK(polite_share() >= 0.99, "only %.1f %% of its packets", 100 * polite_share());
}

/* The rule's bucket is empty all the time; the client was there before. */
static void flood_above_global(void)
{
	static const uint32_t pools[] = { 0xfffff, 0xffffffff };

	load();
	put_three(20000, 2000);
	skel->bss->first = 0;
	skel->bss->limits = 3;
	skel->bss->polite = from("198.51.100.7", 100);
	skel->bss->polite_period = SECOND / 200;
	for (int i = 0; i < 6000; i++) {
		run(skel->progs.send_polite);
		test_sleep_ms(1);
	}
	CHECK_EQ(skel->bss->polite_passed, skel->bss->polite_sent);
	for (int i = 0; i < 2; i++) {
		flood(3, pools[i], 6);
		CHECK(polite_share() >= 0.99, "only %.1f %% of its packets", 100 * polite_share());
	}
}

/* A source that sends too much stays limited while others want its bucket. */
static void flood_keeps_buckets(void)
{
	double share;

	load();
	put(0, packets(1, WEIR_PER_SOURCE, 10, 5));
	flood(1, 0xfffff, 5);
	share = (double)skel->bss->polite_passed / (10 * 5 + 5);
	CHECK(share > 0.9 && share < 1.1, "%llu passed of about 55",
	      (unsigned long long)skel->bss->polite_passed);
}

/* ---- The rest */

static void snapshot(struct weir_bucket_line *to)
{
	for (uint32_t i = 0; i < WEIR_BUCKET_LINES; i++)
		CHECK(!bpf_map_lookup_elem(bpf_map__fd(skel->maps.weir_buckets), &i, &to[i]),
		      "lookup: %s", strerror(errno));
}

/* A test run answers as if the packet came now, and leaves no trace. */
static void test_runs(void)
{
	const size_t size = WEIR_BUCKET_LINES * sizeof(struct weir_bucket_line);
	struct weir_bucket_line *before = malloc(size), *after = malloc(size);
	struct weir_scratch s = from("192.0.2.1", 100), fresh = from("192.0.2.2", 100);
	struct weir_limit wide = hourly(3, WEIR_PER_SOURCE, 10);

	CHECK(before && after, "out of memory");
	wide.len4 = 24;
	load();
	put(0, hourly(1, WEIR_PER_RULE, 10));
	put(1, hourly(2, WEIR_PER_SOURCE, 10));
	put(2, wide);
	for (uint32_t i = 0; i < 3; i++)
		CHECK_EQ(offer(i, 1, s, 9), 9);
	snapshot(before);
	s.flags = fresh.flags = WEIR_SCRATCH_TEST;
	for (uint32_t i = 0; i < 3; i++) {
		CHECK_EQ(offer(i, 1, s, 100), 100);
		CHECK_EQ(offer(i, 1, fresh, 100), 100);
	}
	snapshot(after);
	CHECK(!memcmp(before, after, size), "a test run changed a bucket");
	s.flags = 0;
	for (uint32_t i = 0; i < 3; i++)
		CHECK_EQ(offer(i, 1, s, 9), 1);
	snapshot(before);
	s.flags = WEIR_SCRATCH_TEST;
	for (uint32_t i = 0; i < 3; i++)
		CHECK_EQ(offer(i, 1, s, 100), 0);
	snapshot(after);
	CHECK(!memcmp(before, after, size), "a test run changed a bucket");
	free(before);
	free(after);
}

/* A rule that was an hour's wait and is made a fast one works at once. */
static void faster(void)
{
	load();
	put(0, hourly(1, WEIR_PER_RULE, 3600));
	CHECK_EQ(offer(0, 1, from("192.0.2.1", 100), 5000), 3600);
	put(0, packets(1, WEIR_PER_RULE, 1000, 100));
	offer(0, 1, from("192.0.2.1", 100), 10);
	test_sleep_ms(200);
	CHECK(offer(0, 1, from("192.0.2.1", 100), 1000) >= 70, "it still waits");
}

static void no_such_limit(void)
{
	load();
	CHECK_EQ(offer(WEIR_LIMITS_MAX, 1, from("192.0.2.1", 100), 10), 10);
}

static void verifier_budget(void)
{
	char log[4096];
	int ret;

	skel = limit_bpf__open();
	CHECK(skel, "open: %s", strerror(errno));
	bpf_program__set_log_level(skel->progs.send_crowd, 4);
	bpf_program__set_log_buf(skel->progs.send_crowd, log, sizeof(log));
	ret = limit_bpf__load(skel);
	if (ret == -EPERM)
		SKIP("may not load BPF programs");
	CHECK(!ret, "load: %s", strerror(-ret));
	CHECK(strstr(log, "processed "), "the verifier does not tell: %s", log);
	ret = atoi(strstr(log, "processed ") + strlen("processed "));
	printf("# verifier: %d instructions\n", ret);
	CHECK(ret <= VERIFIED_MAX, "the verifier looked at %d instructions, more than %d", ret,
	      VERIFIED_MAX);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "burst_rule", burst_rule },
		{ "burst_source", burst_source },
		{ "burst_prefix", burst_prefix },
		{ "burst_bits", burst_bits },
		{ "rates", rates },
		{ "rates_short", rates_short },
		{ "rate_of_two", rate_of_two },
		{ "flood_below_global", flood_below_global },
		{ "flood_above_global", flood_above_global },
		{ "flood_keeps_buckets", flood_keeps_buckets },
		{ "test_runs", test_runs },
		{ "faster", faster },
		{ "no_such_limit", no_such_limit },
		{ "verifier_budget", verifier_budget },
	};

	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
