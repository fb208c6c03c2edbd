/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtq-bench: what the device's side of a virtqueue costs per read of 4 KiB, in cycles, in either
 * layout, with what is in flight tracked.
 *
 *	[the driver's side, not counted] -> take x batch, put x batch, publish
 *
 * Driver and device share a core and its cache here. Between two cores each line of a ring travels,
 * too: braid-bench vhost has that, with --packed and without.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "benchmark/clock.h"
#include "benchmark/virtqueue.h"
#include "virtio/features.h"
#include "virtio/virtq.h"

enum { ROUNDS = 20001, BATCH_MAX = 128, QUEUE_SIZE = 512, PIECES = 3, BLOCK = 4096 };
enum { RING_BYTES = 64 << 10, MEMORY_BYTES = RING_BYTES + BATCH_MAX * (BLOCK + 256) };
#define GUEST_ADDRESS 0x140000000ull

/* Both sides of one queue. */
struct bench {
	struct virtqueue driver;
	struct virtq device;
	struct guest_memory guest;
	char *memory;
	void *area;
	struct virtq_chain chain[BATCH_MAX];
	uint16_t head[BATCH_MAX];
	uint64_t ticks[ROUNDS];
};

static struct bench bench; /* large */

static uint64_t guest_address(const void *here)
{
	return GUEST_ADDRESS + (uint64_t)((const char *)here - bench.memory);
}

/* Lays out the i-th request: three descriptors, or one that refers to a table of them. */
static uint16_t lay_out(unsigned i, bool indirect)
{
	char *block = bench.memory + RING_BYTES + (size_t)i * BLOCK;
	char *other = bench.memory + RING_BYTES + (size_t)BATCH_MAX * BLOCK + i * 256u;
	const struct virtqueue_piece pieces[PIECES] = {
		{.address = guest_address(other), .bytes = sizeof(struct virtio_blk_header)},
		{.address = guest_address(block), .bytes = BLOCK, .writable = true},
		{.address = guest_address(other + 64), .bytes = 1, .writable = true},
	};
	const struct virtqueue_piece table = {.address = guest_address(other + 128),
		.bytes = PIECES * sizeof(struct virtq_desc),
		.indirect = true};

	if (!indirect)
		return virtqueue_add(&bench.driver, pieces, PIECES);
	virtqueue_fill_table(&bench.driver, other + 128, pieces, PIECES);
	return virtqueue_add(&bench.driver, &table, 1);
}

static int ready(bool packed, bool indirect, struct fail *fail)
{
	struct virtq_setup setup = {
		.packed = packed, .event_idx = true, .indirect = true, .size = QUEUE_SIZE};
	struct virtqueue *driver = &bench.driver;
	int error;

	memset(bench.memory, 0, MEMORY_BYTES);
	memset(bench.area, 0, virtq_area_bytes(packed, QUEUE_SIZE));
	if (virtqueue_init(driver, bench.memory, QUEUE_SIZE, true, packed))
		return fail_set(fail, ENOMEM, "no memory");
	setup.base = driver->base;
	setup.descriptors = packed ? (void *)driver->ring : driver->desc;
	setup.driver = packed ? (void *)driver->driver_event : driver->avail;
	setup.device = packed ? (void *)driver->device_event : driver->used;
	error = virtq_init(&bench.device, &setup, fail);
	if (!error)
		error = virtq_recover(&bench.device, bench.area, QUEUE_SIZE, false, fail);
	for (unsigned i = 0; i < BATCH_MAX && !error; i++)
		bench.head[i] = lay_out(i, indirect);
	virtqueue_disarm(driver);
	return error;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Cycles per chain. */
static double run(unsigned batch)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t begin;
		uint32_t head;

		for (unsigned i = 0; i < batch; i++)
			virtqueue_put(&bench.driver, bench.head[i]);
		virtqueue_expose(&bench.driver);
		begin = clock_ticks();
		for (unsigned i = 0; i < batch; i++)
			if (virtq_take(&bench.device, &bench.guest, &bench.chain[i], NULL) != 1)
				abort();
		for (unsigned i = 0; i < batch; i++)
			virtq_put(&bench.device, &bench.chain[i], BLOCK + 1);
		virtq_publish(&bench.device);
		bench.ticks[round] = clock_ticks() - begin;
		while (virtqueue_reap(&bench.driver, &head, NULL))
			;
	}
	qsort(bench.ticks, ROUNDS, sizeof(bench.ticks[0]), compare);
	return (double)bench.ticks[ROUNDS / 2] / batch;
}

/* Of both layouts, which take turns. */
static int measure(unsigned batch, bool indirect)
{
	double cycles[2];

	for (unsigned packed = 0; packed < 2; packed++) {
		struct fail fail;

		if (ready(packed, indirect, &fail)) {
			fprintf(stderr, "virtq-bench: %s\n", fail.text);
			return 1;
		}
		cycles[packed] = run(batch);
		virtq_release(&bench.device);
		virtqueue_destroy(&bench.driver);
	}
	printf("%-10s %6u %10.1f %10.1f\n", indirect ? "indirect" : "direct", batch, cycles[0],
		cycles[1]);
	return 0;
}

int main(void)
{
	static const unsigned batches[] = {1, 8, 32, 128};
	int status = 0;

	bench.memory = aligned_alloc(BLOCK, MEMORY_BYTES);
	bench.area = aligned_alloc(64, virtq_area_bytes(true, QUEUE_SIZE));
	if (!bench.memory || !bench.area)
		return 1;
	bench.guest.count = 1;
	bench.guest.regions[0] = (struct guest_region){
		.guest_address = GUEST_ADDRESS, .bytes = MEMORY_BYTES, .memory = bench.memory};
	printf("%-10s %6s %10s %10s   (counter cycles per request, medians of %d)\n", "chain",
		"batch", "split", "packed", ROUNDS);
	for (unsigned indirect = 0; indirect < 2; indirect++)
		for (unsigned i = 0; i < ARRAY_SIZE(batches) && !status; i++)
			status = measure(batches[i], indirect);
	free(bench.memory);
	free(bench.area);
	return status;
}
