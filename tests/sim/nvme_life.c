/* SPDX-License-Identifier: Apache-2.0 */
#include "nvme_life.h"

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "fleet.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

enum { HEALS_MAX = 60 };

static const uint64_t QUIET_NS = 20ull * 1000000000;

/* A member that the level can do without has read errors. */
static void spoil_reads(struct world *world)
{
	unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
	int drive = world_drive_of(world, slot);

	if (drive < 0 || !world->good[slot] || !world_can_lose(world, slot))
		return;
	world->good[slot] = false;
	fleet_fault(world, (unsigned)drive);
}

static void something_happens(struct world *world)
{
	unsigned dice = (unsigned)random_below(&world->random, 100);

	fleet_check(world);
	if (dice < 60)
		fleet_trouble(world);
	else if (dice < 65)
		spoil_reads(world);
	else if (dice < 75)
		operate(world, OPERATION_KILL, false);
	else
		operate_at_random(world);
}

static void live(struct world *world, unsigned events_per_thousand)
{
	uint64_t steps = 0;

	clients_go(world, 20 + (unsigned)random_below(&world->random, 80));
	while (!clients_are_done(world) && reactor_sim_step(world->group)) {
		if (++steps > STEPS_MAX)
			run_wrong("no end");
		if (random_chance(&world->random, events_per_thousand))
			something_happens(world);
	}
	if (!clients_are_done(world))
		run_wrong("%u requests were forgotten", world->busy);
	fleet_check(world);
}

/* Members whose death nobody has noticed yet are failed by hand. */
static void fail_the_dead(struct world *world)
{
	struct fail fail;

	for (unsigned slot = 0; slot < world->setup->members; slot++) {
		int drive = world_drive_of(world, slot);

		array_status(world->array, &world->status);
		if (drive < 0 || !world->drive[drive].dead ||
			world->status.member[slot].state == ROW_FAILED)
			continue;
		if (array_fail_member(world->array, slot, true, &fail))
			run_say("slot %u is not failed: %s", slot, fail.text);
	}
	world_refresh(world);
}

static bool is_whole(const struct world *world)
{
	for (unsigned i = 0; i < world->setup->members; i++)
		if (!world->good[i])
			return false;
	return true;
}

/* Losses that are on their way become durable, resets end. */
static void let_time_pass(struct world *world)
{
	uint64_t end_ns = reactor_sim_now_ns(world->group) + QUIET_NS;

	while (reactor_sim_now_ns(world->group) < end_ns && reactor_sim_step(world->group))
		;
}

/* Whoever failed comes back, or another takes the place. */
static void heal(struct world *world)
{
	let_time_pass(world);
	fleet_calm(world);
	fail_the_dead(world);
	for (unsigned i = 0; i < HEALS_MAX && !is_whole(world); i++) {
		operate(world,
			random_chance(&world->random, 600) ? OPERATION_READD : OPERATION_SPARE,
			false);
		settle_redundancy(world);
		fail_the_dead(world);
	}
	if (!is_whole(world))
		run_wrong("the array does not become whole again");
}

void nvme_life_run(uint64_t seed, const struct life_options *options)
{
	static struct setup setup;
	struct random random = {.state = seed};
	struct world *world;
	struct fail fail;

	run_begin(seed);
	setup_choose(&setup, &random, options);
	setup.nvme = true;
	setup.beyond = setup.prompt = false;
	setup_describe(&setup, run.setting, sizeof(run.setting));
	world = world_create_drives(&setup, random_next(&random));
	world->crash = NULL;
	if (world_create_array(world, &fail))
		run_wrong("cannot create: %s", fail.text);
	world_begin(world);
	live(world, 1 + (unsigned)random_below(&random, 15));
	clients_read_all(world);
	if (setup.tolerance) {
		heal(world);
		check_scrub(world);
		fail_the_rest(world);
		clients_read_all(world);
	}
	world_check_notes(world);
	fleet_check(world);
	run_trace(reactor_sim_now_ns(world->group));
	world_close(world);
	run.counts.lives++;
}
