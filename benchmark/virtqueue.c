/* SPDX-License-Identifier: Apache-2.0 */
#include "benchmark/virtqueue.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"

/* Each part on cache lines of its own: the available ring is written here and read there, the used
 * ring the other way round. */
enum { PART_ALIGNMENT = 64 };

/* A packed queue takes less. */
size_t virtqueue_bytes(unsigned size)
{
	return align_up(virtq_desc_bytes(size), PART_ALIGNMENT) +
	       align_up(virtq_avail_bytes(size), PART_ALIGNMENT) +
	       align_up(virtq_used_bytes(size), PART_ALIGNMENT);
}

static void lay_out_split(struct virtqueue *queue, uint8_t *memory)
{
	queue->desc = (void *)memory;
	memory += align_up(virtq_desc_bytes(queue->size), PART_ALIGNMENT);
	queue->avail = (void *)memory;
	memory += align_up(virtq_avail_bytes(queue->size), PART_ALIGNMENT);
	queue->used = (void *)memory;
}

static void lay_out_packed(struct virtqueue *queue, uint8_t *memory)
{
	queue->ring = (void *)memory;
	memory += align_up(sizeof(queue->ring[0]) * queue->size, PART_ALIGNMENT);
	queue->driver_event = (void *)memory;
	queue->device_event = (void *)(memory + PART_ALIGNMENT);
	queue->desc = calloc(queue->size, sizeof(*queue->desc));
	queue->slots = calloc(queue->size, sizeof(*queue->slots));
}

int virtqueue_init(
	struct virtqueue *queue, void *memory, unsigned size, bool event_idx, bool packed)
{
	assert((packed || is_power_of_two(size)) && size && size <= VIRTQUEUE_SIZE_MAX);
	memset(queue, 0, sizeof(*queue));
	queue->size = (uint16_t)size;
	queue->event_idx = event_idx;
	queue->packed = packed;
	if (packed)
		lay_out_packed(queue, memory);
	else
		lay_out_split(queue, memory);
	queue->kick_fd = queue->call_fd = queue->err_fd = -1;
	queue->free_stack = calloc(size, sizeof(*queue->free_stack));
	queue->chain_count = calloc(size, sizeof(*queue->chain_count));
	if (!queue->free_stack || !queue->chain_count || !queue->desc ||
		(packed && !queue->slots)) {
		virtqueue_destroy(queue);
		return -ENOMEM;
	}
	virtqueue_reset(queue);
	return 0;
}

void virtqueue_destroy(struct virtqueue *queue)
{
	free(queue->free_stack);
	free(queue->chain_count);
	free(queue->slots);
	if (queue->packed)
		free(queue->desc);
	queue->free_stack = queue->chain_count = queue->slots = NULL;
	queue->desc = NULL;
}

void virtqueue_reset(struct virtqueue *queue)
{
	memset(queue->desc, 0, virtq_desc_bytes(queue->size));
	queue->base = 0;
	if (queue->packed) {
		virtqueue_reset_packed(queue);
	} else {
		memset(queue->avail, 0, virtq_avail_bytes(queue->size));
		memset(queue->used, 0, virtq_used_bytes(queue->size));
		queue->avail_next = queue->avail_published = queue->used_next = 0;
	}
	queue->free_count = queue->size;
	/* The top of the stack is descriptor 0. */
	for (unsigned i = 0; i < queue->size; i++)
		queue->free_stack[i] = (uint16_t)(queue->size - 1 - i);
}

uint16_t virtqueue_add(
	struct virtqueue *queue, const struct virtqueue_piece *pieces, unsigned count)
{
	uint16_t head;

	assert(count > 0);
	if (count > queue->free_count)
		return VIRTQUEUE_NO_HEAD;
	head = queue->free_stack[queue->free_count - 1];
	for (unsigned i = 0; i < count; i++) {
		uint16_t index = queue->free_stack[--queue->free_count];
		bool more = i + 1 < count;
		uint16_t next = more ? queue->free_stack[queue->free_count - 1] : 0;

		virtqueue_describe(&queue->desc[index], &pieces[i], more, next);
	}
	queue->chain_count[head] = (uint16_t)count;
	return head;
}

