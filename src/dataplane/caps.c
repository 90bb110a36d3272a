/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/caps.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"

const struct weir_cap_info weir_caps[] = {
	{ WEIR_CAP_BPF, "CAP_BPF", "load BPF programs and maps" },
	{ WEIR_CAP_NET_ADMIN, "CAP_NET_ADMIN", "attach to interfaces" },
	{ WEIR_CAP_NET_RAW, "CAP_NET_RAW", "open AF_PACKET sockets" },
	{ WEIR_CAP_PERFMON, "CAP_PERFMON", "load tracing programs" },
	{ WEIR_CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "take BPF objects by id, mount bpffs" },
	{ WEIR_CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "see other processes' descriptors" },
	{ WEIR_CAP_SYSLOG, "CAP_SYSLOG", "read kernel function names" },
	{ WEIR_CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "open other users' files" },
	{ 0 },
};

/* Highest capability number that the version 3 interface can carry. */
#define CAP_BITS 64

static int caps_get(struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capget, &head, data) < 0 ? -errno : 0;
}

static int caps_set(const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

uint64_t weir_caps_effective(void)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (caps_get(data) < 0)
		return 0;
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

/* The names of @caps, "CAP_BPF, CAP_PERFMON" or "cap_bpf,cap_perfmon". */
static void add_names(struct weir_buf *out, uint64_t caps, const char *separator, bool lower)
{
	bool first = true;

	for (const struct weir_cap_info *c = weir_caps; c->bit; c++) {
		if (!(caps & c->bit))
			continue;
		if (!first)
			weir_buf_adds(out, separator);
		first = false;
		for (const char *s = c->name; *s; s++)
			weir_buf_addc(out, lower ? (char)tolower((unsigned char)*s) : *s);
	}
}

/* The path of this very program, which is what setcap must be given. */
static const char *program_path(char buf[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", buf, PATH_MAX - 1);

	if (n < 0)
		return "/usr/bin/weir";
	buf[n] = '\0';
	return buf;
}

int weir_caps_need(uint64_t caps, const char *what, struct weir_error *err)
{
	weir_autobuf struct weir_buf missing = { 0 }, line = { 0 };
	uint64_t have = weir_caps_effective(), known = 0;
	char path[PATH_MAX];

	if (have & WEIR_CAP_SYS_ADMIN)
		have |= WEIR_CAP_BPF | WEIR_CAP_PERFMON;
	if ((caps & ~have) == 0)
		return 0;

	add_names(&missing, caps & ~have, ", ", false);
	if (missing.failed)
		return weir_fail(err, -EPERM, "not permitted to %s: run as root", what);
	if (geteuid() == 0)
		return weir_fail(
			err, -EPERM,
			"needs %s to %s: this root is without, start its container or service with it",
			missing.data, what);

	/* setcap replaces what the file has: name also what is there already. */
	for (const struct weir_cap_info *c = weir_caps; c->bit; c++)
		known |= c->bit;
	add_names(&line, caps | (weir_caps_effective() & known), ",", true);
	if (line.failed)
		return weir_fail(err, -EPERM, "needs %s to %s: run as root", missing.data, what);
	return weir_fail(err, -EPERM, "needs %s to %s: run as root, or `setcap %s+ep %s`",
			 missing.data, what, line.data, program_path(path));
}

/* The bounding set only limits what a later exec could gain, and no_new_privs
 * rules that out already; so that CAP_SETPCAP is missing is no failure. */
static void bounding_drop(uint64_t keep)
{
	for (int cap = 0; cap < CAP_BITS; cap++) {
		if (keep >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			return; /* above the kernel's last capability */
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return;
	}
}

int weir_caps_drop(uint64_t keep)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int err;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	bounding_drop(keep);

	err = caps_get(data);
	if (err < 0)
		return err;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		data[i].permitted &= (uint32_t)(keep >> 32 * i);
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return caps_set(data);
}
