/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the NVMe driver.
 *
 *	control threads                                 reactors
 *	control.c  logs, format ---+
 *	watch.c    the watcher ----+--> admin.c --> [admin queue]
 *	start.c    bring-up -------+
 *	                           +--- reactor_call: stop, go on ---> queue.c  [queue pair i]
 *	                                                               command.c  io -> commands
 *	                                         without a queue pair: relay.c -> one that has it
 *
 * A controller is
 *
 *	         trouble                   ours again
 *	LIVE ------------> RESETTING ----------------> LIVE
 *	  |                    +--- cannot, other drive, too often --> FAILED
 *	  +--- all ones, removed --> GONE
 *
 * While RESETTING, queues hold their ios. What was in flight is submitted again, or failed, only
 * after the controller is disabled: until then the drive may write into the io's memory.
 *
 * Locks: `lock` is held over everything that uses the admin queue, changes the state, or starts and
 * stops queues; it is never taken on a reactor. `note_lock` guards what others look at (state,
 * reason, events, identities) against those who hold `lock` and change it; it is held for moments.
 */
#ifndef DRIVERS_NVME_CONTROLLER_H
#define DRIVERS_NVME_CONTROLLER_H

#include <pthread.h>
#include <stdatomic.h>

#include "block/blockdev.h"
#include "drivers/drivers.h"
#include "drivers/nvme/bus.h"
#include "drivers/nvme/wire.h"
#include "reactor/reactor.h"

enum {
	NVME_PAGE_BYTES = 4096,
	NVME_ADMIN_ENTRIES = 32,
	NVME_ADMIN_EVENTS = 4, /* asynchronous event requests that wait at the controller */
	NVME_QUEUE_ENTRIES = 256,
	NVME_DEADLINE_MS = 8000,
	NVME_ADMIN_DEADLINE_MS = 30000,
	NVME_FIRMWARE_DEADLINE_MS = 120000,
	NVME_ABORT_DEADLINE_MS = 2000,
	NVME_RESETS_PER_HOUR = 3,
	NVME_DISABLE_MAX_MS = 30000, /* whatever CAP.TO says */
	NVME_READY_MAX_MS = 60000,
};

/* What reactors tell the watcher. */
enum {
	NVME_TROUBLE_OVERDUE = 1 << 0,	 /* an io has passed its deadline */
	NVME_TROUBLE_GARBAGE = 1 << 1,	 /* completions that make no sense */
	NVME_TROUBLE_NAMESPACE = 1 << 2, /* a namespace is not what it was */
	NVME_TROUBLE_ADMIN = 1 << 3,	 /* an admin command was not answered */
};

/* A queue pair in memory; the same for admin and I/O. */
struct nvme_ring {
	struct nvme_command *submission;
	volatile struct nvme_completion *completion;
	uint64_t submission_iova, completion_iova;
	volatile uint32_t *submission_doorbell, *completion_doorbell;
	uint16_t entries;
	uint16_t tail;	/* next free submission entry */
	uint16_t rung;	/* tail that the controller knows */
	uint16_t head;	/* next completion entry to look at */
	uint16_t phase; /* its phase bit when it is new */
};

/* A namespace as a block device. Fields change only while no queue is open, or not at all. */
struct nvme_device {
	struct blockdev dev;
	struct nvme *nvme;
	struct nvme_namespace namespace;
	unsigned lba_shift, block_shift;
	bool dataset, write_zeroes, write_zeroes_deallocates;
	uint32_t zeroes_blocks, dataset_blocks; /* per command; blocks of dev */
	atomic_bool failed;
};

struct nvme_admin {
	struct nvme_ring ring;
	char *page; /* data of the one command at a time */
	uint64_t page_iova;
	uint16_t awaited; /* id of the command at the controller */
	bool answered;
	struct nvme_completion answer;
	unsigned events_waiting; /* at the controller: a bit for each id */
	unsigned event_limit;
	unsigned event_count;
	uint32_t events[NVME_ADMIN_EVENTS * 2]; /* DW0 of those that have come */
};

struct nvme_queue; /* queue.h */

/* What the drive reaches of us beside the data: one region for all queues of a controller. */
enum {
	NVME_ZERO_PAGE = 0, /* nobody writes into it: what zeros are written from */
	NVME_ADMIN_PAGE = NVME_PAGE_BYTES,
	NVME_ADMIN_SUBMISSION = 2 * NVME_PAGE_BYTES,
	NVME_ADMIN_COMPLETION = 3 * NVME_PAGE_BYTES,
	NVME_QUEUES = 4 * NVME_PAGE_BYTES, /* queue 0, queue 1, ... */
	/* within a queue */
	NVME_QUEUE_SUBMISSION = 0,
	NVME_QUEUE_COMPLETION = NVME_QUEUE_ENTRIES * sizeof(struct nvme_command),
	NVME_QUEUE_LISTS =
		NVME_QUEUE_COMPLETION + NVME_QUEUE_ENTRIES * sizeof(struct nvme_completion),
	NVME_LIST_BYTES = 512, /* PRPs of one command, or its SGL */
	NVME_LIST_ENTRIES = NVME_LIST_BYTES / sizeof(le64),
	NVME_SGL_ENTRIES = NVME_LIST_BYTES / sizeof(struct nvme_sgl),
	NVME_QUEUE_BOUNCE = NVME_QUEUE_LISTS + NVME_QUEUE_ENTRIES * NVME_LIST_BYTES,
	NVME_BOUNCE_BYTES = 32 << 10,
	NVME_QUEUE_BYTES = NVME_QUEUE_BOUNCE + NVME_BOUNCE_BYTES,
};

