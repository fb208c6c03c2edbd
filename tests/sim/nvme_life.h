/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A life of an array over NVMe controllers (fleet.h): rows 1 to 4 and 32 to 36 of the fault matrix,
 * met by an array. Clients read and write, controllers have troubles and die, members are replaced,
 * come back and are rebuilt meanwhile; what is read is what the oracle says, all the time; in the
 * end nothing disagrees, and what the parity says is what the data said.
 */
#ifndef TESTS_SIM_NVME_LIFE_H
#define TESTS_SIM_NVME_LIFE_H

#include "life.h"

void nvme_life_run(uint64_t seed, const struct life_options *options);

#endif
