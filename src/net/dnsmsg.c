/* SPDX-License-Identifier: GPL-2.0-only */
#include "net/dnsmsg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define WIRE_NAME_MAX 255 /* of a name with its lengths (RFC 1035, 2.3.4) */
#define LABEL_MAX 63
#define POINTER 0xc0

#define FLAG_QR 0x8000
#define FLAG_AA 0x0400
#define FLAG_TC 0x0200
#define FLAG_RD 0x0100
#define FLAG_RA 0x0080
#define FLAG_AD 0x0020

static bool take_u16(const struct weir_dnsmsg *m, size_t *at, uint16_t *ret)
{
	if (m->len - *at < 2)
		return false;
	*ret = (uint16_t)(m->msg[*at] << 8 | m->msg[*at + 1]);
	*at += 2;
	return true;
}

static bool take_u32(const struct weir_dnsmsg *m, size_t *at, uint32_t *ret)
{
	uint16_t high, low;

	if (!take_u16(m, at, &high) || !take_u16(m, at, &low))
		return false;
	*ret = (uint32_t)high << 16 | low;
	return true;
}

static char *add_char(char *to, uint8_t c)
{
	if (c <= ' ' || c >= 0x7f) {
		*to++ = '\\';
		*to++ = (char)('0' + c / 100);
		*to++ = (char)('0' + c / 10 % 10);
		*to++ = (char)('0' + c % 10);
		return to;
	}
	if (c == '.' || c == '\\')
		*to++ = '\\';
	*to++ = (char)c;
	return to;
}

/* A pointer leads to before everything that was read of the name so far, so that a chain of
 * them ends. */
static bool take_name(const struct weir_dnsmsg *m, size_t *from, char text[WEIR_DNSMSG_NAME])
{
	size_t at = *from, lowest = at, wire = 0;
	bool jumped = false;
	char *to = text;
	uint8_t n;

	do {
		if (at >= m->len)
			return false;
		n = m->msg[at];
		if (n >= POINTER) {
			if (m->len - at < 2)
				return false;
			if (!jumped)
				*from = at + 2;
			jumped = true;
			at = (size_t)(n & ~POINTER) << 8 | m->msg[at + 1];
			if (at >= lowest)
				return false;
			lowest = at;
			continue;
		}
		wire += n + 1U;
		if (n > LABEL_MAX || m->len - at < n + 1U || wire > WIRE_NAME_MAX)
			return false;
		if (n && to != text)
			*to++ = '.';
		for (size_t i = 1; i <= n; i++)
			to = add_char(to, m->msg[at + i]);
		at += n + 1U;
	} while (n);
	if (!jumped)
		*from = at;
	if (to == text)
		*to++ = '.';
	*to = '\0';
	return true;
}

int weir_dnsmsg_begin(struct weir_dnsmsg *m, const void *data, size_t len)
{
	uint16_t flags;

	*m = (struct weir_dnsmsg){ .msg = data, .len = len };
	if (len < WEIR_DNSMSG_HEADER)
		return -EBADMSG;
	if (m->len > UINT16_MAX) /* what lies behind belongs to no message */
		m->len = UINT16_MAX;
	take_u16(m, &m->at, &m->id);
	take_u16(m, &m->at, &flags);
	for (int i = 0; i < WEIR_DNSMSG_SECTIONS; i++)
		take_u16(m, &m->at, &m->counts[i]);
	m->response = flags & FLAG_QR;
	m->authoritative = flags & FLAG_AA;
	m->truncated = flags & FLAG_TC;
	m->recursion_desired = flags & FLAG_RD;
	m->recursion_available = flags & FLAG_RA;
	m->authentic = flags & FLAG_AD;
	m->opcode = flags >> 11 & 15;
	m->rcode = flags & 15;
	return 0;
}

int weir_dnsmsg_next(struct weir_dnsmsg *m, struct weir_dnsmsg_record *r)
{
	size_t at = m->at;

	while (m->section < WEIR_DNSMSG_SECTIONS && m->done == m->counts[m->section]) {
		m->section++;
		m->done = 0;
	}
	if (m->section == WEIR_DNSMSG_SECTIONS)
		return 0;
	r->section = m->section;
	r->ttl = 0;
	r->len = 0;
	if (!take_name(m, &at, r->name) || !take_u16(m, &at, &r->type) ||
	    !take_u16(m, &at, &r->class))
		return -EBADMSG;
	if (r->section != WEIR_DNSMSG_QUESTION &&
	    (!take_u32(m, &at, &r->ttl) || !take_u16(m, &at, &r->len) || m->len - at < r->len))
		return -EBADMSG;
	r->at = (uint16_t)at;
	m->at = at + r->len;
	m->done++;
	return 1;
}

