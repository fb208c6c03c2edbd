/* SPDX-License-Identifier: Apache-2.0 */
#include "damage.h"

#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "life.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

enum { DAMAGED_MAX = 4 };

static const struct {
	const char *level;
	unsigned members;
} arrays[] = {{"5", 3}, {"5", 4}, {"6", 4}, {"6", 5}, {"7", 5}, {"1", 2}, {"1", 3}, {"50", 6},
	{"60", 8}, {"10", 4}};

struct damage {
	struct world *world;
	unsigned part;
	uint32_t gone; /* slots of the whole */
	unsigned count;
	struct {
		unsigned slot;
		uint64_t row; /* of the part: stripe and row in one number */
	} sector[DAMAGED_MAX];
	bool lost[ORACLE_BLOCKS_MAX]; /* blocks of the array that are errors */
};

static void choose(struct setup *setup, struct random *random)
{
	unsigned choice = (unsigned)random_below(random, ARRAY_SIZE(arrays));

	*setup = (struct setup){
		.members = arrays[choice].members,
		.block_bytes = 512,
		.chunk_bytes = 4096,
		.stripes = 3 + random_below(random, 3),
		.consistency = (enum consistency)random_below(random, CONSISTENCIES),
		.volatile_cache = random_chance(random, 500),
		.discard_zeroes = random_chance(random, 500),
		.prompt = random_chance(random, 200),
		.depth = 1 + (unsigned)random_below(random, 6),
		.reactors = 1 + (unsigned)random_below(random, REACTORS),
		.beyond = true,
	};
	level_find(&setup->level, arrays[choice].level, NULL);
	setup_complete(setup);
}

static void must(int error, const char *what, const struct fail *fail)
{
	if (error)
		run_wrong("%s failed (%d): %s", what, error, fail->text);
}

/* --- what is lost ----------------------------------------------------------------------------- */

/* Whether a block of the array lies in that row of the part. */
static bool is_in_row(const struct damage *damage, uint64_t block, uint64_t row)
{
	const struct geometry *geometry = &damage->world->geometry;
	uint64_t stripe = block / geometry->stripe_blocks;
	uint64_t part = stripe % damage->world->setup->parts;

	stripe /= damage->world->setup->parts;
	return part == damage->part &&
	       stripe * geometry->chunk_blocks + block % geometry->chunk_blocks == row;
}

/* In each damaged row: what was on the slots that went, and on the sectors that cannot be read. Of
 * a mirror that is its one data column, wherever it was. */
static void expect(struct damage *damage)
{
	const struct world *world = damage->world;
	bool mirror = world->geometry.level->redundancy == REDUNDANCY_MIRROR;

	memset(damage->lost, 0, sizeof(damage->lost));
	for (unsigned i = 0; i < damage->count; i++)
		for (uint64_t block = 0; block < world->oracle.blocks; block++) {
			unsigned slot = world_slot_of_block(world, block);

			if (is_in_row(damage, block, damage->sector[i].row) &&
				(mirror || damage->gone >> slot & 1 ||
					damage->sector[i].slot == slot))
				damage->lost[block] = true;
		}
}

static uint64_t damaged_rows(const struct damage *damage)
{
	uint64_t rows = 0;

	for (unsigned i = 0; i < damage->count; i++) {
		bool again = false;

		for (unsigned j = 0; j < i; j++)
			again |= damage->sector[j].row == damage->sector[i].row;
		rows += !again;
	}
	return rows;
}

/* False: it got an error. */
static bool ask_one(struct world *world, enum io_kind kind, uint64_t block)
{
	uint64_t errors = world->errors;

	client_ask(world, &(struct ask){.kind = kind, .first = block, .blocks = 1});
	return world->errors == errors;
}

static void check_reads(struct damage *damage)
{
	for (uint64_t block = 0; block < damage->world->oracle.blocks; block++)
		if (ask_one(damage->world, IO_READ, block) == damage->lost[block])
			run_wrong(
				"block %llu (slot %u) was lost: %d, and reading it says otherwise",
				(unsigned long long)block,
				world_slot_of_block(damage->world, block), damage->lost[block]);
}

/* --- how it is lost --------------------------------------------------------------------------- */

static void write_all(struct world *world)
{
	clients_go(world, 10 + (unsigned)random_below(&world->random, 20));
	clients_pause(world);
	while (world->ios_left) {
		clients_resume(world);
		reactor_sim_step(world->group);
	}
	clients_pause(world);
	clients_resume(world);
	for (uint64_t block = 0; block < world->oracle.blocks; block++)
		if (random_chance(&world->random, 700) && oracle_room(&world->oracle, block))
			ask_one(world, IO_WRITE, block);
	client_ask(world, &(struct ask){.kind = IO_FLUSH});
}

static void lose_members(struct damage *damage)
{
	struct world *world = damage->world;
	unsigned each = world->setup->part_members, left = world->setup->tolerance;
	struct fail fail;

	damage->part = (unsigned)random_below(&world->random, world->setup->parts);
	while (left) {
		unsigned slot = damage->part * each + (unsigned)random_below(&world->random, each);

		if (damage->gone >> slot & 1)
			continue;
		damage->gone |= 1u << slot;
		world->good[slot] = false;
		left--;
		must(array_fail_member(world->array, slot, true, &fail), "fail", &fail);
	}
}

