/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the engine share. From the bottom up:
 *
 *	engine_state.c	what is pinned, and what a killed command left of it
 *	engine_plan.c	what a policy is given before it enters force: rows, ids, expiry
 *	generation.c	a policy's programs and maps
 *	engine_attach.c	gates, links, slots
 *	engine_learn.c	what learns replies
 *	engine_test.c	test runs
 *	engine_guard.c	the lock-out guard over the sessions
 *	engine_switch.c	from one generation to the next, confirm, way back
 *	engine_change.c	the protocol of a change
 *	engine_set.c	sets in place
 *	engine.c	open, close, tell
 */
#pragma once

#include <bpf/libbpf.h>
#include <net/if.h>

#include "dataplane/gate.h"
#include "policy/compile.h"
#include "policy/engine.h"

#define WEIR_PIN_NAME_MAX 64

/* Tests set it to die at any step of a change; NULL otherwise. */
extern void (*weir_engine_step)(const char *what);
static inline void weir_step(const char *what)
{
	if (weir_engine_step)
		weir_engine_step(what);
}

/* ---- engine_state.c */

/* "g7_xdp" */
const char *weir_pin_generation(char name[WEIR_PIN_NAME_MAX], uint32_t number, const char *what);
const char *weir_pin_set(char name[WEIR_PIN_NAME_MAX], uint32_t number);
void weir_filter_unpin(const struct weir_filter *f, const char *name);

int weir_state_open(struct weir_filter *f, struct weir_error *err);
int weir_state_write(struct weir_filter *f, struct weir_error *err);
/* Pin it, the first time. */
int weir_state_pin(struct weir_filter *f, struct weir_error *err);
/* Write `meta` where it is missing or another ABI's. */
int weir_state_sign(struct weir_filter *f, struct weir_error *err);
/* The places of generation @number, or NULL; with @make an unused entry gets it. */
struct weir_filter_places *weir_state_places(struct weir_filter *f, uint32_t number, bool make);
/* Is @number one that stays? */
bool weir_state_keeps(const struct weir_filter *f, uint32_t number);
/* Remove everything in the directory, links first. */
void weir_state_wipe(const struct weir_filter *f);
/* Is anything of the filter pinned beside state and meta? */
bool weir_state_is_bare(const struct weir_filter *f);

int weir_text_put(struct weir_filter *f, uint32_t number, const struct weir_policy *p,
		  struct weir_error *err);
int weir_text_get(struct weir_filter *f, uint32_t number, struct weir_policy **ret,
		  struct weir_error *err);

/* Make and pin the lasting map @which unless it is there. */
int weir_lasting_need(struct weir_filter *f, enum weir_lasting_map which, struct weir_error *err);

/* Remove generations and sets that no kept generation has, and what they were
 * attached to. @policy: in force. */
int weir_state_collect(struct weir_filter *f, const struct weir_policy *policy,
		       struct weir_error *err);

/* ---- engine_plan.c */

struct weir_now {
	uint64_t jiffies, boot, tick;
};
/* Rules of @p whose time is over leave it, and the rule store. */
void weir_plan_expire(struct weir_filter *f, struct weir_policy *p, uint64_t boot);
/* Rules with a --ttl get their end, unless they have it from before. */
void weir_plan_date(struct weir_policy *p, uint64_t boot);
/* Rows: an interface keeps its own, a new one gets an unused one, cleared. */
int weir_plan_rows(struct weir_filter *f, struct weir_policy *p, struct weir_error *err);
/* What @policy's generation, which has the @places, filters as @name and still is on;
 * 0 = nothing. @called: the name that it has now, else "". */
uint32_t weir_plan_still_on(const struct weir_filter *f, const struct weir_policy *policy,
			    const struct weir_filter_places *places, const char *name,
			    char called[IF_NAMESIZE]);
/* The interface @name; where that names nothing now, the one that was renamed while it
 * was filtered, by weir_plan_still_on(). @called: set only of such a one. */
uint32_t weir_plan_ifindex(const struct weir_filter *f, const struct weir_policy *policy,
			   const struct weir_filter_places *places, const char *name,
			   char called[IF_NAMESIZE]);
/* Notes on rules that are new in @p and ask for what no packet has where they apply. */
void weir_plan_warn(const struct weir_filter *f, const struct weir_policy *p,
		    struct weir_filter_report *report);
