/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "base/cpumask.h"
#include "base/random.h"

static void test_spellings(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text, *printed;
	} rows[] = {
		{"0", "0"}, {"255", "255"}, {"8-11,14", "8-11,14"}, {"14,8-11", "8-11,14"},
		{"1,2,3", "1-3"}, {"0-1,1-2", "0-2"}, {"5-5", "5"}, {"007", "7"},
		{"0-255", "0-255"},
		{"63-64", "63-64"}, {"0x1", "0"}, {"0X3", "0-1"}, {"0xF0", "4-7"}, {"0xf0", "4-7"},
		{"0x000000000000000000000000000000000000000000000000000000000000000000000001", "0"},
		{"0x8000000000000000000000000000000000000000000000000000000000000000", "255"},
		{"0x10000000000000001", "0,64"},
	};
	/* clang-format on */

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cpumask mask;
		char text[CPUMASK_TEXT_BYTES];

		assert_int_equal(cpumask_parse(&mask, rows[i].text, NULL), 0);
		assert_ptr_equal(cpumask_print(&mask, text), text);
		assert_string_equal(text, rows[i].printed);
	}
}

static void test_refusals(void **state)
{
	static const char *const wrong[] = {
		"",
		",",
		"1,",
		",1",
		"1,,2",
		"-",
		"1-",
		"-1",
		"3-2",
		"256",
		"0-256",
		"1 ",
		" 1",
		"1;2",
		"a",
		"0x",
		"0xg",
		"x1",
		"0x0",
		"0x00",
		"18446744073709551616",
		"1-18446744073709551615",
		"0x10000000000000000000000000000000000000000000000000000000000000000",
		"1-2-3",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct cpumask mask;
		struct fail fail = {0};

		expect(cpumask_parse(&mask, wrong[i], &fail) == -EINVAL, "'%s' is taken", wrong[i]);
		assert_int_equal(fail.error, EINVAL);
		assert_non_null(strstr(fail.text, wrong[i]));
	}
}

/* Any set, printed and read back, is the set; the other functions agree with an array of bools. */
static void check_set(const bool *cores)
{
	struct cpumask mask = {{0}}, back;
	char text[CPUMASK_TEXT_BYTES];
	unsigned count = 0, next = CPUMASK_CORES;

	for (unsigned core = 0; core < CPUMASK_CORES; core++)
		if (cores[core]) {
			cpumask_add(&mask, core);
			count++;
		}
	assert_int_equal(cpumask_count(&mask), count);
	for (int core = CPUMASK_CORES; core >= 0; core--) {
		if (core < CPUMASK_CORES && cores[core])
			next = (unsigned)core;
		assert_int_equal(cpumask_next(&mask, (unsigned)core), next);
		assert_int_equal(
			cpumask_has(&mask, (unsigned)core), core < CPUMASK_CORES && cores[core]);
	}
	cpumask_print(&mask, text);
	assert_true(strlen(text) < CPUMASK_TEXT_BYTES - 1);
	if (!count)
		return;
	assert_int_equal(cpumask_parse(&back, text, NULL), 0);
	assert_memory_equal(&mask, &back, sizeof(mask));
}

static void test_any_set(void **state)
{
	struct random random = {.state = 7};

	(void)state;
	for (unsigned run = 0; run < 500; run++) {
		unsigned density = (unsigned)random_below(&random, 1001);
		bool cores[CPUMASK_CORES];

		for (unsigned core = 0; core < CPUMASK_CORES; core++)
			cores[core] = random_chance(&random, density);
		check_set(cores);
	}
}

/* The longest text there is: every other core. */
static void test_longest(void **state)
{
	bool cores[CPUMASK_CORES] = {false};

	(void)state;
	check_set(cores);
	for (unsigned core = 1; core < CPUMASK_CORES; core += 2)
		cores[core] = true;
	check_set(cores);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_any_set),
		cmocka_unit_test(test_longest),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
