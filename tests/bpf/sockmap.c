/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The engine sockmap: every way in which relays by sockmap were seen to lose, repeat,
 * reorder or withhold bytes, or to take memory without bound, by name.
 */
#include "cap/proxy/sockmap.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/un.h>

#include "cap/proxy/sockmap_impl.h"
#include "relays.h"

#define KIB 1024ULL
#define MIB (1024 * KIB)
#define SMALL (64 * 1024)     /* a reader's buffer, so that it stalls soon */
#define MEMORY_MAX (16 * MIB) /* of the kernel, for one connection */

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static struct lab lab;

static void begin(void)
{
	CHECK_OK(weir_sockmap_open(RELAYS, &err));
	CHECK(!weir_sockmap_why_not(), "%s", weir_sockmap_why_not());
	lab_open(&lab);
}

static void end(void)
{
	expect_empty_maps();
	lab_close(&lab);
	weir_sockmap_close();
}

/* ---- Joining */

static void bytes_unread_at_join(void)
{
	struct line l;

	begin();
	line_make(&l, &lab, AF_INET, 0);
	send_pattern(&l, WEIR_CLIENT, 0, 1000);
	send_pattern(&l, WEIR_BACKEND, 0, 100);
	line_start(&l);
	expect_pattern(&l, WEIR_CLIENT, 0, 1000);
	expect_pattern(&l, WEIR_BACKEND, 0, 100);
	expect_joined(2);
	send_pattern(&l, WEIR_CLIENT, 1000, 50);
	expect_pattern(&l, WEIR_CLIENT, 1000, 50);
	send_fin(&l, WEIR_CLIENT);
	expect_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_BACKEND);
	expect_done(&l, 1050, 100);
	expect_engine(&l, "sockmap");
	CHECK(!l.relay.demoted, "demoted");
	line_free(&l);
	end();
}

/* More than one read takes, so that reading stops within what came as one. */
static void partly_read_at_join(void)
{
	struct line l;

	begin();
	line_make(&l, &lab, AF_INET, 0);
	send_pattern(&l, WEIR_CLIENT, 0, 100 * KIB + 41);
	line_start(&l);
	expect_pattern(&l, WEIR_CLIENT, 0, 100 * KIB + 41);
	expect_joined(2);
	send_pattern(&l, WEIR_CLIENT, 100 * KIB + 41, 3 * KIB);
	expect_pattern(&l, WEIR_CLIENT, 100 * KIB + 41, 3 * KIB);
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_CLIENT);
	expect_fin(&l, WEIR_BACKEND);
	expect_done(&l, 103 * KIB + 41, 0);
	line_free(&l);
	end();
}

struct blast {
	const struct line *line;
	enum weir_end_of who;
	uint64_t at, bytes;
	bool fin, may_fail; /* may_fail: anything, until it does */
};

static void *blast_thread(void *arg)
{
	const struct blast *b = arg;

	if (b->may_fail) {
		while (send(b->line->peer[b->who], b, sizeof(*b), MSG_NOSIGNAL) > 0)
			;
		return NULL;
	}
	send_pattern(b->line, b->who, b->at, b->bytes);
	if (b->fin)
		send_fin(b->line, b->who);
	return NULL;
}

/* A sender that is at it all through the join: some of these meet the moment between the
 * last look at the queue and the join, of which no event would tell. */
static void bytes_arriving_during_join(void)
{
	begin();
	for (int i = 0; i < 150; i++) {
		const uint64_t n = 30 * KIB + (uint64_t)i * 771;
		struct blast b;
		pthread_t thread;
		struct line l;

		line_make(&l, &lab, i % 2 ? AF_INET6 : AF_INET, 0);
		b = (struct blast){ .line = &l, .who = WEIR_CLIENT, .bytes = n, .fin = i % 3 == 0 };
		CHECK_EQ(pthread_create(&thread, NULL, blast_thread, &b), 0);
		line_start(&l);
		expect_pattern(&l, WEIR_CLIENT, 0, n);
		pthread_join(thread, NULL);
		if (!b.fin)
			send_fin(&l, WEIR_CLIENT);
		expect_fin(&l, WEIR_CLIENT);
		send_fin(&l, WEIR_BACKEND);
		expect_fin(&l, WEIR_BACKEND);
		expect_done(&l, n, 0);
		line_free(&l);
	}
	end();
}

static int state_of(int fd)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);

	CHECK(!getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n), "TCP_INFO: %s", strerror(errno));
	return info.tcpi_state;
}

