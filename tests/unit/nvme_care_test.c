/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator asks of an NVMe drive, over a controller that behaves: logs, format, sanitize,
 * self-test, firmware. */
#include "nvme_rig.h"

#include <errno.h>

#include "base/bits.h"

static void test_logs(void **state)
{
	struct fail fail = {0};
	struct nvme_smart smart;
	char log[10000];

	(void)state;
	mock->health = (struct nvme_health){.warnings = NVME_WARN_SPARE,
		.kelvin = {310 & 0xff, 310 >> 8},
		.spare_percent = 9,
		.used_percent = 120,
		.read_units = {le64_of(3)},
		.media_errors = {le64_of(5)},
		.power_on_hours = {le64_of(1), le64_of(1)}};
	rig_attach(0);
	assert_int_equal(nvme_smart(nvme, &smart, &fail), 0);
	assert_int_equal(smart.warnings, NVME_WARN_SPARE);
	assert_int_equal(smart.kelvin, 310);
	assert_int_equal(smart.used_percent, 120);
	assert_int_equal(smart.read_bytes, 1536000);
	assert_int_equal(smart.media_errors, 5);
	assert_true(smart.power_on_hours == UINT64_MAX);
	assert_int_equal(nvme_log(nvme, 0x11, NVME_NSID_ALL, log, sizeof(log), &fail), 0);
	assert_int_equal(log[4095], 0x11);
	assert_int_equal(log[4096], 0x12);
	assert_int_equal(log[9999], 0x13);
	assert_int_equal(nvme_self_test(nvme, 1, &fail), 0);
	rig_detach();
}

static void test_format(void **state)
{
	struct fail fail = {0};
	struct nvme_namespace namespace;

	(void)state;
	rig_attach(0);
	assert_int_equal(nvme_format(dev, 4096, NVME_ERASE_NONE, &fail), -EBUSY);
	assert_non_null(strstr(fail.text, "in use"));
	blockdev_close_queue(queue);
	assert_int_equal(nvme_format(dev, 4096, NVME_ERASE_CRYPTO, &fail), -EOPNOTSUPP);
	assert_int_equal(nvme_format(dev, 1024, NVME_ERASE_NONE, &fail), -EINVAL);
	assert_non_null(strstr(fail.text, "1024"));
	assert_int_equal(mock->formats, 0);
	assert_int_equal(nvme_format(dev, 4096, NVME_ERASE_USER, &fail), 0);
	nvme_namespace(dev, &namespace);
	assert_int_equal(namespace.lba_bytes, 4096);
	assert_int_equal(dev->sector_bytes, 4096);
	assert_int_equal(nvme_format(dev, 512, NVME_ERASE_NONE, &fail), 0);
	assert_int_equal(dev->sector_bytes, 512);
	mock->format_fails = true;
	assert_int_equal(nvme_format(dev, 0, NVME_ERASE_NONE, &fail), -EIO);
	assert_non_null(strstr(fail.text, "does not have this format"));
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_BLOCK, 1, &fail), 0);
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_CRYPTO, 1, &fail), -EOPNOTSUPP);
	nvme_destroy(nvme);
}

static void test_sanitize(void **state)
{
	struct nvme_sanitize_state now;
	struct fail fail = {0};

	(void)state;
	mock->identity.sanitize = le32_of(NVME_SANICAP_BLOCK | NVME_SANICAP_OVERWRITE);
	rig_attach(0);
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_BLOCK, 1, &fail), -EBUSY);
	blockdev_close_queue(queue);
	assert_int_equal(nvme_sanitize_state(nvme, &now, &fail), 0);
	assert_int_equal(now.status, NVME_SANITIZE_NEVER);
	mock->sanitize.step = 16384;
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_OVERWRITE, 16, &fail), 0);
	assert_int_equal(mock->sanitize.passes, 0); /* which is 16: base 5.1.22 */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(nvme_sanitize_state(nvme, &now, &fail), 0);
		assert_int_equal(now.status, NVME_SANITIZE_RUNNING);
		assert_int_equal(now.action, NVME_SANITIZE_OVERWRITE);
		assert_int_equal(now.per_thousand, i * 250);
		assert_int_equal(now.seconds, 7200);
	}
	assert_int_equal(nvme_sanitize_state(nvme, &now, &fail), 0);
	assert_int_equal(now.status, NVME_SANITIZE_DONE);
	assert_int_equal(now.per_thousand, 1000);
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_BLOCK, 1, &fail), 0);
	assert_int_equal(mock->sanitize.passes, 1);
	assert_int_equal(nvme_sanitize(nvme, NVME_SANITIZE_BLOCK, 1, &fail), -EIO);
	assert_non_null(strstr(fail.text, "a sanitize operation is running"));
	nvme_destroy(nvme);
}

