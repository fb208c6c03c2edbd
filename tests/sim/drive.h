/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive for simulation: memory that answers late, in random order, forgets and dies when told.
 *
 *	submit --> pending --complete--> cached versions, per block --FLUSH, FUA--> durable
 *	              |                        |
 *	              +--- crash: any of their blocks, each for itself, may be on the medium ---+
 *
 * A command takes effect at the moment it completes, so that two commands in flight take effect in
 * any order. FLUSH makes durable what was completed when it was submitted. A dead drive fails
 * everything that it has and gets; what was in flight when it died may be there in part.
 */
#ifndef TESTS_SIM_DRIVE_H
#define TESTS_SIM_DRIVE_H

#include "base/list.h"
#include "base/random.h"
#include "block/blockdev.h"

enum {
	DRIVE_BYTES_MAX = 512 << 10,
	DRIVE_PAGE_BYTES = 4096,
	DRIVE_PAGES_MAX = DRIVE_BYTES_MAX / DRIVE_PAGE_BYTES,
	DRIVE_BLOCKS_MAX = DRIVE_BYTES_MAX / 512,
	DRIVE_CACHED_MAX = 640, /* blocks; the oldest goes to the medium when there are more */
};

/* What a firmware may do wrong, to see that the simulation would notice. */
enum drive_defect {
	DEFECT_NONE,
	DEFECT_FLUSH_IGNORED,
	DEFECT_FUA_IGNORED,
	DEFECT_WRITE_LOST,
	DEFECT_WRITE_MISPLACED,
	DEFECT_BIT_FLIP,
	DEFECTS,
};
extern enum drive_defect drive_defect;
const char *drive_defect_name(enum drive_defect defect);

struct drive_cached {
	uint32_t block;
	uint32_t slot; /* of its content, in blocks of the drive's cache memory */
	uint64_t stamp;
};

struct sim_drive {
	struct blockdev dev;
	char *now;     /* what reads find */
	char *durable; /* what is certain to survive; with a volatile cache only */
	char *cache;
	uint64_t touched[DRIVE_PAGES_MAX / 64];	    /* pages that may be other than zeros */
	uint64_t unreadable[DRIVE_BLOCKS_MAX / 64]; /* until written */
	/* Oldest first; those behind the count hold the free slots. */
	struct drive_cached cached[DRIVE_CACHED_MAX];
	unsigned cached_count;
	struct list queues;	     /* of struct sim_queue */
	struct random *random;	     /* of the world */
	unsigned flaky_per_thousand; /* reads that fail; and a tenth as many writes */
	unsigned eager_per_thousand; /* turns in which something completes */
	bool prompt;		     /* completes inside io_submit(), as memory does */
	bool dead;
	uint64_t died_at, clock;       /* clock: commands completed */
	uint64_t log_first;	       /* blocks before are superblocks, maps and notes */
	uint64_t data_first, data_end; /* blocks of the data area */
	uint64_t data_writes;	       /* commands that changed it */
	/* Called before a command takes effect. May be NULL. */
	void (*before)(void *owner, const struct io *io);
	void *owner;
};

/* Once per drive: memory of its own, for any content and any number of uses. */
void sim_drive_allocate(struct sim_drive *drive);
/* As new: zeros. */
void sim_drive_init(
	struct sim_drive *drive, const char *name, uint64_t blocks, uint32_t block_bytes);
void sim_drive_kill(struct sim_drive *drive);
/* Spoils one block where it lies. */
void sim_drive_flip(struct sim_drive *drive, uint64_t block);
/* Zeros in place of all but the data area. */
void sim_drive_wipe(struct sim_drive *drive);
/* A dead drive works again; what was in its cache when it died may be lost. */
void sim_drive_revive(struct sim_drive *drive, struct random *random);
/* Zeros there, whatever it was. */
void sim_drive_zero(struct sim_drive *drive, uint64_t first, uint64_t blocks);
/* Commands in flight. */
unsigned sim_drive_busy(const struct sim_drive *drive);

/* Who decides what is left after a crash. */
struct chooser {
	struct random *random; /* NULL: the bits of mask, the lowest first */
	unsigned keep_per_thousand;
	uint64_t mask;
};

/* The crash of a drive: a loss of power, or only of the program, which leaves the cache alone. */
enum crash { CRASH_POWER, CRASH_PROGRAM };
/* Makes `to`, of which only the allocation is used, what `from` is after it. */
void sim_drive_crash(struct sim_drive *to, const struct sim_drive *from, enum crash crash,
	struct chooser *chooser);
/* How many blocks of it are at the mercy of the chooser. */
unsigned sim_drive_exposed(const struct sim_drive *drive, enum crash crash);

#endif
