/* SPDX-License-Identifier: GPL-2.0-only */
/* The network namespaces of this machine. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* Where the namespace is that a user names by @word: a name of `ip netns`, the number of a
 * process, or a path (a word with a slash). @buf is room for it. */
const char *weir_netns_path(const char *word, char *buf, size_t size);
/* Why @path could not be entered, @code being the negative errno. Returns @code. */
int weir_netns_explain(struct weir_error *err, int code, const char *path);
/* Move this process there, which has one thread; mounts stay as they are. 0 or a negative
 * errno. */
int weir_netns_enter(const char *word, struct weir_error *err);

/* The cookies of all namespaces that a thread, an open file, a socket or a mount
 * holds, in *@ret (to be freed). Returns how many, or a negative errno when not
 * all could be looked at (it takes CAP_PERFMON and CAP_SYS_ADMIN). */
int weir_netns_live(uint64_t **ret);

/* What @fn is called for: a thread that is in the namespace. Returns 0, or a negative errno,
 * which ends the walk. */
typedef int (*weir_netns_fn)(void *arg, uint64_t cookie);

/* Enter, one after the other, all namespaces that processes or mounts hold, and call @fn in
 * each. *@ret_hidden (may be NULL): some could not be entered; this one always can. Returns
 * 0, a negative errno, or what @fn returned. */
int weir_netns_each(weir_netns_fn fn, void *arg, bool *ret_hidden);
/* The same for the only one at @path. */
int weir_netns_in(const char *path, weir_netns_fn fn, void *arg);
