/* SPDX-License-Identifier: GPL-2.0-only */
#include "dataplane/load.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "bpf/match_stub.h"
#include "bpf/policy_stub.h"
#include "bpf/strict.h"
#include "dataplane/caps.h"
#include "dataplane/sys.h"

#ifndef BPF_F_XDP_HAS_FRAGS
#define BPF_F_XDP_HAS_FRAGS (1U << 5)
#endif

/* Instructions around a compiled match: a branch that is never taken leads to
 * the unused rest of the stub, since the verifier rejects what no path reaches
 * and removes what only a false condition reaches. */
#define STUB_PROLOGUE 2

/* Before the section's usual name, where a tracing program contains the match stub. */
#define MATCH_PREFIX "match."

/* Which stub the code is for. */
enum place { PLACE_MATCH, PLACE_POLICY, PLACE_STRICT };

/* What is being loaded; libbpf's callbacks carry no pointer of ours. Loading
 * happens on one thread at a time (load_lock). */
static struct stubs {
	const struct bpf_insn *code;
	size_t len;
	enum weir_match_kind kind;
	enum place place;
	const struct bpf_insn *mask; /* of weir_match_mask(), or NULL */
	size_t mask_len;
} current;
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;

/* The last complaint of libbpf, the most telling line when a load fails. */
static char last_line[256];

__attribute__((format(printf, 2, 0)))
static int on_libbpf_print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	va_list again;

	va_copy(again, args);
	if (level == LIBBPF_WARN) {
		vsnprintf(last_line, sizeof(last_line), fmt, args);
		last_line[strcspn(last_line, "\n")] = '\0';
	}
	/* A verifier's log may have a million characters. */
	if (weir_log_enabled() && level != LIBBPF_DEBUG)
		vfprintf(stderr, fmt, again);
	va_end(again);
	return 0;
}

/* Overwrite the stub at @at with the compiled match. In line, leaving means to
 * go on behind the stub. */
static void write_stub(struct bpf_insn *at, const struct bpf_insn *code, size_t len, bool in_line)
{
	const struct bpf_insn nop = {.code = BPF_ALU64 | BPF_MOV | BPF_X};
	const size_t end = WEIR_MATCH_STUB_INSNS - 1;

	at[0] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K};
	at[1] = (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .off = (__s16)len};
	for (size_t i = 0; i < len; i++) {
		struct bpf_insn *to = &at[STUB_PROLOGUE + i];

		*to = code[i];
		if (in_line && code[i].code == (BPF_JMP | BPF_EXIT))
			*to = (struct bpf_insn){.code = BPF_JMP | BPF_JA,
						.off = (__s16)(end - STUB_PROLOGUE - i - 1)};
	}
	for (size_t i = STUB_PROLOGUE + len; i < end; i++)
		at[i] = nop;
}

/* Overwrite the policy's place at @at, whose program begins at @start, with the
 * compiled policy. The calls behind it say where each function is. */
static void write_policy(struct bpf_insn *start, struct bpf_insn *at, const struct bpf_insn *code,
			 size_t len)
{
	const struct bpf_insn nop = {.code = BPF_ALU64 | BPF_MOV | BPF_X};
	const struct bpf_insn *calls = at + WEIR_POLICY_STUB_INSNS;
	const size_t end = WEIR_POLICY_STUB_INSNS + WEIR_POLICY_CALLS;

	at[0] = (struct bpf_insn){.code = BPF_ALU64 | BPF_MOV | BPF_K};
	at[1] = (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .off = (__s16)len};
	for (size_t i = 0; i < len; i++) {
		struct bpf_insn *to = &at[STUB_PROLOGUE + i];
		const struct bpf_insn *call = &calls[code[i].imm];

		*to = code[i];
		if (code[i].code == (BPF_JMP | BPF_EXIT))
			*to = (struct bpf_insn){.code = BPF_JMP | BPF_JA,
						.off = (__s16)(end - STUB_PROLOGUE - i - 1)};
		else if (code[i].code == (BPF_JMP | BPF_CALL) &&
			 code[i].src_reg == BPF_PSEUDO_CALL)
			to->imm = (__s32)((call - start) + call->imm - (to - start));
	}
	for (size_t i = STUB_PROLOGUE + len; i < WEIR_POLICY_STUB_INSNS; i++)
		at[i] = nop;
}