/* What the kernel refuses to join (EOPNOTSUPP), the next engine of the ladder takes. */
static void fin_before_join(void)
{
	begin();
	for (int who = 0; who < 2; who++) {
		struct line l;

		line_make(&l, &lab, AF_INET, 0);
		send_pattern(&l, who, 0, 70 * KIB);
		send_fin(&l, who);
		CHECK(EVENTUALLY(state_of(l.relay.side[who].io.fd) == TCP_CLOSE_WAIT), "no FIN");
		line_start(&l);
		expect_pattern(&l, who, 0, 70 * KIB);
		expect_fin(&l, who);
		send_pattern(&l, !who, 0, 30 * KIB);
		send_fin(&l, !who);
		expect_pattern(&l, !who, 0, 30 * KIB);
		expect_fin(&l, !who);
		expect_done(&l, who == WEIR_CLIENT ? 70 * KIB : 30 * KIB,
			    who == WEIR_CLIENT ? 30 * KIB : 70 * KIB);
		expect_engine(&l, "splice");
		line_free(&l);
	}
	end();
}

/* The hello, which user space has read, goes first; it is not counted in full where a
 * header of the proxy's own is in it. */
static void held_bytes_go_first(void)
{
	struct line l;

	begin();
	line_make(&l, &lab, AF_INET, 0);
	l.relay.side[WEIR_CLIENT].held = malloc(300 * KIB);
	CHECK(l.relay.side[WEIR_CLIENT].held, "no memory");
	for (uint64_t i = 0; i < 300 * KIB; i++)
		l.relay.side[WEIR_CLIENT].held[i] = pattern(0, WEIR_CLIENT, i);
	l.relay.side[WEIR_CLIENT].held_len = 300 * KIB;
	send_pattern(&l, WEIR_CLIENT, 300 * KIB, 10 * KIB);
	line_start(&l);
	test_sleep_ms(20);
	expect_pattern(&l, WEIR_CLIENT, 0, 310 * KIB);
	expect_joined(2);
	send_pattern(&l, WEIR_CLIENT, 310 * KIB, 10 * KIB);
	expect_pattern(&l, WEIR_CLIENT, 310 * KIB, 10 * KIB);
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_CLIENT);
	expect_fin(&l, WEIR_BACKEND);
	expect_done(&l, 320 * KIB, 0);
	line_free(&l);
	end();
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t n = sizeof(a);

	CHECK(!getsockname(fd, (struct sockaddr *)&a, &n), "getsockname: %s", strerror(errno));
	return ntohs(a.sin_port);
}

/* A retransmission that begins with bytes which were received, their acknowledgement was
 * lost, and goes on with new ones: the sender has put two segments into one. A program
 * is shown the old bytes again. */
static void repeated_bytes_before_new_ones(void)
{
	const int one = 1;
	struct line l;

	if (system("nft add table inet weir 2>/dev/null && nft add chain inet weir out '{ type filter hook input priority 0; }'"))
		SKIP("no nft here");
	/* No tail loss probe, which would send the second segment alone. */
	test_run("sysctl -qw net.ipv4.tcp_early_retrans=0");
	begin();
	line_open(&l, &lab);
	expect_joined(2);
	setsockopt(l.peer[WEIR_CLIENT], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	send_pattern(&l, WEIR_CLIENT, 0, 1000);
	expect_pattern(&l, WEIR_CLIENT, 0, 1000);
	test_sleep_ms(100); /* for its acknowledgement */
	test_run("nft add rule inet weir out tcp sport %u drop",
		 port_of(l.relay.side[WEIR_CLIENT].io.fd));
	send_pattern(&l, WEIR_CLIENT, 1000, 100);
	expect_pattern(&l, WEIR_CLIENT, 1000, 100);
	test_run("nft add rule inet weir out tcp sport %u drop", port_of(l.peer[WEIR_CLIENT]));
	send_pattern(&l, WEIR_CLIENT, 1100, 150);
	test_run("nft flush chain inet weir out");
	expect_pattern(&l, WEIR_CLIENT, 1100, 150);
	send_pattern(&l, WEIR_CLIENT, 1250, 20);
	expect_pattern(&l, WEIR_CLIENT, 1250, 20);
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_CLIENT);
	expect_done(&l, 1270, 0);
	line_free(&l);
	end();
}

/* ---- FIN */

