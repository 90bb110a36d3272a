/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Random connections through the engine sockmap, many at once: sizes from nothing to 3 MB
 * both ways, in pieces and with pauses, readers that stall, FINs in every order, resets.
 * Every byte is compared. MIX connections; ten thousand with WEIR_LONG=1. The seed is
 * printed; WEIR_SEED repeats it.
 */
#include "cap/proxy/sockmap.h"

#include <poll.h>
#include <stdatomic.h>

#include "relays.h"

#define MIX 600
#define MIX_LONG 10000
#define THREADS 12
#define MOST (3U << 20)
#define GIVE_UP_NS (LINE_SECONDS * WEIR_NSEC_PER_SEC)
#define NS_PER_MS 1000000ULL
#define NEVER UINT32_MAX

/* What one peer does. */
struct part {
	uint32_t bytes, early;	     /* early: before the relay starts */
	uint32_t piece;		     /* bytes sent at a time, at most */
	uint32_t pause_at, stall_at; /* byte at which sending (reading) pauses */
	uint64_t pause, stall;	     /* ns */
	bool early_fin;		     /* before the relay starts, with all bytes */
	bool fin_last;		     /* its FIN only behind the other one's */
	uint32_t reset_at;	     /* NEVER, or: bytes sent when it resets */
	int buffer;
};

struct plan {
	uint32_t seed;
	int family;
	struct part part[2];
};

struct end {
	uint32_t sent, read;
	uint64_t pause_until, stall_until;
	bool shut, ended, reset;
	int error; /* what sending or reading ended with; it is told only once */
};

static struct lab lab;
static atomic_uint next, total, demoted, splices, resets;
static uint32_t seed0;

/* ---- Plans */

