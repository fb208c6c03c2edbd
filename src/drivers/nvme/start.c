/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a controller in any state to one that takes I/O, and back (base 3.5, 3.6).
 *
 *	disable, wait -> admin queue -> enable, wait -> identify -> queue count -> events -> queues
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/nvme/queue.h"
#include "drivers/nvme/ring.h"

enum { CAP_TIMEOUT_MS = 500, TRANSFER_MAX_BYTES = 256 << 10 };

bool nvme_answers(struct nvme *nvme)
{
	return nvme->bus && nvme_read32(nvme->bus, NVME_CSTS) != NVME_REGISTER_GONE;
}

/* Waits until CSTS.RDY is `ready`. */
static int await_ready(struct nvme *nvme, uint32_t ready, uint64_t limit_ms)
{
	uint64_t timeout_ms = nvme_cap_timeout(nvme->cap) * CAP_TIMEOUT_MS;
	uint64_t deadline =
		nvme_now_ns(nvme) + MIN(timeout_ms + CAP_TIMEOUT_MS, limit_ms) * 1000000;

	for (;;) {
		uint32_t csts = nvme_read32(nvme->bus, NVME_CSTS);

		if (csts == NVME_REGISTER_GONE)
			return -ENODEV;
		if ((csts & NVME_CSTS_READY) == ready)
			return 0;
		if (ready && csts & NVME_CSTS_FATAL)
			return -EIO;
		if (nvme_now_ns(nvme) >= deadline)
			return -ETIMEDOUT;
		nvme->bus->ops->pause(nvme->bus);
	}
}

int nvme_disable(struct nvme *nvme)
{
	uint32_t cc = nvme_read32(nvme->bus, NVME_CC);

	if (cc == NVME_REGISTER_GONE)
		return -ENODEV;
	if (cc & NVME_CC_ENABLE)
		nvme_write32(nvme->bus, NVME_CC,
			cc & ~(uint32_t)(NVME_CC_ENABLE | NVME_CC_SHUTDOWN_MASK));
	return await_ready(nvme, 0, NVME_DISABLE_MAX_MS);
}

void nvme_shut_down(struct nvme *nvme)
{
	uint64_t deadline = nvme_now_ns(nvme) + nvme->options.admin_deadline_ms * 1000000ull;
	uint32_t cc = nvme_read32(nvme->bus, NVME_CC), csts;

	if (cc == NVME_REGISTER_GONE || !(cc & NVME_CC_ENABLE))
		return;
	nvme_write32(nvme->bus, NVME_CC,
		(cc & ~(uint32_t)NVME_CC_SHUTDOWN_MASK) | NVME_CC_SHUTDOWN_NORMAL);
	do {
		csts = nvme_read32(nvme->bus, NVME_CSTS);
		if (csts == NVME_REGISTER_GONE)
			return;
		if ((csts & NVME_CSTS_SHUTDOWN_MASK) == NVME_CSTS_SHUTDOWN_DONE)
			break;
		nvme->bus->ops->pause(nvme->bus);
	} while (nvme_now_ns(nvme) < deadline);
	nvme_disable(nvme);
}

/* --- what it can ----------------------------------------------------------------------------- */

int nvme_check(struct nvme *nvme, struct fail *fail)
{
	const char *address = nvme->identity.address;
	uint64_t cap = nvme_read64(nvme->bus, NVME_CAP);
	unsigned queues;
	size_t doorbells_end;

	if (cap == UINT64_MAX)
		return fail_set(
			fail, ENODEV, "drive %s does not answer: is it plugged in?", address);
	if (!nvme->entries)
		nvme->entries = MIN(nvme_cap_mqes(cap) + 1, (unsigned)NVME_QUEUE_ENTRIES);
	nvme->cap = cap;
	if (nvme_cap_page_min(cap) > 0)
		return fail_set(fail, EINVAL,
			"drive %s wants memory pages of %u bytes at least; braid has 4096", address,
			4096u << nvme_cap_page_min(cap));
	if (!(nvme_cap_sets(cap) & (NVME_CAP_SETS_NVM | NVME_CAP_SETS_IO)))
		return fail_set(
			fail, EINVAL, "drive %s does not have the NVM command set", address);
	if (nvme->entries < NVME_ADMIN_ENTRIES || nvme_cap_mqes(cap) + 1 < nvme->entries)
		return fail_set(fail, EINVAL, "drive %s takes queues of %u entries only", address,
			nvme_cap_mqes(cap) + 1);
	queues = MAX(nvme->queue_count, 1u);
	doorbells_end = nvme_doorbell_completion(queues, nvme_cap_stride(cap)) + 4;
	if (doorbells_end > nvme->bus->register_bytes)
		return fail_set(fail, EINVAL,
			"drive %s has %zu bytes of registers, too few for %u queues", address,
			nvme->bus->register_bytes, queues);
	return 0;
}

