/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One array on one reactor: the data path's state. No locks: everything here belongs to the
 * reactor's thread; shards talk to each other by messages.
 *
 *	io --> request --+--> slice --direct--> member                (healthy reads, RAID 0)
 *	                 |
 *	                 +--> slice ==message==> owner's shard --> op (writes, degraded reads)
 *
 * A request is one io of the array's user. A slice is the part of it inside one stripe and window.
 * An op carries one or more adjoining slices through the engine. All three come from pools that are
 * filled when the array is created; who finds a pool empty waits in a list of the shard.
 */
#ifndef RAID_SHARD_H
#define RAID_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "block/blockdev.h"
#include "raid/array.h"
#include "raid/bad.h"
#include "raid/geometry.h"
#include "raid/intent.h"
#include "raid/log.h"
#include "raid/member.h"
#include "raid/pace.h"
#include "raid/plan.h"
#include "reactor/reactor.h"

struct request {
	struct io *io;
	struct shard *shard;
	uint32_t next;	   /* first block of io that no slice covers yet */
	uint32_t next_row; /* first row of that stripe that no slice covers yet */
	uint64_t begun_ns;
	uint32_t pending; /* slices on their way, and one while slices are still being made */
	int status;	  /* the first error */
	struct list_node link;
};

struct slice {
	struct message message; /* to the owner's shard, and back */
	struct request *request;
	uint64_t stripe;
	uint32_t first, end;	     /* of the stripe's data, in blocks */
	uint32_t io_block;	     /* where `first` stands in the request's io */
	uint32_t row_first, row_end; /* the window */
	uint32_t avoid;		     /* columns that were read in vain */
	unsigned column;	     /* direct: which column is read or written */
	uint64_t begun_ns;	     /* direct read: when it was sent */
	int status;
	struct io io; /* direct: the member's part */
	struct list_node link;
};

enum op_state {
	OP_FREE,
	OP_GATHERING,  /* may still be joined; starts at the end of the turn */
	OP_LOCKED_OUT, /* waits for earlier ops on the same rows */
	OP_STARVED,    /* waits for memory */
	OP_READING,
	OP_INTENDING, /* waits for its region's bits to be durable */
	OP_LOGGING,   /* waits for its record to be durable, or for a loss to be */
	OP_WRITING,
	OP_VERIFYING, /* reads again what could not be read and was written anew */
	OP_UNSETTLED, /* done, but a member that it left out is not known to be lost everywhere */
	OP_PROBING,   /* asks whether members that could not be read are there at all */
	OP_MARKING,   /* waits for the list of bad blocks to be durable */
	OP_DUE,	      /* has its rows, and is to be planned in the next turn */
	OP_STATES,
};

/* What an op does; decided when it is planned. */
enum op_work {
	OP_READ,
	OP_WRITE,
	OP_CLEAR, /* zeroes or discards whole rows on every column: parity of zeros is zero */
	OP_SWEEP, /* rebuilds, resyncs, checks or repairs a window */
};

/* For each member: two runs of adjoining bands, and the same on its replacement. */
enum { OP_IOS_PER_MEMBER = 4 };

struct op_io {
	struct io io;
	struct iovec iov;
	struct op *op;
	unsigned column;
	bool replacement; /* goes to the copy that is to take the slot */
};

struct op {
	enum op_state state;
	enum op_work work;
	enum io_kind kind; /* of its slices */
	bool fua, may_unmap;
	bool exclusive; /* the row lock's mode */
	struct shard *shard;
	struct list slices;	/* ascending and adjoining */
	struct sweep_op *sweep; /* SWEEP: for whom; there are no slices then */
	uint64_t stripe;
	uint32_t first, end, row_first, row_end; /* as in slice */
	uint32_t lock_row, lock_end;		 /* rows that are its own */
	uint32_t avoid;				 /* columns that were read in vain, or are bad */
	uint32_t left_out;			 /* members that a write of this op did not reach */
	uint32_t pending;
	uint32_t read_errors; /* columns */
	int status;
	struct plan plan;
	char *memory; /* from the reactor's arena */
	/* Per column, from plan.row on: what was on the member (or the parity), and the new
	 * data. */
	char *old[RAID_MEMBERS_MAX], *new[RAID_MEMBERS_MAX];
	uint32_t repairs;     /* READ: columns that could not be read and are written anew */
	bool intended;	      /* counted in its region */
	bool logged;	      /* its record is durable: FUA in place is not needed */
	uint32_t log_members; /* those whose record it is; of them, those that failed to take it: */
	uint32_t log_failed;
	unsigned log_turn;
	/* raid/op_end.c: it could not be carried out as a whole, and is taken apart: */
	bool apart;
	struct list rest;    /* of struct slice: those that come later */
	uint32_t window_end; /* and the rows from row_end on */
	bool probed;	     /* who could not be read has been asked whether it is there */
	bool forsakes;	     /* its rows have lost data: their parity is bad from now on */
	bool heals;	     /* it writes bad blocks: they are good afterwards */
	struct bad_change change;
	struct list_node bucket; /* in the shard's row locks */
	struct list_node link;	 /* in the list that its state names */
	unsigned ios_used;
	struct op_io *ios;
};

