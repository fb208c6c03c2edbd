/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/layout.h"

#include <errno.h>
#include <stdbool.h>

#include "base/bits.h"
#include "base/units.h"

enum { MIB = 1 << 20 };

const struct layout_places layout_standard = {
	.head_bytes = MIB,
	.tail_bytes = 2 * MIB,
	.slots = 16,
	.notes_bytes = 256 << 10,
	.log_bytes_min = 4 * MIB,
	.log_bytes_max = 64 * MIB,
	.log_share = 64,
	.align_bytes = MIB,
	.region_bytes_min = MIB,
};

/* Dirty and missing map, two slots each. */
enum { INTENT_PAGES = 4, BAD_BLOCKS_PAGES = 8 };

bool layout_find_superblocks(
	struct extent superblocks[2], const struct layout_places *places, uint64_t member_bytes)
{
	uint64_t ring = (uint64_t)places->slots * LAYOUT_UNIT_BYTES, tail;

	member_bytes -= member_bytes % LAYOUT_UNIT_BYTES;
	if (member_bytes < places->head_bytes + ring + places->tail_bytes)
		return false;
	tail = member_bytes - places->tail_bytes;
	superblocks[0] = (struct extent){places->head_bytes, ring};
	superblocks[1] = (struct extent){tail, ring};
	return true;
}

static struct extent take(uint64_t *at, uint64_t bytes)
{
	struct extent extent = {*at, bytes};

	*at += bytes;
	return extent;
}

int layout_make(struct layout *layout, const struct layout_places *places, uint64_t member_bytes,
	struct fail *fail)
{
	char text[UNITS_TEXT_BYTES], least[UNITS_TEXT_BYTES];
	uint64_t log = member_bytes / places->log_share, at, end;

	log = MIN(MAX(log, (uint64_t)places->log_bytes_min), (uint64_t)places->log_bytes_max);
	log -= log % LAYOUT_UNIT_BYTES;
	layout->slots = places->slots;
	if (!layout_find_superblocks(layout->superblocks, places, member_bytes))
		goto too_small;
	at = places->head_bytes + layout->superblocks[0].bytes;
	layout->intent = take(&at, INTENT_PAGES * LAYOUT_UNIT_BYTES);
	layout->bad_blocks = take(&at, BAD_BLOCKS_PAGES * LAYOUT_UNIT_BYTES);
	layout->notes = take(&at, 2 * (uint64_t)places->notes_bytes);
	layout->log = take(&at, log);
	at = align_up(at, places->align_bytes);
	end = layout->superblocks[1].offset;
	end -= end % places->align_bytes;
	if (at >= end)
		goto too_small;
	layout->data = (struct extent){at, end - at};
	return 0;

too_small:
	at = places->head_bytes + places->slots * LAYOUT_UNIT_BYTES +
	     (INTENT_PAGES + BAD_BLOCKS_PAGES) * LAYOUT_UNIT_BYTES +
	     2 * (uint64_t)places->notes_bytes + log;
	return fail_set(fail, ENOSPC,
		"a drive of %s is too small: braid itself needs %s of each member",
		units_print(member_bytes, text),
		units_print(align_up(at, places->align_bytes) + places->tail_bytes +
				    places->align_bytes,
			least));
}

uint64_t layout_region_bytes(const struct layout_places *places, uint64_t data_bytes)
{
	uint64_t region = places->region_bytes_min;

	while (divide_up(data_bytes, region) > LAYOUT_REGIONS_MAX)
		region *= 2;
	return region;
}
