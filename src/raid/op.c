/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: carries out any plan.
 *
 *	                    read error: plan again without that column
 *	                   +---------------------------+
 *	                   v                           |
 *	GATHER --> LOCK --> PLAN --> memory --> READ --+--> COMPUTE --> WRITE --> SETTLE --> FINISH
 *
 * COMPUTE is the commit point. Before it nothing has changed on any member, so an error means a new
 * plan; after it the new parity is right for whatever members remain, so an error means one member
 * fewer, and that loss is known everywhere before the write is acknowledged (raid/member.h).
 *
 * Writes are computed from a private copy: the caller's memory is read once, in COMPUTE, because a
 * guest may change it meanwhile and the parity must match what the members get.
 *
 * A member may complete inside io_submit(). `pending` counts one more while a phase is being
 * issued, so the next phase begins at the end of the issuing function at the earliest, and the
 * stack stays flat: an op begins only in op_continue().
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "parity/parity.h"
#include "raid/internal.h"

enum { JOIN_LOOKBACK = 8 };

static void op_run(struct op *op);
static void op_written(struct op *op);

static void set_state(struct op *op, enum op_state state)
{
	/* clang-format off */
	static const uint16_t legal[OP_STATES] = { /* from: set of next states */
		[OP_FREE]       = 1 << OP_GATHERING,
		[OP_GATHERING]  = 1 << OP_LOCKED_OUT | 1 << OP_STARVED | 1 << OP_READING |
		                  1 << OP_WRITING | 1 << OP_FREE,
		[OP_LOCKED_OUT] = 1 << OP_STARVED | 1 << OP_READING | 1 << OP_WRITING | 1 << OP_FREE,
		[OP_STARVED]    = 1 << OP_READING | 1 << OP_WRITING | 1 << OP_STARVED | 1 << OP_FREE,
		[OP_READING]    = 1 << OP_STARVED | 1 << OP_READING | 1 << OP_WRITING | 1 << OP_FREE,
		[OP_WRITING]    = 1 << OP_UNSETTLED | 1 << OP_FREE,
		[OP_UNSETTLED]  = 1 << OP_FREE,
	};
	/* clang-format on */

	assert(legal[op->state] >> state & 1);
	op->state = state;
}

static const struct geometry *geometry_of(const struct op *op)
{
	return &op->shard->array->geometry;
}

static bool is_mirror(const struct op *op)
{
	return geometry_of(op)->level->redundancy == REDUNDANCY_MIRROR;
}

/* --- gathering ------------------------------------------------------------------------------- */

static bool join(struct op *op, struct slice *slice)
{
	if (op->stripe != slice->stripe || op->row_first != slice->row_first ||
		op->kind != slice->request->io->kind || !io_carries_data(slice->request->io))
		return false;
	if (slice->first == op->end) {
		list_push_back(&op->slices, &slice->link);
		op->end = slice->end;
	} else if (slice->end == op->first) {
		if (MUTANT(op_join_order))
			slice->io_block++;
		list_push_front(&op->slices, &slice->link);
		op->first = slice->first;
	} else {
		return false;
	}
	op->fua |= slice->request->io->fua;
	op->avoid |= slice->avoid;
	op->shard->counters.joins++;
	return true;
}

void op_take(struct shard *shard, struct slice *slice)
{
	const struct io *io = slice->request->io;
	struct list_node *node = shard->gathering.head.prev;
	struct op *op;

	for (int i = 0; i < JOIN_LOOKBACK && node != &shard->gathering.head; i++, node = node->prev)
		if (join(container_of(node, struct op, link), slice))
			return;
	node = list_pop_front(&shard->ops);
	if (!node) {
		list_push_back(&shard->opless, &slice->link);
		return;
	}
	op = container_of(node, struct op, link);
	set_state(op, OP_GATHERING);
	op->kind = io->kind;
	op->fua = io->fua;
	op->may_unmap = io->may_unmap || io->kind == IO_DISCARD;
	op->exclusive = io->kind != IO_READ;
	op->stripe = slice->stripe;
	op->first = slice->first;
	op->end = slice->end;
	op->row_first = slice->row_first;
	op->row_end = slice->row_end;
	op->avoid = slice->avoid;
	op->left_out = 0;
	op->read_errors = 0;
	op->status = 0;
	op->memory = NULL;
	list_init(&op->slices);
	list_push_back(&op->slices, &slice->link);
	list_push_back(&shard->gathering, &op->link);
	shard->ops_busy++;
	shard->counters.ops++;
}

