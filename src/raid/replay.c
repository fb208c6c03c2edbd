/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a start does with what the last run left on the members: re-does the log, and reads the
 * maps.
 *
 * A write was begun in place only when its record was durable on every member of its write set, or
 * the loss of the others was durable in the table. So, of the members that the table calls live and
 * that are present:
 *
 *	all of the write set hold the record --> it may have begun: every one gets its new content,
 *	                                         and the codeword is the new one
 *	one of them does not                 --> it has not begun, or ended long ago and is stable:
 *	                                         nothing is done, and the codeword is whole
 *
 * Writes are re-done in the order of their numbers; those of one stripe are all in one lane. Full
 * stripes have no payload: what earlier records say of their rows is not re-done (they are logged
 * like that only on members without a cache, where the earlier write was stable by then), and their
 * parity is computed at the end.
 * Everything here may be done again after a crash in the middle of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/mutant.h"
#include "memory/memory.h"
#include "parity/parity.h"
#include "raid/internal.h"
#include "raid/record.h"
#include "raid/transfer.h"

enum { SCAN_BYTES = 4 << 20 };

/* An entry as found on one member. */
struct finding {
	struct record_entry entry;
	unsigned part, lane;
	unsigned row;	  /* of the table */
	uint64_t payload; /* byte of the member */
};

/* Of a part's lane: records with numbers up to this are dead. */
struct lane_tail {
	unsigned part, lane;
	uint64_t tail;
};
enum { TAILS_MAX = RAID_MEMBERS_MAX * REACTORS_MAX };

struct findings {
	struct finding *finding;
	size_t count, room;
};

/* The geometry of the parts, and what the table says. */
struct replayer {
	struct replay *replay;
	struct geometry geometry;
	unsigned parts, each;
	struct findings findings;
	struct redos *redos;
	struct findings fulls; /* full stripes that count */
	unsigned tails;
	struct lane_tail *tail; /* TAILS_MAX */
	uint64_t redone, full;
};

static int add_finding(struct findings *findings, const struct finding *finding)
{
	if (findings->count == findings->room) {
		size_t room = findings->room ? 2 * findings->room : 256;
		struct finding *more =
			reallocarray(findings->finding, room, sizeof(findings->finding[0]));

		if (!more)
			return -ENOMEM;
		findings->finding = more;
		findings->room = room;
	}
	findings->finding[findings->count++] = *finding;
	return 0;
}

/* One retry, for an error that does not last; then the member is to blame. */
static int member_transfer(struct replayer *replayer, unsigned row, enum io_kind kind,
	uint64_t offset, void *memory, size_t bytes)
{
	struct transfer transfer;
	int error = -EIO;

	for (int tries = 0; tries < 2 && error; tries++) {
		transfer_start(
			&transfer, replayer->replay->queues[row], kind, offset, memory, bytes);
		error = transfer_wait(&transfer);
	}
	if (error)
		replayer->replay->failed_row = (int)row;
	return error;
}

/* --- scanning -------------------------------------------------------------------------------- */

static bool entry_makes_sense(const struct replayer *replayer, const struct record_entry *entry)
{
	const struct geometry *geometry = &replayer->geometry;

	return entry->stripe < geometry->stripes && entry->rows &&
	       entry->rows <= geometry->chunk_blocks &&
	       entry->row <= geometry->chunk_blocks - entry->rows && entry->members &&
	       !(entry->members & ~bits_below(replayer->each));
}

/* A page of a log, with what has been read behind it. */
struct scanned {
	unsigned row;	/* of the table */
	uint64_t place; /* byte of the member */
	const char *page;
	uint64_t bytes; /* from the page on */
};

