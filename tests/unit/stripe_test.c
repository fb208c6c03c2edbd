/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Row locks against a model that keeps every op in order of arrival and asks, for each, whether an
 * earlier one is in its way.
 */
#include "unit.h"

#include "base/random.h"
#include "raid/shard.h"

enum { OPS = 64, STRIPES = 6, ROWS = 8, STEPS = 300000 };

static struct stripe_table table;
static struct op ops[OPS];

/* In order of arrival. */
static struct {
	unsigned count;
	struct op *entered[OPS];
	bool granted[OPS]; /* by index of op */
} model;

static bool conflict(const struct op *a, const struct op *b)
{
	if (a->stripe != b->stripe || !(a->exclusive || b->exclusive))
		return false;
	for (uint32_t row = a->lock_row; row < a->lock_end; row++)
		if (row >= b->lock_row && row < b->lock_end)
			return true;
	return false;
}

/* Whether every op that came earlier and is in the way of the one at `place` has left. */
static bool is_its_turn(unsigned place)
{
	for (unsigned i = 0; i < place; i++)
		if (conflict(model.entered[i], model.entered[place]))
			return false;
	return true;
}

static struct op *prepare(
	unsigned index, uint64_t stripe, uint32_t row, uint32_t end, bool exclusive)
{
	struct op *op = &ops[index];

	op->stripe = stripe;
	op->lock_row = row;
	op->lock_end = end;
	op->exclusive = exclusive;
	return op;
}

/* As op.c does it. */
static bool enter(struct op *op)
{
	bool right;

	model.entered[model.count++] = op;
	right = is_its_turn(model.count - 1);
	model.granted[op - ops] = stripe_lock(&table, op);
	op->state = model.granted[op - ops] ? OP_WRITING : OP_LOCKED_OUT;
	expect(model.granted[op - ops] == right,
		"stripe %u, rows [%u, %u): granted %d instead of %d", (unsigned)op->stripe,
		op->lock_row, op->lock_end, !right, right);
	return right;
}

static void leave(struct op *op, struct list *granted)
{
	unsigned place = 0;

	stripe_unlock(&table, op, granted);
	while (model.entered[place] != op)
		place++;
	model.count--;
	for (; place < model.count; place++)
		model.entered[place] = model.entered[place + 1];
	model.granted[op - ops] = false;
	op->state = OP_FREE;
}

/* What was granted is exactly what has become free, in order of arrival. */
static void check_granted(struct list *granted)
{
	for (unsigned i = 0; i < model.count; i++) {
		struct op *op = model.entered[i];
		struct list_node *first = list_first(granted);

		if (model.granted[op - ops] || !is_its_turn(i))
			continue;
		expect(first == &op->link, "an op was not granted in its turn");
		list_remove(first);
		model.granted[op - ops] = true;
		op->state = OP_WRITING;
	}
	expect(list_empty(granted), "an op was granted out of turn");
}

static int set_up(void **state)
{
	(void)state;
	memset(ops, 0, sizeof(ops));
	memset(&model, 0, sizeof(model));
	for (unsigned i = 0; i < OPS; i++) {
		list_node_init(&ops[i].link);
		list_node_init(&ops[i].bucket);
	}
	return stripe_table_init(&table, OPS);
}

static int tear_down(void **state)
{
	(void)state;
	stripe_table_destroy(&table);
	return 0;
}

static void test_disjoint_rows(void **state)
{
	(void)state;
	assert_true(enter(prepare(0, 1, 0, 4, true)));
	assert_true(enter(prepare(1, 1, 4, 8, true)));
	assert_true(enter(prepare(2, 2, 0, 8, true)));
	assert_false(enter(prepare(3, 1, 3, 5, true)));
}

static void test_shared(void **state)
{
	struct list granted;

	(void)state;
	list_init(&granted);
	assert_true(enter(prepare(0, 1, 0, 4, false)));
	assert_true(enter(prepare(1, 1, 0, 4, false)));
	assert_false(enter(prepare(2, 1, 3, 5, true)));
	/* A reader does not pass a writer that waits: the writer would wait for ever. */
	assert_false(enter(prepare(3, 1, 4, 5, false)));
	assert_true(enter(prepare(4, 1, 0, 3, false)));
	leave(&ops[0], &granted);
	check_granted(&granted);
	assert_false(model.granted[2]);
	leave(&ops[1], &granted);
	check_granted(&granted);
	assert_true(model.granted[2]);
	assert_false(model.granted[3]);
	leave(&ops[2], &granted);
	check_granted(&granted);
	assert_true(model.granted[3]);
}

/* Arrival order is grant order. */
static void test_first_come_first_served(void **state)
{
	struct list granted;

	(void)state;
	list_init(&granted);
	for (unsigned i = 0; i < OPS; i++)
		assert_int_equal(enter(prepare(i, 7, 0, 1, true)), i == 0);
	for (unsigned i = 0; i < OPS; i++) {
		assert_true(model.granted[i]);
		leave(&ops[i], &granted);
		check_granted(&granted);
	}
}

/* A long line that opens at once: all readers behind one writer. */
static void test_writer_then_readers(void **state)
{
	struct list granted;

	(void)state;
	list_init(&granted);
	assert_true(enter(prepare(0, 7, 0, 8, true)));
	for (unsigned i = 1; i < OPS; i++)
		assert_false(enter(prepare(i, 7, 0, 8, false)));
	leave(&ops[0], &granted);
	check_granted(&granted);
	for (unsigned i = 1; i < OPS; i++)
		assert_true(model.granted[i]);
}

static void test_random(void **state)
{
	struct random random = {.state = 11};
	unsigned held[OPS], waited = 0;
	struct list granted;

	(void)state;
	list_init(&granted);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned index = (unsigned)random_below(&random, OPS), count = 0;

		if (ops[index].state == OP_FREE && random_chance(&random, 600)) {
			uint32_t row = (uint32_t)random_below(&random, ROWS);
			/* Stripes that share a bucket of the table, and stripes that do not. */
			uint64_t stripe = random_below(&random, STRIPES) << (step % 3 * 20);

			waited += !enter(prepare(index, stripe, row,
				row + 1 + (uint32_t)random_below(&random, ROWS - row),
				random_chance(&random, 500)));
			continue;
		}
		for (unsigned i = 0; i < OPS; i++)
			if (model.granted[i])
				held[count++] = i;
		if (!count)
			continue;
		leave(&ops[held[random_below(&random, count)]], &granted);
		check_granted(&granted);
	}
	print_message("%u of %u steps had to wait\n", waited, STEPS);
	assert_true(waited > STEPS / 20);
}

/* A table of one bucket pair: ops of all stripes meet in the same lists. */
static void test_crowded_buckets(void **state)
{
	stripe_table_destroy(&table);
	assert_int_equal(stripe_table_init(&table, 1), 0);
	test_random(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_disjoint_rows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_first_come_first_served, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_writer_then_readers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_crowded_buckets, set_up, tear_down),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
