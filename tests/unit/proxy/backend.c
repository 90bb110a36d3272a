/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/backend.h"
#include "net/sock.h"

#define MSEC 1000000ULL
#define PATIENCE_MS 5000
#define TARGETS 4
#define ROUNDS 1000
#define THREADS 3

/* A configuration of two routes with the same targets, and a default. */
struct set {
	struct weir_proxy_config c;
	struct weir_proxy_route route[2], fallback;
	struct weir_proxy_target target[2][TARGETS], last;
};

static void set_target(struct weir_proxy_target *t, const char *text)
{
	*t = (struct weir_proxy_target){ .kind = WEIR_TARGET_ADDRESS, .text = (char *)text };
	if (!strcmp(text, "dns"))
		t->kind = WEIR_TARGET_DNS;
	else if (!strncmp(text, "unix:", 5))
		t->kind = WEIR_TARGET_UNIX;
	if (t->kind != WEIR_TARGET_DNS)
		assert_int_equal(weir_endpoint_parse(text, &t->addr), 0);
}

static struct set *set_new(const char *const *texts, size_t n,
			   const struct weir_proxy_health *health)
{
	struct set *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	for (int r = 0; r < 2; r++) {
		s->route[r].targets = s->target[r];
		s->route[r].n_targets = n;
		s->route[r].health = health[r];
		for (size_t i = 0; i < n; i++)
			set_target(&s->target[r][i], texts[i]);
	}
	s->c.routes = s->route;
	s->c.n_routes = 2;
	s->fallback.targets = &s->last;
	s->fallback.n_targets = 1;
	set_target(&s->last, "192.0.2.99:1");
	s->c.no_match = (struct weir_proxy_action){ WEIR_DO_BACKEND, &s->fallback };
	return s;
}

static const char *const four[TARGETS] = { "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1",
					   "192.0.2.4:1" };
static const struct weir_proxy_health unchecked[2];

struct world {
	struct weir_loop *loop;
	struct weir_backends *backends;
	struct set *set;
};

static void begin(struct world *w, const char *const *texts, size_t n,
		  const struct weir_proxy_health *health)
{
	w->loop = weir_loop_new(NULL);
	w->backends = weir_backends_new(w->loop, NULL);
	w->set = set_new(texts, n, health);
	assert_int_equal(weir_backends_take(w->backends, &w->set->c, NULL), 0);
}

static void end(struct world *w)
{
	weir_backends_free(w->backends);
	weir_loop_free(w->loop);
	free(w->set);
}

/* ---- Choice */

/* So many choices; how often each was taken. */
static void choose(struct weir_proxy_route *r, unsigned int n, unsigned int got[TARGETS])
{
	memset(got, 0, TARGETS * sizeof(*got));
	for (unsigned int i = 0; i < n; i++) {
		int c = weir_backend_choose(r, 0);

		assert_in_range(c, 0, TARGETS - 1);
		got[c]++;
	}
}

static void round_robin(void **state)
{
	unsigned int got[TARGETS];
	struct weir_proxy_route *r;
	struct world w;

	(void)state;
	begin(&w, four, TARGETS, unchecked);
	r = &w.set->route[0];
	choose(r, ROUNDS, got);
	for (int i = 0; i < TARGETS; i++)
		assert_int_equal(got[i], ROUNDS / TARGETS);
	/* The others share what one that is down would have got, evenly. */
	r->targets[1].state->down = true;
	choose(r, 3 * ROUNDS, got);
	assert_int_equal(got[1], 0);
	for (int i = 0; i < TARGETS; i++)
		assert_int_equal(got[i], i == 1 ? 0 : ROUNDS);
	for (int i = 0; i < TARGETS; i++)
		r->targets[i].state->down = true;
	choose(r, ROUNDS, got);
	for (int i = 0; i < TARGETS; i++)
		assert_int_equal(got[i], ROUNDS / TARGETS);
	end(&w);
}

