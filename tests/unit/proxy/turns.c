/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Relays in full flow take turns: first come, first served, so many bytes in a round, and
 * who is not in full flow does not wait. What is so is looked at behind every round of the
 * loop, in its thread.
 */
#include "cap/proxy/relay_impl.h"
#include "relay_scene.h"

#define BULK 8
#define BULK_BYTES (10u * MB)
#define SMALL_BYTES 200
#define FILL_NS (30 * MS) /* of a conversation between two looks at it */
/* A round's bytes, and what a direction that is not known to be in full flow yet, or whose
 * turn it is, may have besides; a share may be passed by one read. */
#define BESIDES (WEIR_RELAY_SHARE + WEIR_RELAY_READ)
#define ROUND_MOST (WEIR_RELAY_ROUND + (2 * (BULK + 1) + 2) * (uint64_t)BESIDES)

static struct scene scene[BULK + 1]; /* the last one: small messages */
#define SMALL (&scene[BULK])

enum deed { NONE, END_MIDDLE, END_LAST, END_FIRST, END_ALL, DEMOTE };

/* The loop's thread alone, until the loop has ended. */
static struct {
	const struct weir_relay *r;
	uint64_t bytes;
} before[BULK + 1];
static size_t n_before, most_waiting;
static struct {
	uint64_t bytes;
	bool flows;
} was[BULK];
static uint64_t sum_before;
static const char *wrong;
static enum deed deed;
static bool done_it;

static struct weir_post begin_watch;

static uint64_t bytes_of(const struct weir_relay *r)
{
	return r->side[0].bytes + r->side[1].bytes;
}

/* The list, and that it is one. */
static size_t gather(struct weir_relay *ret[BULK + 1])
{
	struct weir_relay **at = &pool->waiting;
	size_t n = 0;

	for (; *at; at = &(*at)->next) {
		if ((*at)->prev != at || n == BULK + 1) {
			wrong = "the list of those who wait is broken";
			return 0;
		}
		ret[n++] = *at;
	}
	if (pool->last != at)
		wrong = "the list's end is not where it is said to be";
	return n;
}

/* Who waited at a place before waits further in front now, or has had its turn. */
static void look_at_places(struct weir_relay *const *now, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (now[i] == &SMALL->link.relay)
			wrong = "one that is not in full flow waits";
		for (size_t k = 0; k <= i && k < n_before; k++)
			if (before[k].r == now[i] &&
			    bytes_of(now[i]) - before[k].bytes < WEIR_RELAY_SHARE)
				wrong = "one that waited was passed over";
	}
}

/* Nobody in full flow who came later has moved anything while one who waited has not. */
static void look_at_others(void)
{
	bool left_over = false;

	for (size_t k = 0; k < n_before; k++)
		/* One that had its turn and found nothing to move waits no longer. */
		left_over |= before[k].r->prev && bytes_of(before[k].r) == before[k].bytes;
	for (size_t i = 0; i < BULK; i++) {
		const struct weir_relay *r = &scene[i].link.relay;
		bool waited = false;

		for (size_t k = 0; k < n_before; k++)
			waited |= before[k].r == r;
		if (left_over && !waited && was[i].flows && bytes_of(r) != was[i].bytes)
			wrong = "one that came later went before one that waited";
		was[i].bytes = bytes_of(r);
		was[i].flows = r->side[WEIR_CLIENT].full_reads >= WEIR_RELAY_BULK_AFTER;
	}
}

static void look_at_bytes(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i <= BULK; i++)
		sum += bytes_of(&scene[i].link.relay);
	if (sum - sum_before > ROUND_MOST)
		wrong = "more than a round's bytes were moved in one";
	sum_before = sum;
}

static bool can_be_demoted(const struct weir_relay *r)
{
	return r->engine == &weir_engine_splice && !r->side[0].piped && !r->side[1].piped;
}

static void do_it(struct weir_relay *const *now, size_t n)
{
	if (deed == NONE || done_it || n < 3)
		return;
	if (deed == DEMOTE && !can_be_demoted(now[1]))
		return;
	done_it = true;
	if (deed == DEMOTE)
		weir_relay_demote(now[1], &weir_engine_copy);
	for (size_t i = 0; i < n && deed != DEMOTE; i++)
		if (deed == END_ALL || (deed == END_FIRST && i == 0) ||
		    (deed == END_MIDDLE && i == 1) || (deed == END_LAST && i == n - 1))
			weir_relay_end(now[i], WEIR_RELAY_FAILED, WEIR_CLIENT, ECANCELED);
}

static void look(void *arg)
{
	struct weir_relay *now[BULK + 1];
	size_t n = gather(now);

	(void)arg;
	most_waiting = n > most_waiting ? n : most_waiting;
	look_at_places(now, n);
	look_at_others();
	look_at_bytes();
	do_it(now, n);
	n = gather(now);
	for (size_t i = 0; i < n; i++) {
		before[i].r = now[i];
		before[i].bytes = bytes_of(now[i]);
	}
	n_before = n;
}

