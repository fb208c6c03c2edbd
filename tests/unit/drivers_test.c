/* SPDX-License-Identifier: Apache-2.0 */
/* Memory, null, and the layers, in simulation: a delay can be measured to the nanosecond. */
#include "device.h"

#include <errno.h>

#include "base/random.h"
#include "drivers/drivers.h"
#include "reactor/sim.h"

enum { BATCH_MAX = 3000 };

/* --- ram and null ---------------------------------------------------------------------------- */

static void test_ram(void **state)
{
	(void)state;
	for (uint32_t bytes = 512; bytes <= BLOCK; bytes *= 8) {
		assert_int_equal(ram_create(&dev, "r0", (9 << 20) + 300, bytes, NULL), 0);
		assert_string_equal(dev->name, "r0");
		assert_string_equal(dev->ops->driver, "ram");
		assert_int_equal(dev->blocks, (9 << 20) / bytes);
		assert_int_equal(dev->block_bytes, bytes);
		assert_false(dev->volatile_cache);
		open_device();
		/* Up to 8 MiB at a time: zeroes in whole huge pages are given back. */
		check_against_model(bytes, 300, 1, (8 << 20) / bytes);
		check_range_errors();
		close_device();
	}
}

static void test_null(void **state)
{
	char memory[BLOCK];

	(void)state;
	assert_int_equal(null_create(&dev, "n0", 1ull << 42, BLOCK, NULL), 0);
	assert_int_equal(blockdev_bytes(dev), 1ull << 42);
	assert_string_equal(dev->ops->driver, "null");
	open_device();
	memset(memory, 7, sizeof(memory));
	assert_int_equal(transfer(IO_WRITE, memory, 5, 1), 0);
	assert_int_equal(transfer(IO_READ, memory, 5, 1), 0);
	assert_int_equal(memory[0], 7);
	assert_int_equal(memory[BLOCK - 1], 7);
	assert_int_equal(clear(IO_DISCARD, 0, 1u << 30, true), 0);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), 0);
	check_range_errors();
	close_device();
}

static void test_claim(void **state)
{
	struct fail fail = {0};

	(void)state;
	assert_int_equal(null_create(&dev, "n0", 1 << 20, BLOCK, NULL), 0);
	assert_int_equal(blockdev_claim(dev, "array a", &fail), 0);
	assert_int_equal(blockdev_claim(dev, "array b", &fail), -EBUSY);
	assert_non_null(strstr(fail.text, "n0 is in use by array a"));
	blockdev_release(dev);
	assert_int_equal(blockdev_claim(dev, "array b", &fail), 0);
	blockdev_release(dev);
	blockdev_destroy(dev);
}

/* --- delay ----------------------------------------------------------------------------------- */

static uint64_t run_delayed(unsigned count, uint64_t base_ns, uint64_t jitter_ns, uint64_t seed)
{
	struct request *batch = calloc(count, sizeof(*batch));
	struct blockdev *below;
	unsigned overtaken = 0;
	uint64_t start_ns, trace = 0;

	assert_int_equal(null_create(&below, "n0", 1 << 30, BLOCK, NULL), 0);
	assert_int_equal(delay_create(&dev, below, base_ns, jitter_ns, seed, NULL), 0);
	assert_int_equal(dev->blocks, below->blocks);
	assert_string_equal(dev->name, "n0");
	open_device();
	for (unsigned i = 0; i < count; i++)
		batch[i].io = (struct io){.kind = IO_DISCARD, .block = i, .blocks = 1};
	start_ns = reactor_sim_now_ns(group);
	run_batch(batch, count);
	for (unsigned i = 0; i < count; i++) {
		uint64_t took_ns = batch[i].done_at_ns - start_ns;

		assert_int_equal(batch[i].io.status, 0);
		expect(took_ns >= base_ns, "request %u was not held back", i);
		/* There are places for 1024; the others wait for one. */
		expect(i >= 1024 || took_ns < base_ns + (jitter_ns ? jitter_ns : 1),
			"request %u was held back for too long", i);
		overtaken += i && batch[i].done_at_ns < batch[i - 1].done_at_ns;
		trace = random_mix(trace ^ took_ns);
	}
	assert_int_equal(overtaken > 0, jitter_ns && count > 10);
	close_device();
	free(batch);
	return trace;
}

