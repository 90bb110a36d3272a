/* SPDX-License-Identifier: GPL-2.0-only */
/* What the rows of the check share: two connected sockets, and bytes that can be told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define WEIR_TRIAL_UNREAD_MAX (16U << 20) /* what a stopped reader may make its writer lose */
#define WEIR_TRIAL_BYTES_MAX (24U << 20)  /* nothing more is ever sent unread */
#define WEIR_TRIAL_WAIT_MS 2000		  /* for what must come */
#define WEIR_TRIAL_QUIET_MS 100		  /* for what must not */

struct weir_trial {
	int family;
	bool bypass;
	bool veth;     /* client and server in two namespaces */
	uint64_t sent; /* what the row has sent, where it says so */
	char detail[160];
};

/* Fail the row, with errno's meaning where @fmt ends in a colon. Returns -1. */
int weir_trial_fail(struct weir_trial *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

struct weir_pair {
	int a, b; /* a began the connection */
};
int weir_trial_pair(struct weir_trial *t, struct weir_pair *p);
/* A listener, and a connection to it. Descriptors, or -1 with the row failed. */
int weir_trial_listen(struct weir_trial *t, struct sockaddr_storage *at, socklen_t *len);
int weir_trial_connect(struct weir_trial *t, const struct sockaddr_storage *at, socklen_t len);
void weir_trial_close(struct weir_pair *p);

/* Byte @at of the stream @seed. */
void weir_trial_fill(uint8_t *buf, size_t n, uint64_t at, unsigned int seed);
/* The first byte of @buf that is not what it should be, or -1. */
long weir_trial_wrong(const uint8_t *buf, size_t n, uint64_t at, unsigned int seed);

/* Send @n bytes of stream @seed from @at on, whole. */
int weir_trial_send(struct weir_trial *t, int fd, size_t n, uint64_t at, unsigned int seed);
/* Receive exactly @n bytes of it; and, with @end, the end behind them. */
int weir_trial_expect(struct weir_trial *t, int fd, size_t n, uint64_t at, unsigned int seed,
		      bool end);
/* @n bytes from one socket to the other, written and read in these portions. */
int weir_trial_pump(struct weir_trial *t, int from, int to, size_t n, size_t write_size,
		    size_t read_size);
/* Are (some of) @events there within @ms? */
bool weir_trial_poll(int fd, short events, int ms);

struct weir_trial_row {
	const char *name, *about, *harm;
	int (*run)(struct weir_trial *t);
	int family; /* 0: IPv4 */
	bool veth;
	bool counted; /* the bytes that it sends are compared with those counted */
};
extern const struct weir_trial_row weir_trial_rows[]; /* ended by a NULL name */

/* rows_*.c */
#define WEIR_TRIAL(name) int weir_row_##name(struct weir_trial *t)
WEIR_TRIAL(exact);
WEIR_TRIAL(first);
WEIR_TRIAL(close);
WEIR_TRIAL(killed);
WEIR_TRIAL(half_close);
WEIR_TRIAL(peek);
WEIR_TRIAL(urgent);
WEIR_TRIAL(epoll);
WEIR_TRIAL(fionread);
WEIR_TRIAL(lowat);
WEIR_TRIAL(waitall);
WEIR_TRIAL(timeout);
WEIR_TRIAL(blocking);
WEIR_TRIAL(splice);
WEIR_TRIAL(sendfile);
WEIR_TRIAL(stopped);
WEIR_TRIAL(small);
WEIR_TRIAL(writers);
WEIR_TRIAL(unread);
WEIR_TRIAL(abort);
WEIR_TRIAL(shutdown);
WEIR_TRIAL(tcp_info);
#undef WEIR_TRIAL

/* Two namespaces joined by veth: the calling process is left in the client's, and
 * *@ret_server is the other one. 0 or a negative errno. */
int weir_trial_veth(int *ret_server);
