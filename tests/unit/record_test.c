/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the stripe log and headers of its lanes: round trips, every bit flipped, other places,
 * other members, and hostile content with a right checksum. Offsets are docs/FORMAT.md's.
 */
#include "unit.h"

#include <endian.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "raid/record.h"
#include "sample.h"

enum { PLACE = 0x19e000, ENTRIES_AT = 64, ENTRY_BYTES = 64, CHECKSUM_AT = 60 };

static uint8_t page[RECORD_HEADER_BYTES];

/* FORMAT.md, "Checksums": the checksum's own bytes are left out; a lane's header ends there. */
static void seal(const struct uuid *member, uint64_t place, bool record)
{
	uint64_t salt = htole64(place);
	uint32_t crc = crc32c_portable(0, member, UUID_BYTES);

	crc = crc32c_portable(crc, &salt, sizeof(salt));
	crc = crc32c_portable(crc, page, CHECKSUM_AT);
	if (record)
		crc = crc32c_portable(crc, page + ENTRIES_AT, sizeof(page) - ENTRIES_AT);
	crc = htole32(crc);
	memcpy(page + CHECKSUM_AT, &crc, sizeof(crc));
}

static uint64_t get(unsigned at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, page + at, bytes);
	return le64toh(value);
}

static void put(unsigned at, unsigned bytes, uint64_t value)
{
	value = htole64(value);
	memcpy(page + at, &value, bytes);
}

static void any_record(struct record *record, struct random *random)
{
	memset(record, 0, sizeof(*record));
	record->log_epoch = random_next(random);
	record->part = (unsigned)random_next(random);
	record->lane = (unsigned)random_next(random);
	record->entries = (unsigned)(1 + random_below(random, RECORD_ENTRIES_MAX));
	for (unsigned i = 0; i < record->entries; i++)
		record->entry[i] = (struct record_entry){
			.seq = random_next(random),
			.stripe = random_next(random),
			.row = (uint32_t)random_next(random),
			.rows = (uint32_t)random_next(random),
			.members = (uint32_t)random_next(random),
			.kind = (enum record_kind)random_below(random, RECORD_KINDS),
			.checksum = (uint32_t)random_next(random),
		};
}

static void assert_same_entry(const struct record_entry *a, const struct record_entry *b)
{
	assert_int_equal(a->seq, b->seq);
	assert_int_equal(a->stripe, b->stripe);
	assert_int_equal(a->row, b->row);
	assert_int_equal(a->rows, b->rows);
	assert_int_equal(a->members, b->members);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->checksum, b->checksum);
}

static void test_round_trips(void **state)
{
	struct random random = {1};
	struct uuid member;

	(void)state;
	for (unsigned run = 0; run < 3000; run++) {
		uint64_t place = random_below(&random, 1 << 30) * 4096;
		struct record written, read;

		sample_uuid(&member, &random);
		any_record(&written, &random);
		memset(page, 0xa5, sizeof(page));
		record_encode(&written, &member, place, page);
		assert_true(record_decode(&read, &member, place, page));
		assert_int_equal(read.log_epoch, written.log_epoch);
		assert_int_equal(read.part, written.part);
		assert_int_equal(read.lane, written.lane);
		assert_int_equal(read.entries, written.entries);
		for (unsigned i = 0; i < read.entries; i++)
			assert_same_entry(&read.entry[i], &written.entry[i]);
	}
}

