/* SPDX-License-Identifier: Apache-2.0 */
/* Clearing drives before they become members: where every column is zeros, every parity is
 * right. */
#ifndef RAID_CLEAR_H
#define RAID_CLEAR_H

#include <stdatomic.h>
#include <stdint.h>

#include "block/blockdev.h"

struct reactor_group;

struct clear_progress {
	_Atomic uint64_t total_bytes;
	_Atomic uint64_t done_bytes;
	atomic_bool cancel; /* set by whoever wants it to end early: -ECANCELED */
};

/* Writes zeroes over the first `blocks` blocks of every device. Control thread; waits. 0 or -errno
 * with a sentence. */
int clear_members(struct blockdev *const *devices, unsigned count, uint64_t blocks,
	struct reactor_group *group, struct clear_progress *progress, struct fail *fail);

#endif
