/* SPDX-License-Identifier: GPL-2.0-only */
/* What the two ends of the keeper's socket share. */
#pragma once

#include <stdint.h>

#include "base/error.h"

enum weir_keeper_op {
	WEIR_KEEPER_READ,
	WEIR_KEEPER_LISTEN, /* arg: which one */
	WEIR_KEEPER_METRICS,
	WEIR_KEEPER_LOG,
	WEIR_KEEPER_ALLOW,
	WEIR_KEEPER_SETTLE, /* arg: 1 take, 0 forget */
	WEIR_KEEPER_OPS,
};

struct weir_keeper_request {
	uint32_t number; /* comes back with the answer */
	uint32_t op, arg;
};

/* With it may come one descriptor: what was asked for, or a memfd with text. */
struct weir_keeper_answer {
	uint32_t number;
	int32_t code; /* 0 or -errno */
	char message[WEIR_ERROR_MAX];
};

/* The keeper's life: until the other end of @fd is closed, and what it left is removed. */
struct weir_proxy_flags;
struct weir_proxy_config;
void weir_keeper_serve(int fd, const struct weir_proxy_flags *f, struct weir_proxy_config *cfg);
