/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bare pass|drop|gate|gate-drop DEV: attach an XDP program to DEV and hold it
 * until standard input ends. "pass" and "drop" do only that; "gate" is weir's
 * gate without a stage, "gate-drop" the gate with one that drops.
 */
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "dataplane/gate.h"
#include "dataplane/load.h"

#include "bare.skel.h"

static int hold(void)
{
	char c;

	printf("ready\n");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	return 0;
}

static int fail(const char *what, const char *dev, int code)
{
	fprintf(stderr, "bare: cannot %s on %s: %s\n", what, dev, strerror(-code));
	return 1;
}

static int hold_plain(const char *dev, bool drop)
{
	struct bare_bpf *s = bare_bpf__open();
	struct bpf_program *prog;
	struct bpf_link *link;

	if (!s)
		return fail("open the program", dev, -errno);
	prog = drop ? s->progs.bare_drop : s->progs.bare_pass;
	bpf_program__set_autoload(s->progs.gate_drop, false);
	if (bare_bpf__load(s))
		return fail("load the program", dev, -errno);
	link = bpf_program__attach_xdp(prog, (int)if_nametoindex(dev));
	if (!link)
		return fail("attach", dev, -errno);
	hold();
	bpf_link__destroy(link);
	bare_bpf__destroy(s);
	return 0;
}

/* A bpffs of this process alone, for the pins that keep a resident stage: they
 * go with it. */
static int private_bpffs(char *dir)
{
	int ret = 0;

	if (!mkdtemp(dir))
		return -errno;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", dir, "bpf", 0, NULL))
		ret = -errno;
	return ret;
}

/* Unpinned before the end, so that who comes next finds the interface free. */
static void remove_bpffs(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
	if (!umount2(path, MNT_DETACH))
		rmdir(path);
}

static int enter_gate(struct weir_gate *g, struct bare_bpf *s, const char *dir,
		      struct weir_error *err)
{
	int ret;

	bpf_program__set_autoload(s->progs.bare_pass, false);
	bpf_program__set_autoload(s->progs.bare_drop, false);
	ret = weir_gate_bind(g, s->obj, -1, err);
	if (!ret)
		ret = weir_load(s->obj, NULL, err);
	if (ret)
		return ret;
	return weir_gate_enter_resident(g, WEIR_GATE_FILTER, bpf_program__fd(s->progs.gate_drop),
					dir, err);
}

static int hold_gate(const char *dev, bool drop)
{
	char dir[] = "/tmp/weir-bench-XXXXXX";
	struct weir_error err = {""};
	struct bare_bpf *s = NULL;
	struct weir_gate g;
	int ret;

	weir_load_setup();
	weir_gate_init(&g);
	ret = weir_gate_open(&g, dev, WEIR_XDP_NATIVE, &err);
	if (!ret && drop) {
		ret = private_bpffs(dir);
		s = bare_bpf__open();
		if (!ret)
			ret = s ? enter_gate(&g, s, dir, &err) : -ENOMEM;
	}
	if (ret)
		fprintf(stderr, "bare: cannot make the gate on %s: %s\n", dev,
			err.msg[0] ? err.msg : strerror(-ret));
	else
		hold();
	if (drop)
		remove_bpffs(dir);
	weir_gate_close(&g);
	bare_bpf__destroy(s);
	return !!ret;
}

int main(int argc, char **argv)
{
	const char *what = argc == 3 ? argv[1] : "";

	if (!strcmp(what, "pass") || !strcmp(what, "drop"))
		return hold_plain(argv[2], !strcmp(what, "drop"));
	if (!strcmp(what, "gate") || !strcmp(what, "gate-drop"))
		return hold_gate(argv[2], !strcmp(what, "gate-drop"));
	fprintf(stderr, "usage: bare pass|drop|gate|gate-drop DEV\n");
	return 2;
}
