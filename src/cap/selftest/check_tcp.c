/* SPDX-License-Identifier: GPL-2.0-only */
/* Does weir tcp tell what the kernel tells the program itself, over a lossy path too? */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/selftest/checks.h"
#include "dataplane/probe.h"

#define BYTES 400000
#define LOST_EACH "23" /* every 23rd segment */
#define WAIT_MS 10000

struct conn {
	int listener, client, server;
};

static int make(const struct weir_selftest *t, enum weir_lab_side side, int *ret)
{
	int code = weir_lab_enter(&t->lab, side), back;

	if (code)
		return code;
	*ret = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	code = *ret < 0 ? -errno : 0;
	back = weir_lab_leave(&t->lab);
	return code ? code : back;
}

static int connect_pair(struct conn *c, const struct weir_selftest *t)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(t->port) };
	int ret;

	*c = (struct conn){ -1, -1, -1 };
	inet_pton(AF_INET, weir_lab_addr[WEIR_LAB_B], &to.sin_addr);
	ret = make(t, WEIR_LAB_B, &c->listener);
	if (!ret)
		ret = make(t, WEIR_LAB_A, &c->client);
	if (ret)
		return ret;
	if (bind(c->listener, (const struct sockaddr *)&to, sizeof(to)) || listen(c->listener, 1) ||
	    connect(c->client, (const struct sockaddr *)&to, sizeof(to)))
		return -errno;
	c->server = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return c->server < 0 ? -errno : 0;
}

static void close_pair(struct conn *c)
{
	weir_closep(&c->client);
	weir_closep(&c->server);
	weir_closep(&c->listener);
}

/* Bytes that the server got of BYTES sent. */
static uint64_t transfer(const struct conn *c)
{
	struct pollfd p[] = { { .fd = c->server, .events = POLLIN },
			      { .fd = c->client, .events = POLLOUT } };
	static unsigned char bytes[16384];
	uint64_t sent = 0, got = 0;

	while (got < BYTES) {
		ssize_t n;

		p[1].fd = sent < BYTES ? c->client : -1;
		if (poll(p, 2, WAIT_MS) <= 0)
			break;
		if (p[1].fd >= 0 && p[1].revents) {
			size_t left = BYTES - sent;

			n = send(c->client, bytes, left < sizeof(bytes) ? left : sizeof(bytes),
				 MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (uint64_t)n : 0;
		}
		if (p[0].revents && (n = recv(c->server, bytes, sizeof(bytes), 0)) > 0)
			got += (uint64_t)n;
	}
	return got;
}

/* Until all that was sent has been acknowledged: the figures rest then. */
static bool settle(const struct conn *c, struct tcp_info *ret)
{
	socklen_t len = sizeof(*ret);

	for (int i = 0; i < WAIT_MS / 10; i++) {
		memset(ret, 0, sizeof(*ret));
		if (getsockopt(c->client, IPPROTO_TCP, TCP_INFO, ret, &len))
			return false;
		if (!ret->tcpi_unacked)
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

static void compare(json_t *told, const struct tcp_info *info, struct weir_check_result *r)
{
	uint64_t again = info->tcpi_total_retrans;

	if (!told)
		weir_check_fail(r, "weir tcp told nothing of the connection");
	else if (weir_check_equal(r, "bytes out", weir_json_number(told, "bytes_out"), BYTES) &&
		 weir_check_equal(r, "retransmits", weir_json_number(told, "retransmits"), again))
		weir_check_ok(r, "%d bytes, %llu segments sent again, both as TCP_INFO has them",
			      BYTES, (unsigned long long)again);
}

/* The client's end: the one that began it. */
static void run_it(struct weir_selftest *t, struct weir_child *c, struct weir_check_result *r)
{
	struct tcp_info info;
	json_t *told = NULL;
	struct conn conn;

	if (connect_pair(&conn, t)) {
		weir_check_fail(r, "no connection");
	} else {
		weir_check_equal(r, "bytes received", transfer(&conn), BYTES);
		if (!settle(&conn, &info))
			weir_check_fail(r, "the connection never came to rest");
		weir_closep(&conn.client);
		conn.client = -1;
		if (weir_child_says(c, true, "\"close\""))
			told = weir_child_last_json(c->out);
		compare(told, &info, r);
	}
	json_decref(told);
	close_pair(&conn);
}

void weir_check_tcp(struct weir_selftest *t, struct weir_check_result *r)
{
	char expression[32], port[8];
	const char *const words[] = { "tcp",	     "--events",   "close",
				      "--json",	     "--netns",	   "/proc/self/ns/net",
				      "--remote-ip", "10.213.0.2", expression,
				      NULL };
	const char *const lose[] = { "fault",	   "add",   "selftest", "--protocol", "tcp",
				     "--dst-port", port,    "-i",	"lab-b",      "-Q",
				     "in",	   "--nth", LOST_EACH,	NULL };
	const char *const clear[] = { "fault", "clear", NULL };
	struct weir_child c;

	if (!weir_has(WEIR_FEATURE_TP_BTF) || !weir_has(WEIR_FEATURE_ITER_TCP)) {
		weir_check_skip(r, "tp_btf or iter_tcp is lacking: see weir doctor");
		return;
	}
	snprintf(expression, sizeof(expression), "dst port %u", t->port);
	snprintf(port, sizeof(port), "%u", t->port);
	if (!weir_child_do(t, WEIR_LAB_B, lose, r))
		return;
	if (weir_child_start(&c, t, WEIR_LAB_A, words)) {
		weir_check_fail(r, "no process");
	} else {
		if (weir_child_says(&c, false, "listening"))
			run_it(t, &c, r);
		else
			weir_child_blame(&c, r);
		weir_child_stop(&c, SIGINT);
	}
	weir_child_end(&c);
	weir_child_do(t, WEIR_LAB_B, clear, r);
}
