/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an op ends, and what is tried before it ends with an error. (The array itself is broken: the
 * requests are offline, and wait for its drives. raid/array.h)
 *
 *	-EIO --> PROBE  are the members that could not be read there at all? Who is not is lost,
 *	  |             and the array may be broken
 *	  +----> APART  slice by slice and row by row: an error is no larger than it must be (a row
 *	  |             is a codeword of its own); this is also the second try
 *	  +----> MARK   a row of which too much is lost: a write goes there all the same, and the
 *	                row's parity is bad from then on; a rebuild makes the target's block bad,
 *	                a resync the parity, or all copies of a mirror
 *
 * What has written bad blocks, and is stable, makes them good before it ends.
 */
#include <assert.h>
#include <errno.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/internal.h"

static const struct geometry *geometry_of(const struct op *op)
{
	return &op->shard->array->geometry;
}

/* --- pieces ---------------------------------------------------------------------------------- */

void op_begin_piece(struct op *op)
{
	op->avoid = op->left_out = op->read_errors = op->repairs = op->log_failed = 0;
	op->forsakes = op->heals = op->probed = false;
	op->status = 0;
}

static void release(struct op *op)
{
	if (op->memory)
		arena_free(memory_arena(op->shard->index), op->memory);
	op->memory = NULL;
	intent_end(op);
	log_end(op);
}

static void finish_slices(struct op *op, int status)
{
	struct list_node *node;

	while ((node = list_pop_front(&op->slices)))
		slice_complete(container_of(node, struct slice, link), status);
}

/* Plans it (again) in the next turn: the stack stays flat. */
static void run_soon(struct op *op)
{
	op_set_state(op, OP_DUE);
	list_push_back(&op->shard->runnable, &op->link);
}

static void finish(struct op *op, int status)
{
	struct shard *shard = op->shard;

	release(op);
	stripe_unlock(&shard->stripes, op, &shard->runnable);
	finish_slices(op, status);
	if (op->sweep) {
		op->sweep->status = status;
		op->sweep->done(op->sweep);
	}
	op_set_state(op, OP_FREE);
	list_push_front(&shard->ops, &op->link);
	shard->ops_busy--;
}

static bool touches_row(const struct op *op)
{
	struct plan_input input;
	struct plan plan;

	op_plan_input(op, &input);
	plan_bands(&input, &plan);
	return plan.bands;
}

/* The next row in which there is something to do; false: none. */
static bool next_piece(struct op *op)
{
	for (;;) {
		struct list_node *node;
		struct slice *slice;

		while (op->row_end < op->window_end) {
			op->row_first = op->row_end++;
			if (op->sweep || touches_row(op))
				return true;
		}
		finish_slices(op, 0);
		node = op->sweep ? NULL : list_pop_front(&op->rest);
		if (!node)
			return false;
		slice = container_of(node, struct slice, link);
		list_push_back(&op->slices, node);
		op->first = slice->first;
		op->end = slice->end;
		op->row_end = slice->row_first;
	}
}

static void end_piece(struct op *op, int status)
{
	release(op);
	if (status) {
		/* The rest of its slice is of no use to anybody; a sweep stops. */
		finish_slices(op, status);
		op->row_end = op->window_end;
		if (op->sweep) {
			finish(op, status);
			return;
		}
	}
	op_begin_piece(op);
	if (next_piece(op))
		run_soon(op);
	else
		finish(op, 0);
}

bool op_is_one_piece(const struct op *op)
{
	return op->apart || (op->row_end - op->row_first == 1 &&
				    (op->sweep || op->slices.head.next == op->slices.head.prev));
}

static void take_apart(struct op *op)
{
	release(op);
	op->apart = true;
	op->window_end = op->row_end;
	list_init(&op->rest);
	list_append_all(&op->rest, &op->slices);
	op->row_end = op->sweep ? op->row_first : op->window_end;
	op_begin_piece(op);
	if (next_piece(op))
		run_soon(op);
	else
		finish(op, 0);
}

/* --- probing --------------------------------------------------------------------------------- */

