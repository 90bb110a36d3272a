/* SPDX-License-Identifier: GPL-2.0-only */
/* A network namespace of the test's own with its loopback up, so that no port is another
 * program's; without the privilege for it, the loopback that there is. */
#pragma once

#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void own_net(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd;

	if (unshare(CLONE_NEWNET))
		return;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		return;
	if (ioctl(fd, SIOCSIFFLAGS, &lo))
		fprintf(stderr, "loopback stays down: %s\n", strerror(errno));
	close(fd);
}
