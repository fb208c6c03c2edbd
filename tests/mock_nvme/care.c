/* SPDX-License-Identifier: Apache-2.0 */
/* What the mock does for an operator: sanitize, self-tests, firmware, and their logs. */
#include <string.h>

#include "base/bits.h"
#include "tests/mock_nvme/mock.h"

/* --- sanitize -------------------------------------------------------------------------------- */

static unsigned sanitize(struct mock *mock, const struct nvme_command *command)
{
	uint32_t cdw10 = le32_get(command->cdw10);
	static const uint32_t abilities[] = {[NVME_SANITIZE_BLOCK] = NVME_SANICAP_BLOCK,
		[NVME_SANITIZE_OVERWRITE] = NVME_SANICAP_OVERWRITE,
		[NVME_SANITIZE_CRYPTO] = NVME_SANICAP_CRYPTO};
	unsigned action = cdw10 & 7;

	if (mock->sanitize.status == NVME_SANITIZE_RUNNING)
		return NVME_SANITIZE_IN_PROGRESS;
	if (action < NVME_SANITIZE_BLOCK || action > NVME_SANITIZE_CRYPTO ||
		!(le32_get(mock->identity.sanitize) & abilities[action]))
		return NVME_INVALID_FIELD;
	mock->sanitize.status = NVME_SANITIZE_RUNNING;
	mock->sanitize.action = action;
	mock->sanitize.passes = cdw10 >> 4 & 0xf;
	mock->sanitize.progress = 0;
	return NVME_OK;
}

static void end_sanitize(struct mock *mock)
{
	mock->sanitize.status = mock->sanitize.fails ? NVME_SANITIZE_BROKEN : NVME_SANITIZE_DONE;
	for (unsigned i = 0; i < MOCK_NAMESPACES && !mock->sanitize.fails; i++)
		if (mock->namespaces[i].present)
			memset(mock->namespaces[i].data, 0, mock->namespaces[i].bytes);
}

static void log_sanitize(struct mock *mock, struct nvme_sanitize_log *log)
{
	unsigned status = mock->sanitize.status;
	uint16_t progress = (uint16_t)MIN(mock->sanitize.progress, 65535u);

	*log = (struct nvme_sanitize_log){
		.progress = le16_of(status == NVME_SANITIZE_RUNNING ? progress : 65535),
		.status = le16_of((uint16_t)status),
		.command = le32_of(mock->sanitize.action | mock->sanitize.passes << 4),
		.overwrite_seconds = le32_of(7200),
		.block_seconds = le32_of(60),
		.crypto_seconds = le32_of(UINT32_MAX),
	};
	if (status != NVME_SANITIZE_RUNNING)
		return;
	mock->sanitize.progress += mock->sanitize.step;
	if (mock->sanitize.progress >= 65536)
		end_sanitize(mock);
}

/* --- self-test ------------------------------------------------------------------------------- */

static void end_self_test(struct mock *mock, unsigned outcome)
{
	struct nvme_self_test_result *results = mock->self_test.results;

	memmove(results + 1, results, sizeof(mock->self_test.results) - sizeof(*results));
	*results = (struct nvme_self_test_result){
		.status = (uint8_t)(mock->self_test.running << 4 | outcome),
		.segment = outcome == NVME_SELF_TEST_FAILED ? 3 : 0,
		.power_on_hours = {0x34, 0x12}};
	mock->self_test.count = MIN(mock->self_test.count + 1, 20u);
	mock->self_test.running = 0;
}

static unsigned self_test(struct mock *mock, const struct nvme_command *command)
{
	unsigned kind = le32_get(command->cdw10) & 0xf;

	if (kind == NVME_SELF_TEST_ABORT) {
		if (mock->self_test.running)
			end_self_test(mock, NVME_SELF_TEST_ABORTED);
		return NVME_OK;
	}
	if (mock->self_test.running)
		return NVME_SELF_TEST_IN_PROGRESS;
	mock->self_test.running = kind;
	mock->self_test.percent = 0;
	return NVME_OK;
}

static void log_self_test(struct mock *mock, struct nvme_self_test_log *log)
{
	*log = (struct nvme_self_test_log){.current = (uint8_t)mock->self_test.running,
		.percent = (uint8_t)MIN(mock->self_test.percent, 100u)};
	for (unsigned i = 0; i < 20; i++) {
		log->results[i].status = NVME_SELF_TEST_NONE;
		if (i < mock->self_test.count)
			log->results[i] = mock->self_test.results[i];
	}
	if (!mock->self_test.running)
		return;
	mock->self_test.percent += mock->self_test.step;
	if (mock->self_test.percent >= 100)
		end_self_test(mock, mock->self_test.outcome);
}

