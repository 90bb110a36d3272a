/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs and the text of one generation, and what this kernel would set. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cap/tcp/tune_engine.h"
#include "dataplane/load.h"
#include "dataplane/text_map.h"
#include "dataplane/sys.h"

#include "tune.skel.h"
#include "tune_gate.skel.h"
#include "tune_try.skel.h"


static const char *const map_names[WEIR_TUNE_MAPS] = {
	[WEIR_TUNE_CURRENT] = "weir_tune_current",  [WEIR_TUNE_PROGRAM_MAP] = "weir_tune_programs",
	[WEIR_TUNE_COUNT_MAP] = "weir_tune_counts", [WEIR_TUNE_FAILURE_MAP] = "weir_tune_failures",
	[WEIR_TUNE_TOTAL] = "weir_tune_total",	    [WEIR_TUNE_MARKS] = "weir_tune_marks",
};

/* ---- Text */

int weir_tune_text_write(const struct weir_tune_conf *c, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };

	weir_tune_print(c, WEIR_TUNE_KERNEL, &text);
	if (text.len > WEIR_TUNE_TEXT_MAX)
		return weir_fail(err, -E2BIG, "the rules are longer than %u MiB: shorten them",
				 WEIR_TUNE_TEXT_MAX >> 20);
	return weir_text_map_write("weir_tune_text", &text, err);
}

int weir_tune_text_read(int fd, struct weir_tune_conf *ret, struct weir_error *err)
{
	weir_autobuf struct weir_buf text = { 0 };
	int code = weir_text_map_read(fd, WEIR_TUNE_TEXT_MAX, "tcp", &text, err);

	return code ? code :
		      weir_tune_parse(text.data, text.len, "the kernel's text", WEIR_TUNE_KERNEL,
				      ret, err);
}

/* ---- Programs */

/* The maps of @t in place of the object's own. */
static int share_maps(const struct weir_tune *t, struct bpf_object *obj)
{
	int ret = 0;

	for (int i = 0; !ret && i < WEIR_TUNE_MAPS; i++)
		if (t->map[i] >= 0)
			ret = bpf_map__reuse_fd(bpf_object__find_map_by_name(obj, map_names[i]),
						t->map[i]);
	return ret;
}

static int keep_maps(struct weir_tune *t, const struct bpf_object *obj)
{
	for (int i = 0; i < WEIR_TUNE_MAPS; i++) {
		if (t->map[i] >= 0)
			continue;
		t->map[i] = fcntl(bpf_object__find_map_fd_by_name(obj, map_names[i]),
				  F_DUPFD_CLOEXEC, 3);
		if (t->map[i] < 0)
			return -errno;
	}
	return 0;
}

int weir_tune_gate_load(struct weir_tune *t, uint32_t slot, int *ret_prog, struct weir_error *err)
{
	struct tune_gate_bpf *skel;
	uint64_t cookie = 0;
	int ret = weir_sys_netns_cookie(&cookie), fd = -1;

	if (ret)
		return weir_load_explain(err, ret, "read the network namespace's cookie");
	weir_load_setup();
	skel = tune_gate_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the program");
	skel->rodata->weir_tune_slot = slot;
	skel->rodata->weir_tune_netns = cookie;
	ret = share_maps(t, skel->obj);
	if (ret)
		weir_load_explain(err, ret, "share the maps");
	else
		ret = weir_load(skel->obj, NULL, err);
	if (!ret && (ret = keep_maps(t, skel->obj)))
		weir_load_explain(err, ret, "keep the maps");
	if (!ret && ret_prog) {
		fd = fcntl(bpf_program__fd(skel->progs.weir_tcp_gate), F_DUPFD_CLOEXEC, 3);
		if (fd < 0)
			ret = weir_load_explain(err, -errno, "keep the program");
		else
			*ret_prog = fd;
	}
	tune_gate_bpf__destroy(skel);
	return ret;
}

static int fill_rules(int fd, const struct weir_tune_spec *const *rules, size_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (bpf_map_update_elem(fd, &i, &rules[i]->set, BPF_ANY))
			return -errno;
	return 0;
}

int weir_tune_program_load(struct weir_tune *t, const struct weir_tune_spec *const *rules, size_t n,
			   bool several, uint32_t key, struct weir_error *err)
{
	weir_autofree const struct weir_match **m = calloc(n, sizeof(*m));
	struct tune_bpf *skel;
	int ret, prog;

	if (!m)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	for (size_t i = 0; i < n; i++)
		m[i] = rules[i]->match;
	weir_load_setup();
	skel = tune_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the program");
	skel->rodata->weir_tune_several = several;
	ret = share_maps(t, skel->obj);
	if (!ret)
		ret = bpf_map__reuse_fd(skel->maps.weir_hits, t->rules.hits_fd);
	if (!ret)
		ret = bpf_map__set_max_entries(skel->maps.weir_tune_rules, (uint32_t)n);
	if (ret)
		weir_load_explain(err, ret, "share the maps");
	else
		ret = weir_load_first(skel->obj, m, n, err);
	if (!ret && (ret = fill_rules(bpf_map__fd(skel->maps.weir_tune_rules), rules, n)))
		weir_load_explain(err, ret, "write the rules");
	prog = ret ? -1 : bpf_program__fd(skel->progs.weir_tcp_tune);
	if (!ret && bpf_map_update_elem(t->map[WEIR_TUNE_PROGRAM_MAP], &key, &prog, BPF_ANY))
		ret = weir_load_explain(err, -errno, "place the program");
	tune_bpf__destroy(skel);
	return ret;
}

