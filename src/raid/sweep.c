/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long work over a whole array, from a control thread: it goes through the stripes window by
 * window,
 * with a few windows in flight, each an op on the reactor that owns the stripe (raid/op.c). Guests'
 * writes go on; row locks keep the two apart.
 *
 *	for each segment of stripes:
 *		windows in flight ... drained
 *		targets flushed, watermark durable, then known to the shards (FAULTS.md: I5)
 *
 * A rebuild writes what the other columns say, so it may be done twice: after a crash it goes on
 * from the durable watermark.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/mutant.h"
#include "raid/internal.h"
#include "raid/transfer.h"

enum {
	WINDOWS_IN_FLIGHT = 8,
	SEGMENT_BYTES = 64 << 20,    /* of each member, between two looks at the world */
	WATERMARK_BYTES = 512 << 20, /* of each member, between two durable watermarks */
};

/* Between two durable watermarks. */
static const uint64_t watermark_ns = 20000000000;

struct sweep {
	struct array *whole;
	enum sweep_kind kind;
	struct sweep_progress *progress;
	struct sweep_op ops[WINDOWS_IN_FLIGHT];
	atomic_bool busy[WINDOWS_IN_FLIGHT];
	bool counted[WINDOWS_IN_FLIGHT];	   /* its result has been looked at */
	uint64_t limit, started_ns, limited_bytes; /* bytes since then under that limit */
	uint64_t failed_stripe;			   /* UINT64_MAX: none */
	uint64_t saved_stripe;
	uint64_t saved_ns;
};

/* --- windows --------------------------------------------------------------------------------- */

static void window_done(struct sweep_op *op)
{
	struct sweep *sweep = container_of(op - op->index, struct sweep, ops[0]);

	atomic_store(&sweep->busy[op->index], false);
}

static void count(struct sweep *sweep, unsigned index)
{
	struct sweep_progress *progress = sweep->progress;
	const struct sweep_op *op = &sweep->ops[index];

	if (sweep->counted[index])
		return;
	sweep->counted[index] = true;
	atomic_fetch_add(&progress->mismatches, op->mismatches);
	atomic_fetch_add(&progress->located, op->located);
	if (!op->status)
		atomic_fetch_add(&progress->repaired, op->repaired);
	atomic_fetch_add(&progress->unreadable, op->unreadable);
	if (op->status)
		sweep->failed_stripe = MIN(sweep->failed_stripe, op->stripe);
}

static void drain(struct sweep *sweep)
{
	for (unsigned i = 0; i < WINDOWS_IN_FLIGHT; i++) {
		while (atomic_load(&sweep->busy[i]))
			reactor_yield(sweep->whole->group);
		count(sweep, i);
	}
}

static unsigned free_window(struct sweep *sweep)
{
	for (;;) {
		for (unsigned i = 0; i < WINDOWS_IN_FLIGHT; i++)
			if (!atomic_load(&sweep->busy[i])) {
				count(sweep, i);
				return i;
			}
		reactor_yield(sweep->whole->group);
	}
}

static void run_window(struct message *message)
{
	struct sweep_op *op = container_of(message, struct sweep_op, message);

	op_sweep(op->array->shards[reactor_index(reactor_self())], op);
}

static void start_window(struct sweep *sweep, struct array *array, uint64_t stripe, uint32_t row)
{
	unsigned index = free_window(sweep);
	struct sweep_op *op = &sweep->ops[index];

	*op = (struct sweep_op){
		.message.run = run_window,
		.done = window_done,
		.index = index,
		.array = array,
		.kind = sweep->kind,
		.stripe = stripe,
		.row_first = row,
		.row_end = MIN(row + array->geometry.window_rows, array->geometry.chunk_blocks),
	};
	sweep->counted[index] = false;
	atomic_store(&sweep->busy[index], true);
	/* The owner may change while the message is on its way; op_sweep() finds out. */
	reactor_send(array_owner(array, stripe)->reactor, &op->message);
}

