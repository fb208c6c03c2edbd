/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The COMPUTE step of an op: from what was read to what is to be written.
 *
 * A sweep that checks goes row by row where a window's columns do not agree: a row is a codeword of
 * its own. With two parities or more, or three copies, one wrong column can be told from the
 * others; otherwise it is only reported, for a guess would make damage permanent.
 */
#include <assert.h>
#include <string.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "parity/parity.h"
#include "raid/internal.h"

static const struct geometry *geometry_of(const struct op *op)
{
	return &op->shard->array->geometry;
}

static bool is_mirror(const struct op *op)
{
	return geometry_of(op)->level->redundancy == REDUNDANCY_MIRROR;
}

/* --- between the caller's memory and the op's ------------------------------------------------- */

/* A slice's rows of one column. */
struct piece {
	const struct slice *slice;
	unsigned column;
	uint32_t row, end;
};

static size_t piece_bytes(const struct op *op, const struct piece *piece)
{
	return (size_t)(piece->end - piece->row) * geometry_of(op)->block_bytes;
}

/* Where a piece is in a buffer of the op. */
static size_t piece_skip(const struct op *op, const struct piece *piece)
{
	return (size_t)(piece->row - op->plan.row) * geometry_of(op)->block_bytes;
}

static struct iov_cursor piece_cursor(const struct op *op, const struct piece *piece)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t top = piece->column * geometry->chunk_blocks;

	return iov_cursor_at(piece->slice->request->io,
		(size_t)(piece->slice->io_block + top + piece->row - piece->slice->first) *
			geometry->block_bytes);
}

static void copy_out(const struct op *op, const struct piece *piece)
{
	unsigned column = is_mirror(op) ? (unsigned)__builtin_ctz(op->plan.reads) : piece->column;
	struct iov_cursor cursor = piece_cursor(op, piece);

	iov_copy_to(&cursor, op->old[column] + piece_skip(op, piece), piece_bytes(op, piece));
}

/* The private copy of what is to be written. */
static void copy_in(const struct op *op, const struct piece *piece)
{
	char *memory = op->new[piece->column] + piece_skip(op, piece);
	size_t bytes = piece_bytes(op, piece);
	struct iov_cursor cursor;

	if (!io_carries_data(piece->slice->request->io)) {
		memset(memory, 0,
			bytes - (MUTANT(zeroes_partial) ? geometry_of(op)->block_bytes : 0));
		return;
	}
	cursor = piece_cursor(op, piece);
	iov_copy_from(&cursor, memory, bytes);
}

/* The parities of a band that are to be written, from a place on; NULL: lost. */
static void band_parity(
	const struct op *op, const struct plan_band *band, size_t skip, void *parity[PARITY_MAX])
{
	const struct geometry *geometry = geometry_of(op);

	for (unsigned j = 0; j < geometry->redundant; j++)
		parity[j] = band->writes >> (geometry->data + j) & 1
				    ? op->old[geometry->data + j] + skip
				    : NULL;
}

/* As much as lies in one run of the caller's memory, copied and put into the parities in one pass
 * over it. 0: it has to be done in two. */
static size_t modify_run(const struct op *op, const struct piece *piece,
	const struct plan_band *band, struct iov_cursor *cursor, size_t done)
{
	size_t skip = piece_skip(op, piece) + done, run = cursor->iov->iov_len - cursor->skip;
	size_t bytes = MIN(run, piece_bytes(op, piece) - done);
	struct parity_change change = {
		.bytes = bytes,
		.before = op->old[piece->column] + skip,
		.after = (const char *)cursor->iov->iov_base + cursor->skip,
		.copy = op->new[piece->column] + skip,
	};
	void *parity[PARITY_MAX] = {NULL};

	if (!bytes || bytes % 64 || skip % 64)
		return 0;
	band_parity(op, band, skip, parity);
	parity_copy_update(piece->column, geometry_of(op)->redundant, &change, parity);
	cursor->skip += bytes;
	if (cursor->skip == cursor->iov->iov_len)
		*cursor = (struct iov_cursor){cursor->iov + 1, 0};
	return bytes;
}

/* MODIFY: the difference between the old data and the new goes into the parities. */
static void modify(const struct op *op, const struct piece *piece, const struct plan_band *band)
{
	size_t bytes = piece_bytes(op, piece), skip = piece_skip(op, piece), done = 0, run = 1;
	void *parity[PARITY_MAX] = {NULL};

	if (io_carries_data(piece->slice->request->io)) {
		struct iov_cursor cursor = piece_cursor(op, piece);

		for (; done < bytes && run; done += run)
			run = modify_run(op, piece, band, &cursor, done);
		if (done == bytes)
			return;
		iov_copy_from(&cursor, op->new[piece->column] + skip + done, bytes - done);
	} else {
		copy_in(op, piece);
	}
	band_parity(op, band, skip + done, parity);
	parity_update(piece->column, geometry_of(op)->redundant, bytes - done,
		op->old[piece->column] + skip + done, op->new[piece->column] + skip + done, parity);
}

