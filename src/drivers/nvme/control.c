/* SPDX-License-Identifier: Apache-2.0 */
/* What an operator asks of a drive: its health and logs, self-tests, format and sanitize. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/nvme/queue.h"

enum { LOG_MAX_BYTES = 1 << 20, FORMAT_DEADLINE_MS = 3600 * 1000, DATA_UNIT_BYTES = 512000 };

/* --- logs ------------------------------------------------------------------------------------ */

static int read_log(
	struct nvme *nvme, struct nvme_command *command, char *to, size_t bytes, struct fail *fail)
{
	for (size_t at = 0; at < bytes; at += NVME_PAGE_BYTES) {
		size_t length = MIN(bytes - at, (size_t)NVME_PAGE_BYTES);
		uint32_t page = le32_get(command->cdw10) & 0xffff;
		int error;

		memset(nvme->admin.page, 0, NVME_PAGE_BYTES);
		command->cdw10 = le32_of((uint32_t)(length / 4 - 1) << 16 | page);
		command->cdw12 = le32_of((uint32_t)at);
		error = nvme_admin_execute(nvme, command, "show a log page", NULL, fail);
		if (error)
			return error;
		memcpy(to + at, nvme->admin.page, length);
	}
	return 0;
}

int nvme_log(
	struct nvme *nvme, unsigned page, uint32_t nsid, void *log, size_t bytes, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	struct nvme_command command = {.opcode = NVME_GET_LOG_PAGE,
		.nsid = le32_of(nsid),
		.prp1 = le64_of(nvme->admin.page_iova),
		.cdw10 = le32_of(page & 0xff)};

	assert(bytes && bytes % 4 == 0 && bytes <= LOG_MAX_BYTES);
	if (bytes > NVME_PAGE_BYTES && !(nvme->log_attributes & NVME_LPA_EXTENDED))
		return fail_set(fail, EINVAL, "drive %s shows only the first 4096 bytes of a log",
			nvme->identity.address);
	return read_log(nvme, &command, log, bytes, fail);
}

static uint64_t count_of(const le64 counter[2])
{
	return le64_get(counter[1]) ? UINT64_MAX : le64_get(counter[0]);
}

static uint64_t bytes_of(const le64 units[2])
{
	uint64_t count = count_of(units), bytes;

	return __builtin_mul_overflow(count, (uint64_t)DATA_UNIT_BYTES, &bytes) ? UINT64_MAX
										: bytes;
}

void nvme_smart_decode(const struct nvme_health *page, struct nvme_smart *smart)
{
	*smart = (struct nvme_smart){
		.warnings = page->warnings,
		.kelvin = nvme_health_kelvin(page),
		.spare_percent = page->spare_percent,
		.spare_threshold_percent = page->spare_threshold_percent,
		.used_percent = page->used_percent,
		.read_bytes = bytes_of(page->read_units),
		.written_bytes = bytes_of(page->written_units),
		.reads = count_of(page->reads),
		.writes = count_of(page->writes),
		.busy_minutes = count_of(page->busy_minutes),
		.power_cycles = count_of(page->power_cycles),
		.power_on_hours = count_of(page->power_on_hours),
		.unsafe_shutdowns = count_of(page->unsafe_shutdowns),
		.media_errors = count_of(page->media_errors),
		.error_entries = count_of(page->error_entries),
		.warning_minutes = le32_get(page->warning_minutes),
		.critical_minutes = le32_get(page->critical_minutes),
	};
	for (unsigned i = 0; i < ARRAY_SIZE(smart->sensor_kelvin); i++)
		smart->sensor_kelvin[i] = le16_get(page->sensor_kelvin[i]);
}

int nvme_smart(struct nvme *nvme, struct nvme_smart *smart, struct fail *fail)
{
	struct nvme_health page;
	int error = nvme_log(nvme, NVME_LOG_HEALTH, NVME_NSID_ALL, &page, sizeof(page), fail);

	if (!error)
		nvme_smart_decode(&page, smart);
	return error;
}

int nvme_self_test(struct nvme *nvme, unsigned kind, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	struct nvme_command command = {.opcode = NVME_DEVICE_SELF_TEST,
		.nsid = le32_of(NVME_NSID_ALL),
		.cdw10 = le32_of(kind & 0xf)};

	if (!nvme->identity.can_self_test)
		return fail_set(
			fail, EOPNOTSUPP, "drive %s has no self-test", nvme->identity.address);
	return nvme_admin_execute(nvme, &command,
		kind == NVME_SELF_TEST_ABORT ? "end its self-test" : "test itself", NULL, fail);
}

int nvme_self_test_state(struct nvme *nvme, struct nvme_test_state *state, struct fail *fail)
{
	struct nvme_self_test_log log;
	const struct nvme_self_test_result *last = &log.results[0];
	int error = nvme_log(nvme, NVME_LOG_SELF_TEST, NVME_NSID_ALL, &log, sizeof(log), fail);

	if (error)
		return error;
	*state = (struct nvme_test_state){.running = log.current & 0xf};
	if (state->running)
		state->percent = MIN(log.percent & 0x7fu, 100u);
	if ((last->status & 0xf) != NVME_SELF_TEST_NONE) {
		state->kind = last->status >> 4;
		state->result = last->status & 0xf;
	}
	return 0;
}

