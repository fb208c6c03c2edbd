/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "raid/level.h"

/* clang-format off */
static const struct {
	const char *name, *text;
	enum redundancy redundancy;
	unsigned parities, members_min;
	const char *part;
	unsigned part_members;
} expected[] = {
	{"0",  "RAID 0",   REDUNDANCY_NONE,   0, 1,  NULL, 0},
	{"1",  "RAID 1",   REDUNDANCY_MIRROR, 0, 2,  NULL, 0},
	{"5",  "RAID 5",   REDUNDANCY_PARITY, 1, 3,  NULL, 0},
	{"6",  "RAID 6",   REDUNDANCY_PARITY, 2, 4,  NULL, 0},
	{"7",  "RAID 7.3", REDUNDANCY_PARITY, 3, 5,  NULL, 0},
	{"10", "RAID 10",  REDUNDANCY_NONE,   0, 4,  "1",  2},
	{"50", "RAID 50",  REDUNDANCY_NONE,   0, 6,  "5",  0},
	{"60", "RAID 60",  REDUNDANCY_NONE,   0, 8,  "6",  0},
	{"70", "RAID 70",  REDUNDANCY_NONE,   0, 10, "7",  0},
};
/* clang-format on */

static void test_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		const struct level *level, *part;

		assert_int_equal(level_find(&level, expected[i].name, NULL), 0);
		assert_string_equal(level->name, expected[i].name);
		assert_string_equal(level->text, expected[i].text);
		assert_int_equal(level->redundancy, expected[i].redundancy);
		assert_int_equal(level->parities, expected[i].parities);
		assert_int_equal(level->members_min, expected[i].members_min);
		assert_int_equal(level->part_members, expected[i].part_members);
		if (!expected[i].part) {
			assert_null(level->part);
			continue;
		}
		assert_int_equal(level_find(&part, expected[i].part, NULL), 0);
		assert_ptr_equal(level->part, part);
		/* Two parts of the least size make the least array. */
		assert_int_equal(level->members_min, 2 * part->members_min);
	}
}

static void test_spellings(void **state)
{
	static const char *const spellings[] = {
		"6", "raid6", "RAID6", "Raid-6", "RAID 6", "raid - 6", "-6"};
	const struct level *six, *level;

	(void)state;
	assert_int_equal(level_find(&six, "6", NULL), 0);
	for (unsigned i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		assert_int_equal(level_find(&level, spellings[i], NULL), 0);
		assert_ptr_equal(level, six);
	}
	assert_int_equal(level_find(&level, "7.3", NULL), 0);
	assert_string_equal(level->name, "7");
	assert_int_equal(level_find(&level, "raid7.3", NULL), 0);
	assert_string_equal(level->name, "7");
}

static void test_refusals(void **state)
{
	static const char *const wrong[] = {"", "raid", "2", "3", "4", "06", "6 ", "60x", "100",
		"7.2", "7.3.3", "six", "raidraid6"};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const struct level *level = NULL;
		struct fail fail = {0};

		assert_int_equal(level_find(&level, wrong[i], &fail), -EINVAL);
		assert_int_equal(fail.error, EINVAL);
		assert_null(level);
		/* The sentence repeats what was typed and lists the choice. */
		assert_non_null(strstr(fail.text, wrong[i]));
		assert_non_null(strstr(fail.text, "0, 1, 5, 6, 7"));
	}
}

static void test_tolerance(void **state)
{
	const struct level *level;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(level_find(&level, expected[i].name, NULL), 0);
		for (unsigned members = level->members_min; members <= RAID_MEMBERS_MAX; members++)
			assert_int_equal(level_tolerance(level, members),
				level->redundancy == REDUNDANCY_MIRROR ? members - 1
								       : expected[i].parities);
	}
	assert_int_equal(level_tolerance(level_stripe(), 9), 0);
	assert_string_equal(level_stripe()->name, "0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_tolerance),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
