/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/xsk.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

/* Kernel 6.6; newer than Debian 12's headers. */
#define BIND_USE_SG (1 << 4)
#define DESC_CONTD (1 << 0)

#define BUFFER 4096u /* the kernel takes no more without huge pages */
#define BUFFERS_MIN 64u
#define CACHE_LINE 64
#define BUSY_TRIES 50
#define BUSY_MS 10
/* Frames that are fetched into the cache before their turn: each has a page of its own, and
 * another CPU wrote it. */
#define AHEAD 8
/* The kernel is told of so many at once: it reads the lines that are written for it. */
#define TOLD 16u
/* A socket is bound only with a ring for what was sent, which here is nothing. */
#define COMPLETION_ENTRIES 1u

struct ring {
	void *map;
	size_t len;
	uint32_t *producer, *consumer;
	void *desc;
	uint32_t mask;
};

struct weir_xsk {
	int fd;
	uint8_t *memory;
	size_t bytes;
	struct ring rx, fill, completion;
	uint32_t at, end; /* of the receive ring: where we are, and what is known to be written */
	uint32_t given;	  /* of the fill ring; both are told to the kernel now and then */
	uint32_t taken;	  /* descriptors of the frame that was peeked at */
	uint8_t *whole; /* a frame of several pieces */
};

static uint32_t power_of_two(uint32_t n)
{
	uint32_t v = 1;

	while (v < n)
		v *= 2;
	return v;
}

static int map_ring(struct weir_xsk *x, struct ring *r, uint32_t entries, size_t entry,
		    const struct xdp_ring_offset *at, uint64_t offset)
{
	r->len = at->desc + entries * entry;
	r->map = mmap(NULL, r->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, x->fd,
		      (off_t)offset);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return -errno;
	}
	r->producer = (uint32_t *)(void *)((char *)r->map + at->producer);
	r->consumer = (uint32_t *)(void *)((char *)r->map + at->consumer);
	r->desc = (char *)r->map + at->desc;
	r->mask = entries - 1;
	return 0;
}

static int open_rings(struct weir_xsk *x, uint32_t buffers)
{
	/* With room for all buffers neither of the two can run over. */
	const uint32_t entries = power_of_two(buffers), none = COMPLETION_ENTRIES;
	struct xdp_mmap_offsets at;
	socklen_t len = sizeof(at);
	int ret;

	if (setsockopt(x->fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof(entries)) ||
	    setsockopt(x->fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &none, sizeof(none)) ||
	    setsockopt(x->fd, SOL_XDP, XDP_RX_RING, &entries, sizeof(entries)) ||
	    getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &len))
		return -errno;
	ret = map_ring(x, &x->rx, entries, sizeof(struct xdp_desc), &at.rx, XDP_PGOFF_RX_RING);
	if (!ret)
		ret = map_ring(x, &x->fill, entries, sizeof(uint64_t), &at.fr,
			       XDP_UMEM_PGOFF_FILL_RING);
	return ret ? ret :
		     map_ring(x, &x->completion, none, sizeof(uint64_t), &at.cr,
			      XDP_UMEM_PGOFF_COMPLETION_RING);
}

/* Give the buffer at @addr to the kernel; there is room, since it came from there. */
static void give(struct weir_xsk *x, uint64_t addr)
{
	((uint64_t *)x->fill.desc)[x->given++ & x->fill.mask] = addr & ~(uint64_t)(BUFFER - 1);
}

void weir_xsk_tell(struct weir_xsk *x)
{
	__atomic_store_n(x->fill.producer, x->given, __ATOMIC_RELEASE);
	__atomic_store_n(x->rx.consumer, x->at, __ATOMIC_RELEASE);
}

