/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture through DPDK's ports: only in builds with -Ddpdk=enabled.
 *
 * The main loop polls: at once again while packets come, each millisecond when none do. A
 * port's own receive ring has to last for that long.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "cap/watch/session.h"

#define BURST 64
#define BURSTS 64 /* of one port before the others and the signals have their turn */
#define ARGS_MAX 64
#define DESCRIPTORS_MAX 4096
#define DESCRIPTORS_MIN 128
#define MBUF_BYTES (RTE_MBUF_DEFAULT_BUF_SIZE + sizeof(struct rte_mbuf))
#define CACHE 256 /* mbufs that a core keeps at hand */

struct port {
	uint16_t id;
	bool open;
	struct rte_mempool *pool;
	uint64_t packets, bytes;
};

struct dpdk_state {
	struct port port[WEIR_WATCH_IFACES];
	uint8_t *whole; /* a packet of several segments, in one piece */
	bool running;	/* EAL is */
	uint32_t left;	/* once detached: packets that may still have been in the rings */
};

/* The words of EAL's command line. It keeps pointers to them. */
struct words {
	char *v[ARGS_MAX + 1];
	int n;
	bool cores;  /* the user chose them */
	bool legacy; /* the user chose memory that --in-memory does not go with */
	bool failed;
};

static void add(struct words *a, const char *word)
{
	char *copy = strdup(word);

	if (!copy || a->n == ARGS_MAX) {
		a->failed = true;
		free(copy);
		return;
	}
	a->v[a->n++] = copy;
}

static bool is_pci(const char *name)
{
	unsigned int bus, slot, function;

	return sscanf(name, "%*x:%x:%x.%u", &bus, &slot, &function) == 3 ||
	       sscanf(name, "%x:%x.%u", &bus, &slot, &function) == 3;
}

/* One core, which is every CPU that this process may use: EAL would start a thread for
 * each CPU, and tie this one to the first. */
static void add_cores(struct words *a)
{
	char text[32 + 8 * CPU_SETSIZE] = "--lcores=0@(";
	size_t at = strlen(text);
	bool first = true;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set)) {
			at += (size_t)snprintf(text + at, sizeof(text) - at, first ? "%d" : ",%d",
					       cpu);
			first = false;
		}
	snprintf(text + at, sizeof(text) - at, ")");
	add(a, text);
}

static void add_users(struct words *a, const char *text)
{
	char *copy = strdup(text ? text : ""), *rest = NULL;

	if (!copy) {
		a->failed = true;
		return;
	}
	for (char *word = strtok_r(copy, " \t", &rest); word; word = strtok_r(NULL, " \t", &rest)) {
		a->cores |= !strncmp(word, "-l", 2) || !strncmp(word, "-c", 2) ||
			    !strncmp(word, "--lcores", 8);
		a->legacy |= !strcmp(word, "--no-huge") || !strcmp(word, "--legacy-mem");
		add(a, word);
	}
	free(copy);
}

static void make_words(const struct weir_watch *w, struct words *a)
{
	char word[512];
	bool pci = false;

	add(a, "weir");
	add_users(a, w->opt.dpdk_args);
	/* Nothing is left behind in /run or on a hugetlbfs, and nothing listens. */
	add(a, a->legacy ? "--no-shconf" : "--in-memory");
	add(a, "--no-telemetry");
	if (!weir_log_enabled())
		add(a, "--log-level=*:emergency");
	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		const char *name = w->opt.interfaces.v[i];

		pci |= is_pci(name);
		snprintf(word, sizeof(word), is_pci(name) ? "--allow=%s" : "--vdev=%s", name);
		add(a, word);
	}
	/* Whatever else is plugged in stays as it is. */
	if (!pci)
		add(a, "--no-pci");
	if (!a->cores)
		add_cores(a);
}

/* EAL explains itself on both streams, by the page. What there is to say is one line of
 * ours. */
static int init_quietly(struct words *a)
{
	int null = weir_log_enabled() ? -1 : open("/dev/null", O_WRONLY | O_CLOEXEC);
	int saved[2] = { -1, -1 }, ret;

	fflush(stdout);
	for (int i = 0; null >= 0 && i < 2; i++) {
		saved[i] = fcntl(STDOUT_FILENO + i, F_DUPFD_CLOEXEC, 3);
		if (saved[i] >= 0)
			dup2(null, STDOUT_FILENO + i);
	}
	ret = rte_eal_init(a->n, a->v);
	fflush(stdout);
	for (int i = 0; i < 2; i++)
		if (saved[i] >= 0) {
			dup2(saved[i], STDOUT_FILENO + i);
			close(saved[i]);
		}
	if (null >= 0)
		close(null);
	return ret;
}

