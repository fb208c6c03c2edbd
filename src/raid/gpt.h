/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A GPT on every member, so that firmware, installers and whoever else looks at a drive see that it
 * is used. braid itself looks only at its type, to tell a member whose superblocks are gone from a
 * drive that never was one. UEFI 2.10, 5.2.3 and 5.3; docs/FORMAT.md, "Partition
 * table".
 *
 *	LBA 0     protective MBR
 *	LBA 1     header, then 128 entries: one partition of braid's type from 1 MiB to the end
 *	the end   the entries again, then the backup header in the last LBA
 *
 * The partition's GUID is the member's uuid, so that `lsblk -o PARTUUID` shows it.
 */
#ifndef RAID_GPT_H
#define RAID_GPT_H

#include <stddef.h>

#include "raid/superblock.h"

/* feff63c6-43f4-49d5-bfc4-684f8ecd3ec7 */
extern const struct uuid gpt_type;

struct gpt {
	struct uuid member;
	uint32_t block_bytes; /* LBAs as everybody counts them on this drive: 512 or 4096 */
	uint64_t blocks;
	uint64_t first_byte; /* of the partition: a multiple of block_bytes */
};

/* What it takes at the beginning and at the end of a drive. */
size_t gpt_head_bytes(uint32_t block_bytes);
size_t gpt_tail_bytes(uint32_t block_bytes);

/* Into gpt_head_bytes() from byte 0, and gpt_tail_bytes() up to the end of the last block. Pure. */
void gpt_encode(const struct gpt *gpt, void *head, void *tail);

/* Writes it for a member; does nothing where the places leave no room for it, as a simulation's do.
 * Waits; control thread. 0 or -errno with a sentence. */
int gpt_write(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places,
	const struct uuid *member, struct fail *fail);
/* Whether either copy of a drive's partition table has a partition of braid's type. Waits. What
 * cannot be read has none. */
bool gpt_is_ours(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places);
/* The same of the first bytes of a drive, GPT_LOOK_BYTES of them. Pure. */
enum { GPT_LOOK_BYTES = 12288 };
bool gpt_head_is_ours(const void *head);

/* Writes zeros there. */
int gpt_erase(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places,
	struct fail *fail);

#endif