static void tried(void **state)
{
	struct weir_proxy_route *r;
	uint64_t mask = 0;
	struct world w;

	(void)state;
	begin(&w, four, TARGETS, unchecked);
	r = &w.set->route[0];
	r->targets[2].state->down = true;
	for (int i = 0; i < TARGETS; i++) {
		int c = weir_backend_choose(r, mask);

		assert_in_range(c, 0, TARGETS - 1);
		assert_false(mask >> c & 1);
		/* What is down comes last. */
		assert_int_equal(c == 2, i == TARGETS - 1);
		mask |= 1ULL << c;
	}
	assert_int_equal(weir_backend_choose(r, mask), -1);
	assert_int_equal(weir_backend_choose(&w.set->fallback, 0), 0);
	assert_int_equal(weir_backend_choose(&w.set->fallback, 1), -1);
	end(&w);
}

static void least_connections(void **state)
{
	unsigned int got[TARGETS];
	struct weir_proxy_route *r;
	struct world w;

	(void)state;
	begin(&w, four, TARGETS, unchecked);
	r = &w.set->route[0];
	r->balance = WEIR_LEAST_CONNECTIONS;
	r->targets[0].state->open = 5;
	r->targets[1].state->open = 3;
	r->targets[2].state->open = 3;
	r->targets[3].state->open = 0;
	r->targets[3].state->down = true;
	choose(r, ROUNDS, got);
	assert_int_equal(got[1], ROUNDS / 2);
	assert_int_equal(got[2], ROUNDS / 2);
	/* The counts even out. */
	r->targets[3].state->down = false;
	for (int i = 0; i < 33; i++)
		r->targets[weir_backend_choose(r, 0)].state->open++;
	for (int i = 0; i < TARGETS; i++)
		assert_int_equal(r->targets[i].state->open, 11);
	end(&w);
}

static void *choose_on(void *arg)
{
	struct weir_proxy_route *r = arg;

	for (int i = 0; i < 20 * ROUNDS; i++) {
		int c = weir_backend_choose(r, 0);

		if (c < 0 || c >= TARGETS)
			return r;
		r->targets[c].state->open++;
		if (i % 7 == 0)
			r->targets[c].state->down = !r->targets[c].state->down;
		r->targets[c].state->open--;
	}
	return NULL;
}

static void many_threads(void **state)
{
	pthread_t t[THREADS];
	struct world w;
	void *bad;

	(void)state;
	for (int balance = 0; balance < 2; balance++) {
		begin(&w, four, TARGETS, unchecked);
		w.set->route[0].balance = balance ? WEIR_LEAST_CONNECTIONS : WEIR_ROUND_ROBIN;
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(pthread_create(&t[i], NULL, choose_on, &w.set->route[0]),
					 0);
		for (int i = 0; i < THREADS; i++) {
			pthread_join(t[i], &bad);
			assert_null(bad);
		}
		end(&w);
	}
}

/* ---- States */

