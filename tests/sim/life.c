/* SPDX-License-Identifier: Apache-2.0 */
#include "life.h"

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "halves.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

/* --- which array ------------------------------------------------------------------------------ */

static const struct {
	const char *level;
	unsigned least, most, step;
} choices[] = {
	{"0", 1, 4, 1},
	{"1", 2, 4, 1},
	{"5", 3, 6, 1},
	{"6", 4, 8, 1},
	{"7", 5, 9, 1},
	{"10", 4, 8, 2},
	{"50", 6, 10, 2},
	{"60", 8, 10, 2},
	{"70", 10, 10, 2},
	{"1", 2, 3, 1},
	{"5", 3, 5, 1},
	{"5", 3, 4, 1},
	{"6", 4, 6, 1},
	{"6", 4, 5, 1},
	{"7", 5, 7, 1},
};

void setup_complete(struct setup *setup)
{
	const struct level *part = setup->level->part;
	struct layout layout;
	uint64_t data = setup->stripes * setup->chunk_bytes;

	setup->part_members = setup->members;
	if (part)
		setup->part_members = setup->level->part_members ? setup->level->part_members
								 : setup->members / 2;
	setup->parts = setup->members / setup->part_members;
	setup->tolerance = level_tolerance(part ? part : setup->level, setup->part_members);
	setup->places = (struct layout_places){.head_bytes = 4096,
		.tail_bytes = 16384,
		.slots = 4,
		.notes_bytes = 4096,
		.log_bytes_min = 96 << 10,
		.log_bytes_max = 96 << 10,
		.log_share = 2,
		.align_bytes = 4096,
		.region_bytes_min = MAX(4096u, setup->chunk_bytes)};
	setup->member_bytes = 256 << 10;
	if (layout_make(&layout, &setup->places, setup->member_bytes, NULL))
		run_wrong("the layout has no room");
	setup->member_bytes += data - layout.data.bytes;
}

void setup_describe(const struct setup *setup, char *text, unsigned bytes)
{
	snprintf(text, bytes,
		"%s of %u, %s, blocks of %u, chunks of %u, %s cache, %s%u reactors, "
		"depth %u%s",
		setup->level->text, setup->members, consistency_name(setup->consistency),
		setup->block_bytes, setup->chunk_bytes, setup->volatile_cache ? "volatile" : "no",
		setup->prompt ? "prompt, " : "", setup->reactors, setup->depth,
		setup->beyond ? ", beyond redundancy" : "");
}

void setup_choose(struct setup *setup, struct random *random, const struct life_options *options)
{
	static const enum consistency policies[] = {
		CONSISTENCY_LOG, CONSISTENCY_LOG, CONSISTENCY_ADAPTIVE, CONSISTENCY_BITMAP};
	unsigned choice;

	*setup = (struct setup){0};
	do
		choice = (unsigned)random_below(random, ARRAY_SIZE(choices));
	while (options->level && strcmp(choices[choice].level, options->level));
	level_find(&setup->level, choices[choice].level, NULL);
	setup->members =
		choices[choice].least +
		choices[choice].step * (unsigned)random_below(random,
					       (choices[choice].most - choices[choice].least) /
							       choices[choice].step +
						       1);
	setup->block_bytes = random_chance(random, 100) ? 4096 : 512;
	setup->chunk_bytes = setup->block_bytes == 4096 && random_chance(random, 500) ? 8192 : 4096;
	setup->stripes = 3 + random_below(random, 3);
	setup->consistency = policies[random_below(random, ARRAY_SIZE(policies))];
	if (options->consistency)
		consistency_parse(&setup->consistency, options->consistency, NULL);
	setup->volatile_cache = random_chance(random, 600);
	setup->discard_zeroes = random_chance(random, 700);
	setup->depth = 1 + (unsigned)random_below(random, 6);
	setup->reactors = 1 + (unsigned)random_below(random, REACTORS);
	setup->beyond = !options->crashes && random_chance(random, 80);
	setup->prompt = random_chance(random, 150);
	/* Not amidst crashes: they find less of what crashes are about then. */
	setup->odd_spare = !options->crashes;
	setup_complete(setup);
}

/* --- what happens in it ----------------------------------------------------------------------- */

static void make_one_flaky(struct world *world)
{
	unsigned slot = (unsigned)random_below(&world->random, world->setup->members);

	world->drive[slot].flaky_per_thousand = 60;
	world->flaky = true;
	world->good[slot] = false;
}

static void live(struct world *world, unsigned operations_per_thousand)
{
	uint64_t steps = 0;

	clients_go(world, 15 + (unsigned)random_below(&world->random, 50));
	while (!clients_are_done(world) && reactor_sim_step(world->group)) {
		if (++steps > STEPS_MAX)
			run_wrong("no end");
		if (random_chance(&world->random, operations_per_thousand))
			operate_at_random(world);
	}
	if (!clients_are_done(world))
		run_wrong("%u requests were forgotten", world->busy);
}

static bool all_are_good(const struct world *world)
{
	for (unsigned i = 0; i < world->setup->members; i++)
		if (!world->good[i])
			return false;
	return true;
}

/* One block of one member changes behind everybody's back: a scrub sees it; where one wrong column
 * can be told from the others a repair puts it right. */
