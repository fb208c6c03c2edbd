/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock: what a member says of its array. docs/FORMAT.md gives every byte.
 *
 * Each live member holds the same content but for its own uuid, row, size and fingerprint. The
 * table
 * of the freshest one decides what every member is; what a member says of itself is not believed.
 * Pure, but for superblock_read().
 */
#ifndef RAID_SUPERBLOCK_H
#define RAID_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fail.h"
#include "raid/geometry.h"
#include "raid/layout.h"

struct blockdev;
struct reactor;

enum {
	UUID_BYTES = 16,
	SUPERBLOCK_BYTES = 4096,
	SUPERBLOCK_NAME_BYTES = 64,
	SUPERBLOCK_FINGERPRINT_BYTES = 96,
	SUPERBLOCK_ROWS = 40, /* RAID_MEMBERS_MAX slots, then spares and replacements */
	SUPERBLOCK_ROW_NONE = 0xffff,
	SUPERBLOCK_MAJOR = 1,
	SUPERBLOCK_MINOR = 0,
};

struct uuid {
	uint8_t byte[UUID_BYTES];
};

/* What a row of the table is. On disk: do not renumber. */
enum row_state {
	ROW_EMPTY = 0,
	ROW_IN_SYNC = 1,
	ROW_REBUILDING = 2, /* in sync below its watermark */
	ROW_FAILED = 3,	    /* its content is stale */
	ROW_SPARE = 4,
	ROW_REPLACING = 5, /* becomes a copy of the slot `replaces`; in sync below its watermark */
	ROW_STATES,
};

/* How far the write hole is closed; the price of each is in docs/PERFORMANCE.md. On disk. */
enum consistency {
	CONSISTENCY_LOG = 0,	  /* every write to a parity level is logged first */
	CONSISTENCY_ADAPTIVE = 1, /* a map of dirty regions while healthy, the log while degraded */
	CONSISTENCY_BITMAP = 2,	  /* a map of dirty regions */
	CONSISTENCIES,
};

struct superblock_row {
	struct uuid uuid; /* of the member */
	enum row_state state;
	uint8_t reason;	    /* FAILED: enum loss_reason */
	uint8_t replaces;   /* REPLACING: the slot */
	uint64_t since;	    /* the generation in which the row came into this state */
	uint64_t watermark; /* REBUILDING, REPLACING: stripes */
	uint64_t lost_at;   /* FAILED: seconds since 1970, for information */
	bool resyncable;    /* FAILED: the missing map holds all that it missed */
};

struct superblock {
	/* The same on all members. */
	struct uuid array_uuid;
	char name[SUPERBLOCK_NAME_BYTES];
	struct uuid host_id;
	uint64_t created_at; /* seconds since 1970 */
	const struct level *level;
	unsigned members; /* slots: rows [0, members) */
	unsigned parts;	  /* of a stacked level; 0 */
	uint32_t chunk_bytes, block_bytes;
	uint32_t layout_id;
	uint64_t stripes; /* of each part */
	uint64_t region_bytes;
	enum consistency consistency;
	uint64_t generation;	  /* only up */
	struct uuid epoch;	  /* new at every start and change of membership */
	struct uuid ancestors[3]; /* the epochs before, the latest first */
	bool clean;		  /* stopped in order: log and dirty map are of no account */
	bool bad_blocks;	  /* it has, or had, a list of them: FEATURE_BAD_BLOCKS */
	bool unmade;		  /* the array is not there: it was being made, or deleted */
	uint64_t log_epoch;	  /* records of other epochs are dead */
	struct superblock_row rows[SUPERBLOCK_ROWS];
	/* This member's own. */
	struct uuid member_uuid;
	unsigned row;
	uint64_t member_bytes;
	char fingerprint
		[SUPERBLOCK_FINGERPRINT_BYTES]; /* of the drive: model and serial number; "" */
	struct layout layout;
	/* Of whoever wrote it, for information. */
	char writer[16];
	uint64_t written_at; /* seconds since 1970 */
};

void uuid_make(struct uuid *uuid);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
bool uuid_is_null(const struct uuid *uuid);
enum { UUID_TEXT_BYTES = 37 };
char *uuid_print(const struct uuid *uuid, char text[UUID_TEXT_BYTES]);
/* False: no uuid. */
bool uuid_parse(struct uuid *uuid, const char *text);

/* Into 4 KiB that are to stand at byte `place` of the member: the checksum is salted with it. */
void superblock_encode(const struct superblock *superblock, uint64_t place, void *page);

/* 0; -ENODATA: no superblock; -EILSEQ: damaged, or not of this member or place; -ENOTSUP: of a
 * version or with a feature that this program does not know. With a sentence. The content is
 * hostile: what is returned is consistent in itself. */
int superblock_decode(
	struct superblock *superblock, uint64_t place, const void *page, struct fail *fail);

/* The newest valid one of both rings. Waits; control thread. 0 or -errno as superblock_decode(), or
 * that of the reads. */
int superblock_read(struct superblock *superblock, struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, struct fail *fail);

/* Overwrites all rings, and the GPT, so that the drive is no member any more. Waits. A crash in the
 * middle leaves the newest superblock, or none. */
int superblock_erase(struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, struct fail *fail);

const char *row_state_name(enum row_state state);
const char *consistency_name(enum consistency consistency);
/* 0; -EINVAL with a sentence. */
int consistency_parse(enum consistency *consistency, const char *text, struct fail *fail);

#endif
