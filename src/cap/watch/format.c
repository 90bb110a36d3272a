/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/format.h"

#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/names.h"
#include "cap/watch/owners.h"

#define SERVICE_ROOM 1024 /* one line of /etc/services */
#define SERVICE_NAME_MAX 63
#define PORTS 65536

/* One table for each protocol that has ports, filled by the first look-up:
 * asking the system port by port would open its file for each one. */
static const struct service_proto {
	const char *name;
	uint8_t proto[2];
} service_protos[] = {
	{ "tcp", { IPPROTO_TCP, IPPROTO_TCP } },
	{ "udp", { IPPROTO_UDP, IPPROTO_UDPLITE } },
	{ "sctp", { IPPROTO_SCTP, IPPROTO_SCTP } },
	{ "dccp", { IPPROTO_DCCP, IPPROTO_DCCP } },
};

static char *services[WEIR_ARRAY_SIZE(service_protos)][PORTS];

static void add_service(const struct servent *s)
{
	uint16_t port = ntohs((uint16_t)s->s_port);
	size_t n = strnlen(s->s_name, SERVICE_NAME_MAX);

	for (size_t i = 0; i < n; i++)
		if (s->s_name[i] <= ' ' || s->s_name[i] > '~')
			return;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(service_protos); i++)
		if (!strcmp(s->s_proto, service_protos[i].name) && !services[i][port])
			services[i][port] = strndup(s->s_name, n);
}

static void load_services(void)
{
	struct servent entry, *found;
	char room[SERVICE_ROOM];

	setservent(1);
	while (getservent_r(&entry, room, sizeof(room), &found) == 0 && found)
		add_service(found);
	endservent();
}

const char *weir_format_service(uint16_t port, uint8_t proto)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load_services);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(service_protos); i++)
		if (service_protos[i].proto[0] == proto || service_protos[i].proto[1] == proto)
			return services[i][port];
	return NULL;
}

void weir_format_proto_name(struct weir_buf *out, uint8_t proto)
{
	const char *name = weir_names_find(&weir_names_proto, proto);

	if (name) {
		weir_buf_adds(out, name);
		return;
	}
	ADD(out, "proto-");
	weir_buf_addu(out, proto);
}

void weir_format_end(struct weir_buf *out, const uint8_t addr[16], uint16_t port,
		     bool has_port, uint8_t proto, bool numeric)
{
	struct weir_addr a;
	bool brackets;

	memcpy(a.b, addr, sizeof(a.b));
	brackets = has_port && !weir_addr_is_v4(&a);
	if (brackets)
		weir_buf_addc(out, '[');
	weir_buf_add_addr(out, addr);
	if (brackets)
		weir_buf_addc(out, ']');
	if (has_port)
		weir_format_port(out, port, proto, numeric);
}

void weir_format_port(struct weir_buf *out, uint16_t port, uint8_t proto, bool numeric)
{
	const char *name = NULL;

	weir_buf_addc(out, ':');
	if (!numeric)
		name = weir_format_service(port, proto);
	if (name)
		weir_buf_adds(out, name);
	else
		weir_buf_addu(out, port);
}

void weir_format_ip4(struct weir_buf *out, const uint8_t b[4])
{
	for (unsigned int i = 0; i < 4; i++) {
		if (i)
			weir_buf_addc(out, '.');
		weir_buf_addu(out, b[i]);
	}
}

void weir_format_tcp_letters(uint16_t flags, char ret[WEIR_TCP_LETTERS])
{
	static const char letters[] = "FSRP.UEWe"; /* lowest bit first */
	char *d = ret;

	for (unsigned int i = 0; i < sizeof(letters) - 1; i++)
		if (flags & 1U << i)
			*d++ = letters[i];
	*d = '\0';
	if (d == ret)
		memcpy(ret, "none", sizeof("none"));
}

void weir_format_colour(const struct weir_formatter *f, enum weir_colour c,
			struct weir_buf *out)
{
	static const char *const codes[] = {
		[WEIR_COLOUR_NONE] = "\033[0m",
		[WEIR_COLOUR_DIM] = "\033[2m",
		[WEIR_COLOUR_BAD] = "\033[1;31m",
		[WEIR_COLOUR_NOTE] = "\033[33m",
	};

	if (f->colour)
		weir_buf_adds(out, codes[c]);
}

