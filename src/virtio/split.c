/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/split.h"

#include <errno.h>

static le16 *used_event(const struct split_queue *queue)
{
	return &queue->available->ring[queue->size];
}

static le16 *available_event(const struct split_queue *queue)
{
	return (le16 *)&queue->used->ring[queue->size];
}

/* A table of descriptors being walked. */
struct walk {
	const struct virtq_desc *table;
	uint32_t size;
	uint32_t left; /* descriptors that may still be visited: a loop ends here */
	bool in_indirect;
};

/* Turns the walk into the indirect table that descriptor refers to. 2.7.5.3 */
static int enter_indirect(const struct split_queue *queue, struct walk *walk,
	const struct virtq_desc *descriptor, const struct guest_memory *memory, struct fail *fail)
{
	uint32_t bytes = le32_get(descriptor->bytes);
	const void *table;
	int error;

	if (!queue->indirect)
		return fail_set(fail, EINVAL, "an indirect descriptor was not negotiated");
	if (walk->in_indirect || le16_get(descriptor->flags) & VIRTQ_DESC_NEXT)
		return fail_set(fail, EINVAL, "an indirect descriptor stands where none may stand");
	error = chain_find_table(&table, memory, le64_get(descriptor->address), bytes, fail);
	if (error)
		return error;
	walk->table = table;
	walk->size = bytes / sizeof(struct virtq_desc);
	walk->in_indirect = true;
	return 0;
}

static int walk_chain(const struct split_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	struct walk walk = {
		.table = queue->descriptors,
		.size = queue->size,
		/* One more for the descriptor that refers to an indirect table. */
		.left = 1 + (queue->size > CHAIN_SEGMENTS_MAX ? queue->size : CHAIN_SEGMENTS_MAX),
	};
	uint32_t index = chain->head;

	while (true) {
		struct virtq_desc descriptor;
		uint16_t flags;
		int error;

		if (index >= walk.size)
			return fail_set(fail, EINVAL, "descriptor %u of %u", index, walk.size);
		if (!walk.left--)
			return fail_set(fail, ELOOP, "a chain of descriptors does not end");
		chain_fetch_descriptor(&walk.table[index], &descriptor);
		flags = le16_get(descriptor.flags);
		if (flags & VIRTQ_DESC_INDIRECT) {
			error = enter_indirect(queue, &walk, &descriptor, memory, fail);
			if (error)
				return error;
			index = 0;
			continue;
		}
		error = chain_add(chain, memory,
			(struct chain_buffer){le64_get(descriptor.address),
				le32_get(descriptor.bytes), flags & VIRTQ_DESC_WRITE},
			fail);
		if (error)
			return error;
		if (!(flags & VIRTQ_DESC_NEXT))
			return 0;
		index = le16_get(descriptor.next);
	}
}

/* The chain of chain->head. */
static int take_chain(const struct split_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	int error;

	if (chain->head >= queue->size)
		return fail_set(
			fail, EINVAL, "chain head %u in a ring of %u", chain->head, queue->size);
	chain_begin(chain);
	error = walk_chain(queue, memory, chain, fail);
	if (error)
		return error;
	chain_end(chain);
	return 1;
}

int split_take(struct split_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	uint16_t available = virtq_fetch16(&queue->available->index);
	uint16_t waiting = (uint16_t)(available - queue->next_available);
	int result;

	if (!waiting)
		return 0;
	if (waiting > queue->size)
		return fail_set(fail, EINVAL, "%u chains are available in a ring of %u", waiting,
			queue->size);
	/* The entry, and what it leads to, were written before the index: 2.7.13.3 */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	chain->head = virtq_fetch16(&queue->available->ring[queue->next_available % queue->size]);
	result = take_chain(queue, memory, chain, fail);
	if (result > 0)
		queue->next_available++;
	return result;
}

int split_take_again(const struct split_queue *queue, const struct guest_memory *memory,
	uint16_t head, struct virtq_chain *chain, struct fail *fail)
{
	chain->head = head;
	return take_chain(queue, memory, chain, fail);
}

void split_put(struct split_queue *queue, uint16_t head, uint32_t written_bytes)
{
	queue->used->ring[queue->next_used++ % queue->size] =
		(struct virtq_used_element){.head = le32_of(head), .bytes = le32_of(written_bytes)};
}

bool split_publish(struct split_queue *queue)
{
	uint16_t before = queue->published_used;

	if (queue->next_used == before)
		return false;
	/* Elements and data are visible before the index that covers them: 2.7.8.2 */
	__atomic_store_n(&queue->used->index.raw, le16_of(queue->next_used).raw, __ATOMIC_RELEASE);
	queue->published_used = queue->next_used;
	/* The index is visible before we look whether the driver sleeps: 2.7.7.2 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!queue->event_idx)
		return !(virtq_fetch16(&queue->available->flags) & VIRTQ_AVAIL_NO_INTERRUPT);
	return virtq_event_passed(virtq_fetch16(used_event(queue)), queue->next_used, before);
}

bool split_want_notification(struct split_queue *queue)
{
	if (queue->event_idx)
		virtq_store16(available_event(queue), queue->next_available);
	else
		virtq_store16(&queue->used->flags, 0);
	/* The wish is visible before we look for the last time: 2.7.10.1 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_fetch16(&queue->available->index) == queue->next_available;
}

void split_refuse_notification(struct split_queue *queue)
{
	/* With EVENT_IDX an event index that has been passed is refusal enough. */
	if (!queue->event_idx)
		virtq_store16(&queue->used->flags, VIRTQ_USED_NO_NOTIFY);
}
