/* SPDX-License-Identifier: GPL-2.0-only */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/drops/balance.h"
#include "dataplane/load.h"

#include "drops_udp.skel.h"

struct weir_drops_waiting {
	struct drops_udp_bpf *skel;
	struct bpf_link *link;
};

void weir_drops_waiting_close(struct weir_drops_waiting *w)
{
	if (!w)
		return;
	bpf_link__destroy(w->link);
	drops_udp_bpf__destroy(w->skel);
	free(w);
}

int weir_drops_waiting_open(struct weir_drops_waiting **ret, struct weir_error *err)
{
	struct weir_drops_waiting *w = calloc(1, sizeof(*w));
	int code;

	if (!w)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->skel = drops_udp_bpf__open();
	code = w->skel ? weir_load(w->skel->obj, NULL, err) :
			 weir_load_explain(err, -errno, "open the list of UDP sockets");
	if (!code) {
		w->link = bpf_program__attach_iter(w->skel->progs.weir_drops_udp, NULL);
		if (!w->link)
			code = weir_load_explain(err, -errno, "list the UDP sockets");
	}
	if (code) {
		weir_drops_waiting_close(w);
		return code;
	}
	*ret = w;
	return 0;
}

/* The list is of the namespace of whoever opens it. It has no text: it is read to its end. */
int weir_drops_waiting_count(struct weir_drops_waiting *w, uint64_t *ret, struct weir_error *err)
{
	weir_autoclose int fd = bpf_iter_create(bpf_link__fd(w->link));
	int map = bpf_map__fd(w->skel->maps.weir_drops_waiting);
	char nothing[8];
	uint32_t zero = 0;
	ssize_t n = -1;

	*ret = 0;
	if (fd < 0 || bpf_map_update_elem(map, &zero, ret, BPF_ANY))
		return weir_load_explain(err, -errno, "list the UDP sockets");
	do
		n = read(fd, nothing, sizeof(nothing));
	while (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)));
	if (n < 0 || bpf_map_lookup_elem(map, &zero, ret))
		return weir_load_explain(err, -errno, "list the UDP sockets");
	return 0;
}
