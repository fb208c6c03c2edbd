/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's side of a virtqueue (VIRTIO 1.2, 2.7 and 2.8) in memory shared with a back end.
 *
 *	virtqueue_add() --> head        writes descriptors: direct or through an indirect table
 *	virtqueue_put(head)             enters the head in the available ring, not yet visible
 *	virtqueue_publish()             makes all entered heads visible, kicks if asked for
 *	virtqueue_reap() --> head       takes one used entry
 *	virtqueue_free(head)            gives its descriptors back
 *
 * A packed ring has no table of descriptors: there `desc` is a table of our own, put() copies a
 * chain from it into the ring, and the head is the buffer's id.
 *
 * Two users: the load transport lays its chains out once with virtqueue_describe() and then only
 * puts, publishes and reaps; the tests write whatever they like. So nothing here refuses what a
 * real driver must not do: desc, avail, used and ring are open to everyone.
 *
 * A virtqueue belongs to one thread.
 */
#ifndef BENCH_VIRTQUEUE_H
#define BENCH_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/ring.h"

struct virtqueue {
	struct virtq_desc *desc; /* split: shared; packed: owned */
	/* The other shared parts, split. */
	struct virtq_avail *avail;
	struct virtq_used *used;
	/* The shared parts, packed. */
	struct virtq_packed_desc *ring;
	struct virtq_event *driver_event, *device_event;
	uint16_t size; /* split: a power of two */
	bool event_idx, packed;
	/* eventfds, -1: none. Owned by whoever set them. */
	int kick_fd, call_fd, err_fd;

	/* Split. */
	uint16_t avail_next;	  /* index the next put() takes */
	uint16_t avail_published; /* index the back end can see */
	uint16_t used_next;	  /* index the next reap() looks at */
	/* Packed: the same, as positions in the ring. */
	struct virtq_position avail_at, published_at, used_at;
	uint16_t first_flags; /* of the first descriptor that is not published */
	uint16_t *slots;      /* owned; per id: descriptors in the ring */
	bool disarmed;
	uint32_t base; /* what GET_VRING_BASE said last, for the next SET_VRING_BASE */

	uint64_t kicks, calls; /* system calls made for kicks; wake-ups taken from call_fd */

	/* Free direct descriptors, for virtqueue_add() alone. */
	uint16_t *free_stack; /* owned */
	uint16_t free_count;
	uint16_t *chain_count; /* owned; per head: direct descriptors in its chain */
};

/* One piece of a chain. An indirect table is a piece of its own with `indirect` set. */
struct virtqueue_piece {
	uint64_t address; /* guest physical */
	uint32_t bytes;
	bool writable; /* by the device */
	bool indirect;
};

enum { VIRTQUEUE_NO_HEAD = 0xffff };

/* Bytes of shared memory that a queue of that size takes, all three parts, each aligned. */
size_t virtqueue_bytes(unsigned size);

/* Lays the queue out in zeroed `memory` (4096-aligned, virtqueue_bytes() long, not owned). The
 * eventfds are -1 afterwards. 0 or -ENOMEM. */
int virtqueue_init(
	struct virtqueue *queue, void *memory, unsigned size, bool event_idx, bool packed);
void virtqueue_destroy(struct virtqueue *queue);

/* Empties the queue: all at its beginning, every descriptor free. The back end has stopped it. */
void virtqueue_reset(struct virtqueue *queue);

/* Writes a chain of direct descriptors and returns its head, or VIRTQUEUE_NO_HEAD when there are
 * too few free ones. Not visible to the back end before put() and publish(). */
uint16_t virtqueue_add(
	struct virtqueue *queue, const struct virtqueue_piece *pieces, unsigned count);
/* Gives back the descriptors of a chain that virtqueue_add() made. */
void virtqueue_free(struct virtqueue *queue, uint16_t head);

/* Writes pieces as an indirect table at `table`, in order, of 16 bytes each. */
void virtqueue_fill_table(const struct virtqueue *queue, void *table,
	const struct virtqueue_piece *pieces, unsigned count);

