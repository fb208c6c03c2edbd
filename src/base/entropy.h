/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes that nobody can guess: for uuids, which also salt checksums. From the kernel; in simulation
 * from a seed, so that one seed is one run. */
#ifndef BASE_ENTROPY_H
#define BASE_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

struct random;

void entropy_get(void *bytes, size_t count);

/* From now on from `random` instead; NULL: from the kernel again. One thread. */
void entropy_simulate(struct random *random);

#endif