void virtqueue_free(struct virtqueue *queue, uint16_t head)
{
	uint16_t index = head;

	assert(head < queue->size && queue->chain_count[head]);
	for (unsigned left = queue->chain_count[head]; left; left--) {
		queue->free_stack[queue->free_count++] = index;
		index = le16_get(queue->desc[index].next);
	}
	queue->chain_count[head] = 0;
}

void virtqueue_fill_table(const struct virtqueue *queue, void *table,
	const struct virtqueue_piece *pieces, unsigned count)
{
	struct virtq_packed_desc *packed = table;
	struct virtq_desc *split = table;

	for (unsigned i = 0; i < count; i++) {
		if (!queue->packed)
			virtqueue_describe(&split[i], &pieces[i], i + 1 < count, (uint16_t)(i + 1));
		else
			packed[i] = (struct virtq_packed_desc){
				.address = le64_of(pieces[i].address),
				.bytes = le32_of(pieces[i].bytes),
				.flags = le16_of(pieces[i].writable ? VIRTQ_DESC_WRITE : 0),
			};
	}
}

bool virtqueue_expose(struct virtqueue *queue)
{
	uint16_t before = queue->avail_published, after = queue->avail_next;

	if (queue->packed)
		return virtqueue_expose_packed(queue);
	/* Descriptors and ring entries before the index that shows them (2.7.13.3). */
	__atomic_store_n(&queue->avail->index.raw, htole16(after), __ATOMIC_RELEASE);
	queue->avail_published = after;
	/* The index before the look at the event field or flags: the back end does it in the other
	 * order, so one of the two sees the other (2.7.13.4). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (queue->event_idx) {
		le16 *event = virtqueue_avail_event(queue);

		return virtq_event_passed(
			le16toh(__atomic_load_n(&event->raw, __ATOMIC_RELAXED)), after, before);
	}
	return !(le16toh(__atomic_load_n(&queue->used->flags.raw, __ATOMIC_RELAXED)) &
		 VIRTQ_USED_NO_NOTIFY);
}

void virtqueue_kick(struct virtqueue *queue)
{
	static const uint64_t one = 1;

	queue->kicks++;
	/* A full counter means that a kick is pending already. */
	if (write(queue->kick_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

bool virtqueue_arm(struct virtqueue *queue)
{
	if (queue->packed)
		virtqueue_arm_packed(queue);
	else if (queue->event_idx)
		__atomic_store_n(&virtqueue_used_event(queue)->raw, htole16(queue->used_next),
			__ATOMIC_RELAXED);
	else
		__atomic_store_n(&queue->avail->flags.raw, 0, __ATOMIC_RELAXED);
	/* The wish for a call before the last look at what is used (2.7.7, 2.8.10). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !virtqueue_used_ready(queue);
}

void virtqueue_disarm(struct virtqueue *queue)
{
	/* Half a wrap behind: the back end does not cross it in the next 32767 entries, and every
	 * arm() writes it anew. */
	if (queue->packed)
		virtqueue_disarm_packed(queue);
	else if (queue->event_idx)
		__atomic_store_n(&virtqueue_used_event(queue)->raw,
			htole16((uint16_t)(queue->used_next - 0x8000)), __ATOMIC_RELAXED);
	else
		__atomic_store_n(&queue->avail->flags.raw, htole16(VIRTQ_AVAIL_NO_INTERRUPT),
			__ATOMIC_RELAXED);
}

bool virtqueue_called(struct virtqueue *queue)
{
	uint64_t count;

	if (queue->call_fd < 0 || read(queue->call_fd, &count, sizeof(count)) < 0)
		return false;
	queue->calls++;
	return true;
}

int virtqueue_wait(struct virtqueue *queue, int timeout_ms)
{
	struct timespec begin, now;
	int left = timeout_ms;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	while (virtqueue_arm(queue)) {
		struct pollfd poll_fd = {.fd = queue->call_fd, .events = POLLIN};

		if (left <= 0)
			return -ETIMEDOUT;
		poll(&poll_fd, 1, left);
		virtqueue_called(queue);
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = timeout_ms - (int)((now.tv_sec - begin.tv_sec) * 1000 +
					    (now.tv_nsec - begin.tv_nsec) / 1000000);
	}
	return 0;
}