/* --- pausing and limits ---------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Waits as long as whoever steers wants it. -ECANCELED. */
static int obey(struct sweep *sweep, uint64_t bytes)
{
	struct sweep_progress *progress = sweep->progress;
	uint64_t limit;

	while (atomic_load(&progress->pause) && !atomic_load(&progress->cancel)) {
		sweep->limited_bytes = 0;
		reactor_yield(sweep->whole->group);
	}
	limit = atomic_load(&progress->limit_bytes_per_second);
	if (limit != sweep->limit || !sweep->limited_bytes) {
		sweep->limit = limit;
		sweep->limited_bytes = 0;
		sweep->started_ns = now_ns();
	}
	sweep->limited_bytes += bytes;
	while (limit && !atomic_load(&progress->cancel) && !atomic_load(&progress->pause) &&
		(unsigned __int128)(now_ns() - sweep->started_ns) * limit <
			(unsigned __int128)sweep->limited_bytes * 1000000000)
		reactor_yield(sweep->whole->group);
	return atomic_load(&progress->cancel) ? -ECANCELED : 0;
}

/* --- what is to be done ---------------------------------------------------------------------- */

/* A look at the table, on home. */
struct look {
	struct array *whole;
	struct superblock_row rows[SUPERBLOCK_ROWS];
	uint64_t first; /* the lowest watermark of a row that is being brought in sync */
	bool rebuilding, replacing;
	bool only_missing; /* every such row needs only what the missing map has */
	uint8_t missing[MAP_BYTES];
};

static int look_at_table(void *argument)
{
	struct look *look = argument;
	const struct keeper *keeper = look->whole->keeper;

	memcpy(look->rows, keeper->superblock.rows, sizeof(look->rows));
	memcpy(look->missing, keeper->maps[MAP_MISSING].bits, MAP_BYTES);
	look->first = UINT64_MAX;
	look->rebuilding = look->replacing = false;
	look->only_missing = true;
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &look->rows[i];

		if (row->state != ROW_REBUILDING && row->state != ROW_REPLACING)
			continue;
		look->rebuilding |= row->state == ROW_REBUILDING;
		look->replacing |= row->state == ROW_REPLACING;
		look->only_missing &= row->state == ROW_REBUILDING && row->resyncable;
		look->first = MIN(look->first, row->watermark);
	}
	return 0;
}

static void take_look(struct array *whole, struct look *look)
{
	look->whole = whole;
	reactor_call(whole->keeper->reactor, look_at_table, look);
}

static bool is_wanted(const struct sweep *sweep, const struct look *look, uint64_t stripe)
{
	const struct array *whole = sweep->whole;
	uint64_t region = stripe / whole->region_stripes;

	if (sweep->kind == SWEEP_RESYNC)
		return map_has(
			array_plain((struct array *)whole, 0)->shards[0]->intent.resync, region);
	if (sweep->kind == SWEEP_REBUILD && look->only_missing)
		return map_has(look->missing, region);
	return true;
}

/* Sweeps stripes [first, end) and drains. */
static int sweep_segment(struct sweep *sweep, const struct look *look, uint64_t first, uint64_t end)
{
	struct array *whole = sweep->whole;
	uint32_t chunk_bytes = whole->keeper->superblock.chunk_bytes;
	int error = 0;

	for (uint64_t stripe = first; stripe < end && !error; stripe++) {
		bool wanted = is_wanted(sweep, look, stripe);

		for (unsigned p = 0; p < array_plain_count(whole) && wanted; p++) {
			struct array *array = array_plain(whole, p);

			for (uint32_t row = 0; row < array->geometry.chunk_blocks;
				row += array->geometry.window_rows)
				start_window(sweep, array, stripe, row);
		}
		atomic_fetch_add(&sweep->progress->done_bytes, chunk_bytes);
		error = obey(sweep, wanted ? chunk_bytes : 0);
	}
	drain(sweep);
	return error;
}

static uint64_t segment_stripes(const struct sweep *sweep)
{
	const struct superblock *superblock = &sweep->whole->keeper->superblock;
	uint64_t stripes = SEGMENT_BYTES / superblock->chunk_bytes;

	/* A small array, as in simulation, has several segments as well. */
	return MAX(MIN(stripes, superblock->stripes / 4), (uint64_t)1);
}