/* The engine has megabytes on their way when the FIN comes. */
static void fin_behind_queued_bytes(void)
{
	begin();
	for (int i = 0; i < 20; i++) {
		const uint64_t n = 8 * MIB - 1;
		struct blast b;
		pthread_t thread;
		struct line l;
		int who = i % 2;

		line_open(&l, &lab);
		expect_joined(2);
		b = (struct blast){ .line = &l, .who = who, .bytes = n, .fin = true };
		CHECK_EQ(pthread_create(&thread, NULL, blast_thread, &b), 0);
		expect_pattern(&l, who, 0, n);
		expect_fin(&l, who);
		pthread_join(thread, NULL);
		send_fin(&l, !who);
		expect_fin(&l, !who);
		expect_done(&l, who == WEIR_CLIENT ? n : 0, who == WEIR_CLIENT ? 0 : n);
		line_free(&l);
		expect_empty_maps();
	}
	end();
}

/* It is a segment without bytes, which must not be handed to the target: that would answer
 * it by never sending again. */
static void bare_fin_then_other_direction(void)
{
	begin();
	for (int who = 0; who < 2; who++) {
		struct line l;

		line_open(&l, &lab);
		expect_joined(2);
		send_fin(&l, who);
		expect_fin(&l, who);
		for (uint64_t i = 0; i < 50; i++) {
			send_pattern(&l, !who, i * 10 * KIB, 10 * KIB);
			expect_pattern(&l, !who, i * 10 * KIB, 10 * KIB);
		}
		send_fin(&l, !who);
		expect_fin(&l, !who);
		expect_done(&l, who == WEIR_CLIENT ? 0 : 500 * KIB,
			    who == WEIR_CLIENT ? 500 * KIB : 0);
		CHECK(!l.relay.demoted, "demoted");
		line_free(&l);
	}
	end();
}

static void fin_of_both_at_once(void)
{
	begin();
	for (int i = 0; i < 100; i++) {
		struct line l;

		line_open(&l, &lab);
		send_pattern(&l, WEIR_CLIENT, 0, 2000);
		send_fin(&l, WEIR_CLIENT);
		send_pattern(&l, WEIR_BACKEND, 0, 3000);
		send_fin(&l, WEIR_BACKEND);
		expect_pattern(&l, WEIR_CLIENT, 0, 2000);
		expect_pattern(&l, WEIR_BACKEND, 0, 3000);
		expect_fin(&l, WEIR_CLIENT);
		expect_fin(&l, WEIR_BACKEND);
		expect_done(&l, 2000, 3000);
		line_free(&l);
	}
	end();
}

/* A connection that ends by FIN soon behind its last bytes must not wait for timers. */
static void fin_is_prompt(void)
{
	unsigned int prompt = 0;

	begin();
	for (int i = 0; i < 50; i++) {
		const uint64_t began = weir_clock_mono();
		struct line l;

		line_open(&l, &lab);
		send_pattern(&l, WEIR_CLIENT, 0, 100);
		send_fin(&l, WEIR_CLIENT);
		expect_pattern(&l, WEIR_CLIENT, 0, 100);
		expect_fin(&l, WEIR_CLIENT);
		send_fin(&l, WEIR_BACKEND);
		expect_fin(&l, WEIR_BACKEND);
		expect_done(&l, 100, 0);
		line_free(&l);
		prompt += weir_clock_mono() - began < 50 * 1000000ULL;
	}
	/* A busy machine may make some of them wait; a timer would all. */
	CHECK(prompt >= 25, "only %u of 50 connections took less than 50 ms", prompt);
	end();
}

/* ---- Back-pressure */

/* What the kernel has of the relay's own: its sockets' memory, and the queues that no
 * socket accounts for. */
static uint64_t kernel_memory(const struct line *l)
{
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		uint32_t mem[9] = { 0 }; /* SK_MEMINFO_* of linux/sock_diag.h */
		socklen_t n = sizeof(mem);

		CHECK(!getsockopt(l->relay.side[i].io.fd, SOL_SOCKET, SO_MEMINFO, mem, &n),
		      "SO_MEMINFO: %s", strerror(errno));
		sum += mem[0] + mem[4] + mem[5] + mem[7]; /* received, forward, queued, backlog */
	}
	for (uint32_t place = 0; place < RELAYS; place++)
		for (int i = 0; i < WEIR_WAYS; i++) {
			const struct weir_way *w = weir_sockmap_way(place, i);

			sum += w->cost + w->cost_before;
		}
	return sum;
}

