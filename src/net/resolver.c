/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/resolver.h"

#include <ares.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "net/dns.h"
#include "net/endpoint.h"

#define NSEC_PER_MSEC 1000000ULL
#define TIMEOUT_NS (2 * WEIR_NSEC_PER_SEC)
#define TRIES 2
/* RFC 8305, section 3: how long an answer waits for that of the other family. Timers
 * may be a tick late. */
#define FAMILY_DELAY_NS (50 * NSEC_PER_MSEC - WEIR_LOOP_TICK_NS)
/* What a server may send by UDP without being cut into fragments. */
#define UDP_SIZE 1232
#define CLASS_IN 1
#define SERVERS_MAX 64
#define SERVER_PORT 53
/* Both families of each; query ids are 16 bits wide. */
#define QUESTIONS_MAX 16384

const char *const weir_resolve_codes[WEIR_RESOLVE_CODES] = {
	[WEIR_RESOLVED] = "ok",
	[WEIR_RESOLVE_NXDOMAIN] = "nxdomain",
	[WEIR_RESOLVE_NODATA] = "nodata",
	[WEIR_RESOLVE_SERVFAIL] = "servfail",
	[WEIR_RESOLVE_TIMEOUT] = "timeout",
};
_Static_assert(WEIR_DNS_ADDRS >= WEIR_RESOLVED_MAX, "one family may fill an answer");

enum family { IPV6, IPV4, FAMILIES };

static const enum weir_dns_type types[FAMILIES] = {
	[IPV6] = WEIR_DNS_AAAA,
	[IPV4] = WEIR_DNS_A,
};

/* The answers of both families, by code, in the order in which one outweighs the other
 * where neither has an address: that there is none is known when both say so. */
static const enum weir_resolve_code weight[] = {
	WEIR_RESOLVE_SERVFAIL,
	WEIR_RESOLVE_TIMEOUT,
	WEIR_RESOLVE_NODATA,
	WEIR_RESOLVE_NXDOMAIN,
};

struct question;

struct half {
	struct question *question;
	bool done;
	enum weir_resolve_code code;
	struct weir_dns_answer answer; /* with RESOLVED, NXDOMAIN and NODATA */
};

/* Lives until both halves are done, which may be after it was answered. */
struct question {
	struct question *next, **prev;
	struct weir_resolver *resolver;
	void (*fn)(void *arg, const struct weir_resolved *answer); /* NULL: answered */
	void *arg;
	struct weir_timer timer; /* answer with what there is */
	struct half half[FAMILIES];
	char name[WEIR_DNS_NAME_MAX + 1];
};

/* One of c-ares' sockets. */
struct channel_io {
	struct channel_io *next;
	struct weir_resolver *resolver;
	struct weir_io io;
};

struct weir_resolver {
	struct weir_loop *loop;
	ares_channel channel;
	uint64_t timeout_ns;
	struct channel_io *ios;
	struct weir_timer timer; /* c-ares' time-outs */
	struct question *questions;
	unsigned int n_questions;
	bool asking, closing;
	struct weir_resolver_stats stats;
};

/* ---- Answers */

static void question_free(struct question *q)
{
	weir_timer_del(&q->timer);
	if (q->next)
		q->next->prev = q->prev;
	*q->prev = q->next;
	q->resolver->n_questions--;
	free(q);
}

static bool has_addresses(const struct half *h)
{
	return h->done && h->code == WEIR_RESOLVED;
}

static void least(uint32_t *ttl, uint32_t other)
{
	if (other < *ttl)
		*ttl = other;
}

/* Both families in turn, so that the first few are never all of a family that does not
 * work here. */
static void put_addresses(const struct question *q, struct weir_resolved *res)
{
	res->code = WEIR_RESOLVED;
	for (int f = 0; f < FAMILIES; f++)
		if (has_addresses(&q->half[f]))
			least(&res->ttl, q->half[f].answer.ttl);
	for (size_t i = 0; i < WEIR_DNS_ADDRS; i++)
		for (int f = 0; f < FAMILIES; f++) {
			const struct half *h = &q->half[f];

			if (has_addresses(h) && i < h->answer.n && res->n < WEIR_RESOLVED_MAX)
				res->addr[res->n++] = h->answer.addr[i];
		}
}

