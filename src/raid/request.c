/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block face of an array: cuts a request into slices and sends each where it belongs.
 *
 * What needs no redundancy goes straight between the caller's memory and the member: reads of
 * columns that are there, and everything on RAID 0. The rest is carried out by the engine (op.c) on
 * the reactor that owns the stripe.
 */
#include <assert.h>
#include <errno.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "raid/internal.h"

static void request_put(struct request *request)
{
	struct shard *shard = request->shard;
	struct io *io = request->io;

	assert(request->pending);
	if (--request->pending)
		return;
	/* A flush vouches for what was written before it, also where a member was left out: that
	 * member's loss has to be durable first. */
	if (io->kind == IO_FLUSH && shard->lost & ~shard->settled && !shard->broken &&
		!MUTANT(flush_unsettled)) {
		request->pending = 1;
		list_push_back(&shard->unsettled_flushes, &request->link);
		return;
	}
	if (io->kind == IO_FLUSH && shard->broken)
		request->status = IO_OFFLINE;
	list_push_front(&shard->requests, &request->link);
	shard->requests_busy--;
	shard->counters
		.latency[latency_bucket(reactor_now_ns(shard->reactor) - request->begun_ns)]++;
	shard->counters.errors += request->status == -EIO;
	io_complete(io, request->status);
}

void request_settled(struct shard *shard)
{
	struct list waiting;
	struct list_node *node;

	list_init(&waiting);
	list_append_all(&waiting, &shard->unsettled_flushes);
	while ((node = list_pop_front(&waiting)))
		request_put(container_of(node, struct request, link));
}

static void slice_returned(struct slice *slice)
{
	struct request *request = slice->request;

	if (slice->status && !request->status)
		request->status = slice->status;
	list_push_front(&request->shard->slices, &slice->link);
	request_put(request);
}

static void run_returned(struct message *message)
{
	slice_returned(container_of(message, struct slice, message));
}

void slice_complete(struct slice *slice, int status)
{
	struct reactor *home = slice->request->shard->reactor;

	slice->status = status;
	if (home == reactor_self()) {
		slice_returned(slice);
		return;
	}
	slice->message.run = run_returned;
	reactor_send(home, &slice->message);
}

static void run_take(struct message *message)
{
	struct slice *slice = container_of(message, struct slice, message);

	op_take(array_owner(slice->request->shard->array, slice->stripe), slice);
}

static void send_to_owner(struct shard *shard, struct slice *slice)
{
	struct shard *owner = array_owner(shard->array, slice->stripe);

	if (owner == shard) {
		op_take(shard, slice);
		return;
	}
	slice->message.run = run_take;
	reactor_send(owner->reactor, &slice->message);
}

static void direct_done(struct io *io)
{
	struct slice *slice = container_of(io, struct slice, io);
	struct shard *shard = slice->request->shard;
	const struct geometry *geometry = &shard->array->geometry;
	unsigned member = io->kind == IO_FLUSH
				  ? slice->column
				  : geometry_member(geometry, slice->stripe, slice->column);

	if (io->kind == IO_READ && geometry->redundant)
		pace_end(shard, member, slice->begun_ns);
	if (!io->status) {
		slice_returned(slice);
	} else if (io->status == -EFAULT) {
		/* The caller's memory has gone: no fault of the member. */
		slice->status = -EFAULT;
		slice_returned(slice);
	} else if (io->kind == IO_READ) {
		member_read_error(shard, member);
		if (geometry->redundant && !MUTANT(op_read_error_ignored)) {
			/* Once more, from the other columns; from the poller, not from in here. */
			slice->avoid = 1u << slice->column;
			list_push_back(&shard->broken_reads, &slice->link);
			return;
		}
		slice->status = geometry->redundant ? 0 : io->status;
		slice_returned(slice);
	} else {
		member_write_error(
			shard, member, io->kind == IO_FLUSH ? LOSS_FLUSH_ERROR : LOSS_WRITE_ERROR);
		slice->status = io->status;
		/* A flush stands as long as enough members are left to hold what was written. If it
		 * was one too many, the array breaks, and the flush fails then. */
		if (io->kind == IO_FLUSH && geometry->redundant)
			slice->status = 0;
		slice_returned(slice);
	}
}

