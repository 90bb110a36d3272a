/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a set of prefixes costs, as one line of JSON.
 *
 * set hosts|nets|v6 N   N random IPv4 addresses; N IPv4 prefixes of all lengths from
 *                       8 to 32; N IPv6 prefixes from /32 to /64, every fourth a /128
 *
 * Look-ups (the programs of tests/bpf/set.bpf.c) are PROG_TEST_RUN over a list of
 * random addresses, one a run, less what the same costs without a look-up: least and
 * median ns of ROUNDS, taken in turn. "near" are misses that differ from a prefix only
 * in its last bit. A change is what a command does: map the set, change it, unmap.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dataplane/load.h"
#include "dataplane/set.h"

#include "set.skel.h"

#define ADDRS (1U << 20)
#define ROUNDS 9
#define CHANGES 15
#define WATCH_MS 200

enum kind { HOSTS, NETS, V6, KINDS };
static const char *const kinds[KINDS] = { "hosts", "nets", "v6" };

struct addr_state { /* struct state of the programs */
	uint32_t next, n;
	uint64_t hits;
	struct weir_addr at;
};

struct bench {
	enum kind kind;
	struct weir_prefix *v;
	size_t n;
	struct weir_set set;
	struct set_bpf *skel;
	struct addr_state *state;
	struct weir_addr *addrs;
};

static struct weir_error err;

__attribute__((noreturn)) static void die(const char *what, int code)
{
	fprintf(stderr, "set: cannot %s: %s\n", what, err.msg[0] ? err.msg : strerror(-code));
	exit(1);
}

static uint64_t random_word(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x * 0x2545f4914f6cdd1dULL;
}

static double ms_since(uint64_t start)
{
	return (double)(weir_clock_mono() - start) / 1e6;
}

/* ---- Prefixes and addresses */

/* An address where hosts are: 1.0.0.0 to 223.255.255.255, 2000::/3. */
static struct weir_addr random_addr(enum kind kind)
{
	struct weir_addr a = { { [10] = 0xff, 0xff } };
	uint64_t word[2] = { random_word(), random_word() };

	if (kind == V6) {
		memcpy(a.b, word, sizeof(word));
		a.b[0] = 0x20 | (a.b[0] & 0x1f);
		return a;
	}
	memcpy(a.b + 12, word, 4);
	a.b[12] = (uint8_t)(1 + (word[0] >> 40) % 223);
	return a;
}

/* How many prefixes of a million have each length; the rest are addresses. */
static const unsigned int per_length[33] = {
	[8] = 1,	[9] = 1,	[10] = 1,	[11] = 1,	[12] = 1,
	[13] = 2,	[14] = 5,	[15] = 20,	[16] = 300,	[17] = 400,
	[18] = 1000,	[19] = 2000,	[20] = 4000,	[21] = 4000,	[22] = 8000,
	[23] = 10000,	[24] = 160000,	[25] = 20000,	[26] = 20000,	[27] = 20000,
	[28] = 20000,	[29] = 20000,	[30] = 20000,	[31] = 20000,
};

static unsigned int length_of(enum kind kind, size_t i, size_t n)
{
	size_t at = (size_t)((double)i * 1e6 / (double)n);

	if (kind == HOSTS)
		return 128;
	if (kind == V6)
		return i % 4 ? 32 + (unsigned int)(i % 33) : 128;
	for (unsigned int len = 8; len < 32; len++) {
		if (at < per_length[len])
			return 96 + len;
		at -= per_length[len];
	}
	return 128;
}

static void clear_host(struct weir_prefix *p)
{
	for (unsigned int i = p->len; i < 128; i++)
		p->addr.b[i / 8] &= (uint8_t)~(0x80 >> i % 8);
}

static void make_prefixes(struct bench *b)
{
	b->v = calloc(b->n, sizeof(*b->v));
	if (!b->v)
		die("make prefixes", -ENOMEM);
	for (size_t i = 0; i < b->n; i++) {
		b->v[i] = (struct weir_prefix){ .addr = random_addr(b->kind),
						.len = (uint8_t)length_of(b->kind, i, b->n),
						.is_v4 = b->kind != V6 };
		clear_host(&b->v[i]);
	}
	for (size_t i = b->n; i > 1; i--) {
		size_t k = random_word() % i;
		struct weir_prefix p = b->v[k];

		b->v[k] = b->v[i - 1];
		b->v[i - 1] = p;
	}
}

/* In a random prefix, or beside it. */
static struct weir_addr addr_of_prefix(const struct bench *b, bool near)
{
	const struct weir_prefix *p = &b->v[random_word() % b->n];
	struct weir_addr a = random_addr(b->kind);

