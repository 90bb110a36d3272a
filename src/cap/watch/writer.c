/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the bytes go: standard output, or a file with tcpdump's rotation. The
 * directory is held open from the start, so that rotation goes on after the
 * privileges are gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/verb.h"
#include "cap/watch/pcapng.h"
#include "cap/watch/session.h"

/* A pipe that polls writable has room for this much. */
#define PIPE_CHUNK 4096
#define POLL_MS 200
#define LAST_WAITS 5 /* at the end of a run the reader has this much longer */

struct weir_writer {
	pthread_mutex_t lock;
	int fd;
	int dir_fd;
	bool is_stdout;
	bool may_block; /* a pipe, a terminal, a socket */
	char dir[PATH_MAX];
	char base[NAME_MAX + 1];
	uint64_t written; /* to the present file */
	uint64_t files;	  /* begun so far */
	uint64_t opened;  /* monotonic ns */
	bool broken;
};

/* The user's own format, as tcpdump -G takes it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static size_t add_time(char stem[NAME_MAX + 1], const char *format, const struct tm *tm)
{
	return strftime(stem, NAME_MAX + 1, format, tm);
}
#pragma GCC diagnostic pop

static int file_name(const struct weir_watch *w, char *buf, size_t size)
{
	const struct weir_watch_options *o = &w->opt;
	const struct weir_writer *wr = w->writer;
	char stem[NAME_MAX + 1];
	time_t now = time(NULL);
	struct tm tm;
	int width = 0, n;

	snprintf(stem, sizeof(stem), "%s", wr->base);
	if (o->rotate_seconds && (!localtime_r(&now, &tm) || !add_time(stem, wr->base, &tm)))
		return -ENAMETOOLONG;
	if (!o->rotate_size) {
		n = snprintf(buf, size, "%s", stem);
	} else if (o->rotate_files && !o->rotate_seconds) {
		/* A ring of files: numbers of one width, so that names sort. */
		for (uint64_t m = o->rotate_files - 1; m; m /= 10)
			width++;
		n = snprintf(buf, size, "%s%0*llu", stem, width ? width : 1,
			     (unsigned long long)(wr->files % o->rotate_files));
	} else {
		n = wr->files ? snprintf(buf, size, "%s%llu", stem,
					 (unsigned long long)wr->files)
			      : snprintf(buf, size, "%s", stem);
	}
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

static struct weir_pcapng_iface describe(const struct weir_watch *w, unsigned int slot)
{
	return (struct weir_pcapng_iface){
		.name = w->ifaces[slot].name,
		.filter = w->match_text.len ? w->match_text.data : NULL,
		.snaplen = w->out_snaplen,
		.no_l2 = w->ifaces[slot].no_l2,
	};
}

static void begin_file(struct weir_watch *w, struct weir_buf *out)
{
	struct weir_pcapng_iface ifs[WEIR_WATCH_IFACES];

	for (unsigned int i = 0; i < w->n_ifaces; i++)
		ifs[i] = describe(w, i);
	weir_pcapng_begin(out, ifs, w->n_ifaces);
}

/* @data is advanced by what was written, also on failure. */
static int write_to(struct weir_watch *w, int fd, bool may_block, const char **data, size_t n)
{
	while (n) {
		size_t chunk = may_block && n > PIPE_CHUNK ? PIPE_CHUNK : n;
		ssize_t done;

		/* A reader that has stopped must not keep Ctrl-C from working. */
		if (may_block) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			/* Being continued ends a poll too, with EINTR. */
			for (int waits = 0; poll(&p, 1, POLL_MS) <= 0; waits++)
				if (weir_watch_interrupted(w) ||
				    (atomic_load(&w->stop) && waits >= LAST_WAITS))
					return -EINTR;
		}
		done = write(fd, *data, chunk);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		*data += done;
		n -= (size_t)done;
	}
	return 0;
}

