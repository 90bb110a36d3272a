/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel as the database: what lasts is pinned under
 *   <bpffs>/weir/<netns cookie, 16 hex digits>/<verb>/
 * with a lock on the directory, and a `meta` map that says whose it is.
 * bpffs refuses names with a dot; interfaces are written by index.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/store.h"

#define WEIR_PIN_ABI 1

/* Where bpffs is mounted (from /proc/mounts, else /sys/fs/bpf). @mount: mount
 * it on /sys/fs/bpf when it is nowhere. */
int weir_pin_bpffs(bool mount, char *buf, unsigned int size, struct weir_error *err);

struct weir_pin_dir {
	char path[256]; /* <bpffs>/weir/<cookie>/<verb> */
	int fd;		/* held with flock while open */
};

/* Open (@create: make) the verb's directory of this namespace and take its
 * lock; waits up to 5 s for another weir command, then -EBUSY.
 * -ENOENT when it does not exist and !@create. */
int weir_pin_open(struct weir_pin_dir *d, const char *verb, bool create,
		  struct weir_error *err);
void weir_pin_close(struct weir_pin_dir *d);

/* Pin or fetch an object by name inside the directory. */
int weir_pin_put(const struct weir_pin_dir *d, const char *name, int fd,
		 struct weir_error *err);
int weir_pin_get(const struct weir_pin_dir *d, const char *name);

/* A map of this name (one __u32), in whichever directory, is set to 1 before it is removed:
 * for programs that live on with sockets that they are attached to. */
#define WEIR_PIN_STOP "stop"

/* The directory @name in @d, for the functions above; its lock is that of @d. What belongs
 * together is pinned in one, which is then moved to its place whole. */
int weir_pin_below(const struct weir_pin_dir *d, const char *name, struct weir_pin_dir *ret,
		   struct weir_error *err);
int weir_pin_make(const struct weir_pin_dir *below, struct weir_error *err);
/* Remove it with all that is in it, links first. Nothing there is no error. */
int weir_pin_remove(const struct weir_pin_dir *below, struct weir_error *err);
/* Put it in the place of @to, which then is where it was, if it is at all. */
int weir_pin_move(const struct weir_pin_dir *below, const struct weir_pin_dir *to,
		  struct weir_error *err);

/* Write or check the `meta` map of the directory (struct weir_pin_meta). */
int weir_pin_put_meta(const struct weir_pin_dir *d, const char *verb,
		      uint32_t verb_abi, const char *options, struct weir_error *err);
/* -EPROTO when made by an incompatible version: the message says which, and
 * `weir unload VERB` as the remedy. */
int weir_pin_check_meta(const struct weir_pin_dir *d, uint32_t verb_abi,
			struct weir_error *err);

/* The directories of @verb in every namespace that has one, not locked: to read what may
 * change or go meanwhile. Ends when @fn does not return 0, and returns that. */
int weir_pin_each(const char *verb, int (*fn)(void *arg, const struct weir_pin_dir *d), void *arg,
		  struct weir_error *err);

/* Remove everything of one verb (NULL: of every verb) in this namespace.
 * Returns the number of objects removed, or a negative errno. Only names below
 * <bpffs>/weir are ever touched. */
int weir_pin_unload(const char *verb, struct weir_error *err);
/* Remove the directories of namespaces that are gone: no live namespace has
 * the cookie, and no link in it has a device. Returns how many. */
int weir_pin_sweep(void);

/* One pinned object, for `weir status`. */
struct weir_pin_entry {
	uint64_t netns;
	char verb[16], name[64];
	const char *type; /* "prog", "map", "link" */
	uint32_t id;
	char detail[96];  /* "xdp on eth0", "detached: interface gone" ... */
};
int weir_pin_list(int (*fn)(void *arg, const struct weir_pin_entry *e), void *arg,
		  struct weir_error *err);