static bool payloads_fit(
	const struct replayer *replayer, const struct record *record, const char *memory)
{
	uint32_t block_bytes = replayer->replay->superblock->block_bytes;
	uint64_t at = RECORD_HEADER_BYTES;

	for (unsigned i = 0; i < record->entries; i++) {
		uint64_t payload = record_payload_bytes(&record->entry[i], block_bytes);

		if (payload && crc32c(0, memory + at, payload) != record->entry[i].checksum &&
			!MUTANT(replay_torn))
			return false;
		at += payload;
	}
	return true;
}

/* Whether the record is whole. Most lie in what has been read already. */
static int check_record(struct replayer *replayer, const struct scanned *scanned,
	const struct record *record, bool *whole)
{
	const struct superblock *superblock = replayer->replay->superblock;
	const struct extent *log = &superblock->layout.log;
	uint64_t bytes = record_bytes(record, superblock->block_bytes);
	char *memory;
	int error;

	*whole = false;
	for (unsigned i = 0; i < record->entries; i++)
		if (!entry_makes_sense(replayer, &record->entry[i]))
			return 0;
	if (bytes > log->offset + log->bytes - scanned->place)
		return 0;
	if (bytes <= scanned->bytes) {
		*whole = payloads_fit(replayer, record, scanned->page);
		return 0;
	}
	memory = memory_map(bytes, NULL);
	if (!memory)
		return -ENOMEM;
	error = member_transfer(replayer, scanned->row, IO_READ, scanned->place, memory, bytes);
	*whole = !error && payloads_fit(replayer, record, memory);
	memory_unmap(memory, bytes);
	return error;
}

static int take_record(
	struct replayer *replayer, unsigned row, const struct record *record, uint64_t place)
{
	uint64_t at = place + RECORD_HEADER_BYTES;
	uint32_t block_bytes = replayer->replay->superblock->block_bytes;
	int error = 0;

	for (unsigned i = 0; i < record->entries && !error; i++) {
		struct finding finding = {
			.entry = record->entry[i],
			.part = record->part,
			.lane = record->lane,
			.row = row,
			.payload = at,
		};

		error = add_finding(&replayer->findings, &finding);
		at += record_payload_bytes(&record->entry[i], block_bytes);
	}
	return error;
}

static void take_tail(struct replayer *replayer, const struct lane_header *header)
{
	for (unsigned i = 0; i < replayer->tails; i++) {
		struct lane_tail *tail = &replayer->tail[i];

		if (tail->part != header->part || tail->lane != header->lane)
			continue;
		tail->tail = MAX(tail->tail, header->tail);
		return;
	}
	if (replayer->tails < TAILS_MAX)
		replayer->tail[replayer->tails++] =
			(struct lane_tail){header->part, header->lane, header->tail};
}

static bool is_dead(const struct replayer *replayer, const struct finding *finding)
{
	for (unsigned i = 0; i < replayer->tails; i++)
		if (replayer->tail[i].part == finding->part &&
			replayer->tail[i].lane == finding->lane)
			return finding->entry.seq <= replayer->tail[i].tail &&
			       !MUTANT(log_tail_ignored);
	return false;
}

static int scan_page(struct replayer *replayer, const struct scanned *scanned)
{
	const struct uuid *uuid = &replayer->replay->superblock->rows[scanned->row].uuid;
	const struct superblock *superblock = replayer->replay->superblock;
	struct lane_header header;
	struct record record;
	bool whole;
	int error;

	if (lane_header_decode(&header, uuid, scanned->place, scanned->page) &&
		header.log_epoch == superblock->log_epoch)
		take_tail(replayer, &header);
	if (!record_decode(&record, uuid, scanned->place, scanned->page) ||
		(record.log_epoch != superblock->log_epoch && !MUTANT(replay_old_epoch)) ||
		record.part != scanned->row / replayer->each)
		return 0;
	error = check_record(replayer, scanned, &record, &whole);
	return error || !whole ? error
			       : take_record(replayer, scanned->row, &record, scanned->place);
}

