/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/bad_list.h"

#include <assert.h>
#include <string.h>

#include "base/bits.h"
#include "base/endian.h"
#include "raid/superblock.h"

struct disk_range {
	le64 block;
	le32 blocks;
	uint8_t row;
	uint8_t reserved[3];
};

static_assert(sizeof(struct disk_range) == BAD_RANGE_BYTES, "FORMAT.md");

static uint64_t end_of(const struct bad_range *range)
{
	return range->block + range->blocks;
}

/* Whether a lies wholly before b, with or without a gap between them. */
static bool is_before(const struct bad_range *a, const struct bad_range *b)
{
	return a->row < b->row || (a->row == b->row && end_of(a) <= b->block);
}

/* Puts `count` ranges in the place of [first, end). */
static bool put(struct bad_list *list, unsigned first, unsigned end, const struct bad_range *ranges,
	unsigned count)
{
	unsigned left = list->count - end;

	if (first + count + left > BAD_RANGES_MAX)
		return false;
	memmove(&list->range[first + count], &list->range[end], left * sizeof(ranges[0]));
	memcpy(&list->range[first], ranges, count * sizeof(ranges[0]));
	list->count = first + count + left;
	return true;
}

bool bad_list_add(struct bad_list *list, struct bad_range range)
{
	unsigned first = 0, end;
	uint64_t last = end_of(&range);

	assert(range.blocks && range.row < SUPERBLOCK_ROWS);
	/* Those that overlap or adjoin become one with it. */
	while (first < list->count && (list->range[first].row < range.row ||
					      (list->range[first].row == range.row &&
						      end_of(&list->range[first]) < range.block)))
		first++;
	for (end = first; end < list->count && list->range[end].row == range.row &&
			  list->range[end].block <= last;
		end++) {
		range.block = MIN(range.block, list->range[end].block);
		last = MAX(last, end_of(&list->range[end]));
	}
	if (last - range.block > UINT32_MAX)
		return false;
	range.blocks = (uint32_t)(last - range.block);
	return put(list, first, end, &range, 1);
}

bool bad_list_remove(struct bad_list *list, struct bad_range range)
{
	struct bad_range kept[2];
	unsigned first = 0, end, count = 0;

	while (first < list->count && is_before(&list->range[first], &range))
		first++;
	end = first;
	while (end < list->count && !is_before(&range, &list->range[end]))
		end++;
	if (first == end)
		return true;
	/* What sticks out on either side stays. */
	if (list->range[first].block < range.block) {
		kept[count] = list->range[first];
		kept[count].blocks = (uint32_t)(range.block - kept[count].block);
		count++;
	}
	if (end_of(&list->range[end - 1]) > end_of(&range)) {
		kept[count] = range;
		kept[count].block = end_of(&range);
		kept[count].blocks = (uint32_t)(end_of(&list->range[end - 1]) - end_of(&range));
		count++;
	}
	return put(list, first, end, kept, count);
}

bool bad_list_touches(const struct bad_list *list, struct bad_range range)
{
	unsigned low = 0, high = list->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (is_before(&list->range[middle], &range))
			low = middle + 1;
		else
			high = middle;
	}
	return low < list->count && !is_before(&range, &list->range[low]);
}

/* The member's ranges are [*first, *end). */
static void find(const struct bad_list *list, unsigned row, unsigned *first, unsigned *end)
{
	*first = 0;
	while (*first < list->count && list->range[*first].row < row)
		++*first;
	*end = *first;
	while (*end < list->count && list->range[*end].row == row)
		++*end;
}

void bad_list_forget(struct bad_list *list, unsigned row)
{
	unsigned first, end;

	find(list, row, &first, &end);
	put(list, first, end, NULL, 0);
}

bool bad_list_merge(struct bad_list *list, unsigned from, unsigned to)
{
	struct bad_list merged = *list;
	unsigned first, end;

	find(list, from, &first, &end);
	for (unsigned i = first; i < end; i++) {
		struct bad_range range = list->range[i];

		range.row = (uint8_t)to;
		if (!bad_list_add(&merged, range))
			return false;
	}
	*list = merged;
	return true;
}

void bad_list_move(struct bad_list *list, unsigned from, unsigned to)
{
	struct bad_list moved = *list;
	unsigned first, end;
	bool fits = true;

	find(list, from, &first, &end);
	bad_list_forget(&moved, from);
	bad_list_forget(&moved, to);
	for (unsigned i = first; i < end; i++) {
		struct bad_range range = list->range[i];

		range.row = (uint8_t)to;
		fits &= bad_list_add(&moved, range);
	}
	assert(fits); /* as many as there were */
	*list = moved;
}

uint64_t bad_list_blocks(const struct bad_list *list, unsigned row)
{
	uint64_t blocks = 0;

	for (unsigned i = 0; i < list->count; i++)
		if (list->range[i].row == row)
			blocks += list->range[i].blocks;
	return blocks;
}

void bad_list_encode(const struct bad_list *list, void *bytes)
{
	struct disk_range *disk = bytes;

	memset(disk, 0, BAD_RANGES_MAX * sizeof(*disk));
	for (unsigned i = 0; i < list->count; i++)
		disk[i] = (struct disk_range){.block = le64_of(list->range[i].block),
			.blocks = le32_of(list->range[i].blocks),
			.row = list->range[i].row};
}

bool bad_list_decode(struct bad_list *list, const void *bytes)
{
	const struct disk_range *disk = bytes;

	list->count = 0;
	for (unsigned i = 0; i < BAD_RANGES_MAX && le32_get(disk[i].blocks); i++) {
		struct bad_range *range = &list->range[i];

		*range = (struct bad_range){
			le64_get(disk[i].block), le32_get(disk[i].blocks), disk[i].row};
		if (range->row >= SUPERBLOCK_ROWS || end_of(range) < range->block ||
			(i && (!is_before(&range[-1], range) ||
				      (range[-1].row == range->row &&
					      end_of(&range[-1]) == range->block))))
			return false;
		list->count++;
	}
	return true;
}
