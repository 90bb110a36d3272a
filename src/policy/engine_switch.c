/* SPDX-License-Identifier: GPL-2.0-only */
/* From one generation to the next, also where a command was killed on the way. */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/cleanup.h"
#include "policy/engine_impl.h"

/* ---- Switching over */

/* Go on to generation state.next: programs first, XDP first of all, then the word.
 * @gate: as for weir_slot_set(). */
int weir_switch_over(struct weir_filter *f, struct weir_gate *gate, struct weir_error *err)
{
	bool gone_back;
	uint32_t abi;
	int ret = 0;

	for (int h = 0; !ret && h < WEIR_HOOKS; h++) {
		char name[WEIR_PIN_NAME_MAX];
		weir_autoclose int fd = weir_pin_get(
			&f->dir, weir_pin_generation(name, f->state.next, weir_hook_pins[h]));

		ret = weir_slot_set(f, (enum weir_policy_hook)h, fd < 0 ? -1 : fd, gate, err);
		weir_step("slot");
	}
	if (ret)
		return ret;
	gone_back = f->state.next == f->state.previous;
	abi = gone_back ? f->state.previous_abi : WEIR_FILTER_ABI;
	f->state.previous_abi = f->state.next_previous == f->state.current ? f->state.abi :
									     WEIR_FILTER_ABI;
	f->state.abi = abi;
	f->rolled_back = f->rolled_back || gone_back;
	f->state.current = f->state.next;
	f->state.previous = f->state.next_previous;
	f->state.deadline = f->state.next_deadline;
	f->state.next = f->state.next_previous = 0;
	f->state.next_deadline = 0;
	return weir_state_write(f, err);
}

uint32_t weir_pinned_prog(const struct weir_filter *f, uint32_t number, int hook)
{
	char name[WEIR_PIN_NAME_MAX];
	weir_autoclose int fd = -1;

	if (!number)
		return 0;
	fd = weir_pin_get(&f->dir, weir_pin_generation(name, number, weir_hook_pins[hook]));
	return weir_prog_id(fd);
}

/* Had the command that was killed begun to switch over to state.next? */
static bool has_begun(const struct weir_filter *f)
{
	for (int h = 0; h < WEIR_HOOKS; h++) {
		uint32_t to = weir_pinned_prog(f, f->state.next, h);
		uint32_t from = weir_pinned_prog(f, f->state.current, h);
		uint32_t slot = weir_slot_get(f, (enum weir_policy_hook)h);

		if (to ? slot == to : from && !slot)
			return true;
	}
	return false;
}

/* Finish what a killed command began, or throw it away. */
int weir_switch_settle(struct weir_filter *f, struct weir_error *err)
{
	if (!f->state.next)
		return 0;
	if (has_begun(f))
		return weir_switch_over(f, NULL, err);
	f->state.next = f->state.next_previous = 0;
	f->state.next_deadline = 0;
	return weir_state_write(f, err);
}

/* Is there anything that no generation that stays has? */
bool weir_switch_has_leftovers(const struct weir_filter *f)
{
	for (int i = 0; i < WEIR_STATE_PLACES; i++)
		if (f->state.places[i].number && !weir_state_keeps(f, f->state.places[i].number))
			return true;
	return false;
}

/* The slots as they are for the generation in force. */
void weir_switch_back(struct weir_filter *f)
{
	for (int h = 0; h < WEIR_HOOKS; h++) {
		char name[WEIR_PIN_NAME_MAX];
		weir_autoclose int fd = weir_pin_get(
			&f->dir, weir_pin_generation(name, f->state.current, weir_hook_pins[h]));

		weir_slot_set(f, (enum weir_policy_hook)h, fd < 0 ? -1 : fd, NULL, NULL);
	}
}

/* ---- The deadline */

static int open_generation(const struct weir_filter *f, uint32_t number)
{
	char name[WEIR_PIN_NAME_MAX];

	return weir_pin_get(&f->dir, weir_pin_generation(name, number, "generation"));
}

/* Confirmed: the programs look at their deadline no more. */
static bool is_confirmed(const struct weir_filter *f)
{
	weir_autoclose int fd = open_generation(f, f->state.current);
	struct weir_filter_generation v;
	uint32_t zero = 0;

	return fd >= 0 && !bpf_map_lookup_elem(fd, &zero, &v) && !v.deadline;
}

static int end_waiting(struct weir_filter *f, struct weir_error *err)
{
	f->state.previous = 0;
	f->state.deadline = 0;
	return weir_state_write(f, err);
}

/* The programs have gone back by themselves: make the slots and the state say so. */
static int roll_back(struct weir_filter *f, struct weir_error *err)
{
	f->state.next = f->state.previous;
	f->state.next_previous = 0;
	f->state.next_deadline = 0;
	return weir_switch_over(f, NULL, err);
}

int weir_switch_look(struct weir_filter *f, struct weir_error *err)
{
	struct weir_now now;
	int ret;

	if (!f->state.deadline)
		return 0;
	if (is_confirmed(f))
		return end_waiting(f, err);
	ret = weir_now_read(&now, err);
	if (ret)
		return ret;
	if (now.jiffies >= f->state.deadline)
		return roll_back(f, err);
	f->deadline = now.boot + (f->state.deadline - now.jiffies) * now.tick;
	return 0;
}

/* ---- Confirm */

int weir_refuse_waiting(struct weir_error *err)
{
	return weir_fail(err, -EBUSY,
			 "a policy waits to be confirmed: `weir filter confirm`, or wait until it "
			 "has gone back");
}

int weir_filter_confirm(struct weir_filter *f, struct weir_error *err)
{
	weir_autoclose int fd = -1;
	struct weir_now now = { 0 };
	int ret;

	if (!f->previous && !f->rolled_back)
		return weir_fail(err, -ENOENT,
				 "no policy waits to be confirmed: see `weir filter status`");
	ret = f->previous ? weir_now_read(&now, err) : 0;
	if (ret)
		return ret;
	if (!f->previous || now.jiffies >= f->state.deadline)
		return weir_fail(err, -ETIME,
				 "the time to confirm is over, and the policy before is in force "
				 "again: apply the new one once more");
	fd = open_generation(f, f->state.current);
	ret = weir_generation_set_deadline(fd, f->state.current, 0, err);
	weir_step("confirmed");
	if (!ret)
		ret = end_waiting(f, err);
	if (ret)
		return ret;
	f->previous = 0;
	f->deadline = 0;
	ret = weir_plan_sync(f, f->policy, NULL, err);
	return ret ? ret : weir_state_collect(f, f->policy, err);
}
