/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What libbpf 1.1 does not wrap: tcx and netfilter links, by raw bpf(2), and
 * the lookups by id that report errno plainly. UAPI numbers newer than Debian
 * 12's headers are defined here and nowhere else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_BPF_TCX_INGRESS 46
#define WEIR_BPF_TCX_EGRESS 47
#define WEIR_BPF_NETFILTER 45
#define WEIR_BPF_PROG_NETFILTER 32
#define WEIR_BPF_F_BEFORE (1U << 3)
#define WEIR_BPF_F_AFTER (1U << 4)
#define WEIR_BPF_F_ID (1U << 5)

/* A tcx link on @ifindex, first in line (@before) or last. Returns the link's
 * descriptor or a negative errno (-EINVAL on kernels before 6.6). */
int weir_sys_tcx_link(int prog_fd, uint32_t ifindex, bool egress, bool before);
/* The same, right behind the program @prog_id; -ENOENT: that is not there. */
int weir_sys_tcx_link_behind(int prog_fd, uint32_t ifindex, bool egress, uint32_t prog_id);
/* The ids of the first @n programs in line. Returns how many there are (rather
 * -ENOSPC than more than @n), or a negative errno. */
int weir_sys_tcx_query(uint32_t ifindex, bool egress, uint32_t *ids, uint32_t n);
/* A netfilter link (kernel 6.4). */
int weir_sys_netfilter_link(int prog_fd, uint32_t pf, uint32_t hook, int32_t prio);

/* This thread's network namespace, as the kernel numbers it (SO_NETNS_COOKIE).
 * 0 or a negative errno. */
int weir_sys_netns_cookie(uint64_t *ret);

/* Number of possible CPUs (per-CPU maps have so many values); > 0. */
int weir_sys_cpus(void);