/* Where the policy's place begins in @n instructions, or NULL. */
static struct bpf_insn *find_policy(struct bpf_insn *insns, size_t n)
{
	for (size_t i = 0; i + WEIR_POLICY_STUB_INSNS + WEIR_POLICY_CALLS <= n; i++)
		if (insns[i].code == (BPF_ALU64 | BPF_MOV | BPF_K) &&
		    insns[i].imm == WEIR_POLICY_STUB_MAGIC)
			return &insns[i];
	return NULL;
}

/* Write @current.code into every match stub of the @n instructions. */
static bool write_stubs(struct bpf_insn *copy, size_t n)
{
	bool found = false;

	for (size_t i = 0; i + WEIR_MATCH_STUB_INSNS <= n; i++) {
		bool in_line = copy[i].imm == WEIR_MATCH_INLINE_MAGIC;

		if (copy[i].code != (BPF_ALU64 | BPF_MOV | BPF_K) ||
		    (!in_line && copy[i].imm != WEIR_MATCH_STUB_MAGIC))
			continue;
		if (!in_line || current.kind != WEIR_MATCH_CALL)
			write_stub(copy + i, current.code, current.len, in_line);
		found = true;
	}
	return found;
}

static void write_mask(struct bpf_insn *copy, size_t n)
{
	for (size_t i = 0; i + WEIR_MATCH_STUB_INSNS <= n; i++)
		if (copy[i].code == (BPF_ALU64 | BPF_MOV | BPF_K) &&
		    copy[i].imm == WEIR_MATCH_MASK_MAGIC)
			write_stub(copy + i, current.mask, current.mask_len, false);
}

/* Write @current.code into the place of a translated filter; the call behind it says where
 * weir_strict_load() is. */
static bool write_strict(struct bpf_insn *start, size_t n)
{
	const size_t call = WEIR_MATCH_STUB_INSNS; /* from the stub's beginning */

	for (struct bpf_insn *at = start; at + call < start + n; at++) {
		const int32_t target = at[call].imm;

		if (at->code != (BPF_ALU64 | BPF_MOV | BPF_K) || at->imm != WEIR_STRICT_STUB_MAGIC)
			continue;
		write_stub(at, current.code, current.len, false);
		for (size_t i = 0; i < current.len; i++) {
			struct bpf_insn *to = &at[STUB_PROLOGUE + i];

			if (to->code == (BPF_JMP | BPF_CALL) && to->src_reg == BPF_PSEUDO_CALL)
				to->imm = (int32_t)(call - STUB_PROLOGUE - i) + target;
		}
		return true;
	}
	return false;
}

static int on_prepare_load(struct bpf_program *prog, struct bpf_prog_load_opts *opts, long cookie)
{
	size_t n = bpf_program__insn_cnt(prog);
	const struct bpf_insn *insns = bpf_program__insns(prog);
	weir_autofree struct bpf_insn *copy = NULL;
	struct bpf_insn *place;

	opts->prog_flags |= (__u32)cookie;
	if (!current.code)
		return 0;
	copy = malloc(n * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, insns, n * sizeof(*copy));
	if (current.mask)
		write_mask(copy, n);
	if (current.place == PLACE_MATCH)
		return write_stubs(copy, n) ? bpf_program__set_insns(prog, copy, n) : 0;
	if (current.place == PLACE_STRICT)
		return write_strict(copy, n) ? bpf_program__set_insns(prog, copy, n) : 0;
	place = find_policy(copy, n);
	if (!place)
		return 0;
	write_policy(copy, place, current.code, current.len);
	return bpf_program__set_insns(prog, copy, n);
}

