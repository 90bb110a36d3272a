/* SPDX-License-Identifier: GPL-2.0-only */
/* One generation: a program, the maps that its rules became, and their text. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/steer/engine.h"
#include "cap/steer/steer.h"
#include "dataplane/load.h"
#include "dataplane/text_map.h"
#include "steer.skel.h"


static void init(struct weir_steer_generation *g)
{
	*g = (struct weir_steer_generation){ -1, -1, -1, { -1, -1, -1, -1, false } };
}

void weir_steer_generation_close(struct weir_steer_generation *g)
{
	weir_closep(&g->prog_fd);
	weir_closep(&g->text_fd);
	weir_closep(&g->answer_fd);
	weir_closep(&g->shared.hits_fd);
	weir_closep(&g->shared.sockets_fd);
	weir_closep(&g->shared.lost_fd);
	weir_closep(&g->shared.account_fd);
	init(g);
}

/* ---- Text */

static int write_text(const struct weir_steer_conf *conf, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_steer_print(conf, WEIR_STEER_KERNEL, 0, &text);
	return weir_text_map_write("weir_steer_text", &text, err);
}

int weir_steer_text_read(int fd, struct weir_steer_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_text_map_read(fd, 2 * WEIR_STEER_TEXT_MAX, "steer", &text, err);

	return code ? code :
		      weir_steer_parse(text.data, text.len, "the kernel's text", WEIR_STEER_KERNEL,
				       ret, err);
}

/* ---- Maps */

/* The contents of an array, by its memory: a call for each element takes longer than
 * all the rest of a change. */
static int fill_array(const struct bpf_map *map, const void *v, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	if (p == MAP_FAILED)
		return -errno;
	memcpy(p, v, size);
	munmap(p, size);
	return 0;
}

static int fill(const struct steer_bpf *skel, const struct weir_steer_code *code)
{
	const struct {
		const struct bpf_map *map;
		const void *v;
		size_t size;
	} arrays[] = {
		{ skel->maps.weir_ports, code->ports,
		  bpf_map__max_entries(skel->maps.weir_ports) * sizeof(*code->ports) },
		{ skel->maps.weir_roots, code->roots, code->n_roots * sizeof(*code->roots) },
		{ skel->maps.weir_nodes, code->nodes, code->n_nodes * sizeof(*code->nodes) },
		{ skel->maps.weir_lones, code->lones, code->n_lones * sizeof(*code->lones) },
		{ skel->maps.weir_candidates, code->candidates,
		  code->n_candidates * sizeof(*code->candidates) },
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(arrays); i++)
		ret = fill_array(arrays[i].map, arrays[i].v, arrays[i].size);
	return ret;
}

static int prepare(struct steer_bpf *skel, const struct weir_steer_code *code,
		   const struct weir_steer_shared *shared)
{
	const struct {
		struct bpf_map *map;
		int fd;
	} reused[] = {
		{ skel->maps.weir_hits, shared->hits_fd },
		{ skel->maps.weir_sockets, shared->sockets_fd },
		{ skel->maps.weir_lost, shared->lost_fd },
		{ skel->maps.weir_account, shared->account_fd },
	};
	const struct {
		struct bpf_map *map;
		size_t n;
	} sized[] = {
		{ skel->maps.weir_roots, code->n_roots },
		{ skel->maps.weir_nodes, code->n_nodes },
		{ skel->maps.weir_lones, code->n_lones },
		{ skel->maps.weir_candidates, code->n_candidates },
	};
	int ret = 0;

	skel->rodata->weir_steer_count_tests = shared->count_tests;
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(reused); i++)
		if (reused[i].fd >= 0)
			ret = bpf_map__reuse_fd(reused[i].map, reused[i].fd);
	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(sized); i++)
		ret = bpf_map__set_max_entries(sized[i].map, (uint32_t)sized[i].n);
	return ret;
}

static int keep(int *to, int fd)
{
	*to = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return *to < 0 ? -errno : 0;
}

static int keep_all(const struct steer_bpf *skel, struct weir_steer_generation *g)
{
	const struct {
		int *to, fd;
	} kept[] = {
		{ &g->prog_fd, bpf_program__fd(skel->progs.weir_steer) },
		{ &g->answer_fd, bpf_map__fd(skel->maps.weir_answer) },
		{ &g->shared.hits_fd, bpf_map__fd(skel->maps.weir_hits) },
		{ &g->shared.sockets_fd, bpf_map__fd(skel->maps.weir_sockets) },
		{ &g->shared.lost_fd, bpf_map__fd(skel->maps.weir_lost) },
		{ &g->shared.account_fd, bpf_map__fd(skel->maps.weir_account) },
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < WEIR_ARRAY_SIZE(kept); i++)
		ret = keep(kept[i].to, kept[i].fd);
	return ret;
}

int weir_steer_generation_make(const struct weir_steer_conf *conf,
			       const struct weir_steer_code *code,
			       const struct weir_steer_shared *shared,
			       struct weir_steer_generation *ret, struct weir_error *err)
{
	struct weir_steer_generation g;
	struct steer_bpf *skel;
	int r;

	init(&g);
	weir_load_setup();
	skel = steer_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the program");
	r = prepare(skel, code, shared);
	if (r)
		weir_load_explain(err, r, "prepare the program");
	else
		r = weir_load(skel->obj, NULL, err);
	if (!r && (r = fill(skel, code)))
		weir_load_explain(err, r, "write the rules");
	if (!r && (r = keep_all(skel, &g)))
		weir_load_explain(err, r, "keep the program");
	steer_bpf__destroy(skel);
	if (!r) {
		g.text_fd = write_text(conf, err);
		r = g.text_fd < 0 ? g.text_fd : 0;
	}
	if (r)
		weir_steer_generation_close(&g);
	else
		*ret = g;
	return r;
}

/* ---- Test runs */

static void put_address(const struct weir_addr *a, bool v4, __u32 *ip4, __u32 ip6[4])
{
	if (v4)
		memcpy(ip4, a->b + 12, 4);
	else
		memcpy(ip6, a->b, 16);
}

int weir_steer_prog_ask(int prog_fd, int answer_fd, const struct weir_steer_question *q,
			struct weir_steer_verdict *ret, struct weir_error *err)
{
	bool v4 = weir_addr_is_v4(&q->local);
	struct bpf_sk_lookup ctx = {
		.family = v4 ? AF_INET : AF_INET6,
		.protocol = q->proto == WEIR_STEER_TCP ? IPPROTO_TCP : IPPROTO_UDP,
		.remote_port = htons(q->remote_port),
		.local_port = q->local_port,
		.ingress_ifindex = WEIR_STEER_TEST,
	};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &ctx, .ctx_size_in = sizeof(ctx),
		    .ctx_out = &ctx, .ctx_size_out = sizeof(ctx), .repeat = 1);
	uint32_t zero = 0;
	__u32 words[4];

	memset(words, 0, sizeof(words));
	put_address(&q->remote, v4, &ctx.remote_ip4, words);
	memcpy(ctx.remote_ip6, words, sizeof(words));
	memset(words, 0, sizeof(words));
	put_address(&q->local, v4, &ctx.local_ip4, words);
	memcpy(ctx.local_ip6, words, sizeof(words));
	if (bpf_prog_test_run_opts(prog_fd, &opts))
		return weir_load_explain(err, -errno, "ask the program");
	ret->dropped = !opts.retval;
	ret->cookie = ctx.cookie;
	if (bpf_map_lookup_elem(answer_fd, &zero, &ret->answer))
		return weir_load_explain(err, -errno, "read the answer");
	return 0;
}
