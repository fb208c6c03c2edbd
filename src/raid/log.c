/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "raid/internal.h"

/* HOT_UNITS: how much of a lane is used where the members are memory, so that it stays in a cache.
 */
enum { SHORT_RING_UNITS = 64, HOT_UNITS = 24 };

static uint64_t window_bytes(const struct shard *shard)
{
	const struct geometry *geometry = &shard->array->geometry;

	return (uint64_t)geometry->window_rows * geometry->block_bytes;
}

/* --- making ---------------------------------------------------------------------------------- */

static void init_batch(struct shard *shard, unsigned index)
{
	struct shard_log *log = &shard->log;
	struct log_batch *batch = &log->batches[index];
	unsigned members = shard->array->geometry.members;

	batch->shard = shard;
	list_init(&batch->ops);
	batch->parts = (struct log_part *)log->parts + index * members;
	for (unsigned i = 0; i < members; i++) {
		struct log_part *part = &batch->parts[i];

		part->batch = batch;
		part->member = i;
		part->record = (struct record *)log->records + index * members + i;
		part->header = log->pages + (size_t)(1 + index * members + i) * RECORD_HEADER_BYTES;
	}
}

int log_init(struct shard *shard)
{
	struct shard_log *log = &shard->log;
	unsigned members = shard->array->geometry.members;

	list_init(&log->waiting);
	if (shard->array->geometry.level->redundancy != REDUNDANCY_PARITY)
		return 0;
	log->pages_bytes = (size_t)(1 + (LOG_BATCHES + 1) * members) * RECORD_HEADER_BYTES;
	log->pages = memory_map(log->pages_bytes, NULL);
	log->rings = calloc(members, sizeof(log->rings[0]));
	log->flushes = calloc(members, sizeof(log->flushes[0]));
	log->records = calloc(LOG_BATCHES * members, sizeof(struct record));
	log->parts = calloc(LOG_BATCHES * members, sizeof(struct log_part));
	if (!log->pages || !log->rings || !log->flushes || !log->records || !log->parts)
		return -ENOMEM;
	for (unsigned i = 0; i < LOG_BATCHES; i++)
		init_batch(shard, i);
	for (unsigned i = 0; i < members; i++)
		log->flushes[i] = (struct log_flush){.shard = shard,
			.member = i,
			.header = log->pages + (size_t)(1 + LOG_BATCHES * members + i) *
						       (size_t)RECORD_HEADER_BYTES};
	log->enabled = true;
	log_reset(shard);
	return 0;
}

void log_destroy(struct shard *shard)
{
	struct shard_log *log = &shard->log;

	if (log->pages)
		memory_unmap(log->pages, log->pages_bytes);
	free(log->rings);
	free(log->flushes);
	free(log->records);
	free(log->parts);
}

void log_reset(struct shard *shard)
{
	struct shard_log *log = &shard->log;
	const struct array *array = shard->array;
	uint64_t units = array->log.bytes / LAYOUT_UNIT_BYTES / reactor_count(array->group);
	uint64_t usable;

	if (!log->enabled)
		return;
	assert(log_is_idle(shard));
	/* Where a checkpoint needs no flush it costs next to nothing: then a short ring stays in
	 * whatever cache the members have. */
	usable = units - LANE_HEADER_PAGES;
	if (!array->volatile_members)
		usable = MIN(usable, MAX((uint64_t)SHORT_RING_UNITS,
					     8 * (1 + window_bytes(shard) / LAYOUT_UNIT_BYTES)));
	log->checkpoints = 0;
	for (unsigned i = 0; i < array->geometry.members; i++)
		log->rings[i] = (struct log_ring){
			.offset = array->log.offset +
				  (shard->index * units + LANE_HEADER_PAGES) * LAYOUT_UNIT_BYTES,
			.units = (uint32_t)usable};
}

bool log_is_on(const struct shard *shard)
{
	if (!shard->log.enabled || MUTANT(log_skipped))
		return false;
	switch (shard->array->config.consistency) {
	case CONSISTENCY_LOG:
		return true;
	case CONSISTENCY_ADAPTIVE:
		return shard->lost | shard->rebuilding;
	default:
		return false;
	}
}

