/* SPDX-License-Identifier: Apache-2.0 */
/* The array itself, as the files of this room see it. */
#ifndef RAID_INTERNAL_H
#define RAID_INTERNAL_H

#include "raid/shard.h"

/* Immutable while the array runs, except where said. */
struct array {
	struct blockdev dev;
	struct array_config config;
	struct geometry geometry;
	struct reactor_group *group;
	unsigned shard_count;
	struct shard *shards[REACTORS_MAX];
	unsigned depth;
	bool members_clear; /* a discarded block of every member reads as zeros */

	/* Changed only while every shard is paused. */
	unsigned owners_count;
	struct array_owners owners[ARRAY_OWNERS_MAX];

	/* Home's (shard 0). */
	struct {
		enum loss_reason reason;
		uint64_t at_ns;
	} losses[RAID_MEMBERS_MAX];

	/* A stacked array's inner ones; it owns them. */
	unsigned part_count;
	struct array *parts[RAID_MEMBERS_MAX];
};

/* The shard that owns a stripe. */
struct shard *array_owner(const struct array *array, uint64_t stripe);

/* raid/shard.c */
int shard_create(struct array *array, unsigned index, struct fail *fail);
void shard_destroy(struct shard *shard);
size_t shard_bytes(const struct array *array);

#endif
