/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CHUNK 65536U

/* Where systemd looks for units. */
static const char *const unit_dirs[] = {
	"/etc/systemd/system",	   "/run/systemd/system", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system",
};

/* ---- Reading */

static bool is_input(const char *path)
{
	return strcmp(path, "-") == 0;
}

const char *weir_file_name(const char *path)
{
	return is_input(path) ? "standard input" : path;
}

int weir_file_read_all(FILE *f, size_t most, struct weir_buf *out)
{
	size_t n;

	weir_buf_adds(out, "");
	do {
		char *room = weir_buf_room(out, CHUNK);

		if (!room)
			return -ENOMEM;
		n = fread(room, 1, CHUNK, f);
		out->len += n;
		out->data[out->len] = '\0';
	} while (n && out->len <= most);
	return ferror(f) ? (errno ? -errno : -EIO) : 0;
}

int weir_file_read(const char *path, size_t most, struct weir_buf *out)
{
	weir_autofclose FILE *f = is_input(path) ? fdopen(dup(STDIN_FILENO), "r") :
						   fopen(path, "re");

	return f ? weir_file_read_all(f, most, out) : -errno;
}

/* ---- Writing */

static int write_and_sync(int fd, struct weir_buf *text)
{
	int ret = weir_buf_flush(text, fd);

	return ret == 0 && fsync(fd) ? -errno : ret;
}

/* The rename lasts only once its directory is on the disk too. */
static void sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	weir_autofree char *dir = strndup(path, slash ? (size_t)(slash - path) + 1 : 0);
	weir_autoclose int fd = dir ? open(*dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) :
				      -1;

	if (fd >= 0)
		fsync(fd);
}

int weir_file_replace(const char *path, struct weir_buf *text, struct weir_error *err)
{
	weir_autofree char *next = NULL;
	weir_autoclose int fd = -1;
	int ret;

	if (asprintf(&next, "%s.XXXXXX", path) < 0)
		return weir_fail(err, -ENOMEM, "out of memory");
	fd = mkostemp(next, O_CLOEXEC);
	if (fd < 0)
		return weir_fail(err, -errno,
				 "cannot write %s (%s): name a place that can be written", path,
				 strerror(errno));
	ret = fchmod(fd, 0644) ? -errno : write_and_sync(fd, text);
	if (ret == 0 && rename(next, path))
		ret = -errno;
	if (ret) {
		unlink(next);
		return weir_fail(err, ret, "cannot write %s: %s", path, strerror(-ret));
	}
	sync_directory(path);
	return 0;
}

/* ---- At boot */

static bool is_installed(const char *unit)
{
	char path[256];

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(unit_dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", unit_dirs[i], unit);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

void weir_file_tell_unit(const char *unit, struct weir_buf *out)
{
	if (is_installed(unit))
		weir_buf_addf(out, "applied at every boot once `systemctl enable %s` has been run",
			      unit);
	else
		weir_buf_addf(out,
			      "%s is not installed: `make install`, then `systemctl enable %s`",
			      unit, unit);
}
