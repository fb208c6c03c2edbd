/* SPDX-License-Identifier: Apache-2.0 */
/* The admin commands of the mock, but for asynchronous events, which wait in mock.c. */
#include <string.h>

#include "base/bits.h"
#include "tests/mock_nvme/mock.h"

/* Sends what a command asks for. */
static unsigned answer(
	struct mock *mock, const struct nvme_command *command, const void *data, size_t bytes)
{
	struct mock_piece pieces[MOCK_PIECES_MAX];
	unsigned count = mock_pieces(mock, command, bytes, pieces);
	const char *at = data;

	for (unsigned i = 0; i < count; i++) {
		memcpy(pieces[i].memory, at, pieces[i].bytes);
		at += pieces[i].bytes;
	}
	return count ? NVME_OK : NVME_DATA_TRANSFER_ERROR;
}

static unsigned identify_namespace(struct mock *mock, const struct nvme_command *command)
{
	uint32_t nsid = le32_get(command->nsid);
	struct nvme_identify_namespace data = {.formats = 2 - 1};
	const struct mock_namespace *namespace;

	if (!nsid || nsid > MOCK_NAMESPACES)
		return NVME_INVALID_NAMESPACE;
	namespace = &mock->namespaces[nsid - 1];
	if (!namespace->present)
		return answer(mock, command, &data, sizeof(data)); /* all zero: not active */
	data.blocks = data.capacity = data.used = le64_of(namespace->lbas);
	data.deallocate = namespace->deallocate;
	data.lba_formats[0].data_shift = 9;
	data.lba_formats[1].data_shift = 12;
	data.format = namespace->lba_shift == 12;
	if (namespace->lba_shift != 9 && namespace->lba_shift != 12)
		data.lba_formats[0].data_shift = (uint8_t) namespace->lba_shift;
	data.lba_formats[data.format].metadata_bytes = le16_of(namespace->metadata_bytes);
	memcpy(data.nguid, namespace->nguid, sizeof(data.nguid));
	memcpy(data.eui64, namespace->eui64, sizeof(data.eui64));
	return answer(mock, command, &data, sizeof(data));
}

static unsigned add_descriptor(
	uint8_t *page, unsigned at, unsigned type, const uint8_t *value, unsigned bytes)
{
	page[at] = (uint8_t)type;
	page[at + 1] = (uint8_t)bytes;
	memcpy(page + at + 4, value, bytes);
	return at + 4 + bytes;
}

static unsigned identify_descriptors(struct mock *mock, const struct nvme_command *command)
{
	static const uint8_t none[16];
	uint32_t nsid = le32_get(command->nsid);
	uint8_t page[NVME_IDENTIFY_BYTES] = {0};
	const struct mock_namespace *namespace;
	unsigned at = 0;

	if (!nsid || nsid > MOCK_NAMESPACES || !mock->namespaces[nsid - 1].present)
		return NVME_INVALID_NAMESPACE;
	namespace = &mock->namespaces[nsid - 1];
	if (memcmp(namespace->eui64, none, 8) != 0)
		at = add_descriptor(page, at, NVME_DESCRIPTOR_EUI64, namespace->eui64, 8);
	if (memcmp(namespace->uuid, none, 16) != 0)
		at = add_descriptor(page, at, NVME_DESCRIPTOR_UUID, namespace->uuid, 16);
	if (memcmp(namespace->nguid, none, 16) != 0)
		at = add_descriptor(page, at, NVME_DESCRIPTOR_NGUID, namespace->nguid, 16);
	add_descriptor(page, at, NVME_DESCRIPTOR_CSI, &namespace->command_set, 1);
	return answer(mock, command, page, sizeof(page));
}

static unsigned identify(struct mock *mock, const struct nvme_command *command)
{
	le32 list[1024] = {0};
	unsigned count = 0;

	switch (le32_get(command->cdw10) & 0xff) {
	case NVME_IDENTIFY_CONTROLLER:
		return answer(mock, command, &mock->identity, sizeof(mock->identity));
	case NVME_IDENTIFY_NAMESPACE:
		return identify_namespace(mock, command);
	case NVME_IDENTIFY_DESCRIPTORS:
		return identify_descriptors(mock, command);
	case NVME_IDENTIFY_NVM_CONTROLLER:
		return answer(mock, command, &mock->limits, sizeof(mock->limits));
	case NVME_IDENTIFY_NAMESPACES:
		for (unsigned i = 0; i < MOCK_NAMESPACES; i++)
			if (mock->namespaces[i].present)
				list[count++] = le32_of(i + 1);
		return answer(mock, command, list, sizeof(list));
	default:
		return NVME_INVALID_FIELD;
	}
}

