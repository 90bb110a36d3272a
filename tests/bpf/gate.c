/* SPDX-License-Identifier: GPL-2.0-only */
/* The XDP gate on the running kernel: attach, join, stages, leave. */
#include "dataplane/gate.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "dataplane/caps.h"
#include "dataplane/load.h"
#include "dataplane/pin.h"
#include "gate_plain.skel.h"
#include "gate_stage.skel.h"
#include "harness.h"
#include "old.h"

#define SPORT 1111
#define DPORT 2222

/* As in gate_stage.bpf.c. */
struct seen {
	uint64_t packets;
	struct weir_scratch last;
};

struct guest {
	struct weir_gate gate;
	struct gate_stage_bpf *stage;
	int slot;
};

static struct weir_error err;

/* ---- Helpers */

static size_t make_udp(uint8_t *frame, size_t payload)
{
	/* clang-format off */
	static const uint8_t head[42] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
		0x45, 0, 0, 0, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
		SPORT >> 8, SPORT & 255, DPORT >> 8, DPORT & 255,
	};
	/* clang-format on */
	size_t ip = 28 + payload, udp = 8 + payload;

	memcpy(frame, head, sizeof(head));
	frame[16] = (uint8_t)(ip >> 8);
	frame[17] = (uint8_t)ip;
	frame[38] = (uint8_t)(udp >> 8);
	frame[39] = (uint8_t)udp;
	memset(frame + sizeof(head), 0, payload);
	return sizeof(head) + payload;
}

static void send_frames(const char *ifname, unsigned int n)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	weir_autoclose int fd = socket(AF_PACKET, SOCK_RAW, 0);
	uint8_t frame[128];
	size_t len = make_udp(frame, 18);

	CHECK(fd >= 0, "packet socket: %s", strerror(errno));
	for (unsigned int i = 0; i < n; i++)
		CHECK(sendto(fd, frame, len, 0, (struct sockaddr *)&to, sizeof(to)) == (ssize_t)len,
		      "sendto: %s", strerror(errno));
}

/* Datagrams to port DPORT that arrive at the stack behind XDP. */
static int open_tap(const char *ifname)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_IP));

	CHECK(fd >= 0 && !bind(fd, (struct sockaddr *)&at, sizeof(at)), "tap: %s", strerror(errno));
	return fd;
}

static unsigned int drain(int tap)
{
	unsigned int n = 0;
	uint8_t buf[256];
	ssize_t len;

	while ((len = recv(tap, buf, sizeof(buf), 0)) > 0)
		n += len >= 42 && buf[36] == DPORT >> 8 && buf[37] == (DPORT & 255);
	return n;
}

static struct seen seen_of(const struct gate_stage_bpf *stage)
{
	struct seen s;
	uint32_t zero = 0;

	CHECK(!bpf_map_lookup_elem(bpf_map__fd(stage->maps.weir_seen), &zero, &s), "lookup: %s",
	      strerror(errno));
	return s;
}

static uint32_t test_prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	CHECK(!bpf_obj_get_info_by_fd(fd, &info, &len), "info: %s", strerror(errno));
	return info.id;
}

static uint32_t xdp_id(const char *ifname)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, opts);

	CHECK(!bpf_xdp_query((int)if_nametoindex(ifname), 0, &opts), "query: %s", strerror(errno));
	return opts.drv_prog_id ? opts.drv_prog_id : opts.skb_prog_id;
}

/* A stage's object with only one of its programs. */
static struct gate_stage_bpf *open_stage(bool resident)
{
	struct gate_stage_bpf *s = gate_stage_bpf__open();

	CHECK(s, "open the stage: %s", strerror(errno));
	bpf_program__set_autoload(s->progs.weir_test_resident, resident);
	bpf_program__set_autoload(s->progs.weir_test_guest, !resident);
	return s;
}

static struct gate_plain_bpf *open_plain(void)
{
	struct gate_plain_bpf *s = gate_plain_bpf__open();

	CHECK(s, "open: %s", strerror(errno));
	CHECK_OK(weir_load(s->obj, NULL, &err));
	return s;
}

