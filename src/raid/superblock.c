/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/superblock.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/entropy.h"
#include "raid/member.h"

/* Bits of the three feature sets. None is in use yet. */
enum { COMPAT_KNOWN = 0, RO_COMPAT_KNOWN = 0, INCOMPAT_KNOWN = 1 };
enum { INCOMPAT_BAD_BLOCKS = 1 };
enum { CHUNK_BYTES_MAX = 1 << 20 };
enum { CHECKSUM_CRC32C = 1, FLAG_CLEAN = 1, FLAG_UNMADE = 2, ROW_FLAG_RESYNCABLE = 1 };

static const char magic[16] = "braid superblock";

struct disk_extent {
	le64 offset, bytes;
};

struct disk_row {
	struct uuid uuid;
	uint8_t state, reason, replaces, flags;
	uint8_t reserved[4];
	le64 since, watermark, lost_at;
	uint8_t reserved2[16];
};

struct disk_superblock {
	char magic[16];
	le16 major, minor;
	le32 bytes;
	le64 compat, ro_compat, incompat;
	le32 checksum_type;
	uint8_t reserved1[4];

	struct uuid array_uuid; /* 56 */
	char name[SUPERBLOCK_NAME_BYTES];
	struct uuid host_id; /* 136 */
	le64 created_at;

	struct uuid member_uuid; /* 160 */
	le16 row;
	uint8_t reserved2[6];
	le64 member_bytes; /* 184 */
	char fingerprint[SUPERBLOCK_FINGERPRINT_BYTES];

	le32 level; /* 288 */
	le32 layout_id;
	le32 members, parts;
	le32 chunk_bytes, block_bytes;
	le64 stripes, region_bytes;

	struct disk_extent superblocks[2]; /* 328 */
	struct disk_extent intent, bad_blocks, notes, log, data;
	le32 slots; /* 440 */
	le32 consistency;

	le64 generation; /* 448 */
	struct uuid epoch, ancestors[3];
	le64 log_epoch; /* 520 */
	le32 flags;
	uint8_t reserved3[4];

	char writer[16]; /* 536 */
	le64 written_at;
	uint8_t reserved4[464];

	struct disk_row rows[SUPERBLOCK_ROWS]; /* 1024 */
	uint8_t reserved5[508];
	le32 checksum; /* 4092 */
};

static_assert(sizeof(struct disk_row) == 64, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, array_uuid) == 56, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, member_uuid) == 160, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, level) == 288, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, superblocks) == 328, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, generation) == 448, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, writer) == 536, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, rows) == 1024, "FORMAT.md");
static_assert(offsetof(struct disk_superblock, checksum) == 4092, "FORMAT.md");
static_assert(sizeof(struct disk_superblock) == SUPERBLOCK_BYTES, "FORMAT.md");

/* --- identities ------------------------------------------------------------------------------ */

/* Random, RFC 9562, section 5.4. */
void uuid_make(struct uuid *uuid)
{
	entropy_get(uuid->byte, sizeof(uuid->byte));
	uuid->byte[6] = (uint8_t)((uuid->byte[6] & 0x0f) | 0x40);
	uuid->byte[8] = (uint8_t)((uuid->byte[8] & 0x3f) | 0x80);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
	return !memcmp(a, b, sizeof(*a));
}

bool uuid_is_null(const struct uuid *uuid)
{
	static const struct uuid null;

	return uuid_equal(uuid, &null);
}

char *uuid_print(const struct uuid *uuid, char text[UUID_TEXT_BYTES])
{
	char *at = text;

	for (unsigned i = 0; i < UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", uuid->byte[i]);
	}
	return text;
}

bool uuid_parse(struct uuid *uuid, const char *text)
{
	unsigned at = 0;

	for (unsigned i = 0; i < UUID_BYTES; i++) {
		unsigned value;

		if ((i == 4 || i == 6 || i == 8 || i == 10) && text[at++] != '-')
			return false;
		if (strspn(text + at, "0123456789abcdefABCDEF") < 2 ||
			sscanf(text + at, "%2x", &value) != 1)
			return false;
		uuid->byte[i] = (uint8_t)value;
		at += 2;
	}
	return !text[at];
}