static void test_delay(void **state)
{
	uint64_t trace;

	(void)state;
	run_delayed(1, 1000000, 0, 1);
	run_delayed(500, 1000000, 0, 1);
	run_delayed(100, 0, 0, 1);
	trace = run_delayed(500, 1000, 5000000, 7);
	assert_true(run_delayed(500, 1000, 5000000, 7) == trace);
	assert_true(run_delayed(500, 1000, 5000000, 8) != trace);
	run_delayed(BATCH_MAX, 1000, 1000000, 7);
}

/* --- fault ----------------------------------------------------------------------------------- */

static char pattern[4 * BLOCK], seen[4 * BLOCK];

static void rules(const struct fault_rule *list, unsigned count)
{
	struct fail fail = {0};

	expect(!fault_rules(dev, list, count, &fail), "%s", fail.text);
}

static void make_faulty(uint64_t delay_ns)
{
	struct blockdev *below;

	assert_int_equal(ram_create(&below, "r0", 1 << 20, BLOCK, NULL), 0);
	assert_false(fault_is(below));
	if (delay_ns)
		assert_int_equal(delay_create(&below, below, delay_ns, delay_ns, 3, NULL), 0);
	assert_int_equal(fault_create(&dev, below, NULL), 0);
	assert_true(fault_is(dev));
	open_device();
	fill(pattern, sizeof(pattern), 1);
}

static void expect_blocks(uint64_t block, const char *content)
{
	assert_int_equal(transfer(IO_READ, seen, block, 4), 0);
	assert_memory_equal(seen, content, sizeof(seen));
}

static void test_fault_none(void **state)
{
	(void)state;
	make_faulty(0);
	check_against_model(5, 300, 1, 256);
	check_range_errors();
	close_device();
}

static void test_fault_error(void **state)
{
	static const char zeros[sizeof(pattern)];
	struct fault_rule writes = {.kind = FAULT_ERROR, .writes = true, .first = 10, .end = 12};
	struct fault_rule reads = {.kind = FAULT_ERROR, .reads = true, .first = 10, .end = 12};

	(void)state;
	make_faulty(0);
	rules(&writes, 1);
	/* Every request that touches a block of the range, and no other. */
	assert_int_equal(transfer(IO_WRITE, pattern, 6, 4), 0);
	assert_int_equal(transfer(IO_WRITE, pattern, 7, 4), -EIO);
	assert_int_equal(transfer(IO_WRITE, pattern, 11, 4), -EIO);
	assert_int_equal(transfer(IO_WRITE, pattern, 12, 4), 0);
	assert_int_equal(clear(IO_WRITE_ZEROES, 0, 20, true), -EIO);
	assert_int_equal(clear(IO_DISCARD, 0, 20, true), -EIO);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), -EIO);
	expect_blocks(6, pattern);
	expect_blocks(12, pattern);
	assert_int_equal(transfer(IO_READ, seen, 10, 2), 0);
	assert_memory_equal(seen, zeros, 2 * BLOCK);
	rules(&reads, 1);
	memset(seen, 9, sizeof(seen));
	assert_int_equal(transfer(IO_READ, seen, 8, 4), -EIO);
	assert_int_equal(seen[0], 9);
	assert_int_equal(transfer(IO_READ, seen, 6, 4), 0);
	assert_int_equal(transfer(IO_WRITE, pattern, 10, 4), 0);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), 0);
	rules(NULL, 0);
	expect_blocks(10, pattern);
	close_device();
}

static void test_fault_torn(void **state)
{
	struct fault_rule rule = {.kind = FAULT_TORN, .writes = true, .first = 0, .end = 100};
	char torn[sizeof(pattern)] = {0};

	(void)state;
	make_faulty(0);
	rules(&rule, 1);
	assert_int_equal(transfer(IO_WRITE, pattern, 0, 4), -EIO);
	memcpy(torn, pattern, sizeof(torn) / 2);
	expect_blocks(0, torn);
	assert_int_equal(transfer(IO_WRITE, pattern, 50, 1), -EIO); /* half of one block is none */
	memset(torn, 0, sizeof(torn));
	expect_blocks(50, torn);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), 0);
	close_device();
}

static void test_fault_lost(void **state)
{
	struct fault_rule rule = {.kind = FAULT_LOST, .writes = true, .first = 0, .end = 4};

	(void)state;
	make_faulty(0);
	assert_int_equal(transfer(IO_WRITE, pattern, 0, 4), 0);
	rules(&rule, 1);
	fill(seen, sizeof(seen), 2);
	assert_int_equal(transfer(IO_WRITE, seen, 0, 4), 0);
	assert_int_equal(clear(IO_WRITE_ZEROES, 0, 4, true), 0);
	assert_int_equal(run_io((struct io){.kind = IO_FLUSH}), 0);
	expect_blocks(0, pattern);
	close_device();
}