bool log_is_idle(const struct shard *shard)
{
	const struct shard_log *log = &shard->log;

	for (unsigned i = 0; i < LOG_BATCHES; i++)
		if (log->batches[i].writing)
			return false;
	return list_empty(&log->waiting) && !log->gathering && !log->checkpointing;
}

/* --- gathering ------------------------------------------------------------------------------- */

/* A full stripe needs no payload where nothing can come between the record and the data: the
 * members keep what they acknowledge, and every data column is there to compute the parity from. */
static enum record_kind kind_of(const struct op *op)
{
	const struct array *array = op->shard->array;

	if (op->work == OP_CLEAR)
		return RECORD_CLEAR;
	if (op->work == OP_WRITE && !op->plan.reads && !op->plan.recovers &&
		op->plan.touched == bits_below(array->geometry.data) &&
		(!array->volatile_members || MUTANT(log_full_volatile)) &&
		!shard_unreadable_columns(op->shard, &array->geometry, op->stripe) &&
		!bad_columns(op->shard, op->stripe, op->plan.row, op->plan.end))
		return RECORD_FULL;
	return RECORD_DATA;
}

/* Room for any op: it adds at most PLAN_BANDS_MAX entries to a part. */
static bool has_room(const struct shard *shard, const struct log_batch *batch, uint64_t bytes)
{
	uint64_t most = (uint64_t)shard->log.rings[0].units * LAYOUT_UNIT_BYTES / 4;

	for (unsigned i = 0; i < shard->array->geometry.members; i++) {
		const struct log_part *part = &batch->parts[i];

		if (part->entries + PLAN_BANDS_MAX > RECORD_ENTRIES_MAX ||
			(part->entries && part->payload_bytes + bytes > most))
			return false;
	}
	return true;
}

static struct log_batch *batch_get(struct shard *shard)
{
	struct shard_log *log = &shard->log;

	for (unsigned i = 0; i < LOG_BATCHES && !log->gathering; i++) {
		struct log_batch *batch = &log->batches[i];

		if (batch->writing)
			continue;
		for (unsigned j = 0; j < shard->array->geometry.members; j++) {
			batch->parts[j].entries = 0;
			batch->parts[j].segments = 1; /* the header */
			batch->parts[j].payload_bytes = 0;
		}
		batch->failed = 0;
		log->gathering = batch;
	}
	return log->gathering;
}

static void add_entry(struct log_batch *batch, const struct op *op, const struct op_io *write,
	enum record_kind kind)
{
	const struct geometry *geometry = &op->shard->array->geometry;
	unsigned member = geometry_member(geometry, op->stripe, write->column);
	struct log_part *part = &batch->parts[member];
	struct record_entry *entry = &part->record->entry[part->entries++];

	*entry = (struct record_entry){
		.seq = op->shard->log.seq,
		.stripe = op->stripe,
		.row = (uint32_t)(write->io.block - geometry_block(geometry, op->stripe, 0)),
		.rows = write->io.blocks,
		.members = op->log_members,
		.kind = kind,
	};
	if (kind != RECORD_DATA)
		return;
	entry->checksum = crc32c(0, write->iov.iov_base, write->iov.iov_len);
	part->iov[part->segments++] = write->iov;
	part->payload_bytes += write->iov.iov_len;
}

void log_add(struct op *op)
{
	struct shard *shard = op->shard;
	struct log_batch *batch = batch_get(shard);
	uint32_t lost = shard_lost_columns(shard, &shard->array->geometry, op->stripe);
	enum record_kind kind = kind_of(op);

	if (!batch || !has_room(shard, batch, window_bytes(shard))) {
		list_push_back(&shard->log.waiting, &op->link);
		return;
	}
	op_prepare_writes(op, op->plan.writes & ~lost);
	op->log_members = op->log_failed = 0;
	for (unsigned i = 0; i < op->ios_used; i++)
		op->log_members |= 1u << geometry_member(
					   &shard->array->geometry, op->stripe, op->ios[i].column);
	shard->log.seq++;
	for (unsigned i = 0; i < op->ios_used; i++)
		add_entry(batch, op, &op->ios[i], kind);
	list_push_back(&batch->ops, &op->link);
	shard->counters.log_records++;
}

