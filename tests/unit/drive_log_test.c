/* SPDX-License-Identifier: Apache-2.0 */
/* Log pages as fields, from bytes that the specification lays down; and from any bytes at all. */
#include "unit.h"

#include "base/bits.h"
#include "base/random.h"
#include "control/drive_log.h"
#include "drivers/nvme/wire.h"

static json_t *fields;

static json_t *decode(unsigned page, const void *log, size_t bytes)
{
	json_decref(fields);
	fields = drive_log_decode(page, log, bytes);
	return fields;
}

static int forget(void **state)
{
	(void)state;
	json_decref(fields);
	fields = NULL;
	return 0;
}

static void is_text(const json_t *object, const char *key, const char *text)
{
	assert_string_equal(json_string_value(json_object_get(object, key)), text);
}

static void is_number(const json_t *object, const char *key, int64_t number)
{
	const json_t *value = json_object_get(object, key);

	expect(json_is_integer(value), "%s is no number", key);
	assert_int_equal(json_integer_value(value), number);
}

static void test_errors(void **state)
{
	uint8_t log[4 * 64] = {0};
	/* Base 5.1.12.1.2: an unrecovered read of block 0x1234 of namespace 1, do not retry. */
	static const uint8_t entry[] = {7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x55, 0, 0x03, 0x85, 0xff,
		0xff, 0x34, 0x12, 0, 0, 0, 0, 0, 0, 1};
	const json_t *rows, *row;

	(void)state;
	memcpy(log, entry, sizeof(entry));
	memcpy(log + 128, entry, sizeof(entry)); /* one between them is empty */
	log[128] = 6;
	log[128 + 14] = 40; /* the fault is in byte 40, bit 3 of the command */
	log[128 + 15] = 3;
	decode(NVME_LOG_ERROR, log, sizeof(log));
	rows = json_object_get(fields, "errors");
	assert_int_equal(json_array_size(rows), 2);
	row = json_array_get(rows, 0);
	is_number(row, "number", 7);
	is_number(row, "queue", 2);
	is_number(row, "command", 0x55);
	is_number(row, "status", 0x281);
	is_text(row, "what", "unrecovered read error");
	is_number(row, "lba", 0x1234);
	is_number(row, "nsid", 1);
	assert_true(json_is_true(json_object_get(row, "do_not_retry")));
	assert_null(json_object_get(row, "byte"));
	row = json_array_get(rows, 1);
	is_number(row, "byte", 40);
	is_number(row, "bit", 3);
	decode(NVME_LOG_ERROR, log, 60);
	assert_int_equal(json_array_size(json_object_get(fields, "errors")), 0);
}

static void test_health(void **state)
{
	struct nvme_health page = {.warnings = NVME_WARN_SPARE | NVME_WARN_READ_ONLY,
		.kelvin = {0x2c, 0x01},
		.spare_percent = 9,
		.spare_threshold_percent = 10,
		.used_percent = 200,
		.read_units = {le64_of(2)},
		.media_errors = {le64_of(1), le64_of(1)},
		.sensor_kelvin = {le16_of(300), le16_of(0), le16_of(310)}};
	const json_t *health;

	(void)state;
	health = json_object_get(decode(NVME_LOG_HEALTH, &page, sizeof(page)), "health");
	is_number(health, "celsius", 27);
	is_number(health, "wear_percent", 200);
	is_number(health, "read_bytes", 1024000);
	is_number(health, "media_errors", INT64_MAX);
	assert_int_equal(json_array_size(json_object_get(health, "warnings")), 2);
	assert_int_equal(json_array_size(json_object_get(health, "sensors_celsius")), 2);
	assert_null(decode(NVME_LOG_HEALTH, &page, sizeof(page) - 4));
}

