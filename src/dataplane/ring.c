/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/ring.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"

/* Records read by one call, so that a flood does not starve the signals. */
#define RING_BUDGET 16384
#define RING_LOOK 256 /* and after so many, rings that were empty are looked at again */
#define RING_TELL 16 /* the kernel is told each time a 16th of the ring is read */

/* Perf wakes its reader for every event unless told otherwise; the reader's
 * timer finds what a batch leaves over. */
#define PERF_WAKE_EVENTS 256

/* A kernel ring buffer, mapped. libbpf's reader tells the kernel after every
 * record how far it is, and each time the producer's CPU has to fetch that
 * line again; this one tells it now and then. */
struct ring {
	int fd;
	unsigned long *consumer, *producer;
	const uint8_t *data; /* mapped twice in a row: no record is cut */
	size_t size;
	unsigned long at, end, told; /* where we are; what is written; what the kernel knows */
	const uint8_t *head;	     /* the record at `at`, or NULL: none that is complete */
	__u32 len;		     /* its length */
};

struct weir_ring {
	enum weir_transport transport;
	weir_ring_fn fn;
	void *arg;
	int epoll_fd;
	struct perf_buffer *perf;
	struct ring *rings; /* one a CPU */
	struct ring **active; /* those with a record at hand */
	int n_rings, n_active;
	int count;
	int stopped; /* what the callback returned when it stopped the reading */
};

static size_t round_up_pow2(size_t n)
{
	size_t size = (size_t)sysconf(_SC_PAGESIZE);

	while (size < n && size < (1UL << 30))
		size <<= 1;
	return size;
}

static enum bpf_perf_event_ret on_perf(void *ctx, int cpu, struct perf_event_header *event)
{
	struct weir_ring *r = ctx;
	struct {
		struct perf_event_header header;
		__u32 size;
		char data[];
	} *sample = (void *)event;

	(void)cpu;
	/* PERF_RECORD_LOST says nothing that the kernel's own counters do not. */
	if (event->type != PERF_RECORD_SAMPLE)
		return LIBBPF_PERF_EVENT_CONT;
	r->count++;
	r->stopped = r->fn(r->arg, sample->data, sample->size);
	return r->stopped ? LIBBPF_PERF_EVENT_ERROR : LIBBPF_PERF_EVENT_CONT;
}

static int watch_fd(struct weir_ring *r, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	return epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int map_ring(struct ring *ring, int fd, size_t bytes)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	ring->consumer = p;
	p = mmap(NULL, page + 2 * bytes, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (p == MAP_FAILED)
		return -errno;
	ring->producer = p;
	ring->data = (const uint8_t *)p + page;
	ring->size = bytes;
	return 0;
}

static void unmap_ring(struct ring *ring)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (ring->consumer)
		munmap(ring->consumer, page);
	if (ring->producer)
		munmap(ring->producer, page + 2 * ring->size);
	if (ring->fd >= 0)
		close(ring->fd);
}

static int open_rings(struct weir_ring *r, int map_fd, size_t bytes, struct weir_error *err)
{
	int cpus = weir_sys_cpus(), ret;

	r->rings = calloc((size_t)cpus, sizeof(*r->rings));
	r->active = calloc((size_t)cpus, sizeof(*r->active));
	if (!r->rings || !r->active)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (__u32 cpu = 0; cpu < (__u32)cpus; cpu++) {
		struct ring *ring = &r->rings[cpu];

		r->n_rings++;
		ring->fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "weir_ring", 0, 0, (__u32)bytes,
					  NULL);
		if (ring->fd < 0 || bpf_map_update_elem(map_fd, &cpu, &ring->fd, BPF_ANY))
			return weir_load_explain(err, -errno, "create the ring buffers");
		ret = map_ring(ring, ring->fd, bytes);
		if (ret)
			return weir_load_explain(err, ret, "map the ring buffers");
		ret = watch_fd(r, ring->fd);
		if (ret)
			return weir_fail(err, ret, "cannot wait for the rings: %s", strerror(-ret));
	}
	return 0;
}

static void tell(struct ring *ring)
{
	ring->told = ring->at;
	__atomic_store_n(ring->consumer, ring->at, __ATOMIC_RELEASE);
}

static unsigned long after(const struct ring *ring, __u32 len)
{
	return ring->at + ((len + BPF_RINGBUF_HDR_SZ + 7) & ~7UL);
}

/* Find the next record. One that is reserved and not yet written ends the
 * reading of its ring for now. */
