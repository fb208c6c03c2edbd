/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Superblocks: whatever the page holds, decoding never crashes, never accepts a damaged or moved
 * one, and what it accepts is consistent. Offsets and the checksum are written once more here, from
 * docs/FORMAT.md and not from the code, so that either being wrong shows.
 */
#include "unit.h"

#include <endian.h>
#include <errno.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "raid/array.h"
#include "raid/member.h"
#include "sample.h"

enum { PLACE = 1 << 20, MEMBER_UUID_AT = 160, ROWS_AT = 1024, ROW_BYTES = 64, CHECKSUM_AT = 4092 };

static uint8_t page[SUPERBLOCK_BYTES];

/* FORMAT.md, "Checksums": the member's uuid, the place as le64, then what the page says. */
static void seal(uint64_t place)
{
	uint64_t salt = htole64(place);
	uint32_t crc = crc32c_portable(0, page + MEMBER_UUID_AT, UUID_BYTES);

	crc = crc32c_portable(crc, &salt, sizeof(salt));
	crc = htole32(crc32c_portable(crc, page, CHECKSUM_AT));
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

/* --- round trips ----------------------------------------------------------------------------- */

/* Padding of structs is zero on both sides. */
static void assert_same(const struct superblock *a, const struct superblock *b)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *one = &a->rows[i], *two = &b->rows[i];

		assert_memory_equal(&one->uuid, &two->uuid, UUID_BYTES);
		assert_int_equal(one->state, two->state);
		assert_int_equal(one->reason, two->reason);
		assert_int_equal(one->replaces, two->replaces);
		assert_int_equal(one->since, two->since);
		assert_int_equal(one->watermark, two->watermark);
		assert_int_equal(one->lost_at, two->lost_at);
		assert_int_equal(one->resyncable, two->resyncable);
	}
	assert_memory_equal(&a->array_uuid, &b->array_uuid, UUID_BYTES);
	assert_memory_equal(&a->host_id, &b->host_id, UUID_BYTES);
	assert_memory_equal(&a->member_uuid, &b->member_uuid, UUID_BYTES);
	assert_memory_equal(&a->epoch, &b->epoch, UUID_BYTES);
	assert_memory_equal(a->ancestors, b->ancestors, sizeof(a->ancestors));
	assert_memory_equal(a->name, b->name, sizeof(a->name));
	assert_memory_equal(a->fingerprint, b->fingerprint, sizeof(a->fingerprint));
	assert_memory_equal(a->writer, b->writer, sizeof(a->writer));
	assert_memory_equal(&a->layout, &b->layout, sizeof(a->layout));
	assert_ptr_equal(a->level, b->level);
	assert_int_equal(a->members, b->members);
	assert_int_equal(a->parts, b->parts);
	assert_int_equal(a->chunk_bytes, b->chunk_bytes);
	assert_int_equal(a->block_bytes, b->block_bytes);
	assert_int_equal(a->layout_id, b->layout_id);
	assert_int_equal(a->stripes, b->stripes);
	assert_int_equal(a->region_bytes, b->region_bytes);
	assert_int_equal(a->consistency, b->consistency);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->clean, b->clean);
	assert_int_equal(a->unmade, b->unmade);
	assert_int_equal(a->log_epoch, b->log_epoch);
	assert_int_equal(a->row, b->row);
	assert_int_equal(a->member_bytes, b->member_bytes);
	assert_int_equal(a->created_at, b->created_at);
	assert_int_equal(a->written_at, b->written_at);
}

static void test_round_trips(void **state)
{
	struct random random = {1};

	(void)state;
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t place = random_below(&random, 1 << 20) * SUPERBLOCK_BYTES;
		struct superblock written = {0}, read = {0};
		struct fail fail = {0};

		sample_any(&written, &random);
		memset(page, 0xa5, sizeof(page)); /* whatever was there */
		superblock_encode(&written, place, page);
		expect(!superblock_decode(&read, place, page, &fail), "run %u: %s", i, fail.text);
		assert_same(&written, &read);
	}
}

