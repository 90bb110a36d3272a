/* SPDX-License-Identifier: GPL-2.0-only */
/* What a connection of bytes.c does: it follows from the seed and its number. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_MAX_SENT (3u << 20)
#define BUFFER 65536
#define HELLO_FIXED 200
#define HELLO_PAD 3000
#define ID_AT 11    /* in the ClientHello's random */
#define ID_KNOWN 19 /* so many bytes tell the id */
#define NEVER UINT64_MAX

enum kind { FAR, NEAR, UNIX, KINDS };
static const char *const kinds[KINDS] = { "far", "near", "unix" };

enum mode {
	BOTH,	       /* both send at once, each closes its direction when it has done */
	CLIENT_FIRST,  /* the backend waits for the client's FIN */
	BACKEND_FIRST, /* the client waits for the backend's FIN */
	QUEUED_FIN,    /* nobody reads before the other one's FIN is in the queue */
	RESET_CLIENT,  /* in the middle of what it sends */
	RESET_BACKEND,
	ABANDON_CLIENT, /* it closes when it has sent all, whatever comes */
	ABANDON_BACKEND,
	MODES,
};
static const char *const modes[MODES] = {
	"both",		"client_first",	 "backend_first",  "queued_fin",
	"reset_client", "reset_backend", "abandon_client", "abandon_backend",
};

enum saw { OPEN, FIN, RESET };
static const char *const saws[] = { "open", "fin", "reset" };

struct conn;

struct end {
	struct conn *conn; /* of a backend: NULL until its id is known */
	int fd;
	bool listens, backend, readable, writable, shut, done, tcp;
	uint64_t total, sent, got;
	uint64_t hold_at;   /* what is behind it waits for the other one's FIN */
	uint64_t urgent_at; /* this byte is sent as urgent */
	uint64_t reset_at;
	bool reset_after_got, abandons;
	uint64_t stall_at; /* bytes got: then it does not read for a while */
	int64_t stall_ms, resume_at;
	uint32_t first, write_most, read_most;
	enum saw saw;
	uint8_t head[ID_KNOWN]; /* of a backend that does not know its id */
	struct end *next, **prev;
};

struct conn {
	uint32_t id;
	enum kind kind;
	enum mode mode;
	bool v6, nodelay, small_buffers;
	uint32_t hello_len;
	uint64_t up_key, down_key;
	uint8_t *hello;
	struct end client, backend;
	uint64_t client_size, backend_size;
	unsigned int open; /* ends that are */
	uint16_t port;
};

