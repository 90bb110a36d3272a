/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/proxy/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"

#define REST_MAX (1UL << 20) /* bytes that wait for a reader that is slow, or for space */

/* A file while anyone writes to it: after a swap the last of them closes it. */
struct file {
	atomic_uint refs;
	int fd;
	char *format;	      /* NULL: JSON lines */
	mode_t type;	      /* S_IFMT: of what may be slow nobody waits for */
	pthread_mutex_t lock; /* of the file: lines of two workers do not mix */
	struct weir_buf rest; /* what was not taken; begins anywhere, ends with a line */
	atomic_bool has_rest;
};

struct weir_access_log {
	pthread_mutex_t lock; /* of `file` against its last reference's going */
	struct file *_Atomic file;
	atomic_uint_fast64_t lost; /* with files that are gone */
};

static uint64_t count_lines(const char *data, size_t n)
{
	const char *end = data + n;
	uint64_t lines = 0;

	while (n && (data = memchr(data, '\n', (size_t)(end - data)))) {
		lines++;
		data++;
	}
	return lines;
}

/* ---- Files */

/* How much of the @n bytes may be given to a pipe at once: it takes up to PIPE_BUF
 * whole or not at all, and lines rather uncut. */
static size_t pipe_piece(const char *data, size_t n)
{
	const char *end;

	if (n <= PIPE_BUF)
		return n;
	end = memrchr(data, '\n', PIPE_BUF);
	return end ? (size_t)(end - data) + 1 : PIPE_BUF;
}

/* Write without waiting; descriptors that others share stay blocking. */
static ssize_t write_some(const struct file *f, const char *data, size_t n)
{
	struct pollfd p = { .fd = f->fd, .events = POLLOUT };

	if (S_ISREG(f->type))
		return write(f->fd, data, n);
	if (S_ISSOCK(f->type))
		return send(f->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (poll(&p, 1, 0) < 1 || !(p.revents & (POLLOUT | POLLERR))) {
		errno = EAGAIN;
		return -1;
	}
	return write(f->fd, data, pipe_piece(data, n));
}

/* Returns how many of the @n bytes went. */
static size_t write_all(const struct file *f, const char *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t some = write_some(f, data + done, n - done);

		if (some < 0 && errno == EINTR)
			continue;
		if (some <= 0)
			break;
		done += (size_t)some;
	}
	return done;
}

/* Keep what was not written, as far as it may wait; returns the lines that may not. */
static uint64_t keep(struct file *f, const char *data, size_t n)
{
	size_t room = f->rest.len < REST_MAX ? REST_MAX - f->rest.len : 0;
	const char *end = n > room ? memrchr(data, '\n', room) : data + n - 1;
	size_t fits = end ? (size_t)(end - data) + 1 : 0;

	if (weir_buf_room(&f->rest, fits))
		weir_buf_add(&f->rest, data, fits);
	else
		fits = 0;
	f->rest.failed = false;
	return count_lines(data + fits, n - fits);
}

static void write_rest(struct file *f)
{
	size_t done = write_all(f, f->rest.data, f->rest.len);

	memmove(f->rest.data, f->rest.data + done, f->rest.len - done);
	f->rest.len -= done;
}

/* Under the file's lock. Returns the lines lost. */
static uint64_t write_lines(struct file *f, const char *data, size_t n)
{
	size_t done = 0;
	uint64_t lost = 0;

	if (f->rest.len)
		write_rest(f);
	if (!f->rest.len)
		done = write_all(f, data, n);
	if (done < n)
		lost = keep(f, data + done, n - done);
	atomic_store_explicit(&f->has_rest, f->rest.len > 0, memory_order_relaxed);
	return lost;
}

static struct file *new_file(int fd, const char *format)
{
	struct file *f = calloc(1, sizeof(*f));
	struct stat st;

	if (f && format)
		f->format = strdup(format);
	if (!f || (format && !f->format)) {
		free(f);
		return NULL;
	}
	f->refs = 1;
	f->fd = fd;
	f->type = fstat(fd, &st) ? S_IFREG : st.st_mode;
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

static struct file *get_file(struct weir_access_log *l)
{
	struct file *f;

	/* Without a log, which is common, this is all. */
	if (!atomic_load_explicit(&l->file, memory_order_relaxed))
		return NULL;
	pthread_mutex_lock(&l->lock);
	f = l->file;
	if (f)
		f->refs++;
	pthread_mutex_unlock(&l->lock);
	return f;
}

static void put_file(struct weir_access_log *l, struct file *f)
{
	if (!f || --f->refs)
		return;
	if (f->rest.len)
		write_rest(f);
	l->lost += count_lines(f->rest.data, f->rest.len);
	weir_buf_free(&f->rest);
	pthread_mutex_destroy(&f->lock);
	close(f->fd);
	free(f->format);
	free(f);
}

/* ---- The log */

struct weir_access_log *weir_access_log_new(void)
{
	struct weir_access_log *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void weir_access_log_free(struct weir_access_log *l)
{
	if (!l)
		return;
	put_file(l, l->file);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int weir_access_log_set(struct weir_access_log *l, int fd, const char *format)
{
	struct file *fresh = fd < 0 ? NULL : new_file(fd, format), *old;

	if (fd >= 0 && !fresh) {
		close(fd);
		return -ENOMEM;
	}
	pthread_mutex_lock(&l->lock);
	old = l->file;
	l->file = fresh;
	pthread_mutex_unlock(&l->lock);
	put_file(l, old);
	return 0;
}

static void add_json(const struct weir_conn_facts *f, struct weir_buf *pending)
{
	struct weir_json j;

	weir_json_init(&j, pending);
	weir_json_object(&j, NULL);
	weir_json_uint(&j, "v", 1);
	weir_conn_json(f, true, &j);
	weir_json_end_object(&j);
}

void weir_access_log_add(struct weir_access_log *l, const struct weir_conn_facts *f,
			 struct weir_buf *pending)
{
	struct file *file = get_file(l);
	size_t before = pending->len;

	if (!file)
		return;
	if (file->format)
		weir_conn_template(f, file->format, pending);
	else
		add_json(f, pending);
	weir_buf_addc(pending, '\n');
	put_file(l, file);
	if (!pending->failed)
		return;
	/* Without memory the line is lost, not those before it. */
	pending->failed = false;
	pending->len = before;
	if (pending->data)
		pending->data[before] = '\0';
	l->lost++;
}

uint64_t weir_access_log_flush(struct weir_access_log *l, struct weir_buf *pending)
{
	struct file *f = get_file(l);
	uint64_t lost = 0;

	if (f && (pending->len || atomic_load_explicit(&f->has_rest, memory_order_relaxed))) {
		pthread_mutex_lock(&f->lock);
		lost = write_lines(f, pending->data, pending->len);
		pthread_mutex_unlock(&f->lock);
	}
	put_file(l, f);
	/* The log was taken away while lines waited for it: they have no place to go. */
	if (!f)
		lost = count_lines(pending->data, pending->len);
	weir_buf_reset(pending);
	if (atomic_load_explicit(&l->lost, memory_order_relaxed))
		lost += atomic_exchange(&l->lost, 0);
	return lost;
}

bool weir_access_log_waits(struct weir_access_log *l)
{
	struct file *f = get_file(l);
	bool waits = f && atomic_load_explicit(&f->has_rest, memory_order_relaxed);

	put_file(l, f);
	return waits;
}
