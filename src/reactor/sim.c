/* SPDX-License-Identifier: Apache-2.0 */
#include "reactor/sim.h"

#include <assert.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/random.h"
#include "reactor/internal.h"

struct sim_group {
	struct reactor_group group;
	struct random random;
	unsigned delay_per_thousand; /* turns in which a reactor does not look at its mailbox */
	unsigned hurry_per_thousand;
	uint64_t now_ns;
	unsigned quiet_turns; /* since anything was done */
	void (*between)(void *argument);
	void *between_argument;
	bool is_between;
};

static struct sim_group *sim_of(const struct reactor_group *group)
{
	return container_of((struct reactor_group *)group, struct sim_group, group);
}

static unsigned turn(struct sim_group *sim, struct reactor *reactor)
{
	unsigned work = 0;

	assert(!reactor_current);
	reactor_current = reactor;
	reactor->now_ns = sim->now_ns;
	if (atomic_load(&reactor->mailbox)) {
		work++; /* held back counts as something that will still happen */
		if (!random_chance(&sim->random, sim->delay_per_thousand))
			reactor_run_mailbox(reactor);
	}
	work += reactor_run_timers(reactor);
	work += reactor_run_pollers(reactor);
	reactor_current = NULL;
	return work;
}

/* Moves the clock to the earliest timer of all. */
static bool advance_clock(struct sim_group *sim)
{
	uint64_t earliest = UINT64_MAX;

	for (unsigned i = 0; i < sim->group.count; i++)
		earliest = MIN(earliest, reactor_next_deadline(sim->group.reactors[i]));
	if (earliest == UINT64_MAX)
		return false;
	sim->now_ns = MAX(sim->now_ns, earliest);
	return true;
}

static bool step(struct sim_group *sim)
{
	struct reactor_group *group = &sim->group;

	if (sim->hurry_per_thousand && random_chance(&sim->random, sim->hurry_per_thousand))
		advance_clock(sim);
	if (sim->quiet_turns >= group->count) {
		sim->quiet_turns = 0;
		/* Every reactor was quiet: look at each once more, in order, then move the
		 * clock. */
		for (unsigned i = 0; i < group->count; i++)
			if (turn(sim, group->reactors[i]))
				return true;
		return advance_clock(sim);
	}
	if (turn(sim, group->reactors[random_below(&sim->random, group->count)]))
		sim->quiet_turns = 0;
	else
		sim->quiet_turns++;
	return true;
}

bool reactor_sim_step(struct reactor_group *group)
{
	struct sim_group *sim = sim_of(group);
	bool more = step(sim);

	if (sim->between && !sim->is_between) {
		sim->is_between = true;
		sim->between(sim->between_argument);
		sim->is_between = false;
	}
	return more;
}

bool reactor_sim_until(struct reactor_group *group, const bool *flag)
{
	while (!*flag && reactor_sim_step(group))
		;
	return *flag;
}

struct sim_call {
	struct message message;
	int (*function)(void *);
	void *argument;
	int result;
	bool finished;
};

static void run_call(struct message *message)
{
	struct sim_call *call = container_of(message, struct sim_call, message);

	call->result = call->function(call->argument);
	call->finished = true;
}

static int call_and_step(struct reactor *reactor, int (*function)(void *), void *argument)
{
	struct sim_call call = {
		.message.run = run_call, .function = function, .argument = argument};

	reactor_send(reactor, &call.message);
	reactor_sim_until(reactor->group, &call.finished);
	assert(call.finished);
	return call.result;
}

static void step_once(struct reactor_group *group)
{
	bool more = reactor_sim_step(group);

	assert(more); /* or whoever waits would wait for ever */
	(void)more;
}

struct reactor_group *reactor_sim_create(unsigned reactors, uint64_t seed)
{
	struct sim_group *sim = calloc(1, sizeof(*sim));

	assert(sim && reactors && reactors <= REACTORS_MAX);
	sim->random.state = seed;
	sim->delay_per_thousand = (unsigned)random_below(&sim->random, 980);
	sim->group.call = call_and_step;
	sim->group.yield = step_once;
	for (unsigned i = 0; i < reactors; i++) {
		struct reactor *reactor = aligned_alloc(64, align_up(sizeof(*reactor), 64));

		assert(reactor);
		reactor_init(reactor, &sim->group, i);
		sim->group.reactors[sim->group.count++] = reactor;
	}
	return &sim->group;
}

void reactor_sim_destroy(struct reactor_group *group)
{
	for (unsigned i = 0; i < group->count; i++) {
		assert(list_empty(&group->reactors[i]->pollers));
		free(group->reactors[i]);
	}
	free(sim_of(group));
}

void reactor_sim_hurry(struct reactor_group *group, unsigned per_thousand)
{
	sim_of(group)->hurry_per_thousand = per_thousand;
}

void reactor_sim_between(
	struct reactor_group *group, void (*function)(void *argument), void *argument)
{
	sim_of(group)->between = function;
	sim_of(group)->between_argument = argument;
}

struct reactor *reactor_sim_leave(void)
{
	struct reactor *reactor = reactor_current;

	reactor_current = NULL;
	return reactor;
}

void reactor_sim_return(struct reactor *reactor)
{
	assert(!reactor_current);
	reactor_current = reactor;
}

uint64_t reactor_sim_now_ns(const struct reactor_group *group)
{
	return sim_of(group)->now_ns;
}
