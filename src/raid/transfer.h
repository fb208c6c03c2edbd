/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Block I/O from a control thread, which waits for it: superblocks, the log at start, notes.
 *
 * Several may be on their way at once: transfer_start() each, then transfer_wait() each.
 */
#ifndef RAID_TRANSFER_H
#define RAID_TRANSFER_H

#include <stdatomic.h>

#include "block/blockdev.h"

struct transfer {
	struct io io;
	struct iovec iov;
	struct blockdev_queue *queue;
	atomic_bool done;
};

/* Offsets and lengths are bytes, multiples of the device's block; memory is page-aligned, and lent
 * until the wait is over. Writes by transfer() are stable when they are done; transfer_start()
 * leaves that to a flush. */
void transfer_start(struct transfer *transfer, struct blockdev_queue *queue, enum io_kind kind,
	uint64_t offset, void *memory, size_t bytes);
/* 0 or -errno. */
int transfer_wait(struct transfer *transfer);

int transfer(struct blockdev_queue *queue, enum io_kind kind, uint64_t offset, void *memory,
	size_t bytes);

#endif
