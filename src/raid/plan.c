/* SPDX-License-Identifier: Apache-2.0 */
#include "raid/plan.h"

#include <assert.h>
#include <errno.h>

#include "base/bits.h"
#include "base/mutant.h"

static uint32_t data_columns(const struct plan_input *input)
{
	return bits_below(input->data);
}

static uint32_t redundant_columns(const struct plan_input *input)
{
	return bits_range(input->data, input->data + input->redundant);
}

static uint32_t lowest_bits(uint32_t mask, unsigned count)
{
	uint32_t lowest = 0;

	while (count-- && mask) {
		lowest |= mask & -mask;
		mask &= mask - 1;
	}
	return lowest;
}

/* Adds the rows [row, end), cut to the window, as a band that touches columns [first, last]. */
static void add_band(struct plan *plan, const struct plan_input *input, uint32_t row, uint32_t end,
	uint32_t touched)
{
	row = MAX(row, input->row_first);
	end = MIN(end, input->row_end);
	if (row >= end || !touched)
		return;
	assert(plan->bands < PLAN_BANDS_MAX);
	plan->row = plan->bands ? MIN(plan->row, row) : row;
	plan->end = plan->bands ? MAX(plan->end, end) : end;
	plan->touched |= touched;
	plan->band[plan->bands++] = (struct plan_band){.row = row, .end = end, .touched = touched};
}

void plan_bands(const struct plan_input *input, struct plan *plan)
{
	uint32_t chunk = input->chunk_blocks;
	uint32_t first_column = input->first / chunk, last_column = (input->end - 1) / chunk;
	uint32_t first_row = input->first % chunk;	 /* in the first column */
	uint32_t end_row = (input->end - 1) % chunk + 1; /* in the last */
	uint32_t middle = bits_range(first_column + 1, last_column);
	uint32_t first_bit = 1u << first_column, last_bit = 1u << last_column;

	assert(input->first < input->end && input->end <= input->data * chunk);
	plan->bands = 0;
	plan->touched = plan->reads = plan->writes = plan->recovers = 0;
	if (first_column == last_column) {
		add_band(plan, input, first_row, end_row, first_bit);
		return;
	}
	if (MUTANT(plan_band_cut) && end_row > 1)
		end_row--;
	add_band(plan, input, 0, MIN(first_row, end_row), middle | last_bit);
	if (first_row < end_row)
		add_band(plan, input, first_row, end_row, first_bit | middle | last_bit);
	else
		add_band(plan, input, end_row, first_row, middle);
	add_band(plan, input, MAX(first_row, end_row), chunk, first_bit | middle);
}

/* The columns to read so that all data columns are known; false: too much is lost. */
static bool recovery_reads(const struct plan_input *input, uint32_t *reads, uint32_t *lost)
{
	uint32_t parities = redundant_columns(input) & ~input->unreadable;

	*lost = data_columns(input) & input->unreadable;
	if (bits_count(*lost) > bits_count(parities) || (*lost && input->dirty))
		return false;
	*reads = (data_columns(input) & ~input->unreadable) |
		 lowest_bits(parities, bits_count(*lost));
	return true;
}

/* The recipe for one band of a write. */
static int choose_recipe(const struct plan_input *input, struct plan_band *band)
{
	uint32_t data = data_columns(input), untouched = data & ~band->touched;
	uint32_t parities = redundant_columns(input) & ~input->unwritable;
	uint32_t reads, lost;
	unsigned fewest = UINT32_MAX;

	band->writes = (band->touched & ~input->unwritable) | parities;
	if (!parities || !(untouched & input->unreadable)) {
		band->recipe = RECIPE_REWRITE;
		band->reads = parities ? untouched : 0;
		fewest = bits_count(band->reads);
	}
	reads = band->touched | parities;
	if (!input->dirty && (!(reads & input->unreadable) || MUTANT(plan_modify_failed)) &&
		bits_count(reads) < fewest) {
		band->recipe = RECIPE_MODIFY;
		band->reads = reads & ~(MUTANT(plan_modify_failed) ? input->unreadable : 0);
		fewest = bits_count(reads);
	}
	if (recovery_reads(input, &reads, &lost) && lost && bits_count(reads) < fewest) {
		band->recipe = RECIPE_RECOVER;
		band->reads = reads;
		band->recovers = lost;
		fewest = bits_count(reads);
	}
	if (MUTANT(plan_rewrite_reads) && band->recipe == RECIPE_REWRITE && band->reads)
		band->reads &= band->reads - 1;
	if (MUTANT(plan_parity_write) && parities)
		band->writes &= ~(1u << (31 - __builtin_clz(parities)));
	return fewest == UINT32_MAX ? -EIO : 0;
}