/* Every field at the byte that FORMAT.md gives. */
static void test_offsets(void **state)
{
	struct random random = {2};
	struct superblock superblock;
	const struct superblock_row *row = &superblock.rows[35];
	unsigned at = ROWS_AT + 35 * ROW_BYTES;

	(void)state;
	do
		sample_any(&superblock, &random);
	while (row->state != ROW_REPLACING || strcmp(superblock.level->name, "50"));
	superblock_encode(&superblock, PLACE, page);
	assert_memory_equal(page, "braid superblock", 16);
	assert_int_equal(get(16, 2), 1);
	assert_int_equal(get(18, 2), 0);
	assert_int_equal(get(20, 4), 4096);
	assert_int_equal(get(24, 8) | get(32, 8) | get(40, 8), 0);
	assert_int_equal(get(48, 4), 1);
	assert_memory_equal(page + 56, &superblock.array_uuid, 16);
	assert_memory_equal(page + 72, superblock.name, 64);
	assert_memory_equal(page + 136, &superblock.host_id, 16);
	assert_int_equal(get(152, 8), superblock.created_at);
	assert_memory_equal(page + 160, &superblock.member_uuid, 16);
	assert_int_equal(get(176, 2), superblock.row);
	assert_int_equal(get(184, 8), superblock.member_bytes);
	assert_memory_equal(page + 192, superblock.fingerprint, 96);
	assert_int_equal(get(288, 4), 50);
	assert_int_equal(get(292, 4), superblock.layout_id);
	assert_int_equal(get(296, 4), superblock.members);
	assert_int_equal(get(300, 4), superblock.parts);
	assert_int_equal(get(304, 4), superblock.chunk_bytes);
	assert_int_equal(get(308, 4), superblock.block_bytes);
	assert_int_equal(get(312, 8), superblock.stripes);
	assert_int_equal(get(320, 8), superblock.region_bytes);
	assert_int_equal(get(328, 8), superblock.layout.superblocks[0].offset);
	assert_int_equal(get(336, 8), superblock.layout.superblocks[0].bytes);
	assert_int_equal(get(344, 8), superblock.layout.superblocks[1].offset);
	assert_int_equal(get(360, 8), superblock.layout.intent.offset);
	assert_int_equal(get(376, 8), superblock.layout.bad_blocks.offset);
	assert_int_equal(get(392, 8), superblock.layout.notes.offset);
	assert_int_equal(get(408, 8), superblock.layout.log.offset);
	assert_int_equal(get(424, 8), superblock.layout.data.offset);
	assert_int_equal(get(432, 8), superblock.layout.data.bytes);
	assert_int_equal(get(440, 4), superblock.layout.slots);
	assert_int_equal(get(444, 4), superblock.consistency);
	assert_int_equal(get(448, 8), superblock.generation);
	assert_memory_equal(page + 456, &superblock.epoch, 16);
	assert_memory_equal(page + 472, superblock.ancestors, 48);
	assert_int_equal(get(520, 8), superblock.log_epoch);
	assert_int_equal(get(528, 4), (uint64_t)(superblock.clean | superblock.unmade << 1));
	assert_memory_equal(page + 536, superblock.writer, 16);
	assert_int_equal(get(552, 8), superblock.written_at);
	assert_memory_equal(page + at, &row->uuid, 16);
	assert_int_equal(get(at + 16, 1), row->state);
	assert_int_equal(get(at + 17, 1), row->reason);
	assert_int_equal(get(at + 18, 1), row->replaces);
	assert_int_equal(get(at + 19, 1), row->resyncable);
	assert_int_equal(get(at + 24, 8), row->since);
	assert_int_equal(get(at + 32, 8), row->watermark);
	assert_int_equal(get(at + 40, 8), row->lost_at);
	at = (unsigned)get(CHECKSUM_AT, 4);
	seal(PLACE);
	assert_int_equal(get(CHECKSUM_AT, 4), at);
}

/* --- damage ---------------------------------------------------------------------------------- */

static void test_every_bit(void **state)
{
	struct random random = {3};
	struct superblock written, read;
	struct fail fail;

	(void)state;
	sample_any(&written, &random);
	superblock_encode(&written, PLACE, page);
	for (unsigned bit = 0; bit < SUPERBLOCK_BYTES * 8; bit++) {
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
		fail = (struct fail){0};
		expect(superblock_decode(&read, PLACE, page, &fail) && fail.text[0],
			"bit %u of byte %u is flipped, and it is accepted", bit % 8, bit / 8);
		page[bit / 8] = (uint8_t)(page[bit / 8] ^ 1u << bit % 8);
	}
	assert_int_equal(superblock_decode(&read, PLACE, page, NULL), 0);
}

/* Every byte at every value; what stands in the page from there on is lost. */
static void test_every_byte(void **state)
{
	struct random random = {4};
	struct superblock written, read;
	uint8_t whole[SUPERBLOCK_BYTES];

	(void)state;
	sample_any(&written, &random);
	superblock_encode(&written, PLACE, whole);
	for (unsigned at = 0; at < SUPERBLOCK_BYTES; at++) {
		memcpy(page, whole, sizeof(page));
		page[at] = (uint8_t)(page[at] + 1 + random_below(&random, 255));
		expect(superblock_decode(&read, PLACE, page, NULL), "byte %u", at);
		memcpy(page, whole, at);
		memset(page + at, 0, SUPERBLOCK_BYTES - at); /* torn, over zeros */
		expect(superblock_decode(&read, PLACE, page, NULL), "cut at %u", at);
	}
}

