/* SPDX-License-Identifier: GPL-2.0-only */
/* weir tcp tune: options that connections get from their first moment on. */
#pragma once

#include "base/opt.h"

extern const struct weir_opt weir_tcp_tune_options[];

/* argv[0] is "tune". Returns the exit status. */
int weir_tcp_tune_run(int argc, char **argv);
