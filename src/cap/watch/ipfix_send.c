/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/units.h"
#include "cap/watch/ipfix.h"
#include "net/endpoint.h"

/* RFC 7011, 8.4: over UDP templates may get lost and must be sent again. */
#define TEMPLATES_EVERY_NS (60 * WEIR_NSEC_PER_SEC)
#define CONNECT_MS 5000
#define RETRY_NS (5 * WEIR_NSEC_PER_SEC)
#define FLUSH_MS 5000
#define QUEUE_MAX 4096 /* messages that wait for a TCP peer: some 5.5 MB */

struct queued {
	uint16_t len, sent;
	uint32_t records;
	uint64_t packets, octets;
	uint8_t data[WEIR_IPFIX_MESSAGE_MAX];
};

struct weir_ipfix_sender {
	struct weir_endpoint to;
	bool tcp;
	int fd;		/* -1: not connected */
	int connecting; /* -1, or a socket that waits for the peer's answer */
	bool fresh; /* a session that has had no templates yet */
	uint64_t templates_at, retry_at;
	struct queued *queue; /* TCP: a ring */
	size_t first, n;
	struct weir_ipfix_losses unsent; /* not yet told of */
};

static int resolve(struct weir_endpoint *ret, const char *to, bool tcp, struct weir_error *err)
{
	struct addrinfo hints = {.ai_socktype = tcp ? SOCK_STREAM : SOCK_DGRAM}, *found;
	const char *colon = strrchr(to, ':');
	char host[256];
	uint64_t port;
	int code;

	if (!weir_endpoint_parse(to, ret)) {
		if (ret->sa.sa_family != AF_UNIX)
			return 0;
		colon = NULL;
	}
	if (!colon || colon == to || (size_t)(colon - to) >= sizeof(host) ||
	    strchr(to, ':') != colon || weir_parse_u64(colon + 1, 1, UINT16_MAX, &port))
		return weir_fail(err, -EINVAL,
				 "--ipfix %s: write [udp:|tcp:]HOST:PORT, for example "
				 "192.0.2.1:4739 or tcp:[2001:db8::1]:4739",
				 to);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - to), to);
	code = getaddrinfo(host, colon + 1, &hints, &found);
	if (code)
		return weir_fail(err, -EINVAL, "--ipfix %s: %s: give an address", to,
				 gai_strerror(code));
	memcpy(&ret->sa, found->ai_addr, found->ai_addrlen);
	ret->len = found->ai_addrlen;
	freeaddrinfo(found);
	return 0;
}

