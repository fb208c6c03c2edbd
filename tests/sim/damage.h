/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that lose more than the level survives: members go, and sectors of those that are left
 * cannot be read when the others are rebuilt. What is lost must be an error, for exactly the blocks
 * that are lost, over restarts and crashes, until they are written; and the rest is served.
 */
#ifndef TESTS_SIM_DAMAGE_H
#define TESTS_SIM_DAMAGE_H

#include <stdint.h>

void damage_run(uint64_t seed);

#endif
