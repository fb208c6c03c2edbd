/* SPDX-License-Identifier: Apache-2.0 */
#include "virtio/packed.h"

#include <assert.h>
#include <errno.h>

#include "base/bits.h"

/* --- positions ------------------------------------------------------------------------------- */

/* A ring that was never used: USED is set by the first used descriptor, and some descriptor has it
 * from then on whenever both sides stand at the beginning. */
static bool is_fresh(const struct packed_queue *queue)
{
	for (unsigned i = 0; i < queue->size; i++)
		if (virtq_fetch16(&queue->ring[i].flags) & VIRTQ_PACKED_USED)
			return false;
	return true;
}

int packed_set_base(struct packed_queue *queue, uint32_t base, struct fail *fail)
{
	struct virtq_position available = virtq_position_of((uint16_t)base);
	struct virtq_position used = virtq_position_of((uint16_t)(base >> 16));

	if (available.index >= queue->size || used.index >= queue->size ||
		virtq_distance(queue->size, used, available) > queue->size)
		return fail_set(fail, EINVAL, "base 0x%x of a packed virtqueue of %u entries", base,
			queue->size);
	/* The counters begin as 1 (2.8.1); User-Mode Linux says 0, as it does of split rings. */
	if (!base && is_fresh(queue))
		available.wrap = used.wrap = true;
	queue->next_available = available;
	queue->next_used = queue->published_used = used;
	return 0;
}

uint32_t packed_base(const struct packed_queue *queue)
{
	return virtq_position_code(queue->next_available) |
	       (uint32_t)virtq_position_code(queue->next_used) << 16;
}

/* Descriptors that the driver knows to be ours. */
static uint32_t unanswered(const struct packed_queue *queue)
{
	return virtq_distance(queue->size, queue->published_used, queue->next_available);
}

/* Flags of the descriptor at a position; what else is in it was written before them: 2.8.21.1 */
static uint16_t fetch_flags(const struct packed_queue *queue, struct virtq_position position)
{
	return le16_get(
		(le16){__atomic_load_n(&queue->ring[position.index].flags.raw, __ATOMIC_ACQUIRE)});
}

static bool is_available(uint16_t flags, bool wrap)
{
	return (flags & VIRTQ_PACKED_STATE) == virtq_available_flags(wrap);
}

/* --- chains ---------------------------------------------------------------------------------- */

/* Entries follow each other, only WRITE means anything, and the rest is ignored: 2.8.7 */
static int add_table(struct virtq_chain *chain, const struct guest_memory *memory,
	const struct virtq_packed_desc *descriptor, struct fail *fail)
{
	uint32_t bytes = le32_get(descriptor->bytes);
	const struct virtq_packed_desc *table;
	const void *found;
	int error = chain_find_table(&found, memory, le64_get(descriptor->address), bytes, fail);

	if (error)
		return error;
	table = found;
	if (bytes / sizeof(*table) > PACKED_CHAIN_MAX)
		return fail_set(
			fail, EINVAL, "a table of more than %d descriptors", PACKED_CHAIN_MAX);
	for (uint32_t i = 0; i < bytes / sizeof(*table) && !error; i++) {
		struct virtq_packed_desc entry;

		chain_fetch_descriptor(&table[i], &entry);
		error = chain_add(chain, memory,
			(struct chain_buffer){le64_get(entry.address), le32_get(entry.bytes),
				le16_get(entry.flags) & VIRTQ_DESC_WRITE},
			fail);
	}
	return error;
}

/* Makes a chain of the first chain->slots of queue->taken. */
static int make_chain(const struct packed_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	unsigned count = chain->slots;
	int error = 0;

	chain_begin(chain);
	chain->head = le16_get(queue->taken[count - 1].id);
	for (unsigned i = 0; i < count && !error; i++) {
		const struct virtq_packed_desc *descriptor = &queue->taken[i];
		uint16_t flags = le16_get(descriptor->flags);

		if (!(flags & VIRTQ_DESC_INDIRECT)) {
			error = chain_add(chain, memory,
				(struct chain_buffer){le64_get(descriptor->address),
					le32_get(descriptor->bytes), flags & VIRTQ_DESC_WRITE},
				fail);
			continue;
		}
		if (!queue->indirect)
			return fail_set(fail, EINVAL, "an indirect descriptor was not negotiated");
		if (count > 1) /* 2.8.19 */
			return fail_set(
				fail, EINVAL, "an indirect descriptor stands where none may stand");
		error = add_table(chain, memory, descriptor, fail);
	}
	if (error)
		return error;
	chain_end(chain);
	return 1;
}

/* Copies the chain at next_available, of which the first descriptor has these flags, to
 * queue->taken. The number of its descriptors, or -errno. */
