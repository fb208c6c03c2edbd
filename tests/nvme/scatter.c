/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme_scatter ADDRESS: takes a free NVMe drive, writes and reads its first blocks with memory in
 * pieces that PRPs do not cover, and gives the drive back. DESTROYS what is there. Each transfer
 * must be one command, by an SGL, and what is read what was written. For the emulated machine:
 * braid-bench has whole pages only.
 */
#include <semaphore.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/random.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"

enum { BYTES = 16384, SPACE_BYTES = 2 << 20, ARENA_BYTES = 2 << 20, ROUNDS = 200, PIECES_MAX = 32 };

struct transfer {
	struct io io;
	struct iovec iov[PIECES_MAX];
	struct blockdev_queue *queue;
	sem_t done;
};

static char *space;

static void transfer_done(struct io *io)
{
	sem_post(&container_of(io, struct transfer, io)->done);
}

static int submit(void *argument)
{
	struct transfer *transfer = argument;

	io_submit(transfer->queue, &transfer->io);
	return 0;
}

/* Pieces of multiples of 4 bytes, at such places, in order. The first has a block, and so a command
 * of its own where there are no SGLs: what has none would be copied, into one command. */
static void scatter(struct transfer *transfer, struct random *random)
{
	size_t left = BYTES, at = 4 * random_below(random, 1000);
	unsigned count = 0;

	for (; left; count++) {
		size_t length = (count ? 4 : 4096) + 4 * random_below(random, 500);

		length = count == PIECES_MAX - 1 || length > left ? left : length;
		transfer->iov[count] = (struct iovec){space + at, length};
		at += length + 4 + 4 * random_below(random, 1000);
		left -= length;
	}
	transfer->io.iov = transfer->iov;
	transfer->io.iovs = count;
}

/* How many commands it took, or -1. */
static int run(struct transfer *transfer, enum io_kind kind, const struct nvme_ring *ring)
{
	uint16_t before = ring->tail;

	transfer->io.kind = kind;
	transfer->io.blocks = BYTES / transfer->queue->dev->block_bytes;
	transfer->io.done = transfer_done;
	reactor_call(transfer->queue->reactor, submit, transfer);
	sem_wait(&transfer->done);
	if (transfer->io.status)
		return -1;
	return (ring->tail + ring->entries - before) % ring->entries;
}

static int check(struct blockdev_queue *queue, const struct nvme *nvme)
{
	static char written[BYTES];
	struct transfer transfer = {.queue = queue};
	struct random random = {.state = 1};

	sem_init(&transfer.done, 0, 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct iov_cursor cursor;
		char read[BYTES];

		scatter(&transfer, &random);
		for (unsigned i = 0; i < BYTES; i++)
			written[i] = (char)random_next(&random);
		cursor = iov_cursor_at(&transfer.io, 0);
		iov_copy_to(&cursor, written, BYTES);
		if (run(&transfer, IO_WRITE, &nvme->queues[0]->ring) != 1)
			return round + 1;
		memset(space, 0, SPACE_BYTES);
		scatter(&transfer, &random);
		if (run(&transfer, IO_READ, &nvme->queues[0]->ring) != 1)
			return round + 1;
		cursor = iov_cursor_at(&transfer.io, 0);
		iov_copy_from(&cursor, read, BYTES);
		if (memcmp(read, written, BYTES) != 0)
			return round + 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct nvme_options options = {0};
	struct cpumask mask = {{0}};
	struct blockdev_queue *queue;
	struct fail fail = {0};
	struct nvme *nvme;
	int wrong;

	if (argc != 2) {
		fprintf(stderr, "usage: nvme_scatter ADDRESS\n");
		return 2;
	}
	cpumask_add(&mask, 0);
	space = memory_map(SPACE_BYTES, NULL);
	if (!space || memory_start(1, ARENA_BYTES, &fail) ||
		reactor_group_start(&options.group, &mask, REACTOR_IDLE_ADAPTIVE, &fail) ||
		nvme_attach(&nvme, argv[1], &options, &fail) ||
		blockdev_open_queue(
			nvme_device(nvme, 0), reactor_at(options.group, 0), &queue, &fail)) {
		fprintf(stderr, "nvme_scatter: %s\n", fail.text);
		return 1;
	}
	printf("SGLs of multiples of %u bytes\n", nvme->sgl_unit);
	wrong = check(queue, nvme);
	blockdev_close_queue(queue);
	if (nvme_detach(nvme, true, &fail))
		fprintf(stderr, "nvme_scatter: %s\n", fail.text);
	reactor_group_stop(options.group);
	if (wrong)
		printf("round %d: an error, more than one command, or other data\n", wrong);
	else
		printf("%d transfers right, each one command\n", 2 * ROUNDS);
	return wrong ? 1 : 0;
}
