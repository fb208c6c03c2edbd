/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each block of the device under test may read as, now and after a crash.
 *
 *	value[0 .. current)       only after a loss of power: overwritten, but not yet stable
 *	value[current .. values)  also now: the last, and what is in flight
 *
 * Every write carries a value of its own. While writes of a block are in flight it may read as what
 * it was before or as any of them; when all are done, as any of them; a write that failed may or
 * may not have happened. FLUSH and FUA take [0 .. current) away. A read of a quiet block settles
 * it: from then on it must read as the same value, after a crash for ever.
 *
 * Value 0 is a block of zeros. After what no promise covers a block may be odd: it reads as
 * anything, but as the same for ever.
 */
#ifndef TESTS_SIM_ORACLE_H
#define TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stdint.h>

enum { ORACLE_VALUES = 14, ORACLE_BLOCKS_MAX = 1024 };

struct oracle_block {
	uint32_t value[ORACLE_VALUES];
	/* When all before it had been overwritten, by the oracle's clock; 0: they have not. */
	uint32_t since[ORACLE_VALUES];
	uint8_t values, current;
	uint8_t before; /* the first value of the writes in flight */
	uint8_t writing;
	bool undecided; /* one of the writes in flight failed, or was a discard */
	bool failed;	/* one failed, and may still come true at a restart: no read settles it */
	bool unstable;	/* one of them was not FUA */
	bool torn;	/* was being written at a crash from which nobody has recovered yet */
	bool on_medium; /* power was lost and nothing was written since: what is read is durable */
	bool odd;	/* anything goes, until it is read */
	bool odd_below; /* it was, before what was written since and is not yet stable */
	bool forsaken;	/* until it is written */
	uint32_t zeroed_at;  /* last_value when zeros were last written */
	uint64_t odd_digest; /* the content of an odd block that was read: value ORACLE_ODD */
};

struct oracle {
	uint64_t blocks;
	uint32_t block_bytes;
	bool stable_writes; /* the device has no volatile cache: completed is stable */
	uint32_t last_value, clock;
	struct oracle_block block[ORACLE_BLOCKS_MAX];
};

/* What a read may find, as of its submission. */
struct oracle_view {
	uint32_t last_value;
	struct oracle_block block;
};

void oracle_init(struct oracle *oracle, uint64_t blocks, uint32_t block_bytes, bool stable_writes);
void oracle_copy(struct oracle *to, const struct oracle *from);

/* Whether one more write of the block can be tracked; if not, it needs a FLUSH. */
bool oracle_room(const struct oracle *oracle, uint64_t block);
/* A write is submitted, a discard (the block may become zeros, or stay) is; either is done. */
void oracle_write(struct oracle *oracle, uint64_t block, uint32_t value, bool fua);
void oracle_discard(struct oracle *oracle, uint64_t block);
void oracle_written(struct oracle *oracle, uint64_t block, int status);

/* Submission, and successful completion of a flush with what that returned. */
uint32_t oracle_flush(struct oracle *oracle);
void oracle_flushed(struct oracle *oracle, uint32_t submitted);

/* The device crashed; writes in flight may or may not have happened. */
void oracle_crash(struct oracle *oracle, bool power);
/* Whether the last writes of it failed, or were discards. */
static inline bool oracle_is_undecided(const struct oracle *oracle, uint64_t block)
{
	return oracle->block[block].undecided;
}
/* for_good: it is never settled, until it is written. */
void oracle_odd(struct oracle *oracle, uint64_t block, bool for_good);
/* The recovery has ended. */
void oracle_recovered(struct oracle *oracle);
/* Writes of it were in flight at this crash, or at one before in whose recovery this one
 * happened. */
static inline bool oracle_is_torn(const struct oracle *oracle, uint64_t block)
{
	return oracle->block[block].torn;
}

void oracle_view(const struct oracle *oracle, uint64_t block, struct oracle_view *view);
/* Whether the content read is possible; settles a quiet block. */
bool oracle_read(
	struct oracle *oracle, uint64_t block, const struct oracle_view *view, const void *content);

/* Fills memory with a value of a block. */
void oracle_fill(const struct oracle *oracle, uint64_t block, uint32_t value, void *content);
/* What content is and what the block may be, for a message. */
void oracle_explain(const struct oracle *oracle, uint64_t block, const void *content, char *text,
	unsigned bytes);

#endif
