/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The partition table: every field against UEFI 2.10, read back by arithmetic of its own; and by
 * sfdisk and blkid, where they are installed. Nothing else on the member is touched.
 */
#include "unit.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "drivers/drivers.h"
#include "memory/memory.h"
#include "raid/gpt.h"
#include "raid/transfer.h"
#include "reactor/sim.h"
#include "sample.h"

enum { MIB = 1 << 20, LINE_BYTES = 400 };

/* braid's blocks, and those of everybody else. */
static const struct {
	uint32_t block, sector;
} sizes_of[] = {{512, 512}, {4096, 4096}, {4096, 512}};
static const uint32_t block_sizes[] = {512, 4096};
static const char type_text[] = "feff63c6-43f4-49d5-bfc4-684f8ecd3ec7";

static uint64_t get(const char *at, unsigned bytes)
{
	uint64_t value = 0;

	memcpy(&value, at, bytes);
	return le64toh(value);
}

/* By the table, unlike the code. */
static uint32_t crc32_of(const char *bytes, size_t count)
{
	static uint32_t table[256];
	uint32_t crc = UINT32_MAX;

	for (uint32_t i = 0; i < 256 && !table[255]; i++) {
		table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			table[i] = table[i] & 1 ? table[i] >> 1 ^ 0xedb88320 : table[i] >> 1;
	}
	while (count--)
		crc = table[(crc ^ (uint8_t)*bytes++) & 0xff] ^ crc >> 8;
	return ~crc;
}

/* A GUID on disk, as it is printed. */
static void print_guid(const char *at, char text[UUID_TEXT_BYTES])
{
	snprintf(text, UUID_TEXT_BYTES, "%08x-%04x-%04x-%04x-%012llx", (uint32_t)get(at, 4),
		(uint16_t)get(at + 4, 2), (uint16_t)get(at + 6, 2),
		be16toh((uint16_t)get(at + 8, 2)),
		(unsigned long long)be64toh(get(at + 8, 8)) & 0xffffffffffffull);
}

static void check_header(char *header, const char *entries, uint64_t own, uint64_t other)
{
	uint32_t checksum = (uint32_t)get(header + 16, 4);

	assert_memory_equal(header, "EFI PART", 8);
	assert_int_equal(get(header + 8, 4), 0x10000);
	assert_int_equal(get(header + 12, 4), 92);
	assert_int_equal(get(header + 20, 4), 0);
	assert_int_equal(get(header + 24, 8), own);
	assert_int_equal(get(header + 32, 8), other);
	assert_int_equal(get(header + 80, 4), 128);
	assert_int_equal(get(header + 84, 4), 128);
	assert_int_equal(get(header + 88, 4), crc32_of(entries, 16384));
	memset(header + 16, 0, 4);
	assert_int_equal(crc32_of(header, 92), checksum);
	memcpy(header + 16, &checksum, 4);
}

static void check_entry(const char *entry, const struct gpt *gpt, uint64_t last)
{
	char text[UUID_TEXT_BYTES], member[UUID_TEXT_BYTES];

	print_guid(entry, text);
	assert_string_equal(text, type_text);
	assert_string_equal(uuid_print(&gpt_type, member), type_text);
	print_guid(entry + 16, text);
	assert_string_equal(text, uuid_print(&gpt->member, member));
	assert_int_equal(get(entry + 32, 8), gpt->first_byte / gpt->block_bytes);
	assert_int_equal(get(entry + 40, 8), last);
	assert_int_equal(get(entry + 48, 8), 0);
	assert_memory_equal(entry + 56, "b\0r\0a\0i\0d\0\0", 12);
	for (unsigned i = 66; i < 16384; i++)
		expect(!entry[i], "byte %u of the entries", i);
}

