/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pace of members: which one keeps reads waiting much longer than the others do. What it holds
 * is then reconstructed from them (FAULTS.md, row 4); it still gets every write, and is failed only
 * if it fails. One shard judges for itself, from the reads that it sends straight to members.
 *
 *	        slower than SLOW times the others
 *	even ---------------------------------------> slow: read by nobody but a probe now and then
 *	  ^                                             |
 *	  +---- not slower than FAST times the others --+
 *
 * A read that hangs counts with the time for which it has hung, so that those behind it go round.
 * When everything hangs nobody is slow.
 */
#ifndef RAID_PACE_H
#define RAID_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "block/io.h"
#include "raid/level.h"

struct shard;

struct pace_member {
	uint64_t mean_ns;  /* of its reads, the last ones count more */
	uint64_t since_ns; /* of the last answer, or of the first read that waits */
	unsigned waiting;
};

struct pace {
	uint32_t slow; /* members: none or one */
	uint64_t judged_ns;
	struct pace_member member[RAID_MEMBERS_MAX];
	bool probing;
	unsigned probed; /* the last probe's member, and when it was sent */
	uint64_t probed_ns;
	struct io probe;
	struct iovec probe_memory;
};

/* A read goes to the member; block: which, so that a probe can ask for it. */
void pace_begin(struct shard *shard, unsigned member, uint64_t block);
/* It is answered; as of when it was sent. */
void pace_end(struct shard *shard, unsigned member, uint64_t begun_ns);
/* Another drive, or the same anew. */
void pace_forget(struct shard *shard, unsigned member);

/* Columns that a read of the stripe had better do without, and can, besides those. */
uint32_t pace_avoid(const struct shard *shard, uint64_t stripe, uint32_t without);

#endif
