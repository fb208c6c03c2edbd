/* SPDX-License-Identifier: Apache-2.0 */
/* The RAID levels: one row each in a const table. */
#ifndef RAID_LEVEL_H
#define RAID_LEVEL_H

#include <stdbool.h>

#include "base/fail.h"

enum { RAID_MEMBERS_MAX = 32 };

enum redundancy {
	REDUNDANCY_NONE,
	REDUNDANCY_MIRROR, /* one data column, every other column is a copy of it */
	REDUNDANCY_PARITY,
};

struct level {
	const char *name; /* as typed: "6", "50" */
	const char *text; /* as shown: "RAID 6" */
	enum redundancy redundancy;
	unsigned parities; /* REDUNDANCY_PARITY: parity columns of each stripe */
	unsigned members_min;
	const struct level *part; /* stacked levels: RAID 0 over arrays of this level; else NULL */
	unsigned part_members;	  /* stacked: members of each part; 0: as the user says */
};

/* The row for a name as users type it: "6", "raid6", "RAID-6", "7.3". 0, or -EINVAL with the
 * list of levels. */
int level_find(const struct level **level, const char *name, struct fail *fail);

/* The number that stands for a level on disk: 0, 1, 5, 6, 7, 10, 50, 60 or 70; and back, NULL for
 * any other. */
unsigned level_number(const struct level *level);
const struct level *level_of_number(unsigned number);

/* RAID 0, which stacks the parts of a stacked level. */
const struct level *level_stripe(void);

/* How many members may fail in a plain array of that many members. */
unsigned level_tolerance(const struct level *level, unsigned members);

#endif
