/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "dataplane/cgroup.h"
#include "dataplane/pin.h"
#include "dataplane/probe_impl.h"
#include "dataplane/sys.h"

/* Newer than Debian 12's linux/bpf.h. */
#define PROG_TYPE_NETFILTER 32

/* Present in every network namespace, always under this number. */
#define LOOPBACK_IFINDEX 1
/* No interface has it: numbers are handed out from 1 upwards. */
#define NO_IFINDEX INT_MAX

/* NFPROTO_* ends far below; netfilter links know only IPv4 and IPv6. */
#define NO_PROTOCOL_FAMILY 255

#define LINE_MAX_LEN 512
#define XDP_CHUNK 4096 /* a buffer of AF_XDP */

/*
 * A try fills detail and returns 0 or a negative errno. A detail that it
 * leaves empty is filled from the errno.
 */
typedef int (*try_fn)(struct weir_probe *p);

static void say(struct weir_probe *p, const char *text)
{
	snprintf(p->detail, sizeof(p->detail), "%s", text);
}

/* "r0 = RETVAL; exit", loaded as @type. Returns its descriptor or -errno. */
static int load_return(enum bpf_prog_type type, int32_t retval, struct bpf_prog_load_opts *opts)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = retval },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, none);

	/* libbpf returns -1 and sets errno, or -errno, by its mode: errno holds in both. */
	errno = 0;
	int fd = bpf_prog_load(type, "weir_probe", "GPL", insns, WEIR_ARRAY_SIZE(insns),
			       opts ? opts : &none);

	return fd < 0 ? -errno : fd;
}

static int load_attach_type(enum bpf_prog_type type, enum bpf_attach_type attach, int32_t retval)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach);

	return load_return(type, retval, &opts);
}

static int try_bpf(struct weir_probe *p)
{
	weir_autoclose int fd = load_return(BPF_PROG_TYPE_SOCKET_FILTER, 0, NULL);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd < 0)
		return fd;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	say(p, info.jited_prog_len ? "programs load, compiled (JIT)" :
				     "programs load, interpreted: slow");
	return 0;
}

/* The kernel's own types, for programs that read kernel structures, and the
 * loading of types, which every map of weir carries. */
static int try_btf(struct weir_probe *p)
{
	/* A header, one type (int, 4 bytes, signed), two strings. */
	const struct {
		struct btf_header head;
		uint32_t type[4];
		char strings[8];
	} blob = {
		.head = {
			.magic = BTF_MAGIC,
			.version = BTF_VERSION,
			.hdr_len = sizeof(struct btf_header),
			.type_len = 16,
			.str_off = 16,
			.str_len = 5,
		},
		.type = { 1, BTF_KIND_INT << 24, 4, BTF_INT_SIGNED << 24 | 32 },
		.strings = "\0int",
	};
	uint16_t magic = 0;
	weir_autoclose int kernel = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);

	if (kernel < 0) {
		int err = -errno;

		say(p, "no /sys/kernel/btf/vmlinux");
		return err;
	}
	if (read(kernel, &magic, sizeof(magic)) != sizeof(magic) || magic != BTF_MAGIC) {
		say(p, "/sys/kernel/btf/vmlinux is damaged");
		return -EINVAL;
	}

	/* Types end right behind the strings: leave the padding out. */
	weir_autoclose int fd = bpf_btf_load(&blob, offsetof(typeof(blob), strings) + 5, NULL);
	if (fd < 0)
		return -errno;
	say(p, "the kernel's types, own ones load");
	return 0;
}

/* Pin a map below a directory descriptor of bpffs, and take it away again. */
static int pin_below(int dir)
{
	char path[64];
	weir_autoclose int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "weir_probe", 4, 4, 1, NULL);

	if (map < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d/weir_probe_%d", dir, (int)getpid());
	if (bpf_obj_pin(map, path) < 0)
		return -errno;
	return unlink(path) < 0 ? -errno : 0;
}

