/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The flow table: what the kernel has added up, merged over time, and its
 * pictures: by flow, host, port or protocol. Bounded; what does not fit is
 * summed up under "other", so that the totals stay true.
 */
#include "bpf/flow.bpf.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/term.h"
#include "base/units.h"
#include "cap/watch/format_impl.h"
#include "cap/watch/session.h"

/* The table in user space may hold this many times --flows-max. */
#define FLOWS_USER_FACTOR 4
#define CELLS_WIDTH 47	      /* the columns of numbers */
#define FLOWS_FIRST_SIZE 1024 /* slots; a power of two */
/* A flow this long without a packet has ended. */
#define FLOW_IDLE_NS (60 * WEIR_NSEC_PER_SEC)

struct flow {
	struct weir_flow_key key;
	struct weir_flow_val val;
	uint64_t shown_bytes;	/* at the previous picture, for the rate */
	uint64_t bypassed;	/* bytes that no packet carried (weir bypass) */
	uint64_t bypass_cookie; /* of a socket, while the connection goes on; 0 = none */
	uint32_t bypass_look;
	bool used;
};

struct weir_flows {
	struct flow *slots;
	size_t size, used, limit;
	struct weir_flow_val other; /* what did not fit, or has ended unseen */
	uint64_t other_flows;
	uint64_t shown_at;
	uint32_t bypass_look;
	size_t bypassing;	      /* flows with a bypass_cookie, at most */
	uint8_t listening[65536 / 8]; /* TCP ports that this host listens on */
};

/* A line of a picture. */
struct row {
	const struct flow *flow; /* WEIR_BY_FLOW */
	uint8_t addr[16];
	uint16_t port;
	uint8_t proto;
	uint16_t eth_type;
	uint64_t packets[2], wire, bytes[2], bypassed, shown_bytes, first, last, flows;
};

static size_t hash_key(const struct weir_flow_key *k)
{
	const uint8_t *b = (const uint8_t *)k;
	uint64_t h = 0x9e3779b97f4a7c15ULL, v = 0;

	for (size_t i = 0; i < sizeof(*k); i += 4) {
		memcpy(&v, b + i, 4);
		h = (h ^ v) * 0xff51afd7ed558ccdULL;
		h ^= h >> 32;
	}
	return (size_t)h;
}

static struct flow *find_slot(struct flow *slots, size_t size, const struct weir_flow_key *k)
{
	size_t i = hash_key(k) & (size - 1);

	while (slots[i].used && memcmp(&slots[i].key, k, sizeof(*k)))
		i = (i + 1) & (size - 1);
	return &slots[i];
}

static int resize(struct weir_flows *f, size_t size)
{
	struct flow *slots = calloc(size, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < f->size; i++)
		if (f->slots[i].used)
			*find_slot(slots, size, &f->slots[i].key) = f->slots[i];
	free(f->slots);
	f->slots = slots;
	f->size = size;
	return 0;
}

/* Which ports does this host listen on? Only a hint for connections whose
 * beginning was not seen. */
static void read_listening(struct weir_flows *f)
{
	static const char *const files[] = { "/proc/net/tcp", "/proc/net/tcp6" };
	char line[512];

	for (size_t i = 0; i < 2; i++) {
		FILE *in = fopen(files[i], "re");
		unsigned int port, st;

		while (in && fgets(line, sizeof(line), in))
			if (sscanf(line, "%*s %*[0-9A-F]:%x %*s %x", &port, &st) == 2 &&
			    st == 0x0a && port < 65536)
				f->listening[port / 8] |= (uint8_t)(1 << port % 8);
		if (in)
			fclose(in);
	}
}

int weir_flows_new(struct weir_watch *w, struct weir_error *err)
{
	struct weir_flows *f = calloc(1, sizeof(*f));

	if (!f || resize(f, FLOWS_FIRST_SIZE)) {
		free(f);
		return weir_fail(err, -ENOMEM, "out of memory: lower --flows-max");
	}
	f->limit = w->opt.flows_max * FLOWS_USER_FACTOR;
	f->shown_at = weir_clock_mono();
	w->flows = f;
	if (w->opt.read_file) /* may come from another host */
		return 0;
	read_listening(f);
	return weir_watch_bypass_new(w) ?
		       weir_fail(err, -ENOMEM, "out of memory: lower --flows-max") :
		       0;
}