bool weir_dnsmsg_addr(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
		      struct weir_addr *ret)
{
	const size_t len = r->type == WEIR_DNSMSG_A ? 4 : sizeof(ret->b);

	if ((r->type != WEIR_DNSMSG_A && r->type != WEIR_DNSMSG_AAAA) || r->len != len ||
	    r->section == WEIR_DNSMSG_QUESTION)
		return false;
	memset(ret->b, 0, sizeof(ret->b));
	if (len == 4)
		memset(ret->b + 10, 0xff, 2);
	memcpy(ret->b + sizeof(ret->b) - len, m->msg + r->at, len);
	return true;
}

/* Where in the data the name begins. */
static const struct {
	uint16_t type;
	uint8_t before;
	bool last; /* nothing follows it */
} targets[] = {
	{ WEIR_DNSMSG_NS, 0, true },	{ WEIR_DNSMSG_CNAME, 0, true },
	{ WEIR_DNSMSG_PTR, 0, true },	{ WEIR_DNSMSG_DNAME, 0, true },
	{ WEIR_DNSMSG_MX, 2, true },	{ WEIR_DNSMSG_SRV, 6, true },
	{ WEIR_DNSMSG_SVCB, 2, false }, { WEIR_DNSMSG_HTTPS, 2, false },
};

bool weir_dnsmsg_target(const struct weir_dnsmsg *m, const struct weir_dnsmsg_record *r,
			char ret[WEIR_DNSMSG_NAME])
{
	struct weir_dnsmsg part = *m;
	size_t at;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(targets); i++) {
		if (targets[i].type != r->type)
			continue;
		at = (size_t)r->at + targets[i].before;
		part.len = (size_t)r->at + r->len;
		return r->section != WEIR_DNSMSG_QUESTION && r->len > targets[i].before &&
		       take_name(&part, &at, ret) && (!targets[i].last || at == part.len);
	}
	return false;
}

static const struct {
	uint16_t type;
	const char *name;
} types[] = {
	{ 1, "A" },	 { 2, "NS" },	       { 5, "CNAME" },	     { 6, "SOA" },
	{ 12, "PTR" },	 { 13, "HINFO" },      { 15, "MX" },	     { 16, "TXT" },
	{ 17, "RP" },	 { 18, "AFSDB" },      { 24, "SIG" },	     { 25, "KEY" },
	{ 28, "AAAA" },	 { 29, "LOC" },	       { 33, "SRV" },	     { 35, "NAPTR" },
	{ 37, "CERT" },	 { 39, "DNAME" },      { 41, "OPT" },	     { 43, "DS" },
	{ 44, "SSHFP" }, { 46, "RRSIG" },      { 47, "NSEC" },	     { 48, "DNSKEY" },
	{ 50, "NSEC3" }, { 51, "NSEC3PARAM" }, { 52, "TLSA" },	     { 53, "SMIMEA" },
	{ 59, "CDS" },	 { 60, "CDNSKEY" },    { 61, "OPENPGPKEY" }, { 64, "SVCB" },
	{ 65, "HTTPS" }, { 99, "SPF" },	       { 249, "TKEY" },	     { 250, "TSIG" },
	{ 251, "IXFR" }, { 252, "AXFR" },      { 255, "ANY" },	     { 256, "URI" },
	{ 257, "CAA" },
};

const char *weir_dnsmsg_type_name(uint16_t type, char buf[WEIR_DNSMSG_TYPE_NAME])
{
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(types); i++)
		if (types[i].type == type)
			return types[i].name;
	snprintf(buf, WEIR_DNSMSG_TYPE_NAME, "TYPE%u", type);
	return buf;
}

const char *weir_dnsmsg_rcode_name(uint8_t rcode)
{
	static const char *const names[] = {
		"NOERROR",  "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP",  "REFUSED",
		"YXDOMAIN", "YXRRSET", "NXRRSET",  "NOTAUTH",  "NOTZONE",
	};

	return rcode < WEIR_ARRAY_SIZE(names) ? names[rcode] : NULL;
}
