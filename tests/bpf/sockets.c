/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets, their holders, routes and ssh sessions, on the running kernel. */
#include "dataplane/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "dataplane/caps.h"
#include "harness.h"
#include "policy/guard.h"

#define MANY 3000
#define SSH_PORT 2222
#define FILES 64 /* more than a test of sessions has open */
#define TELL "--tell-sessions"

static struct weir_error err;

/* ---- Helpers */

static struct sockaddr_in6 address6(const char *text, uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	CHECK_EQ(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return a;
}

static struct sockaddr_in address4(const char *text, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	CHECK_EQ(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return a;
}

static int open_socket(int family, int type)
{
	int one = 1, fd = socket(family, type | SOCK_CLOEXEC, 0);

	CHECK(fd >= 0, "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd;
}

/* A listener on the IPv6 wildcard, which takes IPv4 too. */
static int listen_on(uint16_t port)
{
	struct sockaddr_in6 a = address6("::", port);
	int fd = open_socket(AF_INET6, SOCK_STREAM);

	CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)) && !listen(fd, 16), "listen: %s",
	      strerror(errno));
	return fd;
}

static int connect4(const char *text, uint16_t port)
{
	struct sockaddr_in a = address4(text, port);
	int fd = open_socket(AF_INET, SOCK_STREAM);

	CHECK(!connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect: %s", strerror(errno));
	return fd;
}

static int connect6(const char *text, uint16_t port, uint32_t scope)
{
	struct sockaddr_in6 a = address6(text, port);
	int fd = open_socket(AF_INET6, SOCK_STREAM);

	a.sin6_scope_id = scope;
	CHECK(!connect(fd, (struct sockaddr *)&a, sizeof(a)), "connect: %s", strerror(errno));
	return fd;
}

static struct weir_addr addr(const char *text)
{
	struct weir_addr a;

	CHECK(!weir_addr_parse(text, &a), "%s", text);
	return a;
}

static bool same(const struct weir_addr *a, const char *text)
{
	struct weir_addr b = addr(text);

	return !memcmp(a, &b, sizeof(b));
}

static uint16_t local_port(int fd)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	CHECK(!getsockname(fd, (struct sockaddr *)&a, &len), "getsockname");
	return ntohs(a.sin6_port); /* at the same place for IPv4 */
}

static uint32_t inode_of(int fd)
{
	struct stat st;

	CHECK(!fstat(fd, &st), "fstat");
	return (uint32_t)st.st_ino;
}

/* The one socket of @fd's inode in the list. */
static struct weir_socket find_socket(uint8_t proto, uint32_t states, int fd)
{
	weir_autofree struct weir_socket *v = NULL;
	struct weir_socket ret = { 0 };
	size_t n = 0, found = 0;

	CHECK_OK(weir_sockets_list(proto, states, &v, &n, &err));
	for (size_t i = 0; i < n; i++)
		if (v[i].inode == inode_of(fd)) {
			ret = v[i];
			found++;
		}
	CHECK_EQ(found, 1);
	return ret;
}

/* ---- Lists */

static void tcp(void)
{
	int server = listen_on(7000), four = connect4("127.0.0.1", 7000);
	int six = connect6("::1", 7000, 0), mapped = accept(server, NULL, NULL);
	struct weir_socket s = find_socket(IPPROTO_TCP, 0, server);
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0;

	CHECK_EQ(s.state, TCP_LISTEN);
	CHECK_EQ(s.local_port, 7000);
	s = find_socket(IPPROTO_TCP, 1U << TCP_ESTABLISHED, four);
	CHECK(same(&s.local, "127.0.0.1") && same(&s.remote, "127.0.0.1"), "not 127.0.0.1");
	CHECK_EQ(s.remote_port, 7000);
	CHECK_EQ(s.local_port, local_port(four));
	CHECK_EQ(s.state, TCP_ESTABLISHED);
	CHECK(s.cookie && !s.pid && !s.ifindex, "cookie, pid or interface");
	/* The other end is a socket of IPv6 with a mapped address: the same to us. */
	s = find_socket(IPPROTO_TCP, 1U << TCP_ESTABLISHED, mapped);
	CHECK(same(&s.remote, "127.0.0.1") && weir_addr_is_v4(&s.local), "not mapped");
	CHECK_EQ(s.remote_port, local_port(four));
	s = find_socket(IPPROTO_TCP, 1U << TCP_ESTABLISHED, six);
	CHECK(same(&s.remote, "::1"), "not ::1");
	/* States select. */
	CHECK_OK(weir_sockets_list(IPPROTO_TCP, 1U << TCP_LISTEN, &v, &n, &err));
	CHECK_EQ(n, 1);
}

