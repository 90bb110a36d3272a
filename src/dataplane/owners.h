/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which process, cgroup and network namespace a connection's local end belongs to, for all
 * sockets of TCP and UDP on this machine, those that were there before included. It looks
 * (read-only programs at tracepoints, at a few hooks of the root cgroup, and an iterator),
 * changes nothing, and goes with its process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dataplane/owner_table.h"

struct weir_owners;

int weir_owners_open(struct weir_owners **ret, struct weir_error *err);
void weir_owners_close(struct weir_owners *o);

/* Why owners of UDP sockets are not known, or NULL: they are. */
const char *weir_owners_no_udp(const struct weir_owners *o);
/* Readable before there is no more room for what happens: time for a tick. */
int weir_owners_fd(const struct weir_owners *o);
/* Now and then, at least once a second. No privileges are needed any more. */
void weir_owners_tick(struct weir_owners *o);

/* All below may be called by several threads. @q: netns and here are filled in, for the
 * namespace in which weir_owners_open() was called. */
bool weir_owners_find(struct weir_owners *o, struct weir_owner_query *q, struct weir_owner *ret);
/* That namespace's cookie. */
uint64_t weir_owners_here(const struct weir_owners *o);
/* The path of a cgroup below the root of cgroup v2, or NULL: not known. */
const char *weir_owners_group(struct weir_owners *o, uint64_t cgroup);
bool weir_owners_below(struct weir_owners *o, uint64_t cgroup, uint64_t top);
/* The name that `ip netns` shows, or NULL. */
const char *weir_owners_netns(struct weir_owners *o, uint64_t netns);
/* Events and sockets that there was no room for: owners may be unknown for it, never
 * wrong. */
uint64_t weir_owners_lost(struct weir_owners *o);
