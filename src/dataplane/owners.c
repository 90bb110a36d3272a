/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/owners.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "dataplane/caps.h"
#include "dataplane/cgroup.h"
#include "dataplane/load.h"
#include "dataplane/ring.h"
#include "dataplane/sys.h"

#include "owners.skel.h"

/* Of the rings: a CPU's, and of all of them as far as a CPU's may be larger. Where the
 * reader does not get a CPU for some time, there is room for what happens meanwhile. */
#define RING_LEAST (1024 * 1024)
#define RING_MOST (8 * 1024 * 1024)
#define RINGS_BYTES (32 * 1024 * 1024)
#define TABLE_MAX (1U << 18)
#define LINKS_MAX 16
#define READ_EVENTS 64	  /* of a scan, by one system call */
#define CONSUME_ROUNDS 16 /* of one look at the rings */
#define ADDRESSES_MAX 4096
#define NAMES_MAX 1024
#define NETNS_DIR "/run/netns"
/* A packet is shown before what its socket has told is: by less than this, since nothing
 * comes between the two on their CPU. */
#define BEHIND_NS 20000
#define SCAN_EVERY_NS WEIR_NSEC_PER_SEC
#define SCAN_SHARE 20 /* it takes no more than a 20th of the time */

struct address {
	uint8_t b[16];
};

struct name {
	uint64_t netns;
	char name[256]; /* empty: none */
	uint64_t asked;
};

struct weir_owners {
	pthread_mutex_t lock;
	struct owners_bpf *skel;
	struct bpf_link *links[LINKS_MAX], *scan;
	unsigned int n_links;
	struct weir_ring *ring;
	const volatile uint64_t *lost_now; /* the programs' own count, mapped */
	size_t lost_bytes;
	struct weir_owner_table *table;
	struct address *here;
	size_t n_here;
	uint64_t here_read;
	struct name names[NAMES_MAX];
	size_t n_names;
	uint64_t netns;
	uint64_t drained; /* what happened before is known */
	uint64_t lost;	  /* of that much the table knows */
	uint64_t next_scan;
	bool blind; /* events were lost, and no scan has been since */
	char no_udp[WEIR_ERROR_MAX];
};

/* ---- What happens */

static int on_record(void *arg, const void *data, size_t size)
{
	struct weir_owners *o = arg;
	const struct weir_owner_event *ev = data;

	if (size >= sizeof(struct weir_owner_group) && ev->kind == WEIR_OWNER_GROUP)
		weir_owner_table_group(o->table, data);
	else if (size >= sizeof(*ev))
		weir_owner_table_event(o->table, ev);
	return 0;
}

static void drain(struct weir_owners *o)
{
	uint64_t now = weir_clock_mono();
	int n = 1;

	for (int i = 0; n > 0 && i < CONSUME_ROUNDS; i++)
		n = weir_ring_consume(o->ring);
	if (n <= 0)
		o->drained = now;
	if (*o->lost_now != o->lost)
		o->blind = true;
}

static int read_scan(struct weir_owners *o)
{
	weir_autoclose int fd = bpf_iter_create(bpf_link__fd(o->scan));
	struct weir_owner_event events[READ_EVENTS];
	size_t have = 0, whole, used;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, (char *)events + have, sizeof(events) - have)) != 0) {
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -errno;
		have += (size_t)n;
		whole = have / sizeof(*events);
		for (size_t i = 0; i < whole; i++)
			weir_owner_table_event(o->table, &events[i]);
		used = whole * sizeof(*events);
		memmove(events, (char *)events + used, have - used);
		have -= used;
	}
	return 0;
}

/* All that processes hold, now. Events that were lost before are made up for. */
static int scan(struct weir_owners *o)
{
	uint64_t begin = weir_clock_mono(), lost = *o->lost_now, took;
	int ret;

	drain(o);
	weir_owner_table_scan(o->table);
	ret = read_scan(o);
	if (ret)
		return ret;
	weir_owner_table_scanned(o->table, begin, o->blind);
	o->lost = lost;
	o->blind = false;
	drain(o);
	took = weir_clock_mono() - begin;
	o->next_scan = begin + SCAN_EVERY_NS + took * SCAN_SHARE;
	return 0;
}

