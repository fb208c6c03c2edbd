/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watcher of a controller: looks at it several times a second, and when a reactor complains.
 *
 *	removed, all ones ----------------------------------------> GONE
 *	overdue -> abort -> still overdue --+
 *	fatal status, garbage, admin -------+-> stop queues, disable, start, same drive? -> go on
 *	                                                 |                     +----------> FAILED
 *	                                                 +-> reset, silence -> FAILED
 *
 * Straight-line code on a control thread. What the drive may still write into is given back only
 * when it is known that it does not: it is disabled, reset, silenced, or not there.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "drivers/nvme/queue.h"

enum { LOOK_MS = 250, GRACE_MS = 1000 };

static const uint64_t HOUR_NS = 3600ull * 1000000000;

void nvme_trouble(struct nvme *nvme, unsigned trouble)
{
	uint64_t one = 1;

	if ((atomic_fetch_or(&nvme->trouble, trouble) & trouble) == trouble)
		return; /* told already */
	if (nvme->wake_fd >= 0 && write(nvme->wake_fd, &one, sizeof(one)) < 0)
		assert(errno == EAGAIN);
}

void nvme_note(struct nvme *nvme, enum nvme_event_kind kind, uint32_t nsid, const char *format, ...)
{
	LOCK_SCOPE(&nvme->note_lock);
	struct nvme_event *event;
	va_list arguments;

	if (nvme->happened_count == NVME_EVENTS_MAX) {
		nvme->happened_first = (nvme->happened_first + 1) % NVME_EVENTS_MAX;
		nvme->happened_count--;
	}
	event = &nvme->happened[(nvme->happened_first + nvme->happened_count++) % NVME_EVENTS_MAX];
	event->kind = kind;
	event->nsid = nsid;
	va_start(arguments, format);
	vsnprintf(event->text, sizeof(event->text), format, arguments);
	va_end(arguments);
	log_warning("event=nvme drive=%s nsid=%u what=\"%s\"", nvme->identity.address, nsid,
		event->text);
}

static void set_state(struct nvme *nvme, enum nvme_state state, const char *reason)
{
	LOCK_SCOPE(&nvme->note_lock);

	/* The end is the end. */
	assert(nvme->state != NVME_FAILED && nvme->state != NVME_GONE);
	nvme->state = state;
	snprintf(nvme->reason, sizeof(nvme->reason), "%s", reason);
}

/* --- calls to the reactors ------------------------------------------------------------------- */

struct queue_call {
	struct nvme_queue *queue;
	struct nvme_device *device;
	int status;
	uint16_t ids[NVME_OVERDUE_MAX];
};

static int call_stop(void *argument)
{
	nvme_queue_stop(((struct queue_call *)argument)->queue);
	return 0;
}

static int call_go(void *argument)
{
	nvme_queue_go(((struct queue_call *)argument)->queue);
	return 0;
}

static int call_kill(void *argument)
{
	struct queue_call *call = argument;

	nvme_queue_kill(call->queue, call->status);
	return 0;
}

static int call_fail_device(void *argument)
{
	struct queue_call *call = argument;

	nvme_queue_fail_device(call->queue, call->device, call->status);
	return 0;
}

static int call_overdue(void *argument)
{
	struct queue_call *call = argument;

	return (int)nvme_queue_overdue(call->queue, call->ids);
}

static void all_queues(struct nvme *nvme, int (*function)(void *), struct queue_call call)
{
	for (unsigned i = 0; i < nvme->queue_count; i++) {
		call.queue = nvme->queues[i];
		reactor_call(call.queue->reactor, function, &call);
	}
}

/* --- the end --------------------------------------------------------------------------------- */

/* Nothing of the drive is touched any more, and it touches nothing of ours. */
static void end(struct nvme *nvme, enum nvme_state state, const char *reason)
{
	all_queues(nvme, call_stop, (struct queue_call){0});
	if (state == NVME_FAILED && nvme_disable(nvme) && nvme->bus->ops->reset(nvme->bus) &&
		!nvme->bus->ops->silence(nvme->bus))
		log_error("event=nvme.silence drive=%s effect=\"it may still write into memory\"",
			nvme->identity.address);
	if (state == NVME_GONE)
		nvme->bus->ops->silence(nvme->bus);
	set_state(nvme, state, reason);
	nvme_note(nvme, state == NVME_GONE ? NVME_HAPPENED_GONE : NVME_HAPPENED_FAILED, 0, "%s",
		reason);
	all_queues(nvme, call_kill,
		(struct queue_call){.status = state == NVME_GONE ? -ENODEV : -EIO});
	if (state == NVME_GONE) {
		/* The system waits for us to let go. */
		nvme->bus->ops->destroy(nvme->bus);
		nvme->bus = NULL;
	}
}