/* As much as goes, in pieces of @piece, until nothing has gone for a while. */
static uint64_t send_until_blocked(const struct line *l, enum weir_end_of who, size_t piece,
				   uint64_t most)
{
	uint64_t at = 0, since = weir_clock_mono();
	uint8_t chunk[65536];

	while (at < most && weir_clock_mono() - since < 400 * 1000000ULL) {
		ssize_t n;

		for (size_t i = 0; i < piece; i++)
			chunk[i] = pattern(0, who, at + i);
		n = send(l->peer[who], chunk, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			at += (uint64_t)n;
			since = weir_clock_mono();
		} else {
			test_sleep_ms(5);
		}
	}
	return at;
}

static void stall(size_t piece, uint64_t most, enum weir_end_of who)
{
	const int one = 1;
	int pair[2][2];
	struct line l;
	uint64_t n, memory;

	begin();
	connected_pair(AF_INET, who == WEIR_BACKEND ? SMALL : 0, pair[WEIR_CLIENT]);
	connected_pair(AF_INET, who == WEIR_CLIENT ? SMALL : 0, pair[WEIR_BACKEND]);
	line_init(&l, &lab, pair);
	line_start(&l);
	expect_joined(2);
	setsockopt(l.peer[who], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	n = send_until_blocked(&l, who, piece, most);
	memory = kernel_memory(&l);
	printf("# a stalled reader: %llu bytes sent, %llu bytes of kernel memory\n",
	       (unsigned long long)n, (unsigned long long)memory);
	CHECK(memory <= MEMORY_MAX, "%llu bytes of kernel memory", (unsigned long long)memory);
	/* The other direction does not mind. */
	send_pattern(&l, !who, 0, 100 * KIB);
	expect_pattern(&l, !who, 0, 100 * KIB);
	expect_pattern(&l, who, 0, n);
	send_pattern(&l, who, n, 5 * KIB);
	send_fin(&l, who);
	expect_pattern(&l, who, n, 5 * KIB);
	expect_fin(&l, who);
	send_fin(&l, !who);
	expect_fin(&l, !who);
	expect_done(&l, who == WEIR_CLIENT ? n + 5 * KIB : 100 * KIB,
		    who == WEIR_CLIENT ? 100 * KIB : n + 5 * KIB);
	/* Small ones are, too, where the kernel's worker waits for its CPU until so many are in
	 * the queue that they take all the memory that they may. */
	CHECK(l.relay.demoted || piece == 1, "not demoted");
	line_free(&l);
	end();
}

static void stalled_backend(void)
{
	stall(65536, 1ULL << 30, WEIR_CLIENT);
}

static void stalled_client(void)
{
	stall(65536, 1ULL << 30, WEIR_BACKEND);
}

/* A byte a segment: on their way, they take a thousand times what they carry. */
static void stalled_backend_small_segments(void)
{
	stall(1, 100000, WEIR_CLIENT);
}

/* Both readers stall, then one goes on: its direction must, although the other one's
 * bytes are in queues that both use. */
static void both_stalled_one_resumes(void)
{
	int pair[2][2];
	struct line l;
	uint64_t n[2];

	begin();
	connected_pair(AF_INET, SMALL, pair[WEIR_CLIENT]);
	connected_pair(AF_INET, SMALL, pair[WEIR_BACKEND]);
	line_init(&l, &lab, pair);
	line_start(&l);
	expect_joined(2);
	n[WEIR_CLIENT] = send_until_blocked(&l, WEIR_CLIENT, 65536, 64 * MIB);
	n[WEIR_BACKEND] = send_until_blocked(&l, WEIR_BACKEND, 65536, 64 * MIB);
	expect_pattern(&l, WEIR_CLIENT, 0, n[WEIR_CLIENT]);
	send_pattern(&l, WEIR_CLIENT, n[WEIR_CLIENT], 3 * MIB);
	expect_pattern(&l, WEIR_CLIENT, n[WEIR_CLIENT], 1);
	send_fin(&l, WEIR_CLIENT);
	expect_pattern(&l, WEIR_CLIENT, n[WEIR_CLIENT] + 1, 3 * MIB - 1);
	expect_fin(&l, WEIR_CLIENT);
	expect_pattern(&l, WEIR_BACKEND, 0, n[WEIR_BACKEND]);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_BACKEND);
	expect_done(&l, n[WEIR_CLIENT] + 3 * MIB, n[WEIR_BACKEND]);
	line_free(&l);
	end();
}

