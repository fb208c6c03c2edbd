/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtqueue from the device's side, of either layout, and what is in flight on it: the one face
 * behind which split.h and packed.h differ. Which it is, is decided once per chain by a branch that
 * always goes the same way.
 *
 *	virtq_init() --> [virtq_recover()] --> take, put, publish ... --> virtq_release()
 *
 * Belongs to one thread.
 */
#ifndef VIRTIO_VIRTQ_H
#define VIRTIO_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/chain.h"
#include "virtio/inflight.h"
#include "virtio/packed.h"
#include "virtio/packed_inflight.h"
#include "virtio/split.h"

struct virtq {
	bool is_packed;
	union {
		struct {
			struct split_queue ring;
			struct inflight inflight;
		} split;
		struct {
			struct packed_queue ring;
			struct packed_inflight inflight;
		} packed;
	};
};

/* What a ring takes in guest memory: descriptors, what the driver writes (the available ring, its
 * event suppression) and what the device writes (the used ring, its event suppression). */
struct virtq_shape {
	size_t descriptors_bytes, driver_bytes, device_bytes;
	unsigned descriptors_alignment, driver_alignment, device_alignment;
};

struct virtq_shape virtq_shape(bool packed, uint16_t size);

/* Whether a ring of the layout may have so many entries. */
bool virtq_size_fits(bool packed, uint32_t size);

struct virtq_setup {
	bool packed, event_idx, indirect; /* as negotiated */
	uint16_t size;
	void *descriptors, *driver, *device; /* aligned, as virtq_shape() says */
	uint32_t base; /* as vhost-user says it; of a split ring, the next available index */
};

/* 0, or -EINVAL with a sentence: the base makes no sense. Nothing is tracked. */
int virtq_init(struct virtq *queue, const struct virtq_setup *setup, struct fail *fail);
/* Where the ring stands; the base of a later virtq_init(). */
uint32_t virtq_base(const struct virtq *queue);

/* Bytes of what is kept of one queue of `entries`. */
size_t virtq_area_bytes(bool packed, unsigned entries);
/* Tracks what is in flight in an area of a layout and `entries`, aligned to 8, and takes up what an
 * earlier life left there. known: the base that virtq_init() got is this session's own. 0, or
 * -errno with a sentence: nonsense, or no memory. */
int virtq_recover(struct virtq *queue, void *area, uint16_t entries, bool known, struct fail *fail);
/* Lets the area go. Harmless without one. */
void virtq_release(struct virtq *queue);

/* How many chains of an earlier life are to be carried out again. */
static inline unsigned virtq_waiting(const struct virtq *queue)
{
	return queue->is_packed ? packed_inflight_waiting(&queue->packed.inflight)
				: inflight_waiting(&queue->split.inflight);
}

/* The next chain, those of an earlier life first, marked as in flight before anything is done about
 * it. 1: taken; 0: there is none; -errno with a sentence: the ring is broken. */
int virtq_take(struct virtq *queue, const struct guest_memory *memory, struct virtq_chain *chain,
	struct fail *fail);
/* The same, but no new chain. */
int virtq_take_again(struct virtq *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail);

/* The chain is answered; the driver sees it with the next virtq_publish(). At most
 * INFLIGHT_BATCH_MAX between two. */
void virtq_put(struct virtq *queue, const struct virtq_chain *chain, uint32_t written_bytes);
/* Shows the driver all that was put. True: it wants to be notified. */
bool virtq_publish(struct virtq *queue);

/* Asks the driver to notify us of the next chain. False: one is there already. */
bool virtq_want_notification(struct virtq *queue);
/* Asks it not to. */
void virtq_refuse_notification(struct virtq *queue);

#endif
