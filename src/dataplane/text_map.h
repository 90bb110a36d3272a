/* SPDX-License-Identifier: GPL-2.0-only */
/* Rules as text in the kernel: an array of chunks; the first 8 bytes are its length. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* A new map called @name with @text, to be pinned. Its descriptor or a negative errno. */
int weir_text_map_write(const char *name, const struct weir_buf *text, struct weir_error *err);
/* Read it back into @out, which is empty. -EPROTO: it is no such map, or its text is longer
 * than @most; @verb is what the remedy unloads. */
int weir_text_map_read(int fd, uint64_t most, const char *verb, struct weir_buf *out,
		       struct weir_error *err);
