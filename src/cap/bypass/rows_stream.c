/* SPDX-License-Identifier: GPL-2.0-only */
/* Rows of the check about the stream: every byte, in order, to its end. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cap/bypass/trial.h"

#define CONNECTIONS 50

int weir_row_exact(struct weir_trial *t)
{
	static const size_t sizes[] = { 1,    2,     63,    64,	   1000,   1448,
					4096, 16384, 65535, 65536, 100000, 1000000 };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(sizes); i++) {
		size_t s = sizes[i], n = s < 1000 ? 200 * s : 2 * s + 100000;
		struct weir_pair p;

		if (weir_trial_pair(t, &p) || weir_trial_pump(t, p.a, p.b, n, s, 3000) ||
		    weir_trial_pump(t, p.b, p.a, n, s, 1 << 17) ||
		    weir_trial_pump(t, p.a, p.b, s, s, s))
			return -1;
		weir_trial_close(&p);
	}
	return 0;
}

/* Both sides speak at once, the initiator before it is accepted. */
int weir_row_first(struct weir_trial *t)
{
	struct sockaddr_storage at;
	socklen_t len;
	weir_autoclose int listener = weir_trial_listen(t, &at, &len);

	for (int i = 0; listener >= 0 && i < CONNECTIONS; i++) {
		struct weir_pair p = { .a = weir_trial_connect(t, &at, len) };

		if (p.a < 0 || weir_trial_send(t, p.a, 700, 0, 1) ||
		    weir_trial_send(t, p.a, 800, 700, 1))
			return -1;
		p.b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (p.b < 0)
			return weir_trial_fail(t, "cannot accept:");
		if (weir_trial_send(t, p.b, 900, 0, 2) ||
		    weir_trial_expect(t, p.b, 1500, 0, 1, false) ||
		    weir_trial_expect(t, p.a, 900, 0, 2, false))
			return -1;
		weir_trial_close(&p);
	}
	return listener < 0 ? -1 : 0;
}

int weir_row_close(struct weir_trial *t)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		struct weir_pair p;
		size_t n = (size_t)(1 + i * 997);

		if (weir_trial_pair(t, &p) || weir_trial_send(t, p.a, n, 0, 1))
			return -1;
		close(p.a);
		if (weir_trial_expect(t, p.b, n, 0, 1, true))
			return -1;
		close(p.b);
	}
	return 0;
}

