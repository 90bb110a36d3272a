/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What weir drops reads of /proc. By the first byte the rest is
 *
 *	snmp or netstat, snmp6, softnet_stat: each counter is there once, and the same
 *	text read again makes each twice as many;
 *	kallsyms: functions come out in the order of their addresses, each address has a
 *	name that the text has, and one below them all has none.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cap/drops/counters.h"
#include "cap/drops/symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void need(bool ok)
{
	if (!ok)
		abort();
}

typedef int read_fn(struct weir_drops_counters_now *c, FILE *in);

static void read_text(read_fn *fn, struct weir_drops_counters_now *c, const uint8_t *data,
		      size_t size)
{
	weir_autofclose FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
	int ret;

	need(in);
	ret = fn(c, in);
	need(!ret || ret == -ENOMEM);
}

static void check_counters(read_fn *fn, const uint8_t *data, size_t size)
{
	struct weir_drops_counters_now once = { 0 }, twice = { 0 };

	read_text(fn, &once, data, size);
	read_text(fn, &twice, data, size);
	read_text(fn, &twice, data, size);
	need(once.n == twice.n);
	for (size_t i = 0; i < once.n; i++) {
		need(memchr(once.v[i].name, 0, sizeof(once.v[i].name)));
		need(weir_drops_counter_before(&twice, &once.v[i]) == 2 * once.v[i].value);
		for (size_t k = 0; k < i; k++)
			need(strcmp(once.v[i].name, once.v[k].name) != 0);
	}
	weir_drops_counters_free(&once);
	weir_drops_counters_free(&twice);
}

static void check_symbols(const uint8_t *data, size_t size)
{
	weir_autofclose FILE *in = fmemopen((void *)(uintptr_t)data, size, "r");
	struct weir_drops_symbols s;
	char name[WEIR_DROPS_FUNCTION_MAX];

	need(in);
	if (weir_drops_symbols_read(&s, in))
		return;
	for (size_t i = 0; i < s.n; i++) {
		size_t len;

		need(s.v[i].at && (!i || s.v[i - 1].at <= s.v[i].at));
		weir_drops_function(&s, s.v[i].at, name, sizeof(name));
		len = strlen(name);
		need(!len || memmem(data, size, name, len));
	}
	if (s.n)
		need(!strncmp(weir_drops_function(&s, s.v[0].at - 1, name, sizeof(name)), "0x", 2));
	weir_drops_symbols_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static read_fn *const readers[] = { weir_drops_read_snmp, weir_drops_read_snmp6,
					    weir_drops_read_softnet };
	size_t which;

	if (size < 2)
		return 0;
	which = data[0] % (WEIR_ARRAY_SIZE(readers) + 1);
	if (which < WEIR_ARRAY_SIZE(readers))
		check_counters(readers[which], data + 1, size - 1);
	else
		check_symbols(data + 1, size - 1);
	return 0;
}
