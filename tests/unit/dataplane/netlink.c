/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct nlmsghdr *begin(struct weir_nl_msg *m)
{
	const struct tcmsg t = { .tcm_ifindex = 7 };

	weir_nl_begin(m, RTM_GETTFILTER, NLM_F_DUMP, &t, sizeof(t));
	return (const struct nlmsghdr *)m->bytes;
}

static void test_message(void **state)
{
	const uint32_t chain = 5, *got;
	struct weir_nl_msg m;
	const struct nlmsghdr *h = begin(&m);
	const struct tcmsg *t;

	(void)state;
	assert_int_equal(h->nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
	assert_int_equal(h->nlmsg_len, NLMSG_LENGTH(sizeof(*t)));
	t = weir_nl_payload(h, sizeof(*t));
	assert_non_null(t);
	assert_int_equal(t->tcm_ifindex, 7);
	assert_null(weir_nl_payload(h, sizeof(*t) + 1));
	assert_null(weir_nl_find(h, sizeof(*t), TCA_CHAIN, 0));
	weir_nl_attr(&m, TCA_KIND, "bpf", 4);
	weir_nl_attr(&m, TCA_INGRESS_BLOCK, "x", 1); /* the next one is aligned */
	weir_nl_attr(&m, TCA_CHAIN, &chain, sizeof(chain));
	got = weir_nl_find(h, sizeof(*t), TCA_CHAIN, sizeof(*got));
	assert_non_null(got);
	assert_int_equal(*got, 5);
	assert_string_equal(weir_nl_find(h, sizeof(*t), TCA_KIND, 4), "bpf");
	assert_null(weir_nl_find(h, sizeof(*t), TCA_KIND, 5));
	assert_null(weir_nl_find(h, sizeof(*t), TCA_OPTIONS, 0));
}

/* Lengths that lead nowhere, as of a kernel gone mad: never beyond the message. */
static void test_lengths(void **state)
{
	static const uint16_t lengths[] = { 0, 1, 3, 5, 8, 9, 100, 65535 };
	const uint32_t value = 1;
	struct weir_nl_msg m;
	struct nlmsghdr *h;
	struct nlattr *a;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		begin(&m);
		weir_nl_attr(&m, TCA_CHAIN, &value, sizeof(value));
		h = (struct nlmsghdr *)m.bytes;
		a = (struct nlattr *)(m.bytes + NLMSG_SPACE(sizeof(struct tcmsg)));
		a->nla_len = lengths[i];
		if (lengths[i] == 8)
			assert_non_null(weir_nl_find(h, sizeof(struct tcmsg), TCA_CHAIN, 4));
		else
			assert_null(weir_nl_find(h, sizeof(struct tcmsg), TCA_CHAIN, 4));
		assert_null(weir_nl_find(h, sizeof(struct tcmsg), TCA_KIND, 0));
	}
}

static int refuse(void *arg, const struct nlmsghdr *h)
{
	(void)h;
	++*(int *)arg;
	return -ENOTSUP;
}

static int count(void *arg, const struct nlmsghdr *h)
{
	*(int *)arg += h->nlmsg_type == RTM_NEWLINK;
	return 0;
}

/* Interfaces are everybody's to list. */
static void test_answers(void **state)
{
	const struct ifinfomsg all = { 0 }, none = { .ifi_index = 0x7fffffff };
	struct weir_nl_msg m;
	int n = 0;

	(void)state;
	weir_nl_begin(&m, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
	assert_int_equal(weir_nl_ask(NETLINK_ROUTE, &m, count, &n), 0);
	assert_true(n >= 1);
	n = 0;
	weir_nl_begin(&m, RTM_GETLINK, NLM_F_DUMP, &all, sizeof(all));
	assert_int_equal(weir_nl_ask(NETLINK_ROUTE, &m, refuse, &n), -ENOTSUP);
	assert_int_equal(n, 1);
	weir_nl_begin(&m, RTM_GETLINK, 0, &none, sizeof(none));
	assert_int_equal(weir_nl_ask(NETLINK_ROUTE, &m, count, &n), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
