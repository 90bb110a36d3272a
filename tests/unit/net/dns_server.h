/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A name server of the test, in a thread, on 127.0.0.1 by UDP and TCP. What it answers
 * is a table: the name's rows, by type. Everything it knows about the protocol is
 * written here anew, so that it shares no mistake with what is tested.
 */
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_AAAA = 28 };

enum dns_trick {
	DNS_HONEST,
	DNS_SILENT,
	DNS_TRUNCATED,	    /* by UDP: nothing but the bit */
	DNS_WRONG_ID,	    /* a lie first, then the truth */
	DNS_WRONG_QUESTION, /* the same */
	DNS_LABEL_LOOP,	    /* an owner that points at itself */
	DNS_SHORT,	    /* the last byte is missing */
};

/* A row: the answer to (name, type), @records as "OWNER TTL TYPE DATA;...", where a SOA's
 * data is its minimum. Without a row: REFUSED. */
struct dns_row {
	const char *name;
	int type;
	int rcode;
	const char *records, *authority; /* NULL: none */
	unsigned int delay_ms;
	enum dns_trick trick;
};

#define DNS_DELAYED_MAX 64

struct dns_delayed {
	struct sockaddr_in to;
	uint64_t at_ms;
	size_t len;
	uint8_t msg[2048];
};

struct dns_server {
	const struct dns_row *rows; /* ends with a NULL name */
	_Atomic bool mute;	    /* as if it were not there */
	_Atomic unsigned int asked_udp, asked_tcp;
	uint16_t port;
	int udp, tcp, end[2];
	pthread_t thread;
	struct dns_delayed delayed[DNS_DELAYED_MAX];
	unsigned int n_delayed;
};

static inline uint64_t dns_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

struct dns_out {
	uint8_t b[4096];
	size_t n;
};

static inline void dns_u16(struct dns_out *o, unsigned int v)
{
	o->b[o->n++] = (uint8_t)(v >> 8);
	o->b[o->n++] = (uint8_t)v;
}

static inline void dns_name(struct dns_out *o, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		o->b[o->n++] = (uint8_t)n;
		memcpy(o->b + o->n, name, n);
		o->n += n;
		name += n + (name[n] == '.');
	}
	o->b[o->n++] = 0;
}

static inline void dns_data(struct dns_out *o, const char *type, const char *data)
{
	size_t at = o->n;

	dns_u16(o, 0);
	if (!strcmp(type, "A")) {
		inet_pton(AF_INET, data, o->b + o->n);
		o->n += 4;
	} else if (!strcmp(type, "AAAA")) {
		inet_pton(AF_INET6, data, o->b + o->n);
		o->n += 16;
	} else if (!strcmp(type, "CNAME")) {
		dns_name(o, data);
	} else {
		dns_name(o, "ns.test");
		dns_name(o, "root.test");
		for (int i = 0; i < 8; i++)
			dns_u16(o, 7);
		dns_u16(o, (unsigned int)atol(data) >> 16);
		dns_u16(o, (unsigned int)atol(data) & 0xffff);
	}
	o->b[at] = (uint8_t)((o->n - at - 2) >> 8);
	o->b[at + 1] = (uint8_t)(o->n - at - 2);
}

/* "@" as the owner is a pointer to the question's name. Returns how many there are. */
static inline unsigned int dns_records(struct dns_out *o, const char *records)
{
	char owner[300], type[8], data[300];
	unsigned int n = 0;
	long ttl;
	int used;

	while (records &&
	       sscanf(records, " %299s %ld %7s %299[^; ]%n", owner, &ttl, type, data, &used) == 4) {
		if (!strcmp(owner, "@"))
			dns_u16(o, 0xc00c);
		else
			dns_name(o, owner);
		dns_u16(o, !strcmp(type, "A")	  ? DNS_A :
			   !strcmp(type, "AAAA")  ? DNS_AAAA :
			   !strcmp(type, "CNAME") ? DNS_CNAME :
						    DNS_SOA);
		dns_u16(o, 1);
		dns_u16(o, (unsigned int)(ttl >> 16) & 0xffff);
		dns_u16(o, (unsigned int)ttl & 0xffff);
		dns_data(o, type, data);
		records += used + strspn(records + used, "; ");
		n++;
	}
	return n;
}

