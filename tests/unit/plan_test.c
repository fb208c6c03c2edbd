/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans, exhaustively: data 1 to 6, parity 0 to 3, a chunk of 4 rows; every slice, every set of
 * columns that cannot be read, every part of it that cannot be written, dirty or not, for the whole
 * chunk and for windows of two rows. Nothing is left out.
 *
 * The model knows no recipes. What a set of read columns tells is a matter of linear algebra over
 * GF(2^8): the columns that were not read are unknowns, each parity that was read is an equation,
 * and a new parity (or a lost column) can be computed if and only if it lies in their span. From
 * that follow when -EIO is right and how many reads are the fewest. That the plan's own recipe then
 * computes the right bytes is shown by carrying it out on numbers.
 *
 * A band's verdict depends on its columns alone, not on its rows: each is carried out once and
 * remembered. Rows are compared for every slice and window.
 */
#include "unit.h"

#include <errno.h>

#include "raid/plan.h"

enum {
	CHUNK = 4,
	DATA = 6,
	PARITY = 3,
	COLUMNS = DATA + PARITY,
	BLOCKS = DATA * CHUNK,
	SLICES = BLOCKS * (BLOCKS + 1) / 2,
	WINDOWS = 3,
	WORLDS = 3, /* a wrong sum is right by chance once in 2^24 */
	IMPOSSIBLE = 0xff,
};

static const struct window {
	uint32_t first, end;
} windows[WINDOWS] = {{0, CHUNK}, {0, 2}, {2, CHUNK}};

static uint8_t product[256][256], inverse[256];
static uint8_t coefficient[PARITY][DATA];

/* The bytes of one row: what the stripe holds, and what a request brings. */
static struct world {
	uint8_t data[DATA], fresh[DATA], garbage[PARITY];
} worlds[WORLDS];

/* --- arithmetic ------------------------------------------------------------------------------ */

static uint8_t multiply(unsigned a, unsigned b)
{
	unsigned sum = 0;

	for (; b; b >>= 1, a = a << 1 ^ (a & 0x80 ? 0x11d : 0))
		sum ^= b & 1 ? a : 0;
	return (uint8_t)sum;
}

static int set_up(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++)
		for (unsigned b = 0; b < 256; b++) {
			product[a][b] = multiply(a, b);
			if (product[a][b] == 1)
				inverse[a] = (uint8_t)b;
		}
	for (unsigned j = 0; j < PARITY; j++) {
		coefficient[j][0] = 1;
		for (unsigned i = 1; i < DATA; i++)
			coefficient[j][i] = product[coefficient[j][i - 1]][1u << j];
	}
	srand(20240607);
	for (unsigned w = 0; w < WORLDS; w++) {
		for (unsigned i = 0; i < DATA; i++) {
			worlds[w].data[i] = (uint8_t)(rand() >> 7);
			worlds[w].fresh[i] = (uint8_t)(worlds[w].data[i] ^ (1 + rand() % 255));
		}
		for (unsigned j = 0; j < PARITY; j++)
			worlds[w].garbage[j] = (uint8_t)(1 + rand() % 255);
	}
	return 0;
}

static uint8_t parity_of(unsigned j, unsigned data, const uint8_t *columns)
{
	uint8_t sum = 0;

	for (unsigned i = 0; i < data; i++)
		sum ^= product[coefficient[j][i]][columns[i]];
	return sum;
}

/* --- what reads tell ------------------------------------------------------------------------- */

/* Rows in echelon form; each has a 1 at its pivot. */
struct span {
	unsigned rows;
	uint8_t row[PARITY][DATA];
	unsigned pivot[PARITY];
};

/* Takes out of vector all that the span holds; returns its first place that remains, or -1. */
static int reduce(const struct span *span, uint8_t *vector)
{
	for (unsigned r = 0; r < span->rows; r++) {
		uint8_t factor = vector[span->pivot[r]];

		for (unsigned i = 0; i < DATA; i++)
			vector[i] ^= product[factor][span->row[r][i]];
	}
	for (int i = 0; i < DATA; i++)
		if (vector[i])
			return i;
	return -1;
}