/* --- finishing ------------------------------------------------------------------------------- */

static void op_finish(struct op *op, int status)
{
	struct shard *shard = op->shard;
	struct list_node *node;

	if (op->memory)
		arena_free(memory_arena(shard->index), op->memory);
	op->memory = NULL;
	stripe_unlock(&shard->stripes, op, &shard->runnable);
	while ((node = list_pop_front(&op->slices)))
		slice_complete(container_of(node, struct slice, link), status);
	set_state(op, OP_FREE);
	list_push_front(&shard->ops, &op->link);
	shard->ops_busy--;
}

/* --- planning -------------------------------------------------------------------------------- */

static void plan_input(const struct op *op, struct plan_input *input)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t lost = shard_lost_columns(op->shard, geometry, op->stripe);

	*input = (struct plan_input){
		.data = geometry->data,
		.redundant = geometry->redundant,
		.mirror = is_mirror(op),
		.chunk_blocks = geometry->chunk_blocks,
		.first = op->first,
		.end = op->end,
		.row_first = op->row_first,
		.row_end = op->row_end,
		.unreadable = lost | op->avoid,
		.unwritable = lost,
	};
}

/* Zeroes or discards whole rows: every column of them, without reading or computing. */
static bool plan_clear(const struct op *op, const struct plan_input *input, struct plan *plan)
{
	plan_bands(input, plan);
	if (plan->bands != 1 || plan->touched != bits_below(input->data))
		return false;
	plan->band[0].writes = plan->writes =
		bits_below(input->data + input->redundant) & ~input->unwritable;
	return op->kind == IO_WRITE_ZEROES || op->shard->array->members_clear;
}

/* Decides what to do. 0; -EIO: it cannot be done; -ECANCELED: nothing need be done. */
static int make_plan(struct op *op)
{
	struct array_counters *counters = &op->shard->counters;
	struct plan_input input;
	int error;

	plan_input(op, &input);
	if (op->kind == IO_READ) {
		op->work = OP_READ;
		return plan_read(&input, &op->plan);
	}
	if (op->kind != IO_WRITE) {
		op->work = OP_CLEAR;
		if (plan_clear(op, &input, &op->plan))
			return bits_count(input.unwritable) > input.redundant ? -EIO : 0;
		if (op->kind == IO_DISCARD)
			return -ECANCELED;
	}
	op->work = OP_WRITE;
	error = plan_write(&input, &op->plan);
	if (error)
		return error;
	for (unsigned i = 0; i < op->plan.bands; i++) {
		enum recipe recipe = op->plan.band[i].recipe;

		counters->full_stripes += recipe == RECIPE_REWRITE && !op->plan.band[i].reads;
		counters->rewrites += recipe == RECIPE_REWRITE && op->plan.band[i].reads;
		counters->modifies += recipe == RECIPE_MODIFY;
		counters->recovers += recipe == RECIPE_RECOVER;
	}
	return 0;
}

/* One buffer per column that is read, recovered or computed, and one per column of new data, all
 * in one block of memory. False: there is none now. */
static bool get_memory(struct op *op)
{
	const struct geometry *geometry = geometry_of(op);
	const struct plan *plan = &op->plan;
	size_t stride = (size_t)(plan->end - plan->row) * geometry->block_bytes;
	uint32_t fresh = op->work == OP_WRITE ? plan->touched : 0;
	uint32_t old = plan->reads | plan->recovers;
	unsigned column;
	char *at;

	if (op->work == OP_CLEAR)
		return true;
	if (op->work == OP_WRITE && !is_mirror(op))
		old |= plan->writes & ~bits_below(geometry->data);
	op->memory = arena_alloc(
		memory_arena(op->shard->index), stride * (bits_count(old) + bits_count(fresh)));
	if (!op->memory)
		return false;
	at = op->memory;
	bits_for_each (column, old) {
		op->old[column] = at;
		at += stride;
	}
	bits_for_each (column, fresh) {
		op->new[column] = at;
		at += stride;
	}
	return true;
}