static_assert(NVME_QUEUE_COMPLETION % NVME_PAGE_BYTES == 0, "rings begin on pages");
static_assert(NVME_QUEUE_BYTES % NVME_PAGE_BYTES == 0, "rings begin on pages");
static_assert(NVME_PAGE_BYTES % NVME_LIST_BYTES == 0, "no list crosses a page");

struct nvme {
	struct nvme_bus *bus; /* NULL: gone */
	pthread_mutex_t lock;
	struct nvme_options options;
	struct nvme_identity identity;
	char serial[21];		/* when it was attached: of this drive, and no other */
	char former[VFIO_DRIVER_BYTES]; /* driver */
	char *memory;			/* registered for DMA */
	size_t memory_bytes;
	uint64_t memory_iova;
	uint64_t cap;
	unsigned entries;	 /* of every I/O ring */
	uint32_t transfer_bytes; /* per command */
	uint8_t sgl_unit;	 /* SGLs: what addresses and lengths are multiples of; 0: none */
	uint32_t zeroes_bytes;	 /* per WRITE ZEROES; 0: no limit */
	uint32_t dataset_lbas;	 /* per range; 0: no limit */
	uint16_t io_commands;
	uint8_t format_attributes, log_attributes, abort_limit;
	unsigned activation_ms; /* it may take so long to begin with new firmware */
	char *piece; /* of firmware, registered for DMA; NULL: none was handed over yet */
	size_t piece_bytes;
	bool admin_stuck; /* until a reset */
	struct nvme_admin admin;
	/* Queue pairs, as of the first start; where they are fewer than reactors, relay.c helps. */
	unsigned queue_count;
	unsigned first_reactor; /* has queues[0], its neighbour queues[1], ... */
	struct nvme_queue *queues[REACTORS_MAX];
	unsigned device_count;
	struct nvme_device *devices[NVME_NAMESPACES_MAX];
	atomic_uint open_queues; /* of devices */
	uint64_t resets_at_ns[NVME_RESETS_PER_HOUR];
	unsigned resets;

	atomic_uint trouble;
	int wake_fd; /* eventfd: the watcher should look; -1 in simulation */
	bool watching;
	atomic_bool stop;
	pthread_t watcher;

	pthread_mutex_t note_lock;
	enum nvme_state state;
	char reason[FAIL_TEXT_BYTES];
	struct nvme_event happened[NVME_EVENTS_MAX];
	unsigned happened_first, happened_count;
};

/* --- admin.c: with the lock ------------------------------------------------------------------ */

/* The ring empty, as the controller expects it after a reset. */
void nvme_admin_reset(struct nvme *nvme);
/* Executes one command and waits; the command's data, if any, is one page at nvme->admin.page. 0,
 * or -errno with a sentence about `what`; *result (may be NULL): DW0. */
int nvme_admin_execute(struct nvme *nvme, struct nvme_command *command, const char *what,
	uint32_t *result, struct fail *fail);
/* The same with another deadline. */
int nvme_admin_execute_for(struct nvme *nvme, struct nvme_command *command, uint64_t deadline_ms,
	const char *what, uint32_t *result, struct fail *fail);
/* Looks whether asynchronous events have come. */
void nvme_admin_reap(struct nvme *nvme);
/* Keeps asynchronous event requests at the controller. */
void nvme_admin_await_events(struct nvme *nvme);

/* --- start.c: with the lock ------------------------------------------------------------------ */

bool nvme_answers(struct nvme *nvme);
/* Reads what the registers say of its abilities; the first time, the size of its queues follows. */
int nvme_check(struct nvme *nvme, struct fail *fail);
/* From any state to a controller that takes I/O on all queues. */
int nvme_start(struct nvme *nvme, struct fail *fail);
/* To a controller that is disabled: no DMA from now on. -EIO: it does not let itself be. */
int nvme_disable(struct nvme *nvme);
/* Normal shutdown, then disabled. */
void nvme_shut_down(struct nvme *nvme);

/* --- namespaces.c: with the lock ------------------------------------------------------------- */

/* Makes a device of every usable namespace. */
int nvme_find_devices(struct nvme *nvme, struct fail *fail);
/* Asks for the namespace of a device, into *now. */
int nvme_identify_device(
	struct nvme *nvme, uint32_t nsid, struct nvme_device *now, struct fail *fail);
/* 0 while `now` may serve what `was` served; otherwise the sentence says what has changed. */
int nvme_same_device(
	const struct nvme_device *was, const struct nvme_device *now, struct fail *fail);

/* --- firmware.c: no command is at the controller --------------------------------------------- */

void nvme_piece_unmap(struct nvme *nvme);

/* --- watch.c --------------------------------------------------------------------------------- */

/* One look: events, trouble, removal. The watcher's loop; in simulation, the test's. */
void nvme_watch(struct nvme *nvme);
void *nvme_watcher(void *nvme);
void nvme_trouble(struct nvme *nvme, unsigned trouble); /* any thread */
void nvme_note(struct nvme *nvme, enum nvme_event_kind kind, uint32_t nsid, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* --- attach.c -------------------------------------------------------------------------------- */

/* Takes the bus, in every case. threaded: with a watcher of its own. */
int nvme_create(struct nvme **nvme, struct nvme_bus *bus, const struct nvme_options *options,
	bool threaded, struct fail *fail);
void nvme_destroy(struct nvme *nvme);

static inline uint64_t nvme_now_ns(struct nvme *nvme)
{
	return nvme->bus->ops->now_ns(nvme->bus);
}

#endif