static int enter(struct guest *g, const char *ifname, enum weir_xdp_mode mode)
{
	int ret = weir_gate_open(&g->gate, ifname, mode, &err);

	g->stage = NULL;
	if (ret)
		return ret;
	g->slot = weir_gate_claim_guest(&g->gate, &err);
	if (g->slot < 0) {
		weir_gate_close(&g->gate);
		return g->slot;
	}
	g->stage = open_stage(false);
	CHECK_OK(weir_gate_bind(&g->gate, g->stage->obj, g->slot, &err));
	CHECK_OK(weir_load(g->stage->obj, NULL, &err));
	return weir_gate_enter_guest(&g->gate, g->slot,
				     bpf_program__fd(g->stage->progs.weir_test_guest), &err);
}

static void leave(struct guest *g)
{
	weir_gate_leave_guest(&g->gate, g->slot);
	weir_gate_close(&g->gate);
	gate_stage_bpf__destroy(g->stage);
	g->stage = NULL;
}

/* A guest in a process of its own; @ready tells when it has entered. */
static pid_t spawn_guest(const char *ifname, int *ret_slot)
{
	int ready[2], slot = -1;
	pid_t pid;

	CHECK(!pipe(ready), "pipe: %s", strerror(errno));
	pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		struct guest g;

		CHECK_OK(enter(&g, ifname, WEIR_XDP_AUTO));
		CHECK(write(ready[1], &g.slot, sizeof(g.slot)) == sizeof(g.slot), "write");
		for (;;)
			pause();
	}
	close(ready[1]);
	CHECK(read(ready[0], &slot, sizeof(slot)) == sizeof(slot), "the guest did not enter");
	close(ready[0]);
	if (ret_slot)
		*ret_slot = slot;
	return pid;
}

