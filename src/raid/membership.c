/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who belongs to an array, and as what: the rows of the table.
 *
 *	slots:   IN_SYNC --loss, operator, absent at start--> FAILED
 *	            ^                                           |  use_spare: 0, readd: what it
 * missed
 *	            +---- sweep has reached the end --- REBUILDING
 *
 *	others:  EMPTY --add_spare--> SPARE --use_spare--> EMPTY (its drive is in the slot now)
 *	                                |
 *	                                +--replace--> REPLACING --sweep's end--> EMPTY (likewise;
 * the
 *	                                                                         old drive is let
 * go)
 *
 * Every change is made while the array is held still (quiesce.c), so that it is atomic to I/O,
 * and is durable before I/O goes on. A loss is the exception: raid/member.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "raid/assembly.h"
#include "raid/gpt.h"
#include "raid/internal.h"

struct array *array_of_row(struct array *whole, unsigned row, unsigned *member)
{
	unsigned each = whole->config.members / array_plain_count(whole);

	assert(row < whole->config.members);
	*member = row % each;
	return array_plain(whole, row / each);
}

static const char *row_name(const struct array *whole, unsigned row)
{
	const struct blockdev *dev = whole->keeper->rows[row].dev;

	return dev ? dev->name : "(absent)";
}

/* What is away from a broken array must be able to come back to it as it was. */
static int check_not_broken(const struct array *whole, struct fail *fail)
{
	if (!whole->keeper->frozen)
		return 0;
	return fail_set(fail, EIO,
		"array %s is broken: bring its drives back, then stop and start it",
		whole->config.name);
}

/* --- failing --------------------------------------------------------------------------------- */

struct lose_call {
	struct shard *shard;
	unsigned member;
};

static int lose_on_home(void *argument)
{
	struct lose_call *call = argument;

	member_lose(call->shard, call->member, LOSS_OPERATOR);
	return 0;
}

int array_fail_check(struct array *array, unsigned row, bool beyond_redundancy, struct fail *fail)
{
	const char *name = array->config.name;
	struct array_status status;
	struct array *part;
	unsigned member, failed = 0;

	array_status(array, &status);
	if (row >= status.rows || status.member[row].state == ROW_EMPTY)
		return fail_set(fail, ENOENT, "array %s has no such member", name);
	if (row >= status.members)
		return 0;
	part = array_of_row(array, row, &member);
	if (!part->geometry.redundant)
		return fail_set(fail, EPERM,
			"array %s is %s and has no redundancy: it cannot go on without a drive",
			name, part->geometry.level->text);
	if (status.member[row].state == ROW_FAILED)
		return fail_set(fail, EALREADY, "drive %s of array %s has failed already",
			row_name(array, row), name);
	for (unsigned i = 0; i < part->geometry.members; i++)
		failed += part->first_row + i != row &&
			  status.member[part->first_row + i].state != ROW_IN_SYNC;
	if (failed >= part->geometry.redundant && !beyond_redundancy)
		return fail_set(fail, EPERM,
			"array %s has no redundancy left: without drive %s it cannot serve its "
			"data; "
			"--allow-failed does it all the same",
			name, row_name(array, row));
	for (unsigned i = 0; i < part->geometry.members && !beyond_redundancy; i++)
		if (part->first_row + i != row && status.member[part->first_row + i].bad_blocks)
			return fail_set(fail, EPERM,
				"drive %s of array %s has bad blocks, and what they held of drive "
				"%s's rows could not be told without it: write them anew first "
				"(braid array show %s), or --allow-failed",
				row_name(array, part->first_row + i), name, row_name(array, row),
				name);
	/* What is missing there could not be told from what is left: raid/op_plan.c. A copy of a
	 * mirror is right whichever it is. */
	if (status.dirty_regions && part->geometry.level->redundancy == REDUNDANCY_PARITY &&
		status.member[row].state == ROW_IN_SYNC && !beyond_redundancy)
		return fail_set(fail, EPERM,
			"array %s has %llu regions that wait for a resync: without drive %s its "
			"blocks there could not be read; wait for it (braid job list), or "
			"--allow-failed",
			name, (unsigned long long)status.dirty_regions, row_name(array, row));
	return 0;
}