static void udp(void)
{
	struct sockaddr_in a = address4("127.0.0.1", 53);
	int open = open_socket(AF_INET, SOCK_DGRAM), connected = open_socket(AF_INET, SOCK_DGRAM);
	struct weir_socket s;

	CHECK(!bind(open, (struct sockaddr *)&a, sizeof(a)), "bind");
	CHECK(!connect(connected, (struct sockaddr *)&a, sizeof(a)), "connect");
	s = find_socket(IPPROTO_UDP, 0, open);
	CHECK_EQ(s.local_port, 53);
	CHECK(s.state != TCP_ESTABLISHED, "not connected, and yet established");
	s = find_socket(IPPROTO_UDP, 1U << TCP_ESTABLISHED, connected);
	CHECK_EQ(s.remote_port, 53);
	CHECK_EQ(s.proto, IPPROTO_UDP);
}

/* More than one message can hold. */
static void many(void)
{
	struct rlimit files = { MANY + 100, MANY + 100 };
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0, found = 0;
	uint32_t last = 0;

	if (setrlimit(RLIMIT_NOFILE, &files))
		SKIP("cannot open %d files: %s", MANY, strerror(errno));
	for (int i = 0; i < MANY; i++) {
		struct sockaddr_in6 a = address6("::1", (uint16_t)(10000 + i));
		int fd = open_socket(AF_INET6, SOCK_DGRAM);

		CHECK(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind: %s", strerror(errno));
		last = inode_of(fd);
	}
	CHECK_OK(weir_sockets_list(IPPROTO_UDP, 0, &v, &n, &err));
	CHECK_EQ(n, MANY);
	for (size_t i = 0; i < n; i++)
		found += v[i].inode == last;
	CHECK_EQ(found, 1);
}

/* ---- Routes */

static void routes(void)
{
	struct veth v = test_veth();
	struct weir_addr four = addr("192.0.2.9"), own = addr("192.0.2.1"),
			 six = addr("2001:db8::9");
	struct weir_addr own6 = addr("2001:db8::1"), nowhere = addr("203.0.113.1");
	struct weir_addr other = addr("198.51.100.7"), loopback = addr("127.0.0.9");
	int ifindex = (int)if_nametoindex(v.a);

	CHECK_EQ(weir_route_to(&nowhere, NULL), -ENETUNREACH);
	test_run("ip addr add 192.0.2.1/24 dev %s && ip -6 addr add 2001:db8::1/64 dev %s nodad",
		 v.a, v.a);
	CHECK_EQ(weir_route_to(&four, NULL), ifindex);
	CHECK_EQ(weir_route_to(&four, &own), ifindex);
	CHECK_EQ(weir_route_to(&six, &own6), ifindex);
	/* To an address of this host, whichever way; IPv6's is there a moment later. */
	CHECK_EQ(weir_route_to(&own, &own), if_nametoindex("lo"));
	CHECK(EVENTUALLY(weir_route_to(&own6, NULL) == (int)if_nametoindex("lo")), "not by lo");
	CHECK_EQ(weir_route_to(&loopback, NULL), if_nametoindex("lo"));
	/* From an address that is not ours: as from any. */
	CHECK_EQ(weir_route_to(&four, &other), ifindex);
	CHECK_EQ(weir_route_to(&four, &own6), -EAFNOSUPPORT);
	/* A rule on the source decides. */
	test_run("ip addr add 198.51.100.7/32 dev lo && ip route add default via 192.0.2.9 && "
		 "ip rule add from 198.51.100.7 lookup 77 && ip route add default dev %s table 77",
		 v.b);
	CHECK_EQ(weir_route_to(&nowhere, &own), ifindex);
	CHECK_EQ(weir_route_to(&nowhere, &other), if_nametoindex(v.b));
}

/* ---- Sessions */

/* A process called @comm that takes one connection on @server and keeps it, as a
 * child of the listener does. Returns when it has. */
static pid_t serve(const char *comm, int server)
{
	int ready[2];
	pid_t pid;
	char c;

	CHECK(!pipe(ready), "pipe");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int fd = accept(server, NULL, NULL);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_NAME, comm);
		/* The other end, if it is ours, must not become this process's. */
		for (int i = 3; i < FILES; i++)
			if (i != fd && i != ready[1])
				close(i);
		if (fd < 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	CHECK(pid > 0 && read(ready[0], &c, 1) == 1, "no %s", comm);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static size_t sessions(struct weir_guard_session *first)
{
	weir_autofree struct weir_guard_session *v = NULL;
	size_t n = 0;

	CHECK_OK(weir_guard_sessions(&v, &n, &err));
	if (n && first)
		*first = v[0];
	return n;
}

static void session_names(void)
{
	static const struct {
		const char *comm;
		size_t sessions;
	} cases[] = { { "sshd", 1 }, { "sshd-session", 1 }, { "nginx", 0 }, { "sshd2", 0 } };
	int server = listen_on(SSH_PORT);

	CHECK_EQ(sessions(NULL), 0);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(cases); i++) {
		int client = connect4("127.0.0.1", SSH_PORT);
		pid_t pid = serve(cases[i].comm, server);
		struct weir_guard_session s;

		CHECK(sessions(&s) == cases[i].sessions, "%s: not %zu sessions", cases[i].comm,
		      cases[i].sessions);
		if (cases[i].sessions) {
			CHECK_EQ(s.pid, pid);
			CHECK_EQ(s.local_port, SSH_PORT);
			CHECK_EQ(s.remote_port, local_port(client));
			CHECK_EQ(s.ifindex, if_nametoindex("lo"));
			CHECK(same(&s.remote, "127.0.0.1"), "not from 127.0.0.1");
		}
		end_process(pid);
		close(client);
	}
	CHECK_EQ(sessions(NULL), 0);
}

/* The other end lives in another namespace, behind a veth: by IPv4, IPv6 and
 * link-local addresses, whose interface the socket tells. */
static void session_interfaces(void)
{
	static const char *const from[] = { "192.0.2.2", "2001:db8::2", "fe80::2" };
	static const char *const to[] = { "192.0.2.1", "2001:db8::1", "fe80::1" };
	struct veth v = test_veth();
	int server = listen_on(SSH_PORT), ready[2];
	pid_t peer;
	char c;

	test_run("ip addr add 192.0.2.1/24 dev %s && ip -6 addr add 2001:db8::1/64 dev %s nodad && "
		 "ip -6 addr add fe80::1/64 dev %s nodad",
		 v.a, v.a, v.a);
	CHECK(!pipe(ready), "pipe");
	fflush(stdout);
	peer = fork();
	if (!peer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(!unshare(CLONE_NEWNET) && write(ready[1], "x", 1) == 1, "unshare");
		CHECK(EVENTUALLY(if_nametoindex(v.b)), "no %s", v.b);
		test_run("ip link set %s up && ip addr add 192.0.2.2/24 dev %s && "
			 "ip -6 addr add 2001:db8::2/64 dev %s nodad && "
			 "ip -6 addr add fe80::2/64 dev %s nodad",
			 v.b, v.b, v.b, v.b);
		connect4(to[0], SSH_PORT);
		for (int i = 1; i < 3; i++) {
			int fd = connect6(to[i], SSH_PORT, if_nametoindex(v.b));

			CHECK(fd >= 0, "connect");
		}
		pause();
	}
	CHECK(peer > 0 && read(ready[0], &c, 1) == 1, "no peer");
	test_run("ip link set %s netns %d", v.b, peer);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(to); i++) {
		pid_t pid = serve("sshd-session", server);
		struct weir_guard_session s;

		CHECK(sessions(&s) == 1, "%s: no session", to[i]);
		CHECK_EQ(s.ifindex, if_nametoindex(v.a));
		/* IPv6 may choose another of its addresses. */
		CHECK(i == 1 || same(&s.remote, from[i]), "not from %s", from[i]);
		CHECK(same(&s.local, to[i]), "not to %s", to[i]);
		end_process(pid);
	}
	end_process(peer);
}

