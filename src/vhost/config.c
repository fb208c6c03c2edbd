/* SPDX-License-Identifier: Apache-2.0 */
#include "vhost/config.h"

#include <string.h>

#include "base/bits.h"
#include "vhost/controller.h"
#include "vhost/queue.h"
#include "vhost/wire.h"

static bool packed_offered;

void config_offer_packed(void)
{
	packed_offered = true;
}

uint64_t config_features(bool read_only)
{
	return VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX |
	       (packed_offered ? VIRTIO_F_RING_PACKED : 0) | VHOST_F_PROTOCOL_FEATURES |
	       VIRTIO_BLK_F_SEG_MAX | VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_FLUSH |
	       VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_CONFIG_WCE | VIRTIO_BLK_F_MQ |
	       VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES | (read_only ? VIRTIO_BLK_F_RO : 0);
}

void config_fill(struct virtio_blk_config *config, const struct blockdev *dev, bool writeback)
{
	uint32_t sectors = dev->block_bytes / VIRTIO_BLK_SECTOR_BYTES;

	memset(config, 0, sizeof(*config));
	config->capacity = le64_of(blockdev_bytes(dev) / VIRTIO_BLK_SECTOR_BYTES);
	config->seg_max = le32_of(CONFIG_SEGMENTS_MAX);
	config->blk_size = le32_of(dev->block_bytes);
	config->min_io_size =
		le16_of((uint16_t)MAX(MIN(dev->chunk_blocks, (uint32_t)UINT16_MAX), 1u));
	config->opt_io_size = le32_of(dev->best_blocks);
	config->writeback = writeback;
	config->num_queues = le16_of(CONTROLLER_QUEUES_MAX);
	config->max_discard_sectors = le32_of(QUEUE_CLEAR_SECTORS);
	config->max_discard_seg = le32_of(QUEUE_CLEAR_SEGMENTS);
	config->discard_sector_alignment =
		le32_of(dev->best_blocks ? dev->best_blocks * sectors : sectors);
	config->max_write_zeroes_sectors = le32_of(QUEUE_CLEAR_SECTORS);
	config->max_write_zeroes_seg = le32_of(QUEUE_CLEAR_SEGMENTS);
	config->write_zeroes_may_unmap = 1;
}