static void clear_row(struct array *whole, unsigned row)
{
	struct keeper *keeper = whole->keeper;
	struct blockdev *dev = keeper->rows[row].dev;

	keeper_seat(keeper, row, NULL, NULL);
	if (dev)
		blockdev_release(dev);
	if (row >= keeper->superblock.members)
		memset(&keeper->superblock.rows[row], 0, sizeof(keeper->superblock.rows[row]));
}

/* What a shard does while the array is held still. */
struct seat_call {
	struct shard *shard;
	unsigned member;
	unsigned row;	      /* of the table: of a replacement */
	struct blockdev *dev; /* NULL: take it out */
	uint64_t watermark;
	struct fail *fail;
};

static void forget_member(struct shard *shard, unsigned member)
{
	struct loss *loss = &shard->losses[member];
	uint32_t bit = 1u << member;

	shard->lost &= ~bit;
	shard->settled &= ~bit;
	shard->announced &= ~bit;
	shard->rebuilding &= ~bit;
	loss->suspected = false;
	shard->member_counters[member] = (struct member_counters){0};
	pace_forget(shard, member);
}

static int close_replacement(void *argument)
{
	struct seat_call *call = argument;
	struct blockdev_queue **queue = &call->shard->replacement_queues[call->member];

	call->shard->replacements[call->member] = NULL;
	if (*queue)
		blockdev_close_queue(*queue);
	*queue = NULL;
	return 0;
}

static int open_replacement(void *argument)
{
	struct seat_call *call = argument;
	struct shard *shard = call->shard;
	struct blockdev_queue **queue = &shard->replacement_queues[call->member];
	int error = blockdev_open_queue(call->dev, shard->reactor, queue, call->fail);

	if (!error) {
		shard->replacements[call->member] = *queue;
		shard->replacement_rows[call->member] = (uint8_t)call->row;
	}
	return error;
}

static int close_member(void *argument)
{
	struct seat_call *call = argument;
	struct shard *shard = call->shard;
	struct blockdev_queue **queue = &shard->members[call->member];

	if (*queue)
		blockdev_close_queue(*queue);
	*queue = NULL;
	return 0;
}

/* A member that is to be rebuilt from the watermark on. */
static int open_member(void *argument)
{
	struct seat_call *call = argument;
	struct shard *shard = call->shard;
	struct blockdev_queue **queue = &shard->members[call->member];
	int error = blockdev_open_queue(call->dev, shard->reactor, queue, call->fail);

	if (error)
		return error;
	forget_member(shard, call->member);
	shard->rebuilding |= 1u << call->member;
	shard->watermark[call->member] = call->watermark;
	return 0;
}

/* The same on every shard of a part. */
static int on_shards(struct array *part, struct seat_call *call, int (*function)(void *))
{
	int error = 0;

	for (unsigned i = 0; i < part->shard_count && !error; i++) {
		call->shard = part->shards[i];
		error = reactor_call(part->shards[i]->reactor, function, call);
	}
	return error;
}

int array_fail_member(struct array *array, unsigned row, bool beyond_redundancy, struct fail *fail)
{
	int error = array_fail_check(array, row, beyond_redundancy, fail);
	struct lose_call call;
	struct array *part;

	if (error)
		return error;
	if (row >= array->config.members)
		return array_remove_member(array, row, fail);
	part = array_of_row(array, row, &call.member);
	call.shard = part->shards[0];
	reactor_call(call.shard->reactor, lose_on_home, &call);
	pthread_mutex_lock(&array->change);
	array_settle(array);
	pthread_mutex_unlock(&array->change);
	return 0;
}