/* ---- Addresses of this namespace */

static bool is_here(const struct weir_owners *o, const uint8_t a[16])
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };

	/* All of 127/8, and groups, to which any number of sockets listen. */
	if (!memcmp(a, v4, sizeof(v4)) && (a[12] == 127 || a[12] >= 224))
		return true;
	if (a[0] == 0xff)
		return true;
	for (size_t i = 0; i < o->n_here; i++)
		if (!memcmp(o->here[i].b, a, 16))
			return true;
	return false;
}

static void add_address(struct weir_owners *o, const struct sockaddr *sa)
{
	struct address a = { .b = { [10] = 0xff, [11] = 0xff } };

	if (!sa || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
		return;
	if (sa->sa_family == AF_INET)
		memcpy(a.b + 12, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
	else
		memcpy(a.b, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	if (o->n_here < ADDRESSES_MAX && !is_here(o, a.b))
		o->here[o->n_here++] = a;
}

static void read_addresses(struct weir_owners *o)
{
	struct ifaddrs *all = NULL;

	if (getifaddrs(&all))
		return;
	o->n_here = 0;
	for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
		add_address(o, i->ifa_addr);
		if (i->ifa_flags & IFF_BROADCAST)
			add_address(o, i->ifa_broadaddr);
	}
	freeifaddrs(all);
	o->here_read = weir_clock_mono();
}

/* ---- Open and close */

/* A tracepoint that this kernel does not have is left out. */
static void choose(struct owners_bpf *s)
{
	const struct {
		const char *name;
		struct bpf_program *prog;
	} newer[] = {
		{ "btf_trace_sock_send_length", s->progs.weir_owner_send },
		{ "btf_trace_sock_recv_length", s->progs.weir_owner_recv },
	};
	struct btf *kernel = btf__load_vmlinux_btf();

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(newer); i++)
		if (!kernel || btf__find_by_name_kind(kernel, newer[i].name, BTF_KIND_TYPEDEF) < 0)
			bpf_program__set_autoload(newer[i].prog, false);
	btf__free(kernel);
}

static int keep_link(struct weir_owners *o, struct bpf_link *link)
{
	if (!link)
		return -errno;
	o->links[o->n_links++] = link;
	return 0;
}

static int attach_tracepoints(struct weir_owners *o, struct weir_error *err)
{
	const struct owners_bpf *s = o->skel;
	/* What fills a socket's record stands before what tells of it. */
	struct bpf_program *const progs[] = {
		s->progs.weir_owner_fork, s->progs.weir_owner_state, s->progs.weir_owner_read,
		s->progs.weir_owner_send, s->progs.weir_owner_recv,  s->progs.weir_owner_packet,
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(progs); i++)
		if (bpf_program__autoload(progs[i]))
			ret = keep_link(o, bpf_program__attach_trace(progs[i]));
	if (!ret) {
		o->scan = bpf_program__attach_iter(s->progs.weir_owner_scan, NULL);
		ret = o->scan ? 0 : -errno;
	}
	return ret ? weir_load_explain(err, ret, "look for the owners of sockets") : 0;
}

/* The root's programs run beside those of others, there and below; one that admits no
 * other keeps us out, and then UDP's sockets have no owner. */
static void attach_cgroup(struct weir_owners *o)
{
	const struct owners_bpf *s = o->skel;
	const struct {
		struct bpf_program *prog;
		int type;
	} progs[] = {
		{ s->progs.weir_owner_create, BPF_CGROUP_INET_SOCK_CREATE },
		{ s->progs.weir_owner_bind4, BPF_CGROUP_INET4_POST_BIND },
		{ s->progs.weir_owner_bind6, BPF_CGROUP_INET6_POST_BIND },
		{ s->progs.weir_owner_release, BPF_CGROUP_INET_SOCK_RELEASE },
	};
	char root[WEIR_CGROUP_PATH_MAX];
	struct weir_error err = { "" };
	weir_autoclose int fd = weir_cgroup_open(NULL, root, &err);
	unsigned int before = o->n_links;
	int ret = fd < 0 ? fd : 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(progs); i++) {
		ret = keep_link(o, bpf_program__attach_cgroup(progs[i].prog, fd));
		if (ret == -EPERM)
			weir_cgroup_explain(root, progs[i].type, "see UDP sockets begin", &err);
		else if (ret)
			weir_load_explain(&err, ret, "see UDP sockets begin");
	}
	if (!ret)
		return;
	while (o->n_links > before)
		bpf_link__destroy(o->links[--o->n_links]);
	snprintf(o->no_udp, sizeof(o->no_udp), "%s", err.msg);
}

