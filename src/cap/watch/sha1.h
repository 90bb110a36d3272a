/* SPDX-License-Identifier: GPL-2.0-only */
/* SHA-1 (FIPS 180-4) of short messages. Community ID asks for it; nothing
 * here relies on its strength. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define WEIR_SHA1_LEN 20
#define WEIR_SHA1_MAX 55 /* longest message: one block with its padding */

void weir_sha1(const uint8_t *msg, size_t n, uint8_t ret[WEIR_SHA1_LEN]);