int array_remove_member(struct array *array, unsigned row, struct fail *fail)
{
	struct keeper *keeper = array->keeper;
	struct seat_call call = {0};
	struct array *part;
	int error = 0;

	array_quiesce(array);
	error = check_not_broken(array, fail);
	if (error)
		goto resume;
	if (row < array->config.members) {
		part = array_of_row(array, row, &call.member);
		if (keeper->superblock.rows[row].state != ROW_FAILED) {
			error = fail_set(fail, EBUSY,
				"drive %s is in use by array %s: fail it first, or replace it",
				row_name(array, row), array->config.name);
			goto resume;
		}
		on_shards(part, &call, close_member);
		part->config.member[call.member] = array->config.member[row] = NULL;
		clear_row(array, row);
	} else {
		if (keeper->superblock.rows[row].state == ROW_REPLACING) {
			part = array_of_row(
				array, keeper->superblock.rows[row].replaces, &call.member);
			on_shards(part, &call, close_replacement);
		}
		clear_row(array, row);
	}
resume:
	array_resume(array, !error);
	return error;
}

/* --- adding ---------------------------------------------------------------------------------- */

/* Claims dev and makes it the drive of a row; the row's state is the caller's. */
static int seat(struct array *whole, unsigned row, struct blockdev *dev, const char *fingerprint,
	struct fail *fail)
{
	struct keeper *keeper = whole->keeper;
	struct keeper_row *place = &keeper->rows[row];
	char user[BLOCKDEV_USER_BYTES];
	struct extent rings[2];
	int error;

	snprintf(user, sizeof(user), "array %s", whole->config.name);
	error = blockdev_claim(dev, user, fail);
	if (error)
		return error;
	error = keeper_seat(keeper, row, dev, fail);
	if (error) {
		blockdev_release(dev);
		return error;
	}
	place->bytes = blockdev_bytes(dev);
	layout_find_superblocks(rings, array_places(whole), place->bytes);
	place->second_ring = rings[1].offset;
	snprintf(place->fingerprint, sizeof(place->fingerprint), "%s", fingerprint);
	return 0;
}

static int check_size(const struct array *whole, const struct blockdev *dev, struct fail *fail)
{
	const struct superblock *superblock = &whole->keeper->superblock;
	uint64_t needed = superblock->layout.data.offset +
			  superblock->stripes * superblock->chunk_bytes +
			  array_places(whole)->tail_bytes;

	if (dev->block_bytes != superblock->block_bytes)
		return fail_set(fail, EINVAL,
			"drive %s has blocks of %u bytes, array %s has %u: attach it with "
			"--block-size %u",
			dev->name, dev->block_bytes, superblock->name, superblock->block_bytes,
			superblock->block_bytes);
	if (blockdev_bytes(dev) / LAYOUT_UNIT_BYTES * LAYOUT_UNIT_BYTES < needed)
		return fail_set(fail, ENOSPC,
			"drive %s of %llu bytes is too small for array %s: its members have at "
			"least "
			"%llu",
			dev->name, (unsigned long long)blockdev_bytes(dev), superblock->name,
			(unsigned long long)needed);
	return 0;
}

int array_add_spare(
	struct array *array, struct blockdev *dev, const char *fingerprint, struct fail *fail)
{
	struct keeper *keeper = array->keeper;
	unsigned row = array->config.members;
	int error = check_size(array, dev, fail);

	if (error)
		return error;
	while (row < SUPERBLOCK_ROWS && keeper->superblock.rows[row].state != ROW_EMPTY)
		row++;
	if (row == SUPERBLOCK_ROWS)
		return fail_set(
			fail, ENOSPC, "array %s has no room for more spares", array->config.name);
	if (!array_plain(array, 0)->geometry.redundant)
		return fail_set(fail, EPERM, "array %s is %s: a spare would be of no use to it",
			array->config.name, array->config.level->text);
	array_quiesce(array);
	error = check_not_broken(array, fail);
	if (!error)
		error = seat(array, row, dev, fingerprint ? fingerprint : "", fail);
	if (!error) {
		keeper->superblock.rows[row] = (struct superblock_row){
			.state = ROW_SPARE, .since = keeper->superblock.generation + 1};
		uuid_make(&keeper->superblock.rows[row].uuid);
		notes_spread(array);
		gpt_write(dev, keeper->reactor, array_places(array),
			&keeper->superblock.rows[row].uuid, NULL);
	}
	array_resume(array, !error);
	return error;
}