static void register_section(const char *sec, enum bpf_prog_type type, enum bpf_attach_type attach,
			     long flags)
{
	LIBBPF_OPTS(libbpf_prog_handler_opts, opts, .cookie = flags,
		    .prog_prepare_load_fn = on_prepare_load);

	if (libbpf_register_prog_handler(sec, type, attach, &opts) < 0)
		weir_debug("cannot register the section %s", sec);
}

static void setup_once(void)
{
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	libbpf_set_strict_mode(LIBBPF_STRICT_ALL & ~LIBBPF_STRICT_AUTO_RLIMIT_MEMLOCK);
	libbpf_set_print(on_libbpf_print);
	/* Kernels before 5.11 charge maps to this limit; failing to raise it
	 * (root without CAP_SYS_RESOURCE) matters to none that weir supports. */
	if (setrlimit(RLIMIT_MEMLOCK, &unlimited))
		weir_debug("RLIMIT_MEMLOCK stays as it is");
	register_section("xdp.frags", BPF_PROG_TYPE_XDP, 0, BPF_F_XDP_HAS_FRAGS);
	register_section("sockops", BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS, 0);
	register_section("tcx+", BPF_PROG_TYPE_SCHED_CLS, 0, 0);
	register_section("socket", BPF_PROG_TYPE_SOCKET_FILTER, 0, 0);
	/* As libbpf's own sections, with a place for a match: see set_targets(). */
	register_section(MATCH_PREFIX "tp_btf+", BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP, 0);
	register_section(MATCH_PREFIX "iter+", BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, 0);
	register_section("netfilter", (enum bpf_prog_type)WEIR_BPF_PROG_NETFILTER,
			 (enum bpf_attach_type)WEIR_BPF_NETFILTER, 0);
}

void weir_load_setup(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, setup_once);
}

/* Large address lists live in tries; the key is the parsed packet's address. */
static int fill_set(const struct weir_match *match, size_t i, struct weir_error *err)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
	struct {
		__u32 len;
		__u8 addr[16];
	} key;
	const struct weir_prefix *list;
	size_t n = weir_match_set(match, i, &list);
	__u8 one = 1;
	weir_autoclose int fd = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "weir_match_set", sizeof(key),
					       sizeof(one), (__u32)n, &opts);

	if (fd < 0)
		return weir_load_explain(err, -errno, "create an address set");
	for (size_t j = 0; j < n; j++) {
		key.len = list[j].len;
		memcpy(key.addr, list[j].addr.b, sizeof(key.addr));
		if (bpf_map_update_elem(fd, &key, &one, BPF_ANY))
			return weir_load_explain(err, -errno, "fill an address set");
	}
	return WEIR_TAKE_FD(fd);
}

struct sets { /* descriptors of the sets of several matches, one's behind the other's */
	int *fds;
	size_t n;
};

/* The loaded programs hold the maps. */
static void close_sets(struct sets *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->fds[i]);
	free(s->fds);
}

/* @m[i] may be NULL. */
static int fill_sets(const struct weir_match *const *m, size_t n, struct sets *ret,
		     struct weir_error *err)
{
	size_t room = 0;

	for (size_t i = 0; i < n; i++)
		room += m[i] ? weir_match_sets(m[i]) : 0;
	ret->fds = calloc(room + 1, sizeof(*ret->fds));
	if (!ret->fds)
		return weir_fail(err, -ENOMEM, "out of memory: free some and try again");
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; m[i] && k < weir_match_sets(m[i]); k++) {
			int fd = fill_set(m[i], k, err);

			if (fd < 0)
				return fd;
			ret->fds[ret->n++] = fd;
		}
	return 0;
}

