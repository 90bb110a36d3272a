/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/units.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FRACTION_MAX 1000000000ULL /* nine digits behind the point */

struct unit {
	const char *name;
	uint64_t factor;
};

/* A decimal fraction: an integer over a power of ten. */
struct decimal {
	uint64_t mantissa;
	uint64_t denominator;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits up to the first other character; *s moves there. */
static int take_u64(const char **s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!is_digit(**s))
		return -EINVAL;
	for (; is_digit(**s); (*s)++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**s - '0'), &v))
			return -ERANGE;
	*ret = v;
	return 0;
}

static int take_decimal(const char **s, struct decimal *ret)
{
	struct decimal d = { .denominator = 1 };
	int r = take_u64(s, &d.mantissa);

	if (r < 0)
		return r;
	if (**s == '.') {
		(*s)++;
		if (!is_digit(**s))
			return -EINVAL;
		for (; is_digit(**s); (*s)++) {
			if (d.denominator >= FRACTION_MAX)
				return -EINVAL;
			if (__builtin_mul_overflow(d.mantissa, 10, &d.mantissa) ||
			    __builtin_add_overflow(d.mantissa, (uint64_t)(**s - '0'),
						   &d.mantissa))
				return -ERANGE;
			d.denominator *= 10;
		}
	}
	*ret = d;
	return 0;
}

static const struct unit *find_unit(const struct unit *units, size_t n,
				    const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (!strcasecmp(units[i].name, name))
			return &units[i];
	return NULL;
}

/* A decimal number and one of @units. A part of the smallest unit is not of
 * the form; below a larger one the result is cut to a whole number. */
static int parse_scaled(const char *s, const struct unit *units, size_t n,
			uint64_t *ret)
{
	const struct unit *unit;
	unsigned __int128 v;
	struct decimal d;
	int r = take_decimal(&s, &d);

	/* A number too long is still not of the form if its unit is not. */
	if (r == -ERANGE)
		s += strspn(s, "0123456789.");
	else if (r < 0)
		return r;
	unit = find_unit(units, n, s);
	if (!unit)
		return -EINVAL;
	if (r < 0)
		return r;
	v = (unsigned __int128)d.mantissa * unit->factor;
	if (unit->factor == 1 && d.denominator > 1)
		return -EINVAL;
	v /= d.denominator;
	if (v > UINT64_MAX)
		return -ERANGE;
	*ret = (uint64_t)v;
	return 0;
}

int weir_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;
	int r = take_u64(&s, &v);

	if (r == -ERANGE)
		s += strspn(s, "0123456789");
	if (*s || r == -EINVAL)
		return -EINVAL;
	if (r < 0 || v < min || v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int weir_parse_duration(const char *s, uint64_t *ret_ns)
{
	static const struct unit units[] = {
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000000 },
		{ "s", WEIR_NSEC_PER_SEC },
		{ "m", 60 * WEIR_NSEC_PER_SEC },
		{ "h", 3600 * WEIR_NSEC_PER_SEC },
		{ "d", 86400 * WEIR_NSEC_PER_SEC },
	};

	return parse_scaled(s, units, WEIR_ARRAY_SIZE(units), ret_ns);
}

int weir_parse_size(const char *s, uint64_t *ret_bytes)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "k", 1ULL << 10 },
		{ "m", 1ULL << 20 },
		{ "g", 1ULL << 30 },
		{ "t", 1ULL << 40 },
	};

	return parse_scaled(s, units, WEIR_ARRAY_SIZE(units), ret_bytes);
}

int weir_parse_rate(const char *s, uint64_t *ret_per_s, bool *ret_is_bits)
{
	static const struct unit bits[] = {
		{ "bit", 1 },
		{ "kbit", 1000 },
		{ "mbit", 1000000 },
		{ "gbit", 1000000000 },
		{ "tbit", 1000000000000 },
	};
	/* Here the factor divides. */
	static const struct unit packets[] = {
		{ "/s", 1 },
		{ "/m", 60 },
		{ "/h", 3600 },
	};
	const char *end = s + strspn(s, "0123456789");
	const struct unit *per = find_unit(packets, WEIR_ARRAY_SIZE(packets), end);
	uint64_t v;
	int r;

	if (!per) {
		r = parse_scaled(s, bits, WEIR_ARRAY_SIZE(bits), ret_per_s);
		if (!r)
			*ret_is_bits = true;
		return r;
	}
	r = take_u64(&s, &v);
	if (r < 0)
		return r;
	/* Rounding would quietly make a slow rate another, or none at all. */
	if (v % per->factor)
		return -ERANGE;
	*ret_per_s = v / per->factor;
	*ret_is_bits = false;
	return 0;
}