/* Row locks: ops by stripe and window, in order of arrival. raid/stripe.c */
struct stripe_table {
	unsigned mask;
	struct list *buckets;
};

struct shard {
	struct blockdev_queue queue; /* the array's face on this reactor */
	struct array *array;
	struct reactor *reactor;
	unsigned index;
	struct poller poller;
	struct blockdev_queue *members[RAID_MEMBERS_MAX];

	uint32_t lost, settled; /* members; raid/member.h */
	bool broken;	     /* more is lost than the level survives: no writing, no recovering */
	uint32_t rebuilding; /* members in sync below their watermark only; all writes go there */
	uint64_t watermark[RAID_MEMBERS_MAX]; /* stripes */
	struct loss losses[RAID_MEMBERS_MAX];
	struct loss settles[RAID_MEMBERS_MAX];
	struct message break_message;
	uint32_t break_lost;
	/* Copies that are to take a slot: they get what the slot gets. NULL: none, or lost. */
	struct blockdev_queue *replacements[RAID_MEMBERS_MAX];
	struct blockdev_queue *replacement_queues[RAID_MEMBERS_MAX]; /* the same, also when lost */
	uint8_t replacement_rows[RAID_MEMBERS_MAX];		     /* of the table */
	/* Home's shard only. */
	uint32_t announced;
	unsigned acks[RAID_MEMBERS_MAX];
	bool breaking; /* `broken` has been announced */

	struct shard_intent intent;
	struct shard_log log;
	struct shard_bad bad;

	struct stripe_table stripes;
	struct list requests, slices, ops; /* free ones */
	struct list held_ios;	  /* of struct io: no request is free, or the array is paused */
	struct list cutting;	  /* of struct request: waits for slices */
	struct list opless;	  /* of struct slice: waits for an op */
	struct list gathering;	  /* of struct op */
	struct list runnable;	  /* of struct op: locked out no longer */
	struct list starved;	  /* of struct op */
	struct list unsettled;	  /* of struct op */
	struct list broken_reads; /* of struct slice: direct reads that failed */
	struct list unsettled_flushes; /* of struct request: a loss is not yet known everywhere */
	struct list sweeps;	       /* of struct sweep_op: waits for an op */
	bool paused;
	unsigned requests_busy, ops_busy;

	struct pace pace;
	struct array_counters counters;
	struct member_counters member_counters[RAID_MEMBERS_MAX];

	uint8_t *unflushed; /* of the losses */
	void *request_pool, *slice_pool, *op_pool, *op_io_pool;
};

/* The columns of the stripe that lost members hold. */
static inline uint32_t shard_lost_columns(
	const struct shard *shard, const struct geometry *geometry, uint64_t stripe)
{
	return shard->lost ? geometry_columns(geometry, stripe, shard->lost) : 0;
}

/* The one judge of readability (FAULTS.md, I2): members that hold nothing to rely on in the stripe,
 * being lost or not yet rebuilt. */
static inline uint32_t shard_unreadable(const struct shard *shard, uint64_t stripe)
{
	uint32_t unreadable = shard->lost;
	unsigned member;

	if (MUTANT(rebuild_read_early))
		return unreadable;
	bits_for_each (member, shard->rebuilding)
		if (stripe >= shard->watermark[member])
			unreadable |= 1u << member;
	return unreadable;
}

