/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * allow_sources at XDP, by the filter's policy: rules of the owner "proxy" that drop
 * what any other source sends to a listener's own address and port. One per listener:
 * `deny -Q in tcp and dst port PORT and dst net ADDRESS and not src net @proxy-allow`.
 * The own addresses of a wildcard are those that this namespace delivers locally
 * (@proxy-local): what it only forwards is none of the proxy's business.
 *
 * The rules never allow anything: what the filter's own rules drop stays dropped, and
 * what those allow is left to the check at accept, which the proxy makes everywhere.
 * Listeners behind PROXY headers are left to it too, since the sources are in the headers.
 *
 * The rules apply on every interface that is up but lo. Where the filter is not on yet,
 * it is put on with `default pass`, for these rules alone (struct weir_policy_iface.owner),
 * and off again with them, unless the user has put it on meanwhile. Where XDP cannot be
 * had (a foreign program, no room), the check at accept is alone, and a note says so.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "cap/proxy/config.h"

/* Whole or not at all. Nothing is changed where all is as it should be. Where nothing of
 * it is in force yet and the filter refuses, a note says why, and that is no error. */
int weir_allow_apply(const struct weir_proxy_config *c, struct weir_buf *notes,
		     struct weir_error *err);
/* The same for the interfaces and addresses that are there now, but only if the rules are
 * still in force: what `weir unload` has removed stays away until the next apply. */
int weir_allow_follow(const struct weir_proxy_config *c, struct weir_buf *notes,
		      struct weir_error *err);
/* Removes all that is the owner "proxy"'s. 0 also when nothing was. -EBUSY: a policy
 * waits to be confirmed. */
int weir_allow_remove(struct weir_error *err);
