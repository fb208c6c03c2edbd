/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks on drives, read and erased by a control thread that waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "memory/memory.h"
#include "raid/gpt.h"
#include "raid/superblock.h"
#include "raid/transfer.h"
#include "reactor/reactor.h"

/* The best reason of those that the slots gave: damaged beats absent. */
static void worse(struct fail *fail, const struct fail *slot)
{
	if (!fail->error || (fail->error == ENODATA && slot->error != ENODATA))
		*fail = *slot;
}

/* Looks at the slots of one ring; *found: the newest so far. */
static bool read_ring(struct superblock *newest, bool found, const struct extent *ring,
	const char *memory, struct fail *why)
{
	for (uint64_t at = 0; at < ring->bytes; at += SUPERBLOCK_BYTES) {
		struct superblock one;
		struct fail fail;

		if (superblock_decode(&one, ring->offset + at, memory + at, &fail)) {
			worse(why, &fail);
		} else if (!found || one.generation > newest->generation) {
			*newest = one;
			found = true;
		}
	}
	return found;
}

int superblock_read(struct superblock *superblock, struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, struct fail *fail)
{
	struct extent rings[2];
	struct blockdev_queue *queue;
	struct fail why = {0};
	bool found = false;
	char *memory;
	int error;

	if (!layout_find_superblocks(rings, places, blockdev_bytes(dev)))
		return fail_set(fail, ENODATA, "drive %s is too small for a superblock", dev->name);
	error = blockdev_open_queue(dev, reactor, &queue, fail);
	if (error)
		return error;
	memory = memory_map(rings[0].bytes, NULL);
	if (!memory) {
		error = fail_set(fail, ENOMEM, "no memory to read a superblock");
		goto close_queue;
	}
	for (unsigned i = 0; i < 2; i++) {
		int status = transfer(queue, IO_READ, rings[i].offset, memory, rings[i].bytes);

		if (status)
			fail_set(&why, -status, "cannot read the superblock of drive %s: %s",
				dev->name, strerror(-status));
		else
			found = read_ring(superblock, found, &rings[i], memory, &why);
	}
	if (!found && why.error == ENODATA && gpt_is_ours(dev, reactor, places))
		error = fail_set(fail, EILSEQ,
			"drive %s: its partition table says that it is a member of a braid array, "
			"but its superblocks are gone",
			dev->name);
	else if (!found)
		error = fail_set(fail, why.error, "drive %s: %s", dev->name, why.text);
	else if (superblock->member_bytes > blockdev_bytes(dev))
		error = fail_set(fail, EILSEQ,
			"drive %s has %llu bytes, its superblock was written when it had %llu: it "
			"has "
			"shrunk",
			dev->name, (unsigned long long)blockdev_bytes(dev),
			(unsigned long long)superblock->member_bytes);
	memory_unmap(memory, rings[0].bytes);
close_queue:
	blockdev_close_queue(queue);
	return error;
}

/* --- erasing --------------------------------------------------------------------------------- */

enum { RINGS_MAX = 6 };

/* All rings that a drive may have: where they are today, and where its superblocks say that B was
 * before it grew. */
struct erasure {
	struct blockdev_queue *queue;
	struct extent ring[RINGS_MAX]; /* A first */
	unsigned rings;
	unsigned slot;	/* of the newest superblock, in every ring */
	char *page_run; /* ring[0].bytes; zeros once everything has been read */
};

static void add_ring(struct erasure *erasure, const struct extent *ring)
{
	uint64_t bytes = MIN(ring->bytes, erasure->ring[0].bytes);

	for (unsigned i = 0; i < erasure->rings; i++)
		if (erasure->ring[i].offset == ring->offset)
			return;
	if (erasure->rings < RINGS_MAX &&
		ring->offset + bytes <= blockdev_bytes(erasure->queue->dev))
		erasure->ring[erasure->rings++] = (struct extent){ring->offset, bytes};
}

/* What cannot be read, or makes no sense, tells of no further ring. */
static void find_rings(struct erasure *erasure, const struct extent rings[2])
{
	struct superblock newest = {.generation = 0}, one;

	erasure->ring[0] = rings[0];
	erasure->rings = 1;
	add_ring(erasure, &rings[1]);
	for (unsigned i = 0; i < erasure->rings; i++) {
		const struct extent ring = erasure->ring[i];
		char *memory = erasure->page_run;

		if (transfer(erasure->queue, IO_READ, ring.offset, memory, ring.bytes))
			continue;
		for (uint64_t at = 0; at < ring.bytes; at += SUPERBLOCK_BYTES) {
			if (superblock_decode(&one, ring.offset + at, memory + at, NULL))
				continue;
			add_ring(erasure, &one.layout.superblocks[1]);
			if (one.generation < newest.generation)
				continue;
			newest = one;
			erasure->slot = (unsigned)(at / SUPERBLOCK_BYTES);
		}
	}
	memset(erasure->page_run, 0, rings[0].bytes);
}

static int write_zeros(
	struct erasure *erasure, const struct extent *ring, uint64_t from, uint64_t to)
{
	to = MIN(to, ring->bytes);
	if (from >= to)
		return 0;
	return transfer(
		erasure->queue, IO_WRITE, ring->offset + from, erasure->page_run, to - from);
}

/* The newest superblock goes last: a crash in the middle leaves it, or none, but never one of those
 * before it, which would tell an old story. */
static int erase_older(struct erasure *erasure)
{
	uint64_t newest = (uint64_t)erasure->slot * SUPERBLOCK_BYTES;
	int error = 0;

	for (unsigned i = 0; i < erasure->rings && !error; i++) {
		const struct extent *ring = &erasure->ring[i];

		error = write_zeros(erasure, ring, 0, newest);
		if (!error)
			error = write_zeros(erasure, ring, newest + SUPERBLOCK_BYTES, ring->bytes);
	}
	return error;
}

static int erase_newest(struct erasure *erasure)
{
	uint64_t newest = (uint64_t)erasure->slot * SUPERBLOCK_BYTES;
	int error = 0;

	for (unsigned i = erasure->rings; i-- && !error;)
		error = write_zeros(erasure, &erasure->ring[i], newest, newest + SUPERBLOCK_BYTES);
	return error;
}

int superblock_erase(struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, struct fail *fail)
{
	struct erasure erasure = {.slot = 0};
	struct extent rings[2];
	int error;

	if (!layout_find_superblocks(rings, places, blockdev_bytes(dev)))
		return 0;
	error = blockdev_open_queue(dev, reactor, &erasure.queue, fail);
	if (error)
		return error;
	erasure.page_run = memory_map(rings[0].bytes, NULL);
	if (!erasure.page_run) {
		error = fail_set(fail, ENOMEM, "no memory to erase a superblock");
		goto close_queue;
	}
	find_rings(&erasure, rings);
	error = erase_older(&erasure);
	if (!error)
		error = gpt_erase(dev, reactor, places, fail) ? -EIO : 0;
	if (!error)
		error = erase_newest(&erasure);
	if (error)
		error = fail_set(fail, -error, "cannot erase the superblock of drive %s: %s",
			dev->name, strerror(-error));
	memory_unmap(erasure.page_run, rings[0].bytes);
close_queue:
	blockdev_close_queue(erasure.queue);
	return error;
}
