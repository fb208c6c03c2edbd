/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New firmware (base 3.11, 5.1.8, 5.1.9): the image in pieces, and then what becomes of it.
 *
 * A piece is as large as the granularity that the drive asks for, which may be more than a page:
 * then its pages go behind PRPs of a memory of its own.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "drivers/nvme/queue.h"
#include "memory/memory.h"

/* Memory that the drive reads: the pages of a piece, and a page with their addresses. A piece that
 * was not answered may still be read, so it goes with the controller only. With the lock. */
static int piece_map(struct nvme *nvme, struct fail *fail)
{
	size_t bytes = MAX(nvme->identity.firmware_granularity_bytes, (uint32_t)NVME_PAGE_BYTES);
	char *memory;
	int error;

	assert(bytes % NVME_PAGE_BYTES == 0);
	if (nvme->piece && nvme->piece_bytes == bytes)
		return 0;
	nvme_piece_unmap(nvme); /* another firmware has another granularity, after a reset */
	memory = memory_map(bytes + NVME_PAGE_BYTES, NULL);
	if (!memory)
		return fail_set(fail, ENOMEM, "no memory for a piece of firmware");
	error = dma_register(memory, bytes + NVME_PAGE_BYTES, "a piece of firmware", fail);
	if (error) {
		memory_unmap(memory, bytes + NVME_PAGE_BYTES);
		return error;
	}
	nvme->piece = memory;
	nvme->piece_bytes = bytes;
	return 0;
}

void nvme_piece_unmap(struct nvme *nvme)
{
	if (!nvme->piece)
		return;
	dma_unregister(nvme->piece);
	memory_unmap(nvme->piece, nvme->piece_bytes + NVME_PAGE_BYTES);
	nvme->piece = NULL;
}

static void set_prps(struct nvme_command *command, const struct nvme *nvme)
{
	struct dma_cache cache = {0};
	le64 *list = (void *)(nvme->piece + nvme->piece_bytes);
	size_t pages = nvme->piece_bytes / NVME_PAGE_BYTES;
	uint64_t iova = 0;

	for (size_t i = 0; i < pages; i++) {
		dma_find(&cache, nvme->piece + i * NVME_PAGE_BYTES, 1, &iova);
		if (i)
			list[i - 1] = le64_of(iova);
		else
			command->prp1 = le64_of(iova);
	}
	if (pages == 2)
		command->prp2 = list[0];
	dma_find(&cache, list, 1, &iova);
	if (pages > 2)
		command->prp2 = le64_of(iova);
}

static int send_piece(
	struct nvme *nvme, const char *image, size_t offset, size_t bytes, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	struct nvme_command command = {.opcode = NVME_FIRMWARE_DOWNLOAD,
		.cdw10 = le32_of((uint32_t)(MIN(bytes, nvme->piece_bytes) / 4 - 1)),
		.cdw11 = le32_of((uint32_t)(offset / 4))};

	memcpy(nvme->piece, image + offset, MIN(bytes, nvme->piece_bytes));
	set_prps(&command, nvme);
	return nvme_admin_execute_for(
		nvme, &command, NVME_FIRMWARE_DEADLINE_MS, "take a piece of firmware", NULL, fail);
}

static int prepare(struct nvme *nvme, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);

	if (!nvme->identity.firmware_slots)
		return fail_set(
			fail, EOPNOTSUPP, "drive %s takes no firmware", nvme->identity.address);
	return piece_map(nvme, fail);
}

/* The lock is let go of between two pieces: the watcher looks at the drive as ever. */
int nvme_firmware_download(struct nvme *nvme, const void *image, size_t bytes, struct fail *fail)
{
	int error = prepare(nvme, fail);

	assert(bytes && bytes % 4 == 0 && bytes <= UINT32_MAX);
	for (size_t at = 0; at < bytes && !error; at += nvme->piece_bytes)
		error = send_piece(nvme, image, at, bytes - at, fail);
	return error;
}

/* The lock is held. */
static int learn_revision(struct nvme *nvme, struct fail *fail)
{
	const struct nvme_identify_controller *data = (void *)nvme->admin.page;
	struct nvme_command command = {.opcode = NVME_IDENTIFY,
		.prp1 = le64_of(nvme->admin.page_iova),
		.cdw10 = le32_of(NVME_IDENTIFY_CONTROLLER)};
	char revision[NVME_FIRMWARE_BYTES];
	int error = nvme_admin_execute(nvme, &command, "identify its controller", NULL, fail);

	if (error)
		return error;
	memcpy(revision, data->firmware, sizeof(revision));
	LOCK_SCOPE(&nvme->note_lock);
	nvme_text(nvme->identity.firmware, revision, sizeof(revision));
	return 0;
}

int nvme_firmware_commit(struct nvme *nvme, unsigned slot, unsigned action,
	enum nvme_firmware_effect *effect, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	struct nvme_command command = {
		.opcode = NVME_FIRMWARE_COMMIT, .cdw10 = le32_of((slot & 7) | (action & 7) << 3)};
	uint64_t deadline_ms = NVME_FIRMWARE_DEADLINE_MS + nvme->activation_ms;
	struct fail refused = {0};
	unsigned status = NVME_OK;
	int error = nvme_admin_execute_for(
		nvme, &command, deadline_ms, "use its new firmware", NULL, &refused);

	if (error == -EIO && nvme->admin.answered)
		status = nvme_status_code(nvme_status_of(&nvme->admin.answer));
	switch (status) {
	case NVME_NEEDS_CONTROLLER_RESET:
		*effect = NVME_FIRMWARE_AFTER_RESET;
		return 0;
	case NVME_NEEDS_CONVENTIONAL_RESET:
	case NVME_NEEDS_SUBSYSTEM_RESET:
		*effect = NVME_FIRMWARE_AFTER_POWER_OFF;
		return 0;
	}
	if (error) {
		*fail = refused;
		return error;
	}
	*effect = action == NVME_FIRMWARE_STORE ? NVME_FIRMWARE_STORED
		  : action == NVME_FIRMWARE_NOW ? NVME_FIRMWARE_ACTIVE
						: NVME_FIRMWARE_AFTER_RESET;
	return *effect == NVME_FIRMWARE_ACTIVE ? learn_revision(nvme, fail) : 0;
}