void weir_flows_free(struct weir_flows *f)
{
	if (!f)
		return;
	free(f->slots);
	free(f);
}

static void merge_val(struct weir_flow_val *to, const struct weir_flow_val *v)
{
	if (!to->first || v->first < to->first) {
		to->first = v->first;
		to->flags = (to->flags & ~WEIR_FLOW_FIRST_B) | (v->flags & WEIR_FLOW_FIRST_B);
	}
	to->flags |= v->flags & ~WEIR_FLOW_FIRST_B;
	if (v->last > to->last)
		to->last = v->last;
	for (int i = 0; i < 2; i++) {
		to->packets[i] += v->packets[i];
		to->wire[i] += v->wire[i];
		to->bytes[i] += v->bytes[i];
		to->tcp_flags[i] |= v->tcp_flags[i];
	}
}

void weir_flows_merge(struct weir_flows *f, const struct weir_flow_key *k,
		      const struct weir_flow_val *v)
{
	struct flow *slot = find_slot(f->slots, f->size, k);

	if (!slot->used && f->used * 2 >= f->size) {
		if (f->used >= f->limit || resize(f, f->size * 2)) {
			merge_val(&f->other, v);
			f->other_flows++;
			return;
		}
		slot = find_slot(f->slots, f->size, k);
	}
	if (!slot->used) {
		slot->used = true;
		slot->key = *k;
		f->used++;
	}
	merge_val(&slot->val, v);
}

void weir_flows_packet(struct weir_flows *f, const struct weir_packet *p)
{
	int src_a = weir_flow_src_is_a(&p->hdr);
	struct weir_flow_key k = { 0 };
	struct weir_flow_val v = { 0 };

	weir_flow_key_of(&p->hdr, p->ev.ifindex, src_a, &k);
	weir_flow_add(&v, &p->hdr, src_a, p->ev.dir == WEIR_WATCH_OUT, p->ev.len, p->ev.gso_size,
		      p->ev.ts);
	weir_flows_merge(f, &k, &v);
}

/* Who began? Seen: a SYN, or the first packet of anything else. Guessed: who
 * listens, then the lower port. */
static bool initiator_is_b(const struct weir_flows *f, const struct flow *x, bool *ret_guessed)
{
	const struct weir_flow_key *k = &x->key;
	bool a_listens, b_listens;

	*ret_guessed = false;
	if (k->proto != 6 || k->fragment)
		return x->val.flags & WEIR_FLOW_FIRST_B;
	if (x->val.flags & (WEIR_FLOW_SYN_A | WEIR_FLOW_SYN_B))
		return !(x->val.flags & WEIR_FLOW_SYN_A);
	*ret_guessed = true;
	a_listens = f->listening[k->port_a / 8] >> k->port_a % 8 & 1;
	b_listens = f->listening[k->port_b / 8] >> k->port_b % 8 & 1;
	if (a_listens != b_listens)
		return a_listens;
	return k->port_a < k->port_b;
}

static void add_val(struct row *r, const struct weir_flow_val *v)
{
	for (int i = 0; i < 2; i++) {
		r->packets[i] += v->packets[i];
		r->bytes[i] += v->bytes[i];
		r->wire += v->wire[i];
	}
	if (!r->first || v->first < r->first)
		r->first = v->first;
	if (v->last > r->last)
		r->last = v->last;
}

static void add_to_row(struct row *r, const struct flow *x)
{
	add_val(r, &x->val);
	r->bypassed += x->bypassed;
	r->shown_bytes += x->shown_bytes;
	r->flows++;
}

static struct row other_row(const struct weir_flows *f)
{
	struct row r = { .flows = f->other_flows };

