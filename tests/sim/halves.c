/* SPDX-License-Identifier: Apache-2.0 */
#include "halves.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

/* Drives, by their index: all that belong to a slot are on one side. */
struct halves {
	uint32_t side[2];
	bool both; /* run; else the second one waits */
};

/* Some slots of each part, so that they can do without the others, and the others without them. */
static bool divide(struct world *world, struct halves *halves)
{
	const struct setup *setup = world->setup;
	unsigned least = setup->part_members - MIN(setup->part_members, setup->tolerance);

	if (2 * least > setup->part_members || least == setup->part_members)
		return false;
	*halves = (struct halves){.both = random_chance(&world->random, 700)};
	for (unsigned part = 0; part < setup->parts; part++) {
		uint64_t range = setup->part_members - 2 * least + 1;
		unsigned wanted = least + (unsigned)random_below(&world->random, range);

		for (unsigned i = 0; i < setup->part_members; i++) {
			unsigned left = setup->part_members - i;
			bool first = random_below(&world->random, left) < wanted;
			int drive = world_drive_of(world, part * setup->part_members + i);

			wanted -= first;
			halves->side[!first] |= 1u << drive;
		}
	}
	return true;
}

/* As after any crash. */
static void begin(struct world *world)
{
	world_open(world, random_next(&worlds[0]->random));
	world->crash = crash_random;
}

static void leave(struct world *world, uint32_t drives)
{
	for (unsigned i = 0; i < world->drives; i++) {
		unsigned slot = world->slot_of[i];

		world->absent[i] = !(drives >> i & 1);
		if (slot != SLOT_NONE && world->absent[i])
			world->good[slot] = false;
	}
}

static struct crash_choice end_of(struct world *world)
{
	return (struct crash_choice){
		.crash = random_chance(&world->random, 500) ? CRASH_POWER : CRASH_PROGRAM,
		.chooser = {.random = &world->random, .keep_per_thousand = 500}};
}

/* One side, for a while. It is left as it is, to be looked at by others. */
static void live_apart(struct world *world, const struct world *from, uint32_t drives)
{
	struct crash_choice choice = end_of(worlds[0]);
	unsigned writes;

	crash_copy(world, from, &choice);
	begin(world);
	writes = 1 + (unsigned)random_below(&world->random, 3);
	leave(world, drives);
	crash_recover(world);
	clients_read_all(world);
	for (unsigned i = 0; i < writes; i++) {
		struct ask ask = {.kind = IO_WRITE, .blocks = 1};

		ask.first = random_below(&world->random, world->oracle.blocks);
		if (oracle_room(&world->oracle, ask.first))
			client_ask(world, &ask);
	}
	client_ask(world, &(struct ask){.kind = IO_FLUSH});
	if (random_chance(&world->random, 300)) {
		world_stop(world);
		oracle_flushed(&world->oracle, oracle_flush(&world->oracle));
	}
}

static bool names_one_of(const struct world *world, uint32_t drives, const char *text)
{
	unsigned drive;

	bits_for_each (drive, drives)
		if (strstr(text, world->drive[drive].dev.name))
			return true;
	return false;
}

/* All of the drives, or some of each side. */
static uint32_t some_of(struct world *world, uint32_t drives)
{
	uint32_t some = random_chance(&world->random, 500)
				? drives
				: drives & (uint32_t)random_next(&world->random);

	return some ? some : drives;
}

/* In a world of its own: one side's drives as that has left them, the other one's likewise. */
static void bring_together(struct world *world, const struct world *first,
	const struct world *second, const struct halves *halves)
{
	struct crash_choice choice = end_of(worlds[0]);
	unsigned drive;

	crash_copy(world, first, &choice);
	bits_for_each (drive, halves->side[1])
		sim_drive_crash(
			&world->drive[drive], &second->drive[drive], choice.crash, &choice.chooser);
	world_open(world, random_next(&worlds[0]->random));
}

