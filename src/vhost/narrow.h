/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that are not whole blocks: a guest may send 512-byte requests to a disk of 4096-byte
 * blocks (VIRTIO 1.2, 5.2.5: blk_size is a hint). Each touched block is read, changed and written.
 *
 * All such requests of a device go, one at a time, through one reactor: two of them in one block
 * must not lose each other's sectors. A guest that writes part of a block and, at the same time,
 * the whole block by another request gets one or the other, per block.
 */
#ifndef VHOST_NARROW_H
#define VHOST_NARROW_H

#include "block/blockdev.h"
#include "reactor/reactor.h"

struct narrow;

/* Lent by the submitter together with its io. */
struct narrow_job {
	struct message message; /* to the narrow reactor, and back */
	struct narrow *narrow;
	struct io *io;
	struct reactor *home;
	uint64_t sector, next, end; /* first sector, the next to be done, and one behind the last */
	struct list_node link;
};

/* Opens a queue of dev on the reactor. Control thread. */
int narrow_create(
	struct narrow **narrow, struct blockdev *dev, struct reactor *reactor, struct fail *fail);
/* Nothing is in flight. */
void narrow_destroy(struct narrow *narrow);

/* Carries out io (kind, memory and done are set) for sectors of 512 bytes. From any reactor; done()
 * is called there. */
void narrow_submit(struct narrow *narrow, struct narrow_job *job, struct io *io, uint64_t sector,
	uint32_t sectors);

#endif
