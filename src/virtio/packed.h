/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a packed virtqueue. VIRTIO 1.2, section 2.8. No sockets, no block devices.
 *
 *	            next_used      next_available
 *	ring: | seen  |  not answered   |  the driver's, available or free | ...round again
 *
 * Used descriptors are written where the oldest unanswered ones stand, in the order of completion:
 * what was taken stands in the ring no longer. The driver looks at one place after the other, so a
 * batch of used descriptors is published by the flags of its first one, which are written last.
 *
 * Everything that stands in the ring is hostile: it is read once, and checked. An error means that
 * the ring's content makes no sense; the queue is then not to be touched any more.
 *
 * Belongs to one thread.
 */
#ifndef VIRTIO_PACKED_H
#define VIRTIO_PACKED_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/chain.h"
#include "virtio/ring.h"

/* Descriptors of one chain: room for as many segments as there may be, and for empty ones. */
enum { PACKED_CHAIN_MAX = 256 };

struct packed_queue {
	uint16_t size;		  /* not always a power of two */
	bool event_idx, indirect; /* as negotiated */
	struct virtq_packed_desc *ring;
	const struct virtq_event *driver_event; /* what the driver wants to hear of */
	struct virtq_event *device_event;
	struct virtq_position next_available; /* of the next chain to take */
	struct virtq_position next_used;      /* of the next used descriptor to write */
	struct virtq_position published_used; /* what the driver has been told */
	uint16_t first_flags; /* of the first used descriptor that was not published */
	/* The chain that was taken last, as it stood in the ring. */
	struct virtq_packed_desc taken[PACKED_CHAIN_MAX];
};

/* Where both sides stand, as vhost-user says it: the next available position in the lower 16 bits,
 * the next used one in the upper. 0 is also the beginning of a ring that was never used. -EINVAL
 * with a sentence: no ring of this size stands so. */
int packed_set_base(struct packed_queue *queue, uint32_t base, struct fail *fail);
uint32_t packed_base(const struct packed_queue *queue);

/* The next chain. 1: taken; 0: there is none; -errno with a sentence: the ring is broken. */
int packed_take(struct packed_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail);
/* A chain that was taken in an earlier life and not answered: queue->taken, of chain->slots
 * descriptors. As above, without 0. */
int packed_take_again(const struct packed_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail);

/* Writes a used descriptor; the driver sees it with the next packed_publish(). */
void packed_put(
	struct packed_queue *queue, const struct virtq_chain *chain, uint32_t written_bytes);

/* Shows the driver all used descriptors. True: it wants to be notified. */
bool packed_publish(struct packed_queue *queue);

/* Asks the driver to notify us of the next chain. False: one is there already. */
bool packed_want_notification(struct packed_queue *queue);
/* Asks it not to. */
void packed_refuse_notification(struct packed_queue *queue);

/* Whether the driver has been shown a used descriptor at a position where one was unanswered. */
bool packed_was_published(const struct packed_queue *queue, struct virtq_position position);
/* Takes back the used descriptors that an earlier life wrote from next_used on and did not publish:
 * the driver would take them for ours. */
void packed_retract(struct packed_queue *queue);

#endif
