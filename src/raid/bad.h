/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a block becomes bad, and good again. raid/bad_list.h says what that is.
 *
 *	op: waits --ask--> home: changes the list, writes it to all slots
 *	                     durable: tells every shard (each has a copy) --all know--> op goes on
 *
 * So a block is bad, durably and everywhere, before anything relies on that it is, and good only
 * after what was written to it is stable. Home makes one change at a time, of all who ask by then.
 */
#ifndef RAID_BAD_H
#define RAID_BAD_H

#include <stdbool.h>
#include <stdint.h>

#include "raid/bad_list.h"
#include "raid/member.h"
#include "reactor/reactor.h"

struct array;
struct keeper;
struct shard;
struct op;

/* An op's wish. */
struct bad_change {
	struct message message; /* to home and back */
	struct list_node link;	/* home's */
	bool adds; /* the columns' rows of the plan are bad; else those written are good */
	uint32_t columns;
	uint32_t copies; /* members: the same for their replacements */
	int status;	 /* 0; -ENOSPC: the list is full; IO_OFFLINE: the array is broken */
};

/* A shard's copy. */
struct shard_bad {
	struct bad_list list;
	struct message message;
	struct shard *shard;
};

/* Home's. */
struct keeper_bad {
	struct bad_list list;
	bool busy;
	struct list waiting, asked; /* of struct bad_change: for the next round, in this one */
	unsigned acks;		    /* shards that have not learnt it yet */
	struct keeper_wait wait;
	/* While the array is held still: what the list becomes when the new table is durable. */
	struct bad_list next;
};

/* Asks for op->change; op_marked() is called when it is done. */
void bad_ask(struct op *op);
/* Whether a member, by its row of the table, has a bad block in rows [row, end) of the stripe. */
bool bad_has(
	const struct shard *shard, unsigned table_row, uint64_t stripe, uint32_t row, uint32_t end);
/* Columns of the stripe that have a bad block in rows [row, end). */
uint32_t bad_columns(const struct shard *shard, uint64_t stripe, uint32_t row, uint32_t end);

/* The shard takes over home's list. On the shard's reactor, or before it runs. */
int bad_learn(void *shard);

/* Control thread, the array is held still (raid/quiesce.c). What is to become of the list with the
 * new table: a member's is forgotten, or becomes that of the slot it takes. -ENOSPC. */
void bad_begin(struct array *whole);
void bad_forget(struct array *whole, unsigned row);
int bad_take_slot(struct array *whole, unsigned row, unsigned slot);
/* The new table is durable. */
void bad_finish(struct array *whole);

#endif