/* --- watermarks ------------------------------------------------------------------------------ */

struct watermark_call {
	struct shard *shard;
	uint64_t stripe;
};

static int raise_on_shard(void *argument)
{
	struct watermark_call *call = argument;
	unsigned member;

	bits_for_each (member, call->shard->rebuilding)
		call->shard->watermark[member] = MAX(call->shard->watermark[member], call->stripe);
	return 0;
}

struct save_call {
	struct keeper *keeper;
	const struct look *look;
	uint64_t stripe;
};

/* Rows that were there as the segment began, and still are, have got this far. */
static int raise_in_table(void *argument)
{
	struct save_call *call = argument;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		struct superblock_row *row = &call->keeper->superblock.rows[i];
		const struct superblock_row *before = &call->look->rows[i];

		if ((row->state == ROW_REBUILDING || row->state == ROW_REPLACING) &&
			row->state == before->state && row->since == before->since &&
			row->watermark < call->stripe)
			row->watermark = call->stripe;
	}
	return 0;
}

static bool is_same(const struct array *whole, const struct look *look)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &whole->keeper->superblock.rows[i];

		if (row->state != look->rows[i].state || row->since != look->rows[i].since)
			return false;
	}
	return true;
}

/* What is below is in sync: first durable on the targets, then in the table, then the shards read
 * there. */
static int save_watermark(struct sweep *sweep, const struct look *look, uint64_t stripe, bool last)
{
	struct array *whole = sweep->whole;
	struct save_call save = {whole->keeper, look, stripe};
	uint32_t chunk_bytes = whole->keeper->superblock.chunk_bytes;
	int error = 0;

	if (!last && (stripe - sweep->saved_stripe) * chunk_bytes < WATERMARK_BYTES &&
		stripe - sweep->saved_stripe < whole->keeper->superblock.stripes / 4 + 1 &&
		now_ns() - sweep->saved_ns < watermark_ns)
		return 0;
	pthread_mutex_lock(&whole->change);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS && !error; i++) {
		struct blockdev_queue *queue = whole->keeper->rows[i].queue;

		if ((look->rows[i].state == ROW_REBUILDING ||
			    look->rows[i].state == ROW_REPLACING) &&
			queue && queue->dev->volatile_cache && !MUTANT(watermark_not_flushed))
			error = transfer(queue, IO_FLUSH, 0, NULL, 0);
	}
	if (!error && is_same(whole, look)) {
		reactor_call(whole->keeper->reactor, raise_in_table, &save);
		keeper_commit_now(whole->keeper, false);
		for (unsigned p = 0; p < array_plain_count(whole); p++) {
			struct array *array = array_plain(whole, p);

			for (unsigned i = 0; i < array->shard_count; i++) {
				struct watermark_call call = {array->shards[i], stripe};

				reactor_call(call.shard->reactor, raise_on_shard, &call);
			}
		}
		sweep->saved_stripe = stripe;
		sweep->saved_ns = now_ns();
	}
	pthread_mutex_unlock(&whole->change);
	return error;
}

/* --- rebuild --------------------------------------------------------------------------------- */

/* The members that have reached the end are in sync; copies take their slots. */
static int finish_rebuild(struct sweep *sweep, const struct look *look, struct fail *fail)
{
	return array_finish_rebuild(sweep->whole, look->rows, fail);
}

static int fail_rebuild(struct sweep *sweep, struct fail *fail)
{
	const struct superblock *superblock = &sweep->whole->keeper->superblock;

	return fail_set(fail, EIO,
		"array %s: stripe %llu cannot be rebuilt, because other drives cannot be read "
		"there, and a resync has to come first or the list of bad blocks is full; what is "
		"below is in sync, and the drive stays rebuilding. Replace the drives that have "
		"read errors, see braid array show %s",
		superblock->name, (unsigned long long)sweep->failed_stripe, superblock->name);
}

