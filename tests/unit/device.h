/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One block device under test: on a simulated reactor, or on a thread with an arena. A request is
 * submitted on the reactor and waited for; a completion that comes twice, or elsewhere, is a
 * failure.
 */
#ifndef TESTS_UNIT_DEVICE_H
#define TESTS_UNIT_DEVICE_H

#include "unit.h"

#include "block/blockdev.h"
#include "reactor/reactor.h"

enum { BLOCK = 4096 };

struct request {
	struct io io;
	struct iovec iov;
	unsigned completions;
	uint64_t done_at_ns;
};

extern struct reactor_group *group;
extern struct reactor *reactor;
extern struct blockdev *dev; /* set by the test */
extern struct blockdev_queue *queue;

/* cmocka's set-up and tear-down. */
int start_simulation(void **state);
int start_simulation_of(unsigned reactors); /* the test's is the first one */
int stop_simulation(void **state);
int start_thread(void **state);
int stop_thread(void **state);

void open_device(void);
void close_device(void);

/* Submits all at once, in one turn, and waits for all. */
void run_batch(struct request *batch, unsigned count);
/* These return the status. */
int run_io(struct io io);
int transfer(enum io_kind kind, void *memory, uint64_t block, uint32_t blocks);
int clear(enum io_kind kind, uint64_t block, uint32_t blocks, bool may_unmap);

/* Bytes that are never zero. */
void fill(void *memory, size_t bytes, uint64_t seed);

/* Random requests of all kinds on a device that holds zeros, against a copy in memory. Buffers come
 * in multiples of `unit`, requests of up to `blocks_max` blocks. */
void check_against_model(uint64_t seed, unsigned steps, unsigned unit, uint32_t blocks_max);
/* What lies outside is refused. */
void check_range_errors(void);

#endif