static int enable(struct nvme *nvme, struct fail *fail)
{
	bool nvm_only = nvme_cap_sets(nvme->cap) & NVME_CAP_SETS_NVM;
	uint32_t cc = NVME_CC_SQES_64 | NVME_CC_CQES_16 | 0u << NVME_CC_PAGE_SHIFT |
		      (nvm_only ? NVME_CC_SETS_NVM : NVME_CC_SETS_ALL);
	int error;

	nvme_admin_reset(nvme);
	nvme_write32(
		nvme->bus, NVME_AQA, (NVME_ADMIN_ENTRIES - 1) << 16 | (NVME_ADMIN_ENTRIES - 1));
	nvme_write64(nvme->bus, NVME_ASQ, nvme->admin.ring.submission_iova);
	nvme_write64(nvme->bus, NVME_ACQ, nvme->admin.ring.completion_iova);
	nvme_before_doorbell();
	nvme_write32(nvme->bus, NVME_CC, cc | NVME_CC_ENABLE);
	error = await_ready(nvme, NVME_CSTS_READY, NVME_READY_MAX_MS);
	if (!error)
		return 0;
	return fail_set(fail, -error,
		error == -ETIMEDOUT ? "drive %s has not become ready in time: power-cycle it"
		: error == -EIO	    ? "drive %s reports a fatal error of its controller: "
				      "power-cycle it, or replace it"
				    : "drive %s does not answer any more: is it plugged in?",
		nvme->identity.address);
}

void nvme_text(char *to, const char *field, size_t bytes)
{
	size_t length = 0, first = 0;

	while (first < bytes && (field[first] == ' ' || !field[first]))
		first++;
	for (size_t i = first; i < bytes; i++)
		to[length++] = isprint((unsigned char)field[i]) ? field[i] : ' ';
	while (length && to[length - 1] == ' ')
		length--;
	to[length] = '\0';
}

static uint8_t sgl_unit(uint32_t sgls)
{
	switch (sgls & NVME_SGLS_UNIT_MASK) {
	case NVME_SGLS_BYTES:
		return 1;
	case NVME_SGLS_DWORDS:
		return sizeof(le32);
	default:
		return 0;
	}
}

static void learn_firmware(struct nvme *nvme, const struct nvme_identify_controller *data)
{
	struct nvme_identity *identity = &nvme->identity;
	bool can = le16_get(data->admin_commands) & NVME_OACS_FIRMWARE;
	unsigned granularity = data->firmware_granularity;

	identity->firmware_slots = can ? data->firmware_updates >> 1 & 7 : 0;
	identity->firmware_slot1_fixed = data->firmware_updates & NVME_FRMW_SLOT1_FIXED;
	identity->firmware_now = data->firmware_updates & NVME_FRMW_NOW;
	/* What is not said, or without a limit, is still counted in dwords. */
	identity->firmware_granularity_bytes =
		granularity && granularity < 255 ? granularity * 4096 : 4;
	nvme->activation_ms = le16_get(data->firmware_activation_100ms) * 100u;
}

