/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest's memory for tests of virtqueues, and what chains in it come to.
 *
 *	guest addresses   0x10000         0x20000   0x24000      0x40000   0x44000
 *	                  | region A      | region B | nothing   | region C |
 *
 * A and B adjoin in the guest and not here. Each region is an allocation of its own, so that a
 * sanitizer sees any step outside.
 */
#ifndef TESTS_UNIT_CHAIN_RIG_H
#define TESTS_UNIT_CHAIN_RIG_H

#include "base/random.h"
#include "unit.h"
#include "virtio/chain.h"

enum {
	A = 0x10000,
	B = 0x20000,
	C = 0x40000,
	A_BYTES = 0x10000,
	B_BYTES = 0x4000,
	C_BYTES = 0x4000,
	RIG_TABLE = A + A_BYTES - 0x4000, /* where no random buffer is */
};

void rig_make(struct guest_memory *memory);
void rig_free(struct guest_memory *memory);

/* What the guest sees at an address that is in a region. */
char *rig_here(const struct guest_memory *memory, uint64_t address);

/* Of any length and place, also none and across the seam. */
struct chain_buffer rig_random_buffer(struct random *random, bool writable);

/* The segments of the chain are the buffers, byte by byte, the readable ones first. */
void rig_check_segments(const struct guest_memory *memory, const struct virtq_chain *chain,
	const struct chain_buffer *buffers, unsigned count);

bool rig_holds(const struct guest_memory *memory, const struct iovec *iov);
/* All segments are in the guest's memory and add up. */
void rig_check_sound(const struct guest_memory *memory, const struct virtq_chain *chain);

#endif