/* Reads spread over the copies of a mirror by stripe, so that a sequential stream stays on one. */
static unsigned pick_copy(const struct shard *shard, uint64_t stripe)
{
	uint32_t live = bits_below(shard->array->geometry.members) &
			~shard_unreadable(shard, stripe) & ~pace_avoid(shard, stripe, 0);
	unsigned skip = live ? (unsigned)(stripe % bits_count(live)) : 0, column = 0;

	bits_for_each (column, live)
		if (!skip--)
			break;
	return column;
}

static void submit_direct(struct request *request, struct slice *slice, uint32_t rows)
{
	struct shard *shard = request->shard;
	const struct geometry *geometry = &shard->array->geometry;
	uint32_t row = slice->first % geometry->chunk_blocks;
	unsigned member;

	slice->column = slice->first / geometry->chunk_blocks;
	if (geometry->level->redundancy == REDUNDANCY_MIRROR)
		slice->column = pick_copy(shard, slice->stripe);
	member = geometry_member(geometry, slice->stripe, slice->column);
	if (MUTANT(geometry_row) && slice->first / geometry->chunk_blocks + 1 == geometry->data &&
		row)
		row--;
	io_part(&slice->io, request->io, slice->io_block, rows, geometry->block_bytes);
	slice->io.block = geometry_block(geometry, slice->stripe, row);
	slice->io.done = direct_done;
	if (slice->io.kind == IO_READ && geometry->redundant) {
		slice->begun_ns = reactor_now_ns(shard->reactor);
		pace_begin(shard, member, slice->io.block);
	}
	if (slice->io.kind == IO_READ)
		shard->member_counters[member].reads++;
	else
		shard->member_counters[member].writes++;
	io_submit(shard->members[member], &slice->io);
}

static struct slice *slice_get(struct request *request)
{
	struct list_node *node = list_pop_front(&request->shard->slices);
	struct slice *slice;

	if (!node)
		return NULL;
	slice = container_of(node, struct slice, link);
	slice->request = request;
	slice->io_block = request->next;
	slice->status = 0;
	slice->avoid = 0;
	request->pending++;
	return slice;
}

/* Whether blocks [first, end) of the stripe can go straight to the members. */
static bool is_direct(const struct request *request, uint64_t stripe, uint32_t first, uint32_t end)
{
	const struct shard *shard = request->shard;
	const struct geometry *geometry = &shard->array->geometry;
	uint32_t touched =
		bits_range(first / geometry->chunk_blocks, (end - 1) / geometry->chunk_blocks + 1);
	uint32_t unreadable;

	if (!geometry->redundant)
		return true;
	if (request->io->kind != IO_READ)
		return false;
	if (geometry->level->redundancy == REDUNDANCY_MIRROR && intent_is_dirty(shard, stripe))
		return false;
	unreadable = bad_columns(shard, stripe, 0, geometry->chunk_blocks);
	if (unreadable &&
		(geometry->level->redundancy == REDUNDANCY_MIRROR || unreadable & touched))
		return false;
	if (!(shard->lost | shard->rebuilding | shard->pace.slow) || MUTANT(plan_direct_failed))
		return true;
	if (geometry->level->redundancy == REDUNDANCY_MIRROR)
		return bits_count(shard_unreadable(shard, stripe)) < geometry->members;
	unreadable =
		shard_unreadable_columns(shard, geometry, stripe) | pace_avoid(shard, stripe, 0);
	return !(unreadable & touched);
}

/* The rows of the window from next_row on, if [first, end) touches it. */
static bool window_touched(const struct request *request, uint32_t first, uint32_t end)
{
	const struct geometry *geometry = &request->shard->array->geometry;
	struct plan_input input = {
		.data = geometry->data,
		.redundant = geometry->redundant,
		.chunk_blocks = geometry->chunk_blocks,
		.first = first,
		.end = end,
		.row_first = request->next_row,
		.row_end = request->next_row + geometry->window_rows,
	};
	struct plan plan;

	plan_bands(&input, &plan);
	return plan.bands;
}

