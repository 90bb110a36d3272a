/* SPDX-License-Identifier: GPL-2.0-only */
/* What craft.c (words), craft_frame.c (bytes) and craft_file.c (files) share. */
#pragma once

#include <stdbool.h>

#include "base/addr.h"
#include "bpf/pkt.h"
#include "dataplane/craft.h"

/* What is in a packet; everything is set. */
struct weir_recipe {
	struct weir_addr src, dst; /* of one family */
	uint8_t proto;
	uint16_t sport, dport; /* where the protocol has ports */
	uint16_t vlan[WEIR_PKT_VLANS];
	unsigned int vlans;
	uint8_t ttl;
	uint16_t tcp_flags;
	uint8_t icmp_type, icmp_code;
	size_t size; /* of the frame; shorter than the headers: as long as they are */
};

bool weir_recipe_has_ports(uint8_t proto);
void weir_recipe_build(struct weir_craft *ret, const struct weir_recipe *r);

/* The Ethernet header of a packet that had none. */
void weir_craft_ether(uint8_t *frame, uint16_t type);

int weir_craft_read_hex(const char *path, struct weir_craft *ret, struct weir_error *err);
int weir_craft_read_pcap(const char *path, struct weir_craft *ret, struct weir_error *err);