static void learn(struct nvme *nvme, const struct nvme_identify_controller *data)
{
	struct nvme_identity *identity = &nvme->identity;
	unsigned oacs = le16_get(data->admin_commands);
	uint32_t sanicap = le32_get(data->sanitize);
	le64 capacity[2];
	LOCK_SCOPE(&nvme->note_lock);

	nvme_text(identity->serial, data->serial, sizeof(data->serial));
	nvme_text(identity->model, data->model, sizeof(data->model));
	nvme_text(identity->firmware, data->firmware, sizeof(data->firmware));
	identity->pci_vendor = le16_get(data->vendor);
	identity->version = le32_get(data->version);
	identity->volatile_cache = data->volatile_cache & NVME_VWC_PRESENT;
	identity->can_format = oacs & NVME_OACS_FORMAT;
	identity->can_self_test = oacs & NVME_OACS_SELF_TEST;
	identity->can_crypto_erase = data->format_attributes & NVME_FNA_CRYPTO;
	identity->can_sanitize_block = sanicap & NVME_SANICAP_BLOCK;
	identity->can_sanitize_crypto = sanicap & NVME_SANICAP_CRYPTO;
	identity->can_sanitize_overwrite = sanicap & NVME_SANICAP_OVERWRITE;
	identity->warning_kelvin = le16_get(data->warning_kelvin);
	identity->critical_kelvin = le16_get(data->critical_kelvin);
	identity->error_entries = data->error_entries + 1u;
	identity->self_test_minutes = le16_get(data->self_test_minutes);
	learn_firmware(nvme, data);
	memcpy(capacity, data->total_capacity, sizeof(capacity));
	identity->capacity_bytes = le64_get(capacity[1]) ? UINT64_MAX : le64_get(capacity[0]);
	nvme->io_commands = le16_get(data->io_commands);
	nvme->format_attributes = data->format_attributes;
	nvme->log_attributes = data->log_attributes;
	nvme->sgl_unit = sgl_unit(le32_get(data->sgls));
	nvme->admin.event_limit = MIN(data->event_limit + 1u, (unsigned)NVME_ADMIN_EVENTS);
	/* mdts counts pages of the least size, which is 4096 here: base 5.1.13.2.1. */
	nvme->transfer_bytes = TRANSFER_MAX_BYTES;
	if (data->mdts && data->mdts < 16)
		nvme->transfer_bytes = MIN(4096u << data->mdts, nvme->transfer_bytes);
	identity->transfer_bytes_max = nvme->transfer_bytes;
}

static int identify(struct nvme *nvme, struct fail *fail)
{
	struct nvme_command command = {.opcode = NVME_IDENTIFY,
		.prp1 = le64_of(nvme->admin.page_iova),
		.cdw10 = le32_of(NVME_IDENTIFY_CONTROLLER)};
	struct nvme_identify_controller data;
	struct nvme_identify_nvm_controller limits;
	int error = nvme_admin_execute(nvme, &command, "identify its controller", NULL, fail);

	if (error)
		return error;
	/* Copied once: the drive can still write into the page. */
	memcpy(&data, nvme->admin.page, sizeof(data));
	if (data.controller_type > NVME_CONTROLLER_IO)
		return fail_set(fail, EINVAL,
			"drive %s is an administrative or discovery controller without storage",
			nvme->identity.address);
	if ((data.sqes & 0xf) > 6 || (data.cqes & 0xf) > 4)
		return fail_set(fail, EINVAL, "drive %s wants queue entries larger than 64 and 16",
			nvme->identity.address);
	learn(nvme, &data);
	nvme->zeroes_bytes = nvme->transfer_bytes;
	nvme->dataset_lbas = 0;
	command.cdw10 = le32_of(NVME_IDENTIFY_NVM_CONTROLLER);
	/* Older ones do not know this page: then the limit is that of transfers. */
	if (nvme_admin_execute(nvme, &command, "identify its limits", NULL, NULL))
		return nvme->admin_stuck ? fail_set(fail, EIO, "drive %s does not answer",
						   nvme->identity.address)
					 : 0;
	memcpy(&limits, nvme->admin.page, sizeof(limits));
	if (limits.write_zeroes_limit && limits.write_zeroes_limit < 20)
		nvme->zeroes_bytes = 4096u << limits.write_zeroes_limit;
	nvme->dataset_lbas = le32_get(limits.dsm_range_blocks);
	return 0;
}

/* --- queues ---------------------------------------------------------------------------------- */

/* One for each reactor, as far as doorbells lie within the registers. */
static unsigned queues_to_ask_for(const struct nvme *nvme)
{
	unsigned stride = nvme_cap_stride(nvme->cap), wanted = reactor_count(nvme->options.group);

	while (wanted > 1 &&
		nvme_doorbell_completion(wanted, stride) + 4 > nvme->bus->register_bytes)
		wanted--;
	return wanted;
}

/* The first time: what is granted then is what it must grant after every reset. */
static int make_queues(struct nvme *nvme, unsigned count, struct fail *fail)
{
	unsigned reactors = reactor_count(nvme->options.group);

	for (unsigned i = 0; i < count; i++) {
		struct reactor *reactor =
			reactor_at(nvme->options.group, (nvme->first_reactor + i) % reactors);

		nvme->queues[i] = nvme_queue_create(nvme, i, reactor, nvme->entries);
		if (!nvme->queues[i])
			return fail_set(fail, ENOMEM, "no memory for the queues of drive %s",
				nvme->identity.address);
		nvme->queue_count++;
	}
	nvme->identity.queues = count;
	if (count < reactors)
		log_warning("event=nvme.queues drive=%s queues=%u cores=%u effect=\"the other "
			    "cores send their requests through these\"",
			nvme->identity.address, count, reactors);
	return 0;
}

