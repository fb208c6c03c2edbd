/* SPDX-License-Identifier: Apache-2.0 */
/* Who uses the array of a world: one client on every reactor, each with some requests at once.
 * Every answer is checked against the oracle. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include "world.h"

void clients_allocate(struct world *world);
void clients_open(struct world *world);
void clients_close(struct world *world);

/* Lets them issue that many requests, and returns at once. */
void clients_go(struct world *world, unsigned requests);
static inline bool clients_are_done(const struct world *world)
{
	return !world->ios_left && !world->busy;
}
/* Nothing new is issued until clients_resume(); waits for what is on its way. */
void clients_pause(struct world *world);
void clients_resume(struct world *world);

/* One request, from one client; waits for it. */
struct ask {
	enum io_kind kind;
	uint64_t first;
	uint32_t blocks;
	bool fua;
};
void client_ask(struct world *world, const struct ask *ask);

/* Reads everything. */
void clients_read_all(struct world *world);

#endif
