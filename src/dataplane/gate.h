/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attaching to, joining and leaving the XDP gate of an interface.
 *
 * Whoever comes first loads and attaches the gate; whoever comes next joins it
 * (CAP_SYS_ADMIN: objects by id). The link has no owner: a resident verb pins
 * it under its own directory, a guest holds it by descriptor, and the gate goes
 * with the last of them. All gates of a namespace share scratch and slots, so
 * that one resident stage serves every interface; only one that was made without
 * CAP_SYS_ADMIN stands alone.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/gate.h"

struct bpf_object;

enum weir_xdp_mode { WEIR_XDP_AUTO, WEIR_XDP_NATIVE, WEIR_XDP_GENERIC };

struct weir_gate {
	uint32_t ifindex;
	char ifname[16];
	enum weir_xdp_mode mode;  /* what it really got */
	bool joined;		  /* the gate was there before us */
	int link_fd, prog_fd;
	int scratch_fd, used_fd, resident_fd;
	int guest_fd[WEIR_GATE_GUESTS];
	bool shared;		  /* the maps are those of a gate found by id */
	int place_fd;		  /* reserves the claimed slot */
	struct bpf_object *stage; /* between bind and enter */
};

/* -1 everywhere, so that weir_gate_close() is always safe. */
void weir_gate_init(struct weir_gate *g);

/* Load and attach, or join. Auto: native where the driver has it, else generic.
 * Asked for one mode while the gate that is there has the other: -EBUSY.
 * A foreign XDP program: -EBUSY, the message names it (name, id) and the remedy. */
int weir_gate_open(struct weir_gate *g, const char *ifname,
		   enum weir_xdp_mode mode, struct weir_error *err);
/* Drop the descriptors; the gate detaches if nobody else holds it. */
void weir_gate_close(struct weir_gate *g);

/* The way in for a guest: claim, bind, weir_load(), enter.
 *
 * Claim a free guest slot, which is ours until weir_gate_close() or the death
 * of the process. Returns the slot, or -EBUSY when all are taken. */
int weir_gate_claim_guest(struct weir_gate *g, struct weir_error *err);
/* Make @obj, opened and not loaded, use the gate's maps in place of its own
 * (those of bpf/gate.bpf.h) and tell it its guest @slot and interface; a resident
 * stage has -1 and serves all interfaces. @obj must live until the stage has
 * entered. */
int weir_gate_bind(struct weir_gate *g, struct bpf_object *obj, int slot,
		   struct weir_error *err);
/* Install @prog_fd in the claimed slot, and let go of every other array, in @g
 * and in the bound object: a guest that held another's array would keep that
 * one's stage alive. */
int weir_gate_enter_guest(struct weir_gate *g, int slot, int prog_fd,
			  struct weir_error *err);
/* Empty the slot; also happens by itself when the process dies. */
void weir_gate_leave_guest(struct weir_gate *g, int slot);

/* Put @prog_fd into resident slot @which, for all interfaces of the namespace,
 * and pin what keeps it in @dir, the path of a pin directory of the verb: the
 * resident array as residentWHICH, and this gate's link as gate_IFINDEX. The same
 * program may enter by several gates; -EBUSY for one that shares nothing with
 * the gate it was bound to, and where another program is in the slot. Lets go of the
 * guests' arrays. */
int weir_gate_enter_resident(struct weir_gate *g, enum weir_gate_resident which,
			     int prog_fd, const char *dir, struct weir_error *err);

/* For whoever is about to remove the pin @name of the object @fd: where it is a
 * resident array, empty the slot, since others may keep the array. */
void weir_gate_forget(const char *name, int fd);

/* Is @prog_fd the gate's program as this build has it? By its tag, a hash of its
 * instructions: all read-only data are constants that user space sets. False also
 * where that can't be found out. It takes a load, 50 ms. */
bool weir_gate_is_current(int prog_fd);
/* A number of the gate's object file: where it is the same, the gate is. */
uint64_t weir_gate_build(void);
/* Exchange the program of @g, a gate that was joined, for that of this build, over
 * the same maps and behind the same link: without a gap, and its stages stay in.
 * Returns 1, 0 where it is of this build already, or a negative errno. */
int weir_gate_renew(struct weir_gate *g, struct weir_error *err);

/* Is the gate the resident @which's alone, so that its mode may change? -EBUSY names
 * the guest that has it too. */
int weir_gate_check_alone(const struct weir_gate *g, enum weir_gate_resident which,
			  struct weir_error *err);
/* Native to generic or back. A link can't change its mode, and the kernel has no two
 * modes at once, so the gate is off the interface for *@ret_gap ns. @g then has a new
 * link, on failure too (of the mode before), which is to be pinned; link_fd -1 if
 * there is none. */
int weir_gate_change_mode(struct weir_gate *g, enum weir_xdp_mode mode, uint64_t *ret_gap,
			  struct weir_error *err);

/* Offloads that attaching native XDP changed: call before and after. */
struct weir_gate_offloads {
	uint64_t own, peer; /* bit sets of the features listed in offloads.c */
	bool has_peer;
};
int weir_gate_offloads(const char *ifname, struct weir_gate_offloads *ret);
/* "rx-lro, tx-tcp-segmentation (peer)": what @after lacks; "" when nothing. */
void weir_gate_offloads_diff(const struct weir_gate_offloads *before,
			     const struct weir_gate_offloads *after,
			     char *buf, unsigned int size);
