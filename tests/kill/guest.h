/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that knows what it has written: requests over vhost-user, kept in an inflight region over
 * the deaths of the back end, each completed exactly once; and for every unit of its span what a
 * read may bring.
 *
 *	settled            acknowledged, and the only content that is right
 *	in doubt           the guest itself died while a write was in flight: settled or pending,
 *	                   until a read has shown which; from then on that one, for ever
 *
 * Contents are generations: a stamp (benchmark/stamp.h), or zeros.
 */
#ifndef TESTS_KILL_GUEST_H
#define TESTS_KILL_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "benchmark/frontend.h"

enum {
	GUEST_UNIT_BYTES = 4096,
	GUEST_SEGMENTS = 4, /* places of the disk that are written, apart from each other */
	GUEST_SEGMENT_UNITS = 768,
	GUEST_UNITS = GUEST_SEGMENTS * GUEST_SEGMENT_UNITS,
	GUEST_REQUESTS = 32,
	GUEST_REQUEST_UNITS = 32, /* at most in one request */
	GUEST_QUEUES_MAX = 2,
	GUEST_QUEUE_SIZE = 128,
};

struct guest_unit {
	uint32_t settled, pending; /* generations */
	bool busy, doubt;
};

struct guest_request {
	uint32_t type;
	unsigned queue;
	uint16_t head; /* VIRTQUEUE_NO_HEAD: idle */
	unsigned unit, count;
	uint32_t generation;
	struct virtio_blk_header *header;
	struct virtio_blk_segment *segment;
	uint8_t *data, *status;
};

/* What it does between checks. */
struct guest_load {
	unsigned depth; /* up to GUEST_REQUESTS */
	unsigned read_percent;
	unsigned units_max; /* per request */
	unsigned hot_units; /* only so many of each segment */
	unsigned zeroes_percent, flush_percent;
};

struct guest {
	char path[108];
	struct frontend frontend;
	bool has_memory; /* rings and requests are there: the next connection goes on with them */
	bool connected;
	unsigned queues;
	struct random random;
	uint64_t seed;
	uint32_t generation;		       /* newest */
	uint64_t segment_unit[GUEST_SEGMENTS]; /* where each begins on the disk, in units */
	struct guest_unit unit[GUEST_UNITS];
	struct guest_request request[GUEST_REQUESTS];
	unsigned in_flight;

	uint64_t completed, checked, resubmitted, wrong, errors;
	struct fail first; /* what was wrong first */
};

/* queues: 1 or 2. The disk holds zeros. */
void guest_init(struct guest *guest, const char *path, uint64_t seed, unsigned queues);
/* A new session, and with what was in flight if the guest lives. -errno: not now. */
int guest_connect(struct guest *guest, struct fail *fail);
/* Each of these: 0, -ECONNRESET: the back end has gone, -EILSEQ: something is wrong, see `first`,
 * -ETIMEDOUT: nothing is completed any more. */
int guest_drain(struct guest *guest);
/* Reads all units. */
int guest_verify(struct guest *guest);
int guest_run(struct guest *guest, const struct guest_load *load, uint64_t us);
/* After -ECONNRESET: takes what the back end had completed, and hangs up. */
void guest_cut(struct guest *guest);
/* The guest loses its memory. */
void guest_die(struct guest *guest);

#endif
