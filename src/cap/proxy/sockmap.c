/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/sockmap.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/proxy/sockmap_impl.h"
#include "dataplane/load.h"

#include "relay.skel.h"

struct weir_sockmap_bell {
	struct weir_io io;
	struct weir_loop *loop;
	struct ring_buffer *ring;
	uint32_t number;
	void (*rung)(uint64_t token);
};

static struct {
	struct relay_bpf *skel;
	struct weir_way *ways; /* weir_ways, mapped */
	uint32_t places;
	bool works; /* the check has passed, or is under way */
	char why_not[WEIR_ERROR_MAX];

	int ring[WEIR_BELLS_MAX];

	pthread_mutex_t lock; /* of what follows */
	uint32_t *free, n_free;
	uint64_t bells; /* that are taken: a bit each */
} sockmap = {
	.why_not = "the engine sockmap was not asked for when the proxy started: restart it",
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static size_t ways_size(void)
{
	return (size_t)sockmap.places * WEIR_WAYS * sizeof(*sockmap.ways);
}

static uint32_t index_of(uint32_t place, enum weir_end_of which)
{
	return place * WEIR_WAYS + which;
}

/* ---- Opening and closing */

/* Rings of a page each, however large that is: a ring has room for hundreds of stops. */
static int make_rings(struct weir_error *err)
{
	const uint32_t size = (uint32_t)sysconf(_SC_PAGESIZE);

	for (uint32_t i = 0; i < WEIR_BELLS_MAX; i++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "weir_bell", 0, 0, size, NULL);

		if (fd < 0)
			return weir_load_explain(err, -errno, "make the sockmap engine's rings");
		sockmap.ring[i] = fd;
	}
	return bpf_map__set_inner_map_fd(sockmap.skel->maps.weir_bells, sockmap.ring[0]);
}

static int fill_bells(struct weir_error *err)
{
	for (uint32_t i = 0; i < WEIR_BELLS_MAX; i++)
		if (bpf_map_update_elem(bpf_map__fd(sockmap.skel->maps.weir_bells), &i,
					&sockmap.ring[i], BPF_ANY))
			return weir_load_explain(err, -errno, "make the sockmap engine's rings");
	return 0;
}

static int load(struct weir_error *err)
{
	const struct {
		struct bpf_map *map;
	} sized[] = {
		{ sockmap.skel->maps.weir_ways },
		{ sockmap.skel->maps.weir_ends },
		{ sockmap.skel->maps.weir_targets },
		{ sockmap.skel->maps.weir_sources },
	};
	int code;

	for (size_t i = 0; i < sizeof(sized) / sizeof(sized[0]); i++) {
		code = bpf_map__set_max_entries(sized[i].map, sockmap.places * WEIR_WAYS);
		if (code)
			return weir_load_explain(err, code, "size the sockmap engine's maps");
	}
	code = make_rings(err);
	if (!code)
		code = weir_load(sockmap.skel->obj, NULL, err);
	if (code)
		return code;
	code = bpf_prog_attach(bpf_program__fd(sockmap.skel->progs.weir_relay_verdict),
			       bpf_map__fd(sockmap.skel->maps.weir_sources),
			       BPF_SK_SKB_STREAM_VERDICT, 0);
	if (code)
		return weir_load_explain(err, -errno, "attach the sockmap engine's program");
	sockmap.ways = mmap(NULL, ways_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
			    bpf_map__fd(sockmap.skel->maps.weir_ways), 0);
	if (sockmap.ways == MAP_FAILED) {
		sockmap.ways = NULL;
		return weir_fail(err, -errno, "cannot map the sockmap engine's records: %s",
				 strerror(errno));
	}
	return fill_bells(err);
}

static int open_all(uint64_t connections, struct weir_error *err)
{
	sockmap.places = connections < WEIR_SOCKMAP_RELAYS_MAX ? (uint32_t)connections :
								 WEIR_SOCKMAP_RELAYS_MAX;
	if (sockmap.places < WEIR_SOCKMAP_RELAYS_MIN)
		sockmap.places = WEIR_SOCKMAP_RELAYS_MIN;
	sockmap.free = calloc(sockmap.places, sizeof(*sockmap.free));
	if (!sockmap.free)
		return weir_fail(err, -ENOMEM, "no memory for the sockmap engine");
	/* Low places come first: few relays touch few pages. */
	for (uint32_t i = 0; i < sockmap.places; i++)
		sockmap.free[i] = sockmap.places - 1 - i;
	sockmap.n_free = sockmap.places;
	weir_load_setup();
	sockmap.skel = relay_bpf__open();
	if (!sockmap.skel)
		return weir_load_explain(err, -errno, "open the sockmap engine's program");
	return load(err);
}

int weir_sockmap_open(uint64_t connections, struct weir_error *err)
{
	struct weir_error why = { "" };
	int code;

	weir_sockmap_close();
	code = open_all(connections, &why);
	if (!code) {
		sockmap.works = true;
		code = weir_sockmap_check(&why);
	}
	if (code) {
		weir_sockmap_close();
		memcpy(sockmap.why_not, why.msg, sizeof(sockmap.why_not));
		return weir_fail(err, code, "%s", why.msg);
	}
	return 0;
}

void weir_sockmap_close(void)
{
	if (sockmap.ways)
		munmap(sockmap.ways, ways_size());
	relay_bpf__destroy(sockmap.skel);
	free(sockmap.free);
	for (int i = 0; i < WEIR_BELLS_MAX; i++)
		if (sockmap.ring[i] > 0)
			close(WEIR_TAKE_FD(sockmap.ring[i]));
	sockmap.ways = NULL;
	sockmap.skel = NULL;
	sockmap.free = NULL;
	sockmap.places = sockmap.n_free = 0;
	sockmap.works = false;
}

