/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which chains of a split virtqueue are in flight, written down in memory that the front end keeps:
 * when we are killed, whoever takes our place carries out what we had taken and not answered.
 * vhost-user, "Inflight I/O tracking".
 *
 *	area: | features 8 | version 2 | entries 2 | last_batch 2 | used_index 2 | entry x entries |
 *	entry, one per descriptor: | in_flight 1 | 0 5 | next 2 | counter 8 |
 *
 * We may be killed between any two instructions. What is written, in this order:
 *
 *	inflight_take()     counter, in_flight = 1           from here on the chain is taken
 *	inflight_put()      next = last_batch, last_batch = head
 *	split_publish()     the ring's used index            from here on the batch is answered
 *	inflight_publish()  in_flight = 0 of the batch, used_index = the ring's
 *
 * A used index that is ahead of ours says that the last step did not end: inflight_recover() ends
 * it. Taken and unanswered is then exactly what is marked, so the ring's next chain is its used
 * index plus their number; what SET_VRING_BASE said does not matter.
 *
 * The area is the front end's, hostile, and changes at any time: each value is read once and
 * checked, and what running queues need is kept here. Belongs to the queue's thread.
 */
#ifndef VIRTIO_INFLIGHT_H
#define VIRTIO_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"
#include "virtio/split.h"

enum { INFLIGHT_VERSION = 1, INFLIGHT_BATCH_MAX = 256 };

struct inflight_entry {
	uint8_t in_flight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
static_assert(sizeof(struct inflight_entry) == 16, "vhost-user DescStateSplit");

/* Host byte order, as everything that vhost-user says of its own. */
struct inflight_area {
	uint64_t features;
	uint16_t version; /* 0: nobody has used it yet */
	uint16_t entries;
	uint16_t last_batch;
	uint16_t used_index;
	struct inflight_entry entry[];
};
static_assert(offsetof(struct inflight_area, entry) == 16, "vhost-user QueueRegionSplit");

struct inflight {
	struct inflight_area *area; /* NULL: nothing is tracked, and every call does nothing */
	uint64_t counter;	    /* for the next chain */
	uint16_t *again;	    /* heads to be carried out again, in their old order; owned */
	unsigned again_count, again_next;
	uint16_t batch[INFLIGHT_BATCH_MAX]; /* put, and not published yet */
	unsigned batch_count;
};

/* Bytes of one queue's area; areas follow each other at this distance. */
static inline size_t inflight_area_bytes(unsigned entries)
{
	enum { LINE_BYTES = 64 }; /* queues are served by different cores */

	return (sizeof(struct inflight_area) + entries * sizeof(struct inflight_entry) +
		       LINE_BYTES - 1) /
	       LINE_BYTES * LINE_BYTES;
}

/* Takes up an area of `entries`, aligned to 8, for a ring of which next_used is set; sets the
 * ring's next_available, finishes a batch that was cut off, and finds what is to be carried out
 * again. 0, or -errno with a sentence: nonsense, or no memory. */
int inflight_recover(struct inflight *inflight, struct inflight_area *area, uint16_t entries,
	struct split_queue *ring, struct fail *fail);
/* Lets the area go; it keeps what is marked. Harmless without one. */
void inflight_release(struct inflight *inflight);

/* A chain was taken from the available ring. -EBUSY with a sentence: it is in flight already. */
int inflight_take(struct inflight *inflight, uint16_t head, struct fail *fail);
/* Its used element was written. At most INFLIGHT_BATCH_MAX between two publications. */
void inflight_put(struct inflight *inflight, uint16_t head);
/* The used index was published. */
void inflight_publish(struct inflight *inflight, uint16_t used_index);

/* How many chains wait to be carried out again; they come before new ones. */
static inline unsigned inflight_waiting(const struct inflight *inflight)
{
	return inflight->again_count - inflight->again_next;
}

/* The next of them, which is marked already. */
static inline uint16_t inflight_again(struct inflight *inflight)
{
	return inflight->again[inflight->again_next++];
}

#endif