static int fetch_chain(struct packed_queue *queue, uint16_t flags, struct fail *fail)
{
	struct virtq_position position = queue->next_available;
	uint32_t room = MIN(queue->size - unanswered(queue), (uint32_t)PACKED_CHAIN_MAX);

	for (uint32_t count = 0; count < room;) {
		/* All of a chain are marked alike, the first one last: 2.8.6, 2.8.17 */
		if (!is_available(flags, position.wrap))
			return fail_set(fail, EINVAL, "descriptor %u of a chain is not available",
				position.index);
		chain_fetch_descriptor(&queue->ring[position.index], &queue->taken[count]);
		/* What was looked at is what counts. */
		queue->taken[count++].flags = le16_of(flags);
		if (!(flags & VIRTQ_DESC_NEXT))
			return (int)count;
		virtq_advance(&position, queue->size, 1);
		flags = fetch_flags(queue, position);
	}
	return fail_set(
		fail, ELOOP, "a chain of descriptors does not end, in a ring of %u", queue->size);
}

int packed_take(struct packed_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	uint16_t flags = fetch_flags(queue, queue->next_available);
	int count, result;

	if (!is_available(flags, queue->next_available.wrap))
		return 0;
	if (unanswered(queue) >= queue->size)
		return fail_set(fail, EINVAL,
			"descriptor %u was made available again before it was used",
			queue->next_available.index);
	count = fetch_chain(queue, flags, fail);
	if (count < 0)
		return count;
	chain->slots = (uint16_t)count;
	result = make_chain(queue, memory, chain, fail);
	if (result > 0)
		virtq_advance(&queue->next_available, queue->size, chain->slots);
	return result;
}

int packed_take_again(const struct packed_queue *queue, const struct guest_memory *memory,
	struct virtq_chain *chain, struct fail *fail)
{
	assert(chain->slots && chain->slots <= PACKED_CHAIN_MAX);
	return make_chain(queue, memory, chain, fail);
}

/* --- used descriptors ------------------------------------------------------------------------- */

void packed_put(struct packed_queue *queue, const struct virtq_chain *chain, uint32_t written_bytes)
{
	struct virtq_packed_desc *used = &queue->ring[queue->next_used.index];
	/* The status was written, whatever the length says: 2.8.3 */
	uint16_t flags = (uint16_t)(virtq_used_flags(queue->next_used.wrap) |
				    (chain->writable ? VIRTQ_DESC_WRITE : 0));

	used->id = le16_of(chain->head);
	used->bytes = le32_of(written_bytes);
	if (virtq_same_position(queue->next_used, queue->published_used))
		queue->first_flags = flags;
	else
		virtq_store16(&used->flags, flags);
	virtq_advance(&queue->next_used, queue->size, chain->slots);
}

bool packed_publish(struct packed_queue *queue)
{
	struct virtq_position before = queue->published_used;

	if (virtq_same_position(queue->next_used, before))
		return false;
	/* Used descriptors and data are visible before the flags of the first one: 2.8.22 */
	__atomic_store_n(&queue->ring[before.index].flags.raw, le16_of(queue->first_flags).raw,
		__ATOMIC_RELEASE);
	queue->published_used = queue->next_used;
	/* The flags are visible before we look whether the driver sleeps: 2.8.10 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return virtq_event_wanted(
		queue->driver_event, queue->event_idx, queue->size, before, queue->published_used);
}

/* --- notifications ---------------------------------------------------------------------------- */

bool packed_want_notification(struct packed_queue *queue)
{
	struct virtq_position next = queue->next_available;

	if (queue->event_idx)
		virtq_event_store(queue->device_event, VIRTQ_EVENT_DESC, next);
	else
		virtq_event_store(
			queue->device_event, VIRTQ_EVENT_ENABLE, (struct virtq_position){0});
	/* The wish is visible before we look for the last time: 2.8.10 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !is_available(fetch_flags(queue, next), next.wrap);
}

void packed_refuse_notification(struct packed_queue *queue)
{
	virtq_event_store(queue->device_event, VIRTQ_EVENT_DISABLE, (struct virtq_position){0});
}

/* --- after an earlier life -------------------------------------------------------------------- */

/* Unanswered, AVAIL is the round's counter and USED is not. Used, and also when the driver has seen
 * that and made it available in the next round, USED is. */
bool packed_was_published(const struct packed_queue *queue, struct virtq_position position)
{
	return !(fetch_flags(queue, position) & VIRTQ_PACKED_USED) == !position.wrap;
}

void packed_retract(struct packed_queue *queue)
{
	struct virtq_position at = queue->next_used;
	uint32_t count = virtq_distance(queue->size, at, queue->next_available);

	for (; count; count--) {
		if (packed_was_published(queue, at))
			virtq_store16(&queue->ring[at.index].flags, virtq_available_flags(at.wrap));
		virtq_advance(&at, queue->size, 1);
	}
}
