/* SPDX-License-Identifier: GPL-2.0-only */
/* The grammar of expressions. */
#pragma once

#include "match/ast.h"

/* *ret is NULL where @text is blank. */
int weir_expr_parse(const char *text, bool named_sets, struct weir_ast **ret,
		    struct weir_error *err);
