/* SPDX-License-Identifier: Apache-2.0 */
/* A queue pair in memory that the controller shares (base 3.3.1). Whoever owns the ring uses it on
 * one thread at a time. */
#ifndef DRIVERS_NVME_RING_H
#define DRIVERS_NVME_RING_H

#include <string.h>

#include "drivers/nvme/controller.h"

/* Empty, as a controller expects it that has just been told of it. */
static inline void ring_reset(struct nvme_ring *ring)
{
	memset(ring->submission, 0, ring->entries * sizeof(*ring->submission));
	memset((void *)ring->completion, 0, ring->entries * sizeof(*ring->completion));
	ring->tail = ring->rung = ring->head = 0;
	ring->phase = NVME_PHASE;
}

/* The next free entry, taken. The caller has fewer commands at the controller than entries - 1. */
static inline struct nvme_command *ring_next(struct nvme_ring *ring)
{
	struct nvme_command *entry = &ring->submission[ring->tail];

	ring->tail = (uint16_t)(ring->tail + 1 == ring->entries ? 0 : ring->tail + 1);
	return entry;
}

/* Tells the controller of what was put into the ring since the last time. */
static inline void ring_submit(struct nvme_ring *ring)
{
	if (ring->tail == ring->rung)
		return;
	nvme_before_doorbell();
	*ring->submission_doorbell = htole32(ring->tail);
	ring->rung = ring->tail;
}

/* Copies the oldest completion that was not taken yet; false: there is none. */
static inline bool ring_take(struct nvme_ring *ring, struct nvme_completion *taken)
{
	volatile struct nvme_completion *entry = &ring->completion[ring->head];
	uint16_t status = le16toh(entry->status.raw);

	if ((status & NVME_PHASE) != ring->phase)
		return false;
	nvme_after_phase();
	taken->dw0.raw = entry->dw0.raw;
	taken->sq_head.raw = entry->sq_head.raw;
	taken->sq_id.raw = entry->sq_id.raw;
	taken->id.raw = entry->id.raw;
	taken->status.raw = htole16(status);
	if (++ring->head == ring->entries) {
		ring->head = 0;
		ring->phase ^= NVME_PHASE;
	}
	return true;
}

/* Gives the taken entries back to the controller. */
static inline void ring_release(struct nvme_ring *ring)
{
	*ring->completion_doorbell = htole32(ring->head);
}

#endif
