/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of bad blocks of an array: blocks of its members that hold nothing to rely on, although
 * their member is there and in sync. Pure. docs/FORMAT.md, "Bad blocks".
 *
 * A block comes onto it when what it should hold cannot be known: a rebuild that could not read
 * enough, a parity whose row lost data. It is as unreadable as one that the drive itself cannot
 * read, and leaves the list when it is written. There is one list for all members, in ascending
 * order, and ranges that adjoin are one.
 */
#ifndef RAID_BAD_LIST_H
#define RAID_BAD_LIST_H

#include <stdbool.h>
#include <stdint.h>

enum { BAD_RANGE_BYTES = 16, BAD_RANGES_MAX = 252 };

struct bad_range {
	uint64_t block; /* of the member's data area */
	uint32_t blocks;
	uint8_t row; /* of the superblock's table: which member */
};

struct bad_list {
	unsigned count;
	struct bad_range range[BAD_RANGES_MAX];
};

/* Both: false when the list would need more ranges than it can have; it is as it was then. */
bool bad_list_add(struct bad_list *list, struct bad_range range);
bool bad_list_remove(struct bad_list *list, struct bad_range range);

/* Whether any block of the range is on it. */
bool bad_list_touches(const struct bad_list *list, struct bad_range range);

/* All that is known of a member goes; becomes that of another one, in place of what that had. */
void bad_list_forget(struct bad_list *list, unsigned row);
void bad_list_move(struct bad_list *list, unsigned from, unsigned to);
/* What another member has is added to a member's own. False: it does not fit. */
bool bad_list_merge(struct bad_list *list, unsigned from, unsigned to);

/* Blocks of one member that are on it. */
uint64_t bad_list_blocks(const struct bad_list *list, unsigned row);

/* BAD_RANGES_MAX * BAD_RANGE_BYTES bytes. What is decoded is hostile: false when it is no list. */
void bad_list_encode(const struct bad_list *list, void *bytes);
bool bad_list_decode(struct bad_list *list, const void *bytes);

#endif
