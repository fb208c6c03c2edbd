/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the loss of a member becomes known. (What a member can be, and the table of legal changes, is
 * raid/membership.c's.)
 *
 * A loss is first noticed by one reactor. Until every reactor knows, one of them might still read
 * from the member what a write has meanwhile left out. So:
 *
 *	reactor that noticed      home (reactor 0)          every reactor
 *	lost |= m, stops using
 *	report ------------------> announce --------------> lost |= m
 *	                           counts acks <------------ ack, with what is unflushed
 *	                           missing map, superblocks
 *	                           durable: settle --------> settled |= m
 *
 * and no write that left the member out, and no flush, is acknowledged before it is settled:
 * whoever starts the array again knows that the member is stale (FAULTS.md, I1).
 *
 * A loss beyond what the level survives is not recorded: the member stays in the table, nothing is
 * written any more anywhere (`broken`), and the array comes back as it was when its members do.
 *
 * A member with too many read errors is given up only while redundancy remains. That home alone
 * decides: two reactors that each gave up another member would lose one too many.
 */
#ifndef RAID_MEMBER_H
#define RAID_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "reactor/reactor.h"

struct shard;

/* Embedded by whoever waits for something to be durable. done() is called on home. */
struct keeper_wait {
	void (*done)(struct keeper_wait *wait);
	struct list_node link;
};

/* On disk: do not renumber. */
enum loss_reason {
	LOSS_WRITE_ERROR = 0,
	LOSS_FLUSH_ERROR = 1,
	LOSS_READ_ERRORS = 2,
	LOSS_OPERATOR = 3,
	LOSS_SUPERBLOCK = 4,
	LOSS_ABSENT = 5,
	LOSS_REPLACED = 6,
	LOSS_REASONS,
};

/* Read errors on one reactor after which a member is given up, if redundancy remains. */
enum { MEMBER_READ_ERRORS_MAX = 16 };

/* The messages of one loss between one shard and home; two, because a report may be on its way
 * while home announces what another shard has reported. */
struct loss {
	struct message report, announce;
	struct message suspect; /* too many read errors: home decides whether to do without it */
	bool suspected;		/* suspect has been sent, once and for all */
	struct shard *shard;
	unsigned member;
	enum loss_reason reason;
	uint8_t *unflushed;	 /* what was written since the last flush, as the shard saw it */
	struct keeper_wait wait; /* home's: for the map, then for the superblocks */
};

const char *loss_reason_text(enum loss_reason reason);

/* Stops using the member on this shard and makes its loss known. Harmless when it is known. */
void member_lose(struct shard *shard, unsigned member, enum loss_reason reason);

/* Counts an error of a member; gives it up when there are too many and redundancy remains. */
void member_read_error(struct shard *shard, unsigned member);
/* It does not even keep what was just written: given up if redundancy remains. */
void member_verify_error(struct shard *shard, unsigned member);
void member_write_error(struct shard *shard, unsigned member, enum loss_reason reason);

/* The copy that was to take the member's slot could not be written: it is given up. */
void replacement_lose(struct shard *shard, unsigned member);

#endif
