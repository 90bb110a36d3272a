/* SPDX-License-Identifier: GPL-2.0-only */
/* Writing a capture to a file and asking tshark and capinfos about it. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/buf.h"

#define CAPTURE_PATH 64

static inline bool capture_has(const char *tool)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", tool);
	return system(command) == 0;
}

/* Writes and empties @b; the caller unlinks @path. */
static inline void capture_write(struct weir_buf *b, char path[CAPTURE_PATH])
{
	int fd;

	snprintf(path, CAPTURE_PATH, "/tmp/weir-unit-%d-XXXXXX", (int)getpid());
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(weir_buf_flush(b, fd), 0);
	close(fd);
}

/* What @command says, errors and warnings included; tshark's note about being
 * root is left out. */
static inline void capture_ask(const char *command, struct weir_buf *ret)
{
	char line[4096], with_errors[2048];
	FILE *f;

	snprintf(with_errors, sizeof(with_errors), "{ %s; } 2>&1 | grep -v '^Running as user'",
		 command);
	f = popen(with_errors, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		weir_buf_adds(ret, line);
	weir_buf_addc(ret, '\0');
	pclose(f);
	assert_false(ret->failed);
}