static int map_counter(struct weir_owners *o, struct weir_error *err)
{
	const struct bpf_map *map = o->skel->maps.bss;
	void *at;

	o->lost_bytes = (size_t)sysconf(_SC_PAGESIZE);
	at = mmap(NULL, o->lost_bytes, PROT_READ, MAP_SHARED, bpf_map__fd(map), 0);
	if (at == MAP_FAILED)
		return weir_load_explain(err, -errno, "map the programs' counter");
	o->lost_now = at;
	return 0;
}

static uint64_t ring_bytes(void)
{
	uint64_t bytes = RING_MOST;

	while (bytes > RING_LEAST && bytes * (uint64_t)weir_sys_cpus() > RINGS_BYTES)
		bytes /= 2;
	return bytes;
}

static int load(struct weir_owners *o, struct weir_error *err)
{
	int ret;

	weir_load_setup();
	o->skel = owners_bpf__open();
	if (!o->skel)
		return weir_load_explain(err, -errno, "open the programs");
	choose(o->skel);
	o->skel->rodata->wake_bytes = RING_LEAST / 4;
	bpf_map__set_max_entries(o->skel->maps.weir_rings, (uint32_t)weir_sys_cpus());
	ret = weir_load(o->skel->obj, NULL, err);
	if (!ret)
		ret = map_counter(o, err);
	if (!ret)
		ret = weir_ring_open(&o->ring, WEIR_TRANSPORT_RING,
				     bpf_map__fd(o->skel->maps.weir_rings), ring_bytes(), on_record,
				     o, err);
	return ret;
}

int weir_owners_open(struct weir_owners **ret, struct weir_error *err)
{
	struct weir_owners *o;
	int code = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_PERFMON | WEIR_CAP_NET_ADMIN,
				  "look for the owners of sockets", err);

	if (code)
		return code;
	o = calloc(1, sizeof(*o));
	if (!o)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	pthread_mutex_init(&o->lock, NULL);
	o->table = weir_owner_table_new(TABLE_MAX);
	o->here = calloc(ADDRESSES_MAX, sizeof(*o->here));
	if (!o->table || !o->here)
		code = weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	if (!code)
		code = load(o, err);
	if (!code)
		code = attach_tracepoints(o, err);
	if (!code && weir_sys_netns_cookie(&o->netns))
		code = weir_fail(
			err, -EOPNOTSUPP,
			"this kernel does not number network namespaces: kernel 5.14 does");
	if (!code) {
		attach_cgroup(o);
		read_addresses(o);
		code = scan(o);
		if (code)
			weir_load_explain(err, code, "look at the sockets of processes");
	}
	if (code) {
		weir_owners_close(o);
		return code;
	}
	*ret = o;
	return 0;
}

void weir_owners_close(struct weir_owners *o)
{
	if (!o)
		return;
	for (unsigned int i = 0; i < o->n_links; i++)
		bpf_link__destroy(o->links[i]);
	bpf_link__destroy(o->scan);
	if (o->lost_now)
		munmap((void *)(uintptr_t)o->lost_now, o->lost_bytes);
	weir_ring_close(o->ring);
	owners_bpf__destroy(o->skel);
	weir_owner_table_free(o->table);
	pthread_mutex_destroy(&o->lock);
	free(o->here);
	free(o);
}

/* ---- Use */