enum weir_match_kind weir_load_match_kind(const struct weir_match *match)
{
	if (!match || weir_match_is_all(match))
		return WEIR_MATCH_ALL;
	return weir_match_sets(match) ? WEIR_MATCH_CALL : WEIR_MATCH_INLINE;
}

/* libbpf finds what tracing programs attach to only for sections of its own. */
static int set_targets(struct bpf_object *obj, struct weir_error *err)
{
	struct bpf_program *prog;

	bpf_object__for_each_program(prog, obj) {
		const char *sec = bpf_program__section_name(prog), *target = strchr(sec, '/');
		int ret;

		if (!target || strncmp(sec, MATCH_PREFIX, sizeof(MATCH_PREFIX) - 1) != 0 ||
		    !bpf_program__autoload(prog))
			continue;
		ret = bpf_program__set_attach_target(prog, 0, target + 1);
		if (ret)
			return weir_fail(err, ret, "this kernel has no %s: see `weir doctor`",
					 target + 1);
	}
	return 0;
}

/* Load with what @what says in the stubs. */
static int load_with(struct bpf_object *obj, const struct stubs *what, struct weir_error *err)
{
	int ret;

	pthread_mutex_lock(&load_lock);
	current = *what;
	last_line[0] = '\0';
	ret = bpf_object__load(obj);
	memset(&current, 0, sizeof(current));
	pthread_mutex_unlock(&load_lock);
	return ret ? weir_load_explain(err, ret, "load the programs") : 0;
}

static int load_match(struct bpf_object *obj, const struct weir_match *match, struct stubs *what,
		      struct weir_error *err)
{
	static const struct bpf_insn all[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	weir_cleanup(close_sets) struct sets sets = { 0 };
	weir_autofree struct bpf_insn *code = NULL;
	size_t len = 0;
	int ret = fill_sets(&match, 1, &sets, err);

	if (!ret)
		ret = set_targets(obj, err);
	if (!ret && match && !weir_match_is_all(match))
		ret = weir_match_codegen(match, sets.fds, &code, &len, err);
	if (!ret && len > WEIR_MATCH_INSNS_MAX)
		ret = -E2BIG;
	/* "Everything" is written too: the stub itself is 4096 instructions. */
	what->code = code ? code : all;
	what->len = code ? len : WEIR_ARRAY_SIZE(all);
	what->kind = weir_load_match_kind(match);
	if (!ret)
		ret = load_with(obj, what, err);
	if (ret == -E2BIG && match)
		weir_fail(err, ret, "the match is too large for the kernel: shorten it, or use "
				    "--filter-at user");
	return ret;
}

int weir_load(struct bpf_object *obj, const struct weir_match *match, struct weir_error *err)
{
	return load_match(obj, match, &(struct stubs){ 0 }, err);
}

/* The code of the mask into @what, @ret_code to be freed. */
static int make_mask(const struct weir_match *const *m, size_t n, struct sets *sets,
		     struct bpf_insn **ret_code, struct stubs *what, struct weir_error *err)
{
	int ret = n ? fill_sets(m, n, sets, err) : 0;

	if (n && !ret)
		ret = weir_match_codegen_mask(m, n, sets->fds, ret_code, &what->mask_len, err);
	what->mask = *ret_code;
	return ret;
}

int weir_load_masked(struct bpf_object *obj, const struct weir_match *match,
		     const struct weir_match *const *m, size_t n, struct weir_error *err)
{
	weir_cleanup(close_sets) struct sets sets = { 0 };
	weir_autofree struct bpf_insn *mask = NULL;
	struct stubs what = { 0 };
	int ret = make_mask(m, n, &sets, &mask, &what, err);

	return ret ? ret : load_match(obj, match, &what, err);
}

int weir_load_first(struct bpf_object *obj, const struct weir_match *const *m, size_t n,
		    struct weir_error *err)
{
	weir_cleanup(close_sets) struct sets sets = { 0 };
	struct stubs what = { .kind = WEIR_MATCH_CALL };
	weir_autofree struct bpf_insn *code = NULL;
	int ret = fill_sets(m, n, &sets, err);

