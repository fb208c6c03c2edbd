/* SPDX-License-Identifier: Apache-2.0 */
/* Superblocks on drives, read and erased by a control thread that waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	if (!found)
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

int superblock_erase(struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, struct fail *fail)
{
	struct extent rings[2];
	struct blockdev_queue *queue;
	char *memory;
	int error;

	if (!layout_find_superblocks(rings, places, blockdev_bytes(dev)))
		return 0;
	error = blockdev_open_queue(dev, reactor, &queue, fail);
	if (error)
		return error;
	memory = memory_map(rings[0].bytes, NULL);
	if (!memory) {
		error = fail_set(fail, ENOMEM, "no memory to erase a superblock");
		goto close_queue;
	}
	error = transfer(queue, IO_WRITE, rings[0].offset, memory, rings[0].bytes);
	if (!error)
		error = transfer(queue, IO_WRITE, rings[1].offset, memory, rings[1].bytes);
	if (error)
		error = fail_set(fail, -error, "cannot erase the superblock of drive %s: %s",
			dev->name, strerror(-error));
	memory_unmap(memory, rings[0].bytes);
close_queue:
	blockdev_close_queue(queue);
	return error ? error : gpt_erase(dev, reactor, places, fail);
}