static void span_add(struct span *span, const uint8_t *vector)
{
	uint8_t *row = span->row[span->rows];
	int pivot;
	uint8_t scale;

	memcpy(row, vector, DATA);
	pivot = reduce(span, row);
	if (pivot < 0)
		return;
	scale = inverse[row[pivot]];
	for (unsigned i = 0; i < DATA; i++)
		row[i] = product[scale][row[i]];
	span->pivot[span->rows++] = (unsigned)pivot;
}

/* sum over the columns of a set of the parity's coefficients, as a vector */
static void parity_row(unsigned j, uint32_t columns, uint8_t *vector)
{
	for (unsigned i = 0; i < DATA; i++)
		vector[i] = columns >> i & 1 ? coefficient[j][i] : 0;
}

/* One shape of stripe, and the fewest reads for everything that may be asked of it. */
static struct shape {
	unsigned data, parity;
	uint32_t data_mask, parity_mask;
	/* By [dirty][columns that can be read][touched]... */
	uint8_t write[2][1 << COLUMNS][1 << DATA][1 << PARITY]; /* [parities to be written] */
	uint8_t read[2][1 << COLUMNS][1 << DATA];
} shape;

static void known_after(bool dirty, uint32_t reads, struct span *span)
{
	uint32_t unknown = shape.data_mask & ~reads;
	uint8_t vector[DATA];

	span->rows = 0;
	for (unsigned j = 0; j < shape.parity && !dirty; j++)
		if (reads >> (shape.data + j) & 1) {
			parity_row(j, unknown, vector);
			span_add(span, vector);
		}
}

/* The set of parities whose new value is known after these reads. */
static uint32_t parities_known(const struct span *span, uint32_t reads, uint32_t touched)
{
	uint32_t known = 0;
	uint8_t vector[DATA];

	for (unsigned j = 0; j < shape.parity; j++) {
		parity_row(j, shape.data_mask & ~reads & ~touched, vector);
		if (reduce(span, vector) < 0)
			known |= 1u << j;
	}
	return known;
}

static bool columns_known(const struct span *span, uint32_t reads, uint32_t touched)
{
	for (unsigned i = 0; i < shape.data; i++) {
		uint8_t vector[DATA] = {0};

		vector[i] = 1;
		if ((touched & ~reads) >> i & 1 && reduce(span, vector) >= 0)
			return false;
	}
	return true;
}

static uint8_t smaller(uint8_t a, uint8_t b)
{
	return a < b ? a : b;
}

/* Fills the tables for one set of readable columns from those of its parts. */
static void fill_shape_row(bool dirty, uint32_t readable)
{
	uint8_t all = (uint8_t)__builtin_popcount(readable);
	struct span span;

	known_after(dirty, readable, &span);
	for (uint32_t touched = 0; touched <= shape.data_mask; touched++) {
		uint32_t known = parities_known(&span, readable, touched);
		uint8_t *read = &shape.read[dirty][readable][touched];

		*read = columns_known(&span, readable, touched) ? all : IMPOSSIBLE;
		for (unsigned b = 0; b < shape.data + shape.parity; b++)
			if (readable >> b & 1)
				*read = smaller(
					*read, shape.read[dirty][readable & ~(1u << b)][touched]);
		for (uint32_t wanted = 0; wanted < 1u << shape.parity; wanted++) {
			uint8_t *write = &shape.write[dirty][readable][touched][wanted];

			*write = wanted & ~known ? IMPOSSIBLE : all;
			for (unsigned b = 0; b < shape.data + shape.parity; b++)
				if (readable >> b & 1)
					*write = smaller(
						*write, shape.write[dirty][readable & ~(1u << b)]
								   [touched][wanted]);
		}
	}
}

static void set_shape(unsigned data, unsigned parity)
{
	shape.data = data;
	shape.parity = parity;
	shape.data_mask = (1u << data) - 1;
	shape.parity_mask = ((1u << parity) - 1) << data;
	for (uint32_t readable = 0; readable < 1u << (data + parity); readable++) {
		fill_shape_row(false, readable);
		fill_shape_row(true, readable);
	}
}

