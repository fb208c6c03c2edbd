/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array: members in, one block device out.
 *
 * Stacked levels (10, 50, 60, 70) are a RAID 0 array over arrays; array_create() builds both, and
 * the inner ones are reached through `parts`.
 *
 * All functions here run on a control thread, under the control lock.
 */
#ifndef RAID_ARRAY_H
#define RAID_ARRAY_H

#include <stdbool.h>
#include <stdint.h>

#include "block/blockdev.h"
#include "raid/geometry.h"
#include "raid/member.h"

struct reactor_group;

enum {
	ARRAY_NAME_BYTES = 64,
	ARRAY_CHUNK_BYTES_MIN = 4 << 10,
	ARRAY_CHUNK_BYTES_MAX = 1 << 20,
};

struct array_config {
	char name[ARRAY_NAME_BYTES];
	const struct level *level;
	uint32_t chunk_bytes, block_bytes;
	unsigned members;
	struct blockdev *member[RAID_MEMBERS_MAX];
	unsigned parts; /* 50, 60, 70: how many; 0: two. RAID 10: members / 2 */
	unsigned depth; /* operations per reactor; 0: the default */
};

struct array_counters {
	uint64_t reads, writes, flushes, discards; /* requests */
	uint64_t read_blocks, written_blocks;
	uint64_t ops, joins, full_stripes, rewrites, modifies, recovers;
	uint64_t retries; /* ops planned anew after a read error */
	uint64_t errors;  /* requests that ended with -EIO */
};

struct member_counters {
	uint64_t reads, writes;
	uint64_t read_errors, write_errors;
};

enum array_state { ARRAY_OPTIMAL, ARRAY_DEGRADED, ARRAY_FAILED, ARRAY_STATES };

struct member_status {
	const struct blockdev *dev;
	enum member_state state;
	enum loss_reason reason; /* FAILED */
	uint64_t lost_at_ns;	 /* FAILED: reactor time */
	struct member_counters counters;
};

struct array_status {
	enum array_state state;
	unsigned failed;    /* members */
	unsigned tolerates; /* further failures; a stacked array: in the worst case */
	struct array_counters counters;
	unsigned members;
	struct member_status member[RAID_MEMBERS_MAX];
};

struct array;

/* Checks a configuration without touching anything: level, number of members, chunk, blocks,
 * duplicates. *waste_bytes: what the smallest member makes unusable on the others, per array. */
int array_check(const struct array_config *config, uint64_t *usable_bytes, uint64_t *waste_bytes,
	struct fail *fail);

/* Claims the members, opens them on every reactor and makes the array. Nothing is written to the
 * members: the caller has made sure that their parity is consistent. */
int array_create(struct array **array, const struct array_config *config,
	struct reactor_group *group, struct fail *fail);
/* No queue of it is open. */
void array_destroy(struct array *array);

struct blockdev *array_blockdev(struct array *array);
const struct geometry *array_geometry(const struct array *array);
const struct array_config *array_config(const struct array *array);
/* Blocks of the array in one stripe of all its parts: the unit that volumes are aligned to. */
uint32_t array_stripe_blocks(const struct array *array);
/* The inner arrays of a stacked one; 0 for a plain one. */
unsigned array_parts(const struct array *array);
struct array *array_part(const struct array *array, unsigned part);

void array_status(struct array *array, struct array_status *status);
const char *array_state_name(enum array_state state);

/* Gives up member `index` of the configuration. -EALREADY when it is lost; -EPERM when the array
 * would not survive and `beyond_redundancy` is not set. */
int array_fail_member(
	struct array *array, unsigned index, bool beyond_redundancy, struct fail *fail);
/* Whether array_fail_member() would do it; the same errors. */
int array_fail_check(
	struct array *array, unsigned index, bool beyond_redundancy, struct fail *fail);

/* Memory that the array holds on each reactor, in bytes. */
size_t array_shard_bytes(const struct array *array);

/*
 * Which reactors own the stripes of a range: writes, degraded reads and everything else that must
 * see a stripe alone runs there. Stripes outside every range are owned by all reactors in turn.
 * Replaces all ranges; drains the array first. `reactors` is a mask of reactor indexes.
 */
struct array_owners {
	uint64_t first_stripe, end_stripe;
	uint64_t reactors;
};
enum { ARRAY_OWNERS_MAX = 256 };
int array_set_owners(
	struct array *array, const struct array_owners *ranges, unsigned count, struct fail *fail);

#endif