/* --- member I/O ------------------------------------------------------------------------------ */

static void op_put(struct op *op)
{
	assert(op->pending);
	if (--op->pending)
		return;
	if (op->state == OP_READING)
		op_run(op);
	else
		op_written(op);
}

static void member_done(struct io *io)
{
	struct op_io *op_io = container_of(io, struct op_io, io);
	struct op *op = op_io->op;
	struct shard *shard = op->shard;
	unsigned member = geometry_member(geometry_of(op), op->stripe, op_io->column);

	if (io->status && op->state == OP_READING) {
		if (!MUTANT(op_read_error_ignored))
			op->read_errors |= 1u << op_io->column;
		member_read_error(shard, member);
	} else if (io->status && !MUTANT(op_write_error_ignored)) {
		op->left_out |= 1u << member;
		member_write_error(shard, member, LOSS_WRITE_ERROR);
	}
	op_put(op);
}

/* Adds the member's part for rows [row, end) of a column. */
static void add_io(struct op *op, enum io_kind kind, unsigned column, uint32_t row, uint32_t end)
{
	const struct geometry *geometry = geometry_of(op);
	struct op_io *op_io = &op->ios[op->ios_used++];
	char *memory = op->old[column];

	assert(op->ios_used <= 2 * geometry->members);
	if (kind == IO_WRITE && is_mirror(op))
		memory = op->new[0];
	else if (kind == IO_WRITE && column < geometry->data)
		memory = op->new[column];
	op_io->column = column;
	op_io->iov = (struct iovec){
		kind == IO_READ || kind == IO_WRITE
			? memory + (size_t)(row - op->plan.row) * geometry->block_bytes
			: NULL,
		(size_t)(end - row) * geometry->block_bytes};
	op_io->io = (struct io){
		.kind = kind,
		.fua = op->fua,
		.may_unmap = op->may_unmap,
		.blocks = end - row,
		.block = geometry_block(geometry, op->stripe, row),
		.iov = &op_io->iov,
		.iovs = 1,
		.done = member_done,
	};
}

/* The set of columns that a band reads or writes. */
static uint32_t band_columns(const struct plan_band *band, enum io_kind kind)
{
	return kind == IO_READ ? band->reads : band->writes;
}

/* One io per run of adjoining bands in which the column takes part. */
static void add_column(struct op *op, enum io_kind kind, unsigned column)
{
	const struct plan *plan = &op->plan;

	for (unsigned i = 0; i < plan->bands;) {
		unsigned first = i;

		if (!(band_columns(&plan->band[i], kind) >> column & 1)) {
			i++;
			continue;
		}
		for (i++; i < plan->bands; i++)
			if (!(band_columns(&plan->band[i], kind) >> column & 1) ||
				plan->band[i].row != plan->band[i - 1].end)
				break;
		add_io(op, kind, column, plan->band[first].row, plan->band[i - 1].end);
	}
}

/* Submits reads or writes of the set of columns; op_put() goes on when all are done. */
static void issue(struct op *op, enum io_kind kind, uint32_t columns)
{
	struct shard *shard = op->shard;
	unsigned column;

	op->ios_used = 0;
	bits_for_each (column, columns)
		add_column(op, kind, column);
	op->pending = 1 + op->ios_used;
	for (unsigned i = 0, count = op->ios_used; i < count; i++) {
		unsigned member = geometry_member(geometry_of(op), op->stripe, op->ios[i].column);

		if (kind == IO_READ)
			shard->member_counters[member].reads++;
		else
			shard->member_counters[member].writes++;
		io_submit(shard->members[member], &op->ios[i].io);
	}
	op_put(op);
}

/* --- computing ------------------------------------------------------------------------------- */

enum direction { FROM_CALLER, TO_CALLER };

