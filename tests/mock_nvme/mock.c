/* SPDX-License-Identifier: Apache-2.0 */
/* The machine: registers, queues, time and misbehaviour. */
#include "tests/mock_nvme/mock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/cleanup.h"
#include "drivers/vfio/bar.h"
#include "reactor/sim.h"

enum { STEP_NS = 20000, STEP_MAX_NS = 5000000, TURN_NS = 100000, TURNS_MAX = 50 };

static uint32_t get32(const struct mock *mock, size_t offset)
{
	uint32_t value;

	memcpy(&value, mock->registers + offset, sizeof(value));
	return value;
}

static void set32(struct mock *mock, size_t offset, uint32_t value)
{
	memcpy(mock->registers + offset, &value, sizeof(value));
}

static uint64_t get64(const struct mock *mock, size_t offset)
{
	return get32(mock, offset) | (uint64_t)get32(mock, offset + 4) << 32;
}

uint64_t mock_now_ns(struct mock *mock)
{
	struct timespec now;

	if (!atomic_load(&mock->threaded))
		return mock->group ? reactor_sim_now_ns(mock->group) : mock->own_ns;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- completions ----------------------------------------------------------------------------- */

/* Puts an entry into a completion queue, its phase bit last. False: the queue is full. */
static bool post(struct mock *mock, unsigned queue, struct nvme_completion entry)
{
	struct mock_completion *completion = &mock->completions[queue];
	unsigned head = get32(mock, nvme_doorbell_completion(queue, 0)), next;
	struct nvme_completion *place;

	next = (completion->tail + 1) % completion->entries;
	if (next == head)
		return false;
	place = mock_reach(
		mock, completion->iova + completion->tail * sizeof(entry), sizeof(entry));
	if (!place)
		return true;
	entry.status = le16_of((uint16_t)((le16_get(entry.status) & ~1u) | completion->phase));
	*place = entry;
	completion->tail = next;
	completion->phase ^= !next;
	return true;
}

/* Bends an answer as the rule wants it. */
static void bend(
	struct mock *mock, const struct mock_pending *pending, struct nvme_completion *entry)
{
	switch (pending->action) {
	case MOCK_BOGUS_ID:
		entry->id = le16_of((uint16_t)pending->value);
		break;
	case MOCK_BOGUS_SQ:
		entry->sq_id = le16_of((uint16_t)(le16_get(entry->sq_id) + 1));
		break;
	case MOCK_BOGUS_HEAD:
		entry->sq_head = le16_of(60000);
		break;
	case MOCK_RANDOM:
		for (unsigned i = 0; i < sizeof(*entry); i++)
			((uint8_t *)entry)[i] = (uint8_t)random_next(&mock->random);
		break;
	default:
		break;
	}
}

/* Gives the answers that are due for one command. True: it is done with. */
static bool answer(struct mock *mock, struct mock_pending *pending)
{
	unsigned queue = mock->submissions[pending->queue].completion;

	while (pending->answers) {
		struct nvme_completion entry = {.dw0 = le32_of(pending->result),
			.sq_head = le16_of((uint16_t)mock->submissions[pending->queue].head),
			.sq_id = le16_of((uint16_t)pending->queue),
			.id = pending->command.id,
			.status = le16_of((uint16_t)(pending->status << 1))};

		if (pending->bent)
			bend(mock, pending, &entry);
		if (!post(mock, queue, entry))
			return false;
		pending->answers--;
		if (pending->bent && pending->action == MOCK_AGAIN && pending->answers) {
			pending->due_ns = mock_now_ns(mock) + pending->value;
			return false;
		}
	}
	return true;
}

/* --- commands -------------------------------------------------------------------------------- */

static void obey(struct mock *mock, struct mock_pending *pending, const struct mock_rule *rule)
{
	pending->bent = true;
	pending->action = rule->action;
	pending->value = rule->value;
	switch (rule->action) {
	case MOCK_DELAY:
		pending->due_ns = mock_now_ns(mock) + rule->value;
		break;
	case MOCK_NEVER:
		pending->due_ns = UINT64_MAX;
		break;
	case MOCK_TWICE:
	case MOCK_AGAIN:
		pending->answers = 2;
		break;
	case MOCK_STATUS:
		pending->refused = true;
		pending->status = (unsigned)rule->value;
		break;
	case MOCK_FATAL:
		mock->fatal = true;
		break;
	case MOCK_DIE:
		mock_die(mock);
		break;
	default:
		break;
	}
}

static void apply_rules(struct mock *mock, struct mock_pending *pending)
{
	for (unsigned i = 0; i < mock->rule_count; i++) {
		struct mock_rule *rule = &mock->rules[i];

		if (rule->admin != !pending->queue ||
			(rule->opcode >= 0 && rule->opcode != pending->command.opcode))
			continue;
		if (rule->after) {
			rule->after--;
			continue;
		}
		if (rule->count == UINT32_MAX)
			continue; /* used up */
		if (rule->count && !--rule->count)
			rule->count = UINT32_MAX;
		obey(mock, pending, rule);
		return;
	}
}

static void accept(struct mock *mock, unsigned queue, const struct nvme_command *command)
{
	struct mock_pending *pending = &mock->pending[mock->pending_count];

	if (!queue && command->opcode == NVME_ASYNC_EVENT) {
		if (mock->event_count < ARRAY_SIZE(mock->events))
			mock->events[mock->event_count++] = *command;
		return;
	}
	assert(mock->pending_count < MOCK_PENDING_MAX);
	mock->commands += queue > 0;
	mock->pending_count++;
	*pending = (struct mock_pending){
		.command = *command, .queue = queue, .due_ns = mock_now_ns(mock), .answers = 1};
	if (queue && mock->io_ns_max)
		pending->due_ns += random_below(&mock->random, mock->io_ns_max);
	apply_rules(mock, pending);
}

static unsigned fetch(struct mock *mock, unsigned queue)
{
	struct mock_submission *submission = &mock->submissions[queue];
	unsigned tail = get32(mock, nvme_doorbell_submission(queue, 0)), count = 0;

	while (submission->there && submission->head != tail % submission->entries && !mock->dead &&
		!mock->fatal && mock->pending_count < MOCK_PENDING_MAX) {
		const struct nvme_command *command = mock_reach(mock,
			submission->iova + submission->head * sizeof(*command), sizeof(*command));

		submission->head = (submission->head + 1) % submission->entries;
		count++;
		if (command)
			accept(mock, queue, command);
	}
	return count;
}

static void execute(struct mock *mock, struct mock_pending *pending)
{
	unsigned status;

	pending->executed = true;
	if (pending->refused)
		return;
	status = pending->queue ? mock_io(mock, &pending->command)
				: mock_admin(mock, &pending->command, &pending->result);
	pending->status = status;
	if (pending->bent && pending->action == MOCK_STATUS_DONE)
		pending->status = (unsigned)pending->value;
}

static unsigned work_pending(struct mock *mock)
{
	unsigned count = 0;

	for (unsigned i = 0; i < mock->pending_count && !mock->dead && !mock->fatal;) {
		struct mock_pending *pending = &mock->pending[i];

		if (pending->due_ns > mock_now_ns(mock)) {
			i++;
			continue;
		}
		if (!pending->executed)
			execute(mock, pending);
		count++;
		if (!answer(mock, pending)) {
			i++;
			continue;
		}
		mock->pending_count--;
		memmove(pending, pending + 1, (mock->pending_count - i) * sizeof(*pending));
	}
	return count;
}

bool mock_abort(struct mock *mock, unsigned queue, unsigned id)
{
	for (unsigned i = 0; i < mock->pending_count && !mock->ignores_abort; i++) {
		struct mock_pending *pending = &mock->pending[i];

		if (pending->queue != queue || le16_get(pending->command.id) != id ||
			pending->executed)
			continue;
		pending->refused = true;
		pending->status = NVME_ABORTED_BY_REQUEST;
		pending->bent = false;
		pending->due_ns = mock_now_ns(mock);
		return true;
	}
	return false;
}

void mock_event(struct mock *mock, unsigned type, unsigned information, unsigned page)
{
	struct nvme_completion entry = {.dw0 = le32_of(type | information << 8 | page << 16)};

	if (!mock->event_count)
		return;
	entry.id = mock->events[--mock->event_count].id;
	post(mock, 0, entry);
}

bool mock_holds(struct mock *mock, const void *memory, size_t bytes)
{
	for (unsigned i = 0; i < mock->pending_count; i++) {
		const struct nvme_command *command = &mock->pending[i].command;
		const char *at;

		if (!mock->pending[i].queue || mock->pending[i].executed)
			continue;
		at = mock_first(mock, command);
		if (at >= (const char *)memory && at < (const char *)memory + bytes)
			return true;
	}
	return false;
}

/* --- registers ------------------------------------------------------------------------------- */

static void forget(struct mock *mock)
{
	memset(mock->submissions, 0, sizeof(mock->submissions));
	memset(mock->completions, 0, sizeof(mock->completions));
	mock->pending_count = mock->event_count = 0;
	memset(mock->registers + NVME_DOORBELLS, 0, MOCK_REGISTER_BYTES - NVME_DOORBELLS);
}

static void enable(struct mock *mock)
{
	uint32_t aqa = get32(mock, NVME_AQA);

	forget(mock);
	mock_care_reset(mock);
	mock->enabled = true;
	mock->enables++;
	mock->ready_at_ns = mock_now_ns(mock) + mock->enable_ns;
	mock->submissions[0] = (struct mock_submission){
		.there = true, .iova = get64(mock, NVME_ASQ), .entries = (aqa & 0xfff) + 1};
	mock->completions[0] = (struct mock_completion){.there = true,
		.iova = get64(mock, NVME_ACQ),
		.entries = (aqa >> 16 & 0xfff) + 1,
		.phase = 1};
}

static void obey_registers(struct mock *mock)
{
	uint32_t cc = get32(mock, NVME_CC), csts = 0;

	if (cc & NVME_CC_ENABLE && !mock->enabled && !mock->will_not_enable) {
		enable(mock);
	} else if (!(cc & NVME_CC_ENABLE) && mock->enabled && !mock->will_not_disable) {
		forget(mock);
		mock->enabled = mock->fatal = false;
		mock->ready_at_ns = mock_now_ns(mock) + mock->disable_ns;
	}
	if (mock_now_ns(mock) >= mock->ready_at_ns)
		mock->ready = mock->enabled;
	csts |= mock->ready ? NVME_CSTS_READY : 0;
	csts |= mock->fatal ? NVME_CSTS_FATAL : 0;
	if (mock->enabled && cc & NVME_CC_SHUTDOWN_MASK) {
		mock->shutdowns += !(get32(mock, NVME_CSTS) & NVME_CSTS_SHUTDOWN_DONE);
		csts |= NVME_CSTS_SHUTDOWN_DONE;
	}
	set32(mock, NVME_CSTS, csts);
}

unsigned mock_step(struct mock *mock)
{
	LOCK_SCOPE(&mock->lock);
	unsigned work = 0;

	if (mock->dead) {
		/* What was written went nowhere. */
		if (!mock->cut)
			memset(mock->registers, 0xff, MOCK_REGISTER_BYTES);
		return 0;
	}
	obey_registers(mock);
	if (!mock->ready || mock->fatal || mock->silenced)
		return 0;
	for (unsigned queue = 0; queue < MOCK_QUEUES; queue++)
		work += fetch(mock, queue);
	work += work_pending(mock);
	if (!mock->dead)
		obey_registers(mock);
	return work;
}

void mock_die(struct mock *mock)
{
	mock->dead = true;
	mock->pending_count = 0;
	memset(mock->registers, 0xff, MOCK_REGISTER_BYTES);
}

/* --- the IOMMU ------------------------------------------------------------------------------- */

static int iommu_map(struct dma_listener *listener, const struct iovec *memory, uint64_t iova,
	const char *what, struct fail *fail)
{
	struct mock *mock = container_of(listener, struct mock, iommu);
	LOCK_SCOPE(&mock->lock);

	if (mock->map_count == MOCK_MAPS_MAX)
		return fail_set(fail, ENOSPC, "the mock cannot map %s", what);
	mock->maps[mock->map_count].memory = memory->iov_base;
	mock->maps[mock->map_count].iova = iova;
	mock->maps[mock->map_count++].bytes = memory->iov_len;
	return 0;
}

static void iommu_unmap(struct dma_listener *listener, uint64_t iova, size_t bytes)
{
	struct mock *mock = container_of(listener, struct mock, iommu);
	LOCK_SCOPE(&mock->lock);

	(void)bytes;
	for (unsigned i = 0; i < mock->map_count; i++)
		if (mock->maps[i].iova == iova) {
			mock->maps[i] = mock->maps[--mock->map_count];
			return;
		}
	assert(false); /* it is mapped */
}

/* --- the bus --------------------------------------------------------------------------------- */

static struct mock *mock_of(struct nvme_bus *bus)
{
	return container_of(bus, struct mock, bus);
}

static bool bus_removed(struct nvme_bus *bus)
{
	return mock_of(bus)->removed;
}

static int bus_reset(struct nvme_bus *bus)
{
	struct mock *mock = mock_of(bus);
	LOCK_SCOPE(&mock->lock);

	mock->resets++;
	if (mock->reset_fails)
		return -EIO;
	if (mock->dead)
		return -ENODEV;
	forget(mock);
	mock->enabled = mock->ready = mock->fatal = false;
	set32(mock, NVME_CC, 0);
	set32(mock, NVME_CSTS, 0);
	return 0;
}

static bool bus_silence(struct nvme_bus *bus)
{
	struct mock *mock = mock_of(bus);
	LOCK_SCOPE(&mock->lock);

	mock->silenced = true;
	mock->pending_count = 0;
	return true;
}

static uint64_t bus_now_ns(struct nvme_bus *bus)
{
	return mock_now_ns(mock_of(bus));
}

static void bus_pause(struct nvme_bus *bus)
{
	struct mock *mock = mock_of(bus);
	uint64_t before_ns = mock_now_ns(mock);

	if (atomic_load(&mock->threaded)) {
		usleep(50);
		return;
	}
	/* The virtual clock moves when all reactors have been quiet for a while. */
	for (unsigned i = 0; mock->group && i < TURNS_MAX && mock_now_ns(mock) == before_ns; i++)
		reactor_yield(mock->group);
	mock->own_ns += TURN_NS;
	mock_step(mock);
}

static void bus_destroy(struct nvme_bus *bus)
{
	struct mock *mock = mock_of(bus);

	mock->destroyed = true;
	if (mock->destroyed_with_bus)
		mock_destroy(mock);
}

static const struct nvme_bus_ops bus_ops = {
	.removed = bus_removed,
	.reset = bus_reset,
	.silence = bus_silence,
	.now_ns = bus_now_ns,
	.pause = bus_pause,
	.destroy = bus_destroy,
};

/* --- life ------------------------------------------------------------------------------------ */

/* Busy mocks are looked at often, idle ones seldom: the virtual clock stops at every look. */
static void mock_tick(struct timer *timer)
{
	struct mock *mock = container_of(timer, struct mock, timer);

	mock->interval_ns =
		mock_step(mock) ? STEP_NS : MIN(mock->interval_ns * 2, (uint64_t)STEP_MAX_NS);
	timer_start(reactor_self(), timer, mock_now_ns(mock) + mock->interval_ns);
}

static int start_timer(void *argument)
{
	struct mock *mock = argument;

	timer_start(reactor_self(), &mock->timer, mock_now_ns(mock) + STEP_NS);
	return 0;
}

static int stop_timer(void *argument)
{
	timer_stop(&((struct mock *)argument)->timer);
	return 0;
}

void mock_namespace_set(struct mock *mock, unsigned index, uint64_t bytes, unsigned lba_shift)
{
	struct mock_namespace *namespace = &mock->namespaces[index];

	free(namespace->data);
	*namespace = (struct mock_namespace){.present = bytes,
		.lba_shift = lba_shift,
		.lbas = bytes >> lba_shift,
		.bytes = bytes,
		.data = bytes ? calloc(1, bytes) : NULL,
		.deallocate = NVME_DLFEAT_ZEROES | NVME_DLFEAT_WRITE_ZEROES};
	memcpy(namespace->uuid, "\x10\x20\x30\x40\x50\x60\x47\x80\x90\xa0\xb0\xc0\xd0\xe0\xf0", 15);
	namespace->uuid[15] = (uint8_t)(index + 1);
}

static void set_identity(struct mock *mock)
{
	struct nvme_identify_controller *identity = &mock->identity;

	memset(identity->serial, ' ', sizeof(identity->serial));
	memset(identity->model, ' ', sizeof(identity->model));
	memset(identity->firmware, ' ', sizeof(identity->firmware));
	memcpy(identity->serial, "MOCK0001", 8);
	memcpy(identity->model, "braid mock drive", 16);
	memcpy(identity->firmware, "1.0", 3);
	identity->vendor = le16_of(0x1af4);
	identity->version = le32_of(0x20000);
	identity->mdts = 5; /* 128 KiB */
	identity->controller_type = NVME_CONTROLLER_IO;
	identity->event_limit = 3;
	identity->abort_limit = 3;
	identity->admin_commands = le16_of(NVME_OACS_FORMAT | NVME_OACS_SELF_TEST);
	identity->log_attributes = NVME_LPA_EXTENDED;
	identity->sqes = 0x66;
	identity->cqes = 0x44;
	identity->namespaces = le32_of(MOCK_NAMESPACES);
	identity->io_commands = le16_of(NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES);
	identity->volatile_cache = NVME_VWC_PRESENT;
	identity->sanitize = le32_of(NVME_SANICAP_BLOCK);
	mock->sanitize.step = 65536;
	mock->self_test.step = 100;
	mock->firmware.active = 1;
	memcpy(mock->firmware.slots[0], identity->firmware, NVME_FIRMWARE_BYTES);
}

static void map_registers(struct mock *mock)
{
	uint64_t cap = 1023 | 1ull << 16 | 4ull << 24 | (uint64_t)NVME_CAP_SETS_NVM << 37;

	mock->registers_fd = memfd_create("registers", MFD_CLOEXEC);
	assert(mock->registers_fd >= 0 && !ftruncate(mock->registers_fd, MOCK_REGISTER_BYTES));
	mock->registers = mmap(NULL, MOCK_REGISTER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		mock->registers_fd, 0);
	assert(mock->registers != MAP_FAILED);
	set32(mock, NVME_CAP, (uint32_t)cap);
	set32(mock, NVME_CAP + 4, (uint32_t)(cap >> 32));
	set32(mock, NVME_VS, 0x20000);
	bar_guard(mock->registers, MOCK_REGISTER_BYTES);
}

struct mock *mock_create_bare(struct reactor_group *group, bool by_hand)
{
	struct mock *mock = calloc(1, sizeof(*mock));
	pthread_mutexattr_t recursive;

	assert(mock);
	map_registers(mock);
	mock->bus = (struct nvme_bus){.ops = &bus_ops,
		.address = "0000:65:00.0",
		.registers = mock->registers,
		.register_bytes = MOCK_REGISTER_BYTES,
		.event_fd = -1};
	mock->group = group;
	mock->by_hand = by_hand;
	pthread_mutexattr_init(&recursive);
	pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&mock->lock, &recursive);
	pthread_mutexattr_destroy(&recursive);
	mock->interval_ns = STEP_NS;
	mock->queues_granted = MOCK_QUEUES - 1;
	set_identity(mock);
	mock->iommu.map = iommu_map;
	mock->iommu.unmap = iommu_unmap;
	mock->iommu.ranges[0] = (struct dma_range){0, (1ull << 39) - 1};
	mock->iommu.range_count = 1;
	if (dma_listen(&mock->iommu, NULL))
		assert(false); /* the mock maps everything */
	timer_init(&mock->timer, mock_tick);
	if (group && !by_hand)
		reactor_call(reactor_at(group, 0), start_timer, mock);
	return mock;
}