static void test_offsets(void **state)
{
	struct random random = {2};
	struct record record;
	struct uuid member;
	unsigned last;

	(void)state;
	sample_uuid(&member, &random);
	any_record(&record, &random);
	record_encode(&record, &member, PLACE, page);
	assert_memory_equal(page, "braidlog", 8);
	assert_int_equal(get(8, 8), record.log_epoch);
	assert_int_equal(get(16, 4), record.part);
	assert_int_equal(get(20, 4), record.lane);
	assert_int_equal(get(24, 4), record.entries);
	last = record.entries - 1;
	for (unsigned i = 0; i <= last; i += last ? last : 1) {
		const struct record_entry *entry = &record.entry[i];
		unsigned at = ENTRIES_AT + i * ENTRY_BYTES;

		assert_int_equal(get(at, 8), entry->seq);
		assert_int_equal(get(at + 8, 8), entry->stripe);
		assert_int_equal(get(at + 16, 4), entry->row);
		assert_int_equal(get(at + 20, 4), entry->rows);
		assert_int_equal(get(at + 24, 4), entry->members);
		assert_int_equal(get(at + 28, 4), entry->kind);
		assert_int_equal(get(at + 32, 4), entry->checksum);
	}
	last = (unsigned)get(CHECKSUM_AT, 4);
	seal(&member, PLACE, true);
	assert_int_equal(get(CHECKSUM_AT, 4), last);
}

static void test_every_bit(void **state)
{
	struct random random = {3};
	struct record record;
	struct uuid member, other;

	(void)state;
	sample_uuid(&member, &random);
	any_record(&record, &random);
	record_encode(&record, &member, PLACE, page);
	for (unsigned bit = 0; bit < sizeof(page) * 8; bit++) {
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
		expect(!record_decode(&record, &member, PLACE, page), "bit %u of byte %u", bit % 8,
			bit / 8);
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
	}
	for (unsigned bit = 0; bit < 64; bit++)
		assert_false(record_decode(&record, &member, PLACE ^ 1ull << bit, page));
	for (unsigned bit = 0; bit < UUID_BYTES * 8; bit++) {
		other = member;
		other.byte[bit / 8] = (uint8_t)(other.byte[bit / 8] ^ 1u << bit % 8);
		assert_false(record_decode(&record, &other, PLACE, page));
	}
	assert_true(record_decode(&record, &member, PLACE, page));
}

/* Torn: the beginning of the new header over another record, or over zeros. */
static void test_torn(void **state)
{
	struct random random = {4};
	uint8_t old[sizeof(page)], new[sizeof(page)];
	struct record record, read;
	struct uuid member;

	(void)state;
	sample_uuid(&member, &random);
	any_record(&record, &random);
	record_encode(&record, &member, PLACE, old);
	any_record(&record, &random);
	record.entries = RECORD_ENTRIES_MAX;
	record_encode(&record, &member, PLACE, new);
	for (unsigned at = 1; at < sizeof(page) - 28; at++) {
		bool same;

		memcpy(page, old, sizeof(page));
		memcpy(page, new, at);
		same = !memcmp(page, old, sizeof(page)) || !memcmp(page, new, sizeof(page));
		expect(record_decode(&read, &member, PLACE, page) == same, "torn at %u", at);
		memset(page + at, 0, sizeof(page) - at);
		same = !memcmp(page, new, sizeof(page));
		expect(record_decode(&read, &member, PLACE, page) == same, "cut at %u", at);
	}
}

static void test_nonsense(void **state)
{
	struct random random = {5};
	struct uuid member;
	unsigned accepted = 0;

	(void)state;
	sample_uuid(&member, &random);
	for (unsigned run = 0; run < 100000; run++) {
		static const unsigned offsets[] = {
			8, 16, 20, 24, 24, 64, 72, 80, 84, 88, 92, 92, 96, 64 + 62 * 64 + 28};
		struct record record;
		uint64_t bytes;

		any_record(&record, &random);
		record_encode(&record, &member, PLACE, page);
		for (uint64_t i = 1 + random_below(&random, 3); i; i--) {
			unsigned at = offsets[random_below(&random, ARRAY_SIZE(offsets))];

			put(at, 4, sample_hostile(&random, get(at, 4)));
		}
		seal(&member, PLACE, true);
		memset(&record, 0xa5, sizeof(record));
		if (!record_decode(&record, &member, PLACE, page))
			continue;
		accepted++;
		expect(record.entries && record.entries <= RECORD_ENTRIES_MAX, "%u entries",
			record.entries);
		for (unsigned i = 0; i < record.entries; i++)
			assert_true((unsigned)record.entry[i].kind < RECORD_KINDS);
		/* The sum cannot overflow, whatever the entries say. */
		bytes = record_bytes(&record, 4096);
		expect(bytes % 4096 == 0 && bytes >= 4096 && bytes < 1ull << 52, "%llu bytes",
			(unsigned long long)bytes);
	}
	assert_in_range(accepted, 10000, 90000);
}

