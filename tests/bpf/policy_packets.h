/* SPDX-License-Identifier: GPL-2.0-only */
/* How many packets each policy is asked about. */
#pragma once

#define POLICY_PACKETS 1024