/* A sender without a pause and a reader that is slower now and then: demoted in the
 * middle of it. */
static void demotion_in_full_flow(void)
{
	begin();
	for (int i = 0; i < 8; i++) {
		const uint64_t n = 24 * MIB;
		struct blast b;
		pthread_t thread;
		struct line l;

		line_make(&l, &lab, AF_INET, SMALL);
		line_start(&l);
		b = (struct blast){ .line = &l, .who = WEIR_CLIENT, .bytes = n, .fin = true };
		CHECK_EQ(pthread_create(&thread, NULL, blast_thread, &b), 0);
		for (uint64_t at = 0; at < n; at += 2 * MIB) {
			test_sleep_ms(i);
			/* Slow enough for the sender to be ahead, whatever the machine. */
			if (i >= 2 && at == 4 * MIB)
				CHECK(EVENTUALLY(__atomic_load_n(&l.relay.demoted,
								 __ATOMIC_RELAXED)),
				      "not demoted");
			expect_pattern(&l, WEIR_CLIENT, at, 2 * MIB);
		}
		expect_fin(&l, WEIR_CLIENT);
		pthread_join(thread, NULL);
		send_fin(&l, WEIR_BACKEND);
		expect_fin(&l, WEIR_BACKEND);
		expect_done(&l, n, 0);
		line_free(&l);
	}
	end();
}

/* ---- Resets and ends by the owner */

static void expect_reset(const struct line *l, enum weir_end_of at)
{
	char chunk[8192];
	ssize_t n;

	do
		n = recv(l->peer[at], chunk, sizeof(chunk), 0);
	while (n > 0);
	CHECK(n < 0, "a reset looks like a regular end");
	CHECK_EQ(errno, ECONNRESET);
}

static void reset_goes_on(void)
{
	begin();
	for (int i = 0; i < 40; i++) {
		struct line l;
		int who = i % 2;

		line_open(&l, &lab);
		if (i & 2) {
			send_pattern(&l, who, 0, 20 * KIB);
			send_pattern(&l, !who, 0, 200 * KIB);
		}
		if (i & 4)
			test_sleep_ms(2);
		weir_sock_reset(l.peer[who]);
		l.peer[who] = -1;
		expect_reset(&l, !who);
		CHECK(line_until(&l, &l.over), "the relay does not end");
		CHECK_EQ(l.how, WEIR_RELAY_RESET);
		CHECK_EQ(l.who, who);
		line_free(&l);
	}
	end();
}

static void reset_while_stalled(void)
{
	begin();
	for (int who = 0; who < 2; who++) {
		struct line l;

		line_make(&l, &lab, AF_INET, SMALL);
		line_start(&l);
		send_until_blocked(&l, WEIR_CLIENT, 65536, 1ULL << 30);
		weir_sock_reset(l.peer[who]);
		l.peer[who] = -1;
		CHECK(line_until(&l, &l.over), "the relay does not end");
		CHECK_EQ(l.how, WEIR_RELAY_RESET);
		CHECK_EQ(l.who, who);
		line_free(&l);
		expect_empty_maps();
	}
	end();
}

static void stopped_by_its_owner(void)
{
	begin();
	for (int i = 0; i < 30; i++) {
		struct line l;
		struct blast b;
		pthread_t thread;

		line_open(&l, &lab);
		b = (struct blast){ .line = &l, .who = WEIR_CLIENT, .may_fail = true };
		CHECK_EQ(pthread_create(&thread, NULL, blast_thread, &b), 0);
		test_sleep_ms((unsigned int)i % 7);
		l.stop = true;
		CHECK(weir_loop_post(lab.loop, &l.post), "the loop has ended");
		CHECK(line_until(&l, &l.over), "the relay does not end");
		pthread_join(thread, NULL);
		line_free(&l);
	}
	end();
}

/* ---- What it refuses */

static void refused(struct line *l, const char *engine)
{
	line_start(l);
	expect_engine(l, engine);
	send_pattern(l, WEIR_CLIENT, 0, 10 * KIB);
	expect_pattern(l, WEIR_CLIENT, 0, 10 * KIB);
	send_pattern(l, WEIR_BACKEND, 0, 10 * KIB);
	expect_pattern(l, WEIR_BACKEND, 0, 10 * KIB);
	send_fin(l, WEIR_CLIENT);
	send_fin(l, WEIR_BACKEND);
	expect_fin(l, WEIR_CLIENT);
	expect_fin(l, WEIR_BACKEND);
	expect_done(l, 10 * KIB, 10 * KIB);
	line_free(l);
}

