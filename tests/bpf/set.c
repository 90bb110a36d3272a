/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets of prefixes in maps of the running kernel: what the programs answer, while
 * user space changes the set, after a writer was killed, and through pins.
 */
#include "dataplane/set.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <pthread.h>
#include <sys/mman.h>

#include "bpf/set.bpf.h"
#include "dataplane/load.h"
#include "dataplane/set_impl.h"
#include "harness.h"
#include "set.skel.h"

static struct weir_error err;

/* ---- Programs */

#define ADDRS_MAX 65536

struct addr_state { /* struct state of the programs */
	uint32_t next, n;
	uint64_t hits;
	struct weir_addr at;
};

struct look {
	struct set_bpf *skel;
	struct addr_state *state;
	struct weir_addr *addrs;
};

/* Load with the maps of @s, where it has them; @other for the second trie. */
static void look_open(struct look *l, const struct weir_set *s, const struct weir_set *other)
{
	weir_load_setup();
	l->skel = set_bpf__open();
	CHECK(l->skel, "open: %s", strerror(errno));
	bpf_map__set_max_entries(l->skel->maps.addrs, ADDRS_MAX);
	if (s->fd[WEIR_SET_TABLE4] >= 0)
		CHECK_OK(bpf_map__reuse_fd(l->skel->maps.table4, s->fd[WEIR_SET_TABLE4]));
	if (s->fd[WEIR_SET_TRIE] >= 0)
		CHECK_OK(bpf_map__reuse_fd(l->skel->maps.trie, s->fd[WEIR_SET_TRIE]));
	if (other)
		CHECK_OK(bpf_map__reuse_fd(l->skel->maps.other, other->fd[WEIR_SET_TRIE]));
	CHECK_OK(weir_load(l->skel->obj, NULL, &err));
	l->state = mmap(NULL, sizeof(*l->state), PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(l->skel->maps.state), 0);
	l->addrs = mmap(NULL, ADDRS_MAX * sizeof(*l->addrs), PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(l->skel->maps.addrs), 0);
	CHECK(l->state != MAP_FAILED && l->addrs != MAP_FAILED, "mmap: %s", strerror(errno));
}

static void look_close(struct look *l)
{
	munmap(l->state, sizeof(*l->state));
	munmap(l->addrs, ADDRS_MAX * sizeof(*l->addrs));
	set_bpf__destroy(l->skel);
}

/* How many of the first @n addresses @prog says are in, looked up @rounds times: a
 * call alone may take 16 ms. */
static uint64_t look_rounds(struct look *l, const struct bpf_program *prog, uint32_t n,
			    uint32_t rounds)
{
	char frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = (int)(n * rounds));

	l->state->next = 0;
	l->state->n = n;
	l->state->hits = 0;
	CHECK_OK(bpf_prog_test_run_opts(bpf_program__fd(prog), &opts) ? -errno : 0);
	return __atomic_load_n(&l->state->hits, __ATOMIC_ACQUIRE);
}

static uint64_t look_run(struct look *l, const struct bpf_program *prog, uint32_t n)
{
	return look_rounds(l, prog, n, 1);
}

static bool look_one(struct look *l, const struct weir_set *s, const struct weir_addr *a)
{
	const bool table = weir_addr_is_v4(a) && s->fd[WEIR_SET_TABLE4] >= 0;

	if (!table && s->fd[WEIR_SET_TRIE] < 0)
		return false;
	l->addrs[0] = *a;
	return look_run(l, table ? l->skel->progs.set_look4 : l->skel->progs.set_look6, 1);
}

/* ---- Prefixes */

static uint64_t random_state = 88172645463325252;

static uint64_t random_word(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dULL;
}

static struct weir_prefix prefix(const char *text)
{
	struct weir_prefix p;

	CHECK_EQ(weir_prefix_parse(text, false, &p), 0);
	return p;
}

static struct weir_addr address(const char *text)
{
	struct weir_addr a;

	CHECK_EQ(weir_addr_parse(text, &a), 0);
	return a;
}

static struct weir_prefix random_v4(unsigned int len)
{
	struct weir_prefix p = { .addr.b = { [10] = 0xff, 0xff },
				 .len = (uint8_t)(96 + len), .is_v4 = true };
	uint32_t a = (uint32_t)(random_word() >> 32);

