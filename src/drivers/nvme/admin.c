/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The admin queue: one command at a time, and requests for asynchronous events that stay at the
 * controller until it has something to say.
 *
 * Ids: events have 0 to NVME_ADMIN_EVENTS - 1, commands count on from there. A command that is not
 * answered may still write into the admin page: nothing is asked any more until a reset.
 */
#include <assert.h>
#include <errno.h>

#include "base/bits.h"
#include "base/log.h"
#include "drivers/nvme/ring.h"

static const struct {
	unsigned status;
	const char *text;
} statuses[] = {
	{NVME_OK, "no error"},
	{NVME_INVALID_OPCODE, "it does not know the command"},
	{NVME_INVALID_FIELD, "it does not accept a field of the command"},
	{NVME_DATA_TRANSFER_ERROR, "the data could not be transferred"},
	{NVME_INTERNAL_ERROR, "internal error of the drive"},
	{NVME_ABORTED_BY_REQUEST, "aborted"},
	{NVME_INVALID_NAMESPACE, "the namespace does not exist"},
	{NVME_SANITIZE_FAILED, "the last sanitize operation failed"},
	{NVME_SANITIZE_IN_PROGRESS, "a sanitize operation is running"},
	{NVME_NAMESPACE_WRITE_PROTECTED, "the namespace is write-protected"},
	{NVME_LBA_OUT_OF_RANGE, "the block is outside of the namespace"},
	{NVME_NAMESPACE_NOT_READY, "the namespace is not ready"},
	{NVME_RESERVATION_CONFLICT, "another host has reserved the namespace"},
	{NVME_FORMAT_IN_PROGRESS, "a format is running"},
	{NVME_INVALID_QUEUE, "it does not have so many queues"},
	{NVME_INVALID_QUEUE_SIZE, "it does not accept queues of this size"},
	{NVME_INVALID_SLOT,
		"it does not have this firmware slot, or the slot is read-only or empty"},
	{NVME_INVALID_IMAGE, "the image is not one for this drive, or it is damaged"},
	{NVME_INVALID_FORMAT, "it does not have this format"},
	{NVME_NEEDS_MORE_TIME,
		"it would be away for longer than it may: let it begin with a reset"},
	{NVME_ACTIVATION_PROHIBITED, "it does not take this image: it is older, perhaps"},
	{NVME_OVERLAPPING_RANGE, "pieces of the image overlap: another program writes one, too"},
	{NVME_SELF_TEST_IN_PROGRESS, "a self-test is running"},
	{NVME_WRITE_FAULT, "write fault"},
	{NVME_UNRECOVERED_READ, "unrecovered read error"},
};

const char *nvme_status_text(unsigned status)
{
	for (unsigned i = 0; i < ARRAY_SIZE(statuses); i++)
		if (statuses[i].status == nvme_status_code(status))
			return statuses[i].text;
	return "an error that braid has no words for";
}

void nvme_admin_reset(struct nvme *nvme)
{
	struct nvme_admin *admin = &nvme->admin;
	volatile char *registers = nvme->bus->registers;
	unsigned stride = nvme_cap_stride(nvme->cap);

	admin->ring.entries = NVME_ADMIN_ENTRIES;
	admin->ring.submission_doorbell =
		(volatile void *)(registers + nvme_doorbell_submission(0, stride));
	admin->ring.completion_doorbell =
		(volatile void *)(registers + nvme_doorbell_completion(0, stride));
	ring_reset(&admin->ring);
	admin->awaited = NVME_ADMIN_EVENTS;
	admin->events_waiting = 0;
	nvme->admin_stuck = false;
}

/* Sorts one completion: an event, the answer, or garbage. */
static void sort(struct nvme *nvme, const struct nvme_completion *completion)
{
	struct nvme_admin *admin = &nvme->admin;
	uint16_t id = le16_get(completion->id);

	if (id < NVME_ADMIN_EVENTS && admin->events_waiting & 1u << id) {
		admin->events_waiting &= ~(1u << id);
		if (nvme_status_of(completion) != NVME_OK)
			admin->event_limit -= admin->event_limit > 0; /* so many it does not take */
		else if (admin->event_count < ARRAY_SIZE(admin->events))
			admin->events[admin->event_count++] = le32_get(completion->dw0);
	} else if (id == admin->awaited && !admin->answered && !le16_get(completion->sq_id)) {
		admin->answer = *completion;
		admin->answered = true;
	} else {
		nvme_trouble(nvme, NVME_TROUBLE_GARBAGE);
	}
}