/* --- names ----------------------------------------------------------------------------------- */

const char *row_state_name(enum row_state state)
{
	static const char *const names[ROW_STATES] = {
		"empty", "in sync", "rebuilding", "failed", "spare", "replacing"};

	assert(state < ROW_STATES);
	return names[state];
}

static const char *const consistencies[CONSISTENCIES] = {"log", "adaptive", "bitmap"};

const char *consistency_name(enum consistency consistency)
{
	assert(consistency < CONSISTENCIES);
	return consistencies[consistency];
}

int consistency_parse(enum consistency *consistency, const char *text, struct fail *fail)
{
	for (unsigned i = 0; i < CONSISTENCIES; i++)
		if (!strcmp(consistencies[i], text)) {
			*consistency = i;
			return 0;
		}
	return fail_set(fail, EINVAL,
		"there is no consistency policy '%s': use log, adaptive or bitmap", text);
}

/* --- encoding -------------------------------------------------------------------------------- */

/* A superblock that stands in another place, or on another member, is not valid. */
static uint32_t checksum(const struct disk_superblock *disk, uint64_t place)
{
	le64 salt = le64_of(place);
	uint32_t crc = crc32c(0, &disk->member_uuid, sizeof(disk->member_uuid));

	crc = crc32c(crc, &salt, sizeof(salt));
	return crc32c(crc, disk, offsetof(struct disk_superblock, checksum));
}

static struct disk_extent extent_encode(const struct extent *extent)
{
	return (struct disk_extent){le64_of(extent->offset), le64_of(extent->bytes)};
}

static void row_encode(const struct superblock_row *row, struct disk_row *disk)
{
	disk->uuid = row->uuid;
	disk->state = (uint8_t)row->state;
	disk->reason = row->reason;
	disk->replaces = row->replaces;
	disk->flags = row->resyncable ? ROW_FLAG_RESYNCABLE : 0;
	disk->since = le64_of(row->since);
	disk->watermark = le64_of(row->watermark);
	disk->lost_at = le64_of(row->lost_at);
}

void superblock_encode(const struct superblock *superblock, uint64_t place, void *page)
{
	struct disk_superblock *disk = page;
	const struct layout *layout = &superblock->layout;

	memset(disk, 0, sizeof(*disk));
	memcpy(disk->magic, magic, sizeof(magic));
	disk->major = le16_of(SUPERBLOCK_MAJOR);
	disk->minor = le16_of(SUPERBLOCK_MINOR);
	disk->bytes = le32_of(SUPERBLOCK_BYTES);
	disk->checksum_type = le32_of(CHECKSUM_CRC32C);
	disk->incompat = le64_of(superblock->bad_blocks ? INCOMPAT_BAD_BLOCKS : 0);
	disk->array_uuid = superblock->array_uuid;
	memcpy(disk->name, superblock->name, sizeof(disk->name));
	disk->host_id = superblock->host_id;
	disk->created_at = le64_of(superblock->created_at);
	disk->member_uuid = superblock->member_uuid;
	disk->row = le16_of((uint16_t)superblock->row);
	disk->member_bytes = le64_of(superblock->member_bytes);
	memcpy(disk->fingerprint, superblock->fingerprint, sizeof(disk->fingerprint));
	disk->level = le32_of(level_number(superblock->level));
	disk->layout_id = le32_of(superblock->layout_id);
	disk->members = le32_of(superblock->members);
	disk->parts = le32_of(superblock->parts);
	disk->chunk_bytes = le32_of(superblock->chunk_bytes);
	disk->block_bytes = le32_of(superblock->block_bytes);
	disk->stripes = le64_of(superblock->stripes);
	disk->region_bytes = le64_of(superblock->region_bytes);
	disk->superblocks[0] = extent_encode(&layout->superblocks[0]);
	disk->superblocks[1] = extent_encode(&layout->superblocks[1]);
	disk->intent = extent_encode(&layout->intent);
	disk->bad_blocks = extent_encode(&layout->bad_blocks);
	disk->notes = extent_encode(&layout->notes);
	disk->log = extent_encode(&layout->log);
	disk->data = extent_encode(&layout->data);
	disk->slots = le32_of(layout->slots);
	disk->consistency = le32_of(superblock->consistency);
	disk->generation = le64_of(superblock->generation);
	disk->epoch = superblock->epoch;
	memcpy(disk->ancestors, superblock->ancestors, sizeof(disk->ancestors));
	disk->log_epoch = le64_of(superblock->log_epoch);
	disk->flags = le32_of(
		(superblock->clean ? FLAG_CLEAN : 0) | (superblock->unmade ? FLAG_UNMADE : 0));
	memcpy(disk->writer, superblock->writer, sizeof(disk->writer));
	disk->written_at = le64_of(superblock->written_at);
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		row_encode(&superblock->rows[i], &disk->rows[i]);
	disk->checksum = le32_of(checksum(disk, place));
}

