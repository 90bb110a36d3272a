/* SPDX-License-Identifier: GPL-2.0-only */
#include "cap/doctor/host.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cleanup.h"

/* A kernel configuration has some ten thousand lines. */
#define CONFIG_LINE_MAX 512

/* The first line of @path without its newline; false when it cannot be read. */
static bool read_line(const char *path, char *buf, size_t size)
{
	weir_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	if (n <= 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

static void set_text(struct weir_host_fact *f, const char *text)
{
	snprintf(f->value, sizeof(f->value), "%s", text);
	f->known = true;
}

static void set_number(struct weir_host_fact *f, uint64_t number)
{
	f->number = number;
	f->is_number = true;
	f->known = true;
}

/* A sysctl with the values 0, 1 and 2, which have names; @bad earns a note. */
static void sysctl_fact(struct weir_host_fact *f, const char *path, const char *const *names,
			unsigned int bad, const char *advice)
{
	unsigned int v;
	char text[16];

	if (!read_line(path, text, sizeof(text)) || sscanf(text, "%u", &v) != 1 || v > 2)
		return;
	set_number(f, v);
	snprintf(f->value, sizeof(f->value), "%u (%s)", v, names[v]);
	if (v == bad)
		f->advice = advice;
}

static void fact_unprivileged(struct weir_host_fact *f)
{
	static const char *const names[] = { "allowed", "disabled until reboot", "disabled" };

	f->key = "unprivileged_bpf_disabled";
	f->label = "BPF for unprivileged users";
	sysctl_fact(f, "/proc/sys/kernel/unprivileged_bpf_disabled", names, 0,
		    "safer off, weir does not need it: sysctl kernel.unprivileged_bpf_disabled=2");
}

static void fact_jit(struct weir_host_fact *f)
{
	static const char *const names[] = { "off", "on", "on, with debug output" };

	f->key = "bpf_jit";
	f->label = "BPF compiler (JIT)";
	sysctl_fact(f, "/proc/sys/net/core/bpf_jit_enable", names, 0,
		    "every packet costs several times more: sysctl net.core.bpf_jit_enable=1");
}

static void fact_harden(struct weir_host_fact *f)
{
	static const char *const names[] = { "off", "for unprivileged users", "for all users" };

	f->key = "bpf_jit_harden";
	f->label = "JIT hardening";
	sysctl_fact(f, "/proc/sys/net/core/bpf_jit_harden", names, 2,
		    "programs run slower: sysctl net.core.bpf_jit_harden=1 spares root's");
}

static void fact_lockdown(struct weir_host_fact *f)
{
	char text[96], *open_bracket, *close_bracket;

	f->key = "lockdown";
	f->label = "kernel lockdown";
	/* "none [integrity] confidentiality" */
	if (!read_line("/sys/kernel/security/lockdown", text, sizeof(text)))
		return;
	open_bracket = strchr(text, '[');
	close_bracket = open_bracket ? strchr(open_bracket, ']') : NULL;
	if (!close_bracket)
		return;
	*close_bracket = '\0';
	set_text(f, open_bracket + 1);
	if (strcmp(f->value, "confidentiality") == 0)
		f->advice =
			"tracing programs may not read kernel memory: boot with lockdown=integrity";
}

/* Since 5.11 the memory of BPF objects is charged to the cgroup instead. */
static void fact_memlock(struct weir_host_fact *f)
{
	struct rlimit r;

	f->key = "memlock_bytes";
	f->label = "limit of locked memory";
	if (getrlimit(RLIMIT_MEMLOCK, &r) < 0)
		return;
	if (r.rlim_cur == RLIM_INFINITY) {
		set_text(f, "none");
		return;
	}
	set_number(f, r.rlim_cur);
	snprintf(f->value, sizeof(f->value), "%ju KiB", (uintmax_t)r.rlim_cur / 1024);
}

static void fact_clock(struct weir_host_fact *f)
{
	char text[64];

	f->key = "clocksource";
	f->label = "clock source";
	if (!read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
		       sizeof(text)))
		return;
	set_text(f, text);
	/* Those that a packet's time stamp must ask a device for. */
	if (strcmp(text, "hpet") == 0 || strcmp(text, "acpi_pm") == 0)
		f->advice =
			"slow, and every packet's time is read from it: see why the kernel avoids tsc";
}

static void fact_kernel(struct weir_host_fact *f)
{
	struct utsname u;

	f->key = "kernel";
	f->label = "kernel";
	if (uname(&u) == 0)
		set_text(f, u.release);
}

static void fact_machine(struct weir_host_fact *f)
{
	struct utsname u;

	f->key = "machine";
	f->label = "machine";
	if (uname(&u) == 0)
		set_text(f, u.machine);
}

size_t weir_host_facts(struct weir_host_fact facts[WEIR_HOST_FACTS])
{
	static void (*const all[])(struct weir_host_fact *) = {
		fact_kernel, fact_machine,  fact_unprivileged, fact_jit,
		fact_harden, fact_lockdown, fact_memlock,      fact_clock,
	};

	_Static_assert(WEIR_ARRAY_SIZE(all) == WEIR_HOST_FACTS, "one function a fact");
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(all); i++) {
		facts[i] = (struct weir_host_fact){ .value = "unknown" };
		all[i](&facts[i]);
	}
	return WEIR_HOST_FACTS;
}