static void kill_guest(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static bool slot_is_free(const char *ifname, int slot)
{
	weir_autoclose int prog_fd = bpf_prog_get_fd_by_id(xdp_id(ifname));
	uint32_t ids[32], len = sizeof(struct bpf_prog_info), zero = 0, id;
	struct bpf_prog_info info = { .map_ids = (uintptr_t)ids, .nr_map_ids = 32 };
	char name[16];

	CHECK(prog_fd >= 0, "the gate is not there");
	CHECK(!bpf_obj_get_info_by_fd(prog_fd, &info, &len), "info: %s", strerror(errno));
	snprintf(name, sizeof(name), "weir_guest%d", slot);
	for (uint32_t i = 0; i < info.nr_map_ids; i++) {
		weir_autoclose int fd = bpf_map_get_fd_by_id(ids[i]);
		struct bpf_map_info map = { 0 };

		len = sizeof(map);
		CHECK(!bpf_obj_get_info_by_fd(fd, &map, &len), "info: %s", strerror(errno));
		if (!strcmp(map.name, name))
			return bpf_map_lookup_elem(fd, &zero, &id) != 0;
	}
	test_end(1, "no map %s", name);
}

/* ---- Tests */

static void sees(const char *ifname, const char *from, enum weir_xdp_mode ask,
		 enum weir_xdp_mode expect)
{
	weir_autoclose int tap = open_tap(ifname);
	static const uint8_t src[16] = { [10] = 0xff, 0xff, 192, 0, 2, 1 };
	struct guest g;
	struct seen s;

	CHECK_OK(enter(&g, ifname, ask));
	CHECK_EQ(g.gate.mode, expect);
	CHECK_EQ(g.gate.joined, false);
	CHECK_EQ(g.slot, 0);
	send_frames(from, 5);
	CHECK(EVENTUALLY(seen_of(g.stage).packets >= 5), "the guest saw %llu of 5",
	      (unsigned long long)seen_of(g.stage).packets);
	s = seen_of(g.stage);
	CHECK_EQ(s.packets, 5);
	CHECK_EQ(s.last.pkt.sport, SPORT);
	CHECK_EQ(s.last.pkt.dport, DPORT);
	CHECK_EQ(s.last.pkt.proto, 17);
	CHECK_EQ(s.last.pkt.len, 60);
	CHECK_EQ(s.last.pkt.l4_off, 34);
	CHECK_EQ(s.last.verdict, XDP_PASS);
	CHECK_EQ(s.last.flags & WEIR_SCRATCH_TEST, 0);
	CHECK(!memcmp(s.last.pkt.src, src, sizeof(src)), "wrong source address");
	CHECK_EQ(drain(tap), 5);
	leave(&g);
	CHECK_EQ(xdp_id(ifname), 0);
}

static void native(void)
{
	struct veth v = test_veth();

	sees(v.a, v.b, WEIR_XDP_AUTO, WEIR_XDP_NATIVE);
	sees(v.a, v.b, WEIR_XDP_NATIVE, WEIR_XDP_NATIVE);
}

static void generic(void)
{
	struct veth v = test_veth();

	sees(v.a, v.b, WEIR_XDP_GENERIC, WEIR_XDP_GENERIC);
}

static void loopback(void)
{
	struct guest g;

	CHECK_OK(enter(&g, "lo", WEIR_XDP_AUTO));
	CHECK_EQ(g.gate.mode, WEIR_XDP_GENERIC);
	leave(&g);
	CHECK(enter(&g, "lo", WEIR_XDP_NATIVE) < 0, "lo took native XDP");
	CHECK(strstr(err.msg, "generic"), "no remedy in: %s", err.msg);
}

static void tun(void)
{
	struct ifreq req = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	weir_autoclose int fd = open("/dev/net/tun", O_RDWR);
	uint8_t frame[128];
	size_t len = make_udp(frame, 10);
	struct guest g;

	snprintf(req.ifr_name, sizeof(req.ifr_name), "wt%d", getpid());
	if (fd < 0 || ioctl(fd, TUNSETIFF, &req))
		SKIP("no tun: %s", strerror(errno));
	test_run("ip link set %s up", req.ifr_name);
	CHECK_OK(enter(&g, req.ifr_name, WEIR_XDP_GENERIC));
	CHECK(write(fd, frame + 14, len - 14) == (ssize_t)len - 14, "write: %s", strerror(errno));
	CHECK(EVENTUALLY(seen_of(g.stage).packets == 1), "the guest saw nothing");
	CHECK_EQ(seen_of(g.stage).last.pkt.l3_off, 0);
	CHECK_EQ(seen_of(g.stage).last.pkt.l4_off, 20);
	CHECK_EQ(seen_of(g.stage).last.pkt.dport, DPORT);
	leave(&g);
}

/* A guest killed hard leaves an empty slot, the gate goes on, and the last
 * holder takes the link away. */
static void killed(void)
{
	struct veth v = test_veth();
	weir_autoclose int tap = open_tap(v.a);
	struct guest g;
	int slot;
	pid_t pid;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	pid = spawn_guest(v.a, &slot);
	CHECK_EQ(slot, 1);
	CHECK(!slot_is_free(v.a, 1), "the guest is not in its slot");
	kill_guest(pid);
	CHECK(EVENTUALLY(slot_is_free(v.a, 1)), "the slot of the killed guest is still taken");
	CHECK(!slot_is_free(v.a, 0), "the other guest is gone too");
	send_frames(v.b, 3);
	CHECK(EVENTUALLY(seen_of(g.stage).packets == 3), "the first guest sees nothing");
	CHECK_EQ(drain(tap), 3);
	/* The one that made the gate goes first; a joiner keeps it. */
	pid = spawn_guest(v.a, &slot);
	leave(&g);
	CHECK(xdp_id(v.a), "the gate went with the guest that made it");
	CHECK(slot_is_free(v.a, 0), "slot 0 is taken");
	CHECK(!slot_is_free(v.a, slot), "the joiner's slot was emptied");
	kill_guest(pid);
	CHECK(EVENTUALLY(!xdp_id(v.a)), "the gate outlives its last holder");
}

static void all_slots(void)
{
	struct veth v = test_veth();
	struct guest g[WEIR_GATE_GUESTS], more;

	for (int i = 0; i < WEIR_GATE_GUESTS; i++) {
		CHECK_OK(enter(&g[i], v.a, WEIR_XDP_AUTO));
		CHECK_EQ(g[i].slot, i);
	}
	CHECK_EQ(enter(&more, v.a, WEIR_XDP_AUTO), -EBUSY);
	CHECK(strstr(err.msg, v.a), "no interface in: %s", err.msg);
	send_frames(v.b, 4);
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		CHECK(EVENTUALLY(seen_of(g[i].stage).packets == 4), "guest %d saw %llu of 4", i,
		      (unsigned long long)seen_of(g[i].stage).packets);
	leave(&g[3]);
	CHECK_OK(enter(&more, v.a, WEIR_XDP_AUTO));
	CHECK_EQ(more.slot, 3);
	leave(&more);
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		if (i != 3)
			leave(&g[i]);
	CHECK_EQ(xdp_id(v.a), 0);
}

/* Load the resident stage into the gate of @ifname and let go of everything. */
static void load_resident(const char *ifname)
{
	struct gate_stage_bpf *s = open_stage(true);
	struct weir_pin_dir d;
	struct weir_gate g;
	int prog_fd;

	CHECK_OK(weir_pin_open(&d, "filter", true, &err));
	CHECK_OK(weir_gate_open(&g, ifname, WEIR_XDP_AUTO, &err));
	CHECK_OK(weir_gate_bind(&g, s->obj, -1, &err));
	CHECK_OK(weir_load(s->obj, NULL, &err));
	prog_fd = bpf_program__fd(s->progs.weir_test_resident);
	CHECK_OK(weir_gate_enter_resident(&g, WEIR_GATE_FILTER, prog_fd, d.path, &err));
	weir_gate_close(&g);
	weir_pin_close(&d);
	gate_stage_bpf__destroy(s);
}

/* They come behind the programs. */
static void expect_at_tap(int tap, unsigned int packets)
{
	unsigned int got = 0;

	if (!packets)
		test_sleep_ms(50);
	CHECK(EVENTUALLY((got += drain(tap)) >= packets), "%u of %u came", got, packets);
	CHECK_EQ(got, packets);
}

static void expect_drop(const char *ifname, const char *from, const struct guest *g, bool drop)
{
	weir_autoclose int tap = open_tap(ifname);
	uint64_t before = g ? seen_of(g->stage).packets : 0;

	bool all;

	send_frames(from, 3);
	if (!g) {
		expect_at_tap(tap, drop ? 0 : 3);
		return;
	}
	all = EVENTUALLY(seen_of(g->stage).packets == before + 3);
	CHECK(all, "with%s drop the guest saw %d of 3", drop ? "" : "out",
	      (int)(seen_of(g->stage).packets - before));
	CHECK_EQ(seen_of(g->stage).last.verdict, drop ? XDP_DROP : XDP_PASS);
	CHECK_EQ(seen_of(g->stage).last.rule, drop ? 7 : 0);
	expect_at_tap(tap, drop ? 0 : 3);
}

static void resident(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct guest g;
	uint64_t before;

	/* The guest first: the resident joins its gate. */
	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	expect_drop(v.a, v.b, &g, false);
	load_resident(v.a);
	expect_drop(v.a, v.b, &g, true);
	leave(&g);
	CHECK(xdp_id(v.a), "the gate went with the guest");
	expect_drop(v.a, v.b, NULL, true);
	/* And the other way round. */
	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	CHECK(g.gate.joined, "not joined");
	expect_drop(v.a, v.b, &g, true);
	leave(&g);
	test_sleep_ms(50);
	expect_drop(v.a, v.b, NULL, true);
	/* A gate made later in the same namespace shares the resident. */
	CHECK_OK(enter(&g, w.a, WEIR_XDP_AUTO));
	CHECK(!g.gate.joined, "joined a gate of another interface");
	expect_drop(w.a, w.b, &g, true);
	/* But a guest sees its own interface only. */
	before = seen_of(g.stage).packets;
	expect_drop(v.a, v.b, NULL, true);
	CHECK_EQ(seen_of(g.stage).packets, before);
	/* Unloading empties the slot, also while a guest is there. */
	CHECK(weir_pin_unload("filter", &err) == 2, "unload: %s", err.msg);
	expect_drop(w.a, w.b, &g, false);
	CHECK_EQ(xdp_id(v.a), 0);
	leave(&g);
	CHECK_EQ(xdp_id(w.a), 0);
}

static void foreign(void)
{
	struct veth v = test_veth();
	struct gate_plain_bpf *plain = open_plain();
	struct guest g;
	uint32_t id;
	int link;

	CHECK(!bpf_xdp_attach((int)if_nametoindex(v.a), bpf_program__fd(plain->progs.plain_pass), 0,
			      NULL),
	      "attach: %s", strerror(errno));
	id = xdp_id(v.a);
	for (int mode = WEIR_XDP_AUTO; mode <= WEIR_XDP_GENERIC; mode++) {
		CHECK_EQ(enter(&g, v.a, (enum weir_xdp_mode)mode), -EBUSY);
		CHECK(strstr(err.msg, "plain_pass") && strstr(err.msg, "xdp off"), "message: %s",
		      err.msg);
		CHECK_EQ(xdp_id(v.a), id);
	}
	test_run("ip link set dev %s xdp off", v.a);
	link = bpf_link_create(bpf_program__fd(plain->progs.plain_pass), (int)if_nametoindex(v.a),
			       BPF_XDP, NULL);
	CHECK(link >= 0, "attach: %s", strerror(errno));
	CHECK_EQ(enter(&g, v.a, WEIR_XDP_AUTO), -EBUSY);
	CHECK(strstr(err.msg, "bpftool link detach id"), "message: %s", err.msg);
	CHECK(xdp_id(v.a), "the foreign program is gone");
	close(link);
	gate_plain_bpf__destroy(plain);
}

static void other_mode(void)
{
	struct veth v = test_veth();
	struct guest g, h;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_GENERIC));
	CHECK_EQ(enter(&h, v.a, WEIR_XDP_NATIVE), -EBUSY);
	CHECK(strstr(err.msg, "generic"), "message: %s", err.msg);
	CHECK_OK(enter(&h, v.a, WEIR_XDP_AUTO));
	CHECK_EQ(h.gate.mode, WEIR_XDP_GENERIC);
	leave(&h);
	leave(&g);
}

