/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/proxied.h"

#include <bpf/bpf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/pin.h"
#include "dataplane/proxy_ends.h"
#include "dataplane/sys.h"

/* Before these the connection had been served, or its client had left by itself. */
#define FIRST_REFUSAL (WEIR_END_CLIENT_GONE + 1)

_Static_assert(WEIR_ENDS - FIRST_REFUSAL <= WEIR_DROPS_REFUSALS_MAX, "room for every reason");

/* Takes @fd. */
static void keep(struct weir_drops_proxies *p, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	bool known = bpf_obj_get_info_by_fd(fd, &info, &len) != 0;

	for (size_t i = 0; i < p->n; i++)
		known = known || p->id[i] == info.id;
	if (known || p->n == WEIR_DROPS_PROXIES_MAX || info.value_size != sizeof(uint64_t) ||
	    info.max_entries < WEIR_TOTALS) {
		close(fd);
		return;
	}
	p->fd[p->n] = fd;
	p->id[p->n++] = info.id;
}

static void find(struct weir_drops_proxies *p)
{
	struct weir_pin_dir dir;
	int fd;

	if (weir_pin_open(&dir, "proxy", false, NULL))
		return;
	if (!weir_pin_check_meta(&dir, WEIR_PROXY_ABI, NULL)) {
		fd = weir_pin_get(&dir, WEIR_PROXY_TOTALS);
		if (fd >= 0)
			keep(p, fd);
	}
	weir_pin_close(&dir);
}

static uint64_t read_total(const struct weir_drops_proxies *p, uint32_t total, uint64_t *by_cpu)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < p->n; i++)
		if (!bpf_map_lookup_elem(p->fd[i], &total, by_cpu))
			for (int cpu = 0; cpu < weir_sys_cpus(); cpu++)
				sum += by_cpu[cpu];
	return sum;
}

size_t weir_drops_refusals(struct weir_drops_proxies *p, struct weir_drops_refusal *ret)
{
	weir_autofree uint64_t *by_cpu = calloc((size_t)weir_sys_cpus(), sizeof(*by_cpu));
	size_t n = 0;

	find(p);
	for (uint32_t end = FIRST_REFUSAL; by_cpu && end < WEIR_ENDS; end++)
		ret[n++] = (struct weir_drops_refusal){
			.word = weir_proxy_ends[end].word,
			.sentence = weir_proxy_ends[end].sentence,
			.connections = read_total(p, WEIR_TOTAL_ENDED + end, by_cpu),
		};
	return n;
}

void weir_drops_proxies_close(struct weir_drops_proxies *p)
{
	while (p->n)
		close(p->fd[--p->n]);
}
