/* SPDX-License-Identifier: Apache-2.0 */
/*
 *	any reactor                the narrow reactor
 *	narrow_submit ---job--->   one job at a time:
 *	                             for each block: READ, change, WRITE
 *	done() <-----------job---
 */
#include "vhost/narrow.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "memory/memory.h"
#include "virtio/features.h"

struct narrow {
	struct blockdev *dev;
	struct reactor *reactor;
	struct blockdev_queue *queue;
	struct io io; /* the one for the current block */
	struct iovec iov;
	struct narrow_job *current;
	struct list waiting;   /* of struct narrow_job */
	bool advancing, again; /* a completion inside io_submit() loops instead of recursing */
	char *block;
};

static void start_block(struct narrow *narrow);

/* Goes on with the current job's next block. */
static void advance(struct narrow *narrow)
{
	narrow->again = true;
	if (narrow->advancing)
		return;
	narrow->advancing = true;
	while (narrow->again && narrow->current) {
		narrow->again = false;
		start_block(narrow);
	}
	narrow->advancing = false;
}

static void run_finished(struct message *message)
{
	struct narrow_job *job = container_of(message, struct narrow_job, message);

	job->io->done(job->io);
}

static void finish(struct narrow *narrow, int status)
{
	struct narrow_job *job = narrow->current;
	struct list_node *next = list_pop_front(&narrow->waiting);

	narrow->current = next ? container_of(next, struct narrow_job, link) : NULL;
	job->io->status = status;
	job->message.run = run_finished;
	reactor_send(job->home, &job->message);
	advance(narrow);
}

/* The sectors of the current block that the job is about. */
static void overlap(const struct narrow *narrow, uint64_t *skip_bytes, uint64_t *bytes)
{
	const struct narrow_job *job = narrow->current;
	uint64_t sectors = narrow->dev->block_bytes / VIRTIO_BLK_SECTOR_BYTES;
	uint64_t within = job->next % sectors;

	*skip_bytes = within * VIRTIO_BLK_SECTOR_BYTES;
	*bytes = MIN(sectors - within, job->end - job->next) * VIRTIO_BLK_SECTOR_BYTES;
}

static void block_written(struct io *io)
{
	struct narrow *narrow = container_of(io, struct narrow, io);
	uint64_t skip, bytes;

	overlap(narrow, &skip, &bytes);
	narrow->current->next += bytes / VIRTIO_BLK_SECTOR_BYTES;
	if (io->status || narrow->current->next == narrow->current->end)
		finish(narrow, io->status);
	else
		advance(narrow);
}

static void block_read(struct io *io)
{
	struct narrow *narrow = container_of(io, struct narrow, io);
	struct narrow_job *job = narrow->current;
	uint64_t skip, bytes;
	struct iov_cursor cursor;

	overlap(narrow, &skip, &bytes);
	if (io->status) {
		finish(narrow, io->status);
		return;
	}
	if (job->io->kind == IO_WRITE_ZEROES) {
		memset(narrow->block + skip, 0, bytes);
	} else {
		cursor =
			iov_cursor_at(job->io, (job->next - job->sector) * VIRTIO_BLK_SECTOR_BYTES);
		if (job->io->kind == IO_READ)
			iov_copy_to(&cursor, narrow->block + skip, bytes);
		else
			iov_copy_from(&cursor, narrow->block + skip, bytes);
	}
	if (job->io->kind == IO_READ) {
		block_written(io);
		return;
	}
	io->kind = IO_WRITE;
	io->fua = job->io->fua;
	io->block = job->next * VIRTIO_BLK_SECTOR_BYTES / narrow->dev->block_bytes;
	io->done = block_written;
	io_submit(narrow->queue, io);
}

static void start_block(struct narrow *narrow)
{
	narrow->io = (struct io){
		.kind = IO_READ,
		.block = narrow->current->next * VIRTIO_BLK_SECTOR_BYTES / narrow->dev->block_bytes,
		.blocks = 1,
		.iov = &narrow->iov,
		.iovs = 1,
		.done = block_read,
	};
	io_submit(narrow->queue, &narrow->io);
}

static void run_job(struct message *message)
{
	struct narrow_job *job = container_of(message, struct narrow_job, message);
	struct narrow *narrow = job->narrow;

	if (narrow->current) {
		list_push_back(&narrow->waiting, &job->link);
		return;
	}
	narrow->current = job;
	advance(narrow);
}

void narrow_submit(struct narrow *narrow, struct narrow_job *job, struct io *io, uint64_t sector,
	uint32_t sectors)
{
	*job = (struct narrow_job){
		.message.run = run_job,
		.narrow = narrow,
		.io = io,
		.home = reactor_self(),
		.sector = sector,
		.next = sector,
		.end = sector + sectors,
	};
	reactor_send(narrow->reactor, &job->message);
}

int narrow_create(
	struct narrow **created, struct blockdev *dev, struct reactor *reactor, struct fail *fail)
{
	struct narrow *narrow = calloc(1, sizeof(*narrow));
	int error;

	if (!narrow)
		return fail_set(fail, ENOMEM, "no memory for partial blocks");
	narrow->block = aligned_alloc(MEMORY_PAGE_BYTES, MEMORY_PAGE_BYTES);
	if (!narrow->block) {
		error = fail_set(fail, ENOMEM, "no memory for partial blocks");
		goto free_narrow;
	}
	error = blockdev_open_queue(dev, reactor, &narrow->queue, fail);
	if (error)
		goto free_block;
	narrow->dev = dev;
	narrow->reactor = reactor;
	narrow->iov = (struct iovec){narrow->block, dev->block_bytes};
	list_init(&narrow->waiting);
	*created = narrow;
	return 0;

free_block:
	free(narrow->block);
free_narrow:
	free(narrow);
	return error;
}

void narrow_destroy(struct narrow *narrow)
{
	assert(!narrow->current && list_empty(&narrow->waiting));
	blockdev_close_queue(narrow->queue);
	free(narrow->block);
	free(narrow);
}