static void test_fault_flip(void **state)
{
	struct fault_rule rule = {.kind = FAULT_FLIP, .reads = true, .first = 2, .end = 3};
	unsigned wrong_bits = 0;

	(void)state;
	make_faulty(0);
	assert_int_equal(transfer(IO_WRITE, pattern, 0, 4), 0);
	rules(&rule, 1);
	assert_int_equal(transfer(IO_READ, seen, 0, 4), 0);
	for (unsigned i = 0; i < sizeof(seen); i++)
		wrong_bits += (unsigned)__builtin_popcount((uint8_t)(seen[i] ^ pattern[i]));
	assert_int_equal(wrong_bits, 1);
	assert_memory_equal(seen + BLOCK, pattern + BLOCK, 3 * BLOCK); /* in the first block */
	rules(NULL, 0);
	expect_blocks(0, pattern);
	close_device();
}

static void test_fault_after_and_count(void **state)
{
	struct fault_rule list[] = {
		{.kind = FAULT_ERROR, .reads = true, .first = 0, .end = 8, .after = 3, .count = 2},
		{.kind = FAULT_ERROR, .writes = true, .first = 0, .end = 8, .after = 1},
	};

	(void)state;
	make_faulty(0);
	rules(list, 2);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(transfer(IO_READ, seen, 9, 1), 0); /* another place: not counted */
		assert_int_equal(transfer(IO_READ, seen, 7, 1), i == 3 || i == 4 ? -EIO : 0);
		assert_int_equal(transfer(IO_WRITE, seen, 7, 1), i >= 1 ? -EIO : 0);
	}
	rules(list, 2); /* counts anew */
	assert_int_equal(transfer(IO_WRITE, seen, 7, 1), 0);
	close_device();
}

/* More bent requests at once than there are places for; torn ones among flipped ones. */
static void test_fault_many(void **state)
{
	enum { COUNT = 240 };
	struct fault_rule list[] = {
		{.kind = FAULT_FLIP, .reads = true, .first = 0, .end = 256},
		{.kind = FAULT_TORN, .writes = true, .first = 0, .end = 256},
	};
	struct request *batch = calloc(COUNT, sizeof(*batch));
	char *memory = calloc(COUNT, BLOCK);

	(void)state;
	make_faulty(1000);
	rules(list, 2);
	for (unsigned i = 0; i < COUNT; i++) {
		batch[i].iov = (struct iovec){memory + i * BLOCK, BLOCK};
		batch[i].io = (struct io){.kind = i % 3 ? IO_READ : IO_WRITE,
			.block = i,
			.blocks = 1,
			.iov = &batch[i].iov,
			.iovs = 1};
	}
	run_batch(batch, COUNT);
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(batch[i].io.status, i % 3 ? 0 : -EIO);
		assert_int_equal(__builtin_popcount((uint8_t)memory[i * BLOCK]), i % 3 ? 1 : 0);
	}
	close_device();
	free(memory);
	free(batch);
}

static void test_fault_refusals(void **state)
{
	struct fault_rule many[FAULT_RULES_MAX + 1] = {{.kind = FAULT_ERROR, .reads = true}};
	static const struct fault_rule wrong[] = {{.kind = FAULT_FLIP, .writes = true},
		{.kind = FAULT_TORN, .reads = true},
		{.kind = FAULT_LOST, .reads = true, .writes = true}};
	struct fail fail;

	(void)state;
	make_faulty(0);
	assert_int_equal(fault_rules(dev, many, FAULT_RULES_MAX, &fail), 0);
	assert_int_equal(fault_rules(dev, many, FAULT_RULES_MAX + 1, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "16"));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(fault_rules(dev, &wrong[i], 1, &fail), -EINVAL);
		assert_non_null(strstr(fail.text, fault_kind_name(wrong[i].kind)));
	}
	close_device();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ram, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_null, start_simulation, stop_simulation),
		cmocka_unit_test(test_claim),
		cmocka_unit_test_setup_teardown(test_delay, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_fault_none, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(
			test_fault_error, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_fault_torn, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_fault_lost, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_fault_flip, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(
			test_fault_after_and_count, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(test_fault_many, start_simulation, stop_simulation),
		cmocka_unit_test_setup_teardown(
			test_fault_refusals, start_simulation, stop_simulation),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
