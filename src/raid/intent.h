/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intents: a shard's part in the maps.
 *
 * Before an op writes without the log, the dirty bit of its region must be durable; while a
 * member is
 * lost, so must the missing bit. A shard knows which bits are; for others its ops wait while it
 * asks home:
 *
 *	shard: op waits --ask (many regions)--> home: sets bits, writes the page --> known, ops go
 * on
 *
 * Dirty bits are cleared lazily. Every TICK, home asks each shard which regions it still uses; the
 * others are forgotten there (a later write asks again), all members are flushed, and then the bits
 * that nobody uses are cleared. FAULTS.md: I3, I4.
 *
 * What was written since the last flush of all is kept as well: a member that is lost may have lost
 * that from its cache, so it goes into the missing map.
 */
#ifndef RAID_INTENT_H
#define RAID_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "raid/keeper.h"

struct shard;
struct op;

enum { INTENT_ASK_MAX = 64 };
#define INTENT_TICK_NS (5ull * 1000 * 1000 * 1000)

struct intent_ask {
	struct message message; /* to home and back */
	struct shard *shard;
	bool busy;
	unsigned count;
	struct {
		uint32_t region;
		bool maps[MAPS];
	} entry[INTENT_ASK_MAX];
	struct keeper_wait waits[MAPS]; /* home's */
	unsigned pending;
};

/* All maps here are regions/8 bytes, rounded up. */
struct shard_intent {
	uint8_t *known[MAPS]; /* durable, and not to be cleared without asking */
	uint8_t *young;	      /* written since the last tick */
	uint8_t *unflushed,
		*unflushed_before; /* written since the last flush, and the one before */
	uint8_t *resync;	   /* the redundancy is not known to be right: read data only */
	uint16_t *busy;		   /* ops in each region */
	bool resyncing;		   /* any bit of resync is set */
	struct list waiting;	   /* of struct op */
	struct intent_ask ask;
	struct {
		struct message message;
		struct shard *shard;
		bool flushed; /* the flush after the last tick went well */
		uint8_t *in_use;
	} tick;
	void *memory;
};

int intent_init(struct shard *shard);
void intent_destroy(struct shard *shard);

/* The op is about to write: it uses its region from now on. True: the bits that it needs are known;
 * false: it waits in `waiting`, and op_intended() is called later. */
bool intent_begin(struct op *op);
/* The op is done with the region. */
void intent_end(struct op *op);
/* Asks for what ops wait for. In every turn. */
unsigned intent_continue(struct shard *shard);
/* Whether nothing waits or is asked. */
bool intent_is_idle(const struct shard *shard);

/* Into `bits`: regions whose content a member that is lost now may lack. */
void intent_unflushed(const struct shard *shard, uint8_t *bits);

/* Whether the redundancy of the stripe's region may be wrong. */
bool intent_is_dirty(const struct shard *shard, uint64_t stripe);

/* On home: dirty bits may be set, clear them some time. */
void intent_tick_start(struct keeper *keeper);
void intent_tick_init(struct keeper *keeper);
bool intent_tick_runs(const struct keeper *keeper);
/* From now on none begins, for good. */
void intent_tick_stop(struct keeper *keeper);

#endif