/* ---- Trying */

/*
 * A socket that an iterator finds. It listens, so that it is found, on the loopback
 * interface alone, so that nobody else finds it.
 */
static int make_socket(uint64_t *ret_cookie)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	socklen_t len = sizeof(*ret_cookie);
	weir_autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo")) ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) || listen(fd, 1) ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &len))
		return -errno;
	return WEIR_TAKE_FD(fd);
}

static int walk(struct bpf_program *prog)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	weir_autoclose int fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	int ret = fd < 0 ? -errno : 0;
	char rest[64];
	ssize_t n = 1;

	while (!ret && n) {
		n = read(fd, rest, sizeof(rest));
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			ret = -errno;
	}
	if (link)
		bpf_link__destroy(link);
	return ret;
}

/* The errors of the options on the socket @cookie. */
static int try_all(const struct weir_tune_spec *r, uint64_t cookie, int errors[WEIR_TUNE_OPTS],
		   struct weir_error *err)
{
	struct tune_try_bpf__bss seen = { 0 };
	struct tune_try_bpf *skel;
	uint32_t zero = 0;
	int ret;

	weir_load_setup();
	skel = tune_try_bpf__open();
	if (!skel)
		return weir_load_explain(err, -errno, "open the program");
	skel->rodata->weir_tune_cookie = cookie;
	memcpy((void *)&skel->rodata->weir_tune_tried, &r->set, sizeof(r->set));
	ret = weir_load(skel->obj, NULL, err);
	if (!ret && (ret = walk(skel->progs.weir_tcp_try)))
		weir_load_explain(err, ret, "try the options");
	/* By its map: the skeleton's memory is the program's only where libbpf loads it. */
	if (!ret && bpf_map_lookup_elem(bpf_map__fd(skel->maps.bss), &zero, &seen))
		ret = weir_load_explain(err, -errno, "read what the options came to");
	if (!ret && !seen.weir_tune_found)
		ret = weir_fail(err, -ENOENT, "cannot find the socket to try the options on");
	memcpy(errors, seen.weir_tune_errors, sizeof(seen.weir_tune_errors));
	tune_try_bpf__destroy(skel);
	return ret;
}

/* What the kernel cut down; it doubles what it gives for its own book-keeping. */
static void note_limit(const struct weir_tune_spec *r, int fd, enum weir_tune_opt opt, int name,
		       const char *sysctl, struct weir_buf *notes)
{
	int got = 0;
	socklen_t len = sizeof(got);

	if (r->set.mask & 1U << opt && !getsockopt(fd, SOL_SOCKET, name, &got, &len) &&
	    got / 2 < r->set.value[opt])
		weir_buf_addf(notes, "%s: --%s %d: %s allows %d: raise it\n", r->name,
			      weir_tune_info[opt].name, r->set.value[opt], sysctl, got / 2);
}

static const char *remedy(enum weir_tune_opt opt, int error)
{
	if (opt == WEIR_TUNE_CONGESTION && error == -ENOENT)
		return "`sysctl net.ipv4.tcp_available_congestion_control` lists those there are";
	if (error == -EINVAL)
		return "give another value";
	return "leave it out";
}

int weir_tune_try(const struct weir_tune_spec *r, struct weir_buf *notes, struct weir_error *err)
{
	int errors[WEIR_TUNE_OPTS];
	uint64_t cookie;
	weir_autoclose int fd = make_socket(&cookie);
	weir_autobuf struct weir_buf value = { 0 };
	const char *ca = r->set.congestion;
	int ret;

	if (fd < 0)
		return weir_fail(err, fd, "cannot make a socket to try the options on: %s",
				 strerror(-fd));
	/* A process's own call loads the module; the programs' calls find what is loaded. */
	if (*ca && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ca, (socklen_t)strlen(ca)) &&
	    errno == ENOENT)
		return weir_fail(err, -EINVAL,
				 "--congestion %s: this kernel has none of that "
				 "name: %s",
				 ca, remedy(WEIR_TUNE_CONGESTION, -ENOENT));
	ret = try_all(r, cookie, errors, err);
	/* Iterators take CAP_PERFMON. Without, what is refused shows as failures of
	 * connections. */
	if (ret == -EPERM)
		weir_buf_addf(notes,
			      "%s: without CAP_PERFMON the options cannot be tried: see "
			      "`weir tcp tune failures`\n",
			      r->name);
	if (ret)
		return ret == -EPERM ? 0 : ret;
	for (enum weir_tune_opt i = 0; i < WEIR_TUNE_OPTS; i++) {
		if (!errors[i])
			continue;
		weir_tune_print_value(r, i, &value);
		return weir_fail(err, -EINVAL, "--%s %s: this kernel refuses it (%s): %s",
				 weir_tune_info[i].name, value.failed ? "" : value.data,
				 strerror(-errors[i]), remedy(i, errors[i]));
	}
	note_limit(r, fd, WEIR_TUNE_RCVBUF, SO_RCVBUF, "net.core.rmem_max", notes);
	note_limit(r, fd, WEIR_TUNE_SNDBUF, SO_SNDBUF, "net.core.wmem_max", notes);
	return 0;
}