void nvme_admin_reap(struct nvme *nvme)
{
	struct nvme_completion completion;
	unsigned count = 0;

	while (count < NVME_ADMIN_ENTRIES && ring_take(&nvme->admin.ring, &completion)) {
		sort(nvme, &completion);
		count++;
	}
	if (count)
		ring_release(&nvme->admin.ring);
}

void nvme_admin_await_events(struct nvme *nvme)
{
	struct nvme_admin *admin = &nvme->admin;

	for (unsigned id = 0; id < admin->event_limit && !nvme->admin_stuck; id++) {
		if (admin->events_waiting & 1u << id)
			continue;
		*ring_next(&admin->ring) = (struct nvme_command){
			.opcode = NVME_ASYNC_EVENT, .id = le16_of((uint16_t)id)};
		admin->events_waiting |= 1u << id;
	}
	ring_submit(&admin->ring);
}

static uint16_t next_id(uint16_t id)
{
	return (uint16_t)(id == UINT16_MAX - 1 ? NVME_ADMIN_EVENTS + 1 : id + 1);
}

/* Waits for the answer; -ETIMEDOUT, -ENODEV, -EIO: there will be none. */
static int await(struct nvme *nvme, uint64_t deadline_ms)
{
	uint64_t deadline = nvme_now_ns(nvme) + deadline_ms * 1000000;

	for (;;) {
		uint32_t csts;

		nvme_admin_reap(nvme);
		if (nvme->admin.answered)
			return 0;
		csts = nvme_read32(nvme->bus, NVME_CSTS);
		if (csts == NVME_REGISTER_GONE)
			return -ENODEV;
		if (csts & NVME_CSTS_FATAL)
			return -EIO;
		if (nvme_now_ns(nvme) >= deadline)
			return -ETIMEDOUT;
		nvme->bus->ops->pause(nvme->bus);
	}
}

static int no_answer(struct nvme *nvme, int error, const char *what, struct fail *fail)
{
	nvme->admin_stuck = true;
	nvme_trouble(nvme, NVME_TROUBLE_ADMIN);
	if (error == -ENODEV)
		return fail_set(fail, ENODEV,
			"drive %s does not answer any more: is it plugged in?",
			nvme->identity.address);
	if (error == -EIO)
		return fail_set(fail, EIO,
			"drive %s has had a fatal error of its controller while asked to %s",
			nvme->identity.address, what);
	return fail_set(fail, ETIMEDOUT,
		"drive %s has not answered in time when asked to %s: it will be reset",
		nvme->identity.address, what);
}

int nvme_admin_execute_for(struct nvme *nvme, struct nvme_command *command, uint64_t deadline_ms,
	const char *what, uint32_t *result, struct fail *fail)
{
	struct nvme_admin *admin = &nvme->admin;
	unsigned status;
	int error;

	if (!nvme->bus)
		return fail_set(
			fail, ENODEV, "drive %s has been pulled out", nvme->identity.address);
	if (nvme->admin_stuck)
		return fail_set(fail, EBUSY,
			"drive %s has left a command unanswered and must be reset first",
			nvme->identity.address);
	admin->awaited = next_id(admin->awaited);
	admin->answered = false;
	command->id = le16_of(admin->awaited);
	*ring_next(&admin->ring) = *command;
	ring_submit(&admin->ring);
	error = await(nvme, deadline_ms);
	if (error)
		return no_answer(nvme, error, what, fail);
	admin->awaited = next_id(admin->awaited); /* a second answer is garbage */
	status = nvme_status_of(&admin->answer);
	if (nvme_status_code(status) != NVME_OK)
		return fail_set(fail, EIO, "drive %s refuses to %s: %s (status %#x)",
			nvme->identity.address, what, nvme_status_text(status),
			nvme_status_code(status));
	if (result)
		*result = le32_get(admin->answer.dw0);
	return 0;
}

int nvme_admin_execute(struct nvme *nvme, struct nvme_command *command, const char *what,
	uint32_t *result, struct fail *fail)
{
	return nvme_admin_execute_for(
		nvme, command, nvme->options.admin_deadline_ms, what, result, fail);
}
