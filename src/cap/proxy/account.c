/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/account.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/control.h"
#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"

#include "account.skel.h"

#define VERB "proxy"
#define LOCK_TRIES 100 /* against proxies that end all the time */
#define LRU_STOCK 128  /* the kernel's LOCAL_FREE_TARGET */
#define SWEEP_WAIT_MS 10000
#define POLL_MS 50

_Static_assert(sizeof(struct weir_proxy_source_delta) == 40, "ABI: weir_proxy_source_delta");
_Static_assert(sizeof(struct weir_proxy_deltas) ==
		       8 * WEIR_TOTALS + 16 +
			       WEIR_PROXY_DELTAS * sizeof(struct weir_proxy_source_delta),
	       "ABI: weir_proxy_deltas");

/* ---- The lock */

static int lock_path(char *buf, size_t size, struct weir_error *err)
{
	int ret = weir_control_path(buf, size);
	char *dot = ret ? NULL : strrchr(buf, '.');

	if (!dot)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	memcpy(dot, ".lock", sizeof(".lock")); /* as long as ".sock" */
	return 0;
}

/* The file at @path, locked; or -errno. -EBUSY: another has it; -EAGAIN: it was removed
 * meanwhile. */
static int try_lock(const char *path)
{
	weir_autoclose int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	struct stat ours, there;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (fstat(fd, &ours) || stat(path, &there) || ours.st_ino != there.st_ino)
		return -EAGAIN;
	/* From here on the keeper may have it, too, each by an open file of its own. The change
	 * is not atomic: another that begins may come between. */
	if (flock(fd, LOCK_SH | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return WEIR_TAKE_FD(fd);
}

static int take_lock(struct weir_error *err)
{
	char path[WEIR_CONTROL_PATH];
	int fd = lock_path(path, sizeof(path), err);

	if (fd)
		return fd;
	fd = weir_control_dir(err);
	if (fd)
		return fd;
	fd = -EAGAIN;
	for (int i = 0; fd == -EAGAIN && i < LOCK_TRIES; i++)
		fd = try_lock(path);
	if (fd == -EBUSY)
		return weir_fail(err, fd,
				 "a proxy runs in this network namespace already: \"weir proxy "
				 "reload\" gives it a new configuration, SIGTERM ends it");
	return fd < 0 ? weir_fail(err, fd, "cannot lock %s: %s", path, strerror(-fd)) : fd;
}

/* ---- The maps */

static void init(struct weir_proxy_maps *m)
{
	m->names_fd = m->totals_fd = m->sources_fd = m->account_fd = m->lock_fd = -1;
}

static const struct {
	const char *name;
	size_t offset;
} pins[] = {
	{ "names", offsetof(struct weir_proxy_maps, names_fd) },
	{ WEIR_PROXY_TOTALS, offsetof(struct weir_proxy_maps, totals_fd) },
	{ "sources", offsetof(struct weir_proxy_maps, sources_fd) },
};

static int *pin_fd(struct weir_proxy_maps *m, size_t i)
{
	return (int *)((char *)m + pins[i].offset);
}

void weir_account_close(struct weir_proxy_maps *m)
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(pins); i++)
		weir_closep(pin_fd(m, i));
	weir_closep(&m->account_fd);
	weir_closep(&m->lock_fd);
	init(m);
}

static int keep(int fd, int *ret, struct weir_error *err)
{
	*ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *ret < 0 ? weir_fail(err, -errno, "cannot keep a descriptor: %m") : 0;
}

/* So that @cache names are there at once: every CPU that adds some keeps a stock of free
 * elements to itself. */
static uint32_t names_room(uint64_t cache)
{
	uint64_t n = cache + (uint64_t)LRU_STOCK * (unsigned int)weir_sys_cpus();

	return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static int load(struct weir_proxy_maps *m, uint64_t cache, struct weir_error *err)
{
	struct account_bpf *skel;
	int ret;

	weir_load_setup();
	skel = account_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the proxy's account");
	ret = bpf_map__set_max_entries(skel->maps.weir_names, names_room(cache));
	ret = ret ? weir_load_explain(err, ret, "size the cache of names") :
		    weir_load(skel->obj, NULL, err);
	if (!ret)
		ret = keep(bpf_map__fd(skel->maps.weir_names), &m->names_fd, err);
	if (!ret)
		ret = keep(bpf_map__fd(skel->maps.weir_totals), &m->totals_fd, err);
	if (!ret)
		ret = keep(bpf_map__fd(skel->maps.weir_sources), &m->sources_fd, err);
	if (!ret)
		ret = keep(bpf_program__fd(skel->progs.weir_proxy_add), &m->account_fd, err);
	account_bpf__destroy(skel);
	return ret;
}

static void remove_pins(void)
{
	struct weir_error ignored;

	weir_pin_unload(VERB, &ignored);
}

static int pin(struct weir_proxy_maps *m, struct weir_error *err)
{
	struct weir_pin_dir d;
	int ret;

	remove_pins();
	ret = weir_pin_open(&d, VERB, true, err);
	if (ret)
		return ret;
	ret = weir_pin_put_meta(&d, VERB, WEIR_PROXY_ABI, "", err);
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(pins); i++)
		ret = weir_pin_put(&d, pins[i].name, *pin_fd(m, i), err);
	weir_pin_close(&d);
	return ret;
}

