/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capture through libpcap: files of any kind it reads, and live. The match runs
 * in user space.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcap/pcap.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/verb.h"
#include "cap/watch/session.h"

#define BATCH 4096 /* packets read before the signals have their turn */
#define LIVE_TIMEOUT_MS 50
#define INPUT_BYTES (64u << 10)
#define INPUT_POLL_MS 200

/* A file on its way to libpcap. From a pipe libpcap would wait for more with the
 * signals blocked: so the waiting is done here, and what is buffered is known. */
struct input {
	struct weir_watch *w;
	int fd;
	bool pipe;
	size_t at, n;
	char buf[INPUT_BYTES];
};

struct source {
	struct weir_watch *w;
	unsigned int slot;
	pcap_t *pcap;
	struct input *input; /* freed by libpcap's fclose() */
	int linktype;
	uint8_t dir; /* libpcap does not tell: known only if one is asked for */
	uint64_t nsec_per_tick; /* of pcap_pkthdr's fraction */
	uint64_t packets, bytes;
};

struct pcap_state {
	struct source src[WEIR_WATCH_IFACES];
	int stopped;
};

static void on_packet(u_char *arg, const struct pcap_pkthdr *h, const u_char *data)
{
	struct source *s = (struct source *)arg;
	struct pcap_state *st = s->w->engine_state;
	struct weir_watch_event ev = {
		.ts = (uint64_t)h->ts.tv_sec * WEIR_NSEC_PER_SEC +
		      (uint64_t)h->ts.tv_usec * s->nsec_per_tick,
		.len = h->len,
		.caplen = h->caplen,
		.ifindex = s->w->ifaces[s->slot].ifindex,
		.slot = (uint8_t)s->slot,
		.dir = s->dir,
		.flags = s->linktype == DLT_EN10MB ? 0 : WEIR_WATCH_NO_L2,
	};

	/* pcap_breakloop takes effect only at the end of a block. */
	if (st->stopped)
		return;
	s->packets++;
	s->bytes += h->len;
	if (s->linktype == DLT_NULL || s->linktype == DLT_LOOP) {
		uint32_t skip = ev.caplen < 4 ? ev.caplen : 4; /* the address family */

		ev.len -= skip;
		ev.caplen -= skip;
		data += skip;
	}
	if (ev.caplen > WEIR_WATCH_SNAPLEN)
		ev.caplen = WEIR_WATCH_SNAPLEN;
	if (weir_sink_packet(&s->w->sinks[0], &ev, data)) {
		st->stopped = WEIR_STOP;
		pcap_breakloop(s->pcap);
	}
}

static int check_linktype(struct source *s, const char *what, struct weir_error *err)
{
	static const int known[] = {DLT_EN10MB, DLT_RAW, DLT_IPV4, DLT_IPV6, DLT_NULL, DLT_LOOP};
	const char *name;

	s->linktype = pcap_datalink(s->pcap);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(known); i++)
		if (s->linktype == known[i])
			return 0;
	name = pcap_datalink_val_to_name(s->linktype);
	return weir_fail(err, -EINVAL, "%s has link type %s: weir reads Ethernet and raw IP", what,
			 name ? name : "unknown");
}

static ssize_t input_read(void *cookie, char *to, size_t n)
{
	struct input *in = cookie;
	struct pollfd p = {.fd = in->fd, .events = POLLIN};
	ssize_t got;

	if (in->at == in->n) {
		do { /* a disk may be slow, too: not even a batch is waited for */
			if (weir_watch_interrupted(in->w))
				return 0;
		} while (in->pipe && poll(&p, 1, INPUT_POLL_MS) <= 0);
		got = read(in->fd, in->buf, sizeof(in->buf));
		if (got <= 0)
			return got;
		in->at = 0;
		in->n = (size_t)got;
	}
	n = n < in->n - in->at ? n : in->n - in->at;
	memcpy(to, in->buf + in->at, n);
	in->at += n;
	return (ssize_t)n;
}

static int input_close(void *cookie)
{
	struct input *in = cookie;

	close(in->fd);
	free(in);
	return 0;
}

/* Would reading wait? */
static bool input_waits(const struct input *in)
{
	struct pollfd p = {.fd = in->fd, .events = POLLIN};

	return in->pipe && in->at == in->n && poll(&p, 1, 0) == 0;
}