/* A gate of another build is exchanged behind its link, and the guests stay in. */
static void renewed(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct weir_gate mine;
	struct old_bpf *old;
	struct guest g, h;
	uint32_t id;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	CHECK_OK(enter(&h, w.a, WEIR_XDP_AUTO));
	CHECK(weir_gate_is_current(g.gate.prog_fd), "two of one build differ");
	CHECK_OK(weir_gate_open(&mine, v.a, WEIR_XDP_AUTO, &err));
	CHECK_EQ(weir_gate_renew(&mine, &err), 0);
	weir_gate_close(&mine);
	old = make_gate_old(v.a);
	id = xdp_id(v.a);
	CHECK_EQ(id, test_prog_id(bpf_program__fd(old->progs.weir_gate)));
	old_bpf__destroy(old);
	send_frames(v.b, 3);
	test_sleep_ms(50);
	CHECK_EQ(seen_of(g.stage).packets, 0);
	CHECK_OK(weir_gate_open(&mine, v.a, WEIR_XDP_AUTO, &err));
	CHECK_EQ(weir_gate_renew(&mine, &err), 1);
	CHECK_EQ(xdp_id(v.a), test_prog_id(mine.prog_fd));
	CHECK(xdp_id(v.a) != id, "not exchanged");
	CHECK_EQ(weir_gate_renew(&mine, &err), 0);
	weir_gate_close(&mine);
	send_frames(v.b, 3);
	CHECK(EVENTUALLY(seen_of(g.stage).packets == 3), "the guest sees nothing");
	send_frames(w.b, 2);
	CHECK(EVENTUALLY(seen_of(h.stage).packets == 2), "the other guest sees nothing");
	/* One that joins what was exchanged, and one whose gate was exchanged leaves. */
	leave(&h);
	CHECK_OK(enter(&h, v.a, WEIR_XDP_AUTO));
	leave(&g);
	send_frames(v.b, 4);
	CHECK(EVENTUALLY(seen_of(h.stage).packets == 4), "the new guest sees nothing");
	leave(&h);
	CHECK_EQ(xdp_id(v.a), 0);
}