static void put_failure(const struct question *q, struct weir_resolved *res)
{
	size_t heaviest = WEIR_ARRAY_SIZE(weight) - 1;

	for (int f = 0; f < FAMILIES; f++) {
		const struct half *h = &q->half[f];
		const enum weir_resolve_code code = h->done ? h->code : WEIR_RESOLVE_TIMEOUT;

		for (size_t i = 0; i < heaviest; i++)
			if (weight[i] == code)
				heaviest = i;
		least(&res->ttl, h->answer.ttl);
	}
	res->code = weight[heaviest];
	if (res->code != WEIR_RESOLVE_NXDOMAIN && res->code != WEIR_RESOLVE_NODATA)
		res->ttl = 0;
}

/* May free @q. */
static void answer(struct question *q)
{
	void (*fn)(void *arg, const struct weir_resolved *answer) = q->fn;
	struct weir_resolved res = { .ttl = UINT32_MAX };

	weir_timer_del(&q->timer);
	if (has_addresses(&q->half[IPV6]) || has_addresses(&q->half[IPV4]))
		put_addresses(q, &res);
	else
		put_failure(q, &res);
	q->resolver->stats.answered[res.code]++;
	q->fn = NULL;
	fn(q->arg, &res);
	if (q->half[IPV6].done && q->half[IPV4].done)
		question_free(q);
}

static void answer_in_time(struct weir_timer *t)
{
	answer((struct question *)((char *)t - offsetof(struct question, timer)));
}

/* What follows from a half that is done. */
static void settle(struct question *q)
{
	const bool all = q->half[IPV6].done && q->half[IPV4].done;
	struct weir_resolver *r = q->resolver;

	if (!q->fn) {
		if (all)
			question_free(q);
	} else if (all && !r->asking) {
		answer(q);
	} else if (all) {
		/* Its asker has not returned from weir_resolver_ask() yet. */
		weir_timer_set(r->loop, &q->timer, weir_clock_mono());
	} else if (has_addresses(&q->half[IPV6]) || has_addresses(&q->half[IPV4])) {
		weir_timer_set(r->loop, &q->timer, weir_clock_mono() + FAMILY_DELAY_NS);
	}
}

static enum weir_resolve_code code_of(enum weir_dns_says says)
{
	static const enum weir_resolve_code codes[] = {
		[WEIR_DNS_ADDRESSES] = WEIR_RESOLVED,
		[WEIR_DNS_NO_NAME] = WEIR_RESOLVE_NXDOMAIN,
		[WEIR_DNS_NO_DATA] = WEIR_RESOLVE_NODATA,
		[WEIR_DNS_FAILURE] = WEIR_RESOLVE_SERVFAIL,
	};

	return codes[says];
}

/* c-ares' ares_callback. It hands over the message whenever one came from a server
 * that was asked, with this id and question. */
static void half_done(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct half *h = arg;
	struct question *q = h->question;

	(void)timeouts;
	if (msg && !weir_dns_read(msg, (size_t)len, q->name, types[h - q->half], &h->answer))
		h->code = code_of(h->answer.says);
	else if (status == ARES_ETIMEOUT || status == ARES_EDESTRUCTION)
		h->code = WEIR_RESOLVE_TIMEOUT;
	else
		h->code = WEIR_RESOLVE_SERVFAIL;
	h->done = true;
	settle(q);
}

/* ---- c-ares on the loop */

/* Time-outs of all questions: c-ares walks over every one of them to tell the next, so
 * it is only asked when the last one told has come. */
static void set_timer(struct weir_resolver *r)
{
	struct timeval tv;

	if (!ares_timeout(r->channel, NULL, &tv))
		weir_timer_del(&r->timer);
	else
		weir_timer_set(r->loop, &r->timer,
			       weir_clock_mono() + (uint64_t)tv.tv_sec * WEIR_NSEC_PER_SEC +
				       (uint64_t)tv.tv_usec * 1000);
}