static FILE *open_input(struct weir_watch *w, struct source *s)
{
	static const cookie_io_functions_t functions = {.read = input_read, .close = input_close};
	bool is_stdin = !strcmp(w->opt.read_file, "-");
	struct input *in = calloc(1, sizeof(*in));
	struct stat st;
	FILE *f;

	if (!in)
		return NULL;
	in->w = w;
	/* Without O_NONBLOCK opening a named pipe waits for its writer. */
	in->fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) :
			    open(w->opt.read_file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	f = in->fd < 0 ? NULL : fopencookie(in, "r", functions);
	if (!f) {
		if (in->fd >= 0)
			close(in->fd);
		free(in);
		return NULL;
	}
	in->pipe = !fstat(in->fd, &st) && !S_ISREG(st.st_mode);
	if (!is_stdin)
		fcntl(in->fd, F_SETFL, 0);
	setvbuf(f, NULL, _IONBF, 0); /* the buffer is ours */
	s->input = in;
	return f;
}

static int open_file(struct weir_watch *w, struct source *s, struct weir_error *err)
{
	char msg[PCAP_ERRBUF_SIZE];
	FILE *f = open_input(w, s);

	if (f)
		s->pcap = pcap_fopen_offline_with_tstamp_precision(f, PCAP_TSTAMP_PRECISION_NANO,
								   msg);
	else
		snprintf(msg, sizeof(msg), "%s", strerror(errno));
	if (!s->pcap) {
		/* libpcap names the file in some messages only. */
		size_t n = strlen(w->opt.read_file);
		bool named = !strncmp(msg, w->opt.read_file, n) && !strncmp(msg + n, ": ", 2);

		if (f)
			fclose(f);
		s->input = NULL;
		w->status = WEIR_EXIT_USAGE;
		return weir_fail(err, -EINVAL, "cannot read %s: %s: give a pcap or pcapng file",
				 w->opt.read_file, named ? msg + n + 2 : msg);
	}
	s->nsec_per_tick = 1;
	return check_linktype(s, w->opt.read_file, err);
}

static int open_live(struct weir_watch *w, struct source *s, const char *name,
		     struct weir_error *err)
{
	const struct weir_watch_iface *x = &w->ifaces[s->slot];
	bool in = w->want_in && !x->out_only, out = w->want_out && !x->in_only;
	char msg[PCAP_ERRBUF_SIZE];
	int ret;

	if (x->loopback && !in)
		return weir_fail(err, -EINVAL, "libpcap leaves out what goes out on %s, since it "
					       "comes in again: use -Q in", name);
	s->pcap = pcap_create(name, msg);
	if (!s->pcap)
		return weir_fail(err, -ENODEV, "cannot capture on %s: %s: check `ip link`", name,
				 msg);
	pcap_set_snaplen(s->pcap, (int)w->snaplen);
	pcap_set_promisc(s->pcap, w->opt.promisc);
	pcap_set_timeout(s->pcap, LIVE_TIMEOUT_MS);
	pcap_set_buffer_size(s->pcap, (int)w->opt.buffer);
	s->nsec_per_tick = 1000;
	if (!pcap_set_tstamp_precision(s->pcap, PCAP_TSTAMP_PRECISION_NANO))
		s->nsec_per_tick = 1;
	ret = pcap_activate(s->pcap);
	if (ret == PCAP_ERROR_PERM_DENIED)
		return weir_fail(err, -EPERM, "cannot capture on %s: run as root or with "
					      "CAP_NET_RAW", name);
	if (ret < 0)
		return weir_fail(err, -EIO, "cannot capture on %s: %s: check `ip link`", name,
				 pcap_geterr(s->pcap));
	if (in != out)
		s->dir = in ? WEIR_WATCH_IN : WEIR_WATCH_OUT;
	if (s->dir && pcap_setdirection(s->pcap, in ? PCAP_D_IN : PCAP_D_OUT))
		return weir_fail(err, -ENOTSUP, "libpcap cannot select a direction on %s: leave -Q "
						"out", name);
	if (pcap_setnonblock(s->pcap, 1, msg))
		return weir_fail(err, -EIO, "cannot capture on %s: %s: report this", name, msg);
	return check_linktype(s, name, err);
}

static int pcap_engine_open(struct weir_watch *w, struct weir_error *err)
{
	struct pcap_state *st = calloc(1, sizeof(*st));
	int ret = 0;

	if (!st)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->engine_state = st;
	for (unsigned int i = 0; !ret && i < w->n_ifaces; i++) {
		struct source *s = &st->src[i];

		s->w = w;
		s->slot = i;
		ret = w->opt.read_file ? open_file(w, s, err)
				       : open_live(w, s, w->ifaces[i].name, err);
		if (!ret)
			w->ifaces[i].no_l2 = s->linktype != DLT_EN10MB;
		if (!ret && w->opt.strict_pcap && !w->strict)
			ret = weir_strict_new(&w->strict, w->opt.spec.expression,
					      w->ifaces[i].no_l2, err);
	}
	return ret;
}