/* --- carrying a band out --------------------------------------------------------------------- */

static void fail_band(
	const struct plan_input *input, const struct plan_band *band, const char *what)
{
	fail_msg("%s: data %u, redundant %u, unreadable 0x%x, unwritable 0x%x%s: %s touches 0x%x, "
		 "reads 0x%x, writes 0x%x, recovers 0x%x",
		what, input->data, input->redundant, input->unreadable, input->unwritable,
		input->dirty ? ", dirty" : "", recipe_name(band->recipe), band->touched,
		band->reads, band->writes, band->recovers);
}

/* Solves for the columns `lost` out of the first parities of `parities`; columns: all others known.
 * False: too few equations. */
static bool solve(uint32_t lost, uint32_t parities, uint8_t *columns, const uint8_t *parity)
{
	uint8_t matrix[PARITY][DATA + 1] = {0};
	unsigned rows = 0, count = (unsigned)__builtin_popcount(lost);

	for (unsigned j = 0; j < shape.parity && rows < count; j++) {
		if (!(parities >> j & 1))
			continue;
		for (unsigned i = 0; i < shape.data; i++)
			if (lost >> i & 1)
				matrix[rows][i] = coefficient[j][i];
			else
				matrix[rows][DATA] ^= product[coefficient[j][i]][columns[i]];
		matrix[rows++][DATA] ^= parity[j];
	}
	if (rows < count)
		return false;
	for (unsigned row = 0; lost; row++, lost &= lost - 1) {
		unsigned pivot = (unsigned)__builtin_ctz(lost), from = row;
		uint8_t swap[DATA + 1], scale;

		while (from < rows && !matrix[from][pivot])
			from++;
		assert_true(from < rows);
		memcpy(swap, matrix[row], sizeof(swap));
		memcpy(matrix[row], matrix[from], sizeof(swap));
		memcpy(matrix[from], swap, sizeof(swap));
		scale = inverse[matrix[row][pivot]];
		for (unsigned i = 0; i <= DATA; i++)
			matrix[row][i] = product[scale][matrix[row][i]];
		for (unsigned r = 0; r < rows; r++) {
			uint8_t factor = r == row ? 0 : matrix[r][pivot];

			for (unsigned i = 0; i <= DATA && factor; i++)
				matrix[r][i] ^= product[factor][matrix[row][i]];
		}
	}
	for (unsigned row = 0; row < rows; row++)
		for (unsigned i = 0; i < shape.data; i++)
			if (matrix[row][i])
				columns[i] = matrix[row][DATA];
	return true;
}

struct memory {
	uint32_t known; /* columns whose content is in memory */
	uint8_t columns[COLUMNS];
};

/* READ and recover, as the engine does; disk: every column's content. */
static void carry_out_reads(const struct plan_input *input, const struct plan_band *band,
	const uint8_t *disk, struct memory *memory)
{
	memory->known = band->reads;
	for (unsigned c = 0; c < COLUMNS; c++)
		memory->columns[c] = band->reads >> c & 1 ? disk[c] : 0xee;
	if (!band->recovers)
		return;
	if (band->recovers & band->reads || band->recovers & ~shape.data_mask)
		fail_band(input, band, "recovers what it need not");
	if (shape.data_mask & ~band->recovers & ~band->reads)
		fail_band(input, band, "recovers out of too little data");
	if (!solve(band->recovers, band->reads >> shape.data, memory->columns,
		    memory->columns + shape.data))
		fail_band(input, band, "recovers out of too few parities");
	memory->known |= band->recovers;
}

/* The parity that the engine computes. */
static uint8_t computed_parity(const struct plan_input *input, const struct plan_band *band,
	const struct memory *memory, const struct world *world, unsigned j)
{
	uint8_t sum = 0;

	if (band->recipe == RECIPE_MODIFY) {
		if (~memory->known & (band->touched | 1u << (shape.data + j)))
			fail_band(input, band, "modifies what it has not read");
		sum = memory->columns[shape.data + j];
		for (unsigned i = 0; i < shape.data; i++)
			if (band->touched >> i & 1)
				sum ^= product[coefficient[j][i]]
					      [memory->columns[i] ^ world->fresh[i]];
		return sum;
	}
	if (shape.data_mask & ~memory->known & ~band->touched)
		fail_band(input, band, "computes parity out of a column that it has not read");
	for (unsigned i = 0; i < shape.data; i++)
		sum ^= product[coefficient[j][i]]
			      [band->touched >> i & 1 ? world->fresh[i] : memory->columns[i]];
	return sum;
}

