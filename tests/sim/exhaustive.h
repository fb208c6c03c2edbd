/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every sequence of at most two operations, on every level, from every state, under every policy,
 * with a crash before every command of a drive takes effect and at the end. At each, all subsets of
 * what the drives have not yet made durable when there are at most 8 such blocks, or as many
 * samples as are wanted; and none, or some of the members that the level can do without, are lost.
 */
#ifndef TESTS_SIM_EXHAUSTIVE_H
#define TESTS_SIM_EXHAUSTIVE_H

#include <stdint.h>

/* Cases are numbered from 0 in an order that mixes everything. */
uint64_t exhaustive_cases(void);
/* samples: states at each crash, at most. */
void exhaustive_run(uint64_t number, unsigned samples);

#endif