static uint32_t draw(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

static uint32_t draw_size(uint32_t *x)
{
	switch (draw(x) % 8) {
	case 0:
		return 0;
	case 1:
		return 1 + draw(x) % 100;
	case 2:
	case 3:
		return draw(x) % 5000;
	case 4:
	case 5:
		return draw(x) % 200000;
	case 6:
		return 65536 * (1 + draw(x) % 8) + draw(x) % 3 - 1;
	default:
		return draw(x) % MOST;
	}
}

static struct plan make_plan(unsigned int number)
{
	uint32_t x = (seed0 + number) * 2654435761U | 1;
	struct plan p = { .seed = number };

	for (int i = 0; i < 4; i++)
		draw(&x);
	p.family = draw(&x) % 2 ? AF_INET : AF_INET6;
	for (int i = 0; i < 2; i++) {
		struct part *t = &p.part[i];

		t->bytes = draw_size(&x);
		t->early = draw(&x) % 3 ? 0 : draw(&x) % 40000;
		t->early = t->early < t->bytes ? t->early : t->bytes;
		t->early_fin = t->bytes < 40000 && draw(&x) % 16 == 0;
		if (t->early_fin)
			t->early = t->bytes;
		t->piece = draw(&x) % 3 ? 65536 : 1 + draw(&x) % 3000;
		if (t->bytes / t->piece > 2000)
			t->piece = t->bytes / 2000;
		t->pause_at = draw(&x) % 2 && t->bytes ? draw(&x) % t->bytes : NEVER;
		t->pause = draw(&x) % 20 * NS_PER_MS;
		t->reset_at = draw(&x) % 24 || t->early_fin ? NEVER : draw(&x) % (t->bytes + 1);
	}
	for (int i = 0; i < 2; i++) {
		struct part *t = &p.part[i];
		uint32_t there = p.part[!i].bytes;

		t->stall_at = draw(&x) % 3 == 0 && there ? draw(&x) % there : NEVER;
		t->stall = draw(&x) % 60 * NS_PER_MS;
		/* Much below a segment of the loopback, TCP waits for its persist timer. */
		t->buffer = draw(&x) % 3 ? 0 : 32768 << draw(&x) % 4;
	}
	p.part[draw(&x) % 2].fin_last = draw(&x) % 2;
	for (int i = 0; i < 2; i++)
		if (p.part[i].early_fin || p.part[!i].reset_at != NEVER)
			p.part[i].fin_last = false;
	return p;
}

/* ---- Peers */

static bool must_pause(uint64_t *until, uint32_t *at, uint32_t done, uint64_t time, uint64_t now)
{
	if (*at != NEVER && done >= *at) {
		*at = NEVER;
		*until = now + time;
	}
	return now < *until;
}

static void send_some(struct line *l, struct plan *p, struct end *e, enum weir_end_of who,
		      uint32_t up_to)
{
	uint8_t chunk[65536];
	uint32_t n = up_to - e->sent;
	ssize_t sent;

	n = n < p->part[who].piece ? n : p->part[who].piece;
	n = n < sizeof(chunk) ? n : sizeof(chunk);
	for (uint32_t i = 0; i < n; i++)
		chunk[i] = pattern(p->seed, who, e->sent + i);
	sent = send(l->peer[who], chunk, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0)
		e->sent += (uint32_t)sent;
	else if (errno != EAGAIN)
		e->error = errno;
}

static void read_some(struct line *l, struct plan *p, struct end *e, enum weir_end_of who)
{
	uint8_t chunk[16384];
	ssize_t n = recv(l->peer[who], chunk, sizeof(chunk), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++, e->read++)
		CHECK(chunk[i] == pattern(p->seed, !who, e->read),
		      "seed %u, connection %u: byte %u from %d is wrong", seed0, p->seed, e->read,
		      !who);
	if (n > 0 || (n < 0 && errno == EAGAIN))
		return;
	e->ended = true;
	if (n)
		e->error = errno;
}

/* Returns the events it waits for. */
static short act(struct line *l, struct plan *p, struct end e[2], enum weir_end_of who,
		 uint64_t now)
{
	struct part *t = &p->part[who];
	struct end *me = &e[who];
	short wants = 0;

	if (me->reset)
		return 0;
	if (me->sent >= t->reset_at) {
		weir_sock_reset(l->peer[who]);
		l->peer[who] = -1;
		me->reset = true;
		return 0;
	}
	if (me->sent < t->bytes && !me->error &&
	    !must_pause(&me->pause_until, &t->pause_at, me->sent, t->pause, now)) {
		send_some(l, p, me, who, t->bytes < t->reset_at ? t->bytes : t->reset_at);
		wants |= POLLOUT;
	}
	if (me->sent == t->bytes && !me->shut && (!t->fin_last || me->ended)) {
		shutdown(l->peer[who], SHUT_WR);
		me->shut = true;
	}
	if (!me->ended && !must_pause(&me->stall_until, &t->stall_at, me->read, t->stall, now)) {
		read_some(l, p, me, who);
		wants |= POLLIN;
	}
	return wants;
}

static void check_end(struct line *l, const struct plan *p, const struct end e[2])
{
	bool reset = e[0].reset || e[1].reset;

	CHECK(line_until(l, &l->over), "seed %u, connection %u: the relay does not end", seed0,
	      p->seed);
	if (!reset) {
		CHECK(l->how == WEIR_RELAY_DONE, "seed %u, connection %u: ended as %d (%s)", seed0,
		      p->seed, l->how, strerror(l->error));
		for (int i = 0; i < 2; i++) {
			CHECK(!e[i].error && e[i].read == p->part[!i].bytes,
			      "seed %u, connection %u: %d read %u of %u bytes, then %s", seed0,
			      p->seed, i, e[i].read, p->part[!i].bytes, strerror(e[i].error));
			CHECK(l->relay.side[i].bytes == p->part[i].bytes,
			      "seed %u, connection %u: %llu bytes counted of %u", seed0, p->seed,
			      (unsigned long long)l->relay.side[i].bytes, p->part[i].bytes);
		}
		return;
	}
	resets++;
	/* Whose peer reset must not see a regular end, unless it came before. */
	for (int i = 0; i < 2; i++)
		CHECK(e[i].reset || e[i].error == ECONNRESET || e[i].error == EPIPE ||
			      (e[!i].shut && e[i].read == p->part[!i].bytes),
		      "seed %u, connection %u: a reset looks like a regular end: %d read %u of %u (%s), %s, how %d who %d (%s), sent %u %u, early %u %u",
		      seed0, p->seed, i, e[i].read, p->part[!i].bytes, strerror(e[i].error),
		      l->engine, l->how, l->who, strerror(l->error), e[0].sent, e[1].sent,
		      p->part[0].early, p->part[1].early);
}

static void early(struct line *l, struct plan *p, struct end e[2])
{
	for (int i = 0; i < 2; i++) {
		while (e[i].sent < p->part[i].early && !e[i].error)
			send_some(l, p, &e[i], i, p->part[i].early);
		if (p->part[i].early_fin) {
			shutdown(l->peer[i], SHUT_WR);
			e[i].shut = true;
		}
	}
}

static void one_connection(unsigned int number)
{
	struct plan p = make_plan(number);
	struct end e[2] = { 0 };
	int pair[2][2];
	struct line l;
	uint64_t began = weir_clock_mono();

	for (int i = 0; i < 2; i++)
		connected_pair(p.family, p.part[i].buffer, pair[i]);
	line_init(&l, &lab, pair);
	early(&l, &p, e);
	line_start(&l);
	while (!(e[0].ended || e[0].reset) || !(e[1].ended || e[1].reset)) {
		struct pollfd fds[2];
		uint64_t now = weir_clock_mono();

		for (int i = 0; i < 2; i++) {
			short events = act(&l, &p, e, i, now);

			fds[i] = (struct pollfd){ .fd = events ? l.peer[i] : -1, .events = events };
		}
		poll(fds, 2, 2);
		CHECK(now - began < GIVE_UP_NS,
		      "seed %u, connection %u hangs: sent %u/%u %u/%u, read %u %u, ended %d %d, %s",
		      seed0, p.seed, e[0].sent, p.part[0].bytes, e[1].sent, p.part[1].bytes,
		      e[0].read, e[1].read, e[0].ended, e[1].ended, l.engine);
	}
	check_end(&l, &p, e);
	total++;
	demoted += l.relay.demoted;
	splices += strcmp(l.engine, "sockmap") != 0;
	line_free(&l);
}

static void *peers_thread(void *arg)
{
	unsigned int most = *(const unsigned int *)arg, number;

	while ((number = atomic_fetch_add(&next, 1)) < most)
		one_connection(number);
	return NULL;
}

static void random_mix(void)
{
	unsigned int most = getenv("WEIR_LONG") ? MIX_LONG : MIX, files;
	const char *given = getenv("WEIR_SEED");
	pthread_t thread[THREADS];

	seed0 = given ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)weir_clock_mono();
	printf("# seed %u\n", seed0);
	alarm(getenv("WEIR_LONG") ? 1200 : TEST_SECONDS);
	CHECK_OK(weir_sockmap_open(RELAYS, &err));
	files = open_files();
	lab_open(&lab);
	for (int i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, peers_thread, &most), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	printf("# %u connections, %u of them demoted, %u by splice, %u reset\n", total, demoted,
	       splices, resets);
	CHECK_EQ(total, most);
	expect_empty_maps();
	lab_close(&lab);
	CHECK_EQ(open_files(), files);
	weir_sockmap_close();
}

static const struct test tests[] = { { "random_mix", random_mix } };

int main(int argc, char **argv)
{
	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
