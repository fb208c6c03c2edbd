/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/record.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/endian.h"

static const char magic[8] = {'b', 'r', 'a', 'i', 'd', 'l', 'o', 'g'};

struct disk_entry {
	le64 seq, stripe;
	le32 row, rows;
	le32 members;
	le32 kind;
	le32 checksum;
	uint8_t reserved[24];
};

struct disk_record {
	char magic[8];
	le64 log_epoch;
	le32 part, lane;
	le32 entries;
	uint8_t reserved[32];
	le32 checksum;
	struct disk_entry entry[RECORD_ENTRIES_MAX];
};

static_assert(sizeof(struct disk_entry) == 64, "FORMAT.md");
static_assert(offsetof(struct disk_record, entry) == 64, "FORMAT.md");
static_assert(sizeof(struct disk_record) == RECORD_HEADER_BYTES, "FORMAT.md");

/* Over everything but the checksum itself; salted, so that a guest cannot write a record into its
 * own data, and none is taken for another's. The entries from `entries` on are known to be zeros.
 */
static uint32_t checksum(
	const struct disk_record *disk, const struct uuid *member, uint64_t place, unsigned entries)
{
	le64 salt = le64_of(place);
	uint32_t crc = crc32c(0, member, sizeof(*member));

	crc = crc32c(crc, &salt, sizeof(salt));
	crc = crc32c(crc, disk, offsetof(struct disk_record, checksum));
	crc = crc32c(crc, disk->entry, entries * sizeof(disk->entry[0]));
	return crc32c_zeros(crc, (RECORD_ENTRIES_MAX - entries) * sizeof(disk->entry[0]));
}

void record_encode(
	const struct record *record, const struct uuid *member, uint64_t place, void *page)
{
	struct disk_record *disk = page;

	assert(record->entries && record->entries <= RECORD_ENTRIES_MAX);
	memset(disk, 0, sizeof(*disk));
	memcpy(disk->magic, magic, sizeof(magic));
	disk->log_epoch = le64_of(record->log_epoch);
	disk->part = le32_of(record->part);
	disk->lane = le32_of(record->lane);
	disk->entries = le32_of(record->entries);
	for (unsigned i = 0; i < record->entries; i++) {
		const struct record_entry *entry = &record->entry[i];

		disk->entry[i] = (struct disk_entry){
			.seq = le64_of(entry->seq),
			.stripe = le64_of(entry->stripe),
			.row = le32_of(entry->row),
			.rows = le32_of(entry->rows),
			.members = le32_of(entry->members),
			.kind = le32_of(entry->kind),
			.checksum = le32_of(entry->checksum),
		};
	}
	disk->checksum = le32_of(checksum(disk, member, place, record->entries));
}

bool record_decode(
	struct record *record, const struct uuid *member, uint64_t place, const void *page)
{
	const struct disk_record *disk = page;

	if (memcmp(disk->magic, magic, sizeof(magic)) ||
		le32_get(disk->checksum) != checksum(disk, member, place, RECORD_ENTRIES_MAX))
		return false;
	record->log_epoch = le64_get(disk->log_epoch);
	record->part = le32_get(disk->part);
	record->lane = le32_get(disk->lane);
	record->entries = le32_get(disk->entries);
	if (!record->entries || record->entries > RECORD_ENTRIES_MAX)
		return false;
	for (unsigned i = 0; i < record->entries; i++) {
		const struct disk_entry *entry = &disk->entry[i];

		record->entry[i] = (struct record_entry){
			.seq = le64_get(entry->seq),
			.stripe = le64_get(entry->stripe),
			.row = le32_get(entry->row),
			.rows = le32_get(entry->rows),
			.members = le32_get(entry->members),
			.kind = le32_get(entry->kind),
			.checksum = le32_get(entry->checksum),
		};
		if (le32_get(entry->kind) >= RECORD_KINDS)
			return false;
	}
	return true;
}

static const char lane_magic[8] = {'b', 'r', 'a', 'i', 'd', 'l', 'a', 'n'};

struct disk_lane {
	char magic[8];
	le64 log_epoch;
	le32 part, lane;
	le64 tail;
	uint8_t reserved[28];
	le32 checksum;
	uint8_t unused[LAYOUT_UNIT_BYTES - 64];
};

static_assert(sizeof(struct disk_lane) == LAYOUT_UNIT_BYTES, "FORMAT.md");

static uint32_t lane_checksum(
	const struct disk_lane *disk, const struct uuid *member, uint64_t place)
{
	le64 salt = le64_of(place);
	uint32_t crc = crc32c(0, member, sizeof(*member));

	crc = crc32c(crc, &salt, sizeof(salt));
	return crc32c(crc, disk, offsetof(struct disk_lane, checksum));
}

void lane_header_encode(
	const struct lane_header *header, const struct uuid *member, uint64_t place, void *page)
{
	struct disk_lane *disk = page;

	memset(disk, 0, sizeof(*disk));
	memcpy(disk->magic, lane_magic, sizeof(lane_magic));
	disk->log_epoch = le64_of(header->log_epoch);
	disk->part = le32_of(header->part);
	disk->lane = le32_of(header->lane);
	disk->tail = le64_of(header->tail);
	disk->checksum = le32_of(lane_checksum(disk, member, place));
}

bool lane_header_decode(
	struct lane_header *header, const struct uuid *member, uint64_t place, const void *page)
{
	const struct disk_lane *disk = page;

	if (memcmp(disk->magic, lane_magic, sizeof(lane_magic)) ||
		le32_get(disk->checksum) != lane_checksum(disk, member, place))
		return false;
	header->log_epoch = le64_get(disk->log_epoch);
	header->part = le32_get(disk->part);
	header->lane = le32_get(disk->lane);
	header->tail = le64_get(disk->tail);
	return true;
}

uint64_t record_bytes(const struct record *record, uint32_t block_bytes)
{
	uint64_t bytes = RECORD_HEADER_BYTES;

	for (unsigned i = 0; i < record->entries; i++)
		bytes += record_payload_bytes(&record->entry[i], block_bytes);
	return align_up(bytes, LAYOUT_UNIT_BYTES);
}