static void no_interface(void)
{
	struct guest g;

	CHECK_EQ(enter(&g, "nosuchiface", WEIR_XDP_AUTO), -ENODEV);
	CHECK(strstr(err.msg, "nosuchiface"), "message: %s", err.msg);
}

/* Without CAP_SYS_ADMIN a gate can be made, and not joined. */
static void capabilities(void)
{
	struct veth v = test_veth(), w = test_veth();
	struct guest g, h;
	pid_t pid;
	int status;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	pid = fork();
	if (!pid) {
		CHECK(!prctl(PR_SET_KEEPCAPS, 1) && !setresuid(65534, 65534, 65534) &&
			      !weir_caps_drop(WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_PERFMON),
		      "cannot drop privileges: %s", strerror(errno));
		CHECK_EQ(enter(&h, v.a, WEIR_XDP_AUTO), -EPERM);
		CHECK(strstr(err.msg, "CAP_SYS_ADMIN") && strstr(err.msg, "setcap"), "message: %s",
		      err.msg);
		CHECK_OK(enter(&h, w.a, WEIR_XDP_AUTO));
		leave(&h);
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid, "wait: %s", strerror(errno));
	if (status)
		_exit(1); /* the child has told why */
	leave(&g);
}

/* Run @g's gate on a frame with @meta bytes of metadata before it and @linear
 * bytes of packet in its linear part, as if it came in on the interface. */
