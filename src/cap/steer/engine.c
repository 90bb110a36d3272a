/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/steer/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/steer/engine_impl.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "policy/engine.h"

/* ---- Open and close */

static int *const *fds_of(struct weir_steer *s, int *list[7])
{
	list[0] = &s->link_fd;
	list[1] = &s->prog_fd;
	list[2] = &s->answer_fd;
	list[3] = &s->sockets_fd;
	list[4] = &s->lost_fd;
	list[5] = &s->account_fd;
	list[6] = NULL;
	return list;
}

static void init(struct weir_steer *s)
{
	int *list[7];

	*s = (struct weir_steer){ .dir.fd = -1, .rules = { -1, -1, -1, 0 } };
	for (int *const *fd = fds_of(s, list); *fd; fd++)
		**fd = -1;
}

void weir_steer_close(struct weir_steer *s)
{
	int *list[7];

	for (int *const *fd = fds_of(s, list); *fd; fd++)
		weir_closep(*fd);
	weir_rules_close(&s->rules);
	weir_steer_conf_free(&s->conf);
	weir_pin_close(&s->dir);
	init(s);
}

const char *weir_steer_pin_name(char buf[16], const char *what, char letter)
{
	snprintf(buf, 16, "%s-%c", what, letter);
	return buf;
}

static uint32_t prog_id(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(prog_fd, &info, &len) ? 0 : info.id;
}

/* The letter whose program the link runs, with that program; 0 = none. */
static char find_letter(struct weir_steer *s)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	char name[16];

	if (bpf_obj_get_info_by_fd(s->link_fd, &info, &len))
		return 0;
	for (char c = 'a'; c <= 'b'; c++) {
		s->prog_fd = weir_pin_get(&s->dir, weir_steer_pin_name(name, "prog", c));
		if (s->prog_fd >= 0 && prog_id(s->prog_fd) == info.prog_id)
			return c;
		weir_closep(&s->prog_fd);
		s->prog_fd = -1;
	}
	return 0;
}

static int incomplete(struct weir_error *err)
{
	return weir_fail(err, -EPROTO,
			 "what is pinned is incomplete: `weir unload " WEIR_STEER_VERB "`");
}

static int open_generation(struct weir_steer *s, struct weir_error *err)
{
	weir_autoclose int text = -1;
	char name[16];
	int ret;

	s->letter = find_letter(s);
	if (!s->letter)
		return incomplete(err);
	text = weir_pin_get(&s->dir, weir_steer_pin_name(name, "text", s->letter));
	s->answer_fd = weir_pin_get(&s->dir, weir_steer_pin_name(name, "answer", s->letter));
	s->sockets_fd = weir_pin_get(&s->dir, "sockets");
	s->lost_fd = weir_pin_get(&s->dir, "lost");
	s->account_fd = weir_pin_get(&s->dir, "account");
	if (text < 0 || s->answer_fd < 0 || s->sockets_fd < 0 || s->lost_fd < 0 ||
	    s->account_fd < 0)
		return incomplete(err);
	ret = weir_steer_text_read(text, &s->conf, err);
	/* Rules that have expired are gone for whoever looks, as they are for the program. */
	if (!ret)
		weir_steer_conf_expire(&s->conf, s->clock.boot);
	return ret;
}

static int open_all(struct weir_steer *s, bool create, struct weir_error *err)
{
	int ret = weir_filter_clock(&s->clock.jiffies, &s->clock.boot, &s->clock.tick, err);

	s->link_fd = ret ? -1 : weir_pin_get(&s->dir, "link");
	if (!ret)
		ret = weir_rules_open(&s->rules, create || s->link_fd >= 0, err);
	if (ret)
		return ret;
	if (s->link_fd >= 0)
		ret = weir_pin_check_meta(&s->dir, WEIR_STEER_ABI, err);
	else if (s->link_fd != -ENOENT)
		return weir_load_explain(err, s->link_fd, "look at what is pinned");
	if (!ret && s->link_fd >= 0)
		return open_generation(s, err);
	s->link_fd = -1;
	/* A first command that was killed left parts, which are written over. */
	return ret ? ret : create ? 0 : -ENOENT;
}

int weir_steer_open(struct weir_steer *s, bool create, struct weir_error *err)
{
	int ret;

	init(s);
	ret = weir_pin_open(&s->dir, WEIR_STEER_VERB, create, err);
	if (!ret)
		ret = open_all(s, create, err);
	if (ret == -ENOENT)
		weir_fail(err, ret,
			  "nothing is steered in this network namespace: begin with "
			  "`weir steer add`");
	if (ret)
		weir_steer_close(s);
	return ret;
}

/* ---- Counters */

uint64_t weir_steer_cookie(const struct weir_steer *s, uint32_t slot)
{
	uint64_t cookie = 0;

	return bpf_map_lookup_elem(s->sockets_fd, &slot, &cookie) ? 0 : cookie;
}

/* The sum over all CPUs of the @n counters at @key. */
static int sum(int fd, uint32_t key, uint64_t *ret, size_t n)
{
	size_t cpus = (size_t)weir_sys_cpus();
	weir_autofree uint64_t *v = calloc(cpus * n, sizeof(*v));

	if (!v)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &key, v))
		return -errno;
	memset(ret, 0, n * sizeof(*ret));
	for (size_t i = 0; i < cpus * n; i++)
		ret[i % n] += v[i];
	return 0;
}

int weir_steer_lost_of(const struct weir_steer *s, uint32_t rule, struct weir_steer_lost *ret)
{
	uint64_t v[2] = { 0 };
	int r = sum(s->lost_fd, rule, v, 2);

	/* A rule that never lost anything is not in it. */
	if (r && r != -ENOENT)
		return r;
	*ret = (struct weir_steer_lost){ v[0], v[1] };
	return 0;
}

int weir_steer_account_of(const struct weir_steer *s, struct weir_steer_account *ret)
{
	uint64_t v[sizeof(*ret) / sizeof(uint64_t)];
	int r = sum(s->account_fd, 0, v, WEIR_ARRAY_SIZE(v));

	if (!r)
		memcpy(ret, v, sizeof(v));
	return r;
}

int weir_steer_ask(const struct weir_steer *s, const struct weir_steer_question *q,
		   struct weir_steer_verdict *ret, struct weir_error *err)
{
	return weir_steer_prog_ask(s->prog_fd, s->answer_fd, q, ret, err);
}