static void without_rights(void)
{
	int server = listen_on(SSH_PORT), client = connect4("127.0.0.1", SSH_PORT);
	pid_t pid = serve("sshd", server);
	weir_autofree struct weir_guard_session *v = NULL;
	size_t n;

	CHECK(!weir_caps_drop(WEIR_CAP_NET_ADMIN | WEIR_CAP_BPF), "drop");
	CHECK_EQ(weir_guard_sessions(&v, &n, &err), -EPERM);
	CHECK(strstr(err.msg, "CAP_SYS_PTRACE"), "message: %s", err.msg);
	end_process(pid);
	close(client);
}

/* ---- Who asks does not matter: it is the holder that is looked for, whatever the
 * environment of the command says. The question is put by this program, run by su,
 * sudo, tmux, or at the far end of ssh itself. */

static char own_path[256];

static int tell_sessions(const char *file)
{
	weir_autofree struct weir_guard_session *v = NULL;
	char fresh[300];
	size_t n = 0;
	FILE *f;

	snprintf(fresh, sizeof(fresh), "%s.new", file);
	f = fopen(fresh, "w");
	if (!f)
		return 1;
	if (weir_guard_sessions(&v, &n, &err))
		fprintf(f, "%s\n", err.msg);
	else
		fprintf(f, "sessions %zu\n", n);
	return fclose(f) || rename(fresh, file);
}

