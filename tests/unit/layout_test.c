/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie on a member: for every size around every boundary the areas lie within it and
 * apart, in the order of docs/FORMAT.md, and too small a member is refused.
 */
#include "unit.h"

#include <errno.h>

#include "base/bits.h"
#include "raid/layout.h"

enum { KIB = 1 << 10, MIB = 1 << 20, GIB = 1 << 30 };

/* As the simulator's: everything small and nothing round. */
static const struct layout_places small = {
	.head_bytes = 4096,
	.tail_bytes = 5 * 4096,
	.slots = 4,
	.notes_bytes = 4096,
	.log_bytes_min = 64 * KIB,
	.log_bytes_max = 128 * KIB,
	.log_share = 7,
	.align_bytes = 4096,
	.region_bytes_min = 8192,
};

static const struct layout_places *const all_places[] = {&layout_standard, &small};

/* What FORMAT.md says of a member of that many bytes; false: too small. */
static bool expected_layout(
	struct layout *layout, const struct layout_places *places, uint64_t member_bytes)
{
	uint64_t pages = member_bytes / 4096, ring = places->slots * 4096ull, log, at, end;

	log = member_bytes / places->log_share;
	if (log < places->log_bytes_min)
		log = places->log_bytes_min;
	if (log > places->log_bytes_max)
		log = places->log_bytes_max;
	log = log / 4096 * 4096;
	at = places->head_bytes;
	layout->slots = places->slots;
	layout->superblocks[0] = (struct extent){at, ring};
	layout->intent = (struct extent){at += ring, 4 * 4096};
	layout->bad_blocks = (struct extent){at += 4 * 4096, 8 * 4096};
	layout->notes = (struct extent){at += 8 * 4096, 2 * (uint64_t)places->notes_bytes};
	layout->log = (struct extent){at += 2 * (uint64_t)places->notes_bytes, log};
	at += log;
	at = (at + places->align_bytes - 1) / places->align_bytes * places->align_bytes;
	if (pages * 4096 < places->tail_bytes)
		return false;
	end = pages * 4096 - places->tail_bytes;
	layout->superblocks[1] = (struct extent){end, ring};
	end = end / places->align_bytes * places->align_bytes;
	layout->data = (struct extent){at, end - at};
	return at < end;
}

static void check_size(const struct layout_places *places, uint64_t bytes)
{
	struct layout layout, expected;
	struct extent rings[2];
	struct fail fail = {0};
	int error;

	memset(&layout, 0, sizeof(layout));
	memset(&expected, 0, sizeof(expected));
	error = layout_make(&layout, places, bytes, &fail);
	if (!expected_layout(&expected, places, bytes)) {
		expect(error == -ENOSPC && fail.text[0], "%llu bytes: %d",
			(unsigned long long)bytes, error);
		return;
	}
	expect(!error, "%llu bytes: %s", (unsigned long long)bytes, fail.text);
	expect(!memcmp(&layout, &expected, sizeof(layout)), "%llu bytes: another layout",
		(unsigned long long)bytes);
	assert_true(layout_find_superblocks(rings, places, bytes));
	assert_memory_equal(rings, layout.superblocks, sizeof(rings));
	/* The second ring ends within the member, and what is behind it is the GPT's. */
	assert_true(rings[1].offset + rings[1].bytes <= bytes);
	assert_true(layout.data.offset + layout.data.bytes <= rings[1].offset);
}

static uint64_t smallest(const struct layout_places *places)
{
	struct layout layout;
	uint64_t bytes = 0;

	memset(&layout, 0, sizeof(layout));
	while (!expected_layout(&layout, places, bytes))
		bytes += 4096;
	return bytes;
}

static void test_boundaries(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all_places); i++) {
		const struct layout_places *places = all_places[i];
		uint64_t boundaries[] = {0, places->head_bytes, places->tail_bytes,
			places->head_bytes + places->tail_bytes, smallest(places),
			(uint64_t)places->log_bytes_min * places->log_share,
			(uint64_t)places->log_bytes_max * places->log_share, GIB, 1ull << 40};

		for (unsigned j = 0; j < ARRAY_SIZE(boundaries); j++)
			for (uint64_t off = 0; off < 3 * MIB; off += off < 20000 ? 512 : 4096 * 7) {
				check_size(places, boundaries[j] + off);
				if (boundaries[j] >= off)
					check_size(places, boundaries[j] - off);
			}
	}
}

static void test_large(void **state)
{
	(void)state;
	for (unsigned bit = 20; bit < 60; bit++)
		for (int off = -4096; off <= 4096; off += 512)
			check_size(&layout_standard, (1ull << bit) + (uint64_t)(int64_t)off);
}

static void test_every_size_of_small(void **state)
{
	(void)state;
	for (uint64_t bytes = 0; bytes < MIB; bytes += 512)
		check_size(&small, bytes);
}

/* The numbers that FORMAT.md gives for a member of 1 TiB. */
static void test_standard(void **state)
{
	struct layout layout;

	(void)state;
	assert_int_equal(layout_make(&layout, &layout_standard, 1ull << 40, NULL), 0);
	assert_int_equal(layout.superblocks[0].offset, 0x100000);
	assert_int_equal(layout.superblocks[0].bytes, 0x10000);
	assert_int_equal(layout.intent.offset, 0x110000);
	assert_int_equal(layout.bad_blocks.offset, 0x114000);
	assert_int_equal(layout.notes.offset, 0x11c000);
	assert_int_equal(layout.notes.bytes, 0x80000);
	assert_int_equal(layout.log.offset, 0x19c000);
	assert_int_equal(layout.log.bytes, 64 * MIB);
	assert_int_equal(layout.data.offset, 66 * MIB);
	assert_int_equal(layout.data.bytes, (1ull << 40) - 68ull * MIB);
	assert_int_equal(layout.superblocks[1].offset, (1ull << 40) - 2 * MIB);
	assert_int_equal(smallest(&layout_standard), 9 * MIB);
}

static void test_regions(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(all_places); i++)
		for (unsigned bit = 12; bit < 60; bit++)
			for (uint64_t off = 0; off < 3; off++) {
				uint64_t data = (1ull << bit) + off * 4096 - 4096;
				uint64_t region = layout_region_bytes(all_places[i], data);
				uint64_t least = all_places[i]->region_bytes_min;

				assert_true(is_power_of_two(region) && region >= least);
				assert_true(divide_up(data, region) <= LAYOUT_REGIONS_MAX);
				/* No larger than it has to be. */
				assert_true(region == least ||
					    divide_up(data, region / 2) > LAYOUT_REGIONS_MAX);
			}
	assert_int_equal(LAYOUT_REGIONS_MAX, 32256);
	assert_int_equal(layout_region_bytes(&layout_standard, 32256ull * MIB), MIB);
	assert_int_equal(layout_region_bytes(&layout_standard, 32256ull * MIB + 1), 2 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boundaries),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_every_size_of_small),
		cmocka_unit_test(test_standard),
		cmocka_unit_test(test_regions),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
