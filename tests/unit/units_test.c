/* SPDX-License-Identifier: Apache-2.0 */
#include "unit.h"

#include <errno.h>

#include "base/units.h"

static const uint64_t GiB = 1ull << 30;

static void test_sizes(void **state)
{
	/* clang-format off */
	static const struct {
		const char *text;
		uint64_t bytes;
	} rows[] = {
		{"0", 0}, {"1", 1ull << 30}, {"7B", 7}, {"7b", 7},
		{"128K", 128 << 10}, {"128k", 128 << 10}, {"128KiB", 128 << 10},
		{"128kib", 128 << 10},
		{"128KB", 128000}, {"128kb", 128000}, {"3M", 3 << 20}, {"3MB", 3000000},
		{"1G", 1ull << 30}, {"1GB", 1000000000}, {"2T", 2ull << 40},
		{"2TB", 2000000000000ull}, {"1P", 1ull << 50}, {"1EiB", 1ull << 60},
		{"1EB", 1000000000000000000ull}, {"1.5K", 1536}, {"0.5G", 1ull << 29},
		{"1.8T", 1979120929996ull},
		/* Exact beyond the 53 bits of a double. */
		{"9007199254740993B", 9007199254740993ull},
		{"8796093022207K", 8796093022207ull << 10},
	};
	/* clang-format on */

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t bytes = 1;
		int error = units_parse(&bytes, rows[i].text, GiB, NULL);

		expect(!error && bytes == rows[i].bytes, "'%s' is %llu", rows[i].text,
			(unsigned long long)bytes);
	}
}

static void test_bare_unit(void **state)
{
	uint64_t bytes;

	(void)state;
	assert_int_equal(units_parse(&bytes, "12", 1, NULL), 0);
	assert_int_equal(bytes, 12);
	assert_int_equal(units_parse(&bytes, "12", 1024, NULL), 0);
	assert_int_equal(bytes, 12 << 10);
	assert_int_equal(units_parse(&bytes, "1.5", 1024, NULL), 0);
	assert_int_equal(bytes, 1536);
	assert_int_equal(units_parse(&bytes, "12B", 1024, NULL), 0);
	assert_int_equal(bytes, 12);
}

static void test_refusals(void **state)
{
	static const char *const wrong[] = {
		"",
		"K",
		"-1",
		"+1",
		" 1",
		"1 K",
		"1KK",
		"1KiBs",
		"1X",
		"1iB",
		"1Ki",
		"ten",
		"nan",
		"inf",
		".5G",
		"8E",
		"8EiB",
		"9223372036854775808B",
		"99999999999999999999",
		"1e400",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct fail fail = {0};
		uint64_t bytes = 77;

		expect(units_parse(&bytes, wrong[i], 1, &fail) == -EINVAL, "'%s' is taken as %llu",
			wrong[i], (unsigned long long)bytes);
		assert_int_equal(fail.error, EINVAL);
		assert_non_null(strstr(fail.text, wrong[i]));
		assert_int_equal(bytes, 77);
	}
}

static void test_print(void **state)
{
	/* clang-format off */
	static const struct {
		uint64_t bytes;
		const char *text;
	} rows[] = {
		{0, "0 B"}, {1, "1 B"}, {1023, "1023 B"}, {1024, "1 KiB"}, {1536, "1.5 KiB"},
		{128 << 10, "128 KiB"}, {1 << 20, "1 MiB"}, {5ull << 30, "5 GiB"},
		{61461500000000ull, "55.9 TiB"}, {1ull << 50, "1 PiB"}, {1ull << 60, "1 EiB"},
		{UINT64_MAX, "16 EiB"},
	};
	/* clang-format on */

	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[UNITS_TEXT_BYTES];

		assert_ptr_equal(units_print(rows[i].bytes, text), text);
		assert_string_equal(text, rows[i].text);
	}
}

/* What is printed without a fraction is read back as it was. */
static void test_round_trip(void **state)
{
	(void)state;
	for (unsigned shift = 0; shift < 63; shift++)
		for (uint64_t factor = 1; factor < 1024 && factor << shift >> shift == factor;
			factor += 7) {
			uint64_t bytes = factor << shift, back;
			char text[UNITS_TEXT_BYTES], compact[UNITS_TEXT_BYTES];
			unsigned used = 0;

			units_print(bytes, text);
			if (strchr(text, '.') || bytes >> 63)
				continue;
			for (const char *at = text; *at; at++)
				if (*at != ' ')
					compact[used++] = *at;
			compact[used] = '\0';
			assert_int_equal(units_parse(&back, compact, 1, NULL), 0);
			expect(back == bytes, "%s is not %llu", compact, (unsigned long long)bytes);
		}
}

static void test_names(void **state)
{
	static const char *const good[] = {"a", "0", "media6", "vm-100-disk-0", "A.b_c-d",
		"123456789012345678901234567890123456789012345678901234567890123"};
	static const char *const bad[] = {"", ".", "..", ".hidden", "-x", "a b", "a/b", "a\nb",
		"\xc3\xa4", "a:b",
		"1234567890123456789012345678901234567890123456789012345678901234"};
	struct fail fail;

	(void)state;
	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_int_equal(name_check(good[i], "array", &fail), 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect(name_check(bad[i], "array", &fail) == -EINVAL, "'%s' is a name", bad[i]);
		assert_int_equal(strncmp(fail.text, "array '", 7), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_bare_unit),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_print),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_names),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
