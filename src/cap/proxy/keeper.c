/* SPDX-License-Identifier: GPL-2.0-only */
/* The proxy's side of the keeper: its start, what it is asked, and becoming nobody. */
#include "cap/proxy/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cap/proxy/keeper_impl.h"
#include "dataplane/caps.h"

#define ANSWER_MS 60000 /* that a request may take: a policy is loaded within seconds */
#define END_MS 10000	/* that cleaning up may take before the proxy ends without it */
#define POLL_MS 10

/* The descriptors of the keeper, besides the standard ones. */
#define KEEPER_FD 3
#define LOCK_FD 4
#define HIGH_FD 16

#define BIT(cap) (1ULL << (cap))
/* Ports, BPF, XDP, any file that the configuration names, the sockets of sshd. */
#define KEEPER_CAPS                                                                         \
	(BIT(CAP_DAC_OVERRIDE) | BIT(CAP_DAC_READ_SEARCH) | BIT(CAP_NET_BIND_SERVICE) |     \
	 BIT(CAP_NET_ADMIN) | BIT(CAP_NET_RAW) | BIT(CAP_SYS_PTRACE) | BIT(CAP_SYS_ADMIN) | \
	 WEIR_CAP_PERFMON | WEIR_CAP_BPF)

/* ---- Its start and its end */

/* Ctrl-C, and a service manager's signal to the whole group, reach it too; it ends by
 * the end of the proxy. */
static void ignore_signals(void)
{
	static const int signals[] = { SIGHUP,	SIGINT,	 SIGQUIT, SIGTERM,
				       SIGUSR1, SIGUSR2, SIGPIPE, SIGTSTP };

	for (size_t i = 0; i < WEIR_ARRAY_SIZE(signals); i++)
		signal(signals[i], SIG_IGN);
}

/* The lock once more, and not by the proxy's own open file: what the proxy does to that one
 * later, as nobody, must not let another proxy in. */
static int share_lock(int fd)
{
	char path[32];
	int own;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	own = open(path, O_RDONLY | O_CLOEXEC);
	if (own >= 0 && !flock(own, LOCK_SH | LOCK_NB)) {
		int high = fcntl(own, F_DUPFD, HIGH_FD);

		close(own);
		return high;
	}
	if (own >= 0)
		close(own);
	return fcntl(fd, F_DUPFD, HIGH_FD); /* without /proc */
}

static _Noreturn void be_keeper(int fd, int lock_fd, const struct weir_proxy_flags *f,
				struct weir_proxy_config *cfg)
{
	/* Out of the way of the two places. */
	const int own = fcntl(fd, F_DUPFD, HIGH_FD), lock = lock_fd < 0 ? -1 : share_lock(lock_fd);
	sigset_t none;

	prctl(PR_SET_NAME, "weir-keeper");
	ignore_signals();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Nothing of the proxy's: neither the other end of this socket, which would
	 * never close then, nor listening sockets. */
	if (own < 0 || dup2(own, KEEPER_FD) < 0 || (lock >= 0 && dup2(lock, LOCK_FD) < 0) ||
	    close_range(lock < 0 ? LOCK_FD : LOCK_FD + 1, ~0U, 0))
		_exit(1);
	if (geteuid() == 0 && weir_caps_drop(KEEPER_CAPS))
		_exit(1);
	weir_keeper_serve(KEEPER_FD, f, cfg);
	_exit(0);
}

int weir_keeper_start(struct weir_keeper *k, const struct weir_proxy_flags *f,
		      struct weir_proxy_config *cfg, int lock_fd, struct weir_error *err)
{
	int pair[2];

	*k = (struct weir_keeper){ .fd = -1 };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return weir_fail(err, -errno, "cannot make a socket for the keeper: %m");
	fflush(NULL);
	k->pid = fork();
	if (k->pid < 0) {
		close(pair[0]);
		close(pair[1]);
		return weir_fail(err, -errno, "cannot start the keeper: %m");
	}
	if (!k->pid)
		be_keeper(pair[1], lock_fd, f, cfg);
	close(pair[1]);
	k->fd = pair[0];
	return 0;
}

