/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/l7.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "bpf/parse.bpf.h"
#include "cap/watch/bytes.h"

#define STREAMS_MAX 16384
#define STREAMS_BYTES (16U << 20)
#define HOSTS_MAX 65536
#define RECORD_HANDSHAKE 22 /* first byte of a TLS record */
#define RECORD_HEAD 5
#define CLIENT_HELLO 1

enum what { /* struct weir_stream.what */
	    WHAT_FRESH,
	    WHAT_TLS,
	    WHAT_HTTP,
	    WHAT_DNS,
	    WHAT_REST, /* told, or nothing to tell: a new beginning is looked for */
};

struct weir_l7 {
	pthread_mutex_t lock;
	struct weir_streams streams;
	struct weir_hosts hosts;
	struct weir_flow_waiting waiting;
	bool show_hosts;
	uint64_t told[WEIR_L7_KINDS];
};

/* What lies behind the layer-4 header. */
struct payload {
	const uint8_t *data;
	uint32_t have, len; /* captured; on the wire */
	uint64_t now;
};

static void free_hello(struct weir_stream *s)
{
	if (s->reader)
		weir_hello_free(s->reader);
	free(WEIR_TAKE_PTR(s->reader));
}

int weir_l7_new(struct weir_l7 **ret, bool show_hosts, uint64_t seed)
{
	struct weir_l7 *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	l->show_hosts = show_hosts;
	*ret = l;
	if (weir_streams_init(&l->streams, STREAMS_MAX, STREAMS_BYTES, seed) ||
	    weir_hosts_init(&l->hosts, HOSTS_MAX, seed) ||
	    weir_flow_waiting_init(&l->waiting, seed)) {
		weir_l7_free(l);
		*ret = NULL;
		return -ENOMEM;
	}
	l->streams.free_reader = free_hello;
	return 0;
}