static void test_place_and_member(void **state)
{
	struct random random = {5};
	struct superblock written, read;

	(void)state;
	sample_any(&written, &random);
	superblock_encode(&written, PLACE, page);
	for (unsigned bit = 0; bit < 64; bit++)
		assert_int_equal(
			superblock_decode(&read, PLACE ^ 1ull << bit, page, NULL), -EILSEQ);
	/* A member's uuid put into another's superblock, as it would be by a tool that copies. */
	sample_uuid((struct uuid *)(page + MEMBER_UUID_AT), &random);
	assert_int_equal(superblock_decode(&read, PLACE, page, NULL), -EILSEQ);
	memset(page, 0, sizeof(page));
	assert_int_equal(superblock_decode(&read, PLACE, page, NULL), -ENODATA);
}

static void test_versions(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t value;
		int error;
	} cases[] = {
		{16, 2, 2, -ENOTSUP}, {16, 2, 0, -ENOTSUP},	     /* major */
		{18, 2, 7, 0},					     /* minor */
		{24, 8, UINT64_MAX, 0},				     /* compat */
		{32, 8, 1, -ENOTSUP}, {40, 8, 1ull << 63, -ENOTSUP}, /* ro_compat, incompat */
		{20, 4, 8192, -EILSEQ}, {48, 4, 2, -EILSEQ},	     /* size, checksum's type */
		{52, 4, 1, -EILSEQ}, {178, 2, 1, -EILSEQ},	     /* reserved */
		{532, 4, 1, -EILSEQ}, {560, 8, 1, -EILSEQ}, {1016, 8, 1, -EILSEQ},
		{ROWS_AT + 20, 4, 1, -EILSEQ}, {ROWS_AT + 39 * ROW_BYTES + 56, 8, 1, -EILSEQ},
		{3584, 8, 1, -EILSEQ}, {4088, 4, 1, -EILSEQ},
		{528, 4, 4, -EILSEQ},	       /* a flag that is not known */
		{ROWS_AT + 19, 1, 2, -EILSEQ}, /* a row's */
	};
	struct random random = {6};
	struct superblock written, read;

	(void)state;
	sample_superblock(&written, &random, "6", 5, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fail fail = {0};
		int error;

		superblock_encode(&written, PLACE, page);
		put(cases[i].at, cases[i].bytes, cases[i].value);
		seal(PLACE);
		error = superblock_decode(&read, PLACE, page, &fail);
		expect(error == cases[i].error, "byte %u: %d, %s", cases[i].at, error, fail.text);
	}
}

/* --- a right checksum over nonsense ---------------------------------------------------------- */

static bool overlap(const struct extent *a, const struct extent *b)
{
	return a->bytes && b->bytes && a->offset < b->offset + b->bytes &&
	       b->offset < a->offset + a->bytes;
}

static void check_layout(const struct superblock *superblock)
{
	const struct layout *layout = &superblock->layout;
	const struct extent *areas[] = {&layout->superblocks[0], &layout->superblocks[1],
		&layout->intent, &layout->bad_blocks, &layout->notes, &layout->log, &layout->data};

	for (unsigned i = 0; i < ARRAY_SIZE(areas); i++) {
		expect(areas[i]->offset % 4096 == 0 && areas[i]->bytes % 4096 == 0 &&
				areas[i]->offset <= superblock->member_bytes &&
				areas[i]->bytes <= superblock->member_bytes - areas[i]->offset,
			"area %u is not within the member", i);
		for (unsigned j = 0; j < i; j++)
			expect(!overlap(areas[i], areas[j]), "areas %u and %u overlap", j, i);
	}
	expect(layout->slots && layout->superblocks[0].bytes == layout->slots * 4096ull &&
			layout->superblocks[1].bytes == layout->slots * 4096ull,
		"%u slots", layout->slots);
	expect(layout->intent.bytes >= 4 * 4096, "no room for the maps");
}