static int pcap_engine_fd(struct weir_watch *w)
{
	struct pcap_state *st = w->engine_state;

	/* Files are always readable; several live sources are polled by timer. */
	if (w->opt.read_file)
		return st->src[0].input->pipe ? st->src[0].input->fd : -1;
	return w->n_ifaces > 1 ? -1 : pcap_get_selectable_fd(st->src[0].pcap);
}

static int read_source(struct weir_watch *w, struct source *s, struct weir_error *err)
{
	struct pcap_state *st = w->engine_state;
	uint64_t before = s->packets;
	bool pipe = s->input && s->input->pipe;
	int ret = 0;

	/* A pipe gives one packet at a time, as long as there are some. */
	for (int i = 0; i < (pipe ? BATCH : 1) && !st->stopped; i++) {
		if (pipe && input_waits(s->input))
			return (int)(s->packets - before);
		ret = pcap_dispatch(s->pcap, pipe ? 1 : BATCH, on_packet, (u_char *)s);
		if (ret <= 0)
			break;
	}
	if (st->stopped)
		return st->stopped;
	if (w->opt.read_file && weir_watch_interrupted(w))
		return -ENODATA;
	if (ret == PCAP_ERROR)
		return weir_fail(err, -EIO, "%s: %s: what came before was shown, the rest is "
					    "unreadable",
				 w->opt.read_file ? w->opt.read_file : w->ifaces[s->slot].name,
				 pcap_geterr(s->pcap));
	if (w->opt.read_file && ret == 0)
		return -ENODATA;
	return (int)(s->packets - before);
}

static int pcap_engine_poll(struct weir_watch *w, struct weir_error *err)
{
	struct pcap_state *st = w->engine_state;
	int total = 0, ret;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		ret = read_source(w, &st->src[i], err);
		if (ret < 0)
			return ret;
		total += ret;
	}
	return total;
}

static void pcap_engine_detach(struct weir_watch *w)
{
	struct pcap_state *st = w->engine_state;

	/* A filter of one instruction, put on the socket behind libpcap's back,
	 * which would drain the ring: nothing more gets in, what is there can be
	 * read, and the handle's last statistics too. */
	for (unsigned int i = 0; st && !w->opt.read_file && i < w->n_ifaces; i++) {
		struct sock_filter none = {.code = BPF_RET | BPF_K, .k = 0};
		struct sock_fprog prog = {.len = 1, .filter = &none};

		if (st->src[i].pcap)
			setsockopt(pcap_fileno(st->src[i].pcap), SOL_SOCKET, SO_ATTACH_FILTER,
				   &prog, sizeof(prog));
	}
	/* libpcap hands over a block at the latest when its time is up. */
	if (st && !w->opt.read_file)
		usleep(2 * LIVE_TIMEOUT_MS * 1000);
}

/* The kernel drops before the match here: what it dropped counts as seen and
 * matched, since nobody can tell any more. */
static void pcap_engine_counters(struct weir_watch *w, unsigned int slot,
				 struct weir_watch_counters *ret)
{
	struct pcap_state *st = w->engine_state;
	struct source *s = st ? &st->src[slot] : NULL;
	struct pcap_stat stat;

	memset(ret, 0, sizeof(*ret));
	if (!s || !s->pcap)
		return;
	if (!w->opt.read_file && !pcap_stats(s->pcap, &stat))
		ret->lost[WEIR_WATCH_LOST_RING_FULL] = stat.ps_drop;
	ret->sent = s->packets;
	ret->matched = ret->seen = ret->sent + ret->lost[WEIR_WATCH_LOST_RING_FULL];
	ret->seen_bytes = ret->matched_bytes = s->bytes;
}

static void pcap_engine_close(struct weir_watch *w)
{
	struct pcap_state *st = WEIR_TAKE_PTR(w->engine_state);

	if (!st)
		return;
	for (unsigned int i = 0; i < w->n_ifaces; i++)
		if (st->src[i].pcap)
			pcap_close(st->src[i].pcap);
	free(st);
}

const struct weir_engine weir_engine_pcap = {
	.name = "pcap",
	.open = pcap_engine_open,
	.fd = pcap_engine_fd,
	.poll = pcap_engine_poll,
	.detach = pcap_engine_detach,
	.counters = pcap_engine_counters,
	.close = pcap_engine_close,
};