/* The row's drive and identity move to another row. */
static void move_row(struct array *whole, unsigned from, unsigned to)
{
	struct keeper *keeper = whole->keeper;
	struct keeper_row *source = &keeper->rows[from], *target = &keeper->rows[to];
	struct superblock_row *entry = &keeper->superblock.rows[from];

	keeper->superblock.rows[to].uuid = entry->uuid;
	target->dev = source->dev;
	target->queue = source->queue;
	target->bytes = source->bytes;
	target->second_ring = source->second_ring;
	target->broken = source->broken;
	memcpy(target->fingerprint, source->fingerprint, sizeof(target->fingerprint));
	source->dev = NULL;
	source->queue = NULL;
	memset(entry, 0, sizeof(*entry));
}

/* The copy in `row` is void: its drive is a spare again, or forgotten if it does not work. */
static void void_copy(struct array *whole, unsigned row)
{
	struct keeper *keeper = whole->keeper;
	struct seat_call call = {0};
	struct array *part =
		array_of_row(whole, keeper->superblock.rows[row].replaces, &call.member);

	on_shards(part, &call, close_replacement);
	if (keeper->rows[row].broken) {
		clear_row(whole, row);
	} else {
		keeper->superblock.rows[row].watermark = 0;
		keeper->superblock.rows[row].replaces = 0;
		keeper_row_set(keeper, row, ROW_SPARE);
	}
}

static void void_copies_of(struct array *whole, unsigned slot)
{
	for (unsigned i = whole->keeper->superblock.members; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &whole->keeper->superblock.rows[i];

		if (row->state == ROW_REPLACING && row->replaces == slot)
			void_copy(whole, i);
	}
}

/* Puts the drive of a row, whose seat it has at home, to work in a slot: REBUILDING. */
static int put_to_work(
	struct array *whole, unsigned slot, uint64_t watermark, bool resyncable, struct fail *fail)
{
	struct keeper *keeper = whole->keeper;
	struct superblock_row *entry = &keeper->superblock.rows[slot];
	struct seat_call call = {
		.dev = keeper->rows[slot].dev, .watermark = watermark, .fail = fail};
	struct array *part = array_of_row(whole, slot, &call.member);
	int error = on_shards(part, &call, open_member);

	if (error)
		return error;
	part->config.member[call.member] = call.dev;
	whole->config.member[slot] = call.dev;
	array_allow_for(part, call.dev);
	entry->watermark = watermark;
	entry->resyncable = resyncable;
	keeper_row_set(keeper, slot, ROW_REBUILDING);
	return 0;
}

static int check_spare(const struct array *array, unsigned spare, struct fail *fail)
{
	const struct keeper *keeper = array->keeper;

	if (spare >= SUPERBLOCK_ROWS || keeper->superblock.rows[spare].state != ROW_SPARE ||
		!keeper->rows[spare].dev || keeper->rows[spare].broken)
		return fail_set(
			fail, ENODEV, "array %s has no such spare that works", array->config.name);
	return 0;
}

int array_use_spare(struct array *array, unsigned spare, unsigned slot, struct fail *fail)
{
	struct keeper *keeper = array->keeper;
	struct seat_call call = {0};
	struct array *part = array_of_row(array, slot, &call.member);
	int error;

	array_quiesce(array);
	error = check_not_broken(array, fail);
	if (!error)
		error = check_spare(array, spare, fail);
	if (!error && keeper->superblock.rows[slot].state != ROW_FAILED)
		error = fail_set(fail, EBUSY,
			"slot %u of array %s has not failed: use replace for a drive that works",
			slot, array->config.name);
	if (error)
		goto resume;
	void_copies_of(array, slot);
	on_shards(part, &call, close_member);
	part->config.member[call.member] = NULL;
	clear_row(array, slot);
	move_row(array, spare, slot);
	bad_forget(array, spare);
	bad_forget(array, slot);
	error = put_to_work(array, slot, 0, false, fail);
	if (!error)
		keeper_maps_now(keeper);
resume:
	array_resume(array, !error);
	if (!error)
		log_info("event=RebuildStarted array=%s slot=%u drive=\"%s\"", array->config.name,
			slot, row_name(array, slot));
	return error;
}