static int scan_member(struct replayer *replayer, unsigned row, char *memory)
{
	const struct extent *log = &replayer->replay->superblock->layout.log;
	int error = 0;

	for (uint64_t at = 0; at < log->bytes && !error; at += SCAN_BYTES) {
		uint64_t bytes = MIN((uint64_t)SCAN_BYTES, log->bytes - at);

		error = member_transfer(replayer, row, IO_READ, log->offset + at, memory, bytes);
		for (uint64_t page = 0; page < bytes && !error; page += RECORD_HEADER_BYTES)
			error = scan_page(replayer, &(struct scanned){.row = row,
							    .place = log->offset + at + page,
							    .page = memory + page,
							    .bytes = bytes - page});
	}
	return error;
}

/* --- re-doing -------------------------------------------------------------------------------- */

static int by_number(const void *first, const void *second)
{
	const struct finding *a = first, *b = second;

	if (a->part != b->part)
		return a->part < b->part ? -1 : 1;
	if (a->lane != b->lane)
		return a->lane < b->lane ? -1 : 1;
	if (a->entry.seq != b->entry.seq)
		return (a->entry.seq < b->entry.seq) != MUTANT(replay_order) ? -1 : 1;
	if (a->row != b->row)
		return a->row < b->row ? -1 : 1;
	return a->entry.row < b->entry.row ? -1 : a->entry.row > b->entry.row;
}

static bool same_write(const struct finding *a, const struct finding *b)
{
	return a->part == b->part && a->lane == b->lane && a->entry.seq == b->entry.seq;
}

/* Whether all members of the write set that are present hold the record. */
static bool is_complete(const struct replayer *replayer, const struct finding *first, size_t count)
{
	uint32_t found = 0, present = 0;

	for (size_t i = 0; i < count; i++)
		found |= 1u << first[i].row % replayer->each;
	for (unsigned i = 0; i < replayer->each; i++)
		if (replayer->replay->queues[first->part * replayer->each + i])
			present |= 1u << i;
	return !(first->entry.members & present & ~found) || MUTANT(replay_incomplete);
}

static uint64_t data_place(const struct replayer *replayer, const struct record_entry *entry)
{
	const struct geometry *geometry = &replayer->geometry;

	return geometry_block(geometry, entry->stripe, entry->row) * geometry->block_bytes;
}

/* Whether a full stripe that came later has written the row as well. */
static bool is_superseded(
	const struct replayer *replayer, const struct finding *finding, uint32_t row)
{
	const struct record_entry *entry = &finding->entry;

	for (size_t i = 0; i < replayer->fulls.count && !MUTANT(replay_full_order); i++) {
		const struct finding *full = &replayer->fulls.finding[i];

		if (full->part == finding->part && full->entry.stripe == entry->stripe &&
			full->entry.seq > entry->seq && row >= full->entry.row &&
			row < full->entry.row + full->entry.rows)
			return true;
	}
	return false;
}

/* A part of an entry on its way from the log to its place. */
struct redo {
	unsigned row; /* of the table */
	struct record_entry entry;
	uint64_t payload;
	char *memory;
	struct transfer transfer;
};

enum { REDOS_MAX = 32 };

struct redos {
	unsigned count;
	struct redo redo[REDOS_MAX];
	char *memory; /* REDOS_MAX chunks */
};

static uint64_t redo_bytes(const struct replayer *replayer, const struct redo *redo)
{
	return (uint64_t)redo->entry.rows * replayer->geometry.block_bytes;
}