static void refuses_unix_sockets(void)
{
	int pair[2][2];
	struct line l;

	begin();
	connected_pair(AF_INET, 0, pair[WEIR_CLIENT]);
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair[WEIR_BACKEND]),
	      "socketpair: %s", strerror(errno));
	CHECK(!fcntl(pair[WEIR_BACKEND][1], F_SETFL, O_NONBLOCK), "fcntl: %s", strerror(errno));
	line_init(&l, &lab, pair);
	l.relay.side[WEIR_BACKEND].drain = true;
	refused(&l, "splice");
	end();
}

static void refuses_mptcp(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int pair[2][2], listener;
	struct line l;

	begin();
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	if (listener < 0)
		SKIP("no MPTCP here: %s", strerror(errno));
	CHECK(!bind(listener, (struct sockaddr *)&a, n) && !listen(listener, 1) &&
		      !getsockname(listener, (struct sockaddr *)&a, &n),
	      "listen: %s", strerror(errno));
	pair[WEIR_CLIENT][0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP);
	CHECK(!connect(pair[WEIR_CLIENT][0], (struct sockaddr *)&a, n), "connect: %s",
	      strerror(errno));
	pair[WEIR_CLIENT][1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	close(listener);
	connected_pair(AF_INET, 0, pair[WEIR_BACKEND]);
	line_init(&l, &lab, pair);
	refused(&l, "splice");
	end();
}

static void refuses_ktls(void)
{
	struct line l;

	begin();
	line_make(&l, &lab, AF_INET, 0);
	if (setsockopt(l.relay.side[WEIR_BACKEND].io.fd, IPPROTO_TCP, TCP_ULP, "tls", 3))
		SKIP("no kernel TLS here: %s", strerror(errno));
	refused(&l, "splice");
	end();
}

static void refuses_when_full(void)
{
	enum { ROOM = WEIR_SOCKMAP_RELAYS_MIN };
	static struct line l[ROOM + 1];

	CHECK_OK(weir_sockmap_open(ROOM, &err));
	lab_open(&lab);
	for (int i = 0; i < ROOM; i++) {
		line_open(&l[i], &lab);
		expect_engine(&l[i], "sockmap");
	}
	line_make(&l[ROOM], &lab, AF_INET, 0);
	refused(&l[ROOM], "splice");
	for (int i = 0; i < ROOM; i++) {
		send_fin(&l[i], WEIR_CLIENT);
		send_fin(&l[i], WEIR_BACKEND);
		expect_done(&l[i], 0, 0);
		line_free(&l[i]);
	}
	line_open(&l[ROOM], &lab);
	expect_engine(&l[ROOM], "sockmap");
	send_fin(&l[ROOM], WEIR_CLIENT);
	send_fin(&l[ROOM], WEIR_BACKEND);
	expect_done(&l[ROOM], 0, 0);
	line_free(&l[ROOM]);
	end();
}

static void refuses_when_not_open(void)
{
	struct line l;

	lab_open(&lab);
	CHECK(strstr(weir_sockmap_why_not(), "was not asked for"), "%s", weir_sockmap_why_not());
	line_make(&l, &lab, AF_INET, 0);
	refused(&l, "splice");
	lab_close(&lab);
}

/* A namespace whose loopback is down: nothing could be tried, so nothing is trusted. */
static void check_says_why_not(void)
{
	struct line l;

	test_run("ip link set lo down");
	CHECK(weir_sockmap_open(RELAYS, &err) < 0, "it could be tried without lo");
	CHECK(strstr(err.msg, "bring lo up"), "%s", err.msg);
	CHECK(!strcmp(err.msg, weir_sockmap_why_not()), "%s", weir_sockmap_why_not());
	test_run("ip link set lo up");
	lab_open(&lab);
	line_make(&l, &lab, AF_INET, 0);
	refused(&l, "splice");
	lab_close(&lab);
}

/* ---- Accounts, privileges, system calls */

static void counts_both_ways(void)
{
	uint64_t first;
	struct line l;

	begin();
	line_open(&l, &lab);
	expect_joined(2);
	first = weir_clock_mono();
	for (uint64_t i = 0; i < 40; i++) {
		send_pattern(&l, WEIR_CLIENT, i * 700, 700);
		expect_pattern(&l, WEIR_CLIENT, i * 700, 700);
		send_pattern(&l, WEIR_BACKEND, i * 9000, 9000);
		expect_pattern(&l, WEIR_BACKEND, i * 9000, 9000);
	}
	CHECK_EQ(__atomic_load_n(&l.relay.side[WEIR_CLIENT].bytes, __ATOMIC_RELAXED), 0);
	l.count = true;
	CHECK(weir_loop_post(lab.loop, &l.post), "the loop has ended");
	CHECK(line_until(&l, &l.counted), "not counted");
	CHECK_EQ(l.relay.side[WEIR_CLIENT].bytes, 40 * 700);
	CHECK_EQ(l.relay.side[WEIR_BACKEND].bytes, 40 * 9000);
	CHECK(l.relay.first_byte >= first && l.relay.first_byte <= weir_clock_mono(),
	      "the first byte's time is wrong");
	CHECK(l.relay.active + WEIR_NSEC_PER_SEC / 10 >= first, "the last byte's time is wrong");
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_done(&l, 40 * 700, 40 * 9000);
	line_free(&l);
	end();
}

static void works_without_privileges(void)
{
	struct line l;

	begin();
	lab_close(&lab);
	CHECK(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534), "setresuid: %s",
	      strerror(errno));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	lab_open(&lab);
	line_open(&l, &lab);
	expect_joined(2);
	send_pattern(&l, WEIR_CLIENT, 0, 10 * KIB);
	expect_pattern(&l, WEIR_CLIENT, 0, 10 * KIB);
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_done(&l, 10 * KIB, 0);
	CHECK(!l.relay.demoted, "demoted");
	line_free(&l);
	end();
}

