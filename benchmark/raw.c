/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/raw.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bits.h"
#include "memory/memory.h"

enum { WARM_ROUNDS = 4, LOOK_S = 1, STALL_LOOKS = 30 };

struct raw_slot {
	struct io io;
	struct iovec iov;
	struct raw_lane *lane;
	struct load_slot *load_slot;
	unsigned flushed; /* FLUSH: queues done */
};

static struct raw_lane *lane_of(struct load_transport *transport)
{
	return container_of(transport, struct raw_lane, transport);
}

/* Only this thread writes it. */
static void count_completion(struct raw_lane *lane)
{
	uint64_t before = atomic_load_explicit(&lane->completions, memory_order_relaxed);

	atomic_store_explicit(&lane->completions, before + 1, memory_order_relaxed);
}

/* A FLUSH goes to one queue after the other; at most RAID_MEMBERS_MAX deep. */
static void slot_done(struct io *io)
{
	struct raw_slot *slot = container_of(io, struct raw_slot, io);
	struct raw_lane *lane = slot->lane;

	if (io->kind == IO_FLUSH && !io->status && ++slot->flushed < lane->queues) {
		io_submit(lane->queue[slot->flushed], io);
		return;
	}
	count_completion(lane);
	load_done(lane->load, slot->load_slot, io->status);
}

static void *raw_buffer(struct load_transport *transport, unsigned index)
{
	struct raw_lane *lane = lane_of(transport);

	return lane->buffers + (size_t)index * align_up(lane->block_bytes, MEMORY_PAGE_BYTES);
}

static void raw_submit(struct load_transport *transport, struct load_slot *load_slot)
{
	static const enum io_kind kinds[LOAD_KINDS] = {[LOAD_READ] = IO_READ,
		[LOAD_WRITE] = IO_WRITE,
		[LOAD_FLUSH] = IO_FLUSH,
		[LOAD_DISCARD] = IO_DISCARD,
		[LOAD_ZEROES] = IO_WRITE_ZEROES};
	struct raw_lane *lane = lane_of(transport);
	struct raw_slot *slot = &lane->slots[load_slot->index];
	uint32_t unit = transport->unit_bytes;
	uint64_t request = 0, block = load_slot->offset / unit;

	if (lane->queues > 1) {
		request = load_slot->offset / lane->block_bytes;
		block = request / lane->queues * (lane->block_bytes / unit);
	}
	slot->load_slot = load_slot;
	slot->flushed = 0;
	slot->iov.iov_len = load_slot->bytes;
	slot->io = (struct io){
		.kind = kinds[load_slot->kind],
		.blocks = load_slot->bytes / unit,
		.block = block,
		.iov = &slot->iov,
		.iovs = 1,
		.done = slot_done,
	};
	io_submit(lane->queue[request % lane->queues], &slot->io);
}

static const struct load_transport_ops raw_ops = {
	.name = "raw",
	.buffer = raw_buffer,
	.submit = raw_submit,
};

static uint64_t thread_cpu_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static unsigned lane_poll(struct poller *poller)
{
	struct raw_lane *lane = container_of(poller, struct raw_lane, poller);
	unsigned work;

	if (lane->warm && lane->completions >= lane->warm) {
		lane->warm = 0;
		allocations_begin();
	}
	work = load_poll(lane->load);
	if (load_finished(lane->load)) {
		lane->allocations = allocations_end();
		lane->cpu_ns = thread_cpu_ns() - lane->cpu_ns;
		poller_remove(poller);
		sem_post(lane->finished);
	}
	return work;
}

void raw_measure(
	struct load_transport *transport, const struct engine *engine, uint32_t block_bytes)
{
	uint64_t smallest = UINT64_MAX;

	transport->ops = &raw_ops;
	transport->unit_bytes = engine->drive[0]->block_bytes;
	for (unsigned i = 0; i < engine->drives; i++)
		smallest = MIN(smallest, blockdev_bytes(engine->drive[i]));
	if (engine->array)
		transport->bytes = blockdev_bytes(array_blockdev(engine->array));
	else if (engine->drives == 1)
		transport->bytes = smallest;
	else
		transport->bytes = smallest / block_bytes * block_bytes * engine->drives;
}

