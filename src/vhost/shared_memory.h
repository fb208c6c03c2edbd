/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory that drives reach: virtio/guest_memory.h, each region registered for DMA while it is
 * mapped. Rings are drained before a region goes, so the last DMA has ended.
 */
#ifndef VHOST_SHARED_MEMORY_H
#define VHOST_SHARED_MEMORY_H

#include "virtio/guest_memory.h"

/* As guest_memory_add(), _remove() and _destroy(). */
int shared_memory_add(struct guest_memory *memory, const struct guest_region *region, int fd,
	uint64_t file_offset, struct fail *fail);
int shared_memory_remove(struct guest_memory *memory, const struct guest_region *region);
void shared_memory_destroy(struct guest_memory *memory);

#endif