void weir_l7_free(struct weir_l7 *l)
{
	if (!l)
		return;
	weir_streams_free(&l->streams);
	weir_hosts_free(&l->hosts);
	weir_flow_waiting_free(&l->waiting);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

void weir_l7_seen_free(struct weir_l7_seen *s)
{
	weir_buf_free(&s->bytes);
}

static bool payload_of(const struct weir_packet *p, struct payload *ret)
{
	const uint32_t off = p->hdr.payload_off, left = weir_packet_left(p, off);
	const uint32_t end = weir_packet_l3_end(p);

	if (!off || end <= off || p->hdr.flags & WEIR_PKT_FRAGMENT)
		return false;
	*ret = (struct payload){ .data = p->data + off, .len = end - off, .now = p->ev.ts };
	ret->have = left < ret->len ? left : ret->len;
	return true;
}

/* ---- DNS */

static bool is_dns_port(uint16_t port)
{
	return port == 53 || port == 5353 || port == 5355; /* DNS, mDNS, LLMNR */
}

/* It is one if its first question or record can be read. */
static void take_message(struct weir_l7 *l, const uint8_t *data, size_t have, bool cut,
			 uint64_t now, struct weir_l7_seen *ret)
{
	struct weir_dnsmsg_record r;
	struct weir_dnsmsg m, walk;

	if (cut)
		l->streams.lost[WEIR_STREAM_LOST_CUT]++;
	if (!weir_dnsmsg_begin(&m, data, have)) {
		walk = m;
		if (weir_dnsmsg_next(&walk, &r) >= 0) {
			weir_hosts_learn(&l->hosts, &m, now);
			ret->kind = WEIR_L7_DNS;
			ret->dns[ret->n_dns].data = data;
			ret->dns[ret->n_dns].len = have;
			ret->dns[ret->n_dns++].cut = cut;
			l->told[WEIR_L7_DNS]++;
			return;
		}
	}
	if (!cut)
		l->streams.lost[WEIR_STREAM_LOST_MALFORMED]++;
}

static void read_udp(struct weir_l7 *l, const struct weir_packet *p, struct weir_l7_seen *ret)
{
	const uint8_t *b = weir_packet_at(p, p->hdr.l4_off, WEIR_UDP_HLEN);
	struct payload x;
	uint32_t len;

	if ((!is_dns_port(p->hdr.sport) && !is_dns_port(p->hdr.dport)) || !b || !payload_of(p, &x))
		return;
	len = weir_be16(b + 4); /* the datagram may end before the packet does */
	if (len < WEIR_UDP_HLEN)
		return;
	len -= WEIR_UDP_HLEN;
	if (len < x.len)
		x.len = len;
	if (x.len < x.have)
		x.have = x.len;
	take_message(l, x.data, x.have, x.have < x.len, x.now, ret);
}

/* ---- TCP */

static void give_up(struct weir_l7 *l, struct weir_stream *s, enum weir_stream_lost why)
{
	free_hello(s);
	if (why < WEIR_STREAM_LOST_MAX)
		l->streams.lost[why]++;
	weir_stream_rest(&l->streams, s, s->base + s->have);
	s->what = WHAT_REST;
}

static void done(struct weir_l7 *l, struct weir_stream *s)
{
	give_up(l, s, WEIR_STREAM_LOST_MAX);
}

/* DNS's is one or more messages; all that are whole are told of. */
static void read_dns(struct weir_l7 *l, struct weir_stream *s, uint64_t now,
		     struct weir_l7_seen *ret)
{
	uint32_t whole = 0, n = 0, len;
	const uint8_t *b;

	for (; n < WEIR_L7_MESSAGES && s->have - whole >= 2; n++) {
		len = (uint32_t)weir_dnsmsg_tcp_len(s->buf + whole);
		if (len < WEIR_DNSMSG_HEADER) {
			give_up(l, s, WEIR_STREAM_LOST_MALFORMED);
			return;
		}
		if (s->have - whole - 2 < len)
			break;
		whole += len + 2;
	}
	if (!whole)
		return;
	weir_buf_add(&ret->bytes, s->buf, whole);
	weir_stream_consume(s, whole);
	if (!s->have && !s->n_early)
		weir_stream_rest(&l->streams, s, s->base);
	if (ret->bytes.failed) {
		l->streams.lost[WEIR_STREAM_LOST_MEMORY] += n;
		return;
	}
	b = (const uint8_t *)ret->bytes.data;
	for (uint32_t at = 0; at < whole; at += len + 2) {
		len = (uint32_t)weir_dnsmsg_tcp_len(b + at);
		take_message(l, b + at + 2, len, false, now, ret);
	}
}

static void read_tls(struct weir_l7 *l, struct weir_stream *s, struct weir_l7_seen *ret)
{
	struct weir_hello *h = s->reader;

	if (!h) {
		h = s->reader = malloc(sizeof(*h));
		if (h)
			weir_hello_init(h);
	}
	if (!h || weir_hello_feed(h, s->buf + s->fed, s->have - s->fed)) {
		give_up(l, s, WEIR_STREAM_LOST_MEMORY);
		return;
	}
	s->fed = s->have;
	switch (h->state) {
	case WEIR_HELLO_MORE:
		if (s->have == WEIR_STREAM_MAX)
			give_up(l, s, WEIR_STREAM_LOST_TOO_LONG);
		break;
	case WEIR_HELLO_DONE:
		ret->kind = WEIR_L7_TLS;
		ret->hello = *h;
		l->told[WEIR_L7_TLS]++;
		done(l, s);
		break;
	case WEIR_HELLO_NOT_TLS:
		done(l, s);
		break;
	case WEIR_HELLO_MALFORMED:
		give_up(l, s, WEIR_STREAM_LOST_MALFORMED);
		break;
	case WEIR_HELLO_TOO_LONG:
		give_up(l, s, WEIR_STREAM_LOST_TOO_LONG);
		break;
	}
}

/* The request line is told of even if what follows it cannot be read. */
static void read_http(struct weir_l7 *l, struct weir_stream *s, struct weir_l7_seen *ret)
{
	const char *text = (const char *)s->buf;
	enum weir_hello_state state;
	enum weir_stream_lost why;
	size_t line;

	ret->host[0] = '\0';
	state = weir_host_find(text, s->have, s->fed, ret->host);
	if (state == WEIR_HELLO_MORE) {
		s->fed = s->have;
		return;
	}
	why = state == WEIR_HELLO_MALFORMED ? WEIR_STREAM_LOST_MALFORMED :
	      state == WEIR_HELLO_TOO_LONG  ? WEIR_STREAM_LOST_TOO_LONG :
					      WEIR_STREAM_LOST_MAX;
	if (state != WEIR_HELLO_DONE)
		ret->host[0] = '\0';
	if (weir_host_request(text, s->have, &ret->request)) {
		line = (size_t)(ret->request.target - text) + ret->request.target_len;
		weir_buf_add(&ret->bytes, text, line);
		if (ret->bytes.failed) {
			give_up(l, s, WEIR_STREAM_LOST_MEMORY);
			return;
		}
		ret->request.method = ret->bytes.data + (ret->request.method - text);
		ret->request.target = ret->bytes.data + (ret->request.target - text);
		ret->kind = WEIR_L7_HTTP;
		l->told[WEIR_L7_HTTP]++;
	}
	give_up(l, s, why);
}

static void classify(struct weir_l7 *l, struct weir_stream *s)
{
	const uint8_t first = s->buf[0];

	if (s->key.dport == 53 || s->key.sport == 53)
		s->what = WHAT_DNS;
	else if (first == RECORD_HANDSHAKE)
		s->what = WHAT_TLS;
	else if ((first >= 'A' && first <= 'Z') || first == '\r' || first == '\n')
		s->what = WHAT_HTTP;
	else
		done(l, s);
}

static void read_stream(struct weir_l7 *l, struct weir_stream *s, uint64_t now,
			struct weir_l7_seen *ret)
{
	if (s->have && s->what == WHAT_FRESH)
		classify(l, s);
	if (s->what == WHAT_DNS)
		read_dns(l, s, now, ret);
	else if (s->what == WHAT_TLS && s->have > s->fed)
		read_tls(l, s, ret);
	else if (s->what == WHAT_HTTP && s->have > s->fed)
		read_http(l, s, ret);
}

/* Where the connection's own beginning was not seen: could this be what is looked for? */
static bool looks_like_beginning(const struct weir_packet *p, const struct payload *x)
{
	static const char *const methods[] = {
		"GET ",	  "POST ",    "HEAD ",	"PUT ",	     "DELETE ",	  "OPTIONS ",
		"PATCH ", "CONNECT ", "TRACE ", "PROPFIND ", "M-SEARCH ",
	};
	const uint8_t *b = x->data;

	if (p->hdr.sport == 53 || p->hdr.dport == 53)
		return x->have >= 2 + WEIR_DNSMSG_HEADER && weir_dnsmsg_tcp_len(b) + 2 == x->len;
	if (x->have > RECORD_HEAD && b[0] == RECORD_HANDSHAKE)
		return b[1] == 3 && b[RECORD_HEAD] == CLIENT_HELLO;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(methods); i++)
		if (x->have >= strlen(methods[i]) && !memcmp(b, methods[i], strlen(methods[i])))
			return true;
	return false;
}