/* --- decoding -------------------------------------------------------------------------------- */

static bool is_zero(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	/* Each byte is the one before it. */
	return !count || (!at[0] && !memcmp(at, at + 1, count - 1));
}

static bool reserved_is_zero(const struct disk_superblock *disk)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++)
		if (!is_zero(disk->rows[i].reserved, sizeof(disk->rows[i].reserved)) ||
			!is_zero(disk->rows[i].reserved2, sizeof(disk->rows[i].reserved2)))
			return false;
	return is_zero(disk->reserved1, sizeof(disk->reserved1)) &&
	       is_zero(disk->reserved2, sizeof(disk->reserved2)) &&
	       is_zero(disk->reserved3, sizeof(disk->reserved3)) &&
	       is_zero(disk->reserved4, sizeof(disk->reserved4)) &&
	       is_zero(disk->reserved5, sizeof(disk->reserved5));
}

/* False: it does not lie within the member. */
static bool extent_decode(
	struct extent *extent, const struct disk_extent *disk, uint64_t member_bytes)
{
	extent->offset = le64_get(disk->offset);
	extent->bytes = le64_get(disk->bytes);
	return extent->offset % LAYOUT_UNIT_BYTES == 0 && extent->bytes % LAYOUT_UNIT_BYTES == 0 &&
	       extent->offset <= member_bytes && extent->bytes <= member_bytes - extent->offset;
}

static bool areas_are_apart(const struct layout *layout)
{
	const struct extent areas[] = {layout->superblocks[0], layout->superblocks[1],
		layout->intent, layout->bad_blocks, layout->notes, layout->log, layout->data};

	for (unsigned i = 0; i < ARRAY_SIZE(areas); i++)
		for (unsigned j = 0; j < i; j++)
			if (areas[i].offset < areas[j].offset + areas[j].bytes &&
				areas[j].offset < areas[i].offset + areas[i].bytes)
				return false;
	return true;
}

static bool layout_decode(struct superblock *superblock, const struct disk_superblock *disk)
{
	struct layout *layout = &superblock->layout;
	uint64_t bytes = superblock->member_bytes;

	layout->slots = le32_get(disk->slots);
	return layout->slots && layout->slots <= 1024 &&
	       extent_decode(&layout->superblocks[0], &disk->superblocks[0], bytes) &&
	       extent_decode(&layout->superblocks[1], &disk->superblocks[1], bytes) &&
	       extent_decode(&layout->intent, &disk->intent, bytes) &&
	       extent_decode(&layout->bad_blocks, &disk->bad_blocks, bytes) &&
	       extent_decode(&layout->notes, &disk->notes, bytes) &&
	       extent_decode(&layout->log, &disk->log, bytes) &&
	       extent_decode(&layout->data, &disk->data, bytes) &&
	       layout->superblocks[0].bytes == (uint64_t)layout->slots * LAYOUT_UNIT_BYTES &&
	       layout->superblocks[1].bytes == layout->superblocks[0].bytes &&
	       layout->intent.bytes >= 4 * LAYOUT_UNIT_BYTES &&
	       layout->bad_blocks.bytes >= 2 * LAYOUT_UNIT_BYTES &&
	       layout->log.bytes >= 4 * LAYOUT_UNIT_BYTES &&
	       layout->notes.bytes >= 2 * LAYOUT_UNIT_BYTES && areas_are_apart(layout);
}

