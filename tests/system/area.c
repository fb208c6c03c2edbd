/* SPDX-License-Identifier: Apache-2.0 */
#include "area.h"

#include <unistd.h>

struct area area_of(struct client *client, unsigned index)
{
	bool packed = client->frontend.features & VIRTIO_F_RING_PACKED;
	uint8_t *region = client_region(client);
	void *bytes =
		region + index * virtq_area_bytes(packed, client->frontend.inflight.queue_size);

	return packed ? (struct area){.packed = bytes} : (struct area){.split = bytes};
}

uint16_t area_used(struct area area)
{
	if (area.split)
		return area.split->used_index;
	return virtq_position_code(
		(struct virtq_position){area.packed->used_index, area.packed->used_wrap});
}

static bool marked(struct area area, unsigned entry)
{
	return __atomic_load_n(area.split ? &area.split->entry[entry].in_flight
					  : &area.packed->entry[entry].in_flight,
		__ATOMIC_ACQUIRE);
}

unsigned area_marks(struct area area)
{
	unsigned count = 0;

	for (unsigned i = 0; i < CLIENT_ENTRIES; i++)
		count += marked(area, i);
	return count;
}

void area_await_marks(struct area area, unsigned count)
{
	for (unsigned i = 0; i < CLIENT_TIMEOUT_MS && area_marks(area) < count; i++)
		usleep(1000);
	assert_int_equal(area_marks(area), count);
}

uint64_t area_counter(struct area area, uint16_t head)
{
	for (unsigned i = 0; i < CLIENT_ENTRIES; i++) {
		if (!marked(area, i))
			continue;
		if (area.split && i == head)
			return area.split->entry[i].counter;
		if (area.packed && area.packed->entry[i].id == head)
			return area.packed->entry[i].counter;
	}
	fail_msg("head %u is not marked", head);
	return 0;
}

void area_mark(struct area area, const struct virtqueue *queue, uint16_t head, unsigned place,
	uint64_t counter)
{
	struct packed_entry *first;
	uint16_t at = head, count = 0;
	bool more = true;

	if (area.split) {
		area.split->entry[head] =
			(struct inflight_entry){.in_flight = 1, .counter = counter};
		return;
	}
	first = &area.packed->entry[place];
	for (; more; count++) {
		const struct virtq_desc *from = &queue->desc[at];

		first[count] = (struct packed_entry){
			.next = (uint16_t)(place + count + 1),
			.id = head,
			.flags = le16_get(from->flags),
			.bytes = le32_get(from->bytes),
			.address = le64_get(from->address),
		};
		more = le16_get(from->flags) & VIRTQ_DESC_NEXT;
		at = le16_get(from->next);
	}
	first->last = (uint16_t)(place + count - 1);
	first->count = count;
	first->counter = counter;
	first->in_flight = 1;
}
