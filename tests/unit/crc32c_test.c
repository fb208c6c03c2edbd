/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C: against published vectors, and the instruction against the table for every length and
 * alignment that changes how the work is split.
 */
#include "unit.h"

#include "base/crc32c.h"

enum { LENGTHS = 9000, ALIGNMENTS = 16 };

static uint8_t bytes[LENGTHS + ALIGNMENTS];

static void fill(void)
{
	uint32_t value = 1;

	for (unsigned i = 0; i < sizeof(bytes); i++) {
		value = value * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(value >> 24);
	}
}

/* Bit by bit, from the definition: nothing in common with either implementation. */
static uint32_t by_bits(const uint8_t *at, size_t count)
{
	uint32_t crc = UINT32_MAX;

	while (count--) {
		crc ^= *at++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return ~crc;
}

static void check_vector(const void *data, size_t count, uint32_t expected)
{
	assert_int_equal(crc32c(0, data, count), expected);
	assert_int_equal(crc32c_portable(0, data, count), expected);
}

/* RFC 3720, B.4 (written there as bytes on the wire, the lowest first), and the check value of the
 * catalogue of CRCs. */
static void test_vectors(void **state)
{
	static const uint8_t read10[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0,
		0, 0x02};
	uint8_t data[32];

	(void)state;
	check_vector("", 0, 0);
	check_vector("123456789", 9, 0xe3069283);
	memset(data, 0, sizeof(data));
	check_vector(data, sizeof(data), 0x8a9136aa);
	memset(data, 0xff, sizeof(data));
	check_vector(data, sizeof(data), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	check_vector(data, sizeof(data), 0x46dd794e);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(31 - i);
	check_vector(data, sizeof(data), 0x113fdb5c);
	check_vector(read10, sizeof(read10), 0xd9963a56);
}

static void test_every_length(void **state)
{
	(void)state;
	for (unsigned length = 0; length <= LENGTHS; length++) {
		uint32_t expected = by_bits(bytes + length % ALIGNMENTS, length);

		assert_int_equal(crc32c(0, bytes + length % ALIGNMENTS, length), expected);
		assert_int_equal(crc32c_portable(0, bytes + length % ALIGNMENTS, length), expected);
	}
}

static void test_every_alignment(void **state)
{
	(void)state;
	for (unsigned at = 0; at < ALIGNMENTS; at++)
		for (unsigned length = 0; length <= LENGTHS; length += length < 64 ? 1 : 61)
			assert_int_equal(crc32c(0x12345678, bytes + at, length),
				crc32c_portable(0x12345678, bytes + at, length));
}

/* In two pieces it is the same, wherever it is cut; around the edges of the three streams too. */
static void test_pieces(void **state)
{
	uint32_t whole = crc32c(0, bytes, LENGTHS);

	(void)state;
	for (unsigned cut = 0; cut <= LENGTHS; cut++) {
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, LENGTHS - cut), whole);
		if (cut % 8 == 0)
			assert_int_equal(
				crc32c(crc32c_portable(0, bytes, cut), bytes + cut, LENGTHS - cut),
				whole);
	}
}

static void test_zeros(void **state)
{
	static const uint8_t zeros[LENGTHS];

	(void)state;
	for (unsigned length = 0; length <= LENGTHS; length++)
		assert_int_equal(crc32c_zeros(0x12345678 + length, length),
			crc32c_portable(0x12345678 + length, zeros, length));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_every_alignment),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_zeros),
	};

	unit_start();
	fill();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