static void check_encoded(const struct gpt *gpt, char *head, char *tail)
{
	uint32_t block = gpt->block_bytes, table = 16384 / block;
	uint64_t last = gpt->blocks - 1;

	for (unsigned i = 0; i < 446; i++)
		assert_int_equal(head[i], 0);
	assert_memory_equal(head + 446, "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00", 12);
	assert_int_equal(get(head + 458, 4), last > UINT32_MAX ? UINT32_MAX : last);
	assert_memory_equal(head + 510, "\x55\xaa", 2);
	check_header(head + block, head + 2 * block, 1, last);
	check_header(tail + 16384, tail, last, 1);
	assert_int_equal(get(head + block + 72, 8), 2);
	assert_int_equal(get(tail + 16384 + 72, 8), last - table);
	/* At least 16 KiB are reserved for entries: 5.3.1. */
	assert_int_equal(get(head + block + 40, 8), block == 512 ? 34 : 6);
	assert_int_equal(get(head + block + 48, 8), last - table - 1);
	assert_memory_equal(head + block + 40, tail + 16384 + 40, 32);
	/* The disk's GUID is another than the partition's. */
	assert_memory_not_equal(head + block + 56, head + 2 * block + 16, 16);
	assert_memory_equal(head + 2 * block, tail, 16384);
	check_entry(head + 2 * block, gpt, last - table - 1);
}

static void test_encode(void **state)
{
	static char head[32768], tail[32768];
	static const uint64_t sizes[] = {9ull * MIB, 64ull * MIB + 512, (1ull << 40) - 4096,
		(1ull << 41) + 512, (1ull << 44) + 4096, 1ull << 50};
	struct random random = {1};

	(void)state;
	assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			struct gpt gpt = {.block_bytes = block_sizes[i],
				.blocks = sizes[j] / block_sizes[i],
				.first_byte = MIB};

			sample_uuid(&gpt.member, &random);
			memset(head, 0xa5, sizeof(head));
			memset(tail, 0xa5, sizeof(tail));
			gpt_encode(&gpt, head, tail);
			check_encoded(&gpt, head, tail);
			assert_int_equal(head[gpt_head_bytes(block_sizes[i])], (char)0xa5);
			assert_int_equal(tail[gpt_tail_bytes(block_sizes[i])], (char)0xa5);
		}
	assert_int_equal(gpt_head_bytes(512), 34 * 512);
	assert_int_equal(gpt_tail_bytes(512), 33 * 512);
	assert_int_equal(gpt_head_bytes(4096), 6 * 4096);
	assert_int_equal(gpt_tail_bytes(4096), 5 * 4096);
}

/* --- on a drive ------------------------------------------------------------------------------ */

struct drive {
	struct reactor_group *group;
	struct reactor *reactor;
	struct blockdev *dev;
	uint64_t bytes;
	char *memory; /* all of it */
};

static void move(struct drive *drive, enum io_kind kind)
{
	struct blockdev_queue *queue;

	assert_int_equal(blockdev_open_queue(drive->dev, drive->reactor, &queue, NULL), 0);
	assert_int_equal(transfer(queue, kind, 0, drive->memory, drive->bytes), 0);
	blockdev_close_queue(queue);
}

/* A drive full of 0xa5. */
static void open_drive(struct drive *drive, uint64_t bytes, uint32_t block_bytes)
{
	drive->bytes = bytes / block_bytes * block_bytes;
	drive->group = reactor_sim_create(1, 1);
	drive->reactor = reactor_at(drive->group, 0);
	assert_int_equal(ram_create(&drive->dev, "r0", bytes, block_bytes, NULL), 0);
	drive->memory = memory_map(drive->bytes, NULL);
	assert_non_null(drive->memory);
	memset(drive->memory, 0xa5, drive->bytes);
	move(drive, IO_WRITE);
}

static void close_drive(struct drive *drive)
{
	memory_unmap(drive->memory, drive->bytes);
	blockdev_destroy(drive->dev);
	reactor_sim_destroy(drive->group);
}

/* Neither the superblocks nor what lies between them. */
static void check_rest(const struct drive *drive)
{
	uint64_t page = drive->bytes - drive->bytes % 4096, ring = page - 2 * MIB;

	for (uint64_t i = 64 << 10; i < drive->bytes - (64 << 10); i++)
		if (drive->memory[i] != (char)0xa5)
			fail_msg("byte %llu was written", (unsigned long long)i);
	for (uint64_t i = ring; i < ring + (64 << 10); i++)
		assert_int_equal(drive->memory[i], (char)0xa5);
}