	a &= len ? ~0U << (32 - len) : 0;
	for (int i = 0; i < 4; i++)
		p.addr.b[12 + i] = (uint8_t)(a >> (24 - 8 * i));
	return p;
}

static struct weir_prefix random_v6(unsigned int len)
{
	uint64_t word[2] = { random_word(), random_word() };
	struct weir_prefix p = { .len = (uint8_t)len };

	memcpy(p.addr.b, word, sizeof(word));
	p.addr.b[0] = 0x20 | (p.addr.b[0] & 0x1f);
	for (unsigned int i = len; i < 128; i++)
		p.addr.b[i / 8] &= (uint8_t)~(0x80 >> i % 8);
	return p;
}

static bool covers_any(const struct weir_prefix *v, size_t n, const struct weir_addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (weir_prefix_contains(&v[i], a))
			return true;
	return false;
}

/* ---- Tests */

#define SOME 6000 /* IPv4: enough for TABLE4 */

static struct weir_prefix *mixed(size_t n4, size_t n6, size_t *ret)
{
	struct weir_prefix *v = calloc(n4 + n6, sizeof(*v));

	CHECK(v, "no memory");
	for (size_t i = 0; i < n4; i++)
		v[i] = random_v4(12 + (unsigned int)(random_word() % 21));
	for (size_t i = 0; i < n6; i++)
		v[n4 + i] = random_v6(24 + (unsigned int)(random_word() % 105));
	*ret = n4 + n6;
	return v;
}

/* Kernel, user space and a plain list agree, on random addresses and on those in and
 * beside the prefixes. */
static void agree_on(size_t n4, size_t n6, unsigned int probes)
{
	struct weir_set s;
	struct look l;
	size_t n;
	struct weir_prefix *v = mixed(n4, n6, &n);

	CHECK_OK(weir_set_create(&s, v, n, &err));
	look_open(&l, &s, NULL);
	for (unsigned int i = 0; i < probes; i++) {
		struct weir_addr a = i % 3 ? v[random_word() % n].addr :
				     i % 2 ? random_v4(32).addr : random_v6(128).addr;
		bool want;

		if (i % 3 == 2)
			a.b[15 - random_word() % 3] ^= (uint8_t)(1U << random_word() % 8);
		want = covers_any(v, n, &a);
		CHECK(look_one(&l, &s, &a) == want, "the kernel on probe %u: not %d", i, want);
		CHECK(weir_set_contains(&s, &a) == want, "user space on probe %u: not %d", i, want);
	}
	look_close(&l);
	weir_set_close(&s);
	free(v);
}

static void agree_small(void)
{
	agree_on(200, 200, 6000);
}

static void agree_table(void)
{
	agree_on(SOME, 300, 3000);
}

static void which_maps(void)
{
	struct weir_set s;
	size_t n;
	struct weir_prefix *v = mixed(SOME, 1, &n);

	CHECK_OK(weir_set_create(&s, NULL, 0, &err));
	CHECK(s.fd[WEIR_SET_TABLE4] < 0 && s.fd[WEIR_SET_TRIE] >= 0 && s.fd[WEIR_SET_LIST] >= 0,
	      "an empty set");
	CHECK_EQ(weir_set_count(&s), 0);
	CHECK_EQ(weir_set_bytes(&s), 8192);
	weir_set_close(&s);
	CHECK_OK(weir_set_create(&s, v, 4000, &err));
	CHECK(s.fd[WEIR_SET_TABLE4] < 0 && s.fd[WEIR_SET_TRIE] >= 0, "4000");
	CHECK(weir_set_bytes(&s) < 512 << 10, "%zu bytes", weir_set_bytes(&s));
	weir_set_close(&s);
	CHECK_OK(weir_set_create(&s, v, SOME, &err));
	CHECK(s.fd[WEIR_SET_TABLE4] >= 0 && s.fd[WEIR_SET_TRIE] < 0, "many IPv4");
	CHECK_EQ(weir_set_add(&s, &v[SOME], 1, &err), -ENOSPC);
	CHECK(strstr(err.msg, "load it anew"), "said: %s", err.msg);
	weir_set_close(&s);
	CHECK_OK(weir_set_create(&s, v, n, &err));
	CHECK(s.fd[WEIR_SET_TABLE4] >= 0 && s.fd[WEIR_SET_TRIE] >= 0, "both");
	weir_set_close(&s);
	free(v);
}

