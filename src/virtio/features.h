/* SPDX-License-Identifier: Apache-2.0 */
/* Feature bits and the block device's own structures. VIRTIO 1.2, sections 5.2 and 6. */
#ifndef VIRTIO_FEATURES_H
#define VIRTIO_FEATURES_H

#include <assert.h>
#include <stdint.h>

#include "base/endian.h"

#define VIRTIO_BIT(bit) (1ull << (bit))

/* 6 and 2.7: any device */
#define VIRTIO_F_INDIRECT_DESC VIRTIO_BIT(28)
#define VIRTIO_F_EVENT_IDX VIRTIO_BIT(29)
#define VIRTIO_F_VERSION_1 VIRTIO_BIT(32)
#define VIRTIO_F_RING_PACKED VIRTIO_BIT(34)

/* 5.2.3 */
#define VIRTIO_BLK_F_SEG_MAX VIRTIO_BIT(2)
#define VIRTIO_BLK_F_RO VIRTIO_BIT(5)
#define VIRTIO_BLK_F_BLK_SIZE VIRTIO_BIT(6)
#define VIRTIO_BLK_F_FLUSH VIRTIO_BIT(9)
#define VIRTIO_BLK_F_TOPOLOGY VIRTIO_BIT(10)
#define VIRTIO_BLK_F_CONFIG_WCE VIRTIO_BIT(11)
#define VIRTIO_BLK_F_MQ VIRTIO_BIT(12)
#define VIRTIO_BLK_F_DISCARD VIRTIO_BIT(13)
#define VIRTIO_BLK_F_WRITE_ZEROES VIRTIO_BIT(14)

/* 5.2.6 */
enum virtio_blk_type {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,
};

enum virtio_blk_status {
	VIRTIO_BLK_S_OK = 0,
	VIRTIO_BLK_S_IOERR = 1,
	VIRTIO_BLK_S_UNSUPP = 2,
};

enum { VIRTIO_BLK_SECTOR_BYTES = 512, VIRTIO_BLK_ID_BYTES = 20 };

struct virtio_blk_header {
	le32 type;
	le32 reserved;
	le64 sector;
};
static_assert(sizeof(struct virtio_blk_header) == 16, "VIRTIO 1.2, 5.2.6");

/* One segment of a DISCARD or WRITE_ZEROES request. */
enum { VIRTIO_BLK_SEGMENT_UNMAP = 1 };

struct virtio_blk_segment {
	le64 sector;
	le32 sectors;
	le32 flags;
};
static_assert(sizeof(struct virtio_blk_segment) == 16, "VIRTIO 1.2, 5.2.6");

/* 5.2.4 */
struct virtio_blk_config {
	le64 capacity; /* in sectors of 512 bytes */
	le32 size_max;
	le32 seg_max;
	le16 cylinders;
	uint8_t heads, sectors;
	le32 blk_size;
	uint8_t physical_block_exp, alignment_offset;
	le16 min_io_size; /* in blk_size */
	le32 opt_io_size; /* in blk_size */
	uint8_t writeback;
	uint8_t unused0;
	le16 num_queues;
	le32 max_discard_sectors;
	le32 max_discard_seg;
	le32 discard_sector_alignment;
	le32 max_write_zeroes_sectors;
	le32 max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap;
	uint8_t unused1[3];
} __attribute__((packed));
static_assert(sizeof(struct virtio_blk_config) == 60, "VIRTIO 1.2, 5.2.4, up to unused1");

#endif