/* Takes a slice's column in, band by band. */
static void take_column(const struct op *op, const struct piece *whole)
{
	for (unsigned i = 0; i < op->plan.bands; i++) {
		const struct plan_band *band = &op->plan.band[i];
		struct piece piece = *whole;

		piece.row = MAX(piece.row, band->row);
		piece.end = MIN(piece.end, band->end);
		if (piece.row >= piece.end)
			continue;
		if (band->recipe == RECIPE_MODIFY)
			modify(op, &piece, band);
		else
			copy_in(op, &piece);
	}
}

static void for_each_column(
	const struct op *op, void (*function)(const struct op *op, const struct piece *piece))
{
	uint32_t chunk = geometry_of(op)->chunk_blocks;
	struct list_node *node;

	list_for_each (node, &op->slices) {
		const struct slice *slice = container_of(node, struct slice, link);

		for (unsigned column = slice->first / chunk; column <= (slice->end - 1) / chunk;
			column++) {
			uint32_t top = column * chunk;
			struct piece piece = {
				.slice = slice,
				.column = column,
				.row = MAX(MAX(slice->first, top) - top, op->row_first),
				.end = MIN(MIN(slice->end, top + chunk) - top, op->row_end),
			};

			if (piece.row < piece.end)
				function(op, &piece);
		}
	}
}

/* --- bands ----------------------------------------------------------------------------------- */

/* The pointers that parity/ works on, for one band. */
struct band_memory {
	size_t bytes;
	void *old[RAID_MEMBERS_MAX];	     /* data columns as they are on the members */
	const void *data[RAID_MEMBERS_MAX];  /* data columns as they will be */
	void *parity[PARITY_MAX];	     /* to be written; NULL: lost */
	const void *parity_read[PARITY_MAX]; /* NULL: not read */
};

static void band_memory(
	const struct op *op, const struct plan_band *band, struct band_memory *memory)
{
	const struct geometry *geometry = geometry_of(op);
	size_t skip = (size_t)(band->row - op->plan.row) * geometry->block_bytes;
	uint32_t known = band->reads | band->recovers;

	memory->bytes = (size_t)(band->end - band->row) * geometry->block_bytes;
	for (unsigned column = 0; column < geometry->data; column++) {
		bool fresh = op->work == OP_WRITE && band->touched >> column & 1;

		if (fresh && MUTANT(op_recover_column) && band->recovers >> column & 1)
			fresh = false;
		memory->old[column] = known >> column & 1 ? op->old[column] + skip : NULL;
		memory->data[column] = fresh ? op->new[column] + skip : memory->old[column];
	}
	for (unsigned j = 0; j < geometry->redundant; j++) {
		uint32_t bit = 1u << (geometry->data + j);
		char *place = op->old[geometry->data + j] + skip;

		memory->parity[j] = band->writes & bit ? place : NULL;
		memory->parity_read[j] = band->reads & bit ? place : NULL;
	}
}

static void compute_band(const struct op *op, const struct plan_band *band)
{
	const struct geometry *geometry = geometry_of(op);
	struct band_memory memory;

	band_memory(op, band, &memory);
	if (band->recovers)
		parity_recover(geometry->data, geometry->redundant, memory.bytes, band->recovers,
			memory.old, memory.parity_read);
	if (band->recipe == RECIPE_FETCH || !(band->writes & ~bits_below(geometry->data)))
		return;
	parity_generate(
		geometry->data, geometry->redundant, memory.bytes, memory.data, memory.parity);
}

void op_compute(struct op *op)
{
	if (op->work == OP_CLEAR)
		return;
	if (op->work == OP_WRITE)
		for_each_column(op, take_column);
	for (unsigned i = 0; i < op->plan.bands && !is_mirror(op); i++)
		if (op->plan.band[i].recipe != RECIPE_MODIFY)
			compute_band(op, &op->plan.band[i]);
	if (op->work == OP_READ)
		for_each_column(op, copy_out);
}

/* --- sweeps ---------------------------------------------------------------------------------- */

/* One row of all columns, as parity/ wants them. */
struct row_memory {
	const void *data[RAID_MEMBERS_MAX];
	void *columns[RAID_MEMBERS_MAX];
	const void *parity[PARITY_MAX];
};

static void rows_memory(const struct op *op, uint32_t row, struct row_memory *memory)
{
	const struct geometry *geometry = geometry_of(op);
	size_t skip = (size_t)(row - op->plan.row) * geometry->block_bytes;

	*memory = (struct row_memory){0};
	for (unsigned i = 0; i < geometry->data && !is_mirror(op); i++)
		memory->data[i] = memory->columns[i] = op->old[i] + skip;
	for (unsigned i = 0; i < geometry->redundant && !is_mirror(op); i++)
		if (op->plan.reads >> (geometry->data + i) & 1)
			memory->parity[i] = op->old[geometry->data + i] + skip;
}

