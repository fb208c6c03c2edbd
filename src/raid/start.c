/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting an array from the members that were found: what the last run left behind is put right
 * (raid/replay.c), members that are absent are failed, and the array runs. docs/CONSISTENCY.md,
 * "Starting".
 *
 *	table, maps --> dirty and degraded? refuse --> absent members durable --> log re-done -->
 * runs
 *	                                                   ^                          |
 *	                                                   +-- a member fails: without it
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/assembly.h"
#include "raid/build.h"
#include "raid/internal.h"
#include "raid/transfer.h"

static void start_config(struct build *build, const struct assembly *assembly,
	const struct array_start_options *options)
{
	const struct superblock *superblock = &assembly->superblock;

	build->superblock = *superblock;
	build->config = (struct array_config){
		.level = superblock->level,
		.chunk_bytes = superblock->chunk_bytes,
		.block_bytes = superblock->block_bytes,
		.members = superblock->members,
		.parts = superblock->parts,
		.depth = options->depth,
		.consistency = superblock->consistency,
		.host_id = options->host_id,
		.places = options->places,
	};
	snprintf(build->config.name, sizeof(build->config.name), "%s", superblock->name);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		enum row_state state = superblock->rows[i].state;

		if (state == ROW_EMPTY || state == ROW_FAILED)
			continue;
		build->dev[i] = assembly->member[i];
		build->bytes[i] = assembly->member_bytes[i];
		build->second_ring[i] = assembly->second_ring[i];
		build->generation[i] = assembly->generation[i];
		memcpy(build->fingerprint[i], assembly->fingerprint[i],
			sizeof(build->fingerprint[i]));
	}
}

/* What a crash leaves in the redundancy is known only through the log; what was written without it,
 * only through the data. */
static bool is_parity(const struct superblock *superblock)
{
	const struct level *level =
		superblock->level->part ? superblock->level->part : superblock->level;

	return level->redundancy == REDUNDANCY_PARITY;
}

/* Whether a slot cannot vouch for all its blocks. */
static unsigned slots_short(const struct build *build)
{
	unsigned count = 0;

	for (unsigned i = 0; i < build->superblock.members; i++)
		count += !build->dev[i] || build->superblock.rows[i].state != ROW_IN_SYNC;
	return count;
}

static bool is_absent(const struct build *build, unsigned slot)
{
	return !build->dev[slot] && build->superblock.rows[slot].state != ROW_FAILED;
}

static bool any_absent(const struct build *build)
{
	for (unsigned i = 0; i < build->superblock.members; i++)
		if (is_absent(build, i))
			return true;
	return false;
}

/* Rows that the table calls live and that are not there are failed by this start. */
static void fail_absent(struct build *build)
{
	struct superblock *superblock = &build->superblock;

	for (unsigned i = 0; i < superblock->members; i++) {
		struct superblock_row *row = &superblock->rows[i];

		if (!is_absent(build, i))
			continue;
		row->since = superblock->generation + 1;
		/* It may have lost what was in its cache, which no map knows, unless all was
		 * flushed at the end; and may not agree where a resync had not come yet. */
		row->resyncable = superblock->clean && !map_count(build->maps[MAP_DIRTY].bits) &&
				  (row->state == ROW_IN_SYNC || row->resyncable);
		row->state = ROW_FAILED;
		row->reason = LOSS_ABSENT;
		row->lost_at = (uint64_t)time(NULL);
	}
}

/* A copy of what is not there any more, or one that is not there itself, is void; its drive is a
 * spare again. */
static void void_copies(struct build *build)
{
	struct superblock *superblock = &build->superblock;

	for (unsigned i = superblock->members; i < SUPERBLOCK_ROWS; i++) {
		struct superblock_row *row = &superblock->rows[i];

		if (row->state != ROW_REPLACING ||
			(build->dev[i] && superblock->rows[row->replaces].state != ROW_FAILED))
			continue;
		row->state = ROW_SPARE;
		row->since = superblock->generation + 1;
		row->watermark = 0;
		row->replaces = 0;
	}
}

/* The resync of a dirty region makes up its mind without a member that is being rebuilt there, so
 * what that one holds counts no more than if it had been away. */
static void note_missing(struct build *build)
{
	uint8_t *missing = build->maps[MAP_MISSING].bits;
	const uint8_t *dirty = build->maps[MAP_DIRTY].bits;

	for (unsigned i = 0; i < MAP_BYTES && !MUTANT(rebuild_dirty); i++)
		missing[i] |= dirty[i];
}

