/* SPDX-License-Identifier: Apache-2.0 */
#include "crash.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "operate.h"
#include "reactor/sim.h"
#include "run.h"

static enum redundancy redundancy_of(const struct world *world)
{
	const struct level *level = world->setup->level;

	return (level->part ? level->part : level)->redundancy;
}

static bool in_thousand(struct world *world, unsigned chance)
{
	return random_chance(&world->random, chance);
}

/* --- what is there after the crash ------------------------------------------------------------ */

static void lose_slot(struct world *world, unsigned slot)
{
	run_say("%u: slot %u is lost", world->level, slot);
	world->good[slot] = false;
	for (unsigned i = 0; i < world->drives; i++) {
		if (world->slot_of[i] != slot)
			continue;
		/* It may as well be there without knowing what it is. */
		if (in_thousand(world, 150))
			sim_drive_wipe(&world->drive[i]);
		else
			world->absent[i] = true;
	}
}

/* Up to as many members as the level survives stay away. */
static void lose_at_random(struct world *world)
{
	unsigned tries = in_thousand(world, 500) ? 0 : world->setup->members;

	for (unsigned i = 0; i < tries; i++) {
		unsigned slot = (unsigned)random_below(&world->random, world->setup->members);

		if (!world->good[slot] || !world_can_lose(world, slot) || in_thousand(world, 500))
			continue;
		lose_slot(world, slot);
	}
}

/* What was lost before, or is no member, may be there again or not. */
static void shuffle_the_others(struct world *world, const struct world *from)
{
	for (unsigned i = 0; i < world->drives; i++) {
		unsigned slot = from->slot_of[i];

		if (slot != SLOT_NONE && from->good[slot])
			continue;
		if (from->absent[i] || from->drive[i].dead)
			world->absent[i] = in_thousand(world, 500);
		else if (slot == SLOT_NONE)
			world->absent[i] = in_thousand(world, 300);
	}
}

/* The exposure that the design documents: drives without a volatile cache, a full stripe on its way
 * that the log names but does not hold, and a data member that is lost in the same moment. */
static void mark_odd(struct world *world)
{
	if (redundancy_of(world) != REDUNDANCY_PARITY || world->setup->volatile_cache)
		return;
	for (uint64_t block = 0; block < world->oracle.blocks; block++)
		if (oracle_is_torn(&world->oracle, block) &&
			(!world->good[world_slot_of_block(world, block)] ||
				world_is_unreadable(world, block)))
			oracle_odd(&world->oracle, block, false);
}

void crash_copy(struct world *to, const struct world *from, struct crash_choice *choice)
{
	to->setup = from->setup;
	to->uuid = from->uuid;
	to->geometry = from->geometry;
	to->drives = from->drives;
	memcpy(to->slot_of, from->slot_of, sizeof(to->slot_of));
	memcpy(to->good, from->good, sizeof(to->good));
	memset(to->absent, 0, sizeof(to->absent));
	for (unsigned i = 0; i < from->drives; i++)
		sim_drive_crash(&to->drive[i], &from->drive[i], choice->crash, &choice->chooser);
	memcpy(to->notes, from->notes, sizeof(to->notes));
	oracle_copy(&to->oracle, &from->oracle);
	oracle_crash(&to->oracle, choice->crash == CRASH_POWER);
}

/* --- recovery --------------------------------------------------------------------------------- */

/* Whether the write hole may be open, so that the engine may refuse: a map of dirty regions says
 * that a member's absence matters, not what it held. (Under the adaptive policy that is so until
 * the map has been cleared after the loss.) */
static bool may_refuse(const struct world *world)
{
	bool degraded = false;

	for (unsigned i = 0; i < world->setup->members; i++)
		degraded = degraded || !world->good[i];
	return degraded && redundancy_of(world) == REDUNDANCY_PARITY &&
	       world->setup->consistency != CONSISTENCY_LOG;
}

/* The operator accepts that what only the lost members held is gone. */
static int start_with_loss(struct world *world, struct fail *fail)
{
	run.counts.refused++;
	world->forsaken = true;
	for (uint64_t block = 0; block < world->oracle.blocks; block++)
		if (!world->good[world_slot_of_block(world, block)])
			oracle_odd(&world->oracle, block, true);
	return world_start(world, true, fail);
}