	for (unsigned int i = 0; i < p->len; i++) {
		uint8_t bit = (uint8_t)(0x80 >> i % 8);

		a.b[i / 8] = (uint8_t)((a.b[i / 8] & ~bit) | (p->addr.b[i / 8] & bit));
	}
	if (near)
		a.b[(p->len - 1) / 8] ^= (uint8_t)(0x80 >> (p->len - 1) % 8);
	return a;
}

enum what { MISS, NEAR, HIT };

static void fill_addrs(struct bench *b, enum what what)
{
	for (uint32_t i = 0; i < ADDRS;) {
		b->addrs[i] = what == MISS ? random_addr(b->kind) :
					     addr_of_prefix(b, what == NEAR);
		i += weir_set_contains(&b->set, &b->addrs[i]) == (what == HIT);
	}
}

/* ---- Look-ups */

static void open_programs(struct bench *b)
{
	const int table = b->set.fd[WEIR_SET_TABLE4], trie = b->set.fd[WEIR_SET_TRIE];
	int ret = 0;

	b->skel = set_bpf__open();
	if (!b->skel)
		die("open the programs", -errno);
	bpf_map__set_max_entries(b->skel->maps.addrs, ADDRS);
	if (table >= 0)
		ret = bpf_map__reuse_fd(b->skel->maps.table4, table);
	if (!ret && trie >= 0)
		ret = bpf_map__reuse_fd(b->skel->maps.trie, trie);
	if (!ret)
		ret = weir_load(b->skel->obj, NULL, &err);
	if (ret)
		die("load the programs", ret);
	b->state = mmap(NULL, sizeof(*b->state), PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(b->skel->maps.state), 0);
	b->addrs = mmap(NULL, ADDRS * sizeof(*b->addrs), PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(b->skel->maps.addrs), 0);
	if (b->state == MAP_FAILED || b->addrs == MAP_FAILED)
		die("map the addresses", -errno);
}

static void close_programs(struct bench *b)
{
	munmap(b->state, sizeof(*b->state));
	munmap(b->addrs, ADDRS * sizeof(*b->addrs));
	set_bpf__destroy(b->skel);
}

static double run(struct bench *b, const struct bpf_program *prog, uint64_t hits)
{
	char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)ADDRS);

	*b->state = (struct addr_state){ .n = ADDRS };
	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &opts))
		die("run a program", -errno);
	if (prog != b->skel->progs.set_none && b->state->hits != hits)
		die("trust the programs: they count other hits than user space", -EPROTO);
	return opts.duration;
}

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void look(struct bench *b, const char *name, enum what what)
{
	const struct bpf_program *prog = b->set.fd[WEIR_SET_TABLE4] >= 0 ?
						 b->skel->progs.set_look4 :
						 b->skel->progs.set_look6;
	double none[ROUNDS], ns[ROUNDS];

	fill_addrs(b, what);
	for (int i = 0; i < ROUNDS; i++) {
		none[i] = run(b, b->skel->progs.set_none, 0);
		ns[i] = run(b, prog, what == HIT ? ADDRS : 0);
	}
	qsort(none, ROUNDS, sizeof(*none), compare);
	qsort(ns, ROUNDS, sizeof(*ns), compare);
	printf(", \"%s_ns\": [%.0f, %.0f]", name, ns[0] - none[0],
	       ns[ROUNDS / 2] - none[ROUNDS / 2]);
}

/* ---- Load and change */

static void load(struct bench *b)
{
	int fd = memfd_create("feed", 0);
	FILE *f = fd < 0 ? NULL : fdopen(dup(fd), "w");
	weir_autofree struct weir_prefix *v = NULL;
	char text[WEIR_ADDR_STRLEN], path[32];
	struct weir_set s;
	uint64_t start;
	double read_ms;
	size_t n;
	int ret;

	if (!f)
		die("make a file", -errno);
	for (size_t i = 0; i < b->n; i++)
		fprintf(f, "%s\n", weir_prefix_str(&b->v[i], text));
	fclose(f);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	start = weir_clock_mono();
	ret = weir_set_read(path, &v, &n, &err);
	read_ms = ms_since(start);
	if (!ret)
		ret = weir_set_create(&s, v, n, &err);
	if (ret)
		die("load", ret);
	printf(", \"load_ms\": %.1f, \"of_it_read_ms\": %.1f", ms_since(start), read_ms);
	weir_set_close(&s);
	close(fd);
}