static void add_up(struct plan *plan)
{
	for (unsigned i = 0; i < plan->bands; i++) {
		plan->reads |= plan->band[i].reads;
		plan->writes |= plan->band[i].writes;
		plan->recovers |= plan->band[i].recovers;
	}
}

int plan_write(const struct plan_input *input, struct plan *plan)
{
	assert(!(input->unwritable & ~input->unreadable));
	plan_bands(input, plan);
	if (bits_count(input->unwritable) > input->redundant)
		return -EIO;
	for (unsigned i = 0; i < plan->bands; i++) {
		struct plan_band *band = &plan->band[i];
		int error;

		if (input->mirror) {
			band->recipe = RECIPE_REWRITE;
			band->writes = bits_below(1 + input->redundant) & ~input->unwritable;
			if (MUTANT(mirror_one_copy) && bits_count(band->writes) > 1)
				band->writes &= ~(1u << (31 - __builtin_clz(band->writes)));
			continue;
		}
		error = choose_recipe(input, band);
		if (error)
			return error;
	}
	add_up(plan);
	return 0;
}

int plan_forsake(const struct plan_input *input, struct plan *plan)
{
	plan_bands(input, plan);
	if (plan->touched & input->unwritable)
		return -EIO;
	for (unsigned i = 0; i < plan->bands; i++) {
		plan->band[i].recipe = RECIPE_REWRITE;
		plan->band[i].writes = plan->band[i].touched;
	}
	add_up(plan);
	return 0;
}

int plan_read(const struct plan_input *input, struct plan *plan)
{
	plan_bands(input, plan);
	for (unsigned i = 0; i < plan->bands; i++) {
		struct plan_band *band = &plan->band[i];

		band->recipe = RECIPE_FETCH;
		if (input->mirror) {
			band->reads = lowest_bits(
				bits_below(1 + input->redundant) & ~input->unreadable, 1);
			if (!band->reads)
				return -EIO;
		} else if (!(band->touched & input->unreadable) || MUTANT(plan_direct_failed)) {
			band->reads = band->touched;
		} else if (!recovery_reads(input, &band->reads, &band->recovers)) {
			return -EIO;
		}
	}
	add_up(plan);
	return 0;
}

/* One band of whole rows. */
static struct plan_band *whole_rows(const struct plan_input *input, struct plan *plan)
{
	*plan = (struct plan){.bands = 1, .row = input->row_first, .end = input->row_end};
	plan->band[0] = (struct plan_band){
		.recipe = RECIPE_RECOVER, .row = input->row_first, .end = input->row_end};
	return &plan->band[0];
}

static uint32_t all_columns(const struct plan_input *input)
{
	return bits_below(input->data + input->redundant);
}

int plan_rebuild(
	const struct plan_input *input, uint32_t targets, uint32_t copies, struct plan *plan)
{
	struct plan_band *band = whole_rows(input, plan);

	if (!targets && !(copies & input->unreadable)) {
		band->recipe = RECIPE_FETCH;
		band->reads = copies;
	} else if (input->mirror) {
		band->reads = lowest_bits(all_columns(input) & ~input->unreadable, 1);
		if (!band->reads)
			return -EIO;
	} else if (!recovery_reads(input, &band->reads, &band->recovers)) {
		return -EIO;
	}
	band->writes = (targets | copies) & ~input->unwritable;
	add_up(plan);
	return 0;
}

int plan_resync(const struct plan_input *input, struct plan *plan)
{
	struct plan_band *band = whole_rows(input, plan);

	band->recipe = RECIPE_REWRITE;
	if (input->mirror) {
		band->reads = lowest_bits(all_columns(input) & ~input->unreadable, 1);
		if (!band->reads)
			return -EIO;
		band->writes = all_columns(input) & ~input->unwritable & ~band->reads;
	} else {
		struct plan_input known = *input;

		/* With data missing, what the first parities say is what it is from now on. */
		known.dirty = false;
		if (!recovery_reads(&known, &band->reads, &band->recovers))
			return -EIO;
		band->writes = redundant_columns(input) & ~input->unwritable;
	}
	add_up(plan);
	return 0;
}

int plan_check(const struct plan_input *input, struct plan *plan)
{
	struct plan_band *band = whole_rows(input, plan);

	band->recipe = RECIPE_FETCH;
	band->reads = all_columns(input) & ~input->unreadable;
	band->recovers = input->mirror ? 0 : data_columns(input) & input->unreadable;
	if (!band->reads ||
		(band->recovers && bits_count(band->recovers) >
					   bits_count(redundant_columns(input) & band->reads)))
		return -EIO;
	add_up(plan);
	return 0;
}

const char *recipe_name(enum recipe recipe)
{
	static const char *const names[] = {"REWRITE", "MODIFY", "RECOVER", "FETCH"};

	return names[recipe];
}