static void world_disk(const struct world *world, bool dirty, uint8_t *disk)
{
	memcpy(disk, world->data, shape.data);
	for (unsigned j = 0; j < shape.parity; j++)
		disk[shape.data + j] = (uint8_t)(parity_of(j, shape.data, world->data) ^
						 (dirty ? world->garbage[j] : 0));
}

static void carry_out_write(
	const struct plan_input *input, const struct plan_band *band, const struct world *world)
{
	uint8_t disk[COLUMNS], after[DATA], decoded[DATA];
	uint32_t lost = input->unwritable & shape.data_mask;
	struct memory memory;

	world_disk(world, input->dirty, disk);
	for (unsigned i = 0; i < shape.data; i++)
		after[i] = band->touched >> i & 1 ? world->fresh[i] : world->data[i];
	carry_out_reads(input, band, disk, &memory);
	for (unsigned c = 0; c < shape.data + shape.parity; c++)
		if (band->writes >> c & 1)
			disk[c] = c < shape.data ? world->fresh[c]
						 : computed_parity(input, band, &memory, world,
							   c - shape.data);
	for (unsigned c = 0; c < shape.data + shape.parity; c++) {
		uint8_t right =
			c < shape.data ? after[c] : parity_of(c - shape.data, shape.data, after);

		if (!(input->unwritable >> c & 1) && disk[c] != right)
			fail_band(input, band, "leaves a column wrong");
	}
	memcpy(decoded, disk, shape.data);
	for (unsigned i = 0; i < shape.data; i++)
		if (lost >> i & 1)
			decoded[i] = 0xee;
	if (lost && !solve(lost, ~input->unwritable >> shape.data, decoded, disk + shape.data))
		fail_band(input, band, "leaves too little to recover from");
	if (memcmp(decoded, after, shape.data))
		fail_band(input, band, "leaves a lost column that recovers to something else");
}

static void check_write_band(
	const struct plan_input *input, const struct plan_band *band, unsigned fewest)
{
	uint32_t parities = shape.parity_mask & ~input->unwritable;
	uint32_t untouched = shape.data_mask & ~band->touched;
	bool may_rewrite = !parities || !(untouched & input->unreadable);

	if (band->reads & input->unreadable)
		fail_band(input, band, "reads what cannot be read");
	if (band->writes & input->unwritable)
		fail_band(input, band, "writes what cannot be written");
	if (band->writes & untouched)
		fail_band(input, band, "writes a column that is not touched");
	if ((unsigned)__builtin_popcount(band->reads) != fewest)
		fail_band(input, band, "does not read the fewest columns");
	if (may_rewrite && (parities ? (unsigned)__builtin_popcount(untouched) : 0) == fewest &&
		band->recipe != RECIPE_REWRITE)
		fail_band(input, band, "is not the recipe that heals the parity");
	if (band->recipe == RECIPE_FETCH)
		fail_band(input, band, "is a recipe for reads");
	for (unsigned w = 0; w < WORLDS; w++)
		carry_out_write(input, band, &worlds[w]);
}

static void check_read_band(
	const struct plan_input *input, const struct plan_band *band, unsigned fewest)
{
	if (band->reads & input->unreadable)
		fail_band(input, band, "reads what cannot be read");
	if ((unsigned)__builtin_popcount(band->reads) != fewest)
		fail_band(input, band, "does not read the fewest columns");
	if (band->recipe != RECIPE_FETCH || band->writes)
		fail_band(input, band, "is not a read");
	for (unsigned w = 0; w < WORLDS; w++) {
		uint8_t disk[COLUMNS];
		struct memory memory;

		world_disk(&worlds[w], input->dirty, disk);
		carry_out_reads(input, band, disk, &memory);
		if (band->touched & ~memory.known)
			fail_band(input, band, "does not read what is asked for");
		for (unsigned i = 0; i < shape.data; i++)
			if (band->touched >> i & 1 && memory.columns[i] != worlds[w].data[i])
				fail_band(input, band, "reads something else");
	}
}

