/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvme-bench: what the NVMe driver itself costs per 4 KiB read, in cycles, at several batches.
 *
 *	submit x batch, doorbell -> [the drive, not counted] -> poll: completions, done()
 *
 * The drive is the mock of the tests for everything but the reads, which are answered at once by a
 * loop that does nothing else. Registers are ordinary memory here: on hardware a doorbell is an
 * uncached write, which takes the CPU longer, twice per batch; and the completion entries come from
 * a cache that is further away.
 *
 * The second table is a reactor without a queue pair, whose reads another one carries: what both
 * execute, in one thread; lines that travel between two cores come on top.
 *
 * The third is 16 KiB whose pieces are not whole pages, one after the other, with the time that the
 * answering loop takes: with SGLs, and without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/log.h"
#include "benchmark/clock.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"
#include "reactor/internal.h"
#include "reactor/sim.h"
#include "tests/mock_nvme/mock.h"

enum {
	ROUNDS = 20001,
	BATCH_MAX = 128,
	ARENA_BYTES = 4 << 20,
	SPACE_BYTES = 4 << 20,
	REACTORS = 2
};

static struct blockdev_queue *queue;
static struct nvme_queue *pair;
static char *space;
static struct io ios[BATCH_MAX];
static struct iovec iovs[BATCH_MAX];
static unsigned done;
static struct reactor *guest; /* NULL: the queue pair is the reactor's own */

struct result {
	uint64_t submit[ROUNDS], complete[ROUNDS];
};

static void io_done(struct io *io)
{
	done += !io->status;
}

/* Answers everything that the doorbell tells of. */
static void answer(uint32_t *head, uint32_t *phase, uint32_t *tail)
{
	struct nvme_ring *ring = &pair->ring;

	while (*head != ring->rung) {
		const struct nvme_command *command = &ring->submission[*head];
		volatile struct nvme_completion *entry = &ring->completion[*tail];

		*head = (*head + 1) % ring->entries;
		entry->dw0 = (le32){0};
		entry->sq_head = le16_of((uint16_t)*head);
		entry->sq_id = le16_of(pair->id);
		entry->id = command->id;
		entry->status = le16_of((uint16_t)*phase);
		*tail = (*tail + 1) % ring->entries;
		*phase ^= !*tail;
	}
}

/* What the reactor with the queue pair does in one turn. */
static void serve(void)
{
	if (guest) {
		reactor_sim_leave();
		reactor_sim_return(pair->reactor);
		reactor_run_mailbox(pair->reactor);
	}
	pair->poller.poll(&pair->poller);
	if (guest) {
		reactor_sim_leave();
		reactor_sim_return(guest);
	}
}

static unsigned batch_now;
static struct result result;

static int run(void *argument)
{
	uint32_t head = pair->ring.rung, phase = pair->ring.phase, tail = pair->ring.head;
	uint64_t start, middle, end;
	unsigned place = 0;

	(void)argument;
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < batch_now; i++) {
			place = (place + 1) % (SPACE_BYTES / 4096);
			iovs[i] = (struct iovec){space + (size_t)place * 4096, 4096};
			ios[i] = (struct io){.kind = IO_READ,
				.block = round % 1000,
				.blocks = 1,
				.iov = &iovs[i],
				.iovs = 1,
				.done = io_done};
		}
		done = 0;
		start = clock_ticks();
		for (unsigned i = 0; i < batch_now; i++)
			io_submit(queue, &ios[i]);
		serve();
		middle = clock_ticks();
		answer(&head, &phase, &tail);
		end = clock_ticks();
		serve();
		if (guest)
			reactor_run_mailbox(guest);
		result.complete[round] = clock_ticks() - end;
		result.submit[round] = middle - start;
		if (done != batch_now) {
			fprintf(stderr, "nvme-bench: %u of %u reads succeeded\n", done, batch_now);
			return 1;
		}
	}
	return 0;
}

/* --- pieces that are no pages ---------------------------------------------------------------- */

enum { SCATTERED_BYTES = 16384, PIECES_MAX = 16 };

static size_t piece_bytes;

