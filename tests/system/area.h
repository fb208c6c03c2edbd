/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A queue's part of the inflight region, of either layout, as a test looks at it and writes it.
 * Where it lies and how it is laid out is the back end's secret; this is braid's way.
 */
#ifndef TESTS_SYSTEM_AREA_H
#define TESTS_SYSTEM_AREA_H

#include "client.h"
#include "virtio/virtq.h"

/* One of the two. */
struct area {
	struct inflight_area *split;
	struct packed_area *packed;
};

/* Of queue `index`. Skips the test when the back end keeps nothing. */
struct area area_of(struct client *client, unsigned index);

/* The next used index; of a packed ring, what virtq_position_code() says. */
uint16_t area_used(struct area area);

/* Chains that are marked, and a wait until there are so many. */
unsigned area_marks(struct area area);
void area_await_marks(struct area area, unsigned count);
/* The counter of the chain of that head, which is marked. */
uint64_t area_counter(struct area area, uint16_t head);

/* Marks a chain that virtqueue_add() made as taken, the back end's way. place: how many descriptors
 * other chains have taken, for a packed area. */
void area_mark(struct area area, const struct virtqueue *queue, uint16_t head, unsigned place,
	uint64_t counter);

#endif
