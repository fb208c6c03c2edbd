/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one face of everything that stores blocks: drives, arrays and volumes.
 *
 *	control thread                       reactor
 *	blockdev_open_queue() ------------>  one queue per reactor: no locks on it
 *	                                     io_submit(queue, io) ... io->done(io)
 *	blockdev_close_queue() <-----------  after its last io is done
 *	blockdev_destroy()
 *
 * io_submit() cannot fail and never says "later": a device without room keeps the io on its own
 * list. Errors have one path, done().
 */
#ifndef BLOCK_BLOCKDEV_H
#define BLOCK_BLOCKDEV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "block/io.h"

struct reactor;

enum { BLOCKDEV_NAME_BYTES = 256, BLOCKDEV_USER_BYTES = 80 };

struct blockdev {
	const struct blockdev_ops *ops;
	char name[BLOCKDEV_NAME_BYTES];
	uint32_t block_bytes; /* 512 or 4096 */
	uint64_t blocks;
	uint32_t sector_bytes; /* of the medium, as other software sees it; 0: block_bytes */
	uint32_t best_blocks;  /* writes of multiples of this are fastest; 0: no preference */
	uint32_t chunk_blocks; /* requests within multiples of this are not split; 0: likewise */
	bool volatile_cache;   /* completed writes need a FLUSH to be stable */
	bool discard_zeroes;   /* discarded blocks read as zeros */
	char user[BLOCKDEV_USER_BYTES]; /* who has claimed it, "" nobody; control lock */
};

/* One device on one reactor. Drivers embed it. Belongs to that reactor's thread. */
struct blockdev_queue {
	struct blockdev *dev;
	struct reactor *reactor;
	void (*submit)(
		struct blockdev_queue *queue, struct io *io); /* copied from ops: one load less */
};

struct blockdev_ops {
	const char *driver; /* "ram", "uring", "array", ... */

	/* Opens a queue; called on the reactor that will own it. 0 or -errno with a sentence. */
	int (*open_queue)(struct blockdev *dev, struct reactor *reactor,
		struct blockdev_queue **queue, struct fail *fail);
	/* Closes it, on the same reactor; no io is in flight. */
	void (*close_queue)(struct blockdev_queue *queue);
	void (*submit)(struct blockdev_queue *queue, struct io *io);
	/* Frees the device; no queue is open. Control thread. */
	void (*destroy)(struct blockdev *dev);
};

/* These two run on a control thread and call into the reactor. */
int blockdev_open_queue(struct blockdev *dev, struct reactor *reactor,
	struct blockdev_queue **queue, struct fail *fail);
void blockdev_close_queue(struct blockdev_queue *queue);

static inline void blockdev_destroy(struct blockdev *dev)
{
	dev->ops->destroy(dev);
}

static inline void io_submit(struct blockdev_queue *queue, struct io *io)
{
	queue->submit(queue, io);
}

static inline uint64_t blockdev_bytes(const struct blockdev *dev)
{
	return dev->blocks * dev->block_bytes;
}

/* True when io stays within dev. */
static inline bool blockdev_covers(const struct blockdev *dev, const struct io *io)
{
	return io->block <= dev->blocks && io->blocks <= dev->blocks - io->block;
}

/* Claims dev for a user ("array media6"); -EBUSY with a sentence that names who has it. */
int blockdev_claim(struct blockdev *dev, const char *user, struct fail *fail);
void blockdev_release(struct blockdev *dev);

#endif