void weir_keeper_end(struct weir_keeper *k)
{
	const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

	weir_closep(&k->fd);
	k->fd = -1;
	for (int waited = 0; k->pid > 0 && waited < END_MS; waited += POLL_MS) {
		pid_t ended = waitpid(k->pid, NULL, WNOHANG);

		if (ended == k->pid || (ended < 0 && errno != EINTR))
			break;
		nanosleep(&pause, NULL);
	}
	k->pid = 0;
}

/* ---- Requests */

static int fail_gone(struct weir_error *err)
{
	return weir_fail(err, -EPIPE,
			 "the keeper, which has the privileges, has ended: restart the proxy");
}

/* The descriptor that came with a message; -1: none did. */
static int taken_fd(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fd = -1;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int receive(struct weir_keeper *k, struct weir_keeper_answer *a, int *ret_fd)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec part = { .iov_base = a, .iov_len = sizeof(*a) };
	struct msghdr m = { .msg_iov = &part,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(k->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? -EAGAIN : -EPIPE;
	*ret_fd = taken_fd(&m);
	if (n == sizeof(*a))
		return 0;
	weir_closep(ret_fd);
	*ret_fd = -1;
	return -EPIPE;
}

/* The answer to this request; one to a request that was given up is dropped. */
static int wait_answer(struct weir_keeper *k, struct weir_keeper_answer *a, int *ret_fd,
		       struct weir_error *err)
{
	uint64_t end = k->until ? k->until : weir_clock_mono() + ANSWER_MS * 1000000ULL;

	for (;;) {
		struct pollfd p = { .fd = k->fd, .events = POLLIN };
		uint64_t now = weir_clock_mono();
		int ret;

		if (now >= end)
			return weir_fail(err, -ETIMEDOUT,
					 "the keeper does not answer: try again later");
		if (poll(&p, 1, (int)((end - now) / 1000000) + 1) < 0 && errno != EINTR)
			return fail_gone(err);
		ret = receive(k, a, ret_fd);
		if (ret == -EPIPE)
			return fail_gone(err);
		if (!ret && a->number == k->asked)
			return 0;
		if (!ret)
			weir_closep(ret_fd);
		*ret_fd = -1;
	}
}

void weir_keeper_hurry(struct weir_keeper *k)
{
	k->until = weir_clock_mono() + WEIR_KEEPER_SERVING_MS * 1000000ULL;
}

/* *@ret_fd: what came with the answer, or -1. */
static int ask(struct weir_keeper *k, enum weir_keeper_op op, uint32_t arg, int *ret_fd,
	       struct weir_error *err)
{
	const struct weir_keeper_request r = { .number = ++k->asked, .op = op, .arg = arg };
	struct weir_keeper_answer a;
	int ret;

	*ret_fd = -1;
	if (k->fd < 0 || send(k->fd, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r))
		return fail_gone(err);
	ret = wait_answer(k, &a, ret_fd, err);
	if (!ret && a.code) {
		a.message[sizeof(a.message) - 1] = '\0';
		weir_closep(ret_fd);
		*ret_fd = -1;
		ret = weir_fail(err, a.code, "%s", a.message);
	}
	return ret;
}

static int ask_fd(struct weir_keeper *k, enum weir_keeper_op op, uint32_t arg,
		  struct weir_error *err)
{
	int fd, ret = ask(k, op, arg, &fd, err);

	if (ret || fd >= 0)
		return ret ? ret : fd;
	/* It came with the answer, and the kernel had no place for it here. */
	return weir_fail(err, -EMFILE,
			 "no descriptors are left: raise their limit (LimitNOFILE=, ulimit -Hn)");
}

/* The text in a memfd is appended to @ret. */
static int ask_text(struct weir_keeper *k, enum weir_keeper_op op, struct weir_buf *ret,
		    struct weir_error *err)
{
	weir_autoclose int fd = ask_fd(k, op, 0, err);
	char part[4096];
	ssize_t n;

	if (fd < 0)
		return fd;
	for (off_t at = 0; (n = pread(fd, part, sizeof(part), at)) > 0; at += n)
		weir_buf_add(ret, part, (size_t)n);
	if (n < 0)
		return weir_fail(err, -errno, "cannot read what the keeper has read: %m");
	return ret->failed ? weir_fail(err, -ENOMEM, "out of memory: free some and try again") : 0;
}

int weir_keeper_read_config(struct weir_keeper *k, struct weir_buf *ret, struct weir_error *err)
{
	return ask_text(k, WEIR_KEEPER_READ, ret, err);
}

int weir_keeper_listen(struct weir_keeper *k, size_t i, struct weir_error *err)
{
	return ask_fd(k, WEIR_KEEPER_LISTEN, (uint32_t)i, err);
}

int weir_keeper_listen_metrics(struct weir_keeper *k, struct weir_error *err)
{
	return ask_fd(k, WEIR_KEEPER_METRICS, 0, err);
}

int weir_keeper_open_log(struct weir_keeper *k, struct weir_error *err)
{
	return ask_fd(k, WEIR_KEEPER_LOG, 0, err);
}

int weir_keeper_allow(struct weir_keeper *k, struct weir_buf *notes, struct weir_error *err)
{
	return ask_text(k, WEIR_KEEPER_ALLOW, notes, err);
}

int weir_keeper_settle(struct weir_keeper *k, bool take, struct weir_error *err)
{
	int fd, ret = ask(k, WEIR_KEEPER_SETTLE, take, &fd, err);

	weir_closep(&fd);
	return ret;
}

/* ---- Becoming nobody */

static int change_user(const struct passwd *p, struct weir_error *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) || initgroups(p->pw_name, p->pw_gid) ||
	    setresgid(p->pw_gid, p->pw_gid, p->pw_gid) ||
	    setresuid(p->pw_uid, p->pw_uid, p->pw_uid))
		return weir_fail(err, -errno, "cannot become the user %s: %m", p->pw_name);
	if (p->pw_uid && setuid(0) == 0)
		return weir_fail(err, -EPERM, "the user %s can become root again: choose another",
				 p->pw_name);
	return 0;
}

