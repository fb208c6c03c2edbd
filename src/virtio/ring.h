/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue as it lies in guest memory. VIRTIO 1.2, section 2.7. */
#ifndef VIRTIO_RING_H
#define VIRTIO_RING_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/endian.h"

enum { VIRTQUEUE_SIZE_MAX = 32768 };

/* 2.7.5 */
enum { VIRTQ_DESC_NEXT = 1, VIRTQ_DESC_WRITE = 2, VIRTQ_DESC_INDIRECT = 4 };

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

#endif