/* From inline assembly, and with one copy of the look-up for two maps. */
static void calls(void)
{
	const struct weir_prefix here[] = { prefix("2001:db8::/32"), prefix("192.0.2.0/24") };
	const struct weir_prefix there[] = { prefix("2001:db8:1::/48"), prefix("198.51.100.7") };
	struct weir_set a, b;
	struct look l;

	CHECK_OK(weir_set_create(&a, here, 2, &err));
	CHECK_OK(weir_set_create(&b, there, 2, &err));
	look_open(&l, &a, &b);
	l.addrs[0] = address("2001:db8:1::1");
	l.addrs[1] = address("2001:db8:2::1");
	l.addrs[2] = address("198.51.100.7");
	l.addrs[3] = address("192.0.2.255");
	l.addrs[4] = address("192.0.3.0");
	CHECK_EQ(look_run(&l, l.skel->progs.set_asm, 5), 3);
	CHECK_EQ(look_run(&l, l.skel->progs.set_shared, 5), 1 + 2 + 1 + 2 + 1);
	look_close(&l);
	weir_set_close(&a);
	weir_set_close(&b);
}

static int collect(void *arg, const struct weir_prefix *p)
{
	char text[WEIR_ADDR_STRLEN];
	struct weir_buf *out = arg;

	weir_buf_adds(out, weir_prefix_str(p, text));
	weir_buf_addc(out, ' ');
	return 0;
}

static void check_list(struct weir_set *s, const char *want)
{
	struct weir_buf out = { 0 };

	CHECK_EQ(weir_set_each(s, collect, &out), 0);
	CHECK(!strcmp(out.data ? out.data : "", want), "the list is '%s', not '%s'", out.data,
	      want);
	weir_buf_free(&out);
}

/* The list keeps the order; what a prefix covered comes back when it goes. */
static void order(void)
{
	struct weir_prefix v[] = {
		prefix("10.0.0.0/8"), prefix("2001:db8::/32"), prefix("10.1.2.3"),
		prefix("10.0.0.0/8"), prefix("::/0"), prefix("10.1.0.0/16"),
	};
	struct weir_prefix late = prefix("10.1.2.0/24"), part = prefix("10.0.0.0/9");
	struct weir_addr in = address("10.1.9.9"), out = address("10.2.0.0");
	struct weir_set s;
	struct look l;

	CHECK_OK(weir_set_create(&s, v, WEIR_ARRAY_SIZE(v), &err));
	look_open(&l, &s, NULL);
	check_list(&s, "10.0.0.0/8 2001:db8::/32 10.1.2.3 ::/0 10.1.0.0/16 ");
	CHECK_OK(weir_set_add(&s, &late, 1, &err));
	CHECK_OK(weir_set_add(&s, &v[1], 2, &err));
	CHECK(look_one(&l, &s, &in) && look_one(&l, &s, &out), "covered by the /8");
	CHECK_EQ(weir_set_del(&s, &part, 1, &err), -ENOENT);
	CHECK(strstr(err.msg, "10.0.0.0/9 is not in the set"), "said: %s", err.msg);
	CHECK_OK(weir_set_del(&s, v, 1, &err));
	check_list(&s, "2001:db8::/32 10.1.2.3 ::/0 10.1.0.0/16 10.1.2.0/24 ");
	CHECK(look_one(&l, &s, &in) && !look_one(&l, &s, &out), "only the /16 is left");
	CHECK_OK(weir_set_del(&s, &v[4], 2, &err));
	in = address("10.1.2.4");
	out = address("10.1.3.4");
	CHECK(look_one(&l, &s, &in) && !look_one(&l, &s, &out), "only the /24 is left");
	CHECK_EQ(weir_set_count(&s), 3);
	look_close(&l);
	weir_set_close(&s);
}

