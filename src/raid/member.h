/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state of a member, and how its loss becomes known.
 *
 *	ONLINE --write error, flush error, too many read errors, operator--> FAILED
 *
 * A loss is first noticed by one reactor. Until every reactor knows, one of them might still read
 * from the member what a write has meanwhile left out. So:
 *
 *	reactor that noticed      home (reactor 0)          every reactor
 *	lost |= m, stops using
 *	report ------------------> announce --------------> lost |= m
 *	                           counts acks <------------ ack
 *	                           all known: settle ------> settled |= m
 *
 * and no write that left the member out is acknowledged before it is settled.
 *
 * A member with too many read errors is given up only while redundancy remains. That home alone
 * decides: two reactors that each gave up another member would lose one too many.
 */
#ifndef RAID_MEMBER_H
#define RAID_MEMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "reactor/reactor.h"

struct shard;

enum member_state { MEMBER_ONLINE, MEMBER_FAILED, MEMBER_STATES };

enum loss_reason {
	LOSS_WRITE_ERROR,
	LOSS_FLUSH_ERROR,
	LOSS_READ_ERRORS,
	LOSS_OPERATOR,
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
};

const char *member_state_name(enum member_state state);
const char *loss_reason_text(enum loss_reason reason);

/* Stops using the member on this shard and makes its loss known. Harmless when it is known. */
void member_lose(struct shard *shard, unsigned member, enum loss_reason reason);

/* Counts an error of a member; gives it up when there are too many and redundancy remains. */
void member_read_error(struct shard *shard, unsigned member);
void member_write_error(struct shard *shard, unsigned member, enum loss_reason reason);

#endif
