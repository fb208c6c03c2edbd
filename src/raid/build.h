/* SPDX-License-Identifier: Apache-2.0 */
/* What array_create() and array_start() hand over to whoever makes the running array. */
#ifndef RAID_BUILD_H
#define RAID_BUILD_H

#include "raid/array.h"
#include "raid/keeper.h"

/* Everything that a running array is made from. */
struct build {
	struct array_config config;
	struct superblock superblock;
	struct blockdev *dev[SUPERBLOCK_ROWS];
	uint64_t bytes[SUPERBLOCK_ROWS], second_ring[SUPERBLOCK_ROWS];
	char fingerprint[SUPERBLOCK_ROWS][SUPERBLOCK_FINGERPRINT_BYTES];
	uint64_t generation[SUPERBLOCK_ROWS]; /* starting: of the superblock that it has */
	struct reactor_group *group;
	struct keeper_map maps[KEEPER_MAPS]; /* bits NULL: none is set */
};

/* The array runs, on what *build says; nothing is written to members but superblocks and maps. It
 * claims the drives. Control thread. */
int build_array(struct array **array, const struct build *build, struct fail *fail);

/* Claims all drives, or none; and gives them back. */
int build_claim(const struct build *build, struct fail *fail);
void build_release(const struct build *build);

#endif
