/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC32C: every kernel against published vectors and against the definition, bit by bit, for every
 * length and alignment that changes how the work is split. The kernels that fold take part a second
 * time, built against SIMDe (crc32c_simde.h), so that no CPU leaves one out.
 */
#include "unit.h"

#include <sys/mman.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/crc32c_kernel.h"
#include "base/log.h"

enum {
	LENGTHS = 4240,
	LENGTHS_LONG = 19000, /* more than two of the longest blocks that a kernel takes at once */
	ALIGNMENTS = 64,
	KERNELS_MAX = 8,
	PAGE_BYTES = 4096,
};

uint32_t emulated_crc32c_fold128(uint32_t crc, const uint8_t *at, size_t count);
uint32_t emulated_crc32c_fold128_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t emulated_crc32c_fold256(uint32_t crc, const uint8_t *at, size_t count);
uint32_t emulated_crc32c_fold256_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);
uint32_t emulated_crc32c_fold512(uint32_t crc, const uint8_t *at, size_t count);
uint32_t emulated_crc32c_fold512_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count);

static bool runs(void)
{
	return true;
}

static bool runs_not(void)
{
	return false;
}

/* clang-format off */
static const struct crc32c_kernel emulated[] = {
	{ "fold512 (emulated)", runs,
	  emulated_crc32c_fold512, emulated_crc32c_fold512_copy, crc32c_table_zeros },
	{ "fold256 (emulated)", runs,
	  emulated_crc32c_fold256, emulated_crc32c_fold256_copy, crc32c_table_zeros },
	{ "fold128 (emulated)", runs,
	  emulated_crc32c_fold128, emulated_crc32c_fold128_copy, crc32c_table_zeros },
};
/* clang-format on */

static const struct crc32c_kernel *kernels[KERNELS_MAX];
static size_t natives; /* of them, the first ones; the others are slow */
static size_t kernel_count;

static _Alignas(64) uint8_t bytes[LENGTHS_LONG + ALIGNMENTS];
static uint32_t expected[LENGTHS_LONG + 1]; /* of the first so many bytes, from some alignment */

static int set_up(void **state)
{
	const struct crc32c_kernel *table;
	uint32_t value = 1;
	size_t count;

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		value = value * 1664525 + 1013904223;
		bytes[i] = (uint8_t)(value >> 24);
	}
	table = crc32c_kernels(&count);
	for (size_t i = 0; i < count; i++) {
		if (table[i].runs_here())
			kernels[natives++] = &table[i];
		print_message("kernel %s: %s\n", table[i].name,
			table[i].runs_here() ? "native" : "not on this CPU");
	}
	kernel_count = natives;
	for (size_t i = 0; i < ARRAY_SIZE(emulated); i++)
		kernels[kernel_count++] = &emulated[i];
	print_message("selected %s\n", crc32c_selected());
	return 0;
}

/* From the definition: nothing in common with any kernel. */
static uint32_t by_bits(uint32_t crc, uint8_t byte)
{
	crc ^= byte;
	for (int bit = 0; bit < 8; bit++)
		crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	return crc;
}

static void expect_from(uint32_t crc, const uint8_t *at, unsigned lengths)
{
	expected[0] = crc;
	for (unsigned i = 0; i < lengths; i++)
		expected[i + 1] = by_bits(expected[i], at[i]);
}

static void assert_length(const struct crc32c_kernel *kernel, const uint8_t *at, unsigned length)
{
	uint32_t crc = kernel->crc(expected[0], at, length);

	expect(crc == expected[length], "%s: %u bytes at %u: %08x, expected %08x", kernel->name,
		length, (unsigned)((uintptr_t)at % ALIGNMENTS), crc, expected[length]);
}

