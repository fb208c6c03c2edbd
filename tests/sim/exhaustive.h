/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every sequence of at most two operations, on every level, under every policy, from every state
 * (healthy, degraded, half rebuilt, and after a crash with a resync to come), with a crash before
 * every command of a drive takes effect and at the end. At each, all subsets of what the drives
 * have not yet made durable if these are not more than four times the samples that are wanted (with
 * 64: of 8 blocks), or else as many samples; and none, or some of the members that the level can do
 * without, are lost.
 */
#ifndef TESTS_SIM_EXHAUSTIVE_H
#define TESTS_SIM_EXHAUSTIVE_H

#include <stdint.h>

/* Cases are numbered from 0 in an order that mixes everything. */
uint64_t exhaustive_cases(void);
/* samples: states at each crash, where there are too many subsets. */
void exhaustive_run(uint64_t number, unsigned samples);

#endif