/* --- writing --------------------------------------------------------------------------------- */

static uint32_t part_units(const struct log_part *part)
{
	return (uint32_t)(1 + divide_up(part->payload_bytes, LAYOUT_UNIT_BYTES));
}

/* Units that a record takes of the ring, with what is left over at its end if it does not fit
 * there. */
static uint32_t units_taken(const struct log_ring *ring, uint32_t units)
{
	return ring->head + units > ring->units ? ring->units - ring->head + units : units;
}

static bool rings_have_room(const struct shard *shard, const struct log_batch *batch)
{
	for (unsigned i = 0; i < shard->array->geometry.members; i++) {
		const struct log_ring *ring = &shard->log.rings[i];

		if (batch->parts[i].entries &&
			ring->used + units_taken(ring, part_units(&batch->parts[i])) >
				ring->units &&
			!MUTANT(log_overwritten))
			return false;
	}
	return true;
}

static void batch_put(struct log_batch *batch)
{
	struct list ops;
	struct list_node *node;

	if (--batch->pending)
		return;
	list_init(&ops);
	list_append_all(&ops, &batch->ops);
	batch->writing = false;
	while ((node = list_pop_front(&ops))) {
		struct op *op = container_of(node, struct op, link);

		op->log_failed = batch->failed & op->log_members;
		op_logged(op);
	}
}

static void part_done(struct io *io)
{
	struct log_part *part = container_of(io, struct log_part, io);
	struct log_batch *batch = part->batch;

	if (io->status && !MUTANT(log_error_ignored)) {
		batch->failed |= 1u << part->member;
		member_write_error(batch->shard, part->member, LOSS_WRITE_ERROR);
	}
	batch_put(batch);
}

static void write_part(struct shard *shard, struct log_part *part)
{
	struct array *array = shard->array;
	struct log_ring *ring = &shard->log.rings[part->member];
	struct blockdev *dev = shard->members[part->member]->dev;
	const struct keeper *keeper = array->keeper;
	uint32_t units = part_units(part), taken = units_taken(ring, units);
	uint64_t bytes = (uint64_t)units * LAYOUT_UNIT_BYTES, place;
	size_t filling = bytes - RECORD_HEADER_BYTES - part->payload_bytes;

	if (taken > units)
		ring->head = 0;
	place = ring->offset + (uint64_t)ring->head * LAYOUT_UNIT_BYTES;
	ring->head = (ring->head + units) % ring->units;
	ring->used += taken;
	part->record->log_epoch = keeper->superblock.log_epoch;
	part->record->part = array->part;
	part->record->lane = shard->index;
	part->record->entries = part->entries;
	record_encode(part->record, &keeper->superblock.rows[array->first_row + part->member].uuid,
		place, part->header);
	part->iov[0] = (struct iovec){part->header, RECORD_HEADER_BYTES};
	if (filling)
		part->iov[part->segments++] = (struct iovec){shard->log.pages, filling};
	part->io = (struct io){
		.kind = IO_WRITE,
		.fua = !MUTANT(log_not_fua),
		.block = place / dev->block_bytes,
		.blocks = (uint32_t)(bytes / dev->block_bytes),
		.iov = part->iov,
		.iovs = part->segments,
		.done = part_done,
	};
	shard->counters.log_bytes += bytes;
	shard->member_counters[part->member].writes++;
	io_submit(shard->members[part->member], &part->io);
}