static void check_numbers(const struct superblock *superblock)
{
	const struct level *level = superblock->level;
	unsigned parts = superblock->parts ? superblock->parts : 1;
	uint64_t chunk = superblock->chunk_bytes;

	assert_non_null(level);
	expect(superblock->members >= level->members_min && superblock->members <= RAID_MEMBERS_MAX,
		"%u members", superblock->members);
	expect(!level->part == !superblock->parts && superblock->members % parts == 0 &&
			(!level->part || (parts >= 2 && superblock->members / parts >=
								level->part->members_min)),
		"%u parts", parts);
	expect(!level->part_members || superblock->members / parts == level->part_members,
		"%u parts of level %s", parts, level->name);
	expect(superblock->block_bytes == 512 || superblock->block_bytes == 4096, "block");
	expect(is_power_of_two(chunk) && chunk >= 4096 && chunk <= ARRAY_CHUNK_BYTES_MAX, "chunk");
	expect(superblock->stripes && superblock->stripes <= superblock->layout.data.bytes / chunk,
		"%llu stripes", (unsigned long long)superblock->stripes);
	expect(is_power_of_two(superblock->region_bytes) && superblock->region_bytes >= chunk &&
			divide_up(superblock->stripes * chunk, superblock->region_bytes) <=
				LAYOUT_REGIONS_MAX,
		"regions of %llu", (unsigned long long)superblock->region_bytes);
	assert_true(superblock->consistency < CONSISTENCIES);
	assert_true(memchr(superblock->name, 0, sizeof(superblock->name)) &&
		    memchr(superblock->fingerprint, 0, sizeof(superblock->fingerprint)) &&
		    memchr(superblock->writer, 0, sizeof(superblock->writer)));
}

static void check_rows(const struct superblock *superblock)
{
	uint32_t copied = 0;

	assert_true(superblock->row < SUPERBLOCK_ROWS);
	expect(uuid_equal(&superblock->rows[superblock->row].uuid, &superblock->member_uuid),
		"the member's row is another's");
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct superblock_row *row = &superblock->rows[i];
		bool slot = row->state == ROW_IN_SYNC || row->state == ROW_REBUILDING ||
			    row->state == ROW_FAILED;

		expect(row->state < ROW_STATES && slot == (i < superblock->members), "row %u is %u",
			i, row->state);
		assert_true(row->reason < LOSS_REASONS);
		assert_true(row->watermark <= superblock->stripes);
		expect(row->state == ROW_EMPTY || row->since <= superblock->generation,
			"row %u: since the future", i);
		for (unsigned j = 0; j < i && row->state != ROW_EMPTY; j++)
			expect(superblock->rows[j].state == ROW_EMPTY ||
					!uuid_equal(&row->uuid, &superblock->rows[j].uuid),
				"rows %u and %u are the same member", j, i);
		if (row->state != ROW_REPLACING)
			continue;
		expect(row->replaces < superblock->members && !(copied >> row->replaces & 1),
			"row %u replaces slot %u", i, row->replaces);
		copied |= 1u << row->replaces;
	}
}

/* An integer of the format. */
struct field {
	unsigned at, bytes;
};

static const struct field fields[] = {{16, 2}, {18, 2}, {20, 4}, {24, 8}, {48, 4}, {160, 8},
	{176, 2}, {184, 8}, {288, 4}, {292, 4}, {296, 4}, {300, 4}, {304, 4}, {308, 4}, {312, 8},
	{320, 8}, {328, 8}, {336, 8}, {344, 8}, {352, 8}, {360, 8}, {368, 8}, {376, 8}, {384, 8},
	{392, 8}, {400, 8}, {408, 8}, {416, 8}, {424, 8}, {432, 8}, {440, 4}, {444, 4}, {448, 8},
	{520, 8}, {528, 4}, {135, 1}, {287, 1}, {551, 1}};
static const struct field row_fields[] = {
	{0, 8}, {8, 8}, {16, 1}, {17, 1}, {18, 1}, {19, 1}, {24, 8}, {32, 8}, {40, 8}};

static struct field any_field(struct random *random)
{
	uint64_t row = random_below(random, 2 * SUPERBLOCK_ROWS);
	struct field field;

	if (row >= SUPERBLOCK_ROWS)
		return fields[random_below(random, ARRAY_SIZE(fields))];
	field = row_fields[random_below(random, ARRAY_SIZE(row_fields))];
	field.at += ROWS_AT + (unsigned)row * ROW_BYTES;
	return field;
}

/* Copies a field over another of its kind: extents that overlap, uuids that are there twice. */
static void swap_fields(struct random *random)
{
	unsigned from = (unsigned)random_below(random, 7), to = (unsigned)random_below(random, 7);

	if (random_below(random, 2)) {
		memmove(page + 328 + to * 16, page + 328 + from * 16, 16);
	} else {
		from = (unsigned)random_below(random, SUPERBLOCK_ROWS);
		to = (unsigned)random_below(random, SUPERBLOCK_ROWS);
		memmove(page + ROWS_AT + to * ROW_BYTES, page + ROWS_AT + from * ROW_BYTES,
			random_below(random, 2) ? ROW_BYTES : 16);
	}
}

