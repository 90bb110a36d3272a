/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

#include "cap/watch/fields.h"
#include "cap/watch/owners.h"
#include "cap/watch/format.h"
#include "samples.h"

static void format(const struct weir_packet *p, struct weir_buf *out)
{
	struct weir_formatter f = { .format = WEIR_FORMAT_JSON };

	weir_format_packet(&f, p, out);
	assert_false(out->failed);
}

static void whole_objects(void **state)
{
	static const struct {
		const char *name, *json;
	} objects[] = {
		{ "tcp_data",
		  "{\"v\":1,\"ts\":\"2026-01-02T03:04:05.123456789Z\",\"protocol\":\"tcp\","
		  "\"src_ip\":\"10.0.0.1\",\"src_port\":443,\"dst_ip\":\"10.0.0.2\","
		  "\"dst_port\":51234,\"iface\":\"eth0\",\"packet_size\":75,"
		  "\"tcp_flags\":\"P.\",\"eth_src\":\"02:00:00:00:00:01\","
		  "\"eth_dst\":\"02:00:00:00:00:02\",\"ethertype\":2048,\"ip_id\":1,\"tos\":0,"
		  "\"ttl\":64,\"seq\":1000,\"ack\":77,\"window\":502,\"checksum_ok\":true,"
		  "\"community_id\":\"1:ee6oL5+dTPKMmgXQDCHFO1paWC4=\"}\n" },
		{ "arp_request",
		  "{\"v\":1,\"ts\":\"2026-01-02T03:04:05.123456789Z\",\"protocol\":\"arp\","
		  "\"src_ip\":\"10.0.0.1\",\"dst_ip\":\"10.0.0.2\",\"iface\":\"eth0\","
		  "\"packet_size\":42,\"eth_src\":\"02:00:00:00:00:01\","
		  "\"eth_dst\":\"ff:ff:ff:ff:ff:ff\",\"ethertype\":2054}\n" },
		{ "frag6_middle",
		  "{\"v\":1,\"ts\":\"2026-01-02T03:04:05.123456789Z\",\"protocol\":\"udp\","
		  "\"src_ip\":\"2001:db8::1\",\"dst_ip\":\"2001:db8::2\",\"iface\":\"eth0\","
		  "\"packet_size\":78,\"fragment\":\"middle\",\"eth_src\":\"02:00:00:00:00:01\","
		  "\"eth_dst\":\"02:00:00:00:00:02\",\"ethertype\":34525,\"ip_id\":5,\"tos\":0,"
		  "\"ttl\":64,\"flow_label\":0,\"frag_offset\":24}\n" },
		{ "qinq",
		  "{\"v\":1,\"ts\":\"2026-01-02T03:04:05.123456789Z\",\"protocol\":\"tcp\","
		  "\"src_ip\":\"2001:db8::1\",\"src_port\":1,\"dst_ip\":\"2001:db8::2\","
		  "\"dst_port\":2,\"iface\":\"eth0\",\"packet_size\":82,\"tcp_flags\":\"S.\","
		  "\"vlan\":100,\"vlan_inner\":20,\"eth_src\":\"02:00:00:00:00:01\","
		  "\"eth_dst\":\"02:00:00:00:00:02\",\"ethertype\":34525,\"tos\":0,\"ttl\":64,"
		  "\"flow_label\":0,\"seq\":0,\"ack\":1,\"window\":8192,\"checksum_ok\":true,"
		  "\"community_id\":\"1:oIcW+IHPKeZS9W98/OLFv2ivJKk=\"}\n" },
		{ "stp",
		  "{\"v\":1,\"ts\":\"2026-01-02T03:04:05.123456789Z\",\"iface\":\"eth0\","
		  "\"packet_size\":23,\"eth_src\":\"02:00:00:00:00:01\","
		  "\"eth_dst\":\"01:80:c2:00:00:00\"}\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
		struct weir_buf out = { 0 };
		struct sample_packet s;

		sample_open(&s, sample_find(objects[i].name));
		format(&s.p, &out);
		assert_string_equal(out.data, objects[i].json);
		sample_close(&s);
		weir_buf_free(&out);
	}
}

/* An object has nothing but the known keys, in their order. */
static void keys_in_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < SAMPLES; i++) {
		struct weir_buf out = { 0 };
		struct sample_packet s;
		unsigned int known = 0;
		const char *key;
		json_t *root, *value;

		sample_open(&s, &samples[i]);
		format(&s.p, &out);
		root = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(root);
		assert_int_equal(json_integer_value(json_object_get(root, "v")), 1);
		assert_non_null(json_object_get(root, "ts"));
		json_object_del(root, "v");
		json_object_del(root, "ts");
		json_object_foreach(root, key, value) {
			char copied[64];

			snprintf(copied, sizeof(copied), ",\"%s\":", key);
			while (known < WEIR_PACKET_FIELD_MAX &&
			       strcmp(weir_fields[known].json, copied) != 0)
				known++;
			if (known == WEIR_PACKET_FIELD_MAX)
				fail_msg("%s: %s is unknown or out of order", samples[i].name, key);
		}
		json_decref(root);
		sample_close(&s);
		weir_buf_free(&out);
	}
}

static void where_and_verdict(void **state)
{
	struct weir_buf out = { 0 };
	struct sample_packet s;
	json_t *root;

	(void)state;
	sample_open(&s, sample_find("tcp_bad"));
	s.p.iface = "a\"\033";
	s.p.ev.dir = WEIR_WATCH_OUT;
	s.p.ev.verdict = WEIR_WATCH_DROP;
	s.p.rule = "filter/bad";
	format(&s.p, &out);
	root = json_loads(out.data, 0, NULL);
	assert_non_null(root);
	assert_string_equal(json_string_value(json_object_get(root, "iface")), "a\"\033");
	assert_string_equal(json_string_value(json_object_get(root, "direction")), "out");
	assert_string_equal(json_string_value(json_object_get(root, "verdict")), "drop");
	assert_string_equal(json_string_value(json_object_get(root, "rule")), "filter/bad");
	assert_true(json_is_false(json_object_get(root, "checksum_ok")));
	assert_null(strchr(out.data, '\033'));
	json_decref(root);
	weir_buf_reset(&out);
	s.p.iface = "?";
	s.p.ev.flags |= WEIR_WATCH_CSUM_UNDONE;
	format(&s.p, &out);
	assert_null(strstr(out.data, "iface"));
	assert_null(strstr(out.data, "checksum_ok"));
	sample_close(&s);
	weir_buf_free(&out);
}

/* Each field is told by some sample or by the test above. */
static void every_field_is_filled(void **state)
{
	static const struct weir_owner_text owner = { .pid = 1, .guessed = true, .comm = "init",
						      .cgroup = "/", .netns_name = "red",
						      .netns = 1 };

	(void)state;
	for (unsigned int k = 0; k < WEIR_PACKET_FIELD_MAX; k++) {
		bool seen = false;

		for (size_t i = 0; i < SAMPLES && !seen; i++) {
			struct sample_packet s;
			struct weir_value v;

			sample_open(&s, &samples[i]);
			s.p.ev.dir = WEIR_WATCH_IN;
			s.p.ev.verdict = WEIR_WATCH_PASS;
			s.p.rule = "filter/r";
			s.p.owner = s.p.peer = &owner;
			seen = weir_field_get(&s.p, k, &v);
			sample_close(&s);
		}
		if (!seen)
			fail_msg("no packet tells %s", weir_fields[k].json);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_objects),
		cmocka_unit_test(keys_in_order),
		cmocka_unit_test(where_and_verdict),
		cmocka_unit_test(every_field_is_filled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
