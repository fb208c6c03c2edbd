/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An array: members in, one block device out.
 *
 *	array_create() --> runs --> array_stop() --> array_start() --> runs ...
 *	                     |                           ^
 *	                     +---- crash ----------------+  replays the log first
 *
 * Stacked levels (10, 50, 60, 70) are a RAID 0 array over arrays; both are built here, and the
 * inner ones are reached through `parts`. Members are named by their row in the superblock's table:
 * rows [0, members) are slots, the others spares and replacements.
 *
 * All functions here run on a control thread, under the control lock, except array_sweep().
 */
#ifndef RAID_ARRAY_H
#define RAID_ARRAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/latency.h"
#include "block/blockdev.h"
#include "raid/geometry.h"
#include "raid/member.h"
#include "raid/superblock.h"

struct reactor_group;
struct assembly;

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
	const char *fingerprint[RAID_MEMBERS_MAX]; /* of each; NULL: none. Read by array_create() */
	unsigned parts; /* 50, 60, 70: how many; 0: two. RAID 10: members / 2 */
	unsigned depth; /* operations per reactor; 0: the default */
	enum consistency consistency;
	struct uuid host_id;
	const struct layout_places *places; /* NULL: layout_standard */
};

struct array_counters {
	uint64_t reads, writes, flushes, discards; /* requests */
	uint64_t read_blocks, written_blocks;
	uint64_t ops, joins, full_stripes, rewrites, modifies, recovers;
	uint64_t retries; /* ops planned anew after a read error */
	uint64_t errors;  /* requests that ended with -EIO */
	uint64_t repairs; /* blocks that could not be read and were written anew */
	uint64_t log_records, log_batches, log_bytes;
	uint64_t intents;		   /* ops that waited for a map to be written */
	uint64_t latency[LATENCY_BUCKETS]; /* how long requests took */
};

struct member_counters {
	uint64_t reads, writes;
	uint64_t read_errors, write_errors;
};

/* BROKEN: more is lost than the level survives. Nothing is written any more; what can be read
 * without reconstruction is. Members lost last are kept in the table, so that the array comes back,
 * as it was, when they do. */
enum array_state { ARRAY_OPTIMAL, ARRAY_DEGRADED, ARRAY_BROKEN, ARRAY_STATES };

struct member_status {
	const struct blockdev *dev; /* NULL: absent */
	struct uuid uuid;
	enum row_state state;
	enum loss_reason reason;     /* FAILED */
	uint64_t lost_at;	     /* FAILED: seconds since 1970 */
	unsigned replaces;	     /* REPLACING: the slot */
	uint64_t watermark, stripes; /* REBUILDING, REPLACING: so many of so many are done */
	bool resyncable;	     /* FAILED: array_readd() copies only what it missed */
	uint64_t bad_blocks;	     /* that hold nothing to rely on: raid/bad_list.h */
	bool slow; /* its reads wait much longer than those of the others: they do its work */
	struct member_counters counters;
};

struct array_status {
	enum array_state state;
	unsigned failed;    /* slots that are failed or not yet rebuilt */
	unsigned tolerates; /* further failures; a stacked array: in the worst case */
	unsigned rebuilding, replacing, spares; /* rows */
	uint64_t dirty_regions;	  /* whose redundancy is not known to be right: a resync is due */
	uint64_t missing_regions; /* written since a member is missing */
	uint64_t region_bytes;	  /* of each member */
	struct array_counters counters;
	unsigned members;
	unsigned rows;
	struct member_status member[SUPERBLOCK_ROWS];
};

struct array;

/* Checks a configuration without touching anything: level, number of members, chunk, blocks, size,
 * duplicates. *waste_bytes: what the smallest member makes unusable on the others, per array. */
int array_check(const struct array_config *config, uint64_t *usable_bytes, uint64_t *waste_bytes,
	struct fail *fail);

/* Claims the members, writes superblocks, and runs the array. The caller has made sure that the
 * redundancy is right: the members' data areas read as zeros, or hold a consistent array. */
int array_create(struct array **array, const struct array_config *config,
	struct reactor_group *group, struct fail *fail);

struct array_start_options {
	bool accept_loss; /* also when a crash may have left what is lost unrecoverable */
	unsigned depth;	  /* as in array_config */
	struct uuid host_id;
	const struct layout_places *places;
};
/* Replays the log and runs the array that was found. Members that are absent are failed in the
 * table. 0; -ENODEV: not startable; -EUCLEAN: the write hole is open, see accept_loss; others. On
 * an error nothing was written but a replay. */
int array_start(struct array **array, const struct assembly *assembly,
	const struct array_start_options *options, struct reactor_group *group, struct fail *fail);

/* No queue of it is open, no sweep runs. Flushes, marks the array as cleanly stopped, frees it. */
void array_stop(struct array *array);
/* The same, and the array belongs to no host any more: whoever imports it may have it. */
void array_export(struct array *array);
/* The same as array_stop(), and the members are members no more. After a crash in the middle of it,
 * as of array_create(), there is the whole array, or ASSEMBLY_UNMADE. */
void array_delete(struct array *array);

