/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/geometry.h"

#include <assert.h>

#include "base/bits.h"
#include "base/mutant.h"

/* An operation buffers at most this much of each column. */
enum { WINDOW_BYTES = 128 << 10 };

void geometry_init(struct geometry *geometry, uint64_t member_blocks)
{
	const struct level *level = geometry->level;

	assert(geometry->members >= 1 && geometry->members <= RAID_MEMBERS_MAX);
	assert(geometry->chunk_blocks && member_blocks >= geometry->member_offset);
	geometry->redundant = level_tolerance(level, geometry->members);
	assert(geometry->members > geometry->redundant);
	geometry->data = geometry->members - geometry->redundant;
	geometry->stripe_blocks = geometry->data * geometry->chunk_blocks;
	geometry->window_rows = geometry->chunk_blocks;
	if (geometry->redundant)
		geometry->window_rows =
			MIN(geometry->chunk_blocks, WINDOW_BYTES / geometry->block_bytes);
	geometry->stripes = (member_blocks - geometry->member_offset) / geometry->chunk_blocks;
}

/* The member that holds the first redundant column. */
static unsigned first_parity(const struct geometry *geometry, uint64_t stripe)
{
	return geometry->members - 1 - (unsigned)(stripe % geometry->members);
}

unsigned geometry_member(const struct geometry *geometry, uint64_t stripe, unsigned column)
{
	unsigned distance;

	assert(column < geometry->members);
	if (geometry->level->redundancy != REDUNDANCY_PARITY)
		return column;
	if (MUTANT(geometry_rotation) && stripe % 2)
		stripe++;
	distance = column < geometry->data ? geometry->redundant + column : column - geometry->data;
	return (first_parity(geometry, stripe) + distance) % geometry->members;
}

unsigned geometry_column(const struct geometry *geometry, uint64_t stripe, unsigned member)
{
	unsigned distance;

	assert(member < geometry->members);
	if (geometry->level->redundancy != REDUNDANCY_PARITY)
		return member;
	distance =
		(member + geometry->members - first_parity(geometry, stripe)) % geometry->members;
	return distance < geometry->redundant ? geometry->data + distance
					      : distance - geometry->redundant;
}

uint32_t geometry_columns(const struct geometry *geometry, uint64_t stripe, uint32_t members)
{
	uint32_t columns = 0;
	unsigned member;

	bits_for_each (member, members)
		columns |= 1u << geometry_column(geometry, stripe, member);
	return columns;
}