const char *weir_owners_no_udp(const struct weir_owners *o)
{
	return *o->no_udp ? o->no_udp : NULL;
}

int weir_owners_fd(const struct weir_owners *o)
{
	return weir_ring_fd(o->ring);
}

uint64_t weir_owners_here(const struct weir_owners *o)
{
	return o->netns;
}

void weir_owners_tick(struct weir_owners *o)
{
	uint64_t now = weir_clock_mono();

	pthread_mutex_lock(&o->lock);
	drain(o);
	weir_owner_table_expire(o->table, now);
	if (now >= o->next_scan && (o->blind | weir_owner_table_wants_scan(o->table))) {
		int ret = scan(o);

		if (ret)
			weir_debug("cannot look at the sockets of processes: %s", strerror(-ret));
	}
	if (now - o->here_read >= WEIR_NSEC_PER_SEC)
		read_addresses(o);
	pthread_mutex_unlock(&o->lock);
}

static bool find(struct weir_owners *o, const struct weir_owner_query *q, struct weir_owner *ret)
{
	bool begins = q->out && (q->syn || q->proto == IPPROTO_UDP);

	if (q->last >= o->drained)
		drain(o);
	for (;;) {
		if (o->blind)
			break;
		if (weir_owner_table_find(o->table, q, ret))
			return true;
		/* Of a socket's first packet, which may still be on its way out. */
		if (!begins || weir_clock_mono() > q->last + BEHIND_NS)
			return false;
		drain(o);
	}
	memset(ret, 0, sizeof(*ret));
	return false;
}

bool weir_owners_find(struct weir_owners *o, struct weir_owner_query *q, struct weir_owner *ret)
{
	bool found;

	memset(ret, 0, sizeof(*ret));
	if (q->proto != IPPROTO_TCP && (q->proto != IPPROTO_UDP || *o->no_udp))
		return false;
	pthread_mutex_lock(&o->lock);
	q->netns = o->netns;
	q->here = is_here(o, q->local);
	found = find(o, q, ret);
	pthread_mutex_unlock(&o->lock);
	return found;
}

const char *weir_owners_group(struct weir_owners *o, uint64_t cgroup)
{
	const char *ret;

	pthread_mutex_lock(&o->lock);
	ret = weir_owner_table_path(o->table, cgroup);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

bool weir_owners_below(struct weir_owners *o, uint64_t cgroup, uint64_t top)
{
	bool ret;

	pthread_mutex_lock(&o->lock);
	ret = weir_owner_table_below(o->table, cgroup, top);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

static void find_name(uint32_t inode, struct name *n)
{
	DIR *d = opendir(NETNS_DIR);
	const struct dirent *e;
	struct stat st;

	n->name[0] = '\0';
	while (d && !*n->name && (e = readdir(d)))
		if (*e->d_name != '.' && !fstatat(dirfd(d), e->d_name, &st, 0) &&
		    st.st_ino == inode)
			snprintf(n->name, sizeof(n->name), "%s", e->d_name);
	if (d)
		closedir(d);
}

/* A namespace may get its name after its first socket: who has none is asked again. */
static const char *name_of(struct weir_owners *o, uint64_t netns)
{
	uint32_t inode = weir_owner_table_inode(o->table, netns);
	uint64_t now = weir_clock_mono();
	struct name *n = o->names;

	while (n < o->names + o->n_names && n->netns != netns)
		n++;
	if (n == o->names + NAMES_MAX || !inode)
		return NULL;
	if (n == o->names + o->n_names) {
		n->netns = netns;
		o->n_names++;
	}
	if (!*n->name && (!n->asked || now - n->asked >= WEIR_NSEC_PER_SEC)) {
		n->asked = now;
		find_name(inode, n);
	}
	return *n->name ? n->name : NULL;
}

const char *weir_owners_netns(struct weir_owners *o, uint64_t netns)
{
	const char *ret;

	pthread_mutex_lock(&o->lock);
	ret = name_of(o, netns);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

uint64_t weir_owners_lost(struct weir_owners *o)
{
	return *o->lost_now + weir_owner_table_refused(o->table);
}