/* --- slices ---------------------------------------------------------------------------------- */

/* What the bands of a slice must be: runs of rows with the same touched columns. */
static struct slice {
	uint32_t first, end;
	struct plan bands[WINDOWS];
} slices[SLICES];

static void expected_bands(struct slice *slice, const struct window *window, struct plan *plan)
{
	uint32_t touched[CHUNK] = {0};

	for (uint32_t block = slice->first; block < slice->end; block++)
		touched[block % CHUNK] |= 1u << block / CHUNK;
	memset(plan, 0, sizeof(*plan));
	for (uint32_t row = window->first; row < window->end; row++) {
		struct plan_band *last = plan->bands ? &plan->band[plan->bands - 1] : NULL;

		if (!touched[row])
			continue;
		if (last && last->end == row && last->touched == touched[row]) {
			last->end++;
		} else {
			assert_true(plan->bands < PLAN_BANDS_MAX);
			plan->band[plan->bands++] = (struct plan_band){
				.row = row, .end = row + 1, .touched = touched[row]};
		}
		if (plan->bands == 1 && plan->band[0].end == row + 1 && plan->band[0].row == row)
			plan->row = row;
		plan->end = row + 1;
		plan->touched |= touched[row];
	}
}

static unsigned make_slices(unsigned data)
{
	unsigned count = 0;

	for (uint32_t first = 0; first < data * CHUNK; first++)
		for (uint32_t end = first + 1; end <= data * CHUNK; end++) {
			slices[count] = (struct slice){.first = first, .end = end};
			for (unsigned w = 0; w < WINDOWS; w++)
				expected_bands(
					&slices[count], &windows[w], &slices[count].bands[w]);
			count++;
		}
	return count;
}

static void check_bands(
	const struct plan_input *input, const struct plan *plan, const struct plan *expected)
{
	bool same = plan->bands == expected->bands && plan->touched == expected->touched;
	uint32_t reads = 0, writes = 0, recovers = 0;

	if (same && plan->bands)
		same = plan->row == expected->row && plan->end == expected->end;
	for (unsigned i = 0; same && i < plan->bands; i++) {
		same = plan->band[i].row == expected->band[i].row &&
		       plan->band[i].end == expected->band[i].end &&
		       plan->band[i].touched == expected->band[i].touched;
		reads |= plan->band[i].reads;
		writes |= plan->band[i].writes;
		recovers |= plan->band[i].recovers;
	}
	expect(same, "bands of blocks [%u, %u), rows [%u, %u), data %u are wrong", input->first,
		input->end, input->row_first, input->row_end, input->data);
	expect(plan->reads == reads && plan->writes == writes && plan->recovers == recovers,
		"the sums of blocks [%u, %u), rows [%u, %u), data %u are wrong", input->first,
		input->end, input->row_first, input->row_end, input->data);
}

static void expect_result(const struct plan_input *input, const char *what, int error, int right)
{
	expect(error == right,
		"%s of blocks [%u, %u), rows [%u, %u): %d instead of %d: data %u, redundant %u, "
		"unreadable 0x%x, unwritable 0x%x%s%s",
		what, input->first, input->end, input->row_first, input->row_end, error, right,
		input->data, input->redundant, input->unreadable, input->unwritable,
		input->dirty ? ", dirty" : "", input->mirror ? ", mirror" : "");
}

/* Bands that have been carried out, by touched columns, for the setting of the moment. */
static struct verdicts {
	struct plan_band write[1 << DATA], read[1 << DATA];
} verdicts;

static bool is_known(struct plan_band *verdict, const struct plan_band *band)
{
	if (verdict->touched && verdict->recipe == band->recipe && verdict->reads == band->reads &&
		verdict->writes == band->writes && verdict->recovers == band->recovers)
		return true;
	*verdict = *band;
	return false;
}