static void pins(void)
{
	struct weir_pin_dir d;
	struct weir_set s, again;
	size_t n;
	struct weir_prefix *v = mixed(SOME, 10, &n), more = prefix("192.0.2.77");

	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_EQ(weir_set_open(&again, &d, "s1", &err), -ENOENT);
	CHECK_OK(weir_set_create(&s, v, n, &err));
	CHECK_OK(weir_set_pin(&s, &d, "s1", &err));
	CHECK_OK(weir_set_open(&again, &d, "s1", &err));
	CHECK_EQ(weir_set_count(&again), weir_set_count(&s));
	CHECK_EQ(weir_set_bytes(&again), weir_set_bytes(&s));
	CHECK_OK(weir_set_add(&again, &more, 1, &err));
	CHECK(weir_set_contains(&s, &more.addr), "not in the other view");
	weir_set_close(&again);
	((uint64_t *)s.mem[WEIR_SET_LIST])[WEIR_SET_LIST_MAGIC]++;
	CHECK_EQ(weir_set_open(&again, &d, "s1", &err), -EPROTO);
	weir_set_unpin(&d, "s1");
	CHECK_EQ(weir_set_open(&again, &d, "s1", &err), -ENOENT);
	weir_set_close(&s);
	weir_pin_close(&d);
	free(v);
}

/* ---- Under the eyes of the programs */

#define WATCH_ROUNDS 2000 /* of all addresses in one call */
#define WATCH_CALLS 30

struct watcher {
	struct look *l;
	const struct bpf_program *prog;
	uint32_t n;
	uint64_t want; /* of n */
	uint64_t wrong, rounds;
	bool stop;
};

