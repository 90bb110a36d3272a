/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture by AF_PACKET's memory-mapped ring (TPACKET_V3), one thread a socket,
 * the sockets of an interface joined by PACKET_FANOUT. weir's own program is
 * the socket's filter: it matches and counts, since the kernel's statistics
 * see only what passed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/watch/programs.h"
#include "cap/watch/session.h"
#include "dataplane/load.h"

#define BLOCK_BYTES (1u << 20)
#define FRAME_BYTES 2048	/* only a divisor for TPACKET_V3 */
#define RETIRE_MS 10		/* a block with few packets is handed over after this */
#define POLL_MS 100

struct reader {
	struct weir_watch *w;
	struct weir_sink *sink;
	unsigned int slot;
	unsigned int index; /* among those of its interface */
	int group;	    /* of the fanout */
	int fd;
	uint8_t *ring;
	unsigned int blocks, next;
	uint64_t dropped; /* tp_drops summed up: the kernel resets it when read */
	pthread_t thread;
	bool running;
	pthread_mutex_t stats_lock;
};

struct mmap_state {
	struct weir_programs *programs;
	struct reader *readers;
	unsigned int n;
	atomic_bool detached;
};

static struct mmap_state *state_of(struct weir_watch *w)
{
	return w->engine_state;
}

static void to_event(const struct reader *r, const struct tpacket3_hdr *h,
		     struct weir_watch_event *ev)
{
	const struct sockaddr_ll *ll =
		(const void *)((const uint8_t *)h + TPACKET_ALIGN(sizeof(*h)));

	*ev = (struct weir_watch_event){
		.ts = h->tp_sec * WEIR_NSEC_PER_SEC + h->tp_nsec,
		.len = h->tp_len,
		.caplen = h->tp_snaplen,
		.ifindex = (uint32_t)ll->sll_ifindex,
		.dir = ll->sll_pkttype == PACKET_OUTGOING ? WEIR_WATCH_OUT : WEIR_WATCH_IN,
		.slot = (uint8_t)r->slot,
		.eth_type = ntohs(ll->sll_protocol),
	};
	if (r->w->ifaces[r->slot].no_l2 || r->w->opt.socket)
		ev->flags |= WEIR_WATCH_NO_L2;
	if (h->tp_status & TP_STATUS_VLAN_VALID) {
		ev->flags |= WEIR_WATCH_VLAN_META;
		ev->vlan_tci = (uint16_t)h->hv1.tp_vlan_tci;
		ev->vlan_proto = h->tp_status & TP_STATUS_VLAN_TPID_VALID ? h->hv1.tp_vlan_tpid :
									    ETH_P_8021Q;
	}
	if (h->tp_status & TP_STATUS_CSUMNOTREADY)
		ev->flags |= WEIR_WATCH_CSUM_UNDONE;
	else if (h->tp_status & TP_STATUS_CSUM_VALID)
		ev->flags |= WEIR_WATCH_CSUM_OK;
}

static int read_block(struct reader *r, struct tpacket_block_desc *b)
{
	const uint8_t *p = (const uint8_t *)b + b->hdr.bh1.offset_to_first_pkt;
	struct weir_watch_event ev;

	for (uint32_t i = 0; i < b->hdr.bh1.num_pkts; i++) {
		const struct tpacket3_hdr *h = (const void *)p;

		to_event(r, h, &ev);
		if (weir_sink_packet(r->sink, &ev, p + h->tp_mac))
			return WEIR_STOP;
		p += h->tp_next_offset;
	}
	return 0;
}

