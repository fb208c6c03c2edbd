/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of maps: round trips, every bit flipped, other places, members, kinds; and the bits. */
#include "unit.h"

#include <endian.h>

#include "base/crc32c.h"
#include "raid/keeper.h"
#include "sample.h"

enum { PLACE = 0x110000, BITS_AT = 64, CHECKSUM_AT = 60 };

static uint8_t page[LAYOUT_UNIT_BYTES], bits[MAP_BYTES], read_bits[MAP_BYTES];
static struct keeper_map map = {.bits = bits};

static void seal(const struct uuid *member, uint64_t place)
{
	uint64_t salt = htole64(place);
	uint32_t crc = crc32c_portable(0, member, UUID_BYTES);

	crc = crc32c_portable(crc, &salt, sizeof(salt));
	crc = crc32c_portable(crc, page, CHECKSUM_AT);
	crc = htole32(crc32c_portable(crc, page + BITS_AT, sizeof(page) - BITS_AT));
	memcpy(page + CHECKSUM_AT, &crc, sizeof(crc));
}

static void any_map(struct random *random)
{
	map.generation = random_next(random);
	for (unsigned i = 0; i < MAP_BYTES; i++)
		bits[i] = (uint8_t)random_next(random);
}

static void test_round_trips(void **state)
{
	struct random random = {1};
	struct uuid member;

	(void)state;
	for (unsigned run = 0; run < 2000; run++) {
		enum map_kind kind = run % MAPS;
		uint64_t place = random_below(&random, 1 << 30) * 4096, generation = 0, little;

		sample_uuid(&member, &random);
		any_map(&random);
		memset(page, 0xa5, sizeof(page));
		map_encode(&map, kind, &member, place, page);
		assert_memory_equal(page, "braidmap", 8);
		little = htole64(map.generation);
		assert_memory_equal(page + 8, &little, 8);
		assert_int_equal(page[16], kind);
		assert_memory_equal(page + BITS_AT, bits, MAP_BYTES);
		assert_true(map_decode(read_bits, &generation, kind, &member, place, page));
		assert_int_equal(generation, map.generation);
		assert_memory_equal(read_bits, bits, MAP_BYTES);
		seal(&member, place);
		assert_true(map_decode(read_bits, &generation, kind, &member, place, page));
		assert_false(
			map_decode(read_bits, &generation, MAPS - 1 - kind, &member, place, page));
		assert_false(map_decode(read_bits, &generation, kind, &member, place + 4096, page));
		member.byte[run % UUID_BYTES] ^= 1;
		assert_false(map_decode(read_bits, &generation, kind, &member, place, page));
	}
}

static void test_every_bit(void **state)
{
	struct random random = {2};
	struct uuid member;
	uint64_t generation = 7;

	(void)state;
	sample_uuid(&member, &random);
	any_map(&random);
	map_encode(&map, MAP_MISSING, &member, PLACE, page);
	memset(read_bits, 0, sizeof(read_bits));
	for (unsigned bit = 0; bit < sizeof(page) * 8; bit++) {
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
		expect(!map_decode(read_bits, &generation, MAP_MISSING, &member, PLACE, page),
			"bit %u of byte %u", bit % 8, bit / 8);
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
	}
	/* What is refused changes nothing. */
	assert_int_equal(generation, 7);
	assert_int_equal(map_count(read_bits), 0);
	memset(page, 0, sizeof(page));
	assert_false(map_decode(read_bits, &generation, MAP_DIRTY, &member, PLACE, page));
}

/* A right checksum over any content: a kind that there is not is none of them. */
static void test_nonsense(void **state)
{
	struct random random = {3};
	struct uuid member;
	uint64_t generation;

	(void)state;
	sample_uuid(&member, &random);
	for (unsigned run = 0; run < 20000; run++) {
		uint64_t kind;

		any_map(&random);
		map_encode(&map, MAP_DIRTY, &member, PLACE, page);
		kind = htole64(sample_hostile(&random, 0)) & UINT32_MAX;
		memcpy(page + 16, &kind, 4);
		seal(&member, PLACE);
		assert_int_equal(
			map_decode(read_bits, &generation, MAP_DIRTY, &member, PLACE, page),
			kind == 0);
		assert_int_equal(
			map_decode(read_bits, &generation, MAP_MISSING, &member, PLACE, page),
			le32toh((uint32_t)kind) == 1);
	}
}

/* Region r is bit r mod 8 of byte r div 8. */
static void test_bits(void **state)
{
	(void)state;
	memset(bits, 0, sizeof(bits));
	for (uint64_t region = 0; region < LAYOUT_REGIONS_MAX; region++) {
		assert_false(map_has(bits, region));
		map_set(bits, region);
		map_set(bits, region);
		assert_true(map_has(bits, region));
		assert_int_equal(bits[region / 8], 1u << region % 8);
		assert_int_equal(map_count(bits), 1);
		map_clear(bits, region);
		map_clear(bits, region);
		assert_int_equal(map_count(bits), 0);
	}
	memset(bits, 0xff, sizeof(bits));
	assert_int_equal(map_count(bits), LAYOUT_REGIONS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_bits),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