static void on_timer(struct weir_timer *t)
{
	struct weir_resolver *r =
		(struct weir_resolver *)((char *)t - offsetof(struct weir_resolver, timer));

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	set_timer(r);
}

static void on_socket(struct weir_io *io, uint32_t events)
{
	/* Both go away where c-ares closes the socket. */
	struct weir_resolver *r =
		((struct channel_io *)((char *)io - offsetof(struct channel_io, io)))->resolver;
	const int fd = io->fd;

	ares_process_fd(r->channel, events & ~(uint32_t)EPOLLOUT ? fd : ARES_SOCKET_BAD,
			events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
}

static struct channel_io **find_io(struct weir_resolver *r, int fd)
{
	struct channel_io **p = &r->ios;

	while (*p && (*p)->io.fd != fd)
		p = &(*p)->next;
	return p;
}

/* ARES_OPT_SOCK_STATE_CB. Where a socket cannot be watched, what was asked over it
 * times out. */
static void on_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	const uint32_t events = (readable ? EPOLLIN : 0U) | (writable ? EPOLLOUT : 0U);
	struct weir_resolver *r = arg;
	struct channel_io **p = find_io(r, fd), *c = *p;

	if (c && events) {
		weir_loop_mod(r->loop, &c->io, events);
	} else if (c) {
		weir_loop_del(r->loop, &c->io);
		*p = c->next;
		free(c);
	} else if (events) {
		c = calloc(1, sizeof(*c));
		if (!c)
			return;
		c->resolver = r;
		c->io = (struct weir_io){ .fn = on_socket, .fd = fd };
		if (weir_loop_add(r->loop, &c->io, events)) {
			free(c);
			return;
		}
		c->next = r->ios;
		r->ios = c;
	}
}

/* ---- The resolver */

/* One server: an address, in brackets or not, or an address with a port. */
static int parse_server(const char *s, struct ares_addr_port_node *n)
{
	char bare[WEIR_ENDPOINT_STRLEN];
	struct weir_endpoint e;
	struct weir_addr a;
	size_t len = strlen(s);

	if (!weir_addr_parse(s, &a)) {
		weir_endpoint_set(&e, &a, SERVER_PORT);
	} else if (len > 2 && len < sizeof(bare) && s[0] == '[' && s[len - 1] == ']') {
		memcpy(bare, s + 1, len - 2);
		bare[len - 2] = '\0';
		if (weir_addr_parse(bare, &a))
			return -EINVAL;
		weir_endpoint_set(&e, &a, SERVER_PORT);
	} else if (weir_endpoint_parse(s, &e) || e.sa.sa_family == AF_UNIX ||
		   !weir_endpoint_port(&e)) {
		return -EINVAL;
	}
	n->family = e.sa.sa_family;
	n->udp_port = n->tcp_port = weir_endpoint_port(&e);
	if (n->family == AF_INET)
		n->addr.addr4 = e.in.sin_addr;
	else
		memcpy(&n->addr.addr6, &e.in6.sin6_addr, sizeof(n->addr.addr6));
	return 0;
}

static int set_servers(struct weir_resolver *r, const char *servers, struct weir_error *err)
{
	struct ares_addr_port_node nodes[SERVERS_MAX] = { 0 };
	weir_autofree char *copy = strdup(servers);
	char *save = NULL;
	size_t n = 0;

	if (!copy)
		return weir_fail(err, -ENOMEM, "no memory for the resolver");
	for (char *s = strtok_r(copy, ", ", &save); s; s = strtok_r(NULL, ", ", &save)) {
		if (n == SERVERS_MAX)
			return weir_fail(err, -EINVAL,
					 "more than %d name servers: name the nearest ones",
					 SERVERS_MAX);
		if (parse_server(s, &nodes[n]))
			return weir_fail(
				err, -EINVAL,
				"'%s' is no name server: give an address, with a port as in 127.0.0.1:5353 or [::1]:5353",
				s);
		if (n++)
			nodes[n - 2].next = &nodes[n - 1];
	}
	if (!n)
		return weir_fail(
			err, -EINVAL,
			"no name servers are given: name one, or leave them out for those of /etc/resolv.conf");
	if (ares_set_servers_ports(r->channel, nodes) != ARES_SUCCESS)
		return weir_fail(err, -ENOMEM, "no memory for the resolver");
	return 0;
}