static void *watch(void *arg)
{
	struct watcher *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		w->wrong += look_rounds(w->l, w->prog, w->n, WATCH_ROUNDS) !=
			    w->want * WATCH_ROUNDS;
		__atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* What covers the watched addresses changes all the time, but they are always in, and
 * those beside them never. */
static void churn(bool v6, size_t filler, const char *const *comers, size_t n)
{
	struct weir_prefix fixed = prefix(v6 ? "2001:db8:0:1::/64" : "10.1.2.64/26"), p;
	struct weir_prefix *v;
	struct weir_set s;
	struct watcher w = { .n = 64 };
	struct look l;
	unsigned int changes = 0;
	pthread_t thread;
	size_t count;

	v = mixed(v6 ? 0 : filler, v6 ? filler : 0, &count);
	for (size_t i = 0; i < count; i++) /* out of the way */
		v[i].addr.b[v6 ? 0 : 12] |= v6 ? 0x30 : 0x80;
	v[0] = fixed;
	CHECK_OK(weir_set_create(&s, v, count, &err));
	look_open(&l, &s, NULL);
	for (uint32_t i = 0; i < w.n; i++) {
		l.addrs[i] = fixed.addr;
		l.addrs[i].b[15] |= (uint8_t)i;
		if (i % 4 == 3)
			l.addrs[i].b[v6 ? 2 : 12] ^= 0x40; /* not in, ever */
	}
	w.want = w.n - w.n / 4;
	w.l = &l;
	w.prog = s.fd[WEIR_SET_TABLE4] >= 0 ? l.skel->progs.set_look4 : l.skel->progs.set_look6;
	CHECK_EQ(look_run(&l, w.prog, w.n), w.want);
	CHECK_EQ(pthread_create(&thread, NULL, watch, &w), 0);
	while (__atomic_load_n(&w.rounds, __ATOMIC_ACQUIRE) < WATCH_CALLS) {
		int ret;

		p = prefix(comers[random_word() % n]);
		if (random_word() & 1) {
			ret = weir_set_add(&s, &p, 1, &err);
		} else {
			ret = weir_set_del(&s, &p, 1, &err);
			ret = ret == -ENOENT ? 0 : ret;
		}
		if (ret == -ENOSPC)
			break;
		CHECK_OK(ret);
		changes++;
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	CHECK_EQ(w.wrong, 0);
	printf("# %u changes under %lu look-ups\n", changes,
	       w.rounds * WATCH_ROUNDS * w.n);
	look_close(&l);
	weir_set_close(&s);
	free(v);
}

static void churn_table(void)
{
	static const char *const comers[] = {
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.0/25", "10.1.2.128/25",
		"10.1.2.200", "10.1.2.1", "10.1.2.3", "10.1.2.5", "10.1.2.7", "10.1.2.9",
		"10.1.2.11", "10.1.3.0/24", "10.1.2.96/27", "10.1.0.0/22", "10.0.0.0/9",
	};

	churn(false, SOME, comers, WEIR_ARRAY_SIZE(comers));
}

static void churn_trie4(void)
{
	static const char *const comers[] = {
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.0/25", "10.1.2.200",
		"10.1.2.1", "10.1.3.0/24", "10.1.2.96/27", "10.1.0.0/22", "10.0.0.0/9",
	};

	churn(false, 4000, comers, WEIR_ARRAY_SIZE(comers));
}

static void churn_trie6(void)
{
	static const char *const comers[] = {
		"2001:db8::/32", "2001:db8::/31", "2001:db8::/33", "2001:db8::/63",
		"2001:db8:0:1::7", "2001:db8:0:2::/64", "2001:db8:0:1:8000::/65", "2001:d00::/24",
		"2001:db8:0:1::/66", "2001:db8:0:8::/61",
	};

	churn(true, 9000, comers, WEIR_ARRAY_SIZE(comers));
}

/* ---- kill -9 */

#define BATCH 1000
#define KILLS 80

static void sleep_us(unsigned int us)
{
	struct timespec t = { .tv_nsec = (long)us * 1000 };

	nanosleep(&t, NULL);
}

/* Changes without an end, large ones, of prefixes that lie close together. */
__attribute__((noreturn)) static void change_forever(struct weir_set *s,
						     const struct weir_prefix *v, size_t n)
{
	struct weir_prefix some[BATCH];

	for (;;) {
		const size_t at = random_word() % (n - BATCH);

		for (size_t i = 0; i < BATCH; i++) {
			some[i] = i & 1 ? random_v4(24 + (unsigned int)(random_word() % 9)) :
					  random_v6(30 + (unsigned int)(random_word() % 20));
			some[i].addr.b[i & 1 ? 12 : 0] = i & 1 ? 10 : 0x20;
			some[i].addr.b[i & 1 ? 13 : 1] &= 3;
		}
		if (weir_set_add(s, some, BATCH, &err) == -ENOSPC ||
		    weir_set_del(s, some, BATCH / 2, &err))
			break;
		weir_set_del(s, &v[at], BATCH, &err); /* some may have gone before */
	}
	for (;;)
		pause();
}

struct model {
	struct weir_prefix *v;
	size_t n;
};

static int model_add(void *arg, const struct weir_prefix *p)
{
	struct model *m = arg;

	m->v[m->n++] = *p;
	return 0;
}

/* The tables say what the list says. */
static void check_consistent(struct weir_set *s)
{
	struct model m = { .v = calloc(weir_set_count(s) + 1, sizeof(*m.v)) };
	struct weir_set want;

	CHECK_EQ(weir_set_each(s, model_add, &m), 0);
	CHECK_OK(weir_set_create(&want, m.v, m.n, &err));
	for (size_t i = 0; i < 20000; i++) {
		struct weir_addr a = i & 1 ? random_v4(32).addr : random_v6(128).addr;

		a.b[i & 1 ? 12 : 0] = i & 1 ? 10 : 0x20;
		a.b[i & 1 ? 13 : 1] &= 3;
		CHECK(weir_set_contains(s, &a) == weir_set_contains(&want, &a), "at probe %zu", i);
	}
	for (size_t i = 0; i < m.n; i++)
		CHECK(weir_set_contains(s, &m.v[i].addr), "prefix %zu is not in", i);
	weir_set_close(&want);
	free(m.v);
}

static void killed(void)
{
	unsigned int unfinished = 0;
	struct weir_pin_dir d;
	size_t n;
	struct weir_prefix *v = mixed(20000, 20000, &n);

	for (int round = 0; round < KILLS; round++) {
		struct weir_set s;
		uint64_t *list;
		int status;
		pid_t pid;

		CHECK_OK(weir_set_create(&s, v, n, &err));
		CHECK_OK(weir_pin_open(&d, "filter", true, &err));
		CHECK_OK(weir_set_pin(&s, &d, "s1", &err));
		pid = fork();
		CHECK(pid >= 0, "fork: %s", strerror(errno));
		if (!pid) {
			random_state += (uint64_t)round * 7919;
			change_forever(&s, v, n);
		}
		sleep_us(1000 + (unsigned int)(random_word() % 8000));
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		CHECK(WIFSIGNALED(status), "the writer ended by itself");
		list = s.mem[WEIR_SET_LIST];
		unfinished += list[WEIR_SET_LIST_WORK] ||
			      list[WEIR_SET_LIST_APPLIED] != list[WEIR_SET_LIST_USED];
		weir_set_close(&s);
		CHECK_OK(weir_set_open(&s, &d, "s1", &err));
		check_consistent(&s);
		weir_set_unpin(&d, "s1");
		weir_set_close(&s);
		weir_pin_close(&d);
	}
	printf("# %u of %d were killed inside of a change\n", unfinished, KILLS);
	free(v);
}

/* A large trie is mapped in parts, as changes touch them. */
static void in_parts(void)
{
	const struct weir_prefix *gone;
	struct weir_prefix more[100], *v;
	struct weir_pin_dir d;
	struct weir_set s, other;
	struct look l;
	size_t n;

	v = mixed(0, 120000, &n);
	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_OK(weir_set_create(&s, v, n, &err));
	CHECK_OK(weir_set_pin(&s, &d, "s1", &err));
	CHECK_OK(weir_set_open(&other, &d, "s1", &err));
	look_open(&l, &s, NULL);
	gone = &v[n / 2];
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(more); i++)
		more[i] = random_v6(24 + (unsigned int)i);
	CHECK_OK(weir_set_add(&other, more, WEIR_ARRAY_SIZE(more), &err));
	CHECK_OK(weir_set_del(&other, gone, 100, &err));
	CHECK(other.touched, "mapped as a whole");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(more); i++)
		CHECK(look_one(&l, &s, &more[i].addr), "%zu is not in", i);
	for (size_t i = 0; i < 100; i++) {
		const bool want = covers_any(v, n / 2, &gone[i].addr) ||
				  covers_any(gone + 100, n - n / 2 - 100, &gone[i].addr) ||
				  covers_any(more, WEIR_ARRAY_SIZE(more), &gone[i].addr);

		CHECK(look_one(&l, &s, &gone[i].addr) == want, "deleted %zu: not %d", i, want);
		CHECK(weir_set_contains(&other, &gone[i].addr) == want, "deleted %zu, by hand", i);
	}
	CHECK_EQ(weir_set_count(&s), weir_set_count(&other));
	look_close(&l);
	weir_set_close(&other);
	weir_set_close(&s);
	weir_pin_close(&d);
	free(v);
}