/* The stream that the segment belongs to; NULL: nothing is to be told by it. */
static struct weir_stream *stream_for(struct weir_l7 *l, const struct weir_packet *p,
				      const struct weir_stream_key *k, const uint32_t *isn,
				      uint32_t seq, const struct payload *x)
{
	struct weir_stream *s = weir_streams_find(&l->streams, k, x->now);

	if (!s && isn)
		return weir_streams_add(&l->streams, k, *isn + 1, x->now);
	if (!s)
		return looks_like_beginning(p, x) ? weir_streams_add(&l->streams, k, seq, x->now) :
						    NULL;
	if (s->what != WHAT_REST)
		return s;
	if ((int32_t)(seq - s->base) < 0)
		return NULL; /* it came again */
	s->base = seq + x->len;
	if (!looks_like_beginning(p, x))
		return NULL;
	s->base = seq;
	s->what = WHAT_FRESH;
	return s;
}

/* A connection begins: of the answering side only DNS is read. */
static void begin(struct weir_l7 *l, const struct weir_packet *p, const struct weir_stream_key *k,
		  uint32_t isn)
{
	struct weir_stream *s = weir_streams_find(&l->streams, k, p->ev.ts);

	if (s && s->base == isn + 1)
		return;
	if (s)
		weir_streams_drop(&l->streams, s, WEIR_STREAM_LOST_CLOSED);
	if (!(p->hdr.tcp_flags & WEIR_TCP_ACK) || p->hdr.sport == 53)
		weir_streams_add(&l->streams, k, isn + 1, p->ev.ts);
}