static int open_memory(struct weir_xsk *x, size_t bytes, struct weir_error *err)
{
	uint32_t buffers = (uint32_t)(bytes / BUFFER);
	struct xdp_umem_reg reg = { .chunk_size = BUFFER };
	int ret;

	if (buffers < BUFFERS_MIN)
		buffers = BUFFERS_MIN;
	x->bytes = (size_t)buffers * BUFFER;
	x->memory =
		mmap(NULL, x->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (x->memory == MAP_FAILED) {
		x->memory = NULL;
		return weir_fail(err, -ENOMEM, "out of memory: ask for a smaller -B");
	}
	/* Each frame has a page: with small ones the reader would wait for their translation. */
	if (madvise(x->memory, x->bytes, MADV_HUGEPAGE))
		weir_debug("no huge pages for AF_XDP: %s", strerror(errno));
	reg.addr = (uintptr_t)x->memory;
	reg.len = x->bytes;
	ret = setsockopt(x->fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) ? -errno :
									    open_rings(x, buffers);
	if (ret == -ENOBUFS)
		return weir_fail(err, ret,
				 "AF_XDP may lock no more memory: ask for a smaller -B, "
				 "raise `ulimit -l`, or add CAP_IPC_LOCK");
	if (ret)
		return weir_fail(err, ret,
				 "cannot set up the AF_XDP rings: %s: ask for a smaller "
				 "-B",
				 strerror(-ret));
	for (uint32_t i = 0; i < buffers; i++)
		give(x, (uint64_t)i * BUFFER);
	weir_xsk_tell(x);
	return 0;
}

static int try_bind(struct weir_xsk *x, const struct sockaddr_xdp *addr)
{
	int ret = bind(x->fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;

	/* The queue of a socket that was closed is free some moments later. */
	for (int i = 0; ret == -EBUSY && i < BUSY_TRIES; i++) {
		usleep(BUSY_MS * 1000);
		ret = bind(x->fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;
	}
	return ret;
}

static int bind_queue(struct weir_xsk *x, const char *ifname, uint32_t ifindex, uint32_t queue,
		      bool *pieces, struct weir_error *err)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_COPY,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
	};
	int ret = -EINVAL;

	if (*pieces) {
		addr.sxdp_flags |= BIND_USE_SG;
		ret = try_bind(x, &addr);
		addr.sxdp_flags = XDP_COPY;
	}
	/* An older kernel, or no such queue. */
	if (ret == -EINVAL) {
		ret = try_bind(x, &addr);
		*pieces = *pieces && ret;
	}
	if (!ret)
		return 0;
	if (ret == -EINVAL && queue)
		return -ENOENT;
	if (ret == -EBUSY)
		return weir_fail(err, ret,
				 "receive queue %u of %s has an AF_XDP socket already: "
				 "stop its owner, or use --capture xdp",
				 queue, ifname);
	if (ret == -ENETDOWN)
		return weir_fail(err, ret, "%s is down: set it up with `ip link set %s up`", ifname,
				 ifname);
	return weir_fail(err, ret, "cannot bind AF_XDP to queue %u of %s: %s: use --capture xdp",
			 queue, ifname, strerror(-ret));
}

int weir_xsk_open(struct weir_xsk **ret, const char *ifname, uint32_t ifindex, uint32_t queue,
		  size_t bytes, bool *pieces, struct weir_error *err)
{
	struct weir_xsk *x = calloc(1, sizeof(*x));
	int code;

	if (!x)
		return weir_fail(err, -ENOMEM, "out of memory");
	x->whole = malloc(WEIR_WATCH_SNAPLEN);
	x->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		code = weir_fail(err, -errno, "cannot open an AF_XDP socket: %s: see `weir doctor`",
				 strerror(errno));
	else if (!x->whole)
		code = weir_fail(err, -ENOMEM, "out of memory");
	else
		code = open_memory(x, bytes, err);
	if (!code)
		code = bind_queue(x, ifname, ifindex, queue, pieces, err);
	if (code)
		weir_xsk_close(x);
	else
		*ret = x;
	return code;
}

static void unmap_ring(struct ring *r)
{
	if (r->map)
		munmap(r->map, r->len);
}

void weir_xsk_close(struct weir_xsk *x)
{
	if (!x)
		return;
	unmap_ring(&x->rx);
	unmap_ring(&x->fill);
	unmap_ring(&x->completion);
	if (x->fd >= 0)
		close(x->fd);
	if (x->memory)
		munmap(x->memory, x->bytes);
	free(x->whole);
	free(x);
}

int weir_xsk_fd(const struct weir_xsk *x)
{
	return x->fd;
}

static const struct xdp_desc *descriptor(const struct weir_xsk *x, uint32_t at)
{
	return &((const struct xdp_desc *)x->rx.desc)[at & x->rx.mask];
}

/* Where a descriptor's bytes are; it lies within the memory, or the kernel is broken. */
static uint8_t *bytes_of(const struct weir_xsk *x, const struct xdp_desc *d)
{
	return d->addr < x->bytes && d->len <= x->bytes - d->addr ? x->memory + d->addr : NULL;
}

static struct weir_watch_note *note_of(const struct weir_xsk *x, const struct xdp_desc *d)
{
	uint8_t *p = bytes_of(x, d);

	/* Before the frame is room that the kernel keeps in each buffer. */
	return p && (d->addr & (BUFFER - 1)) >= sizeof(struct weir_watch_note) ?
		       (void *)(p - sizeof(struct weir_watch_note)) :
		       NULL;
}

/* Put one piece behind the others. */
static void append(struct weir_xsk *x, struct weir_xsk_frame *f, const struct xdp_desc *d)
{
	uint32_t room = WEIR_WATCH_SNAPLEN - f->caplen, n = d->len < room ? d->len : room;
	const uint8_t *from = bytes_of(x, d);

	f->len += d->len;
	if (!from)
		return;
	memcpy(x->whole + f->caplen, from, n);
	f->caplen += n;
}

/* The note and the head of the frame at @at, if there is one by now. */
static void fetch(const struct weir_xsk *x, uint32_t at)
{
	const uint8_t *p = at - x->at < x->end - x->at ? bytes_of(x, descriptor(x, at)) : NULL;

	if (!p)
		return;
	__builtin_prefetch(p - sizeof(struct weir_watch_note), 1);
	__builtin_prefetch(p);
	__builtin_prefetch(p + CACHE_LINE);
}

bool weir_xsk_peek(struct weir_xsk *x, struct weir_xsk_frame *f)
{
	struct weir_watch_note note = { 0 };
	const struct xdp_desc *d;
	uint32_t at = x->at, end;

	if (at == x->end) {
		x->end = __atomic_load_n(x->rx.producer, __ATOMIC_ACQUIRE);
		for (uint32_t i = 0; i < AHEAD; i++)
			fetch(x, at + i);
	}
	end = x->end;
	if (at == end)
		return false;
	fetch(x, at + AHEAD);
	d = descriptor(x, at);
	memset(f, 0, sizeof(*f));
	if (note_of(x, d))
		memcpy(&note, note_of(x, d), sizeof(note));
	if (note.magic == WEIR_WATCH_NOTE_MAGIC)
		f->ts = note.ts;
	x->taken = 1;
	if (!(d->options & DESC_CONTD)) {
		f->data = bytes_of(x, d);
		f->len = d->len;
		f->caplen = f->data ? d->len : 0;
		return true;
	}
	append(x, f, d);
	while (d->options & DESC_CONTD && at + x->taken != end) {
		d = descriptor(x, at + x->taken++);
		append(x, f, d);
	}
	f->data = x->whole;
	return true;
}

void weir_xsk_release(struct weir_xsk *x)
{
	for (uint32_t i = 0; i < x->taken; i++) {
		const struct xdp_desc *d = descriptor(x, x->at + i);
		struct weir_watch_note *note = note_of(x, d);

		/* Or the next frame of a driver without room would have this one's time. */
		if (note)
			note->magic = 0;
		give(x, d->addr);
	}
	x->at += x->taken;
	x->taken = 0;
	if (x->at - *x->rx.consumer >= TOLD)
		weir_xsk_tell(x);
}

uint64_t weir_xsk_waiting(const struct weir_xsk *x)
{
	uint32_t at = x->at, end = __atomic_load_n(x->rx.producer, __ATOMIC_ACQUIRE);
	uint64_t n = 0;

	for (; at != end; at++)
		n += !(descriptor(x, at)->options & DESC_CONTD);
	return n;
}

void weir_xsk_drops(const struct weir_xsk *x, struct weir_xsk_drops *ret)
{
	struct xdp_statistics s = { 0 };
	socklen_t len = sizeof(s);

	if (getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, &s, &len)) {
		weir_debug("no AF_XDP statistics: %s", strerror(errno));
		return;
	}
	/* An empty fill ring is counted there again: rx_fill_ring_empty_descs. Frames that are
	 * too long never come here. */
	ret->no_frame += s.rx_dropped;
	ret->ring_full += s.rx_ring_full;
}
