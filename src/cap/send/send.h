/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * `weir send`: packets out of an interface by AF_PACKET, as many as were asked for and no
 * more.
 *
 *   cmd.c   options, the run, the report
 *   feed.c  which packet is next, and when it is due
 *   link.c  the interface: the socket, Ethernet addresses, sending a batch
 */
#pragma once

#include <linux/if_packet.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "dataplane/craft.h"

struct weir_send_options {
	const char *iface;
	const char *read_file;
	uint64_t count; /* 0: not given */
	const char *rate;
	int socket; /* index of raw|dgram */
	const char *eth_src, *eth_dst;
	bool json;
	struct weir_craft_opts craft;
};

/* ---- Packets */

struct weir_feed {
	struct weir_craft_reader *reader; /* NULL: the same packet again and again */
	const char *file;
	uint64_t left;	 /* to be given */
	bool whole_file; /* no count: until its end */
	uint64_t per_s;	 /* 0: by the capture's times, or at once */
	bool bits;	 /* of per_s */
	uint64_t due;	 /* ns since the start, of the next one */
	uint64_t first;	 /* when the capture's first one was captured */
	uint64_t round;	 /* ns since the start, when the file was begun */
	bool begun;
	struct weir_craft packet; /* the present one */
};

/* @words: PACKET, where there is no file. */
int weir_feed_open(struct weir_feed *f, const struct weir_send_options *o,
		   const struct weir_strv *words, struct weir_error *err);
void weir_feed_close(struct weir_feed *f);
/* The next one is in f->packet, due at *ret_due ns since the start. 1; 0: no more. */
int weir_feed_next(struct weir_feed *f, uint64_t *ret_due, struct weir_error *err);

/* ---- The interface */

#define WEIR_SEND_BATCH 64

struct weir_send_link {
	const char *name;
	int fd;
	unsigned int ifindex, mtu;
	bool loopback, bare; /* bare: packets without an Ethernet header */
	bool dgram;	     /* the kernel writes the Ethernet header */
	uint8_t mac[6];	     /* the interface's own */
	/* Set in every packet, where given. */
	bool has_src, has_dst;
	uint8_t src[6], dst[6];
	/* What waits to be sent. */
	unsigned int n;
	uint8_t (*frame)[WEIR_CRAFT_MAX];
	uint32_t len[WEIR_SEND_BATCH];
};

struct weir_send_account {
	uint64_t sent, bytes; /* bytes of the frames, Ethernet header included */
	uint64_t too_long;    /* for the interface: not sent */
	uint64_t waited;      /* times that its queue was full */
};

/* From the options; an error is one of usage. Then, and after a failed open, close works. */
int weir_send_link_init(struct weir_send_link *l, const struct weir_send_options *o,
			struct weir_error *err);
int weir_send_link_open(struct weir_send_link *l, struct weir_error *err);
void weir_send_link_close(struct weir_send_link *l);
/* Where the packet has no Ethernet addresses of its own: to whom it goes next. */
int weir_send_link_resolve(struct weir_send_link *l, const struct weir_craft *packet,
			   struct weir_error *err);
/* Put a packet into the batch, which must have room. */
void weir_send_link_add(struct weir_send_link *l, const struct weir_craft *packet);
/* Send the batch; @stop set by a signal ends it early. 0 or a negative errno. */
int weir_send_link_flush(struct weir_send_link *l, const volatile int *stop,
			 struct weir_send_account *a, struct weir_error *err);