int weir_row_killed(struct weir_trial *t)
{
	struct weir_pair p;
	char go;
	int told[2];
	pid_t pid;

	if (weir_trial_pair(t, &p) || pipe(told))
		return -1;
	pid = fork();
	if (!pid) {
		if (!weir_trial_send(t, p.a, 50000, 0, 1) && write(told[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(p.a);
	close(told[1]);
	if (pid < 0 || read(told[0], &go, 1) != 1)
		return weir_trial_fail(t, "the sender ended early");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return weir_trial_expect(t, p.b, 50000, 0, 1, true);
}

/* One side has said all, the other one goes on. */
static int half(struct weir_trial *t, int first, int second)
{
	if (weir_trial_send(t, first, 1000, 0, 1) || shutdown(first, SHUT_WR))
		return weir_trial_fail(t, "shutdown fails:");
	if (weir_trial_expect(t, second, 1000, 0, 1, true) ||
	    weir_trial_pump(t, second, first, 200000, 10000, 7000) || shutdown(second, SHUT_WR))
		return -1;
	return weir_trial_expect(t, first, 0, 0, 1, true);
}

int weir_row_half_close(struct weir_trial *t)
{
	struct weir_pair p, q;

	if (weir_trial_pair(t, &p) || weir_trial_pair(t, &q))
		return -1;
	return half(t, p.a, p.b) || half(t, q.b, q.a) ? -1 : 0;
}

/* ---- With a writer that waits */

struct writer {
	struct weir_trial *t;
	int fd;
	size_t n, size;
	int error;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	uint8_t *buf = malloc(w->size);
	size_t done = 0;

	while (buf && done < w->n) {
		size_t left = w->n - done < w->size ? w->n - done : w->size;
		ssize_t r;

		weir_trial_fill(buf, left, done, 1);
		r = send(w->fd, buf, left, MSG_NOSIGNAL);
		if (r <= 0) {
			w->error = errno;
			break;
		}
		done += (size_t)r;
	}
	free(buf);
	return NULL;
}

struct reader {
	int fd;
	ssize_t got;
	int error;
};

static void *read_one(void *arg)
{
	struct reader *r = arg;
	char c;

	r->got = recv(r->fd, &c, 1, 0);
	r->error = errno;
	return NULL;
}

/* A thread waits for a byte on a socket that another one is held back on. */
int weir_row_blocking(struct weir_trial *t)
{
	struct weir_pair p;
	struct writer w = { .t = t, .n = 12 << 20, .size = 65536 };
	struct reader r = { 0 };
	pthread_t writing, reading;

	if (weir_trial_pair(t, &p))
		return -1;
	w.fd = r.fd = p.a;
	pthread_create(&reading, NULL, read_one, &r);
	pthread_create(&writing, NULL, write_all, &w);
	poll(NULL, 0, WEIR_TRIAL_QUIET_MS);
	if (weir_trial_expect(t, p.b, w.n, 0, 1, false) || weir_trial_send(t, p.b, 1, 0, 2))
		return -1;
	pthread_join(writing, NULL);
	pthread_join(reading, NULL);
	errno = w.error ? w.error : r.error;
	if (w.error)
		return weir_trial_fail(t, "the writer gets:");
	return r.got == 1 ? 0 : weir_trial_fail(t, "a recv that waits gets:");
}

/* How many bytes a socket takes that nobody reads. */
static int fill_up(struct weir_trial *t, int fd, size_t size, size_t max, size_t *ret)
{
	weir_autofree uint8_t *buf = malloc(size);
	size_t n = 0;

	while (buf && n + size <= max) {
		ssize_t r;

		weir_trial_fill(buf, size, n, 1);
		r = send(fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN)
			return weir_trial_fail(t, "send to a stopped reader fails:");
		if (r < 0 && !weir_trial_poll(fd, POLLOUT, 2 * WEIR_TRIAL_QUIET_MS))
			break;
		n += r > 0 ? (size_t)r : 0;
	}
	*ret = n;
	return 0;
}

static int stop(struct weir_trial *t, size_t size, size_t max)
{
	struct weir_pair p;
	size_t n;

	if (weir_trial_pair(t, &p) || fill_up(t, p.a, size, max, &n))
		return -1;
	if (n > WEIR_TRIAL_UNREAD_MAX || n + size > max)
		return weir_trial_fail(t,
				       "%zu bytes were taken for a reader that does not read, "
				       "and there is no end of it",
				       n);
	if (weir_trial_expect(t, p.b, n, 0, 1, false))
		return -1;
	if (!weir_trial_poll(p.a, POLLOUT, WEIR_TRIAL_WAIT_MS))
		return weir_trial_fail(t, "the writer is not told that there is room again");
	weir_trial_close(&p);
	return 0;
}

int weir_row_stopped(struct weir_trial *t)
{
	return stop(t, 65536, WEIR_TRIAL_BYTES_MAX);
}

/* Each message costs the kernel much more than its bytes. */
int weir_row_small(struct weir_trial *t)
{
	return stop(t, 64, 8 << 20);
}

#define WRITERS 4

int weir_row_writers(struct weir_trial *t)
{
	struct weir_pair p[WRITERS];
	struct writer w[WRITERS];
	pthread_t thread[WRITERS];
	int ret = 0;

	for (int i = 0; i < WRITERS; i++) {
		if (weir_trial_pair(t, &p[i]))
			return -1;
		w[i] = (struct writer){ .t = t, .fd = p[i].a, .n = 6 << 20, .size = 65536 };
		pthread_create(&thread[i], NULL, write_all, &w[i]);
	}
	poll(NULL, 0, WEIR_TRIAL_QUIET_MS);
	for (int i = 0; !ret && i < WRITERS; i++)
		ret = weir_trial_expect(t, p[i].b, w[i].n, 0, 1, false);
	for (int i = 0; i < WRITERS; i++) {
		if (ret)
			shutdown(p[i].a, SHUT_RDWR);
		pthread_join(thread[i], NULL);
		if (ret || !w[i].error)
			continue;
		errno = w[i].error;
		ret = weir_trial_fail(t, "a writer gets:");
	}
	return ret;
}