static int open_queues(struct raw_lane *lane, const struct engine *engine, struct fail *fail)
{
	unsigned count = engine->array ? 1 : engine->drives;
	int error = 0;

	while (lane->queues < count && !error) {
		struct blockdev *dev =
			engine->array ? array_blockdev(engine->array) : engine->drive[lane->queues];

		error = blockdev_open_queue(dev, lane->reactor, &lane->queue[lane->queues], fail);
		lane->queues += !error;
	}
	return error;
}

static int make_slots(struct raw_lane *lane, const struct load_spec *spec, struct fail *fail)
{
	unsigned count = spec->queues * spec->depth;

	lane->buffers_bytes = count * align_up(spec->block_bytes, MEMORY_PAGE_BYTES);
	lane->slots = calloc(count, sizeof(*lane->slots));
	lane->buffers = memory_map(lane->buffers_bytes, NULL);
	if (!lane->slots || !lane->buffers)
		return fail_set(fail, ENOMEM, "no memory for %u requests of %u bytes", count,
			spec->block_bytes);
	for (unsigned i = 0; i < count; i++) {
		lane->slots[i].lane = lane;
		lane->slots[i].iov.iov_base = raw_buffer(&lane->transport, i);
	}
	lane->warm = (uint64_t)count * WARM_ROUNDS;
	return 0;
}

int raw_lane_open(struct raw_lane *lane, const struct engine *engine, unsigned reactor_index,
	const struct load_spec *spec, struct fail *fail)
{
	int error;

	*lane = (struct raw_lane){
		.poller.poll = lane_poll,
		.reactor = reactor_at(engine->group, reactor_index),
		.block_bytes = spec->block_bytes,
	};
	raw_measure(&lane->transport, engine, spec->block_bytes);
	error = open_queues(lane, engine, fail);
	if (!error)
		error = make_slots(lane, spec, fail);
	if (!error)
		error = load_create(&lane->load, spec, &lane->transport, fail);
	if (error)
		raw_lane_close(lane);
	return error;
}

void raw_lane_close(struct raw_lane *lane)
{
	if (lane->load)
		load_destroy(lane->load);
	while (lane->queues)
		blockdev_close_queue(lane->queue[--lane->queues]);
	if (lane->buffers)
		memory_unmap(lane->buffers, lane->buffers_bytes);
	free(lane->slots);
}

static int start_lane(void *argument)
{
	struct raw_lane *lane = argument;

	lane->cpu_ns = thread_cpu_ns();
	poller_add(lane->reactor, &lane->poller);
	return 0;
}

static uint64_t completions_of(const struct raw_lane *lanes, unsigned count)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < count; i++)
		sum += atomic_load_explicit(&lanes[i].completions, memory_order_relaxed);
	return sum;
}

int raw_lanes_run(struct raw_lane *lanes, unsigned count, struct fail *fail)
{
	uint64_t seen = 0;
	unsigned idle_looks = 0, finished = 0;
	sem_t semaphore;

	sem_init(&semaphore, 0, 0);
	for (unsigned i = 0; i < count; i++) {
		lanes[i].finished = &semaphore;
		reactor_call(lanes[i].reactor, start_lane, &lanes[i]);
	}
	while (finished < count && idle_looks < STALL_LOOKS) {
		struct timespec until;
		uint64_t now;

		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_S;
		if (!sem_clockwait(&semaphore, CLOCK_MONOTONIC, &until)) {
			finished++;
			continue;
		}
		assert(errno == ETIMEDOUT || errno == EINTR);
		now = completions_of(lanes, count);
		idle_looks = now == seen ? idle_looks + 1 : 0;
		seen = now;
	}
	if (finished < count)
		return fail_set(fail, ETIMEDOUT,
			"nothing has completed for %d s; the engine or a drive hangs", STALL_LOOKS);
	sem_destroy(&semaphore);
	return 0;
}