static void kept_across_reloads(void **state)
{
	static const char *const two[] = { "192.0.2.2:1", "dns" };
	const struct weir_proxy_health health[2] = {
		{ 3600 * WEIR_NSEC_PER_SEC, WEIR_NSEC_PER_SEC, 1, 1 },
	};
	struct weir_proxy_backend *first, *second;
	weir_autobuf struct weir_buf out = { 0 };
	struct set *next = set_new(two, 2, health);
	struct weir_json j;
	struct world w;

	(void)state;
	begin(&w, four, TARGETS, unchecked);
	/* The same backend in two routes is one; with other health options it is not. */
	assert_ptr_equal(w.set->target[0][0].state, w.set->target[1][0].state);
	assert_non_null(w.set->last.state);
	first = w.set->target[0][0].state;
	second = w.set->target[0][1].state;
	first->open = 2;
	first->connected = 7;
	first->failed = 1;
	second->connected = 9;
	assert_int_equal(weir_backends_take(w.backends, &next->c, NULL), 0);
	assert_ptr_not_equal(next->target[0][0].state, second);
	assert_ptr_equal(next->target[1][0].state, second);
	assert_ptr_equal(next->target[0][1].state, next->target[1][1].state);

	weir_json_init(&j, &out);
	weir_json_array(&j, NULL);
	weir_backends_json(w.backends, &j);
	weir_json_end_array(&j);
	assert_non_null(strstr(out.data, "[{\"backend\":\"192.0.2.1:1\",\"open\":2,\"connected\":7,"
					 "\"failed\":1,\"bytes_in\":0,\"bytes_out\":0},"
					 "{\"backend\":\"192.0.2.2:1\",\"open\":0,\"connected\":9,"
					 "\"failed\":0,\"bytes_in\":0,\"bytes_out\":0},"
					 "{\"backend\":\"192.0.2.99:1\",\"open\":0,"));
	assert_non_null(strstr(out.data, "{\"backend\":\"192.0.2.2:1\",\"open\":0,\"connected\":0,"
					 "\"failed\":0,\"bytes_in\":0,\"bytes_out\":0,"
					 "\"state\":\"up\",\"since_ts\":\"2"));
	assert_null(strstr(out.data, "192.0.2.3:1"));
	weir_buf_reset(&out);
	weir_backends_table(w.backends, &out);
	assert_ptr_equal(strstr(out.data, "BACKEND       OPEN  CONNECTED  FAILED  STATE  SINCE\n"
					  "192.0.2.1:1   2     7          1       -      -\n"),
			 out.data);
	assert_non_null(strstr(out.data, "\n192.0.2.2:1   0     0          0       up     "));
	/* Its last connection is gone. */
	first->open = 0;
	weir_buf_reset(&out);
	weir_backends_table(w.backends, &out);
	assert_null(strstr(out.data, "192.0.2.1:1"));
	end(&w);
	free(next);
}

/* A configuration of its own backends, besides one that all have. */
static struct weir_proxy_config *generated(unsigned int number)
{
	struct weir_proxy_config *c = NULL;
	const struct weir_proxy_flags none = { 0 };
	struct weir_error err = { 0 };
	char text[512];
	int n = snprintf(text, sizeof(text),
			 "listen: 127.0.0.1:443\ndefault: 127.0.2.1:%u\nroutes:\n"
			 "  - {match: a.test, backends: [127.0.1.1:1, 127.0.1.2:%u], health: 1h}\n"
			 "  - {match: b.test, backends: [127.0.1.2:%u, h%u.test:1]}\n",
			 number + 1, number + 1, number + 1, number);

	if (weir_proxy_config_parse(text, (size_t)n, "text", &none, &c, &err))
		fail_msg("%s", err.msg);
	return c;
}

#define RELOADS 2000
#define EACH 5 /* states of one: 127.0.1.2 is checked, and it is not */

static void freed_across_reloads(void **state)
{
	struct weir_loop *l = weir_loop_new(NULL);
	struct weir_backends *b = weir_backends_new(l, NULL);
	struct weir_proxy_config *now = generated(0), *held = NULL, *next;
	const struct weir_proxy_backend *kept;
	unsigned int held_at = 0;

	(void)state;
	assert_int_equal(weir_backends_take(b, now, NULL), 0);
	assert_int_equal(weir_backends_count(b), EACH);
	kept = now->routes[0].targets[0].state;
	for (unsigned int i = 1; i <= RELOADS; i++) {
		next = generated(i);
		assert_int_equal(weir_backends_take(b, next, NULL), 0);
		if (i % 7 == 3) { /* it was given up by a later step */
			assert_int_equal(weir_backends_take(b, now, NULL), 0);
			weir_proxy_config_unref(next);
			continue;
		}
		/* A connection goes on by an old one for a while. */
		if (i % 10 == 0) {
			if (held)
				weir_proxy_config_unref(held);
			held = weir_proxy_config_ref(now);
			held->routes[0].targets[1].state->open = held_at = i;
		}
		weir_proxy_config_unref(now);
		now = next;
		assert_ptr_equal(now->routes[0].targets[0].state, kept);
		if (held)
			assert_int_equal(held->routes[0].targets[1].state->open, held_at);
		/* Of three configurations at most, and of one that was given up. */
		assert_in_range(weir_backends_count(b), EACH, 1 + 4 * (EACH - 1));
	}
	weir_proxy_config_unref(held);
	assert_int_equal(weir_backends_take(b, now, NULL), 0);
	assert_int_equal(weir_backends_count(b), EACH);
	weir_proxy_config_unref(now);
	weir_backends_free(b);
	weir_loop_free(l);
}

