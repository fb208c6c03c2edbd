/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding an array still: while its membership changes no write is under way that knows the old
 * one, so none can miss the new member, and the log of the old one is dead (docs/CONSISTENCY.md).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "raid/internal.h"
#include "raid/transfer.h"

void array_each_shard(struct array *whole, int (*function)(void *shard))
{
	for (unsigned p = 0; p < array_plain_count(whole); p++) {
		struct array *array = array_plain(whole, p);

		for (unsigned i = 0; i < array->shard_count; i++)
			reactor_call(array->shards[i]->reactor, function, array->shards[i]);
	}
}

/* --- losses ---------------------------------------------------------------------------------- */

/* On each shard's reactor. 1: a loss is not yet known everywhere. */
static int losses_pending(void *argument)
{
	const struct shard *shard = argument;
	const struct shard *home = shard->array->shards[0];

	if (shard == home && (home->announced != home->settled || home->breaking != home->broken))
		return 1;
	return shard->lost != shard->settled;
}

static int break_pending(void *argument)
{
	return !((const struct shard *)argument)->broken;
}

/* Home is asked last: what a shard has sent it before is there by then. */
static bool pending_in(struct array *array)
{
	struct shard *home = array->shards[0];
	bool pending = false;

	for (unsigned i = array->shard_count; i-- > 0;)
		pending |=
			reactor_call(array->shards[i]->reactor, losses_pending, array->shards[i]) &&
			!array->shards[i]->broken;
	if (!reactor_call(home->reactor, break_pending, home))
		for (unsigned i = 0; i < array->shard_count; i++)
			pending |= reactor_call(
				array->shards[i]->reactor, break_pending, array->shards[i]);
	return pending;
}

static int keeper_busy(void *argument)
{
	const struct keeper *keeper = argument;

	return !keeper_is_idle(keeper) || (keeper->held && intent_tick_runs(keeper));
}

static int hold_ticks(void *argument)
{
	((struct keeper *)argument)->held = true;
	return 0;
}

static int let_ticks(void *argument)
{
	((struct keeper *)argument)->held = false;
	return 0;
}

void array_settle(struct array *whole)
{
	bool pending;

	do {
		pending = reactor_call(whole->keeper->reactor, keeper_busy, whole->keeper);
		for (unsigned i = 0; i < array_plain_count(whole); i++)
			pending |= pending_in(array_plain(whole, i));
	} while (pending);
}

/* --- pausing --------------------------------------------------------------------------------- */

struct pause_call {
	struct shard *shard;
	bool paused;
};

/* On each shard's reactor. 1: something is still in flight. */
static int pause_on_reactor(void *argument)
{
	struct pause_call *call = argument;
	struct shard *shard = call->shard;

	shard->paused = call->paused;
	return call->paused && (shard->requests_busy || shard->ops_busy || !log_is_idle(shard) ||
				       !intent_is_idle(shard));
}

static bool pause_one(struct array *array, bool paused)
{
	bool busy = false;

	for (unsigned i = 0; i < array->shard_count; i++) {
		struct pause_call call = {array->shards[i], paused};

		busy |= reactor_call(array->shards[i]->reactor, pause_on_reactor, &call);
	}
	return busy;
}

/* The outer array of a stacked one first, or its requests would wait inside the parts. */
static bool pause_all(struct array *whole, bool paused)
{
	bool busy = pause_one(whole, paused);

	for (unsigned i = 0; i < whole->part_count && !busy; i++)
		busy |= pause_one(whole->parts[i], paused);
	return busy;
}

static int report_flush(void *argument)
{
	struct keeper_row *row = argument;
	struct keeper *keeper = row->keeper;
	unsigned index = (unsigned)(row - keeper->rows), member;
	struct array *part;

	if (index >= keeper->superblock.members) {
		row->broken = true;
		return 0;
	}
	part = array_of_row(keeper->array, index, &member);
	member_write_error(part->shards[0], member, LOSS_FLUSH_ERROR);
	return 0;
}