struct mock *mock_create(struct reactor_group *group, bool by_hand)
{
	struct mock *mock = mock_create_bare(group, by_hand);

	mock_namespace_set(mock, 0, 64 << 20, 9);
	return mock;
}

static void *thread_main(void *argument)
{
	struct mock *mock = argument;

	while (!atomic_load(&mock->thread_stop))
		if (!mock_step(mock))
			usleep(20);
	return NULL;
}

void mock_thread_start(struct mock *mock)
{
	assert(mock->by_hand);
	atomic_store(&mock->threaded, true);
	if (pthread_create(&mock->thread, NULL, thread_main, mock))
		assert(false); /* there is a thread */
}

void mock_destroy(struct mock *mock)
{
	if (atomic_load(&mock->threaded)) {
		atomic_store(&mock->thread_stop, true);
		pthread_join(mock->thread, NULL);
	}
	if (mock->group && !mock->by_hand)
		reactor_call(reactor_at(mock->group, 0), stop_timer, mock);
	dma_ignore(&mock->iommu, false);
	bar_unguard(mock->registers);
	munmap(mock->registers, MOCK_REGISTER_BYTES);
	close(mock->registers_fd);
	for (unsigned i = 0; i < MOCK_NAMESPACES; i++)
		free(mock->namespaces[i].data);
	pthread_mutex_destroy(&mock->lock);
	free(mock);
}

void mock_rule(struct mock *mock, struct mock_rule rule)
{
	assert(mock->rule_count < MOCK_RULES_MAX);
	mock->rules[mock->rule_count++] = rule;
}

unsigned mock_waiting(struct mock *mock, unsigned opcode)
{
	LOCK_SCOPE(&mock->lock);
	unsigned count = 0;

	for (unsigned i = 0; i < mock->pending_count; i++)
		count += mock->pending[i].due_ns == UINT64_MAX &&
			 mock->pending[i].command.opcode == opcode;
	return count;
}

void mock_answer(struct mock *mock)
{
	LOCK_SCOPE(&mock->lock);

	for (unsigned i = 0; i < mock->pending_count; i++)
		if (mock->pending[i].due_ns == UINT64_MAX)
			mock->pending[i].due_ns = 0;
}

void mock_rules_clear(struct mock *mock)
{
	mock->rule_count = 0;
}
