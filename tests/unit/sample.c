/* SPDX-License-Identifier: Apache-2.0 */
#include "sample.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "raid/member.h"

enum { MEMBER_BYTES = 64 << 20 };

void sample_uuid(struct uuid *uuid, struct random *random)
{
	for (unsigned i = 0; i < UUID_BYTES; i++)
		uuid->byte[i] = (uint8_t)random_next(random);
}

void sample_member(struct superblock *superblock, unsigned row)
{
	superblock->row = row;
	superblock->member_uuid = superblock->rows[row].uuid;
	snprintf(superblock->fingerprint, sizeof(superblock->fingerprint), "model serial%u", row);
}

void sample_superblock(struct superblock *superblock, struct random *random, const char *level,
	unsigned members, unsigned parts)
{
	int error;

	memset(superblock, 0, sizeof(*superblock));
	sample_uuid(&superblock->array_uuid, random);
	sample_uuid(&superblock->host_id, random);
	sample_uuid(&superblock->epoch, random);
	snprintf(superblock->name, sizeof(superblock->name), "media%s", level);
	snprintf(superblock->writer, sizeof(superblock->writer), "braid test");
	superblock->created_at = superblock->written_at = 1700000000;
	error = level_find(&superblock->level, level, NULL);
	assert(!error);
	superblock->members = members;
	superblock->parts = parts;
	superblock->chunk_bytes = 64 << 10;
	superblock->block_bytes = 4096;
	superblock->layout_id = GEOMETRY_LAYOUT_LEFT_SYMMETRIC;
	superblock->member_bytes = MEMBER_BYTES;
	error = layout_make(&superblock->layout, &layout_standard, MEMBER_BYTES, NULL);
	assert(!error);
	superblock->stripes = superblock->layout.data.bytes / superblock->chunk_bytes;
	superblock->region_bytes =
		layout_region_bytes(&layout_standard, superblock->layout.data.bytes);
	superblock->generation = superblock->log_epoch = 1;
	for (unsigned i = 0; i < members; i++) {
		sample_uuid(&superblock->rows[i].uuid, random);
		superblock->rows[i].state = ROW_IN_SYNC;
		superblock->rows[i].since = 1;
	}
	sample_member(superblock, 0);
}

static void random_text(char *text, unsigned bytes, struct random *random)
{
	uint64_t length = random_below(random, bytes);

	memset(text, 0, bytes);
	for (unsigned i = 0; i < length; i++)
		text[i] = (char)(1 + random_below(random, 255));
}

static void random_rows(struct superblock *superblock, struct random *random)
{
	uint32_t copied = 0;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		static const enum row_state slot[] = {ROW_IN_SYNC, ROW_REBUILDING, ROW_FAILED};
		static const enum row_state other[] = {ROW_EMPTY, ROW_SPARE, ROW_REPLACING};
		struct superblock_row *row = &superblock->rows[i];
		uint64_t choice = random_below(random, 3);

		row->state = i < superblock->members ? slot[choice] : other[choice];
		row->since = random_below(random, superblock->generation + 1);
		row->replaces = (uint8_t)random_below(random, superblock->members);
		if (row->state == ROW_REPLACING && copied >> row->replaces & 1)
			row->state = ROW_SPARE;
		if (row->state == ROW_REPLACING)
			copied |= 1u << row->replaces;
		row->watermark = random_below(random, superblock->stripes + 1);
		row->lost_at = random_next(random);
		row->reason = (uint8_t)random_below(random, LOSS_REASONS);
		row->resyncable = random_below(random, 2);
		sample_uuid(&row->uuid, random);
	}
}

void sample_any(struct superblock *superblock, struct random *random)
{
	static const struct {
		const char *level;
		unsigned members, parts;
	} shapes[] = {{"0", 1, 0}, {"0", 32, 0}, {"1", 2, 0}, {"1", 5, 0}, {"5", 3, 0},
		{"6", 12, 0}, {"7", 32, 0}, {"10", 8, 4}, {"50", 12, 4}, {"60", 8, 2},
		{"70", 30, 3}};
	uint64_t shape = random_below(random, ARRAY_SIZE(shapes));

	sample_superblock(superblock, random, shapes[shape].level, shapes[shape].members,
		shapes[shape].parts);
	random_text(superblock->name, sizeof(superblock->name), random);
	random_text(superblock->fingerprint, sizeof(superblock->fingerprint), random);
	random_text(superblock->writer, sizeof(superblock->writer), random);
	superblock->block_bytes = random_below(random, 2) ? 512 : 4096;
	superblock->chunk_bytes = 4096u << random_below(random, 9);
	superblock->stripes =
		1 + random_below(random, superblock->layout.data.bytes / superblock->chunk_bytes);
	superblock->consistency = (enum consistency)random_below(random, CONSISTENCIES);
	superblock->layout_id = (uint32_t)random_next(random);
	superblock->generation = random_next(random) >> 1;
	superblock->log_epoch = random_next(random);
	superblock->created_at = random_next(random);
	superblock->written_at = random_next(random);
	superblock->clean = random_below(random, 2);
	superblock->unmade = random_below(random, 2);
	for (unsigned i = 0; i < 3; i++)
		sample_uuid(&superblock->ancestors[i], random);
	random_rows(superblock, random);
	superblock->row = (unsigned)random_below(random, superblock->members);
	superblock->member_uuid = superblock->rows[superblock->row].uuid;
}

uint64_t sample_hostile(struct random *random, uint64_t value)
{
	switch (random_below(random, 8)) {
	case 0:
		return random_next(random);
	case 1:
		return 1ull << random_below(random, 64);
	case 2:
		return (1ull << random_below(random, 64)) - 1;
	case 3:
		return -random_below(random, 5000);
	case 4:
		return random_below(random, 64);
	case 5:
		return value ^ 1ull << random_below(random, 64);
	case 6:
		return value + 4096 * (random_below(random, 64) - 32);
	default:
		return value + random_below(random, 5) - 2;
	}
}
