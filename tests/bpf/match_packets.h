/* SPDX-License-Identifier: GPL-2.0-only */
/* How many packets each expression is asked about. */
#pragma once

#define MATCH_PACKETS 2048