static int channel_new(struct weir_resolver *r, const struct weir_resolver_opts *o,
		       struct weir_error *err)
{
	struct ares_options opts = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.ednspsz = UDP_SIZE,
		.timeout = (int)((r->timeout_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC),
		.tries = o->tries ? (int)o->tries : TRIES,
		.sock_state_cb = on_state,
		.sock_state_cb_data = r,
	};
	const int mask = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
			 ARES_OPT_SOCK_STATE_CB;
	int status = ares_library_init(ARES_LIB_INIT_ALL);

	if (status != ARES_SUCCESS)
		return weir_fail(err, -ENOMEM, "the resolver does not start: %s",
				 ares_strerror(status));
	status = ares_init_options(&r->channel, &opts, mask);
	if (status != ARES_SUCCESS) {
		ares_library_cleanup();
		return weir_fail(err, status == ARES_ENOMEM ? -ENOMEM : -EINVAL,
				 "the resolver does not start: %s: see /etc/resolv.conf",
				 ares_strerror(status));
	}
	return 0;
}

struct weir_resolver *weir_resolver_new(struct weir_loop *l, const struct weir_resolver_opts *o,
					struct weir_error *err)
{
	struct weir_resolver *r = calloc(1, sizeof(*r));

	if (!r) {
		weir_fail(err, -ENOMEM, "no memory for the resolver");
		return NULL;
	}
	r->loop = l;
	r->timer.fn = on_timer;
	r->timeout_ns = o->timeout_ns ? o->timeout_ns : TIMEOUT_NS;
	if (channel_new(r, o, err)) {
		free(r);
		return NULL;
	}
	if (o->servers && set_servers(r, o->servers, err)) {
		weir_resolver_free(r);
		return NULL;
	}
	return r;
}

void weir_resolver_free(struct weir_resolver *r)
{
	if (!r)
		return;
	r->closing = true;
	for (struct question *q = r->questions, *next; q; q = next) {
		next = q->next;
		if (q->fn)
			answer(q);
	}
	/* Ends what is open, and closes the sockets. */
	ares_destroy(r->channel);
	ares_library_cleanup();
	weir_timer_del(&r->timer);
	free(r);
}

int weir_resolver_ask(struct weir_resolver *r, const char *name,
		      void (*fn)(void *arg, const struct weir_resolved *answer), void *arg)
{
	struct question *q;

	if (!weir_dns_name_ok(name))
		return -EINVAL;
	if (r->closing || r->n_questions >= QUESTIONS_MAX)
		return -EBUSY;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	strcpy(q->name, name);
	q->resolver = r;
	q->fn = fn;
	q->arg = arg;
	q->timer.fn = answer_in_time;
	q->prev = &r->questions;
	q->next = r->questions;
	if (q->next)
		q->next->prev = &q->next;
	r->questions = q;
	r->n_questions++;
	r->stats.asked++;
	r->asking = true;
	for (int f = 0; f < FAMILIES; f++) {
		q->half[f].question = q;
		ares_query(r->channel, name, CLASS_IN, (int)types[f], half_done, &q->half[f]);
	}
	r->asking = false;
	/* No question's time is over before a whole time-out from now. */
	if (!r->timer.prev || r->timer.expires > weir_clock_mono() + r->timeout_ns)
		weir_timer_set(r->loop, &r->timer, weir_clock_mono() + r->timeout_ns);
	return 0;
}

void weir_resolver_stats(const struct weir_resolver *r, struct weir_resolver_stats *ret)
{
	*ret = r->stats;
}
