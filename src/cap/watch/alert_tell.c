/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"
#include "cap/watch/alert.h"
#include "cap/watch/session.h"

#define SYSLOG_SOCKET "/dev/log"
#define SYSLOG_WAIT_US 200000 /* for a log that is behind; not again until it takes one */
#define SYSLOG "syslog"	      /* what --alert-log calls it */

struct weir_alert_log {
	struct weir_watch *w;
	int fd; /* file or socket; -1: standard output */
	bool syslog;
	bool stuck;	 /* the system log did not take the last one */
	uint64_t failed; /* events that could not be written */
	int error;	 /* of the last one */
};

/* ---- Text */

void weir_alert_json(const struct weir_alert_fact *f, struct weir_buf *out)
{
	weir_autobuf struct weir_buf host = { 0 };
	struct weir_json j;
	char unit[32];

	weir_json_init(&j, out);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_json_time(&j, "ts", f->ts);
	weir_json_str(&j, "verb", "watch");
	weir_json_str(&j, "event", f->raised ? "raised" : "cleared");
	weir_json_str(&j, "alert", f->rule->name);
	weir_json_str(&j, "rule", f->rule->text);
	weir_json_str(&j, "quantity", weir_alert_quantities[f->rule->quantity]);
	weir_json_str(&j, "unit", weir_alert_unit_name(f->rule, unit));
	weir_json_double(&j, "value", f->value);
	weir_json_double(&j, "threshold", f->rule->value);
	if (f->has_host) {
		weir_buf_add_addr(&host, f->host);
		weir_json_str(&j, "host", host.data);
	}
	if (!f->raised) {
		weir_json_time(&j, "raised_ts", f->raised_ts);
		weir_json_uint(&j, "duration_ns", f->ts - f->raised_ts);
		weir_json_double(&j, "peak", f->peak);
	}
	if (f->suppressed)
		weir_json_uint(&j, "suppressed", f->suppressed);
	weir_json_end_object(&j);
	weir_buf_addc(out, '\n');
}

void weir_alert_line(const struct weir_alert_fact *f, struct weir_buf *out)
{
	char unit[32];

	weir_alert_unit_name(f->rule, unit);
	weir_buf_add_clock(out, f->ts);
	weir_buf_addf(out, " %s %s: ", f->raised ? "RAISED" : "cleared", f->rule->name);
	weir_buf_add_si(out, f->value);
	weir_buf_addf(out, " %s", unit);
	if (f->has_host) {
		weir_buf_adds(out, " by ");
		weir_buf_add_addr(out, f->host);
	}
	if (!f->raised) {
		weir_buf_adds(out, " after ");
		weir_buf_add_duration(out, f->ts - f->raised_ts);
		weir_buf_adds(out, weir_alert_is_above(f->rule) ? ", at most " : ", at least ");
		weir_buf_add_si(out, f->peak);
	}
	weir_buf_addf(out, " (%s)\n", f->rule->text);
}

/* ---- Where to */

static int open_syslog(struct weir_alert_log *l, struct weir_error *err)
{
	const struct timeval patience = { .tv_usec = SYSLOG_WAIT_US };
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = SYSLOG_SOCKET };

	l->syslog = true;
	l->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) ||
	    connect(l->fd, (const struct sockaddr *)&to, sizeof(to)))
		return weir_fail(err, -errno,
				 "cannot reach the system log at " SYSLOG_SOCKET ": %s: start it, "
				 "or give --alert-log a file",
				 strerror(errno));
	return 0;
}

int weir_alert_log_open(struct weir_watch *w, struct weir_alert_log **ret, struct weir_error *err)
{
	struct weir_alert_log *l = calloc(1, sizeof(*l));
	const char *to = w->opt.alert_log;

	if (!l)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	*ret = l;
	l->w = w;
	l->fd = -1;
	if (!to)
		return 0;
	if (!strcmp(to, SYSLOG))
		return open_syslog(l, err);
	/* A FIFO must hold up nothing: not here without a reader, nor later when that is slow. */
	l->fd = open(to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
	if (l->fd < 0 && errno == ENXIO)
		return weir_fail(err, -errno,
				 "nobody reads %s: start the reader of --alert-log first", to);
	if (l->fd < 0)
		return weir_fail(err, -errno,
				 "cannot write to %s: %s: give --alert-log a file in a "
				 "directory that exists",
				 to, strerror(errno));
	return 0;
}

/* As syslog(3) writes it, but what is lost is known. */
static void add_syslog_head(const struct weir_alert_fact *f, struct weir_buf *out)
{
	time_t now = time(NULL);
	char when[32] = "";
	struct tm tm;

	/* The format's names of months are English, whatever the locale. */
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

	localtime_r(&now, &tm);
	snprintf(when, sizeof(when), "%.3s %2d %02d:%02d:%02d", months + tm.tm_mon * 3 % 36,
		 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	weir_buf_addf(out, "<%d>%s weir[%d]: ", LOG_DAEMON | (f->raised ? LOG_WARNING : LOG_NOTICE),
		      when, (int)getpid());
}

static int write_event(struct weir_alert_log *l, const struct weir_buf *out)
{
	ssize_t n;

	if (out->failed)
		return -ENOMEM;
	if (l->syslog)
		n = send(l->fd, out->data, out->len - 1,
			 MSG_NOSIGNAL | (l->stuck ? MSG_DONTWAIT : 0)); /* without the newline */
	else
		n = write(l->fd, out->data, out->len);
	if (n < 0)
		return -errno;
	return (size_t)n + l->syslog == out->len ? 0 : -ENOSPC;
}

void weir_alert_log_tell(struct weir_alert_log *l, const struct weir_alert_fact *f)
{
	weir_autobuf struct weir_buf out = { 0 };
	int ret;

	if (l->syslog)
		add_syslog_head(f, &out);
	if (l->fd >= 0 || l->w->opt.json)
		weir_alert_json(f, &out);
	else
		weir_alert_line(f, &out);
	if (l->fd < 0) {
		/* A reader that has gone ends the run, as it does with packets. */
		if (weir_writer_tell(l->w, &out))
			weir_watch_stop(l->w);
		return;
	}
	ret = write_event(l, &out);
	l->stuck = ret;
	if (ret) {
		l->failed++;
		l->error = ret;
	}
}

void weir_alert_log_close(struct weir_alert_log *l)
{
	if (!l)
		return;
	if (l->failed)
		fprintf(stderr, "weir watch: %llu alerts could not be written to %s: %s\n",
			(unsigned long long)l->failed, l->w->opt.alert_log, strerror(-l->error));
	if (l->failed && !l->w->status)
		l->w->status = 1;
	if (l->fd >= 0)
		close(l->fd);
	free(l);
}
