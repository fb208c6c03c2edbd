/* SPDX-License-Identifier: Apache-2.0 */
/* What a disk says of itself: feature bits and configuration space. VIRTIO 1.2, sections 5.2.3 and
 * 5.2.4. */
#ifndef VHOST_CONFIG_H
#define VHOST_CONFIG_H

#include "block/blockdev.h"
#include "virtio/features.h"

enum { CONFIG_SEGMENTS_MAX = 126 };

/* Packed virtqueues are offered as well. Once, before any controller. */
void config_offer_packed(void);

/* The features offered. */
uint64_t config_features(bool read_only);

void config_fill(struct virtio_blk_config *config, const struct blockdev *dev, bool writeback);

#endif