static void peek(struct ring *ring)
{
	ring->head = NULL;
	for (;;) {
		const uint8_t *p = ring->data + (ring->at & (ring->size - 1));
		__u32 len;

		if (ring->at >= ring->end)
			ring->end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
		if (ring->at >= ring->end)
			return;
		len = __atomic_load_n((const __u32 *)p, __ATOMIC_ACQUIRE);
		if (len & BPF_RINGBUF_BUSY_BIT)
			return;
		if (!(len & BPF_RINGBUF_DISCARD_BIT)) {
			ring->head = p + BPF_RINGBUF_HDR_SZ;
			ring->len = len;
			return;
		}
		ring->at = after(ring, len & ~BPF_RINGBUF_DISCARD_BIT);
	}
}

static void find_active(struct weir_ring *r)
{
	r->n_active = 0;
	for (int i = 0; i < r->n_rings; i++) {
		if (!r->rings[i].head)
			peek(&r->rings[i]);
		if (r->rings[i].head)
			r->active[r->n_active++] = &r->rings[i];
	}
}

static __u64 time_of(const struct ring *ring)
{
	__u64 t;

	memcpy(&t, ring->head, sizeof(t));
	return t;
}

/* Which active ring has the oldest record? An index, or -1. */
static int oldest(const struct weir_ring *r)
{
	int best = r->n_active - 1;

	for (int i = best - 1; i >= 0; i--)
		if (time_of(r->active[i]) < time_of(r->active[best]))
			best = i;
	return best;
}

static void read_rings(struct weir_ring *r)
{
	for (int budget = RING_BUDGET; budget && !r->stopped; budget--) {
		struct ring *ring;
		int i;

		if (!r->n_active || budget % RING_LOOK == 0)
			find_active(r);
		i = oldest(r);
		if (i < 0)
			break;
		ring = r->active[i];
		r->count++;
		r->stopped = r->fn(r->arg, ring->head, ring->len);
		ring->at = after(ring, ring->len);
		if (ring->at - ring->told >= ring->size / RING_TELL)
			tell(ring);
		peek(ring);
		if (!ring->head)
			r->active[i] = r->active[--r->n_active];
	}
	for (int i = 0; i < r->n_rings; i++)
		if (r->rings[i].at != r->rings[i].told)
			tell(&r->rings[i]);
}

static int open_perf(struct weir_ring *r, int map_fd, size_t bytes, struct weir_error *err)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_BPF_OUTPUT,
		.sample_type = PERF_SAMPLE_RAW,
		.sample_period = 1,
		.wakeup_events = PERF_WAKE_EVENTS,
	};
	size_t pages = bytes / (size_t)sysconf(_SC_PAGESIZE);
	int ret;

	r->perf = perf_buffer__new_raw(map_fd, pages, &attr, on_perf, r, NULL);
	if (!r->perf && errno == EPERM)
		return weir_fail(err, -EPERM,
				 "the perf buffers are over this user's "
				 "kernel.perf_event_mlock_kb: ask for a smaller -B, or "
				 "add CAP_IPC_LOCK");
	if (!r->perf)
		return weir_load_explain(err, -errno, "open the perf buffers");
	ret = watch_fd(r, perf_buffer__epoll_fd(r->perf));
	return ret ? weir_fail(err, ret, "cannot wait for perf: %s", strerror(-ret)) : 0;
}

int weir_ring_open(struct weir_ring **ret, enum weir_transport transport, int map_fd, size_t bytes,
		   weir_ring_fn fn, void *arg, struct weir_error *err)
{
	struct weir_ring *r = calloc(1, sizeof(*r));
	int code;

	if (!r)
		return weir_fail(err, -ENOMEM, "out of memory");
	r->transport = transport;
	r->fn = fn;
	r->arg = arg;
	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	bytes = round_up_pow2(bytes);
	if (r->epoll_fd < 0)
		code = weir_fail(err, -errno, "cannot create an epoll descriptor: %s",
				 strerror(errno));
	else if (transport == WEIR_TRANSPORT_RING)
		code = open_rings(r, map_fd, bytes, err);
	else
		code = open_perf(r, map_fd, bytes, err);
	if (code) {
		weir_ring_close(r);
		return code;
	}
	*ret = r;
	return 0;
}

void weir_ring_close(struct weir_ring *r)
{
	if (!r)
		return;
	for (int i = 0; i < r->n_rings; i++)
		unmap_ring(&r->rings[i]);
	free(r->rings);
	free(r->active);
	perf_buffer__free(r->perf);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	free(r);
}

int weir_ring_fd(const struct weir_ring *r)
{
	return r->epoll_fd;
}

int weir_ring_consume(struct weir_ring *r)
{
	int ret;

	r->count = 0;
	r->stopped = 0;
	if (r->perf) {
		ret = perf_buffer__consume(r->perf);
		return r->stopped ? r->stopped : ret < 0 ? ret : r->count;
	}
	find_active(r);
	read_rings(r);
	return r->stopped ? r->stopped : r->count;
}
