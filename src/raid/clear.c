/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/clear.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "raid/level.h"
#include "reactor/reactor.h"

enum { STEP_BYTES = 64 << 20 };

struct clear {
	struct io io;
	struct blockdev_queue *queue;
	atomic_uint *pending;
};

static void step_done(struct io *io)
{
	atomic_fetch_sub(container_of(io, struct clear, io)->pending, 1);
}

static int submit_step(void *argument)
{
	struct clear *clear = argument;

	io_submit(clear->queue, &clear->io);
	return 0;
}

/* One step on all devices at once. */
static int clear_step(
	struct clear *clears, unsigned count, uint64_t block, uint32_t blocks, struct fail *fail)
{
	atomic_uint pending = count;

	for (unsigned i = 0; i < count; i++) {
		clears[i].pending = &pending;
		clears[i].io = (struct io){.kind = IO_WRITE_ZEROES,
			.may_unmap = true,
			.block = block,
			.blocks = blocks,
			.done = step_done};
		reactor_call(clears[i].queue->reactor, submit_step, &clears[i]);
	}
	while (atomic_load(&pending))
		usleep(100);
	for (unsigned i = 0; i < count; i++)
		if (clears[i].io.status)
			return fail_set(fail, -clears[i].io.status, "cannot clear drive %s: %s",
				clears[i].queue->dev->name, strerror(-clears[i].io.status));
	return 0;
}

int clear_members(struct blockdev *const *devices, unsigned count, uint64_t blocks,
	struct reactor_group *group, struct clear_progress *progress, struct fail *fail)
{
	struct clear clears[RAID_MEMBERS_MAX];
	uint32_t block_bytes = devices[0]->block_bytes;
	unsigned opened = 0;
	int error = 0;

	assert(count && count <= RAID_MEMBERS_MAX);
	atomic_store(&progress->total_bytes, blocks * block_bytes * count);
	for (; opened < count && !error; opened += !error)
		error = blockdev_open_queue(devices[opened],
			reactor_at(group, opened % reactor_count(group)), &clears[opened].queue,
			fail);
	for (uint64_t block = 0; block < blocks && !error;) {
		uint32_t step = (uint32_t)MIN(blocks - block, (uint64_t)STEP_BYTES / block_bytes);

		error = clear_step(clears, count, block, step, fail);
		block += step;
		atomic_fetch_add(&progress->done_bytes, (uint64_t)step * block_bytes * count);
		if (!error && atomic_load(&progress->cancel))
			error = fail_set(fail, ECANCELED, "cancelled");
	}
	while (opened--)
		blockdev_close_queue(clears[opened].queue);
	return error;
}
