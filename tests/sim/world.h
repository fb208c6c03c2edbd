/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world: drives, an engine over them and its clients, at one depth of
 *
 *	world 0 --crash--> world 1, recovers --crash in recovery, or later--> world 2 ...
 *
 * World n+1 runs while world n is paused in the midst of whatever it does, and is gone before world
 * n goes on. There is one world for each depth, and its memory is used again and again.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "base/random.h"
#include "drive.h"
#include "memory/memory.h"
#include "oracle.h"
#include "raid/array.h"

enum {
	WORLDS = 4,
	MEMBERS_MAX = 10,
	DRIVES_MAX = MEMBERS_MAX + 3,
	REACTORS = 3,
	IO_BLOCKS_MAX = 96,
	CLIENT_IOS = 4,
	STEPS_MAX = 3000000, /* of one thing that a world does; more: it hangs */
};

/* What all worlds of a run have in common. */
struct setup {
	const struct level *level;
	unsigned members, part_members, parts;
	unsigned tolerance; /* of each part */
	uint32_t block_bytes, chunk_bytes;
	uint64_t stripes; /* about; of each part */
	uint64_t member_bytes;
	enum consistency consistency;
	bool volatile_cache, discard_zeroes;
	bool odd_spare; /* the first spare does not zero what is discarded, whatever others do */
	bool prompt;	/* the drives complete inside io_submit() */
	unsigned depth, reactors;
	bool beyond; /* more members die than the level survives: errors may be, lies not */
	bool nvme;   /* the drives are NVMe controllers: fleet.h */
	struct layout_places places;
};

struct client_io {
	struct io io;
	struct client *client;
	bool busy;
	uint64_t first;
	uint32_t blocks;
	enum io_kind kind;
	uint32_t flush; /* FLUSH: oracle_flush() */
	struct iovec iov[4];
	struct oracle_view view[IO_BLOCKS_MAX];
	char *memory;
};

struct client {
	struct poller poller;
	struct world *world;
	struct reactor *reactor;
	struct blockdev_queue *queue;
	struct client_io ios[CLIENT_IOS];
};

enum { SLOT_NONE = 0xff };

struct world {
	unsigned level; /* depth of crashes */
	const struct setup *setup;
	struct random random;
	struct reactor_group *group;
	unsigned reactors;
	struct array *array; /* NULL: not running */
	struct uuid uuid;
	struct array_status status; /* for whoever asks; others may run while it is asked */
	struct geometry geometry;   /* of the array, or of each part */
	struct oracle oracle;
	unsigned drives;
	struct sim_drive drive[DRIVES_MAX];
	struct fleet *fleet; /* in their place; NULL: there is none */
	bool absent[DRIVES_MAX];
	/* Which slot a drive belongs to, also while it is rebuilt or replaces another. */
	uint8_t slot_of[DRIVES_MAX];
	/* The array must do without no more than tolerance of those that are not good. */
	bool good[MEMBERS_MAX];
	bool beyond;   /* setup->beyond, as long as what died is not back */
	bool flaky;    /* drives have, or had, sectors that cannot be read */
	bool changing; /* membership: between two states that are known */
	bool forsaken; /* started with accepted loss: redundancy is not known to be right */
	bool exposed;  /* redundancy is not right until a resync: a further loss is not covered */

	uint64_t notes
		[2]; /* what the notes may be: as last written, as being written; 0: none yet */

	unsigned ios_left, busy;
	uint64_t errors;  /* requests that got one */
	bool paused;	  /* clients issue nothing */
	uint64_t written; /* first block of the write that was acknowledged last */
	struct client clients[REACTORS];

	/* Countdowns of drive commands; 0: none. */
	unsigned crash_in, kill_in, kill_drive;
	/* Writes of superblocks and maps at which it crashes, if it may. */
	unsigned hot_per_thousand;
	atomic_bool *cancel; /* kill_in cancels a sweep instead */
	void (*crash)(struct world *world);
	/* Which allocation fails while the array is started; 0: none. */
	uint64_t fail_allocation;
	bool fail_for_ever;
};

extern struct world *worlds[WORLDS];

/* Once per process. */
void worlds_prepare(void);
/* Arenas as new: where a block lies in them shows in what an NVMe drive is asked. */
void world_renew_memory(void);
/* The engine runs in this world from now on. Returns where it ran. */
struct world *world_enter(struct world *world);

/* Fresh drives, array and clients, in worlds[0]; the same in steps. */
struct world *world_create(const struct setup *setup, uint64_t seed);
struct world *world_create_drives(const struct setup *setup, uint64_t seed);
int world_create_array(struct world *world, struct fail *fail);
void world_begin(struct world *world);
/* A group of reactors, and drives that are there already; no array yet. */
void world_open(struct world *world, uint64_t seed);
/* Stops the array, if it runs, and what is around it; everything must be given back. */
void world_close(struct world *world);

/* Finds the array (any, if the world's uuid is null) on the drives that are there, and starts it.
 * 0 or array_start()'s error. */
int world_start(struct world *world, bool accept_loss, struct fail *fail);
/* Clients' queues; without them nothing can be read or written. */
void world_open_clients(struct world *world);
/* Waits until they are idle first. */
void world_close_clients(struct world *world);
void world_stop(struct world *world);

/* Writes notes; reads them, which must be what they may be. */
int world_write_notes(struct world *world, struct fail *fail);
void world_check_notes(struct world *world);

/* Asks the array which members are in sync, and believes it. */
void world_refresh(struct world *world);
/* Whether a slot has failed that is being replaced: its copy is void, and the sweep that finds out
 * says so. */
bool world_has_void_copy(struct world *world);
unsigned world_bad_in_part(const struct world *world, unsigned part);
/* Slots that may still be lost in the part of this slot. */
static inline unsigned world_part_of(const struct world *world, unsigned slot)
{
	return slot / world->setup->part_members;
}
static inline bool world_can_lose(const struct world *world, unsigned slot)
{
	return !world->exposed &&
	       world_bad_in_part(world, world_part_of(world, slot)) < world->setup->tolerance;
}
/* The drive that has the slot; -1. */
int world_drive_of(const struct world *world, unsigned slot);
/* The slot whose member holds a block of the array as data. */
unsigned world_slot_of_block(const struct world *world, uint64_t block);

/* Whether the drive that has a block of the array as data cannot read it. */
bool world_is_unreadable(const struct world *world, uint64_t block);
/* A drive's block face; its death and return. */
struct blockdev *world_dev(struct world *world, unsigned index);
void world_kill(struct world *world, unsigned index);
void world_revive(struct world *world, unsigned index);

/* Steps until the flag, which must come. */
void world_until(struct world *world, const bool *flag, const char *what);

#endif
