/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of a split virtqueue. VIRTIO 1.2, section 2.7. No sockets, no block devices.
 *
 * Everything that stands in the ring is hostile: it is read once, and checked. An error means that
 * the ring's content makes no sense; the queue is then not to be touched any more.
 *
 * Belongs to one thread.
 */
#ifndef VIRTIO_SPLIT_H
#define VIRTIO_SPLIT_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/chain.h"
#include "virtio/ring.h"

struct split_queue {
	uint16_t size;
	bool event_idx, indirect; /* as negotiated */
	const struct virtq_desc *descriptors;
	struct virtq_avail *available;
	struct virtq_used *used;
	uint16_t next_available; /* index of the next chain to take */
	uint16_t next_used;	 /* index of the next used element to write */
	uint16_t published_used; /* what the driver has been told */
};

/* The next chain. 1: taken; 0: there is none; -errno with a sentence: the ring is broken. */
int split_take(struct split_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail);
/* A chain that was taken in an earlier life and not answered. As above, without 0. */
int split_take_again(const struct split_queue *queue, const struct guest_memory *memory,
	uint16_t head, struct virtq_chain *chain, struct fail *fail);

/* Writes a used element; the driver sees it with the next split_publish(). */
void split_put(struct split_queue *queue, uint16_t head, uint32_t written_bytes);

/* Shows the driver all used elements. True: it wants to be notified. */
bool split_publish(struct split_queue *queue);

/* Asks the driver to notify us of the next chain. False: one is there already. */
bool split_want_notification(struct split_queue *queue);
/* Asks it not to. */
void split_refuse_notification(struct split_queue *queue);

#endif