static void batch_write(struct shard *shard, struct log_batch *batch)
{
	struct shard_log *log = &shard->log;
	struct list_node *node;

	log->gathering = NULL;
	log->written_seq = log->seq; /* all numbers given so far are in this batch or before */
	batch->writing = true;
	batch->pending = 1;
	shard->counters.log_batches++;
	list_for_each (node, &batch->ops) {
		struct op *op = container_of(node, struct op, link);

		op->log_turn = log->turn;
		op->logged = true;
		log->in_flight[log->turn]++;
	}
	for (unsigned i = 0; i < shard->array->geometry.members; i++) {
		if (!batch->parts[i].entries)
			continue;
		batch->pending++;
		write_part(shard, &batch->parts[i]);
	}
	log->prompt = batch->pending == 1;
	batch_put(batch);
}

/* --- checkpoints ----------------------------------------------------------------------------- */

/* Members that answer at once are memory: the header of a lane costs them next to nothing, and the
 * copies into the lane less if the same room is used again soon. */
static bool want_checkpoint(const struct shard *shard)
{
	const struct shard_log *log = &shard->log;
	uint32_t most = log->rings[0].units / 2;

	if (log->gathering && !rings_have_room(shard, log->gathering))
		return true;
	if (log->prompt && !shard->array->volatile_members)
		most = MIN(most, (uint32_t)HOT_UNITS);
	for (unsigned i = 0; i < shard->array->geometry.members; i++)
		if (log->rings[i].used > most)
			return true;
	return false;
}

static void checkpoint_end(struct shard *shard)
{
	if (!shard->log.checkpointing)
		return; /* given up meanwhile */
	for (unsigned i = 0; i < shard->array->geometry.members; i++) {
		struct log_ring *ring = &shard->log.rings[i];

		ring->used -= ring->mark;
		if (!ring->used)
			ring->head = 0;
	}
	shard->log.checkpointing = false;
}

static void told(struct io *io)
{
	struct log_flush *flush = container_of(io, struct log_flush, io);
	struct shard *shard = flush->shard;

	if (io->status)
		member_write_error(shard, flush->member, LOSS_WRITE_ERROR);
	if (!--shard->log.flushing)
		checkpoint_end(shard);
}

/* All is stable: says so in the lane's header. */
static void checkpoint_tell(struct shard *shard)
{
	struct shard_log *log = &shard->log;
	const struct array *array = shard->array;
	const struct superblock *superblock = &array->keeper->superblock;
	struct lane_header header = {
		.log_epoch = superblock->log_epoch,
		.part = array->part,
		.lane = shard->index,
		.tail = log->tail,
	};

	log->flushing = 1;
	for (unsigned i = 0; i < array->geometry.members; i++) {
		struct log_flush *flush = &log->flushes[i];
		uint32_t block_bytes = array->geometry.block_bytes;
		uint64_t place = log->rings[i].offset -
				 (1 + log->checkpoints % LANE_HEADER_PAGES) * LAYOUT_UNIT_BYTES;

		if (shard->lost & 1u << i || MUTANT(log_tail_not_written))
			continue;
		lane_header_encode(&header, &superblock->rows[array->first_row + i].uuid, place,
			flush->header);
		flush->iov = (struct iovec){flush->header, LAYOUT_UNIT_BYTES};
		flush->io = (struct io){
			.kind = IO_WRITE,
			.fua = true,
			.block = place / block_bytes,
			.blocks = LAYOUT_UNIT_BYTES / block_bytes,
			.iov = &flush->iov,
			.iovs = 1,
			.done = told,
		};
		log->flushing++;
		io_submit(shard->members[i], &flush->io);
	}
	log->checkpoints++;
	if (!--log->flushing)
		checkpoint_end(shard);
}

/* A member that was left out of the flush may still be live in the table, and come back: its
 * records are needed until its loss is durable. */
static void checkpoint_flushed(struct shard *shard)
{
	if (shard->lost & ~shard->settled)
		shard->log.flushed = true;
	else
		checkpoint_tell(shard);
}

static void flush_done(struct io *io)
{
	struct log_flush *flush = container_of(io, struct log_flush, io);
	struct shard *shard = flush->shard;

	if (io->status)
		member_write_error(shard, flush->member, LOSS_FLUSH_ERROR);
	if (!--shard->log.flushing)
		checkpoint_flushed(shard);
}

