/* SPDX-License-Identifier: GPL-2.0-only */
/* What pin.c and pin_tree.c share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/pin.h"

#define WEIR_PIN_COOKIE_DIGITS 16

/* The name of this namespace's directory. */
int weir_pin_netns_name(char name[WEIR_PIN_COOKIE_DIGITS + 1], struct weir_error *err);
/* Why a directory of bpffs cannot be opened, by a negative errno, which is returned. */
int weir_pin_explain(const char *path, int code, struct weir_error *err);
/* Lock the directory at @path. -ENOENT, also when it was removed meanwhile. */
int weir_pin_lock(const char *path, struct weir_error *err);
