/* SPDX-License-Identifier: Apache-2.0 */
/* One simulated life of an array, determined by its seed. */
#ifndef TESTS_SIM_RAID_RUN_H
#define TESTS_SIM_RAID_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct raid_run {
	uint64_t seed;
	bool wrong;
	char what[256];	   /* wrong: the first violation */
	char setting[128]; /* level, members, ... */
	uint64_t trace;	   /* a hash of everything that happened, in order */
	uint64_t requests, losses, errors;
};

/* Once per process, before the first run. */
void raid_run_prepare(void);

/* Runs the seed. A level name ("6") restricts the choice; NULL: any. */
void raid_run(struct raid_run *run, uint64_t seed, const char *level);

#endif