static void check_vector(const void *data, size_t count, uint32_t right)
{
	assert_int_equal(crc32c(0, data, count), right);
	assert_int_equal(crc32c_portable(0, data, count), right);
	for (size_t k = 0; k < kernel_count; k++)
		assert_int_equal(~kernels[k]->crc(UINT32_MAX, data, count), right);
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

static void test_every_length_and_alignment(void **state)
{
	(void)state;
	for (unsigned alignment = 0; alignment < ALIGNMENTS; alignment++) {
		const uint8_t *at = bytes + alignment;
		/* SIMDe is slow, and knows no alignment. */
		size_t count = alignment % 32 == 1 ? kernel_count : natives;

		expect_from(0x12345678 + alignment, at, LENGTHS);
		for (size_t k = 0; k < count; k++)
			for (unsigned length = 0; length <= LENGTHS; length++)
				assert_length(kernels[k], at, length);
	}
}

static void test_long(void **state)
{
	(void)state;
	expect_from(UINT32_MAX, bytes + 3, LENGTHS_LONG);
	for (size_t k = 0; k < kernel_count; k++)
		for (unsigned length = LENGTHS; length <= LENGTHS_LONG;
			length += k < natives ? 1 : 173)
			assert_length(kernels[k], bytes + 3, length);
}

/* A single bit anywhere, among zeros: shows what random bytes may hide. */
static void test_single_bits(void **state)
{
	enum { LENGTH = 1500 };
	static uint8_t data[LENGTH];

	(void)state;
	for (unsigned bit = 0; bit < 8 * LENGTH; bit += 13) {
		data[bit / 8] = (uint8_t)(1u << bit % 8);
		expect_from(0, data, LENGTH);
		for (size_t k = 0; k < kernel_count; k++)
			assert_length(kernels[k], data, LENGTH);
		data[bit / 8] = 0;
	}
}

/* In two pieces it is the same, wherever it is cut. */
static void test_pieces(void **state)
{
	(void)state;
	expect_from(0, bytes, LENGTHS);
	for (size_t k = 0; k < natives; k++)
		for (unsigned cut = 0; cut <= LENGTHS; cut++) {
			uint32_t first = kernels[k]->crc(0, bytes, cut);

			assert_int_equal(kernels[k]->crc(first, bytes + cut, LENGTHS - cut),
				expected[LENGTHS]);
		}
	for (unsigned cut = 0; cut <= LENGTHS; cut++)
		assert_int_equal(crc32c(crc32c(0, bytes, cut), bytes + cut, LENGTHS - cut),
			crc32c_portable(0, bytes, LENGTHS));
}

/* Between two pages that must not be touched. */
static void test_reads_nothing_outside(void **state)
{
	enum { ROOM = 2 * PAGE_BYTES };
	uint8_t *map =
		mmap(NULL, ROOM + 2 * PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *room = map + PAGE_BYTES;

	(void)state;
	assert_true(map != MAP_FAILED);
	assert_int_equal(mprotect(room, ROOM, PROT_READ | PROT_WRITE), 0);
	memcpy(room, bytes, ROOM);
	for (size_t k = 0; k < kernel_count; k++)
		for (unsigned length = 0; length <= ROOM; length += k < natives ? 1 : 101) {
			kernels[k]->crc(0, room, length);
			kernels[k]->crc(0, room + ROOM - length, length);
		}
	munmap(map, ROOM + 2 * PAGE_BYTES);
}

/* The checksum is that of the bytes, the copy is those bytes, and nothing else is written. */
static void test_copy(void **state)
{
	static uint8_t copy[LENGTHS + 3 * ALIGNMENTS], untouched[sizeof(copy)];

	(void)state;
	memset(untouched, 0xa5, sizeof(untouched));
	for (unsigned alignment = 0; alignment < ALIGNMENTS; alignment += 7) {
		const uint8_t *from = bytes + alignment;
		uint8_t *to = copy + ALIGNMENTS + (alignment * 5) % ALIGNMENTS;

		expect_from(0x12345678, from, LENGTHS);
		for (size_t k = 0; k < kernel_count; k++) {
			unsigned step = k < natives ? 7 : 331;

			for (unsigned length = alignment % step; length <= LENGTHS;
				length += length < 700 && k < natives ? 1 : step) {
				size_t behind = sizeof(copy) - (size_t)(to - copy) - length;

				memset(copy, 0xa5, sizeof(copy));
				assert_int_equal(kernels[k]->copy(expected[0], to, from, length),
					expected[length]);
				assert_int_equal(memcmp(to, from, length), 0);
				assert_int_equal(memcmp(copy, untouched, to - copy), 0);
				assert_int_equal(memcmp(to + length, untouched, behind), 0);
			}
		}
	}
	assert_int_equal(
		crc32c_copy(0x12345678, copy, bytes, 777), crc32c_portable(0x12345678, bytes, 777));
	assert_int_equal(memcmp(copy, bytes, 777), 0);
}

static void test_zeros(void **state)
{
	static const uint8_t zeros[LENGTHS_LONG];

	(void)state;
	expect_from(~UINT32_C(0x12345678), zeros, LENGTHS_LONG);
	for (unsigned length = 0; length <= LENGTHS_LONG; length++) {
		assert_int_equal(crc32c_zeros(0x12345678, length), ~expected[length]);
		for (size_t k = 0; k < natives; k++)
			assert_int_equal(kernels[k]->zeros(expected[0], length), expected[length]);
	}
}

/* Kernels that are wrong in one way each. */

static uint32_t wrong_when_long(uint32_t crc, const uint8_t *at, size_t count)
{
	return crc32c_table(crc, at, count) ^ (count > 4000);
}

static uint32_t wrong_rest(uint32_t crc, const uint8_t *at, size_t count)
{
	return count % 8 == 7 ? 0 : crc32c_table(crc, at, count);
}

static uint32_t wrong_zeros(uint32_t crc, size_t count)
{
	return count > 3000 ? 0 : crc32c_table_zeros(crc, count);
}

static uint32_t wrong_copy(uint32_t crc, uint8_t *to, const uint8_t *from, size_t count)
{
	if (count)
		memcpy(to, from, count - 1);
	return crc32c_table(crc, from, count);
}

static uint32_t no_work(uint32_t crc, const uint8_t *at, size_t count)
{
	(void)at, (void)count;
	return crc;
}

/* As fast as the trusted one, each would win some of these races. */
static void test_wrong_kernels_are_not_chosen(void **state)
{
	/* clang-format off */
	static const struct crc32c_kernel suspects[] = {
		{ "absent", runs_not, crc32c_table, crc32c_table_copy, crc32c_table_zeros },
		{ "no work", runs, no_work, crc32c_table_copy, crc32c_table_zeros },
		{ "wrong when long", runs, wrong_when_long, crc32c_table_copy, crc32c_table_zeros },
		{ "wrong rest", runs, wrong_rest, crc32c_table_copy, crc32c_table_zeros },
		{ "wrong copy", runs, crc32c_table, wrong_copy, crc32c_table_zeros },
		{ "wrong zeros", runs, crc32c_table, crc32c_table_copy, wrong_zeros },
	};
	/* clang-format on */
	struct crc32c_kernel pair[] = {
		{"", runs, NULL, NULL, NULL},
		{"trusted", runs, crc32c_table, crc32c_table_copy, crc32c_table_zeros},
	};

	(void)state;
	log_threshold(LOG_LEVEL_ERROR);
	for (unsigned i = 0; i < ARRAY_SIZE(suspects); i++) {
		pair[0] = suspects[i];
		for (unsigned turn = 0; turn < 20; turn++)
			assert_string_equal(crc32c_fastest(pair, 2)->name, "trusted");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_every_length_and_alignment),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_single_bits),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_reads_nothing_outside),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_zeros),
		cmocka_unit_test(test_wrong_kernels_are_not_chosen),
	};

	unit_start();
	return cmocka_run_group_tests(tests, set_up, NULL);
}