/* --- what destroys data ---------------------------------------------------------------------- */

/* The format without metadata and with such blocks that is the fastest; -1: there is none. */
static int choose_format(const struct nvme_namespace *namespace, uint32_t lba_bytes)
{
	int best = -1;

	for (unsigned i = 0; i < namespace->formats; i++) {
		const struct nvme_format_info *format = &namespace->format[i];

		if (format->lba_bytes != lba_bytes || format->metadata_bytes)
			continue;
		if (best < 0 || format->performance < namespace->format[best].performance)
			best = (int)i;
	}
	return best;
}

static int check_idle(struct nvme *nvme, struct fail *fail)
{
	if (!atomic_load(&nvme->open_queues))
		return 0;
	return fail_set(fail, EBUSY, "drive %s is in use: detach it, or delete what uses it, first",
		nvme->identity.address);
}

/* The devices as they are after a format. */
static int learn_devices(struct nvme *nvme, struct fail *fail)
{
	for (unsigned i = 0; i < nvme->device_count; i++) {
		struct nvme_device *device = nvme->devices[i], now;
		int error = nvme_identify_device(nvme, device->namespace.nsid, &now, fail);

		if (error)
			return error;
		memcpy(now.dev.user, device->dev.user, sizeof(now.dev.user));
		memcpy(now.dev.name, device->dev.name, sizeof(now.dev.name));
		atomic_store(&now.failed, atomic_load(&device->failed));
		pthread_mutex_lock(&nvme->note_lock);
		*device = now;
		pthread_mutex_unlock(&nvme->note_lock);
	}
	return 0;
}

int nvme_format(struct blockdev *dev, uint32_t lba_bytes, unsigned erase, struct fail *fail)
{
	struct nvme *nvme = nvme_of(dev);
	struct nvme_device *device = container_of(dev, struct nvme_device, dev);
	LOCK_SCOPE(&nvme->lock);
	const struct nvme_namespace *namespace = &device->namespace;
	int format = lba_bytes ? choose_format(namespace, lba_bytes) : (int)namespace->in_use;
	bool all = nvme->format_attributes & (erase ? NVME_FNA_ERASE_ALL : NVME_FNA_FORMAT_ALL);
	struct nvme_command command = {.opcode = NVME_FORMAT};
	int error = check_idle(nvme, fail);

	if (error)
		return error;
	if (!nvme->identity.can_format)
		return fail_set(
			fail, EOPNOTSUPP, "drive %s cannot be formatted", nvme->identity.address);
	if (erase == NVME_ERASE_CRYPTO && !nvme->identity.can_crypto_erase)
		return fail_set(fail, EOPNOTSUPP,
			"drive %s has no cryptographic erase: choose another way to erase",
			nvme->identity.address);
	if (format < 0)
		return fail_set(fail, EINVAL, "drive %s has no format with blocks of %u bytes",
			nvme->identity.address, lba_bytes);
	command.nsid = le32_of(all ? NVME_NSID_ALL : namespace->nsid);
	command.cdw10 = le32_of(
		((uint32_t)format & 0xf) | ((uint32_t)format >> 4) << 12 | (erase & 7) << 9);
	error = nvme_admin_execute_for(
		nvme, &command, FORMAT_DEADLINE_MS, "format itself", NULL, fail);
	return error ? error : learn_devices(nvme, fail);
}

int nvme_sanitize(struct nvme *nvme, unsigned action, unsigned passes, struct fail *fail)
{
	LOCK_SCOPE(&nvme->lock);
	const struct nvme_identity *identity = &nvme->identity;
	struct nvme_command command = {
		.opcode = NVME_SANITIZE, .cdw10 = le32_of((action & 7) | (passes & 0xf) << 4)};
	int error = check_idle(nvme, fail);
	bool can = action == NVME_SANITIZE_BLOCK       ? identity->can_sanitize_block
		   : action == NVME_SANITIZE_CRYPTO    ? identity->can_sanitize_crypto
		   : action == NVME_SANITIZE_OVERWRITE ? identity->can_sanitize_overwrite
						       : action == NVME_SANITIZE_EXIT_FAILURE;

	if (error)
		return error;
	if (!can)
		return fail_set(fail, EOPNOTSUPP, "drive %s cannot sanitize in this way",
			identity->address);
	return nvme_admin_execute(nvme, &command, "sanitize itself", NULL, fail);
}

int nvme_sanitize_state(struct nvme *nvme, struct nvme_sanitize_state *state, struct fail *fail)
{
	struct nvme_sanitize_log log;
	int error = nvme_log(nvme, NVME_LOG_SANITIZE, NVME_NSID_ALL, &log, sizeof(log), fail);
	uint32_t seconds;

	if (error)
		return error;
	*state = (struct nvme_sanitize_state){
		.status = le16_get(log.status) & 7, .action = le32_get(log.command) & 7};
	state->per_thousand = state->status == NVME_SANITIZE_RUNNING
				      ? le16_get(log.progress) * 1000u >> 16
				      : 1000;
	seconds = le32_get(state->action == NVME_SANITIZE_OVERWRITE ? log.overwrite_seconds
			   : state->action == NVME_SANITIZE_BLOCK   ? log.block_seconds
								    : log.crypto_seconds);
	state->seconds = seconds == UINT32_MAX ? 0 : seconds;
	return 0;
}
