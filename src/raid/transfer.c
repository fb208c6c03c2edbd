/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/transfer.h"

#include <assert.h>

#include "reactor/reactor.h"

static void transfer_done(struct io *io)
{
	atomic_store(&container_of(io, struct transfer, io)->done, true);
}

static int submit(void *argument)
{
	struct transfer *transfer = argument;

	io_submit(transfer->queue, &transfer->io);
	return 0;
}

static void start(struct transfer *transfer, struct blockdev_queue *queue, enum io_kind kind,
	uint64_t offset, struct iovec memory, bool fua)
{
	size_t bytes = memory.iov_len;

	uint32_t block_bytes = queue->dev->block_bytes;

	assert(offset % block_bytes == 0 && bytes % block_bytes == 0);
	transfer->queue = queue;
	atomic_init(&transfer->done, false);
	transfer->iov = memory;
	transfer->io = (struct io){
		.kind = kind,
		.fua = fua,
		.block = offset / block_bytes,
		.blocks = (uint32_t)(bytes / block_bytes),
		.iov = &transfer->iov,
		.iovs = memory.iov_base ? 1 : 0,
		.done = transfer_done,
	};
	reactor_call(queue->reactor, submit, transfer);
}

void transfer_start(struct transfer *transfer, struct blockdev_queue *queue, enum io_kind kind,
	uint64_t offset, void *memory, size_t bytes)
{
	start(transfer, queue, kind, offset, (struct iovec){memory, bytes}, false);
}

int transfer_wait(struct transfer *transfer)
{
	while (!atomic_load(&transfer->done))
		reactor_yield(reactor_group_of(transfer->queue->reactor));
	return transfer->io.status;
}

int transfer(struct blockdev_queue *queue, enum io_kind kind, uint64_t offset, void *memory,
	size_t bytes)
{
	struct transfer one;

	start(&one, queue, kind, offset, (struct iovec){memory, bytes}, kind == IO_WRITE);
	return transfer_wait(&one);
}
