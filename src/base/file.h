/* SPDX-License-Identifier: GPL-2.0-only */
/* Rule files: read whole, replaced in one step, applied at boot by a unit. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/error.h"

/* What messages call it: "-" is standard input. */
const char *weir_file_name(const char *path);

/* Append what is left of @f to @out, whose data is not NULL then; little more than @most
 * bytes are read of what is longer, so that the caller can refuse it. 0 or a negative errno,
 * without a message. */
int weir_file_read_all(FILE *f, size_t most, struct weir_buf *out);
/* The same of the file @path, or of standard input, where it is "-". */
int weir_file_read(const char *path, size_t most, struct weir_buf *out);

/* @text becomes the file @path, readable by all, in one step; it is reset. */
int weir_file_replace(const char *path, struct weir_buf *text, struct weir_error *err);

/* Append what is left to do until systemd applies the saved file at boot. */
void weir_file_tell_unit(const char *unit, struct weir_buf *out);