	if (!ret)
		ret = weir_match_codegen_first(m, n, sets.fds, &code, &what.len, err);
	what.code = code;
	return ret ? ret : load_with(obj, &what, err);
}

int weir_load_code(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		   struct weir_error *err)
{
	int ret = n > WEIR_MATCH_INSNS_MAX ?
			  -E2BIG :
			  load_with(obj,
				    &(struct stubs){ .code = insns,
						     .len = n,
						     .kind = WEIR_MATCH_INLINE },
				    err);

	if (ret == -E2BIG || ret == -EFAULT)
		return weir_fail(err, ret, "the rules are too large for the kernel: have fewer of "
					   "them, or shorter matches");
	return ret;
}

int weir_load_policy(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		     struct weir_error *err)
{
	int ret = n > WEIR_POLICY_INSNS_MAX ?
			  -E2BIG :
			  load_with(obj,
				    &(struct stubs){
					    .code = insns, .len = n, .place = PLACE_POLICY },
				    err);

	/* So do the verifier's bounds: on what it looks at, and, by another code, on branches. */
	if (ret == -E2BIG || ret == -EFAULT)
		return weir_fail(err, ret, "the policy is too large for the kernel: put addresses "
					   "into sets, ports into lists");
	return ret;
}

int weir_load_strict(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		     const struct weir_match *const *m, size_t n_m, struct weir_error *err)
{
	struct stubs what = { .code = insns, .len = n, .place = PLACE_STRICT };
	weir_cleanup(close_sets) struct sets sets = { 0 };
	weir_autofree struct bpf_insn *mask = NULL;
	int ret = make_mask(m, n_m, &sets, &mask, &what, err);

	return ret ? ret : load_with(obj, &what, err);
}

int weir_load_explain(struct weir_error *err, int code, const char *what)
{
	static const struct {
		int code;
		const char *text;
	} remedies[] = {
		{ -EACCES,
		  "the verifier refused the program: run again with WEIR_DEBUG=1 and report "
		  "the log" },
		{ -EINVAL, "this kernel does not know the program or map type: see `weir doctor`" },
		{ -ENOMEM, "free some memory, or ask for less of it: smaller buffers, tables or "
			   "sets" },
		{ -E2BIG, "too large for this kernel: ask for less" },
		{ -ENODEV, "the interface is gone: check `ip link`" },
		{ -EBUSY, "something else is attached there: see `bpftool net`" },
		{ -EOPNOTSUPP, "the device or kernel does not support it: see `weir doctor`" },
	};
	int missing;

	if (code == -EPERM || code == -EACCES) {
		missing = weir_caps_need(WEIR_CAP_BPF | WEIR_CAP_NET_ADMIN | WEIR_CAP_PERFMON,
					 what, err);
		if (missing)
			return missing;
	}
	if (last_line[0])
		weir_debug("%s", last_line);
	for (size_t i = 0; i < WEIR_ARRAY_SIZE(remedies); i++)
		if (remedies[i].code == code)
			return weir_fail(err, code, "cannot %s (%s): %s", what, strerror(-code),
					 remedies[i].text);
	return weir_fail(err, code, "cannot %s: %s: see `weir doctor`", what, strerror(-code));
}

uint64_t weir_load_hash(const void *elf, size_t n)
{
	const uint8_t *p = elf;
	uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3ULL;
	return h;
}

uint64_t weir_load_tag(int prog_fd)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	uint64_t tag = 0;

	_Static_assert(sizeof(tag) == BPF_TAG_SIZE, "a tag is a number");
	if (prog_fd >= 0 && !bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		memcpy(&tag, info.tag, sizeof(tag));
	return tag;
}