	add_val(&r, &f->other);
	r.shown_bytes = r.bytes[0] + r.bytes[1]; /* no rate: it is a sum of the past */
	return r;
}

/* The one or two rows that a flow belongs to. */
static int keys_of(const struct weir_flows *f, const struct flow *x, enum weir_by by,
		   struct row keys[2])
{
	bool guessed, b = initiator_is_b(f, x, &guessed);

	memset(keys, 0, 2 * sizeof(*keys));
	switch (by) {
	case WEIR_BY_FLOW:
		keys[0].flow = x;
		return 1;
	case WEIR_BY_HOST:
		memcpy(keys[0].addr, x->key.addr_a, 16);
		memcpy(keys[1].addr, x->key.addr_b, 16);
		return memcmp(keys[0].addr, keys[1].addr, 16) ? 2 : 1;
	case WEIR_BY_PORT:
		keys[0].port = b ? x->key.port_a : x->key.port_b;
		keys[0].proto = x->key.proto;
		keys[0].eth_type = x->key.eth_type;
		return 1;
	case WEIR_BY_PROTOCOL:
		keys[0].proto = x->key.proto;
		keys[0].eth_type = x->key.proto ? 0 : x->key.eth_type;
		return 1;
	}
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int c = memcmp(x->addr, y->addr, 16);

	if (c)
		return c;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->proto != y->proto)
		return x->proto < y->proto ? -1 : 1;
	if (x->flow != y->flow)
		return x->flow < y->flow ? -1 : 1;
	return (x->eth_type > y->eth_type) - (x->eth_type < y->eth_type);
}

static int compare_bytes(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	uint64_t bx = x->bytes[0] + x->bytes[1], by = y->bytes[0] + y->bytes[1];

	return (bx < by) - (bx > by);
}

/* Sort by key and add up equals. */
static size_t combine(struct row *rows, size_t n)
{
	size_t out = 0;

	qsort(rows, n, sizeof(*rows), compare_keys);
	for (size_t i = 1; i < n; i++) {
		struct row *to = &rows[out], *from = &rows[i];

		if (compare_keys(to, from)) {
			rows[++out] = *from;
			continue;
		}
		for (int d = 0; d < 2; d++) {
			to->packets[d] += from->packets[d];
			to->bytes[d] += from->bytes[d];
		}
		to->wire += from->wire;
		to->bypassed += from->bypassed;
		to->shown_bytes += from->shown_bytes;
		to->flows += from->flows;
		if (from->first < to->first)
			to->first = from->first;
		if (from->last > to->last)
			to->last = from->last;
	}
	return n ? out + 1 : 0;
}

static struct row *make_rows(const struct weir_flows *f, enum weir_by by, size_t *ret_n)
{
	struct row *rows = calloc(f->used * 2 + 1, sizeof(*rows)), keys[2];
	size_t n = 0;

	*ret_n = 0;
	if (!rows)
		return NULL;
	for (size_t i = 0; i < f->size; i++) {
		int k = f->slots[i].used ? keys_of(f, &f->slots[i], by, keys) : 0;

		for (int j = 0; j < k; j++) {
			rows[n] = keys[j];
			add_to_row(&rows[n++], &f->slots[i]);
		}
	}
	if (by != WEIR_BY_FLOW)
		n = combine(rows, n);
	qsort(rows, n, sizeof(*rows), compare_bytes);
	*ret_n = n;
	return rows;
}

static void add_protocol(struct weir_buf *out, uint8_t proto, uint16_t eth_type)
{
	if (proto || eth_type == 0x0800 || eth_type == 0x86dd)
		weir_format_proto_name(out, proto);
	else if (eth_type == 0x0806)
		weir_buf_adds(out, "arp");
	else
		weir_buf_addf(out, "ether-0x%04x", eth_type);
}

