/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where blocks lie: against tables of Linux md's left-symmetric layout written out by hand, and,
 * for every level and number of members, that no block of a member serves two purposes.
 */
#include "unit.h"

#include "raid/geometry.h"

enum { STRIPES = 200, BLOCK_BYTES = 4096 };

/* What each member of a stripe holds: a digit is a data column, letters are parities. */
struct layout {
	const char *level;
	unsigned members;
	const char *stripes[5];
};

/* As drawn by md(4) and lsraid(8): RAID 5 and 6, layout left-symmetric, disks from left to right.
 */
/* clang-format off */
static const struct layout layouts[] = {
	{"5", 3, {"01P", "1P0", "P01"}},
	{"5", 4, {"012P", "12P0", "2P01", "P012"}},
	{"5", 5, {"0123P", "123P0", "23P01", "3P012", "P0123"}},
	{"6", 4, {"Q01P", "01PQ", "1PQ0", "PQ01"}},
	{"6", 5, {"Q012P", "012PQ", "12PQ0", "2PQ01", "PQ012"}},
	/* md has no third parity; R follows Q. */
	{"7", 5, {"QR01P", "R01PQ", "01PQR", "1PQR0", "PQR01"}},
};
/* clang-format on */

static struct geometry make(const char *name, unsigned members, uint32_t chunk_blocks)
{
	struct geometry geometry = {
		.members = members, .block_bytes = BLOCK_BYTES, .chunk_blocks = chunk_blocks};

	assert_int_equal(level_find(&geometry.level, name, NULL), 0);
	geometry_init(&geometry, (uint64_t)STRIPES * chunk_blocks);
	return geometry;
}

static unsigned column_of_letter(char letter, unsigned data)
{
	switch (letter) {
	case 'P':
		return data;
	case 'Q':
		return data + 1;
	case 'R':
		return data + 2;
	default:
		return (unsigned)(letter - '0');
	}
}

static void test_tables_of_md(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		const struct layout *layout = &layouts[i];
		struct geometry geometry = make(layout->level, layout->members, 16);

		/* The pattern repeats; far out it still does. */
		for (uint64_t base = 0; base < 1ull << 41; base = base * 2 + layout->members)
			for (unsigned s = 0; s < layout->members; s++)
				for (unsigned member = 0; member < layout->members; member++) {
					uint64_t stripe =
						base / layout->members * layout->members + s;
					unsigned column = column_of_letter(
						layout->stripes[s][member], geometry.data);

					expect(geometry_member(&geometry, stripe, column) ==
								member &&
							geometry_column(&geometry, stripe,
								member) == column,
						"RAID %s, %u members, stripe %llu, member %u is "
						"not %c",
						layout->level, layout->members,
						(unsigned long long)stripe, member,
						layout->stripes[s][member]);
				}
	}
}

/* The plain levels, and the members that each may have. */
static const struct {
	const char *name;
	unsigned from;
} plain[] = {{"0", 1}, {"1", 2}, {"5", 3}, {"6", 4}, {"7", 5}};

static void check_bijection(const struct geometry *geometry)
{
	for (uint64_t stripe = 0; stripe < 3 * RAID_MEMBERS_MAX; stripe++) {
		uint32_t seen = 0;

		for (unsigned column = 0; column < geometry->members; column++) {
			unsigned member = geometry_member(geometry, stripe, column);

			expect(member < geometry->members && !(seen >> member & 1),
				"two columns of stripe %u on member %u", (unsigned)stripe, member);
			seen |= 1u << member;
			expect(geometry_column(geometry, stripe, member) == column,
				"column %u of stripe %u does not come back", column,
				(unsigned)stripe);
			expect(geometry_columns(geometry, stripe, 1u << member) == 1u << column,
				"the set of one member is not the set of one column");
		}
		expect(geometry_columns(geometry, stripe, seen) == seen,
			"all members are not all columns");
		expect(geometry_columns(geometry, stripe, 0) == 0, "no member is no column");
	}
}

static void test_bijection(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		for (unsigned n = plain[i].from; n <= RAID_MEMBERS_MAX; n++) {
			struct geometry geometry = make(plain[i].name, n, 4);

			assert_int_equal(geometry.data + geometry.redundant, n);
			check_bijection(&geometry);
		}
}

/* Every row of every column of every stripe is a block of its own, and none is left over. */
static void check_blocks(const struct geometry *geometry)
{
	uint64_t blocks = geometry->stripes * geometry->chunk_blocks;
	uint8_t *used = calloc(geometry->members, blocks);

	assert_non_null(used);
	for (uint64_t stripe = 0; stripe < geometry->stripes; stripe++)
		for (unsigned column = 0; column < geometry->members; column++)
			for (uint32_t row = 0; row < geometry->chunk_blocks; row++) {
				unsigned member = geometry_member(geometry, stripe, column);
				uint64_t block = geometry_block(geometry, stripe, row);

				expect(block >= geometry->member_offset &&
						block - geometry->member_offset < blocks,
					"a block lies outside the data area");
				expect(!used[member * blocks + block - geometry->member_offset]++,
					"a block of member %u is used twice", member);
			}
	expect(!memchr(used, 0, geometry->members * blocks), "a block is never used");
	free(used);
}

static void test_blocks_are_unique(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		for (unsigned n = plain[i].from; n <= RAID_MEMBERS_MAX; n += 1 + n / 8)
			for (uint32_t chunk = 1; chunk <= 4; chunk *= 2) {
				struct geometry geometry = {
					.members = n,
					.block_bytes = BLOCK_BYTES,
					.chunk_blocks = chunk,
					.member_offset = 8,
				};

				assert_int_equal(
					level_find(&geometry.level, plain[i].name, NULL), 0);
				/* What does not fill a stripe is not used. */
				geometry_init(&geometry, 8 + 70 * (uint64_t)chunk + chunk - 1);
				assert_int_equal(geometry.stripes, 70);
				check_blocks(&geometry);
			}
}

static void test_derived_numbers(void **state)
{
	struct geometry geometry = make("6", 10, 32);

	(void)state;
	assert_int_equal(geometry.data, 8);
	assert_int_equal(geometry.redundant, 2);
	assert_int_equal(geometry.stripe_blocks, 8 * 32);
	assert_int_equal(geometry.stripes, STRIPES);
	assert_int_equal(geometry.window_rows, 32); /* 128 KiB */
	geometry = make("6", 10, 256);
	assert_int_equal(geometry.window_rows, 32);
	geometry = make("7", 5, 2);
	assert_int_equal(geometry.window_rows, 2);
	geometry = make("0", 4, 256); /* nothing to buffer: no window */
	assert_int_equal(geometry.window_rows, 256);
	geometry = make("1", 3, 16);
	assert_int_equal(geometry.data, 1);
	assert_int_equal(geometry.redundant, 2);
	assert_int_equal(geometry.stripe_blocks, 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_of_md),
		cmocka_unit_test(test_bijection),
		cmocka_unit_test(test_blocks_are_unique),
		cmocka_unit_test(test_derived_numbers),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
