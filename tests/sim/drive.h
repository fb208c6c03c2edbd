/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive for simulation: memory that answers late, in random order, and dies when told.
 *
 * A command takes effect at the moment it completes, so that two commands in flight take effect in
 * any order. A dead drive fails everything that it has and gets; its memory keeps what was there.
 */
#ifndef TESTS_SIM_DRIVE_H
#define TESTS_SIM_DRIVE_H

#include "base/random.h"
#include "block/blockdev.h"

struct sim_drive {
	struct blockdev dev;
	char *memory;
	struct random *random;	     /* of the run */
	unsigned flaky_per_thousand; /* reads that fail, at random; and a tenth as many writes */
	unsigned eager_per_thousand; /* turns in which something completes */
	bool dead;
	bool given_up; /* for the run's book-keeping: the array may no longer rely on it */
	uint64_t commands;
};

/* memory: blocks * block_bytes, kept by the caller. */
void sim_drive_init(struct sim_drive *drive, const char *name, struct random *random, char *memory,
	uint64_t blocks, uint32_t block_bytes);

#endif
