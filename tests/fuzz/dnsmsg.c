/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader of DNS messages. Whatever the bytes: it ends, it stays inside, names are
 * printable and no longer than promised, and a message cut short gives the beginning of
 * what the whole one gives. What the resolver's own reader (net/dns.h) finds in an answer,
 * this one finds, too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns.h"
#include "net/dnsmsg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

static void check_name(const char *name)
{
	const size_t n = strnlen(name, WEIR_DNSMSG_NAME);

	NEED(n && n < WEIR_DNSMSG_NAME);
	for (size_t i = 0; i < n; i++)
		NEED(name[i] > ' ' && name[i] < 0x7f);
}

/* Records read, or negative behind an error: -1 - records. */
static long walk(const uint8_t *data, size_t size, uint64_t *sum)
{
	char target[WEIR_DNSMSG_NAME], type[WEIR_DNSMSG_TYPE_NAME];
	struct weir_dnsmsg_record r;
	struct weir_addr addr;
	struct weir_dnsmsg m;
	long n = 0;
	int more;

	*sum = 0;
	if (weir_dnsmsg_begin(&m, data, size))
		return -1;
	while ((more = weir_dnsmsg_next(&m, &r)) > 0) {
		n++;
		check_name(r.name);
		NEED(r.at + r.len <= size && m.at <= size);
		NEED(r.section < WEIR_DNSMSG_SECTIONS);
		NEED(weir_dnsmsg_type_name(r.type, type));
		if (weir_dnsmsg_target(&m, &r, target))
			check_name(target);
		if (weir_dnsmsg_addr(&m, &r, &addr))
			NEED(weir_addr_is_v4(&addr) || r.type == WEIR_DNSMSG_AAAA);
		*sum = *sum * 31 + r.type + strlen(r.name);
	}
	NEED(n <= 4 * 65535L);
	return more < 0 ? -1 - n : n;
}

/* Every address that the resolver would take stands in an answer. */
static void compare(const uint8_t *data, size_t size)
{
	struct weir_dnsmsg_record r;
	struct weir_dns_answer a;
	struct weir_addr addr;
	struct weir_dnsmsg m;
	char name[WEIR_DNSMSG_NAME];
	bool found;

	if (weir_dnsmsg_begin(&m, data, size) || weir_dnsmsg_next(&m, &r) <= 0 ||
	    (r.type != WEIR_DNSMSG_A && r.type != WEIR_DNSMSG_AAAA))
		return;
	memcpy(name, r.name, sizeof(name));
	if (weir_dns_read(data, size, name, (enum weir_dns_type)r.type, &a))
		return;
	for (size_t i = 0; i < a.n; i++) {
		found = false;
		NEED(!weir_dnsmsg_begin(&m, data, size));
		while (!found && weir_dnsmsg_next(&m, &r) > 0)
			found = r.section == WEIR_DNSMSG_ANSWER &&
				weir_dnsmsg_addr(&m, &r, &addr) &&
				!memcmp(&addr, &a.addr[i], sizeof(addr));
		NEED(found);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t sum, cut_sum;
	uint8_t *copy;
	long n, cut;
	size_t most;

	if (!size || size > 70000)
		return 0;
	most = (size - 1) * data[0] / 255;
	data++;
	size--;
	n = walk(data, size, &sum);
	copy = malloc(most ? most : 1); /* its end is guarded */
	memcpy(copy, data, most);
	cut = walk(copy, most, &cut_sum);
	NEED((cut < 0 ? -1 - cut : cut) <= (n < 0 ? -1 - n : n));
	if (cut >= 0)
		NEED(n == cut && sum == cut_sum);
	compare(data, size);
	free(copy);
	return 0;
}