/* ---- Checks */

struct watch {
	struct weir_timer timer;
	struct world *w;
	bool (*until)(void *arg);
	void *arg;
	uint64_t deadline;
	bool met;
};

static void watch_on(struct weir_timer *t)
{
	struct watch *x = (struct watch *)t;

	x->met = x->until(x->arg);
	if (x->met || weir_clock_mono() > x->deadline)
		weir_loop_stop(x->w->loop);
	else
		weir_timer_set(x->w->loop, t, weir_clock_mono() + 5 * MSEC);
}

/* Serve until something is so. A loop that was stopped has ended: once for each world. */
static bool run_until(struct world *w, bool (*until)(void *arg), void *arg, unsigned int ms)
{
	struct watch x = { .timer.fn = watch_on, .w = w, .until = until, .arg = arg };

	x.deadline = weir_clock_mono() + ms * MSEC;
	weir_timer_set(w->loop, &x.timer, weir_clock_mono() + 5 * MSEC);
	assert_int_equal(weir_loop_run(w->loop, NULL), 0);
	return x.met;
}

/* A listener that comes and goes while the checks of one backend run. */
struct story {
	struct weir_endpoint at;
	struct weir_proxy_backend *b;
	int fd;
	int step;
	unsigned int accepted;
	uint64_t down_at, began;
};

static int listen_at(const struct weir_endpoint *e)
{
	return weir_sock_listen(e, 0, 16, NULL);
}

static void accept_all(struct story *s)
{
	int fd;

	while (s->fd >= 0 && (fd = accept(s->fd, NULL, NULL)) >= 0) {
		close(fd);
		s->accepted++;
	}
}

static bool comes_and_goes(void *arg)
{
	struct story *s = arg;

	accept_all(s);
	switch (s->step) {
	case 0: /* up: a few checks */
		assert_false(s->b->down);
		if (s->accepted < 3)
			return false;
		weir_closep(&s->fd);
		s->fd = -1;
		if (s->at.sa.sa_family == AF_UNIX)
			unlink(s->at.un.sun_path);
		s->began = weir_clock_mono();
		break;
	case 1: /* gone: down after three */
		if (!s->b->down)
			return false;
		s->down_at = weir_clock_mono();
		assert_true(s->down_at - s->began >= 2 * 36 * MSEC);
		assert_true(s->b->changed >= s->began);
		s->fd = listen_at(&s->at);
		assert_true(s->fd >= 0);
		s->accepted = 0;
		break;
	case 2: /* back: up after two */
		if (s->b->down)
			return false;
		assert_true(s->accepted >= 1);
		assert_true(s->b->changed > s->down_at);
		return true;
	}
	s->step++;
	return false;
}

static void up_and_down(const char *text)
{
	const struct weir_proxy_health health[2] = { { 40 * MSEC, 1000 * MSEC, 2, 3 } };
	struct story s = { 0 };
	struct world w;

	assert_int_equal(weir_endpoint_parse(text, &s.at), 0);
	s.fd = listen_at(&s.at);
	assert_true(s.fd >= 0);
	begin(&w, &text, 1, health);
	s.b = w.set->target[0][0].state;
	assert_true(run_until(&w, comes_and_goes, &s, PATIENCE_MS));
	assert_false(w.set->target[1][0].state->down);
	end(&w);
	close(s.fd);
}

