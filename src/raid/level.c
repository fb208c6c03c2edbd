/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/level.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum row { RAID0, RAID1, RAID5, RAID6, RAID7, RAID10, RAID50, RAID60, RAID70, ROWS };

/* clang-format off */
static const struct level table[ROWS] = {
	[RAID0]  = {"0",  "RAID 0",   REDUNDANCY_NONE,   0, 1,  NULL,          0},
	[RAID1]  = {"1",  "RAID 1",   REDUNDANCY_MIRROR, 0, 2,  NULL,          0},
	[RAID5]  = {"5",  "RAID 5",   REDUNDANCY_PARITY, 1, 3,  NULL,          0},
	[RAID6]  = {"6",  "RAID 6",   REDUNDANCY_PARITY, 2, 4,  NULL,          0},
	[RAID7]  = {"7",  "RAID 7.3", REDUNDANCY_PARITY, 3, 5,  NULL,          0},
	[RAID10] = {"10", "RAID 10",  REDUNDANCY_NONE,   0, 4,  &table[RAID1], 2},
	[RAID50] = {"50", "RAID 50",  REDUNDANCY_NONE,   0, 6,  &table[RAID5], 0},
	[RAID60] = {"60", "RAID 60",  REDUNDANCY_NONE,   0, 8,  &table[RAID6], 0},
	[RAID70] = {"70", "RAID 70",  REDUNDANCY_NONE,   0, 10, &table[RAID7], 0},
};
/* clang-format on */

int level_find(const struct level **level, const char *name, struct fail *fail)
{
	const char *number = name;

	if (!strncasecmp(number, "raid", 4))
		number += 4;
	while (*number == '-' || *number == ' ')
		number++;
	if (!strcmp(number, "7.3"))
		number = "7";
	for (unsigned i = 0; i < ROWS; i++)
		if (!strcmp(table[i].name, number)) {
			*level = &table[i];
			return 0;
		}
	return fail_set(fail, EINVAL,
		"there is no RAID level '%s': choose 0, 1, 5, 6, 7 (three parities), 10, 50, 60 or "
		"70",
		name);
}

unsigned level_number(const struct level *level)
{
	return (unsigned)atoi(level->name);
}

const struct level *level_of_number(unsigned number)
{
	for (unsigned i = 0; i < ROWS; i++)
		if (level_number(&table[i]) == number)
			return &table[i];
	return NULL;
}

const struct level *level_stripe(void)
{
	return &table[RAID0];
}

unsigned level_tolerance(const struct level *level, unsigned members)
{
	assert(!level->part && members);
	switch (level->redundancy) {
	case REDUNDANCY_NONE:
		return 0;
	case REDUNDANCY_MIRROR:
		return members - 1;
	case REDUNDANCY_PARITY:
		return level->parities;
	}
	return 0;
}