/* The proxy's part in a process of its own, so that only its system calls are seen. */
static void relay_in_child(struct line *l, int told)
{
	struct weir_sockmap_use use;

	lab_open(&lab);
	for (int i = 0; i < 2; i++)
		close(WEIR_TAKE_FD(l->peer[i]));
	line_start(l);
	CHECK(!weir_sockmap_use(&use) && use.sources == 2, "not joined");
	CHECK(write(told, "!", 1) == 1, "write: %s", strerror(errno));
	CHECK(line_until(l, &l->over), "the relay does not end");
	CHECK_EQ(l->how, WEIR_RELAY_DONE);
	CHECK(!l->relay.demoted, "demoted");
	_exit(0);
}

static void no_recv_or_send_after_join(void)
{
	char path[64], line[512];
	int told[2], status;
	unsigned int calls = 0;
	struct line l;
	pid_t child, tracer;
	FILE *f;

	if (system("command -v strace >/dev/null"))
		SKIP("no strace here");
	CHECK_OK(weir_sockmap_open(RELAYS, &err));
	snprintf(path, sizeof(path), "/tmp/weir-sockmap-%d.strace", getpid());
	line_make(&l, &lab, AF_INET, 0);
	CHECK(!pipe(told), "pipe: %s", strerror(errno));
	child = fork();
	if (!child)
		relay_in_child(&l, told[1]);
	CHECK(read(told[0], line, 1) == 1, "the child ended");
	for (int i = 0; i < 2; i++)
		close(l.relay.side[i].io.fd);
	tracer = fork();
	if (!tracer) {
		char pid[16];

		snprintf(pid, sizeof(pid), "%d", child);
		execlp("strace", "strace", "-qq", "-f", "-o", path, "-p", pid, NULL);
		_exit(127);
	}
	/* Attached when its file is there, and a moment. */
	CHECK(EVENTUALLY(!access(path, F_OK)), "strace does not attach");
	test_sleep_ms(300);
	for (uint64_t i = 0; i < 100; i++) {
		send_pattern(&l, WEIR_CLIENT, i * 4000, 4000);
		expect_pattern(&l, WEIR_CLIENT, i * 4000, 4000);
		send_pattern(&l, WEIR_BACKEND, i * 20000, 20000);
		expect_pattern(&l, WEIR_BACKEND, i * 20000, 20000);
	}
	send_fin(&l, WEIR_CLIENT);
	expect_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_BACKEND);
	CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && !WEXITSTATUS(status),
	      "the relay's process failed");
	waitpid(tracer, &status, 0);
	f = fopen(path, "r");
	CHECK(f, "%s: %s", path, strerror(errno));
	unlink(path);
	while (fgets(line, sizeof(line), f)) {
		static const char *const moving[] = { "recv",	"send",	 "read",  "write",
						      "splice", "pread", "pwrite" };

		calls++;
		for (size_t i = 0; i < WEIR_ARRAY_SIZE(moving); i++) {
			const char *call = strstr(line, moving[i]);

			CHECK(!call || !strchr(call, '('), "the proxy moved bytes: %s", line);
		}
	}
	fclose(f);
	CHECK(calls, "strace saw nothing");
	printf("# %u system calls for 2.4 MB in 200 messages and two FINs\n", calls);
	line_free(&l);
}