static inline void virtqueue_describe(
	struct virtq_desc *desc, const struct virtqueue_piece *piece, bool more, uint16_t next)
{
	unsigned flags = (piece->writable ? VIRTQ_DESC_WRITE : 0u) |
			 (piece->indirect ? VIRTQ_DESC_INDIRECT : 0u) |
			 (more ? VIRTQ_DESC_NEXT : 0u);

	desc->address = le64_of(piece->address);
	desc->bytes = le32_of(piece->bytes);
	desc->flags = le16_of((uint16_t)flags);
	desc->next = le16_of(next);
}

/* The event fields behind the two rings (2.7.6, 2.7.8). */
static inline le16 *virtqueue_used_event(struct virtqueue *queue)
{
	return &queue->avail->ring[queue->size];
}

static inline le16 *virtqueue_avail_event(struct virtqueue *queue)
{
	return (le16 *)(void *)&queue->used->ring[queue->size];
}

/* benchmark/packed_virtqueue.c */
void virtqueue_put_packed(struct virtqueue *queue, uint16_t head);
bool virtqueue_expose_packed(struct virtqueue *queue);
bool virtqueue_reap_packed(struct virtqueue *queue, uint32_t *head, uint32_t *bytes);
uint16_t virtqueue_used_ready_packed(const struct virtqueue *queue);
void virtqueue_arm_packed(struct virtqueue *queue);
void virtqueue_disarm_packed(struct virtqueue *queue);
void virtqueue_reset_packed(struct virtqueue *queue);

static inline void virtqueue_put(struct virtqueue *queue, uint16_t head)
{
	if (queue->packed) {
		virtqueue_put_packed(queue, head);
		return;
	}
	queue->avail->ring[queue->avail_next++ & (queue->size - 1)] = le16_of(head);
}

/* Shows every head put since the last call to the back end. Returns whether it asked to be kicked
 * for them; virtqueue_publish() then kicks. */
bool virtqueue_expose(struct virtqueue *queue);
/* One write to kick_fd. */
void virtqueue_kick(struct virtqueue *queue);

static inline void virtqueue_publish(struct virtqueue *queue)
{
	bool more = queue->packed ? !virtq_same_position(queue->avail_at, queue->published_at)
				  : queue->avail_next != queue->avail_published;

	if (more && virtqueue_expose(queue))
		virtqueue_kick(queue);
}

/* Used entries that reap() would return now. */
static inline uint16_t virtqueue_used_ready(const struct virtqueue *queue)
{
	uint16_t index;

	if (queue->packed)
		return virtqueue_used_ready_packed(queue);
	index = le16toh(__atomic_load_n(&queue->used->index.raw, __ATOMIC_ACQUIRE));
	return (uint16_t)(index - queue->used_next);
}

/* Takes the next used entry; false when there is none. head: as the back end wrote it, which a
 * careful caller checks. bytes: what it says to have written; may be NULL. */
static inline bool virtqueue_reap(struct virtqueue *queue, uint32_t *head, uint32_t *bytes)
{
	const struct virtq_used_element *element;

	if (queue->packed)
		return virtqueue_reap_packed(queue, head, bytes);
	if (!virtqueue_used_ready(queue))
		return false;
	element = &queue->used->ring[queue->used_next++ & (queue->size - 1)];
	*head = le32_get(element->head);
	if (bytes)
		*bytes = le32_get(element->bytes);
	return true;
}

/* Asks for a call at the next used entry. False: one is there already, do not sleep. */
bool virtqueue_arm(struct virtqueue *queue);
/* Asks for no calls, as far as the ring can say that. */
void virtqueue_disarm(struct virtqueue *queue);
/* Takes pending wake-ups off call_fd; true when there was one. */
bool virtqueue_called(struct virtqueue *queue);
/* Waits until a used entry is there. 0, or -ETIMEDOUT. For the tests and for quiet times. */
int virtqueue_wait(struct virtqueue *queue, int timeout_ms);

#endif
