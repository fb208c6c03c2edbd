/* SPDX-License-Identifier: Apache-2.0 */
#include "operate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "client.h"
#include "crash.h"
#include "reactor/sim.h"
#include "run.h"

/* Whether a failure of what was done may be somebody's fault. */
static bool excusable(const struct world *world)
{
	if (world->beyond)
		return true;
	for (unsigned i = 0; i < world->drives; i++)
		if (world->drive[i].dead || world->drive[i].flaky_per_thousand)
			return true;
	return false;
}

static void must(const struct world *world, int error, const char *what, const struct fail *fail)
{
	run_trace((uint64_t)error);
	if (error && !excusable(world))
		run_wrong("depth %u: %s failed (%d): %s", world->level, what, error, fail->text);
}

/* A slot that is good, or one that is not; -1: there is none. */
static int pick_slot(struct world *world, bool good)
{
	unsigned slots = world->setup->members;
	unsigned first = (unsigned)random_below(&world->random, slots);

	for (unsigned i = 0; i < slots; i++) {
		unsigned slot = (first + i) % slots;

		if (world->good[slot] == good)
			return (int)slot;
	}
	return -1;
}

/* A slot that the array may lose now. */
static int pick_victim(struct world *world)
{
	int slot = pick_slot(world, true);

	if (slot < 0 || (!world->beyond && !world_can_lose(world, (unsigned)slot)))
		return -1;
	return slot;
}

/* A slot that is being brought in sync: its drive may always die. */
static int pick_target(struct world *world)
{
	int slot = pick_slot(world, false);
	int drive = slot < 0 ? -1 : world_drive_of(world, (unsigned)slot);

	return drive < 0 || world->drive[drive].dead ? -1 : slot;
}

/* A drive that nobody uses. */
static int pick_drive(struct world *world)
{
	for (unsigned i = 0; i < world->drives; i++)
		if (!world_dev(world, i)->user[0] && !world->drive[i].dead && !world->absent[i] &&
			!world->drive[i].flaky_per_thousand)
			return (int)i;
	return -1;
}

static int row_of(struct world *world, const struct blockdev *dev)
{
	const struct array_status *status = &world->status;

	array_status(world->array, &world->status);
	for (unsigned row = 0; row < status->rows; row++)
		if (status->member[row].dev == dev)
			return (int)row;
	return -1;
}

/* --- sweeps ----------------------------------------------------------------------------------- */

static unsigned cancel_after;

void operate_cancel_after(unsigned commands)
{
	cancel_after = commands;
}

static int sweep(struct world *world, enum sweep_kind kind, bool disturbed, struct fail *fail)
{
	struct sweep_progress progress = {0};
	bool is_void = world_has_void_copy(world);
	int error;

	if (disturbed && random_chance(&world->random, 300)) {
		int victim = random_chance(&world->random, 300) ? pick_target(world)
								: pick_victim(world);
		int drive;

		world->kill_in = 1 + (unsigned)random_below(&world->random, 150);
		if (random_chance(&world->random, 500)) {
			world->cancel = &progress.cancel;
		} else if (victim >= 0) {
			drive = world_drive_of(world, (unsigned)victim);
			world->good[victim] = false;
			world->kill_drive = (unsigned)drive;
		} else {
			world->kill_in = 0;
		}
	}
	if (cancel_after) {
		world->kill_in = cancel_after;
		world->cancel = &progress.cancel;
		cancel_after = 0;
	}
	error = array_sweep(world->array, kind, &progress, fail);
	run_say("%u: sweep %d: %d, %llu mismatches", world->level, kind, error,
		(unsigned long long)progress.mismatches);
	world->kill_in = 0;
	world->cancel = NULL;
	run.counts.sweeps++;
	run_trace(progress.done_bytes);
	if (kind == SWEEP_SCRUB && progress.mismatches && !excusable(world))
		run_wrong("depth %u: scrub found %llu rows that do not agree", world->level,
			(unsigned long long)progress.mismatches);
	return error == -ECANCELED || is_void ? 0 : error;
}

static bool rebuild(struct world *world, bool disturbed)
{
	struct fail fail;

	must(world, sweep(world, SWEEP_REBUILD, disturbed, &fail), "rebuild", &fail);
	return true;
}

/* --- members ---------------------------------------------------------------------------------- */

/* Mistakes show between the moment when a loss is noticed and the one when it is durable. */
static void crash_soon(struct world *world)
{
	if (world->crash_in && random_chance(&world->random, 500))
		world->crash_in = 1 + (unsigned)random_below(&world->random, 40);
}

static bool fail_member(struct world *world, bool disturbed)
{
	int slot = pick_victim(world);
	struct fail fail;

	if (slot < 0)
		return false;
	world->good[slot] = false;
	run.counts.losses++;
	if (disturbed)
		crash_soon(world);
	must(world, array_fail_member(world->array, (unsigned)slot, true, &fail), "fail", &fail);
	return true;
}

