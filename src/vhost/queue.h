/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One virtqueue of a virtio-blk device, served by one reactor.
 *
 *	SET_VRING_*: session thread          reactor
 *	queue_start() -------------------->  poll: take chains -> request -> io_submit()
 *	                                           done -> used element; publish, notify
 *	queue_stop() <---------------------  drained: nothing in flight
 *
 * While a queue runs it belongs to its reactor; otherwise to the session's thread. The spread of
 * queues over reactors is the session's choice.
 */
#ifndef VHOST_QUEUE_H
#define VHOST_QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "block/blockdev.h"
#include "reactor/reactor.h"
#include "vhost/inflight_region.h"
#include "vhost/narrow.h"
#include "virtio/features.h"
#include "virtio/virtq.h"

enum {
	QUEUE_REQUESTS_MAX = 128,	 /* in flight per queue */
	QUEUE_BATCH = 32,		 /* chains taken in one poll */
	QUEUE_TRANSFER_BYTES = 32 << 20, /* of one IN or OUT; drivers send 1 to 4 MiB */
	QUEUE_CLEAR_SEGMENTS = 16,	 /* ranges of one DISCARD or WRITE_ZEROES */
	QUEUE_CLEAR_SECTORS = 64 << 11,	 /* of one range: 64 MiB */
};

/* What one turn can answer: all that was in flight, and what it takes. */
static_assert(QUEUE_REQUESTS_MAX + QUEUE_BATCH <= INFLIGHT_BATCH_MAX, "fits");

struct queue;

struct queue_request {
	struct io io;
	struct narrow_job narrow; /* while io is not whole blocks */
	struct queue *queue;
	uint8_t *status;	     /* in guest memory */
	uint32_t written;	     /* bytes for the used element, without the status */
	unsigned clears, next_clear; /* DISCARD, WRITE_ZEROES: ranges, and the next to be done */
	struct {
		uint64_t sector;
		uint32_t sectors;
		bool unmap;
	} clear[QUEUE_CLEAR_SEGMENTS];
	struct virtq_chain chain;
};

struct queue_counters {
	uint64_t requests, notifications, errors;
	uint64_t held; /* now */
};

/* What becomes of requests that the volume cannot serve while its array is broken (IO_OFFLINE). */
enum queue_offline {
	OFFLINE_FAILS, /* the guest gets an error */
	OFFLINE_HOLDS, /* the guest waits */
	/* They stay unanswered: the front end keeps them, for whoever it connects to next. */
	OFFLINE_LEAVES,
};

/* What all queues of a session share; constant while any queue runs, except writeback. */
struct queue_device {
	const char *controller; /* name, for the log */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct blockdev *dev;
	bool read_only;
	bool holds;	   /* OFFLINE_HOLDS, not OFFLINE_FAILS */
	uint64_t features; /* as negotiated */
	atomic_bool writeback;
	struct guest_memory *memory;
	struct inflight_region *region; /* NULL: the front end does not keep what is in flight */
	struct narrow *narrow;
};

struct queue {
	struct queue_device *device;
	struct reactor *reactor;
	struct poller poller;
	struct virtq ring;		/* tracks what is in flight if the device has a region */
	uint16_t size;			/* of the ring */
	struct blockdev_queue *blocks;	/* the volume, on this reactor */
	int kick_fd, call_fd, error_fd; /* -1: none */
	bool running;
	atomic_bool broken; /* set by the reactor, after reason */
	bool sleeping;	    /* armed: the driver's notification is wanted */
	bool parked;	    /* out of requests: takes no chains until one is done */
	bool draining;	    /* takes only what an earlier life left */
	enum queue_offline offline;
	unsigned in_flight;
	struct list held; /* of struct queue_request, by io.link: in flight, and IO_OFFLINE */
	struct list free; /* of struct queue_request, by io.link */
	struct queue_request *requests;
	unsigned request_count;
	struct queue_counters counters;
	char reason[FAIL_TEXT_BYTES]; /* broken: why */
	struct log_limit log;
};

/* Starts serving: the ring is ready, and has taken up its part of the region if there is one.
 * Session thread. */
int queue_start(struct queue *queue, struct fail *fail);
/* Stops and waits until nothing is in flight or waits to be carried out again; virtq_base() is then
 * the base for a later start. Lets go of the region. Harmless when it does not run. Session
 * thread. */
void queue_stop(struct queue *queue);
/* The front end has gone, or is left: what is held is not answered any more, if the front end keeps
 * it. queue_stop() follows. Session thread. */
void queue_leave_held(struct queue *queue);

/* Ends the request with a virtio-blk status. On the queue's reactor. vhost/blk.c calls it. */
void queue_complete(struct queue_request *request, enum virtio_blk_status status);

/* The request's io is IO_OFFLINE. False: it is to be answered with an error. vhost/blk.c. */
bool queue_hold(struct queue_request *request);

/* The request cannot be answered, not even with an error: the queue breaks. */
void queue_refuse(struct queue_request *request, const struct fail *fail);

/* Writes to a front end's descriptor (-1: none). It was made non-blocking when it came, and
 * whatever a hostile one answers is passed over. */
void signal_fd(int fd);

/* vhost/blk.c: carries out what the chain asks for. */
void blk_execute(struct queue_request *request);

#endif