static void flush_members(struct array *whole)
{
	struct keeper *keeper = whole->keeper;
	struct transfer transfers[SUPERBLOCK_ROWS];
	bool started[SUPERBLOCK_ROWS] = {false};

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		enum row_state state = keeper->superblock.rows[i].state;

		if (!keeper->rows[i].queue || !keeper->rows[i].dev->volatile_cache ||
			state == ROW_FAILED || state == ROW_EMPTY || MUTANT(quiesce_no_flush))
			continue;
		transfer_start(&transfers[i], keeper->rows[i].queue, IO_FLUSH, 0, NULL, 0);
		started[i] = true;
	}
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		if (started[i] && transfer_wait(&transfers[i]))
			reactor_call(keeper->reactor, report_flush, &keeper->rows[i]);
}

void array_quiesce(struct array *whole)
{
	pthread_mutex_lock(&whole->change);
	reactor_call(whole->keeper->reactor, hold_ticks, whole->keeper);
	/* Every call takes a turn of every reactor, so requests go on while this waits. */
	while (pause_all(whole, true))
		;
	array_settle(whole);
	flush_members(whole);
	array_settle(whole);
	bad_begin(whole);
}

static int new_log_epoch(void *argument)
{
	((struct keeper *)argument)->superblock.log_epoch++;
	return 0;
}

static int reset_log(void *shard)
{
	log_reset(shard);
	return 0;
}

void array_resume(struct array *whole, bool changed)
{
	if (changed) {
		if (!MUTANT(membership_keeps_log))
			reactor_call(whole->keeper->reactor, new_log_epoch, whole->keeper);
		keeper_commit_now(whole->keeper, true);
		bad_finish(whole);
		array_each_shard(whole, reset_log);
	}
	reactor_call(whole->keeper->reactor, let_ticks, whole->keeper);
	for (unsigned i = 0; i < whole->part_count; i++)
		pause_one(whole->parts[i], false);
	pause_one(whole, false);
	pthread_mutex_unlock(&whole->change);
}

/* --- owners ---------------------------------------------------------------------------------- */

static void check_owners(const struct array_owners *ranges, unsigned count)
{
	assert(count <= ARRAY_OWNERS_MAX);
	for (unsigned i = 0; i < count; i++) {
		assert(ranges[i].reactors && ranges[i].first_stripe < ranges[i].end_stripe);
		assert(!i || ranges[i - 1].end_stripe <= ranges[i].first_stripe);
	}
}

static void set_owners(struct array *array, const struct array_owners *ranges, unsigned count)
{
	memcpy(array->owners, ranges, count * sizeof(ranges[0]));
	array->owners_count = count;
}

int array_set_owners(
	struct array *array, const struct array_owners *ranges, unsigned count, struct fail *fail)
{
	if (count > ARRAY_OWNERS_MAX)
		return fail_set(fail, ENOSPC,
			"at most %d volumes of an array can have cores of their own",
			ARRAY_OWNERS_MAX);
	check_owners(ranges, count);
	array_quiesce(array);
	for (unsigned i = 0; i < array->part_count; i++)
		set_owners(array->parts[i], ranges, count);
	set_owners(array, ranges, count);
	/* A stripe's records move to another lane: those of the old one must not be re-done after
	 * them. */
	array_resume(array, true);
	return 0;
}

struct shard *array_owner(const struct array *array, uint64_t stripe)
{
	unsigned low = 0, high = array->owners_count;

	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct array_owners *range = &array->owners[middle];

		if (stripe < range->first_stripe) {
			high = middle;
		} else if (stripe >= range->end_stripe) {
			low = middle + 1;
		} else {
			unsigned skip =
				(unsigned)stripe % (unsigned)__builtin_popcountll(range->reactors);
			uint64_t mask = range->reactors;

			while (skip--)
				mask &= mask - 1;
			return array->shards[__builtin_ctzll(mask)];
		}
	}
	return array->shards[stripe % array->shard_count];
}