/* All parts at once: first what is to be written, then the writing. */
static int redo_together(struct replayer *replayer, struct redos *redos)
{
	int error = 0;

	for (enum io_kind kind = IO_READ; kind <= IO_WRITE && !error; kind++) {
		for (unsigned i = 0; i < redos->count; i++) {
			struct redo *redo = &redos->redo[i];
			uint64_t place = kind == IO_READ ? redo->payload
							 : data_place(replayer, &redo->entry);

			if (kind == IO_WRITE || redo->entry.kind == RECORD_DATA)
				transfer_start(&redo->transfer, replayer->replay->queues[redo->row],
					kind, place, redo->memory, redo_bytes(replayer, redo));
			else
				memset(redo->memory, 0, redo_bytes(replayer, redo));
		}
		for (unsigned i = 0; i < redos->count; i++) {
			struct redo *redo = &redos->redo[i];

			if (kind == IO_READ && redo->entry.kind != RECORD_DATA)
				continue;
			if (!transfer_wait(&redo->transfer) || error)
				continue;
			/* Once more, alone, for an error that does not last. */
			error = member_transfer(replayer, redo->row, kind,
				kind == IO_READ ? redo->payload
						: data_place(replayer, &redo->entry),
				redo->memory, redo_bytes(replayer, redo));
		}
	}
	redos->count = 0;
	return error;
}

static bool overlaps(const struct redo *redo, const struct finding *finding)
{
	return redo->row == finding->row && redo->entry.stripe == finding->entry.stripe &&
	       redo->entry.row < finding->entry.row + finding->entry.rows &&
	       finding->entry.row < redo->entry.row + redo->entry.rows;
}

/* The part of an entry that covers rows [row, end). */
static int redo_rows(
	struct replayer *replayer, const struct finding *finding, uint32_t row, uint32_t end)
{
	struct redos *redos = replayer->redos;
	uint32_t block_bytes = replayer->geometry.block_bytes;
	struct redo *redo;
	bool wait = redos->count == REDOS_MAX;
	int error = 0;

	/* What is newer must come later. */
	for (unsigned i = 0; i < redos->count; i++)
		wait |= overlaps(&redos->redo[i], finding);
	if (wait)
		error = redo_together(replayer, redos);
	redo = &redos->redo[redos->count];
	redo->row = finding->row;
	redo->entry = finding->entry;
	redo->entry.row = row;
	redo->entry.rows = end - row;
	redo->payload = finding->payload + (uint64_t)(row - finding->entry.row) * block_bytes;
	redo->memory = redos->memory +
		       (size_t)redos->count * replayer->geometry.chunk_blocks * block_bytes;
	redos->count++;
	return error;
}

static int redo_one(struct replayer *replayer, const struct finding *finding)
{
	uint32_t end = finding->entry.row + finding->entry.rows, next;
	int error = 0;

	for (uint32_t row = finding->entry.row; row < end && !error; row = next) {
		bool skip = is_superseded(replayer, finding, row);

		for (next = row + 1; next < end; next++)
			if (is_superseded(replayer, finding, next) != skip)
				break;
		if (!skip)
			error = redo_rows(replayer, finding, row, next);
	}
	return error;
}

/* --- full stripes ---------------------------------------------------------------------------- */

static unsigned column_row(
	const struct replayer *replayer, const struct finding *finding, unsigned column)
{
	return finding->part * replayer->each +
	       geometry_member(&replayer->geometry, finding->entry.stripe, column);
}

/* The columns of a full stripe's rows, in memory. */
struct full_rows {
	const struct finding *finding;
	uint64_t bytes; /* of each column */
	char *memory;
	uint32_t there; /* columns that can be read */
};

static int full_transfer(struct replayer *replayer, const struct full_rows *full, enum io_kind kind,
	uint32_t columns)
{
	unsigned column;
	int error = 0;

	bits_for_each (column, columns) {
		error = member_transfer(replayer, column_row(replayer, full->finding, column), kind,
			data_place(replayer, &full->finding->entry),
			full->memory + column * full->bytes, full->bytes);
		if (error)
			break;
	}
	return error;
}

/* Makes the redundancy fit the data, in whatever mixture that is. What a missing data column
 * holds is
 * what the first parities say: no one knows better (docs/CONSISTENCY.md), but from now on all
 * ways of reading it agree. -ENODATA: a sector of what is there cannot be read. */