static void watch_on(struct weir_post *p)
{
	(void)p;
	weir_loop_set_idle(loop, look, NULL);
}

static void begin_scenes(struct end *all)
{
	memset(was, 0, sizeof(was));
	n_before = most_waiting = 0;
	sum_before = 0;
	done_it = false;
	wrong = NULL;
	for (size_t i = 0; i <= BULK; i++) {
		open_scene(&scene[i], i < BULK ? BULK_BYTES : SMALL_BYTES,
			   i < BULK ? 0 : SMALL_BYTES);
		for (int k = 0; k < 2; k++) {
			all[2 * i + (size_t)k] = scene[i].end[k];
			all[2 * i + (size_t)k].peer = &all[2 * i + (size_t)!k];
			if (i == BULK) {
				all[2 * i + (size_t)k].piece = 1;
				all[2 * i + (size_t)k].pauses = true;
			}
		}
	}
	begin_watch = (struct weir_post){ .fn = watch_on };
	assert_true(weir_loop_post(loop, &begin_watch));
}

static bool all_finished(const struct end *e, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!finished(&e[i]))
			return false;
	return true;
}

/* Some were ended by the test. */
static unsigned int close_scenes(const struct end *all)
{
	unsigned int cut = 0;

	for (size_t i = 0; i <= BULK; i++) {
		memcpy(scene[i].end, &all[2 * i], sizeof(scene[i].end));
		wait_over(&scene[i].link);
		if (scene[i].link.how == WEIR_RELAY_DONE) {
			check_done(&scene[i]);
			continue;
		}
		assert_int_equal(scene[i].link.error, ECANCELED);
		close(scene[i].client[0]);
		close(scene[i].backend[0]);
		cut++;
	}
	return cut;
}

/* Until the senders of bulk find no more room. */
static void fill_queues(struct end *e, size_t n)
{
	uint64_t was_sent, sent = 0;

	do {
		was_sent = sent;
		converse(e, n, weir_clock_mono() + FILL_NS);
		sent = 0;
		for (size_t i = 0; i < BULK; i++)
			sent += e[2 * i].sent;
	} while (sent != was_sent);
}

/* One conversation of all, in which the relays rest again and again while their queues
 * fill: then there is more than one round can move. */
static unsigned int run_all(enum deed what)
{
	struct end all[2 * (BULK + 1)];

	deed = what;
	begin_scenes(all);
	while (!all_finished(all, WEIR_ARRAY_SIZE(all))) {
		hold_still();
		fill_queues(all, WEIR_ARRAY_SIZE(all));
		go_on();
		converse(all, WEIR_ARRAY_SIZE(all), weir_clock_mono() + FILL_NS);
	}
	return close_scenes(all);
}

/* The loop's thread has looked its last. */
static void check_watch(void)
{
	bool empty;

	hold_still();
	weir_loop_set_idle(loop, NULL, NULL);
	empty = !pool->waiting && pool->last == &pool->waiting;
	go_on();
	if (wrong)
		fail_msg("%s", wrong);
	assert_true(empty);
	assert_true(most_waiting >= 3);
	assert_true(deed == NONE || done_it);
}

static void in_order(void **state)
{
	(void)state;
	assert_int_equal(run_all(NONE), 0);
	check_watch();
}

static void one_ends_waiting(void **state)
{
	(void)state;
	for (enum deed what = END_MIDDLE; what <= END_FIRST; what++) {
		assert_int_equal(run_all(what), 1);
		check_watch();
	}
}

/* All that wait end at once; those that come later flow. */
static void all_end_waiting(void **state)
{
	(void)state;
	assert_true(run_all(END_ALL) >= 3);
	check_watch();
	assert_int_equal(run_all(NONE), 0);
	check_watch();
}

static void demoted_waiting(void **state)
{
	unsigned int demoted = 0;

	(void)state;
	assert_int_equal(run_all(DEMOTE), 0);
	check_watch();
	for (size_t i = 0; i < BULK; i++)
		demoted += scene[i].link.relay.demoted;
	assert_int_equal(demoted, 1);
}

static enum weir_proxy_engine copy = WEIR_ENGINE_COPY, splice_engine = WEIR_ENGINE_SPLICE;

#define BOTH(fn)                                                      \
	{ "copy: " #fn, fn, set_up, tear_down, &copy },               \
	{                                                             \
		"splice: " #fn, fn, set_up, tear_down, &splice_engine \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(in_order),
		BOTH(one_ends_waiting),
		BOTH(all_end_waiting),
		{ "demoted_waiting", demoted_waiting, set_up, tear_down, &splice_engine },
	};

	own_net();
	srand(2);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
