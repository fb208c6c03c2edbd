/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life: an array over simulated drives, clients that write, read, zero, discard and flush at
 * random, members that die, are replaced and rebuilt meanwhile, restarts, and, if wanted, crashes.
 * Then silence, a read of everything, the death of as many further members as the level survives,
 * and a read of everything again: what the parity says must be what the data said.
 */
#ifndef TESTS_SIM_LIFE_H
#define TESTS_SIM_LIFE_H

#include "world.h"

struct life_options {
	const char *level, *consistency; /* NULL: any */
	bool crashes;
};

void life_run(uint64_t seed, const struct life_options *options);

/* One that the options allow. */
void setup_choose(struct setup *setup, struct random *random, const struct life_options *options);
/* Fills in what follows from the level, the members, the stripes and so on. */
void setup_complete(struct setup *setup);
void setup_describe(const struct setup *setup, char *text, unsigned bytes);

#endif
