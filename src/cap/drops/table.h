/* SPDX-License-Identifier: GPL-2.0-only */
/* Tables of the kernel, read whole. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* A hash map as an array of records, each a key and then a value. A value is made of
 * counters, and @cpus (1: it has none) of it are added up. The array is in *(void **)@ret,
 * to be freed; how many records there are, or a negative errno. */
int weir_drops_table(int fd, size_t key_size, size_t val_size, uint32_t cpus, void *ret);