static unsigned create_queue(struct mock *mock, const struct nvme_command *command)
{
	unsigned id = le32_get(command->cdw10) & 0xffff;
	unsigned entries = (le32_get(command->cdw10) >> 16) + 1;
	unsigned other = le32_get(command->cdw11) >> 16;

	if (!id || id >= MOCK_QUEUES || id > mock->queues_granted)
		return NVME_INVALID_QUEUE;
	if (entries < 2 || !(le32_get(command->cdw11) & NVME_QUEUE_CONTIGUOUS))
		return NVME_INVALID_QUEUE_SIZE;
	if (command->opcode == NVME_CREATE_CQ) {
		if (mock->completions[id].there)
			return NVME_INVALID_QUEUE;
		mock->completions[id] = (struct mock_completion){.there = true,
			.iova = le64_get(command->prp1),
			.entries = entries,
			.phase = 1};
	} else {
		if (mock->submissions[id].there || other >= MOCK_QUEUES ||
			!mock->completions[other].there)
			return NVME_INVALID_QUEUE;
		mock->submissions[id] = (struct mock_submission){.there = true,
			.iova = le64_get(command->prp1),
			.entries = entries,
			.completion = other};
	}
	return NVME_OK;
}

static unsigned set_features(
	struct mock *mock, const struct nvme_command *command, uint32_t *result)
{
	unsigned granted = mock->queues_granted - 1;

	if ((le32_get(command->cdw10) & 0xff) == NVME_FEATURE_QUEUES)
		*result = granted << 16 | granted;
	return NVME_OK;
}

static unsigned get_log(struct mock *mock, const struct nvme_command *command)
{
	size_t bytes = ((le32_get(command->cdw10) >> 16) + 1) * 4u;
	unsigned page = le32_get(command->cdw10) & 0xff;
	char data[4096] = {0};

	if (bytes > sizeof(data))
		return NVME_INVALID_FIELD;
	if (page == NVME_LOG_HEALTH)
		memcpy(data, &mock->health, sizeof(mock->health));
	else if (!mock_care_log(mock, page, data))
		memset(data, (int)(page + le32_get(command->cdw12) / 4096), sizeof(data));
	return answer(mock, command, data, bytes);
}

static unsigned format(struct mock *mock, const struct nvme_command *command)
{
	uint32_t nsid = le32_get(command->nsid);
	unsigned shift = le32_get(command->cdw10) & 0xf ? 12 : 9;

	mock->formats++;
	if (mock->format_fails)
		return NVME_INVALID_FORMAT;
	for (unsigned i = 0; i < MOCK_NAMESPACES; i++) {
		struct mock_namespace *namespace = &mock->namespaces[i];

		if (!namespace->present || (nsid != NVME_NSID_ALL && nsid != i + 1))
			continue;
		namespace->lba_shift = shift;
		namespace->lbas = namespace->bytes >> shift;
		memset(namespace->data, 0, namespace->bytes);
	}
	return NVME_OK;
}

unsigned mock_admin(struct mock *mock, const struct nvme_command *command, uint32_t *result)
{
	switch (command->opcode) {
	case NVME_IDENTIFY:
		return identify(mock, command);
	case NVME_CREATE_CQ:
	case NVME_CREATE_SQ:
		return create_queue(mock, command);
	case NVME_SET_FEATURES:
		return set_features(mock, command, result);
	case NVME_GET_LOG_PAGE:
		return get_log(mock, command);
	case NVME_ABORT:
		mock->aborts++;
		*result = !mock_abort(
			mock, le32_get(command->cdw10) & 0xffff, le32_get(command->cdw10) >> 16);
		return NVME_OK;
	case NVME_FORMAT:
		return format(mock, command);
	case NVME_SANITIZE:
	case NVME_DEVICE_SELF_TEST:
	case NVME_FIRMWARE_DOWNLOAD:
	case NVME_FIRMWARE_COMMIT:
		return mock_care(mock, command);
	default:
		mock->bad_commands++;
		return NVME_INVALID_OPCODE;
	}
}