static bool kill_member(struct world *world, bool disturbed)
{
	int slot = pick_victim(world), drive;

	if (slot < 0)
		return false;
	drive = world_drive_of(world, (unsigned)slot);
	if (drive < 0)
		return false;
	world->good[slot] = false;
	run.counts.losses++;
	if (disturbed)
		crash_soon(world);
	world_kill(world, (unsigned)drive);
	return true;
}

/* Every drive that is in a row but of no use any more. */
static bool remove_members(struct world *world)
{
	const struct array_status *status = &world->status;
	bool any = false;
	struct fail fail;

	array_status(world->array, &world->status);
	for (unsigned row = 0; row < status->rows; row++) {
		const struct member_status *member = &status->member[row];

		if (!member->dev || member->state != ROW_FAILED)
			continue;
		must(world, array_remove_member(world->array, row, &fail), "remove", &fail);
		any = true;
	}
	return any;
}

static int add_spare(struct world *world)
{
	int drive = pick_drive(world);
	struct fail fail;

	if (drive < 0)
		return -1;
	must(world, array_add_spare(world->array, world_dev(world, (unsigned)drive), NULL, &fail),
		"adding a spare", &fail);
	return row_of(world, world_dev(world, (unsigned)drive));
}

static int failed_slot(struct world *world)
{
	const struct array_status *status = &world->status;

	array_status(world->array, &world->status);
	for (unsigned slot = 0; slot < world->setup->members; slot++)
		if (status->member[slot].state == ROW_FAILED)
			return (int)slot;
	return -1;
}

static bool use_spare(struct world *world, bool disturbed)
{
	int slot = failed_slot(world), row;
	struct fail fail;

	if (slot < 0)
		return false;
	remove_members(world);
	row = add_spare(world);
	if (row < 0)
		return false;
	must(world, array_use_spare(world->array, (unsigned)row, (unsigned)slot, &fail),
		"using a spare", &fail);
	world_refresh(world);
	return rebuild(world, disturbed);
}

/* Nobody uses it, and it works, or can be made to. */
static bool is_free(struct world *world, unsigned drive)
{
	return !world_dev(world, drive)->user[0] && !world->absent[drive] &&
	       (!world->drive[drive].dead || random_chance(&world->random, 300));
}

static bool readd(struct world *world, bool disturbed)
{
	/* A crash while this waits runs deeper worlds, which come here as well. */
	static struct superblock superblocks[WORLDS];
	struct superblock *superblock = &superblocks[world->level];
	unsigned drive = 0;
	struct fail fail;
	int error;

	remove_members(world);
	while (drive < world->drives && !is_free(world, drive))
		drive++;
	if (drive == world->drives || failed_slot(world) < 0)
		return false;
	if (world->drive[drive].dead)
		world_revive(world, drive);
	if (superblock_read(superblock, world_dev(world, drive), reactor_at(world->group, 0),
		    &world->setup->places, &fail))
		return false;
	error = array_readd(world->array, world_dev(world, drive), superblock, &fail);
	run_trace((uint64_t)error);
	world_refresh(world);
	return error ? false : rebuild(world, disturbed);
}

static bool replace(struct world *world, bool disturbed)
{
	int slot = pick_slot(world, true), row, error;
	struct fail fail;

	if (slot < 0)
		return false;
	remove_members(world);
	row = add_spare(world);
	if (row < 0)
		return false;
	error = array_replace(world->array, (unsigned)row, (unsigned)slot, &fail);
	/* Begun before, and cancelled. */
	if (error != -EALREADY)
		must(world, error, "replace", &fail);
	world_refresh(world);
	return rebuild(world, disturbed);
}

/* --- the whole -------------------------------------------------------------------------------- */

static uint64_t data_writes(const struct world *world)
{
	uint64_t writes = 0;

	for (unsigned i = 0; i < world->drives; i++)
		writes += world->drive[i].data_writes;
	return writes;
}

/* One of the two rings of superblocks, on any drive: the other one says the same. */
static void lose_rings(struct world *world)
{
	const struct setup *setup = world->setup;
	struct extent rings[2];

	for (unsigned i = 0; i < world->drives; i++) {
		struct sim_drive *drive = &world->drive[i];
		const struct extent *ring = &rings[random_below(&world->random, 2)];

		if (random_chance(&world->random, 500) ||
			!layout_find_superblocks(
				rings, &setup->places, blockdev_bytes(&drive->dev)))
			continue;
		sim_drive_zero(
			drive, ring->offset / setup->block_bytes, ring->bytes / setup->block_bytes);
	}
}

/* In order: nothing that was acknowledged is lost, whatever happens afterwards, and the data areas
 * need no repair. */
