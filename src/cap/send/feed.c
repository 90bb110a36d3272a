/* SPDX-License-Identifier: GPL-2.0-only */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "cap/send/send.h"

#define FILE_OPTION "-r"

static int parse_rate(struct weir_feed *f, const char *text, struct weir_error *err)
{
	if (!text || (!weir_parse_rate(text, &f->per_s, &f->bits) && f->per_s))
		return 0;
	return weir_fail(err, -EINVAL,
			 "--rate \"%s\": not a rate: write packets as 1000/s or bits as 10mbit",
			 text);
}

static int begin_file(struct weir_feed *f, struct weir_error *err)
{
	weir_craft_reader_close(f->reader);
	f->reader = NULL;
	f->begun = false;
	return weir_craft_reader_open(f->file, FILE_OPTION, &f->reader, err);
}

int weir_feed_open(struct weir_feed *f, const struct weir_send_options *o,
		   const struct weir_strv *words, struct weir_error *err)
{
	int ret;

	*f = (struct weir_feed){ .file = o->read_file, .left = o->count };
	ret = parse_rate(f, o->rate, err);
	if (ret)
		return ret;
	if (!f->file)
		return weir_craft(&o->craft, words, &f->packet, err);
	f->whole_file = !o->count;
	return begin_file(f, err);
}

void weir_feed_close(struct weir_feed *f)
{
	weir_craft_reader_close(f->reader);
}

/* How long the present packet keeps the next one waiting. */
static uint64_t gap(const struct weir_feed *f)
{
	uint64_t units = f->bits ? f->packet.len * 8 : 1;

	return units * WEIR_NSEC_PER_SEC / f->per_s;
}

/* 1; 0: no more. A file that is shorter than the count begins again. */
static int read_next(struct weir_feed *f, uint64_t *ret_when, struct weir_error *err)
{
	int ret = weir_craft_reader_next(f->reader, &f->packet, ret_when, err);

	if (ret || f->whole_file)
		return ret;
	if (!f->begun)
		return weir_fail(err, -EINVAL,
				 FILE_OPTION ": no packet in %s: give a capture that has one",
				 f->file);
	if (strcmp(f->file, "-") == 0)
		return weir_fail(err, -EINVAL,
				 FILE_OPTION
				 ": standard input has fewer packets than --count: give a "
				 "file, which can be read again");
	ret = begin_file(f, err);
	f->round = f->due;
	return ret ? ret : weir_craft_reader_next(f->reader, &f->packet, ret_when, err);
}

int weir_feed_next(struct weir_feed *f, uint64_t *ret_due, struct weir_error *err)
{
	uint64_t when = 0;
	int ret;

	if (!f->whole_file && !f->left)
		return 0;
	f->left -= !f->whole_file;
	if (f->reader) {
		ret = read_next(f, &when, err);
		if (ret <= 0)
			return ret;
		if (!f->begun)
			f->first = when;
		f->begun = true;
	}
	if (f->reader && !f->per_s) {
		/* A capture whose clock went back does not stop the run. */
		f->due = f->round + (when > f->first ? when - f->first : 0);
		*ret_due = f->due;
		return 1;
	}
	*ret_due = f->due;
	if (f->per_s)
		f->due += gap(f);
	return 1;
}
