/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine: carries out any plan.
 *
 *	                    read error: plan again without that column
 *	                   +---------------------------+
 *	                   v                           |
 *	GATHER --> LOCK --> PLAN --> memory --> READ --+--> COMPUTE --> INTEND --> LOG --> WRITE
 *	                                                                                     |
 *	                                                    FINISH <-- SETTLE <--------------+
 *
 * COMPUTE is the commit point. Before it nothing has changed on any member, so an error means a new
 * plan; after it the new parity is right for whatever members remain, so an error means one member
 * fewer, and that loss is durable before the write is acknowledged (raid/member.h). INTEND and LOG
 * make durable that the write is under way (raid/intent.h, raid/log.h): a crash from here on leaves
 * something to go by.
 *
 * A read that found a column unreadable writes it anew from the others (REPAIR) and reads it again.
 * Sweeps take the same way with plans of their own.
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
#include "raid/internal.h"

enum { JOIN_LOOKBACK = 8 };

static void op_run(struct op *op);
static void op_written(struct op *op);

void op_set_state(struct op *op, enum op_state state)
{
	/* clang-format off */
	static const uint16_t legal[OP_STATES] = { /* from: set of next states */
		[OP_FREE]       = 1 << OP_GATHERING,
		[OP_GATHERING]  = 1 << OP_LOCKED_OUT | 1 << OP_STARVED | 1 << OP_READING |
		                  1 << OP_UNSETTLED | 1 << OP_PROBING | 1 << OP_DUE |
		                  1 << OP_MARKING | 1 << OP_FREE,
		[OP_LOCKED_OUT] = 1 << OP_STARVED | 1 << OP_READING | 1 << OP_UNSETTLED |
		                  1 << OP_PROBING | 1 << OP_DUE | 1 << OP_MARKING | 1 << OP_FREE,
		[OP_STARVED]    = 1 << OP_READING | 1 << OP_STARVED | 1 << OP_UNSETTLED |
		                  1 << OP_PROBING | 1 << OP_DUE | 1 << OP_MARKING | 1 << OP_FREE,
		[OP_READING]    = 1 << OP_STARVED | 1 << OP_READING | 1 << OP_INTENDING |
		                  1 << OP_LOGGING | 1 << OP_WRITING | 1 << OP_UNSETTLED |
		                  1 << OP_PROBING | 1 << OP_DUE | 1 << OP_MARKING | 1 << OP_FREE,
		[OP_INTENDING]  = 1 << OP_LOGGING | 1 << OP_WRITING | 1 << OP_DUE | 1 << OP_FREE,
		[OP_LOGGING]    = 1 << OP_WRITING | 1 << OP_DUE | 1 << OP_FREE,
		[OP_WRITING]    = 1 << OP_VERIFYING | 1 << OP_UNSETTLED | 1 << OP_MARKING |
		                  1 << OP_DUE | 1 << OP_FREE,
		[OP_VERIFYING]  = 1 << OP_MARKING | 1 << OP_DUE | 1 << OP_FREE,
		[OP_UNSETTLED]  = 1 << OP_UNSETTLED | 1 << OP_MARKING | 1 << OP_DUE | 1 << OP_FREE,
		[OP_PROBING]    = 1 << OP_DUE | 1 << OP_MARKING | 1 << OP_FREE,
		[OP_MARKING]    = 1 << OP_DUE | 1 << OP_FREE,
		[OP_DUE]        = 1 << OP_STARVED | 1 << OP_READING | 1 << OP_UNSETTLED |
		                  1 << OP_PROBING | 1 << OP_DUE | 1 << OP_MARKING | 1 << OP_FREE,
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
	if (op->sweep || op->stripe != slice->stripe || op->row_first != slice->row_first ||
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

/* An op that begins to gather; NULL: none is free. */
static struct op *op_get(struct shard *shard)
{
	struct list_node *node = list_pop_front(&shard->ops);
	struct op *op;

	if (!node)
		return NULL;
	op = container_of(node, struct op, link);
	op_set_state(op, OP_GATHERING);
	op->sweep = NULL;
	op->memory = NULL;
	op->fua = op->apart = op->probed = false;
	op_begin_piece(op);
	list_init(&op->slices);
	list_push_back(&shard->gathering, &op->link);
	shard->ops_busy++;
	return op;
}

void op_take(struct shard *shard, struct slice *slice)
{
	const struct io *io = slice->request->io;
	struct list_node *node = shard->gathering.head.prev;
	struct op *op;

	for (int i = 0; i < JOIN_LOOKBACK && node != &shard->gathering.head; i++, node = node->prev)
		if (join(container_of(node, struct op, link), slice))
			return;
	op = op_get(shard);
	if (!op) {
		list_push_back(&shard->opless, &slice->link);
		return;
	}
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
	list_push_back(&op->slices, &slice->link);
	shard->counters.ops++;
}

void op_sweep(struct shard *shard, struct sweep_op *sweep)
{
	struct shard *owner = array_owner(shard->array, sweep->stripe);
	struct op *op = shard->paused || owner != shard ? NULL : op_get(shard);

	if (owner != shard) {
		/* It has changed since the sweep looked. */
		reactor_send(owner->reactor, &sweep->message);
		return;
	}

	if (!op) {
		list_push_back(&shard->sweeps, &sweep->link);
		return;
	}
	op->sweep = sweep;
	op->kind = IO_WRITE;
	op->exclusive = true;
	op->stripe = sweep->stripe;
	op->first = op->end = 0;
	op->row_first = sweep->row_first;
	op->row_end = sweep->row_end;
}

/* --- memory ---------------------------------------------------------------------------------- */

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
	if (op->work == OP_SWEEP)
		old |= plan->writes;
	else if (op->work == OP_WRITE && !is_mirror(op))
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
	else if (op->state == OP_WRITING)
		op_written(op);
	else if (op->state == OP_PROBING)
		op_probed(op);
	else
		op_end(op, 0);
}

static void member_done(struct io *io)
{
	struct op_io *op_io = container_of(io, struct op_io, io);
	struct op *op = op_io->op;
	struct shard *shard = op->shard;
	unsigned member = geometry_member(geometry_of(op), op->stripe, op_io->column);

	if (op->state == OP_PROBING) {
		if (io->status)
			op_probe_failed(op, op_io->column);
	} else if (io->status && op_io->replacement) {
		replacement_lose(shard, member);
	} else if (io->status && op->state == OP_READING) {
		if (!MUTANT(op_read_error_ignored))
			op->read_errors |= 1u << op_io->column;
		member_read_error(shard, member);
	} else if (io->status && op->state == OP_VERIFYING) {
		member_verify_error(shard, member);
	} else if (io->status && !MUTANT(op_write_error_ignored)) {
		op->left_out |= 1u << member;
		member_write_error(shard, member, LOSS_WRITE_ERROR);
	}
	op_put(op);
}

/* What is written to, or read from, a column. */
static char *column_memory(const struct op *op, enum io_kind kind, unsigned column)
{
	if (kind == IO_WRITE && op->work == OP_WRITE && is_mirror(op))
		return op->new[0];
	if (kind == IO_WRITE && op->work == OP_WRITE && column < geometry_of(op)->data)
		return op->new[column];
	if (op->work == OP_READ && op->state != OP_READING && is_mirror(op))
		return op->old[__builtin_ctz(op->plan.reads)];
	return op->old[column];
}

/* Adds the member's part for rows [row, end) of a column. */
static void add_io(struct op *op, enum io_kind kind, unsigned column, uint32_t row, uint32_t end)
{
	const struct geometry *geometry = geometry_of(op);
	struct op_io *op_io = &op->ios[op->ios_used++];
	char *memory = column_memory(op, kind, column);

	assert(op->ios_used <= OP_IOS_PER_MEMBER * geometry->members);
	op_io->column = column;
	op_io->replacement = false;
	op_io->iov = (struct iovec){
		kind == IO_READ || kind == IO_WRITE
			? memory + (size_t)(row - op->plan.row) * geometry->block_bytes
			: NULL,
		(size_t)(end - row) * geometry->block_bytes};
	op_io->io = (struct io){
		.kind = kind,
		/* What a read has answered must not change back. */
		.fua = op->work == OP_READ ? !MUTANT(repair_not_fua)
					   : op->heals || (op->fua && !op->logged),
		.may_unmap = op->may_unmap,
		.blocks = end - row,
		.block = geometry_block(geometry, op->stripe, row),
		.iov = &op_io->iov,
		.iovs = 1,
		.done = member_done,
	};
}

void op_add_probe(struct op *op, unsigned column, uint64_t offset)
{
	uint32_t block_bytes = geometry_of(op)->block_bytes;
	struct op_io *op_io = &op->ios[op->ios_used];

	op_io->column = column;
	op_io->replacement = false;
	op_io->iov = (struct iovec){op->memory + (size_t)op->ios_used * block_bytes, block_bytes};
	op_io->io = (struct io){
		.kind = IO_READ,
		.blocks = 1,
		.block = offset / block_bytes,
		.iov = &op_io->iov,
		.iovs = 1,
		.done = member_done,
	};
	op->ios_used++;
}

/* The set of columns that a band reads or writes. */
static uint32_t band_columns(const struct op *op, unsigned band, enum io_kind kind)
{
	return kind == IO_READ && op->state != OP_VERIFYING ? op->plan.band[band].reads
							    : op->plan.band[band].writes;
}

/* One io per run of adjoining bands in which the column takes part. */
static void add_column(struct op *op, enum io_kind kind, unsigned column)
{
	const struct plan *plan = &op->plan;

	for (unsigned i = 0; i < plan->bands;) {
		unsigned first = i;

		if (!(band_columns(op, i, kind) >> column & 1)) {
			i++;
			continue;
		}
		for (i++; i < plan->bands; i++)
			if (!(band_columns(op, i, kind) >> column & 1) ||
				plan->band[i].row != plan->band[i - 1].end)
				break;
		add_io(op, kind, column, plan->band[first].row, plan->band[i - 1].end);
	}
}

/* What is written to a member goes to the copy that is to take its slot as well. */
static void add_replacements(struct op *op)
{
	const struct shard *shard = op->shard;

	for (unsigned i = 0, count = op->ios_used; i < count; i++) {
		unsigned member = geometry_member(geometry_of(op), op->stripe, op->ios[i].column);
		struct op_io *copy;

		if (!shard->replacements[member] || MUTANT(replacement_not_written))
			continue;
		copy = &op->ios[op->ios_used++];
		assert(op->ios_used <= OP_IOS_PER_MEMBER * geometry_of(op)->members);
		*copy = op->ios[i];
		copy->replacement = true;
		copy->io.iov = &copy->iov;
	}
}

/* A rebuild writes the members that are being rebuilt and the replacements, and no others. */
static void only_targets(struct op *op)
{
	const struct shard *shard = op->shard;
	unsigned kept = 0;

	add_replacements(op);
	for (unsigned i = 0; i < op->ios_used; i++) {
		unsigned member = geometry_member(geometry_of(op), op->stripe, op->ios[i].column);

		if (!op->ios[i].replacement && !(shard->rebuilding >> member & 1))
			continue;
		op->ios[kept] = op->ios[i];
		op->ios[kept].io.iov = &op->ios[kept].iov;
		kept++;
	}
	op->ios_used = kept;
}

static void op_submit(struct op *op, struct op_io *op_io)
{
	struct shard *shard = op->shard;
	unsigned member = geometry_member(geometry_of(op), op->stripe, op_io->column);

	if (op_io->replacement) {
		/* It may be given up while this op's others complete inside io_submit(). */
		if (shard->replacements[member])
			io_submit(shard->replacements[member], &op_io->io);
		else
			io_complete(&op_io->io, -ENODEV);
		return;
	}
	if (op_io->io.kind == IO_READ)
		shard->member_counters[member].reads++;
	else
		shard->member_counters[member].writes++;
	io_submit(shard->members[member], &op_io->io);
}

void op_issue(struct op *op)
{
	op->pending = 1 + op->ios_used;
	for (unsigned i = 0, count = op->ios_used; i < count; i++)
		op_submit(op, &op->ios[i]);
	op_put(op);
}

static void prepare(struct op *op, enum io_kind kind, uint32_t columns)
{
	unsigned column;

	op->ios_used = 0;
	bits_for_each (column, columns)
		add_column(op, kind, column);
}

void op_prepare_writes(struct op *op, uint32_t columns)
{
	prepare(op, op->work == OP_CLEAR ? op->kind : IO_WRITE, columns);
}

/* --- the phases ------------------------------------------------------------------------------ */

static void op_plan(struct op *op, bool fed);

/* The op has its memory. */
static void op_read(struct op *op)
{
	op_set_state(op, OP_READING);
	prepare(op, IO_READ, op->work == OP_CLEAR ? 0 : op->plan.reads);
	op_issue(op);
}

/* Whether the op changes what the array holds. Rebuilding and repairing do not: they write what the
 * other columns say already. */
static bool op_changes_data(const struct op *op)
{
	return op->work == OP_WRITE || op->work == OP_CLEAR ||
	       (op->work == OP_SWEEP && op->sweep->kind == SWEEP_REPAIR);
}

static void op_write(struct op *op)
{
	struct shard *shard = op->shard;
	const struct geometry *geometry = geometry_of(op);
	uint32_t lost = shard_lost_columns(shard, geometry, op->stripe);

	if (shard->broken || bits_count(lost) > geometry->redundant) {
		op_end(op, op->work == OP_READ ? 0 : -EIO);
		return;
	}
	op_set_state(op, OP_WRITING);
	op->heals = op_meets_bad(op);
	if (op_changes_data(op))
		op->left_out |= shard->lost;
	op_prepare_writes(op, op->plan.writes & ~lost);
	if (op->work == OP_SWEEP && op->sweep->kind == SWEEP_REBUILD)
		only_targets(op);
	else
		add_replacements(op);
	op_issue(op);
}

/* Its record is durable, but for members whose loss has to be durable instead: a restart would take
 * the record for incomplete, and the array for untouched. */
void op_logged(struct op *op)
{
	struct shard *shard = op->shard;

	if (op->log_failed & ~shard->settled && !shard->broken && !MUTANT(log_unsettled)) {
		list_push_back(&shard->unsettled, &op->link);
		return;
	}
	op_write(op);
}

void op_fail(struct op *op)
{
	op_end(op, -EIO);
}

/* A record says which members it is on, and a start that finds it on all of them re-does it
 * there. So
 * a member may be left out of it only when its loss is durable: otherwise the start would take the
 * member for one in sync that had nothing to do with the write. */
void op_log(struct op *op)
{
	struct shard *shard = op->shard;

	if (shard->broken)
		op_fail(op);
	else if (shard->lost & ~shard->settled && !MUTANT(log_left_out))
		list_push_back(&shard->unsettled, &op->link);
	else
		log_add(op);
}

void op_intended(struct op *op)
{
	if (log_is_on(op->shard)) {
		op_set_state(op, OP_LOGGING);
		op_log(op);
	} else {
		op_write(op);
	}
}

/* A copy that differs and is left out must not be back after a crash, when what this read answers
 * has been seen. */
static bool rests_on_loss(const struct op *op)
{
	const struct shard *shard = op->shard;

	return op->work == OP_READ && is_mirror(op) && intent_is_dirty(shard, op->stripe) &&
	       shard->lost & ~shard->settled && !shard->broken && !MUTANT(mirror_unsettled);
}

static void wait_for_loss(struct op *op)
{
	op->left_out = op->shard->lost;
	op_set_state(op, OP_UNSETTLED);
	list_push_back(&op->shard->unsettled, &op->link);
}

/* All reads are done. */
static void op_run(struct op *op)
{
	struct shard *shard = op->shard;

	if (op->read_errors) {
		op->avoid |= op->read_errors;
		op->read_errors = 0;
		shard->counters.retries++;
		arena_free(memory_arena(shard->index), op->memory);
		op->memory = NULL;
		op_plan(op, false);
		return;
	}
	if (op->sweep)
		op_compute_sweep(op);
	else
		op_compute(op);
	if (!op->plan.writes && rests_on_loss(op)) {
		wait_for_loss(op);
	} else if (!op->plan.writes) {
		op_end(op, 0);
	} else if (!op_changes_data(op)) {
		op_write(op);
	} else if (intent_begin(op)) {
		op_intended(op);
	} else {
		op_set_state(op, OP_INTENDING);
	}
}

/* What could not be read has been written anew: does it read now? */
static void op_verify(struct op *op)
{
	uint32_t lost = shard_lost_columns(op->shard, geometry_of(op), op->stripe);

	op->shard->counters.repairs += bits_count(op->repairs) * (op->plan.end - op->plan.row);
	op_set_state(op, OP_VERIFYING);
	prepare(op, IO_READ, op->repairs & op->avoid & ~lost);
	op_issue(op);
}

/* All writes are done. */
static void op_written(struct op *op)
{
	struct shard *shard = op->shard;

	if (rests_on_loss(op)) {
		wait_for_loss(op);
		return;
	}
	if (op->work == OP_READ) {
		op_verify(op);
		return;
	}
	if (bits_count(op->left_out) > geometry_of(op)->redundant)
		op->status = -EIO;
	if (op->left_out & ~shard->settled && !shard->broken) {
		op_set_state(op, OP_UNSETTLED);
		list_push_back(&shard->unsettled, &op->link);
		return;
	}
	if (op->left_out & ~shard->settled)
		op->status = -EIO;
	op_end(op, op->status);
}

/* The op has its rows. fed: it is the turn of this one among those that wait for memory; others do
 * not overtake them, or a large op would wait for ever. */
static void op_plan(struct op *op, bool fed)
{
	int error = op_make_plan(op);

	if (error) {
		op_end(op, error == -ECANCELED ? 0 : error);
	} else if ((fed || list_empty(&op->shard->starved)) && get_memory(op)) {
		op_read(op);
	} else {
		op_set_state(op, OP_STARVED);
		list_push_back(&op->shard->starved, &op->link);
	}
}

static void op_lock(struct op *op)
{
	struct plan_input input;

	if (op->sweep) {
		op->plan.row = op->row_first;
		op->plan.end = op->row_end;
	} else {
		op_plan_input(op, &input);
		plan_bands(&input, &op->plan);
		assert(op->plan.bands);
	}
	op->lock_row = op->plan.row;
	op->lock_end = op->plan.end;
	if (stripe_lock(&op->shard->stripes, op))
		op_plan(op, false);
	else
		op_set_state(op, OP_LOCKED_OUT);
}

void op_settled(struct shard *shard)
{
	struct list waiting;
	struct list_node *node;

	list_init(&waiting);
	list_append_all(&waiting, &shard->unsettled);
	while ((node = list_pop_front(&waiting))) {
		struct op *op = container_of(node, struct op, link);

		if (op->state == OP_LOGGING && op->logged)
			op_logged(op);
		else if (op->state == OP_LOGGING)
			op_log(op);
		else if (!(op->left_out & ~shard->settled))
			op_end(op, op->status);
		else if (shard->broken)
			op_end(op, -EIO);
		else
			list_push_back(&shard->unsettled, &op->link);
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
	struct list gathered, opless, due;
	struct list_node *node;
	unsigned work = op_feed_starved(shard);

	list_init(&opless);
	if (!list_empty(&shard->ops))
		list_append_all(&opless, &shard->opless);
	for (; (node = list_pop_front(&opless)); work++)
		op_take(shard, container_of(node, struct slice, link));
	while (!shard->paused && !list_empty(&shard->ops) &&
		(node = list_pop_front(&shard->sweeps))) {
		op_sweep(shard, container_of(node, struct sweep_op, link));
		work++;
	}
	list_init(&gathered);
	list_append_all(&gathered, &shard->gathering);
	for (; (node = list_pop_front(&gathered)); work++)
		op_lock(container_of(node, struct op, link));
	/* What becomes due meanwhile is so in the next turn. */
	list_init(&due);
	list_append_all(&due, &shard->runnable);
	for (; (node = list_pop_front(&due)); work++)
		op_plan(container_of(node, struct op, link), false);
	return work;
}