static bool has_line(const char *file, const char *text)
{
	weir_autofclose FILE *f = fopen(file, "r");
	char line[256] = "";

	return f && fgets(line, sizeof(line), f) && !strncmp(line, text, strlen(text));
}

static void make_dir(char dir[32])
{
	snprintf(dir, 32, "/tmp/weir-test.XXXXXX");
	CHECK(mkdtemp(dir), "mkdtemp: %s", strerror(errno));
	snprintf(own_path, sizeof(own_path), "/proc/%d/exe", getpid());
}

/* @before and @after make a command of the question that @tool runs. */
static void asked_from(const char *tool, const char *before, const char *after)
{
	int server = listen_on(SSH_PORT), client = connect4("127.0.0.1", SSH_PORT);
	pid_t pid = serve("sshd", server);
	char dir[32], file[64], command[512];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", tool);
	if (system(command))
		SKIP("%s is not installed", tool);
	make_dir(dir);
	snprintf(file, sizeof(file), "%s/told", dir);
	snprintf(command, sizeof(command), "%senv -i %s " TELL " %s%s", before, own_path, file,
		 after);
	setenv("TMUX_TMPDIR", dir, true);
	unsetenv("TMUX");
	CHECK(system(command) == 0, "`%s` failed", command);
	CHECK(EVENTUALLY(access(file, F_OK) == 0) && has_line(file, "sessions 1\n"),
	      "`%s` saw no session", command);
	end_process(pid);
	close(client);
	test_run("rm -r %s", dir);
}

static void under_su(void)
{
	asked_from("su", "su root -c '", "'");
}

static void under_sudo(void)
{
	asked_from("sudo", "sudo -n ", "");
}

static void under_setsid(void)
{
	asked_from("setsid", "setsid -f setsid -f ", "");
}

static void under_tmux(void)
{
	asked_from("tmux", "tmux -f /dev/null new-session -d '", "'");
}

static bool listens(void)
{
	weir_autofree struct weir_socket *v = NULL;
	size_t n = 0;

	CHECK_OK(weir_sockets_list(IPPROTO_TCP, 1U << TCP_LISTEN, &v, &n, &err));
	return n > 0;
}

/* OpenSSH itself: the holder is what the server makes it, and the question comes
 * from inside the session. */
static void openssh(void)
{
	static const char *const options =
		"-o UsePAM=no -o StrictModes=no -o PermitRootLogin=yes -o LogLevel=ERROR";
	char dir[32], file[64];
	pid_t pid;

	if (access("/usr/sbin/sshd", X_OK) || !getpwnam("sshd"))
		SKIP("openssh-server is not installed");
	make_dir(dir);
	snprintf(file, sizeof(file), "%s/told", dir);
	test_run("mount -t tmpfs run /run && mkdir /run/sshd && cd %s && "
		 "ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f me",
		 dir);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		char command[512];

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		snprintf(command, sizeof(command),
			 "exec /usr/sbin/sshd -D -e -f /dev/null -p %d -h %s/host -o PidFile=none "
			 "-o AuthorizedKeysFile=%s/me.pub %s",
			 SSH_PORT, dir, dir, options);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	CHECK(EVENTUALLY(listens() || waitpid(pid, NULL, WNOHANG)) && listens(),
	      "sshd did not start");
	CHECK_EQ(sessions(NULL), 0); /* it listens, that is all */
	test_run("timeout 45 ssh -n -F /dev/null -i %s/me -p %d -o BatchMode=yes "
		 "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
		 "root@127.0.0.1 'setsid env -i %s " TELL " %s'",
		 dir, SSH_PORT, own_path, file);
	CHECK(EVENTUALLY(access(file, F_OK) == 0) && has_line(file, "sessions 1\n"),
	      "the session was not seen from inside");
	end_process(pid);
	CHECK(EVENTUALLY(sessions(NULL) == 0), "sessions remain");
	test_run("rm -r %s", dir);
}

static const struct test tests[] = {
	{ "tcp", tcp },
	{ "udp", udp },
	{ "many", many },
	{ "routes", routes },
	{ "session_names", session_names },
	{ "session_interfaces", session_interfaces },
	{ "without_rights", without_rights },
	{ "under_su", under_su },
	{ "under_sudo", under_sudo },
	{ "under_setsid", under_setsid },
	{ "under_tmux", under_tmux },
	{ "openssh", openssh },
};

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], TELL))
		return tell_sessions(argv[2]);
	return test_main(tests, WEIR_ARRAY_SIZE(tests), argc, argv);
}