/* The ids that the rules of @p have in the rule store; 0 = none. */
void weir_plan_find_ids(const struct weir_filter *f, struct weir_policy *p);
/* Ids of the rule store: a rule keeps its own, a new one is put there. */
int weir_plan_ids(struct weir_filter *f, struct weir_policy *p, struct weir_error *err);
/* Make the rule store say what @p says, of all owners that the filter acts for. @old:
 * the policy before, where nothing else can be in the store; else NULL. */
int weir_plan_sync(struct weir_filter *f, const struct weir_policy *p,
		   const struct weir_policy *old, struct weir_error *err);

/* ---- generation.c */

struct weir_hook_object {
	struct bpf_object *obj;
	void *skel;
	void (*destroy)(void *skel);
	int prog_fd;
};

struct weir_generation {
	uint32_t number;
	const struct weir_policy *policy;
	const struct weir_set *sets; /* by position in policy->sets */
	struct weir_policy_places places;
	struct weir_now now;
	bool confirm;  /* the programs look at the deadline */
	bool trial;    /* for test runs only: netfilter's program in tc's form, see
			* weir_try_netfilter() */
	uint32_t want; /* mask of hooks */
	struct weir_policy_code code[WEIR_HOOKS];
	struct weir_hook_object hook[WEIR_HOOKS];
	int generation_fd; /* of one of its objects */
};

void weir_generation_init(struct weir_generation *g);
void weir_generation_close(struct weir_generation *g);
/* Compile for the hooks in g->want. */
int weir_generation_compile(struct weir_generation *g, struct weir_error *err);
/* Load what was compiled; @gate: an open gate, for XDP. */
int weir_generation_load(struct weir_filter *f, struct weir_generation *g, struct weir_gate *gate,
			 struct weir_error *err);
/* Where the programs go back to past the deadline: generation @number's, pinned. */
int weir_generation_set_back(struct weir_filter *f, const struct weir_generation *g,
			     uint32_t number, struct weir_error *err);
int weir_generation_set_deadline(int generation_fd, uint32_t number, uint64_t deadline,
				 struct weir_error *err);
int weir_generation_pin(struct weir_filter *f, const struct weir_generation *g,
			struct weir_error *err);
extern const char *const weir_hook_pins[WEIR_HOOKS]; /* "xdp", "tc", "nf" */

/* ---- engine_attach.c */

/* Does a frame of this interface begin with the IP header? */
bool weir_has_no_l2(uint32_t ifindex);
/* Those of @ifindex[@n] of which it does, into @ret, which has room for as many.
 * Returns their number. */
uint32_t weir_no_l2(const uint32_t *ifindex, size_t n, uint32_t *ret);

uint32_t weir_prog_id(int fd);
uint32_t weir_map_id(int fd);
/* The program in the hook's slot; 0 = none. */
uint32_t weir_slot_get(const struct weir_filter *f, enum weir_policy_hook hook);
/* Fill it, or empty it (@prog_fd -1). @gate: for a first entry at XDP, else NULL. */
int weir_slot_set(struct weir_filter *f, enum weir_policy_hook hook, int prog_fd,
		  struct weir_gate *gate, struct weir_error *err);
/* Slots without a program, and their arrays' pins, go. */
void weir_slot_forget(const struct weir_filter *f, enum weir_policy_hook hook);

/* Put gates and learners on the @places of @policy that lack them. *@gate is left
 * open, of one of its XDP interfaces (or of @back's, where @policy has none), unless
 * there is none. */
int weir_attach(struct weir_filter *f, const struct weir_policy *policy,
		const struct weir_filter_places *places, const struct weir_filter_places *back,
		struct weir_gate *gate, struct weir_filter_report *report, struct weir_error *err);
/* Gates whose mode is not what @policy asks for get it, with a gap that the report
 * tells. @gate: an open one, which may be one of them. */
int weir_change_modes(struct weir_filter *f, const struct weir_policy *policy,
		      const struct weir_filter_places *places, struct weir_gate *gate,
		      struct weir_filter_report *report, struct weir_error *err);
/* Take them off where no kept generation has the place. */
void weir_detach(struct weir_filter *f, const struct weir_filter_places *places);
/* Is row @row of @places filtered by the generation in force? */
bool weir_attached(struct weir_filter *f, const struct weir_filter_places *places, uint32_t row);
/* Are the gates and learners on the @places of the policy in force those of this
 * build, in the mode that it asks for? */
