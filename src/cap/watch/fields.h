/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fields of a packet that have a name of their own: the JSON object is
 * this list in this order, and the proto format takes the same values where it
 * comes to them in the headers.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cap/watch/packet.h"

enum weir_value_kind {
	WEIR_VALUE_UINT,
	WEIR_VALUE_HEX,	  /* text shows it in hexadecimal, JSON as a number */
	WEIR_VALUE_BOOL,
	WEIR_VALUE_IP,	  /* 16 bytes */
	WEIR_VALUE_MAC,
	WEIR_VALUE_STR,
};

struct weir_value {
	union {
		uint64_t num;
		const uint8_t *bytes;
		const char *str;
	};
	bool v6;       /* of an address: the packet is IPv6 */
	char text[32]; /* where str may point */
};

/* X(ID, JSON key, label in text, kind) */
#define WEIR_PACKET_FIELDS(X)                                          \
	X(PROTOCOL, "protocol", "protocol", STR)                       \
	X(SRC_IP, "src_ip", "source", IP)                              \
	X(SRC_PORT, "src_port", "source port", UINT)                   \
	X(DST_IP, "dst_ip", "destination", IP)                         \
	X(DST_PORT, "dst_port", "destination port", UINT)              \
	X(IFACE, "iface", "interface", STR)                            \
	X(DIRECTION, "direction", "direction", STR)                    \
	X(SIZE, "packet_size", "length", UINT)                         \
	X(TCP_FLAGS, "tcp_flags", "flags", STR)                        \
	X(VLAN, "vlan", "id", UINT)                                    \
	X(VLAN_INNER, "vlan_inner", "id", UINT)                        \
	X(FRAGMENT, "fragment", "fragment", STR)                       \
	X(ETH_SRC, "eth_src", "source", MAC)                           \
	X(ETH_DST, "eth_dst", "destination", MAC)                      \
	X(ETHERTYPE, "ethertype", "type", HEX)                         \
	X(IP_ID, "ip_id", "identification", UINT)                      \
	X(TOS, "tos", "type of service", HEX)                          \
	X(TTL, "ttl", "time to live", UINT)                            \
	X(FLOW_LABEL, "flow_label", "flow label", HEX)                 \
	X(FRAG_OFFSET, "frag_offset", "fragment offset", UINT)         \
	X(SEQ, "seq", "sequence number", UINT)                         \
	X(ACK, "ack", "acknowledgment number", UINT)                   \
	X(WINDOW, "window", "window", UINT)                            \
	X(URGENT, "urgent", "urgent pointer", UINT)                    \
	X(ICMP_TYPE, "icmp_type", "type", UINT)                        \
	X(ICMP_CODE, "icmp_code", "code", UINT)                        \
	X(CHECKSUM_OK, "checksum_ok", "checksum", BOOL)                \
	X(COMMUNITY_ID, "community_id", "community id", STR)           \
	X(PID, "pid", "process", UINT)                                 \
	X(COMM, "comm", "command", STR)                                \
	X(CGROUP, "cgroup", "cgroup", STR)                             \
	X(NETNS, "netns", "network namespace", UINT)                   \
	X(NETNS_NAME, "netns_name", "network namespace", STR)          \
	X(OWNER_GUESSED, "owner_guessed", "guessed", BOOL)             \
	X(PEER_PID, "peer_pid", "process", UINT)                       \
	X(PEER_COMM, "peer_comm", "command", STR)                      \
	X(PEER_CGROUP, "peer_cgroup", "cgroup", STR)                   \
	X(PEER_NETNS, "peer_netns", "network namespace", UINT)         \
	X(PEER_NETNS_NAME, "peer_netns_name", "network namespace", STR) \
	X(PEER_GUESSED, "peer_guessed", "guessed", BOOL)               \
	X(VERDICT, "verdict", "verdict", STR)                          \
	X(RULE, "rule", "rule", STR)

enum weir_packet_field {
#define X(id, key, label, kind) WEIR_PACKET_##id,
	WEIR_PACKET_FIELDS(X)
#undef X
	WEIR_PACKET_FIELD_MAX
};

struct weir_field {
	const char *json; /* `,"key":`, ready to be copied */
	uint8_t json_len;
	const char *label;
	enum weir_value_kind kind;
};

extern const struct weir_field weir_fields[WEIR_PACKET_FIELD_MAX];

/* False where the packet does not have or does not tell the field. */
bool weir_field_get(const struct weir_packet *p, enum weir_packet_field id,
		    struct weir_value *ret);