static int ask_for_queues(struct nvme *nvme, struct fail *fail)
{
	uint32_t wanted = queues_to_ask_for(nvme), granted;
	struct nvme_command command = {.opcode = NVME_SET_FEATURES,
		.cdw10 = le32_of(NVME_FEATURE_QUEUES),
		.cdw11 = le32_of((wanted - 1) << 16 | (wanted - 1))};
	uint32_t result;
	int error = nvme_admin_execute(nvme, &command, "grant I/O queues", &result, fail);

	if (error)
		return error;
	granted = MIN((result & 0xffff) + 1, (result >> 16) + 1);
	if (!nvme->queue_count)
		return make_queues(nvme, MIN(granted, wanted), fail);
	if (granted < nvme->queue_count)
		return fail_set(fail, EBUSY,
			"drive %s grants %u queues after its reset, and granted %u before: detach "
			"it and attach it again",
			nvme->identity.address, granted, nvme->queue_count);
	return 0;
}

static int create_queue(struct nvme *nvme, struct nvme_queue *queue, struct fail *fail)
{
	struct nvme_ring *ring = &queue->ring;
	uint32_t size_and_id = (uint32_t)(ring->entries - 1) << 16 | queue->id;
	struct nvme_command completion = {.opcode = NVME_CREATE_CQ,
		.prp1 = le64_of(ring->completion_iova),
		.cdw10 = le32_of(size_and_id),
		.cdw11 = le32_of(NVME_QUEUE_CONTIGUOUS)};
	struct nvme_command submission = {.opcode = NVME_CREATE_SQ,
		.prp1 = le64_of(ring->submission_iova),
		.cdw10 = le32_of(size_and_id),
		.cdw11 = le32_of((uint32_t)queue->id << 16 | NVME_QUEUE_CONTIGUOUS)};
	int error;

	nvme_queue_reset(queue);
	error = nvme_admin_execute(nvme, &completion, "create a completion queue", NULL, fail);
	if (!error)
		error = nvme_admin_execute(
			nvme, &submission, "create a submission queue", NULL, fail);
	return error;
}

static int ask_for_events(struct nvme *nvme)
{
	struct nvme_command command = {.opcode = NVME_SET_FEATURES,
		.cdw10 = le32_of(NVME_FEATURE_ASYNC_EVENTS),
		.cdw11 =
			le32_of(NVME_EVENTS_SPARE | NVME_EVENTS_TEMPERATURE | NVME_EVENTS_DEGRADED |
				NVME_EVENTS_READ_ONLY | NVME_EVENTS_BACKUP)};
	struct nvme_command more = command;
	uint32_t health = le32_get(command.cdw11);

	/* Notices of namespaces and firmware too, where they are known. */
	more.cdw11 = le32_of(health | NVME_EVENTS_NAMESPACE | NVME_EVENTS_FIRMWARE);
	if (nvme_admin_execute(nvme, &more, "tell of events", NULL, NULL) && !nvme->admin_stuck)
		nvme_admin_execute(nvme, &command, "tell of events", NULL, NULL);
	return nvme->admin_stuck ? -EIO : 0;
}

/* Gets a controller that may be in any state disabled: asks it, and resets the function if that
 * does not help. */
static int force_disable(struct nvme *nvme, struct fail *fail)
{
	int error = nvme_disable(nvme);

	if (error == -ETIMEDOUT || error == -EIO) {
		error = nvme->bus->ops->reset(nvme->bus);
		if (!error)
			error = nvme_disable(nvme);
	}
	if (!error)
		return 0;
	return fail_set(fail, -error,
		error == -ENODEV ? "drive %s does not answer any more: is it plugged in?"
				 : "drive %s does not let itself be reset: power-cycle it",
		nvme->identity.address);
}

int nvme_start(struct nvme *nvme, struct fail *fail)
{
	int error = nvme_check(nvme, fail);

	if (!error)
		error = force_disable(nvme, fail);
	if (!error)
		error = enable(nvme, fail);
	if (!error)
		error = identify(nvme, fail);
	if (!error)
		error = ask_for_queues(nvme, fail);
	if (!error && ask_for_events(nvme))
		error = fail_set(fail, EIO, "drive %s does not answer", nvme->identity.address);
	for (unsigned i = 0; i < nvme->queue_count && !error; i++)
		error = create_queue(nvme, nvme->queues[i], fail);
	if (!error)
		nvme_admin_await_events(nvme);
	return error;
}