bool weir_format_verdict(const struct weir_formatter *f, const struct weir_packet *p,
			 struct weir_buf *out)
{
	if (p->ev.verdict < WEIR_WATCH_DROP)
		return false;
	if (p->ev.verdict == WEIR_WATCH_DROP) {
		weir_format_colour(f, WEIR_COLOUR_BAD, out);
		ADD(out, "DROP");
	} else {
		weir_format_colour(f, WEIR_COLOUR_NOTE, out);
		weir_buf_adds(out, p->ev.verdict == WEIR_WATCH_TX ? "TX" : "TAKEN");
	}
	if (p->rule) {
		weir_buf_addc(out, ' ');
		weir_format_safe(out, (const uint8_t *)p->rule, strlen(p->rule));
	}
	weir_format_colour(f, WEIR_COLOUR_NONE, out);
	return true;
}

void weir_format_owners(const struct weir_formatter *f, const struct weir_packet *p,
			struct weir_buf *out)
{
	if (!p->owner)
		return;
	weir_format_colour(f, WEIR_COLOUR_DIM, out);
	ADD(out, "owner ");
	weir_owner_add(out, p->owner);
	if (p->peer) {
		ADD(out, ", peer ");
		weir_owner_add(out, p->peer);
	}
	weir_format_colour(f, WEIR_COLOUR_NONE, out);
}

/* HH:MM:SS.uuuuuu of a span, with a blank or a minus before it. */
static void add_span(struct weir_buf *out, uint64_t from, uint64_t to)
{
	uint64_t us = (to >= from ? to - from : from - to) / 1000;
	uint64_t sec = us / 1000000;

	weir_buf_addc(out, to >= from ? ' ' : '-');
	weir_buf_addu_pad(out, sec / 3600, 2);
	weir_buf_addc(out, ':');
	weir_buf_addu_pad(out, sec / 60 % 60, 2);
	weir_buf_addc(out, ':');
	weir_buf_addu_pad(out, sec % 60, 2);
	weir_buf_addc(out, '.');
	weir_buf_addu_pad(out, us % 1000000, 6);
}

static void add_date(struct weir_buf *out, uint64_t ns)
{
	time_t sec = (time_t)(ns / WEIR_NSEC_PER_SEC);
	struct tm tm = { 0 };

	localtime_r(&sec, &tm);
	weir_buf_addu_pad(out, (uint64_t)(tm.tm_year + 1900), 4);
	weir_buf_addc(out, '-');
	weir_buf_addu_pad(out, (uint64_t)(tm.tm_mon + 1), 2);
	weir_buf_addc(out, '-');
	weir_buf_addu_pad(out, (uint64_t)tm.tm_mday, 2);
	weir_buf_addc(out, ' ');
}

void weir_format_time(const struct weir_formatter *f, uint64_t ns, struct weir_buf *out)
{
	switch (f->time) {
	case WEIR_TIME_NONE:
		break;
	case WEIR_TIME_EPOCH:
		weir_buf_addu(out, ns / WEIR_NSEC_PER_SEC);
		weir_buf_addc(out, '.');
		weir_buf_addu_pad(out, ns % WEIR_NSEC_PER_SEC / 1000, 6);
		break;
	case WEIR_TIME_DELTA:
		add_span(out, f->prev_ts ? f->prev_ts : ns, ns);
		break;
	case WEIR_TIME_FIRST:
		add_span(out, f->first_ts ? f->first_ts : ns, ns);
		break;
	case WEIR_TIME_DATE:
		add_date(out, ns);
		weir_buf_add_clock(out, ns);
		break;
	case WEIR_TIME_CLOCK:
		weir_buf_add_clock(out, ns);
		break;
	}
}

static void format_text(const struct weir_formatter *f, const struct weir_packet *p,
			struct weir_buf *out)
{
	enum weir_dump dump = f->dump;

	if (f->format == WEIR_FORMAT_PROTO)
		weir_format_proto(f, p, out);
	else
		weir_format_line(f, p, out);
	if (f->format == WEIR_FORMAT_TEXT)
		weir_format_payload(p, out);
	if (f->format == WEIR_FORMAT_HEX && dump == WEIR_DUMP_NONE)
		dump = WEIR_DUMP_HEX_ASCII_L2;
	if (dump != WEIR_DUMP_NONE)
		weir_format_dump(dump, p, out);
}

void weir_format_packet(struct weir_formatter *f, const struct weir_packet *p,
			struct weir_buf *out)
{
	if (f->format == WEIR_FORMAT_JSON)
		weir_format_json(p, out);
	else
		format_text(f, p, out);
	f->prev_ts = p->ev.ts;
	if (!f->first_ts)
		f->first_ts = p->ev.ts;
}
