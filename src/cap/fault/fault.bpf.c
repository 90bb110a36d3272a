/* SPDX-License-Identifier: GPL-2.0-only */
/* The maps alone, which last longer than any program over them. */
#include "cap/fault/fault.bpf.h"

char LICENSE[] SEC("license") = "GPL";