static double change(struct bench *b, const struct weir_prefix *p, bool add)
{
	struct weir_set s;
	uint64_t start;
	double ms;
	int ret;

	weir_set_init(&s);
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		s.fd[i] = b->set.fd[i] < 0 ? -1 : dup(b->set.fd[i]);
		s.size[i] = b->set.size[i];
	}
	start = weir_clock_mono();
	ret = add ? weir_set_add(&s, p, 1, &err) : weir_set_del(&s, p, 1, &err);
	weir_set_close(&s);
	ms = ms_since(start);
	if (ret)
		die("change the set", ret);
	return ms;
}

static void changes(struct bench *b)
{
	double add[CHANGES], del[CHANGES];

	for (int i = 0; i < CHANGES; i++) {
		struct weir_prefix p = { .addr = random_addr(b->kind), .len = 128,
					 .is_v4 = b->kind != V6 };

		add[i] = change(b, &p, true);
		/* Every third one of those that were loaded. */
		del[i] = change(b, i % 3 ? &p : &b->v[random_word() % b->n], false);
	}
	qsort(add, CHANGES, sizeof(*add), compare);
	qsort(del, CHANGES, sizeof(*del), compare);
	printf(", \"add_ms\": [%.2f, %.2f], \"del_ms\": [%.2f, %.2f]", add[0], add[CHANGES / 2],
	       del[0], del[CHANGES / 2]);
}

/* ---- Free */

struct watcher {
	int cpu;
	bool stop;
	uint64_t late; /* at worst, ns */
};

/* Before everything else on its CPU, ten thousand times a second: it can be late only
 * where the kernel does not let go of the CPU. */
static void *watch(void *arg)
{
	const struct sched_param first = { .sched_priority = 1 };
	const struct timespec nap = { .tv_nsec = 100000 };
	struct watcher *w = arg;
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(w->cpu, &cpu);
	if (pthread_setaffinity_np(pthread_self(), sizeof(cpu), &cpu) ||
	    pthread_setschedparam(pthread_self(), SCHED_FIFO, &first))
		fprintf(stderr, "set: not alone on CPU %d: the stall is an upper bound\n", w->cpu);
	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		uint64_t start = weir_clock_mono(), took;

		nanosleep(&nap, NULL);
		took = weir_clock_mono() - start - (uint64_t)nap.tv_nsec;
		w->late = took > w->late ? took : w->late;
	}
	return NULL;
}

/* Close what is the set's last reference, where @b, and see how long the kernel held on
 * to a CPU meanwhile. */
static void free_set(struct bench *b, const char *name)
{
	const int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	struct watcher w[64] = { 0 };
	pthread_t threads[64];
	uint64_t start, late = 0;
	double ms = 0;
	int n = 0;

	for (; n < cpus && n < 64; n++) {
		w[n].cpu = n;
		if (pthread_create(&threads[n], NULL, watch, &w[n]))
			break;
	}
	usleep(WATCH_MS * 1000 / 4);
	if (b) {
		start = weir_clock_mono();
		weir_set_close(&b->set);
		ms = ms_since(start);
	}
	usleep(WATCH_MS * 1000);
	for (int i = 0; i < n; i++) {
		__atomic_store_n(&w[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(threads[i], NULL);
		late = w[i].late > late ? w[i].late : late;
	}
	if (b)
		printf(", \"close_ms\": %.2f", ms);
	printf(", \"%s\": %.2f", name, (double)late / 1e6);
}

int main(int argc, char **argv)
{
	struct bench b = { .kind = KINDS };
	uint64_t start;
	double ms;
	int ret;

	for (int i = 0; argc == 3 && i < KINDS; i++)
		if (!strcmp(argv[1], kinds[i]))
			b.kind = i;
	b.n = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
	if (b.kind == KINDS || !b.n) {
		fprintf(stderr, "usage: set hosts|nets|v6 N\n");
		return 2;
	}
	weir_load_setup();
	make_prefixes(&b);
	start = weir_clock_mono();
	ret = weir_set_create(&b.set, b.v, b.n, &err);
	ms = ms_since(start);
	if (ret)
		die("make the set", ret);
	printf("{\"set\": \"%s\", \"prefixes\": %zu, \"bytes\": %zu, \"create_ms\": %.1f",
	       kinds[b.kind], weir_set_count(&b.set), weir_set_bytes(&b.set), ms);
	load(&b);
	open_programs(&b);
	look(&b, "miss", MISS);
	look(&b, "near", NEAR);
	look(&b, "hit", HIT);
	close_programs(&b);
	changes(&b);
	free_set(NULL, "stall_before_ms");
	free_set(&b, "stall_at_close_ms");
	printf("}\n");
	free(b.v);
	return 0;
}
