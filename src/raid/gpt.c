/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/gpt.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/endian.h"
#include "memory/memory.h"
#include "raid/transfer.h"

enum {
	ENTRIES = 128,
	HEADER_BYTES = 92, /* what the header's checksum covers */
	MBR_TYPE_GPT = 0xee,
	HEAD_BYTES = 1 << 20, /* places without it have no room for a GPT */
};

const struct uuid gpt_type = {{0xfe, 0xff, 0x63, 0xc6, 0x43, 0xf4, 0x49, 0xd5, 0xbf, 0xc4, 0x68,
	0x4f, 0x8e, 0xcd, 0x3e, 0xc7}};

/* UEFI 2.10, table 5.4. */
struct mbr_record {
	uint8_t boot, first_chs[3], type, last_chs[3];
	le32 first, blocks;
};

struct mbr {
	uint8_t code[446];
	uint8_t records[4][sizeof(struct mbr_record)]; /* not aligned */
	uint8_t signature[2];
};

/* Table 5.5. */
struct header {
	char signature[8];
	le32 revision, bytes, checksum;
	uint8_t reserved[4];
	le64 own, other, first_usable, last_usable;
	struct uuid disk;
	le64 entries_at;
	le32 entries, entry_bytes, entries_checksum;
	uint8_t unused[4];
};

/* Table 5.6. */
struct entry {
	struct uuid type, partition;
	le64 first, last, attributes;
	le16 name[36];
};

static_assert(sizeof(struct mbr) == 512, "UEFI 2.10, 5.2");
static_assert(offsetof(struct header, unused) == HEADER_BYTES, "UEFI 2.10, 5.3.2");
static_assert(sizeof(struct entry) == 128, "UEFI 2.10, 5.3.3");

enum { ENTRIES_BYTES = ENTRIES * sizeof(struct entry) };

/* CRC-32 of IEEE 802.3, as UEFI wants it. */
static uint32_t crc32_ieee(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;
	uint32_t crc = UINT32_MAX;

	while (count--) {
		crc ^= *at++;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
	}
	return ~crc;
}

/* GUIDs have their first three fields in little-endian order: appendix A. Printed they are the
 * same. */
static struct uuid guid_of(const struct uuid *uuid)
{
	static const uint8_t from[UUID_BYTES] = {
		3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	struct uuid guid;

	for (unsigned i = 0; i < UUID_BYTES; i++)
		guid.byte[i] = uuid->byte[from[i]];
	return guid;
}

size_t gpt_tail_bytes(uint32_t block_bytes)
{
	return ENTRIES_BYTES + block_bytes;
}

size_t gpt_head_bytes(uint32_t block_bytes)
{
	return block_bytes + gpt_tail_bytes(block_bytes);
}

static void encode_mbr(const struct gpt *gpt, struct mbr *mbr)
{
	struct mbr_record record = {
		.first_chs = {0x00, 0x02, 0x00},
		.type = MBR_TYPE_GPT,
		.last_chs = {0xff, 0xff, 0xff},
		.first = le32_of(1),
		.blocks = le32_of((uint32_t)MIN(gpt->blocks - 1, (uint64_t)UINT32_MAX)),
	};

	memcpy(mbr->records[0], &record, sizeof(record));
	mbr->signature[0] = 0x55;
	mbr->signature[1] = 0xaa;
}

static void encode_entry(const struct gpt *gpt, uint64_t last_usable, struct entry *entry)
{
	static const char name[] = "braid";

	entry->type = guid_of(&gpt_type);
	entry->partition = guid_of(&gpt->member);
	entry->first = le64_of(gpt->first_byte / gpt->block_bytes);
	entry->last = le64_of(last_usable);
	for (unsigned i = 0; name[i]; i++)
		entry->name[i] = le16_of((uint8_t)name[i]);
}

void gpt_encode(const struct gpt *gpt, void *head, void *tail)
{
	uint64_t table = ENTRIES_BYTES / gpt->block_bytes, last = gpt->blocks - 1;
	struct entry *entries = (struct entry *)((char *)head + 2 * (size_t)gpt->block_bytes);
	struct header *primary = (struct header *)((char *)head + gpt->block_bytes);
	struct header *backup = (struct header *)((char *)tail + ENTRIES_BYTES);
	struct uuid disk = gpt->member;

	assert(gpt->block_bytes == 512 || gpt->block_bytes == 4096);
	assert(gpt->first_byte % gpt->block_bytes == 0);
	assert(gpt->first_byte / gpt->block_bytes >= 2 + table && gpt->blocks > 2 * (2 + table));
	memset(head, 0, gpt_head_bytes(gpt->block_bytes));
	memset(tail, 0, gpt_tail_bytes(gpt->block_bytes));
	encode_mbr(gpt, head);
	encode_entry(gpt, last - 1 - table, &entries[0]);
	memcpy(tail, entries, ENTRIES_BYTES);
	disk.byte[UUID_BYTES - 1] = (uint8_t)~disk.byte[UUID_BYTES - 1];
	*primary = (struct header){
		.signature = {'E', 'F', 'I', ' ', 'P', 'A', 'R', 'T'},
		.revision = le32_of(0x10000),
		.bytes = le32_of(HEADER_BYTES),
		.own = le64_of(1),
		.other = le64_of(last),
		.first_usable = le64_of(2 + table),
		.last_usable = le64_of(last - 1 - table),
		.disk = guid_of(&disk),
		.entries_at = le64_of(2),
		.entries = le32_of(ENTRIES),
		.entry_bytes = le32_of(sizeof(struct entry)),
		.entries_checksum = le32_of(crc32_ieee(entries, ENTRIES_BYTES)),
	};
	*backup = *primary;
	backup->own = primary->other;
	backup->other = primary->own;
	backup->entries_at = le64_of(last - table);
	primary->checksum = le32_of(crc32_ieee(primary, HEADER_BYTES));
	backup->checksum = le32_of(crc32_ieee(backup, HEADER_BYTES));
}

/* --- on a drive ------------------------------------------------------------------------------ */

/* braid's own blocks may be larger than those that others count in. */
static uint32_t sector_bytes(const struct blockdev *dev)
{
	return dev->sector_bytes == 512 || dev->sector_bytes == 4096 ? dev->sector_bytes
								     : dev->block_bytes;
}

/* What is written, in whole blocks: zeros behind the head and before the tail. */
static size_t head_room(const struct blockdev *dev)
{
	return align_up(gpt_head_bytes(sector_bytes(dev)), MEMORY_PAGE_BYTES);
}

static size_t tail_room(const struct blockdev *dev)
{
	return align_up(gpt_tail_bytes(sector_bytes(dev)), dev->block_bytes);
}

/* Whether it would lie where nothing else does. */
static bool has_room(const struct blockdev *dev, const struct layout_places *places)
{
	struct extent rings[2];
	uint64_t bytes = blockdev_bytes(dev);

	return places->head_bytes == HEAD_BYTES && layout_find_superblocks(rings, places, bytes) &&
	       rings[1].offset + rings[1].bytes <= bytes - tail_room(dev);
}

/* The backup first: a half-written primary is then mended from it by whoever reads. */
static int write_both(
	struct blockdev *dev, struct reactor *reactor, void *head, void *tail, struct fail *fail)
{
	struct blockdev_queue *queue;
	int error = blockdev_open_queue(dev, reactor, &queue, fail);