const char *weir_sockmap_why_not(void)
{
	return sockmap.works ? NULL : sockmap.why_not;
}

/* ---- Places */

int weir_sockmap_take(uint32_t *ret)
{
	int code = -ENOSPC;

	if (!sockmap.works)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&sockmap.lock);
	if (sockmap.n_free) {
		*ret = sockmap.free[--sockmap.n_free];
		code = 0;
	}
	pthread_mutex_unlock(&sockmap.lock);
	return code;
}

void weir_sockmap_put(uint32_t place)
{
	memset(weir_sockmap_way(place, WEIR_CLIENT), 0, WEIR_WAYS * sizeof(struct weir_way));
	pthread_mutex_lock(&sockmap.lock);
	sockmap.free[sockmap.n_free++] = place;
	pthread_mutex_unlock(&sockmap.lock);
}

struct weir_way *weir_sockmap_way(uint32_t place, enum weir_end_of from)
{
	return &sockmap.ways[index_of(place, from)];
}

/* ---- Bells */

static int one_event(void *arg, void *data, size_t size)
{
	const struct weir_sockmap_bell *b = arg;
	uint64_t token;

	if (size >= sizeof(token)) {
		memcpy(&token, data, sizeof(token));
		b->rung(token);
	}
	return 0;
}

void weir_sockmap_bell_look(struct weir_sockmap_bell *b)
{
	ring_buffer__consume(b->ring);
}

static void bell_event(struct weir_io *io, uint32_t events)
{
	(void)events;
	weir_sockmap_bell_look((struct weir_sockmap_bell *)io);
}

/* -1: none is free. */
static int take_bell(void)
{
	int number;

	pthread_mutex_lock(&sockmap.lock);
	number = ffsll((long long)~sockmap.bells) - 1;
	if (number >= 0)
		sockmap.bells |= 1ULL << number;
	pthread_mutex_unlock(&sockmap.lock);
	return number;
}

static void put_bell(uint32_t number)
{
	pthread_mutex_lock(&sockmap.lock);
	sockmap.bells &= ~(1ULL << number);
	pthread_mutex_unlock(&sockmap.lock);
}

struct weir_sockmap_bell *weir_sockmap_bell_new(struct weir_loop *l, void (*rung)(uint64_t token))
{
	struct weir_sockmap_bell *b = calloc(1, sizeof(*b));
	int number = b && sockmap.works ? take_bell() : -1;

	if (number < 0) {
		free(b);
		return NULL;
	}
	b->number = (uint32_t)number;
	b->loop = l;
	b->rung = rung;
	b->ring = ring_buffer__new(sockmap.ring[number], one_event, b, NULL);
	b->io = (struct weir_io){ .fn = bell_event, .fd = sockmap.ring[number] };
	if (b->ring && !weir_loop_add(l, &b->io, EPOLLIN))
		return b;
	b->io.fd = -1;
	weir_sockmap_bell_free(b);
	return NULL;
}

uint32_t weir_sockmap_bell_number(const struct weir_sockmap_bell *b)
{
	return b->number;
}

void weir_sockmap_bell_free(struct weir_sockmap_bell *b)
{
	if (!b)
		return;
	if (b->io.fd >= 0)
		weir_loop_del(b->loop, &b->io);
	ring_buffer__free(b->ring);
	put_bell(b->number);
	free(b);
}

/* ---- Maps */

int weir_sockmap_join_target(uint32_t place, enum weir_end_of which, int fd)
{
	uint32_t key = index_of(place, which);
	uint64_t value = (uint64_t)fd;

	if (bpf_map_update_elem(bpf_map__fd(sockmap.skel->maps.weir_targets), &key, &value,
				BPF_ANY))
		return -errno;
	return 0;
}

int weir_sockmap_join_source(uint32_t place, enum weir_end_of which, int fd, uint64_t cookie)
{
	const struct weir_way_end end = {
		.way = index_of(place, which),
		.target = index_of(place, !which),
	};
	uint64_t value = (uint64_t)fd;
	const int one = 1;
	int code;

	if (bpf_map_update_elem(bpf_map__fd(sockmap.skel->maps.weir_ends), &cookie, &end, BPF_ANY))
		return -errno;
	if (bpf_map_update_elem(bpf_map__fd(sockmap.skel->maps.weir_sources), &cookie, &value,
				BPF_ANY)) {
		code = -errno;
		weir_sockmap_forget(cookie);
		return code;
	}
	/* What is in its queue waits, and the program runs only when more comes. This
	 * looks at the queue at once. */
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
	return 0;
}

void weir_sockmap_forget(uint64_t cookie)
{
	bpf_map_delete_elem(bpf_map__fd(sockmap.skel->maps.weir_ends), &cookie);
}

static uint32_t entries(const struct bpf_map *map)
{
	union {
		uint32_t index;
		uint64_t cookie;
	} key, *from = NULL;
	uint32_t n = 0;
	uint64_t value[2];

	while (!bpf_map_get_next_key(bpf_map__fd(map), from, &key)) {
		n += !bpf_map_lookup_elem(bpf_map__fd(map), &key, value);
		from = &key;
	}
	return n;
}

int weir_sockmap_use(struct weir_sockmap_use *ret)
{
	if (!sockmap.works)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&sockmap.lock);
	ret->relays = sockmap.places - sockmap.n_free;
	pthread_mutex_unlock(&sockmap.lock);
	ret->ends = entries(sockmap.skel->maps.weir_ends);
	ret->targets = entries(sockmap.skel->maps.weir_targets);
	ret->sources = entries(sockmap.skel->maps.weir_sources);
	return 0;
}