static void end_gone(struct nvme *nvme)
{
	char reason[FAIL_TEXT_BYTES];

	snprintf(reason, sizeof(reason), "drive %s (%s) has been pulled out",
		nvme->identity.address, nvme->identity.serial);
	end(nvme, NVME_GONE, reason);
}

/* --- namespaces ------------------------------------------------------------------------------ */

static void fail_device(struct nvme *nvme, struct nvme_device *device, const char *reason)
{
	if (atomic_exchange(&device->failed, true))
		return;
	nvme_note(nvme, NVME_HAPPENED_NAMESPACES, device->namespace.nsid, "%s", reason);
	all_queues(nvme, call_fail_device, (struct queue_call){.device = device, .status = -EIO});
}

/* Whether every device is still what it was. -EIO: the controller did not say. */
static int check_devices(struct nvme *nvme)
{
	for (unsigned i = 0; i < nvme->device_count; i++) {
		struct nvme_device *was = nvme->devices[i], now;
		struct fail reason = {0};
		int error = nvme_identify_device(nvme, was->namespace.nsid, &now, &reason);

		if (nvme->admin_stuck)
			return -EIO;
		if (!error)
			error = nvme_same_device(was, &now, &reason);
		if (error)
			fail_device(nvme, was, reason.text);
		else if (now.namespace.bytes > was->namespace.bytes)
			nvme_note(nvme, NVME_HAPPENED_NAMESPACES, was->namespace.nsid,
				"%s has grown: attach it again to see that", was->dev.name);
	}
	return 0;
}

/* --- reset ----------------------------------------------------------------------------------- */

/* Whether one more reset in this hour is one too many. */
static bool too_often(struct nvme *nvme)
{
	uint64_t now = nvme_now_ns(nvme), *oldest;

	oldest = &nvme->resets_at_ns[nvme->resets % NVME_RESETS_PER_HOUR];
	if (nvme->resets >= NVME_RESETS_PER_HOUR && now - *oldest < HOUR_NS)
		return true;
	*oldest = now;
	nvme->resets++;
	return false;
}

static int start_again(struct nvme *nvme, struct fail *fail)
{
	int error = nvme_start(nvme, fail);

	if (error)
		return error;
	if (strcmp(nvme->serial, nvme->identity.serial) != 0)
		return fail_set(fail, ENODEV, "drive %s came back as another one: %s, not %s",
			nvme->identity.address, nvme->identity.serial, nvme->serial);
	return check_devices(nvme) ? fail_set(fail, EIO, "drive %s does not answer after its reset",
					     nvme->identity.address)
				   : 0;
}

static void reset(struct nvme *nvme, const char *why)
{
	struct fail fail = {0};
	int error;

	all_queues(nvme, call_stop, (struct queue_call){0});
	if (too_often(nvme)) {
		fail_set(&fail, EIO,
			"drive %s (%s) needed more than %d resets within an hour, now because %s",
			nvme->identity.address, nvme->identity.serial, NVME_RESETS_PER_HOUR, why);
		end(nvme, NVME_FAILED, fail.text);
		return;
	}
	set_state(nvme, NVME_RESETTING, "");
	atomic_store(&nvme->trouble, 0);
	error = start_again(nvme, &fail);
	if (error && nvme_answers(nvme) && !nvme->bus->ops->removed(nvme->bus) &&
		!nvme->bus->ops->reset(nvme->bus)) {
		/* Once more, after a reset of the whole function. */
		fail = (struct fail){0};
		error = start_again(nvme, &fail);
	}
	if (!error) {
		atomic_store(&nvme->trouble, 0); /* what a first try has met */
		set_state(nvme, NVME_LIVE, "");
		all_queues(nvme, call_go, (struct queue_call){0});
		nvme_note(nvme, NVME_HAPPENED_RESET, 0, "the controller was reset because %s", why);
	} else if (!nvme_answers(nvme) || nvme->bus->ops->removed(nvme->bus)) {
		end_gone(nvme);
	} else {
		end(nvme, NVME_FAILED, fail.text);
	}
}

/* Asks the controller to give up what is overdue. True: nothing is overdue any more. */
static bool abort_overdue(struct nvme *nvme)
{
	uint64_t grace;
	unsigned overdue = 0;

	for (unsigned i = 0; i < nvme->queue_count; i++) {
		struct queue_call call = {.queue = nvme->queues[i]};
		int count = reactor_call(call.queue->reactor, call_overdue, &call);

		for (int j = 0; j < count; j++) {
			struct nvme_command command = {.opcode = NVME_ABORT,
				.cdw10 = le32_of((uint32_t)call.ids[j] << 16 | call.queue->id)};

			overdue++;
			if (nvme_admin_execute_for(
				    nvme, &command, NVME_ABORT_DEADLINE_MS, "abort", NULL, NULL))
				return false;
		}
	}
	grace = nvme_now_ns(nvme) + GRACE_MS * 1000000ull;
	while (overdue && nvme_now_ns(nvme) < grace) {
		nvme->bus->ops->pause(nvme->bus);
		overdue = 0;
		for (unsigned i = 0; i < nvme->queue_count; i++) {
			struct queue_call call = {.queue = nvme->queues[i]};

			overdue += reactor_call(call.queue->reactor, call_overdue, &call);
		}
	}
	return !overdue;
}

