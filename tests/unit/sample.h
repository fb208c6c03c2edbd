/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks for tests: as array_create() would make them, and at random. */
#ifndef TESTS_UNIT_SAMPLE_H
#define TESTS_UNIT_SAMPLE_H

#include "base/random.h"
#include "raid/superblock.h"

/* Generation 1 of an array in which all is well; as seen by the member in row 0. Members of 64 MiB.
 * Uuids come from the generator, so that they are the same in every run. */
void sample_superblock(struct superblock *superblock, struct random *random, const char *level,
	unsigned members, unsigned parts);

/* Any that superblock_decode() should accept: every field is other than usual now and then. */
void sample_any(struct superblock *superblock, struct random *random);

/* The same, as another of its members sees it. */
void sample_member(struct superblock *superblock, unsigned row);

void sample_uuid(struct uuid *uuid, struct random *random);

/* An integer that somebody who means harm would try in place of `value`. */
uint64_t sample_hostile(struct random *random, uint64_t value);

#endif