static int test_packet(const struct guest *g, const void *frame, size_t len, uint32_t meta,
		       size_t linear)
{
	struct xdp_md ctx = { .data = meta,
			      .data_end = meta + (uint32_t)linear,
			      .ingress_ifindex = g->gate.ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)len,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = 1);

	return bpf_prog_test_run_opts(g->gate.prog_fd, &opts) ? -errno : 0;
}

/* Metadata, which another XDP program may have left in a frame, marks nothing. */
static void metadata(void)
{
	const uint64_t once_a_mark = 0x5445535452494557ULL;
	struct veth v = test_veth();
	uint8_t frame[256];
	struct guest g;
	size_t len;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	len = make_udp(frame + 8, 100);
	memcpy(frame, &once_a_mark, sizeof(once_a_mark));
	CHECK_OK(test_packet(&g, frame, len + 8, 8, len));
	CHECK_EQ(seen_of(g.stage).last.flags & WEIR_SCRATCH_TEST, 0);
	CHECK_EQ(seen_of(g.stage).last.pkt.dport, DPORT);
	CHECK_EQ(seen_of(g.stage).last.pkt.len, len);
	CHECK_EQ(seen_of(g.stage).packets, 1);
	leave(&g);
}

/* A frame whose linear part ends inside its headers. */
static void fragments(void)
{
	struct veth v = test_veth();
	static uint8_t frame[8000];
	struct guest g;
	size_t len = make_udp(frame, 6000);
	int ret;

	CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
	ret = test_packet(&g, frame, len, 0, len);
	CHECK_OK(ret);
	CHECK_EQ(seen_of(g.stage).last.pkt.len, len);
	ret = test_packet(&g, frame, len, 0, 20);
	if (ret == -EINVAL)
		SKIP("this kernel cannot make a short linear part");
	CHECK_OK(ret);
	CHECK_EQ(seen_of(g.stage).packets, 2);
	CHECK_EQ(seen_of(g.stage).last.pkt.dport, DPORT);
	CHECK_EQ(seen_of(g.stage).last.pkt.len, len);
	leave(&g);
}

static void offloads(void)
{
	struct veth v = test_veth();
	struct weir_gate_offloads before, after;
	char lost[512];
	struct guest g;

	CHECK_OK(weir_gate_offloads(v.a, &before));
	CHECK(before.has_peer, "the peer was not found");
	CHECK_OK(enter(&g, v.a, WEIR_XDP_NATIVE));
	CHECK_OK(weir_gate_offloads(v.a, &after));
	weir_gate_offloads_diff(&before, &after, lost, sizeof(lost));
	CHECK(strstr(lost, "tx-tcp-segmentation (peer)"), "told only: '%s'", lost);
	leave(&g);
	CHECK_OK(weir_gate_offloads(v.a, &after));
	weir_gate_offloads_diff(&before, &after, lost, sizeof(lost));
	CHECK(!lost[0], "still off: %s", lost);
	CHECK_OK(weir_gate_offloads("lo", &before));
	CHECK(!before.has_peer, "lo has a peer");
	CHECK_EQ(weir_gate_offloads("nosuchiface", &before), -ENODEV);
}

/* Many come at once: each gets a slot of its own, and keeps it. */
static void together(void)
{
	struct veth v = test_veth();
	int go[2], done[2], seen[WEIR_GATE_GUESTS] = { 0 }, slot;
	pid_t pids[WEIR_GATE_GUESTS];

	CHECK(!pipe(go) && !pipe(done), "pipe: %s", strerror(errno));
	for (int i = 0; i < WEIR_GATE_GUESTS; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			struct guest g;
			char c;

			close(go[1]);
			CHECK(read(go[0], &c, 1) == 0, "read");
			CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
			test_sleep_ms(300);
			if (slot_is_free(v.a, g.slot))
				g.slot = -1;
			CHECK(write(done[1], &g.slot, sizeof(int)) == sizeof(int), "write");
			for (;;)
				pause();
		}
	}
	close(go[1]);
	close(done[1]);
	for (int i = 0; i < WEIR_GATE_GUESTS; i++) {
		CHECK(read(done[0], &slot, sizeof(slot)) == sizeof(slot), "a guest did not enter");
		CHECK(slot >= 0, "a guest lost its slot");
		CHECK(!seen[slot]++, "two guests in slot %d", slot);
	}
	for (int i = 0; i < WEIR_GATE_GUESTS; i++)
		kill_guest(pids[i]);
	CHECK(EVENTUALLY(!xdp_id(v.a)), "the gate outlives its last holder");
}

