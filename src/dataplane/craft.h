/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet from words, as `filter test`, `steer test` and `explain` take it:
 *
 *	[tcp|udp|icmp|icmp6|NUMBER] SRC[:PORT] ['->'] DST[:PORT] [--flags S]
 *		[--vlan N] [--ttl N] [--size N] [-i IFACE]
 *	--pcap FILE	the first frame of a capture (Ethernet, raw IP, Linux cooked)
 *	--hex -		the frame in hexadecimal from a file or standard input
 *
 * IPv6 with a port: [2001:db8::1]:443. A missing port is a fixed one that is
 * said in the man page (SRC 40000, DST 80). --flags in tcpdump's letters, default
 * S. --icmp-type and --icmp-code default to an echo request. Checksums are right.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/opt.h"

#define WEIR_CRAFT_MAX 9216
#define WEIR_CRAFT_TTL_MAX 255

struct weir_craft {
	uint8_t frame[WEIR_CRAFT_MAX]; /* with an Ethernet header */
	size_t len;
};

/* The options of PACKET; a verb puts these rows into its own table, with the offset
 * of its struct weir_craft_opts. -i is the verb's. */
struct weir_craft_opts {
	const char *pcap, *hex, *flags;
	struct weir_strv vlan; /* outermost first, at most 2 */
	uint64_t ttl, size, icmp_type, icmp_code; /* UINT64_MAX: not given */
};
#define WEIR_CRAFT_OPTIONS(offset) /* rows: see craft.c for the ranges */                        \
	{ "flags", 0, WEIR_OPT_STR, (offset) + offsetof(struct weir_craft_opts, flags), "S",     \
	  .help = "TCP flags of the packet, in tcpdump's letters (default S)",                   \
	  .group = "PACKET" },                                                                   \
	{ "vlan", 0, WEIR_OPT_LIST, (offset) + offsetof(struct weir_craft_opts, vlan), "N",      \
	  .help = "a VLAN tag, outermost first; twice at most" },                                \
	{ "size", 0, WEIR_OPT_SIZE, (offset) + offsetof(struct weir_craft_opts, size), "N",      \
	  .min = 14, .max = WEIR_CRAFT_MAX, .help = "bytes of the frame, padded with payload" }, \
	{ "icmp-type", 0, WEIR_OPT_U64, (offset) + offsetof(struct weir_craft_opts, icmp_type),  \
	  "N", .min = 0, .max = 255, .help = "ICMP type (default: echo request)" },              \
	{ "icmp-code", 0, WEIR_OPT_U64, (offset) + offsetof(struct weir_craft_opts, icmp_code),  \
	  "N", .min = 0, .max = 255, .help = "ICMP code (default 0)" },                          \
	{ "pcap", 0, WEIR_OPT_STR, (offset) + offsetof(struct weir_craft_opts, pcap), "FILE",    \
	  .help = "the first packet of a capture file", .complete = "file" },                    \
	{ "hex", 0, WEIR_OPT_STR, (offset) + offsetof(struct weir_craft_opts, hex), "FILE",      \
	  .help = "a frame in hexadecimal; - is standard input", .complete = "file" }
/* Stands alone: rules of `weir filter` have a --ttl of their own, a time. */
#define WEIR_CRAFT_OPTION_TTL(offset)                                                            \
	{ "ttl", 0, WEIR_OPT_U64, (offset) + offsetof(struct weir_craft_opts, ttl), "N",         \
	  .min = 0, .max = WEIR_CRAFT_TTL_MAX, .help = "TTL or hop limit (default 64)" }
/* Numbers as "not given". */
void weir_craft_opts_init(struct weir_craft_opts *o);

/* @words: what stands between the options. -EINVAL names the word. */
int weir_craft(const struct weir_craft_opts *o, const struct weir_strv *words,
	       struct weir_craft *ret, struct weir_error *err);

/*
 * The packets of a capture file (pcap, pcapng; - is standard input), each as a frame with
 * an Ethernet header, as --pcap reads its one. @option names it in messages.
 */
struct weir_craft_reader;
int weir_craft_reader_open(const char *path, const char *option, struct weir_craft_reader **ret,
			   struct weir_error *err);
void weir_craft_reader_close(struct weir_craft_reader *r);
/* 1; 0 at the end; or a negative errno. @ret_ns: when it was captured, since the epoch. */
int weir_craft_reader_next(struct weir_craft_reader *r, struct weir_craft *ret, uint64_t *ret_ns,
			   struct weir_error *err);

/* One from its parts, for the lock-out guard: TCP with @tcp_flags (WEIR_TCP_*). */
struct weir_addr;
void weir_craft_tcp(struct weir_craft *ret, const struct weir_addr *src, uint16_t sport,
		    const struct weir_addr *dst, uint16_t dport, uint16_t tcp_flags);