/* A bpffs of our own that is mounted nowhere and goes with its descriptor. */
static int private_bpffs(void)
{
	weir_autoclose int context = fsopen("bpf", FSOPEN_CLOEXEC);

	if (context < 0)
		return -errno;
	if (fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;

	int fd = fsmount(context, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int try_bpffs(struct weir_probe *p)
{
	struct weir_error ignored;
	char where[96];
	bool mounted = weir_pin_bpffs(false, where, sizeof(where), &ignored) == 0;
	weir_autoclose int dir = -1;
	int err;

	dir = mounted ? open(where, O_PATH | O_DIRECTORY | O_CLOEXEC) : private_bpffs();
	if (dir < 0)
		err = mounted ? -errno : dir;
	else
		err = pin_below(dir);
	if (err < 0 && mounted)
		snprintf(p->detail, sizeof(p->detail), "mounted on %s, but pinning fails: %s",
			 where, strerror(-err));
	else if (err < 0)
		snprintf(p->detail, sizeof(p->detail), "not mounted, and cannot be: %s",
			 strerror(-err));
	else if (mounted)
		snprintf(p->detail, sizeof(p->detail), "mounted on %s, pinning works", where);
	else
		say(p, "not mounted yet, but can be");
	return err;
}

static int try_ringbuf(struct weir_probe *p)
{
	weir_autoclose int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "weir_probe", 0, 0,
					       (uint32_t)sysconf(_SC_PAGESIZE), NULL);

	if (fd < 0)
		return -errno;
	say(p, "can be made");
	return 0;
}

static int load_xdp(void)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .prog_flags = BPF_F_XDP_HAS_FRAGS);

	return load_return(BPF_PROG_TYPE_XDP, XDP_PASS, &opts);
}

static int try_xdp(struct weir_probe *p)
{
	weir_autoclose int fd = load_xdp();

	if (fd < 0)
		return fd;
	say(p, "xdp.frags programs load");
	return 0;
}

static int try_xdp_link(struct weir_probe *p)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);
	weir_autoclose int prog = load_xdp();
	weir_autoclose int link = -1;

	if (prog < 0)
		return prog;
	/* The loopback driver has no native XDP, so this is refused with
	 * EOPNOTSUPP (or EBUSY, EEXIST where something sits there), but only
	 * once the kernel has understood what is asked for. */
	link = bpf_link_create(prog, LOOPBACK_IFINDEX, BPF_XDP, &opts);
	if (link < 0 && errno != EOPNOTSUPP && errno != EBUSY && errno != EEXIST)
		return -errno;
	say(p, "attaches");
	return 0;
}

/* A socket that is bound to nothing, with memory and a place in a map. */
static int try_af_xdp(struct weir_probe *p)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	weir_autoclose int sock = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct xdp_umem_reg reg = {
		.addr = (uintptr_t)memory,
		.len = page,
		.chunk_size = XDP_CHUNK,
	};
	weir_autoclose int map = -1;
	int err = 0;

	if (sock < 0 || memory == MAP_FAILED ||
	    setsockopt(sock, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)))
		err = -errno;
	if (memory != MAP_FAILED)
		munmap(memory, page);
	if (err)
		return err;
	map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "weir_probe", 4, 4, 1, NULL);
	if (map < 0)
		return -errno;
	say(p, "sockets get memory");
	return 0;
}

static int try_tcx(struct weir_probe *p)
{
	weir_autoclose int prog = load_return(BPF_PROG_TYPE_SCHED_CLS, -1, NULL);
	int err;

	if (prog < 0)
		return prog;
	err = weir_sys_tcx_link(prog, NO_IFINDEX, false, true);
	if (err >= 0)
		close(err);
	else if (err != -ENODEV)
		return err;
	say(p, "attaches, in and out");
	return 0;
}

static int try_netfilter(struct weir_probe *p)
{
	weir_autoclose int prog = load_attach_type((enum bpf_prog_type)PROG_TYPE_NETFILTER,
						   (enum bpf_attach_type)WEIR_BPF_NETFILTER, 1);
	int err;

	if (prog < 0)
		return prog;
	err = weir_sys_netfilter_link(prog, NO_PROTOCOL_FAMILY, 0, 0);
	if (err >= 0)
		close(err);
	else if (err != -EAFNOSUPPORT)
		return err;
	say(p, "attaches");
	return 0;
}