/* Copies a slice's rows of one column between the caller's memory and the op's. */
static void copy_column(
	struct op *op, const struct slice *slice, unsigned column, enum direction direction)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t chunk = geometry->chunk_blocks, top = column * chunk;
	uint32_t row = MAX(MAX(slice->first, top) - top, op->row_first);
	uint32_t end = MIN(MIN(slice->end, top + chunk) - top, op->row_end);
	const struct io *io = slice->request->io;
	struct iov_cursor cursor;
	size_t bytes;
	char *memory;

	if (row >= end)
		return;
	bytes = (size_t)(end - row) * geometry->block_bytes;
	memory = direction == FROM_CALLER ? op->new[column] : op->old[column];
	if (direction == TO_CALLER && is_mirror(op))
		memory = op->old[__builtin_ctz(op->plan.reads)];
	memory += (size_t)(row - op->plan.row) * geometry->block_bytes;
	if (!io_carries_data(io)) {
		memset(memory, 0, bytes - (MUTANT(zeroes_partial) ? geometry->block_bytes : 0));
		return;
	}
	cursor = iov_cursor_at(
		io, (size_t)(slice->io_block + top + row - slice->first) * geometry->block_bytes);
	if (direction == FROM_CALLER)
		iov_copy_from(&cursor, memory, bytes);
	else
		iov_copy_to(&cursor, memory, bytes);
}

static void copy_slices(struct op *op, enum direction direction)
{
	uint32_t chunk = geometry_of(op)->chunk_blocks;
	struct list_node *node;

	list_for_each (node, &op->slices) {
		const struct slice *slice = container_of(node, struct slice, link);

		for (unsigned column = slice->first / chunk; column <= (slice->end - 1) / chunk;
			column++)
			copy_column(op, slice, column, direction);
	}
}

/* The pointers that parity/ works on, for one band. */
struct band_memory {
	size_t bytes;
	void *old[RAID_MEMBERS_MAX];	     /* data columns as they are on the members */
	const void *data[RAID_MEMBERS_MAX];  /* data columns as they will be */
	void *parity[PARITY_MAX];	     /* to be written; NULL: lost */
	const void *parity_read[PARITY_MAX]; /* NULL: not read */
};

static void band_memory(
	const struct op *op, const struct plan_band *band, struct band_memory *memory)
{
	const struct geometry *geometry = geometry_of(op);
	size_t skip = (size_t)(band->row - op->plan.row) * geometry->block_bytes;
	uint32_t known = band->reads | band->recovers;

	memory->bytes = (size_t)(band->end - band->row) * geometry->block_bytes;
	for (unsigned column = 0; column < geometry->data; column++) {
		bool fresh = op->work == OP_WRITE && band->touched >> column & 1;

		if (fresh && MUTANT(op_recover_column) && band->recovers >> column & 1)
			fresh = false;
		memory->old[column] = known >> column & 1 ? op->old[column] + skip : NULL;
		memory->data[column] = fresh ? op->new[column] + skip : memory->old[column];
	}
	for (unsigned j = 0; j < geometry->redundant; j++) {
		uint32_t bit = 1u << (geometry->data + j);
		char *place = op->old[geometry->data + j] + skip;

		memory->parity[j] = band->writes & bit ? place : NULL;
		memory->parity_read[j] = band->reads & bit ? place : NULL;
	}
}

static void compute_band(const struct op *op, const struct plan_band *band)
{
	const struct geometry *geometry = geometry_of(op);
	struct band_memory memory;
	unsigned column;

	band_memory(op, band, &memory);
	if (band->recovers)
		parity_recover(geometry->data, geometry->redundant, memory.bytes, band->recovers,
			memory.old, memory.parity_read);
	if (band->recipe == RECIPE_FETCH || !(band->writes & ~bits_below(geometry->data)))
		return;
	if (band->recipe == RECIPE_MODIFY) {
		bits_for_each (column, band->touched)
			parity_update(column, geometry->redundant, memory.bytes, memory.old[column],
				memory.data[column], memory.parity);
	} else {
		parity_generate(geometry->data, geometry->redundant, memory.bytes, memory.data,
			memory.parity);
	}
}

static void compute(struct op *op)
{
	if (op->work == OP_CLEAR)
		return;
	if (op->work == OP_WRITE)
		copy_slices(op, FROM_CALLER);
	if (!is_mirror(op))
		for (unsigned i = 0; i < op->plan.bands; i++)
			compute_band(op, &op->plan.band[i]);
	if (op->work == OP_READ)
		copy_slices(op, TO_CALLER);
}

