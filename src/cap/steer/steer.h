/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the program of `weir steer` and user space share.
 *
 * A new connection (UDP: a packet of no connected socket) is looked up once. Its
 * local port has a class: ports of one protocol that the same rules name have the
 * same one, and 0 is a port that no rule names. Each class has a trie of local prefixes
 * for each IP version, whose longest prefix gives the first of a chain of candidates. The
 * first that fits decides: all but those with a remote prefix or an end in time do.
 */
#pragma once

#include <linux/types.h>

#define WEIR_STEER_ABI 2

#define WEIR_STEER_PORTS 65536
#define WEIR_STEER_PORTS_A_ROW 4
#define WEIR_STEER_SLOTS 16384 /* sockets */
#define WEIR_STEER_SPARE 4     /* slots of one member: SO_REUSEPORT, and the next generation */
#define WEIR_STEER_GROUP_MAX 64
#define WEIR_STEER_CHAIN_MAX 32
#define WEIR_STEER_CANDIDATES_MAX (1U << 20)
#define WEIR_STEER_NODES_MAX (1U << 20)

/* The interface of a test run, the only one that the kernel takes there. What comes from
 * outside has another one; only a look-up by sock_diag(7) may have none, which is no
 * connection either. */
#define WEIR_STEER_TEST 0

enum weir_steer_proto { WEIR_STEER_TCP, WEIR_STEER_UDP, WEIR_STEER_PROTOS };

/* map `weir_ports`: key = protocol * 16384 + port / 4 */
struct weir_steer_ports {
	__u16 class_id[WEIR_STEER_PORTS_A_ROW]; /* by port % 4; 0 = no rule */
};

/*
 * The tries: four bits of the address a step. A word leads on to a node, or ends at a
 * candidate (0: none), or at a lone prefix, below which there is nothing else: so the
 * way is as long as it takes to tell prefixes apart, not as they are. Nodes are counted
 * from 1 on; the word 0 is a trie without a prefix.
 */
#define WEIR_STEER_STEPS_MAX 32
#define WEIR_STEER_LONE (1U << 30) /* index in `weir_lones` */
#define WEIR_STEER_END (1U << 31)  /* index in `weir_candidates` */
#define WEIR_STEER_INDEX (WEIR_STEER_LONE - 1)

/* map `weir_roots`: key = class */
struct weir_steer_root {
	__u32 at[2]; /* IPv4, IPv6 */
};

/* map `weir_nodes` */
struct weir_steer_node {
	__u32 child[16];
};

/* map `weir_lones` */
struct weir_steer_lone {
	__u8 addr[16]; /* as the family has it: 4 or 16 bytes */
	__u32 len;
	__u32 first;	 /* candidate of the addresses in it */
	__u32 otherwise; /* of all others */
	__u32 pad;
};

_Static_assert(sizeof(struct weir_steer_lone) == 32, "ABI: struct weir_steer_lone");

#define WEIR_STEER_ON_MISS_PASS (1U << 0)

/* map `weir_candidates`; index 0 is not used */
struct weir_steer_candidate {
	__u64 expires; /* jiffies64; 0 = never */
	__u32 rule;    /* id */
	__u32 next;    /* index; 0 = the last */
	__u32 first;   /* slot in `weir_sockets` */
	__u16 members; /* each has WEIR_STEER_SPARE slots */
	__u8 flags;
	__u8 remote_len; /* 0 = any */
	__u8 remote[16]; /* as the key's family has it: 4 or 16 bytes */
};

_Static_assert(sizeof(struct weir_steer_candidate) == 40, "ABI: struct weir_steer_candidate");

/* map `weir_lost`: per CPU, key = id of a rule, where it lost anything. Hits are in the rule
 * store. */
struct weir_steer_lost {
	__u64 misses; /* the rule decided, and its sockets were gone */
	__u64 errors; /* the kernel refused the socket */
};

/* map `weir_account`: per CPU, one element.
 * seen = passed + steered + dropped_miss + dropped_error */
struct weir_steer_account {
	__u64 seen, passed, steered, dropped_miss, dropped_error;
};

enum weir_steer_outcome {
	WEIR_STEER_UNMATCHED,
	WEIR_STEER_STEERED,
	WEIR_STEER_MISSED,
	WEIR_STEER_REFUSED,
};

/* map `weir_answer`: what the last test run came to */
struct weir_steer_answer {
	__u32 outcome; /* enum weir_steer_outcome */
	__u32 rule;    /* id; 0 = none */
	__s32 error;   /* of WEIR_STEER_REFUSED */
	__u32 slot;
};