static int write_all(struct weir_watch *w, const char *data, size_t n)
{
	struct weir_writer *wr = w->writer;
	const char *end = data;
	int ret = write_to(w, wr->fd, wr->may_block, &end, n);
	off_t at;

	if (!ret)
		wr->written += n;
	if (!ret || !w->opt.write_file || end == data)
		return ret;
	/* A full disk has taken a part, and all of it counts as lost: what it has is taken back,
	 * since a file that ends within a block is damaged. A pipe keeps what it was given. */
	at = lseek(wr->fd, 0, SEEK_CUR);
	if (at >= end - data && ftruncate(wr->fd, at - (end - data)))
		weir_debug("cannot cut the file: %s", strerror(errno));
	return ret;
}

/* Truncating the file that is being read would destroy it. */
static bool is_input(const struct weir_watch *w, const char *name)
{
	struct stat in, out;

	return w->opt.read_file && !stat(w->opt.read_file, &in) && S_ISREG(in.st_mode) &&
	       !fstatat(w->writer->dir_fd, name, &out, 0) && in.st_dev == out.st_dev &&
	       in.st_ino == out.st_ino;
}

static bool blocks(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return true;
	return S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || isatty(fd);
}

/* To open a FIFO waits for a reader: the waiting is done here, where a signal ends it. */
static int open_file(struct weir_watch *w, const char *name)
{
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK;
	const int dir = w->writer->dir_fd;
	bool told = false;
	struct stat st;
	int fd;

	while ((fd = openat(dir, name, flags, 0644)) < 0 && errno == ENXIO) {
		if (fstatat(dir, name, &st, 0) || !S_ISFIFO(st.st_mode))
			return -ENXIO;
		if (!told)
			fprintf(stderr, "weir watch: %s has no reader yet: waiting for one\n",
				w->opt.write_file);
		told = true;
		if (weir_watch_interrupted(w))
			return -EINTR;
		usleep(POLL_MS * 1000);
	}
	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFL, 0);
	return fd;
}

static int open_next(struct weir_watch *w)
{
	struct weir_writer *wr = w->writer;
	weir_autobuf struct weir_buf head = {0};
	char name[NAME_MAX + 1];
	int ret = file_name(w, name, sizeof(name));

	if (ret)
		return ret;
	if (!wr->is_stdout) {
		if (is_input(w, name))
			return -ELOOP;
		wr->fd = open_file(w, name);
		if (wr->fd < 0)
			return wr->fd;
		wr->may_block = blocks(wr->fd);
	}
	wr->files++;
	wr->written = 0;
	wr->opened = weir_clock_mono();
	begin_file(w, &head);
	return head.failed ? -ENOMEM : write_all(w, head.data, head.len);
}

static int end_file(struct weir_watch *w)
{
	struct weir_writer *wr = w->writer;
	weir_autobuf struct weir_buf tail = {0};
	struct weir_watch_account a;
	int ret;

	for (unsigned int i = 0; i < w->n_ifaces; i++) {
		weir_account_get(w, i, &a);
		weir_pcapng_stats(&tail, i,
				  &(struct weir_pcapng_stats){
					  .start = w->started,
					  .end = weir_clock_real(),
					  .received = a.k.seen,
					  .accepted = a.matched,
					  .dropped = a.lost,
					  .delivered = a.delivered,
				  });
	}
	ret = tail.failed ? -ENOMEM : write_all(w, tail.data, tail.len);
	if (!wr->is_stdout && close(WEIR_TAKE_FD(wr->fd)) && !ret)
		ret = -errno;
	return ret;
}