static int try_socket_filter(struct weir_probe *p)
{
	/* Protocol 0: the socket never receives a packet. */
	weir_autoclose int sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	weir_autoclose int prog = -1;

	if (sock < 0) {
		int err = -errno;

		say(p, "no AF_PACKET socket");
		return err;
	}
	prog = load_return(BPF_PROG_TYPE_SOCKET_FILTER, 0, NULL);
	if (prog < 0)
		return prog;
	if (setsockopt(sock, SOL_SOCKET, SO_ATTACH_BPF, &prog, sizeof(prog)) < 0)
		return -errno;
	say(p, "attaches to AF_PACKET");
	return 0;
}

/* Id of a type of the kernel's; the types are read once, they are large. */
static int kernel_type(const char *name, uint32_t kind)
{
	static struct btf *btf;
	int id;

	if (!btf) {
		btf = btf__load_vmlinux_btf();
		if (!btf)
			return -errno;
	}
	id = btf__find_by_name_kind(btf, name, kind);
	return id < 0 ? -ENOENT : id;
}

/* A tracing program on kernel type @name, attached for a moment. */
static int try_tracing(struct weir_probe *p, enum bpf_attach_type attach, const char *name,
		       uint32_t kind)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach);
	weir_autoclose int prog = -1, link = -1;
	int id = kernel_type(name, kind);

	if (id < 0) {
		snprintf(p->detail, sizeof(p->detail), "the kernel's types have no %s", name);
		return id;
	}
	opts.attach_btf_id = (uint32_t)id;
	prog = load_return(BPF_PROG_TYPE_TRACING, 0, &opts);
	if (prog < 0)
		return prog;
	if (attach == BPF_TRACE_ITER)
		link = bpf_link_create(prog, 0, BPF_TRACE_ITER, NULL);
	else
		link = bpf_raw_tracepoint_open(NULL, prog);
	return link < 0 ? -errno : 0;
}

static int try_tp_btf(struct weir_probe *p)
{
	int err = try_tracing(p, BPF_TRACE_RAW_TP, "btf_trace_netif_receive_skb", BTF_KIND_TYPEDEF);

	if (err == 0)
		say(p, "attaches");
	return err;
}

static int try_fentry(struct weir_probe *p)
{
	int err = try_tracing(p, BPF_TRACE_FENTRY, "netif_receive_skb", BTF_KIND_FUNC);

	if (err == 0)
		say(p, "attaches");
	return err;
}

static int try_iter_tcp(struct weir_probe *p)
{
	int err = try_tracing(p, BPF_TRACE_ITER, "bpf_iter_tcp", BTF_KIND_FUNC);

	if (err == 0)
		say(p, "attaches");
	return err;
}

static int try_by_id(struct weir_probe *p)
{
	weir_autoclose int prog = load_return(BPF_PROG_TYPE_SOCKET_FILTER, 0, NULL);
	weir_autoclose int again = -1;
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (prog < 0)
		return prog;
	if (bpf_obj_get_info_by_fd(prog, &info, &len) < 0)
		return -errno;
	again = bpf_prog_get_fd_by_id(info.id);
	if (again < 0)
		return -errno;
	say(p, "can be taken");
	return 0;
}

/* The event source "kprobe" has no fixed type number. */
static int kprobe_type(void)
{
	char text[16] = "";
	weir_autoclose int fd = open("/sys/bus/event_source/devices/kprobe/type",
				     O_RDONLY | O_CLOEXEC);
	int type;

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) <= 0 || sscanf(text, "%d", &type) != 1)
		return -EINVAL;
	return type;
}

static int try_kprobe(struct weir_probe *p)
{
	const char *function = "netif_receive_skb";
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (uint64_t)(uintptr_t)function,
		.disabled = 1,
	};
	weir_autoclose int prog = -1, event = -1;
	int type = kprobe_type();

	if (type < 0) {
		say(p, "no kprobes in this kernel");
		return type;
	}
	attr.type = (uint32_t)type;
	prog = load_return(BPF_PROG_TYPE_KPROBE, 0, NULL);
	if (prog < 0)
		return prog;
	event = (int)syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return -errno;
	if (ioctl(event, PERF_EVENT_IOC_SET_BPF, prog) < 0)
		return -errno;
	say(p, "attaches");
	return 0;
}

