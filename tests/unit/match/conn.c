/* SPDX-License-Identifier: GPL-2.0-only */
/* A connection's match gives the same answer at both of its ends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/addr.h"
#include "bpf/ends.h"
#include "match/conn.h"

static struct weir_ends ends(const char *local, uint16_t lport, const char *remote, uint16_t rport,
			     bool initiated)
{
	struct weir_ends e = { .lport = lport, .rport = rport, .proto = 6 };
	struct weir_addr a;

	e.flags = initiated ? WEIR_ENDS_INITIATED : 0;
	assert_int_equal(weir_addr_parse(local, &a), 0);
	memcpy(e.local, a.b, 16);
	assert_int_equal(weir_addr_parse(remote, &a), 0);
	memcpy(e.remote, a.b, 16);
	return e;
}

static bool matches(const struct weir_conn_spec *spec, const struct weir_ends *e)
{
	struct weir_error err = { 0 };
	struct weir_match *m;
	struct weir_pkt p;
	bool ret;

	if (weir_conn_match_parse(spec, &m, &err))
		fail_msg("%s", err.msg);
	weir_ends_pkt(e, &p);
	ret = weir_match_eval(m, &p);
	weir_match_free(m);
	return ret;
}

static void initiator_and_listener_are_the_same_from_both_ends(void **state)
{
	struct weir_ends client = ends("10.0.0.1", 40000, "10.0.0.2", 443, true);
	struct weir_ends server = ends("10.0.0.2", 443, "10.0.0.1", 40000, false);
	struct weir_conn_spec yes = { .match = { .src_ip = "10.0.0.1", .dst_port = "443" } };
	struct weir_conn_spec no = { .match = { .expression = "src port 443" } };

	(void)state;
	assert_true(matches(&yes, &client));
	assert_true(matches(&yes, &server));
	assert_false(matches(&no, &client));
	assert_false(matches(&no, &server));
}

static void local_and_remote_are_relative(void **state)
{
	struct weir_ends client = ends("2001:db8::1", 40000, "2001:db8::2", 443, true);
	struct weir_ends server = ends("2001:db8::2", 443, "2001:db8::1", 40000, false);
	struct weir_conn_spec port = { .local_port = "80,440-450" };
	struct weir_conn_spec addr = { .remote_ip = "10.0.0.0/8,2001:db8::2" };
	struct weir_conn_spec both = { .remote_ip = "2001:db8::2",
				       .local_port = "40000",
				       .match = { .expression = "port 443 or port 80" } };

	(void)state;
	assert_false(matches(&port, &client));
	assert_true(matches(&port, &server));
	assert_true(matches(&addr, &client));
	assert_false(matches(&addr, &server));
	assert_true(matches(&both, &client));
	assert_false(matches(&both, &server));
}

static void protocol_and_everything(void **state)
{
	struct weir_ends e = ends("10.0.0.1", 1, "10.0.0.2", 2, true);
	struct weir_conn_spec all = { 0 }, udp = { .match = { .protocol = "udp" } };

	(void)state;
	assert_true(matches(&all, &e));
	assert_false(matches(&udp, &e));
	e.proto = 17;
	assert_true(matches(&udp, &e));
}

static void errors_name_the_flag_or_the_field(void **state)
{
	static const struct {
		struct weir_conn_spec spec;
		const char *says;
	} t[] = {
		{ { .local_ip = "foo" }, "--local-ip: \"foo\"" },
		{ { .remote_port = "1) or (tcp" }, "--remote-port: " },
		{ { .remote_ip = "" }, "--remote-ip: " },
		{ { .match = { .expression = "vlan 5" } }, "a connection has no vlan" },
		{ { .match = { .expression = "less 100" } }, "a connection has no len" },
		{ { .match = { .expression = "tcp[tcpflags] & tcp-syn != 0" } },
		  "a connection has no tcp flags" },
		{ { .local_port = "80", .match = { .expression = "tcp) or (udp" } }, "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct weir_error err = { 0 };
		struct weir_match *m;

		assert_int_equal(weir_conn_match_parse(&t[i].spec, &m, &err), -EINVAL);
		if (strncmp(err.msg, t[i].says, strlen(t[i].says)))
			fail_msg("%zu: %s", i, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initiator_and_listener_are_the_same_from_both_ends),
		cmocka_unit_test(local_and_remote_are_relative),
		cmocka_unit_test(protocol_and_everything),
		cmocka_unit_test(errors_name_the_flag_or_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
