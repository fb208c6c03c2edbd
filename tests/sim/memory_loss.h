/* SPDX-License-Identifier: Apache-2.0 */
/* The n-th allocation fails, for every n, once and for ever: while an array is created, and while
 * it is started. Each time that must fail cleanly, with nothing left behind, and the next try
 * succeeds with all data there. */
#ifndef TESTS_SIM_MEMORY_LOSS_H
#define TESTS_SIM_MEMORY_LOSS_H

#include <stdint.h>

/* The seed chooses the array. Each failed allocation counts as a state. */
void memory_loss_run(uint64_t seed);

#endif