static void expect_refusal(struct world *world, const struct halves *halves)
{
	uint32_t first = some_of(world, halves->side[0]), second = some_of(world, halves->side[1]);
	struct fail fail;
	int error;

	leave(world, first | second);
	error = world_start(world, false, &fail);
	if (!error)
		run_wrong("two halves that ran apart were started as one array");
	if (error != -ENODEV || !strstr(fail.text, "choose one side") ||
		!names_one_of(world, first, fail.text) || !names_one_of(world, second, fail.text))
		run_wrong("two halves that ran apart: (%d) %s", error, fail.text);
}

/* The operator chooses the first side, whose history the world's oracle has. What the other side's
 * drives hold is not merged, even if somebody tries to take them back. */
static void choose_first(struct world *world, uint32_t drives)
{
	leave(world, drives);
	crash_recover(world);
	clients_read_all(world);
	memset(world->absent, 0, sizeof(world->absent));
	operate(world, OPERATION_READD, false);
	settle_redundancy(world);
	clients_read_all(world);
	if (!world->exposed)
		check_scrub(world);
	fail_the_rest(world);
	clients_read_all(world);
}

/* The world that is given, and what it is compared with, are paused. */
static void in_world(
	struct world *world, void (*live)(struct world *world, void *argument), void *argument)
{
	struct world *before = world_enter(world);

	live(world, argument);
	world_close(world);
	world_enter(before);
}

struct sides {
	struct halves halves;
	const struct world *from[3]; /* the whole, and each side */
};

static void live_together(struct world *world, void *argument)
{
	struct sides *sides = argument;
	const struct halves *halves = &sides->halves;

	bring_together(world, sides->from[1], sides->from[2], halves);
	if (halves->both) {
		expect_refusal(world, halves);
	} else {
		/* Who only waited may be there as well. */
		leave(world, halves->side[0] | halves->side[1]);
		crash_recover(world);
		clients_read_all(world);
	}
}

static void live_chosen(struct world *world, void *argument)
{
	struct sides *sides = argument;

	bring_together(world, sides->from[1], sides->from[2], &sides->halves);
	choose_first(world, sides->halves.side[0]);
}

static void live_second(struct world *world, void *argument)
{
	struct sides *sides = argument;
	struct sides turned = {.halves = {{sides->halves.side[1], sides->halves.side[0]}, true},
		.from = {sides->from[0], world, sides->from[1]}};

	live_apart(world, sides->from[0], sides->halves.side[1]);
	sides->from[2] = world;
	in_world(worlds[3], live_together, sides);
	in_world(worlds[3], live_chosen, sides);
	in_world(worlds[3], live_chosen, &turned);
}

static void live_first(struct world *world, void *argument)
{
	struct sides *sides = argument;

	live_apart(world, sides->from[0], sides->halves.side[0]);
	sides->from[1] = world;
	if (sides->halves.both) {
		in_world(worlds[2], live_second, sides);
		return;
	}
	sides->from[2] = sides->from[0];
	in_world(worlds[2], live_together, sides);
	in_world(worlds[2], live_chosen, sides);
}

static bool is_whole(const struct world *world)
{
	for (unsigned i = 0; i < world->setup->members; i++)
		if (!world->good[i])
			return false;
	return !world->beyond && array_sweep_due(world->array) < 0;
}

bool halves_run(struct world *world)
{
	bool mapped = world->setup->consistency != CONSISTENCY_LOG;
	struct sides sides = {.from = {world}};

	world_refresh(world);
	if (!is_whole(world) || !divide(world, &sides.halves))
		return false;
	run.counts.halves++;
	/* With a map alone what is dirty would be lost with either side. */
	if (mapped || random_chance(&world->random, 300)) {
		world_stop(world);
		oracle_flushed(&world->oracle, oracle_flush(&world->oracle));
	}
	in_world(worlds[1], live_first, &sides);
	return true;
}