static int check_start(const struct assembly *assembly, struct fail *fail)
{
	const struct superblock *superblock = &assembly->superblock;

	if (assembly->state != ASSEMBLY_COMPLETE && assembly->state != ASSEMBLY_DEGRADED)
		return fail_set(fail, ENODEV, "%s", assembly->why);
	if (superblock->layout_id != GEOMETRY_LAYOUT_LEFT_SYMMETRIC)
		return fail_set(fail, ENOTSUP,
			"array %s has layout %u, which this braid does not know: use a newer one",
			superblock->name, superblock->layout_id);
	return 0;
}

static int open_replay(struct replay *replay, const struct build *build, struct fail *fail)
{
	int error = 0;

	*replay = (struct replay){
		.superblock = &build->superblock, .group = build->group, .failed_row = -1};
	for (unsigned i = 0; i < SUPERBLOCK_ROWS && !error; i++)
		if (build->dev[i])
			error = blockdev_open_queue(build->dev[i], reactor_at(build->group, 0),
				&replay->queues[i], fail);
	return error;
}

/* One superblock of a row, in one ring. */
static int write_row(struct build *build, struct replay *replay, unsigned row, unsigned ring,
	void *page, struct fail *fail)
{
	struct superblock *superblock = &build->superblock;
	uint64_t slot = superblock->generation % superblock->layout.slots * SUPERBLOCK_BYTES;
	uint64_t place;
	int error;

	superblock->layout.superblocks[1].offset = build->second_ring[row];
	superblock->member_uuid = superblock->rows[row].uuid;
	superblock->row = row;
	superblock->member_bytes = build->bytes[row];
	memcpy(superblock->fingerprint, build->fingerprint[row], sizeof(superblock->fingerprint));
	place = superblock->layout.superblocks[ring].offset + slot;
	superblock_encode(superblock, place, page);
	error = transfer(replay->queues[row], IO_WRITE, place, page, SUPERBLOCK_BYTES);
	if (error) {
		replay->failed_row = (int)row;
		fail_set(fail, -error, "cannot write the superblock of drive %s: %s",
			build->dev[row]->name, strerror(-error));
	}
	return error;
}

/* To all rows that have not got it yet; to the end also when one cannot be written, or that one's
 * absence would leave the others more than one generation behind. */
static int write_rows(struct build *build, struct replay *replay, void *page, struct fail *fail)
{
	uint64_t generation = build->superblock.generation;
	bool failed[SUPERBLOCK_ROWS] = {false};
	int error = 0;

	for (unsigned ring = 0; ring < 2; ring++)
		for (unsigned row = 0; row < SUPERBLOCK_ROWS; row++) {
			int result = 0;

			if (replay->queues[row] && build->generation[row] != generation &&
				!failed[row])
				result = write_row(build, replay, row, ring, page, fail);
			failed[row] |= result != 0;
			error = error ? error : result;
		}
	for (unsigned row = 0; row < SUPERBLOCK_ROWS; row++)
		if (replay->queues[row] && !failed[row])
			build->generation[row] = generation;
	return error;
}

/*
 * That members are absent is durable before the log is re-done without them: a member that came
 * back after a crash in the middle of it would otherwise have a say in what had begun.
 *
 * Members that an interrupted commit has left behind get it first: none may lag behind by more than
 * one generation. An absent member may be one ahead, by such a commit; so the present ones then
 * take
 * one more generation of the same epoch, and only the next one fails the absent: it is stale then,
 * and not somebody who went on alone. raid/assembly.c
 */
static int record_absent(struct build *build, struct replay *replay, struct fail *fail)
{
	struct superblock *superblock = &build->superblock;
	char *page;
	int error;

	page = memory_map(SUPERBLOCK_BYTES, NULL);
	if (!page)
		return fail_set(fail, ENOMEM, "no memory to start array %s", superblock->name);
	error = MUTANT(start_not_even) ? 0 : write_rows(build, replay, page, fail);
	if (!error && any_absent(build) && !MUTANT(replay_absent_unrecorded)) {
		if (!MUTANT(start_not_ahead)) {
			superblock->generation++;
			error = write_rows(build, replay, page, fail);
		}
		if (!error) {
			fail_absent(build);
			void_copies(build);
			new_epoch(superblock);
			superblock->clean = false;
			superblock->generation++;
			error = write_rows(build, replay, page, fail);
		}
	}
	memory_unmap(page, SUPERBLOCK_BYTES);
	return error;
}

