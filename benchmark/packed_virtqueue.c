/* SPDX-License-Identifier: Apache-2.0 */
/* What the driver's side of a virtqueue does otherwise when it is packed. VIRTIO 1.2, 2.8. */
#include <assert.h>
#include <string.h>

#include "benchmark/virtqueue.h"

static const struct virtq_position beginning = {.index = 0, .wrap = true}; /* 2.8.1 */

void virtqueue_reset_packed(struct virtqueue *queue)
{
	memset(queue->ring, 0, sizeof(queue->ring[0]) * queue->size);
	memset(queue->driver_event, 0, sizeof(*queue->driver_event));
	memset(queue->device_event, 0, sizeof(*queue->device_event));
	queue->avail_at = queue->published_at = queue->used_at = beginning;
	queue->disarmed = false;
	queue->base = virtq_position_code(beginning) | (uint32_t)virtq_position_code(beginning)
							       << 16;
}

/* Like a driver that has no shadow of the ring: what the table says, descriptor by descriptor. The
 * flags of the first one that is not published yet are kept back. A chain without an end goes once
 * round. */
void virtqueue_put_packed(struct virtqueue *queue, uint16_t head)
{
	uint16_t index = head, count = 0, flags;

	assert(head < queue->size);
	do {
		const struct virtq_desc *from = &queue->desc[index % queue->size];
		struct virtq_packed_desc *to = &queue->ring[queue->avail_at.index];
		uint16_t state = virtq_available_flags(queue->avail_at.wrap);

		flags = le16_get(from->flags);
		to->address = from->address;
		to->bytes = from->bytes;
		to->id = le16_of(head);
		state |= flags & (uint16_t)~VIRTQ_PACKED_STATE;
		if (virtq_same_position(queue->avail_at, queue->published_at))
			queue->first_flags = state;
		else
			virtq_store16(&to->flags, state);
		virtq_advance(&queue->avail_at, queue->size, 1);
		index = le16_get(from->next);
		count++;
	} while (flags & VIRTQ_DESC_NEXT && count < queue->size);
	queue->slots[head] = count;
}

bool virtqueue_expose_packed(struct virtqueue *queue)
{
	struct virtq_position before = queue->published_at;

	if (virtq_same_position(before, queue->avail_at))
		return true;
	/* All that was put before the flags of the first (2.8.21.1). */
	__atomic_store_n(&queue->ring[before.index].flags.raw, htole16(queue->first_flags),
		__ATOMIC_RELEASE);
	queue->published_at = queue->avail_at;
	/* The flags before the look at the back end's wish, which it does in the other order. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_event_wanted(
		queue->device_event, queue->event_idx, queue->size, before, queue->published_at);
}

/* The used descriptor at a position. */
static const struct virtq_packed_desc *used_at(
	const struct virtqueue *queue, struct virtq_position at)
{
	const struct virtq_packed_desc *used = &queue->ring[at.index];
	uint16_t flags = le16toh(__atomic_load_n(&used->flags.raw, __ATOMIC_ACQUIRE));

	return (flags & VIRTQ_PACKED_STATE) == virtq_used_flags(at.wrap) ? used : NULL;
}

/* To where the next used descriptor will be: behind as many as this buffer had. */
static void pass_used(const struct virtqueue *queue, const struct virtq_packed_desc *used,
	struct virtq_position *at)
{
	uint16_t id = le16_get(used->id);
	uint16_t count = id < queue->size ? queue->slots[id] : 0;

	virtq_advance(at, queue->size, count ? count : 1);
}

bool virtqueue_reap_packed(struct virtqueue *queue, uint32_t *head, uint32_t *bytes)
{
	const struct virtq_packed_desc *used = used_at(queue, queue->used_at);

	if (!used)
		return false;
	*head = le16_get(used->id);
	if (bytes)
		*bytes = le32_get(used->bytes);
	pass_used(queue, used, &queue->used_at);
	return true;
}

uint16_t virtqueue_used_ready_packed(const struct virtqueue *queue)
{
	struct virtq_position at = queue->used_at;
	const struct virtq_packed_desc *used;
	uint16_t count = 0;

	for (; count < queue->size && (used = used_at(queue, at)); count++)
		pass_used(queue, used, &at);
	return count;
}

void virtqueue_arm_packed(struct virtqueue *queue)
{
	virtq_event_store(queue->driver_event,
		queue->event_idx ? VIRTQ_EVENT_DESC : VIRTQ_EVENT_ENABLE, queue->used_at);
	queue->disarmed = false;
}

void virtqueue_disarm_packed(struct virtqueue *queue)
{
	if (!queue->disarmed)
		virtq_event_store(queue->driver_event, VIRTQ_EVENT_DISABLE, queue->used_at);
	queue->disarmed = true;
}
