/* SPDX-License-Identifier: Apache-2.0 */
/* The array itself, as the files of this room see it. */
#ifndef RAID_INTERNAL_H
#define RAID_INTERNAL_H

#include <pthread.h>

#include "raid/keeper.h"
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
	bool volatile_members;

	/* Changed only while every shard is paused. */
	unsigned owners_count;
	struct array_owners owners[ARRAY_OWNERS_MAX];

	/* Of the whole. Whoever changes the membership holds it, and so does a sweep while it
	 * looks at the table. Control threads only. */
	pthread_mutex_t change;

	/* Of the whole; its parts point to the same. */
	struct array *whole;
	struct keeper *keeper; /* NULL: the outer RAID 0 of a stacked array has none of its own */
	unsigned part;	       /* which of the whole's parts this is */
	unsigned first_row;    /* of its members in the table */
	uint64_t regions;
	uint64_t region_stripes; /* stripes per region */
	struct extent log;

	/* Home's (shard 0). */
	struct {
		enum loss_reason reason;
		uint64_t at; /* seconds since 1970 */
	} losses[RAID_MEMBERS_MAX];

	/* A stacked array's inner ones; it owns them. */
	unsigned part_count;
	struct array *parts[RAID_MEMBERS_MAX];
};

/* A member, or the copy of one, is asked for what all can do, and what it needs all get: paused, or
 * before the array runs. array: plain, or a part. */
void array_allow_for(struct array *array, const struct blockdev *member);

/* The arrays that have members: the parts, or a plain array itself. */
static inline unsigned array_plain_count(const struct array *array)
{
	return array->part_count ? array->part_count : 1;
}

static inline struct array *array_plain(struct array *array, unsigned index)
{
	return array->part_count ? array->parts[index] : array;
}

/* The plain array that has a slot of the whole, and the member's index in it. */
struct array *array_of_row(struct array *whole, unsigned row, unsigned *member);

static inline const struct layout_places *array_places(const struct array *array)
{
	return array->config.places ? array->config.places : &layout_standard;
}

/* More is lost than the level survives: home has said so, or is going to. */
static inline bool shard_is_offline(const struct shard *shard)
{
	return shard->broken ||
	       bits_count(shard->lost | shard->rebuilding) > shard->array->geometry.redundant;
}

/* The shard that owns a stripe. */
struct shard *array_owner(const struct array *array, uint64_t stripe);

/* raid/quiesce.c, control thread. Takes the lock `change`, stops the whole array's I/O and waits
 * until
 * nothing is in flight; everything that was written is stable then, and no record of the log is
 * needed. */
void array_quiesce(struct array *whole);
/* Goes on and gives the lock back; if the membership has changed, a new epoch and log epoch are
 * durable first. */
void array_resume(struct array *whole, bool changed);
/* Waits until no message about a loss is on its way. */
void array_settle(struct array *whole);
/* Runs on the reactor of every shard of every plain array. */
void array_each_shard(struct array *whole, int (*function)(void *shard));

/* raid/notes.c, with the lock `change` held: a member that came new gets the notes as well. */
void notes_spread(struct array *whole);

/* raid/membership.c. Rows that have reached the end, and are what they were in `rows`: in sync. */
int array_finish_rebuild(struct array *whole, const struct superblock_row *rows, struct fail *fail);

/* raid/shard.c */
int shard_create(struct array *array, unsigned index, struct fail *fail);
void shard_destroy(struct shard *shard);
size_t shard_bytes(const struct array *array);

/* raid/replay.c, control thread, before the array runs. Re-does what the log holds of the log
 * epoch, on the rows that are present. */
struct replay {
	const struct superblock *superblock;
	struct blockdev_queue *queues[SUPERBLOCK_ROWS]; /* NULL: absent, failed */
	struct reactor_group *group;
	int failed_row; /* on an error: the member that answered with one; -1: none did */
};
int replay_log(struct replay *replay, struct fail *fail);
/* What was read from a cache, or written without waiting, is stable. */
int replay_flush(struct replay *replay);
/* The newest copies of the maps. */
int replay_maps(
	const struct replay *replay, struct keeper_map maps[KEEPER_MAPS], struct fail *fail);

#endif
