/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group of reactors for simulation: all run in the calling thread, over a virtual clock that
 * moves only when nothing else can. Which reactor runs next, and how late a message arrives, comes
 * from the seed: one seed is one run, to the bit.
 *
 * The calling thread is the control thread: reactor_call() steps the simulation until the call has
 * run.
 */
#ifndef REACTOR_SIM_H
#define REACTOR_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "reactor/reactor.h"

struct reactor_group *reactor_sim_create(unsigned reactors, uint64_t seed);
void reactor_sim_destroy(struct reactor_group *group);

/* One turn of one reactor, or one step of the clock. False: nothing will ever happen again unless
 * someone outside does something. */
bool reactor_sim_step(struct reactor_group *group);

/* Steps until *flag, or until nothing more happens. Returns *flag. */
bool reactor_sim_until(struct reactor_group *group, const bool *flag);

/* In so many of a thousand steps the clock moves although there is something to do: drives that are
 * slow, as it were. */
void reactor_sim_hurry(struct reactor_group *group, unsigned per_thousand);

/* Another control thread, as it were: called between two steps, also of those in which the calling
 * thread waits for a reactor, but not by its own. It may step, and call into the reactors. */
void reactor_sim_between(
	struct reactor_group *group, void (*function)(void *argument), void *argument);

/* Between these two another group may be stepped, although a reactor of this one is in the midst of
 * its turn: what a crash at that moment would leave is recovered there. */
struct reactor *reactor_sim_leave(void);
void reactor_sim_return(struct reactor *reactor);

uint64_t reactor_sim_now_ns(const struct reactor_group *group);

#endif