static void test_self_test(void **state)
{
	struct nvme_test_state now;
	struct fail fail = {0};

	(void)state;
	rig_attach(0);
	assert_int_equal(nvme_self_test_state(nvme, &now, &fail), 0);
	assert_int_equal(now.running, 0);
	assert_int_equal(now.kind, 0);
	mock->self_test.step = 40;
	mock->self_test.outcome = NVME_SELF_TEST_FAILED;
	assert_int_equal(nvme_self_test(nvme, NVME_SELF_TEST_EXTENDED, &fail), 0);
	assert_int_equal(nvme_self_test(nvme, NVME_SELF_TEST_SHORT, &fail), -EIO);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(nvme_self_test_state(nvme, &now, &fail), 0);
		assert_int_equal(now.running, NVME_SELF_TEST_EXTENDED);
		assert_int_equal(now.percent, i * 40);
	}
	assert_int_equal(nvme_self_test_state(nvme, &now, &fail), 0);
	assert_int_equal(now.running, 0);
	assert_int_equal(now.kind, NVME_SELF_TEST_EXTENDED);
	assert_int_equal(now.result, NVME_SELF_TEST_FAILED);
	rig_detach();
}

/* --- firmware -------------------------------------------------------------------------------- */

enum { IMAGE_BYTES = 6 * 12288 };

static char *make_image(void)
{
	static char image[IMAGE_BYTES];

	fill(image, sizeof(image), 7);
	memcpy(image, "FIRMWARE2.0     ", 16);
	return image;
}

static void set_firmware(unsigned granularity)
{
	mock->identity.admin_commands = le16_of(NVME_OACS_FIRMWARE);
	mock->identity.firmware_updates = 3 << 1 | NVME_FRMW_NOW | NVME_FRMW_SLOT1_FIXED;
	mock->identity.firmware_granularity = (uint8_t)granularity;
}

/* Pieces of one page, of two (PRP 2), of three (a list of PRPs). */
static void test_firmware_pieces(void **state)
{
	static const unsigned granularities[] = {0, 1, 2, 3, 255};
	char *image = make_image();
	struct fail fail = {0};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(granularities); i++) {
		unsigned pages = granularities[i] && granularities[i] < 255 ? granularities[i] : 1;
		struct nvme_identity identity;

		set_firmware(granularities[i]);
		mock->silenced = false;
		mock->firmware.pieces = 0;
		rig_attach(0);
		nvme_identity(nvme, &identity);
		assert_int_equal(identity.firmware_slots, 3);
		assert_true(identity.firmware_now && identity.firmware_slot1_fixed);
		assert_int_equal(identity.firmware_granularity_bytes,
			granularities[i] % 255 ? granularities[i] * 4096 : 4);
		assert_int_equal(nvme_firmware_download(nvme, image, IMAGE_BYTES, &fail), 0);
		assert_int_equal(mock->firmware.pieces, IMAGE_BYTES / 4096 / pages);
		assert_int_equal(mock->firmware.image_bytes, IMAGE_BYTES);
		assert_memory_equal(mock->firmware.image, image, IMAGE_BYTES);
		/* The last piece may be shorter where nothing is said. */
		if (granularities[i] % 255 == 0) {
			assert_int_equal(nvme_firmware_download(nvme, image, 4100, &fail), 0);
			assert_int_equal(mock->firmware.image_bytes, 4100);
		}
		rig_detach();
	}
}

