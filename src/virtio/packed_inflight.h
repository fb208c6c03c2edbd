/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which chains of a packed virtqueue are in flight, written down in memory that the front end
 * keeps; inflight.h is the same for split ones. vhost-user, "Inflight I/O tracking".
 *
 * Used descriptors are written over those that were taken, so the area has a copy of each:
 *
 *	area: | features 8 | version 2 | entries 2 | free_head 2 | old_free_head 2 | used 8 | 8 |
 *	entry: | in_flight 1 | 0 1 | next 2 | last 2 | count 2 | counter 8 | a descriptor 16 |
 *
 * A chain is `count` entries from its head on, linked by next; entries that are not in flight are
 * linked from free_head, and ffff ends that list. `used` is two positions in the ring, of which the
 * old one is behind while a batch is being published. We may be killed between any two
 * instructions. What is written, in this order:
 *
 *	packed_inflight_take()    the entries, then in_flight = 1    from here on the chain is taken
 *	packed_inflight_commit()  the batch's entries linked before old_free_head, used = new, old
 *	packed_publish()          the flags of the batch's first     from here on it is answered
 *	packed_inflight_publish() in_flight = 0 of the batch, old_free_head, used = new, new
 *
 * packed_inflight_recover() looks at those flags when new and old differ, and ends the publication
 * or takes it back. Taken and unanswered is then exactly what is marked, so the next available
 * descriptor is as far from the next used one as they have entries.
 *
 * A packed ring does not say in itself where the device stands. The area does, unless it is new or
 * this session knows better: then SET_VRING_BASE counts.
 *
 * The area is the front end's, hostile, and changes at any time: each value is read once and
 * checked, and what running queues need is kept here. Belongs to the queue's thread.
 */
#ifndef VIRTIO_PACKED_INFLIGHT_H
#define VIRTIO_PACKED_INFLIGHT_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fail.h"
#include "virtio/inflight.h"
#include "virtio/packed.h"

struct packed_entry {
	uint8_t in_flight; /* of a chain's head, like last, count and counter */
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t count;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t bytes;
	uint64_t address;
};
static_assert(sizeof(struct packed_entry) == 32, "vhost-user DescStatePacked");

/* Host byte order, as everything that vhost-user says of its own. */
struct packed_area {
	uint64_t features;
	uint16_t version; /* 0: nobody has used it yet */
	uint16_t entries;
	uint16_t free_head, old_free_head;
	union {
		struct {
			uint16_t used_index, old_used_index;
			uint8_t used_wrap, old_used_wrap;
			uint8_t used_padding[2];
		};
		uint64_t used; /* all of it, so that one instruction writes it */
	};
	uint8_t padding[8];
	struct packed_entry entry[];
};
static_assert(offsetof(struct packed_area, used_index) == 16, "vhost-user QueueRegionPacked");
static_assert(offsetof(struct packed_area, old_used_wrap) == 21, "vhost-user QueueRegionPacked");
static_assert(offsetof(struct packed_area, entry) == 32, "vhost-user QueueRegionPacked");

struct packed_inflight {
	struct packed_area *area; /* NULL: nothing is tracked, and every call does nothing */
	uint64_t counter;	  /* for the next chain */
	uint16_t *next;		  /* what the entries' next ought to be; owned */
	uint16_t free_head;
	struct packed_again {
		uint16_t head, count;
		uint64_t counter;
	} * again; /* chains to be carried out again, in their old order; owned */
	unsigned again_count, again_next;
	struct {
		uint16_t head, last;
	} batch[INFLIGHT_BATCH_MAX]; /* put, and not published yet */
	unsigned batch_count;
};

/* Bytes of one queue's area; areas follow each other at this distance. */
static inline size_t packed_area_bytes(unsigned entries)
{
	enum { LINE_BYTES = 64 }; /* queues are served by different cores */

	return (sizeof(struct packed_area) + entries * sizeof(struct packed_entry) + LINE_BYTES -
		       1) /
	       LINE_BYTES * LINE_BYTES;
}

/* Takes up an area of `entries`, aligned to 8, for a ring of which size and base are set. known:
 * the base is this session's own, and counts when nothing is in flight. Sets the ring's positions,
 * finishes or takes back a batch that was cut off, and finds what is to be carried out again. 0, or
 * -errno with a sentence: nonsense, or no memory. */
int packed_inflight_recover(struct packed_inflight *inflight, struct packed_area *area,
	uint16_t entries, struct packed_queue *ring, bool known, struct fail *fail);
/* Lets the area go; it keeps what is marked. Harmless without one. */
void packed_inflight_release(struct packed_inflight *inflight);

/* The chain was taken from the ring last: ring->taken. */
void packed_inflight_take(struct packed_inflight *inflight, const struct packed_queue *ring,
	struct virtq_chain *chain);
/* Its used descriptor was written. At most INFLIGHT_BATCH_MAX between two publications. */
void packed_inflight_put(struct packed_inflight *inflight, const struct virtq_chain *chain);
/* All that was put will be published now. Nothing is taken until packed_inflight_publish(). */
void packed_inflight_commit(struct packed_inflight *inflight, const struct packed_queue *ring);
/* It was. */
void packed_inflight_publish(struct packed_inflight *inflight, const struct packed_queue *ring);

/* How many chains wait to be carried out again; they come before new ones. */
static inline unsigned packed_inflight_waiting(const struct packed_inflight *inflight)
{
	return inflight->again_count - inflight->again_next;
}

/* The next of them, which is marked already: copies it to ring->taken, and the number of its
 * descriptors to chain->slots. */
void packed_inflight_again(
	struct packed_inflight *inflight, struct packed_queue *ring, struct virtq_chain *chain);

#endif
