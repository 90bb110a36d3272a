/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * ABI of what is pinned for every verb alike: the `meta` map of a pin directory
 * and the rule store (dataplane/pin.h, dataplane/rules.h say how it is used).
 */
#pragma once

#ifdef __bpf__
#include <linux/types.h>
typedef __u32 uint32_t;
typedef __u64 uint64_t;
#else
#include <stdint.h>
#endif

/* `meta`: one element, with the ABI version, owner and options. */
struct weir_pin_meta {
	uint32_t abi;	   /* WEIR_PIN_ABI */
	uint32_t verb_abi; /* the verb's own */
	uint64_t netns;
	uint64_t created;  /* ns since the epoch */
	char verb[16];
	char version[16];  /* of weir */
	char options[208]; /* the command's words, cut to fit */
};

_Static_assert(sizeof(struct weir_pin_meta) == 264, "ABI: struct weir_pin_meta");

#define WEIR_RULE_OWNER_MAX 16
#define WEIR_RULE_NAME_MAX 32
#define WEIR_RULE_TEXT_MAX 400
/* Of a store that is made now: 1.5 MiB a CPU. An older one keeps its size. */
#define WEIR_RULES_MAX 65536

/* map `rules`: key __u32 id (>= 1) */
struct weir_rule {
	uint32_t id;
	uint32_t order;	   /* position among the owner's rules */
	uint64_t created;  /* ns since the epoch; put: 0 = now, or as it was */
	uint64_t expires;  /* CLOCK_BOOTTIME ns; 0 = never */
	char verb[16];	   /* whose program acts on it: "filter" */
	char owner[WEIR_RULE_OWNER_MAX]; /* who may change it: "filter", "proxy" */
	char name[WEIR_RULE_NAME_MAX];
	char text[WEIR_RULE_TEXT_MAX]; /* the rule's words behind NAME: */
};

_Static_assert(sizeof(struct weir_rule) == 488, "ABI: struct weir_rule");

/* map `names`: key of the id. The key of all zeros holds the id given last. */
struct weir_rule_key {
	char owner[WEIR_RULE_OWNER_MAX];
	char name[WEIR_RULE_NAME_MAX];
};

/* map `hits`: per CPU, key __u32 id, 0..WEIR_RULES_MAX */
struct weir_rule_hits {
	uint64_t hits, bytes, last; /* last: jiffies64, 0 = never */
};