/* --- the phases ------------------------------------------------------------------------------ */

static void op_plan(struct op *op, bool fed);

/* The op has its memory. */
static void op_read(struct op *op)
{
	set_state(op, OP_READING);
	issue(op, IO_READ, op->work == OP_CLEAR ? 0 : op->plan.reads);
}

/* All reads are done. */
static void op_run(struct op *op)
{
	struct shard *shard = op->shard;
	const struct geometry *geometry = geometry_of(op);
	uint32_t lost;

	if (op->read_errors) {
		op->avoid |= op->read_errors;
		op->read_errors = 0;
		shard->counters.retries++;
		arena_free(memory_arena(shard->index), op->memory);
		op->memory = NULL;
		op_plan(op, false);
		return;
	}
	lost = shard_lost_columns(shard, geometry, op->stripe);
	if (op->work != OP_READ && bits_count(lost) > geometry->redundant) {
		op_finish(op, -EIO);
		return;
	}
	compute(op);
	if (op->work == OP_READ) {
		op_finish(op, 0);
		return;
	}
	set_state(op, OP_WRITING);
	op->left_out |= shard->lost;
	issue(op, op->work == OP_CLEAR ? op->kind : IO_WRITE, op->plan.writes & ~lost);
}

/* All writes are done. */
static void op_written(struct op *op)
{
	struct shard *shard = op->shard;

	if (bits_count(op->left_out) > geometry_of(op)->redundant)
		op->status = -EIO;
	if (op->left_out & ~shard->settled) {
		set_state(op, OP_UNSETTLED);
		list_push_back(&shard->unsettled, &op->link);
		return;
	}
	op_finish(op, op->status);
}

/* The op has its rows. fed: it is the turn of this one among those that wait for memory; others do
 * not overtake them, or a large op would wait for ever. */
static void op_plan(struct op *op, bool fed)
{
	int error = make_plan(op);

	if (error) {
		op_finish(op, error == -ECANCELED ? 0 : error);
	} else if ((fed || list_empty(&op->shard->starved)) && get_memory(op)) {
		op_read(op);
	} else {
		set_state(op, OP_STARVED);
		list_push_back(&op->shard->starved, &op->link);
	}
}

static void op_lock(struct op *op)
{
	struct plan_input input;

	plan_input(op, &input);
	plan_bands(&input, &op->plan);
	assert(op->plan.bands);
	if (stripe_lock(&op->shard->stripes, op))
		op_plan(op, false);
	else
		set_state(op, OP_LOCKED_OUT);
}

void op_settled(struct shard *shard)
{
	struct list_node *node, *after;

	list_for_each_safe (node, after, &shard->unsettled) {
		struct op *op = container_of(node, struct op, link);

		if (op->left_out & ~shard->settled)
			continue;
		list_remove(&op->link);
		op_finish(op, op->status);
	}
}

/* Plans anew the ops that wait for memory, because members may have been lost meanwhile. */
static unsigned op_feed_starved(struct shard *shard)
{
	struct list_node *node;
	unsigned work = 0;

	while ((node = list_pop_front(&shard->starved))) {
		struct op *op = container_of(node, struct op, link);

		op_plan(op, true);
		if (op->state == OP_STARVED) {
			/* It went to the back; its turn remains the first. */
			list_remove(node);
			list_push_front(&shard->starved, node);
			break;
		}
		work++;
	}
	return work;
}

unsigned op_continue(struct shard *shard)
{
	struct list gathered, opless;
	struct list_node *node;
	unsigned work = op_feed_starved(shard);

	list_init(&opless);
	if (!list_empty(&shard->ops))
		list_append_all(&opless, &shard->opless);
	for (; (node = list_pop_front(&opless)); work++)
		op_take(shard, container_of(node, struct slice, link));
	list_init(&gathered);
	list_append_all(&gathered, &shard->gathering);
	for (; (node = list_pop_front(&gathered)); work++)
		op_lock(container_of(node, struct op, link));
	for (; (node = list_pop_front(&shard->runnable)); work++)
		op_plan(container_of(node, struct op, link), false);
	return work;
}