/* Both superblocks of a member: one of them may be a bad sector too. */
static void add_probes(struct op *op, unsigned column)
{
	const struct array *array = op->shard->array;
	const struct keeper *keeper = array->keeper;
	unsigned row = array->first_row + geometry_member(&array->geometry, op->stripe, column);

	op_add_probe(op, column, keeper->superblock.layout.superblocks[0].offset);
	op_add_probe(op, column, keeper->rows[row].second_ring);
}

static bool probe(struct op *op)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t suspects = op->avoid & ~shard_lost_columns(op->shard, geometry, op->stripe) &
			    ~bad_columns(op->shard, op->stripe, op->row_first, op->row_end);
	unsigned column;

	if (op->probed || !suspects || !geometry->redundant || MUTANT(gone_not_noticed))
		return false;
	release(op);
	op->memory = arena_alloc(memory_arena(op->shard->index),
		(size_t)2 * bits_count(suspects) * geometry->block_bytes);
	/* Without an answer nobody knows whether it is a sector that is bad, or all of it. */
	if (!op->memory) {
		run_soon(op);
		return true;
	}
	op->probed = true;
	op->ios_used = 0;
	op->read_errors = 0;
	bits_for_each (column, suspects)
		add_probes(op, column);
	op_set_state(op, OP_PROBING);
	op_issue(op);
	return true;
}

void op_probe_failed(struct op *op, unsigned column)
{
	if (op->read_errors >> column & 1)
		member_lose(op->shard, geometry_member(geometry_of(op), op->stripe, column),
			LOSS_READ_ERRORS);
	op->read_errors |= 1u << column;
}

void op_probed(struct op *op)
{
	release(op);
	op->read_errors = 0;
	op_end(op, -EIO);
}

/* --- bad blocks ------------------------------------------------------------------------------ */

static uint32_t data_columns(const struct op *op)
{
	return bits_below(geometry_of(op)->data);
}

/* From a column on, those whose members are there. */
static uint32_t columns_from(const struct op *op, unsigned first)
{
	const struct geometry *geometry = geometry_of(op);

	return bits_range(first, geometry->members) &
	       ~shard_lost_columns(op->shard, geometry, op->stripe);
}

static uint32_t parity_columns(const struct op *op)
{
	return columns_from(op, geometry_of(op)->data);
}

static bool is_mirror(const struct op *op)
{
	return geometry_of(op)->level->redundancy == REDUNDANCY_MIRROR;
}

static void ask(struct op *op, bool adds, uint32_t columns, uint32_t copies)
{
	op->change = (struct bad_change){.adds = adds, .columns = columns, .copies = copies};
	if (adds) {
		op->plan.row = op->row_first;
		op->plan.end = op->row_end;
	}
	op_set_state(op, OP_MARKING);
	bad_ask(op);
}

/* What a row has lost is lost for good, if no member that is away could bring it back. */
static bool is_lost_for_good(const struct op *op)
{
	const struct shard *shard = op->shard;

	return !is_mirror(op) &&
	       !(shard_unreadable_columns(shard, geometry_of(op), op->stripe) & data_columns(op));
}

/* The targets, and copies of what cannot be read; each once. */
static bool mark_for_rebuild(struct op *op)
{
	const struct shard *shard = op->shard;
	const struct geometry *geometry = geometry_of(op);
	uint32_t unreadable = shard_unreadable(shard, op->stripe), copies = 0;

	/* What a resync has still to decide it will. */
	if (intent_is_dirty(shard, op->stripe))
		return false;
	for (unsigned column = 0; column < geometry->members; column++) {
		unsigned member = geometry_member(geometry, op->stripe, column);

		if (shard->replacements[member] &&
			(op->avoid >> column & 1 || unreadable >> member & 1))
			copies |= 1u << member;
	}
	if (op->forsakes && !(copies & ~op->change.copies))
		return false;
	ask(op, true,
		geometry_columns(
			geometry, op->stripe, unreadable & shard->rebuilding & ~shard->lost),
		copies);
	return true;
}