static int run_scattered(void *argument)
{
	uint32_t head = pair->ring.rung, phase = pair->ring.phase, tail = pair->ring.head;
	unsigned pieces = (unsigned)(SCATTERED_BYTES / piece_bytes);
	struct iovec iov[PIECES_MAX];

	(void)argument;
	for (unsigned i = 0; i < pieces; i++)
		iov[i] = (struct iovec){space + i * 8192 + 512, piece_bytes};
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_ticks();

		ios[0] = (struct io){.kind = IO_READ,
			.blocks = SCATTERED_BYTES / 4096,
			.iov = iov,
			.iovs = pieces,
			.done = io_done};
		done = 0;
		io_submit(queue, &ios[0]);
		for (unsigned turns = 0; !done && turns < 2 * PIECES_MAX; turns++) {
			serve();
			answer(&head, &phase, &tail);
		}
		result.submit[round] = clock_ticks() - start;
		if (!done) {
			fprintf(stderr, "nvme-bench: a scattered read did not succeed\n");
			return 1;
		}
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double median(uint64_t *ticks)
{
	qsort(ticks, ROUNDS, sizeof(*ticks), compare);
	return (double)ticks[ROUNDS / 2];
}

static int measure(struct reactor *reactor)
{
	static const unsigned batches[] = {1, 8, 32, 128};
	printf("%s\n", guest ? "through another reactor" : "on a queue pair of its own");
	printf("%6s %14s %16s %12s %8s   (counter cycles per 4 KiB read, medians of %d)\n", "batch",
		"submit", "complete", "together", "ns", ROUNDS);
	for (unsigned i = 0; i < ARRAY_SIZE(batches); i++) {
		double submit, complete, together;

		batch_now = batches[i];
		if (reactor_call(reactor, run, NULL))
			return 1;
		submit = median(result.submit) / batch_now;
		complete = median(result.complete) / batch_now;
		together = submit + complete;
		printf("%6u %14.1f %16.1f %12.1f %8.1f\n", batch_now, submit, complete, together,
			together * (double)clock_ticks_to_ns(1000000) / 1e6);
	}
	return 0;
}

static int measure_scattered(struct reactor *reactor)
{
	static const size_t sizes[] = {4096, 2048, 1024};

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		piece_bytes = sizes[i];
		if (reactor_call(reactor, run_scattered, NULL))
			return 1;
		printf("%6zu bytes a piece: %8.1f ns\n", piece_bytes,
			median(result.submit) * (double)clock_ticks_to_ns(1000000) / 1e6);
	}
	return 0;
}

/* As many queue pairs as `queues`; the reads come from the reactor that is the last to get one. */
static int measure_drive(struct reactor_group *group, unsigned queues, uint32_t sgls,
	int (*measurement)(struct reactor *reactor))
{
	struct nvme_options options = {.group = group};
	struct fail fail = {0};
	struct mock *mock = mock_create(NULL, true);
	struct reactor *reactor;
	struct nvme *nvme;
	int status;

	mock->queues_granted = queues;
	mock->identity.sgls = le32_of(sgls);
	if (nvme_create(&nvme, &mock->bus, &options, false, &fail)) {
		fprintf(stderr, "nvme-bench: %s\n", fail.text);
		return 1;
	}
	reactor = reactor_at(group, (nvme->first_reactor + 1) % REACTORS);
	if (blockdev_open_queue(nvme_device(nvme, 0), reactor, &queue, &fail)) {
		fprintf(stderr, "nvme-bench: %s\n", fail.text);
		return 1;
	}
	pair = nvme->queues[queues - 1];
	guest = pair->reactor == reactor ? NULL : reactor;
	status = measurement(reactor);
	blockdev_close_queue(queue);
	nvme_destroy(nvme);
	mock_destroy(mock);
	return status;
}

int main(void)
{
	struct reactor_group *group = reactor_sim_create(REACTORS, 1);
	struct fail fail = {0};
	int status;

	log_threshold(LOG_LEVEL_ERROR);
	clock_calibrate();
	space = memory_map(SPACE_BYTES, NULL);
	if (!space || memory_start(REACTORS, ARENA_BYTES, &fail) ||
		dma_register(space, SPACE_BYTES, "the benchmark's buffers", &fail)) {
		fprintf(stderr, "nvme-bench: no memory %s\n", fail.text);
		return 1;
	}
	memset(space, 1, SPACE_BYTES);
	status = measure_drive(group, REACTORS, 0, measure) || measure_drive(group, 1, 0, measure);
	printf("16 KiB in pieces, without SGLs\n");
	status = status || measure_drive(group, REACTORS, 0, measure_scattered);
	printf("16 KiB in pieces, with SGLs\n");
	status = status || measure_drive(group, REACTORS, NVME_SGLS_BYTES, measure_scattered);
	dma_unregister(space);
	memory_stop();
	reactor_sim_destroy(group);
	return status;
}
