/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/drops/faults.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/drops/table.h"
#include "dataplane/pin.h"
#include "dataplane/sys.h"

/* Takes @fd. One more than there is room for is not seen: its drops are shown as tc's. */
static void keep(struct weir_drops_faults *f, int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	bool known = bpf_obj_get_info_by_fd(fd, &info, &len) != 0;

	for (size_t i = 0; i < f->n; i++)
		known = known || f->id[i] == info.id;
	if (known || f->n == WEIR_DROPS_FAULTS_MAX ||
	    info.key_size != sizeof(struct weir_fault_drop_key) ||
	    info.value_size != sizeof(struct weir_fault_drop)) {
		close(fd);
		return;
	}
	f->fd[f->n] = fd;
	f->id[f->n++] = info.id;
}

static void find(struct weir_drops_faults *f)
{
	struct weir_pin_dir dir;
	int fd;

	if (weir_pin_open(&dir, "fault", false, NULL))
		return;
	if (!weir_pin_check_meta(&dir, WEIR_FAULT_ABI, NULL)) {
		fd = weir_pin_get(&dir, WEIR_FAULT_DROPS);
		if (fd >= 0)
			keep(f, fd);
	}
	weir_pin_close(&dir);
}

/* One name may be in several tables. */
static int add(struct weir_drops_fault_count **v, size_t *n, const struct weir_drops_fault_count *x)
{
	struct weir_drops_fault_count *grown;

	for (size_t i = 0; i < *n; i++) {
		if (memcmp(&(*v)[i].key, &x->key, sizeof(x->key)) != 0)
			continue;
		(*v)[i].val.packets += x->val.packets;
		(*v)[i].val.bytes += x->val.bytes;
		return 0;
	}
	grown = reallocarray(*v, *n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	*v = grown;
	grown[*n] = *x;
	grown[(*n)++].key.name[WEIR_RULE_NAME_MAX - 1] = '\0';
	return 0;
}

int weir_drops_faults_read(struct weir_drops_faults *f, uint32_t ifindex,
			   struct weir_drops_fault_count **ret)
{
	struct weir_drops_fault_count *v = NULL;
	size_t n = 0;
	int code = 0;

	find(f);
	for (size_t i = 0; i < f->n && !code; i++) {
		weir_autofree struct weir_drops_fault_count *part = NULL;
		int parts = weir_drops_table(f->fd[i], sizeof(part->key), sizeof(part->val),
					     (uint32_t)weir_sys_cpus(), &part);

		for (int k = 0; k < parts && !code; k++)
			if (!ifindex || part[k].key.ifindex == ifindex)
				code = add(&v, &n, &part[k]);
	}
	if (code) {
		free(v);
		return code;
	}
	*ret = v;
	return (int)n;
}

void weir_drops_faults_close(struct weir_drops_faults *f)
{
	while (f->n)
		close(f->fd[--f->n]);
}