/* It makes directories even where it keeps nothing in them. Others' are not empty. */
static void remove_runtime_dir(void)
{
	const char *dir = rte_eal_get_runtime_dir();
	char parent[PATH_MAX];

	if (!dir || !dir[0] || rmdir(dir))
		return;
	snprintf(parent, sizeof(parent), "%s", dir);
	if (strrchr(parent, '/'))
		*strrchr(parent, '/') = '\0';
	rmdir(parent);
}

static int start_eal(struct weir_watch *w, struct weir_error *err)
{
	struct dpdk_state *st = w->engine_state;
	static struct words a;
	int ret;

	make_words(w, &a);
	if (a.failed)
		return weir_fail(err, -E2BIG, "--dpdk-args has too many words: at most %d",
				 ARGS_MAX);
	ret = init_quietly(&a);
	remove_runtime_dir();
	if (ret >= 0) {
		st->running = true;
		return 0;
	}
	if (rte_errno == EACCES || rte_errno == ENOMEM)
		return weir_fail(err, -rte_errno,
				 "DPDK has no memory (%s): reserve hugepages, or add --dpdk-args "
				 "\"--no-huge -m 64\"",
				 rte_strerror(rte_errno));
	return weir_fail(err, -rte_errno,
			 "DPDK does not start (%s): check -i and --dpdk-args; WEIR_DEBUG=1 shows "
			 "its own words",
			 rte_strerror(rte_errno));
}

static int port_fail(const char *what, const char *name, int code, struct weir_error *err)
{
	return weir_fail(err, code,
			 "cannot %s port %s: %s: check what -i says of it; WEIR_DEBUG=1 "
			 "shows DPDK's own words",
			 what, name, rte_strerror(-code));
}

static int open_port(struct weir_watch *w, unsigned int slot, struct weir_error *err)
{
	struct dpdk_state *st = w->engine_state;
	struct port *p = &st->port[slot];
	const char *name = w->ifaces[slot].name;
	const struct rte_eth_conf conf = { 0 };
	uint64_t mbufs = w->opt.buffer / MBUF_BYTES;
	uint16_t rx = DESCRIPTORS_MAX, tx = DESCRIPTORS_MIN;
	char pool[32];
	int ret = rte_eth_dev_get_port_by_name(name, &p->id);

	if (ret)
		return port_fail("find", name, ret, err);
	ret = rte_eth_dev_configure(p->id, 1, 0, &conf);
	if (!ret)
		ret = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
	if (ret)
		return port_fail("configure", name, ret, err);
	/* The ring's, one burst's, and what the core keeps. */
	if (mbufs > UINT32_MAX)
		mbufs = UINT32_MAX;
	if (mbufs < rx + BURST + CACHE * 2U)
		mbufs = rx + BURST + CACHE * 2U;
	snprintf(pool, sizeof(pool), "weir%u", slot);
	p->pool = rte_pktmbuf_pool_create(pool, (unsigned int)mbufs, CACHE, 0,
					  RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!p->pool)
		return weir_fail(err, -rte_errno,
				 "cannot make %llu packet buffers for port %s: "
				 "%s: ask for a smaller -B, or give DPDK more memory (-m)",
				 (unsigned long long)mbufs, name, rte_strerror(rte_errno));
	ret = rte_eth_rx_queue_setup(p->id, 0, rx, SOCKET_ID_ANY, NULL, p->pool);
	if (!ret)
		ret = rte_eth_dev_start(p->id);
	if (ret)
		return port_fail("start", name, ret, err);
	p->open = true;
	if (w->opt.promisc)
		ret = rte_eth_promiscuous_enable(p->id);
	return ret && ret != -ENOTSUP ? port_fail("make promiscuous", name, ret, err) : 0;
}

/* Silent losses are the one thing that must not be. */
static void tell_limits(const struct weir_watch *w, unsigned int slot)
{
	const struct dpdk_state *st = w->engine_state;
	struct rte_eth_dev_info info;

	if (!rte_eth_dev_info_get(st->port[slot].id, &info) &&
	    !strcmp(info.driver_name, "net_af_packet"))
		fprintf(stderr,
			"weir watch: %s: DPDK's af_packet driver does not count what its ring "
			"drops, and holds IPv4 fragments back: use net_pcap where that matters\n",
			w->ifaces[slot].name);
}

static int dpdk_open(struct weir_watch *w, struct weir_error *err)
{
	struct dpdk_state *st = calloc(1, sizeof(*st));
	int ret;

	if (!st)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->engine_state = st;
	st->whole = malloc(WEIR_WATCH_SNAPLEN);
	if (!st->whole)
		return weir_fail(err, -ENOMEM, "out of memory");
	ret = start_eal(w, err);
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		ret = open_port(w, i, err);
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++)
		tell_limits(w, i);
	return ret;
}

