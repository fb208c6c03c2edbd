/* SPDX-License-Identifier: Apache-2.0 */
/* The PLAN step of an op: from what is known of the members, now, to one of raid/plan.h's plans. */
#include <assert.h>
#include <errno.h>

#include "base/bits.h"
#include "base/mutant.h"
#include "raid/internal.h"

static const struct geometry *geometry_of(const struct op *op)
{
	return &op->shard->array->geometry;
}

static bool is_mirror(const struct op *op)
{
	return geometry_of(op)->level->redundancy == REDUNDANCY_MIRROR;
}

void op_plan_input(const struct op *op, struct plan_input *input)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t lost = shard_lost_columns(op->shard, geometry, op->stripe);
	uint32_t unreadable = shard_unreadable_columns(op->shard, geometry, op->stripe);

	if (op->kind == IO_READ && !op->sweep)
		unreadable |= pace_avoid(op->shard, op->stripe, op->avoid);

	*input = (struct plan_input){
		.data = geometry->data,
		.redundant = geometry->redundant,
		.mirror = is_mirror(op),
		.chunk_blocks = geometry->chunk_blocks,
		.first = op->first,
		.end = op->end,
		.row_first = op->row_first,
		.row_end = op->row_end,
		.unreadable = lost | unreadable | op->avoid,
		.unwritable = lost,
		.dirty = intent_is_dirty(op->shard, op->stripe),
	};
}

/* Zeroes or discards whole rows: every column of them, without reading or computing. */
static bool plan_clear(const struct op *op, const struct plan_input *input, struct plan *plan)
{
	plan_bands(input, plan);
	if (plan->bands != 1 || plan->touched != bits_below(input->data))
		return false;
	plan->band[0].writes = plan->writes =
		bits_below(input->data + input->redundant) & ~input->unwritable;
	return op->kind == IO_WRITE_ZEROES || op->shard->array->members_clear;
}

/* A read that had to do without a column which is there writes it anew; a mirror's read of a dirty
 * region makes all copies what it read, so that the next read finds the same. */
static void plan_repairs(struct op *op, const struct plan_input *input)
{
	uint32_t there = op->avoid & ~input->unwritable;
	struct plan *plan = &op->plan;

	if (op->shard->broken)
		return;
	if (is_mirror(op) && input->dirty && !MUTANT(mirror_unstable))
		there = bits_below(1 + input->redundant) & ~input->unwritable;
	for (unsigned i = 0; i < plan->bands; i++) {
		struct plan_band *band = &plan->band[i];

		band->writes = is_mirror(op) ? there & ~band->reads : there & band->recovers;
		plan->writes |= band->writes;
	}
	op->repairs = plan->writes;
}

/* The columns of slots whose content is to be copied elsewhere as well. */
static uint32_t replaced_columns(const struct op *op)
{
	const struct geometry *geometry = geometry_of(op);
	uint32_t members = 0;

	for (unsigned i = 0; i < geometry->members; i++)
		if (op->shard->replacements[i])
			members |= 1u << i;
	return geometry_columns(geometry, op->stripe, members);
}

static int make_sweep_plan(struct op *op, const struct plan_input *input)
{
	const struct shard *shard = op->shard;
	const struct geometry *geometry = geometry_of(op);

	uint32_t targets = geometry_columns(geometry, op->stripe,
		shard_unreadable(shard, op->stripe) & shard->rebuilding & ~shard->lost);
	uint32_t copies = replaced_columns(op);

	op->work = OP_SWEEP;
	switch (op->sweep->kind) {
	case SWEEP_REBUILD:
		if (op->forsakes) {
			uint32_t bad = geometry_columns(geometry, op->stripe, op->change.copies);

			if (copies & input->unreadable & ~bad)
				return -EIO; /* another one that cannot be read */
			targets = 0;
			copies &= ~input->unreadable;
		}
		if (!targets && !copies)
			return -ECANCELED;
		return plan_rebuild(input, targets, copies, &op->plan);
	case SWEEP_RESYNC:
		/* Only of a member that is lost the parities may say, right or wrong, what it held:
		 * of one that is there that would be a lie. */
		if (!is_mirror(op) && op->avoid & bits_below(geometry->data))
			return -EIO;
		return plan_resync(input, &op->plan);
	default:
		if (input->dirty)
			return -ECANCELED;
		/* What cannot be read is written anew first; the next scrub compares it. */
		return op->avoid ? plan_rebuild(input, op->avoid, 0, &op->plan)
				 : plan_check(input, &op->plan);
	}
}

int op_make_plan(struct op *op)
{
	struct array_counters *counters = &op->shard->counters;
	struct plan_input input;
	uint32_t bad;
	int error;

	/* Which rows are bad matters: they are planned one by one. What is bad is not read, and
	 * written anew where something else can tell what it is. */
	bad = bad_columns(op->shard, op->stripe, op->row_first, op->row_end);
	if (bad && !op_is_one_piece(op))
		return -EIO;
	op->avoid |= bad;
	op_plan_input(op, &input);
	/* A broken array holds rows that a write has left half done. */
	if (op->shard->broken && op->kind != IO_READ)
		return -EIO;
	if (op->sweep)
		return make_sweep_plan(op, &input);
	if (op->kind == IO_READ) {
		op->work = OP_READ;
		error = plan_read(&input, &op->plan);
		if (!error && op->shard->broken && op->plan.recovers)
			error = -EIO;
		if (!error)
			plan_repairs(op, &input);
		return error;
	}
	if (op->kind != IO_WRITE) {
		op->work = OP_CLEAR;
		if (plan_clear(op, &input, &op->plan))
			return bits_count(input.unwritable) > input.redundant ? -EIO : 0;
		if (op->kind == IO_DISCARD)
			return -ECANCELED;
	}
	op->work = OP_WRITE;
	error = op->forsakes ? plan_forsake(&input, &op->plan) : plan_write(&input, &op->plan);
	if (error)
		return error;
	for (unsigned i = 0; i < op->plan.bands; i++) {
		enum recipe recipe = op->plan.band[i].recipe;

		counters->full_stripes += recipe == RECIPE_REWRITE && !op->plan.band[i].reads;
		counters->rewrites += recipe == RECIPE_REWRITE && op->plan.band[i].reads;
		counters->modifies += recipe == RECIPE_MODIFY;
		counters->recovers += recipe == RECIPE_RECOVER;
	}
	return 0;
}
