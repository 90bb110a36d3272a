/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sets of prefixes, up to millions, in array maps that user space writes by mmap
 * and BPF programs read without a lock (bpf/set.h has the layout, bpf/set.bpf.h
 * the look-up). A set is a union: an address is in it if any prefix covers it.
 *
 * A set lives in at most WEIR_SET_MAPS maps. Which of them are there is settled
 * when it is created; a change that does not fit them is refused with -ENOSPC,
 * and the caller creates the set anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/error.h"
#include "dataplane/pin.h"

enum weir_set_map {
	WEIR_SET_TABLE4, /* IPv4, 2 bits for each /24 and buckets; only where there are many */
	WEIR_SET_TRIE,	 /* IPv6, and IPv4 (mapped) where there is no TABLE4 */
	WEIR_SET_LIST,	 /* the prefixes as they were given, in order: for list, add, del */
	WEIR_SET_MAPS,
};

struct weir_set {
	int fd[WEIR_SET_MAPS]; /* -1: not there (nothing of that kind in the set) */
	void *mem[WEIR_SET_MAPS]; /* mapped on demand; weir_set_close() unmaps */
	size_t size[WEIR_SET_MAPS];
	uint8_t *touched; /* of a large TRIE that is mapped in parts: which ones are */
};

void weir_set_init(struct weir_set *s); /* so that weir_set_close() is always safe */
void weir_set_close(struct weir_set *s);

/* Make one of @n prefixes, in any order, duplicates and overlaps welcome. Memory is
 * asked for before anything is made: -ENOMEM names what is needed and what there is. */
int weir_set_create(struct weir_set *s, const struct weir_prefix *v, size_t n,
		    struct weir_error *err);

/* In place, all or nothing. One that is there already is no error when added; one
 * that is not there is -ENOENT when deleted (exactly as it was given: a part of a
 * larger prefix is not there). The running programs see each address change once. */
int weir_set_add(struct weir_set *s, const struct weir_prefix *v, size_t n,
		 struct weir_error *err);
int weir_set_del(struct weir_set *s, const struct weir_prefix *v, size_t n,
		 struct weir_error *err);

size_t weir_set_count(struct weir_set *s);	/* prefixes in the list */
size_t weir_set_bytes(const struct weir_set *s); /* memory of its maps */
int weir_set_each(struct weir_set *s, int (*fn)(void *arg, const struct weir_prefix *p),
		  void *arg);
/* By the same tables as the kernel. */
bool weir_set_contains(struct weir_set *s, const struct weir_addr *a);

/* Pinned as PREFIX_4, PREFIX_6, PREFIX_list. */
int weir_set_pin(const struct weir_set *s, const struct weir_pin_dir *d, const char *prefix,
		 struct weir_error *err);
int weir_set_open(struct weir_set *s, const struct weir_pin_dir *d, const char *prefix,
		  struct weir_error *err);
void weir_set_unpin(const struct weir_pin_dir *d, const char *prefix);

/* A feed: one prefix a line ("192.0.2.0/24", "2001:db8::1"), blanks around it, `#`
 * or `;` and what follows it ignored; empty lines too; CRLF as well. "-" is standard
 * input. -EINVAL names file, line and word; host bits are an error. *ret is
 * malloc'ed. */
int weir_set_read(const char *path, struct weir_prefix **ret, size_t *ret_n,
		  struct weir_error *err);
int weir_set_parse(const char *text, size_t len, const char *source, struct weir_prefix **ret,
		   size_t *ret_n, struct weir_error *err);
