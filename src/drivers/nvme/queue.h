/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue pair of one controller on one reactor, shared by the controller's devices.
 *
 * An io takes a slot and is carried out in steps, one command each:
 *
 *	             more blocks, try again
 *	             +-----------------+
 *	             v                 |
 *	waiting -> STEP -> SENT --> completion --> io->done()
 *	             |      ^
 *	             +-> HELD, until the tick, or until there is memory to bounce through
 *
 * Commands go into the ring at once; the doorbell rings once per turn.
 *
 *	OPEN <--> STOPPED --> DEAD       the watcher stops and goes on, by reactor_call()
 *
 * On a reactor without a queue pair a device's queue is a relay (relay.c): it takes part in nothing
 * of this, and is `blocked` for ever, so that whoever is not does not have to ask.
 *
 * A STOPPED queue touches neither ring nor doorbell; ios wait, commands stay SENT. All belongs to
 * the reactor; while STOPPED the control thread that holds the controller's lock may reset the
 * ring.
 */
#ifndef DRIVERS_NVME_QUEUE_H
#define DRIVERS_NVME_QUEUE_H

#include "drivers/nvme/controller.h"
#include "memory/dma.h"

enum { NVME_SLOTS_MAX = NVME_QUEUE_ENTRIES - 1, NVME_TRIES_MAX = 4, NVME_OVERDUE_MAX = 4 };

/* A command's id is its slot's index and, above it, a count of the slot's uses: so that an answer
 * that comes twice does not complete the next command of the slot. */
enum { NVME_ID_INDEX_BITS = 8, NVME_ID_INDEX_MASK = (1 << NVME_ID_INDEX_BITS) - 1 };

static_assert(
	(int)NVME_SLOTS_MAX <= (int)NVME_ID_INDEX_MASK, "id 0xffff is never used: base 4.1.1");

enum nvme_slot_state { NVME_SLOT_FREE, NVME_SLOT_HELD, NVME_SLOT_SENT };
enum nvme_queue_state { NVME_QUEUE_OPEN, NVME_QUEUE_STOPPED, NVME_QUEUE_DEAD };

struct nvme_device_queue {
	struct blockdev_queue base;
	bool blocked;		  /* dead or queue not OPEN: ios do not go straight on */
	uint8_t lba_shift;	  /* from blocks to LBAs */
	uint8_t block_shift;	  /* from blocks to bytes */
	struct nvme_command read; /* templates */
	struct nvme_command write;
	struct nvme_queue *queue;
	struct nvme_device *device;
	struct nvme_relay *relay; /* NULL: the reactor has a queue pair, and that is `queue` */
	struct list waiting;	  /* of struct io, for a slot; of a relay: for a parcel */
	struct list_node link;
	int dead_status; /* 0: alive */
};

struct nvme_slot {
	struct io *io;
	struct nvme_device_queue *owner;
	uint64_t sent_ns;
	uint32_t done_blocks, step_blocks;
	uint16_t id;
	uint8_t state; /* enum nvme_slot_state */
	uint8_t tries;
	void *bounce; /* of this step; NULL: none */
	le64 *list;   /* PRPs, an SGL, or the range of a DATASET MANAGEMENT */
	uint64_t list_iova;
	struct list_node link; /* HELD */
};

struct nvme_queue {
	struct poller poller;
	struct nvme *nvme;
	struct reactor *reactor;
	struct nvme_ring ring;
	uint16_t id;
	enum nvme_queue_state state;
	unsigned slot_count, in_flight, waiting;
	struct dma_cache cache;
	/* For when the arena is used up, by ios that wait for one which has to be bounced. */
	void *bounce;
	uint64_t bounce_iova;
	bool bounce_used;
	struct list held;    /* of struct nvme_slot: to be tried again, at the tick */
	struct list starved; /* of struct nvme_slot: for bounce memory */
	struct list owners;  /* of struct nvme_device_queue */
	struct timer tick;
	bool ticking;
	int dead_status;
	unsigned free_count;
	uint16_t free[NVME_SLOTS_MAX];
	struct nvme_slot slots[NVME_SLOTS_MAX];
};

/* --- queue.c --------------------------------------------------------------------------------- */

/* Control thread. index: of the reactor; memory: NVME_QUEUE_BYTES. */
struct nvme_queue *nvme_queue_create(
	struct nvme *nvme, unsigned index, struct reactor *reactor, unsigned entries);
void nvme_queue_destroy(struct nvme_queue *queue);
/* Before the controller is told of it: STOPPED, or nobody uses it. */
void nvme_queue_reset(struct nvme_queue *queue);

/* On the reactor. */
void nvme_queue_stop(struct nvme_queue *queue);
/* What was in flight is submitted again. */
void nvme_queue_go(struct nvme_queue *queue);
/* Every io ends with status, now and from now on. */
void nvme_queue_kill(struct nvme_queue *queue, int status);
void nvme_queue_fail_device(struct nvme_queue *queue, struct nvme_device *device, int status);
/* Ids of commands that are past their deadline. */
unsigned nvme_queue_overdue(struct nvme_queue *queue, uint16_t ids[NVME_OVERDUE_MAX]);

/* A device begins and ends to use it. owner->device is set, the rest is filled in. */
void nvme_queue_join(struct nvme_queue *queue, struct nvme_device_queue *owner);
void nvme_queue_leave(struct nvme_device_queue *owner);

extern const struct blockdev_ops nvme_ops;

/* --- relay.c: on the reactor without a queue pair -------------------------------------------- */

/* To a queue of another reactor; NULL: no memory. */
struct nvme_device_queue *nvme_relay_open(
	struct nvme_device *device, struct reactor *reactor, struct nvme_queue *queue);
void nvme_relay_close(struct nvme_relay *relay);
void nvme_relay_submit(struct nvme_relay *relay, struct io *io);

/* --- command.c ------------------------------------------------------------------------------- */

void nvme_command_templates(struct nvme_device_queue *owner);

enum nvme_step {
	NVME_STEP_SENT,	   /* the command is in *entry */
	NVME_STEP_NOTHING, /* nothing to ask of the drive */
	NVME_STEP_LATER,   /* no memory to bounce through */
};

/* Makes the command of the slot's next step, and sets step_blocks. */
enum nvme_step nvme_command_make(
	struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry);
/* scatter.c: covers the next step's data by an SGL, if the controller takes them and that covers
 * more than `more_than` bytes, up to `wanted`; sets step_blocks. False: nothing is changed. */
bool nvme_scatter(struct nvme_queue *queue, struct nvme_slot *slot, struct nvme_command *entry,
	size_t wanted, size_t more_than);
/* Gives back what the step used; succeeded: what was read goes to the io. */
void nvme_command_end(struct nvme_queue *queue, struct nvme_slot *slot, bool succeeded);

#endif
