/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/dns.h"

#include <errno.h>
#include <string.h>

#define HEADER_SIZE 12
#define WIRE_NAME_MAX 255 /* of a name with its lengths (RFC 1035, 2.3.4) */
#define LINKS_MAX 16	  /* CNAMEs in a row */
/* Records that are looked at: each may have to be looked at once per link. */
#define RECORDS_MAX 256
#define POINTER 0xc0
#define CLASS_IN 1
#define TYPE_CNAME 5
#define TYPE_SOA 6
#define RCODE_NXDOMAIN 3
#define FLAG_RESPONSE 0x8000
#define TTL_MAX 0x7fffffffU /* RFC 2181, 8: one beyond is read as 0 */

/* In wire form, in lower case, without pointers: equal names are equal bytes. */
struct name {
	uint8_t b[WIRE_NAME_MAX];
	size_t len;
};

struct cursor {
	const uint8_t *msg;
	size_t len, at;
};

struct record {
	struct name owner;
	uint16_t type, class;
	uint32_t ttl;
	size_t data, data_len; /* its place in the message */
};

/* The records of one section. */
struct section {
	struct cursor begin;
	unsigned int n;
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool weir_dns_name_ok(const char *name)
{
	size_t label = 0, len = 0;
	bool number = true;

	for (; name[len]; len++) {
		const char c = (char)lower((uint8_t)name[len]);

		if (c == '.') {
			if (!label)
				return false;
			label = 0;
			number = true;
			continue;
		}
		/* Hyphens at the edges and underscores are no host names by the letter
		 * of RFC 1123, and are in use. */
		if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_')
			return false;
		number &= is_digit(c);
		if (++label > WEIR_DNS_LABEL_MAX || len >= WEIR_DNS_NAME_MAX)
			return false;
	}
	return label && !number;
}

/* Of a name that is ok. */
static void name_from_text(const char *text, struct name *n)
{
	size_t label = 0;

	n->len = 1;
	for (; *text; text++) {
		if (*text == '.') {
			n->b[label] = (uint8_t)(n->len - label - 1);
			label = n->len++;
		} else {
			n->b[n->len++] = lower((uint8_t)*text);
		}
	}
	n->b[label] = (uint8_t)(n->len - label - 1);
	n->b[n->len++] = 0;
}

static bool names_equal(const struct name *a, const struct name *b)
{
	return a->len == b->len && !memcmp(a->b, b->b, a->len);
}

/* Is @n @zone, or below it? */
static bool name_is_in(const struct name *n, const struct name *zone)
{
	size_t at = 0;

	while (n->len - at > zone->len)
		at += n->b[at] + 1U;
	return n->len - at == zone->len && !memcmp(n->b + at, zone->b, zone->len);
}

static int take_u16(struct cursor *c, uint16_t *ret)
{
	if (c->len - c->at < 2)
		return -EBADMSG;
	*ret = (uint16_t)(c->msg[c->at] << 8 | c->msg[c->at + 1]);
	c->at += 2;
	return 0;
}

static int take_u32(struct cursor *c, uint32_t *ret)
{
	uint16_t high, low;

	if (take_u16(c, &high) || take_u16(c, &low))
		return -EBADMSG;
	*ret = (uint32_t)high << 16 | low;
	return 0;
}

static int take_ttl(struct cursor *c, uint32_t *ret)
{
	int err = take_u32(c, ret);

	if (!err && *ret > TTL_MAX)
		*ret = 0;
	return err;
}

/* A pointer leads to before everything that was read of the name so far, so that a
 * chain of them ends. */
static int take_name(struct cursor *c, struct name *ret)
{
	size_t at = c->at, lowest = at;
	bool jumped = false;
	uint8_t n;

	ret->len = 0;
	do {
		if (at >= c->len)
			return -EBADMSG;
		n = c->msg[at];
		if (n >= POINTER) {
			if (c->len - at < 2)
				return -EBADMSG;
			if (!jumped)
				c->at = at + 2;
			jumped = true;
			at = (size_t)(n & ~POINTER) << 8 | c->msg[at + 1];
			if (at >= lowest)
				return -EBADMSG;
			lowest = at;
			continue;
		}
		if (n > WEIR_DNS_LABEL_MAX || c->len - at < n + 1U ||
		    ret->len + n + 1U > sizeof(ret->b))
			return -EBADMSG;
		ret->b[ret->len++] = n;
		for (size_t i = 1; i <= n; i++)
			ret->b[ret->len++] = lower(c->msg[at + i]);
		at += n + 1U;
	} while (n);
	if (!jumped)
		c->at = at;
	return 0;
}

static int take_record(struct cursor *c, struct record *ret)
{
	uint16_t len;

	if (take_name(c, &ret->owner) || take_u16(c, &ret->type) || take_u16(c, &ret->class) ||
	    take_ttl(c, &ret->ttl) || take_u16(c, &len) || c->len - c->at < len)
		return -EBADMSG;
	ret->data = c->at;
	ret->data_len = len;
	c->at += len;
	return 0;
}

/* Reads to behind it, so that what is walked later is known to be well-formed. */
static int take_section(struct cursor *c, unsigned int n, struct section *ret)
{
	struct record r;

	ret->begin = *c;
	ret->n = n < RECORDS_MAX ? n : RECORDS_MAX;
	for (unsigned int i = 0; i < n; i++)
		if (take_record(c, &r))
			return -EBADMSG;
	return 0;
}

/* A name inside a record's data, which ends with it. */
static int data_name(const struct section *s, const struct record *r, struct name *ret)
{
	struct cursor c = s->begin;

	c.at = r->data;
	if (take_name(&c, ret) || c.at != r->data + r->data_len)
		return -EBADMSG;
	return 0;
}

static void least(uint32_t *ttl, uint32_t other)
{
	if (other < *ttl)
		*ttl = other;
}

static int add_address(const struct section *s, const struct record *r, enum weir_dns_type type,
		       struct weir_dns_answer *a)
{
	struct weir_addr addr = { 0 };
	const size_t len = type == WEIR_DNS_A ? 4 : sizeof(addr.b);

