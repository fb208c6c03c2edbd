/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie on a member. Pure arithmetic; docs/FORMAT.md is the same in prose.
 *
 *	0        protective GPT
 *	head     superblocks A: a ring of slots, 4 KiB each
 *	         intent: two slots each of the dirty and the missing map
 *	         bad blocks: two slots
 *	         notes: two slots; what the daemon wants to find again (volumes, controllers)
 *	         stripe log
 *	data     aligned
 *	end-tail superblocks B: a ring like A
 *	end      the GPT's second copy
 *
 * Everything but the two superblock rings is found through the superblock, which records it. All
 * offsets and lengths are in bytes and multiples of 4 KiB.
 */
#ifndef RAID_LAYOUT_H
#define RAID_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"

enum { LAYOUT_UNIT_BYTES = 4096, LAYOUT_REGIONS_MAX = (LAYOUT_UNIT_BYTES - 64) * 8 };

struct extent {
	uint64_t offset, bytes;
};

/* What may differ between a real drive and a simulated one. */
struct layout_places {
	uint32_t head_bytes;  /* where superblocks A begin */
	uint32_t tail_bytes;  /* where superblocks B begin, from the end */
	uint32_t slots;	      /* of each superblock ring */
	uint32_t notes_bytes; /* of each of two slots */
	uint32_t log_bytes_min, log_bytes_max;
	uint32_t log_share;   /* the log is one part in that many of the member, within these */
	uint32_t align_bytes; /* of the data area */
	uint32_t region_bytes_min; /* of each member, that one bit of a map stands for */
};

extern const struct layout_places layout_standard;

struct layout {
	struct extent superblocks[2]; /* A, B */
	uint32_t slots;
	struct extent intent, bad_blocks, notes, log, data;
};

/* 0; -ENOSPC with a sentence when the member is too small to hold anything but this. */
int layout_make(struct layout *layout, const struct layout_places *places, uint64_t member_bytes,
	struct fail *fail);

/* The superblock rings alone, of a member that is not known yet. False: it is too small. */
bool layout_find_superblocks(
	struct extent superblocks[2], const struct layout_places *places, uint64_t member_bytes);

/* How much of every member one bit of a map stands for: a power of two. */
uint64_t layout_region_bytes(const struct layout_places *places, uint64_t data_bytes);

#endif