/* What the last run left behind: the log is re-done, the maps are read. */
static int recover_once(struct build *build, const struct array_start_options *options,
	int *failed_row, struct fail *fail)
{
	const struct superblock *superblock = &build->superblock;
	struct replay replay;
	bool was_clean = superblock->clean;
	uint64_t dirty;
	int error = open_replay(&replay, build, fail);

	/* What a killed program had in flight may have been read from a cache: nothing is built
	 * on it before it is stable. */
	if (!error && !MUTANT(start_not_flushed)) {
		error = replay_flush(&replay);
		if (error)
			fail_set(fail, -error, "a drive of array %s cannot be flushed: %s",
				superblock->name, strerror(-error));
	}
	if (!error)
		error = replay_maps(&replay, build->maps, fail);
	dirty = error ? 0 : map_count(build->maps[MAP_DIRTY].bits);
	/* The dirty map speaks of writes that no log covers. After a stop in order it only says
	 * where a resync had not come yet: what is missing there gives errors until it has. */
	if (!error && dirty && !was_clean && is_parity(superblock) && slots_short(build) &&
		!options->accept_loss && !MUTANT(start_dirty_degraded))
		error = fail_set(fail, EUCLEAN,
			"array %s was not stopped in order and a member is missing: %llu regions "
			"of "
			"%llu MiB may hold wrong data in place of the missing member's (policy "
			"%s). "
			"Attach the missing drives; or --accept-loss, and check the data",
			superblock->name, (unsigned long long)dirty,
			(unsigned long long)(superblock->region_bytes >> 20),
			consistency_name(superblock->consistency));
	if (!error)
		error = record_absent(build, &replay, fail);
	if (!error && !was_clean && is_parity(superblock))
		error = replay_log(&replay, fail);
	*failed_row = replay.failed_row;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		if (replay.queues[i])
			blockdev_close_queue(replay.queues[i]);
	return error;
}

/* Whether every part has enough members for its data. */
static bool can_serve(const struct build *build)
{
	const struct superblock *superblock = &build->superblock;
	unsigned parts = superblock->parts ? superblock->parts : 1;
	unsigned each = superblock->members / parts;
	const struct level *level =
		superblock->level->part ? superblock->level->part : superblock->level;

	for (unsigned part = 0; part < parts; part++) {
		unsigned lost = 0;

		for (unsigned i = part * each; i < (part + 1) * each; i++)
			lost += !build->dev[i] || superblock->rows[i].state != ROW_IN_SYNC;
		if (lost > level_tolerance(level, each))
			return false;
	}
	return true;
}

/* A member whose log cannot be read, or who cannot be written, is as good as absent. */
static int recover(
	struct build *build, const struct array_start_options *options, struct fail *fail)
{
	int failed_row, error;

	while ((error = recover_once(build, options, &failed_row, fail)) && failed_row >= 0) {
		struct blockdev *dev = build->dev[failed_row];

		build->dev[failed_row] = NULL;
		if (!can_serve(build)) {
			build->dev[failed_row] = dev;
			return error;
		}
		log_warning("event=Fail array=%s slot=%d drive=\"%s\" reason=\"%s\"",
			build->superblock.name, failed_row, dev->name, fail->text);
		blockdev_release(dev);
	}
	return error;
}

int array_start(struct array **array, const struct assembly *assembly,
	const struct array_start_options *options, struct reactor_group *group, struct fail *fail)
{
	struct build *build;
	int error = check_start(assembly, fail);

	if (error)
		return error;
	build = calloc(1, sizeof(*build));
	if (build)
		build->maps[0].bits = calloc(KEEPER_MAPS, MAP_BYTES);
	if (!build || !build->maps[0].bits) {
		free(build);
		return fail_set(fail, ENOMEM, "no memory for array %s", assembly->superblock.name);
	}
	for (unsigned kind = 1; kind < KEEPER_MAPS; kind++)
		build->maps[kind].bits = build->maps[0].bits + kind * MAP_BYTES;
	build->group = group;
	start_config(build, assembly, options);
	/* After a crash nobody knows how far a copy had got. */
	for (unsigned i = 0; i < SUPERBLOCK_ROWS && !build->superblock.clean; i++)
		if (build->superblock.rows[i].state == ROW_REPLACING)
			build->superblock.rows[i].watermark = 0;
	error = build_claim(build, fail);
	if (!error) {
		error = recover(build, options, fail);
		build_release(build);
	}
	if (!error) {
		void_copies(build);
		if (slots_short(build))
			note_missing(build);
		if (!MUTANT(log_epoch_kept))
			build->superblock.log_epoch++;
		build->superblock.clean = false;
		build->superblock.host_id = options->host_id;
		snprintf(build->superblock.writer, sizeof(build->superblock.writer), "braid %s",
			BRAID_VERSION);
		error = build_array(array, build, fail);
	}
	free(build->maps[0].bits);
	free(build);
	return error;
}
