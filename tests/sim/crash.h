/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Crashes: what the drives of a world would hold if it ended now is started as the product would
 * start it, in the world one deeper, and everything that FAULTS.md promises is checked there.
 */
#ifndef TESTS_SIM_CRASH_H
#define TESTS_SIM_CRASH_H

#include "world.h"

/* Crashes at random, as often as the world's crash_in says; world->crash. */
void crash_random(struct world *world);

/* One crash state, chosen by the caller. */
struct crash_choice {
	enum crash crash;
	struct chooser chooser;
	uint32_t lose; /* slots that do not come back */
};
void crash_state(struct world *world, const struct crash_choice *choice);

/* Likewise, but what is recovered is lived in, before anything is made right. */
void crash_into(
	struct world *world, const struct crash_choice *choice, void (*live)(struct world *world));

/* The steps of these: the drives as they are after the crash, and no more; the start, which must
 * succeed or be refused as documented. */
void crash_copy(struct world *to, const struct world *from, struct crash_choice *choice);
void crash_recover(struct world *world);

/* While the array is created: afterwards there is none, or one that is empty. */
void crash_in_create(struct world *world);

/* Runs what is due (rebuild, resync). */
void settle_redundancy(struct world *world);
/* Nothing may disagree. */
void check_scrub(struct world *world);
/* Loses as many members as the level survives beyond those that are not good. */
void fail_the_rest(struct world *world);

#endif
