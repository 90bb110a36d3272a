/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loading BPF objects: libbpf set up once, a match written into the program's
 * stub before load, and failures turned into cause and remedy.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/match_stub.h"
#include "match/match.h"

struct bpf_object;

/* Call before opening any skeleton: library version checks, quiet logging
 * (kept for weir_load_explain), the memlock limit raised where it can be. */
void weir_load_setup(void);

/* What a program that runs @match must pass to weir_match(); NULL matches all. */
enum weir_match_kind weir_load_match_kind(const struct weir_match *match);

/* Load @obj. Every program of it that contains the match stub
 * (bpf/match_stub.bpf.h) gets @match compiled into it; NULL matches all. The section of a
 * tracing program that does is called "match.tp_btf/NAME" or "match.iter/NAME". */
int weir_load(struct bpf_object *obj, const struct weir_match *match,
	      struct weir_error *err);

/* The same, and weir_match_mask() of the programs has bit i set where @m[i] matches; @m[i]
 * NULL: never. At most WEIR_MATCH_MASK_MAX. */
int weir_load_masked(struct bpf_object *obj, const struct weir_match *match,
		     const struct weir_match *const *m, size_t n, struct weir_error *err);

/* The same with several: weir_match_call() of the programs returns 1 + the index of the
 * first of @m that matches, or 0. */
int weir_load_first(struct bpf_object *obj, const struct weir_match *const *m, size_t n,
		    struct weir_error *err);

/* The same with code of the caller's in the stub that stands in line (weir_match_inline()),
 * at most WEIR_MATCH_INSNS_MAX instructions: r1 is the packet, r0 the answer. */
struct bpf_insn;
int weir_load_code(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		   struct weir_error *err);

/* The same for an object whose programs contain the policy stub
 * (bpf/policy_stub.bpf.h): @insns are written into it, calls of enum
 * weir_policy_call resolved. */
int weir_load_policy(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		     struct weir_error *err);

/* The same for an object whose programs run a translated classic filter
 * (bpf/strict.bpf.h, match/cbpf.h), at most WEIR_MATCH_INSNS_MAX instructions; @m: as of
 * weir_load_masked(), @n_m may be 0. */
int weir_load_strict(struct bpf_object *obj, const struct bpf_insn *insns, size_t n,
		     const struct weir_match *const *m, size_t n_m, struct weir_error *err);

/* A hash of an object file's bytes, which tells one build's from another's. */
uint64_t weir_load_hash(const void *elf, size_t n);
/* bpf_prog_info.tag, a hash of the instructions; 0 where it can't be found out. */
uint64_t weir_load_tag(int prog_fd);

/* A libbpf or bpf() failure as a message: @what "load the XDP gate",
 * @code negative errno. Names a missing capability and its setcap line. */
int weir_load_explain(struct weir_error *err, int code, const char *what);
