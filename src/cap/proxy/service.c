/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/units.h"
#include "base/verb.h"
#include "cap/proxy/control.h"
#include "cap/proxy/service_impl.h"
#include "cap/proxy/sockmap.h"

#define VERB "proxy"
/* The one before cleans up, which takes as long as a change of the filter. */
#define WAIT_MS 10000
#define POLL_MS 50
/* Descriptors besides those of connections: listeners, loops, maps, the resolver's. */
#define FILES_SPARE 256
#define FILES_EACH 2 /* of a connection; pipes only while bytes are in them */

/* ---- Telling */

void weir_service_tell(const char *fmt, ...)
{
	struct weir_error e = { 0 };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	weir_verb_fail(VERB, &e, 0);
}

void weir_service_tell_lines(const struct weir_buf *text)
{
	const char *at = text->data;

	while (at && *at) {
		size_t n = strcspn(at, "\n");

		weir_service_tell("%.*s", (int)n, at);
		at += n + (at[n] == '\n');
	}
}

/* ---- What the configuration asks of the process */

unsigned int weir_service_workers(const struct weir_proxy_config *c)
{
	cpu_set_t set;
	int n = 1;

	if (c->workers)
		return c->workers < WEIR_WORKERS_MAX ? c->workers : WEIR_WORKERS_MAX;
	if (!sched_getaffinity(0, sizeof(set), &set))
		n = CPU_COUNT(&set);
	else
		n = (int)sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > WEIR_WORKERS_MAX ? WEIR_WORKERS_MAX : (unsigned int)n;
}

bool weir_service_wants_net_admin(const struct weir_proxy_config *c)
{
	for (size_t i = 0; i < c->n_routes; i++)
		if (c->routes[i].transparent)
			return true;
	return false;
}

