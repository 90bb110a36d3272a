/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/watch/pcapng.h"

#include <stddef.h>
#include <string.h>
#include <sys/utsname.h>

#include "cap/watch/format_impl.h"
#include "cap/watch/l7.h"
#include "cap/watch/owners.h"

enum block {
	BLOCK_SECTION = 0x0a0d0d0a,
	BLOCK_INTERFACE = 1,
	BLOCK_STATISTICS = 5,
	BLOCK_PACKET = 6,
};

enum option {
	OPT_END = 0,
	OPT_COMMENT = 1,
	SHB_HARDWARE = 2,
	SHB_OS = 3,
	SHB_USERAPPL = 4,
	IF_NAME = 2,
	IF_TSRESOL = 9,
	IF_FILTER = 11,
	IF_OS = 12,
	EPB_FLAGS = 2,
	EPB_DROPCOUNT = 4,
	EPB_QUEUE = 6,
	EPB_VERDICT = 7,
	EPB_PROCESS_THREAD = 8,
	ISB_STARTTIME = 2,
	ISB_ENDTIME = 3,
	ISB_IFRECV = 4,
	ISB_FILTERACCEPT = 6,
	ISB_OSDROP = 7,
	ISB_USRDELIV = 8,
};

#define BYTE_ORDER_MAGIC 0x1a2b3c4dU
#define LINKTYPE_ETHERNET 1
#define LINKTYPE_RAW 101
#define TSRESOL_NS 9
#define FILTER_STRING 0	     /* first byte of if_filter: a text follows */
#define VERDICT_XDP 2	     /* first byte of epb_verdict: a Linux XDP action */
#define FLAG_CSUM_UNDONE (1U << 9)
#define FLAG_SEGMENTED (1U << 11)
/* flags, drops, queue, verdict, process, end, length: 68 bytes at most */
#define PACKET_TAIL_MAX 80
#define OPTION_MAX 65532     /* longest value whose padded length fits 16 bits */

static void add_u16(struct weir_buf *b, uint16_t v)
{
	weir_buf_add(b, &v, sizeof(v));
}

static void add_u32(struct weir_buf *b, uint32_t v)
{
	weir_buf_add(b, &v, sizeof(v));
}

static void add_u64(struct weir_buf *b, uint64_t v)
{
	weir_buf_add(b, &v, sizeof(v));
}

static void add_time(struct weir_buf *b, uint64_t ns)
{
	add_u32(b, (uint32_t)(ns >> 32));
	add_u32(b, (uint32_t)ns);
}

static void add_padding(struct weir_buf *b, size_t n)
{
	weir_buf_add(b, "\0\0\0", -n & 3);
}

static void option(struct weir_buf *b, enum option code, const void *val, size_t n)
{
	add_u16(b, (uint16_t)code);
	add_u16(b, (uint16_t)n);
	weir_buf_add(b, val, n);
	add_padding(b, n);
}

/* Texts are UTF-8: an overlong one is cut between two characters. */
static void option_text(struct weir_buf *b, enum option code, const char *s)
{
	size_t n = strlen(s);

	if (n > OPTION_MAX)
		for (n = OPTION_MAX; n && ((uint8_t)s[n] & 0xc0) == 0x80;)
			n--;
	option(b, code, s, n);
}

static void option_u64(struct weir_buf *b, enum option code, uint64_t v)
{
	option(b, code, &v, sizeof(v));
}

static void option_time(struct weir_buf *b, enum option code, uint64_t ns)
{
	add_u16(b, (uint16_t)code);
	add_u16(b, sizeof(ns));
	add_time(b, ns);
}

/* Returns where the block begins; its length is filled in by block_end(). */
static size_t block_begin(struct weir_buf *b, enum block type)
{
	size_t at = b->len;

	add_u32(b, type);
	add_u32(b, 0);
	return at;
}

static void block_end(struct weir_buf *b, size_t at)
{
	uint32_t len = (uint32_t)(b->len - at + sizeof(len));

	add_u32(b, len);
	if (!b->failed)
		memcpy(b->data + at + 4, &len, sizeof(len));
}

