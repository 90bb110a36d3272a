/* SPDX-License-Identifier: GPL-2.0-only */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "dataplane/set_impl.h"

/* ---- Feeds */

static void check_feed(const char *text, const char *want)
{
	struct weir_error err = { "" };
	weir_autofree struct weir_prefix *v = NULL;
	char out[512] = "", one[WEIR_ADDR_STRLEN];
	size_t n = 0;
	int ret = weir_set_parse(text, strlen(text), "f", &v, &n, &err);

	if (ret) {
		assert_int_equal(ret, -EINVAL);
		snprintf(out, sizeof(out), "%s", err.msg);
	}
	for (size_t i = 0; i < n; i++) {
		strcat(out, weir_prefix_str(&v[i], one));
		strcat(out, " ");
	}
	assert_string_equal(out, want);
}

#define NO_PREFIX " is not an address or prefix: write 192.0.2.0/24 or 2001:db8::/32"

static void feeds(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "" },
		{ "\n\n \t\r\n# nothing\n;\n", "" },
		{ "192.0.2.0/24", "192.0.2.0/24 " },
		{ "192.0.2.0/24\r\n2001:db8::1\r\n", "192.0.2.0/24 2001:db8::1 " },
		{ " \t10.0.0.0/8 # ten\n::/0;all\n0.0.0.0/0#all\n", "10.0.0.0/8 ::/0 0.0.0.0/0 " },
		{ "10.1.2.3 \n10.1.2.3/32\n", "10.1.2.3 10.1.2.3 " },
		{ "::ffff:10.0.0.0/104\n::ffff:a00:0/104", "10.0.0.0/8 10.0.0.0/8 " },
		{ "2001:DB8:0:0:1::\n1:2:3:4:5:6:7:8\n::\n::1\n1::",
		  "2001:db8:0:0:1:: 1:2:3:4:5:6:7:8 :: ::1 1:: " },
		{ "::1.2.3.4", "::102:304 " },
		{ "fe80::/10\n2001:db8::/127\n::/64", "fe80::/10 2001:db8::/127 ::/64 " },
		{ "1.2.3.4\nx", "f:2: 'x'" NO_PREFIX },
		{ "1.2.3", "f:1: '1.2.3'" NO_PREFIX },
		{ "01.2.3.4", "f:1: '01.2.3.4'" NO_PREFIX },
		{ "1.2.3.4/032", "f:1: '1.2.3.4/032'" NO_PREFIX },
		{ "1.2.3.256", "f:1: '1.2.3.256'" NO_PREFIX },
		{ "1.2.3.4/33", "f:1: '1.2.3.4/33'" NO_PREFIX },
		{ "1.2.3.4/", "f:1: '1.2.3.4/'" NO_PREFIX },
		{ "1.2.3.4/24/", "f:1: '1.2.3.4/24/'" NO_PREFIX },
		{ "1:2:3:4:5:6:7", "f:1: '1:2:3:4:5:6:7'" NO_PREFIX },
		{ "1:2:3:4:5:6:7:8:9", "f:1: '1:2:3:4:5:6:7:8:9'" NO_PREFIX },
		{ "1::2::3", "f:1: '1::2::3'" NO_PREFIX },
		{ ":::", "f:1: ':::'" NO_PREFIX },
		{ "1:2:3:4:5:6:7::8", "f:1: '1:2:3:4:5:6:7::8'" NO_PREFIX },
		{ "12345::", "f:1: '12345::'" NO_PREFIX },
		{ "::/129", "f:1: '::/129'" NO_PREFIX },
		{ "1.2.3.4, 5.6.7.8", "f:1: '1.2.3.4,'" NO_PREFIX },
		{ "\n1.2.3.4 5.6.7.8\n",
		  "f:2: '5.6.7.8' is more than one prefix a line: put it on its own, or behind a #" },
		{ "10.0.0.1/8",
		  "f:1: '10.0.0.1/8' has bits set behind its length: write the network's first "
		  "address, or 10.0.0.1 for this one alone" },
		{ "2001:db8::1/64",
		  "f:1: '2001:db8::1/64' has bits set behind its length: write the network's first "
		  "address, or 2001:db8::1 for this one alone" },
		{ "\x1b[2J", "f:1: '?[2J'" NO_PREFIX },
	};

	(void)state;
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++)
		check_feed(cases[i].in, cases[i].out);
}

