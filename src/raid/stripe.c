/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row locks. An op has its rows when no op that entered its bucket earlier overlaps it, unless both
 * only read. Arrival order is grant order for overlapping ops, so none waits for ever.
 *
 * A 4 KiB row is a codeword of its own: ops on different rows of a stripe do not wait for each
 * other.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mutant.h"
#include "base/random.h"
#include "raid/shard.h"

int stripe_table_init(struct stripe_table *table, unsigned ops)
{
	unsigned buckets = 1;

	while (buckets < 2 * ops)
		buckets *= 2;
	table->mask = buckets - 1;
	table->buckets = calloc(buckets, sizeof(table->buckets[0]));
	if (!table->buckets)
		return -ENOMEM;
	for (unsigned i = 0; i < buckets; i++)
		list_init(&table->buckets[i]);
	return 0;
}

void stripe_table_destroy(struct stripe_table *table)
{
	free(table->buckets);
}

static struct list *bucket_of(struct stripe_table *table, const struct op *op)
{
	return &table->buckets[random_mix(op->stripe) & table->mask];
}

static bool in_conflict(const struct op *a, const struct op *b)
{
	return a->stripe == b->stripe && a->lock_row < b->lock_end && b->lock_row < a->lock_end &&
	       (a->exclusive || b->exclusive);
}

/* Whether an op that entered earlier has rows of op. */
static bool is_blocked(struct list *bucket, const struct op *op)
{
	struct list_node *node;

	if (MUTANT(op_no_lock))
		return false;
	list_for_each (node, bucket) {
		const struct op *earlier = container_of(node, struct op, bucket);

		if (earlier == op)
			return false;
		if (in_conflict(earlier, op))
			return true;
	}
	return false;
}

bool stripe_lock(struct stripe_table *table, struct op *op)
{
	struct list *bucket = bucket_of(table, op);
	bool blocked = is_blocked(bucket, op);

	list_push_back(bucket, &op->bucket);
	return !blocked;
}

void stripe_unlock(struct stripe_table *table, struct op *op, struct list *granted)
{
	struct list *bucket = bucket_of(table, op);
	struct list_node *node;

	list_remove(&op->bucket);
	list_for_each (node, bucket) {
		struct op *waiting = container_of(node, struct op, bucket);

		if (waiting->state != OP_LOCKED_OUT || !in_conflict(op, waiting) ||
			is_blocked(bucket, waiting))
			continue;
		list_remove(&waiting->link);
		list_push_back(granted, &waiting->link);
	}
}