static int fit_parity(struct replayer *replayer, const struct full_rows *full)
{
	const struct geometry *geometry = &replayer->geometry;
	uint32_t data = bits_below(geometry->data), lost = data & ~full->there, used = 0;
	uint32_t parities = full->there & ~data;
	const void *columns[RAID_MEMBERS_MAX], *read[PARITY_MAX] = {NULL};
	void *all[RAID_MEMBERS_MAX], *parity[PARITY_MAX] = {NULL};
	unsigned column;
	int error;

	if (bits_count(lost) >= bits_count(parities))
		return 0;
	for (unsigned i = 0; i < geometry->data; i++)
		columns[i] = all[i] = full->memory + i * full->bytes;
	bits_for_each (column, parities) {
		char *place = full->memory + column * full->bytes;

		if (bits_count(used) < bits_count(lost)) {
			used |= 1u << column;
			read[column - geometry->data] = place;
		} else {
			parity[column - geometry->data] = place;
		}
	}
	error = full_transfer(replayer, full, IO_READ, (data & full->there) | used);
	if (error)
		return -ENODATA;
	if (lost)
		parity_recover(geometry->data, geometry->redundant, full->bytes, lost, all, read);
	parity_generate(geometry->data, geometry->redundant, full->bytes, columns, parity);
	return full_transfer(replayer, full, IO_WRITE, parities & ~used);
}

/* Whether a member that could not be read is there at all. */
static bool answers(struct replayer *replayer, int row)
{
	const struct replay *replay = replayer->replay;
	uint64_t place = replay->superblock->layout.superblocks[0].offset;
	char *page = memory_map(LAYOUT_UNIT_BYTES, NULL);
	bool there =
		page && !transfer(replay->queues[row], IO_READ, place, page, LAYOUT_UNIT_BYTES);

	if (page)
		memory_unmap(page, LAYOUT_UNIT_BYTES);
	return there;
}

/* Without the columns in `bad`: those that have no member, or a sector that cannot be read. */
static int fit_rows(struct replayer *replayer, const struct finding *finding, uint32_t bad)
{
	const struct geometry *geometry = &replayer->geometry;
	struct full_rows full = {.finding = finding,
		.bytes = (uint64_t)finding->entry.rows * geometry->block_bytes,
		.there = bits_below(geometry->members) & ~bad};
	int error;

	full.memory = memory_map(geometry->members * full.bytes, NULL);
	if (!full.memory)
		return -ENOMEM;
	error = fit_parity(replayer, &full);
	memory_unmap(full.memory, geometry->members * full.bytes);
	return error;
}

/* A row is a codeword of its own: what of it cannot be read is as good as absent. */
static int fit_row(struct replayer *replayer, const struct finding *finding, uint32_t bad)
{
	struct replay *replay = replayer->replay;
	const struct geometry *geometry = &replayer->geometry;
	int error;

	while ((error = fit_rows(replayer, finding, bad)) == -ENODATA) {
		unsigned failed = (unsigned)replay->failed_row;

		if (!answers(replayer, replay->failed_row))
			return -EIO;
		replay->failed_row = -1;
		for (unsigned column = 0; column < geometry->members; column++)
			if (column_row(replayer, finding, column) == failed)
				bad |= 1u << column;
	}
	return error;
}

static int redo_full(struct replayer *replayer, const struct finding *finding)
{
	struct replay *replay = replayer->replay;
	struct finding one = *finding;
	uint32_t absent = 0;
	int error;

	for (unsigned column = 0; column < replayer->geometry.members; column++)
		if (!replay->queues[column_row(replayer, finding, column)])
			absent |= 1u << column;
	replayer->full++;
	error = fit_rows(replayer, finding, absent);
	if (error != -ENODATA)
		return error;
	if (!answers(replayer, replay->failed_row))
		return -EIO;
	replay->failed_row = -1;
	error = 0;
	one.entry.rows = 1;
	for (uint32_t i = 0; i < finding->entry.rows && !error; i++) {
		one.entry.row = finding->entry.row + i;
		error = fit_row(replayer, &one, absent);
	}
	return error;
}