/* A row of a sweep that cannot be known. */
static bool mark_for_sweep(struct op *op)
{
	switch (op->sweep->kind) {
	case SWEEP_REBUILD:
		return mark_for_rebuild(op);
	case SWEEP_RESYNC:
		/* No copy can be read: all are nothing, or they might differ one day. */
		ask(op, true, is_mirror(op) ? columns_from(op, 0) : parity_columns(op), 0);
		return true;
	default:
		return false;
	}
}

static bool mark(struct op *op)
{
	if (op->sweep)
		return mark_for_sweep(op);
	if (op->work != OP_WRITE || op->forsakes || !is_lost_for_good(op))
		return false;
	ask(op, true, parity_columns(op), 0);
	return true;
}

/* Columns that the op's writes went to. */
static uint32_t written_columns(const struct op *op)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t columns = op->plan.writes & ~shard_lost_columns(op->shard, geometry, op->stripe);

	if (op->work == OP_SWEEP && op->sweep->kind == SWEEP_REBUILD)
		columns &= geometry_columns(geometry, op->stripe, op->shard->rebuilding);
	return columns;
}

/* Members whose copies have bad blocks where the op writes. */
static uint32_t bad_copies(const struct op *op)
{
	const struct shard *shard = op->shard;
	uint32_t members = 0;

	for (unsigned i = 0; i < geometry_of(op)->members; i++)
		if (shard->replacements[i] && bad_has(shard, shard->replacement_rows[i], op->stripe,
						      op->plan.row, op->plan.end))
			members |= 1u << i;
	return members;
}

bool op_meets_bad(const struct op *op)
{
	const struct shard *shard = op->shard;

	/* A discard may leave what is there, and is never stable by itself. */
	if (!shard->bad.list.count || op->kind == IO_DISCARD)
		return false;
	return bad_copies(op) ||
	       (bad_columns(shard, op->stripe, op->plan.row, op->plan.end) & written_columns(op));
}

void op_marked(struct op *op)
{
	struct sweep_op *sweep = op->sweep;
	int status = op->change.status;

	op->heals = false;
	/* The block stays bad, which is no harm where nothing new was written. */
	if (status == -ENOSPC && !op->change.adds && op->work != OP_WRITE)
		status = 0;
	if (!status && op->change.adds && sweep && !op->forsakes)
		sweep->unreadable += op->row_end - op->row_first;
	if (!status && op->change.adds && (!sweep || sweep->kind == SWEEP_REBUILD)) {
		/* What is left is done without what has been given up. */
		op->forsakes = true;
		run_soon(op);
		return;
	}
	if (op->apart)
		end_piece(op, status);
	else
		finish(op, status);
}

/* --- the end --------------------------------------------------------------------------------- */

/* What was swept without a member counts as swept only when it is durable that the member is lost:
 * a watermark must not pass it by. */
static bool wait_for_loss(struct op *op)
{
	struct shard *shard = op->shard;

	if (!op->sweep || op->sweep->kind != SWEEP_REBUILD || !(shard->lost & ~shard->settled) ||
		shard->broken)
		return false;
	op->left_out = shard->lost;
	op_set_state(op, OP_UNSETTLED);
	list_push_back(&shard->unsettled, &op->link);
	return true;
}

/* A scrub counts what it cannot read, and goes on. */
static int scrub_status(struct op *op, int status)
{
	struct sweep_op *sweep = op->sweep;

	if (status != -EIO || !sweep || (sweep->kind != SWEEP_SCRUB && sweep->kind != SWEEP_REPAIR))
		return status;
	sweep->unreadable += op->row_end - op->row_first;
	return 0;
}

void op_end(struct op *op, int status)
{
	if (status == -EIO && shard_is_offline(op->shard) && !MUTANT(offline_is_error))
		status = IO_OFFLINE;
	if (!status && wait_for_loss(op))
		return;
	if (status == -EIO && probe(op))
		return;
	if (status == -EIO && !op_is_one_piece(op)) {
		take_apart(op);
		return;
	}
	if (status == -EIO && mark(op))
		return;
	if (!status && op->heals && !MUTANT(bad_for_ever)) {
		ask(op, false, written_columns(op), bad_copies(op));
		return;
	}
	status = scrub_status(op, status);
	if (op->apart)
		end_piece(op, status);
	else
		finish(op, status);
}