	if (error)
		return error;
	error = transfer(
		queue, IO_WRITE, blockdev_bytes(dev) - tail_room(dev), tail, tail_room(dev));
	if (!error)
		error = transfer(queue, IO_WRITE, 0, head, head_room(dev));
	if (error)
		fail_set(fail, -error, "cannot write the partition table of drive %s: %s",
			dev->name, strerror(-error));
	blockdev_close_queue(queue);
	return error;
}

/* member NULL: zeros. */
static int write_or_erase(struct blockdev *dev, struct reactor *reactor,
	const struct layout_places *places, const struct uuid *member, struct fail *fail)
{
	char *memory, *tail;
	size_t bytes;
	int error;

	if (!has_room(dev, places))
		return 0;
	bytes = head_room(dev) + tail_room(dev);
	memory = memory_map(bytes, NULL);
	if (!memory)
		return fail_set(
			fail, ENOMEM, "no memory for the partition table of drive %s", dev->name);
	tail = memory + head_room(dev);
	if (member) {
		struct gpt gpt = {.member = *member,
			.block_bytes = sector_bytes(dev),
			.blocks = blockdev_bytes(dev) / sector_bytes(dev),
			.first_byte = places->head_bytes};

		gpt_encode(&gpt, memory, tail + tail_room(dev) - gpt_tail_bytes(sector_bytes(dev)));
	}
	error = write_both(dev, reactor, memory, tail, fail);
	memory_unmap(memory, bytes);
	return error;
}

/* The first entry is the only one that braid writes; where it lies depends on who wrote it. */
static bool has_our_entry(const char *bytes, size_t at)
{
	struct uuid type = guid_of(&gpt_type);

	return !memcmp(bytes + at, &type, sizeof(type));
}

bool gpt_head_is_ours(const void *head)
{
	return has_our_entry(head, 2 * 512) || has_our_entry(head, 2 * 4096);
}

bool gpt_is_ours(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places)
{
	size_t head = GPT_LOOK_BYTES, tail;
	struct blockdev_queue *queue;
	bool ours = false;
	char *memory;

	if (!has_room(dev, places) || blockdev_open_queue(dev, reactor, &queue, NULL))
		return false;
	tail = tail_room(dev);
	memory = memory_map(head + tail, NULL);
	if (memory) {
		uint64_t end = blockdev_bytes(dev);
		size_t entries = tail - gpt_tail_bytes(sector_bytes(dev));

		ours = !transfer(queue, IO_READ, 0, memory, head) && gpt_head_is_ours(memory);
		if (!transfer(queue, IO_READ, end - tail, memory + head, tail))
			ours |= has_our_entry(memory + head, entries);
		memory_unmap(memory, head + tail);
	}
	blockdev_close_queue(queue);
	return ours;
}

int gpt_write(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places,
	const struct uuid *member, struct fail *fail)
{
	assert(!uuid_is_null(member));
	return write_or_erase(dev, reactor, places, member, fail);
}

int gpt_erase(struct blockdev *dev, struct reactor *reactor, const struct layout_places *places,
	struct fail *fail)
{
	return write_or_erase(dev, reactor, places, NULL, fail);
}
