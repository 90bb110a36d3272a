/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two network namespaces of this process's own, joined by a veth pair: a place where weir
 * may be tried without touching the host. They go with the process.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum weir_lab_side { WEIR_LAB_A, WEIR_LAB_B };

/* Interface and address of each side; the network is 10.213.0.0/30. */
extern const char *const weir_lab_iface[2];
extern const char *const weir_lab_addr[2];

struct weir_lab {
	int home;  /* the namespace that the process came from */
	int ns[2]; /* by side */
};

/*
 * Make them, up and addressed, quiet (no IPv6), and give the process a mount namespace of
 * its own with a bpffs that is empty. To be called before threads are started; needs
 * CAP_SYS_ADMIN and CAP_NET_ADMIN. The process stays in the namespace that it was in.
 */
int weir_lab_open(struct weir_lab *l, struct weir_error *err);
void weir_lab_close(struct weir_lab *l);

/* Make a side (or home again) this thread's namespace: a socket stays where it is made. */
int weir_lab_enter(const struct weir_lab *l, enum weir_lab_side side);
int weir_lab_leave(const struct weir_lab *l);

/* Packets that the side's interface has received and sent. 0 or a negative errno. */
int weir_lab_packets(const struct weir_lab *l, enum weir_lab_side side, uint64_t *ret_received,
		     uint64_t *ret_sent);