static void checks_tcp(void **state)
{
	(void)state;
	up_and_down("127.0.0.1:8443");
	up_and_down("[::1]:8443");
}

static void checks_unix(void **state)
{
	char dir[] = "/tmp/weir-backend-XXXXXX", text[64];

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text), "unix:%s/s", dir);
	up_and_down(text);
	unlink(text + 5);
	rmdir(dir);
}

static bool is_down(void *arg)
{
	return ((struct weir_proxy_backend *)arg)->down;
}

/* Somewhere that swallows SYNs: a listener whose queue is full. */
static void check_times_out(void **state)
{
	static const char *const text = "127.0.0.1:8444";
	const struct weir_proxy_health health[2] = { { 50 * MSEC, 150 * MSEC, 1, 2 } };
	struct weir_endpoint at;
	int fill[8], fd;
	uint64_t began;
	struct world w;

	(void)state;
	weir_endpoint_parse(text, &at);
	fd = weir_sock_listen(&at, 0, 0, NULL);
	assert_true(fd >= 0);
	for (int i = 0; i < 8; i++) {
		bool done;

		fill[i] = weir_sock_connect(&at, NULL, 0, &done);
	}
	usleep(20000);
	began = weir_clock_mono();
	begin(&w, &text, 1, health);
	assert_true(run_until(&w, is_down, w.set->target[0][0].state, PATIENCE_MS));
	/* Two checks of 150 ms each. */
	assert_true(weir_clock_mono() - began >= 300 * MSEC);
	end(&w);
	for (int i = 0; i < 8; i++)
		close(fill[i]);
	close(fd);
}

struct gone {
	struct world *w;
	struct set *next;
	struct weir_proxy_backend *b;
	uint64_t since;
	unsigned int accepted;
	int fd;
};

/* Down; then a configuration without checks: it is not down any more, and nobody comes. */
static bool checked_no_more(void *arg)
{
	struct gone *g = arg;
	int fd;

	if (!g->since) {
		if (!g->b->down)
			return false;
		assert_int_equal(weir_backends_take(g->w->backends, &g->next->c, NULL), 0);
		assert_false(g->b->down);
		g->fd = listen_at(&g->w->set->target[0][0].addr);
		assert_true(g->fd >= 0);
		g->since = weir_clock_mono();
	}
	while ((fd = accept(g->fd, NULL, NULL)) >= 0) {
		close(fd);
		g->accepted++;
	}
	return weir_clock_mono() - g->since > 300 * MSEC;
}

static void checks_end(void **state)
{
	static const char *const text = "127.0.0.1:8445";
	const struct weir_proxy_health health[2] = { { 20 * MSEC, 20 * MSEC, 1, 1 } };
	struct gone g = { .fd = -1 };
	struct world w;

	(void)state;
	begin(&w, &text, 1, health);
	g.w = &w;
	g.b = w.set->target[0][0].state;
	g.next = set_new(&text, 1, unchecked);
	assert_true(run_until(&w, checked_no_more, &g, PATIENCE_MS));
	assert_int_equal(g.accepted, 0);
	end(&w);
	free(g.next);
	close(g.fd);
}

/* A network of its own, where it may be had. */
static bool isolate(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	weir_autoclose int fd = -1;

	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd >= 0 && !ioctl(fd, SIOCSIFFLAGS, &lo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin),	       cmocka_unit_test(tried),
		cmocka_unit_test(least_connections),   cmocka_unit_test(many_threads),
		cmocka_unit_test(kept_across_reloads), cmocka_unit_test(freed_across_reloads),
		cmocka_unit_test(checks_tcp),	       cmocka_unit_test(checks_unix),
		cmocka_unit_test(check_times_out),     cmocka_unit_test(checks_end),
	};

	if (!isolate()) {
		printf("skip backend: cannot make a network namespace\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