/* All columns have been read. */
static bool is_whole(const struct op *op)
{
	return op->plan.reads == bits_below(geometry_of(op)->members);
}

/* The column that all other copies contradict; PARITY_UNLOCATED. */
static int locate_copy(const struct op *op, uint32_t row)
{
	const struct geometry *geometry = geometry_of(op);
	size_t bytes = geometry->block_bytes, skip = (size_t)(row - op->plan.row) * bytes;

	for (unsigned suspect = 0; suspect < geometry->members && geometry->members > 2;
		suspect++) {
		const char *first = op->old[suspect ? 0 : 1] + skip;
		bool others_agree = true;

		for (unsigned i = 0; i < geometry->members; i++)
			others_agree &= i == suspect || !memcmp(first, op->old[i] + skip, bytes);
		if (others_agree)
			return (int)suspect;
	}
	return PARITY_UNLOCATED;
}

/* Puts into a wrong column of a row what it should be. */
static void correct(const struct op *op, uint32_t row, unsigned wrong)
{
	const struct geometry *geometry = geometry_of(op);
	struct row_memory memory;
	size_t bytes = geometry->block_bytes, skip = (size_t)(row - op->plan.row) * bytes;
	void *parity[PARITY_MAX] = {NULL};

	rows_memory(op, row, &memory);
	if (is_mirror(op)) {
		memcpy(op->old[wrong] + skip, op->old[wrong ? 0 : 1] + skip, bytes);
	} else if (wrong < geometry->data) {
		parity_recover(geometry->data, geometry->redundant, bytes, 1u << wrong,
			memory.columns, memory.parity);
	} else {
		parity[wrong - geometry->data] = op->old[wrong] + skip;
		parity_generate(geometry->data, geometry->redundant, bytes, memory.data, parity);
	}
}

static bool rows_agree(const struct op *op, uint32_t row, uint32_t rows)
{
	const struct geometry *geometry = geometry_of(op);
	size_t bytes = (size_t)rows * geometry->block_bytes;
	size_t skip = (size_t)(row - op->plan.row) * geometry->block_bytes;
	struct row_memory memory;
	const char *first;
	unsigned column;

	rows_memory(op, row, &memory);
	if (!is_mirror(op)) {
		/* What is missing is recovered from the first parities; the others have to agree.
		 * */
		if (op->plan.recovers)
			parity_recover(geometry->data, geometry->redundant, bytes,
				op->plan.recovers, memory.columns, memory.parity);
		return parity_check(
			geometry->data, geometry->redundant, bytes, memory.data, memory.parity);
	}
	first = op->old[__builtin_ctz(op->plan.reads)] + skip;
	bits_for_each (column, op->plan.reads)
		if (memcmp(first, op->old[column] + skip, bytes))
			return false;
	return true;
}

static void check_row(struct op *op, uint32_t row)
{
	const struct geometry *geometry = geometry_of(op);
	struct sweep_op *sweep = op->sweep;
	struct row_memory memory;
	int wrong;

	if (rows_agree(op, row, 1))
		return;
	sweep->mismatches++;
	if (!is_whole(op))
		return;
	rows_memory(op, row, &memory);
	wrong = is_mirror(op) ? locate_copy(op, row)
			      : parity_locate(geometry->data, geometry->redundant,
					geometry->block_bytes, memory.data, memory.parity);
	if (wrong < 0 && MUTANT(scrub_blind))
		wrong = (int)geometry->data;
	if (wrong < 0)
		return;
	sweep->located++;
	if (sweep->kind != SWEEP_REPAIR)
		return;
	correct(op, row, (unsigned)wrong);
	op->plan.writes |= 1u << wrong;
	sweep->repaired++;
}

/* A mirror's copies all get what was read. */
static void copy_source(struct op *op)
{
	const struct plan *plan = &op->plan;
	const char *source = op->old[__builtin_ctz(plan->reads)];
	unsigned column;

	bits_for_each (column, plan->writes & ~plan->reads)
		memcpy(op->old[column], source,
			(size_t)(plan->end - plan->row) * geometry_of(op)->block_bytes);
}

void op_compute_sweep(struct op *op)
{
	struct plan *plan = &op->plan;

	bool checks = op->sweep->kind == SWEEP_SCRUB || op->sweep->kind == SWEEP_REPAIR;

	if (checks && !op->avoid) {
		if (!rows_agree(op, plan->row, plan->end - plan->row))
			for (uint32_t row = plan->row; row < plan->end; row++)
				check_row(op, row);
		plan->band[0].writes = plan->writes;
	} else if (is_mirror(op)) {
		copy_source(op);
	} else if (plan->band[0].recipe != RECIPE_FETCH) {
		compute_band(op, &plan->band[0]);
	}
}