int array_replace(struct array *array, unsigned spare, unsigned slot, struct fail *fail)
{
	struct keeper *keeper = array->keeper;
	struct superblock_row *entry = &keeper->superblock.rows[spare];
	struct seat_call call = {.fail = fail};
	struct array *part = array_of_row(array, slot, &call.member);
	int error;

	array_quiesce(array);
	error = check_not_broken(array, fail);
	if (!error)
		error = check_spare(array, spare, fail);
	if (!error && keeper->superblock.rows[slot].state == ROW_FAILED)
		error = fail_set(fail, ENODEV,
			"slot %u of array %s has failed: let the spare take it", slot,
			array->config.name);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS && !error; i++)
		if (keeper->superblock.rows[i].state == ROW_REPLACING &&
			keeper->superblock.rows[i].replaces == slot)
			error = fail_set(fail, EALREADY,
				"drive %s of array %s is being replaced already",
				row_name(array, slot), array->config.name);
	if (error)
		goto resume;
	call.dev = keeper->rows[spare].dev;
	call.row = spare;
	error = on_shards(part, &call, open_replacement);
	if (error)
		goto resume;
	bad_forget(array, spare);
	array_allow_for(part, call.dev); /* it gets whatever is written, from now on */
	entry->replaces = (uint8_t)slot;
	entry->watermark = 0;
	keeper_row_set(keeper, spare, ROW_REPLACING);
resume:
	array_resume(array, !error);
	return error;
}

int array_readd(struct array *array, struct blockdev *dev, const struct superblock *superblock,
	struct fail *fail)
{
	struct keeper *keeper = array->keeper;
	struct seat_call call = {0};
	struct array *part;
	unsigned slot = 0;
	int error = check_size(array, dev, fail);

	if (error)
		return error;
	array_quiesce(array);
	while (slot < array->config.members &&
		!uuid_equal(&keeper->superblock.rows[slot].uuid, &superblock->member_uuid))
		slot++;
	error = check_not_broken(array, fail);
	if (error)
		goto resume;
	if (!uuid_equal(&superblock->array_uuid, &keeper->superblock.array_uuid) ||
		slot == array->config.members)
		error = fail_set(fail, ESTALE,
			"drive %s is no member of array %s, or another drive has taken its slot: "
			"add "
			"it as a spare",
			dev->name, array->config.name);
	else if (keeper->superblock.rows[slot].state != ROW_FAILED)
		error = fail_set(fail, EALREADY, "drive %s is in use by array %s", dev->name,
			array->config.name);
	else if (superblock->generation >= keeper->superblock.rows[slot].since)
		error = fail_set(fail, ESTALE,
			"drive %s went on without array %s: its content is another one; add it as "
			"a "
			"spare",
			dev->name, array->config.name);
	else if (!assembly_is_covered(&keeper->superblock, slot, superblock) &&
		 !MUTANT(readd_uncovered))
		error = fail_set(fail, ESTALE,
			"what drive %s missed is not known (it was lost in a crash, or while it "
			"was "
			"being rebuilt): add it as a spare for a full rebuild",
			dev->name);
	if (error)
		goto resume;
	part = array_of_row(array, slot, &call.member);
	void_copies_of(array, slot);
	on_shards(part, &call, close_member);
	clear_row(array, slot);
	error = seat(array, slot, dev, superblock->fingerprint, fail);
	if (!error)
		error = put_to_work(array, slot, 0, true, fail);
	if (!error)
		keeper_maps_now(keeper);
resume:
	array_resume(array, !error);
	return error;
}

/* --- the end of a rebuild -------------------------------------------------------------------- */

static int in_sync_on_shard(void *argument)
{
	struct seat_call *call = argument;

	call->shard->rebuilding &= ~(1u << call->member);
	return 0;
}

/* Whether every write since has reached the copy. */
static int copy_is_whole(void *argument)
{
	const struct seat_call *call = argument;

	return call->shard->replacements[call->member] ? 0 : -EIO;
}

