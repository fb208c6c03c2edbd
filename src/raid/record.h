/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stripe log's records as they stand on a member. Pure. docs/FORMAT.md, docs/CONSISTENCY.md.
 *
 * Before a write changes anything in place, every member of its write set holds a record of it with
 * that member's own new blocks. One record carries the entries of many writes: a header page, then
 * the entries' payloads one after the other, in blocks.
 *
 *	| header: entry 0 .. entry n-1 | payload of 0 | payload of 1 | ... | up to a whole page |
 */
#ifndef RAID_RECORD_H
#define RAID_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "raid/superblock.h"

enum { RECORD_HEADER_BYTES = LAYOUT_UNIT_BYTES, RECORD_ENTRIES_MAX = 63 };

/* On disk: do not renumber. */
enum record_kind {
	RECORD_DATA = 0,  /* the payload is the column's new content */
	RECORD_CLEAR = 1, /* the new content is zeros, on every column; no payload */
	RECORD_FULL = 2, /* all data columns are written: no payload, the parity is computed anew */
	RECORD_KINDS,
};

struct record_entry {
	uint64_t seq; /* of the write, within its part and lane; the same on all members */
	uint64_t stripe;
	uint32_t row, rows;
	uint32_t members; /* the write set: slots of the part */
	enum record_kind kind;
	uint32_t checksum; /* of the payload */
};

struct record {
	uint64_t log_epoch;
	unsigned part, lane;
	unsigned entries;
	struct record_entry entry[RECORD_ENTRIES_MAX];
};

/* The header page of a record that is to stand at byte `place` of the member. */
void record_encode(
	const struct record *record, const struct uuid *member, uint64_t place, void *page);

/* False: no valid header of that member and place. What is returned is hostile but for its form:
 * entries are not checked against an array's size. */
bool record_decode(
	struct record *record, const struct uuid *member, uint64_t place, const void *page);

/*
 * A lane's header: records of the lane with numbers up to `tail` are dead, whatever is left of
 * them. It is written, to two pages in turn, before the room of those records is used again.
 */
struct lane_header {
	uint64_t log_epoch;
	unsigned part, lane;
	uint64_t tail;
};
enum { LANE_HEADER_PAGES = 2 };

void lane_header_encode(
	const struct lane_header *header, const struct uuid *member, uint64_t place, void *page);
bool lane_header_decode(
	struct lane_header *header, const struct uuid *member, uint64_t place, const void *page);

/* Bytes of payload of an entry, and of a whole record. */
static inline uint64_t record_payload_bytes(const struct record_entry *entry, uint32_t block_bytes)
{
	return entry->kind == RECORD_DATA ? (uint64_t)entry->rows * block_bytes : 0;
}
uint64_t record_bytes(const struct record *record, uint32_t block_bytes);

#endif