/* The question's name as text, and its type. Returns where it ends; 0: it is bad. */
static inline size_t dns_question(const uint8_t *q, size_t len, char name[256], int *type)
{
	size_t at = 12, out = 0;

	while (at < len && q[at]) {
		if (q[at] > 63 || at + 1U + q[at] >= len || out + q[at] + 1U >= 255)
			return 0;
		memcpy(name + out, q + at + 1, q[at]);
		out += q[at];
		name[out++] = '.';
		at += q[at] + 1U;
	}
	if (!out || at + 5 > len)
		return 0;
	name[out - 1] = '\0';
	*type = q[at + 1] << 8 | q[at + 2];
	return at + 5;
}

static inline void dns_make(struct dns_out *o, const struct dns_row *row, const uint8_t *q,
			    size_t question_end, bool tcp)
{
	static const struct dns_row refused = { .rcode = 5 };
	const bool cut = row && row->trick == DNS_TRUNCATED && !tcp;
	unsigned int n;

	row = row ? row : &refused;
	o->n = 12;
	memset(o->b, 0, 12);
	memcpy(o->b, q, 2);
	o->b[2] = (uint8_t)(0x80 | (q[2] & 1) | (cut ? 2 : 0));
	o->b[3] = (uint8_t)(0x80 | row->rcode);
	o->b[5] = 1;
	memcpy(o->b + 12, q + 12, question_end - 12);
	o->n = question_end;
	if (cut)
		return;
	if (row->trick == DNS_LABEL_LOOP) {
		dns_u16(o, 0xc000 | (unsigned int)o->n);
		memcpy(o->b + o->n, "\0\1\0\1\0\0\0\1\0\4\1\2\3\4", 14);
		o->n += 14;
		o->b[7] = 1;
		return;
	}
	n = dns_records(o, row->records);
	o->b[6] = (uint8_t)(n >> 8);
	o->b[7] = (uint8_t)n;
	o->b[9] = (uint8_t)dns_records(o, row->authority);
	if (row->trick == DNS_SHORT)
		o->n--;
}

static inline const struct dns_row *dns_find(const struct dns_server *s, const char *name, int type)
{
	for (const struct dns_row *row = s->rows; row->name; row++) {
		const size_t n = strlen(name), m = strlen(row->name);

		if (row->type && row->type != type)
			continue;
		/* "*.x" is everything below x. */
		if (row->name[0] == '*' && n >= m && !strcasecmp(name + n - (m - 1), row->name + 1))
			return row;
		if (!strcasecmp(name, row->name))
			return row;
	}
	return NULL;
}

static inline void dns_lie(struct dns_server *s, const struct dns_out *truth,
			   const struct sockaddr_in *to, enum dns_trick trick)
{
	struct dns_out lie = *truth;

	/* The last four bytes are the address. */
	memcpy(lie.b + lie.n - 4, "\306\063\144\146", 4);
	if (trick == DNS_WRONG_ID)
		lie.b[0] ^= 1;
	else
		lie.b[13] ^= 1;
	sendto(s->udp, lie.b, lie.n, 0, (const struct sockaddr *)to, sizeof(*to));
}

static inline void dns_on_udp(struct dns_server *s)
{
	socklen_t to_len = sizeof(struct sockaddr_in);
	const struct dns_row *row;
	struct sockaddr_in to;
	char name[256];
	uint8_t q[1500];
	size_t end;
	ssize_t n;
	int type;
	struct dns_out o;

	n = recvfrom(s->udp, q, sizeof(q), 0, (struct sockaddr *)&to, &to_len);
	if (n < 12 || !(end = dns_question(q, (size_t)n, name, &type)))
		return;
	s->asked_udp++;
	row = dns_find(s, name, type);
	if (s->mute || (row && row->trick == DNS_SILENT))
		return;
	dns_make(&o, row, q, end, false);
	if (row && (row->trick == DNS_WRONG_ID || row->trick == DNS_WRONG_QUESTION))
		dns_lie(s, &o, &to, row->trick);
	if (row && row->delay_ms && s->n_delayed < DNS_DELAYED_MAX) {
		struct dns_delayed *d = &s->delayed[s->n_delayed++];

		d->to = to;
		d->at_ms = dns_now_ms() + row->delay_ms;
		d->len = o.n;
		memcpy(d->msg, o.b, o.n);
		return;
	}
	sendto(s->udp, o.b, o.n, 0, (const struct sockaddr *)&to, sizeof(to));
}