static int take_slot_on_shard(void *argument)
{
	struct seat_call *call = argument;
	struct shard *shard = call->shard;

	if (shard->members[call->member])
		blockdev_close_queue(shard->members[call->member]);
	shard->members[call->member] = shard->replacement_queues[call->member];
	shard->replacements[call->member] = shard->replacement_queues[call->member] = NULL;
	forget_member(shard, call->member);
	return 0;
}

/* The copy in `row` takes its slot; the old member's content is stale from here on. */
static int take_slot(struct array *whole, unsigned row, struct fail *fail)
{
	struct keeper *keeper = whole->keeper;
	unsigned slot = keeper->superblock.rows[row].replaces;
	struct seat_call call = {0};
	struct array *part = array_of_row(whole, slot, &call.member);
	struct blockdev *old = keeper->rows[slot].dev;

	if (on_shards(part, &call, copy_is_whole) || keeper->rows[row].broken) {
		void_copy(whole, row);
		return fail_set(fail, EIO,
			"drive %s of array %s is not replaced: it failed, or its copy could not be "
			"written, meanwhile; the copy is a spare again",
			row_name(whole, slot), whole->config.name);
	}
	if (bad_take_slot(whole, row, slot)) {
		void_copy(whole, row);
		return fail_set(fail, ENOSPC,
			"drive %s of array %s is not replaced: the array has too many bad blocks, "
			"see braid array show %s; the copy is a spare again",
			row_name(whole, slot), whole->config.name, whole->config.name);
	}
	on_shards(part, &call, take_slot_on_shard);
	keeper_seat(keeper, slot, NULL, NULL);
	if (old)
		blockdev_release(old);
	move_row(whole, row, slot);
	keeper_row_set(keeper, slot, ROW_IN_SYNC);
	part->config.member[call.member] = whole->config.member[slot] = keeper->rows[slot].dev;
	return 0;
}

static bool has_reached_end(
	const struct array *whole, const struct superblock_row *rows, unsigned row)
{
	const struct superblock_row *now = &whole->keeper->superblock.rows[row];

	return now->state == rows[row].state && now->since == rows[row].since &&
	       now->watermark == whole->keeper->superblock.stripes;
}

static int forget_missing(void *argument)
{
	struct shard *shard = argument;

	memset(shard->intent.known[MAP_MISSING], 0, divide_up(shard->array->regions, 8));
	return 0;
}

/* With every slot in sync nobody has missed anything. FAULTS.md: I4. */
static void clear_missing(struct array *whole)
{
	struct keeper *keeper = whole->keeper;

	for (unsigned i = 0; i < keeper->superblock.members && !MUTANT(missing_cleared); i++)
		if (keeper->superblock.rows[i].state != ROW_IN_SYNC)
			return;
	memset(keeper->maps[MAP_MISSING].bits, 0, MAP_BYTES);
	array_each_shard(whole, forget_missing);
}

int array_finish_rebuild(struct array *whole, const struct superblock_row *rows, struct fail *fail)
{
	struct keeper *keeper = whole->keeper;
	int error = 0;

	array_quiesce(whole);
	notes_spread(whole);
	for (unsigned row = 0; row < keeper->superblock.members; row++) {
		struct seat_call call = {0};
		struct array *part = array_of_row(whole, row, &call.member);

		if (rows[row].state != ROW_REBUILDING || !has_reached_end(whole, rows, row))
			continue;
		on_shards(part, &call, in_sync_on_shard);
		keeper->superblock.rows[row].resyncable = false;
		keeper->superblock.rows[row].watermark = 0;
		keeper_row_set(keeper, row, ROW_IN_SYNC);
		log_info("event=SpareActive array=%s slot=%u drive=\"%s\"", whole->config.name, row,
			row_name(whole, row));
	}
	for (unsigned row = keeper->superblock.members; row < SUPERBLOCK_ROWS; row++)
		if (rows[row].state == ROW_REPLACING && has_reached_end(whole, rows, row) &&
			take_slot(whole, row, fail))
			error = -EIO;
	clear_missing(whole);
	keeper_maps_now(keeper);
	array_resume(whole, true);
	return error;
}