bool weir_attached_is_current(struct weir_filter *f, const struct weir_filter_places *places);
/* The tag of the program @id; 0 where it can't be found out. */
uint64_t weir_prog_tag(uint32_t id);
/* Is the program @id the same as @own_fd, which this build has loaded? By the tag, a
 * hash of the instructions; no where that can't be found out. */
bool weir_same_program(uint32_t id, int own_fd);

static inline bool weir_place_is_out(const struct weir_filter_place *p)
{
	return p->flags & WEIR_PLACE_OUT;
}
/* Is the interface there, and to be attached to? */
static inline bool weir_place_is_live(const struct weir_filter_place *p)
{
	return p->ifindex && !(p->flags & WEIR_PLACE_GONE);
}

/* ---- engine_learn.c */

/* Learners for the places that lack theirs, and the host's connections as what they
 * would have learnt. */
int weir_learn_attach(struct weir_filter *f, const struct weir_filter_places *places,
		      struct weir_error *err);
/* Is what learns replies for @p there, where it is needed? */
bool weir_learns(const struct weir_filter *f, const struct weir_filter_place *p);
/* Are those of @places this build's? */
bool weir_learn_is_current(struct weir_filter *f, const struct weir_filter_places *places);
void weir_learn_detach(const struct weir_filter *f, const struct weir_filter_place *p);

/* ---- engine_test.c */

/* One test run. @gate_fd: for XDP a gate's program, which leads to the filter's. */
/* A gate for test runs, attached to nothing, with the record @scratch_fd, that leads to
 * the XDP program @prog_fd; @ifindex: @n interfaces of the policy. */
struct try_bpf;
int weir_try_open(int scratch_fd, int prog_fd, const uint32_t *ifindex, size_t n,
		  struct try_bpf **ret, struct weir_error *err);
int weir_try_xdp(int gate_fd, uint32_t ifindex, const struct weir_craft *packet,
		 struct weir_filter_verdict *ret, struct weir_error *err);
int weir_try_tc(int prog_fd, uint32_t ifindex, bool out, const struct weir_craft *packet,
		struct weir_filter_verdict *ret, struct weir_error *err);
/* @prog_fd: of a trial. */
int weir_try_netfilter(int prog_fd, uint32_t ifindex, bool out, const struct weir_craft *packet,
		       struct weir_filter_verdict *ret, struct weir_error *err);

/* ---- engine_guard.c */

/* Would the generation @g, about to enter force, cut a session? @gate: as for
 * weir_generation_load(). With @force it only warns. */
int weir_guard_generation(struct weir_filter *f, const struct weir_generation *g,
			  struct weir_gate *gate, bool force, struct weir_filter_report *report,
			  struct weir_error *err);

/* Does one of @v cover an address of a session? With @force none does. */
int weir_guard_touches(struct weir_filter *f, const struct weir_prefix *v, size_t n, bool force,
		       bool *ret, struct weir_error *err);
/* Something that changes the programs in force: it is undone when it cuts a session. */
struct weir_guarded_change {
	int (*change)(void *arg, struct weir_error *err);
	int (*undo)(void *arg, struct weir_error *err);
	void *arg;
};
int weir_guard_change(struct weir_filter *f, const struct weir_guarded_change *c,
		      struct weir_error *err);

/* ---- engine_switch.c */

/* The id of the program that generation @number has for the hook; 0 = none. */
uint32_t weir_pinned_prog(const struct weir_filter *f, uint32_t number, int hook);
/* Go on to generation state.next: programs first, XDP first of all, then the word.
 * @gate: as for weir_slot_set(). */
int weir_switch_over(struct weir_filter *f, struct weir_gate *gate, struct weir_error *err);
/* The slots as they are for the generation in force. */
void weir_switch_back(struct weir_filter *f);
/* Finish what a killed command began, or throw it away. */
int weir_switch_settle(struct weir_filter *f, struct weir_error *err);
/* Is there anything that no generation that stays has? */
bool weir_switch_has_leftovers(const struct weir_filter *f);
/* Has the deadline passed, or has a killed command confirmed it? */
int weir_switch_look(struct weir_filter *f, struct weir_error *err);
int weir_refuse_waiting(struct weir_error *err);

/* ---- engine_set.c, engine.c */

struct weir_set *weir_set_in_force(struct weir_filter *f, const char *name, uint32_t *ret_number);
int weir_now_read(struct weir_now *ret, struct weir_error *err);