static void flush_one(struct shard *shard, struct log_flush *flush, struct blockdev_queue *queue)
{
	if (!queue->dev->volatile_cache || MUTANT(log_no_flush))
		return;
	shard->log.flushing++;
	flush->io = (struct io){.kind = IO_FLUSH, .done = flush_done};
	io_submit(queue, &flush->io);
}

/* The ops before the checkpoint have ended: what they wrote has to be stable. */
static void checkpoint_flush(struct shard *shard)
{
	struct shard_log *log = &shard->log;

	log->flushing = 1;
	for (unsigned i = 0; i < shard->array->geometry.members; i++)
		if (!(shard->lost & 1u << i))
			flush_one(shard, &log->flushes[i], shard->members[i]);
	if (!--log->flushing)
		checkpoint_flushed(shard);
}

static unsigned checkpoint_continue(struct shard *shard)
{
	struct shard_log *log = &shard->log;

	if (!log->checkpointing) {
		/* The ops of the turn before the last one have all ended. */
		if (!want_checkpoint(shard) || log->in_flight[log->turn ^ 1])
			return 0;
		log->checkpointing = true;
		for (unsigned i = 0; i < shard->array->geometry.members; i++)
			log->rings[i].mark = log->rings[i].used;
		log->tail = log->written_seq;
		log->turn ^= 1;
	}
	if (log->flushing || log->in_flight[log->turn ^ 1])
		return 0;
	if (log->flushed && shard->lost & ~shard->settled)
		return 0;
	if (log->flushed) {
		log->flushed = false;
		checkpoint_tell(shard);
	} else {
		checkpoint_flush(shard);
	}
	return 1;
}

bool log_may_sleep(const struct shard *shard)
{
	const struct shard_log *log = &shard->log;
	bool turned = !log->in_flight[log->turn ^ 1];

	if (!log->enabled)
		return true;
	if (log->gathering && rings_have_room(shard, log->gathering))
		return false;
	if (shard->broken)
		return !log->gathering && list_empty(&log->waiting);
	if (log->checkpointing)
		return log->flushing || !turned || log->flushed;
	return !turned || !want_checkpoint(shard);
}

void log_end(struct op *op)
{
	if (!op->logged)
		return;
	op->logged = false;
	assert(op->shard->log.in_flight[op->log_turn]);
	op->shard->log.in_flight[op->log_turn]--;
}

/* Nothing is written any more, and every record stays: the next start needs them. */
static unsigned give_up(struct shard *shard)
{
	struct shard_log *log = &shard->log;
	struct list ops;
	struct list_node *node;
	unsigned work = 0;

	list_init(&ops);
	list_append_all(&ops, &log->waiting);
	if (log->gathering)
		list_append_all(&ops, &log->gathering->ops);
	log->gathering = NULL;
	if (!log->flushing)
		log->checkpointing = log->flushed = false;
	for (; (node = list_pop_front(&ops)); work++)
		op_fail(container_of(node, struct op, link));
	return work;
}

unsigned log_continue(struct shard *shard)
{
	struct shard_log *log = &shard->log;
	struct list waiting;
	struct list_node *node;
	unsigned work = 0;

	if (!log->enabled)
		return 0;
	if (shard->broken)
		return give_up(shard);
	work += checkpoint_continue(shard);
	if (log->gathering && !list_empty(&log->gathering->ops) &&
		rings_have_room(shard, log->gathering)) {
		batch_write(shard, log->gathering);
		work++;
	}
	if (list_empty(&log->waiting) || !batch_get(shard))
		return work;
	list_init(&waiting);
	list_append_all(&waiting, &log->waiting);
	while ((node = list_pop_front(&waiting))) {
		struct op *op = container_of(node, struct op, link);
		struct list_node *last = log->waiting.head.prev;

		op_log(op);
		work += log->waiting.head.prev == last;
	}
	return work;
}
