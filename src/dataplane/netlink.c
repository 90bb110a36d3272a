/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/netlink.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"

/* The kernel fills messages of a dump up to 32 KiB. */
#define ANSWER_SIZE 65536
/* It answers at once; a limit, so that nobody ever waits for ever. */
#define ANSWER_SECONDS 5

static struct nlmsghdr *header(struct weir_nl_msg *m)
{
	return (struct nlmsghdr *)m->bytes;
}

void weir_nl_begin(struct weir_nl_msg *m, uint16_t type, uint16_t flags, const void *payload,
		   size_t len)
{
	memset(m, 0, sizeof(*m));
	header(m)->nlmsg_type = type;
	header(m)->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	header(m)->nlmsg_len = (uint32_t)NLMSG_LENGTH(len);
	memcpy(NLMSG_DATA(header(m)), payload, len);
}

void weir_nl_attr(struct weir_nl_msg *m, uint16_t type, const void *value, size_t len)
{
	size_t at = NLMSG_ALIGN(header(m)->nlmsg_len);
	struct nlattr *a = (struct nlattr *)(m->bytes + at);

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + len);
	memcpy(m->bytes + at + NLA_HDRLEN, value, len);
	header(m)->nlmsg_len = (uint32_t)(at + NLA_ALIGN(a->nla_len));
}

int weir_nl_open(int protocol)
{
	const struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	weir_autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		return -errno;
	return WEIR_TAKE_FD(fd);
}

static int ask(int fd, struct weir_nl_msg *m)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	/* Two bits, of which one means something else where something is made. */
	if ((header(m)->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		header(m)->nlmsg_flags |= NLM_F_ACK;
	return sendto(fd, m->bytes, header(m)->nlmsg_len, 0, (const struct sockaddr *)&kernel,
		      sizeof(kernel)) < 0 ?
		       -errno :
		       0;
}

/* One datagram from the kernel: several messages. */
static ssize_t receive(int fd, void *buf)
{
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { .iov_base = buf, .iov_len = ANSWER_SIZE };
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t n;

	do
		n = recvmsg(fd, &msg, 0);
	while ((n < 0 && errno == EINTR) || (n >= 0 && from.nl_pid));
	if (n < 0)
		return errno == ENOBUFS ? -EINTR : errno == EAGAIN ? -ETIMEDOUT : -errno;
	return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
}

struct answer {
	int (*fn)(void *arg, const struct nlmsghdr *h);
	void *arg;
	bool done, interrupted;
};

static int take(struct answer *a, const struct nlmsghdr *h)
{
	const struct nlmsgerr *e = NLMSG_DATA(h);

	if (h->nlmsg_flags & NLM_F_DUMP_INTR)
		a->interrupted = true;
	switch (h->nlmsg_type) {
	case NLMSG_NOOP:
		return 0;
	case NLMSG_ERROR:
		a->done = true;
		return h->nlmsg_len < NLMSG_LENGTH(sizeof(*e)) ? -EBADMSG : e->error;
	case NLMSG_DONE:
		a->done = true;
		return h->nlmsg_len < NLMSG_LENGTH(sizeof(e->error)) ? 0 : e->error;
	default:
		return a->fn ? a->fn(a->arg, h) : 0;
	}
}

int weir_nl_ask(int protocol, struct weir_nl_msg *m, int (*fn)(void *arg, const struct nlmsghdr *h),
		void *arg)
{
	weir_autoclose int fd = weir_nl_open(protocol);

	return fd < 0 ? fd : weir_nl_ask_by(fd, m, fn, arg);
}

int weir_nl_ask_by(int fd, struct weir_nl_msg *m,
		   int (*fn)(void *arg, const struct nlmsghdr *h), void *arg)
{
	struct answer a = { .fn = fn, .arg = arg };
	weir_autofree void *buf = malloc(ANSWER_SIZE);
	int ret = buf ? ask(fd, m) : -ENOMEM;

	while (!ret && !a.done) {
		ssize_t n = receive(fd, buf);
		const struct nlmsghdr *h = buf;

		if (n < 0)
			return (int)n;
		for (; !ret && !a.done && NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n))
			ret = take(&a, h);
	}
	return !ret && a.interrupted ? -EINTR : ret;
}

const void *weir_nl_payload(const struct nlmsghdr *h, size_t size)
{
	return h->nlmsg_len < NLMSG_LENGTH(size) ? NULL : NLMSG_DATA(h);
}

/* The attribute @type among @len bytes of attributes, which begin aligned. */
static const struct nlattr *find(const void *attrs, size_t len, uint16_t type)
{
	const unsigned char *at = attrs;

	while (len >= sizeof(struct nlattr)) {
		const struct nlattr *a = (const void *)at;
		size_t step;

		if (a->nla_len < NLA_HDRLEN || a->nla_len > len)
			break;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		step = NLA_ALIGN(a->nla_len);
		if (step > len)
			break;
		at += step;
		len -= step;
	}
	return NULL;
}

static const void *payload(const struct nlattr *a, size_t min)
{
	return a && (size_t)a->nla_len - NLA_HDRLEN >= min ? (const char *)a + NLA_HDRLEN : NULL;
}

static const struct nlattr *find_first(const struct nlmsghdr *h, size_t size, uint16_t type)
{
	size_t before = NLMSG_SPACE(size);

	return h->nlmsg_len < before ?
		       NULL :
		       find((const unsigned char *)h + before, h->nlmsg_len - before, type);
}

const void *weir_nl_find(const struct nlmsghdr *h, size_t size, uint16_t type, size_t min)
{
	return payload(find_first(h, size, type), min);
}

const void *weir_nl_find_in(const struct nlmsghdr *h, size_t size, uint16_t outer, uint16_t type,
			    size_t min)
{
	const struct nlattr *a = find_first(h, size, outer);

	return a ? payload(find((const char *)a + NLA_HDRLEN, a->nla_len - NLA_HDRLEN, type), min) :
		   NULL;
}