void crash_recover(struct world *world)
{
	bool killing = world->kill_in;
	struct fail fail;
	int error = world_start(world, false, &fail);

	if (error && killing && world->drive[world->kill_drive].dead)
		error = world_start(world, false, &fail);
	if (error == -EUCLEAN && may_refuse(world))
		error = start_with_loss(world, &fail);
	/* A refusal that is too careful, and known (docs/LIMITS.md): a spare that was taken into a
	 * slot by a commit which nobody else has heard looks like another side. */
	if (error == -ENODEV && world->beyond && strstr(fail.text, "went on without")) {
		run.counts.refused++;
		world->kill_in = 0;
		return;
	}
	if (error)
		run_wrong("depth %u: not started after a crash (%d): %s", world->level, error,
			fail.text);
	world->kill_in = 0;
	oracle_recovered(&world->oracle);
	if (redundancy_of(world) == REDUNDANCY_PARITY &&
		world->setup->consistency != CONSISTENCY_LOG)
		world->exposed = true;
	world_refresh(world);
	world_open_clients(world);
	/* What is lost reads as an error until the resync has decided what it is. */
	if (world->forsaken)
		settle_redundancy(world);
}

/* --- verification ----------------------------------------------------------------------------- */

static bool has_trouble(const struct world *world)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (world->drive[i].flaky_per_thousand || world->drive[i].dead)
			return true;
	return false;
}

void settle_redundancy(struct world *world)
{
	struct fail fail;
	int kind;

	if (world->level && world->level + 1 < WORLDS && !world->crash_in &&
		in_thousand(world, 250))
		world->crash_in = 1 + (unsigned)random_below(&world->random, 150);

	for (unsigned rounds = 0; (kind = array_sweep_due(world->array)) >= 0; rounds++) {
		struct sweep_progress progress = {0};
		bool is_void = world_has_void_copy(world);
		int error = array_sweep(world->array, (enum sweep_kind)kind, &progress, &fail);

		run.counts.sweeps++;
		if (error && !world->beyond && !has_trouble(world) && !is_void)
			run_wrong("depth %u: sweep %d failed: %s", world->level, kind, fail.text);
		if (rounds > 4)
			run_wrong("depth %u: sweep %d is due for ever", world->level, kind);
		if (error && !(is_void && kind == SWEEP_REBUILD))
			break;
	}
	world->exposed = world->forsaken = false;
	world_refresh(world);
}

/* For whoever looks for the reason: rows whose P is not the sum of their data. */
static void say_rows(const struct world *world)
{
	const struct geometry *geometry = &world->geometry;
	uint64_t rows = geometry->stripes * geometry->chunk_blocks;

	for (uint64_t i = 0; i < rows * world->setup->parts; i++) {
		unsigned first = (unsigned)(i / rows) * world->setup->part_members;
		uint64_t stripe = i % rows / geometry->chunk_blocks, sum = 0;

		for (unsigned column = 0; column <= geometry->data; column++) {
			int drive = world_drive_of(
				world, first + geometry_member(geometry, stripe, column));
			uint64_t block = geometry->member_offset + i % rows;

			if (drive >= 0)
				sum ^= *(const uint64_t *)(world->drive[drive].now +
							   block * geometry->block_bytes);
		}
		if (sum)
			run_say("%u: slots %u.., stripe %llu row %llu, block %llu of the drives: P "
				"is wrong",
				world->level, first, (unsigned long long)stripe,
				(unsigned long long)(i % geometry->chunk_blocks),
				(unsigned long long)(geometry->member_offset + i % rows));
	}
}

void check_scrub(struct world *world)
{
	struct sweep_progress progress = {0};
	struct fail fail;
	int error = array_sweep(world->array, SWEEP_SCRUB, &progress, &fail);

	run.counts.sweeps++;
	if (error && !world->beyond)
		run_wrong("depth %u: scrub failed: %s", world->level, fail.text);
	if (progress.mismatches && run_tracing)
		say_rows(world);
	if (progress.mismatches)
		run_wrong("depth %u: the redundancy of %llu rows is wrong", world->level,
			(unsigned long long)progress.mismatches);
}

void fail_the_rest(struct world *world)
{
	struct fail fail;

	for (unsigned tries = 0; tries < 3 * world->setup->members; tries++) {
		unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
		int drive = world_drive_of(world, slot);

		if (!world->good[slot] || !world_can_lose(world, slot) || drive < 0)
			continue;
		world->good[slot] = false;
		if (in_thousand(world, 500))
			world_kill(world, (unsigned)drive);
		else if (array_fail_member(world->array, slot, true, &fail))
			run_wrong(
				"depth %u: cannot fail slot %u: %s", world->level, slot, fail.text);
	}
}