static void json_ends(const struct weir_watch *w, struct weir_json *j, const struct flow *x)
{
	bool guessed, b = initiator_is_b(w->flows, x, &guessed),
		      ip = x->key.proto || x->key.eth_type == 0x0800 || x->key.eth_type == 0x86dd ||
			   x->key.eth_type == 0x0806;
	const uint8_t *ends[2] = { b ? x->key.addr_b : x->key.addr_a,
				   b ? x->key.addr_a : x->key.addr_b };
	uint16_t ports[2] = { b ? x->key.port_b : x->key.port_a,
			      b ? x->key.port_a : x->key.port_b };
	static const char *const names[2][2] = { { "src_ip", "src_port" },
						 { "dst_ip", "dst_port" } };
	static const uint8_t none[16];
	char name[IF_NAMESIZE];

	for (int i = 0; i < 2; i++) {
		weir_autobuf struct weir_buf text = { 0 };

		if (x->key.eth_type == 0x86dd)
			weir_buf_add_addr6(&text, ends[i]);
		else
			weir_buf_add_addr(&text, ends[i]);
		if (ip && memcmp(ends[i], none, 16))
			weir_json_str(j, names[i][0], text.data);
		if (ports[i])
			weir_json_uint(j, names[i][1], ports[i]);
	}
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (w->ifaces[i].ifindex == x->key.ifindex) {
			snprintf(name, sizeof(name), "%s", w->ifaces[i].name);
			weir_json_str(j, "iface", name);
			break;
		}
	if (guessed)
		weir_json_bool(j, "initiator_guessed", true);
	if (x->key.fragment)
		weir_json_bool(j, "fragment", true);
}

static void json_sums(struct weir_json *j, const struct row *r)
{
	if (!r->flow)
		weir_json_uint(j, "flows", r->flows);
	weir_json_uint(j, "packets", r->packets[0] + r->packets[1]);
	weir_json_uint(j, "packets_in", r->packets[0]);
	weir_json_uint(j, "packets_out", r->packets[1]);
	weir_json_uint(j, "wire_packets", r->wire);
	weir_json_uint(j, "bytes", r->bytes[0] + r->bytes[1]);
	weir_json_uint(j, "bytes_in", r->bytes[0]);
	weir_json_uint(j, "bytes_out", r->bytes[1]);
	if (r->bypassed)
		weir_json_uint(j, "bypass_bytes", r->bypassed);
	weir_json_time(j, "first_ts", r->first);
	weir_json_time(j, "last_ts", r->last);
}

/* The TCP flags seen in either direction. */
static bool flags_of(const struct flow *x, char ret[WEIR_TCP_LETTERS])
{
	if (x->key.proto != 6 || x->key.fragment)
		return false;
	weir_format_tcp_letters(x->val.tcp_flags[0] | x->val.tcp_flags[1], ret);
	return true;
}