/* False: numbers that no array can have. */
static bool geometry_decode(struct superblock *superblock, const struct disk_superblock *disk)
{
	uint64_t chunk, regions;

	superblock->level = level_of_number(le32_get(disk->level));
	superblock->layout_id = le32_get(disk->layout_id);
	superblock->members = le32_get(disk->members);
	superblock->parts = le32_get(disk->parts);
	superblock->chunk_bytes = le32_get(disk->chunk_bytes);
	superblock->block_bytes = le32_get(disk->block_bytes);
	superblock->stripes = le64_get(disk->stripes);
	superblock->region_bytes = le64_get(disk->region_bytes);
	superblock->consistency = le32_get(disk->consistency);
	chunk = superblock->chunk_bytes;
	if (!superblock->level || superblock->members < superblock->level->members_min ||
		superblock->members > RAID_MEMBERS_MAX ||
		superblock->consistency >= CONSISTENCIES ||
		(superblock->block_bytes != 512 && superblock->block_bytes != 4096) ||
		!is_power_of_two(chunk) || chunk < LAYOUT_UNIT_BYTES || chunk > CHUNK_BYTES_MAX ||
		!superblock->stripes || superblock->stripes > superblock->layout.data.bytes / chunk)
		return false;
	if (superblock->level->part &&
		(superblock->parts < 2 || superblock->members % superblock->parts ||
			superblock->members / superblock->parts <
				superblock->level->part->members_min ||
			(superblock->level->part_members &&
				superblock->members / superblock->parts !=
					superblock->level->part_members)))
		return false;
	if (!superblock->level->part && superblock->parts)
		return false;
	regions = superblock->region_bytes
			  ? divide_up(superblock->stripes * chunk, superblock->region_bytes)
			  : 0;
	return is_power_of_two(superblock->region_bytes) && superblock->region_bytes >= chunk &&
	       regions <= LAYOUT_REGIONS_MAX;
}

static bool rows_decode(struct superblock *superblock, const struct disk_superblock *disk)
{
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		const struct disk_row *from = &disk->rows[i];
		struct superblock_row *row = &superblock->rows[i];

		*row = (struct superblock_row){
			.uuid = from->uuid,
			.state = from->state,
			.reason = from->reason,
			.replaces = from->replaces,
			.since = le64_get(from->since),
			.watermark = le64_get(from->watermark),
			.lost_at = le64_get(from->lost_at),
			.resyncable = from->flags & ROW_FLAG_RESYNCABLE,
		};
		if (from->state >= ROW_STATES || from->reason >= LOSS_REASONS ||
			from->flags & ~ROW_FLAG_RESYNCABLE ||
			row->watermark > superblock->stripes ||
			(from->state != ROW_EMPTY && uuid_is_null(&row->uuid)))
			return false;
		/* Slots and the other rows have states of their own. */
		if (i < superblock->members
				? from->state == ROW_SPARE || from->state == ROW_REPLACING ||
					  from->state == ROW_EMPTY
				: from->state == ROW_IN_SYNC || from->state == ROW_REBUILDING ||
					  from->state == ROW_FAILED)
			return false;
		if (from->state == ROW_REPLACING && from->replaces >= superblock->members)
			return false;
		if (row->state != ROW_EMPTY && row->since > superblock->generation)
			return false;
		for (unsigned j = 0; j < i; j++)
			if (row->state == ROW_REPLACING &&
				superblock->rows[j].state == ROW_REPLACING &&
				row->replaces == superblock->rows[j].replaces)
				return false;
		for (unsigned j = 0; j < i; j++)
			if (row->state != ROW_EMPTY && superblock->rows[j].state != ROW_EMPTY &&
				uuid_equal(&row->uuid, &superblock->rows[j].uuid))
				return false;
	}
	return true;
}

