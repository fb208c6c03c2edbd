/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Halves of an array that run apart, each without the other, and come together again: whoever went
 * on must not be merged with the other side, nor overruled by it. FAULTS.md, row 20.
 */
#ifndef TESTS_SIM_HALVES_H
#define TESTS_SIM_HALVES_H

#include "world.h"

/* At the end of a life: the array is stopped, or crashes, and lives on twice. False: it cannot be
 * halved, or is not whole. */
bool halves_run(struct world *world);

#endif