void weir_service_raise_files(const struct weir_proxy_config *c)
{
	const uint64_t need = c->limits.connections * FILES_EACH + FILES_SPARE;
	struct rlimit l;
	uint64_t have;

	if (getrlimit(RLIMIT_NOFILE, &l))
		return;
	if (l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	have = l.rlim_cur;
	if (l.rlim_cur == RLIM_INFINITY || have >= need)
		return;
	weir_service_tell("limits.connections is %llu, but %llu descriptors are enough for %llu: "
			  "raise their limit to %llu (LimitNOFILE=, ulimit -Hn)",
			  (unsigned long long)c->limits.connections, (unsigned long long)have,
			  (unsigned long long)(have > FILES_SPARE ? have - FILES_SPARE : 0) /
				  FILES_EACH,
			  (unsigned long long)need);
}

/* ---- The access log */

int weir_service_open_log(struct weir_service *s, const struct weir_proxy_config *c, int *ret_fd,
			  struct weir_error *err)
{
	int fd;

	*ret_fd = -1;
	if (!c->log)
		return 0;
	if (strcmp(c->log, "-") != 0)
		fd = weir_keeper_open_log(&s->keeper, err);
	else if ((fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)) < 0)
		fd = weir_fail(err, -errno, "cannot write the log to standard output: %m");
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int weir_service_reopen_log(struct weir_service *s, struct weir_error *err)
{
	int fd, ret;

	weir_keeper_hurry(&s->keeper);
	ret = weir_service_open_log(s, s->cfg, &fd, err);

	if (!ret && weir_access_log_set(s->shared.log, fd, s->cfg->log_format))
		ret = weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	if (ret)
		weir_service_tell("%s: the log goes on as it was", err->msg);
	return ret;
}

/* ---- Signals */

static const int handled[] = { SIGHUP, SIGTERM, SIGINT, SIGUSR1 };

static void take_signal(struct weir_io *io, uint32_t events)
{
	struct weir_service *s = (void *)((char *)io - offsetof(struct weir_service, signals));
	struct signalfd_siginfo info;
	struct weir_error err;

	(void)events;
	while (read(io->fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			weir_service_reload(s, &err);
		else if (info.ssi_signo == SIGUSR1)
			weir_service_reopen_log(s, &err);
		else
			weir_service_drain(s);
	}
}

/* Before any thread exists, so that every one of them has them blocked. */
static void block_signals(sigset_t *ret)
{
	sigemptyset(ret);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(handled); i++)
		sigaddset(ret, handled[i]);
	pthread_sigmask(SIG_BLOCK, ret, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int watch_signals(struct weir_service *s, struct weir_error *err)
{
	sigset_t set;

	block_signals(&set);
	s->signals.fn = take_signal;
	s->signals.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (s->signals.fd < 0 || weir_loop_add(s->loop, &s->signals, EPOLLIN))
		return weir_fail(err, -errno, "cannot wait for signals: %m");
	return 0;
}

/* ---- The keeper */

static void keeper_gone(struct weir_io *io, uint32_t events)
{
	struct weir_service *s = (void *)((char *)io - offsetof(struct weir_service, keeper_watch));

	(void)events;
	weir_loop_del(s->loop, io);
	weir_keeper_end(&s->keeper);
	weir_service_tell("the keeper has ended: connections are served as before, but a reload, a "
			  "new log and the removal of allow_sources from XDP take a restart");
}

static int watch_keeper(struct weir_service *s, struct weir_error *err)
{
	int ret;

	s->keeper_watch.fn = keeper_gone;
	s->keeper_watch.fd = s->keeper.fd;
	/* What it answers is read where it was asked; only its end comes here. */
	ret = weir_loop_add(s->loop, &s->keeper_watch, EPOLLRDHUP);
	return ret ? weir_fail(err, ret, "cannot watch the keeper: %s", strerror(-ret)) : 0;
}

/* ---- Draining */

static void one_drained(struct weir_post *p)
{
	struct weir_drained *d = (void *)((char *)p - offsetof(struct weir_drained, post));
	struct weir_service *s = d->service;

	if (++s->n_drained == s->n_workers)
		weir_loop_stop(s->loop);
}

void weir_service_drain(struct weir_service *s)
{
	const uint64_t deadline = weir_clock_mono() + s->cfg->drain_ns;
	uint32_t open = 0;

	if (s->draining) {
		weir_loop_stop(s->loop);
		return;
	}
	s->draining = true;
	weir_service_notify("STOPPING=1");
	for (unsigned int w = 0; w < s->n_workers; w++)
		open += weir_worker_open(s->worker[w]);
	if (open)
		weir_service_tell("draining: %u connection%s open: a second signal ends them", open,
				  open == 1 ? " is" : "s are");
	for (unsigned int w = 0; w < s->n_workers; w++) {
		s->drained[w] = (struct weir_drained){ { .fn = one_drained }, s };
		weir_worker_drain(s->worker[w], deadline, s->loop, &s->drained[w].post);
	}
}

/* ---- The end */

static void add_refused(const uint64_t totals[WEIR_TOTALS], struct weir_buf *out)
{
	const char *sep = "; refused: ";

	for (int i = WEIR_END_CLIENT_GONE; i < WEIR_ENDS; i++) {
		if (!totals[WEIR_TOTAL_ENDED + i])
			continue;
		weir_buf_addf(out, "%s%s ", sep, weir_proxy_ends[i].word);
		weir_buf_add_grouped(out, totals[WEIR_TOTAL_ENDED + i]);
		sep = ", ";
	}
}

static void tell_summary(struct weir_service *s)
{
	weir_autobuf struct weir_buf out = { 0 };
	uint64_t totals[WEIR_TOTALS];
	struct weir_error err;

	if (weir_account_totals(s->maps.totals_fd, totals, &err)) {
		weir_service_tell("ended: %s", err.msg);
		return;
	}
	weir_buf_add_grouped(&out, totals[WEIR_TOTAL_ACCEPTED]);
	weir_buf_adds(&out, totals[WEIR_TOTAL_ACCEPTED] == 1 ? " connection, " : " connections, ");
	weir_buf_add_grouped(&out, totals[WEIR_TOTAL_BYTES_IN]);
	weir_buf_adds(&out, " bytes in, ");
	weir_buf_add_grouped(&out, totals[WEIR_TOTAL_BYTES_OUT]);
	weir_buf_adds(&out, " bytes out");
	add_refused(totals, &out);
	if (out.data)
		weir_service_tell("ended: %s", out.data);
}

/* Of whatever there is: a start that failed has made a part of it. */
static void finish(struct weir_service *s)
{
	weir_control_free(s->control);
	weir_metrics_free(s->metrics);
	for (unsigned int w = 0; w < s->n_workers; w++)
		if (s->worker[w])
			weir_worker_free(s->worker[w]);
	weir_sockmap_close();
	weir_names_free(s->shared.names);
	if (s->cfg)
		weir_proxy_config_unref(s->cfg); /* the last one: its targets have states */
	weir_backends_free(s->shared.backends);
	weir_limiter_free(s->shared.limiter);
	weir_access_log_free(s->shared.log);
	weir_closep(&s->signals.fd);
	weir_loop_free(s->loop);
	for (size_t i = 0; i < s->n_activated; i++)
		close(s->activated[i].fd);
	weir_buf_free(&s->allow_notes);
}

/* ---- The start */

/* The lock of a proxy that was killed lasts until its keeper has cleaned up. */
static int open_maps(struct weir_service *s, struct weir_error *err)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
	int ret = weir_account_open(&s->maps, s->cfg->cache, err);

	for (int waited = 0; ret == -EBUSY && waited < WAIT_MS; waited += POLL_MS) {
		weir_autobuf struct weir_buf answer = { 0 };
		struct weir_error none;

		if (!weir_control_ask("status", &answer, &none))
			break;
		nanosleep(&pause, NULL);
		ret = weir_account_open(&s->maps, s->cfg->cache, err);
	}
	return ret;
}

static int start_keeper(struct weir_service *s, struct weir_error *err)
{
	int ret = weir_keeper_start(&s->keeper, &s->flags, s->cfg, s->maps.lock_fd, err);

	if (ret) {
		weir_account_unpin();
		return ret;
	}
	s->loop = weir_loop_new(err);
	return s->loop ? 0 : -ENOMEM;
}

static int open_shared(struct weir_service *s, struct weir_error *err)
{
	struct weir_proxy_shared *h = &s->shared;
	int fd, ret;

	h->account_fd = s->maps.account_fd;
	h->limiter = weir_limiter_new();
	h->log = weir_access_log_new();
	if (!h->limiter || !h->log)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	ret = weir_service_open_log(s, s->cfg, &fd, err);
	if (ret)
		return ret;
	if (weir_access_log_set(h->log, fd, s->cfg->log_format))
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	h->names = weir_names_new(s->loop, s->maps.names_fd, s->cfg, err);
	if (!h->names)
		return -ENOMEM;
	h->backends = weir_backends_new(s->loop, h->names);
	if (!h->backends)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	return weir_backends_take(h->backends, s->cfg, err);
}

static int open_doors(struct weir_service *s, struct weir_error *err)
{
	int ret;

	s->control = weir_control_new(s, err);
	if (!s->control)
		return -EADDRINUSE;
	ret = weir_keeper_allow(&s->keeper, &s->allow_notes, err);
	if (ret || !s->cfg->metrics.len)
		return ret;
	s->metrics = weir_metrics_new(s, err);
	return s->metrics ? 0 : -EADDRINUSE;
}

bool weir_service_wants_sockmap(const struct weir_proxy_config *c)
{
	bool wants = c->engine == WEIR_ENGINE_SOCKMAP;

	for (size_t i = 0; i < c->n_routes; i++)
		wants = wants || c->routes[i].engine == WEIR_ENGINE_SOCKMAP;
	return wants;
}

/* Where the kernel fails the test of it, the proxy goes on by splice, and says so. */
static void open_sockmap(const struct weir_service *s)
{
	struct weir_error err;

	if (weir_service_wants_sockmap(s->cfg) &&
	    weir_sockmap_open(s->cfg->limits.connections, &err))
		weir_service_tell("engine sockmap is not to be had, splice is used: %s", err.msg);
}

static int give_up_root(struct weir_service *s, struct weir_error *err)
{
	open_sockmap(s);
	s->net_admin = weir_service_wants_net_admin(s->cfg);
	return weir_keeper_drop(s->cfg->user, s->net_admin, err);
}

static int start_workers(struct weir_service *s, struct weir_error *err)
{
	struct weir_worker_listens l[WEIR_WORKERS_MAX];
	int ret = weir_service_activate(s, err);

	if (!ret)
		ret = weir_service_listen(s, s->cfg, NULL, l, err);
	if (!ret)
		ret = open_shared(s, err);
	else
		return ret;
	if (!ret)
		ret = open_doors(s, err);
	if (!ret)
		ret = give_up_root(s, err);
	if (!ret)
		ret = watch_signals(s, err);
	if (!ret)
		ret = watch_keeper(s, err);
	for (unsigned int w = 0; !ret && w < s->n_workers; w++) {
		s->worker[w] = weir_worker_new(w, &s->shared, s->cfg, &l[w], err);
		if (!s->worker[w])
			ret = -ENOMEM;
		else
			l[w].n = 0; /* they are the worker's now */
	}
	weir_service_unlisten(s, l);
	return ret;
}

static void tell_ready(const struct weir_service *s)
{
	weir_autobuf struct weir_buf out = { 0 };
	const struct passwd *p = getpwuid(geteuid());
	const enum weir_proxy_engine e = s->cfg->engine;

	for (size_t i = 0; i < s->cfg->n_listens; i++) {
		const struct weir_proxy_listen *l = &s->cfg->listens[i];
		char text[WEIR_ENDPOINT_STRLEN];

		weir_buf_addf(&out, "%s %s (%s)", i ? "," : "listening on",
			      weir_endpoint_str(&l->address, text),
			      l->protocol == WEIR_PROXY_HTTP ? "http" : "tls");
	}
	weir_buf_addf(&out, ", %u worker%s, engine %s, as %s", s->n_workers,
		      s->n_workers == 1 ? "" : "s",
		      weir_proxy_engines[e == WEIR_ENGINE_AUTO || (e == WEIR_ENGINE_SOCKMAP &&
								   weir_sockmap_why_not()) ?
						 WEIR_ENGINE_SPLICE :
						 e],
		      p ? p->pw_name : "nobody known");
	if (out.data)
		weir_service_tell("%s", out.data);
	weir_service_tell_lines(&s->allow_notes);
	weir_service_notify("READY=1\nMAINPID=%d", (int)getpid());
}

static int serve(struct weir_service *s, struct weir_error *err)
{
	sigset_t set;
	int ret;

	block_signals(&set);
	s->began = weir_clock_mono();
	s->n_workers = weir_service_workers(s->cfg);
	ret = open_maps(s, err);
	if (ret)
		return ret;
	weir_service_raise_files(s->cfg);
	ret = start_keeper(s, err);
	if (!ret)
		ret = start_workers(s, err);
	if (!ret) {
		tell_ready(s);
		ret = weir_loop_run(s->loop, err);
	}
	return ret;
}

int weir_service_run(const struct weir_proxy_flags *f)
{
	weir_autofree struct weir_service *s = calloc(1, sizeof(*s));
	struct weir_error err = { 0 };
	int ret;

	if (!s) {
		weir_fail(&err, 0, "out of memory: free some and try again");
		return weir_verb_fail(VERB, &err, WEIR_EXIT_FAILED);
	}
	s->flags = *f;
	s->keeper.fd = s->signals.fd = -1;
	ret = weir_proxy_config_read(f, &s->cfg, &err);
	if (ret)
		return weir_verb_fail(VERB, &err,
				      ret == -ENOMEM ? WEIR_EXIT_FAILED : WEIR_EXIT_USAGE);
	ret = serve(s, &err);
	finish(s);
	if (!ret)
		tell_summary(s);
	/* Last: while it lives, no other proxy begins. */
	weir_keeper_end(&s->keeper);
	weir_account_close(&s->maps);
	return ret ? weir_verb_fail(VERB, &err, WEIR_EXIT_FAILED) : WEIR_EXIT_DONE;
}