static void check_write(const struct plan_input *input, const struct plan *expected)
{
	const uint8_t(*fewest)[1 << PARITY] =
		shape.write[input->dirty]
			   [(shape.data_mask | shape.parity_mask) & ~input->unreadable];
	uint32_t wanted = (shape.parity_mask & ~input->unwritable) >> shape.data;
	int right = (unsigned)__builtin_popcount(input->unwritable) > shape.parity ? -EIO : 0;
	struct plan plan;
	int error = plan_write(input, &plan);

	for (unsigned i = 0; i < expected->bands; i++)
		if (fewest[expected->band[i].touched][wanted] == IMPOSSIBLE)
			right = -EIO;
	expect_result(input, "a write", error, right);
	if (error)
		return;
	check_bands(input, &plan, expected);
	for (unsigned i = 0; i < plan.bands; i++) {
		const struct plan_band *band = &plan.band[i];

		if (!is_known(&verdicts.write[band->touched], band))
			check_write_band(input, band, fewest[band->touched][wanted]);
	}
}

static void check_read(const struct plan_input *input, const struct plan *expected)
{
	const uint8_t *fewest = shape.read[input->dirty][(shape.data_mask | shape.parity_mask) &
							 ~input->unreadable];
	struct plan plan;
	int error = plan_read(input, &plan), right = 0;

	for (unsigned i = 0; i < expected->bands; i++)
		if (fewest[expected->band[i].touched] == IMPOSSIBLE)
			right = -EIO;
	expect_result(input, "a read", error, right);
	if (error)
		return;
	check_bands(input, &plan, expected);
	for (unsigned i = 0; i < plan.bands; i++) {
		const struct plan_band *band = &plan.band[i];

		if (!is_known(&verdicts.read[band->touched], band))
			check_read_band(input, band, fewest[band->touched]);
	}
}

static void check_setting(struct plan_input *input, unsigned slice_count,
	void (*check)(const struct plan_input *, const struct plan *))
{
	memset(&verdicts, 0, sizeof(verdicts));
	for (unsigned s = 0; s < slice_count; s++)
		for (unsigned w = 0; w < WINDOWS; w++) {
			input->first = slices[s].first;
			input->end = slices[s].end;
			input->row_first = windows[w].first;
			input->row_end = windows[w].end;
			check(input, &slices[s].bands[w]);
		}
}

/* Calls check for every setting of one shape. */
static void for_every_setting(unsigned data, unsigned redundant, bool mirror,
	void (*check)(const struct plan_input *, const struct plan *))
{
	unsigned slice_count = make_slices(data);

	for (uint32_t unreadable = 0; unreadable < 1u << (data + redundant); unreadable++) {
		uint32_t unwritable = unreadable;

		while (true) {
			for (unsigned dirty = 0; dirty < 2; dirty++) {
				struct plan_input input = {
					.data = data,
					.redundant = redundant,
					.mirror = mirror,
					.chunk_blocks = CHUNK,
					.unreadable = unreadable,
					.unwritable = unwritable,
					.dirty = dirty,
				};

				check_setting(&input, slice_count, check);
			}
			if (!unwritable)
				break;
			unwritable = (unwritable - 1) & unreadable;
		}
	}
}

/* --- the tests ------------------------------------------------------------------------------- */

static void test_parity_writes(void **state)
{
	(void)state;
	for (unsigned data = 1; data <= DATA; data++)
		for (unsigned parity = 0; parity <= PARITY; parity++) {
			set_shape(data, parity);
			for_every_setting(data, parity, false, check_write);
		}
}

/* The touched blocks and nothing else, if all can be written. */
static void check_forsake(const struct plan_input *input, const struct plan *expected)
{
	struct plan plan;
	int error = plan_forsake(input, &plan);

	expect(!error == !(expected->touched & input->unwritable), "forsakes: %d", error);
	if (error)
		return;
	check_bands(input, &plan, expected);
	expect(!plan.reads && !plan.recovers && plan.writes == expected->touched,
		"a forsaken row is more than written");
	for (unsigned i = 0; i < plan.bands; i++)
		expect(plan.band[i].writes == plan.band[i].touched && !plan.band[i].reads,
			"a forsaken band is more than written");
}

