/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/tc.h"

#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "dataplane/load.h"
#include "dataplane/sys.h"
#include "dataplane/tc_impl.h"

#define LINE_MAX_PROGS 64 /* the kernel allows no more */
#define PLACE_TRIES 10	  /* while programs come and go */
#define LINK_TYPE_TCX 11  /* newer than Debian 12's headers */

/* ---- Pins */

static void unpin(const struct weir_pin_dir *d, const char *name)
{
	char path[sizeof(d->path) + 65];

	snprintf(path, sizeof(path), "%s/%.63s", d->path, name);
	unlink(path);
}

#define CLSACT_NAME_SIZE 48

static void name_clsact(char name[CLSACT_NAME_SIZE], uint32_t ifindex, bool out,
			enum weir_tc_place place)
{
	snprintf(name, CLSACT_NAME_SIZE, "tc_clsact_%u_%s_%u", ifindex, out ? "out" : "in",
		 (unsigned int)place);
}

static bool parse_clsact(const char *name, uint32_t *ifindex, bool *out, enum weir_tc_place *place)
{
	char dir[4], again[CLSACT_NAME_SIZE];
	unsigned int number;

	if (sscanf(name, "tc_clsact_%u_%3[a-z]_%u", ifindex, dir, &number) != 3 ||
	    number >= WEIR_TC_PLACES)
		return false;
	*out = !strcmp(dir, "out");
	*place = (enum weir_tc_place)number;
	name_clsact(again, *ifindex, *out, *place);
	return !strcmp(name, again);
}

/* The pinned tcx link of that name, if it is on a device: else -ENOENT. */
static int open_link(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out)
{
	weir_autoclose int fd = weir_pin_get(d, name);
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info), on[2]; /* interface and attach type, as of XDP */

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || info.type != LINK_TYPE_TCX)
		return -ENOENT;
	memcpy(on, &info.xdp.ifindex, sizeof(on));
	if (!ifindex || on[0] != ifindex ||
	    on[1] != (out ? WEIR_BPF_TCX_EGRESS : WEIR_BPF_TCX_INGRESS))
		return -ENOENT;
	return WEIR_TAKE_FD(fd);
}

/* ---- tcx */

static bool is_filter(uint32_t prog_id)
{
	weir_autoclose int fd = bpf_prog_get_fd_by_id(prog_id);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	return fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len) &&
	       !strncmp(info.name, WEIR_TC_FILTER_NAME, strlen(WEIR_TC_FILTER_NAME));
}

/* The filter's program in line, 0 where it is not there. */
static int find_filter(uint32_t ifindex, bool out, uint32_t *ret_id)
{
	uint32_t ids[LINE_MAX_PROGS];
	int n = weir_sys_tcx_query(ifindex, out, ids, LINE_MAX_PROGS);

	*ret_id = 0;
	for (int i = 0; i < n && i < LINE_MAX_PROGS && !*ret_id; i++)
		if (is_filter(ids[i]))
			*ret_id = ids[i];
	return n < 0 ? n : 0;
}

static int link_in_place(int prog_fd, uint32_t ifindex, bool out, enum weir_tc_place place)
{
	int ret = -ENOENT;

	for (int i = 0; i < PLACE_TRIES && ret == -ENOENT; i++) {
		uint32_t filter = 0;

		if (place != WEIR_TC_FILTER) {
			ret = find_filter(ifindex, out, &filter);
			if (ret)
				return ret;
		}
		ret = filter ? weir_sys_tcx_link_behind(prog_fd, ifindex, out, filter) :
			       weir_sys_tcx_link(prog_fd, ifindex, out, true);
	}
	return ret;
}