static void urgent_data_is_kept_in_line(void)
{
	struct line l;

	begin();
	line_open(&l, &lab);
	expect_joined(2);
	send_pattern(&l, WEIR_CLIENT, 0, 100);
	expect_pattern(&l, WEIR_CLIENT, 0, 100);
	CHECK_EQ(send(l.peer[WEIR_CLIENT], &(uint8_t){ pattern(0, WEIR_CLIENT, 100) }, 1, MSG_OOB),
		 1);
	send_pattern(&l, WEIR_CLIENT, 101, 100);
	expect_pattern(&l, WEIR_CLIENT, 100, 101);
	send_fin(&l, WEIR_CLIENT);
	send_fin(&l, WEIR_BACKEND);
	expect_fin(&l, WEIR_CLIENT);
	expect_done(&l, 201, 0);
	line_free(&l);
	end();
}

/* Thousands, one after the other and many at once; nothing may be left of any. */
static void nothing_is_left(void)
{
	enum { AT_ONCE = 100 };
	static struct line l[AT_ONCE];
	unsigned int files = 0;

	begin();
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < AT_ONCE; i++)
			line_open(&l[i], &lab);
		for (int i = 0; i < AT_ONCE; i++) {
			send_pattern(&l[i], WEIR_CLIENT, 0, 500);
			send_fin(&l[i], WEIR_CLIENT);
			send_fin(&l[i], WEIR_BACKEND);
		}
		for (int i = 0; i < AT_ONCE; i++) {
			expect_pattern(&l[i], WEIR_CLIENT, 0, 500);
			expect_fin(&l[i], WEIR_CLIENT);
			expect_done(&l[i], 500, 0);
			line_free(&l[i]);
		}
		expect_empty_maps();
		if (round) /* the first one opens what relays share */
			CHECK_EQ(open_files(), files);
		files = open_files();
	}
	end();
}

static const struct test tests[] = {
	{ "bytes_unread_at_join", bytes_unread_at_join },
	{ "partly_read_at_join", partly_read_at_join },
	{ "bytes_arriving_during_join", bytes_arriving_during_join },
	{ "fin_before_join", fin_before_join },
	{ "held_bytes_go_first", held_bytes_go_first },
	{ "repeated_bytes_before_new_ones", repeated_bytes_before_new_ones },
	{ "fin_behind_queued_bytes", fin_behind_queued_bytes },
	{ "bare_fin_then_other_direction", bare_fin_then_other_direction },
	{ "fin_of_both_at_once", fin_of_both_at_once },
	{ "fin_is_prompt", fin_is_prompt },
	{ "stalled_backend", stalled_backend },
	{ "stalled_client", stalled_client },
	{ "stalled_backend_small_segments", stalled_backend_small_segments },
	{ "both_stalled_one_resumes", both_stalled_one_resumes },
	{ "demotion_in_full_flow", demotion_in_full_flow },
	{ "reset_goes_on", reset_goes_on },
	{ "reset_while_stalled", reset_while_stalled },
	{ "stopped_by_its_owner", stopped_by_its_owner },
	{ "refuses_unix_sockets", refuses_unix_sockets },
	{ "refuses_mptcp", refuses_mptcp },
	{ "refuses_ktls", refuses_ktls },
	{ "refuses_when_full", refuses_when_full },
	{ "refuses_when_not_open", refuses_when_not_open },
	{ "check_says_why_not", check_says_why_not },
	{ "counts_both_ways", counts_both_ways },
	{ "works_without_privileges", works_without_privileges },
	{ "no_recv_or_send_after_join", no_recv_or_send_after_join },
	{ "urgent_data_is_kept_in_line", urgent_data_is_kept_in_line },
	{ "nothing_is_left", nothing_is_left },
};

int main(int argc, char **argv)
{
	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
