/* SPDX-License-Identifier: GPL-2.0-only */
/* The SSH connection that this terminal hangs on: showing it would make each
 * line cause the next. */
#pragma once

#include "cap/watch/session.h"

/* From SSH_CONNECTION of this process or of an ancestor (sudo and su drop it
 * from the environment). Leaves @self->known false when there is none. */
void weir_self_find(struct weir_self *self);