static void json_row(const struct weir_watch *w, const struct row *r, struct weir_buf *out)
{
	const struct flow *x = r->flow;
	weir_autobuf struct weir_buf text = { 0 };
	char letters[WEIR_TCP_LETTERS];
	struct weir_json j;

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	if (w->opt.by == WEIR_BY_HOST) {
		weir_buf_add_addr(&text, r->addr);
		weir_json_str(&j, "host", text.data);
	} else {
		add_protocol(&text, x ? x->key.proto : r->proto, x ? x->key.eth_type : r->eth_type);
		weir_json_str(&j, "protocol", text.data);
	}
	if (x)
		json_ends(w, &j, x);
	if (x && flags_of(x, letters))
		weir_json_str(&j, "tcp_flags", letters);
	if (w->opt.by == WEIR_BY_PORT && r->port)
		weir_json_uint(&j, "port", r->port);
	json_sums(&j, r);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

/* What is in no other line: flows that the table had no room for. */
static void json_other(const struct weir_flows *f, struct weir_buf *out)
{
	struct row r = other_row(f);
	struct weir_json j;

	if (!r.flows)
		return;
	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_bool(&j, "other", true);
	json_sums(&j, &r);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

static void pad_to(struct weir_buf *out, size_t start, size_t width)
{
	for (size_t n = out->len - start; n < width; n++)
		weir_buf_addc(out, ' ');
}

static void add_flags(const struct flow *x, struct weir_buf *out)
{
	char letters[WEIR_TCP_LETTERS];

	if (flags_of(x, letters))
		weir_buf_addf(out, " [%s]", letters);
}

static void add_name(const struct weir_watch *w, const struct row *r, struct weir_buf *out)
{
	const struct flow *x = r->flow;
	bool guessed, numeric = w->opt.numeric, b;
	uint16_t pa, pb;

	if (w->opt.by == WEIR_BY_HOST) {
		weir_buf_add_addr(out, r->addr);
	} else if (!x) {
		add_protocol(out, r->proto, r->eth_type);
		if (w->opt.by == WEIR_BY_PORT && r->port) {
			const char *service = numeric ? NULL :
							weir_format_service(r->port, r->proto);

			weir_buf_addf(out, "/%u", r->port);
			if (service)
				weir_buf_addf(out, " %s", service);
		}
	} else {
		b = initiator_is_b(w->flows, x, &guessed);
		pa = b ? x->key.port_b : x->key.port_a;
		pb = b ? x->key.port_a : x->key.port_b;
		add_protocol(out, x->key.proto, x->key.eth_type);
		weir_buf_addc(out, ' ');
		weir_format_end(out, b ? x->key.addr_b : x->key.addr_a, pa, pa, x->key.proto,
				numeric);
		weir_buf_adds(out, guessed ? " ?> " : " > ");
		weir_format_end(out, b ? x->key.addr_a : x->key.addr_b, pb, pb, x->key.proto,
				numeric);
		if (x->key.fragment)
			weir_buf_adds(out, " fragment");
		add_flags(x, out);
	}
	if (!r->bypassed)
		return;
	weir_buf_adds(out, " +");
	weir_buf_add_si(out, (double)r->bypassed);
	weir_buf_adds(out, "B by bypass");
}

static void add_cell(struct weir_buf *out, double v, size_t width)
{
	weir_autobuf struct weir_buf cell = { 0 };

	weir_buf_add_si(&cell, v);
	for (size_t n = cell.len; n < width; n++)
		weir_buf_addc(out, ' ');
	weir_buf_add(out, cell.data, cell.len);
}

static void text_cells(const struct row *r, double seconds, struct weir_buf *out)
{
	uint64_t bytes = r->bytes[0] + r->bytes[1];

	add_cell(out, (double)r->packets[0], 9);
	add_cell(out, (double)r->packets[1], 9);
	add_cell(out, (double)r->bytes[0], 9);
	add_cell(out, (double)r->bytes[1], 9);
	add_cell(out, seconds > 0 ? (double)(bytes - r->shown_bytes) * 8 / seconds : 0, 10);
	weir_buf_addc(out, '\n');
}

static void text_row(const struct weir_watch *w, const struct row *r, double seconds, size_t width,
		     struct weir_buf *out)
{
	size_t start = out->len;

	add_name(w, r, out);
	pad_to(out, start, width);
	text_cells(r, seconds, out);
}

static void text_other(const struct weir_flows *f, size_t width, struct weir_buf *out)
{
	struct row r = other_row(f);
	size_t start = out->len;

	if (!r.flows)
		return;
	weir_buf_adds(out, "other: ended, or beyond the table");
	pad_to(out, start, width);
	text_cells(&r, 0, out);
}

static void text_table(struct weir_watch *w, const struct row *rows, size_t n, size_t most,
		       int cols, struct weir_buf *out)
{
	static const char *const titles[] = { "FLOW", "HOST", "PORT", "PROTOCOL" };
	struct weir_flows *f = w->flows;
	uint64_t now = weir_clock_mono();
	double seconds = (double)(now - f->shown_at) / (double)WEIR_NSEC_PER_SEC;
	size_t width = (size_t)cols - CELLS_WIDTH, start;

	weir_buf_addf(out, "%zu flow%s", f->used, f->used == 1 ? "" : "s");
	weir_buf_addf(out, ", lost %llu\n", (unsigned long long)weir_account_lost(w));
	start = out->len;
	weir_buf_adds(out, titles[w->opt.by]);
	pad_to(out, start, width);
	weir_buf_adds(out, "   pkts in pkts out bytes in bytes out    bits/s\n");
	for (size_t i = 0; i < n && i < most; i++)
		text_row(w, &rows[i], seconds, width, out);
	text_other(f, width, out);
	if (n > most)
		weir_buf_addf(out, "(%zu more)\n", n - most);
}

static void remember_shown(struct weir_flows *f)
{
	for (size_t i = 0; i < f->size; i++)
		f->slots[i].shown_bytes = f->slots[i].val.bytes[0] + f->slots[i].val.bytes[1];
	f->shown_at = weir_clock_mono();
}

void weir_flows_bypass_begin(struct weir_flows *f)
{
	f->bypass_look++;
}

void weir_flows_bypassed(struct weir_flows *f, const struct weir_flow_key *k, uint64_t cookie,
			 uint64_t bytes)
{
	struct flow *x = find_slot(f->slots, f->size, k);

	if (!x->used)
		return;
	f->bypassing += !x->bypass_cookie;
	x->bypass_cookie = cookie;
	x->bypass_look = f->bypass_look;
	x->bypassed = bytes;
}

void weir_flows_bypass_end(struct weir_flows *f,
			   bool (*fn)(void *arg, uint64_t cookie, uint64_t *ret), void *arg)
{
	for (size_t i = 0; f->bypassing && i < f->size; i++) {
		struct flow *x = &f->slots[i];

		if (!x->used || !x->bypass_cookie || x->bypass_look == f->bypass_look)
			continue;
		fn(arg, x->bypass_cookie, &x->bypassed);
		x->bypass_cookie = 0;
		f->bypassing--;
	}
}

/* Ended flows leave the table: as a JSON line where lines are the output, into
 * the sum of the others where a picture is. */
static void expire(struct weir_watch *w, bool lines, struct weir_buf *out)
{
	struct weir_flows *f = w->flows;
	uint64_t now = weir_clock_real();
	size_t gone = 0;

	for (size_t i = 0; i < f->size; i++) {
		struct flow *x = &f->slots[i];
		struct row r = { .flow = x };

		if (!x->used || x->bypass_cookie || x->val.last + FLOW_IDLE_NS > now)
			continue;
		add_to_row(&r, x);
		if (lines) {
			json_row(w, &r, out);
		} else {
			merge_val(&f->other, &x->val);
			f->other_flows++;
		}
		x->used = false;
		gone++;
	}
	f->used -= gone;
	if (gone) /* the probe sequences have holes now: build the table anew */
		resize(f, f->size);
}

int weir_flows_show(struct weir_watch *w, bool last)
{
	struct weir_flows *f = w->flows;
	weir_autobuf struct weir_buf out = { 0 };
	bool tty = isatty(STDOUT_FILENO), json = w->opt.format == WEIR_FORMAT_JSON;
	bool live = w->engine != &weir_engine_pcap || !w->opt.read_file;
	int lines = 24, cols = 80;
	struct row *rows;
	size_t n;

	weir_watch_bypass_look(w);
	if (live && w->opt.by == WEIR_BY_FLOW && !last)
		expire(w, json, &out);
	if (last || (tty && !json && !w->opt.once)) {
		rows = make_rows(f, (enum weir_by)w->opt.by, &n);
		if (!rows)
			return -ENOMEM;
		if (tty)
			weir_term_size(STDOUT_FILENO, &cols, &lines);
		else
			cols = 120;
		if (tty && !json && !w->opt.once)
			weir_buf_adds(&out, "\033[H\033[2J");
		for (size_t i = 0; json && i < n; i++)
			json_row(w, &rows[i], &out);
		if (json)
			json_other(f, &out);
		else
			text_table(w, rows, n, tty && lines > 6 ? (size_t)lines - 5 : SIZE_MAX,
				   cols, &out);
		free(rows);
		remember_shown(f);
	}
	return out.len ? weir_writer_write(w, &out) : 0;
}