static void test_firmware(void **state)
{
	struct nvme_firmware_log page = {.active = 0x21};
	const json_t *slots;

	(void)state;
	memcpy(page.slots[0], "1.0     ", 8);
	memcpy(page.slots[1], "\x1b[2J-new", 8);
	slots = json_object_get(decode(NVME_LOG_FIRMWARE, &page, sizeof(page)), "slots");
	assert_int_equal(json_array_size(slots), 2);
	is_text(json_array_get(slots, 0), "revision", "1.0");
	assert_true(json_is_true(json_object_get(json_array_get(slots, 0), "active")));
	is_text(json_array_get(slots, 1), "revision", " [2J-new"); /* moves no cursor */
	assert_true(json_is_true(json_object_get(json_array_get(slots, 1), "next")));
}

static void test_self_tests(void **state)
{
	struct nvme_self_test_log page = {.current = 2, .percent = 0x80 | 55};
	const json_t *tests, *row;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		page.results[i].status = NVME_SELF_TEST_NONE;
	page.results[0] = (struct nvme_self_test_result){.status = 0x27,
		.segment = 4,
		.valid = NVME_SELF_TEST_NSID | NVME_SELF_TEST_LBA | NVME_SELF_TEST_TYPE |
			 NVME_SELF_TEST_CODE,
		.power_on_hours = {0x34, 0x12},
		.nsid = {1},
		.lba = {0, 0, 1},
		.status_type = 2,
		.status_code = 0x81};
	page.results[1] = (struct nvme_self_test_result){.status = 0x10};
	decode(NVME_LOG_SELF_TEST, &page, sizeof(page));
	is_text(fields, "running", "extended");
	is_number(fields, "percent", 55);
	tests = json_object_get(fields, "tests");
	assert_int_equal(json_array_size(tests), 2);
	row = json_array_get(tests, 0);
	is_text(row, "kind", "extended");
	is_text(row, "what", "failed");
	is_number(row, "segment", 4);
	is_number(row, "power_on_hours", 0x1234);
	is_number(row, "lba", 65536);
	is_number(row, "status", 0x281);
	row = json_array_get(tests, 1);
	is_text(row, "kind", "short");
	is_text(row, "what", "passed");
	assert_null(json_object_get(row, "lba"));
}

static void test_sanitize(void **state)
{
	struct nvme_sanitize_log page = {.progress = le16_of(32768),
		.status = le16_of(1 << 3 | NVME_SANITIZE_RUNNING),
		.command = le32_of(3),
		.overwrite_seconds = le32_of(7200),
		.block_seconds = le32_of(UINT32_MAX)};
	const json_t *row;

	(void)state;
	row = json_object_get(decode(NVME_LOG_SANITIZE, &page, sizeof(page)), "sanitize");
	is_text(row, "state", "running");
	is_text(row, "how", "overwrite");
	is_number(row, "percent", 50);
	is_number(row, "passes_done", 1);
	is_number(row, "overwrite_s", 7200);
	assert_null(json_object_get(row, "block_s"));
	page.status = le16_of(NVME_SANITIZE_ERASED | NVME_SANITIZE_DONE);
	row = json_object_get(decode(NVME_LOG_SANITIZE, &page, sizeof(page)), "sanitize");
	is_text(row, "state", "done");
	is_number(row, "percent", 100);
	assert_true(json_is_true(json_object_get(row, "nothing_written_since")));
}

/* Whatever a drive says, it is valid JSON, or nothing. */
static void test_any_bytes(void **state)
{
	struct random random = {.state = 1};
	static uint8_t log[4096];

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		size_t bytes = random_below(&random, sizeof(log) / 4) * 4 + 4;
		unsigned page = (unsigned)random_below(&random, 8);
		char *text;

		for (size_t i = 0; i < 600; i++)
			log[i] = (uint8_t)random_next(&random);
		if (!decode(page == 7 ? NVME_LOG_SANITIZE : page, log, bytes))
			continue;
		text = json_dumps(fields, 0);
		assert_non_null(text);
		free(text);
	}
}

#define LOG_TEST(name) cmocka_unit_test_teardown(name, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(test_errors),
		LOG_TEST(test_health),
		LOG_TEST(test_firmware),
		LOG_TEST(test_self_tests),
		LOG_TEST(test_sanitize),
		LOG_TEST(test_any_bytes),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