static const char *const kconfig_names[] = {
	"CONFIG_BPF",
	"CONFIG_BPF_SYSCALL",
	"CONFIG_BPF_JIT",
	"CONFIG_BPF_JIT_ALWAYS_ON",
	"CONFIG_BPF_JIT_DEFAULT_ON",
	"CONFIG_BPF_UNPRIV_DEFAULT_OFF",
	"CONFIG_BPF_EVENTS",
	"CONFIG_BPF_STREAM_PARSER",
	"CONFIG_BPF_LSM",
	"CONFIG_CGROUP_BPF",
	"CONFIG_DEBUG_INFO_BTF",
	"CONFIG_NET_CLS_BPF",
	"CONFIG_NET_CLS_ACT",
	"CONFIG_NETFILTER_BPF_LINK",
	"CONFIG_XDP_SOCKETS",
	"CONFIG_PACKET",
	"CONFIG_KPROBES",
	"CONFIG_FUNCTION_TRACER",
};

/* "CONFIG_X=y", or "# CONFIG_X is not set". */
static void take_config_line(struct weir_kconfig *options, size_t n, const char *line)
{
	static const char unset[] = " is not set";
	bool comment = strncmp(line, "# ", 2) == 0;
	const char *name = comment ? line + 2 : line;

	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(options[i].name);

		if (strncmp(name, options[i].name, len) != 0)
			continue;
		if (comment && strncmp(name + len, unset, strlen(unset)) == 0)
			snprintf(options[i].value, sizeof(options[i].value), "n");
		else if (!comment && name[len] == '=')
			snprintf(options[i].value, sizeof(options[i].value), "%.*s",
				 (int)strcspn(name + len + 1, "\n"), name + len + 1);
	}
}

/* zlib's reader takes plain files as they are. */
static bool read_config(const char *path, struct weir_kconfig *options, size_t n)
{
	char line[CONFIG_LINE_MAX];
	gzFile f = gzopen(path, "rbe");
	bool any = false;

	if (!f)
		return false;
	while (gzgets(f, line, sizeof(line))) {
		take_config_line(options, n, line);
		any = true;
	}
	gzclose(f);
	/* An option that the file does not mention does not exist in this kernel
	 * or hangs on one that is off. */
	for (size_t i = 0; any && i < n; i++)
		if (!options[i].value[0])
			snprintf(options[i].value, sizeof(options[i].value), "n");
	return any;
}

size_t weir_host_kconfig(struct weir_kconfig options[WEIR_KCONFIGS], char *source, size_t size)
{
	const size_t n = WEIR_ARRAY_SIZE(kconfig_names);
	char boot[128] = "", modules[128] = "";
	struct utsname u;

	_Static_assert(WEIR_ARRAY_SIZE(kconfig_names) <= WEIR_KCONFIGS, "room for every option");
	for (size_t i = 0; i < n; i++)
		options[i] = (struct weir_kconfig){ .name = kconfig_names[i] };
	if (uname(&u) == 0) {
		snprintf(boot, sizeof(boot), "/boot/config-%s", u.release);
		snprintf(modules, sizeof(modules), "/lib/modules/%s/config", u.release);
	}

	const char *const paths[] = { "/proc/config.gz", boot, modules };
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(paths); i++) {
		if (!paths[i][0] || !read_config(paths[i], options, n))
			continue;
		snprintf(source, size, "%s", paths[i]);
		return n;
	}
	snprintf(source, size, "%s", "");
	return n;
}