static void os_name(struct weir_buf *b, struct utsname *u)
{
	memset(u, 0, sizeof(*u));
	if (uname(u) == 0)
		weir_buf_addf(b, "%s %s %s", u->sysname, u->release, u->version);
	if (!b->data)
		weir_buf_adds(b, "Linux");
}

static void section_block(struct weir_buf *b, const struct utsname *u, const char *os)
{
	size_t at = block_begin(b, BLOCK_SECTION);

	add_u32(b, BYTE_ORDER_MAGIC);
	add_u16(b, 1);
	add_u16(b, 0);
	add_u64(b, UINT64_MAX); /* the section's length is not known */
	option_text(b, SHB_HARDWARE, u->machine);
	option_text(b, SHB_OS, os);
	option_text(b, SHB_USERAPPL, "weir " WEIR_VERSION);
	option(b, OPT_END, NULL, 0);
	block_end(b, at);
}

static void interface_block(struct weir_buf *b, const struct weir_pcapng_iface *i,
			    const char *os)
{
	size_t at = block_begin(b, BLOCK_INTERFACE);

	add_u16(b, i->no_l2 ? LINKTYPE_RAW : LINKTYPE_ETHERNET);
	add_u16(b, 0);
	add_u32(b, i->snaplen);
	option_text(b, IF_NAME, i->name);
	option(b, IF_TSRESOL, &(uint8_t){ TSRESOL_NS }, 1);
	if (i->filter) {
		size_t n = strlen(i->filter);

		if (n > OPTION_MAX - 1)
			n = OPTION_MAX - 1;
		add_u16(b, IF_FILTER);
		add_u16(b, (uint16_t)(n + 1));
		weir_buf_addc(b, FILTER_STRING);
		weir_buf_add(b, i->filter, n);
		add_padding(b, n + 1);
	}
	option_text(b, IF_OS, os);
	option(b, OPT_END, NULL, 0);
	block_end(b, at);
}

void weir_pcapng_begin(struct weir_buf *out, const struct weir_pcapng_iface *ifs,
		       unsigned int n)
{
	weir_autobuf struct weir_buf os = { 0 };
	struct utsname u;

	os_name(&os, &u);
	if (os.failed) {
		out->failed = true;
		return;
	}
	section_block(out, &u, os.data);
	for (unsigned int i = 0; i < n; i++)
		interface_block(out, &ifs[i], os.data);
}

void weir_pcapng_join(struct weir_buf *out, const struct weir_pcapng_iface *i)
{
	weir_autobuf struct weir_buf os = { 0 };
	struct utsname u;

	os_name(&os, &u);
	if (os.failed)
		out->failed = true;
	else
		interface_block(out, i, os.data);
}

static uint32_t packet_flags(const struct weir_packet *p)
{
	uint32_t flags = 0;

	if (p->ev.dir == WEIR_WATCH_IN)
		flags = 1;
	else if (p->ev.dir == WEIR_WATCH_OUT)
		flags = 2;
	if (p->ev.flags & WEIR_WATCH_CSUM_UNDONE)
		flags |= FLAG_CSUM_UNDONE;
	if (p->ev.gso_size)
		flags |= FLAG_SEGMENTED;
	return flags;
}

/* A packet's block is built in place: it is the one that comes by the million. */
struct packet_head {
	uint32_t type, total, iface, time_high, time_low, caplen, len;
};

static char *put(char *p, const void *val, size_t n)
{
	memcpy(p, val, n);
	return p + n;
}

static char *put_option(char *p, enum option code, const void *val, uint16_t n)
{
	const uint16_t head[2] = {(uint16_t)code, n};

	p = put(put(p, head, sizeof(head)), val, n);
	return put(p, "\0\0\0", -n & 3);
}

static char *put_verdict(char *p, uint8_t verdict)
{
	/* enum xdp_action, which the option carries as it is */
	static const uint64_t action[] = {
		[WEIR_WATCH_PASS] = 2,
		[WEIR_WATCH_DROP] = 1,
		[WEIR_WATCH_TX] = 3,
		[WEIR_WATCH_TAKEN] = 4,
	};
	uint8_t val[9] = { VERDICT_XDP };

	if (verdict == WEIR_WATCH_NO_VERDICT ||
	    verdict >= sizeof(action) / sizeof(action[0]))
		return p;
	memcpy(val + 1, &action[verdict], 8);
	return put_option(p, EPB_VERDICT, val, sizeof(val));
}