int weir_account_open(struct weir_proxy_maps *m, uint64_t cache, struct weir_error *err)
{
	int ret;

	init(m);
	m->lock_fd = take_lock(err);
	if (m->lock_fd < 0)
		return m->lock_fd;
	ret = load(m, cache, err);
	if (ret) {
		weir_account_close(m);
		return ret;
	}
	ret = pin(m, err);
	if (ret) {
		weir_account_unpin();
		weir_account_close(m);
	}
	return ret;
}

int weir_account_find(struct weir_proxy_maps *m, struct weir_error *err)
{
	struct weir_pin_dir d;
	int ret;

	init(m);
	weir_load_setup();
	ret = weir_pin_open(&d, VERB, false, err);
	if (ret == -ENOENT)
		return weir_fail(err, ret,
				 "no proxy runs in this network namespace: start it with \"weir "
				 "proxy -c FILE\"");
	if (ret)
		return ret;
	ret = weir_pin_check_meta(&d, WEIR_PROXY_ABI, err);
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(pins); i++) {
		int fd = weir_pin_get(&d, pins[i].name);

		*pin_fd(m, i) = fd;
		if (fd < 0)
			ret = weir_load_explain(err, fd, "open the proxy's maps");
	}
	weir_pin_close(&d);
	if (ret)
		weir_account_close(m);
	return ret;
}

void weir_account_unpin(void)
{
	char path[WEIR_CONTROL_PATH];

	remove_pins();
	if (!lock_path(path, sizeof(path), NULL))
		unlink(path);
}

int weir_account_sweep(struct weir_error *err)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	int fd = take_lock(err);

	for (int waited = 0; fd == -EBUSY && waited < SWEEP_WAIT_MS; waited += POLL_MS) {
		nanosleep(&pause, NULL);
		fd = take_lock(err);
	}
	if (fd < 0)
		return fd;
	weir_account_unpin();
	close(fd);
	return 0;
}

/* ---- Adding */

static bool same_addr(const uint8_t a[16], const struct weir_addr *b)
{
	return memcmp(a, b->b, sizeof(b->b)) == 0;
}

/* The source's place among those that wait, or NULL: there is no room. */
static struct weir_proxy_source_delta *place(struct weir_proxy_deltas *d,
					     const struct weir_addr *source)
{
	struct weir_proxy_source_delta *s;

	for (uint32_t i = d->n; i-- > 0;)
		if (same_addr(d->source[i].addr, source))
			return &d->source[i];
	if (d->n == WEIR_PROXY_DELTAS)
		return NULL;
	s = &d->source[d->n++];
	memset(s, 0, sizeof(*s));
	memcpy(s->addr, source->b, sizeof(s->addr));
	return s;
}

void weir_account_source(struct weir_account *a, const struct weir_addr *source,
			 uint32_t connections, uint32_t refused, uint64_t bytes_in,
			 uint64_t bytes_out)
{
	struct weir_proxy_source_delta *s = place(&a->deltas, source);

	if (!s) {
		weir_account_flush(a, weir_clock_mono());
		s = place(&a->deltas, source);
	}
	if (!s) {
		a->lost++;
		return;
	}
	s->connections += connections;
	s->refused += refused;
	s->bytes_in += bytes_in;
	s->bytes_out += bytes_out;
}

static bool waits(const struct weir_proxy_deltas *d)
{
	for (unsigned int i = 0; i < WEIR_TOTALS; i++)
		if (d->totals[i])
			return true;
	return d->n;
}

void weir_account_flush(struct weir_account *a, uint64_t now)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &a->deltas,
		    .ctx_size_in = sizeof(a->deltas));

	if (!waits(&a->deltas))
		return;
	a->deltas.now = now;
	if (bpf_prog_test_run_opts(a->prog_fd, &opts)) {
		a->lost++;
		return;
	}
	a->lost += opts.retval;
	memset(a->deltas.totals, 0, sizeof(a->deltas.totals));
	a->deltas.n = 0;
}

/* ---- Reading */

int weir_account_totals(int totals_fd, uint64_t ret[WEIR_TOTALS], struct weir_error *err)
{
	int cpus = weir_sys_cpus();
	weir_autofree uint64_t *each = calloc((size_t)cpus, sizeof(*each));

	if (!each)
		return weir_fail(err, -ENOMEM, "out of memory");
	/* From the last to the first: an end is read before its beginning. */
	for (uint32_t i = WEIR_TOTALS; i-- > 0;) {
		if (bpf_map_lookup_elem(totals_fd, &i, each))
			return weir_load_explain(err, -errno, "read the proxy's account");
		ret[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret[i] += each[cpu];
	}
	return 0;
}
