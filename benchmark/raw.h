/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport of a load straight into block devices, on one reactor: a lane.
 *
 *	reactor's poller --> load_poll() --submit--> io_submit(queue, io)
 *	                     load_done() <--done()-- (inside io_submit(), or in a later turn)
 *
 * Over an array there is one queue. Over its members there are several, and the lane spreads the
 * requests over them round-robin, whole: request number n of the device (offset / block size) is
 * block n / members of member n % members. That is what the drives can do without any RAID.
 */
#ifndef BENCH_RAW_H
#define BENCH_RAW_H

#include <semaphore.h>
#include <stdatomic.h>

#include "benchmark/allocations.h"
#include "benchmark/engine.h"
#include "benchmark/load.h"
#include "reactor/reactor.h"

struct raw_slot;

/* The reactor's while it runs, the control thread's before and after. */
struct raw_lane {
	struct load_transport transport;
	struct poller poller;
	struct reactor *reactor;
	struct load *load;
	struct blockdev_queue *queue[RAID_MEMBERS_MAX];
	unsigned queues;
	uint32_t block_bytes;	/* of the requests */
	struct raw_slot *slots; /* owned */
	uint8_t *buffers;	/* owned */
	size_t buffers_bytes;
	uint64_t warm; /* completions after which allocations are counted */
	_Atomic uint64_t completions;
	struct allocations allocations;
	uint64_t cpu_ns; /* of the reactor's thread, while the load ran */
	sem_t *finished; /* posted once when the load has */
};

/* Opens queues on the reactor and makes the load. 0 or -errno with a sentence. */
int raw_lane_open(struct raw_lane *lane, const struct engine *engine, unsigned reactor_index,
	const struct load_spec *spec, struct fail *fail);
void raw_lane_close(struct raw_lane *lane);

/* Runs the loads of all lanes at once, to their end. -ETIMEDOUT when nothing has completed for
 * 30 s: then requests are still in flight and nothing may be closed. */
int raw_lanes_run(struct raw_lane *lanes, unsigned count, struct fail *fail);

/* What the device offers a load with requests of block_bytes: capacity and unit. */
void raw_measure(
	struct load_transport *transport, const struct engine *engine, uint32_t block_bytes);

#endif