/* Mirrors are made equal by reads and resyncs, parity by the replay: from then on nothing may
 * disagree. */
static void scrub_if_due_right(struct world *world)
{
	if (redundancy_of(world) == REDUNDANCY_NONE || world->exposed || has_trouble(world))
		return;
	if (redundancy_of(world) == REDUNDANCY_PARITY || array_sweep_due(world->array) < 0)
		check_scrub(world);
}

/* Another crash: while nothing happens, or amidst new load. */
static void crash_again(struct world *world)
{
	if (world->level + 1 >= WORLDS || world->crash_in)
		return;
	if (in_thousand(world, 200)) {
		crash_random(world);
	} else if (in_thousand(world, 250)) {
		uint64_t steps = 0;

		world->crash_in = 1 + (unsigned)random_below(&world->random, 120);
		clients_go(world, 4 + (unsigned)random_below(&world->random, 20));
		while (!clients_are_done(world) && reactor_sim_step(world->group))
			if (++steps > STEPS_MAX)
				run_wrong("depth %u: no end", world->level);
		if (!clients_are_done(world))
			run_wrong("depth %u: requests were forgotten", world->level);
		world->crash_in = 0;
		clients_read_all(world);
	}
}

static void write_some(struct world *world)
{
	struct ask ask = {.kind = IO_WRITE};

	for (unsigned i = 0; i < 3; i++) {
		uint32_t most = 1 + (uint32_t)random_below(&world->random, 8);

		ask.first = random_below(&world->random, world->oracle.blocks);
		ask.blocks = 0;
		while (ask.blocks < most && ask.first + ask.blocks < world->oracle.blocks &&
			oracle_room(&world->oracle, ask.first + ask.blocks))
			ask.blocks++;
		if (ask.blocks)
			client_ask(world, &ask);
	}
}

/* The next request finds out that a member has died, or a flush. What is answered before that is
 * known and durable must hold when the member is back after a crash. */
static void die_and_crash(struct world *world)
{
	unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
	bool flush = random_chance(&world->random, 400);
	int drive = world_drive_of(world, slot);

	if (world->level + 1 >= WORLDS || world->crash_in || drive < 0 || !world->good[slot] ||
		!world_can_lose(world, slot))
		return;
	if (flush)
		write_some(world);
	world->good[slot] = false;
	sim_drive_kill(&world->drive[drive]);
	world->crash_in = 1 + (unsigned)random_below(&world->random, flush ? 30 : 60);
	if (flush)
		client_ask(world, &(struct ask){.kind = IO_FLUSH});
}

/* Who was away at the crash is there again, and wants to be taken back. */
static void come_back(struct world *world)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (world->slot_of[i] != SLOT_NONE && !world->good[world->slot_of[i]])
			world->absent[i] = false;
	operate(world, OPERATION_READD, false);
}

static void verify(struct world *world)
{
	if (in_thousand(world, redundancy_of(world) == REDUNDANCY_MIRROR ? 200 : 80))
		die_and_crash(world);
	if (in_thousand(world, 250))
		scrub_if_due_right(world);
	if (in_thousand(world, 200))
		world_check_notes(world);
	clients_read_all(world);
	crash_again(world);
	if (!world->exposed && world->setup->tolerance && in_thousand(world, 200))
		come_back(world);
	if (world->exposed || in_thousand(world, 250))
		settle_redundancy(world);
	if (in_thousand(world, 250))
		scrub_if_due_right(world);
	if (in_thousand(world, 600)) {
		fail_the_rest(world);
		clients_read_all(world);
	}
}

/* --- crash states ----------------------------------------------------------------------------- */

/* A member that dies while the engine starts, and a crash while it does. */
static void disturb(struct world *world, enum crash crash)
{
	/* What a killed program leaves in the drives' caches can still be lost. */
	if (world->level + 1 < WORLDS && in_thousand(world, crash == CRASH_POWER ? 180 : 500))
		world->crash_in = 1 + (unsigned)random_below(&world->random, 100);
	if (world->setup->consistency == CONSISTENCY_LOG && in_thousand(world, 60)) {
		unsigned slot = (unsigned)random_below(&world->random, world->setup->members);
		int drive = world_drive_of(world, slot);

		if (drive < 0 || !world->good[slot] || !world_can_lose(world, slot))
			return;
		world->good[slot] = false;
		world->kill_drive = (unsigned)drive;
		world->kill_in = 1 + (unsigned)random_below(&world->random, 100);
	}
}