/* --- events of the controller ---------------------------------------------------------------- */

/* An event is masked until its log page is read (base 5.1.2). */
static void read_page(struct nvme *nvme, unsigned page)
{
	struct nvme_command command = {.opcode = NVME_GET_LOG_PAGE,
		.nsid = le32_of(NVME_NSID_ALL),
		.prp1 = le64_of(nvme->admin.page_iova),
		.cdw10 = le32_of((sizeof(struct nvme_health) / 4 - 1) << 16 | page)};

	if (page == NVME_LOG_CHANGED_NAMESPACES) {
		command.nsid = le32_of(0);
		command.cdw10 = le32_of((NVME_PAGE_BYTES / 4 - 1) << 16 | page);
	}
	nvme_admin_execute(nvme, &command, "show a log page", NULL, NULL);
}

static void handle_event(struct nvme *nvme, uint32_t event)
{
	static const char *const health[] = {"its reliability is reduced",
		"its temperature is out of range", "its spare blocks are running out"};
	unsigned type = nvme_event_type(event), information = nvme_event_information(event);

	if (nvme_event_page(event))
		read_page(nvme, nvme_event_page(event));
	if (type == NVME_EVENT_HEALTH)
		nvme_note(nvme, NVME_HAPPENED_HEALTH, 0, "the drive warns: %s",
			information < ARRAY_SIZE(health) ? health[information] : "see its health");
	else if (type == NVME_EVENT_NOTICE && information == NVME_NOTICE_NAMESPACE)
		nvme_trouble(nvme, NVME_TROUBLE_NAMESPACE);
	else if (type == NVME_EVENT_NOTICE && information == NVME_NOTICE_FIRMWARE)
		nvme_note(nvme, NVME_HAPPENED_FIRMWARE, 0, "new firmware is being activated");
	else
		nvme_note(nvme, NVME_HAPPENED_OTHER, 0, "event of type %u, information %u", type,
			information);
}

static void handle_events(struct nvme *nvme)
{
	struct nvme_admin *admin = &nvme->admin;

	nvme_admin_reap(nvme);
	while (admin->event_count && !nvme->admin_stuck)
		handle_event(nvme, admin->events[--admin->event_count]);
	nvme_admin_await_events(nvme);
}

/* --- looking --------------------------------------------------------------------------------- */

static void look_at_trouble(struct nvme *nvme, uint32_t csts)
{
	unsigned trouble = atomic_exchange(&nvme->trouble, 0);

	if (csts & NVME_CSTS_FATAL)
		reset(nvme, "it reported a fatal error");
	else if (!(csts & NVME_CSTS_READY))
		reset(nvme, "it was not ready any more");
	else if (trouble & NVME_TROUBLE_GARBAGE)
		reset(nvme, "it answered what was not asked");
	else if (trouble & NVME_TROUBLE_ADMIN)
		reset(nvme, "it did not answer an administrative command");
	else if (trouble & NVME_TROUBLE_OVERDUE && !abort_overdue(nvme))
		reset(nvme, "it did not answer in time");
	else if (trouble & NVME_TROUBLE_NAMESPACE && check_devices(nvme))
		reset(nvme, "it did not say what namespaces it has");
}

void nvme_watch(struct nvme *nvme)
{
	LOCK_SCOPE(&nvme->lock);
	uint32_t csts;

	if (!nvme->bus || nvme->state != NVME_LIVE)
		return;
	csts = nvme_read32(nvme->bus, NVME_CSTS);
	if (csts == NVME_REGISTER_GONE || nvme->bus->ops->removed(nvme->bus)) {
		end_gone(nvme);
		return;
	}
	handle_events(nvme);
	look_at_trouble(nvme, csts);
}

void *nvme_watcher(void *argument)
{
	struct nvme *nvme = argument;

	while (!atomic_load(&nvme->stop)) {
		struct pollfd fds[2] = {{.fd = nvme->wake_fd, .events = POLLIN}, {.fd = -1}};
		uint64_t count;

		/* The bus is changed by this thread alone. */
		if (nvme->bus)
			fds[1] = (struct pollfd){.fd = nvme->bus->event_fd, .events = POLLIN};
		poll(fds, ARRAY_SIZE(fds), LOOK_MS);
		if (read(nvme->wake_fd, &count, sizeof(count)) < 0)
			assert(errno == EAGAIN || errno == EINTR);
		if (atomic_load(&nvme->stop))
			break;
		nvme_watch(nvme);
	}
	return NULL;
}
