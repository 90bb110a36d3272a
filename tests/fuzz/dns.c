/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers of name servers. By the first byte the message is taken as it is, or put behind
 * the header and the question that weir asked, so that the records are reached. Whatever
 * it says: addresses are of the family that was asked for and counted, and reading it
 * again says the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/dns.h"

#define MESSAGE_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NEED(cond)                                                         \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "line %d: %s\n", __LINE__, #cond); \
			abort();                                           \
		}                                                          \
	} while (0)

static const char name[] = "www.example.org";
static const uint8_t question[] = "\3www\7example\3org\0\0\0\0\1";

/* The counts and the response code come from the input; the rest is as it was asked. */
static size_t answer(const uint8_t *data, size_t size, enum weir_dns_type type, uint8_t *msg)
{
	const size_t n = sizeof(question) - 1;

	if (size < 4)
		return 0;
	memset(msg, 0, 12);
	msg[2] = 0x80;
	msg[3] = data[0] & 0xf;
	msg[5] = 1;
	msg[7] = data[1];
	msg[9] = data[2];
	memcpy(msg + 12, question, n);
	msg[12 + n - 3] = (uint8_t)type;
	memcpy(msg + 12 + n, data + 3, size - 3);
	return 12 + n + size - 3;
}

static void check(const uint8_t *msg, size_t len, enum weir_dns_type type)
{
	struct weir_dns_answer a = { 0 }, again = { 0 };

	if (weir_dns_read(msg, len, name, type, &a))
		return;
	NEED(a.n <= WEIR_DNS_ADDRS);
	NEED((a.says == WEIR_DNS_ADDRESSES) == (a.n > 0));
	NEED(a.ttl <= 0x7fffffff);
	for (size_t i = 0; i < a.n && type == WEIR_DNS_A; i++)
		NEED(weir_addr_is_v4(&a.addr[i]));
	NEED(!weir_dns_read(msg, len, name, type, &again));
	NEED(a.says == again.says && a.n == again.n && a.ttl == again.ttl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t msg[MESSAGE_MAX];
	enum weir_dns_type type;
	uint8_t *exact;
	size_t n;

	if (size < 1 || size > MESSAGE_MAX / 2)
		return 0;
	type = data[0] & 1 ? WEIR_DNS_A : WEIR_DNS_AAAA;
	if (data[0] & 2) {
		n = size - 1;
		memcpy(msg, data + 1, n);
	} else {
		n = answer(data + 1, size - 1, type, msg);
	}
	/* Of its own size, so that a byte too far is seen. */
	exact = malloc(n ? n : 1);
	if (!exact)
		return 0;
	memcpy(exact, msg, n);
	check(exact, n, type);
	free(exact);
	return 0;
}
