/* SPDX-License-Identifier: GPL-2.0-only */
/* Well-formed UTF-8 (RFC 3629), for text that came from the wire. */
#pragma once

#include <stddef.h>

/* The length of the well-formed sequence at @s, which has @n > 0 bytes left;
 * 0 where there is none. Overlong forms and surrogates are not well-formed. */
static inline size_t weir_utf8_len(const unsigned char *s, size_t n)
{
	unsigned char lo = 0x80, hi = 0xbf;
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	len = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n < len)
		return 0;
	/* Only the second byte's range depends on the first. */
	if (s[0] == 0xe0)
		lo = 0xa0;
	else if (s[0] == 0xed)
		hi = 0x9f;
	else if (s[0] == 0xf0)
		lo = 0x90;
	else if (s[0] == 0xf4)
		hi = 0x8f;
	if (s[1] < lo || s[1] > hi)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return len;
}