static inline uint32_t shard_unreadable_columns(
	const struct shard *shard, const struct geometry *geometry, uint64_t stripe)
{
	return shard->lost | shard->rebuilding
		       ? geometry_columns(geometry, stripe, shard_unreadable(shard, stripe))
		       : 0;
}

/* A part of a sweep: one window of one stripe. Whoever sweeps owns it and waits for done(). */
struct sweep_op {
	struct message message;		      /* to the owner's shard */
	void (*done)(struct sweep_op *sweep); /* on the owner */
	unsigned index;			      /* among the owner's of this struct */
	struct array *array;		      /* a plain one */
	enum sweep_kind kind;
	uint64_t stripe;
	uint32_t row_first, row_end;
	int status;
	uint32_t mismatches, located, repaired, unreadable; /* rows */
	struct list_node link;
};

/* raid/request.c */
void request_submit(struct blockdev_queue *queue, struct io *io);
/* Gives io's that wait, requests and slices what has become free; returns how much was done. */
unsigned request_continue(struct shard *shard);
/* Flushes that waited for a loss to be settled. */
void request_settled(struct shard *shard);
/* The slice is done; from the shard that carried it out. */
void slice_complete(struct slice *slice, int status);

/* raid/op.c */
/* Takes a slice into an op of this shard, the owner of its stripe. */
void op_take(struct shard *shard, struct slice *slice);
/* Starts what gathered in this turn and what need not wait any longer. */
unsigned op_continue(struct shard *shard);
/* Goes on with ops that waited for a loss to be settled, or for the array to break. */
void op_settled(struct shard *shard);
/* The op cannot be carried out: the array is broken. */
void op_fail(struct op *op);
/* The op's bits are durable. */
void op_intended(struct op *op);
/* The op is to be logged, as soon as there is room and no loss is in the way. */
void op_log(struct op *op);
/* The op's record is durable on all members but log_failed. */
void op_logged(struct op *op);
/* On the owner of the stripe. */
void op_sweep(struct shard *shard, struct sweep_op *sweep);
void op_set_state(struct op *op, enum op_state state);
/* OP_PROBING: adds a read of one block at that byte of the column's member. */
void op_add_probe(struct op *op, unsigned column, uint64_t offset);
/* Submits op->ios; what the state asks for goes on when all are done. */
void op_issue(struct op *op);

/* Makes op->ios what writes the planned rows of the columns; nothing is submitted. */
void op_prepare_writes(struct op *op, uint32_t columns);

/* raid/op_end.c */
/* The op, or the piece of it that was under way, has come to its end. -EIO: it could not be planned
 * and nothing was changed; or the array is broken, and is offline. */
void op_end(struct op *op, int status);
/* Whether it is one row of one slice, or of a sweep: an error could not be smaller. */
bool op_is_one_piece(const struct op *op);
/* Nothing has happened yet to the piece that is next. */
void op_begin_piece(struct op *op);
/* OP_PROBING: a member did not answer; all have been asked. */
void op_probe_failed(struct op *op, unsigned column);
void op_probed(struct op *op);
/* OP_MARKING: change.status says how it went. */
void op_marked(struct op *op);
/* Whether what the op writes is on the list of bad blocks. */
bool op_meets_bad(const struct op *op);

/* raid/op_plan.c */
/* What a plan of the op is made from. */
void op_plan_input(const struct op *op, struct plan_input *input);
/* Decides what to do. 0; -EIO: it cannot be done; -ECANCELED: nothing need be done. */
int op_make_plan(struct op *op);

/* raid/compute.c */
/* Copies, recovers and computes, from what was read to what is to be written. */
void op_compute(struct op *op);
/* Decides what a sweep writes, from what it read. */
void op_compute_sweep(struct op *op);

/* raid/stripe.c */
int stripe_table_init(struct stripe_table *table, unsigned ops);
void stripe_table_destroy(struct stripe_table *table);
/* Enters op; true: it has its rows, false: it is granted later, by stripe_unlock() of another. */
bool stripe_lock(struct stripe_table *table, struct op *op);
/* Leaves; ops that have their rows now are moved to `granted`. */
void stripe_unlock(struct stripe_table *table, struct op *op, struct list *granted);

#endif
