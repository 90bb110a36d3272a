/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/clock.h"

#include <string.h>
#include <time.h>

#define OFFSET_TRIES 5
#define SEC_PER_MIN 60u
#define SEC_PER_HOUR 3600u
#define SEC_PER_DAY 86400u

static uint64_t now(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * WEIR_NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t weir_clock_mono(void)
{
	return now(CLOCK_MONOTONIC);
}

uint64_t weir_clock_real(void)
{
	return now(CLOCK_REALTIME);
}

int64_t weir_clock_offset(void)
{
	uint64_t best = UINT64_MAX;
	int64_t offset = 0;

	/* Being preempted between the readings falsifies one; the pair that
	 * encloses the reading most tightly is the truest. */
	for (int i = 0; i < OFFSET_TRIES; i++) {
		uint64_t before = weir_clock_mono();
		uint64_t real = weir_clock_real();
		uint64_t width = weir_clock_mono() - before;

		if (width < best) {
			best = width;
			offset = (int64_t)(real - (before + width / 2));
		}
	}
	return offset;
}

/* Two digits with the separator behind them. */
static char *put2(char *p, unsigned int v, char sep)
{
	p[0] = (char)('0' + v / 10 % 10);
	p[1] = (char)('0' + v % 10);
	p[2] = sep;
	return p + 3;
}

static char *put_hms(char *p, unsigned int sec_of_day, char end)
{
	p = put2(p, sec_of_day / SEC_PER_HOUR, ':');
	p = put2(p, sec_of_day / SEC_PER_MIN % 60, ':');
	return put2(p, sec_of_day % 60, end);
}

/* Gregorian date of a day since the epoch, into "YYYY-MM-DDT". The year is
 * counted from 1 March, so that the leap day is its last. */
static char *put_date(char *p, uint64_t day)
{
	unsigned int z = (unsigned int)day + 719468; /* since 0000-03-01 */
	unsigned int era = z / 146097, doe = z % 146097;
	unsigned int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned int mp = (5 * doy + 2) / 153; /* 0 is March */
	unsigned int month = mp < 10 ? mp + 3 : mp - 9;
	unsigned int year = era * 400 + yoe + (month <= 2);

	p[0] = (char)('0' + year / 1000 % 10);
	p[1] = (char)('0' + year / 100 % 10);
	p = put2(p + 2, year % 100, '-');
	p = put2(p, month, '-');
	return put2(p, doy - (153 * mp + 2) / 5 + 1, 'T');
}

void weir_buf_add_rfc3339(struct weir_buf *b, uint64_t ns)
{
	/* Packets come many to the second: keep the text of the last one. */
	static _Thread_local struct {
		uint64_t sec;
		char text[sizeof("2026-01-02T03:04:05.") - 1];
	} last = { .sec = UINT64_MAX };
	uint64_t sec = ns / WEIR_NSEC_PER_SEC;

	if (sec != last.sec) {
		put_hms(put_date(last.text, sec / SEC_PER_DAY),
			(unsigned int)(sec % SEC_PER_DAY), '.');
		last.sec = sec;
	}
	weir_buf_add(b, last.text, sizeof(last.text));
	weir_buf_addu_pad(b, ns % WEIR_NSEC_PER_SEC, 9);
	weir_buf_addc(b, 'Z');
}

/* Seconds east of UTC. Clocks are put forward and back on whole minutes, so
 * the answer holds for the minute. */
static int64_t local_offset(uint64_t sec)
{
	static _Thread_local struct {
		uint64_t minute;
		int64_t offset;
	} last = { .minute = UINT64_MAX };
	uint64_t minute = sec / SEC_PER_MIN;

	if (minute != last.minute) {
		time_t t = (time_t)(minute * SEC_PER_MIN);
		struct tm tm;

		last.offset = localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
		last.minute = minute;
	}
	return last.offset;
}

void weir_buf_add_clock(struct weir_buf *b, uint64_t ns)
{
	uint64_t sec = ns / WEIR_NSEC_PER_SEC;
	/* A day more keeps the sum positive west of Greenwich in 1970. */
	uint64_t local = sec + SEC_PER_DAY + (uint64_t)local_offset(sec);
	char text[sizeof("03:04:05.") - 1];

	put_hms(text, (unsigned int)(local % SEC_PER_DAY), '.');
	weir_buf_add(b, text, sizeof(text));
	weir_buf_addu_pad(b, ns % WEIR_NSEC_PER_SEC / 1000, 6);
}