static int open_dir(struct weir_watch *w, struct weir_error *err)
{
	struct weir_writer *wr = w->writer;
	weir_autofree char *a = strdup(w->opt.write_file), *b = strdup(w->opt.write_file);

	if (!a || !b)
		return weir_fail(err, -ENOMEM, "out of memory");
	snprintf(wr->dir, sizeof(wr->dir), "%s", dirname(a));
	snprintf(wr->base, sizeof(wr->base), "%s", basename(b));
	wr->dir_fd = open(wr->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (wr->dir_fd < 0 || faccessat(wr->dir_fd, ".", W_OK, AT_EACCESS))
		w->status = WEIR_EXIT_USAGE;
	if (w->status)
		return weir_fail(err, -errno,
				 "cannot write to %s: %s: give a directory that exists",
				 w->opt.write_file, strerror(errno));
	return 0;
}

int weir_writer_new(struct weir_watch *w, struct weir_error *err)
{
	struct weir_writer *wr = calloc(1, sizeof(*wr));

	if (!wr)
		return weir_fail(err, -ENOMEM, "out of memory");
	w->writer = wr;
	pthread_mutex_init(&wr->lock, NULL);
	wr->fd = STDOUT_FILENO;
	wr->dir_fd = -1;
	wr->is_stdout = !w->opt.write_file || !strcmp(w->opt.write_file, "-");
	if (wr->is_stdout) {
		wr->may_block = blocks(wr->fd);
		return 0;
	}
	wr->fd = -1;
	return open_dir(w, err);
}

int weir_writer_open(struct weir_watch *w, struct weir_error *err)
{
	struct weir_writer *wr = w->writer;
	int ret;

	if (!w->opt.write_file)
		return 0;
	ret = open_next(w);
	if (ret) {
		wr->broken = true; /* told once */
		if (ret == -ELOOP)
			return weir_fail(err, ret, "-r and -w name the same file: give -w another "
						   "name");
		if (ret == -EINTR)
			return weir_fail(err, ret, "%s had no reader: nothing was written",
					 w->opt.write_file);
		return weir_fail(err, ret, "cannot write to %s: %s: check the path and its rights",
				 w->opt.write_file, strerror(-ret));
	}
	return 0;
}

static int rotate(struct weir_watch *w)
{
	struct weir_writer *wr = w->writer;
	const struct weir_watch_options *o = &w->opt;
	int ret = end_file(w);

	/* With -G, -W is the number of files after which to stop. */
	if (!ret && o->rotate_seconds && o->rotate_files && wr->files >= o->rotate_files) {
		weir_watch_stop(w);
		return 0;
	}
	return ret ? ret : open_next(w);
}

bool weir_writer_full(const struct weir_watch *w, size_t n)
{
	const struct weir_writer *wr = w->writer;

	return w->opt.rotate_size && wr && !wr->is_stdout &&
	       wr->written + n >= w->opt.rotate_size;
}

static bool out_of_time(const struct weir_watch *w)
{
	const struct weir_writer *wr = w->writer;

	return w->opt.rotate_seconds && !wr->is_stdout &&
	       weir_clock_mono() - wr->opened >= w->opt.rotate_seconds * WEIR_NSEC_PER_SEC;
}

static int complain(struct weir_watch *w, int code)
{
	struct weir_writer *wr = w->writer;

	if (wr->broken)
		return code;
	wr->broken = true;
	if (code == -EPIPE ||
	    code == -EINTR) /* the reader has had enough, or we were told to stop */
		return code;
	fprintf(stderr, "weir watch: cannot write to %s: %s: what followed is counted as lost\n",
		w->opt.write_file ? w->opt.write_file : "standard output", strerror(-code));
	w->status = 1;
	return code;
}

/* Lines scroll by above the bar: it makes room and comes back. */
static int write_with_bar(struct weir_watch *w, const struct weir_buf *b)
{
	weir_autobuf struct weir_buf around = {0};
	int ret;

	if (!w->bar)
		return write_all(w, b->data, b->len);
	weir_bar_hide(w->bar, &around);
	ret = write_all(w, around.data, around.len);
	if (!ret)
		ret = write_all(w, b->data, b->len);
	weir_buf_reset(&around);
	weir_bar_show(w->bar, &around);
	return ret ? ret : write_all(w, around.data, around.len);
}

int weir_writer_write(struct weir_watch *w, struct weir_buf *b)
{
	struct weir_writer *wr = w->writer;
	bool late, last;
	int ret = 0;

	pthread_mutex_lock(&wr->lock);
	if (wr->broken || wr->fd < 0)
		ret = -EPIPE;
	late = !ret && out_of_time(w);
	/* What was read in time still goes into the last file of -W. */
	last = late && w->opt.rotate_files && wr->files >= w->opt.rotate_files;
	if (late && !last)
		ret = rotate(w);
	if (!ret)
		ret = write_with_bar(w, b);
	if (!ret && (last || weir_writer_full(w, 0)))
		ret = rotate(w);
	if (ret)
		ret = complain(w, ret);
	pthread_mutex_unlock(&wr->lock);
	weir_buf_reset(b);
	return ret;
}

void weir_writer_join(struct weir_watch *w, unsigned int slot)
{
	const struct weir_pcapng_iface i = describe(w, slot);
	struct weir_writer *wr = w->writer;
	weir_autobuf struct weir_buf out = { 0 };
	int ret = 0;

	if (!w->opt.write_file)
		return;
	weir_pcapng_join(&out, &i);
	pthread_mutex_lock(&wr->lock);
	/* Files that are begun later have it from the start. */
	if (!wr->broken && wr->fd >= 0)
		ret = out.failed ? -ENOMEM : write_all(w, out.data, out.len);
	if (ret) {
		complain(w, ret);
		weir_watch_stop(w);
	}
	pthread_mutex_unlock(&wr->lock);
}

int weir_writer_tell(struct weir_watch *w, struct weir_buf *b)
{
	const char *data = b->data;
	int ret;

	if (w->writer->is_stdout)
		return weir_writer_write(w, b);
	ret = b->failed ? -ENOMEM :
			  write_to(w, STDOUT_FILENO, blocks(STDOUT_FILENO), &data, b->len);
	b->failed = false;
	weir_buf_reset(b);
	return ret;
}

void weir_writer_bar(struct weir_watch *w, const char *text)
{
	struct weir_writer *wr = w->writer;
	weir_autobuf struct weir_buf out = {0};

	pthread_mutex_lock(&wr->lock);
	weir_bar_hide(w->bar, &out);
	weir_bar_set(w->bar, text);
	weir_bar_show(w->bar, &out);
	if (!wr->broken && out.len)
		write_all(w, out.data, out.len);
	pthread_mutex_unlock(&wr->lock);
}

bool weir_writer_done(const struct weir_watch *w)
{
	const struct weir_writer *wr = w->writer;

	return wr && !wr->is_stdout && wr->fd < 0 && wr->files;
}

void weir_writer_tick(struct weir_watch *w)
{
	struct weir_writer *wr = w->writer;
	int ret = 0;

	pthread_mutex_lock(&wr->lock);
	if (!wr->broken && wr->fd >= 0 && out_of_time(w))
		ret = rotate(w);
	if (ret) {
		complain(w, ret);
		weir_watch_stop(w);
	}
	pthread_mutex_unlock(&wr->lock);
}

int weir_writer_close(struct weir_watch *w)
{
	struct weir_writer *wr = w->writer;
	int ret = 0;

	if (!wr)
		return 0;
	if (wr->files && !wr->broken && wr->fd >= 0)
		ret = end_file(w);
	if (ret)
		complain(w, ret);
	w->writer = NULL;
	if (!wr->is_stdout && wr->fd >= 0)
		close(wr->fd);
	if (wr->dir_fd >= 0)
		close(wr->dir_fd);
	pthread_mutex_destroy(&wr->lock);
	free(wr);
	return ret;
}

bool weir_writer_needs_override(const struct weir_watch *w)
{
	const struct weir_writer *wr = w->writer;
	struct stat st;

	if (!wr || wr->dir_fd < 0 || !(w->opt.rotate_size || w->opt.rotate_seconds))
		return false;
	if (fstat(wr->dir_fd, &st))
		return true;
	if (st.st_uid == geteuid())
		return !(st.st_mode & S_IWUSR);
	if (st.st_gid == getegid())
		return !(st.st_mode & S_IWGRP);
	return !(st.st_mode & S_IWOTH);
}
