/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superblocks on drives: the newest valid one of both rings is found whatever is left of them, on
 * drives that are cut short, have grown or shrunk; and after erasing none is.
 */
#include "unit.h"

#include <errno.h>

#include "drivers/drivers.h"
#include "memory/memory.h"
#include "raid/gpt.h"
#include "raid/superblock.h"
#include "raid/transfer.h"
#include "reactor/sim.h"
#include "sample.h"

enum { MIB = 1 << 20, SLOTS = 16, MEMBER_BYTES = 64 * MIB };

static struct reactor_group *group;
static struct reactor *reactor;
static struct blockdev *dev;
static struct blockdev_queue *queue;
static char *page;
static struct superblock base, found;
static struct fail why;

static int begin(void **state)
{
	struct random random = {1};

	(void)state;
	group = reactor_sim_create(1, 1);
	reactor = reactor_at(group, 0);
	page = memory_map(SUPERBLOCK_BYTES, NULL);
	sample_superblock(&base, &random, "6", 5, 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	memory_unmap(page, SUPERBLOCK_BYTES);
	reactor_sim_destroy(group);
	return 0;
}

static void open_drive(uint64_t bytes, uint32_t block_bytes)
{
	assert_int_equal(ram_create(&dev, "r0", bytes, block_bytes, NULL), 0);
	assert_int_equal(blockdev_open_queue(dev, reactor, &queue, NULL), 0);
}

static void close_drive(void)
{
	blockdev_close_queue(queue);
	blockdev_destroy(dev);
}

static uint64_t place_of(uint64_t generation, unsigned ring)
{
	return base.layout.superblocks[ring].offset + generation % SLOTS * SUPERBLOCK_BYTES;
}

static void write_at(uint64_t place)
{
	assert_int_equal(transfer(queue, IO_WRITE, place, page, SUPERBLOCK_BYTES), 0);
}

static void write_generation(uint64_t generation, unsigned ring)
{
	base.generation = generation;
	superblock_encode(&base, place_of(generation, ring), page);
	write_at(place_of(generation, ring));
}

static void destroy(uint64_t generation, unsigned ring, unsigned byte)
{
	uint64_t place = place_of(generation, ring);

	assert_int_equal(transfer(queue, IO_READ, place, page, SUPERBLOCK_BYTES), 0);
	page[byte] = (char)~page[byte];
	write_at(place);
}

static int look(void)
{
	why = (struct fail){0};
	return superblock_read(&found, dev, reactor, &layout_standard, &why);
}

static void finds(uint64_t generation)
{
	expect(!look(), "generation %llu is not found: %s", (unsigned long long)generation,
		why.text);
	assert_int_equal(found.generation, generation);
}

/* Forty updates, as the keeper makes them; a crash before ring A, between the rings, or after. */
static void test_updates(void **state)
{
	(void)state;
	open_drive(MEMBER_BYTES, 4096);
	assert_int_equal(look(), -ENODATA);
	for (uint64_t generation = 1; generation <= 40; generation++) {
		write_generation(generation, 0);
		finds(generation);
		write_generation(generation, 1);
		finds(generation);
	}
	close_drive();
}

/* A slot that is torn leaves the other ring's, or the generation before. */
static void test_torn(void **state)
{
	(void)state;
	for (unsigned byte = 0; byte < SUPERBLOCK_BYTES; byte += 61) {
		open_drive(MEMBER_BYTES, 512);
		for (uint64_t generation = 14; generation <= 17; generation++)
			for (unsigned ring = 0; ring < 2; ring++)
				write_generation(generation, ring);
		destroy(17, 0, byte);
		finds(17);
		destroy(17, 1, byte);
		finds(16);
		for (uint64_t generation = 14; generation <= 16; generation++)
			destroy(generation, 0, byte);
		finds(16);
		for (uint64_t generation = 14; generation <= 16; generation++)
			destroy(generation, 1, byte);
		/* All are damaged: that is said, and not that there is none. */
		assert_int_equal(look(), byte < 16 ? -ENODATA : -EILSEQ);
		assert_non_null(strstr(why.text, "r0"));
		close_drive();
	}
}

/* A superblock in another slot, or in the other ring, or of another drive, is not one. */
static void test_moved(void **state)
{
	(void)state;
	open_drive(MEMBER_BYTES, 4096);
	base.generation = 5;
	superblock_encode(&base, place_of(5, 0), page);
	write_at(place_of(6, 0));
	write_at(place_of(5, 1));
	write_at(place_of(5, 0) + 32 * SUPERBLOCK_BYTES);
	assert_int_equal(look(), -EILSEQ);
	write_at(place_of(5, 0));
	finds(5);
	close_drive();
}

/* Members that were cut short, to any length. */
static void test_truncated(void **state)
{
	(void)state;
	for (uint64_t bytes = 512; bytes < MEMBER_BYTES;
		bytes += bytes < 2 * MIB ? 97 * 512 : 3 * MIB) {
		open_drive(bytes, 512);
		if (bytes >= place_of(3, 0) + SUPERBLOCK_BYTES)
			write_generation(3, 0);
		expect(look(), "%llu bytes", (unsigned long long)bytes);
		expect(why.error && why.text[0], "no reason");
		close_drive();
	}
	open_drive(MEMBER_BYTES - 512, 512);
	write_generation(3, 0);
	assert_int_equal(look(), -EILSEQ);
	assert_non_null(strstr(why.text, "shrunk"));
	close_drive();
}

/* A drive that has grown: ring A tells where B is. */
static void test_grown(void **state)
{
	(void)state;
	open_drive(MEMBER_BYTES + 8 * MIB, 4096);
	write_generation(3, 0);
	write_generation(3, 1);
	finds(3);
	assert_int_equal(found.layout.superblocks[1].offset, MEMBER_BYTES - 2 * MIB);
	assert_int_equal(found.member_bytes, MEMBER_BYTES);
	close_drive();
}

/* Whatever it is full of, it is no member afterwards, and the data is left alone. */
static void test_erase(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		open_drive(MEMBER_BYTES, i ? 512 : 4096);
		for (uint64_t generation = 1; generation <= SLOTS; generation++)
			for (unsigned ring = 0; ring < 2; ring++)
				write_generation(generation, ring);
		memset(page, 0x5a, SUPERBLOCK_BYTES);
		write_at(base.layout.data.offset);
		write_at(base.layout.superblocks[1].offset - SUPERBLOCK_BYTES);
		assert_int_equal(superblock_erase(dev, reactor, &layout_standard, NULL), 0);
		assert_int_equal(look(), -ENODATA);
		for (unsigned j = 0; j < 2; j++) {
			uint64_t place = j ? base.layout.superblocks[1].offset - SUPERBLOCK_BYTES
					   : base.layout.data.offset;

			assert_int_equal(
				transfer(queue, IO_READ, place, page, SUPERBLOCK_BYTES), 0);
			assert_int_equal(page[17], 0x5a);
		}
		close_drive();
	}
	open_drive(MIB, 512); /* too small to be one */
	assert_int_equal(superblock_erase(dev, reactor, &layout_standard, NULL), 0);
	close_drive();
}