/* The gate goes away again and again while others join. */
static void come_and_go(void)
{
	struct veth v = test_veth();
	pid_t pids[3];
	int status;

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(pids); i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (int k = 0; k < 15; k++) {
			struct guest g;

			CHECK_OK(enter(&g, v.a, WEIR_XDP_AUTO));
			if (k % 3 == 2) { /* as if killed */
				weir_gate_close(&g.gate);
				gate_stage_bpf__destroy(g.stage);
			} else {
				CHECK(!slot_is_free(v.a, g.slot), "round %d: slot %d was emptied",
				      k, g.slot);
				leave(&g);
			}
		}
		_exit(0);
	}
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(pids); i++) {
		CHECK(waitpid(pids[i], &status, 0) == pids[i], "wait: %s", strerror(errno));
		if (status)
			_exit(1);
	}
	CHECK(EVENTUALLY(!xdp_id(v.a)), "the gate outlives its last holder");
}

/* A held lock is told after a while, and by whom. */
static void locked(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "\0weir.gate" };
	weir_autoclose int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char holder[32];
	struct veth v = test_veth();
	struct weir_gate g;

	CHECK(!bind(fd, (struct sockaddr *)&addr, sizeof(sa_family_t) + 1 + strlen("weir.gate")) &&
		      !listen(fd, 1),
	      "bind: %s", strerror(errno));
	CHECK_EQ(weir_gate_open(&g, v.a, WEIR_XDP_AUTO, &err), -EBUSY);
	snprintf(holder, sizeof(holder), "process %d ", getpid());
	CHECK(strstr(err.msg, holder), "message: %s", err.msg);
	CHECK_EQ(xdp_id(v.a), 0);
}

static uint32_t cost(int prog_fd)
{
	uint8_t frame[128];
	size_t len = make_udp(frame, 18);
	uint32_t best = UINT32_MAX;

	for (int i = 0; i < 7; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame,
			    .data_size_in = (uint32_t)len, .repeat = 500000);

		CHECK(!bpf_prog_test_run_opts(prog_fd, &opts), "run: %s", strerror(errno));
		best = opts.duration < best ? opts.duration : best;
	}
	return best;
}

static void costs(void)
{
	struct veth v = test_veth();
	struct gate_plain_bpf *plain = open_plain();
	struct guest g[2];
	uint32_t none, empty, one, two;

	none = cost(bpf_program__fd(plain->progs.plain_pass));
	weir_gate_init(&g[0].gate);
	CHECK_OK(weir_gate_open(&g[0].gate, v.a, WEIR_XDP_AUTO, &err));
	empty = cost(g[0].gate.prog_fd);
	weir_gate_close(&g[0].gate);
	CHECK_OK(enter(&g[0], v.a, WEIR_XDP_AUTO));
	one = cost(g[0].gate.prog_fd);
	CHECK_OK(enter(&g[1], v.a, WEIR_XDP_AUTO));
	two = cost(g[0].gate.prog_fd);
	printf("# ns a packet: XDP_PASS alone %u, gate %u, with one stage %u, with two %u\n", none,
	       empty, one, two);
	leave(&g[1]);
	leave(&g[0]);
	gate_plain_bpf__destroy(plain);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "gate-native", native },
		{ "gate-generic", generic },
		{ "gate-loopback", loopback },
		{ "gate-tun", tun },
		{ "gate-killed-guest", killed },
		{ "gate-all-slots", all_slots },
		{ "gate-resident", resident },
		{ "gate-foreign-program", foreign },
		{ "gate-other-mode", other_mode },
		{ "gate-renewed", renewed },
		{ "gate-no-interface", no_interface },
		{ "gate-capabilities", capabilities },
		{ "gate-metadata", metadata },
		{ "gate-fragments", fragments },
		{ "gate-offloads", offloads },
		{ "gate-together", together },
		{ "gate-come-and-go", come_and_go },
		{ "gate-lock", locked },
		{ "gate-cost", costs },
	};

	weir_load_setup();
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