/* Goes through the writes that count, in order. */
static int for_each_write(struct replayer *replayer,
	int (*function)(struct replayer *replayer, const struct finding *first, size_t count))
{
	const struct findings *findings = &replayer->findings;
	size_t count;
	int error = 0;

	for (size_t i = 0; i < findings->count && !error; i += count) {
		const struct finding *first = &findings->finding[i];

		for (count = 1; i + count < findings->count; count++)
			if (!same_write(first, first + count))
				break;
		if (!is_dead(replayer, first) && is_complete(replayer, first, count))
			error = function(replayer, first, count);
	}
	return error;
}

static int note_full(struct replayer *replayer, const struct finding *first, size_t count)
{
	(void)count;
	return first->entry.kind == RECORD_FULL ? add_finding(&replayer->fulls, first) : 0;
}

static int redo_write(struct replayer *replayer, const struct finding *first, size_t count)
{
	int error = 0;

	if (first->entry.kind == RECORD_FULL)
		return 0;
	replayer->redone++;
	for (size_t i = 0; i < count && !error; i++)
		error = redo_one(replayer, first + i);
	return error;
}

static int redo_all(struct replayer *replayer)
{
	int error = for_each_write(replayer, note_full);

	if (!error)
		error = for_each_write(replayer, redo_write);
	if (!error)
		error = redo_together(replayer, replayer->redos);
	for (size_t i = 0; i < replayer->fulls.count && !error; i++)
		error = redo_full(replayer, &replayer->fulls.finding[i]);
	return error;
}

/* All members at once: a guest waits for it. */
int replay_flush(struct replay *replay)
{
	struct transfer flush[SUPERBLOCK_ROWS];
	bool started[SUPERBLOCK_ROWS] = {false};
	int error = 0;

	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		if (!replay->queues[i] || !replay->queues[i]->dev->volatile_cache ||
			MUTANT(replay_no_flush))
			continue;
		transfer_start(&flush[i], replay->queues[i], IO_FLUSH, 0, NULL, 0);
		started[i] = true;
	}
	for (unsigned i = 0; i < SUPERBLOCK_ROWS; i++) {
		int result = started[i] ? transfer_wait(&flush[i]) : 0;

		if (result && !error)
			replay->failed_row = (int)i;
		error = error ? error : result;
	}
	return error;
}

static void init_replayer(struct replayer *replayer, struct replay *replay)
{
	const struct superblock *superblock = replay->superblock;

	*replayer = (struct replayer){
		.replay = replay, .parts = superblock->parts ? superblock->parts : 1};
	replayer->each = superblock->members / replayer->parts;
	replayer->geometry = (struct geometry){
		.level = superblock->level->part ? superblock->level->part : superblock->level,
		.members = replayer->each,
		.block_bytes = superblock->block_bytes,
		.chunk_blocks = superblock->chunk_bytes / superblock->block_bytes,
		.member_offset = superblock->layout.data.offset / superblock->block_bytes,
	};
	geometry_init(
		&replayer->geometry, replayer->geometry.member_offset +
					     superblock->stripes * replayer->geometry.chunk_blocks);
}

/* Memory for REDOS_MAX parts of at most a chunk. */
static int get_redos(struct replayer *replayer)
{
	const struct geometry *geometry = &replayer->geometry;
	struct redos *redos = calloc(1, sizeof(*redos));

	replayer->redos = redos;
	if (redos)
		redos->memory = memory_map(
			(size_t)REDOS_MAX * geometry->chunk_blocks * geometry->block_bytes, NULL);
	return redos && redos->memory ? 0 : -ENOMEM;
}