static bool restart(struct world *world)
{
	unsigned left = world->ios_left;
	bool good[MEMBERS_MAX];
	uint64_t writes;
	struct fail fail;

	if (world->beyond)
		return false;
	clients_pause(world);
	world_stop(world);
	oracle_flushed(&world->oracle, oracle_flush(&world->oracle));
	if (world->crash && random_chance(&world->random, 300))
		world->crash(world);
	for (unsigned i = 0; i < world->drives; i++)
		if (world->drive[i].dead && random_chance(&world->random, 300))
			world_revive(world, i);
	if (random_chance(&world->random, 200))
		lose_rings(world);
	writes = data_writes(world);
	if (world_start(world, false, &fail))
		run_wrong("depth %u: not started again: %s", world->level, fail.text);
	if (data_writes(world) != writes)
		run_wrong("depth %u: a replay after a clean stop", world->level);
	run.counts.restarts++;
	memcpy(good, world->good, sizeof(good));
	world_refresh(world);
	for (unsigned slot = 0; slot < world->setup->members; slot++)
		if (good[slot] && !world->good[slot] && !excusable(world))
			run_wrong("depth %u: slot %u was in sync before a clean stop", world->level,
				slot);
	world_open_clients(world);
	clients_go(world, left);
	return true;
}

static bool set_owners(struct world *world)
{
	struct array_owners half = {0, 1 + random_below(&world->random, world->setup->stripes), 1};
	struct fail fail;

	must(world, array_set_owners(world->array, &half, 1, &fail), "setting owners", &fail);
	return true;
}

static bool write_notes(struct world *world)
{
	struct fail fail;

	must(world, world_write_notes(world, &fail), "writing notes", &fail);
	world_check_notes(world);
	return true;
}

bool operate(struct world *world, enum operation operation, bool disturbed)
{
	struct fail fail;
	bool did = true;

	world->changing = true;
	run_say("%u: operation %d", world->level, operation);
	run_trace(operation);
	switch (operation) {
	case OPERATION_FAIL:
		did = fail_member(world, disturbed);
		break;
	case OPERATION_KILL:
		did = kill_member(world, disturbed);
		break;
	case OPERATION_REMOVE:
		did = remove_members(world);
		break;
	case OPERATION_SPARE:
		did = use_spare(world, disturbed);
		break;
	case OPERATION_READD:
		did = readd(world, disturbed);
		break;
	case OPERATION_REPLACE:
		did = replace(world, disturbed);
		break;
	case OPERATION_SCRUB:
		must(world, sweep(world, SWEEP_SCRUB, disturbed, &fail), "scrub", &fail);
		break;
	case OPERATION_REPAIR:
		must(world, sweep(world, SWEEP_REPAIR, disturbed, &fail), "repair", &fail);
		break;
	case OPERATION_DUE:
		for (int kind; disturbed && (kind = array_sweep_due(world->array)) >= 0;) {
			must(world, sweep(world, (enum sweep_kind)kind, false, &fail),
				"a sweep that was due", &fail);
			if (excusable(world))
				break;
		}
		break;
	case OPERATION_RESTART:
		did = restart(world);
		break;
	case OPERATION_OWNERS:
		did = set_owners(world);
		break;
	case OPERATION_NOTES:
		did = write_notes(world);
		break;
	case OPERATIONS:
		break;
	}
	run_say("%u: operation %d ends", world->level, operation);
	world->changing = false;
	world_refresh(world);
	return did;
}

static void let_time_pass(struct world *world)
{
	uint64_t steps = random_below(&world->random, 600);

	while (steps-- && reactor_sim_step(world->group))
		;
}

/* Members go, load goes on, they come back one after the other. */
static void round_trip(struct world *world)
{
	unsigned gone = 1 + (unsigned)random_below(&world->random, world->setup->tolerance);

	for (unsigned i = 0; i < gone; i++) {
		operate(world, random_chance(&world->random, 500) ? OPERATION_FAIL : OPERATION_KILL,
			true);
		let_time_pass(world);
	}
	for (unsigned i = 0; i < gone; i++) {
		operate(world, OPERATION_READD, true);
		let_time_pass(world);
	}
}

void operate_at_random(struct world *world)
{
	static const enum operation any[] = {OPERATION_RESTART, OPERATION_OWNERS, OPERATION_NOTES,
		OPERATION_FAIL, OPERATION_FAIL, OPERATION_KILL, OPERATION_REMOVE, OPERATION_SPARE,
		OPERATION_SPARE, OPERATION_READD, OPERATION_READD, OPERATION_REPLACE,
		OPERATION_SCRUB, OPERATION_REPAIR, OPERATION_DUE};
	unsigned choices = world->setup->tolerance ? ARRAY_SIZE(any) : 3;

	if (world->setup->tolerance && random_chance(&world->random, 60))
		round_trip(world);
	else
		operate(world, any[random_below(&world->random, choices)], true);
}