static int features_decode(const struct disk_superblock *disk, struct fail *fail)
{
	unsigned major = le16_get(disk->major);

	if (major != SUPERBLOCK_MAJOR)
		return fail_set(fail, ENOTSUP,
			"the superblock has format %u, this braid knows %d: use a newer braid",
			major, SUPERBLOCK_MAJOR);
	if (le64_get(disk->incompat) & ~(uint64_t)INCOMPAT_KNOWN ||
		le64_get(disk->ro_compat) & ~(uint64_t)RO_COMPAT_KNOWN)
		return fail_set(fail, ENOTSUP,
			"the array uses features (incompat %llx, ro_compat %llx) that this braid "
			"does not know: use a newer one",
			(unsigned long long)le64_get(disk->incompat),
			(unsigned long long)le64_get(disk->ro_compat));
	return 0;
}

int superblock_decode(
	struct superblock *superblock, uint64_t place, const void *page, struct fail *fail)
{
	const struct disk_superblock *disk = page;
	int error;

	if (memcmp(disk->magic, magic, sizeof(magic)))
		return fail_set(fail, ENODATA, "there is no braid superblock");
	if (le32_get(disk->checksum_type) != CHECKSUM_CRC32C ||
		le32_get(disk->bytes) != SUPERBLOCK_BYTES ||
		le32_get(disk->checksum) != checksum(disk, place))
		return fail_set(fail, EILSEQ,
			"the superblock is damaged, or was written for another place or member");
	error = features_decode(disk, fail);
	if (error)
		return error;
	memset(superblock, 0, sizeof(*superblock));
	superblock->array_uuid = disk->array_uuid;
	memcpy(superblock->name, disk->name, sizeof(superblock->name));
	superblock->host_id = disk->host_id;
	superblock->created_at = le64_get(disk->created_at);
	superblock->member_uuid = disk->member_uuid;
	superblock->row = le16_get(disk->row);
	superblock->member_bytes = le64_get(disk->member_bytes);
	memcpy(superblock->fingerprint, disk->fingerprint, sizeof(superblock->fingerprint));
	superblock->generation = le64_get(disk->generation);
	superblock->epoch = disk->epoch;
	memcpy(superblock->ancestors, disk->ancestors, sizeof(superblock->ancestors));
	superblock->log_epoch = le64_get(disk->log_epoch);
	superblock->bad_blocks = le64_get(disk->incompat) & INCOMPAT_BAD_BLOCKS;
	superblock->clean = le32_get(disk->flags) & FLAG_CLEAN;
	superblock->unmade = le32_get(disk->flags) & FLAG_UNMADE;
	memcpy(superblock->writer, disk->writer, sizeof(superblock->writer));
	superblock->written_at = le64_get(disk->written_at);
	if (superblock->name[SUPERBLOCK_NAME_BYTES - 1] ||
		superblock->fingerprint[SUPERBLOCK_FINGERPRINT_BYTES - 1] ||
		superblock->writer[sizeof(superblock->writer) - 1] ||
		le32_get(disk->flags) & ~(FLAG_CLEAN | FLAG_UNMADE) ||
		superblock->row >= SUPERBLOCK_ROWS || !reserved_is_zero(disk) ||
		!layout_decode(superblock, disk) || !geometry_decode(superblock, disk) ||
		!rows_decode(superblock, disk) ||
		superblock->rows[superblock->row].state == ROW_EMPTY ||
		!uuid_equal(&superblock->rows[superblock->row].uuid, &superblock->member_uuid))
		return fail_set(fail, EILSEQ,
			"the superblock's checksum is right but its content makes no sense");
	return 0;
}