static void damage_sectors(struct damage *damage)
{
	struct world *world = damage->world;
	const struct geometry *geometry = &world->geometry;
	unsigned each = world->setup->part_members;

	damage->count = 1 + (unsigned)random_below(&world->random, DAMAGED_MAX);
	for (unsigned i = 0; i < damage->count; i++) {
		uint64_t row =
			random_below(&world->random, geometry->stripes * geometry->chunk_blocks);
		struct sim_drive *drive;
		unsigned slot;

		do
			slot = damage->part * each + (unsigned)random_below(&world->random, each);
		while (damage->gone >> slot & 1);
		drive = &world->drive[world_drive_of(world, slot)];
		row = i && random_chance(&world->random, 300) ? damage->sector[0].row : row;
		damage->sector[i].slot = slot;
		damage->sector[i].row = row;
		row += drive->data_first;
		drive->unreadable[row / 64] |= 1ull << row % 64;
	}
}

static void rebuild(struct damage *damage)
{
	struct world *world = damage->world;
	struct sweep_progress progress = {0};
	struct fail fail;
	unsigned slot;

	bits_for_each (slot, damage->gone) {
		unsigned drive = 0, row = 0;

		while (world->drive[drive].dev.user[0])
			drive++;
		must(array_remove_member(world->array, slot, &fail), "remove", &fail);
		must(array_add_spare(world->array, &world->drive[drive].dev, NULL, &fail),
			"adding a spare", &fail);
		array_status(world->array, &world->status);
		while (world->status.member[row].dev != &world->drive[drive].dev)
			row++;
		must(array_use_spare(world->array, row, slot, &fail), "using a spare", &fail);
	}
	must(array_sweep(world->array, SWEEP_REBUILD, &progress, &fail), "rebuild", &fail);
	if (progress.unreadable != damaged_rows(damage))
		run_wrong("%llu of %llu damaged rows were found",
			(unsigned long long)progress.unreadable,
			(unsigned long long)damaged_rows(damage));
	run.counts.sweeps++;
	world_refresh(world);
}

static void restart(struct world *world)
{
	struct fail fail;

	world_stop(world);
	oracle_flushed(&world->oracle, oracle_flush(&world->oracle));
	must(world_start(world, false, &fail), "start", &fail);
	world_open_clients(world);
	world_refresh(world);
	run.counts.restarts++;
}

/* --- how it is good again --------------------------------------------------------------------- */

static void heal(struct damage *damage)
{
	struct world *world = damage->world;
	uint64_t first = random_below(&world->random, world->oracle.blocks);

	for (uint64_t i = 0; i < world->oracle.blocks; i++) {
		uint64_t block = (first + i) % world->oracle.blocks;

		if (!damage->lost[block])
			continue;
		if (!oracle_room(&world->oracle, block))
			client_ask(world, &(struct ask){.kind = IO_FLUSH});
		if (!ask_one(world, IO_WRITE, block))
			run_wrong("lost block %llu cannot be written", (unsigned long long)block);
		damage->lost[block] = false;
		if (random_chance(&world->random, 300))
			check_reads(damage);
		if (random_chance(&world->random, 100))
			restart(world);
	}
}

static void scrub(struct world *world, uint64_t unreadable)
{
	struct sweep_progress progress = {0};
	struct fail fail;

	must(array_sweep(world->array, SWEEP_SCRUB, &progress, &fail), "scrub", &fail);
	run.counts.sweeps++;
	if (progress.mismatches || progress.unreadable > unreadable)
		run_wrong("a scrub found %llu rows that do not agree and %llu that cannot be read",
			(unsigned long long)progress.mismatches,
			(unsigned long long)progress.unreadable);
}

/* One more than the level survives, all at once: what cannot be served then can wait for them. */
static void lose_too_many(struct damage *damage)
{
	struct world *world = damage->world;
	unsigned each = world->setup->part_members;

	world->crash_in = 0;
	world->flaky = false;
	for (unsigned i = 0; i <= world->setup->tolerance; i++)
		sim_drive_kill(&world->drive[world_drive_of(world, damage->part * each + i)]);
	clients_read_all(world);
	if (!world->errors)
		run_wrong("an array without its drives served everything");
}

static void check_whole(struct damage *damage)
{
	struct world *world = damage->world;

	check_reads(damage);
	scrub(world, 0);
	scrub(world, 0);
	array_status(world->array, &world->status);
	for (unsigned i = 0; i < world->status.rows; i++)
		if (world->status.member[i].bad_blocks)
			run_wrong("slot %u has still bad blocks", i);
	world->errors = 0;
	if (random_chance(&world->random, 300)) {
		lose_too_many(damage);
		return;
	}
	fail_the_rest(world);
	clients_read_all(world);
}

void damage_run(uint64_t seed)
{
	static struct setup setup;
	struct random random = {.state = seed};
	struct damage damage = {0};
	struct world *world;

	run_begin(seed);
	choose(&setup, &random);
	setup_describe(&setup, run.setting, sizeof(run.setting));
	world = damage.world = world_create(&setup, random_next(&random));
	world->flaky = true;
	write_all(world);
	lose_members(&damage);
	damage_sectors(&damage);
	world->crash = crash_random;
	if (random_chance(&random, 700))
		world->crash_in = 1 + (unsigned)random_below(&random, 400);
	rebuild(&damage);
	expect(&damage);
	check_reads(&damage);
	if (random_chance(&random, 500))
		restart(world);
	if (random_chance(&random, 300))
		operate(world, OPERATION_REPLACE, false);
	check_reads(&damage);
	if (random_chance(&random, 300))
		scrub(world, damaged_rows(&damage));
	heal(&damage);
	check_whole(&damage);
	world->crash_in = 0;
	world_close(world);
	run.counts.lives++;
}