static void read_tcp(struct weir_l7 *l, const struct weir_packet *p, const uint32_t *isn,
		     struct weir_l7_seen *ret)
{
	const uint8_t *b = weir_packet_at(p, p->hdr.l4_off, WEIR_TCP_HLEN);
	struct weir_stream_key k = { .sport = p->hdr.sport,
				     .dport = p->hdr.dport,
				     .slot = p->ev.slot };
	const bool syn = p->hdr.tcp_flags & WEIR_TCP_SYN;
	struct weir_stream *s;
	struct payload x;
	uint32_t seq;

	if (!b || p->hdr.flags & WEIR_PKT_FRAGMENT)
		return;
	memcpy(k.src, p->hdr.src, sizeof(k.src));
	memcpy(k.dst, p->hdr.dst, sizeof(k.dst));
	seq = weir_be32(b + 4);
	if (syn)
		begin(l, p, &k, seq);
	if (p->hdr.tcp_flags & WEIR_TCP_RST) {
		s = weir_streams_find(&l->streams, &k, p->ev.ts);
		if (s)
			weir_streams_drop(&l->streams, s, WEIR_STREAM_LOST_CLOSED);
		return;
	}
	if (!payload_of(p, &x))
		return;
	seq += syn; /* the SYN has a number of its own */
	s = stream_for(l, p, &k, isn, seq, &x);
	if (!s || !weir_stream_put(&l->streams, s, seq, x.data, x.have))
		return;
	read_stream(l, s, x.now, ret);
	if (x.have < x.len && s->what != WHAT_REST)
		weir_streams_drop(&l->streams, s, WEIR_STREAM_LOST_CUT);
}

/* ---- Both */

static void name_ends(struct weir_l7 *l, const struct weir_packet *p, struct weir_l7_seen *ret)
{
	const char *name;

	name = weir_hosts_find(&l->hosts, p->hdr.src, p->ev.ts);
	if (name)
		memcpy(ret->src_name, name, strlen(name) + 1);
	name = weir_hosts_find(&l->hosts, p->hdr.dst, p->ev.ts);
	if (name)
		memcpy(ret->dst_name, name, strlen(name) + 1);
}

void weir_l7_packet(struct weir_l7 *l, const struct weir_packet *p, const uint32_t *isn,
		    struct weir_l7_seen *ret)
{
	ret->kind = WEIR_L7_NONE;
	ret->n_dns = 0;
	ret->src_name[0] = ret->dst_name[0] = '\0';
	weir_buf_reset(&ret->bytes);
	ret->bytes.failed = false;
	if (!(p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return;
	pthread_mutex_lock(&l->lock);
	if (p->hdr.proto == IPPROTO_UDP)
		read_udp(l, p, ret);
	else if (p->hdr.flags & WEIR_PKT_TCP)
		read_tcp(l, p, isn, ret);
	if (l->show_hosts)
		name_ends(l, p, ret);
	pthread_mutex_unlock(&l->lock);
}

struct weir_flow_waiting *weir_l7_waiting(struct weir_l7 *l)
{
	return &l->waiting;
}

const char *weir_l7_host(struct weir_l7 *l, const uint8_t addr[16], uint64_t now)
{
	return l->show_hosts ? weir_hosts_find(&l->hosts, addr, now) : NULL;
}

void weir_l7_account(struct weir_l7 *l, bool ended, struct weir_l7_account *ret)
{
	pthread_mutex_lock(&l->lock);
	memcpy(ret->told, l->told, sizeof(ret->told));
	memcpy(ret->lost, l->streams.lost, sizeof(ret->lost));
	ret->lost[WEIR_STREAM_LOST_NO_FLOW] += l->waiting.lost;
	if (ended) {
		ret->lost[WEIR_STREAM_LOST_IDLE] += weir_streams_begun(&l->streams);
		ret->lost[WEIR_STREAM_LOST_NO_FLOW] += l->waiting.table.n;
	}
	pthread_mutex_unlock(&l->lock);
}