struct blockdev *array_blockdev(struct array *array);
const struct geometry *array_geometry(const struct array *array);
const struct array_config *array_config(const struct array *array);
const struct uuid *array_uuid(const struct array *array);
/* Blocks of the array in one stripe of all its parts: the unit that volumes are aligned to. */
uint32_t array_stripe_blocks(const struct array *array);
/* The inner arrays of a stacked one; 0 for a plain one. */
unsigned array_parts(const struct array *array);
struct array *array_part(const struct array *array, unsigned part);

void array_status(struct array *array, struct array_status *status);
const char *array_state_name(enum array_state state);

/* --- members --------------------------------------------------------------------------------- */

/* Gives up the member in a slot. -EALREADY when it is lost; -EPERM when data would be lost with it
 * (the array does not survive it, or regions wait for a resync) and `beyond_redundancy` is not set.
 * A row of a spare or a replacement is simply let go. */
int array_fail_member(struct array *array, unsigned row, bool beyond_redundancy, struct fail *fail);
/* Whether array_fail_member() would do it; the same errors. */
int array_fail_check(struct array *array, unsigned row, bool beyond_redundancy, struct fail *fail);
/* Forgets a failed slot's drive, a spare or a replacement and releases the blockdev, which may then
 * be detached. A failed slot stays failed. */
int array_remove_member(struct array *array, unsigned row, struct fail *fail);

/* Makes dev a spare of the array. The drive's content is lost. */
int array_add_spare(
	struct array *array, struct blockdev *dev, const char *fingerprint, struct fail *fail);
/* Puts a spare into a failed slot; it is REBUILDING from 0, and SWEEP_REBUILD brings it in sync. */
int array_use_spare(struct array *array, unsigned spare, unsigned slot, struct fail *fail);
/* Makes a spare a copy of a slot that is still in sync (or rebuilding); SWEEP_REBUILD copies, and
 * at
 * its end the copy takes the slot and the old member becomes FAILED, without a gap in redundancy.
 * */
int array_replace(struct array *array, unsigned spare, unsigned slot, struct fail *fail);
/* Takes a member that was failed or absent back into its slot. Only what it missed is copied;
 * -ESTALE when that is not known (the caller may make it a spare instead). */
int array_readd(struct array *array, struct blockdev *dev, const struct superblock *superblock,
	struct fail *fail);

/* --- long work ------------------------------------------------------------------------------- */

enum sweep_kind {
	SWEEP_REBUILD, /* brings rebuilding and replacing rows in sync */
	SWEEP_RESYNC,  /* makes the redundancy of dirty regions right, from the data */
	SWEEP_SCRUB,   /* reads everything and compares; degraded: what redundancy is left */
	SWEEP_REPAIR,  /* the same, and repairs what it can */
	SWEEPS,
};

/* How far a scrub has got: everything below done_bytes has been looked at. */
struct sweep_mark {
	uint64_t done_bytes, mismatches, located, repaired, unreadable;
};

/* Shared between the sweep and whoever watches or steers it. Sizes are bytes of each member. */
struct sweep_progress {
	_Atomic uint64_t done_bytes, total_bytes;
	_Atomic uint64_t mismatches; /* rows whose columns do not agree */
	_Atomic uint64_t located;    /* of them, those with one wrong column that was found */
	_Atomic uint64_t repaired;   /* of them, those made right */
	_Atomic uint64_t unreadable; /* rows that could not be read or rebuilt */
	_Atomic uint64_t limit_bytes_per_second; /* 0: none. May be changed any time */
	atomic_bool pause;			 /* likewise */
	atomic_bool cancel;			 /* -ECANCELED; what is done stays done */
	struct sweep_mark begin; /* SCRUB, REPAIR: where it goes on; set before it starts */
	struct {
		_Atomic unsigned turn; /* odd: it is being written */
		_Atomic uint64_t done_bytes, mismatches, located, repaired, unreadable;
	} mark;
};

/* Where a scrub that ends now could go on: a little behind done_bytes. Any thread. */
struct sweep_mark sweep_mark_of(struct sweep_progress *progress);

/* Does it and waits; any thread that is not a reactor, without the control lock. Afterwards the
 * rows
 * have their new states (on success). Interrupted by a crash or cancelled, SWEEP_REBUILD goes on
 * from the durable watermark. One sweep of an array at a time. -EIO: a target or more than the
 * redundancy was lost; the sentence says what. */
int array_sweep(struct array *array, enum sweep_kind kind, struct sweep_progress *progress,
	struct fail *fail);
/* What is due: level-triggered, so that nothing is forgotten. -1: nothing. */
int array_sweep_due(struct array *array);
/* A fence between array_sweep() on one thread and membership changes on another is the caller's:
 * array_use_spare(), array_replace(), array_readd() while a sweep runs are allowed, and are then
 * done by the next SWEEP_REBUILD. */

/* --- notes ----------------------------------------------------------------------------------- */

/* Text that is kept on the members, for the daemon: at most array_notes_bytes_max(). All or
 * nothing. The caller frees *text; "" when none was ever written. */
size_t array_notes_bytes_max(const struct array *array);
int array_notes_write(struct array *array, const char *text, struct fail *fail);
int array_notes_read(struct array *array, char **text, struct fail *fail);

/* --- placement ------------------------------------------------------------------------------- */

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