/* Nobody becomes anything more by what it executes, as root either. */
static void lock_bits(void)
{
	prctl(PR_SET_SECUREBITS,
	      SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
		      SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
	      0, 0, 0);
}

int weir_keeper_drop(const char *user, bool keep_net_admin, struct weir_error *err)
{
	const uint64_t keep = keep_net_admin ? WEIR_CAP_NET_ADMIN : 0;
	const uint64_t become = BIT(CAP_SETUID) | BIT(CAP_SETGID);
	const char *name = user ? user : weir_proxy_default_user();
	const struct passwd *p;
	int ret = 0;

	errno = 0;
	p = getpwnam(name);
	if (!p)
		return weir_fail(err, errno ? -errno : -ENOENT,
				 "there is no user %s: set `user` to one that exists", name);
	if (geteuid() && p->pw_uid != geteuid() && user)
		return weir_fail(err, -EPERM, "only root can become the user %s: leave `user` out",
				 name);
	if (!geteuid()) {
		lock_bits();
		/* Of the bounding set, too, which can only be changed before the change of
		 * user: what it needs for that it has. */
		prctl(PR_CAPBSET_DROP, CAP_SETUID, 0, 0, 0);
		prctl(PR_CAPBSET_DROP, CAP_SETGID, 0, 0, 0);
	}
	if (!geteuid() && p->pw_uid) {
		/* First, while the bounding set may still be changed. */
		ret = weir_caps_drop(keep | become);
		if (ret)
			return weir_fail(err, ret, "cannot give up capabilities: %s",
					 strerror(-ret));
		ret = change_user(p, err);
	}
	if (ret)
		return ret;
	ret = weir_caps_drop(keep);
	return ret ? weir_fail(err, ret, "cannot give up capabilities: %s", strerror(-ret)) : 0;
}
