/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of rules that are written as on the command line: `[NAME:] OPTIONS... EXPRESSION`,
 * a statement a line, with the verb's own statements between them.
 */
#pragma once

#include "base/opt.h"
#include "bpf/store.h"
#include "policy/words.h"

struct weir_rule_text {
	const char *source; /* for messages: the file's name */
	size_t most;	    /* bytes, whole MiB */
	/* One statement. 0, or a negative errno with @err; the line is put before it. */
	int (*take)(void *arg, const struct weir_policy_words *words, struct weir_error *err);
};

int weir_rule_text_parse(const struct weir_rule_text *t, const char *text, size_t len, void *arg,
			 struct weir_error *err);
/* The file at @path, "-" for standard input, as weir_file_read() does it. */
int weir_rule_text_read(const char *path, size_t most, struct weir_buf *ret,
			struct weir_error *err);

/* How many words are the name: 1 with `NAME:` in front, which is then in @ret; else 0. One
 * that is too long stays so, and is to be refused. */
size_t weir_rule_text_name(const struct weir_policy_words *words, char ret[WEIR_RULE_NAME_MAX + 1]);
/* The rule's name: @given, or one of its @words, which are asked for only then: "KIND-HASH". */
int weir_rule_text_set_name(const char *given, const char *kind, const struct weir_buf *words,
			    char ret[WEIR_RULE_NAME_MAX], struct weir_error *err);
/* The words from @from on as options of @table into @opts, the others into @expression; both
 * point into @words. @verb: whose help the messages name. */
int weir_rule_text_options(const struct weir_policy_words *words, size_t from, const char *verb,
			   const struct weir_opt *table, void *opts, struct weir_buf *expression,
			   struct weir_error *err);
