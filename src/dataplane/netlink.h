/* SPDX-License-Identifier: GPL-2.0-only */
/* One netlink request and its answers: sockets, routes, tc filters. */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

/* A message under construction; the payload's struct is put first. */
struct weir_nl_msg {
	_Alignas(struct nlmsghdr) unsigned char bytes[512];
};

/* Begin: header and @payload of @len bytes. */
void weir_nl_begin(struct weir_nl_msg *m, uint16_t type, uint16_t flags, const void *payload,
		   size_t len);
void weir_nl_attr(struct weir_nl_msg *m, uint16_t type, const void *value, size_t len);

/*
 * Send @m by the netlink protocol @protocol (NETLINK_ROUTE, ...) and hand every
 * message of the answer to @fn, until it returns anything but 0, which is then
 * returned. A dump (NLM_F_DUMP) ends by itself, anything else is acknowledged.
 *
 * -EINTR: what was dumped changed meanwhile, so that something may be missing:
 * forget it all and ask again.
 */
int weir_nl_ask(int protocol, struct weir_nl_msg *m, int (*fn)(void *arg, const struct nlmsghdr *h),
		void *arg);

/* The same by a socket that was opened before, of which nothing else is asked: it stays of the
 * network namespace where that was. */
int weir_nl_open(int protocol);
int weir_nl_ask_by(int fd, struct weir_nl_msg *m,
		   int (*fn)(void *arg, const struct nlmsghdr *h), void *arg);

/* The payload's struct of a message, NULL where it is shorter than @size. */
const void *weir_nl_payload(const struct nlmsghdr *h, size_t size);
/* The attribute @type behind a payload of @size bytes, of at least @min bytes, or NULL. */
const void *weir_nl_find(const struct nlmsghdr *h, size_t size, uint16_t type, size_t min);
/* The same of an attribute within the attribute @outer. */
const void *weir_nl_find_in(const struct nlmsghdr *h, size_t size, uint16_t outer, uint16_t type,
			    size_t min);
