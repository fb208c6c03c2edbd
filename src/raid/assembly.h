/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which array do these members make? Pure: decides from the superblocks that were found.
 *
 * The superblock with the highest generation is the freshest; its table alone says which member has
 * which slot and in what state. FAULTS.md, "Assembly".
 */
#ifndef RAID_ASSEMBLY_H
#define RAID_ASSEMBLY_H

#include "raid/array.h"
#include "raid/superblock.h"

enum { ASSEMBLY_FOUND_MAX = 128 };

/* A drive with a superblock. */
struct found {
	struct blockdev *dev;
	const struct superblock *superblock;
	const char *fingerprint; /* of the drive as it is now; "" when it has none */
};

enum member_verdict {
	VERDICT_MEMBER,	   /* in sync, rebuilding, replacing or spare, as the table says */
	VERDICT_STALE,	   /* was failed: may be added again */
	VERDICT_DUPLICATE, /* the same member is there twice */
	VERDICT_SPLIT,	   /* went on without the others */
	VERDICT_FOREIGN,   /* of this array's uuid, but the table does not know it */
	VERDICT_OTHER,	   /* of another array */
};

enum assembly_state {
	ASSEMBLY_COMPLETE,   /* all that the table wants is there */
	ASSEMBLY_DEGRADED,   /* members are absent, but the rest can serve */
	ASSEMBLY_INCOMPLETE, /* too many are absent: wait for more */
	ASSEMBLY_REFUSED,    /* duplicates or a split: the operator has to choose */
	ASSEMBLY_UNMADE,     /* it was being made, or deleted: there is no array */
};

struct assembly {
	enum assembly_state state;
	struct superblock superblock;		  /* the freshest */
	struct blockdev *member[SUPERBLOCK_ROWS]; /* by row; NULL: absent, failed or empty */
	/* Of each present one, from its own superblock. */
	uint64_t member_bytes[SUPERBLOCK_ROWS];
	uint64_t second_ring[SUPERBLOCK_ROWS]; /* where superblocks B are */
	uint64_t generation[SUPERBLOCK_ROWS];
	char fingerprint[SUPERBLOCK_ROWS][SUPERBLOCK_FINGERPRINT_BYTES];
	unsigned absent; /* slots that the table calls live and whose members are absent */
	enum member_verdict verdict[ASSEMBLY_FOUND_MAX]; /* of each found one */
	char why[FAIL_TEXT_BYTES];			 /* not COMPLETE: one sentence */
};

/* At most ASSEMBLY_FOUND_MAX are looked at. */
void assembly_decide(struct assembly *assembly, const struct uuid *array_uuid,
	const struct found *found, unsigned count);

/* Whether the missing map holds all that one, which comes back to its failed slot, may lack or
 * have too much: an array that was stopped in order before one was absent knows nothing of writes
 * that one has seen since. */
bool assembly_is_covered(
	const struct superblock *table, unsigned slot, const struct superblock *one);

/* UNMADE: whether a found one is what is left of the array, to be erased. Those that the freshest
 * does not call unmade go first: alone they would look like an array. */
static inline bool assembly_is_leftover(const struct assembly *assembly, unsigned found)
{
	return assembly->state == ASSEMBLY_UNMADE && assembly->verdict[found] != VERDICT_OTHER &&
	       assembly->verdict[found] != VERDICT_DUPLICATE;
}

const char *member_verdict_text(enum member_verdict verdict);

#endif