static void put_redos(struct replayer *replayer)
{
	const struct geometry *geometry = &replayer->geometry;

	if (replayer->redos && replayer->redos->memory)
		memory_unmap(replayer->redos->memory,
			(size_t)REDOS_MAX * geometry->chunk_blocks * geometry->block_bytes);
	free(replayer->redos);
}

int replay_log(struct replay *replay, struct fail *fail)
{
	struct replayer replayer;
	char *memory = memory_map(SCAN_BYTES, NULL);
	int error;

	init_replayer(&replayer, replay);
	replayer.tail = calloc(TAILS_MAX, sizeof(replayer.tail[0]));
	error = memory && replayer.tail ? 0 : -ENOMEM;
	for (unsigned row = 0; row < replay->superblock->members && !error; row++)
		if (replay->queues[row]) {
			error = scan_member(&replayer, row, memory);
			if (error)
				fail_set(fail, -error, "cannot read the log of drive %s: %s",
					replay->queues[row]->dev->name, strerror(-error));
		}
	if (!error) {
		if (replayer.findings.count)
			qsort(replayer.findings.finding, replayer.findings.count,
				sizeof(struct finding), by_number);
		error = get_redos(&replayer);
		if (!error)
			error = redo_all(&replayer);
		put_redos(&replayer);
		if (!error)
			error = replay_flush(replay);
		if (error)
			fail_set(fail, -error,
				"cannot re-do the log of array %s: %s; detach the drive that fails",
				replay->superblock->name, strerror(-error));
	}
	if (!error)
		log_info("event=LogReplayed array=%s writes=%llu full_stripes=%llu",
			replay->superblock->name, (unsigned long long)replayer.redone,
			(unsigned long long)replayer.full);
	free(replayer.findings.finding);
	free(replayer.fulls.finding);
	free(replayer.tail);
	if (memory)
		memory_unmap(memory, SCAN_BYTES);
	return error;
}

/* --- maps ------------------------------------------------------------------------------------ */

/* Both slots of a kind on one member, if newer than what is there. */
static int read_map(const struct replay *replay, unsigned row, enum map_kind kind,
	struct keeper_map *map, char *memory)
{
	const struct superblock *superblock = replay->superblock;
	uint64_t place = map_place(&superblock->layout, kind);
	uint8_t bits[MAP_BYTES];
	uint64_t generation;
	int error = transfer(replay->queues[row], IO_READ, place, memory, 2 * LAYOUT_UNIT_BYTES);

	for (unsigned slot = 0; slot < 2 && !error; slot++)
		if (map_decode(bits, &generation, kind, &superblock->rows[row].uuid,
			    place + slot * LAYOUT_UNIT_BYTES, memory + slot * LAYOUT_UNIT_BYTES) &&
			generation > map->generation) {
			map->generation = generation;
			memcpy(map->bits, bits, MAP_BYTES);
		}
	return error;
}

int replay_maps(const struct replay *replay, struct keeper_map maps[KEEPER_MAPS], struct fail *fail)
{
	char *memory = memory_map(2 * LAYOUT_UNIT_BYTES, NULL);
	int error = memory ? 0 : -ENOMEM, read;
	unsigned good[KEEPER_MAPS] = {0};

	/* Each member that was live has all of it: one that can be read is enough. */
	for (unsigned row = 0; row < replay->superblock->members && !error; row++)
		for (unsigned kind = 0; kind < KEEPER_MAPS && replay->queues[row]; kind++) {
			read = read_map(replay, row, kind, &maps[kind], memory);
			good[kind] += !read;
		}
	if (!error && (!good[MAP_DIRTY] || !good[MAP_MISSING] || !good[MAP_BAD]))
		error = -EIO;
	if (error)
		fail_set(fail, -error, "cannot read the maps of array %s: %s",
			replay->superblock->name, strerror(-error));
	if (memory)
		memory_unmap(memory, 2 * LAYOUT_UNIT_BYTES);
	return error;
}