static void write_garbage(uint64_t from, uint64_t to)
{
	struct random random = {from};

	for (; from < to; from += SUPERBLOCK_BYTES) {
		for (unsigned i = 0; i < SUPERBLOCK_BYTES; i++)
			page[i] = (char)random_next(&random);
		write_at(from);
	}
}

/* Rings full of garbage: the partition table, either copy, tells a member from a free drive. */
static void test_overwritten(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct uuid member = base.member_uuid;
		uint32_t sector = i % 2 ? 4096 : 512;
		unsigned left = i / 2; /* both copies, the first, the second */

		open_drive(MEMBER_BYTES, 4096);
		dev->sector_bytes = sector;
		assert_int_equal(gpt_write(dev, reactor, &layout_standard, &member, NULL), 0);
		write_generation(5, 0);
		for (unsigned ring = 0; ring < 2; ring++)
			write_garbage(base.layout.superblocks[ring].offset,
				base.layout.superblocks[ring].offset + SLOTS * SUPERBLOCK_BYTES);
		if (left == 1)
			write_garbage(MEMBER_BYTES - 8 * SUPERBLOCK_BYTES, MEMBER_BYTES);
		if (left == 2)
			write_garbage(0, MIB);
		assert_int_equal(look(), -EILSEQ);
		assert_non_null(strstr(why.text, "partition table"));
		assert_int_equal(superblock_erase(dev, reactor, &layout_standard, NULL), 0);
		assert_int_equal(look(), -ENODATA);
		write_garbage(0, MIB);
		write_garbage(MEMBER_BYTES - 8 * SUPERBLOCK_BYTES, MEMBER_BYTES);
		assert_int_equal(look(), -ENODATA);
		close_drive();
	}
}