static void test_sizes(void **state)
{
	struct record record = {.entries = 3};

	(void)state;
	record.entry[0] = (struct record_entry){.rows = 1, .kind = RECORD_DATA};
	record.entry[1] = (struct record_entry){.rows = 100, .kind = RECORD_CLEAR};
	record.entry[2] = (struct record_entry){.rows = 100, .kind = RECORD_FULL};
	assert_int_equal(record_bytes(&record, 512), 8192);
	assert_int_equal(record_bytes(&record, 4096), 8192);
	record.entry[2].kind = RECORD_DATA;
	assert_int_equal(record_bytes(&record, 512), 4096 + 53248);
	record.entries = 1;
	record.entry[0].kind = RECORD_FULL;
	assert_int_equal(record_bytes(&record, 4096), 4096);
}

/* --- lanes ----------------------------------------------------------------------------------- */

static void test_lane_header(void **state)
{
	struct random random = {6};
	struct lane_header written, read;
	struct uuid member, other;

	(void)state;
	for (unsigned run = 0; run < 1000; run++) {
		uint64_t place = random_below(&random, 1 << 30) * 4096;

		sample_uuid(&member, &random);
		written = (struct lane_header){.log_epoch = random_next(&random),
			.part = (unsigned)random_next(&random),
			.lane = (unsigned)random_next(&random),
			.tail = random_next(&random)};
		memset(page, 0xa5, sizeof(page));
		lane_header_encode(&written, &member, place, page);
		assert_memory_equal(page, "braidlan", 8);
		assert_int_equal(get(8, 8), written.log_epoch);
		assert_int_equal(get(16, 4), written.part);
		assert_int_equal(get(20, 4), written.lane);
		assert_int_equal(get(24, 8), written.tail);
		assert_true(lane_header_decode(&read, &member, place, page));
		assert_int_equal(read.log_epoch, written.log_epoch);
		assert_int_equal(read.part, written.part);
		assert_int_equal(read.lane, written.lane);
		assert_int_equal(read.tail, written.tail);
		assert_false(lane_header_decode(&read, &member, place + 4096, page));
		sample_uuid(&other, &random);
		assert_false(lane_header_decode(&read, &other, place, page));
		seal(&member, place, false);
		assert_true(lane_header_decode(&read, &member, place, page));
	}
}

/* Only the first 64 bytes are the header: they are what has to be whole. */
static void test_lane_bits(void **state)
{
	struct random random = {7};
	struct lane_header header = {.log_epoch = 3, .part = 1, .lane = 2, .tail = 99};
	struct uuid member;

	(void)state;
	sample_uuid(&member, &random);
	lane_header_encode(&header, &member, PLACE, page);
	for (unsigned bit = 0; bit < sizeof(page) * 8; bit++) {
		bool counts = bit < 64 * 8;

		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
		expect(lane_header_decode(&header, &member, PLACE, page) != counts,
			"bit %u of byte %u", bit % 8, bit / 8);
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
	}
}

/* A record is no lane's header and the other way round. */
static void test_kinds_apart(void **state)
{
	struct random random = {8};
	struct lane_header header = {.log_epoch = 1};
	struct record record;
	struct uuid member;

	(void)state;
	sample_uuid(&member, &random);
	any_record(&record, &random);
	record_encode(&record, &member, PLACE, page);
	assert_false(lane_header_decode(&header, &member, PLACE, page));
	lane_header_encode(&header, &member, PLACE, page);
	assert_false(record_decode(&record, &member, PLACE, page));
	memset(page, 0, sizeof(page));
	assert_false(record_decode(&record, &member, PLACE, page));
	assert_false(lane_header_decode(&header, &member, PLACE, page));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_lane_header),
		cmocka_unit_test(test_lane_bits),
		cmocka_unit_test(test_kinds_apart),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