static int attach_tcx(const struct weir_pin_dir *d, const char *name, int prog_fd, uint32_t ifindex,
		      bool out, enum weir_tc_place place, struct weir_error *err)
{
	weir_autoclose int fd = open_link(d, name, ifindex, out);

	if (fd >= 0) {
		if (!bpf_link_update(fd, prog_fd, NULL))
			return 0;
		return weir_load_explain(err, -errno, "replace the program at tc");
	}
	fd = link_in_place(prog_fd, ifindex, out, place);
	if (fd < 0)
		return weir_load_explain(err, fd, "attach to tc");
	return weir_pin_put(d, name, fd, err);
}

/* ---- clsact */

static int attach_clsact(const struct weir_pin_dir *d, int prog_fd, uint32_t ifindex, bool out,
			 enum weir_tc_place place, struct weir_error *err)
{
	char name[CLSACT_NAME_SIZE];
	int ret;

	/* The pin first: a filter without one would stay behind for good. */
	name_clsact(name, ifindex, out, place);
	ret = weir_pin_put(d, name, prog_fd, err);
	if (ret)
		return ret;
	ret = weir_clsact_attach(prog_fd, ifindex, out, place, err);
	if (ret && !weir_clsact_attached(ifindex, out, place))
		unpin(d, name);
	return ret;
}

/* ---- Either */

int weir_tc_attach(const struct weir_pin_dir *d, const char *name, int prog_fd, uint32_t ifindex,
		   bool out, enum weir_tc_place place, struct weir_error *err)
{
	int n = weir_sys_tcx_query(ifindex, out, NULL, 0);

	/* A kernel that has no tcx does not know the attach type. */
	if (n == -EINVAL)
		return attach_clsact(d, prog_fd, ifindex, out, place, err);
	return attach_tcx(d, name, prog_fd, ifindex, out, place, err);
}

void weir_tc_detach(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		    enum weir_tc_place place)
{
	weir_autoclose int fd = open_link(d, name, ifindex, out);
	char clsact[CLSACT_NAME_SIZE];
	weir_autoclose int clsact_fd = -1;

	/* Somebody may look at the link and so keep it. */
	if (fd >= 0)
		bpf_link_detach(fd);
	unpin(d, name);
	name_clsact(clsact, ifindex, out, place);
	clsact_fd = weir_pin_get(d, clsact);
	if (clsact_fd < 0)
		return;
	weir_clsact_detach(ifindex, out, place);
	unpin(d, clsact);
}

uint32_t weir_tc_prog(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		      enum weir_tc_place place)
{
	weir_autoclose int fd = open_link(d, name, ifindex, out);
	char clsact[CLSACT_NAME_SIZE];
	weir_autoclose int clsact_fd = -1;
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd >= 0)
		return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.prog_id;
	name_clsact(clsact, ifindex, out, place);
	clsact_fd = weir_pin_get(d, clsact);
	return clsact_fd >= 0 ? weir_clsact_prog(ifindex, out, place) : 0;
}

bool weir_tc_attached(const struct weir_pin_dir *d, const char *name, uint32_t ifindex, bool out,
		      enum weir_tc_place place)
{
	return weir_tc_prog(d, name, ifindex, out, place) != 0;
}

bool weir_tc_forget(const char *name)
{
	enum weir_tc_place place;
	uint32_t ifindex;
	bool out;

	if (!parse_clsact(name, &ifindex, &out, &place))
		return false;
	weir_clsact_detach(ifindex, out, place);
	return true;
}

bool weir_tc_describe(const char *name, char *buf, size_t size)
{
	char ifname[IF_NAMESIZE];
	enum weir_tc_place place;
	uint32_t ifindex;
	bool out;

	if (!parse_clsact(name, &ifindex, &out, &place))
		return false;
	if (!if_indextoname(ifindex, ifname))
		snprintf(buf, size, "detached: interface gone");
	else if (!weir_clsact_attached(ifindex, out, place))
		snprintf(buf, size, "detached from %s", ifname);
	else
		snprintf(buf, size, "tc %s on %s", out ? "egress" : "ingress", ifname);
	return true;
}