static int rebuild(struct sweep *sweep, struct fail *fail)
{
	struct array *whole = sweep->whole;
	uint64_t stripes = whole->keeper->superblock.stripes, next;
	struct look *look = malloc(sizeof(*look));
	int error = 0;

	if (!look)
		return fail_set(fail, ENOMEM, "no memory for a rebuild");
	take_look(whole, look);
	if (!look->rebuilding && !look->replacing) {
		free(look);
		return 0;
	}
	sweep->saved_stripe = look->first;
	atomic_store(
		&sweep->progress->done_bytes, look->first * whole->keeper->superblock.chunk_bytes);
	for (uint64_t stripe = look->first; stripe < stripes && !error; stripe = next) {
		next = MIN(stripe + segment_stripes(sweep), stripes);
		error = sweep_segment(sweep, look, stripe, next);
		if (error)
			fail_set(fail, -error,
				"the rebuild of array %s was cancelled; it goes on "
				"from where it was",
				whole->config.name);
		else if (sweep->failed_stripe != UINT64_MAX)
			error = fail_rebuild(sweep, fail);
		/* Somebody joined or was lost: whatever has not been swept for it is, next time. */
		else if (!is_same(whole, look))
			error = -EAGAIN;
		else
			error = save_watermark(sweep, look, next, next == stripes);
		if (error == -EIO && !fail->error)
			fail_set(fail, EIO, "a target of the rebuild of array %s cannot be flushed",
				whole->config.name);
	}
	if (!error)
		error = finish_rebuild(sweep, look, fail);
	if (!error && atomic_load(&sweep->progress->unreadable))
		log_warning(
			"event=RebuiltWithLoss array=%s rows=%llu effect=\"what these rows have "
			"lost gives I/O errors until it is written anew\"",
			whole->config.name,
			(unsigned long long)atomic_load(&sweep->progress->unreadable));
	free(look);
	return error;
}

/* --- the others ------------------------------------------------------------------------------ */

static int clear_resync(void *argument)
{
	struct watermark_call *call = argument;
	struct shard_intent *intent = &call->shard->intent;

	map_clear(intent->resync, call->stripe);
	intent->resyncing = false;
	for (uint64_t i = 0; i < call->shard->array->regions; i++)
		intent->resyncing |= map_has(intent->resync, i);
	return 0;
}

static int start_tick(void *keeper)
{
	intent_tick_start(keeper);
	return 0;
}

/* Region by region. The bits on disk are cleared by the tick, after a flush. */
static int resync(struct sweep *sweep, struct fail *fail)
{
	struct array *whole = sweep->whole;
	uint64_t stripes = whole->keeper->superblock.stripes;
	struct look look = {0};
	int error = 0;

	for (uint64_t region = 0; region < whole->regions && !error; region++) {
		uint64_t first = region * whole->region_stripes;

		if (!is_wanted(sweep, &look, first)) {
			atomic_fetch_add(&sweep->progress->done_bytes,
				whole->keeper->superblock.region_bytes);
			continue;
		}
		error = sweep_segment(
			sweep, &look, first, MIN(first + whole->region_stripes, stripes));
		if (!error && sweep->failed_stripe != UINT64_MAX)
			error = -EIO;
		for (unsigned p = 0; p < array_plain_count(whole) && !error; p++) {
			struct array *array = array_plain(whole, p);

			for (unsigned i = 0; i < array->shard_count; i++) {
				struct watermark_call call = {array->shards[i], region};

				reactor_call(call.shard->reactor, clear_resync, &call);
			}
		}
		reactor_call(whole->keeper->reactor, start_tick, whole->keeper);
	}
	if (error)
		fail_set(fail, -error,
			error == -ECANCELED
				? "the resync of array %s was cancelled"
				: "array %s cannot be resynced where data cannot be read",
			whole->config.name);
	return error;
}

