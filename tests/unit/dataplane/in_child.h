/* SPDX-License-Identifier: GPL-2.0-only */
/* Giving up capabilities is for good, and probes are cached: such a case needs
 * a process of its own. Include behind cmocka.h. */
#pragma once

#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run @fn in a child, which may give up what it likes; true if it says so. */
static inline bool in_child(bool (*fn)(void))
{
	pid_t pid = fork();
	int status = 0;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