static void files(void **state)
{
	struct weir_error err = { "" };
	char path[] = "/tmp/weir-set-XXXXXX";
	struct weir_prefix *v = NULL;
	int fd = mkstemp(path);
	size_t n = 0;

	(void)state;
	assert_true(fd >= 0);
	for (int i = 0; i < 20000; i++)
		dprintf(fd, "10.%d.%d.0/24\n", i / 256, i % 256);
	assert_int_equal(weir_set_read(path, &v, &n, &err), 0);
	assert_int_equal(n, 20000);
	assert_int_equal(v[19999].addr.b[14], 19999 % 256);
	free(v);
	assert_int_equal(ftruncate(fd, 0), 0);
	v = NULL;
	assert_int_equal(weir_set_read(path, &v, &n, &err), 0);
	assert_int_equal(n, 0);
	free(v);
	close(fd);
	unlink(path);
	assert_int_equal(weir_set_read(path, &v, &n, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	assert_int_equal(weir_set_read("/tmp", &v, &n, &err), -EISDIR);
}

/* ---- Sets in memory */

static int alloc(struct weir_set *s, const size_t bytes[WEIR_SET_MAPS], struct weir_error *err)
{
	(void)err;
	for (int i = 0; i < WEIR_SET_MAPS; i++) {
		if (!bytes[i])
			continue;
		s->mem[i] = mmap(NULL, bytes[i], PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_ptr_not_equal(s->mem[i], MAP_FAILED);
		s->size[i] = bytes[i];
	}
	return 0;
}

static struct weir_prefix v4(uint32_t addr, unsigned int len)
{
	return (struct weir_prefix){
		.addr.b = { [10] = 0xff, 0xff, (uint8_t)(addr >> 24), (uint8_t)(addr >> 16),
			    (uint8_t)(addr >> 8), (uint8_t)addr },
		.len = (uint8_t)(96 + len),
		.is_v4 = true,
	};
}

static bool contains4(struct weir_set *s, uint32_t addr)
{
	const struct weir_prefix p = v4(addr, 32);

	return weir_set_contains(s, &p.addr);
}

/* Every way to write a /24 down: none, a range, two, four hosts, a bitmap, all. */
static void forms(void **state)
{
	static const uint8_t hosts[] = { 7, 9, 200, 255, 0, 100, 50, 150 };
	struct weir_set s;

	(void)state;
	for (size_t trie4_max = 0; trie4_max < 2; trie4_max++) {
		assert_int_equal(weir_set_make(&s, &(struct weir_prefix){ v4(1U << 24, 24).addr,
									  120, true },
					       1, alloc, trie4_max, NULL), 0);
		assert_int_equal(!!s.mem[WEIR_SET_TABLE4], !trie4_max);
		for (size_t n = 0; n < WEIR_ARRAY_SIZE(hosts); n++) {
			struct weir_prefix p = v4(0x0a000000 | hosts[n], 32);

			assert_int_equal(weir_set_add(&s, &p, 1, NULL), 0);
			for (uint32_t i = 0; i < 256; i++)
				assert_int_equal(contains4(&s, 0x0a000000 | i),
						 !!memchr(hosts, (int)i, n + 1));
		}
		for (size_t n = 0; n < WEIR_ARRAY_SIZE(hosts); n++) {
			struct weir_prefix p = v4(0x0a000000 | hosts[n], 32);

			assert_int_equal(weir_set_del(&s, &p, 1, NULL), 0);
			for (uint32_t i = 0; i < 256; i++)
				assert_int_equal(contains4(&s, 0x0a000000 | i),
						 !!memchr(hosts + n + 1, (int)i,
							  WEIR_ARRAY_SIZE(hosts) - n - 1));
		}
		assert_true(contains4(&s, 0x010000ff));
		weir_set_close(&s);
	}
}

/* Two halves make a whole, and one of them goes again. */
static void halves(void **state)
{
	struct weir_prefix p[] = { v4(0x0a000000, 25), v4(0x0a000080, 25) };
	struct weir_set s;

	(void)state;
	assert_int_equal(weir_set_make(&s, p, 2, alloc, 0, NULL), 0);
	assert_true(contains4(&s, 0x0a000000) && contains4(&s, 0x0a0000ff));
	assert_int_equal(weir_set_del(&s, p, 1, NULL), 0);
	assert_true(!contains4(&s, 0x0a00007f) && contains4(&s, 0x0a000080));
	assert_int_equal(weir_set_add(&s, p, 1, NULL), 0);
	assert_true(contains4(&s, 0x0a00007f));
	assert_int_equal(weir_set_del(&s, p, 2, NULL), 0);
	assert_true(!contains4(&s, 0x0a00007f) && !contains4(&s, 0x0a000080));
	weir_set_close(&s);
}

/* More and more /24s of a form that needs a bitmap: the set says when there is no
 * room, before it changes anything, and never writes behind its end. */
static void table_full(void **state)
{
	struct weir_prefix p[9], first = v4(0x0b000000, 32);
	const struct weir_set_table_head *head;
	struct weir_set s;
	uint32_t net;
	int ret = 0;

	(void)state;
	assert_int_equal(weir_set_make(&s, &first, 1, alloc, 0, NULL), 0);
	head = &((union weir_set_line *)s.mem[WEIR_SET_TABLE4])[WEIR_SET_TABLE_HEAD].table;
	for (net = 0; !ret && net < 10000; net++) {
		for (uint32_t i = 0; i < 9; i++)
			p[i] = v4(0x0a000000 | net << 8 | i * 3, 32);
		ret = weir_set_add(&s, p, net & 1 ? 9 : 2, NULL);
		assert_true(head->bitmap_next <= head->bitmap_end);
		assert_int_equal(contains4(&s, 0x0a000000 | net << 8), !ret);
	}
	assert_int_equal(ret, -ENOSPC);
	assert_true(net > 20);
	assert_true(contains4(&s, 0x0a000000) && contains4(&s, 0x0b000000));
	weir_set_close(&s);
}

static void trie_full(void **state)
{
	struct weir_prefix p = v4(0, 32);
	struct weir_set s;
	uint32_t i;
	int ret = 0;

	(void)state;
	assert_int_equal(weir_set_make(&s, NULL, 0, alloc, 100, NULL), 0);
	for (i = 0; !ret && i < 10000; i++) {
		p = v4(i * 0x01010101U, 32);
		ret = weir_set_add(&s, &p, 1, NULL);
	}
	assert_int_equal(ret, -ENOSPC);
	assert_true(i > 20);
	assert_false(weir_set_contains(&s, &p.addr));
	assert_int_equal(weir_set_count(&s), i - 1);
	weir_set_close(&s);
}

/* Nothing that is IPv6 covers an IPv4 address, not even ::/0. */
static void families(void **state)
{
	struct weir_prefix all6 = { .len = 0 }, p = v4(0x0a000001, 32);
	struct weir_addr six = { { 0x20, 1 } };
	struct weir_set s;

	(void)state;
	assert_int_equal(weir_set_make(&s, &all6, 1, alloc, 100, NULL), 0);
	assert_true(weir_set_contains(&s, &six));
	assert_false(contains4(&s, 0x0a000001));
	assert_int_equal(weir_set_add(&s, &p, 1, NULL), 0);
	assert_true(contains4(&s, 0x0a000001));
	assert_int_equal(weir_set_del(&s, &all6, 1, NULL), 0);
	assert_false(weir_set_contains(&s, &six));
	assert_true(contains4(&s, 0x0a000001));
	weir_set_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(feeds),	cmocka_unit_test(files),
		cmocka_unit_test(forms),	cmocka_unit_test(halves),
		cmocka_unit_test(table_full),	cmocka_unit_test(trie_full),
		cmocka_unit_test(families),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
