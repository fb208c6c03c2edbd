/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/virtq.h"

#include <errno.h>

#include "base/bits.h"

struct virtq_shape virtq_shape(bool packed, uint16_t size)
{
	if (packed) /* 2.8.10.1 */
		return (struct virtq_shape){
			.descriptors_bytes = sizeof(struct virtq_packed_desc) * (size_t)size,
			.driver_bytes = sizeof(struct virtq_event),
			.device_bytes = sizeof(struct virtq_event),
			.descriptors_alignment = 16,
			.driver_alignment = 4,
			.device_alignment = 4,
		};
	return (struct virtq_shape){
		/* 2.7 */
		.descriptors_bytes = virtq_desc_bytes(size),
		.driver_bytes = virtq_avail_bytes(size),
		.device_bytes = virtq_used_bytes(size),
		.descriptors_alignment = 16,
		.driver_alignment = 2,
		.device_alignment = 4,
	};
}

bool virtq_size_fits(bool packed, uint32_t size)
{
	return size && size <= VIRTQUEUE_SIZE_MAX && (packed || is_power_of_two(size));
}

int virtq_init(struct virtq *queue, const struct virtq_setup *setup, struct fail *fail)
{
	*queue = (struct virtq){.is_packed = setup->packed};
	if (!virtq_size_fits(setup->packed, setup->size))
		return fail_set(fail, EINVAL, "a virtqueue of %u entries", setup->size);
	if (setup->packed) {
		queue->packed.ring.size = setup->size;
		queue->packed.ring.event_idx = setup->event_idx;
		queue->packed.ring.indirect = setup->indirect;
		queue->packed.ring.ring = setup->descriptors;
		queue->packed.ring.driver_event = setup->driver;
		queue->packed.ring.device_event = setup->device;
		return packed_set_base(&queue->packed.ring, setup->base, fail);
	}
	if (setup->base > UINT16_MAX)
		return fail_set(fail, EINVAL, "base 0x%x of a split virtqueue", setup->base);
	queue->split.ring.size = setup->size;
	queue->split.ring.event_idx = setup->event_idx;
	queue->split.ring.indirect = setup->indirect;
	queue->split.ring.descriptors = setup->descriptors;
	queue->split.ring.available = setup->driver;
	queue->split.ring.used = setup->device;
	queue->split.ring.next_available = (uint16_t)setup->base;
	queue->split.ring.next_used = le16_get(queue->split.ring.used->index);
	queue->split.ring.published_used = queue->split.ring.next_used;
	return 0;
}

uint32_t virtq_base(const struct virtq *queue)
{
	return queue->is_packed ? packed_base(&queue->packed.ring)
				: queue->split.ring.next_available;
}

size_t virtq_area_bytes(bool packed, unsigned entries)
{
	return packed ? packed_area_bytes(entries) : inflight_area_bytes(entries);
}

int virtq_recover(struct virtq *queue, void *area, uint16_t entries, bool known, struct fail *fail)
{
	if (queue->is_packed)
		return packed_inflight_recover(
			&queue->packed.inflight, area, entries, &queue->packed.ring, known, fail);
	return inflight_recover(&queue->split.inflight, area, entries, &queue->split.ring, fail);
}

void virtq_release(struct virtq *queue)
{
	if (queue->is_packed)
		packed_inflight_release(&queue->packed.inflight);
	else
		inflight_release(&queue->split.inflight);
}

int virtq_take_again(struct virtq *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	if (!virtq_waiting(queue))
		return 0;
	if (queue->is_packed) {
		packed_inflight_again(&queue->packed.inflight, &queue->packed.ring, chain);
		return packed_take_again(&queue->packed.ring, memory, chain, fail);
	}
	return split_take_again(
		&queue->split.ring, memory, inflight_again(&queue->split.inflight), chain, fail);
}

int virtq_take(struct virtq *queue, const struct guest_memory *memory, struct virtq_chain *chain,
	struct fail *fail)
{
	int result;

	if (virtq_waiting(queue))
		return virtq_take_again(queue, memory, chain, fail);
	if (queue->is_packed) {
		result = packed_take(&queue->packed.ring, memory, chain, fail);
		if (result > 0)
			packed_inflight_take(&queue->packed.inflight, &queue->packed.ring, chain);
		return result;
	}
	result = split_take(&queue->split.ring, memory, chain, fail);
	if (result > 0 && inflight_take(&queue->split.inflight, chain->head, fail))
		return -EBUSY;
	return result;
}

void virtq_put(struct virtq *queue, const struct virtq_chain *chain, uint32_t written_bytes)
{
	if (queue->is_packed) {
		packed_put(&queue->packed.ring, chain, written_bytes);
		packed_inflight_put(&queue->packed.inflight, chain);
	} else {
		split_put(&queue->split.ring, chain->head, written_bytes);
		inflight_put(&queue->split.inflight, chain->head);
	}
}

bool virtq_publish(struct virtq *queue)
{
	bool notify;

	if (queue->is_packed) {
		packed_inflight_commit(&queue->packed.inflight, &queue->packed.ring);
		notify = packed_publish(&queue->packed.ring);
		packed_inflight_publish(&queue->packed.inflight, &queue->packed.ring);
	} else {
		notify = split_publish(&queue->split.ring);
		inflight_publish(&queue->split.inflight, queue->split.ring.published_used);
	}
	return notify;
}

bool virtq_want_notification(struct virtq *queue)
{
	return queue->is_packed ? packed_want_notification(&queue->packed.ring)
				: split_want_notification(&queue->split.ring);
}

void virtq_refuse_notification(struct virtq *queue)
{
	if (queue->is_packed)
		packed_refuse_notification(&queue->packed.ring);
	else
		split_refuse_notification(&queue->split.ring);
}