/* No window is in flight. */
static void mark(struct sweep_progress *progress)
{
	atomic_fetch_add(&progress->mark.turn, 1);
	atomic_store(&progress->mark.done_bytes, atomic_load(&progress->done_bytes));
	atomic_store(&progress->mark.mismatches, atomic_load(&progress->mismatches));
	atomic_store(&progress->mark.located, atomic_load(&progress->located));
	atomic_store(&progress->mark.repaired, atomic_load(&progress->repaired));
	atomic_store(&progress->mark.unreadable, atomic_load(&progress->unreadable));
	atomic_fetch_add(&progress->mark.turn, 1);
}

struct sweep_mark sweep_mark_of(struct sweep_progress *progress)
{
	struct sweep_mark mark;
	unsigned turn;

	do {
		turn = atomic_load(&progress->mark.turn);
		if (!turn) /* it has not begun */
			return progress->begin;
		mark = (struct sweep_mark){
			.done_bytes = atomic_load(&progress->mark.done_bytes),
			.mismatches = atomic_load(&progress->mark.mismatches),
			.located = atomic_load(&progress->mark.located),
			.repaired = atomic_load(&progress->mark.repaired),
			.unreadable = atomic_load(&progress->mark.unreadable),
		};
	} while (turn % 2 || turn != atomic_load(&progress->mark.turn));
	return mark;
}

/* The stripe to go on with. */
static uint64_t begin_at_mark(struct sweep *sweep)
{
	const struct superblock *superblock = &sweep->whole->keeper->superblock;
	struct sweep_progress *progress = sweep->progress;
	const struct sweep_mark *begin = &progress->begin;
	uint64_t stripe = MIN(begin->done_bytes / superblock->chunk_bytes, superblock->stripes);

	atomic_store(&progress->done_bytes, stripe * superblock->chunk_bytes);
	atomic_store(&progress->mismatches, begin->mismatches);
	atomic_store(&progress->located, begin->located);
	atomic_store(&progress->repaired, begin->repaired);
	atomic_store(&progress->unreadable, begin->unreadable);
	mark(progress);
	return stripe;
}

static int scrub(struct sweep *sweep, struct fail *fail)
{
	struct array *whole = sweep->whole;
	uint64_t stripes = whole->keeper->superblock.stripes, next;
	struct look look = {0};
	int error = 0;

	for (uint64_t stripe = begin_at_mark(sweep); stripe < stripes && !error; stripe = next) {
		next = MIN(stripe + segment_stripes(sweep), stripes);
		error = sweep_segment(sweep, &look, stripe, next);
		if (!error)
			mark(sweep->progress);
	}
	if (error)
		fail_set(fail, -error, "the scrub of array %s was cancelled", whole->config.name);
	return error;
}

int array_sweep(struct array *array, enum sweep_kind kind, struct sweep_progress *progress,
	struct fail *fail)
{
	const struct superblock *superblock = &array->keeper->superblock;
	struct sweep *sweep = calloc(1, sizeof(*sweep));
	int error;

	if (!sweep)
		return fail_set(
			fail, ENOMEM, "no memory for a sweep of array %s", superblock->name);
	sweep->whole = array;
	sweep->kind = kind;
	sweep->progress = progress;
	sweep->failed_stripe = UINT64_MAX;
	sweep->saved_ns = now_ns();
	memset(sweep->counted, true, sizeof(sweep->counted));
	atomic_store(&progress->total_bytes, superblock->stripes * superblock->chunk_bytes);
	if (!array_plain(array, 0)->geometry.redundant)
		error = fail_set(fail, EPERM,
			"array %s has no redundancy: there is nothing to sweep", superblock->name);
	else if (kind == SWEEP_REBUILD)
		/* As long as members join or are lost meanwhile. */
		do {
			fail->error = 0;
			error = rebuild(sweep, fail);
		} while (error == -EAGAIN);
	else if (kind == SWEEP_RESYNC)
		error = resync(sweep, fail);
	else
		error = scrub(sweep, fail);
	free(sweep);
	return error;
}

int array_sweep_due(struct array *array)
{
	struct array_status status;

	array_status(array, &status);
	if (status.state == ARRAY_BROKEN)
		return -1;
	if (status.dirty_regions)
		return SWEEP_RESYNC;
	return status.rebuilding + status.replacing ? SWEEP_REBUILD : -1;
}