/* A link on a target descriptor that is none: EBADF says that the kernel came
 * as far as looking at it. */
static int link_to_nothing(int prog, enum bpf_attach_type attach)
{
	weir_autoclose int link = bpf_link_create(prog, -1, attach, NULL);

	return link < 0 && errno != EBADF ? -errno : 0;
}

static int try_sk_lookup(struct weir_probe *p)
{
	weir_autoclose int prog = load_attach_type(BPF_PROG_TYPE_SK_LOOKUP, BPF_SK_LOOKUP, SK_PASS);
	int err = prog < 0 ? prog : link_to_nothing(prog, BPF_SK_LOOKUP);

	if (err == 0)
		say(p, "loads");
	return err;
}

static int try_sockmap(struct weir_probe *p)
{
	weir_autoclose int map = bpf_map_create(BPF_MAP_TYPE_SOCKHASH, "weir_probe", 4, 4, 1, NULL);
	weir_autoclose int prog = -1;

	if (map < 0)
		return -errno;
	prog = load_attach_type(BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT, SK_PASS);
	if (prog < 0)
		return prog;
	if (bpf_prog_attach(prog, map, BPF_SK_SKB_STREAM_VERDICT, 0) < 0)
		return -errno;
	/* The program holds the map and the map the program: part them. */
	bpf_prog_detach2(prog, map, BPF_SK_SKB_STREAM_VERDICT);
	say(p, "attaches");
	return 0;
}

static int try_sockops(struct weir_probe *p)
{
	weir_autoclose int prog = load_attach_type(BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, 1);
	char where[WEIR_CGROUP_PATH_MAX];
	int err = prog < 0 ? prog : link_to_nothing(prog, BPF_CGROUP_SOCK_OPS);
	weir_autoclose int root = err < 0 ? -1 : weir_cgroup_open(NULL, where, NULL);

	if (err < 0)
		return err;
	if (root < 0) {
		say(p, "no cgroup v2 is mounted");
		return -ENOENT;
	}
	snprintf(p->detail, sizeof(p->detail), "loads, cgroup v2 on %.*s",
		 (int)sizeof(p->detail) - 32, where);
	return 0;
}