/* Its packets show on no descriptor. */
static int dpdk_fd(struct weir_watch *w)
{
	(void)w;
	return -1;
}

static int take(struct weir_watch *w, unsigned int slot, const struct rte_mbuf *m, uint64_t now)
{
	struct dpdk_state *st = w->engine_state;
	struct weir_watch_event ev = {
		.ts = now,
		.len = rte_pktmbuf_pkt_len(m),
		.caplen = rte_pktmbuf_pkt_len(m),
		.slot = (uint8_t)slot,
	};
	const uint8_t *data;

	if (ev.caplen > WEIR_WATCH_SNAPLEN)
		ev.caplen = WEIR_WATCH_SNAPLEN;
	if (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) {
		ev.flags |= WEIR_WATCH_VLAN_META;
		ev.vlan_tci = m->vlan_tci;
		ev.vlan_proto = RTE_ETHER_TYPE_VLAN;
	}
	if ((m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD)
		ev.flags |= WEIR_WATCH_CSUM_OK;
	data = rte_pktmbuf_read(m, 0, ev.caplen, st->whole);
	return weir_sink_packet(&w->sinks[0], &ev, data);
}

/* What a burst has brought is read: what -c leaves of it counts as queued. */
static int read_burst(struct weir_watch *w, unsigned int slot)
{
	struct dpdk_state *st = w->engine_state;
	struct port *p = &st->port[slot];
	struct rte_mbuf *m[BURST];
	uint16_t n = rte_eth_rx_burst(p->id, 0, m, BURST);
	uint64_t now = n ? weir_clock_real() : 0;
	int ret = 0;

	p->packets += n;
	for (uint16_t i = 0; i < n; i++)
		p->bytes += rte_pktmbuf_pkt_len(m[i]);
	for (uint16_t i = 0; i < n && !ret; i++)
		ret = take(w, slot, m[i], now);
	for (uint16_t i = 0; i < n; i++)
		rte_pktmbuf_free(m[i]);
	return ret ? ret : n;
}

static int dpdk_poll(struct weir_watch *w, struct weir_error *err)
{
	struct dpdk_state *st = w->engine_state;
	int total = 0;

	(void)err;
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		for (int burst = 0; burst < BURSTS; burst++) {
			int n = read_burst(w, i);

			if (n < 0)
				return n;
			total += n;
			if (!n)
				break;
		}
	if (!w->detached)
		return total;
	/* Packets still come: only what was there when the end came is due. */
	if ((uint32_t)total >= st->left)
		return 0;
	st->left -= (uint32_t)total;
	return total;
}

/* A port that is stopped drops what is in its ring, so it is read out first. */
static void dpdk_detach(struct weir_watch *w)
{
	struct dpdk_state *st = w->engine_state;

	if (st)
		st->left = w->n_ifaces * DESCRIPTORS_MAX;
}

static void dpdk_counters(struct weir_watch *w, unsigned int slot, struct weir_watch_counters *ret)
{
	struct dpdk_state *st = w->engine_state;
	const struct port *p = st ? &st->port[slot] : NULL;
	struct rte_eth_stats stats;

	memset(ret, 0, sizeof(*ret));
	if (!p || !p->open)
		return;
	if (!rte_eth_stats_get(p->id, &stats)) {
		ret->lost[WEIR_WATCH_LOST_RING_FULL] = stats.imissed;
		ret->lost[WEIR_WATCH_LOST_NO_BUFFER] = stats.rx_nombuf;
		ret->lost[WEIR_WATCH_LOST_PORT] = stats.ierrors;
	}
	ret->sent = ret->matched = p->packets;
	for (int i = 0; i < WEIR_WATCH_LOST_MAX; i++)
		ret->matched += ret->lost[i];
	ret->seen = ret->matched;
	ret->seen_bytes = ret->matched_bytes = p->bytes;
}

static void dpdk_close(struct weir_watch *w)
{
	struct dpdk_state *st = w->engine_state;

	w->engine_state = NULL;
	if (!st)
		return;
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (st->port[i].open) {
			rte_eth_dev_stop(st->port[i].id);
			rte_eth_dev_close(st->port[i].id);
		}
	if (st->running)
		rte_eal_cleanup();
	free(st->whole);
	free(st);
}

const struct weir_engine weir_engine_dpdk = {
	.name = "dpdk",
	.open = dpdk_open,
	.fd = dpdk_fd,
	.poll = dpdk_poll,
	.detach = dpdk_detach,
	.counters = dpdk_counters,
	.close = dpdk_close,
};