static void option_rule(struct weir_buf *b, const char *rule)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_buf_adds(&text, "rule ");
	weir_buf_adds(&text, rule);
	if (text.failed)
		b->failed = true;
	else
		option_text(b, OPT_COMMENT, text.data);
}

/* What Wireshark tells by itself only of a ClientHello that is whole in the file. */
static void option_names(struct weir_buf *b, const struct weir_l7_seen *s)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_l7_text(s, &text);
	if (text.failed)
		b->failed = true;
	else
		option_text(b, OPT_COMMENT, text.data);
}

/* What the option for a process has no room for. */
static void option_owners(struct weir_buf *b, const struct weir_packet *p)
{
	static const struct weir_formatter plain;
	weir_autobuf struct weir_buf text = { 0 };

	weir_format_owners(&plain, p, &text);
	if (text.failed)
		b->failed = true;
	else
		option_text(b, OPT_COMMENT, text.data);
}

void weir_pcapng_packet(struct weir_buf *out, const struct weir_packet *p,
			unsigned int iface, uint64_t drops)
{
	size_t begin = out->len;
	struct packet_head head = {
		.type = BLOCK_PACKET,
		.iface = iface,
		.time_high = (uint32_t)(p->ev.ts >> 32),
		.time_low = (uint32_t)p->ev.ts,
		.caplen = p->ev.caplen,
		.len = p->ev.len > p->ev.caplen ? p->ev.len : p->ev.caplen,
	};
	const uint32_t flags = packet_flags(p), queue = p->ev.queue;
	const uint32_t process[2] = { p->owner ? p->owner->pid : 0 }; /* thread 0: not known */
	char *to = weir_buf_room(out, sizeof(head) + p->ev.caplen + 3);

	if (!to)
		return;
	to = put(to, &head, sizeof(head));
	to = put(to, p->data, p->ev.caplen);
	to = put(to, "\0\0\0", -p->ev.caplen & 3);
	out->len = (size_t)(to - out->data);
	if (p->comment)
		option_text(out, OPT_COMMENT, p->comment);
	if (p->rule)
		option_rule(out, p->rule);
	if (p->l7 && p->l7->kind == WEIR_L7_TLS)
		option_names(out, p->l7);
	if (p->owner)
		option_owners(out, p);
	to = weir_buf_room(out, PACKET_TAIL_MAX);
	if (!to)
		return;
	if (flags)
		to = put_option(to, EPB_FLAGS, &flags, sizeof(flags));
	if (drops)
		to = put_option(to, EPB_DROPCOUNT, &drops, sizeof(drops));
	if (p->ev.flags & WEIR_WATCH_QUEUE)
		to = put_option(to, EPB_QUEUE, &queue, sizeof(queue));
	to = put_verdict(to, p->ev.verdict);
	if (p->owner)
		to = put_option(to, EPB_PROCESS_THREAD, process, sizeof(process));
	to = put_option(to, OPT_END, "", 0);
	head.total = (uint32_t)(to - out->data - (ptrdiff_t)begin) + sizeof(head.total);
	to = put(to, &head.total, sizeof(head.total));
	*to = '\0';
	out->len = (size_t)(to - out->data);
	memcpy(out->data + begin + offsetof(struct packet_head, total), &head.total,
	       sizeof(head.total));
}

void weir_pcapng_stats(struct weir_buf *out, unsigned int iface,
		       const struct weir_pcapng_stats *s)
{
	size_t at = block_begin(out, BLOCK_STATISTICS);

	add_u32(out, iface);
	add_time(out, s->end);
	option_time(out, ISB_STARTTIME, s->start);
	option_time(out, ISB_ENDTIME, s->end);
	option_u64(out, ISB_IFRECV, s->received);
	option_u64(out, ISB_FILTERACCEPT, s->accepted);
	option_u64(out, ISB_OSDROP, s->dropped);
	option_u64(out, ISB_USRDELIV, s->delivered);
	option(out, OPT_END, NULL, 0);
	block_end(out, at);
}