static const struct {
	struct weir_probe probe;
	try_fn try;
} features[WEIR_FEATURE_MAX] = {
	[WEIR_FEATURE_BPF] = {
		{ .name = "bpf", .needed_by = "every verb",
		  .requires = "CAP_BPF" },
		try_bpf,
	},
	[WEIR_FEATURE_BTF] = {
		{ .name = "btf", .needed_by = "every verb",
		  .requires = "CAP_BPF, CONFIG_DEBUG_INFO_BTF" },
		try_btf,
	},
	[WEIR_FEATURE_BPFFS] = {
		{ .name = "bpffs", .needed_by = "what outlives its command",
		  .requires = "CAP_SYS_ADMIN to mount it, CAP_BPF and its owner's rights to pin there" },
		try_bpffs,
	},
	[WEIR_FEATURE_RINGBUF] = {
		{ .name = "ringbuf", .needed_by = "watch --transport ring",
		  .fallback = "watch --transport perf", .requires = "CAP_BPF, kernel 5.8" },
		try_ringbuf,
	},
	[WEIR_FEATURE_XDP] = {
		{ .name = "xdp", .needed_by = "watch --capture xdp",
		  .fallback = "watch --capture tc or af_packet",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, kernel 5.18" },
		try_xdp,
	},
	[WEIR_FEATURE_XDP_LINK] = {
		{ .name = "xdp_link", .needed_by = "watch --capture xdp",
		  .fallback = "watch --capture tc or af_packet",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, kernel 5.9" },
		try_xdp_link,
	},
	[WEIR_FEATURE_AF_XDP] = {
		{ .name = "af_xdp", .needed_by = "watch --capture af_xdp",
		  .fallback = "watch --capture xdp",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, CAP_NET_RAW, CONFIG_XDP_SOCKETS",
		  .optional = true },
		try_af_xdp,
	},
	[WEIR_FEATURE_TCX] = {
		{ .name = "tcx", .needed_by = "watch --capture tc",
		  .fallback = "watch --capture auto takes af_packet",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, kernel 6.6", .optional = true },
		try_tcx,
	},
	[WEIR_FEATURE_NETFILTER] = {
		{ .name = "netfilter", .needed_by = "filter --hook netfilter",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, kernel 6.4", .optional = true },
		try_netfilter,
	},
	[WEIR_FEATURE_SOCKET_FILTER] = {
		{ .name = "socket_filter", .needed_by = "watch --capture af_packet",
		  .fallback = "watch --capture tc",
		  .requires = "CAP_BPF, CAP_NET_RAW" },
		try_socket_filter,
	},
	[WEIR_FEATURE_TP_BTF] = {
		{ .name = "tp_btf", .needed_by = "tcp, path, drops",
		  .requires = "CAP_BPF, CAP_PERFMON" },
		try_tp_btf,
	},
	[WEIR_FEATURE_BY_ID] = {
		{ .name = "by_id", .needed_by = "watch --capture xdp, status",
		  .fallback = "one watch --capture xdp an interface",
		  .requires = "CAP_SYS_ADMIN" },
		try_by_id,
	},
	[WEIR_FEATURE_FENTRY] = {
		{ .name = "fentry", .requires = "CAP_BPF, CAP_PERFMON", .optional = true },
		try_fentry,
	},
	[WEIR_FEATURE_KPROBE] = {
		{ .name = "kprobe", .requires = "CAP_BPF, CAP_PERFMON, CONFIG_KPROBES",
		  .optional = true },
		try_kprobe,
	},
	[WEIR_FEATURE_SK_LOOKUP] = {
		{ .name = "sk_lookup", .needed_by = "steer", .requires = "CAP_BPF, CAP_NET_ADMIN",
		  .optional = true },
		try_sk_lookup,
	},
	[WEIR_FEATURE_SOCKMAP] = {
		{ .name = "sockmap", .needed_by = "bypass, proxy --engine sockmap",
		  .requires = "CAP_BPF, CAP_NET_ADMIN", .optional = true },
		try_sockmap,
	},
	[WEIR_FEATURE_SOCKOPS] = {
		{ .name = "sockops", .needed_by = "tcp tune, bypass",
		  .requires = "CAP_BPF, CAP_NET_ADMIN, cgroup v2", .optional = true },
		try_sockops,
	},
	[WEIR_FEATURE_ITER_TCP] = {
		{ .name = "iter_tcp", .needed_by = "tcp, tcp tune",
		  .requires = "CAP_BPF, CAP_PERFMON" },
		try_iter_tcp,
	},
	[WEIR_FEATURE_TAKE_SOCKET] = {
		{ .name = "take_socket", .needed_by = "fault --truncate",
		  .requires = "CAP_SYS_PTRACE", .optional = true },
		weir_probe_take_socket,
	},
	[WEIR_FEATURE_SOCK_DESTROY] = {
		{ .name = "sock_destroy", .needed_by = "fault --reset",
		  .requires = "CAP_NET_ADMIN, CONFIG_INET_DIAG_DESTROY", .optional = true },
		weir_probe_sock_destroy,
	},
	[WEIR_FEATURE_FQ] = {
		{ .name = "fq", .needed_by = "fault --delay", .fallback = "fault --rate",
		  .requires = "CONFIG_NET_SCH_FQ; CAP_SYS_ADMIN to try it", .optional = true },
		weir_probe_fq,
	},
};

const struct weir_probe *weir_probe(enum weir_feature f)
{
	static struct weir_probe results[WEIR_FEATURE_MAX];
	static bool tried[WEIR_FEATURE_MAX];
	struct weir_probe *p = &results[f];

	if (tried[f])
		return p;
	*p = features[f].probe;
	p->error = features[f].try(p);
	p->ok = p->error == 0;
	if (!p->detail[0])
		snprintf(p->detail, sizeof(p->detail), "refused: %s", strerror(-p->error));
	tried[f] = true;
	return p;
}
