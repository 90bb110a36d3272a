/* SPDX-License-Identifier: GPL-2.0-only */
/* The control socket's place, and those who ask. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "cap/proxy/control.h"
#include "cap/proxy/control_impl.h"
#include "dataplane/sys.h"

#define ANSWER_WAIT_S 60 /* for each piece of an answer; a reload may take its time */
#define ANSWER_CHUNK 65536

int weir_control_path(char *buf, size_t size)
{
	uint64_t netns;
	int ret = weir_sys_netns_cookie(&netns);

	if (ret)
		return ret;
	ret = snprintf(buf, size, WEIR_CONTROL_DIR "/proxy-%016" PRIx64 ".sock", netns);
	return ret < (int)size ? 0 : -ENAMETOOLONG;
}

int weir_control_dir(struct weir_error *err)
{
	struct stat st;

	if (mkdir(WEIR_CONTROL_DIR, 0755) && errno != EEXIST)
		return weir_fail(err, -errno,
				 "cannot make the directory " WEIR_CONTROL_DIR
				 " (%m): run as root");
	if (lstat(WEIR_CONTROL_DIR, &st))
		return weir_fail(err, -errno, "cannot look at " WEIR_CONTROL_DIR ": %m");
	/* Who can write there could stand in for the proxy. */
	if (!S_ISDIR(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) ||
	    st.st_mode & (S_IWGRP | S_IWOTH))
		return weir_fail(err, -EPERM,
				 WEIR_CONTROL_DIR
				 " is not a directory of root's or yours alone: remove it");
	return 0;
}

int weir_control_address(struct sockaddr_un *ret, struct weir_error *err)
{
	int code;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	code = weir_control_path(ret->sun_path, sizeof(ret->sun_path));
	return code ? weir_fail(err, code, "cannot read the network namespace's cookie: %s",
				strerror(-code)) :
		      0;
}

int weir_control_connect(struct weir_error *err)
{
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval wait = { .tv_sec = ANSWER_WAIT_S };
	struct sockaddr_un to;
	int ret = weir_control_address(&to, err);

	if (ret)
		return ret;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)))
		return weir_fail(err, -errno, "cannot make a socket: %m");
	if (!connect(fd, (struct sockaddr *)&to, sizeof(to)))
		return WEIR_TAKE_FD(fd);
	if (errno == ENOENT || errno == ECONNREFUSED)
		return weir_fail(err, -ENOENT,
				 "no proxy runs in this network namespace: start it with \"weir "
				 "proxy -c FILE\"");
	if (errno == EACCES || errno == EPERM)
		return weir_fail(err, -errno, "may not speak with the proxy (%m): run as root");
	return weir_fail(err, -errno, "cannot reach the proxy at %s: %m", to.sun_path);
}

static int receive(int fd, struct weir_buf *answer, struct weir_error *err)
{
	for (;;) {
		char *room = weir_buf_room(answer, ANSWER_CHUNK);
		ssize_t n = room ? recv(fd, room, ANSWER_CHUNK, 0) : 0;

		if (!room)
			return weir_fail(err, -ENOMEM, "out of memory");
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return weir_fail(err, -ETIMEDOUT,
					 "the proxy does not answer: see whether it is stopped, "
					 "or out of CPU");
		/* Who refuses does not read the request first, which resets. */
		if (n < 0 && errno != ECONNRESET)
			return weir_fail(err, -errno, "the proxy broke off (%m): try again");
		if (n <= 0)
			return 0;
		room[n] = '\0';
		answer->len += (size_t)n;
	}
}

/* Take the first line off: "ok", or what is wrong. */
static int judge(struct weir_buf *answer, struct weir_error *err)
{
	static const char bad[] = "error ";
	char *end = answer->len ? memchr(answer->data, '\n', answer->len) : NULL;
	size_t line;

	if (!end)
		return weir_fail(err, -EPROTO, "the proxy broke off: try again");
	*end = '\0';
	line = (size_t)(end - answer->data) + 1;
	if (strncmp(answer->data, bad, sizeof(bad) - 1) == 0)
		return weir_fail(err, -EREMOTEIO, "%s", answer->data + sizeof(bad) - 1);
	if (strcmp(answer->data, "ok") != 0)
		return weir_fail(err, -EPROTO,
				 "the proxy's answer is not understood: is it of "
				 "another version?");
	memmove(answer->data, answer->data + line, answer->len - line + 1);
	answer->len -= line;
	return 0;
}

int weir_control_ask(const char *request, struct weir_buf *answer, struct weir_error *err)
{
	weir_autoclose int fd = weir_control_connect(err);
	char line[WEIR_CONTROL_REQUEST];
	int n = snprintf(line, sizeof(line), "%s\n", request);
	int ret;

	if (fd < 0)
		return fd;
	if (n >= (int)sizeof(line))
		return weir_fail(err, -E2BIG, "\"%.40s...\" is too long a request", request);
	/* It fails where the proxy has refused already, and said why. */
	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n && errno != EPIPE && errno != ECONNRESET)
		return weir_fail(err, -errno, "cannot ask the proxy (%m): try again");
	weir_buf_reset(answer);
	ret = receive(fd, answer, err);
	return ret ? ret : judge(answer, err);
}