static void test_firmware_commit(void **state)
{
	enum nvme_firmware_effect effect;
	struct nvme_identity identity;
	char *image = make_image();
	struct fail fail = {0};

	(void)state;
	rig_attach(0);
	assert_int_equal(nvme_firmware_download(nvme, image, IMAGE_BYTES, &fail), -EOPNOTSUPP);
	rig_detach();
	set_firmware(1);
	mock->silenced = false;
	rig_attach(0);
	assert_int_equal(nvme_firmware_download(nvme, image, IMAGE_BYTES, &fail), 0);
	assert_int_equal(nvme_firmware_commit(nvme, 2, NVME_FIRMWARE_STORE, &effect, &fail), 0);
	assert_int_equal(effect, NVME_FIRMWARE_STORED);
	mock->firmware.needs = NVME_OK;
	assert_int_equal(nvme_firmware_commit(nvme, 2, NVME_FIRMWARE_NEXT, &effect, &fail), 0);
	assert_int_equal(effect, NVME_FIRMWARE_AFTER_RESET);
	mock->firmware.needs = NVME_NEEDS_CONTROLLER_RESET;
	assert_int_equal(nvme_firmware_commit(nvme, 2, NVME_FIRMWARE_NEXT, &effect, &fail), 0);
	assert_int_equal(effect, NVME_FIRMWARE_AFTER_RESET);
	mock->firmware.needs = NVME_NEEDS_SUBSYSTEM_RESET;
	assert_int_equal(nvme_firmware_commit(nvme, 2, NVME_FIRMWARE_NEXT, &effect, &fail), 0);
	assert_int_equal(effect, NVME_FIRMWARE_AFTER_POWER_OFF);
	assert_int_equal(nvme_firmware_commit(nvme, 2, NVME_FIRMWARE_NOW, &effect, &fail), 0);
	assert_int_equal(effect, NVME_FIRMWARE_ACTIVE);
	nvme_identity(nvme, &identity);
	assert_string_equal(identity.firmware, "2.0");
	assert_int_equal(nvme_firmware_commit(nvme, 3, NVME_FIRMWARE_NOW, &effect, &fail), -EIO);
	assert_non_null(strstr(fail.text, "firmware slot"));
	image[0] = 'X';
	assert_int_equal(nvme_firmware_download(nvme, image, IMAGE_BYTES, &fail), 0);
	assert_int_equal(nvme_firmware_commit(nvme, 3, NVME_FIRMWARE_STORE, &effect, &fail), -EIO);
	assert_non_null(strstr(fail.text, "not one for this drive"));
	rig_detach();
}

/* A piece that is never answered may still be read by the drive: its memory stays while the
 * controller is up. */
static void test_firmware_unanswered(void **state)
{
	char *image = make_image();
	struct fail fail = {0};

	(void)state;
	set_firmware(1);
	rig_attach(0);
	mock_rule(mock, (struct mock_rule){.admin = true,
				.opcode = NVME_FIRMWARE_DOWNLOAD,
				.after = 2,
				.action = MOCK_NEVER});
	assert_int_equal(nvme_firmware_download(nvme, image, IMAGE_BYTES, &fail), -ETIMEDOUT);
	assert_non_null(strstr(fail.text, "take a piece of firmware"));
	mock_answer(mock);
	mock_step(mock);
	assert_int_equal(mock->firmware.pieces, 3);
	assert_int_equal(mock->iommu_faults, 0);
	rig_detach();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(test_logs),
		RIG_TEST(test_format),
		RIG_TEST(test_sanitize),
		RIG_TEST(test_self_test),
		RIG_TEST(test_firmware_pieces),
		RIG_TEST(test_firmware_commit),
		RIG_TEST(test_firmware_unanswered),
	};

	unit_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