static void test_forsaken_writes(void **state)
{
	(void)state;
	for (unsigned data = 1; data <= DATA; data++) {
		set_shape(data, PARITY);
		for_every_setting(data, PARITY, false, check_forsake);
	}
}

static void test_parity_reads(void **state)
{
	(void)state;
	for (unsigned data = 1; data <= DATA; data++)
		for (unsigned parity = 0; parity <= PARITY; parity++) {
			set_shape(data, parity);
			for_every_setting(data, parity, false, check_read);
		}
}

static void check_mirror_write(const struct plan_input *input, const struct plan *expected)
{
	uint32_t copies = (1u << (1 + input->redundant)) - 1;
	struct plan plan;
	int error = plan_write(input, &plan);

	expect_result(input, "a write", error, input->unwritable == copies ? -EIO : 0);
	if (error)
		return;
	check_bands(input, &plan, expected);
	for (unsigned i = 0; i < plan.bands; i++)
		if (plan.band[i].reads || plan.band[i].recovers ||
			plan.band[i].writes != (copies & ~input->unwritable) ||
			plan.band[i].recipe != RECIPE_REWRITE)
			fail_band(input, &plan.band[i], "does not write every copy");
}

static void check_mirror_read(const struct plan_input *input, const struct plan *expected)
{
	uint32_t copies = (1u << (1 + input->redundant)) - 1;
	struct plan plan;
	int error = plan_read(input, &plan);

	expect_result(
		input, "a read", error, input->unreadable == copies && expected->bands ? -EIO : 0);
	if (error)
		return;
	check_bands(input, &plan, expected);
	for (unsigned i = 0; i < plan.bands; i++)
		if (__builtin_popcount(plan.band[i].reads) != 1 ||
			plan.band[i].reads & input->unreadable || plan.band[i].recovers ||
			plan.band[i].writes || plan.band[i].recipe != RECIPE_FETCH)
			fail_band(input, &plan.band[i], "does not read one good copy");
}

static void test_mirrors(void **state)
{
	(void)state;
	for (unsigned further = 1; further <= 3; further++) {
		for_every_setting(1, further, true, check_mirror_write);
		for_every_setting(1, further, true, check_mirror_read);
	}
}

/* The widest stripe: no shift goes over the edge of 32 bits. */
static void test_32_columns(void **state)
{
	struct plan_input input = {.data = 29,
		.redundant = 3,
		.chunk_blocks = CHUNK,
		.end = 29 * CHUNK,
		.row_end = CHUNK};
	struct plan plan;

	(void)state;
	assert_int_equal(plan_write(&input, &plan), 0);
	assert_int_equal(plan.writes, 0xffffffffu);
	assert_int_equal(plan.reads, 0);
	input.first = 28 * CHUNK;
	input.unreadable = input.unwritable = 1u << 28 | 1u << 31;
	assert_int_equal(plan_write(&input, &plan), 0);
	assert_int_equal(plan.writes, 3u << 29);
	assert_int_equal(plan.reads, (1u << 28) - 1);
	assert_int_equal(plan_read(&input, &plan), 0);
	assert_int_equal(plan.reads, ((1u << 28) - 1) | 1u << 29);
	assert_int_equal(plan.recovers, 1u << 28);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(recipe_name(RECIPE_REWRITE), "REWRITE");
	assert_string_equal(recipe_name(RECIPE_MODIFY), "MODIFY");
	assert_string_equal(recipe_name(RECIPE_RECOVER), "RECOVER");
	assert_string_equal(recipe_name(RECIPE_FETCH), "FETCH");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_32_columns),
		cmocka_unit_test(test_mirrors),
		cmocka_unit_test(test_parity_writes),
		cmocka_unit_test(test_parity_reads),
		cmocka_unit_test(test_forsaken_writes),
	};

	unit_start();
	return cmocka_run_group_tests(tests, set_up, NULL);
}