static void test_write_and_erase(void **state)
{
	struct random random = {2};
	struct drive drive;
	struct gpt gpt = {.first_byte = MIB};
	struct fail fail = {0};

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned odd = 0; odd < 5; odd++) {
			uint32_t block = sizes_of[i].sector;

			open_drive(&drive, 9ull * MIB + odd * 1536, sizes_of[i].block);
			drive.dev->sector_bytes = i < 2 ? 0 : block;
			sample_uuid(&gpt.member, &random);
			gpt.block_bytes = block;
			gpt.blocks = drive.bytes / block;
			expect(!gpt_write(drive.dev, drive.reactor, &layout_standard, &gpt.member,
				       &fail),
				"%s", fail.text);
			move(&drive, IO_READ);
			check_rest(&drive);
			check_encoded(&gpt, drive.memory,
				drive.memory + drive.bytes - gpt_tail_bytes(block));
			assert_int_equal(
				gpt_erase(drive.dev, drive.reactor, &layout_standard, NULL), 0);
			move(&drive, IO_READ);
			check_rest(&drive);
			for (uint64_t at = 0; at < gpt_head_bytes(block); at++)
				assert_int_equal(drive.memory[at], 0);
			for (uint64_t at = 1; at <= gpt_tail_bytes(block); at++)
				assert_int_equal(drive.memory[drive.bytes - at], 0);
			close_drive(&drive);
		}
}

/* A simulation's places have no room: nothing is written. Nor on a drive that is too small. */
static void test_no_room(void **state)
{
	struct layout_places places = layout_standard;
	struct random random = {3};
	struct drive drive;
	struct uuid member;

	(void)state;
	sample_uuid(&member, &random);
	places.head_bytes = 4096;
	for (unsigned i = 0; i < 2; i++) {
		open_drive(&drive, i ? 2 * MIB : 16 * MIB, 512);
		assert_int_equal(gpt_write(drive.dev, drive.reactor, i ? &layout_standard : &places,
					 &member, NULL),
			0);
		move(&drive, IO_READ);
		for (uint64_t at = 0; at < drive.bytes; at++)
			if (drive.memory[at] != (char)0xa5)
				fail_msg("byte %llu was written", (unsigned long long)at);
		close_drive(&drive);
	}
}

/* --- as others see it ------------------------------------------------------------------------ */

static bool is_installed(const char *tool)
{
	char command[LINE_BYTES];

	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin command -v %s >/dev/null",
		tool);
	return system(command) == 0;
}

/* The tool says all of these of the file; case does not matter. */
static void says(const char *tool, const char *path, const char *const *patterns)
{
	char command[LINE_BYTES];

	for (; *patterns; patterns++) {
		snprintf(command, sizeof(command),
			"PATH=$PATH:/usr/sbin:/sbin %s %s 2>&1 | grep -qi -- "
			"'%s'",
			tool, path, *patterns);
		expect(system(command) == 0, "%s does not say '%s'", tool, *patterns);
	}
}

static void write_file(const struct drive *drive, char path[])
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, drive->memory, drive->bytes), drive->bytes);
	close(fd);
}

static void test_others_read_it(void **state)
{
	struct random random = {4};
	struct drive drive;
	struct uuid member;
	char text[UUID_TEXT_BYTES];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		char path[] = "/tmp/braid-gpt.XXXXXX", tool[LINE_BYTES];

		sample_uuid(&member, &random);
		uuid_print(&member, text);
		open_drive(&drive, 16 * MIB, sizes_of[i].block);
		drive.dev->sector_bytes = sizes_of[i].sector;
		assert_int_equal(
			gpt_write(drive.dev, drive.reactor, &layout_standard, &member, NULL), 0);
		move(&drive, IO_READ);
		write_file(&drive, path);
		snprintf(tool, sizeof(tool), "fdisk -b %u -x", sizes_of[i].sector);
		if (is_installed("fdisk"))
			says(tool, path,
				(const char *const[]){
					"Disklabel type: gpt", type_text, text, " braid", NULL});
		/* These take a file's sectors to be of 512 bytes. */
		if (is_installed("sfdisk") && sizes_of[i].sector == 512)
			says("sfdisk --verify", path,
				(const char *const[]){"No errors detected", NULL});
		if (is_installed("blkid") && sizes_of[i].sector == 512)
			says("blkid -p", path, (const char *const[]){"PTTYPE=\"gpt\"", NULL});
		unlink(path);
		close_drive(&drive);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_write_and_erase),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_others_read_it),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
