/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steering of sweeps by the guests' latency, on a model of drives: the more a sweep moves, the
 * longer guests wait, with noise. It settles below the bound and does not swing, it never goes
 * below the least rate, it lets go when guests are idle; and the buckets it measures with.
 */
#include "unit.h"

#include "base/random.h"
#include "control/throttle.h"

enum { MIB = 1 << 20, US = 1000 };

/* --- buckets --------------------------------------------------------------------------------- */

static void test_buckets(void **state)
{
	uint64_t counts[LATENCY_BUCKETS] = {0};

	(void)state;
	assert_int_equal(latency_quantile_ns(counts, 990), 0);
	for (uint64_t ns = 0; ns < 20000000000; ns += ns / 50 + 100) {
		unsigned bucket = latency_bucket(ns);

		expect(ns < latency_bucket_end_ns(bucket), "%llu", (unsigned long long)ns);
		expect(!bucket || ns >= latency_bucket_end_ns(bucket - 1), "%llu",
			(unsigned long long)ns);
		expect(ns < 4096 || latency_bucket_end_ns(bucket) <= ns + ns / 4 + 1, "%llu",
			(unsigned long long)ns);
	}
	assert_int_equal(latency_bucket(UINT64_MAX), LATENCY_BUCKETS - 1);
	counts[latency_bucket(100 * US)] = 98;
	counts[latency_bucket(5000 * US)] = 2;
	assert_in_range(latency_quantile_ns(counts, 980), 100 * US, 125 * US);
	assert_in_range(latency_quantile_ns(counts, 990), 5000 * US, 6250 * US);
}

/* --- a model --------------------------------------------------------------------------------- */

struct model {
	struct throttle throttle;
	struct random random;
	uint64_t counts[LATENCY_BUCKETS];
	uint64_t idle_ns;     /* what a request takes beside nothing */
	uint64_t drive_bytes; /* what a drive can move in a second */
	uint64_t requests;    /* per second */
	uint64_t worst_ns, least, most, moved;
};

static uint64_t moved_by(const struct model *model)
{
	uint64_t limit = model->throttle.limit;

	return limit && limit < model->drive_bytes ? limit : model->drive_bytes;
}

/* One second. Requests wait for the part of the time that the drives are busy with the sweep. */
static void second(struct model *model, bool sweeping)
{
	uint64_t moved = sweeping ? moved_by(model) : 0;
	uint64_t wait_ns = model->idle_ns + model->idle_ns * 10 * moved / model->drive_bytes;

	for (uint64_t i = 0; i < model->requests; i++)
		model->counts[latency_bucket(
			wait_ns * (80 + random_below(&model->random, 40)) / 100)]++;
	throttle_tick(&model->throttle, model->counts, sweeping, moved);
	model->moved = moved;
	expect(!model->throttle.limit || model->throttle.limit >= THROTTLE_LEAST, "it has stopped");
}

static void run(struct model *model, unsigned seconds, bool sweeping)
{
	model->least = UINT64_MAX;
	model->most = 0;
	for (unsigned i = 0; i < seconds; i++) {
		bool probed = model->throttle.probing;

		second(model, sweeping);
		if (probed || model->throttle.probing)
			continue;
		model->least = model->moved < model->least ? model->moved : model->least;
		model->most = model->moved > model->most ? model->moved : model->most;
	}
}

static struct model new_model(void)
{
	return (struct model){
		.random = {1}, .idle_ns = 300 * US, .drive_bytes = 1000ull * MIB, .requests = 5000};
}

static void expect_settled(struct model *model)
{
	uint64_t bound;

	run(model, 40, true);
	run(model, 50, true);
	bound = throttle_bound_ns(&model->throttle);
	expect(model->throttle.p99_ns <= bound + bound / 10, "p99 of %llu, bound %llu",
		(unsigned long long)model->throttle.p99_ns, (unsigned long long)bound);
	expect(model->most <= 2 * model->least, "it swings between %llu and %llu",
		(unsigned long long)model->least, (unsigned long long)model->most);
	expect(model->least > 40ull * MIB, "it is slower than it need be: %llu",
		(unsigned long long)model->least);
}

static void test_settles(void **state)
{
	struct model known = new_model(), unknown = new_model();

	(void)state;
	run(&known, 5, false);
	expect(known.throttle.idle_p99_ns > 300 * US && !known.throttle.limit, "not learnt");
	expect_settled(&known);
	expect_settled(&unknown);
	assert_in_range(unknown.throttle.idle_p99_ns, 300 * US, 600 * US);
}

/* Drives that cannot do both: the least rate, and no less. */
static void test_least(void **state)
{
	struct model model = new_model();

	(void)state;
	run(&model, 5, false);
	model.drive_bytes = 6 * MIB;
	run(&model, 60, true);
	assert_int_equal(model.throttle.limit, THROTTLE_LEAST);
}

static void test_idle(void **state)
{
	struct model model = new_model();
	uint64_t before;

	(void)state;
	run(&model, 5, false);
	run(&model, 40, true);
	before = model.throttle.limit;
	assert_int_not_equal(before, 0);
	model.requests = 0;
	run(&model, THROTTLE_WINDOW_TICKS + 1, true);
	assert_int_equal(model.throttle.limit, 0);
	/* They come back: at once to what was steady. */
	model.requests = 5000;
	run(&model, 1, true);
	assert_in_range(model.throttle.limit, before / 2, before * 2);
	/* A few requests are not idle. */
	model.requests = 2;
	run(&model, 20, true);
	assert_int_not_equal(model.throttle.limit, 0);
}

/* What guests do changes: the idle value is measured anew, and an array that is started again
 * counts from zero. */
static void test_changes(void **state)
{
	struct model model = new_model();

	(void)state;
	run(&model, 5, false);
	run(&model, 30, true);
	model.idle_ns = 2000 * US;
	memset(model.counts, 0, sizeof(model.counts));
	run(&model, 400, true);
	assert_in_range(model.throttle.idle_p99_ns, 1800 * US, 3500 * US);
	expect_settled(&model);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_settles),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_changes),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