/* --- firmware -------------------------------------------------------------------------------- */

static unsigned download(struct mock *mock, const struct nvme_command *command)
{
	size_t bytes = (le32_get(command->cdw10) + 1) * (size_t)4;
	size_t offset = (size_t)le32_get(command->cdw11) * 4;
	size_t granularity = mock->identity.firmware_granularity * (size_t)4096;
	struct mock_piece pieces[MOCK_PIECES_MAX];
	unsigned count;

	if (granularity && granularity < (size_t)255 * 4096 &&
		(bytes % granularity || offset % granularity))
		return NVME_INVALID_FIELD;
	if (offset + bytes > sizeof(mock->firmware.image))
		return NVME_INVALID_FIELD;
	if (offset && offset != mock->firmware.image_bytes)
		return NVME_OVERLAPPING_RANGE;
	count = mock_pieces(mock, command, bytes, pieces);
	if (!count)
		return NVME_DATA_TRANSFER_ERROR;
	mock->firmware.image_bytes = offset;
	for (unsigned i = 0; i < count; i++) {
		memcpy(mock->firmware.image + mock->firmware.image_bytes, pieces[i].memory,
			pieces[i].bytes);
		mock->firmware.image_bytes += pieces[i].bytes;
	}
	mock->firmware.pieces++;
	return NVME_OK;
}

static void activate(struct mock *mock, unsigned slot)
{
	mock->firmware.active = slot;
	mock->firmware.next = 0;
	memcpy(mock->identity.firmware, mock->firmware.slots[slot - 1], NVME_FIRMWARE_BYTES);
}

static unsigned commit(struct mock *mock, const struct nvme_command *command)
{
	unsigned slot = le32_get(command->cdw10) & 7, action = le32_get(command->cdw10) >> 3 & 7;
	char *text = slot ? mock->firmware.slots[slot - 1] : NULL;
	bool store = action != NVME_FIRMWARE_NEXT && mock->firmware.image_bytes;

	if (!slot || slot > (mock->identity.firmware_updates >> 1 & 7u))
		return NVME_INVALID_SLOT;
	if (store && memcmp(mock->firmware.image, "FIRMWARE", 8) != 0)
		return NVME_INVALID_IMAGE;
	if (store)
		memcpy(text, mock->firmware.image + 8, NVME_FIRMWARE_BYTES);
	mock->firmware.image_bytes = 0;
	if (!text[0])
		return NVME_INVALID_SLOT;
	if (action == NVME_FIRMWARE_NOW)
		activate(mock, slot);
	if (action != NVME_FIRMWARE_STORE_NEXT && action != NVME_FIRMWARE_NEXT)
		return NVME_OK;
	mock->firmware.next = slot;
	return mock->firmware.needs;
}

void mock_care_reset(struct mock *mock)
{
	if (mock->firmware.next)
		activate(mock, mock->firmware.next);
}

static void log_firmware(const struct mock *mock, struct nvme_firmware_log *log)
{
	*log = (struct nvme_firmware_log){
		.active = (uint8_t)(mock->firmware.active | mock->firmware.next << 4)};
	memcpy(log->slots, mock->firmware.slots, sizeof(log->slots));
}

/* --- all of it ------------------------------------------------------------------------------- */

bool mock_care_log(struct mock *mock, unsigned page, void *log)
{
	switch (page) {
	case NVME_LOG_SANITIZE:
		log_sanitize(mock, log);
		return true;
	case NVME_LOG_SELF_TEST:
		log_self_test(mock, log);
		return true;
	case NVME_LOG_FIRMWARE:
		log_firmware(mock, log);
		return true;
	}
	return false;
}

unsigned mock_care(struct mock *mock, const struct nvme_command *command)
{
	switch (command->opcode) {
	case NVME_SANITIZE:
		return sanitize(mock, command);
	case NVME_DEVICE_SELF_TEST:
		return self_test(mock, command);
	case NVME_FIRMWARE_DOWNLOAD:
		return download(mock, command);
	default:
		return commit(mock, command);
	}
}