/* Read the blocks that the kernel has handed over. */
static int read_ready(struct reader *r)
{
	int n = 0;

	while (n < (int)r->blocks) {
		struct tpacket_block_desc *b = (void *)(r->ring + (size_t)r->next * BLOCK_BYTES);

		if (!(__atomic_load_n(&b->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			break;
		if (read_block(r, b))
			return WEIR_STOP;
		__atomic_store_n(&b->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		r->next = (r->next + 1) % r->blocks;
		n++;
	}
	return n;
}

static void *read_loop(void *arg)
{
	struct reader *r = arg;
	struct mmap_state *st = state_of(r->w);
	int quiet = 0, n;

	while (quiet < 2) {
		struct pollfd p = {.fd = r->fd, .events = POLLIN | POLLERR};
		socklen_t len = sizeof(int);
		int error;

		n = read_ready(r);
		if (n)
			weir_sink_flush(r->sink);
		if (n == WEIR_STOP)
			break;
		if (n)
			continue;
		/* Detached: the filter lets nothing more in; one retire time later
		 * the last block has been handed over. */
		if (atomic_load(&st->detached)) {
			usleep(3 * RETIRE_MS * 1000);
			quiet++;
			continue;
		}
		/* An interface that goes down leaves an error: it is taken, or each
		 * further poll would return at once. */
		if (poll(&p, 1, POLL_MS) > 0 && p.revents & POLLERR)
			getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	}
	return NULL;
}

/* A filter of one instruction: nothing more gets in, what is there stays. */
static void close_gate(int fd)
{
	struct sock_filter none = {.code = 0x06, .k = 0};
	struct sock_fprog prog = {.len = 1, .filter = &none};

	setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

static int setup_ring(struct reader *r, struct weir_error *err)
{
	int version = TPACKET_V3;
	struct tpacket_req3 req = {
		.tp_block_size = BLOCK_BYTES,
		.tp_frame_size = FRAME_BYTES,
		.tp_retire_blk_tov = RETIRE_MS,
	};
	size_t blocks = r->w->opt.buffer / BLOCK_BYTES;

	req.tp_block_nr = (unsigned int)(blocks < 2 ? 2 : blocks);
	req.tp_frame_nr = req.tp_block_nr * (BLOCK_BYTES / FRAME_BYTES);
	if (setsockopt(r->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)) ||
	    setsockopt(r->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)))
		return weir_fail(err, -errno, "cannot make the packet ring: %s: ask for a smaller "
					      "-B", strerror(errno));
	r->blocks = req.tp_block_nr;
	r->ring = mmap(NULL, (size_t)r->blocks * BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		       r->fd, 0);
	if (r->ring == MAP_FAILED) {
		r->ring = NULL;
		return weir_fail(err, -errno,
				 "cannot map the packet ring: %s: ask for a smaller -B",
				 strerror(errno));
	}
	return 0;
}

static int join_fanout(struct reader *r, struct weir_error *err)
{
	static const int modes[] = {PACKET_FANOUT_HASH, PACKET_FANOUT_CPU, PACKET_FANOUT_LB};
	bool first = !r->index;
	int group = first ? 0 : r[-1].group;
	int arg = group | modes[r->w->opt.fanout_mode] << 16;
	socklen_t len = sizeof(arg);

	if (r->w->opt.fanout < 2)
		return 0;
	/* The kernel finds a free number: one of our own choice might be that of
	 * another process, and the two would share the packets. */
	if (first)
		arg |= PACKET_FANOUT_FLAG_UNIQUEID << 16;
	if (setsockopt(r->fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof(arg)) ||
	    getsockopt(r->fd, SOL_PACKET, PACKET_FANOUT, &arg, &len))
		return weir_fail(err, -errno, "cannot share %s between %llu sockets: %s: leave "
					      "--fanout out",
				 r->w->ifaces[r->slot].name,
				 (unsigned long long)r->w->opt.fanout, strerror(errno));
	r->group = arg & 0xffff;
	return 0;
}

/* It lets nothing in before all readers share: until a socket has joined, it
 * gets what the others get too. */
static int open_reader(struct reader *r, struct weir_error *err)
{
	struct weir_watch *w = r->w;
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = (int)w->ifaces[r->slot].ifindex};
	int type = w->opt.socket ? SOCK_DGRAM : SOCK_RAW, ret;

	r->fd = socket(AF_PACKET, type | SOCK_CLOEXEC, 0);
	if (r->fd < 0)
		return weir_fail(err, -errno, "cannot open a packet socket: %s: see `weir doctor`",
				 strerror(errno));
	ret = setup_ring(r, err);
	if (ret)
		return ret;
	if (w->ifaces[r->slot].in_only)
		weir_ignore_outgoing(r->fd);
	close_gate(r->fd);
	if (bind(r->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return weir_fail(err, -errno, "cannot capture on %s: %s: check `ip link`",
				 w->ifaces[r->slot].name, strerror(errno));
	return join_fanout(r, err);
}

static int mmap_open(struct weir_watch *w, struct weir_error *err)
{
	struct mmap_state *st = calloc(1, sizeof(*st));
	unsigned int per = w->opt.fanout ? (unsigned int)w->opt.fanout : 1;
	int ret;

	if (!st)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->engine_state = st;
	weir_load_setup();
	ret = weir_programs_load(w, NULL, 0, NULL, &st->programs, err);
	if (ret)
		return ret;
	st->readers = calloc((size_t)per * w->n_ifaces, sizeof(*st->readers));
	if (!st->readers)
		return weir_fail(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; !ret && i < per * w->n_ifaces; i++) {
		struct reader *r = &st->readers[i];

		r->w = w;
		r->slot = i / per;
		r->index = i % per;
		r->fd = -1;
		pthread_mutex_init(&r->stats_lock, NULL);
		st->n++;
		ret = open_reader(r, err);
	}
	for (unsigned int i = 0; !ret && i < st->n; i++)
		ret = weir_attach_filter(st->readers[i].fd,
					 weir_programs_fd(st->programs, WEIR_PROGRAM_TAP), err);
	return ret;
}

static int mmap_start(struct weir_watch *w, struct weir_error *err)
{
	struct mmap_state *st = state_of(w);

	for (unsigned int i = 0; i < st->n; i++) {
		struct reader *r = &st->readers[i];
		int ret;

		r->sink = &w->sinks[i];
		ret = pthread_create(&r->thread, NULL, read_loop, r);
		if (ret)
			return weir_fail(err, -ret, "cannot start a reading thread: %s: lower "
						    "--fanout", strerror(ret));
		r->running = true;
	}
	return 0;
}

static void mmap_detach(struct weir_watch *w)
{
	struct mmap_state *st = state_of(w);

	if (!st)
		return;
	for (unsigned int i = 0; i < st->n; i++)
		if (st->readers[i].fd >= 0)
			close_gate(st->readers[i].fd);
	atomic_store(&st->detached, true);
	for (unsigned int i = 0; i < st->n; i++)
		if (st->readers[i].running) {
			pthread_join(st->readers[i].thread, NULL);
			st->readers[i].running = false;
		}
}

static uint64_t drops_of(struct reader *r)
{
	struct tpacket_stats_v3 stats;
	socklen_t len = sizeof(stats);
	uint64_t sum;

	pthread_mutex_lock(&r->stats_lock);
	if (r->fd >= 0 && !getsockopt(r->fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		r->dropped += stats.tp_drops;
	sum = r->dropped;
	pthread_mutex_unlock(&r->stats_lock);
	return sum;
}

static void mmap_counters(struct weir_watch *w, unsigned int slot, struct weir_watch_counters *ret)
{
	struct mmap_state *st = state_of(w);
	uint64_t dropped = 0;

	memset(ret, 0, sizeof(*ret));
	if (!st || !st->programs)
		return;
	for (unsigned int i = 0; i < st->n; i++)
		if (st->readers[i].slot == slot)
			dropped += drops_of(&st->readers[i]);
	weir_programs_counters(st->programs, slot, ret);
	/* The filter has let them in; the ring had no room. */
	ret->lost[WEIR_WATCH_LOST_RING_FULL] += dropped;
	ret->sent -= dropped;
}

static void mmap_close(struct weir_watch *w)
{
	struct mmap_state *st = WEIR_TAKE_PTR(w->engine_state);

	if (!st)
		return;
	for (unsigned int i = 0; i < st->n; i++) {
		struct reader *r = &st->readers[i];

		if (r->ring)
			munmap(r->ring, (size_t)r->blocks * BLOCK_BYTES);
		if (r->fd >= 0)
			close(r->fd);
		pthread_mutex_destroy(&r->stats_lock);
	}
	weir_programs_free(st->programs);
	free(st->readers);
	free(st);
}

const struct weir_engine weir_engine_mmap = {
	.name = "mmap",
	.open = mmap_open,
	.start = mmap_start,
	.detach = mmap_detach,
	.counters = mmap_counters,
	.close = mmap_close,
};
