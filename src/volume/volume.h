/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume: a named range of an array, as a block device. It begins and ends at a stripe boundary
 * of the array, so that two volumes never share a stripe, and stripes can belong to the cores of
 * one volume's user.
 *
 * Requests pass through with their block number moved.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include <stdint.h>

#include "block/blockdev.h"

/* The range is given in blocks of `below`; both numbers are multiples of its best_blocks. The
 * caller keeps ranges apart, and `below` alive. */
int volume_create(struct blockdev **volume, const char *name, struct blockdev *below,
	uint64_t first, uint64_t blocks, struct fail *fail);

uint64_t volume_first(const struct blockdev *volume);

#endif
