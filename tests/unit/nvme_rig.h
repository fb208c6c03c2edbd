/* SPDX-License-Identifier: Apache-2.0 */
/* The NVMe driver over the mock controller, in simulation; the test is the watcher. */
#ifndef TESTS_UNIT_NVME_RIG_H
#define TESTS_UNIT_NVME_RIG_H

#include "device.h"

#include "drivers/nvme/controller.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"
#include "tests/mock_nvme/mock.h"

enum { SPACE_BYTES = 4 << 20, JOBS_MAX = 2000 };

extern struct mock *mock;
extern struct nvme *nvme;
extern char *space; /* registered for DMA, SPACE_BYTES */

/* An io in flight; at its end the mock must not hold its memory any more. */
struct job {
	struct io io;
	struct iovec iov;
	unsigned completions;
	uint64_t done_at_ns;
};

/* Setup and teardown: reactors, arenas, memory, a mock. */
int rig_start(void **state);
/* Three reactors and a drive with one queue: the test's reactor is one that has none. */
int rig_start_relayed(void **state);
int rig_stop(void **state);

/* Rows of a table of tests. */
#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_start, rig_stop)
#define RELAYED_RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_start_relayed, rig_stop)

/* Brings the controller up and opens a queue of its first device. */
void rig_attach(uint32_t block_bytes);
void rig_detach(void);
/* Only the controller: 0 or the error, with its sentence. */
int rig_try(struct fail *fail);

/* An io of one piece of memory. */
struct job *rig_job(
	struct job *job, enum io_kind kind, void *memory, uint64_t block, uint32_t blocks);
/* Submits; rig_wait() waits for all, and watches. */
void rig_submit(struct job *jobs, unsigned count);
void rig_wait(void);
/* Lets that much virtual time pass, watching. */
void rig_pass(uint64_t ns);
/* One io from beginning to end; its status. */
int rig_io(enum io_kind kind, void *memory, uint64_t block, uint32_t blocks);
/* Takes all events; how many were of the kind. */
unsigned rig_events(enum nvme_event_kind kind);

#endif