/* Makes the next slice of the request. False: there is none to be had. */
static bool cut_slice(struct request *request)
{
	struct shard *shard = request->shard;
	const struct geometry *geometry = &shard->array->geometry;
	uint64_t block = request->io->block + request->next;
	uint64_t stripe = block / geometry->stripe_blocks;
	uint32_t first = (uint32_t)(block % geometry->stripe_blocks);
	uint32_t end = (uint32_t)MIN((uint64_t)geometry->stripe_blocks,
		(uint64_t)first + request->io->blocks - request->next);
	struct slice *slice = NULL;

	if (!request->next_row && is_direct(request, stripe, first, end)) {
		uint32_t window = geometry->window_rows;
		uint32_t rows = MIN(end - first, window - first % geometry->chunk_blocks % window);

		slice = slice_get(request);
		if (!slice)
			return false;
		slice->stripe = stripe;
		slice->first = first;
		slice->end = first + rows;
		slice->row_first = first % geometry->chunk_blocks / window * window;
		slice->row_end = slice->row_first + window;
		request->next += rows;
		submit_direct(request, slice, rows);
		return true;
	}
	if (window_touched(request, first, end)) {
		slice = slice_get(request);
		if (!slice)
			return false;
		slice->stripe = stripe;
		slice->first = first;
		slice->end = end;
		slice->row_first = request->next_row;
		slice->row_end = request->next_row + geometry->window_rows;
	}
	request->next_row += geometry->window_rows;
	if (request->next_row >= geometry->chunk_blocks) {
		request->next_row = 0;
		request->next += end - first;
	}
	if (slice)
		send_to_owner(shard, slice);
	return true;
}

/* A flush goes to every member that is there and has a volatile cache; `next` counts members. */
static bool cut_flush(struct request *request)
{
	struct shard *shard = request->shard;
	unsigned member = request->next;
	struct slice *slice;

	if (shard->lost & 1u << member || !shard->members[member]->dev->volatile_cache) {
		request->next++;
		return true;
	}
	slice = slice_get(request);
	if (!slice)
		return false;
	request->next++;
	slice->column = member;
	slice->io = (struct io){.kind = IO_FLUSH, .done = direct_done};
	io_submit(shard->members[member], &slice->io);
	return true;
}

/* Cuts as much as there are slices for. */
static void request_cut(struct request *request)
{
	bool flush = request->io->kind == IO_FLUSH;
	uint32_t end = flush ? request->shard->array->geometry.members : request->io->blocks;

	/* With more lost than the level survives there is nothing left that a flush could
	 * promise. */
	if (flush && !request->next &&
		bits_count(request->shard->lost) > request->shard->array->geometry.redundant)
		request->status = IO_OFFLINE;
	while (request->next < end)
		if (!(flush ? cut_flush(request) : cut_slice(request))) {
			list_push_back(&request->shard->cutting, &request->link);
			return;
		}
	request_put(request);
}

static void count_request(struct shard *shard, const struct io *io)
{
	struct array_counters *counters = &shard->counters;

	switch (io->kind) {
	case IO_READ:
		counters->reads++;
		counters->read_blocks += io->blocks;
		break;
	case IO_WRITE:
		counters->writes++;
		counters->written_blocks += io->blocks;
		break;
	case IO_FLUSH:
		counters->flushes++;
		break;
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		counters->discards++;
		break;
	}
}

static void request_start(struct shard *shard, struct io *io)
{
	struct list_node *node = list_pop_front(&shard->requests);
	struct request *request = container_of(node, struct request, link);

	request->io = io;
	request->begun_ns = reactor_now_ns(shard->reactor);
	request->next = 0;
	request->next_row = 0;
	request->pending = 1;
	request->status = 0;
	shard->requests_busy++;
	count_request(shard, io);
	request_cut(request);
}

void request_submit(struct blockdev_queue *queue, struct io *io)
{
	struct shard *shard = container_of(queue, struct shard, queue);

	if (!blockdev_covers(queue->dev, io))
		io_complete(io, -EINVAL);
	else if (shard->paused || list_empty(&shard->requests))
		list_push_back(&shard->held_ios, &io->link);
	else
		request_start(shard, io);
}

unsigned request_continue(struct shard *shard)
{
	struct list broken, cutting;
	struct list_node *node;
	unsigned work = 0;

	list_init(&broken);
	list_append_all(&broken, &shard->broken_reads);
	for (; (node = list_pop_front(&broken)); work++)
		send_to_owner(shard, container_of(node, struct slice, link));
	list_init(&cutting);
	if (!list_empty(&shard->slices))
		list_append_all(&cutting, &shard->cutting);
	for (; (node = list_pop_front(&cutting)); work++)
		request_cut(container_of(node, struct request, link));
	while (!shard->paused && !list_empty(&shard->requests) &&
		(node = list_pop_front(&shard->held_ios))) {
		request_start(shard, container_of(node, struct io, link));
		work++;
	}
	return work;
}
