/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of an array's metadata: the one who writes superblocks and maps, on home (reactor 0).
 *
 *	IDLE --map wanted--> MAP ------------------------+
 *	  ^  --commit------> FIRST (ring A) --> SECOND (ring B)
 *	  |                                              |
 *	  +----------- all live rows have answered ------+   waiters are told
 *
 * It holds the table: what every row is. Who changes it (on home) commits, and is told when the
 * change is durable on all rows that live by then. A row that cannot be written is lost, which is
 * another change and another commit. There is one keeper for a stacked array and all its parts.
 *
 * Maps have one bit per region. DIRTY: the redundancy of the region may be wrong after a crash,
 * because something was written there without the log. MISSING: something was written there while a
 * member was away. FAULTS.md: I1, I3, I4, I6, I7.
 */
#ifndef RAID_KEEPER_H
#define RAID_KEEPER_H

#include "block/blockdev.h"
#include "raid/bad.h"
#include "raid/member.h"
#include "raid/superblock.h"
#include "reactor/reactor.h"

struct array;

/* Bit maps, and the list of bad blocks, which is written in the same way. */
enum map_kind { MAP_DIRTY, MAP_MISSING, MAPS, MAP_BAD = MAPS, KEEPER_MAPS };
enum { MAP_BYTES = LAYOUT_UNIT_BYTES - 64 };

struct keeper_row {
	struct blockdev *dev;	      /* NULL: absent */
	struct blockdev_queue *queue; /* on home */
	uint64_t bytes, second_ring;
	char fingerprint[SUPERBLOCK_FINGERPRINT_BYTES];
	bool broken; /* a spare or replacement that could not be written */
	struct keeper *keeper;
	struct io io;
	struct iovec iov;
	char *page;
};

struct keeper_map {
	uint8_t *bits; /* MAP_BYTES; as it will be written next */
	uint64_t generation;
	bool wanted;
	struct list waiting; /* of keeper_wait: for the next write */
};

struct tick_flush {
	struct io io;
	struct keeper *keeper;
	unsigned row;
};

enum keeper_state { KEEPER_IDLE, KEEPER_MAP, KEEPER_FIRST, KEEPER_SECOND };

struct keeper {
	struct array *array; /* the whole */
	struct reactor *reactor;
	struct superblock superblock; /* what is common to all rows */
	struct superblock writing;    /* as it was when the round began */
	struct keeper_row rows[SUPERBLOCK_ROWS];
	enum keeper_state state;
	unsigned pending;
	bool frozen;	     /* the array is broken: nothing is written any more */
	bool wanted;	     /* a commit */
	enum map_kind kind;  /* MAP */
	struct list waiting; /* for the next commit */
	struct list told;    /* by the round that is being written */
	struct keeper_map maps[KEEPER_MAPS];
	struct keeper_bad bad;
	char *pages; /* the rows' */

	/* The tick: clearing of dirty bits that are not needed any more. raid/intent.c */
	struct timer tick;
	bool ticking; /* the timer runs, or a tick does */
	bool stopped; /* no tick begins any more: the array is being unmade */
	bool held;    /* no tick begins: the membership is being changed */
	unsigned tick_pending;
	bool flush_failed;
	uint8_t *in_use;
	struct tick_flush tick_flushes[RAID_MEMBERS_MAX];
};

/* Control thread. Opens the queues of the rows' devices. The table and everything else is taken
 * from *superblock. */
int keeper_create(struct keeper **keeper, struct array *array, const struct superblock *superblock,
	struct fail *fail);
void keeper_destroy(struct keeper *keeper);
/* Sets the device of a row and opens its queue; NULL takes it out. Control thread. */
int keeper_seat(struct keeper *keeper, unsigned row, struct blockdev *dev, struct fail *fail);

/* On home. The table as it is now will be made durable, in a new generation; `wait` (may be NULL)
 * is told then. */
void keeper_commit(struct keeper *keeper, struct keeper_wait *wait);
/* The same for a map. */
void keeper_map_write(struct keeper *keeper, enum map_kind kind, struct keeper_wait *wait);
/* The superblock's epoch becomes an ancestor of a new one. */
void new_epoch(struct superblock *superblock);
/* Sets a row's state; `since` becomes the generation that the next commit has. */
void keeper_row_set(struct keeper *keeper, unsigned row, enum row_state state);
/* Whether nothing is being written or wanted. */
bool keeper_is_idle(const struct keeper *keeper);

/* Control thread: commits and waits; begins a new epoch first if asked. */
void keeper_commit_now(struct keeper *keeper, bool new_epoch);
/* Control thread: writes one map, or all of them, and waits. */
void keeper_map_now(struct keeper *keeper, enum map_kind kind);
void keeper_maps_now(struct keeper *keeper);

/* Where the first of a map's two pages is on every member; the second follows. */
uint64_t map_place(const struct layout *layout, enum map_kind kind);

/* A map's page. Pure. */
void map_encode(const struct keeper_map *map, enum map_kind kind, const struct uuid *member,
	uint64_t place, void *page);
/* False: no valid page of that kind, member and place. bits: MAP_BYTES. */
bool map_decode(uint8_t *bits, uint64_t *generation, enum map_kind kind, const struct uuid *member,
	uint64_t place, const void *page);

static inline bool map_has(const uint8_t *bits, uint64_t region)
{
	return bits[region / 8] >> region % 8 & 1;
}

static inline void map_set(uint8_t *bits, uint64_t region)
{
	bits[region / 8] = (uint8_t)(bits[region / 8] | 1u << region % 8);
}

static inline void map_clear(uint8_t *bits, uint64_t region)
{
	bits[region / 8] = (uint8_t)(bits[region / 8] & ~(1u << region % 8));
}

uint64_t map_count(const uint8_t *bits);

#endif