/* Begin; with TCP the answer comes later. 0 or a negative errno. */
static int begin_connect(struct weir_ipfix_sender *s)
{
	int fd = socket(s->to.sa.sa_family,
			(s->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret;

	if (fd < 0)
		return -errno;
	ret = connect(fd, &s->to.sa, s->to.len) && errno != EINPROGRESS ? -errno : 0;
	if (ret)
		close(fd);
	else
		s->connecting = fd;
	return ret;
}

/* Has it been answered? Waits at most @wait_ms. -EAGAIN: not yet. */
static int end_connect(struct weir_ipfix_sender *s, int wait_ms)
{
	struct pollfd p = {.fd = s->connecting, .events = POLLOUT};
	int error = 0;
	socklen_t len = sizeof(error);

	if (poll(&p, 1, wait_ms) != 1)
		return -EAGAIN;
	if (getsockopt(s->connecting, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error) {
		close(WEIR_TAKE_FD(s->connecting));
		return -error;
	}
	s->fd = WEIR_TAKE_FD(s->connecting);
	s->fresh = true;
	return 0;
}

int weir_ipfix_sender_new(struct weir_ipfix_sender **ret, const char *to, struct weir_error *err)
{
	struct weir_ipfix_sender *s = calloc(1, sizeof(*s));
	bool udp = !strncmp(to, "udp:", 4);
	int code;

	if (!s)
		return weir_fail(err, -ENOMEM, "out of memory");
	*ret = s;
	s->fd = s->connecting = -1;
	s->tcp = !strncmp(to, "tcp:", 4);
	if (s->tcp)
		s->queue = calloc(QUEUE_MAX, sizeof(*s->queue));
	if (s->tcp && !s->queue)
		return weir_fail(err, -ENOMEM, "out of memory");
	code = resolve(&s->to, to + (s->tcp || udp ? 4 : 0), s->tcp, err);
	if (code)
		return code;
	code = begin_connect(s);
	if (!code)
		code = end_connect(s, CONNECT_MS);
	if (code == -EAGAIN)
		code = -ETIMEDOUT;
	if (code)
		return weir_fail(err, code, "--ipfix %s: cannot connect: %s: is the collector up?",
				 to, strerror(-code));
	return 0;
}

void weir_ipfix_sender_free(struct weir_ipfix_sender *s)
{
	if (!s)
		return;
	if (s->fd >= 0)
		close(s->fd);
	if (s->connecting >= 0)
		close(s->connecting);
	free(s->queue);
	free(s);
}

static void give_up(struct weir_ipfix_sender *s, uint32_t records, uint64_t packets,
		    uint64_t octets)
{
	s->unsent.unsent_flows += records;
	s->unsent.unsent_packets += packets;
	s->unsent.unsent_octets += octets;
}

/* The connection is gone, and with it what waited for it: a new one begins with templates
 * and a sequence of its own. */
static void disconnect(struct weir_ipfix_sender *s, int error)
{
	weir_debug("ipfix: the connection is lost: %s", strerror(error));
	close(s->fd);
	s->fd = -1;
	s->retry_at = 0;
	for (; s->n; s->n--) {
		const struct queued *q = &s->queue[s->first];

		give_up(s, q->records, q->packets, q->octets);
		s->first = (s->first + 1) % QUEUE_MAX;
	}
}

static void push(struct weir_ipfix_sender *s)
{
	while (s->fd >= 0 && s->n) {
		struct queued *q = &s->queue[s->first];
		ssize_t done = send(s->fd, q->data + q->sent, q->len - q->sent, MSG_NOSIGNAL);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (done < 0) {
			disconnect(s, errno);
			return;
		}
		q->sent = (uint16_t)(q->sent + done);
		if (q->sent < q->len)
			return;
		s->first = (s->first + 1) % QUEUE_MAX;
		s->n--;
	}
}

/* What watches packets does not wait for a collector: one step at a time. */
static bool reconnect(struct weir_ipfix_sender *s, uint64_t now_ns)
{
	if (s->connecting >= 0 && !end_connect(s, 0))
		return true;
	if (now_ns < s->retry_at)
		return false;
	s->retry_at = now_ns + RETRY_NS;
	if (s->connecting >= 0)
		close(WEIR_TAKE_FD(s->connecting));
	return !begin_connect(s) && !end_connect(s, 0);
}

bool weir_ipfix_sender_wants_templates(struct weir_ipfix_sender *s, uint64_t now_ns,
				       bool *ret_restarted)
{
	*ret_restarted = s->fd < 0 && reconnect(s, now_ns);
	push(s);
	if (s->fd < 0 || (!s->fresh && (s->tcp || now_ns < s->templates_at)))
		return false;
	s->fresh = false;
	s->templates_at = now_ns + TEMPLATES_EVERY_NS;
	return true;
}

static bool send_datagram(struct weir_ipfix_sender *s, const struct weir_ipfix_message *m)
{
	/* An error may be that of an earlier datagram, which the peer has refused: then
	 * this one has not been tried yet. */
	for (int i = 0; i < 2; i++)
		if (send(s->fd, m->data, m->len, 0) == (ssize_t)m->len)
			return true;
	return false;
}

bool weir_ipfix_send(struct weir_ipfix_sender *s, const struct weir_ipfix_message *m)
{
	struct queued *q;

	if (!s->tcp)
		return send_datagram(s, m);
	if (s->fd < 0 || s->n == QUEUE_MAX)
		return false;
	q = &s->queue[(s->first + s->n) % QUEUE_MAX];
	q->len = (uint16_t)m->len;
	q->sent = 0;
	q->records = m->records;
	q->packets = m->packets;
	q->octets = m->octets;
	memcpy(q->data, m->data, m->len);
	s->n++;
	push(s);
	return true;
}

void weir_ipfix_sender_unsent(struct weir_ipfix_sender *s, struct weir_ipfix_losses *add)
{
	add->unsent_flows += s->unsent.unsent_flows;
	add->unsent_packets += s->unsent.unsent_packets;
	add->unsent_octets += s->unsent.unsent_octets;
	s->unsent = (struct weir_ipfix_losses){0};
}

void weir_ipfix_sender_flush(struct weir_ipfix_sender *s)
{
	uint64_t until = weir_clock_mono() + FLUSH_MS * 1000000ULL, now;

	while (s->fd >= 0 && s->n && (now = weir_clock_mono()) < until) {
		struct pollfd p = {.fd = s->fd, .events = POLLOUT};

		poll(&p, 1, (int)((until - now) / 1000000) + 1);
		push(s);
	}
	if (s->n)
		disconnect(s, ETIMEDOUT);
}
