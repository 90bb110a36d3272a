/* SPDX-License-Identifier: GPL-2.0-only */
/* The full-screen view of --flows: an observer of the run (observe.h). */
#pragma once

#include "cap/watch/observe.h"

extern const struct weir_observer weir_top_observer;
