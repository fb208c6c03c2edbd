/* SPDX-License-Identifier: Apache-2.0 */
/* The two layouts of a virtqueue as they lie in guest memory: split, VIRTIO 1.2, section 2.7, and
 * packed, section 2.8. */
#ifndef VIRTIO_RING_H
#define VIRTIO_RING_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/endian.h"

enum { VIRTQUEUE_SIZE_MAX = 32768 };

/* One fetch of what the other side may change at any time. */
static inline uint16_t virtq_fetch16(const le16 *from)
{
	return le16_get((le16){__atomic_load_n(&from->raw, __ATOMIC_RELAXED)});
}

static inline void virtq_store16(le16 *to, uint16_t value)
{
	__atomic_store_n(&to->raw, le16_of(value).raw, __ATOMIC_RELAXED);
}

/* --- both ------------------------------------------------------------------------------------ */

/* 2.7.5, 2.8.5 */
enum { VIRTQ_DESC_NEXT = 1, VIRTQ_DESC_WRITE = 2, VIRTQ_DESC_INDIRECT = 4 };

/* --- split ----------------------------------------------------------------------------------- */

struct virtq_desc {
	le64 address; /* guest physical */
	le32 bytes;
	le16 flags;
	le16 next;
};
static_assert(sizeof(struct virtq_desc) == 16, "VIRTIO 1.2, 2.7.5");

/* 2.7.6: behind ring[] stands le16 used_event. */
enum { VIRTQ_AVAIL_NO_INTERRUPT = 1 };

struct virtq_avail {
	le16 flags;
	le16 index;
	le16 ring[];
};
static_assert(sizeof(struct virtq_avail) == 4, "VIRTIO 1.2, 2.7.6");

/* 2.7.8: behind ring[] stands le16 avail_event. */
enum { VIRTQ_USED_NO_NOTIFY = 1 };

struct virtq_used_element {
	le32 head;
	le32 bytes; /* written to the device-writable part */
};

struct virtq_used {
	le16 flags;
	le16 index;
	struct virtq_used_element ring[];
};
static_assert(sizeof(struct virtq_used_element) == 8, "VIRTIO 1.2, 2.7.8");

static inline size_t virtq_desc_bytes(unsigned size)
{
	return 16 * (size_t)size;
}

static inline size_t virtq_avail_bytes(unsigned size)
{
	return 6 + 2 * (size_t)size;
}

static inline size_t virtq_used_bytes(unsigned size)
{
	return 6 + 8 * (size_t)size;
}

/* 2.7.10: whether moving an index from before to after has passed event. */
static inline bool virtq_event_passed(uint16_t event, uint16_t after, uint16_t before)
{
	return (uint16_t)(after - event - 1) < (uint16_t)(after - before);
}

/* --- packed ---------------------------------------------------------------------------------- */

/* 2.8.1: of a descriptor that the driver makes available AVAIL is its wrap counter and USED is not,
 * of one that the device has used both are the device's wrap counter. */
enum { VIRTQ_PACKED_AVAIL = 1 << 7, VIRTQ_PACKED_USED = 1 << 15 };

struct virtq_packed_desc {
	le64 address; /* guest physical */
	le32 bytes;   /* used: written to the device-writable part */
	le16 id;      /* of the buffer; in a chain, the last descriptor's counts */
	le16 flags;
};
static_assert(sizeof(struct virtq_packed_desc) == 16, "VIRTIO 1.2, 2.8.13");

/* 2.8.14: what a side wants to be notified of. DESC, with EVENT_IDX only: of that one descriptor,
 * as virtq_position_code() says. */
enum { VIRTQ_EVENT_ENABLE = 0, VIRTQ_EVENT_DISABLE = 1, VIRTQ_EVENT_DESC = 2 };
enum { VIRTQ_EVENT_FLAGS = 3 };

struct virtq_event {
	le16 position;
	le16 flags;
};
static_assert(sizeof(struct virtq_event) == 4, "VIRTIO 1.2, 2.8.14");

/* Where a side stands in a packed ring: a descriptor, and a counter that turns over with every
 * round and begins as 1. 2.8.1 */
struct virtq_position {
	uint16_t index; /* below the ring's size */
	bool wrap;
};

static inline void virtq_advance(struct virtq_position *position, uint16_t size, uint16_t count)
{
	uint32_t index = (uint32_t)position->index + count; /* count: at most size */

	if (index >= size) {
		index -= size;
		position->wrap = !position->wrap;
	}
	position->index = (uint16_t)index;
}

static inline bool virtq_same_position(struct virtq_position a, struct virtq_position b)
{
	return a.index == b.index && a.wrap == b.wrap;
}

/* Descriptors from one position to a later one; below 2 * size, and more than size makes no sense
 * for two that are in one ring. */
static inline uint32_t virtq_distance(
	uint16_t size, struct virtq_position from, struct virtq_position to)
{
	uint32_t begin = from.index + (from.wrap ? 0u : size);
	uint32_t end = to.index + (to.wrap ? 0u : size);

	return end >= begin ? end - begin : end + 2u * size - begin;
}

/* A position as 16 bits: in an event, 2.8.14, and in vhost-user's ring base. */
static inline uint16_t virtq_position_code(struct virtq_position position)
{
	return (uint16_t)(position.index | (unsigned)position.wrap << 15);
}

static inline struct virtq_position virtq_position_of(uint16_t code)
{
	return (struct virtq_position){.index = code & 0x7fff, .wrap = code >> 15};
}

/* What the flags of a descriptor are beside NEXT, WRITE and INDIRECT. */
static inline uint16_t virtq_available_flags(bool wrap)
{
	return wrap ? VIRTQ_PACKED_AVAIL : VIRTQ_PACKED_USED;
}

static inline uint16_t virtq_used_flags(bool wrap)
{
	return wrap ? VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED : 0;
}

enum { VIRTQ_PACKED_STATE = VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED };

/* 2.8.10: whether the other side wants to hear of a move from before to after. Words that are
 * reserved or were not negotiated count as a wish. */
static inline bool virtq_event_wanted(const struct virtq_event *event, bool event_idx,
	uint16_t size, struct virtq_position before, struct virtq_position after)
{
	uint32_t word =
		le32_get((le32){__atomic_load_n((const uint32_t *)event, __ATOMIC_RELAXED)});
	uint32_t flags = word >> 16 & VIRTQ_EVENT_FLAGS;
	struct virtq_position wanted = virtq_position_of((uint16_t)word);

	if (flags == VIRTQ_EVENT_DISABLE)
		return false;
	if (flags != VIRTQ_EVENT_DESC || !event_idx)
		return true;
	return virtq_distance(size, before, wanted) < virtq_distance(size, before, after);
}

/* Both halves at once, so that the other side never sees a flag with an old position. */
static inline void virtq_event_store(
	struct virtq_event *event, uint32_t flags, struct virtq_position position)
{
	uint32_t word = virtq_position_code(position) | flags << 16;

	__atomic_store_n((uint32_t *)event, le32_of(word).raw, __ATOMIC_RELAXED);
}

#endif