static inline bool dns_recv_all(int fd, void *data, size_t n)
{
	return recv(fd, data, n, MSG_WAITALL) == (ssize_t)n;
}

/* Several questions may come over one connection, until it is closed. */
static inline void dns_on_tcp(struct dns_server *s)
{
	struct timeval patience = { .tv_usec = 300000 };
	int fd = accept(s->tcp, NULL, NULL), type;
	uint8_t q[1500], head[2];
	struct dns_out o;
	char name[256];
	size_t end, n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (fd >= 0 && dns_recv_all(fd, head, 2)) {
		n = (size_t)(head[0] << 8 | head[1]);
		if (n > sizeof(q) || !dns_recv_all(fd, q, n) ||
		    !(end = dns_question(q, n, name, &type)))
			break;
		s->asked_tcp++;
		dns_make(&o, dns_find(s, name, type), q, end, true);
		head[0] = (uint8_t)(o.n >> 8);
		head[1] = (uint8_t)o.n;
		if (send(fd, head, 2, MSG_NOSIGNAL | MSG_MORE) != 2 ||
		    send(fd, o.b, o.n, MSG_NOSIGNAL) != (ssize_t)o.n)
			break;
	}
	close(fd);
}

static inline void dns_send_delayed(struct dns_server *s)
{
	uint64_t now = dns_now_ms();

	for (unsigned int i = 0; i < s->n_delayed;) {
		struct dns_delayed *d = &s->delayed[i];

		if (d->at_ms > now) {
			i++;
			continue;
		}
		sendto(s->udp, d->msg, d->len, 0, (struct sockaddr *)&d->to, sizeof(d->to));
		*d = s->delayed[--s->n_delayed];
	}
}

static inline void *dns_serve(void *arg)
{
	struct dns_server *s = arg;
	struct pollfd p[] = { { s->end[0], POLLIN, 0 },
			      { s->udp, POLLIN, 0 },
			      { s->tcp, POLLIN, 0 } };

	for (;;) {
		if (poll(p, 3, s->n_delayed ? 1 : 1000) < 0 || p[0].revents)
			return NULL;
		if (p[1].revents)
			dns_on_udp(s);
		if (p[2].revents)
			dns_on_tcp(s);
		dns_send_delayed(s);
	}
}

/* NULL: it could not be had. */
static inline struct dns_server *dns_server_start(const struct dns_row *rows)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001) };
	struct dns_server *s = calloc(1, sizeof(*s));
	socklen_t len = sizeof(at);
	int one = 1, big = 4 << 20;

	if (!s)
		return NULL;
	s->rows = rows;
	s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	setsockopt(s->tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &big, sizeof(big));
	if (bind(s->tcp, (struct sockaddr *)&at, sizeof(at)) || listen(s->tcp, 16) ||
	    getsockname(s->tcp, (struct sockaddr *)&at, &len) ||
	    bind(s->udp, (struct sockaddr *)&at, sizeof(at)) || pipe(s->end) ||
	    pthread_create(&s->thread, NULL, dns_serve, s)) {
		free(s);
		return NULL;
	}
	s->port = ntohs(at.sin_port);
	return s;
}

static inline void dns_server_stop(struct dns_server *s)
{
	close(s->end[1]);
	pthread_join(s->thread, NULL);
	close(s->end[0]);
	close(s->udp);
	close(s->tcp);
	free(s);
}