/* What would not leave a quarter of the memory free is refused before it is made. */
static void no_memory(void)
{
	struct weir_set s;
	size_t n;
	struct weir_prefix *v = mixed(SOME, 0, &n);

	test_run("mount -t tmpfs none /mnt && echo 'MemAvailable: 5000 kB' >/mnt/meminfo && "
		 "mount --bind /mnt/meminfo /proc/meminfo");
	CHECK_EQ(weir_set_create(&s, v, n, &err), -ENOMEM);
	CHECK(strstr(err.msg, "needs 5 MB of memory and there are 4 MB"), "said: %s", err.msg);
	CHECK(s.fd[WEIR_SET_TABLE4] < 0 && s.fd[WEIR_SET_LIST] < 0, "something was made");
	CHECK_OK(weir_set_create(&s, v, 100, &err));
	weir_set_close(&s);
	free(v);
}

static void too_many(void)
{
	struct weir_prefix p = prefix("192.0.2.1");
	struct weir_set s;

	/* More than there may be: refused by number, before anything is sorted. */
	CHECK_EQ(weir_set_create(&s, &p, WEIR_SET_PREFIXES_MAX + 1UL, &err), -E2BIG);
	CHECK(strstr(err.msg, "split it"), "said: %s", err.msg);
	CHECK_EQ(s.fd[WEIR_SET_LIST], -1);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "which maps", which_maps },
		{ "agree: trie", agree_small },
		{ "agree: table and trie", agree_table },
		{ "calls", calls },
		{ "order and cover", order },
		{ "pins", pins },
		{ "under look-ups: table", churn_table },
		{ "under look-ups: IPv4 in the trie", churn_trie4 },
		{ "under look-ups: trie", churn_trie6 },
		{ "kill -9 in a change", killed },
		{ "mapped in parts", in_parts },
		{ "no memory", no_memory },
		{ "too many", too_many },
	};

	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
