/* SPDX-License-Identifier: Apache-2.0 */
/* The list of bad blocks against a plain array of flags, and hostile bytes. */
#include <string.h>

#include "base/random.h"
#include "raid/bad_list.h"
#include "raid/superblock.h"
#include "unit.h"

enum { ROWS = 3, BLOCKS = 40, RUNS = 3000, STEPS = 60 };

static bool flags[ROWS][BLOCKS + 1];
static uint8_t bytes[BAD_RANGES_MAX * BAD_RANGE_BYTES];

/* What the list is, is what the flags are; and it is in its only form. */
static void check(const struct bad_list *list)
{
	unsigned ranges = 0;

	for (unsigned row = 0; row < ROWS; row++) {
		uint64_t count = 0;

		for (unsigned block = 0; block < BLOCKS; block++) {
			struct bad_range one = {block, 1, (uint8_t)row};

			assert_int_equal(bad_list_touches(list, one), flags[row][block]);
			count += flags[row][block];
			ranges += flags[row][block] && !flags[row][block + 1];
		}
		assert_int_equal(bad_list_blocks(list, row), count);
	}
	assert_int_equal(list->count, ranges);
}

static struct bad_range any_range(struct random *random)
{
	uint64_t block = random_below(random, BLOCKS);

	return (struct bad_range){block, 1 + (uint32_t)random_below(random, BLOCKS - block),
		(uint8_t)random_below(random, ROWS)};
}

static void set_flags(struct bad_range range, bool bad)
{
	memset(&flags[range.row][range.block], bad, range.blocks);
}

static void step(struct bad_list *list, struct random *random)
{
	struct bad_range range = any_range(random);
	unsigned from = (unsigned)random_below(random, ROWS), to = range.row;
	bool any = false;

	for (uint64_t i = range.block; i < range.block + range.blocks; i++)
		any |= flags[range.row][i];
	assert_int_equal(bad_list_touches(list, range), any);
	switch (random_below(random, 12)) {
	case 0:
		bad_list_forget(list, from);
		memset(flags[from], 0, sizeof(flags[from]));
		break;
	case 1:
		if (from == to)
			break;
		bad_list_move(list, from, to);
		memcpy(flags[to], flags[from], sizeof(flags[to]));
		memset(flags[from], 0, sizeof(flags[from]));
		break;
	case 2:
		assert_true(bad_list_merge(list, from, to));
		for (unsigned i = 0; i < BLOCKS; i++)
			flags[to][i] |= flags[from][i];
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		assert_true(bad_list_remove(list, range));
		set_flags(range, false);
		break;
	default:
		range.blocks = 1 + range.blocks % 4;
		range.blocks = range.block + range.blocks > BLOCKS ? 1 : range.blocks;
		assert_true(bad_list_add(list, range));
		set_flags(range, true);
	}
}

static void test_random(void **state)
{
	struct random random = {.state = 1};

	(void)state;
	for (unsigned run = 0; run < RUNS; run++) {
		struct bad_list list = {0}, again;

		memset(flags, 0, sizeof(flags));
		for (unsigned i = 0; i < STEPS; i++) {
			step(&list, &random);
			check(&list);
		}
		bad_list_encode(&list, bytes);
		assert_true(bad_list_decode(&again, bytes));
		check(&again);
	}
}

/* A list that is full takes nothing that needs one more, and stays what it is. */
static void test_full(void **state)
{
	struct bad_list list = {0}, before;

	(void)state;
	for (unsigned i = 0; i < BAD_RANGES_MAX; i++)
		assert_true(bad_list_add(&list, (struct bad_range){i * 10ull, 5, 1}));
	before = list;
	assert_false(bad_list_add(&list, (struct bad_range){7, 1, 1}));
	assert_false(bad_list_add(&list, (struct bad_range){0, 1, 2}));
	assert_false(bad_list_remove(&list, (struct bad_range){2, 1, 1}));
	assert_false(bad_list_merge(&list, 1, 2));
	assert_memory_equal(&list, &before, sizeof(list));
	assert_true(bad_list_add(&list, (struct bad_range){5, 5, 1}));
	assert_int_equal(list.count, BAD_RANGES_MAX - 1);
	assert_true(bad_list_remove(&list, (struct bad_range){2, 1, 1}));
	bad_list_move(&list, 1, 0);
	assert_int_equal(list.count, BAD_RANGES_MAX);
	assert_int_equal(bad_list_blocks(&list, 1), 0);
}

static void put_range(unsigned at, uint64_t block, uint32_t blocks, uint8_t row)
{
	uint8_t *range = &bytes[at * BAD_RANGE_BYTES];

	for (unsigned i = 0; i < 8; i++)
		range[i] = (uint8_t)(block >> 8 * i);
	for (unsigned i = 0; i < 4; i++)
		range[8 + i] = (uint8_t)(blocks >> 8 * i);
	range[12] = row;
}

static void test_hostile(void **state)
{
	struct random random = {.state = 1};
	struct bad_list list;

	(void)state;
	memset(bytes, 0, sizeof(bytes));
	put_range(0, 10, 5, 1);
	put_range(1, 16, 5, 1);
	put_range(2, 0, 1, 2);
	assert_true(bad_list_decode(&list, bytes));
	assert_int_equal(list.count, 3);
	put_range(1, 15, 5, 1); /* adjoins */
	assert_false(bad_list_decode(&list, bytes));
	put_range(1, 14, 5, 1); /* overlaps */
	assert_false(bad_list_decode(&list, bytes));
	put_range(1, 16, 5, 0); /* out of order */
	assert_false(bad_list_decode(&list, bytes));
	put_range(1, UINT64_MAX, 5, 1); /* beyond all bounds */
	assert_false(bad_list_decode(&list, bytes));
	put_range(1, 16, 5, SUPERBLOCK_ROWS); /* no such row */
	assert_false(bad_list_decode(&list, bytes));
	for (unsigned run = 0; run < RUNS; run++) {
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)random_next(&random);
		bad_list_decode(&list, bytes);
		assert_true(list.count <= BAD_RANGES_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