static void test_nonsense(void **state)
{
	struct random random = {7};
	unsigned accepted = 0;

	(void)state;
	for (unsigned run = 0; run < 200000; run++) {
		struct superblock superblock;
		struct fail fail = {0};

		sample_any(&superblock, &random);
		superblock_encode(&superblock, PLACE, page);
		for (uint64_t i = 1 + random_below(&random, 3); i; i--) {
			struct field field = any_field(&random);

			if (random_below(&random, 8) == 0)
				swap_fields(&random);
			else
				put(field.at, field.bytes,
					sample_hostile(&random, get(field.at, field.bytes)));
		}
		seal(PLACE);
		memset(&superblock, 0xa5, sizeof(superblock));
		if (superblock_decode(&superblock, PLACE, page, &fail)) {
			assert_true(fail.error && fail.text[0]);
			continue;
		}
		accepted++;
		check_layout(&superblock);
		check_numbers(&superblock);
		check_rows(&superblock);
	}
	/* The test is about both. */
	assert_in_range(accepted, 10000, 190000);
}

/* One more than there may be, and one less than there must. */
static void test_limits(void **state)
{
	static const struct {
		const char *level;
		unsigned members, parts;
		int error;
	} cases[] = {
		{"0", 32, 0, 0},
		{"0", 33, 0, -EILSEQ},
		{"6", 32, 0, 0},
		{"6", 33, 0, -EILSEQ},
		{"1", 1, 0, -EILSEQ},
		{"5", 2, 0, -EILSEQ},
		{"6", 3, 0, -EILSEQ},
		{"7", 4, 0, -EILSEQ},
		{"5", 3, 0, 0},
		{"5", 3, 1, -EILSEQ},
		{"10", 4, 2, 0},
		{"10", 6, 2, -EILSEQ},
		{"10", 6, 3, 0},
		{"50", 6, 2, 0},
		{"50", 6, 1, -EILSEQ},
		{"50", 6, 3, -EILSEQ},
		{"50", 6, 0, -EILSEQ},
		{"50", 7, 2, -EILSEQ},
		{"60", 8, 2, 0},
		{"70", 10, 2, 0},
		{"70", 10, 5, -EILSEQ},
	};
	struct random random = {9};
	struct superblock superblock;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		sample_superblock(
			&superblock, &random, cases[i].level, cases[i].members, cases[i].parts);
		superblock_encode(&superblock, PLACE, page);
		expect(superblock_decode(&superblock, PLACE, page, NULL) == cases[i].error,
			"RAID %s of %u in %u parts", cases[i].level, cases[i].members,
			cases[i].parts);
	}
}

/* Not a superblock at all, but a right one in form. */
static void test_noise(void **state)
{
	struct random random = {8};

	(void)state;
	for (unsigned run = 0; run < 20000; run++) {
		struct superblock superblock;

		for (unsigned i = 0; i < SUPERBLOCK_BYTES; i += 8)
			put(i, 8, random_next(&random));
		memcpy(page, "braid superblock", 16);
		put(16, 8, 4096ull << 32 | 1);
		put(24, 8, 0);
		put(32, 8, 0);
		put(40, 8, 0);
		put(48, 8, 1);
		seal(PLACE);
		assert_int_equal(superblock_decode(&superblock, PLACE, page, NULL), -EILSEQ);
	}
}

/* --- identities ------------------------------------------------------------------------------ */

static void test_uuids(void **state)
{
	static const char *const wrong[] = {"", "00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0", "00112233-4455-6677-8899-aabbccddeefg",
		"00112233445566778899aabbccddeeff", " 0112233-4455-6677-8899-aabbccddeeff",
		"0x112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899+aabbccddeeff"};
	char text[UUID_TEXT_BYTES];
	struct uuid uuid, other;

	(void)state;
	assert_true(uuid_parse(&uuid, "00112233-4455-6677-8899-aaBBccddeeff"));
	assert_string_equal(uuid_print(&uuid, text), "00112233-4455-6677-8899-aabbccddeeff");
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		expect(!uuid_parse(&other, wrong[i]), "'%s'", wrong[i]);
	uuid_make(&uuid);
	uuid_make(&other);
	assert_false(uuid_equal(&uuid, &other) || uuid_is_null(&uuid));
	assert_int_equal(uuid.byte[6] >> 4, 4);
	assert_int_equal(uuid.byte[8] >> 6, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_offsets),
		cmocka_unit_test(test_every_bit),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_place_and_member),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_uuids),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
