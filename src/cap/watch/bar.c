/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last line of the screen while packets scroll by, and the top talkers at
 * the end. Only on a terminal.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/watch/session.h"
#include "dataplane/key_hash.h"

#define SPARKS 20     /* seconds in the sparkline */
#define TALKERS 4096  /* slots; a power of two */
#define TALKERS_TOP 5
#define TALKERS_PROBES 8

struct weir_bar {
	uint64_t packets, bytes; /* at the previous tick */
	uint64_t at;
	double bits[SPARKS]; /* per second; a ring */
	unsigned int next;
	char text[256];
	bool visible;
};

/* A bounded table; when a neighbourhood is full its smallest entry makes room
 * and leaves its count to the newcomer (Space-Saving, Metwally et al. 2005), so
 * a heavy talker is never missed, at worst overestimated by that count. */
struct talker {
	uint8_t src[16], dst[16];
	uint64_t bytes, packets;
};

struct weir_talkers {
	struct talker t[TALKERS];
};

int weir_bar_new(struct weir_watch *w)
{
	w->bar = calloc(1, sizeof(*w->bar));
	if (!w->bar)
		return -ENOMEM;
	w->bar->at = weir_clock_mono();
	return 0;
}

void weir_bar_free(struct weir_bar *b)
{
	if (b && b->visible && write(STDOUT_FILENO, "\r\033[K", 4) != 4)
		b->visible = false;
	free(b);
}

static void add_sparkline(const struct weir_bar *b, struct weir_buf *out)
{
	static const char *const marks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	double most = 1;

	for (int i = 0; i < SPARKS; i++)
		if (b->bits[i] > most)
			most = b->bits[i];
	for (unsigned int i = 0; i < SPARKS; i++)
		weir_buf_adds(out, marks[(int)(b->bits[(b->next + i) % SPARKS] / most * 7)]);
}

void weir_bar_tick(struct weir_watch *w)
{
	struct weir_bar *b = w->bar;
	uint64_t now = weir_clock_mono(), packets = 0, bytes = 0;
	double seconds = (double)(now - b->at) / (double)WEIR_NSEC_PER_SEC;
	weir_autobuf struct weir_buf text = {0};
	struct weir_watch_account a;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		packets += a.k.seen;
		bytes += a.k.seen_bytes;
	}
	b->bits[b->next] = (double)(bytes - b->bytes) * 8 / (seconds > 0 ? seconds : 1);
	b->next = (b->next + 1) % SPARKS;
	weir_buf_addf(&text, "%s%s  ", w->any ? "any" : w->ifaces[0].name,
		      w->n_ifaces > 1 && !w->any ? " ..." : "");
	weir_buf_add_si(&text, (double)(packets - b->packets) / (seconds > 0 ? seconds : 1));
	weir_buf_adds(&text, " packets/s  ");
	add_sparkline(b, &text);
	weir_buf_addc(&text, ' ');
	weir_buf_add_si(&text, b->bits[(b->next + SPARKS - 1) % SPARKS]);
	weir_buf_addf(&text, "bit/s  lost %llu", (unsigned long long)weir_account_lost(w));
	b->packets = packets;
	b->bytes = bytes;
	b->at = now;
	if (text.data)
		weir_writer_bar(w, text.data);
}

void weir_bar_set(struct weir_bar *b, const char *text)
{
	snprintf(b->text, sizeof(b->text), "%s", text);
}

void weir_bar_hide(struct weir_bar *b, struct weir_buf *out)
{
	if (b->visible)
		weir_buf_adds(out, "\r\033[K");
	b->visible = false;
}

void weir_bar_show(struct weir_bar *b, struct weir_buf *out)
{
	if (!b->text[0])
		return;
	weir_buf_addf(out, "\033[7m %s \033[0m", b->text);
	b->visible = true;
}

struct weir_talkers *weir_talkers_new(void)
{
	return calloc(1, sizeof(struct weir_talkers));
}

void weir_talkers_free(struct weir_talkers *t)
{
	free(t);
}

static size_t hash_pair(const struct weir_pkt *p)
{
	struct weir_sip v;

	weir_key_begin(&v, weir_key_seed);
	weir_key_add(&v, p->src, sizeof(p->src));
	weir_key_add(&v, p->dst, sizeof(p->dst));
	return (size_t)weir_key_end(&v);
}

void weir_talkers_add(struct weir_talkers *t, const struct weir_packet *p)
{
	size_t base = hash_pair(&p->hdr);
	struct talker *least = NULL;

	if (!(p->hdr.flags & (WEIR_PKT_IP4 | WEIR_PKT_IP6)))
		return;
	for (size_t i = 0; i < TALKERS_PROBES; i++) {
		struct talker *x = &t->t[(base + i) & (TALKERS - 1)];

		if (x->packets && !memcmp(x->src, p->hdr.src, 16) &&
		    !memcmp(x->dst, p->hdr.dst, 16)) {
			x->bytes += p->ev.len;
			x->packets++;
			return;
		}
		if (!least || x->bytes < least->bytes)
			least = x;
	}
	memcpy(least->src, p->hdr.src, 16);
	memcpy(least->dst, p->hdr.dst, 16);
	least->bytes += p->ev.len;
	least->packets++;
}

static int compare_talkers(const void *a, const void *b)
{
	const struct talker *x = a, *y = b;

	return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

void weir_talkers_print(struct weir_watch *w)
{
	struct weir_talkers *t = w->n_sinks ? w->sinks[0].talkers : NULL;
	weir_autobuf struct weir_buf out = {0};

	if (!t)
		return;
	qsort(t->t, TALKERS, sizeof(t->t[0]), compare_talkers);
	for (size_t i = 0; i < TALKERS_TOP && t->t[i].packets; i++) {
		weir_buf_adds(&out, i ? "             " : "top talkers: ");
		weir_buf_add_addr(&out, t->t[i].src);
		weir_buf_adds(&out, " > ");
		weir_buf_add_addr(&out, t->t[i].dst);
		weir_buf_adds(&out, "  ");
		weir_buf_add_grouped(&out, t->t[i].packets);
		weir_buf_adds(&out, " packets, ");
		weir_buf_add_grouped(&out, t->t[i].bytes);
		weir_buf_adds(&out, " bytes\n");
	}
	weir_buf_flush(&out, STDERR_FILENO);
}