/* A drive that has grown since: the ring where B was is erased as well, and the one at its end. */
static void test_erase_grown(void **state)
{
	uint64_t old_ring = base.layout.superblocks[1].offset;
	uint64_t end_ring = MEMBER_BYTES + 8 * MIB - 2 * MIB;

	(void)state;
	open_drive(MEMBER_BYTES + 8 * MIB, 4096);
	for (unsigned ring = 0; ring < 2; ring++)
		write_generation(7, ring);
	base.layout.superblocks[1].offset = end_ring;
	base.member_bytes = MEMBER_BYTES + 8 * MIB;
	for (unsigned ring = 0; ring < 2; ring++)
		write_generation(8, ring);
	assert_int_equal(superblock_erase(dev, reactor, &layout_standard, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t place[] = {MIB, old_ring, end_ring};

		for (unsigned slot = 0; slot < SLOTS; slot++) {
			assert_int_equal(
				transfer(queue, IO_READ, place[i] + slot * SUPERBLOCK_BYTES, page,
					SUPERBLOCK_BYTES),
				0);
			expect(!page[0], "ring %u, slot %u is not erased", i, slot);
		}
	}
	close_drive();
	base.layout.superblocks[1].offset = old_ring;
	base.member_bytes = MEMBER_BYTES;
}

/* A crash before any write of it: the newest superblock is there, or none; never an older one. */
static void test_erase_crash(void **state)
{
	bool whole = false;

	(void)state;
	for (unsigned writes = 0; !whole; writes++) {
		struct fault_rule rule = {
			.kind = FAULT_LOST, .writes = true, .end = UINT64_MAX, .after = writes};
		int error;

		assert_int_equal(ram_create(&dev, "r0", MEMBER_BYTES, 4096, NULL), 0);
		assert_int_equal(fault_create(&dev, dev, NULL), 0);
		assert_int_equal(blockdev_open_queue(dev, reactor, &queue, NULL), 0);
		for (uint64_t generation = 1; generation <= 20; generation++)
			for (unsigned ring = 0; ring < 2; ring++)
				write_generation(generation, ring);
		assert_int_equal(fault_rules(dev, &rule, 1, NULL), 0);
		assert_int_equal(superblock_erase(dev, reactor, &layout_standard, NULL), 0);
		error = look();
		whole = error == -ENODATA;
		if (!whole)
			finds(20);
		expect(writes < 100, "it never comes to an end");
		close_drive();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_updates),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_grown),
		cmocka_unit_test(test_erase),
		cmocka_unit_test(test_overwritten),
		cmocka_unit_test(test_erase_grown),
		cmocka_unit_test(test_erase_crash),
	};

	unit_start();
	return cmocka_run_group_tests(tests, begin, end);
}