int weir_parse_percent(const char *s, double *ret)
{
	struct decimal d;
	int r = take_decimal(&s, &d);

	if (r == -ERANGE)
		s += strspn(s, "0123456789.");
	if (r == -EINVAL || strcmp(s, "%") != 0)
		return -EINVAL;
	if (r < 0 || d.mantissa > 100 * d.denominator)
		return -ERANGE;
	*ret = (double)d.mantissa / (double)d.denominator;
	return 0;
}

/* @v in [0, 1000) with three significant digits, without the locale. */
static void add_three_digits(struct weir_buf *b, double v)
{
	unsigned int decimals = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;
	unsigned int scale = decimals == 2 ? 100 : decimals == 1 ? 10 : 1;
	uint64_t n = (uint64_t)(v * scale + 0.5);

	weir_buf_addu(b, n / scale);
	if (decimals) {
		weir_buf_addc(b, '.');
		weir_buf_addu_pad(b, n % scale, decimals);
	}
}

void weir_buf_add_si(struct weir_buf *b, double v)
{
	static const char prefixes[] = { 0, 'k', 'M', 'G', 'T', 'P', 'E' };
	size_t i = 0;

	if (!isfinite(v)) {
		weir_buf_addc(b, '-');
		return;
	}
	if (v < 0) {
		weir_buf_addc(b, '-');
		v = -v;
	}
	/* 999.5 would round to 1000: it is 1.00 of the next prefix. */
	while (v >= 999.5 && i + 1 < sizeof(prefixes)) {
		v /= 1000;
		i++;
	}
	if (v >= 1000) /* beyond the last prefix */
		weir_buf_addf(b, "%.0f", v);
	else if (!i && v == (double)(uint64_t)v)
		weir_buf_addu(b, (uint64_t)v);
	else
		add_three_digits(b, v);
	if (prefixes[i])
		weir_buf_addc(b, prefixes[i]);
}

void weir_buf_add_grouped(struct weir_buf *b, uint64_t v)
{
	uint64_t group = 1;

	while (v / group >= 1000)
		group *= 1000;
	weir_buf_addu(b, v / group);
	while (group > 1) {
		v %= group;
		group /= 1000;
		weir_buf_addc(b, ',');
		weir_buf_addu_pad(b, v / group, 3);
	}
}

/* From a minute up people read two whole units: "2m05s", "3h20m", "4d07h". */
static void add_long_duration(struct weir_buf *b, uint64_t sec)
{
	static const struct {
		uint64_t big, small;
		const char *big_name, *small_name;
	} forms[] = {
		{ 86400, 3600, "d", "h" },
		{ 3600, 60, "h", "m" },
		{ 60, 1, "m", "s" },
	};
	size_t i = 0;

	while (i + 1 < WEIR_ARRAY_SIZE(forms) && sec < forms[i].big)
		i++;
	weir_buf_addu(b, sec / forms[i].big);
	weir_buf_adds(b, forms[i].big_name);
	weir_buf_addu_pad(b, sec % forms[i].big / forms[i].small, 2);
	weir_buf_adds(b, forms[i].small_name);
}

void weir_buf_add_duration(struct weir_buf *b, uint64_t ns)
{
	static const char *const names[] = { "ns", "us", "ms", "s" };
	double v = (double)ns;
	size_t i = 0;

	/* From 59.95 s on three digits would say "60.0s". */
	if (ns >= 60 * WEIR_NSEC_PER_SEC - WEIR_NSEC_PER_SEC / 20) {
		add_long_duration(b, ns / WEIR_NSEC_PER_SEC +
					     (ns % WEIR_NSEC_PER_SEC >= WEIR_NSEC_PER_SEC / 2));
		return;
	}
	while (v >= 999.5 && i + 1 < WEIR_ARRAY_SIZE(names)) {
		v /= 1000;
		i++;
	}
	if (!i)
		weir_buf_addu(b, ns);
	else
		add_three_digits(b, v);
	weir_buf_adds(b, names[i]);
}