static void say_drives(const struct world *world)
{
	for (unsigned i = 0; i < world->drives && run_tracing; i++) {
		unsigned slot = world->slot_of[i];

		if (slot == SLOT_NONE)
			run_say("   %s: %s", world->drive[i].dev.name,
				world->absent[i] ? "absent" : "of no slot");
		else
			run_say("   %s: slot %u, %s%s", world->drive[i].dev.name, slot,
				world->good[slot] ? "good" : "not good",
				world->absent[i] ? ", absent" : "");
	}
}

/* In the world one deeper, which the engine has entered. */
static void live_on(const struct world *from, struct crash_choice choice, bool sampled)
{
	struct world *world = worlds[from->level + 1];
	uint64_t seed = random_next(&worlds[from->level]->random);
	unsigned slot;

	crash_copy(world, from, &choice);
	world_open(world, seed);
	world->flaky = from->flaky;
	world->crash = crash_random;
	world->exposed = from->exposed;
	bits_for_each (slot, choice.lose)
		lose_slot(world, slot);
	if (sampled) {
		lose_at_random(world);
		shuffle_the_others(world, from);
		disturb(world, choice.crash);
	} else {
		for (unsigned i = 0; i < world->drives; i++)
			world->absent[i] = world->absent[i] || from->absent[i];
	}
	world->exposed = world->forsaken = from->forsaken;
	mark_odd(world);
	run_say("%u: crash %d, keep %u", world->level, choice.crash,
		choice.chooser.keep_per_thousand);
	say_drives(world);
	run_trace(world->random.state);
	crash_recover(world);
	if (world->array)
		verify(world);
	world_close(world);
	run_say("%u: recovered", world->level);
	run.counts.states++;
}

/* Likewise; nobody has been told of the array. */
static void live_if_created(const struct world *from, struct crash_choice choice, bool sampled)
{
	struct world *world = worlds[from->level + 1];
	uint64_t seed = random_next(&worlds[from->level]->random);
	struct fail fail;

	(void)sampled;
	crash_copy(world, from, &choice);
	world_open(world, seed);
	memset(&world->uuid, 0, sizeof(world->uuid));
	if (!world_start(world, false, &fail)) {
		world_begin(world);
		world_refresh(world);
		clients_read_all(world);
		scrub_if_due_right(world);
	}
	world_close(world);
	run.counts.states++;
}

static void go_deeper(struct world *world, const struct crash_choice *choice, bool sampled,
	void (*live)(const struct world *from, struct crash_choice choice, bool sampled))
{
	struct reactor *reactor = reactor_sim_leave();

	assert(world->level + 1 < WORLDS);
	world_enter(worlds[world->level + 1]);
	live(world, *choice, sampled);
	world_enter(world);
	reactor_sim_return(reactor);
}

void crash_state(struct world *world, const struct crash_choice *choice)
{
	go_deeper(world, choice, false, live_on);
}

void crash_into(
	struct world *world, const struct crash_choice *choice, void (*live)(struct world *world))
{
	uint64_t seed = random_next(&world->random);
	struct crash_choice copy = *choice; /* the chooser is used up */
	struct reactor *reactor = reactor_sim_leave();
	struct world *next = worlds[world->level + 1];

	world_enter(next);
	crash_copy(next, world, &copy);
	world_open(next, seed);
	crash_recover(next);
	live(next);
	world_close(next);
	world_enter(world);
	reactor_sim_return(reactor);
}

static struct crash_choice choose_crash(struct world *world)
{
	static const unsigned keep[] = {0, 1000, 500, 500, 100, 900, 30, 970};

	return (struct crash_choice){.crash = in_thousand(world, 700) ? CRASH_POWER : CRASH_PROGRAM,
		.chooser = {.random = &world->random,
			.keep_per_thousand = keep[random_below(&world->random, ARRAY_SIZE(keep))]}};
}

void crash_in_create(struct world *world)
{
	struct crash_choice choice = choose_crash(world);

	go_deeper(world, &choice, false, live_if_created);
}

void crash_random(struct world *world)
{
	unsigned samples = 1 + (unsigned)random_below(&world->random, world->level ? 1 : 4);

	for (unsigned i = 0; i < samples; i++) {
		struct crash_choice choice = choose_crash(world);

		go_deeper(world, &choice, true, live_on);
	}
	if (!world->level)
		world->crash_in = 1 + (unsigned)random_below(&world->random, 200);
}