static void die(const char *what)
{
	fprintf(stderr, "bytes: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* ---- Chance, and streams of bytes that are known at every place */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t chance;

static uint64_t below(uint64_t n)
{
	return mix(chance++) % n;
}

static bool one_in(uint64_t n)
{
	return below(n) == 0;
}

/* As many of each order of magnitude. */
static uint64_t any_size(uint64_t most)
{
	uint64_t size;

	if (!most || one_in(16))
		return 0;
	size = 1ULL << below(64 - (unsigned int)__builtin_clzll(most));
	size += below(size);
	return size < most ? size : most;
}

static void stream(uint64_t key, uint64_t at, uint8_t *to, size_t n)
{
	while (n) {
		size_t skip = at % 8, take = 8 - skip < n ? 8 - skip : n;
		uint64_t word = mix(key + at / 8) >> 8 * skip;

		memcpy(to, &word, take);
		to += take;
		at += take;
		n -= take;
	}
}

/* What the client (@up) or the backend sends at @at. */
static void expected(const struct conn *c, bool up, uint64_t at, uint8_t *to, size_t n)
{
	if (up && at < c->hello_len) {
		size_t take = c->hello_len - at < n ? c->hello_len - at : n;

		memcpy(to, c->hello + at, take);
		to += take;
		at += take;
		n -= take;
	}
	stream(up ? c->up_key : c->down_key, up ? at - c->hello_len : at, to, n);
}

/* ---- A connection's plan */

static uint8_t *put(uint8_t *at, uint64_t value, int bytes)
{
	while (bytes--)
		*at++ = (uint8_t)(value >> 8 * bytes);
	return at;
}

static void make_hello(struct conn *c)
{
	char name[64];
	size_t n = (size_t)snprintf(name, sizeof(name), "c%u.%s.test", c->id, kinds[c->kind]);
	size_t pad = one_in(4) ? below(HELLO_PAD) : below(100);
	size_t extensions = 9 + n + 4 + pad, body = 2 + 32 + 1 + 4 + 2 + 2 + extensions;
	uint8_t *p = malloc(HELLO_FIXED + HELLO_PAD);

	if (!p)
		die("memory");
	c->hello = p;
	p = put(put(put(p, 22, 1), 0x301, 2), body + 4, 2);
	p = put(put(put(p, 1, 1), body, 3), 0x303, 2);
	p = put(p, c->id, 8);
	stream(c->up_key ^ 1, 0, p, 24);
	p = put(put(put(put(p + 24, 0, 1), 2, 2), 0x1301, 2), 0x100, 2);
	p = put(put(put(p, extensions, 2), 0, 2), n + 5, 2);
	p = put(put(put(p, n + 3, 2), 0, 1), n, 2);
	memcpy(p, name, n);
	p = put(put(p + n, 21, 2), pad, 2);
	memset(p, 0, pad);
	c->hello_len = (uint32_t)(p + pad - c->hello);
}

static void plan_end(struct conn *c, struct end *e, uint64_t size)
{
	e->conn = c;
	e->fd = -1;
	e->total = size + (e->backend ? 0 : c->hello_len);
	e->hold_at = e->reset_at = e->urgent_at = e->stall_at = NEVER;
	e->write_most = one_in(3) ? 1 + (uint32_t)below(BUFFER) : BUFFER;
	e->read_most = one_in(3) ? 1 + (uint32_t)below(BUFFER) : BUFFER;
	if (size < 20000 && one_in(3))
		e->write_most = 1 + (uint32_t)below(64);
	if (e->read_most < 512 && c->small_buffers)
		e->read_most = 512;
	if (one_in(4)) {
		e->stall_at = any_size(size + 1);
		e->stall_ms = 10 + (int64_t)below(150);
	}
	if (size && one_in(8) && (e->backend ? c->kind != UNIX : true))
		e->urgent_at = e->total - size + below(size);
}

static uint64_t reset_place(const struct end *e, uint64_t size)
{
	return e->total - size + below(size + 1);
}

static void plan_mode(struct conn *c, uint64_t up, uint64_t down)
{
	struct end *a = &c->client, *b = &c->backend;

	switch (c->mode) {
	case CLIENT_FIRST:
		b->hold_at = 0;
		break;
	case BACKEND_FIRST:
		a->hold_at = c->hello_len + below(up + 1);
		break;
	case QUEUED_FIN:
		a->stall_at = b->stall_at = 0;
		a->stall_ms = b->stall_ms = 30 + (int64_t)below(100);
		break;
	case RESET_CLIENT:
		a->reset_at = reset_place(a, up);
		a->reset_after_got = down && one_in(2);
		break;
	case RESET_BACKEND:
		b->reset_at = reset_place(b, down);
		break;
	case ABANDON_CLIENT:
		a->abandons = true;
		break;
	case ABANDON_BACKEND:
		b->abandons = true;
		break;
	default:
		break;
	}
}

static void plan(struct conn *c, uint64_t seed, uint32_t id)
{
	static const uint8_t weight[] = { BOTH,		  BOTH,		 BOTH,
					  BOTH,		  CLIENT_FIRST,	 CLIENT_FIRST,
					  BACKEND_FIRST,  BACKEND_FIRST, QUEUED_FIN,
					  QUEUED_FIN,	  RESET_CLIENT,	 RESET_CLIENT,
					  RESET_BACKEND,  RESET_BACKEND, ABANDON_CLIENT,
					  ABANDON_BACKEND };
	uint64_t most = SIZE_MAX_SENT, up, down;

	chance = mix(mix(seed) + id);
	c->id = id;
	c->kind = (enum kind)below(KINDS);
	c->mode = (enum mode)weight[below(sizeof(weight))];
	/* A Unix socket knows no reset. */
	if (c->kind == UNIX && c->mode == RESET_BACKEND)
		c->mode = RESET_CLIENT;
	c->v6 = one_in(2);
	c->nodelay = one_in(2);
	c->small_buffers = one_in(5);
	c->up_key = mix(chance++);
	c->down_key = mix(chance++);
	if (c->mode == QUEUED_FIN || c->small_buffers)
		most = 200000;
	up = any_size(most);
	down = any_size(most);
	make_hello(c);
	c->backend.backend = true;
	plan_end(c, &c->client, up);
	plan_end(c, &c->backend, down);
	plan_mode(c, up, down);
	c->client.tcp = true;
	c->backend.tcp = c->kind != UNIX;
	/* Early data lies in the segment of the hello's end; or the hello in two. */
	c->client.first = c->hello_len + (uint32_t)below(up < 60000 ? up + 1 : 60000);
	if (one_in(8))
		c->client.first = 1 + (uint32_t)below(c->hello_len);
}
