/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The terminal of the full-screen view, by ncurses. ncurses writes to memory, and what it
 * wrote goes out as fast as the terminal takes it: a slow or stopped one (Ctrl-S) holds up
 * no packet, and gets no new picture before it has the old one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "cap/watch/top_model.h"

struct weir_screen;

enum weir_key { /* beside characters, which are themselves */
		WEIR_KEY_NONE = -1,
		WEIR_KEY_UP = 0x110000,
		WEIR_KEY_DOWN,
		WEIR_KEY_LEFT,
		WEIR_KEY_RIGHT,
		WEIR_KEY_PAGE_UP,
		WEIR_KEY_PAGE_DOWN,
		WEIR_KEY_HOME,
		WEIR_KEY_END,
		WEIR_KEY_ENTER,
		WEIR_KEY_BACK,
		WEIR_KEY_ESCAPE,
		WEIR_KEY_CLEAR, /* Ctrl-U */
};

/* Everything that a screen shows. */
struct weir_view {
	const struct weir_top *top;
	const char *title;	 /* the first line */
	bool alarm;		 /* it tells of a loss */
	const char *where;	 /* the second: what the rows are */
	const char *note;	 /* the last line, or NULL */
	const char *prompt;	 /* asked for: what was typed so far; NULL: nothing is asked */
	const char *error;	 /* of what was typed; or NULL */
	const char *const *help; /* lines that replace the rows, and NULL; or NULL */
	/* The packet of rank @i of those kept. */
	const char *(*packet)(void *arg, size_t i);
	void *arg;
};

/* Are both ends of a terminal there, and is it ours? */
bool weir_screen_possible(void);
/* Take descriptors while there are privileges. -ENOTSUP with the reason in @err: this
 * terminal cannot do it. */
int weir_screen_new(struct weir_screen **ret, bool colour, struct weir_error *err);
void weir_screen_free(struct weir_screen *s);

/* The picture comes up; standard error is kept back while it stands. */
int weir_screen_begin(struct weir_screen *s, struct weir_error *err);
/* The terminal is as it was. */
void weir_screen_end(struct weir_screen *s);

/* Becomes readable when there is something for weir_screen_key() or weir_screen_turn(). */
int weir_screen_fd(const struct weir_screen *s);
/* What else has happened: its size, a stop and its end (both: *ret_changed, draw anew);
 * output goes on. false: the terminal is gone. */
bool weir_screen_turn(struct weir_screen *s, bool *ret_changed);
/* enum weir_key, or a character; WEIR_KEY_NONE: no more. */
int weir_screen_key(struct weir_screen *s);
size_t weir_screen_page(const struct weir_screen *s);
/* The last picture is out: it may be followed by another one. */
bool weir_screen_ready(const struct weir_screen *s);
void weir_screen_draw(struct weir_screen *s, const struct weir_view *v);