	if (r->data_len != len)
		return -EBADMSG;
	if (type == WEIR_DNS_A)
		memset(addr.b + 10, 0xff, 2);
	memcpy(addr.b + sizeof(addr.b) - len, s->begin.msg + r->data, len);
	/* The time of all of them counts: they are one set. */
	least(&a->ttl, r->ttl);
	for (size_t i = 0; i < a->n; i++)
		if (!memcmp(&a->addr[i], &addr, sizeof(addr)))
			return 0;
	if (a->n < WEIR_DNS_ADDRS)
		a->addr[a->n++] = addr;
	return 0;
}

/* What the section has under the name @at: addresses, or a CNAME, to which @at goes on.
 * 1: go on from there; 0: it ends here. */
static int look_up(const struct section *s, struct name *at, enum weir_dns_type type,
		   struct weir_dns_answer *a)
{
	struct cursor c = s->begin;
	struct name target;
	bool alias = false;
	uint32_t alias_ttl = 0;
	struct record r;

	for (unsigned int i = 0; i < s->n; i++) {
		if (take_record(&c, &r))
			return -EBADMSG;
		if (r.class != CLASS_IN || !names_equal(&r.owner, at))
			continue;
		if (r.type == type && add_address(s, &r, type, a))
			return -EBADMSG;
		if (r.type == TYPE_CNAME && !alias) {
			if (data_name(s, &r, &target))
				return -EBADMSG;
			alias = true;
			alias_ttl = r.ttl;
		}
	}
	if (a->n || !alias)
		return 0;
	least(&a->ttl, alias_ttl);
	*at = target;
	return 1;
}

/* How long it is good that @name has nothing (RFC 2308, section 5). */
static uint32_t negative_ttl(const struct section *s, const struct name *name)
{
	struct cursor c = s->begin;
	struct name skipped;
	uint32_t minimum;
	struct record r;

	for (unsigned int i = 0; i < s->n; i++) {
		struct cursor data = s->begin;

		if (take_record(&c, &r))
			return 0;
		if (r.class != CLASS_IN || r.type != TYPE_SOA || !name_is_in(name, &r.owner))
			continue;
		data.at = r.data;
		data.len = r.data + r.data_len;
		/* Two names, serial, refresh, retry, expire; then the minimum. */
		if (take_name(&data, &skipped) || take_name(&data, &skipped) ||
		    data.len - data.at != 5 * sizeof(uint32_t))
			return 0;
		data.at += 4 * sizeof(uint32_t);
		if (take_ttl(&data, &minimum))
			return 0;
		return minimum < r.ttl ? minimum : r.ttl;
	}
	return 0;
}

static int take_question(struct cursor *c, const struct name *name, enum weir_dns_type type)
{
	uint16_t asked, class;
	struct name n;

	if (take_name(c, &n) || take_u16(c, &asked) || take_u16(c, &class))
		return -EBADMSG;
	return names_equal(&n, name) && asked == type && class == CLASS_IN ? 0 : -EBADMSG;
}

static int read_answer(struct cursor *c, uint16_t rcode, const uint16_t counts[4], struct name *at,
		       enum weir_dns_type type, struct weir_dns_answer *a)
{
	struct section answer, authority;
	int more = 1;

	if (take_section(c, counts[1], &answer) || take_section(c, counts[2], &authority))
		return -EBADMSG;
	/* A chain without end says nothing. */
	for (unsigned int links = 0; more == 1; links++) {
		if (links > LINKS_MAX)
			return -EBADMSG;
		more = look_up(&answer, at, type, a);
	}
	if (more < 0)
		return more;
	if (rcode == RCODE_NXDOMAIN)
		a->n = 0;
	if (!a->n) {
		a->says = rcode == RCODE_NXDOMAIN ? WEIR_DNS_NO_NAME : WEIR_DNS_NO_DATA;
		least(&a->ttl, negative_ttl(&authority, at));
	}
	return 0;
}

int weir_dns_read(const uint8_t *msg, size_t len, const char *name, enum weir_dns_type type,
		  struct weir_dns_answer *ret)
{
	struct weir_dns_answer a = { .says = WEIR_DNS_ADDRESSES, .ttl = TTL_MAX };
	struct cursor c = { msg, len, 0 };
	uint16_t id, flags, counts[4];
	struct name at;

	if (len < HEADER_SIZE || !weir_dns_name_ok(name))
		return -EBADMSG;
	if (take_u16(&c, &id) || take_u16(&c, &flags))
		return -EBADMSG;
	for (int i = 0; i < 4; i++)
		if (take_u16(&c, &counts[i]))
			return -EBADMSG;
	name_from_text(name, &at);
	if (!(flags & FLAG_RESPONSE) || counts[0] != 1 || take_question(&c, &at, type))
		return -EBADMSG;
	if ((flags & 0xf) && (flags & 0xf) != RCODE_NXDOMAIN) {
		a.says = WEIR_DNS_FAILURE;
		a.ttl = 0;
	} else if (read_answer(&c, flags & 0xf, counts, &at, type, &a)) {
		return -EBADMSG;
	}
	*ret = a;
	return 0;
}
