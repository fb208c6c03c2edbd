/* SPDX-License-Identifier: Apache-2.0 */
#include "drive.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reactor/reactor.h"

enum { PENDING_MAX = 512 };

struct sim_queue {
	struct blockdev_queue base;
	struct sim_drive *drive;
	struct poller poller;
	unsigned count;
	struct io *pending[PENDING_MAX];
};

static int carry_out(struct sim_drive *drive, struct io *io)
{
	size_t bytes = (size_t)io->blocks * drive->dev.block_bytes;
	char *at = drive->memory + io->block * drive->dev.block_bytes;
	struct iov_cursor cursor;

	drive->commands++;
	if (drive->dead)
		return -EIO;
	switch (io->kind) {
	case IO_READ:
		if (random_chance(drive->random, drive->flaky_per_thousand))
			return -EIO;
		cursor = iov_cursor_at(io, 0);
		iov_copy_to(&cursor, at, bytes);
		break;
	case IO_WRITE:
		if (random_chance(drive->random, drive->flaky_per_thousand / 10))
			return -EIO;
		cursor = iov_cursor_at(io, 0);
		iov_copy_from(&cursor, at, bytes);
		break;
	case IO_DISCARD:
	case IO_WRITE_ZEROES:
		memset(at, 0, bytes);
		break;
	case IO_FLUSH:
		break;
	}
	return 0;
}

static unsigned sim_poll(struct poller *poller)
{
	struct sim_queue *queue = container_of(poller, struct sim_queue, poller);
	struct random *random = queue->drive->random;
	struct io *io;
	unsigned pick;

	if (!queue->count)
		return 0;
	if (!random_chance(random, queue->drive->eager_per_thousand))
		return 1;
	pick = (unsigned)random_below(random, queue->count);
	io = queue->pending[pick];
	queue->pending[pick] = queue->pending[--queue->count];
	io_complete(io, carry_out(queue->drive, io));
	return 1;
}

static void sim_submit(struct blockdev_queue *base, struct io *io)
{
	struct sim_queue *queue = container_of(base, struct sim_queue, base);

	assert(blockdev_covers(base->dev, io) && queue->count < PENDING_MAX);
	queue->pending[queue->count++] = io;
}

static int sim_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **base, struct fail *fail)
{
	struct sim_queue *queue = malloc(sizeof(*queue));

	(void)fail;
	assert(queue);
	queue->drive = container_of(dev, struct sim_drive, dev);
	queue->count = 0;
	queue->poller = (struct poller){.poll = sim_poll};
	poller_add(reactor, &queue->poller);
	*base = &queue->base;
	return 0;
}

static void sim_close_queue(struct blockdev_queue *base)
{
	struct sim_queue *queue = container_of(base, struct sim_queue, base);

	assert(!queue->count);
	poller_remove(&queue->poller);
	free(queue);
}

static void sim_destroy(struct blockdev *dev)
{
	(void)dev; /* embedded by its owner */
}

static const struct blockdev_ops sim_ops = {
	.driver = "sim",
	.open_queue = sim_open_queue,
	.close_queue = sim_close_queue,
	.submit = sim_submit,
	.destroy = sim_destroy,
};

void sim_drive_init(struct sim_drive *drive, const char *name, struct random *random, char *memory,
	uint64_t blocks, uint32_t block_bytes)
{
	*drive = (struct sim_drive){
		.dev = {.ops = &sim_ops,
			.block_bytes = block_bytes,
			.blocks = blocks,
			.volatile_cache = true,
			.discard_zeroes = true},
		.memory = memory,
		.random = random,
		.eager_per_thousand = 500,
	};
	snprintf(drive->dev.name, sizeof(drive->dev.name), "%s", name);
}
