/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stripe log of one shard: its lane on every member.
 *
 *	op --log_add--> gathering batch --turn's end--> one write per member --> all durable:
 * op_logged()
 *	                    |                             (FUA, sequential)
 *	                    +-- no room in the lane: waits for the checkpoint
 *
 * A lane is a ring. The place of a record is used again only after a checkpoint: all ops that had
 * reserved room before it have ended in place, every member that has a volatile cache has been
 * flushed
 * since, and the lane's header says durably that their records are dead (or a torn overwrite could
 * destroy a newer record and leave an older one of the same blocks). A checkpoint begins when
 * half of a lane is used; on memory, when a few pages are.
 *
 * docs/CONSISTENCY.md says why this closes the write hole; raid/replay.c is the other half.
 */
#ifndef RAID_LOG_H
#define RAID_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "block/blockdev.h"
#include "raid/record.h"

struct shard;
struct op;

enum {
	LOG_BATCHES = 4,
	LOG_SEGMENTS_MAX = RECORD_ENTRIES_MAX + 2, /* header, payloads, filling */
};

/* A member's part of a batch: one record. */
struct log_part {
	struct io io;
	struct log_batch *batch;
	unsigned member;
	unsigned entries, segments;
	uint64_t payload_bytes;
	struct record *record;
	char *header; /* a page */
	struct iovec iov[LOG_SEGMENTS_MAX];
};

struct log_batch {
	struct shard *shard;
	bool writing;
	unsigned pending;
	uint32_t failed; /* members */
	struct list ops;
	struct log_part *parts; /* by member */
};

/* A lane on one member; units are pages. */
struct log_ring {
	uint64_t offset; /* bytes, on the member; behind the lane's header pages */
	uint32_t units;
	uint32_t head; /* where the next record goes */
	uint32_t used; /* not to be overwritten, behind head */
	uint32_t mark; /* of used, as the checkpoint began */
};

/* A member's part of a checkpoint: a flush, then the lane's header. */
struct log_flush {
	struct io io;
	struct iovec iov;
	struct shard *shard;
	unsigned member;
	char *header; /* a page */
};

struct shard_log {
	bool enabled; /* the array has redundancy of the parity kind */
	uint64_t seq;
	struct log_ring *rings; /* by member */
	struct log_batch batches[LOG_BATCHES];
	struct log_batch *gathering; /* NULL: all are being written */
	struct list waiting;	     /* of struct op: no batch has room */
	unsigned turn;		     /* 0 or 1: which of the two counts new ops go into */
	unsigned in_flight[2];	     /* ops that have reserved room and not ended */
	bool prompt; /* all members answered inside io_submit() when the last batch was written */
	bool checkpointing;
	bool flushed;	      /* but a loss is not durable yet: nothing is declared dead */
	uint64_t checkpoints; /* in this log epoch */
	uint64_t written_seq; /* the highest number in batches that were written */
	uint64_t tail;	      /* records up to this number are covered by the checkpoint */
	unsigned flushing;    /* members being flushed, or told, for the checkpoint */
	struct log_flush *flushes;
	void *records, *parts;
	char *pages; /* headers, and one page of zeros */
	size_t pages_bytes;
};

int log_init(struct shard *shard);
void log_destroy(struct shard *shard);

/* Whether writes of this shard are logged now. */
bool log_is_on(const struct shard *shard);
/* The op's writes go into the log; op_logged() is called when they are durable there. */
void log_add(struct op *op);
/* The op has ended: its record is not needed once its members are flushed. */
void log_end(struct op *op);
/* Writes what gathered. In every turn. */
unsigned log_continue(struct shard *shard);
/* Whether log_continue() would find nothing to do. */
bool log_may_sleep(const struct shard *shard);
/* Nothing gathers, waits or is in flight. */
bool log_is_idle(const struct shard *shard);
/* Begins anew: a new log epoch is durable, and nothing is in flight. */
void log_reset(struct shard *shard);

#endif