static void spoil(struct world *world)
{
	const struct geometry *geometry = &world->geometry;
	unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
	int drive = world_drive_of(world, slot);
	struct sweep_progress scrub = {0}, repair = {0};
	struct fail fail;
	uint64_t row;

	if (!all_are_good(world) || drive < 0 || array_sweep_due(world->array) >= 0 ||
		!world->setup->tolerance)
		return;
	row = random_below(&world->random, geometry->stripes * geometry->chunk_blocks);
	sim_drive_flip(&world->drive[drive], world->drive[drive].data_first + row);
	if (array_sweep(world->array, SWEEP_SCRUB, &scrub, &fail) || scrub.mismatches != 1)
		run_wrong(
			"scrub found %llu of one spoilt row", (unsigned long long)scrub.mismatches);
	/* Where nobody can say which is wrong nobody touches it. */
	if (array_sweep(world->array, SWEEP_REPAIR, &repair, &fail) ||
		repair.repaired != (world->setup->tolerance > 1))
		run_wrong("repair repaired %llu of one spoilt row",
			(unsigned long long)repair.repaired);
	run.counts.sweeps += 2;
	if (world->setup->tolerance < 2)
		sim_drive_flip(&world->drive[drive], world->drive[drive].data_first + row);
	clients_read_all(world);
	check_scrub(world);
}

static bool has_bad_blocks(const struct world *world)
{
	for (unsigned row = 0; row < world->status.rows; row++)
		if (world->status.member[row].bad_blocks)
			return true;
	return false;
}

/* More was lost than the level survives. Whoever was lost last comes back, and with it everything
 * that was ever acknowledged. */
static void bring_back(struct world *world)
{
	struct fail fail;

	world_stop(world);
	for (unsigned i = 0; i < world->drives; i++) {
		world->drive[i].dead = false;
		world->drive[i].flaky_per_thousand = 0;
		memset(world->drive[i].unreadable, 0, sizeof(world->drive[i].unreadable));
	}
	/* Where a map is all that there is, what was half done may be exposed. */
	if (world->setup->consistency != CONSISTENCY_LOG) {
		if (world_start(world, true, &fail))
			run_wrong("not started with accepted loss: %s", fail.text);
		world_open_clients(world);
		return;
	}
	if (world_start(world, false, &fail))
		run_wrong("not started when all drives were back: %s", fail.text);
	world_open_clients(world);
	world_refresh(world);
	/* As after a crash: full stripes that the log names but does not hold. */
	for (uint64_t block = 0; block < world->oracle.blocks && !world->setup->volatile_cache;
		block++)
		if (oracle_is_undecided(&world->oracle, block) &&
			!world->good[world_slot_of_block(world, block)])
			oracle_odd(&world->oracle, block, false);
	/* What a rebuild could not know is lost for good, and an error. */
	world->beyond = has_bad_blocks(world);
	clients_read_all(world);
}

static void end_well(struct world *world)
{
	clients_read_all(world);
	if (world->beyond) {
		if (world->setup->tolerance)
			bring_back(world);
		return;
	}
	if (random_chance(&world->random, 300) && world->setup->tolerance) {
		settle_redundancy(world);
		if (random_chance(&world->random, 500))
			spoil(world);
	}
	if (drive_defect == DEFECT_NONE && world->setup->tolerance &&
		array_sweep_due(world->array) < 0 && random_chance(&world->random, 200))
		operate(world, OPERATION_SCRUB, false);
	/* Who came last knows what the others knew. */
	if (all_are_good(world) && array_sweep_due(world->array) < 0 && world->setup->tolerance &&
		random_chance(&world->random, 200)) {
		operate(world, OPERATION_NOTES, false);
		operate(world, OPERATION_REPLACE, false);
	}
	fail_the_rest(world);
	clients_read_all(world);
	world_check_notes(world);
}

static struct world *create(const struct setup *setup, struct random *random, bool crashes)
{
	struct world *world = world_create_drives(setup, random_next(random));
	struct fail fail;

	if (crashes && random_chance(random, 100)) {
		world->crash = crash_in_create;
		world->crash_in = 1 + (unsigned)random_below(random, 3 * setup->members);
	}
	if (world_create_array(world, &fail))
		run_wrong("cannot create: %s", fail.text);
	world->crash_in = 0;
	world_begin(world);
	return world;
}

void life_run(uint64_t seed, const struct life_options *options)
{
	static struct setup setup;
	struct random random = {.state = seed};
	struct world *world;
	unsigned operations;

	run_begin(seed);
	setup_choose(&setup, &random, options);
	setup_describe(&setup, run.setting, sizeof(run.setting));
	world = create(&setup, &random, options->crashes);
	world->crash = options->crashes ? crash_random : NULL;
	/* What is unreadable in a dirty region is exposed. */
	if (setup.tolerance && random_chance(&random, options->crashes ? 100 : 200) &&
		(!options->crashes || setup.consistency == CONSISTENCY_LOG))
		make_one_flaky(world);
	if (options->crashes) {
		world->crash_in = 1 + (unsigned)random_below(&random, 100);
		world->hot_per_thousand = (unsigned)random_below(&random, 60);
	}
	operations = random_chance(&random, 300) ? 0 : (unsigned)random_below(&random, 25);
	live(world, operations);
	if (options->crashes && random_chance(&random, 500))
		crash_random(world);
	world->crash_in = 0;
	if (!random_chance(&random, 60) || !halves_run(world))
		end_well(world);
	world_close(world);
	run.counts.lives++;
}
